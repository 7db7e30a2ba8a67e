//! `portcullis approvals`: what waits for a yes, and saying it.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::client::{Client, Target};
use crate::approval::Approval;
use crate::cli::output::{Outcome, Output, finish_talking, note, print_json};
use crate::control::approvals::{ApprovalList, No, Yes};
use crate::identity::client::login::encoded;

mod print;
mod watch;

pub(in crate::cli) use print::{clock, list as print_list, outcome as print_outcome, visible};

/// Answers requests that a rule holds until somebody says yes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: ApprovalsCommand,
}

/// The subcommands of `portcullis approvals`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum ApprovalsCommand {
    /// List what waits for an answer, or everything with --all
    Ls(ListArgs),
    /// Say everything that is known of one question
    Show(ShowArgs),
    /// Say yes: each of its requests may go on once, or its whole class for a while
    Approve(ApproveArgs),
    /// Say no, or take a yes back
    Deny(DenyArgs),
    /// Take your own question back
    Withdraw(OneArgs),
    /// Follow what waits for an answer, as it comes
    Watch(WatchArgs),
}

/// The arguments of `portcullis approvals ls`.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// Where
    #[command(flatten)]
    pub target: Target,
    /// Also those that are over
    #[arg(long)]
    pub all: bool,
    /// How to print the list
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// The arguments of commands about one approval.
#[derive(Clone, Debug, clap::Args)]
pub struct OneArgs {
    /// The id, as the refusal names it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Where
    #[command(flatten)]
    pub target: Target,
}

/// The arguments of `portcullis approvals show`.
#[derive(Clone, Debug, clap::Args)]
pub struct ShowArgs {
    /// Which one
    #[command(flatten)]
    pub one: OneArgs,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// The arguments of `portcullis approvals approve`.
#[derive(Clone, Debug, clap::Args)]
pub struct ApproveArgs {
    /// Which one
    #[command(flatten)]
    pub one: OneArgs,
    /// Why; the caller and the cluster's audit log read it
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Admit everything of the same class for so long (10m, 1h), if the rule allows that
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub same_class: Option<Duration>,
    /// How many requests the question had when you looked; refused when there are more by now
    #[arg(long, value_name = "NUMBER")]
    pub requests: Option<usize>,
}

/// The arguments of `portcullis approvals deny`.
#[derive(Clone, Debug, clap::Args)]
pub struct DenyArgs {
    /// Which one
    #[command(flatten)]
    pub one: OneArgs,
    /// Why; the caller reads it
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// The arguments of `portcullis approvals watch`.
#[derive(Clone, Debug, clap::Args)]
pub struct WatchArgs {
    /// Where
    #[command(flatten)]
    pub target: Target,
    /// Print each state as a line of JSON
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    finish_talking(execute(args, &mut io::stdout().lock()))
}

async fn execute(args: &Args, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    match &args.command {
        ApprovalsCommand::Ls(args) => list(args, out).await?,
        ApprovalsCommand::Show(args) => {
            let client = open(&args.one.target).await?;
            let approval = show(&client, &args.one.id).await?;
            match args.output {
                Output::Json => print_json(&approval, out)?,
                Output::Text => print::details(&approval, print::colours(), out)?,
            }
        }
        ApprovalsCommand::Approve(args) => approve(args, out).await?,
        ApprovalsCommand::Deny(args) => {
            let client = open(&args.one.target).await?;
            let no = No {
                reason: args.reason.clone(),
            };
            let approval: Approval = client.post(&path(&args.one.id, "/deny"), &no).await?;
            print::outcome(&approval, out)?;
        }
        ApprovalsCommand::Withdraw(args) => {
            let client = open(&args.target).await?;
            let approval: Approval = client.post(&path(&args.id, "/withdraw"), &()).await?;
            print::outcome(&approval, out)?;
        }
        ApprovalsCommand::Watch(args) => {
            let client = open(&args.target).await?;
            watch::watch(&client, args.output, out).await?;
        }
    }
    Ok(Outcome::Good)
}

async fn list(args: &ListArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = open(&args.target).await?;
    let path = format!("/v1/approvals?open={}", !args.all);
    let list: ApprovalList = client.document(&path).await?;
    match args.output {
        Output::Json => print_json(&list.items, out)?,
        Output::Text => print::list(&list.items, out)?,
    }
    if list.more {
        note("there are more; the oldest are not shown");
    }
    Ok(())
}

async fn approve(args: &ApproveArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = open(&args.one.target).await?;
    let requests = if let Some(seen) = args.requests {
        seen
    } else {
        // What is approved is what is printed here, and nothing that joins it meanwhile.
        let approval = show(&client, &args.one.id).await?;
        print::details(&approval, print::colours(), out)?;
        writeln!(out)?;
        approval.requests.len()
    };
    let yes = Yes {
        reason: args.reason.clone(),
        requests,
        same_class_seconds: args
            .same_class
            .map(|width| u32::try_from(width.as_secs()).unwrap_or(u32::MAX)),
    };
    let approval: Approval = client.post(&path(&args.one.id, "/approve"), &yes).await?;
    Ok(print::outcome(&approval, out)?)
}

async fn show(client: &Client, id: &str) -> anyhow::Result<Approval> {
    client.document(&path(id, "")).await
}

fn path(id: &str, what: &str) -> String {
    format!("/v1/approvals/{}{what}", encoded(id))
}

/// The gateway that is meant: only a running one has questions.
pub(in crate::cli) async fn open(target: &Target) -> anyhow::Result<Client> {
    let client = Client::of(target).await?;
    client.context("no gateway runs on this data directory, so nothing can be answered")
}

/// Reads a duration such as `10m`.
pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "write a duration with its unit, such as 10m or 1h".to_owned())
}
