//! `portcullis login`: a token for the next hours, so that kubectl need not ask.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use jiff::Timestamp;

use super::account::{AccountArgs, Source};
use super::kubeconfig::current::{Selection, Session};
use super::obtain::{Effort, obtain};
use crate::cli::output::{Outcome, finish_talking, note};

/// Logs in at the identity provider.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which context's login, if none is named
    #[command(flatten)]
    pub selection: Selection,

    /// Whose login
    #[command(flatten)]
    pub account: AccountArgs,
}

pub(in crate::cli) const EXAMPLES: &str = "\
Examples:
  # the current context's login; over SSH, with a code that is typed elsewhere
  portcullis login
  portcullis login --device
  # an agent or a CI job with a secret of its own
  portcullis login --issuer https://issuer.example.com --client-id nightly \\
      --client-credentials --client-secret-file secret --param audience=kubernetes";

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    finish_talking(log_in(args))
}

async fn log_in(args: &Args) -> anyhow::Result<Outcome> {
    let mut source = whose(&args.selection, &args.account)?;
    match &mut source {
        Source::File(_) => note("a token out of a file needs no login"),
        // A device code for once, although the context says otherwise.
        Source::Provider(account) => account.device |= args.account.device,
    }
    let token = Box::pin(obtain(&source, Effort::LogIn)).await?;
    let mut out = io::stdout().lock();
    match token.expires_at {
        Some(ends_at) => writeln!(out, "logged in; the token holds for {}", span(ends_at))?,
        None => writeln!(out, "logged in")?,
    }
    writeln!(
        out,
        "`portcullis whoami` says who the gateway takes you for"
    )?;
    Ok(Outcome::Good)
}

/// The account that is named, or else that of the kubeconfig's context.
pub(super) fn whose(selection: &Selection, account: &AccountArgs) -> anyhow::Result<Source> {
    if let Some(source) = account.source()? {
        return Ok(source);
    }
    let session = Session::read(selection).context(
        "whose login? Name --issuer and --client-id, or write a context with `portcullis kubeconfig`",
    )?;
    session.source()
}

/// The time until then, for people.
pub(super) fn span(until: Timestamp) -> String {
    let seconds = until.duration_since(Timestamp::now()).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}
