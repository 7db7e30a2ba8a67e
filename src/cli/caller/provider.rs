//! An identity provider: what it says of itself, and its token endpoint.
//!
//! Every address of it must be HTTPS, its answers are bounded, and no redirect is followed. What it
//! says in errors is printed without anything that could act on a terminal, and never with a token in it.

pub(super) mod browser;

mod device;
mod redirect;

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use super::account::Account;
use super::cache::Tokens;
use crate::cli::output::{clean, say};
use crate::identity::IssuedTo;
use crate::identity::client::http::Http;
use crate::identity::client::{self, Granted, Refused, Registration};

/// How long one answer may take, connection and body together.
const PATIENCE: Duration = Duration::from_secs(20);
/// A difference of clocks that is worth a word.
const CLOCKS_APART: i64 = 60;

/// A provider, and the account that is asked for.
pub(super) struct Provider<'a> {
    account: &'a Account,
    client: client::Provider,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The provider says no.
    Refused(Refused),
    /// It did not answer, or not as it should.
    Broken(anyhow::Error),
}

/// What a request for tokens expects of them.
#[derive(Clone, Copy, Debug, Default)]
struct Expected<'a> {
    nonce: Option<&'a str>,
    subject: Option<&'a str>,
}

impl<'a> Provider<'a> {
    /// Reads what the provider says of itself.
    pub(super) async fn discover(account: &'a Account) -> anyhow::Result<Self> {
        let file = account.issuer_ca_file.as_deref();
        let cannot = || {
            file.map_or_else(String::new, |file| {
                format!("{} cannot be used", file.display())
            })
        };
        let authority = file.map(std::fs::read_to_string).transpose();
        let authority = authority.with_context(cannot)?;
        let http = Http::new(authority.as_deref(), PATIENCE).map_err(anyhow::Error::msg);
        let registration = Registration {
            issuer: account.issuer.clone(),
            discovery_url: None,
            client_id: account.client_id.clone(),
            client_secret: secret(account)?,
        };
        let client = client::Provider::discover(registration, http.with_context(cannot)?).await;
        Ok(Self {
            account,
            client: client.map_err(|problem| anyhow!("{problem}; check --issuer"))?,
        })
    }

    /// Logs somebody in, as the account says: the client itself, or a person at a browser, here or on
    /// another device.
    pub(super) async fn log_in(&self) -> anyhow::Result<Tokens> {
        if self.account.client_credentials {
            let form = self.with_params(&[("grant_type", "client_credentials")]);
            return self
                .obtain(form, Expected::default())
                .await
                .map_err(|failure| {
                    failure.explained("the provider refuses the client's credentials")
                });
        }
        let device = self
            .client
            .metadata
            .device_authorization_endpoint
            .as_deref();
        let elsewhere = self.account.device || !browser::has_display();
        match device {
            Some(endpoint) if elsewhere => self.log_in_elsewhere(endpoint).await,
            None if self.account.device => bail!(
                "the provider has no device codes; leave --device out, and open the address that is printed"
            ),
            _ => self.log_in_here().await,
        }
    }

    /// Gets the next tokens for these.
    pub(super) async fn refresh(&self, tokens: &Tokens) -> Result<Tokens, Failure> {
        let token = tokens.refresh.as_ref();
        let token = token
            .context("there is no refresh token")
            .map_err(Failure::Broken)?;
        let form = vec![
            ("grant_type".to_owned(), "refresh_token".to_owned()),
            ("refresh_token".to_owned(), token.expose_secret().to_owned()),
        ];
        let expected = Expected {
            nonce: None,
            subject: tokens.subject.as_deref(),
        };
        let mut next = self.obtain(form, expected).await?;
        // A provider that does not exchange them means the old one to be kept (RFC 6749 §6).
        next.refresh = next.refresh.or_else(|| tokens.refresh.clone());
        Ok(next)
    }

    /// Tells the provider that these tokens are not needed any more (RFC 7009); says whether it could
    /// be told.
    pub(super) async fn revoke(&self, token: &SecretString) -> anyhow::Result<bool> {
        let Some(endpoint) = &self.client.metadata.revocation_endpoint else {
            return Ok(false);
        };
        let form = vec![
            ("token".to_owned(), token.expose_secret().to_owned()),
            ("token_type_hint".to_owned(), "refresh_token".to_owned()),
        ];
        match self.client.call(endpoint, form).await {
            Ok(_) => Ok(true),
            Err(failure) => {
                Err(Failure::from(failure).explained("the provider did not revoke the login"))
            }
        }
    }

    /// Asks the token endpoint, and believes no answer that was not verified.
    async fn obtain(
        &self,
        form: Vec<(String, String)>,
        expected: Expected<'_>,
    ) -> Result<Tokens, Failure> {
        let (granted, date) = self.client.grant(form).await?;
        if granted.id_token.is_none() && expected.subject.is_some() {
            // It may leave it out (OIDC Core §12.2); then there is nothing to show to the gateway.
            return Err(Failure::Refused(Refused {
                error: "the provider sends no ID token when a login is renewed".to_owned(),
                error_description: None,
            }));
        }
        self.accept(granted, date, expected)
            .await
            .map_err(Failure::Broken)
    }

    async fn accept(
        &self,
        granted: Granted,
        date: Option<Timestamp>,
        expected: Expected<'_>,
    ) -> anyhow::Result<Tokens> {
        let now = Timestamp::now();
        // Whether a token still holds is judged by clocks at the provider and the gateway. This
        // machine's may be wrong; how far says the answer that the token came with.
        let ahead = now.duration_since(date.unwrap_or(now));
        tell_clock(ahead);
        let Some(token) = granted.id_token else {
            ensure!(
                self.account.client_credentials,
                "the provider sent no ID token; does the client have the scope `openid` there?"
            );
            let token = granted
                .access_token
                .context("the provider sent no token")?
                .into();
            let lifetime = granted.expires_in.unwrap_or(300).clamp(0, 24 * 3600);
            return Ok(Tokens {
                token,
                expires_at: now + Duration::from_secs(lifetime.unsigned_abs()),
                obtained_at: now,
                refresh: None,
                subject: None,
            });
        };
        let key_set = self.client.key_set().await.map_err(anyhow::Error::msg)?;
        let issued = IssuedTo {
            issuer: &self.account.issuer,
            client_id: &self.account.client_id,
            nonce: expected.nonce,
            key_set: &key_set,
            algorithms: &self.client.metadata.id_token_signing_alg_values_supported,
        }
        .verify(&token, date.unwrap_or(now))
        .map_err(|error| {
            anyhow!(
                "the provider's ID token is not accepted: {}",
                clean(&error.to_string())
            )
        })?;
        ensure!(
            expected
                .subject
                .is_none_or(|subject| subject == issued.subject),
            "the provider's new ID token is for somebody else; log out (`portcullis logout`) and in again"
        );
        Ok(Tokens {
            token: token.into(),
            expires_at: issued.expires_at.checked_add(ahead)?,
            obtained_at: now,
            refresh: granted.refresh_token.map(SecretString::from),
            subject: Some(issued.subject),
        })
    }

    /// A form with the account's scopes and parameters.
    fn with_params(&self, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut form: Vec<(String, String)> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        if !self.account.scopes.is_empty() {
            form.push(("scope".to_owned(), self.account.scopes.join(" ")));
        }
        form.extend(self.account.params.iter().cloned());
        form
    }
}

impl From<client::Failure> for Failure {
    fn from(failure: client::Failure) -> Self {
        match failure {
            client::Failure::Refused(refused) => Self::Refused(refused),
            client::Failure::Broken(problem) => Self::Broken(anyhow::Error::msg(problem)),
        }
    }
}

impl Failure {
    /// As an error of a command.
    pub(super) fn explained(self, what: &str) -> anyhow::Error {
        match self {
            Self::Refused(refused) => anyhow!("{what}: {refused}"),
            Self::Broken(error) => error,
        }
    }
}

/// Says how wrong this machine's clock is, if that is much.
fn tell_clock(ahead: SignedDuration) {
    let seconds = ahead.as_secs().abs();
    let side = if ahead.is_positive() {
        "ahead of"
    } else {
        "behind"
    };
    if seconds >= CLOCKS_APART {
        say(&format!(
            "note: this machine's clock is {seconds} s {side} the provider's; set it"
        ));
    }
}

fn secret(account: &Account) -> anyhow::Result<Option<SecretString>> {
    let Some(file) = &account.client_secret_file else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{} cannot be read", file.display()))?;
    ensure!(!text.trim().is_empty(), "{} is empty", file.display());
    Ok(Some(text.trim().into()))
}

#[cfg(test)]
mod tests;
