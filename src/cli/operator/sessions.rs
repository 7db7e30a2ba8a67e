//! `portcullis sessions`: who is in a shell now, who was, and what happened there.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use jiff::{Span, SpanRelativeTo, Timestamp};

use super::client::Target;
use crate::cli::output::{Outcome, Output, complain, finish_talking, note, print_json};
use crate::limits;
use crate::recording::index::search::{News, Quest};
use crate::recording::index::{self, Catalog, Filter};
use crate::recording::replay::Flaws;
use crate::recording::replay::export::{self, Format};

mod print;
pub(super) mod source;
mod tail;

use source::{Among, Source};

/// Looks at sessions: those of a running gateway, and the recordings of past ones.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: SessionsCommand,
}

/// The subcommands of `portcullis sessions`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum SessionsCommand {
    /// List sessions, the latest first
    Ls(ListArgs),
    /// Say everything that is known of one session
    Show(ShowArgs),
    /// Watch an open session from now on; only what draws reaches the terminal
    Tail(TailArgs),
    /// End an open session; its user reads the reason
    Kill(KillArgs),
    /// Write a recording as one asciicast, as plain text, or as a page that plays it
    Export(ExportArgs),
    /// Build the index anew from the recordings
    Reindex(ReindexArgs),
    /// Find a text in what sessions showed; exit code 1 when it is nowhere
    Search(SearchArgs),
}

/// Which sessions.
#[derive(Clone, Debug, clap::Args)]
pub struct FilterArgs {
    /// Only this user's
    #[arg(long)]
    pub user: Option<String>,
    /// Only those that this agent opened
    #[arg(long)]
    pub agent: Option<String>,
    /// Only in this namespace
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Only in this pod
    #[arg(long)]
    pub pod: Option<String>,
    /// Only with this text in the command line
    #[arg(long, value_name = "TEXT")]
    pub command: Option<String>,
    /// Only those that began at this time or later: 2026-11-20T08:00:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// Only those that began before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Timestamp>,
    /// Only those whose command ended with this code
    #[arg(long, value_name = "CODE")]
    pub exit_code: Option<u8>,
    /// Only those that ended so: completed, killed, token-expired, policy-changed, ...; or open
    #[arg(long, value_name = "WORD")]
    pub verdict: Option<String>,
    /// Only those that go on
    #[arg(long)]
    pub live: bool,
}

/// The arguments of `portcullis sessions ls`.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// Where
    #[command(flatten)]
    pub target: Target,
    /// Which
    #[command(flatten)]
    pub filter: FilterArgs,
    /// How many at most
    #[arg(long, value_name = "NUMBER", default_value_t = limits::SESSIONS_LISTED_DEFAULT, value_parser = limit)]
    pub limit: usize,
    /// How to print the list
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// The arguments of commands about one session.
#[derive(Clone, Debug, clap::Args)]
pub struct OneArgs {
    /// The session: its id, or the beginning of it when no other session's is the same
    #[arg(value_name = "ID")]
    pub id: String,
    /// Where
    #[command(flatten)]
    pub target: Target,
}

/// The arguments of `portcullis sessions show`.
#[derive(Clone, Debug, clap::Args)]
pub struct ShowArgs {
    /// Which one
    #[command(flatten)]
    pub one: OneArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// The arguments of `portcullis sessions kill`.
#[derive(Clone, Debug, clap::Args)]
pub struct KillArgs {
    /// Which one
    #[command(flatten)]
    pub one: OneArgs,
    /// Why; the user reads it in the terminal, and it is kept in the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// The arguments of `portcullis sessions tail`.
#[derive(Clone, Debug, clap::Args)]
pub struct TailArgs {
    /// Which one
    #[command(flatten)]
    pub one: OneArgs,
    /// Print lines of text, without escape sequences
    #[arg(long)]
    pub text: bool,
}

/// The arguments of `portcullis sessions export`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArgs {
    /// Which one
    #[command(flatten)]
    pub one: OneArgs,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Cast)]
    pub format: Format,
    /// The file to write (mode 0600, never over another); standard output when absent
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The arguments of `portcullis sessions reindex`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReindexArgs {
    /// The gateway's data directory
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// Where the recordings are, if the configuration keeps them elsewhere and the index is lost
    #[arg(long, value_name = "DIR")]
    pub recordings: Option<PathBuf>,
}

/// The arguments of `portcullis sessions search`.
#[derive(Clone, Debug, clap::Args)]
pub struct SearchArgs {
    /// The text; within one line of what the terminal showed
    #[arg(value_name = "TEXT")]
    pub text: String,
    /// Where
    #[command(flatten)]
    pub target: Target,
    /// Which sessions
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Take upper and lower case as the same
    #[arg(short, long)]
    pub ignore_case: bool,
    /// How many places at most
    #[arg(long, value_name = "NUMBER", default_value_t = limits::SEARCH_HITS_DEFAULT, value_parser = limit)]
    pub limit: usize,
    /// How to print what was found
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    finish_talking(execute(args, &mut io::stdout().lock()))
}

async fn execute(args: &Args, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    match &args.command {
        SessionsCommand::Ls(args) => list(args, out).await?,
        SessionsCommand::Show(args) => show(args, out).await?,
        SessionsCommand::Tail(args) => {
            let (source, id) = open_session(&args.one).await?;
            tail::tail(&*source.gateway()?, &id, args.text, out).await?;
        }
        SessionsCommand::Kill(args) => {
            let (source, id) = open_session(&args.one).await?;
            source.gateway()?.kill(&id, &args.reason).await?;
            writeln!(out, "session {id} was ended")?;
        }
        SessionsCommand::Export(args) => export(args, out).await?,
        SessionsCommand::Reindex(args) => reindex(args, out)?,
        SessionsCommand::Search(args) => return search(args, out).await,
    }
    Ok(Outcome::Good)
}

/// The session that goes on and is meant.
async fn open_session(args: &OneArgs) -> anyhow::Result<(Source, String)> {
    let source = Source::open(&args.target).await?;
    let id = source.id(&args.id, Among::Open).await?;
    Ok((source, id))
}

async fn list(args: &ListArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let source = Source::open(&args.target).await?;
    let list = source.list(&args.filter.read(args.limit)).await?;
    match args.output {
        Output::Json => print_json(&list.items, out)?,
        Output::Text => print::list(&list.items, out)?,
    }
    if list.more {
        complain(&format!(
            "there are more than {}; narrow the list down, or use --limit",
            args.limit
        ));
    }
    Ok(())
}

async fn show(args: &ShowArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let source = Source::open(&args.one.target).await?;
    let id = source.id(&args.one.id, Among::All).await?;
    let details = source.show(&id).await?;
    match args.output {
        Output::Json => print_json(&details, out),
        Output::Text => Ok(print::details(&details, out)?),
    }
}

async fn export(args: &ExportArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let source = Source::open(&args.one.target).await?;
    let id = source.id(&args.one.id, Among::All).await?;
    let tape = source.tape(&id).await?;
    let flaws = match &args.output {
        None => export::export(args.format, tape.parts(), out)?,
        Some(path) => {
            let cannot = || format!("{} cannot be written", path.display());
            let mut file = io::BufWriter::new(private(path).with_context(cannot)?);
            export::export(args.format, tape.parts(), &mut file).with_context(cannot)?
        }
    };
    if flaws != Flaws::default() {
        note(&flaws.to_string());
    }
    Ok(())
}

/// A file for nobody else: what a session showed is as private as the recording. One that is there
/// is never written over.
fn private(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn reindex(args: &ReindexArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let catalog = Catalog::of(&args.data_dir);
    let directory = match &args.recordings {
        Some(directory) => directory,
        None => catalog.directory(),
    };
    anyhow::ensure!(
        directory.is_dir(),
        "there are no recordings in {}; name their folder with --recordings",
        directory.display()
    );
    let count = index::rebuild(catalog.file(), directory)?;
    writeln!(
        out,
        "{}: {count} recordings of {}",
        catalog.file().display(),
        directory.display()
    )?;
    Ok(())
}

async fn search(args: &SearchArgs, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    anyhow::ensure!(
        !args.text.trim().is_empty(),
        "the text to look for is empty"
    );
    let source = Source::open(&args.target).await?;
    let filter = args.filter.read(limits::SESSIONS_LISTED_MAX);
    let quest = Quest {
        text: args.text.clone(),
        ignore_case: args.ignore_case,
        limit: args.limit,
    };
    let mut found = Vec::new();
    let rest = source
        .search(&filter, &quest, &mut |news| match news {
            News::Hit(hit) => found.push(hit),
            News::Unreadable { id, why } => complain(&format!("{id}: {why}")),
            News::Over(_) => {}
        })
        .await?;
    if rest.full {
        complain(&format!("stopped at {} places; use --limit", args.limit));
    }
    if let Some(since) = rest.since {
        complain(&format!(
            "only sessions that began at {since} or later were searched; go on with --until {since}"
        ));
    }
    match args.output {
        Output::Json => print_json(&found, out)?,
        Output::Text => print::hits(&found, out)?,
    }
    Ok(if found.is_empty() {
        Outcome::Problems
    } else {
        Outcome::Good
    })
}

impl FilterArgs {
    fn read(&self, limit: usize) -> Filter {
        Filter {
            id: None,
            user: self.user.clone(),
            agent: self.agent.clone(),
            namespace: self.namespace.clone(),
            pod: self.pod.clone(),
            command: self.command.clone(),
            since: self.since,
            until: self.until,
            exit_code: self.exit_code,
            verdict: self.verdict.clone(),
            live: self.live,
            limit,
        }
    }
}

/// A time, or how long ago.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = text
        .parse::<Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    ago.and_then(|ago| Timestamp::now().checked_sub(ago))
        .map_err(|_| "write a time such as 2026-11-20T08:00:00Z, or 90m, 2h or 7d".to_owned())
}

fn limit(text: &str) -> Result<usize, String> {
    let most = limits::SESSIONS_LISTED_MAX;
    text.parse()
        .ok()
        .filter(|limit| (1..=most).contains(limit))
        .ok_or_else(|| format!("write a number from 1 to {most}"))
}

#[cfg(test)]
mod tests;
