//! Numbers and the machine they were measured on.

use std::time::Duration;

/// Measured values in ascending order.
#[derive(Clone, Debug)]
pub(super) struct Sorted(Vec<f64>);

impl Sorted {
    pub(super) fn new(values: &[f64]) -> Self {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The value below which `part` (0 to 1) of all lie; zero when there is none.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among fewer than 2^52 values"
    )]
    pub(super) fn quantile(&self, part: f64) -> f64 {
        let rank = (part * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    }

    pub(super) fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

pub(super) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// One paragraph about where the numbers come from.
pub(super) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let models = cpus
        .lines()
        .filter_map(|line| line.strip_prefix("model name"));
    let models: Vec<&str> = models
        .map(|line| line.trim_start_matches([' ', '\t', ':']))
        .collect();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load: Vec<&str> = load.split(' ').take(3).collect();
    format!(
        "{} × {}, Linux {}, load average before the run {}, congestion control {}.",
        models.len(),
        models.first().copied().unwrap_or("unknown CPU"),
        kernel.trim(),
        load.join(" "),
        read("/proc/sys/net/ipv4/tcp_congestion_control").trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values = Sorted::new(&(1..=100).rev().map(f64::from).collect::<Vec<_>>());
        assert!((values.median() - 50.0).abs() < 1e-9);
        assert!((values.quantile(0.99) - 99.0).abs() < 1e-9);
        assert!((values.quantile(1.0) - 100.0).abs() < 1e-9);
        assert!(Sorted::new(&[]).median().abs() < 1e-9);
    }
}
