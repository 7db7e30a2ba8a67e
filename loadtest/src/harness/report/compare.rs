//! A run beside an earlier one.

use super::Report;
use super::markdown::short;
use crate::harness::judge::Sorted;
use crate::harness::sample::METRICS;
use crate::harness::scenario::Target;

/// A table of what changed, with the noise of both: how far the quartiles of either run are apart, by its median. A change
/// within that is none.
pub(super) fn write(old: &Report, new: &Report) -> Vec<String> {
    let mut lines = vec![
        "| target | metric | before | now | change | noise | |".to_owned(),
        "| --- | --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for target in new.targets() {
        for metric in METRICS {
            let (before, now) = (values(old, target, metric), values(new, target, metric));
            let (was, is) = (before.median(), now.median());
            if before.0.is_empty() || now.0.is_empty() || was == 0.0 {
                continue;
            }
            let change = (is / was - 1.0) * 100.0;
            let noise = noise(&before).max(noise(&now)) * 100.0;
            let word = if change.abs() <= noise {
                "within the noise"
            } else {
                "changed"
            };
            lines.push(format!(
                "| {target} | {metric} | {} | {} | {change:+.1} % | ±{noise:.1} % | {word} |",
                short(was),
                short(is)
            ));
        }
    }
    lines
}

fn values(report: &Report, target: Target, metric: &str) -> Sorted {
    let samples = report
        .samples
        .iter()
        .filter(|sample| sample.target == target);
    Sorted::new(samples.filter_map(|sample| sample.get(metric)))
}

fn noise(values: &Sorted) -> f64 {
    let middle = values.median();
    if middle == 0.0 {
        return 0.0;
    }
    (values.quantile(0.75) - values.quantile(0.25)) / middle
}
