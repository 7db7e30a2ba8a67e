//! A run beside an earlier one.

use super::Report;
use super::markdown::short;
use crate::harness::judge::Sorted;
use crate::harness::sample::metrics;

/// A table of what changed, with the noise of both: how far the quartiles of either run are apart, by its median. A change
/// within that is none.
pub(super) fn write(old: &Report, new: &Report) -> Vec<String> {
    let mut lines = vec![
        "| target | metric | before | now | change | noise | |".to_owned(),
        "| --- | --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for target in new.targets() {
        for metric in metrics() {
            let (before, now) = (old.values(target, metric), new.values(target, metric));
            let (was, is) = (before.median(), now.median());
            if before.0.is_empty() || now.0.is_empty() || (was == 0.0 && is == 0.0) {
                continue;
            }
            let change = (is / was - 1.0) * 100.0;
            let noise = noise(&before).max(noise(&now)) * 100.0;
            let (change, word) = if was == 0.0 {
                ("from nothing".to_owned(), "changed")
            } else if change.abs() <= noise {
                (format!("{change:+.1} %"), "within the noise")
            } else {
                (format!("{change:+.1} %"), "changed")
            };
            lines.push(format!(
                "| {target} | {metric} | {} | {} | {change} | ±{noise:.1} % | {word} |",
                short(was),
                short(is)
            ));
        }
    }
    lines
}

fn noise(values: &Sorted) -> f64 {
    let middle = values.median();
    if middle == 0.0 {
        return 0.0;
    }
    (values.quantile(0.75) - values.quantile(0.25)) / middle
}
