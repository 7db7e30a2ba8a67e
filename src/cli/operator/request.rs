//! `portcullis request`: asks for a role ahead of time.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, ensure};

use super::approvals::{clock, duration, open, visible};
use super::client::{Client, Target};
use crate::approval::{Ahead, Approval, State};
use crate::cli::output::{Outcome, Output, finish_talking, print_json};
use crate::identity::client::login::encoded;

/// Asks for a role of the policy, for a while.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  portcullis request --role debug-prod --for 1h --reason INC-42 \\\n      --server https://portcullis.example.com --token-file token --wait"
)]
pub struct Args {
    /// The role, as the policy calls it; a denied request and `kubectl auth can-i` name those that would help
    #[arg(long, value_name = "NAME")]
    pub role: String,
    /// For how long (30m, 2h), counted from the yes
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub time: Duration,
    /// What for; the approvers and the audit log read it
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Wait until somebody has answered; exit code 1 after a no
    #[arg(long)]
    pub wait: bool,
    /// Where
    #[command(flatten)]
    pub target: Target,
    /// How to print what was asked
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    finish_talking(execute(args, &mut io::stdout().lock()))
}

async fn execute(args: &Args, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    ensure!(
        args.target.server.is_some(),
        "a role is asked for in your own name: say where with --server and --token-file"
    );
    let client = open(&args.target).await?;
    let ahead = Ahead {
        role: args.role.clone(),
        seconds: u32::try_from(args.time.as_secs()).unwrap_or(u32::MAX),
        reason: args.reason.clone(),
    };
    let asked: Approval = client.post("/v1/grants", &ahead).await?;
    if !args.wait {
        print(&asked, args, out)?;
        return Ok(Outcome::Good);
    }
    if args.output == Output::Text {
        print(&asked, args, out)?;
        out.flush()?;
    }
    let answered = answered(&client, asked).await?;
    print(&answered, args, out)?;
    Ok(match answered.state {
        State::Approved => Outcome::Good,
        _ => Outcome::Problems,
    })
}

/// The question when it is no longer open.
async fn answered(client: &Client, mut approval: Approval) -> anyhow::Result<Approval> {
    let path = format!("/v1/approvals/{}", encoded(&approval.id));
    while approval.state == State::Asked {
        tokio::time::sleep(LOOK_EVERY).await;
        approval = client.document(&path).await?;
    }
    Ok(approval)
}

/// People take a while to answer; whoever waits wants to know soon.
const LOOK_EVERY: Duration = Duration::from_secs(1);

fn print(approval: &Approval, args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    if args.output == Output::Json {
        return print_json(approval, out);
    }
    let id = visible(&approval.id);
    let Some(ahead) = &approval.grant else {
        bail!("the gateway's answer is not about a role");
    };
    let role = visible(&ahead.role);
    match approval.state {
        State::Asked => {
            let approvers = visible(&approval.terms.approvers.in_words());
            let server = args.target.server.as_deref().unwrap_or_default();
            writeln!(
                out,
                "{id}: asked for the role {role}. Approvers: {approvers}"
            )?;
            writeln!(
                out,
                "They run, before {}: portcullis approvals approve {id} --server {server}",
                clock(approval.expires)
            )?;
        }
        State::Approved => {
            let until = clock(approval.expires);
            writeln!(out, "{id}: you have the role {role} until {until}")?;
        }
        other => {
            let said = approval.answers.last();
            let why = said.map_or_else(String::new, |answer| {
                format!(" by {:?}: {}", answer.by.user, answer.reason)
            });
            writeln!(out, "{id}: {}{}", other.as_str(), visible(&why))?;
        }
    }
    Ok(())
}
