//! The report as Markdown.

use super::Report;
use crate::harness::judge::{Outcome, Sorted};
use crate::harness::sample::metrics;

/// Columns that are left out where every value is zero.
const ONLY_IF_ANY: &[&str] = &["leaks", "errors"];

pub(super) fn write(report: &Report) -> String {
    let mut lines = vec![
        format!("# {}", report.scenario),
        String::new(),
        report.description.clone(),
        String::new(),
        format!("{}. {}.", report.machine, report.method),
        String::new(),
    ];
    lines.extend(table(report));
    lines.push(String::new());
    lines.extend(verdicts(report));
    lines.push(String::new());
    lines.join("\n")
}

/// Medians over the rounds.
fn table(report: &Report) -> Vec<String> {
    let targets = report.targets();
    let shown = |metric: &&str| {
        let mut all = targets
            .iter()
            .flat_map(|&target| report.values(target, metric).0);
        let dull = ONLY_IF_ANY.contains(metric);
        all.any(|value| !dull || value > 0.0)
    };
    let columns: Vec<&str> = metrics().filter(shown).collect();
    let mut lines = vec![
        format!("| medians | {} |", columns.join(" | ")),
        format!("| --- |{}", " --- |".repeat(columns.len())),
    ];
    for &target in &targets {
        let cells = columns.iter().map(|metric| {
            let values = report.values(target, metric);
            if values.0.is_empty() {
                String::new()
            } else {
                short(values.median())
            }
        });
        let cells: Vec<String> = cells.collect();
        lines.push(format!("| {target} | {} |", cells.join(" | ")));
    }
    for target in &report.skipped {
        lines.push(format!("\n{target} is not installed and was skipped."));
    }
    lines
}

fn verdicts(report: &Report) -> Vec<String> {
    let judgement = &report.judgement;
    let mut lines = Vec::new();
    for verdict in &judgement.verdicts {
        let word = match verdict.outcome {
            Outcome::Fails => "FAILS".to_owned(),
            other => other.to_string(),
        };
        lines.push(format!(
            "- {word}: {}: {}",
            verdict.bar,
            spread(&verdict.values)
        ));
    }
    if !judgement.same.is_empty() {
        let same = spread(&judgement.same);
        lines.push(format!("- the reference against itself: {same}"));
    }
    let void = judgement.void.iter();
    lines.extend(void.map(|why| format!("\nThe run is void: {why}.")));
    let broken = judgement.broken.iter();
    lines.extend(broken.map(|why| format!("\nBroken: {why}.")));
    lines
}

/// The median, and the quartiles in brackets.
fn spread(values: &[f64]) -> String {
    let values = Sorted(values.to_vec());
    let [low, middle, high] = [0.25, 0.5, 0.75].map(|part| short(values.quantile(part)));
    format!("{middle} ({low} to {high})")
}

/// Three significant digits.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 || size == 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}
