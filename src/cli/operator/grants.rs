//! `portcullis grants`: the roles that were given ahead of time, and taking one away.

use std::io::{self, Write};
use std::process::ExitCode;

use super::approvals::{open, print_list, print_outcome};
use super::client::Target;
use crate::approval::Approval;
use crate::cli::output::{Outcome, Output, finish_talking, note, print_json};
use crate::control::approvals::{ApprovalList, Revoke};
use crate::identity::client::login::encoded;

/// Looks at the roles that were given ahead of time.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: GrantsCommand,
}

/// The subcommands of `portcullis grants`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum GrantsCommand {
    /// List the roles that are given or asked for, or everything with --all
    Ls(ListArgs),
    /// Take a role away; what is open by it ends at once
    Revoke(RevokeArgs),
}

/// The arguments of `portcullis grants ls`.
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

/// The arguments of `portcullis grants revoke`.
#[derive(Clone, Debug, clap::Args)]
pub struct RevokeArgs {
    /// The id, as `portcullis grants ls` prints it
    #[arg(value_name = "ID")]
    pub id: String,
    /// Why; whoever has it reads it
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Where
    #[command(flatten)]
    pub target: Target,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    finish_talking(execute(args, &mut io::stdout().lock()))
}

async fn execute(args: &Args, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    match &args.command {
        GrantsCommand::Ls(args) => {
            let client = open(&args.target).await?;
            let path = format!("/v1/grants?open={}", !args.all);
            let list: ApprovalList = client.document(&path).await?;
            match args.output {
                Output::Json => print_json(&list.items, out)?,
                Output::Text => print_list(&list.items, out)?,
            }
            if list.more {
                note("there are more; the oldest are not shown");
            }
        }
        GrantsCommand::Revoke(args) => {
            let client = open(&args.target).await?;
            let revoke = Revoke {
                reason: args.reason.clone(),
            };
            let path = format!("/v1/grants/{}/revoke", encoded(&args.id));
            let approval: Approval = client.post(&path, &revoke).await?;
            print_outcome(&approval, out)?;
        }
    }
    Ok(Outcome::Good)
}
