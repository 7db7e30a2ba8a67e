//! The report as one page that needs nothing else: no script, no font, no network.

use hdrhistogram::Histogram;

use super::Report;
use super::markdown::short;
use crate::harness::judge::{Outcome, Sorted};
use crate::harness::sample::{METRICS, Sample};
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
    let charts = [
        ("cpuPerUnit", "µs of CPU time for each unit"),
        ("cpuPerGB", "seconds of CPU time for 10⁹ bytes"),
        ("pssKB", "memory for each client, 10³ bytes"),
    ];
    let charts = charts
        .map(|(metric, title)| bars(report, metric, title))
        .concat();
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{name}</title><style>{STYLE}</style>\
         <h1>{name}</h1><p>{description}</p><p>{machine}. {method}.</p>{verdicts}{charts}{latency}<h2>Medians</h2>{table}</html>\n",
        name = text(&report.scenario),
        description = text(&report.description),
        machine = text(&report.machine),
        method = text(&report.method),
        verdicts = verdicts(report),
        latency = distribution(report),
        table = table(report),
    )
}

/// Text in HTML.
fn text(plain: &str) -> String {
    plain
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn verdicts(report: &Report) -> String {
    let judgement = &report.judgement;
    let rows = judgement.verdicts.iter().map(|verdict| {
        let word = match verdict.outcome {
            Outcome::Holds => "holds",
            Outcome::Fails => "fails",
            Outcome::Undecided => "undecided",
            Outcome::Skipped => "skipped",
        };
        let middle = short(Sorted(verdict.values.clone()).median());
        format!(
            "<li class=\"{word}\"><b>{word}</b>: {}: {middle}</li>",
            text(&verdict.bar)
        )
    });
    let others = judgement.void.iter().chain(&judgement.broken);
    let others = others.map(|why| format!("<li class=\"fails\"><b>{}</b></li>", text(why)));
    let all: Vec<String> = rows.chain(others).collect();
    format!("<h2>Bars</h2><ul>{}</ul>", all.join(""))
}

fn values(report: &Report, target: Target, metric: &str) -> Sorted {
    let samples = report
        .samples
        .iter()
        .filter(|sample| sample.target == target);
    Sorted::new(samples.filter_map(|sample| sample.get(metric)))
}

/// A bar for each target up to its median, with a line from the lower to the upper quartile.
#[expect(clippy::cast_precision_loss, reason = "a handful of targets")]
fn bars(report: &Report, metric: &str, title: &str) -> String {
    let measured: Vec<(Target, Sorted)> = report
        .targets()
        .into_iter()
        .map(|target| (target, values(report, target, metric)))
        .filter(|(_, values)| !values.0.is_empty())
        .collect();
    let most = measured
        .iter()
        .map(|(_, values)| values.quantile(0.75))
        .fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let rows = measured.iter().enumerate().map(|(row, (target, values))| {
        let x = |value: f64| LEFT + value / most * (WIDTH - LEFT - 80.0);
        let [low, middle, high] = [0.25, 0.5, 0.75].map(|part| values.quantile(part));
        let (y, color) = (row as f64 * ROW, COLORS.get(row % COLORS.len()).unwrap_or(&"#000"));
        let (end, center) = (x(middle), y + 10.0);
        format!(
            "<text x=\"0\" y=\"{}\">{target}</text><rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"18\" fill=\"{color}\"/>\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{center}\" y2=\"{center}\" stroke=\"#1c2430\"/>\
             <text x=\"{:.1}\" y=\"{}\">{}</text>",
            y + 14.0, end - LEFT, x(low), x(high), x(middle.max(high)) + 6.0, y + 14.0, short(middle),
        )
    });
    let rows: Vec<String> = rows.collect();
    let height = rows.len() as f64 * ROW;
    format!(
        "<h2>{title}</h2><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">{}</svg>",
        rows.join("")
    )
}

/// Latency by quantile, over all rounds of a target, on a logarithmic scale.
#[expect(
    clippy::cast_precision_loss,
    reason = "at most a minute in nanoseconds"
)]
fn distribution(report: &Report) -> String {
    let all = |target: Target| {
        let mut sum: Option<Histogram<u64>> = None;
        for latency in report
            .samples
            .iter()
            .filter(|one| one.target == target)
            .filter_map(latency)
        {
            match &mut sum {
                // Both have the same bounds.
                Some(sum) => drop(sum.add(latency)),
                None => sum = Some(latency.clone()),
            }
        }
        Some((target, sum?))
    };
    let measured: Vec<(Target, Histogram<u64>)> =
        report.targets().into_iter().filter_map(all).collect();
    let least = measured
        .iter()
        .map(|(_, one)| one.min())
        .min()
        .unwrap_or(0)
        .max(1) as f64;
    let most = measured.iter().map(|(_, one)| one.max()).max().unwrap_or(0) as f64;
    if most <= least {
        return String::new();
    }
    let step = (WIDTH - LEFT) / QUANTILES.len() as f64;
    let y =
        |nanos: f64| HEIGHT - (nanos.max(least) / least).ln() / (most / least).ln() * HEIGHT + 10.0;
    let mut parts = Vec::new();
    for (at, (_, label)) in QUANTILES.iter().enumerate() {
        parts.push(format!(
            "<text x=\"{:.1}\" y=\"{}\">{label}</text>",
            at as f64 * step + LEFT - 10.0,
            HEIGHT + 28.0
        ));
    }
    for decade in (3..=11)
        .map(|power| 10_f64.powi(power))
        .filter(|&nanos| nanos > least && nanos < most)
    {
        let (at, micros) = (y(decade), decade / 1e3);
        parts.push(format!("<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#d8dee6\"/><text x=\"{}\" y=\"{:.1}\">{micros} µs</text>", LEFT - 75.0, at + 4.0));
    }
    for (row, (target, latency)) in measured.iter().enumerate() {
        let color = COLORS.get(row % COLORS.len()).unwrap_or(&"#000");
        let points = QUANTILES.iter().enumerate().map(|(at, (part, _))| {
            format!(
                "{:.1},{:.1}",
                at as f64 * step + LEFT,
                y(latency.value_at_quantile(*part) as f64)
            )
        });
        let points: Vec<String> = points.collect();
        parts.push(format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
            points.join(" ")
        ));
        parts.push(format!(
            "<text x=\"0\" y=\"{}\" style=\"fill:{color}\">{target}</text>",
            row as f64 * 18.0 + 14.0
        ));
    }
    let (title, height) = ("Latency by quantile", HEIGHT + 36.0);
    format!(
        "<h2>{title}</h2><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">{}</svg>",
        parts.join("")
    )
}

fn latency(sample: &Sample) -> Option<&Histogram<u64>> {
    sample.latency.as_ref()
}

fn table(report: &Report) -> String {
    let targets = report.targets();
    let head: Vec<String> = targets
        .iter()
        .map(|target| format!("<th>{target}</th>"))
        .collect();
    let rows = METRICS.iter().filter_map(|metric| {
        let cells = targets.iter().map(|&target| {
            let values = values(report, target, metric);
            if values.0.is_empty() {
                String::new()
            } else {
                short(values.median())
            }
        });
        let cells: Vec<String> = cells.collect();
        let any = cells.iter().any(|cell| !cell.is_empty());
        any.then(|| {
            format!(
                "<tr><td>{metric}</td><td>{}</td></tr>",
                cells.join("</td><td>")
            )
        })
    });
    let rows: Vec<String> = rows.collect();
    format!(
        "<table><tr><th></th>{}</tr>{}</table>",
        head.join(""),
        rows.join("")
    )
}
