//! `portcullis get-token`: the credential plugin that kubectl calls.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;

use super::account::AccountArgs;
use super::exec::{ExecVersion, Question};
use super::obtain::{Effort, obtain};
use super::provider::browser::has_display;
use crate::cli::output::{Outcome, finish_talking};

/// Prints a token for kubectl, as an `ExecCredential`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The version to answer with when the client does not say (`KUBERNETES_EXEC_INFO`)
    #[arg(long, value_name = "VERSION", value_enum, default_value_t)]
    pub api_version: ExecVersion,

    /// Whose token
    #[command(flatten)]
    pub account: AccountArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    finish_talking(answer(args))
}

async fn answer(args: &Args) -> anyhow::Result<Outcome> {
    let question = Question::read(args.api_version)?;
    let source = args.account.source()?.context(
        "whose token? Name --issuer and --client-id, or --token-file; `portcullis kubeconfig` writes both into \
         your kubeconfig",
    )?;
    // Standard input belongs to kubectl; what is asked is asked on standard error.
    let terminal = || question.interactive == Some(true) || io::stderr().is_terminal();
    let attended = has_display() || terminal();
    let token = Box::pin(obtain(&source, Effort::IfNeeded { attended })).await?;
    let answer = question.answer(token.secret.expose_secret(), token.renew_at);
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &answer)?;
    writeln!(out)?;
    Ok(Outcome::Good)
}
