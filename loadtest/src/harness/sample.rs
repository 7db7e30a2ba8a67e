//! What one target showed in one round.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::load::meter::Tally;
use super::scenario::Target;
use super::target::Usage;

/// Something that is measured: a name in bars and in JSON, a column in reports.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// As bars write it.
    pub name: &'static str,
    /// Of its values.
    pub unit: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

const fn metric(name: &'static str, unit: &'static str, meaning: &'static str) -> Metric {
    Metric {
        name,
        unit,
        meaning,
    }
}

/// What scenarios measure, and their bars may bound.
pub const METRICS: &[Metric] = &[
    metric(
        "cpuPerUnit",
        "µs",
        "CPU time for an event, item, request, key or line (`exec-print`: for 10⁶ bytes)",
    ),
    metric(
        "cpuPerGB",
        "s",
        "CPU time for 10⁹ bytes of bodies as the client received them",
    ),
    metric("cpu", "cores", "CPU time by the time that went by"),
    metric("rate", "1/s", "events, items, requests, keys or lines"),
    metric("megabytes", "10⁶ B/s", "bodies as the client received them"),
    metric(
        "p50",
        "µs",
        "from the due time of an event or key to its arrival",
    ),
    metric("p90", "µs", "the same"),
    metric("p99", "µs", "the same"),
    metric("max", "µs", "the same"),
    metric(
        "firstByteP50",
        "µs",
        "from the due time of a request to the first byte of its body",
    ),
    metric("firstByteP99", "µs", "the same"),
    metric(
        "responseP50",
        "µs",
        "from the due time of a request to the last byte of its body",
    ),
    metric("responseP99", "µs", "the same"),
    metric(
        "heldShare",
        "1",
        "of a stamped list, or of stamped initial events: the part that the upstream had sent when the first byte arrived",
    ),
    metric(
        "peakMB",
        "10⁶ B",
        "memory at its peak, above the peak before the clients came",
    ),
    metric(
        "pssKB",
        "10³ B",
        "growth of PSS by the load, for each client",
    ),
    metric("leaks", "1", "secret values that came through"),
    metric(
        "errors",
        "1",
        "failed requests, and streams that ended early",
    ),
];

/// What `overhead` measures, directly and through the gateway.
pub const OVERHEAD_METRICS: &[Metric] = &[
    metric("getP50", "µs", "a GET"),
    metric("getP99", "µs", "the same"),
    metric("listP50", "µs", "a list of Pods"),
    metric("listP99", "µs", "the same"),
    metric(
        "eventP50",
        "µs",
        "from the write of an object to its event in a watch",
    ),
    metric("eventP99", "µs", "the same"),
    metric("echoP50", "µs", "from a key to its echo in a terminal"),
    metric("echoP99", "µs", "the same"),
    metric(
        "lineP50",
        "µs",
        "from the first arrival of a log's line to its arrival on this way",
    ),
    metric("lineP99", "µs", "the same"),
];

/// The names of all of them, in the order of reports.
pub fn metrics() -> impl Iterator<Item = &'static str> + Clone {
    METRICS.iter().chain(OVERHEAD_METRICS).map(|it| it.name)
}

/// One target, one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// Who.
    pub target: Target,
    /// Which round, from 0.
    pub round: usize,
    /// The second turn of the reference in this round, to see how far it is from the first.
    pub again: bool,
    /// By the names of [`metrics`].
    pub metrics: BTreeMap<String, f64>,
    /// How long events, keys or, where there are none, answers took; for distributions over all rounds.
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
        let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];
        put_quantiles(&mut put, &tally.latency.lock(), &quantiles);
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
            latency: Some(tally.delays()).filter(|delays| !delays.is_empty()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_explains_every_metric() {
        let readme = include_str!("../../README.md");
        for Metric {
            name,
            unit,
            meaning,
        } in METRICS.iter().chain(OVERHEAD_METRICS)
        {
            let row = format!("| `{name}` | {unit} | {meaning} |");
            assert!(readme.contains(&row), "no row {row}");
        }
    }
}
