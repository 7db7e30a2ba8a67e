//! The report as one page that needs nothing else: no script, no font, no network.

use hdrhistogram::Histogram;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Report;
use super::markdown::short;
use crate::harness::judge::Sorted;
use crate::harness::sample::metrics;
use crate::harness::scenario::Target;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1c2430}\
table{border-collapse:collapse;font-size:13px;display:block;overflow-x:auto}td,th{padding:.25rem .6rem;border-bottom:1px solid #d8dee6;text-align:right}\
td:first-child,th:first-child{text-align:left}.holds{color:#1a7f37}.fails{color:#c0262d}.undecided,.skipped{color:#8a6100}\
svg text{font:12px system-ui,sans-serif;fill:#1c2430}";
const COLORS: &[&str] = &[
    "#2f6fde", "#d9822b", "#1a7f37", "#8250df", "#c0262d", "#5b6672", "#0a7ea4", "#b0357f",
];
const WIDTH: f64 = 720.0;
const LEFT: f64 = 150.0;
const ROW: f64 = 26.0;
const HEIGHT: f64 = 260.0;
/// Of the distribution: a step is another nine.
const QUANTILES: &[(f64, &str)] = &[
    (0.0, "0"),
    (0.5, "50 %"),
    (0.75, "75 %"),
    (0.9, "90 %"),
    (0.95, ""),
    (0.99, "99 %"),
    (0.995, ""),
    (0.999, "99.9 %"),
    (1.0, "100 %"),
];

pub(super) fn write(report: &Report) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            meta charset="utf-8";
            title { (report.scenario) }
            style { (PreEscaped(STYLE)) }
            h1 { (report.scenario) }
            p { (report.description) }
            p { (report.machine) ". " (report.method) "." }
            (verdicts(report))
            (bars(report, "cpuPerUnit", "µs of CPU time for each unit"))
            (bars(report, "cpuPerGB", "seconds of CPU time for 10⁹ bytes"))
            (bars(report, "pssKB", "memory for each client, 10³ bytes"))
            (distribution(report))
            h2 { "Medians" }
            (table(report))
        }
    };
    page.into_string()
}

fn verdicts(report: &Report) -> Markup {
    let judgement = &report.judgement;
    html! {
        h2 { "Bars" }
        ul {
            @for verdict in &judgement.verdicts {
                @let word = verdict.outcome.to_string();
                li class=(word) {
                    b { (word) } ": " (verdict.bar) ": " (short(Sorted(verdict.values.clone()).median()))
                }
            }
            @for why in judgement.void.iter().chain(&judgement.broken) {
                li.fails { b { (why) } }
            }
        }
    }
}

/// A bar for each target up to its median, with a line from the lower to the upper quartile.
#[expect(clippy::cast_precision_loss, reason = "a handful of targets")]
fn bars(report: &Report, metric: &str, title: &str) -> Markup {
    let targets = report.targets().into_iter();
    let mut measured: Vec<(Target, Sorted)> = targets
        .map(|target| (target, report.values(target, metric)))
        .collect();
    measured.retain(|(_, values)| !values.0.is_empty());
    let highest = measured.iter().map(|(_, values)| values.quantile(0.75));
    let most = highest.fold(0.0, f64::max);
    if most <= 0.0 {
        return Markup::default();
    }
    let x = |value: f64| LEFT + value / most * (WIDTH - LEFT - 80.0);
    chart(
        title,
        measured.len() as f64 * ROW,
        &html! {
            @for (row, (target, values)) in measured.iter().enumerate() {
                @let [low, middle, high] = [0.25, 0.5, 0.75].map(|part| values.quantile(part));
                @let y = row as f64 * ROW;
                text x="0" y=(y + 14.0) { (target) }
                rect x=(LEFT) y=(y) width=(round(x(middle) - LEFT)) height="18" fill=(color(row)) {}
                line x1=(round(x(low))) x2=(round(x(high))) y1=(y + 10.0) y2=(y + 10.0) stroke="#1c2430" {}
                text x=(round(x(middle.max(high)) + 6.0)) y=(y + 14.0) { (short(middle)) }
            }
        },
    )
}

/// Latency by quantile, over all rounds of a target, on a logarithmic scale.
#[expect(
    clippy::cast_precision_loss,
    reason = "at most a minute in nanoseconds"
)]
fn distribution(report: &Report) -> Markup {
    let measured: Vec<(Target, Histogram<u64>)> = report
        .targets()
        .into_iter()
        .filter_map(|target| Some((target, latencies(report, target)?)))
        .collect();
    let least = measured.iter().map(|(_, one)| one.min()).min();
    let least = least.unwrap_or(0).max(1) as f64;
    let most = measured.iter().map(|(_, one)| one.max()).max().unwrap_or(0) as f64;
    if most <= least {
        return Markup::default();
    }
    let step = (WIDTH - LEFT) / QUANTILES.len() as f64;
    let x = |place: usize| place as f64 * step + LEFT;
    let y =
        |nanos: f64| HEIGHT - (nanos.max(least) / least).ln() / (most / least).ln() * HEIGHT + 10.0;
    let line = |latency: &Histogram<u64>| {
        let points = QUANTILES.iter().enumerate().map(|(place, (part, _))| {
            let nanos = latency.value_at_quantile(*part) as f64;
            format!("{:.1},{:.1}", x(place), y(nanos))
        });
        points.collect::<Vec<_>>().join(" ")
    };
    let decades = (3..=11).map(|power| 10_f64.powi(power));
    chart(
        "Latency by quantile",
        HEIGHT + 36.0,
        &html! {
            @for (place, (_, label)) in QUANTILES.iter().enumerate() {
                text x=(round(x(place) - 10.0)) y=(HEIGHT + 28.0) { (label) }
            }
            @for nanos in decades.filter(|&nanos| nanos > least && nanos < most) {
                line x1=(LEFT) x2=(WIDTH) y1=(round(y(nanos))) y2=(round(y(nanos))) stroke="#d8dee6" {}
                text x=(LEFT - 75.0) y=(round(y(nanos) + 4.0)) { (nanos / 1e3) " µs" }
            }
            @for (row, (target, latency)) in measured.iter().enumerate() {
                polyline points=(line(latency)) fill="none" stroke=(color(row)) stroke-width="2" {}
                text x="0" y=(row as f64 * 18.0 + 14.0) style={ "fill:" (color(row)) } { (target) }
            }
        },
    )
}

/// The latencies of all turns of a target; nothing where none were measured.
fn latencies(report: &Report, target: Target) -> Option<Histogram<u64>> {
    let turns = report.samples.iter().filter(|it| it.target == target);
    let mut latencies = turns.filter_map(|it| it.latency.as_ref());
    let mut sum = latencies.next()?.clone();
    for latency in latencies {
        sum.add(latency).ok()?; // all have the same bounds
    }
    Some(sum)
}

fn chart(title: &str, height: f64, content: &Markup) -> Markup {
    html! {
        h2 { (title) }
        svg viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-label=(title) { (content) }
    }
}

fn color(row: usize) -> &'static str {
    COLORS.get(row % COLORS.len()).unwrap_or(&"#000")
}

/// A tenth of a pixel is enough.
fn round(place: f64) -> f64 {
    (place * 10.0).round() / 10.0
}

fn table(report: &Report) -> Markup {
    let targets = report.targets();
    let median = |target: Target, metric: &str| {
        let values = report.values(target, metric);
        (!values.0.is_empty()).then(|| short(values.median()))
    };
    let is_measured = |metric: &&str| targets.iter().any(|&it| median(it, metric).is_some());
    html! {
        table {
            tr { th {} @for target in &targets { th { (target) } } }
            @for metric in metrics().filter(is_measured) {
                tr {
                    td { (metric) }
                    @for &target in &targets { td { (median(target, metric).unwrap_or_default()) } }
                }
            }
        }
    }
}
