//! An identity provider: what it says of itself, and its token endpoint.
//!
//! Every address of it must be HTTPS, its answers are bounded, and no redirect is followed. What it
//! says in errors is printed without anything that could act on a terminal, and never with a token in it.

pub(super) mod browser;

mod calls;
mod device;
mod redirect;

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::account::Account;
use super::cache::Tokens;
use crate::cli::output::{clean, say};
use crate::identity::IssuedTo;
use calls::Http;

/// Characters of a provider's explanation.
const EXPLANATION_CHARS_MAX: usize = 300;
/// A difference of clocks that is worth a word.
const CLOCKS_APART: i64 = 60;

/// A provider, and the account that is asked for.
pub(super) struct Provider<'a> {
    account: &'a Account,
    metadata: Metadata,
    http: Http,
}

/// What is read of the discovery document (OIDC Discovery §3, RFC 8414 §2).
#[derive(Debug, Deserialize)]
struct Metadata {
    issuer: String,
    token_endpoint: String,
    jwks_uri: String,
    authorization_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    #[serde(default)]
    id_token_signing_alg_values_supported: Vec<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// RFC 9207 §3.
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// A token endpoint's answer (RFC 6749 §5.1).
#[derive(Deserialize)]
struct Granted {
    id_token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: Option<i64>,
}

/// A refusal (RFC 6749 §5.2).
#[derive(Debug, Deserialize)]
pub(super) struct Refused {
    /// A word of the specification, such as `invalid_grant`.
    pub(super) error: String,
    error_description: Option<String>,
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
        let http = Http::new(account)?;
        let url = format!(
            "{}/.well-known/openid-configuration",
            account.issuer.trim_end_matches('/')
        );
        let (document, _) = http.get(&url).await?;
        let metadata: Metadata = serde_json::from_slice(&document)
            .ok()
            .with_context(|| format!("{url} is not a discovery document; check --issuer"))?;
        ensure!(
            metadata.issuer == account.issuer,
            "{url}: its issuer is {:?}, not {:?}; write --issuer exactly as the provider does",
            clean(&metadata.issuer),
            account.issuer
        );
        Ok(Self {
            account,
            metadata,
            http,
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
        let device = self.metadata.device_authorization_endpoint.as_deref();
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
        let Some(endpoint) = &self.metadata.revocation_endpoint else {
            return Ok(false);
        };
        let form = vec![
            ("token".to_owned(), token.expose_secret().to_owned()),
            ("token_type_hint".to_owned(), "refresh_token".to_owned()),
        ];
        match self.call(endpoint, form).await {
            Ok(_) => Ok(true),
            Err(failure) => Err(failure.explained("the provider did not revoke the login")),
        }
    }

    /// Asks the token endpoint, and believes no answer that was not verified.
    async fn obtain(
        &self,
        form: Vec<(String, String)>,
        expected: Expected<'_>,
    ) -> Result<Tokens, Failure> {
        let (answer, date) = self.call(&self.metadata.token_endpoint, form).await?;
        // The text of a parser's error would have parts of the answer in it, and those are tokens.
        let granted: Granted = serde_json::from_slice(&answer).map_err(|_| {
            Failure::Broken(anyhow!("the token endpoint's answer is not understood"))
        })?;
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
        let (key_set, _) = self.http.get(&self.metadata.jwks_uri).await?;
        let issued = IssuedTo {
            issuer: &self.account.issuer,
            client_id: &self.account.client_id,
            nonce: expected.nonce,
            key_set: &key_set,
            algorithms: &self.metadata.id_token_signing_alg_values_supported,
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

    /// Sends a form, with what the client shows of itself (RFC 6749 §2.3.1).
    async fn call(
        &self,
        endpoint: &str,
        mut form: Vec<(String, String)>,
    ) -> Result<(Bytes, Option<Timestamp>), Failure> {
        let mut authorization = None;
        let mut secrets: Vec<String> = form
            .iter()
            .filter(|(name, _)| {
                [
                    "refresh_token",
                    "code",
                    "code_verifier",
                    "device_code",
                    "token",
                ]
                .contains(&name.as_str())
            })
            .map(|(_, value)| value.clone())
            .collect();
        let client_id = &self.account.client_id;
        match self.secret().map_err(Failure::Broken)? {
            Some(secret) if self.takes("client_secret_basic") => {
                let pair = format!("{}:{}", encode(client_id), encode(secret.expose_secret()));
                let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
                    .map_err(|error| Failure::Broken(error.into()))?;
                value.set_sensitive(true);
                authorization = Some(value);
                secrets.push(secret.expose_secret().to_owned());
            }
            Some(secret) => {
                form.push(("client_id".to_owned(), client_id.clone()));
                form.push((
                    "client_secret".to_owned(),
                    secret.expose_secret().to_owned(),
                ));
                secrets.push(secret.expose_secret().to_owned());
            }
            None => form.push(("client_id".to_owned(), client_id.clone())),
        }
        let (status, body, date) = self
            .http
            .post(endpoint, &form_text(&form), authorization)
            .await
            .map_err(Failure::Broken)?;
        if status == StatusCode::OK {
            return Ok((body, date));
        }
        match serde_json::from_slice::<Refused>(&body) {
            Ok(refused) => Err(Failure::Refused(refused.without(&secrets))),
            Err(_) => Err(Failure::Broken(anyhow!("{endpoint} answered {status}"))),
        }
    }

    fn secret(&self) -> anyhow::Result<Option<SecretString>> {
        let Some(file) = &self.account.client_secret_file else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{} cannot be read", file.display()))?;
        ensure!(!text.trim().is_empty(), "{} is empty", file.display());
        Ok(Some(text.trim().into()))
    }

    /// Whether the provider takes this way of showing a secret; one that says nothing takes Basic.
    fn takes(&self, method: &str) -> bool {
        match &self.metadata.token_endpoint_auth_methods_supported {
            None => method == "client_secret_basic",
            Some(methods) => methods.iter().any(|known| known == method),
        }
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

impl Refused {
    /// Without secrets that the provider repeats, and without what acts on a terminal.
    fn without(self, secrets: &[String]) -> Self {
        let safe = |text: &str| {
            let mut text = text.to_owned();
            for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
                text = text.replace(secret.as_str(), "[…]");
            }
            clean(&text)
                .chars()
                .take(EXPLANATION_CHARS_MAX)
                .collect::<String>()
        };
        Self {
            error: safe(&self.error),
            error_description: self.error_description.as_deref().map(safe),
        }
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.error_description {
            Some(description) => write!(out, "{description} ({})", self.error),
            None => out.write_str(&self.error),
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

/// As forms have it (`application/x-www-form-urlencoded`).
fn form_text(pairs: &[(String, String)]) -> String {
    let pair = |(name, value): &(String, String)| format!("{}={}", encode(name), encode(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

fn encode(text: &str) -> String {
    crate::cli::operator::client::encoded(text)
}

/// 256 random bits as text that fits into URLs.
fn random_text() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .ok()
        .context("this machine gives no random numbers")?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests;
