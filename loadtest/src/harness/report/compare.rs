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

#[cfg(test)]
mod tests {
    use super::super::{Judgement, Report};
    use super::*;
    use crate::harness::sample::Sample;
    use crate::harness::scenario::Target;

    fn report(cpu: [f64; 3], rate: f64) -> Report {
        let turn = |(round, cpu): (usize, f64)| Sample {
            target: Target::Portcullis,
            round,
            again: false,
            metrics: [("cpuPerUnit".to_owned(), cpu), ("rate".to_owned(), rate)].into(),
            latency: None,
            failures: Vec::new(),
        };
        Report {
            scenario: "small-gets".to_owned(),
            description: String::new(),
            machine: String::new(),
            method: String::new(),
            skipped: Vec::new(),
            samples: cpu.into_iter().enumerate().map(turn).collect(),
            judgement: Judgement::default(),
        }
    }

    #[test]
    fn a_change_within_the_noise_of_either_run_is_none() {
        let old = report([9.0, 10.0, 11.0], 0.0);
        let steady = report([12.0, 12.0, 12.0], 5.0);
        let lines = write(&old, &steady);
        assert_eq!(
            lines[2],
            "| portcullis | cpuPerUnit | 10.0 | 12.0 | +20.0 % | ±10.0 % | changed |"
        );
        assert!(lines[3].contains("from nothing"), "{lines:?}");
        let near = write(&old, &report([10.5, 10.5, 10.5], 0.0));
        assert!(near[2].ends_with("| within the noise |"), "{near:?}");
        assert_eq!(near.len(), 3, "what both do not have is not shown");
        let restless = write(&steady, &report([6.0, 9.0, 12.0], 5.0));
        assert!(
            restless[2].ends_with("| within the noise |"),
            "{restless:?}"
        );
    }
}
