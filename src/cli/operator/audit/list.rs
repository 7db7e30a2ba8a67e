//! `portcullis audit ls` and `show`: what people did.

use std::io::Write;

use anyhow::{Context as _, bail};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::source::Log;
use super::{FilterArgs, LogArgs, print};
use crate::audit::commands::recent::{Recent, Whole};
use crate::audit::commands::{Filter, Request};
use crate::audit::history::made;
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
    /// Only requests that came or ended at this time or later: 2026-11-20T08:00:00Z, or 7d for a week ago
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
    let mut recent = Recent::new(args.limit);
    if args.requests {
        recent = recent.ungrouped();
    }
    let mut more = false;
    Log::open(&args.log)?.latest(&filter, &mut |request| {
        more = !recent.push(request);
        Ok(!more)
    })?;
    let mut commands = recent.finish();
    commands.sort_by_key(|command| std::cmp::Reverse(command.started));
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
    let log = Log::open(&args.log)?;
    // A command may have begun before the request that is asked for.
    let since = Uuid::try_parse(&args.id).ok().and_then(made);
    let since = since.and_then(|at| at.checked_sub(STRETCH).ok());
    let id = Filter {
        id: Some(args.id.clone()),
        since,
        ..Filter::default()
    };
    let mut meant = Vec::new();
    log.latest(&id, &mut |request| {
        meant.push(request);
        Ok(meant.len() < CANDIDATES_MAX)
    })?;
    let Some(first) = meant.pop() else {
        bail!(
            "no request has the id {:?}; `portcullis audit ls --requests` lists them",
            args.id
        );
    };
    let run = first.run();
    let mut whole = Whole::new(first.received, limits::AUDIT_RUN_REQUESTS_MAX);
    if let Some(run) = &run {
        let mut filter = Filter {
            user: Some(run.user().to_owned()),
            session: Some(run.session().to_owned()),
            run: Some(run.clone()),
            since,
            ..Filter::default()
        };
        log.latest(&filter, &mut |request| Ok(whole.push(request)))?;
        while let Some(begin) = filter.since.filter(|at| whole.may_begin_before(*at)) {
            filter.until = Some(begin);
            filter.since = begin.checked_sub(STRETCH).ok();
            log.latest(&filter, &mut |request| Ok(whole.push(request)))?;
        }
    }
    let same = |other: &Request| other.run() == run && whole.has(other);
    if !meant.iter().all(same) {
        bail!(
            "several commands have an id that begins with {:?}; write more of it",
            args.id
        );
    }
    // What no run claims, or a run that only asked what the API has, is told by itself.
    let mut alone = Recent::new(1).ungrouped();
    alone.push(first);
    let command = whole.finish().or_else(|| alone.finish().pop());
    let command = &command.context("the log ended before the request")?;
    if command.more_requests > 0 {
        note(&format!(
            "{} requests of this command are left out; `portcullis audit ls --requests` with --since and --until lists them",
            command.more_requests
        ));
    }
    match args.output {
        Output::Json => print_json(command, out),
        Output::Text => Ok(print::command(command, out)?),
    }
}

/// How many requests with the same beginning of an id are looked at.
const CANDIDATES_MAX: usize = 100;
/// How much of the time before one of its requests is looked through at once for the command.
const STRETCH: SignedDuration = SignedDuration::from_hours(24);

fn limit(text: &str) -> Result<usize, String> {
    let most = limits::AUDIT_COMMANDS_LISTED_MAX;
    text.parse()
        .ok()
        .filter(|limit| (1..=most).contains(limit))
        .ok_or_else(|| format!("write a number from 1 to {most}"))
}
