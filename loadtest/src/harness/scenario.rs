//! What a scenario file says.

mod events;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

pub use self::events::Events;
use super::sample::METRICS;
use super::upstream::answer::{SELECTED, Wish};
use super::upstream::objects::NAMESPACE;
use super::upstream::templates::Encoding;

/// Requests a second that a load has at least: an hour between two turns can be counted in nanoseconds, an age cannot.
const RATE_MIN: f64 = 0.001;

/// A scenario: who is compared, under which load, and what must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// Of the file, without `.yaml`.
    #[serde(skip)]
    pub name: String,
    /// One sentence.
    pub description: String,
    /// Who carries the load. The first besides `direct` is the reference.
    pub targets: Vec<Target>,
    /// What `portcullis-masked` masks; see docs/masking.md.
    #[serde(default)]
    pub masks: Vec<String>,
    /// Rules of the gateway's policy that match nothing and stand before those that do.
    #[serde(default)]
    pub rules: usize,
    /// How often every target has its turn.
    #[serde(default = "five")]
    pub rounds: usize,
    /// How long a load runs before anything counts.
    #[serde(default = "half_a_second", with = "duration")]
    pub warm_up: Duration,
    /// How long it counts.
    #[serde(default = "three_seconds", with = "duration")]
    pub duration: Duration,
    /// Start every target anew for each of its turns, for what depends on its past: memory.
    #[serde(default)]
    pub fresh: bool,
    /// How long targets may go on writing after a turn, which still counts as theirs: recordings.
    #[serde(default, with = "duration")]
    pub settle: Duration,
    /// The part of its clients and rates that runs unless the command line says otherwise.
    #[serde(default = "whole")]
    pub scale: f64,
    /// What runs at the same time.
    pub load: Vec<Spanned<Load>>,
    /// What must hold.
    #[serde(default)]
    pub bars: Vec<Spanned<Bar>>,
}

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;

fn five() -> usize {
    5
}

fn whole() -> f64 {
    1.0
}

fn half_a_second() -> Duration {
    Duration::from_millis(500)
}

fn three_seconds() -> Duration {
    Duration::from_secs(3)
}

/// Who stands between client and upstream.
#[derive(
    Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Nobody stands between.
    Direct,
    /// The harness' own relay: TLS on both sides, and it reads nothing.
    Relay,
    /// nginx with buffers of 64 KB.
    Nginx,
    /// nginx with a filter in Lua that masks the data of Secrets, for what else could be set up.
    NginxLua,
    /// haproxy.
    Haproxy,
    /// Envoy.
    Envoy,
    /// The gateway, no rule masks.
    Portcullis,
    /// The gateway with the scenario's masks.
    PortcullisMasked,
    /// The gateway, every session on tape.
    PortcullisRecorded,
    /// Both, as the profiles have it.
    PortcullisMaskedRecorded,
    /// The gateway, no rule masks, and all others that a policy may have match nothing.
    PortcullisManyRules,
}

impl Target {
    /// Whether the scenario's masks are on, so that no canary may come through.
    pub fn is_masked(self) -> bool {
        matches!(
            self,
            Self::PortcullisMasked | Self::PortcullisMaskedRecorded | Self::NginxLua
        )
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

/// Many clients of one sort.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Load {
    /// What they do.
    pub kind: LoadKind,
    /// With what.
    #[serde(default)]
    pub resource: Resource,
    /// How many clients.
    pub count: usize,
    /// In which encoding they ask for objects.
    #[serde(default)]
    pub content_type: Encoding,
    /// Over what.
    #[serde(default)]
    pub http: Http,
    /// Streams of one HTTP/2 connection.
    #[serde(default = "hundred")]
    pub per_connection: usize,
    /// When the events of a watch come: `saturated`, `idle`, `10/s` on each, or `10/s together`: on all at the same moment.
    #[serde(default)]
    pub events: Events,
    /// Items of a list, and of the initial events of a watch.
    #[serde(default = "hundred")]
    pub items: usize,
    /// Items of a list and initial events say when they were sent.
    #[serde(default)]
    pub stamped: bool,
    /// Pods have no names, variables and probes in common, as those of one workload do.
    #[serde(default)]
    pub distinct: bool,
    /// Requests or keys a second of all clients together, begun when they are due, answered or not; without it the next
    /// follows on the answer.
    pub rate: Option<f64>,
    /// 10^6 bytes of output of a command.
    #[serde(default = "fifty")]
    pub megabytes: u64,
}

fn hundred() -> usize {
    100
}

fn fifty() -> u64 {
    50
}

/// What a client does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum LoadKind {
    /// Reads a watch.
    Watch,
    /// Lists again and again.
    List,
    /// Gets one object again and again.
    Get,
    /// Follows a log.
    Logs,
    /// Begins to read a watch and stops.
    Stalled,
    /// Opens a watch, until its first event, again and again.
    Reconnect,
    /// Opens a watch with its initial events, until they are all there, again and again.
    Watchlist,
    /// Opens a watch when all others do.
    Storm,
    /// Types into a terminal.
    ExecEcho,
    /// Runs commands that print.
    ExecPrint,
}

impl LoadKind {
    /// Whether its clients end when the measurement does; others read until they are cut off.
    pub fn ends_by_itself(self) -> bool {
        !matches!(self, Self::Watch | Self::Logs | Self::Stalled)
    }
}

/// What objects.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// 10 KB each.
    #[default]
    Pods,
    /// 4.5 KB on average.
    Secrets,
    /// 300 to 3,400 bytes.
    Events,
    /// 2 KB.
    ConfigMaps,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum Http {
    /// A connection for each client.
    #[default]
    #[serde(rename = "1.1")]
    One,
    /// Many clients on a connection.
    #[serde(rename = "2")]
    Two,
}

impl Load {
    /// Makes it larger or smaller: clients and what they ask a second, and the items of lists by `items`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of clients and items"
    )]
    fn scale(&mut self, factor: f64, items: f64) {
        let scaled = |count: usize, by: f64| ((count as f64 * by) as usize).max(1);
        self.count = scaled(self.count, factor);
        self.rate = self.rate.map(|rate| rate * factor);
        self.items = scaled(self.items, items);
    }

    /// Nanoseconds between two turns of one client, where the load has a rate.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a period is between microseconds and hours"
    )]
    pub fn period(&self) -> Option<u64> {
        self.rate
            .map(|rate| (1e9 * self.count as f64 / rate) as u64)
    }

    /// What is asked for.
    pub fn path(&self) -> String {
        self.path_with(self.items)
    }

    /// The same with little to answer, to warm up.
    pub fn warm_path(&self) -> String {
        self.path_with(1)
    }

    fn path_with(&self, items: usize) -> String {
        let wish = Wish {
            pace: self.events.0,
            items,
            stamped: self.stamped,
            distinct: self.distinct,
        };
        let resource = match self.resource {
            Resource::Pods => "pods",
            Resource::Secrets => "secrets",
            Resource::Events => "events",
            Resource::ConfigMaps => "configmaps",
        };
        let words = wish.words();
        let selected = format!("{resource}?labelSelector={SELECTED}{words}");
        let rest = match self.kind {
            LoadKind::Watch | LoadKind::Stalled | LoadKind::Reconnect | LoadKind::Storm => {
                format!("{selected}&watch=true&allowWatchBookmarks=true")
            }
            LoadKind::Watchlist => format!(
                "{selected}&watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
            ),
            LoadKind::List => selected,
            LoadKind::Get => format!("{resource}/one"),
            LoadKind::Logs => format!("pods/{words}/log?follow=true"),
            LoadKind::ExecEcho => {
                "pods/one/exec?container=main&command=cat&stdin=true&stdout=true&tty=true"
                    .to_owned()
            }
            LoadKind::ExecPrint => format!(
                "pods/one/exec?container=main&command=print&command={}&stdout=true&stderr=true",
                self.megabytes * 1_000_000
            ),
        };
        // That of all objects: the values of its Secrets are known.
        format!("/api/v1/namespaces/{NAMESPACE}/{rest}")
    }
}

/// A bound on what was measured, in each round.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bar {
    /// A name of [`super::sample`]: `cpuPerUnit`, `p50`, …
    pub metric: String,
    /// Of whom.
    pub of: Target,
    /// Divided by the same of this one.
    pub by: Option<Target>,
    /// Both after taking away the same of this one.
    pub minus: Option<Target>,
    /// The bound from above.
    pub at_most: Option<f64>,
    /// The bound from below.
    pub at_least: Option<f64>,
}

impl fmt::Display for Bar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric, of, .. } = self;
        write!(formatter, "{metric} of {of}")?;
        if let Some(minus) = self.minus {
            write!(formatter, " less {minus}'s")?;
        }
        if let Some(by) = self.by {
            write!(formatter, " by {by}'s")?;
        }
        if let Some(bound) = self.at_most {
            write!(formatter, " ≤ {bound}")?;
        }
        if let Some(bound) = self.at_least {
            write!(formatter, " ≥ {bound}")?;
        }
        Ok(())
    }
}

/// Where in its file something stands.
fn place<T>(it: &Spanned<T>) -> String {
    format!(
        "line {}, column {}",
        it.referenced.line(),
        it.referenced.column()
    )
}

/// Where scenarios are kept.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

impl Scenario {
    /// Reads a scenario: a file, or the name of one that comes with the harness.
    pub fn load(name: &str) -> anyhow::Result<Self> {
        let mut path = PathBuf::from(name);
        if path.extension().is_none() {
            path = folder().join(format!("{name}.yaml"));
        }
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("no scenario {name:?}; `cargo loadtest list` shows those there are")
        })?;
        let mut scenario: Self =
            serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
        scenario.name = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        let problems = scenario.problems();
        if !problems.is_empty() {
            bail!("{} has problems:\n{}", path.display(), problems.join("\n"));
        }
        Ok(scenario)
    }

    /// All scenarios that come with the harness, by name.
    pub fn all() -> anyhow::Result<Vec<Self>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder())? {
            let path = entry?.path();
            if let Some(stem) = path.file_stem() {
                names.push(stem.to_string_lossy().into_owned());
            }
        }
        names.sort();
        names.iter().map(|name| Self::load(name)).collect()
    }

    /// All clients of all loads.
    pub fn clients(&self) -> usize {
        self.load.iter().map(|load| load.value.count).sum()
    }

    /// Measures only these of its targets, unless there are none.
    pub fn only(&mut self, targets: &[Target]) -> anyhow::Result<()> {
        if let Some(other) = targets.iter().find(|it| !self.targets.contains(it)) {
            let own: Vec<String> = self.targets.iter().map(Target::to_string).collect();
            bail!(
                "{} has no target {other}; it has {}",
                self.name,
                own.join(", ")
            );
        }
        if !targets.is_empty() {
            self.targets.retain(|target| targets.contains(target));
        }
        Ok(())
    }

    /// Runs only a part, or more: of the clients and their rates what `factor` says instead of the scenario's own
    /// scale, of the items of lists `items`.
    pub fn scale(&mut self, factor: Option<f64>, items: f64) {
        let factor = factor.unwrap_or(self.scale);
        for load in &mut self.load {
            load.value.scale(factor, items);
        }
    }

    /// What is wrong besides the form, each with its place.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.targets.is_empty() {
            problems.push("targets: at least one".to_owned());
        }
        let masked = self.targets.iter().find(|target| target.is_masked());
        if let (Some(target), true) = (masked, self.masks.is_empty()) {
            problems.push(format!("masks: {target} has none"));
        }
        for bar in &self.bars {
            let mut wrong = |what: String| problems.push(format!("{}: {what}", place(bar)));
            let bar = &bar.value;
            if !METRICS.iter().any(|metric| metric.name == bar.metric) {
                let names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
                let names = names.join(", ");
                wrong(format!(
                    "metric: no {:?} is measured, but {names}",
                    bar.metric
                ));
            }
            for target in [Some(bar.of), bar.by, bar.minus].into_iter().flatten() {
                if !self.targets.contains(&target) {
                    wrong(format!("{target} is not among the targets"));
                }
            }
            if bar.at_most.is_none() && bar.at_least.is_none() {
                wrong("neither atMost nor atLeast".to_owned());
            }
        }
        for load in &self.load {
            if load.value.count == 0 || load.value.per_connection == 0 {
                problems.push(format!(
                    "{}: count and perConnection are at least 1",
                    place(load)
                ));
            }
            let without_objects = matches!(
                load.value.kind,
                LoadKind::Logs | LoadKind::ExecEcho | LoadKind::ExecPrint
            );
            if without_objects && load.value.content_type == Encoding::Protobuf {
                problems.push(format!(
                    "{}: contentType: logs and commands have no objects",
                    place(load)
                ));
            }
            if load.value.rate.is_some_and(|rate| rate < RATE_MIN) {
                problems.push(format!("{}: rate is at least {RATE_MIN}", place(load)));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_with_its_place() {
        let text = "description: d\ntargets: [direct]\nload:\n- {kind: get, count: 0}\n- {kind: logs, count: 1, contentType: protobuf}\nbars:\n- {metric: speed, of: nginx}\n";
        let scenario: Scenario = serde_saphyr::from_str(text).unwrap();
        let problems = scenario.problems().join("\n");
        for expected in [
            "line 4, column 3: count",
            "line 5, column 3: contentType",
            "line 7, column 3: metric",
            "nginx is not among",
            "neither atMost",
        ] {
            assert!(problems.contains(expected), "{problems}");
        }
    }

    #[test]
    fn every_scenario_that_comes_with_the_harness_can_be_read() {
        assert!(!Scenario::all().unwrap().is_empty());
    }
}
