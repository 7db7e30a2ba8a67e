//! How requests flow: what the gateway adds to them, and what is behind.

use std::time::Duration;

use metrics::{Gauge, Histogram};

use super::catalog::{
    ADDED, AUDIT_UNSEALED, CERTIFICATE_EXPIRY, RECORDING_WAITING, UPSTREAM_CONNECTIONS,
    UPSTREAM_STREAMS,
};
use super::{AuditSink, Labels, Metrics, VERB_CLASSES, VerbClass};

/// Upper bounds of the buckets of what is added, in seconds: from what a small read costs to what nobody wants.
pub(super) const ADDED_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
];

#[derive(Clone, Debug)]
pub(super) struct Flow {
    added: [Histogram; 5],
    connections: [Gauge; 3],
    streams: Gauge,
    audit_unsealed: Gauge,
    recording_waiting: Gauge,
    /// In the order of [`Listener`].
    certificate: [Gauge; 2],
}

/// What is open and what is behind, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Connections to API servers: shared ones of HTTP/2, unused ones of HTTP/1.1, and those of one long answer.
    pub connections: [usize; 3],
    /// Streams in use on those of HTTP/2.
    pub streams: usize,
    /// For how long the oldest audit event has waited to be synced and sealed.
    pub audit_unsealed: Duration,
    /// Bytes of recordings that wait for the disk.
    pub recording_waiting: usize,
}

/// Whom a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Clients of the Kubernetes API.
    Clients,
    /// Operators and approvers, and what scrapes.
    Control,
}

impl Flow {
    pub(super) fn register(
        gauge: &impl Fn(&'static str, Labels<'_>) -> Gauge,
        histogram: &impl Fn(&'static str, Labels<'_>) -> Histogram,
    ) -> Self {
        Self {
            added: VERB_CLASSES.map(|class| histogram(ADDED, &[("verb_class", class)])),
            connections: ["http2", "http1-idle", "direct"]
                .map(|kind| gauge(UPSTREAM_CONNECTIONS, &[("kind", kind)])),
            streams: gauge(UPSTREAM_STREAMS, &[]),
            audit_unsealed: gauge(AUDIT_UNSEALED, &[]),
            recording_waiting: gauge(RECORDING_WAITING, &[]),
            certificate: ["clients", "control"]
                .map(|listener| gauge(CERTIFICATE_EXPIRY, &[("listener", listener)])),
        }
    }
}

impl Metrics {
    /// So much of the time to the head of an answer was the gateway's.
    pub fn added(&self, class: VerbClass, seconds: f64) {
        if let Some(added) = self.flow.added.get(class as usize) {
            added.record(seconds);
        }
    }

    /// How far the audit log is behind at a sink, and what it will never get, since the start.
    pub fn audit_shipped(&self, sink: AuditSink, behind: u64, segments_lost: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a log is far below 2^52 bytes")]
        if let Some(gauge) = self.audit_behind.get(sink as usize) {
            gauge.set(behind as f64);
        }
        if let Some(counter) = self.audit_segments_lost.get(sink as usize) {
            counter.absolute(segments_lost);
        }
    }

    /// The certificate that is in use there is good until then, in seconds since 1970.
    pub fn certificate(&self, listener: Listener, until: i64) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a time is far below 2^52 seconds"
        )]
        if let Some(gauge) = self.flow.certificate.get(listener as usize) {
            gauge.set(until as f64);
        }
    }

    /// What is open and what is behind; for every scrape.
    #[expect(clippy::cast_precision_loss, reason = "they are far below 2^52")]
    pub fn load(&self, load: Load) {
        for (gauge, connections) in self.flow.connections.iter().zip(load.connections) {
            gauge.set(connections as f64);
        }
        self.flow.streams.set(load.streams as f64);
        self.flow
            .audit_unsealed
            .set(load.audit_unsealed.as_secs_f64());
        self.flow
            .recording_waiting
            .set(load.recording_waiting as f64);
    }
}
