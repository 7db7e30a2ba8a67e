//! Every metric: its name, help text and unit, and the handles the code counts with.
//!
//! Handles are made once; nothing looks a metric up per request. Labels come from closed sets, never
//! from users, objects or paths. `docs/metrics.md` lists them; the tidy test keeps it complete.

mod approvals;
mod outcome;
mod scraped;
mod verb;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::listener::Unreadable;
use crate::policy::{Measure, RecordMode};
use crate::transform::text::known::{Knowledge, LeftOut};

pub use outcome::{ClusterState, Outcome, StreamEnd};
pub use scraped::Health;
use scraped::{
    APPROVALS_OLDEST, APPROVALS_OPEN, CALLERS_BLOCKED, GRANTS_ACTIVE, HEALTHCHECKS,
    RESIDENT_MEMORY, Scraped,
};
pub use verb::VerbClass;

/// What a metric is called, measured in, and says. Listed in `docs/metrics.md`.
pub const ALL: &[(&str, Option<Unit>, &str)] = &[
    (
        REQUESTS,
        None,
        "Requests answered, by decision and verb class.",
    ),
    (
        UNREADABLE,
        None,
        "HTTP/1.1 requests refused before they were read, by what was wrong with them.",
    ),
    (
        IN_FLIGHT,
        None,
        "Requests being answered, long-running ones included.",
    ),
    (
        DURATION,
        Some(Unit::Seconds),
        "Time from arrival to the last byte of the answer, by verb class; long-running requests are left out.",
    ),
    (STREAMS, None, "Open watches, logs and sessions, by kind."),
    (MASKED, None, "Values replaced by placeholders."),
    (
        PLACEHOLDER_WRITES,
        None,
        "Writes refused because they carried a placeholder.",
    ),
    (
        STREAMS_ENDED,
        None,
        "Streams the gateway ended before their time, by reason.",
    ),
    (
        OVER_BUDGET,
        None,
        "Requests refused because a budget of the caller is used up, by what it limits.",
    ),
    (
        OBSERVED,
        None,
        "Requests that went on although the policy, which only observes, would have stopped them, by what it would have done.",
    ),
    (
        CLUSTERS,
        None,
        "Configured clusters, by whether they can be used.",
    ),
    (POLICY_RELOADS, None, "Policy reloads, by result."),
    (
        REVOCATION_RELOADS,
        None,
        "Reloads of the revocation list, by result.",
    ),
    (AUDIT_EVENTS, None, "Audit events written."),
    (AUDIT_QUEUE, None, "Audit events waiting to be written."),
    (
        AUDIT_EVENTS_LOST,
        None,
        "Refusals that are not in the audit log, because it could not be written.",
    ),
    (
        AUDIT_BEHIND,
        None,
        "Bytes of the audit log that were not sent to its webhook yet.",
    ),
    (
        AUDIT_SEGMENTS_LOST,
        None,
        "Segments of the audit log that were removed before they were sent.",
    ),
    (RECORDINGS, None, "Sessions being recorded."),
    (
        RECORDING_BYTES,
        Some(Unit::Bytes),
        "Bytes of recordings made.",
    ),
    (
        RECORDING_FAILURES,
        None,
        "Recordings that could not be begun or finished, by what the policy demands.",
    ),
    (
        INDEX_FAILURES,
        None,
        "Times the index of recordings was damaged or could not be written.",
    ),
    (
        KNOWN_VALUES,
        None,
        "Values of Secrets that are masked wherever they turn up, in all clusters.",
    ),
    (
        KNOWN_VALUES_LEFT_OUT,
        None,
        "Values of Secrets that are not, by reason.",
    ),
    (
        HEALTHCHECKS,
        None,
        "Whether a part of the gateway works (1) or not (0), by its name; asked at every scrape.",
    ),
    (
        APPROVALS_OPEN,
        None,
        "Questions that wait for an approver's answer; asked at every scrape.",
    ),
    (
        APPROVALS_OLDEST,
        Some(Unit::Seconds),
        "For how long the oldest question has waited; asked at every scrape.",
    ),
    (
        APPROVAL_ANSWERS,
        Some(Unit::Seconds),
        "Time from a question to what became of it, by outcome.",
    ),
    (
        GRANTS_ACTIVE,
        None,
        "Roles that are given at the moment; asked at every scrape.",
    ),
    (
        CALLERS_BLOCKED,
        None,
        "Users and agents whom an operator keeps out; asked at every scrape.",
    ),
    (
        RESIDENT_MEMORY,
        Some(Unit::Bytes),
        "Memory of the process that is in RAM; Linux only.",
    ),
];

const REQUESTS: &str = "portcullis_requests_total";
const UNREADABLE: &str = "portcullis_unreadable_requests_total";
const IN_FLIGHT: &str = "portcullis_requests_in_flight";
const DURATION: &str = "portcullis_request_duration_seconds";
const STREAMS: &str = "portcullis_streams_open";
const MASKED: &str = "portcullis_masked_values_total";
const PLACEHOLDER_WRITES: &str = "portcullis_placeholder_writes_total";
const STREAMS_ENDED: &str = "portcullis_streams_ended_total";
const OVER_BUDGET: &str = "portcullis_over_budget_total";
const APPROVAL_ANSWERS: &str = "portcullis_approval_answer_seconds";
const OBSERVED: &str = "portcullis_observed_total";
const CLUSTERS: &str = "portcullis_clusters";
const POLICY_RELOADS: &str = "portcullis_policy_reloads_total";
const REVOCATION_RELOADS: &str = "portcullis_revocation_reloads_total";
const AUDIT_EVENTS: &str = "portcullis_audit_events_total";
const AUDIT_QUEUE: &str = "portcullis_audit_queue_events";
const AUDIT_BEHIND: &str = "portcullis_audit_webhook_behind_bytes";
const AUDIT_SEGMENTS_LOST: &str = "portcullis_audit_webhook_segments_lost_total";
const RECORDINGS: &str = "portcullis_recordings_open";
const RECORDING_BYTES: &str = "portcullis_recording_bytes_total";
const RECORDING_FAILURES: &str = "portcullis_recording_failures_total";
const INDEX_FAILURES: &str = "portcullis_recording_index_failures_total";
const AUDIT_EVENTS_LOST: &str = "portcullis_audit_events_lost_total";

const KNOWN_VALUES: &str = "portcullis_known_values";
const KNOWN_VALUES_LEFT_OUT: &str = "portcullis_known_values_left_out";

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
    masked: Counter,
    placeholder_writes: Counter,
    audit_events: Counter,
    audit_queue: Gauge,
    audit_behind: Gauge,
    audit_segments_lost: Counter,
    recordings: Gauge,
    recording_bytes: Counter,
    recording_failures: [Counter; 2],
    index_failures: Counter,
    audit_events_lost: Counter,
    known_values: Gauge,
    known_values_left_out: [Gauge; LeftOut::ALL.len()],
    scraped: Scraped,
}

const OUTCOMES: [&str; 5] = ["allowed", "denied", "held", "refused", "failed"];
const VERB_CLASSES: [&str; 5] = ["read", "write", "stream", "session", "other"];

impl Metrics {
    /// Registers every metric and returns the handles together with what renders them.
    pub fn new() -> (Self, PrometheusHandle) {
        // Buckets can only be refused when the list is empty; the default summary is no harm then.
        let builder = PrometheusBuilder::new();
        let recorder = match builder
            .set_buckets_for_metric(Matcher::Full(DURATION.to_owned()), DURATION_BUCKETS)
            .and_then(|builder| {
                let answers = Matcher::Full(APPROVAL_ANSWERS.to_owned());
                builder.set_buckets_for_metric(answers, ANSWER_BUCKETS)
            }) {
            Ok(builder) => builder.build_recorder(),
            Err(_) => PrometheusBuilder::new().build_recorder(),
        };
        for (name, unit, help) in ALL {
            if name.ends_with("_total") {
                recorder.describe_counter(KeyName::from_const_str(name), *unit, (*help).into());
            } else if [DURATION, APPROVAL_ANSWERS].contains(name) {
                recorder.describe_histogram(KeyName::from_const_str(name), *unit, (*help).into());
            } else {
                recorder.describe_gauge(KeyName::from_const_str(name), *unit, (*help).into());
            }
        }
        let handle = recorder.handle();
        (Self::register(&recorder), handle)
    }

    fn register(recorder: &PrometheusRecorder) -> Self {
        let counter = |name, labels: &[(&'static str, &'static str)]| {
            recorder.register_counter(&key(name, labels), &METADATA)
        };
        let gauge = |name, labels: &[(&'static str, &'static str)]| {
            recorder.register_gauge(&key(name, labels), &METADATA)
        };
        Self {
            requests: OUTCOMES.map(|decision| {
                VERB_CLASSES.map(|class| {
                    counter(REQUESTS, &[("decision", decision), ("verb_class", class)])
                })
            }),
            unreadable: ["not-canonical", "too-large", "too-slow"]
                .map(|reason| counter(UNREADABLE, &[("reason", reason)])),
            durations: VERB_CLASSES.map(|class| {
                recorder.register_histogram(&key(DURATION, &[("verb_class", class)]), &METADATA)
            }),
            streams: ["stream", "session"].map(|kind| gauge(STREAMS, &[("kind", kind)])),
            streams_ended: [
                "expired", "revoked", "policy", "drain", "approval", "blocked", "budget",
            ]
            .map(|reason| counter(STREAMS_ENDED, &[("reason", reason)])),
            over_budget: ["requests", "deletes", "namespaces", "bytes"]
                .map(|measure| counter(OVER_BUDGET, &[("measure", measure)])),

            answers: ["approved", "denied", "expired", "withdrawn"].map(|outcome| {
                recorder
                    .register_histogram(&key(APPROVAL_ANSWERS, &[("outcome", outcome)]), &METADATA)
            }),
            observed: ["deny", "hold"].map(|would| counter(OBSERVED, &[("would", would)])),
            clusters: ["usable", "unreachable", "credential-rejected"]
                .map(|state| gauge(CLUSTERS, &[("state", state)])),
            policy_reloads: ["applied", "refused"]
                .map(|result| counter(POLICY_RELOADS, &[("result", result)])),
            revocation_reloads: ["applied", "refused"]
                .map(|result| counter(REVOCATION_RELOADS, &[("result", result)])),
            in_flight: gauge(IN_FLIGHT, &[]),
            masked: counter(MASKED, &[]),
            placeholder_writes: counter(PLACEHOLDER_WRITES, &[]),
            audit_events: counter(AUDIT_EVENTS, &[]),
            audit_queue: gauge(AUDIT_QUEUE, &[]),
            audit_behind: gauge(AUDIT_BEHIND, &[]),
            audit_segments_lost: counter(AUDIT_SEGMENTS_LOST, &[]),
            recordings: gauge(RECORDINGS, &[]),
            recording_bytes: counter(RECORDING_BYTES, &[]),
            recording_failures: ["best-effort", "required"]
                .map(|mode| counter(RECORDING_FAILURES, &[("mode", mode)])),
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
    pub fn masked(&self, values: u64) {
        self.masked.increment(values);
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
        let [best_effort, required] = &self.recording_failures;
        match mode {
            RecordMode::BestEffort => best_effort,
            RecordMode::Required => required,
        }
        .increment(1);
    }

    /// The index of recordings was damaged, or could not be written.
    pub fn index_failed(&self) {
        self.index_failures.increment(1);
    }

    /// A refusal could not be put on record.
    pub fn audit_event_lost(&self) {
        self.audit_events_lost.increment(1);
    }

    /// How far the audit log is behind at its webhook, and what it will never get, since the start.
    pub fn audit_shipped(&self, behind: u64, segments_lost: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a log is far below 2^52 bytes")]
        self.audit_behind.set(behind as f64);
        self.audit_segments_lost.absolute(segments_lost);
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

fn key(name: &'static str, labels: &[(&'static str, &'static str)]) -> Key {
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
