//! `portcullis replay`: what happened in a session, or in all that a caller did?

use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::sessions::source::{Among, Source, Tape};
use crate::cli::output::{Outcome, finish, talk};
use crate::recording::Summary;
use crate::recording::replay::filter::visible;
use crate::recording::replay::player::{Player, parse_time};
use crate::recording::replay::transcript::Needle;
use crate::recording::replay::{Flaws, Reader, clock_face, files, transcript};
use crate::session::EndReason;

mod answer;
pub mod run;
mod show;
mod sources;
mod stage;
mod terminal;
mod told;

use super::client::Target;
use show::Show;

/// Places that `n` goes to; more are left out.
const PLACES_MAX: usize = 10_000;

/// Plays a recorded session, or with --caller everything that somebody did
///
/// What somebody did are their commands, what was decided about each request and why, the answers they saw where a rule
/// says `record: responses`, and their sessions, in the order of time.
///
/// In a terminal: space stops and goes on, `.` shows the next output, `+` and `-` change the speed,
/// the arrows or `<` and `>` jump five seconds, `n` goes to the next place that `--search` found (in a whole run: on to what
/// comes next), `q` ends. When the output is no terminal, everything is written at once.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  portcullis replay 01997c3e-8f0e-7c52-9d2b-6a1f0f4c1f11 --speed 2\n  portcullis replay session.cast --from 1:30\n  portcullis replay session.cast --search 'DROP TABLE' --text\n  # what an agent did in the last two hours, and what it saw\n  portcullis replay --caller dora --agent coding-assistant --since 2h --text"
)]
pub struct Args {
    /// The id of a recording, or the beginning of it when no other's is the same, or an asciicast file (v2 or v3), for which nothing else is needed
    #[arg(
        value_name = "ID|FILE.cast",
        required_unless_present_any = ["caller", "agent"],
        conflicts_with_all = ["caller", "agent"]
    )]
    pub recording: Option<String>,

    /// Whose doings
    #[command(flatten)]
    pub whose: run::Whose,

    /// Where
    #[command(flatten)]
    pub target: Target,

    /// How many times as fast
    #[arg(long, value_name = "N", default_value = "1", value_parser = speed)]
    pub speed: f64,

    /// Make longer pauses this short; 0 keeps them
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub idle_limit: Duration,

    /// Begin here: SECONDS, MINUTES:SECONDS, HOURS:MINUTES:SECONDS or 1m30s
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<Duration>,

    /// Print a transcript without escape sequences
    #[arg(long)]
    pub text: bool,

    /// Begin where this text is shown (upper and lower case are the same); with --text, print the
    /// lines that have it and their times. Exit code 1 if there is none
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,

    /// Write everything as it was recorded: the session can then set the clipboard, titles and
    /// keyboard of this terminal and make it send answers
    #[arg(long, conflicts_with = "text")]
    pub keep_escapes: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.01..=1000.0).contains(&speed) {
        Ok(speed)
    } else {
        Err("expected 0.01 to 1000".to_owned())
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn time(text: &str) -> Result<Duration, String> {
    parse_time(text).ok_or_else(|| "expected a time such as 90, 1:30 or 1m30s".to_owned())
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let plays = !args.text && io::stdout().is_terminal();
    let result = execute(args, plays, &mut io::stdout().lock(), &mut io::stderr());
    match result {
        // Whoever reads has enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        result => finish(result),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Plays at the recorded pace when `plays` says so, and writes everything at once otherwise.
fn execute(
    args: &Args,
    plays: bool,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let Some(recording) = &args.recording else {
        return run::replay(args, plays, out, notes);
    };
    let (tape, summary) = find(args, recording)?;
    let open = || Reader::new(tape.parts());
    let from = args.from.unwrap_or_default();
    let mut reader = open()?;
    if args.text || (args.search.is_some() && !plays) {
        let found = text(args, &mut reader, from, out)?;
        out.flush()?;
        tell(summary.as_ref(), reader.flaws(), 0, notes)?;
        return Ok(if found {
            Outcome::Good
        } else {
            Outcome::Problems
        });
    }
    let found = match &args.search {
        Some(text) => search(&mut open()?, text)?,
        None => Vec::new(),
    };
    let start = found.iter().copied().find(|at| *at >= from);
    if args.search.is_some() && start.is_none() {
        writeln!(notes, "note: the text is not shown in this recording")?;
        return Ok(Outcome::Problems);
    }
    let mut show = Show::new(&open, reader, player(args), args.keep_escapes, found, out);
    let hidden = if plays {
        show.play(start.unwrap_or(from))?
    } else {
        show.write_all(from)?
    };
    tell(summary.as_ref(), show.flaws(), hidden, notes)?;
    Ok(Outcome::Good)
}

/// At the speed that is wanted.
fn player(args: &Args) -> Player {
    let idle_limit = (args.idle_limit > Duration::ZERO).then_some(args.idle_limit);
    Player::new(args.speed, idle_limit)
}

/// The recording to play, and what its sidecar says: a file, or what the data directory or a gateway
/// has under this id.
fn find(args: &Args, recording: &str) -> anyhow::Result<(Tape, Option<Summary>)> {
    let file = Path::new(recording);
    if file.is_file() {
        let summary = files::summary(file);
        return Ok((Tape::Files(files::with_later_parts(file)), summary));
    }
    talk(async {
        let source = Source::open(&args.target).await?;
        let id = source.id(recording, Among::All).await?;
        let details = source.show(&id).await?;
        let tape = source.tape(&details.session.metadata.id).await?;
        Ok((tape, details.summary))
    })
}

/// Prints the transcript, or the lines of it that are searched for; whether there were any.
fn text(
    args: &Args,
    reader: &mut Reader,
    from: Duration,
    out: &mut dyn Write,
) -> anyhow::Result<bool> {
    let wanted = args.search.as_deref().map(|text| Needle::new(text, true));
    let (mut written, mut found) = (Ok(()), wanted.is_none());
    transcript::lines(reader, &mut |line| {
        if line.at < from || written.is_err() {
            return;
        }
        written = match &wanted {
            None => writeln!(out, "{}", line.text),
            Some(wanted) if wanted.find(&line.text).is_some() => {
                found = true;
                writeln!(out, "{}  {}", clock_face(line.at), line.text)
            }
            Some(_) => Ok(()),
        };
    })?;
    written?;
    Ok(found)
}

/// When the text is shown; the first [`PLACES_MAX`] times.
fn search(reader: &mut Reader, text: &str) -> anyhow::Result<Vec<Duration>> {
    let wanted = Needle::new(text, true);
    let mut found = Vec::new();
    transcript::lines(reader, &mut |line| {
        if found.len() < PLACES_MAX && wanted.find(&line.text).is_some() {
            found.push(line.at);
        }
    })?;
    Ok(found)
}

/// Says what the reader cannot see: that something is missing.
fn tell(
    summary: Option<&Summary>,
    flaws: Flaws,
    hidden: u64,
    notes: &mut dyn Write,
) -> anyhow::Result<()> {
    if hidden > 0 {
        writeln!(notes, "note: {}", transcript::hidden_note(hidden))?;
    }
    if flaws != Flaws::default() {
        writeln!(notes, "note: {flaws}")?;
    }
    let Some(summary) = summary else {
        return Ok(());
    };
    if summary.truncated {
        writeln!(
            notes,
            "note: this recording is truncated: the gateway ended before the session did, after {}",
            clock_face(Duration::from_millis(summary.duration_ms))
        )?;
    }
    if summary.capped {
        let then = if summary.reason == EndReason::RecordingFull.as_str() {
            "the session was ended for it"
        } else {
            "the session went on unrecorded"
        };
        writeln!(notes, "note: this recording reached its size cap; {then}")?;
    }
    if let Some(failure) = &summary.failure {
        writeln!(
            notes,
            "note: this recording is incomplete: {}",
            visible(failure)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
