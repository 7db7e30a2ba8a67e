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
use loadtest::harness::scenario::{Scenario, Target};
use loadtest::harness::{network, run, target, upstream};
use loadtest::measure;

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
    /// `list`, the name of a scenario, or a file.
    scenario: String,
    /// Rounds instead of the scenario's; five at least if bars are to mean anything.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that each turn counts, instead of the scenario's.
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// Multiplies the number of clients, which stays at least one, and of items.
    #[arg(long, value_name = "FACTOR")]
    scale: Option<f64>,
    /// Only these targets: direct, relay, nginx, haproxy, envoy, portcullis, portcullis-masked, portcullis-recorded.
    #[arg(long = "target", value_name = "TARGET", value_parser = parse_target)]
    targets: Vec<Target>,
    /// Write everything that was measured, for programs and for --compare.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Where configurations and logs of the targets are kept.
    #[arg(long, value_name = "DIR", default_value = "target/loadtest")]
    dir: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  cargo loadtest list
  cargo loadtest passthrough-watch-pods
  # quickly, while one changes something
  cargo loadtest passthrough-list --rounds 3 --duration 1 --target nginx --target portcullis
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

/// The measurements of sessions, which have a command line of their own.
#[derive(Parser)]
struct Sessions {
    #[command(subcommand)]
    scenario: measure::Scenario,
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
        Some("exec-echo" | "exec-bulk") => sessions(),
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

fn sessions() -> anyhow::Result<u8> {
    let report = measure::run(&Sessions::parse().scenario)?;
    print!("{}", report.text);
    Ok(u8::from(!report.holds))
}

fn measured(cli: &Cli) -> anyhow::Result<u8> {
    let mut scenario = Scenario::load(&cli.scenario)?;
    network::enter()?;
    scenario.rounds = cli.rounds.unwrap_or(scenario.rounds);
    if let Some(seconds) = cli.duration {
        scenario.duration = std::time::Duration::try_from_secs_f64(seconds)?;
    }
    if !cli.targets.is_empty() {
        scenario
            .targets
            .retain(|target| cli.targets.contains(target));
    }
    if let Some(factor) = cli.scale {
        scenario.load.iter_mut().for_each(|load| load.scale(factor));
    }
    let report = Report::new(&scenario, run::run(&scenario, &cli.dir)?);
    let text = report.markdown();
    print!("{text}");
    if let Some(file) = &cli.markdown {
        std::fs::write(file, text)?;
    }
    if let Some(file) = &cli.json {
        std::fs::write(file, serde_json::to_vec(&report)?)?;
    }
    Ok(report.exit_code())
}
