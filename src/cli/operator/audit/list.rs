//! `portcullis audit ls` and `show`: what people did.

use std::io::Write;

use anyhow::{Context as _, bail};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{FilterArgs, LogArgs, print};
use crate::audit::commands::{Filter, Gathering, Seen};
use crate::audit::history::made;
use crate::audit::segments::{Got, Lines, Segments};
use crate::cli::output::{Output, note, print_json};
use crate::limits;

/// The arguments of `portcullis audit ls`.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// Where
    #[command(flatten)]
    pub log: LogArgs,
    /// Which
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only requests that came at this time or later: 2026-11-20T08:00:00Z, or 7d for a week ago
    #[arg(long, value_name = "TIME", value_parser = super::time, default_value = "24h")]
    pub since: Timestamp,
    /// Only requests that came before this time
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    pub until: Option<Timestamp>,
    /// How many commands at most, the latest
    #[arg(long, value_name = "NUMBER", default_value_t = limits::AUDIT_COMMANDS_LISTED_DEFAULT, value_parser = limit)]
    pub limit: usize,
    /// A line for each request, not for each command; those that only asked what the API has too
    #[arg(long)]
    pub requests: bool,
    /// How to print the list
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// The arguments of `portcullis audit show`.
#[derive(Clone, Debug, clap::Args)]
pub struct ShowArgs {
    /// The id of a command or of a request, or the beginning of it when no other's is the same
    #[arg(value_name = "ID")]
    pub id: String,
    /// Where
    #[command(flatten)]
    pub log: LogArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

pub(super) fn list(args: &ListArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let filter = Filter {
        since: Some(args.since),
        until: args.until,
        ..args.filter.read()
    };
    let mut gathering = Gathering::new(filter, args.limit);
    if args.requests {
        gathering = gathering.ungrouped();
    }
    read(&args.log.segments(), Some(args.since), &mut |seen| {
        gathering.push(seen);
    })?;
    let (mut commands, more) = gathering.finish();
    commands.reverse();
    match (args.output, args.requests) {
        (Output::Json, true) => {
            let requests: Vec<_> = commands
                .iter()
                .flat_map(|command| &command.requests)
                .collect();
            print_json(&requests, out)?;
        }
        (Output::Json, false) => print_json(&commands, out)?,
        (Output::Text, true) => print::requests(&commands, out)?,
        (Output::Text, false) => print::commands(&commands, out)?,
    }
    if more {
        note(&format!(
            "there are more than {}; narrow the list down, or use --limit",
            args.limit
        ));
    } else if commands.is_empty() {
        note(&format!(
            "nothing since {}; --since goes back further",
            args.since
        ));
    }
    Ok(())
}

pub(super) fn show(args: &ShowArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let segments = args.log.segments();
    // A command may have begun before the request that is asked for.
    let since = Uuid::try_parse(&args.id).ok().and_then(made);
    let since = since.and_then(|at| at.checked_sub(COMMANDS_LAST_AT_MOST).ok());
    let id = Filter {
        id: Some(args.id.clone()),
        ..Filter::default()
    };
    let mut meant = Gathering::new(id.clone(), CANDIDATES_MAX).ungrouped();
    read(&segments, since, &mut |seen| meant.push(seen))?;
    let (meant, _) = meant.finish();
    let runs: Vec<_> = meant
        .iter()
        .flat_map(|command| &command.requests)
        .map(|request| request.run().ok_or(&request.audit_id))
        .collect();
    let Some(run) = runs.first() else {
        bail!(
            "no request has the id {:?}; `portcullis audit ls --requests` lists them",
            args.id
        );
    };
    if runs.iter().any(|other| other != run) {
        bail!(
            "several commands have an id that begins with {:?}; write more of it",
            args.id
        );
    }
    let filter = match run {
        Ok(run) => Filter {
            run: Some(run.clone()),
            ..Filter::default()
        },
        Err(_) => id,
    };
    let mut gathering = Gathering::new(filter, 1);
    read(&segments, since, &mut |seen| gathering.push(seen))?;
    let (commands, _) = gathering.finish();
    let command = commands
        .first()
        .or_else(|| meant.first())
        .context("the log ended before the request")?;
    match args.output {
        Output::Json => print_json(command, out),
        Output::Text => Ok(print::command(command, out)?),
    }
}

/// How many requests with the same beginning of an id are looked at.
const CANDIDATES_MAX: usize = 100;
/// How long before one of its requests a command is looked for.
const COMMANDS_LAST_AT_MOST: SignedDuration = SignedDuration::from_hours(24);

/// Reads every event since a time.
pub(in crate::cli::operator) fn read(
    segments: &Segments,
    since: Option<Timestamp>,
    each: &mut dyn FnMut(Seen),
) -> anyhow::Result<()> {
    let cannot = || format!("{} cannot be read", segments.active().display());
    let (full, active) = segments.since(since).with_context(cannot)?;
    if full.is_empty() && active.is_none() {
        bail!(
            "there is no audit log at {}; --data-dir names the dataDirectory of a gateway, --file its audit.file",
            segments.active().display()
        );
    }
    let full = full.iter().map(|path| Lines::open(path));
    for lines in full.chain(active.into_iter().map(|file| Ok(Lines::file(file)))) {
        let mut lines = lines.with_context(cannot)?;
        while lines.advance().with_context(cannot)? == Got::Whole {
            if let Some(seen) = Seen::read(&lines.line) {
                each(seen);
            }
        }
    }
    Ok(())
}

fn limit(text: &str) -> Result<usize, String> {
    let most = limits::AUDIT_COMMANDS_LISTED_MAX;
    text.parse()
        .ok()
        .filter(|limit| (1..=most).contains(limit))
        .ok_or_else(|| format!("write a number from 1 to {most}"))
}
