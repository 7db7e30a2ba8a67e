//! A token that holds: from the cache, else by its refresh token, else by logging in.
//!
//! One process at a time does that for an account. Whoever comes meanwhile waits, and finds the result.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use jiff::Timestamp;
use secrecy::SecretString;

use super::account::{Account, Source};
use super::cache::{Cache, Locked, Tokens};
use super::provider::{Failure, Provider};
use crate::cli::output::say;
use crate::identity::claimed_expiry;
use crate::limits::TOKEN_BYTES_MAX;

/// A token is not used for the last of its time, so that it does not end on its way: a fifth of its life,
/// at most this.
const RESERVE_MAX: Duration = Duration::from_secs(30);
/// How long kubectl may keep a token out of a file before it asks again: something else renews it there.
const FILE_TOKEN_KEPT: Duration = Duration::from_mins(1);

/// A token with less left than this is not given, not even where no other can be got.
const LEFT_MIN: Duration = Duration::from_secs(2);
/// How soon another is asked for after one could not be got.
const AGAIN: Duration = Duration::from_secs(5);

/// A token to show to the gateway.
pub(super) struct Token {
    pub(super) secret: SecretString,
    /// When it ends, by this machine's clock, if that is known.
    pub(super) expires_at: Option<Timestamp>,
    /// When another one should be asked for; before it ends.
    pub(super) renew_at: Option<Timestamp>,
}

/// What may be done for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// Log in only if there is no other way, and not even then if nobody is there to do it.
    IfNeeded {
        /// Somebody would see the prompt.
        attended: bool,
    },
    /// Log in even if there is a token.
    LogIn,
}

impl Tokens {
    /// When to get another.
    fn renew_at(&self) -> Timestamp {
        let life = self.expires_at.duration_since(self.obtained_at);
        let life = Duration::try_from(life).unwrap_or_default();
        let reserve = (life / 5).min(RESERVE_MAX);
        self.expires_at - reserve
    }

    /// This one, where no other can be got: it holds for a moment, in which the provider may be there again.
    fn into_last_token(self, now: Timestamp) -> Option<Token> {
        (now + LEFT_MIN < self.expires_at).then(|| Token {
            renew_at: Some((now + AGAIN).min(self.expires_at)),
            ..self.into_token()
        })
    }

    fn into_token(self) -> Token {
        Token {
            renew_at: Some(self.renew_at()),
            expires_at: Some(self.expires_at),
            secret: self.token,
        }
    }
}

/// A token of this source.
pub(super) async fn obtain(source: &Source, effort: Effort) -> anyhow::Result<Token> {
    match source {
        Source::File(file) => from_file(file),
        Source::Provider(account) => from_provider(account, effort).await,
    }
}

fn from_file(file: &Path) -> anyhow::Result<Token> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{} cannot be read", file.display()))?;
    let text = text.trim();
    ensure!(!text.is_empty(), "{} is empty", file.display());
    ensure!(
        text.len() <= TOKEN_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic()),
        "{} does not hold a token",
        file.display()
    );
    let now = Timestamp::now();
    let expires_at = claimed_expiry(text);
    if let Some(expired) = expires_at.filter(|expires_at| *expires_at <= now) {
        bail!(
            "the token in {} ended at {expired}; whatever writes it there has to renew it",
            file.display()
        );
    }
    let again = now + FILE_TOKEN_KEPT;
    Ok(Token {
        secret: text.into(),
        expires_at,
        renew_at: Some(expires_at.map_or(again, |expires_at| expires_at.min(again))),
    })
}

async fn from_provider(account: &Account, effort: Effort) -> anyhow::Result<Token> {
    let cache = Cache::open(&account.cache_dir)?;
    let mut place = cache.lock(account)?;
    let known = match effort {
        Effort::IfNeeded { .. } => place.load()?,
        Effort::LogIn => None,
    };
    if let Some(tokens) = &known
        && Timestamp::now() < tokens.renew_at()
    {
        return Ok(tokens.clone().into_token());
    }
    let error = if effort != Effort::LogIn && place.waited_in_vain()? {
        anyhow!(
            "what this command waited for, the login by another one, failed; type `{}`",
            account.login_command()
        )
    } else {
        match renew(account, known.as_ref(), effort).await {
            Ok(tokens) => {
                store(&place, &tokens);
                return Ok(tokens.into_token());
            }
            Err(error) => {
                place.login_failed()?;
                error
            }
        }
    };
    let last = known.and_then(|tokens| tokens.into_last_token(Timestamp::now()));
    let Some(last) = last else {
        return Err(error);
    };
    say(&format!(
        "note: the token that is there is used until it ends: {error:#}"
    ));
    Ok(last)
}

/// Gets tokens from the provider: for those that are known, or else by a login.
async fn renew(
    account: &Account,
    known: Option<&Tokens>,
    effort: Effort,
) -> anyhow::Result<Tokens> {
    let provider = Provider::discover(account).await?;
    if let Some(tokens) = known.filter(|tokens| tokens.refresh.is_some()) {
        match provider.refresh(tokens).await {
            Ok(tokens) => return Ok(tokens),
            Err(Failure::Refused(refused)) => {
                say(&format!("note: the login is over: {refused}"));
            }
            // The provider may be out of reach for a moment; that is no reason to log in again.
            Err(Failure::Broken(error)) => {
                return Err(error.context("the token could not be renewed"));
            }
        }
    }
    // Nobody would see where to log in, and whoever waits for this, kubectl or an agent, would hang.
    if effort == (Effort::IfNeeded { attended: false }) && !account.client_credentials {
        bail!(
            "a login is needed, and nobody is here to do it; type `{}`",
            account.login_command()
        );
    }
    provider.log_in().await
}

/// A token that cannot be kept still serves this one command.
fn store(place: &Locked<'_>, tokens: &Tokens) {
    if let Err(error) = place.store(tokens) {
        say(&format!("note: the token is not kept: {error:#}"));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use secrecy::ExposeSecret as _;

    use super::super::account::AccountArgs;
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        account: AccountArgs,
    }

    /// An account of a provider that is not there, with a token of five minutes that ends then.
    fn account(cache: &Path, left: i64) -> Source {
        let cache = format!("--cache-dir={}/cache", cache.display());
        let issuer = "--issuer=https://127.0.0.1:1";
        let line = Line::parse_from(["get-token", issuer, "--client-id=kubectl", &cache]);
        let source = line.account.source().unwrap().unwrap();
        let Source::Provider(account) = &source else {
            panic!("no provider");
        };
        let second = |seconds| Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        let cache = Cache::open(&account.cache_dir).unwrap();
        let tokens = Tokens {
            token: "the-token".into(),
            expires_at: second(left),
            obtained_at: second(left - 300),
            refresh: Some("refresh".into()),
            subject: None,
        };
        cache.lock(account).unwrap().store(&tokens).unwrap();
        source
    }

    #[tokio::test]
    async fn a_token_that_holds_is_given_while_no_other_can_be_got() {
        let folder = tempfile::tempdir().unwrap();
        let effort = Effort::IfNeeded { attended: false };
        let source = account(folder.path(), 25);
        let now = Timestamp::now();
        let token = obtain(&source, effort).await.unwrap();
        assert_eq!(token.secret.expose_secret(), "the-token");
        let (renew_at, ends) = (token.renew_at.unwrap(), token.expires_at.unwrap());
        assert!(now < renew_at && renew_at < ends, "soon, and in time");
        // Who asks for a login wants that one, and nobody is given what ends on its way.
        assert!(obtain(&source, Effort::LogIn).await.is_err());
        let source = account(folder.path(), 1);
        assert!(obtain(&source, effort).await.is_err());
    }

    /// Of many commands at once, one asks the provider.
    #[tokio::test]
    async fn who_waited_in_vain_is_given_it_too() {
        let folder = tempfile::tempdir().unwrap();
        let source = account(folder.path(), 25);
        let Source::Provider(account) = &source else {
            panic!("no provider");
        };
        let cache = Cache::open(&account.cache_dir).unwrap();
        let mut first = cache.lock(account).unwrap();
        let other = source.clone();
        let waiting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(obtain(&other, Effort::IfNeeded { attended: false }))
        });
        first.login_failed().unwrap();
        drop(first);
        let token = waiting.join().unwrap().unwrap();
        assert_eq!(token.secret.expose_secret(), "the-token");
    }
}
