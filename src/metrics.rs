//! Every metric: its name, help text and unit, and the handles the code counts with.
//!
//! Handles are made once; nothing looks a metric up per request. Labels come from closed sets, never
//! from users, objects or paths. `docs/metrics.md` lists them; the tidy test keeps it complete.

mod approvals;
mod catalog;
mod flow;
mod outcome;
mod responses;
mod scraped;
mod verb;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::listener::Unreadable;
use crate::policy::mask::MaskName;
use crate::policy::{Measure, RecordMode};
use crate::transform::text::known::{Knowledge, LeftOut};

pub use catalog::ALL;
use catalog::{
    ADDED, APPROVAL_ANSWERS, AUDIT_BEHIND, AUDIT_EVENTS, AUDIT_EVENTS_LOST, AUDIT_QUEUE,
    AUDIT_SEGMENTS_LOST, CLUSTERS, DURATION, IN_FLIGHT, INDEX_FAILURES, KNOWN_VALUES,
    KNOWN_VALUES_LEFT_OUT, MASKED, OBSERVED, OVER_BUDGET, PLACEHOLDER_WRITES, POLICY_RELOADS,
    RECORDING_BYTES, RECORDING_FAILURES, RECORDINGS, REQUESTS, REVOCATION_RELOADS, STREAMS,
    STREAMS_ENDED, UNREADABLE,
};
use flow::{ADDED_BUCKETS, Flow};
pub use flow::{Listener, Load};
pub use outcome::{AuditSink, ClusterState, Outcome, StreamEnd};
use responses::Responses;
pub use scraped::Health;
use scraped::Scraped;
pub use verb::VerbClass;

/// Upper bounds of the duration histogram's buckets, in seconds: from a cached small read to a long list.
const DURATION_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// The same of answers by people: from somebody who sits there to a day.
const ANSWER_BUCKETS: &[f64] = &[
    5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0, 86_400.0,
];

/// The handles. Cheap to clone, made once by [`Metrics::new`].
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: [[Counter; 5]; 5],
    unreadable: [Counter; 3],
    durations: [Histogram; 5],
    streams: [Gauge; 2],
    streams_ended: [Counter; 7],
    over_budget: [Counter; 4],
    answers: [Histogram; 4],
    observed: [Counter; 2],
    clusters: [Gauge; 3],
    policy_reloads: [Counter; 2],
    revocation_reloads: [Counter; 2],
    in_flight: Gauge,
    masked: [Counter; MaskName::COUNT],
    flow: Flow,
    placeholder_writes: Counter,
    audit_events: Counter,
    audit_queue: Gauge,
    audit_behind: [Gauge; 2],
    audit_segments_lost: [Counter; 2],
    recordings: Gauge,
    recording_bytes: Counter,
    recording_failures: [Counter; 2],
    responses: Responses,
    index_failures: Counter,
    audit_events_lost: Counter,
    known_values: Gauge,
    known_values_left_out: [Gauge; LeftOut::ALL.len()],
    scraped: Scraped,
}

/// In the order of [`AuditSink`].
const AUDIT_SINKS: [&str; 2] = ["webhook", "otlp"];
const OUTCOMES: [&str; 5] = ["allowed", "denied", "held", "refused", "failed"];
const VERB_CLASSES: [&str; 5] = ["read", "write", "stream", "session", "other"];

type Labels<'a> = &'a [(&'static str, &'static str)];

/// Counters by how much depends on what is kept.
fn by_mode(
    counter: &impl Fn(&'static str, Labels<'_>) -> Counter,
    name: &'static str,
) -> [Counter; 2] {
    [RecordMode::BestEffort, RecordMode::Required]
        .map(|mode| counter(name, &[("mode", mode.as_str())]))
}

/// The one of [`by_mode`].
fn of([best_effort, required]: &[Counter; 2], mode: RecordMode) -> &Counter {
    match mode {
        RecordMode::BestEffort => best_effort,
        RecordMode::Required => required,
    }
}

impl Metrics {
    /// Registers every metric and returns the handles together with what renders them.
    pub fn new() -> (Self, PrometheusHandle) {
        let buckets = [
            (DURATION, DURATION_BUCKETS),
            (APPROVAL_ANSWERS, ANSWER_BUCKETS),
            (ADDED, ADDED_BUCKETS),
        ];
        let builder =
            buckets
                .iter()
                .try_fold(PrometheusBuilder::new(), |builder, (name, buckets)| {
                    builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)
                });
        // Buckets can only be refused when the list is empty; the default summary is no harm then.
        let recorder = builder.unwrap_or_default().build_recorder();
        for (name, unit, help) in ALL {
            if name.ends_with("_total") {
                recorder.describe_counter(KeyName::from_const_str(name), *unit, (*help).into());
            } else if buckets.iter().any(|(histogram, _)| histogram == name) {
                recorder.describe_histogram(KeyName::from_const_str(name), *unit, (*help).into());
            } else {
                recorder.describe_gauge(KeyName::from_const_str(name), *unit, (*help).into());
            }
        }
        let handle = recorder.handle();
        (Self::register(&recorder), handle)
    }

    fn register(recorder: &PrometheusRecorder) -> Self {
        let counter =
            |name, labels: Labels<'_>| recorder.register_counter(&key(name, labels), &METADATA);
        let gauge =
            |name, labels: Labels<'_>| recorder.register_gauge(&key(name, labels), &METADATA);
        let histogram =
            |name, labels: Labels<'_>| recorder.register_histogram(&key(name, labels), &METADATA);
        Self {
            requests: OUTCOMES.map(|decision| {
                VERB_CLASSES.map(|class| {
                    counter(REQUESTS, &[("decision", decision), ("verb_class", class)])
                })
            }),
            unreadable: ["not-canonical", "too-large", "too-slow"]
                .map(|reason| counter(UNREADABLE, &[("reason", reason)])),
            durations: VERB_CLASSES.map(|class| histogram(DURATION, &[("verb_class", class)])),
            streams: ["stream", "session"].map(|kind| gauge(STREAMS, &[("kind", kind)])),
            streams_ended: [
                "expired", "revoked", "policy", "drain", "approval", "blocked", "budget",
            ]
            .map(|reason| counter(STREAMS_ENDED, &[("reason", reason)])),
            over_budget: ["requests", "deletes", "namespaces", "bytes"]
                .map(|measure| counter(OVER_BUDGET, &[("measure", measure)])),

            answers: ["approved", "denied", "expired", "withdrawn"]
                .map(|outcome| histogram(APPROVAL_ANSWERS, &[("outcome", outcome)])),
            observed: ["deny", "hold"].map(|would| counter(OBSERVED, &[("would", would)])),
            clusters: ["usable", "unreachable", "credential-rejected"]
                .map(|state| gauge(CLUSTERS, &[("state", state)])),
            policy_reloads: ["applied", "refused"]
                .map(|result| counter(POLICY_RELOADS, &[("result", result)])),
            revocation_reloads: ["applied", "refused"]
                .map(|result| counter(REVOCATION_RELOADS, &[("result", result)])),
            in_flight: gauge(IN_FLIGHT, &[]),
            masked: MaskName::all().map(|mask| counter(MASKED, &[("mask", mask.label())])),
            flow: Flow::register(&gauge, &histogram),
            placeholder_writes: counter(PLACEHOLDER_WRITES, &[]),
            audit_events: counter(AUDIT_EVENTS, &[]),
            audit_queue: gauge(AUDIT_QUEUE, &[]),
            audit_behind: AUDIT_SINKS.map(|sink| gauge(AUDIT_BEHIND, &[("sink", sink)])),
            audit_segments_lost: AUDIT_SINKS
                .map(|sink| counter(AUDIT_SEGMENTS_LOST, &[("sink", sink)])),
            recordings: gauge(RECORDINGS, &[]),
            recording_bytes: counter(RECORDING_BYTES, &[]),
            recording_failures: by_mode(&counter, RECORDING_FAILURES),
            responses: Responses::register(&counter),
            index_failures: counter(INDEX_FAILURES, &[]),
            audit_events_lost: counter(AUDIT_EVENTS_LOST, &[]),
            known_values: gauge(KNOWN_VALUES, &[]),
            known_values_left_out: LeftOut::ALL
                .map(|why| gauge(KNOWN_VALUES_LEFT_OUT, &[("reason", why.label())])),
            scraped: Scraped::register(&gauge),
        }
    }

    /// A request arrived; it counts as in flight until the guard is dropped.
    pub fn arrived(&self) -> InFlight {
        self.in_flight.increment(1.0);
        InFlight(self.in_flight.clone())
    }

    /// A request was refused before it was read.
    pub fn unreadable(&self, why: Unreadable) {
        let [not_canonical, too_large, too_slow] = &self.unreadable;
        match why {
            Unreadable::NotCanonical(_) => not_canonical,
            Unreadable::TooLarge => too_large,
            Unreadable::TooSlow => too_slow,
        }
        .increment(1);
    }

    /// A stream or session opened; it counts as open until the guard is dropped.
    pub fn opened(&self, class: VerbClass) -> InFlight {
        let [stream, session] = &self.streams;
        let gauge = if class == VerbClass::Session {
            session
        } else {
            stream
        };
        gauge.increment(1.0);
        InFlight(gauge.clone())
    }

    /// A request is over.
    pub fn answered(&self, outcome: Outcome, class: VerbClass, seconds: f64) {
        if let Some(counter) = self
            .requests
            .get(outcome as usize)
            .and_then(|row| row.get(class as usize))
        {
            counter.increment(1);
        }
        if !matches!(class, VerbClass::Stream | VerbClass::Session)
            && let Some(histogram) = self.durations.get(class as usize)
        {
            histogram.record(seconds);
        }
    }

    /// The gateway ended a stream.
    pub fn stream_ended(&self, why: StreamEnd) {
        if let Some(counter) = self.streams_ended.get(why as usize) {
            counter.increment(1);
        }
    }

    /// A budget is used up.
    pub fn over_budget(&self, measure: Measure) {
        if let Some(counter) = self.over_budget.get(measure as usize) {
            counter.increment(1);
        }
    }

    /// Values were masked in one response.
    pub fn masked(&self, mask: MaskName, values: u64) {
        if let Some(masked) = self.masked.get(mask.place()) {
            masked.increment(values);
        }
    }

    /// A write carried a placeholder and was refused.
    pub fn placeholder_write(&self) {
        self.placeholder_writes.increment(1);
    }

    /// A cluster's state is known, and what it was before unless it is new.
    pub fn cluster(&self, before: Option<ClusterState>, now: ClusterState) {
        let gauge = |state: ClusterState| {
            let [usable, unreachable, rejected] = &self.clusters;
            match state {
                ClusterState::Usable => usable,
                ClusterState::Unreachable => unreachable,
                ClusterState::Rejected => rejected,
            }
        };
        if let Some(before) = before {
            gauge(before).decrement(1.0);
        }
        gauge(now).increment(1.0);
    }

    /// So much is known of a cluster now, and was `before`.
    pub fn known_values(&self, before: &Knowledge, now: &Knowledge) {
        #[expect(clippy::cast_precision_loss, reason = "no one counts so many Secrets")]
        let change = |gauge: &Gauge, before: u64, now: u64| {
            gauge.increment(now as f64 - before as f64);
        };
        change(&self.known_values, before.known as u64, now.known as u64);
        for (why, gauge) in LeftOut::ALL.iter().zip(&self.known_values_left_out) {
            let count = |of: &Knowledge| of.left_out.get(why).copied().unwrap_or_default();
            change(gauge, count(before), count(now));
        }
    }

    /// Takes the measurements that nothing counts as it happens; for every scrape.
    pub fn measure(&self, health: Health) {
        self.scraped.measure(health);
    }

    /// The policy files changed and were applied, or refused.
    pub fn policy_reloaded(&self, applied: bool) {
        let [good, bad] = &self.policy_reloads;
        if applied { good } else { bad }.increment(1);
    }

    /// The revocation list changed and was applied, or refused.
    pub fn revocations_reloaded(&self, applied: bool) {
        let [good, bad] = &self.revocation_reloads;
        if applied { good } else { bad }.increment(1);
    }

    /// A recording began; it counts as open until the guard is dropped.
    pub fn recording(&self) -> InFlight {
        self.recordings.increment(1.0);
        InFlight(self.recordings.clone())
    }

    /// Lines were recorded.
    pub fn recorded(&self, bytes: usize) {
        self.recording_bytes
            .increment(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// A recording could not be begun, or not be finished.
    pub fn recording_failed(&self, mode: RecordMode) {
        of(&self.recording_failures, mode).increment(1);
    }

    /// The index of recordings was damaged, or could not be written.
    pub fn index_failed(&self) {
        self.index_failures.increment(1);
    }

    /// A refusal could not be put on record.
    pub fn audit_event_lost(&self) {
        self.audit_events_lost.increment(1);
    }

    /// An audit event was written; `queued` wait behind it.
    pub fn audited(&self, queued: usize) {
        self.audit_events.increment(1);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a queue length is far below 2^52"
        )]
        self.audit_queue.set(queued as f64);
    }
}

/// Something that counts as long as it lives.
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

static METADATA: Metadata<'static> = Metadata::new("portcullis", Level::INFO, None);

fn key(name: &'static str, labels: Labels<'_>) -> Key {
    let labels = labels
        .iter()
        .map(|(key, value)| Label::from_static_parts(key, value))
        .collect::<Vec<_>>();
    Key::from_parts(name, labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::Answered;

    /// Dashboards and alerts that ask for what there is not stay green for ever.
    #[test]
    fn dashboard_and_alerts_ask_for_what_there_is() {
        let (metrics, handle) = Metrics::new();
        for class in [VerbClass::Read, VerbClass::Write, VerbClass::Other] {
            metrics.answered(Outcome::Allowed, class, 0.01); // a histogram is rendered once it has a value
        }
        metrics.added(VerbClass::Read, 0.002);
        metrics.question_over(Answered::Approved, std::time::Duration::from_secs(20));
        let rendered = handle.render();
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let series = regex::Regex::new(
            r"\b((?:portcullis|process)_[a-z_]+)\b(?:\{((?:[^{}]|\{\{[^{}]*\}\})*)\})?",
        )
        .unwrap();
        let label = regex::Regex::new(r#"([a-z_]+)(=~?)"([^"]*)""#).unwrap();
        for file in ["grafana/portcullis.json", "prometheus/alerts.yaml"] {
            let text = std::fs::read_to_string(root.join("deploy").join(file)).unwrap();
            let text = text.replace("\\\"", "\"");
            let mut found = 0;
            for asked in series.captures_iter(&text) {
                found += 1;
                let name = &asked[1];
                let is_there = |condition: &str| {
                    rendered.lines().any(|line| {
                        line.strip_prefix(name)
                            .or_else(|| line.strip_prefix(name.strip_suffix("_bucket")?))
                            .is_some_and(|rest| {
                                rest.starts_with(['{', ' ', '_']) && rest.contains(condition)
                            })
                    })
                };
                assert!(is_there(""), "{file}: there is no metric {name}");
                let conditions = asked.get(2).map_or("", |found| found.as_str());
                for condition in label.captures_iter(conditions) {
                    if matches!(&condition[1], "instance" | "job") {
                        continue; // of the scrape
                    }
                    for value in condition[3].split('|') {
                        let wanted = format!("{}=\"{value}\"", &condition[1]);
                        assert!(is_there(&wanted), "{file}: {name} has no {wanted}");
                    }
                }
            }
            assert!(found > 20, "{file}: only {found} metrics were found");
        }
    }

    #[test]
    fn everything_is_rendered_with_its_help() {
        let (metrics, handle) = Metrics::new();
        metrics.answered(Outcome::Denied, VerbClass::Write, 0.01);
        metrics.answered(Outcome::Allowed, VerbClass::Session, 900.0);
        let open = metrics.opened(VerbClass::Session);
        metrics.added(VerbClass::Read, 0.002);
        metrics.question_over(Answered::Denied, std::time::Duration::from_secs(20));
        metrics.approvals((2, std::time::Duration::from_secs(90)), 1);
        let text = handle.render();
        for line in [
            "{outcome=\"denied\",le=\"15\"} 0",
            "{outcome=\"denied\",le=\"30\"} 1",
            "portcullis_approvals_open 2",
            "portcullis_approvals_oldest_seconds 90",
            "portcullis_grants_active 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        for (name, _, _) in ALL {
            assert!(
                text.contains(&format!("# HELP {name}")),
                "{name} is missing in\n{text}"
            );
        }
        assert!(
            text.contains("portcullis_requests_total{decision=\"denied\",verb_class=\"write\"} 1")
        );
        assert!(text.contains("portcullis_streams_open{kind=\"session\"} 1"));
        drop(open);
        assert!(
            handle
                .render()
                .contains("portcullis_streams_open{kind=\"session\"} 0")
        );
    }
}
