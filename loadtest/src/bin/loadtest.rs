//! `cargo loadtest`: measures the gateway on this machine.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement is printed"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use loadtest::harness::report::Report;
use loadtest::harness::run::{self, overhead};
use loadtest::harness::scenario::{Scenario, Target};
use loadtest::harness::{network, target, upstream};
use tikv_jemallocator::Jemalloc;

/// As the gateway's own program has it, since the gateway that is measured runs in this one.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Measure the gateway side by side with others, and judge what came out by the scenario's bars.
///
/// A scenario is a load, the targets that carry it in turn, and bars; `cargo loadtest list` shows those there are, and
/// a path to a YAML file is one too. Every round has a turn of each target and two of the reference, whose distance
/// says how much noise there is. The main figure is the CPU time of a target's processes, which is steadier than
/// throughput on a machine that also runs client and upstream.
///
/// Exit code 0: all bars hold. 1: one does not, or a secret value leaked, or streams broke. 2: nothing can be said,
/// because the machine was too busy, a bar is undecided or skipped (one of its targets was left out or is not installed),
/// or the command line is wrong.
#[derive(Parser)]
#[command(name = "loadtest", after_help = EXAMPLES)]
struct Cli {
    /// `list`, the name of a scenario, a file, or `overhead`, which has options of its own.
    scenario: String,
    /// Rounds instead of the scenario's; with fewer than three, bars say little.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Seconds that each turn counts, instead of the scenario's.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// Seconds that clients run before anything counts, instead of the scenario's.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    warm_up: Option<Duration>,
    /// The part of the scenario's clients and of their rates that runs.
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    scale: Option<f64>,
    /// The part of the items of its lists.
    #[arg(long, value_name = "FACTOR", value_parser = factor, default_value_t = 1.0)]
    items: f64,
    /// Only these of the scenario's targets; may be given several times.
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<Target>,
    #[command(flatten)]
    output: Output,
    /// Folder for configurations and logs of the targets; its subfolder `run` is emptied first.
    #[arg(long, value_name = "DIR", default_value = "target/loadtest")]
    dir: PathBuf,
}

/// What becomes of the report besides being printed.
#[derive(clap::Args)]
struct Output {
    /// Write everything that was measured, for programs and for --compare.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the report as one page with charts.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Say what changed since another run, whose --json this is.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// Measure what the gateway adds before a cluster that already runs: get, list, the events of a watch, the echo of a key and the
/// lines of a log, each directly and through the gateway.
///
/// It writes one `ConfigMap`, `loadtest-overhead`. Exit code 0 when all could be measured, 2 when not.
#[derive(Parser)]
#[command(name = "loadtest overhead")]
struct Overhead {
    #[command(flatten)]
    args: overhead::Args,
    #[command(flatten)]
    output: Output,
}

const EXAMPLES: &str = "\
loadtest/README.md explains the files, what can be measured and how a bar is judged.

Examples:
  cargo loadtest list
  cargo loadtest passthrough-watch-pods
  # quickly, while one changes something
  cargo loadtest passthrough-list --rounds 3 --duration 1 --target nginx --target portcullis
  # before and after
  cargo loadtest passthrough-list --json before.json
  cargo loadtest passthrough-list --compare before.json --html report.html
  # another build of the gateway, without building the harness again
  LOADTEST_GATEWAY=/usr/local/bin/portcullis cargo loadtest passthrough-list";

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

fn factor(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number")?;
    if number > 0.0 && number.is_finite() {
        Ok(number)
    } else {
        Err("a factor is above 0".to_owned())
    }
}

/// The program is also what it starts: gateway, upstream, relay.
#[derive(Parser)]
enum Role {
    Upstream(upstream::Args),
    Relay(target::relay::Args),
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let first = arguments.nth(1).unwrap_or_default();
    let done = match first.to_str() {
        Some("gateway") => {
            let line = std::iter::once("portcullis".into()).chain(arguments);
            return portcullis::cli::Cli::parse_from(line).run();
        }
        Some("upstream" | "relay") => match Role::parse() {
            Role::Upstream(args) => upstream::run(&args).map(|()| 0),
            Role::Relay(args) => target::relay::run(&args).map(|()| 0),
        },
        Some("overhead") => overhead_of(&Overhead::parse_from(std::env::args_os().skip(1))),
        Some("list") => list().map(|()| 0),
        _ => measured(&Cli::parse()),
    };
    done.map_or_else(
        |error| {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        },
        ExitCode::from,
    )
}

fn list() -> anyhow::Result<()> {
    for scenario in Scenario::all()? {
        println!("{:<28} {}", scenario.name, scenario.description);
    }
    Ok(())
}

fn measured(cli: &Cli) -> anyhow::Result<u8> {
    let mut scenario = Scenario::load(&cli.scenario)?;
    scenario.rounds = cli.rounds.map_or(scenario.rounds, usize::from);
    scenario.duration = cli.duration.unwrap_or(scenario.duration);
    scenario.warm_up = cli.warm_up.unwrap_or(scenario.warm_up);
    scenario.only(&cli.targets)?;
    scenario.scale(cli.scale, cli.items);
    let before = cli.output.before(&scenario.name)?;
    network::enter()?;
    let report = Report::new(&scenario, run::run(&scenario, &cli.dir)?);
    cli.output.write(&report, before.as_ref())?;
    Ok(report.exit_code())
}

fn overhead_of(cli: &Overhead) -> anyhow::Result<u8> {
    let before = cli.output.before(Report::OVERHEAD)?;
    let report = Report::overhead(&cli.args, overhead::run(&cli.args)?);
    cli.output.write(&report, before.as_ref())?;
    Ok(report.exit_code())
}

impl Output {
    /// The run to compare with, read before minutes are spent on measuring.
    fn before(&self, scenario: &str) -> anyhow::Result<Option<Report>> {
        let Some(file) = &self.compare else {
            return Ok(None);
        };
        let name = || file.display().to_string();
        let text = std::fs::read(file).with_context(name)?;
        let old: Report = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not what --json writes", name()))?;
        anyhow::ensure!(
            old.scenario == scenario,
            "{} is of {}, not of {scenario}",
            name(),
            old.scenario
        );
        Ok(Some(old))
    }

    fn write(&self, report: &Report, before: Option<&Report>) -> anyhow::Result<()> {
        let text = report.markdown();
        print!("{text}");
        if let Some(old) = before {
            println!("\n{}", report.compared_with(old));
        }
        let files = [
            (&self.json, serde_json::to_string(report)?),
            (&self.markdown, text),
            (&self.html, report.html()),
        ];
        for (file, text) in files {
            if let Some(file) = file {
                save(file, &text)?;
            }
        }
        Ok(())
    }
}

fn save(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
