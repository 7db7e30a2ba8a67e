//! `cargo loadtest`: measures the gateway on this machine.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement is printed"
)]

use std::path::PathBuf;
use std::process::ExitCode;

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
/// because the machine was too busy, a bar is undecided, or the command line is wrong.
#[derive(Parser)]
#[command(name = "loadtest", after_help = EXAMPLES)]
struct Cli {
    /// `list`, the name of a scenario, a file, or `overhead`, which has options of its own.
    scenario: String,
    /// Rounds instead of the scenario's; five at least if bars are to mean anything.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that each turn counts, instead of the scenario's.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// Seconds that clients run before anything counts, instead of the scenario's.
    #[arg(long, value_name = "SECONDS")]
    warm_up: Option<f64>,
    /// The part of the scenario's clients and of their rates that runs.
    #[arg(long, value_name = "FACTOR")]
    scale: Option<f64>,
    /// The part of the items of its lists.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    items: f64,
    /// Only these targets: direct, relay, nginx, haproxy, envoy, portcullis, portcullis-masked, portcullis-recorded, portcullis-masked-recorded.
    #[arg(long = "target", value_name = "TARGET", value_parser = parse_target)]
    targets: Vec<Target>,
    #[command(flatten)]
    output: Output,
    /// Where configurations and logs of the targets are kept.
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

fn parse_target(text: &str) -> Result<Target, String> {
    serde_json::from_value(text.into()).map_err(|_| format!("no target {text:?}"))
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
    network::enter()?;
    scenario.rounds = cli.rounds.unwrap_or(scenario.rounds);
    if let Some(seconds) = cli.duration {
        scenario.duration = std::time::Duration::try_from_secs_f64(seconds)?;
    }
    if let Some(seconds) = cli.warm_up {
        scenario.warm_up = std::time::Duration::try_from_secs_f64(seconds)?;
    }
    if !cli.targets.is_empty() {
        scenario
            .targets
            .retain(|target| cli.targets.contains(target));
    }
    scenario.scale(cli.scale, cli.items);
    let report = Report::new(&scenario, run::run(&scenario, &cli.dir)?);
    cli.output.write(&report)?;
    Ok(report.exit_code())
}

fn overhead_of(cli: &Overhead) -> anyhow::Result<u8> {
    let report = Report::overhead(&cli.args, overhead::run(&cli.args)?);
    cli.output.write(&report)?;
    Ok(report.exit_code())
}

impl Output {
    fn write(&self, report: &Report) -> anyhow::Result<()> {
        let text = report.markdown();
        print!("{text}");
        if let Some(file) = &self.markdown {
            std::fs::write(file, text)?;
        }
        if let Some(file) = &self.html {
            std::fs::write(file, report.html())?;
        }
        if let Some(file) = &self.compare {
            let old: Report = serde_json::from_slice(&std::fs::read(file)?)?;
            println!("\n{}", report.compared_with(&old)?);
        }
        if let Some(file) = &self.json {
            std::fs::write(file, serde_json::to_vec(report)?)?;
        }
        Ok(())
    }
}
