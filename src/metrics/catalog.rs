//! What there is to measure: every metric's name, unit and help text.

use metrics::Unit;

use super::scraped::{
    APPROVALS_OLDEST, APPROVALS_OPEN, CALLERS_BLOCKED, GRANTS_ACTIVE, HEALTHCHECKS, RESIDENT_MEMORY,
};

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
    (
        ADDED,
        Some(Unit::Seconds),
        "Time to the head of an answer less that of the API server and of people who were asked, by verb class.",
    ),
    (
        MASKED,
        None,
        "Values replaced by placeholders, by the mask that hid them.",
    ),
    (
        UPSTREAM_CONNECTIONS,
        None,
        "Connections to API servers, by kind; asked at every scrape.",
    ),
    (
        UPSTREAM_STREAMS,
        None,
        "Streams in use on HTTP/2 connections to API servers; asked at every scrape.",
    ),
    (
        CERTIFICATE_EXPIRY,
        Some(Unit::Seconds),
        "When the certificate that a listener uses ends, in seconds since 1970; 0 where there is none.",
    ),
    (
        AUDIT_UNSEALED,
        Some(Unit::Seconds),
        "For how long the oldest audit event has waited to be synced and sealed; asked at every scrape.",
    ),
    (
        RECORDING_WAITING,
        Some(Unit::Bytes),
        "Bytes of recordings that wait for the disk; asked at every scrape.",
    ),
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
        "Bytes of the audit log that were not sent yet, by where to.",
    ),
    (
        AUDIT_SEGMENTS_LOST,
        None,
        "Segments of the audit log that were moved, removed or cut before all of them was sent, by where to.",
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
        RESPONSE_BYTES,
        Some(Unit::Bytes),
        "Bytes of masked answers that were kept.",
    ),
    (
        RESPONSE_STORED_BYTES,
        Some(Unit::Bytes),
        "Bytes that were written for that: compressed, and equal answers once.",
    ),
    (
        RESPONSE_FAILURES,
        None,
        "Answers that could not be kept, by what the policy demands.",
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

pub(super) const REQUESTS: &str = "portcullis_requests_total";
pub(super) const UNREADABLE: &str = "portcullis_unreadable_requests_total";
pub(super) const IN_FLIGHT: &str = "portcullis_requests_in_flight";
pub(super) const DURATION: &str = "portcullis_request_duration_seconds";
pub(super) const STREAMS: &str = "portcullis_streams_open";
pub(super) const ADDED: &str = "portcullis_added_latency_seconds";
pub(super) const UPSTREAM_CONNECTIONS: &str = "portcullis_upstream_connections";
pub(super) const UPSTREAM_STREAMS: &str = "portcullis_upstream_streams";
pub(super) const CERTIFICATE_EXPIRY: &str = "portcullis_certificate_expiry_timestamp_seconds";
pub(super) const AUDIT_UNSEALED: &str = "portcullis_audit_unsealed_seconds";
pub(super) const RECORDING_WAITING: &str = "portcullis_recording_waiting_bytes";
pub(super) const MASKED: &str = "portcullis_masked_values_total";
pub(super) const PLACEHOLDER_WRITES: &str = "portcullis_placeholder_writes_total";
pub(super) const STREAMS_ENDED: &str = "portcullis_streams_ended_total";
pub(super) const OVER_BUDGET: &str = "portcullis_over_budget_total";
pub(super) const APPROVAL_ANSWERS: &str = "portcullis_approval_answer_seconds";
pub(super) const OBSERVED: &str = "portcullis_observed_total";
pub(super) const CLUSTERS: &str = "portcullis_clusters";
pub(super) const POLICY_RELOADS: &str = "portcullis_policy_reloads_total";
pub(super) const REVOCATION_RELOADS: &str = "portcullis_revocation_reloads_total";
pub(super) const AUDIT_EVENTS: &str = "portcullis_audit_events_total";
pub(super) const AUDIT_QUEUE: &str = "portcullis_audit_queue_events";
pub(super) const AUDIT_BEHIND: &str = "portcullis_audit_sink_behind_bytes";
pub(super) const AUDIT_SEGMENTS_LOST: &str = "portcullis_audit_sink_segments_lost_total";
pub(super) const RECORDINGS: &str = "portcullis_recordings_open";
pub(super) const RECORDING_BYTES: &str = "portcullis_recording_bytes_total";
pub(super) const RECORDING_FAILURES: &str = "portcullis_recording_failures_total";
pub(super) const RESPONSE_BYTES: &str = "portcullis_response_bytes_total";
pub(super) const RESPONSE_STORED_BYTES: &str = "portcullis_response_stored_bytes_total";
pub(super) const RESPONSE_FAILURES: &str = "portcullis_response_failures_total";
pub(super) const INDEX_FAILURES: &str = "portcullis_recording_index_failures_total";
pub(super) const AUDIT_EVENTS_LOST: &str = "portcullis_audit_events_lost_total";

pub(super) const KNOWN_VALUES: &str = "portcullis_known_values";
pub(super) const KNOWN_VALUES_LEFT_OUT: &str = "portcullis_known_values_left_out";
