//! Rules for what was seen: as few as say exactly that, each with how often it was needed.
//!
//! What differs only in the resource goes into one rule when verbs and namespaces are the same, so no rule allows a
//! pair of verb and resource, or of resource and namespace, that was not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::seen::{Act, Whom};

/// Namespaces; `None` is any, and the cluster scope.
type Places = Option<BTreeSet<String>>;

/// Verbs or resources, and how often they were used.
type Used<'a> = (BTreeSet<&'a str>, u64);

/// What becomes of what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect<'a> {
    /// It is allowed.
    Allow,
    /// It waits for somebody of these groups.
    Hold(&'a [String]),
    /// It is left out.
    Deny,
}

/// The rules of a draft, one caller after the other.
pub(super) struct Draft<'a> {
    destructive: Effect<'a>,
    names: BTreeSet<String>,
    text: String,
    /// The caller that rules are written for, as YAML.
    subjects: String,
}

/// One rule.
struct Rule<'a> {
    group: &'a str,
    verbs: BTreeSet<&'a str>,
    resources: BTreeSet<&'a str>,
    places: Places,
    times: u64,
}

/// What a resource was used for.
#[derive(Default)]
struct Use {
    places: BTreeSet<String>,
    everywhere: bool,
    times: u64,
}

/// What clients need to find out what there is.
const DISCOVERY: &[&str] = &[
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/openapi/*",
    "/version",
    "/healthz",
    "/livez",
    "/readyz",
];
const SESSIONS: &[&str] = &["pods/exec", "pods/attach", "pods/portforward"];

impl<'a> Draft<'a> {
    /// A draft that begins with this text.
    pub(super) fn new(head: String, destructive: Effect<'a>) -> Self {
        Self {
            destructive,
            names: ["mask".to_owned()].into(),
            text: head,
            subjects: String::new(),
        }
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.text
    }

    /// Adds what one caller did.
    pub(super) fn caller(&mut self, number: usize, whom: &Whom, acts: &BTreeMap<Act, u64>) {
        let (what, key, name) = match whom {
            Whom::Agent(name) => ("agent", "agents", name),
            Whom::User(name) => ("user", "users", name),
            Whom::Group(name) => ("group", "groups", name),
        };
        let times: u64 = acts.values().sum();
        let head = format!("\n# -- {what} {}: {times} requests --\n", visible(name));
        self.text.push_str(&head);
        self.subjects = format!("&who-{number} {{{key}: [{}]}}", quoted(&escaped(name)));
        self.sessions(acts);
        for (paths, verbs, times) in paths(acts) {
            let discovery = paths.first().is_some_and(|path| path == "/api");
            let name = if discovery { "discovery" } else { "paths" };
            let lines = format!(
                "  nonResourceURLs: [{}]\n  verbs: [{}]\n  decision: allow\n",
                list(paths.iter().map(String::as_str)),
                list(verbs.into_iter()),
            );
            self.rule(name, &counted(times), &lines);
        }
        for seen in rules(acts, self.destructive) {
            self.resources(&seen);
        }
    }

    /// Shells and forwarded ports are recorded, as in every profile.
    fn sessions(&mut self, acts: &BTreeMap<Act, u64>) {
        let is_session = |act: &Act| {
            matches!(act, Act::Resource { group, resource, .. }
                if group.is_empty() && SESSIONS.contains(&resource.as_str()))
        };
        if acts.keys().any(is_session) {
            let lines = format!(
                "  verbs: [create]\n  apiGroups: [\"\"]\n  resources: [{}]\n  record: required\n",
                SESSIONS.join(", ")
            );
            let comment = "adds to whichever rule allows the session";
            self.rule("record-sessions", comment, &lines);
        }
    }

    fn resources(&mut self, seen: &Rule<'_>) {
        let effect = if seen.is_destructive() {
            self.destructive
        } else {
            Effect::Allow
        };
        let (verbs, resources) = (
            list(seen.verbs.iter().copied()),
            list(seen.resources.iter().copied()),
        );
        let decision = match effect {
            Effect::Deny => {
                let times = counted(seen.times);
                let left_out = format!("\n# left out: {verbs} of {resources} ({times})\n");
                self.text.push_str(&left_out);
                return;
            }
            Effect::Allow => "allow\n".to_owned(),
            Effect::Hold(groups) => format!(
                "hold\n  hold: {{approvers: {{groups: [{}]}}}}\n",
                list(groups.iter().map(String::as_str))
            ),
        };
        let places = seen.places.as_ref().map_or_else(String::new, |places| {
            let places: Vec<String> = places.iter().map(|place| escaped(place)).collect();
            let places = list(places.iter().map(String::as_str));
            format!("  namespaces: [{places}]\n")
        });
        let lines = format!(
            "  verbs: [{verbs}]\n  apiGroups: [{}]\n  resources: [{resources}]\n{places}  decision: {decision}",
            quoted(seen.group),
        );
        self.rule(&seen.name(), &counted(seen.times), &lines);
    }

    fn rule(&mut self, name: &str, comment: &str, lines: &str) {
        let (name, subjects) = (self.unused(name), &self.subjects);
        let rule = format!("\n- name: {name:<36} # {comment}\n  subjects: {subjects}\n{lines}");
        self.text.push_str(&rule);
        // Said once, and meant from then on.
        if let Some(anchor) = self.subjects.strip_prefix('&') {
            let anchor = anchor.split(' ').next().unwrap_or_default();
            self.subjects = format!("*{anchor}");
        }
    }

    /// A name that no rule has yet.
    fn unused(&mut self, name: &str) -> String {
        let mut found = name.to_owned();
        let mut number = 2;
        while !self.names.insert(found.clone()) {
            found = format!("{name}-{number}");
            number += 1;
        }
        found
    }
}

/// The resources of one caller, put together.
fn rules<'a>(acts: &'a BTreeMap<Act, u64>, destructive: Effect<'_>) -> Vec<Rule<'a>> {
    let mut uses: BTreeMap<(&str, &str, &str), Use> = BTreeMap::new();
    for (act, times) in acts {
        if let Act::Resource {
            group,
            resource,
            verb,
            namespace,
        } = act
        {
            let used = uses.entry((group, resource, verb)).or_default();
            used.times += times;
            match namespace {
                Some(namespace) => {
                    used.places.insert(namespace.clone());
                }
                None => used.everywhere = true,
            }
        }
    }
    // Verbs of one resource that are the same everywhere, then resources that are.
    let mut by_resource: BTreeMap<(&str, &str, Places, bool), Used<'_>> = BTreeMap::new();
    for ((group, resource, verb), used) in uses {
        let places = (!used.everywhere).then_some(used.places);
        let apart = destructive != Effect::Allow && destroys(resource, verb);
        let (verbs, times) = by_resource
            .entry((group, resource, places, apart))
            .or_default();
        verbs.insert(verb);
        *times += used.times;
    }
    let mut rules: BTreeMap<(&str, BTreeSet<&str>, Places), Used<'_>> = BTreeMap::new();
    for ((group, resource, places, _), (verbs, times)) in by_resource {
        let (resources, all) = rules.entry((group, verbs, places)).or_default();
        resources.insert(resource);
        *all += times;
    }
    let mut rules: Vec<Rule<'_>> = rules
        .into_iter()
        .map(|((group, verbs, places), (resources, times))| Rule {
            group,
            verbs,
            resources,
            places,
            times,
        })
        .collect();
    rules.sort_by_key(|rule| (rule.kind(), rule.group));
    rules
}

/// Paths, the usual ones of discovery as every profile has them; with their verbs and how often they were asked for.
fn paths(acts: &BTreeMap<Act, u64>) -> Vec<(Vec<String>, BTreeSet<&str>, u64)> {
    let mut discovery = 0;
    let mut others: BTreeMap<BTreeSet<&str>, (Vec<String>, u64)> = BTreeMap::new();
    let mut verbs_of: BTreeMap<&str, (BTreeSet<&str>, u64)> = BTreeMap::new();
    for (act, times) in acts {
        let Act::Path { verb, path } = act else {
            continue;
        };
        if verb == "get" && is_discovery(path) {
            discovery += times;
            continue;
        }
        let (verbs, all) = verbs_of.entry(path).or_default();
        verbs.insert(verb);
        *all += times;
    }
    for (path, (verbs, times)) in verbs_of {
        let (paths, all) = others.entry(verbs).or_default();
        // A star at the end would be more than was seen.
        if !path.ends_with('*') {
            paths.push(path.to_owned());
            *all += times;
        }
    }
    let usual = (discovery > 0).then(|| {
        let paths = DISCOVERY.iter().map(|&path| path.to_owned()).collect();
        (paths, BTreeSet::from(["get"]), discovery)
    });
    let others = others
        .into_iter()
        .filter(|(_, (paths, _))| !paths.is_empty());
    let others = others.map(|(verbs, (paths, times))| (paths, verbs, times));
    usual.into_iter().chain(others).collect()
}

fn is_discovery(path: &str) -> bool {
    DISCOVERY.iter().any(|known| match known.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == *known,
    })
}

/// Whether something is gone afterwards.
fn destroys(resource: &str, verb: &str) -> bool {
    matches!(verb, "delete" | "deletecollection") || resource == "pods/eviction"
}

impl Rule<'_> {
    fn is_destructive(&self) -> bool {
        let mut resources = self.resources.iter();
        self.verbs
            .iter()
            .all(|verb| resources.all(|resource| destroys(resource, verb)))
    }

    /// 0 reads, 1 changes, 2 destroys.
    fn kind(&self) -> usize {
        let reads = self
            .verbs
            .iter()
            .all(|verb| matches!(*verb, "get" | "list" | "watch"));
        match (reads, self.is_destructive()) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        }
    }

    fn name(&self) -> String {
        let kind = ["read", "use", "delete"].get(self.kind()).copied();
        let first = self.resources.first().copied().unwrap_or_default();
        let plain: String = first
            .chars()
            .map(|c| {
                if c.is_ascii_lowercase() || c.is_ascii_digit() {
                    c
                } else {
                    '-'
                }
            })
            .take(40)
            .collect();
        format!("{}-{}", kind.unwrap_or("use"), plain.trim_matches('-'))
    }
}

fn counted(times: u64) -> String {
    match times {
        1 => "once".to_owned(),
        times => format!("{times} times"),
    }
}

fn list<'s>(texts: impl Iterator<Item = &'s str>) -> String {
    let texts: Vec<String> = texts.map(quoted).collect();
    texts.join(", ")
}

/// A text as YAML: plain where every reader takes it for that text, else quoted, with nothing in it that hides or that
/// turns the direction of a line (threats H-03): whoever reads a draft decides by what they see.
pub(super) fn quoted(text: &str) -> String {
    let plain = text.starts_with(|first: char| first.is_ascii_lowercase() || first == '/')
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-./_".contains(c))
        && !matches!(
            text,
            "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
        );
    if plain {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c if c.is_alphanumeric() => out.push(c),
            // YAML 1.2 §5.7.
            c => {
                // Writing to a String cannot fail.
                let _infallible = write!(out, "\\U{:08x}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

/// A name as a glob that means nothing but itself.
fn escaped(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if "*?[]{}\\,!".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A name in a comment, on one line and with everything in it visible.
fn visible(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars().take(100) {
        if matches!(c, ' '..='~') || c.is_alphanumeric() {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}
