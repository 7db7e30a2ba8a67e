//! `portcullis audit`: who did what, and whether that is still what was written.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::client::Target;
use super::sessions::time;
use crate::audit::commands::{DECISIONS, Filter};
use crate::audit::log::KEY_FILE;
use crate::audit::seal::PublicKey;
use crate::cli::output::{Outcome, finish};

pub mod list;
pub(in crate::cli::operator) mod print;
pub(in crate::cli::operator) mod source;
pub mod tail;
pub mod verify;

/// Looks at the audit log.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: AuditCommand,
}

/// The subcommands of `portcullis audit`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum AuditCommand {
    /// List what people did, a line for each run of kubectl, the latest first
    ///
    /// Requests of one caller with the same claimed session are one line: what they asked for that matters most,
    /// and how many others there were. Those that only asked what the API has are left out.
    #[command(after_help = EXAMPLES)]
    Ls(list::ListArgs),
    /// Say everything that is known of a command or a request
    Show(list::ShowArgs),
    /// Print requests as they are answered, from now on; across segments
    Tail(tail::TailArgs),
    /// Prove that nothing in the log was changed, removed, added or moved since it was written
    ///
    /// Needs the files: what a gateway says of its own log proves nothing against whoever is in the gateway.
    /// Follows the chain through every line, compares with what was sealed, and names the first record that
    /// is wrong. Works while the gateway runs. Exit code 0 if nothing is wrong, 1 if something is, 2 if the
    /// log could not be read.
    Verify(verify::VerifyArgs),
    /// Print the public key that seals are verified with; keep it where nobody can replace it
    Key(KeyArgs),
}

const EXAMPLES: &str = "\
Examples:
  # what was denied in the last week
  portcullis audit ls --since 7d --decision deny
  # the same from the machine of an operator
  portcullis audit ls --since 7d --decision deny --server https://control.example.com:9090 --token-file token
  # what an agent changed, as JSON
  portcullis audit ls --agent build-bot --verb delete -o json | jq -r '.[].requests[].object'";

/// Which log.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// Where
    #[command(flatten)]
    pub target: Target,
    /// The file that the gateway writes, if the configuration keeps it elsewhere (audit.file)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data_dir", "server"])]
    pub file: Option<PathBuf>,
}

/// Which requests.
#[derive(Clone, Debug, clap::Args)]
pub struct FilterArgs {
    /// Only this user's
    #[arg(long)]
    pub user: Option<String>,
    /// Only those that this agent made
    #[arg(long)]
    pub agent: Option<String>,
    /// Only in this namespace
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Only with this verb of Kubernetes': get, list, watch, create, update, patch, delete, ...
    #[arg(long)]
    pub verb: Option<String>,
    /// Only those that came out so: allow, hold, deny, or refuse
    #[arg(long, value_name = "WORD", value_parser = DECISIONS)]
    pub decision: Option<String>,
}

impl FilterArgs {
    fn read(&self) -> Filter {
        Filter {
            user: self.user.clone(),
            agent: self.agent.clone(),
            namespace: self.namespace.clone(),
            verb: self.verb.clone(),
            decision: self.decision.clone(),
            ..Filter::default()
        }
    }
}

/// The arguments of `portcullis audit key`.
#[derive(Clone, Debug, clap::Args)]
pub struct KeyArgs {
    /// The gateway's data directory
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data_dir: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    finish(execute(args, &mut io::stdout().lock()))
}

fn execute(args: &Args, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    match &args.command {
        AuditCommand::Ls(args) => list::list(args, out)?,
        AuditCommand::Show(args) => list::show(args, out)?,
        AuditCommand::Tail(args) => tail::tail(args, out)?,
        AuditCommand::Verify(args) => return verify::run(args, out),
        AuditCommand::Key(args) => {
            let key = read_key(&args.data_dir.join(KEY_FILE))?;
            out.write_all(key.pem().as_bytes())?;
        }
    }
    Ok(Outcome::Good)
}

/// The key in a file, public or private.
fn read_key(path: &std::path::Path) -> anyhow::Result<PublicKey> {
    let text = std::fs::read(path).with_context(|| {
        format!(
            "{} cannot be read; --data-dir names the dataDirectory of a gateway, --key a file that `portcullis audit key` wrote",
            path.display()
        )
    })?;
    PublicKey::read(&text)
        .with_context(|| format!("{} holds no Ed25519 key in PEM", path.display()))
}

#[cfg(test)]
mod tests;
