//! Everything that somebody did, on one timeline: commands, decisions, what they saw, shells.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use jiff::Timestamp;
use serde::Serialize;

use super::sources::Sources;
use super::stage::Stage;
use super::{Args, answer};
use crate::audit::commands::recent::Recent;
use crate::audit::commands::{Command, Filter, Request};
use crate::audit::responses::read::State;
use crate::cli::operator::sessions::time;
use crate::cli::output::{Outcome, Output, print_compact};
use crate::limits;
use crate::recording::replay::{Reader, transcript};

/// Whose doings are played, and since when.
#[derive(Clone, Debug, clap::Args)]
pub struct Whose {
    /// Play everything that this user did, or an agent for them
    #[arg(long, value_name = "NAME", help_heading = "A whole run", conflicts_with_all = ["search", "keep_escapes", "from"])]
    pub caller: Option<String>,

    /// Only what this agent did
    #[arg(long, value_name = "NAME", help_heading = "A whole run", conflicts_with_all = ["search", "keep_escapes", "from"])]
    pub agent: Option<String>,

    /// Only from this time on: 2026-11-20T08:00:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "24h", help_heading = "A whole run")]
    pub since: Timestamp,

    /// Only before this time
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "A whole run")]
    pub until: Option<Timestamp>,

    /// Show answers and transcripts to their ends
    #[arg(long, help_heading = "A whole run")]
    pub full: bool,

    /// The file that the gateway writes, if the configuration keeps it elsewhere (audit.file)
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "A whole run",
        conflicts_with = "server"
    )]
    pub audit_file: Option<PathBuf>,

    /// How to print a run: for people, or a line of JSON for each request
    #[arg(
        short,
        long,
        value_enum,
        default_value_t = Output::Text,
        help_heading = "A whole run",
        conflicts_with = "recording"
    )]
    pub output: Output,
}

/// One request with what there is of it besides its event.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    /// The id of its command.
    command: &'a str,
    #[serde(flatten)]
    request: &'a Request,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response>,
    /// The transcript of its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Response {
    state: State,
    cut: bool,
    body: serde_json::Value,
}

/// Plays a run, or writes all of it at once.
pub(super) fn replay(
    args: &Args,
    plays: bool,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let sources = Sources::open(args)?;
    let (commands, more) = commands(args, &sources)?;
    if more {
        writeln!(
            notes,
            "note: these are the latest {} requests, in {} commands; those before are left out, --since and --until choose them",
            in_order(&commands).count(),
            commands.len()
        )?;
    }
    if commands.is_empty() {
        writeln!(
            notes,
            "note: nothing since {}; --since goes back further, `portcullis audit ls` lists who did something",
            args.whose.since
        )?;
        return Ok(Outcome::Problems);
    }
    if args.whose.output == Output::Json {
        for (command, request) in in_order(&commands) {
            print_compact(&told(&sources, command, request)?, out)?;
        }
        return Ok(Outcome::Good);
    }
    let began = commands.first().map_or(args.whose.since, |it| it.started);
    let mut stage = Stage::new(args, sources, (plays, began), out)?;
    for command in &commands {
        if !stage.command(command)? {
            break;
        }
    }
    Ok(Outcome::Good)
}

fn in_order(commands: &[Command]) -> impl Iterator<Item = (&Command, &Request)> {
    let of = |command| std::iter::repeat(command);
    commands
        .iter()
        .flat_map(move |command| of(command).zip(&command.requests))
}

/// What they did, in the order in which it began; whether there was more.
fn commands(args: &Args, sources: &Sources) -> anyhow::Result<(Vec<Command>, bool)> {
    let whose = &args.whose;
    if whose.until.is_some_and(|until| until <= whose.since) {
        bail!("--until is not after --since");
    }
    let filter = Filter {
        user: whose.caller.clone(),
        agent: whose.agent.clone(),
        since: Some(whose.since),
        until: whose.until,
        ..Filter::default()
    };
    let mut recent =
        Recent::new(limits::AUDIT_COMMANDS_LISTED_MAX).whole(limits::AUDIT_RUN_REQUESTS_MAX);
    let mut more = false;
    sources.requests(&filter, &mut |request| {
        if request.received < whose.since {
            return Ok(true); // it was over later
        }
        more = !recent.push(request);
        Ok(!more)
    })?;
    let mut commands = recent.finish();
    commands.sort_by_key(|command| command.started);
    Ok((commands, more))
}

fn told<'a>(
    sources: &Sources,
    command: &'a Command,
    request: &'a Request,
) -> anyhow::Result<Told<'a>> {
    let response = sources.saw(request)?.map(|saw| Response {
        state: saw.state,
        cut: saw.cut,
        body: answer::as_json(&saw.bytes),
    });
    let transcript = sources
        .recording(request)?
        .map(|tape| lines(&mut Reader::new(tape.parts())?))
        .transpose()?;
    Ok(Told {
        command: &command.id,
        request,
        response,
        transcript,
    })
}

/// A transcript, as far as it is shown.
pub(super) fn lines(reader: &mut Reader) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    transcript::lines(reader, &mut |line| {
        if found.len() < limits::REPLAY_TRANSCRIPT_LINES_MAX {
            found.push(line.text);
        }
    })?;
    Ok(found)
}
