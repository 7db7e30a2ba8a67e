//! What is shown while it runs: a line a second on standard error.
#![expect(clippy::print_stderr, reason = "progress is for who waits")]

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::harness::load::meter::Tally;
use crate::harness::sample::Sample;
use crate::harness::scenario::Scenario;
use crate::harness::target::Candidate;

const EVERY: Duration = Duration::from_secs(1);

/// Where a run is.
pub(super) struct Progress {
    rounds: usize,
}

impl Progress {
    pub(super) fn new(scenario: &Scenario) -> Self {
        eprintln!("{}: {}", scenario.name, scenario.description);
        Self {
            rounds: scenario.rounds,
        }
    }

    /// Says how it goes, until dropped.
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    pub(super) async fn watch(&self, candidate: &Candidate, round: usize, tally: &Tally) {
        let usage = || {
            candidate
                .process
                .as_ref()
                .and_then(|process| process.usage().ok())
                .unwrap_or_default()
        };
        let (mut units, mut cpu) = (0, usage().cpu);
        loop {
            tokio::time::sleep(EVERY).await;
            let (more, now) = (tally.units.load(Relaxed), usage());
            let p99 = tally.delays().value_at_quantile(0.99) as f64 / 1e3;
            let share = now.cpu.saturating_sub(cpu).as_secs_f64() / EVERY.as_secs_f64() * 100.0;
            let line = format!(
                "  round {}/{} {:<18} {:>10.0}/s  p99 {p99:.0} µs  CPU {share:.0} %  PSS {:.1} MB",
                round + 1,
                self.rounds,
                candidate.target.to_string(),
                (more - units) as f64 / EVERY.as_secs_f64(),
                now.pss_kib as f64 * 1.024e-3
            );
            eprintln!("{line}");
            (units, cpu) = (more, now.cpu);
        }
    }

    /// Says what came out of a turn.
    pub(super) fn sample(&self, sample: &Sample) {
        let get = |metric: &str| sample.get(metric).unwrap_or(0.0);
        eprintln!(
            "  round {}/{} {:<18} {:>10.0}/s  {:.0} MB/s  {:.2} µs CPU each  {:.3} CPU-s/GB",
            sample.round + 1,
            self.rounds,
            sample.target.to_string(),
            get("rate"),
            get("megabytes"),
            get("cpuPerUnit"),
            get("cpuPerGB"),
        );
    }
}
