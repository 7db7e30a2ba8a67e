//! `portcullis check`: is this configuration one the gateway would start with?

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::output::{Outcome, Output, finish, print_json, print_problems};
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

#[cfg(test)]
mod tests {
    use super::*;

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
