//! `portcullis check`: is this configuration one the gateway would start with?

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use crate::config::{Config, Problem};

/// Checks a configuration and everything it names, and prints every problem.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The configuration file (kind: `GatewayConfiguration`)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// How to print the result
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How a command prints what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// How a command ended; the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Outcome {
    /// Exit code 0.
    Good,
    /// Exit code 1: what was looked at has problems.
    Problems,
    /// Exit code 3: the gateway would refuse it.
    Refused,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    ok: bool,
    problems: &'a [Problem],
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_version: Option<&'a str>,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    finish(execute(args, &mut io::stdout().lock()))
}

/// The exit code of a command, 2 when it could not even look. Whoever stopped reading (`| head`) has
/// what they wanted: no word, and the exit code that a shell gives a program SIGPIPE ended.
#[expect(clippy::print_stderr, reason = "output belongs to the command line")]
pub(in crate::cli) fn finish(outcome: anyhow::Result<Outcome>) -> ExitCode {
    match outcome {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Problems) => ExitCode::FAILURE,
        Ok(Outcome::Refused) => ExitCode::from(3),
        Err(error) if is_broken_pipe(&error) => ExitCode::from(141),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = if let Some(error) = cause.downcast_ref::<io::Error>() {
            Some(error.kind())
        } else {
            cause
                .downcast_ref::<serde_json::Error>()
                .and_then(serde_json::Error::io_error_kind)
        };
        kind == Some(io::ErrorKind::BrokenPipe)
    })
}

fn execute(args: &Args, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let checked = Config::load(&args.file);
    match (&checked, args.output) {
        (Ok(config), Output::Text) => summarize(args, config, out)?,
        (Err(problems), Output::Text) => {
            print_problems(problems, out)?;
            let count = problems.len();
            let noun = if count == 1 { "problem" } else { "problems" };
            writeln!(out, "{count} {noun}; the gateway would not start with it")?;
        }
        (Ok(config), Output::Json) => print_json(
            &Report {
                ok: true,
                problems: &[],
                warnings: &config.warnings,
                policy_version: Some(config.policy.version()),
            },
            out,
        )?,
        (Err(problems), Output::Json) => print_json(
            &Report {
                ok: false,
                problems,
                warnings: &[],
                policy_version: None,
            },
            out,
        )?,
    }
    Ok(match checked {
        Ok(_) => Outcome::Good,
        Err(_) => Outcome::Problems,
    })
}

fn summarize(args: &Args, config: &Config, out: &mut dyn Write) -> io::Result<()> {
    for warning in &config.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    let clusters: Vec<String> = config
        .upstream
        .clusters
        .iter()
        .map(|cluster| {
            if config.default_cluster.as_deref() == Some(&cluster.name) {
                format!("{} (default)", cluster.name)
            } else {
                cluster.name.clone()
            }
        })
        .collect();
    writeln!(out, "{}: good", args.file.display())?;
    writeln!(out, "  listens on {}", config.listener.address)?;
    writeln!(out, "  issuers    {}", config.authentication.issuers.len())?;
    writeln!(out, "  clusters   {}", clusters.join(", "))?;
    writeln!(
        out,
        "  policy     {} rules, version {}",
        config.policy.rules(),
        config.policy.version()
    )
}

pub(in crate::cli) fn print_problems(problems: &[Problem], out: &mut dyn Write) -> io::Result<()> {
    for problem in problems {
        writeln!(out, "{problem}")?;
    }
    Ok(())
}

pub(in crate::cli) fn print_json(
    value: &impl Serialize,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    // JSON lets these stand as they are, but terminals act on them. Only strings can have them.
    let acts = |c: char| ('\u{7f}'..='\u{9f}').contains(&c);
    for piece in serde_json::to_string_pretty(value)?.split_inclusive(acts) {
        match piece.chars().next_back().filter(|c| acts(*c)) {
            Some(c) => write!(
                out,
                "{}\\u{:04x}",
                piece.trim_end_matches(acts),
                u32::from(c)
            )?,
            None => out.write_all(piece.as_bytes())?,
        }
    }
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_nothing_that_a_terminal_acts_on() {
        let value = ["\u{9b}31m\u{7f}\u{9d}x \u{e4}\u{a0}", "\u{1b}[m"];
        let mut out = Vec::new();
        print_json(&value, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.chars().all(|c| c == '\n' || !c.is_control()),
            "{text:?}"
        );
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), value);
    }

    fn check(output: Output) -> (Outcome, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.yaml");
        std::fs::write(
            &file,
            "apiVersion: portcullis.dev/v1alpha1\nkind: Gateway\n",
        )
        .unwrap();
        let mut out = Vec::new();
        let outcome = execute(&Args { file, output }, &mut out).unwrap();
        (outcome, String::from_utf8(out).unwrap())
    }

    #[test]
    fn problems_are_printed_and_counted() {
        let (outcome, text) = check(Output::Text);
        assert_eq!(outcome, Outcome::Problems);
        assert!(
            text.contains("gateway.yaml:2:7: kind must be GatewayConfiguration\n"),
            "{text}"
        );
        assert!(
            text.ends_with("6 problems; the gateway would not start with it\n"),
            "{text}"
        );
    }

    /// A reader that is gone.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_is_no_error() {
        for output in [Output::Text, Output::Json] {
            let file = PathBuf::from("none.yaml");
            let error = execute(&Args { file, output }, &mut Gone).unwrap_err();
            assert!(is_broken_pipe(&error), "{error:?}");
            assert_eq!(finish(Err(error)), ExitCode::from(141));
        }
        let other = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(finish(Err(other.into())), ExitCode::from(2));
    }

    #[test]
    fn json_has_a_place_for_every_problem() {
        let (outcome, text) = check(Output::Json);
        assert_eq!(outcome, Outcome::Problems);
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["ok"], false);
        assert_eq!(report["problems"][5]["field"], "kind");
        assert_eq!(report["problems"][5]["line"], 2);
    }
}
