//! `cargo loadtest`: measures the gateway on this machine.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement is printed"
)]

use std::process::ExitCode;

use clap::Parser;
use loadtest::measure::{self, Scenario};

/// Measure the gateway against a simulated cluster, and print a report in Markdown. Exit code 1 says that a bar
/// does not hold, 2 that nothing could be measured.
#[derive(Parser)]
#[command(name = "loadtest")]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

fn main() -> ExitCode {
    // The gateway runs in a process of its own, which is this program again.
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|first| first == "gateway") {
        let line = std::iter::once("portcullis".into()).chain(arguments);
        return portcullis::cli::Cli::parse_from(line).run();
    }
    match measure::run(&Cli::parse().scenario) {
        Ok(report) => {
            print!("{}", report.text);
            if report.holds {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
