//! `portcullis size`: how many cores and how much memory a gateway needs, from what others like it were measured to use.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::cli::output::{Outcome, finish};

/// Calculate how many cores and how much memory a gateway needs.
///
/// The figures it multiplies by were measured on one machine; the table it prints names them and their records. Measure your
/// own with `cargo loadtest`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// Small requests a second: get, short lists, writes.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0)]
    pub requests: f64,
    /// Events of watches and lines of followed logs a second that come one at a time, counted for each client that gets them.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0)]
    pub events: f64,
    /// Megabytes (10^6 bytes) a second of answers that no rule masks: lists, and events and lines that come many at a time.
    #[arg(long, value_name = "MB_PER_SECOND", default_value_t = 0.0)]
    pub passed: f64,
    /// Megabytes a second of answers that are masked, counted as the API server sends them: Pods that have nothing in common, by
    /// the rules of the profiles. Pods of one workload take half of it, Secrets a quarter.
    #[arg(long, value_name = "MB_PER_SECOND", default_value_t = 0.0)]
    pub masked: f64,
    /// Megabytes a second of output of recorded sessions.
    #[arg(long, value_name = "MB_PER_SECOND", default_value_t = 0.0)]
    pub recorded: f64,
    /// Recorded sessions that are open at a time: exec, attach, port-forward.
    #[arg(long, value_name = "COUNT", default_value_t = 0.0)]
    pub sessions: f64,
    /// Keystrokes a second in recorded terminals, all together, each with its echo.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0)]
    pub keystrokes: f64,
    /// Watches and followed logs that are open at a time, each on a connection of its own; many on one HTTP/2 connection hold
    /// a third of it. Masked ones hold 4 KB more.
    #[arg(long, value_name = "COUNT", default_value_t = 0.0)]
    pub watches: f64,
}

/// What one of something costs.
struct Cost {
    what: &'static str,
    /// Microseconds of CPU time for each.
    cpu: f64,
    /// Kilobytes (10^3 bytes) for each, as long as it is open.
    memory: f64,
    /// The record it was read from, below `benches/record`.
    record: &'static str,
}

/// Kilobytes of a gateway that has nothing to do.
const IDLE: Cost = Cost {
    what: "the gateway itself",
    cpu: 0.0,
    memory: 20_000.0,
    record: EXEC_RECORD,
};
/// What a gateway should have left: a reconnecting fleet asks for all of its watches at once.
const RESERVE: f64 = 2.0;
const RECORD: &str = "2026-11-22-loadtest.md";
const MASK_RECORD: &str = "2026-11-22-loadtest-evening.md";
const WATCH_RECORD: &str = "2026-11-22-requests.md";
const EXEC_RECORD: &str = "2026-11-21-exec.md";

impl Args {
    /// How much of everything there is, and what one costs.
    fn parts(&self) -> [(f64, Cost); 9] {
        let cost = |what, cpu, memory, record| Cost {
            what,
            cpu,
            memory,
            record,
        };
        [
            (1.0, IDLE),
            (self.requests, cost("requests a second", 35.0, 0.0, RECORD)),
            (self.events, cost("events a second", 50.0, 0.0, RECORD)),
            (self.passed, cost("MB a second passed", 590.0, 0.0, RECORD)),
            (
                self.masked,
                cost("MB a second masked", 2470.0, 0.0, MASK_RECORD),
            ),
            (
                self.recorded,
                cost("MB a second recorded", 1400.0, 0.0, EXEC_RECORD),
            ),
            (self.sessions, cost("open sessions", 0.0, 90.0, RECORD)),
            (
                self.keystrokes,
                cost("keystrokes a second", 97.0, 0.0, RECORD),
            ),
            (self.watches, cost("open watches", 0.0, 33.0, WATCH_RECORD)),
        ]
    }
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    finish(print(args, &mut io::stdout().lock()))
}

fn print(args: &Args, output: &mut impl Write) -> anyhow::Result<Outcome> {
    let (mut cores, mut megabytes) = (0.0, 0.0);
    writeln!(
        output,
        "{:>10}  {:<22} {:>8} {:>10}  from benches/record/",
        "", "", "cores", "memory"
    )?;
    for (count, cost) in args.parts().iter().filter(|(count, _)| *count > 0.0) {
        let (own_cores, own_megabytes) = (count * cost.cpu / 1e6, count * cost.memory / 1e3);
        writeln!(
            output,
            "{count:>10}  {:<22} {own_cores:>8.2} {own_megabytes:>7.1} MB  {}",
            cost.what, cost.record
        )?;
        cores += own_cores;
        megabytes += own_megabytes;
    }
    writeln!(
        output,
        "{:>10}  {:<22} {cores:>8.2} {megabytes:>7.1} MB",
        "", "together"
    )?;
    writeln!(
        output,
        "{:>10}  {:<22} {:>8.2} {:>7.1} MB",
        "",
        "to plan with",
        cores * RESERVE,
        megabytes * RESERVE
    )?;
    writeln!(
        output,
        "\nTwice what the load needs, because clients that were cut off come back all at once."
    )?;
    Ok(Outcome::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(args: &Args) -> String {
        let mut output = Vec::new();
        print(args, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn parts_add_up_and_those_that_are_not_there_are_not_shown() {
        let args = Args {
            requests: 1000.0,
            masked: 10.0,
            watches: 1000.0,
            ..Args::default()
        };
        let parts = args.parts();
        let cores: f64 = parts
            .iter()
            .map(|(count, cost)| count * cost.cpu / 1e6)
            .sum();
        let text = printed(&args);
        let together = text.lines().find(|line| line.contains("together")).unwrap();
        assert!(together.contains(&format!("{cores:.2}")), "{text}");
        assert!(!text.contains("events"), "{text}");
    }

    #[test]
    fn every_figure_is_on_record() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/record");
        let args = Args {
            requests: 1.0,
            passed: 1.0,
            masked: 1.0,
            events: 1.0,
            recorded: 1.0,
            sessions: 1.0,
            keystrokes: 1.0,
            watches: 1.0,
        };
        for (_, cost) in args.parts() {
            assert!(
                folder.join(cost.record).is_file(),
                "{} is not there",
                cost.record
            );
        }
    }
}
