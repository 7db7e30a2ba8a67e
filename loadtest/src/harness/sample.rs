//! What one target showed in one round.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::load::meter::Tally;
use super::scenario::Target;
use super::target::Usage;

/// Everything that may be measured, with its unit: the names in bars and in JSON.
pub const METRICS: &[&str] = &[
    "cpuPerUnit", // µs of CPU time for an event, item, request or line
    "cpuPerGB",   // seconds of CPU time for 10^9 bytes of bodies as the client received them
    "cpu",        // share of one core
    "rate",       // units a second
    "megabytes",  // 10^6 bytes a second
    "p50",        // µs from the due time to the arrival of events
    "p90",
    "p99",
    "max",
    "firstByteP50", // µs from the request to the first byte
    "firstByteP99",
    "responseP50", // µs from the request to the last byte
    "responseP99",
    "heldShare", // of a list: what the upstream had sent when its first byte arrived
    "getP50", // µs, of `overhead`: a GET, a LIST, an event of a watch, the echo of a key, a line of a log
    "getP99",
    "listP50",
    "listP99",
    "eventP50",
    "eventP99",
    "echoP50",
    "echoP99",
    "lineP50",
    "lineP99",
    "peakMB", // memory at its peak above what was resident before, 10^6 bytes
    "pssKB",  // growth of PSS by the load, for each client, 10^3 bytes
    "leaks",  // secret values that came through
    "errors", // failed requests and streams that ended early
];

/// One target, one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Who.
    pub target: Target,
    /// Which round, from 0.
    pub round: usize,
    /// The second turn of the reference in this round, to see how far it is from the first.
    pub again: bool,
    /// By the names of [`METRICS`].
    pub metrics: BTreeMap<String, f64>,
    /// The latencies, for distributions over all rounds.
    #[serde(skip)]
    pub latency: Option<Histogram<u64>>,
    /// What went wrong, in words.
    #[serde(default)]
    pub failures: Vec<String>,
}

/// Usage of the target's processes around a measurement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around {
    /// Before any client came.
    pub idle: Usage,
    /// When counting began.
    pub before: Usage,
    /// When it ended.
    pub after: Usage,
    /// How long that took.
    pub took: Duration,
    /// How many clients there were.
    pub clients: usize,
}

impl Sample {
    /// Puts together what clients counted and what processes used.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    pub fn new(
        target: Target,
        (round, again): (usize, bool),
        tally: &Tally,
        around: &Around,
    ) -> Self {
        let (units, bytes) = (
            tally.units.load(Relaxed) as f64,
            tally.bytes.load(Relaxed) as f64,
        );
        let seconds = around.took.as_secs_f64();
        let mut metrics = BTreeMap::new();
        let mut put = |name: &str, value: f64| {
            if value.is_finite() {
                metrics.insert(name.to_owned(), value);
            }
        };
        put("rate", units / seconds);
        put("megabytes", bytes / seconds / 1e6);
        put("leaks", tally.leaks.load(Relaxed) as f64);
        put("errors", tally.errors.load(Relaxed) as f64);
        if let Some(held) = *tally.held.lock() {
            put("heldShare", held);
        }
        if target != Target::Direct {
            let cpu = around
                .after
                .cpu
                .saturating_sub(around.before.cpu)
                .as_secs_f64();
            put("cpu", cpu / seconds);
            put("cpuPerUnit", cpu * 1e6 / units);
            put("cpuPerGB", cpu * 1e9 / bytes);
            let kib = |more: u64, less: u64| more.saturating_sub(less) as f64 * 1.024;
            put(
                "peakMB",
                kib(around.after.peak_kib, around.idle.peak_kib) / 1e3,
            );
            put(
                "pssKB",
                kib(around.before.pss_kib, around.idle.pss_kib) / around.clients as f64,
            );
        }
        let latency = tally.latency.lock().clone();
        let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];
        put_quantiles(&mut put, &latency, &quantiles);
        put_quantiles(
            &mut put,
            &tally.first_byte.lock(),
            &[("firstByteP50", 0.5), ("firstByteP99", 0.99)],
        );
        put_quantiles(
            &mut put,
            &tally.response.lock(),
            &[("responseP50", 0.5), ("responseP99", 0.99)],
        );
        Self {
            target,
            round,
            again,
            metrics,
            latency: Some(latency).filter(|latency| !latency.is_empty()),
            failures: tally.failures(),
        }
    }

    /// A metric, if it was measured.
    pub fn get(&self, metric: &str) -> Option<f64> {
        self.metrics.get(metric).copied()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "at most a minute in nanoseconds"
)]
fn put_quantiles(
    put: &mut impl FnMut(&str, f64),
    histogram: &Histogram<u64>,
    quantiles: &[(&str, f64)],
) {
    if histogram.is_empty() {
        return;
    }
    for (name, part) in quantiles {
        put(name, histogram.value_at_quantile(*part) as f64 / 1e3);
    }
}
