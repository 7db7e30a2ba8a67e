//! `portcullis audit`: who did what, and whether that is still what was written.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::audit::log::KEY_FILE;
use crate::audit::seal::PublicKey;
use crate::cli::output::{Outcome, finish};

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
    /// Prove that nothing in the log was changed, removed, added or moved since it was written
    ///
    /// Follows the chain through every line, compares with what was sealed, and names the first record that
    /// is wrong. Works while the gateway runs. Exit code 0 if nothing is wrong, 1 if something is, 2 if the
    /// log could not be read.
    Verify(verify::VerifyArgs),
    /// Print the public key that seals are verified with; keep it where nobody can replace it
    Key(KeyArgs),
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
        AuditCommand::Verify(args) => verify::run(args, out),
        AuditCommand::Key(args) => {
            let key = read_key(&args.data_dir.join(KEY_FILE))?;
            out.write_all(key.pem().as_bytes())?;
            Ok(Outcome::Good)
        }
    }
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
