//! `portcullis logout`: forgets tokens, here and at the provider.

use std::io::{self, Write as _};
use std::process::ExitCode;

use super::account::{Account, AccountArgs, Source, cache_dir};
use super::cache::Cache;
use super::kubeconfig::current::Selection;
use super::login::whose;
use super::provider::Provider;
use crate::cli::output::{Outcome, finish_talking, note};

/// Forgets the tokens of a login, and ends it at the provider where that can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which context's login, if none is named
    #[command(flatten)]
    pub selection: Selection,

    /// Forget the tokens of every account; the providers are not told
    #[arg(long, conflicts_with_all = ["issuer", "token_file", "context"])]
    pub all: bool,

    /// Whose login
    #[command(flatten)]
    pub account: AccountArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    finish_talking(log_out(args))
}

async fn log_out(args: &Args) -> anyhow::Result<Outcome> {
    if args.all {
        let cache = Cache::open(&cache_dir(args.account.cache_dir.as_deref())?)?;
        let count = cache.clear()?;
        writeln!(io::stdout(), "forgot the tokens of {count} logins")?;
        return Ok(Outcome::Good);
    }
    match whose(&args.selection, &args.account)? {
        Source::File(file) => {
            let file = file.display();
            note(&format!(
                "the token in {file} is not ours to forget; nothing was done"
            ));
        }
        Source::Provider(account) => forget(&account).await?,
    }
    Ok(Outcome::Good)
}

async fn forget(account: &Account) -> anyhow::Result<()> {
    let cache = Cache::open(&account.cache_dir)?;
    let place = cache.lock(account)?;
    // A file that is not to be trusted is forgotten all the same; it is not worth a revocation.
    let known = place.load().unwrap_or_else(|error| {
        note(&format!("{error:#}"));
        None
    });
    let said = if place.delete()? {
        "logged out"
    } else {
        "nobody was logged in"
    };
    writeln!(io::stdout(), "{said}")?;
    let Some(refresh) = known.and_then(|tokens| tokens.refresh) else {
        return Ok(());
    };
    let told = async { Provider::discover(account).await?.revoke(&refresh).await }.await;
    match told {
        Ok(true) => {}
        Ok(false) => note("the provider cannot be told; the login ends there by itself"),
        Err(error) => note(&format!("the provider could not be told: {error:#}")),
    }
    Ok(())
}
