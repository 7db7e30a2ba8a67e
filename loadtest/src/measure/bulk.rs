//! `exec-bulk`: what a megabyte of output costs the gateway, on tape and not.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use portcullis::wire::channel::STDOUT;
use tokio::time::Instant;

use super::Report;
use super::client::Endpoint;
use super::numbers::{Sorted, machine};
use super::stage::Stage;

/// CPU time of a recorded session by that of an unrecorded one, at most.
const BAR: f64 = 1.15;
/// How long the gateway may take to write what it has, after a session.
const SETTLE: Duration = Duration::from_millis(1500);
/// What is printed: a line of a log.
const LINE: &str = "2026-11-20T23:59:59Z INFO request served path=/healthz status=200 took=1.3ms";

/// How much is printed.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Megabytes (10^6 bytes) of output in each session.
    #[arg(long, default_value_t = 300)]
    megabytes: u64,
    /// Rounds; each has an unrecorded session, a recorded one and another unrecorded one.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// With the masks of the shipped profiles on what is printed: known values and credentials.
    #[arg(long)]
    masked: bool,
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = "target/measure")]
    dir: PathBuf,
}

/// What one session cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Milliseconds of CPU time for a megabyte.
    cpu: f64,
    /// Megabytes a second.
    rate: f64,
}

/// Alternates sessions and compares them round by round.
pub(super) async fn run(args: &Args) -> anyhow::Result<Report> {
    let machine = machine();
    let stage = Stage::start(&args.dir, args.masked).await?;
    session(&stage, &stage.plain, args).await?;
    session(&stage, &stage.recorded, args).await?;
    stage.forget_recordings()?;
    let mut rounds = Vec::new();
    for number in 0..args.rounds {
        let before = session(&stage, &stage.plain, args).await?;
        let recorded = session(&stage, &stage.recorded, args).await?;
        let after = session(&stage, &stage.plain, args).await?;
        let on_tape = stage.forget_recordings()?;
        ensure!(
            on_tape > args.megabytes * 1_000_000,
            "not everything is on tape"
        );
        // The session right before the recorded one is not always the same.
        rounds.push(if number % 2 == 0 {
            [before, recorded, after]
        } else {
            [after, recorded, before]
        });
    }
    Ok(report(args, &machine, &rounds, stage.gateway_peak_kib()?))
}

/// Prints as much as was asked for, to its end.
async fn session(stage: &Stage, endpoint: &Endpoint, args: &Args) -> anyhow::Result<Cost> {
    let bytes = args.megabytes * 1_000_000;
    let line = LINE.replace(' ', "+").replace('=', "%3D");
    let script = format!("yes+%27{line}%27+%7C+head+-c+{bytes}");
    let query = format!("command=sh&command=-c&command={script}&stdout=true&stderr=true");
    let before = stage.gateway_cpu()?;
    let begun = Instant::now();
    let mut exec = endpoint.exec(&query).await?;
    let mut received = 0;
    while exec
        .read(|channel, content| {
            if channel == STDOUT {
                received += content.len() as u64;
            }
        })
        .await?
    {}
    let took = begun.elapsed();
    let status = String::from_utf8_lossy(exec.status()).into_owned();
    ensure!(
        received == bytes,
        "{received} of {bytes} bytes arrived: {status}"
    );
    ensure!(status.contains("Success"), "the command failed: {status}");
    drop(exec);
    tokio::time::sleep(SETTLE).await;
    let cpu = stage.gateway_cpu()?.saturating_sub(before);
    let megabytes = Duration::from_micros(args.megabytes).as_secs_f64() * 1e6;
    Ok(Cost {
        cpu: cpu.as_secs_f64() * 1e3 / megabytes,
        rate: megabytes / took.as_secs_f64(),
    })
}

fn report(args: &Args, machine: &str, rounds: &[[Cost; 3]], peak_kib: u64) -> Report {
    let over_rounds = |value: &dyn Fn(&[Cost; 3]) -> f64| {
        let values: Vec<f64> = rounds.iter().map(value).collect();
        Sorted::new(&values)
    };
    let ratio = over_rounds(&|[plain, recorded, _]| recorded.cpu / plain.cpu);
    let noise = over_rounds(&|[plain, _, again]| again.cpu / plain.cpu);
    let names = ["unrecorded", "recorded", "unrecorded again"];
    let rows = names.iter().enumerate().map(|(at, name)| {
        let cpu = over_rounds(&|round| round.get(at).map_or(0.0, |cost| cost.cpu)).median();
        let rate = over_rounds(&|round| round.get(at).map_or(0.0, |cost| cost.rate)).median();
        format!("| {name} | {cpu:.3} | {rate:.0} |")
    });
    let rows: Vec<String> = rows.collect();
    let quartiles = |values: &Sorted| {
        let [low, middle, high] = [0.25, 0.5, 0.75].map(|part| values.quantile(part));
        format!("{middle:.3} ({low:.3} to {high:.3})")
    };
    let holds = ratio.median() <= BAR;
    let verdict = if holds { "holds" } else { "does not hold" };
    let text = format!(
        "# exec-bulk

CPU time of the gateway for exec output: WebSocket v5, TLS on both sides, {} MB of log lines a session{}, {} rounds of
an unrecorded, a recorded and another unrecorded session. Medians; in brackets the quartiles.

{machine}

| session | CPU ms/MB | MB/s |
| --- | --- | --- |
{}

Recorded by unrecorded in the same round: {}. Unrecorded by unrecorded: {}.
Peak memory of the gateway: {peak_kib} KiB.

The bar (at most {BAR}) {verdict}.
",
        args.megabytes,
        if args.masked { ", masked" } else { "" },
        args.rounds,
        rows.join("\n"),
        quartiles(&ratio),
        quartiles(&noise),
    );
    Report { text, holds }
}
