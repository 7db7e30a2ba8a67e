//! How commands print, and which exit code they end with.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Serialize;

use crate::config::Problem;

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
pub(super) enum Outcome {
    /// Exit code 0.
    Good,
    /// Exit code 1: what was looked at has problems.
    Problems,
    /// Exit code 3: the gateway would refuse it.
    Refused,
}

/// The exit code of a command, 2 when it could not even look. Whoever stopped reading (`| head`) has
/// what they wanted: no word, and the exit code that a shell gives a program SIGPIPE ended.
#[expect(clippy::print_stderr, reason = "output belongs to the command line")]
pub(super) fn finish(outcome: anyhow::Result<Outcome>) -> ExitCode {
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

/// The same of a command that talks to others.
pub(super) fn finish_talking(work: impl Future<Output = anyhow::Result<Outcome>>) -> ExitCode {
    finish(talk(work))
}

/// Talks to others, on this thread, to the end.
pub(super) fn talk<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")?
        .block_on(work)
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

pub(super) fn print_problems(problems: &[Problem], out: &mut dyn Write) -> io::Result<()> {
    for problem in problems {
        writeln!(out, "{problem}")?;
    }
    Ok(())
}

pub(super) fn print_json(value: &impl Serialize, out: &mut dyn Write) -> anyhow::Result<()> {
    Ok(print_tame(&serde_json::to_string_pretty(value)?, out)?)
}

/// The same on one line, for what has no end.
pub(super) fn print_compact(value: &impl Serialize, out: &mut dyn Write) -> anyhow::Result<()> {
    Ok(print_tame(&serde_json::to_string(value)?, out)?)
}

fn print_tame(json: &str, out: &mut dyn Write) -> io::Result<()> {
    // JSON lets these stand as they are, but terminals act on them. Only strings can have them.
    let acts = |c: char| ('\u{7f}'..='\u{9f}').contains(&c);
    for piece in json.split_inclusive(acts) {
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
    writeln!(out)
}

/// Prints why a command failed, on standard error.
#[expect(clippy::print_stderr, reason = "output belongs to the command line")]
pub(super) fn complain(message: &str) {
    eprintln!("error: {message}");
}

/// Prints what the reader of a result should know besides, on standard error.
#[expect(
    clippy::print_stderr,
    reason = "results go to standard output, notes do not"
)]
pub(super) fn note(message: &str) {
    eprintln!("note: {message}");
}

/// Says something to whoever waits, on standard error: what asks for a token reads standard output.
#[expect(clippy::print_stderr, reason = "output belongs to the command line")]
pub(super) fn say(message: &str) {
    eprintln!("{message}");
}

/// Prints rows in columns as wide as what is in them.
pub(super) fn print_table<const COLUMNS: usize>(
    rows: &[[String; COLUMNS]],
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// A text that somebody else wrote, without anything that could act on a terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
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
}
