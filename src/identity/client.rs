//! A client of an identity provider: what the provider says of itself, its token endpoint, and [`login`] by
//! authorization code with PKCE. Commands log callers in with it, and the control plane those who use the console.
//!
//! Every address of a provider must be HTTPS. What it says in errors is repeated without anything that could act on
//! a terminal, and never with a token in it.

pub mod http;
pub mod login;

use ::http::{HeaderValue, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use self::http::{Answer, Http};
use login::{Attempt, encoded};

/// Characters of a provider's explanation.
const EXPLANATION_CHARS_MAX: usize = 300;
/// What in a form nobody else may read.
const SECRET_FIELDS: [&str; 5] = [
    "refresh_token",
    "code",
    "code_verifier",
    "device_code",
    "token",
];

/// A client as its provider knows it.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The provider, byte for byte as it calls itself.
    pub issuer: String,
    /// Where its discovery document is; below `issuer` when absent.
    pub discovery_url: Option<String>,
    /// The client.
    pub client_id: String,
    /// Its secret; public clients have none.
    pub client_secret: Option<SecretString>,
}

/// A provider, seen by one of its clients.
pub struct Provider {
    registration: Registration,
    /// What it says of itself.
    pub metadata: Metadata,
    http: Http,
}

/// What is read of the discovery document (OIDC Discovery §3, RFC 8414 §2).
#[derive(Clone, Debug, Deserialize)]
pub struct Metadata {
    /// The provider.
    pub issuer: String,
    /// Where tokens are.
    pub token_endpoint: String,
    /// Where its keys are.
    pub jwks_uri: String,
    /// Where people log in.
    pub authorization_endpoint: Option<String>,
    /// Where a login on another device begins (RFC 8628).
    pub device_authorization_endpoint: Option<String>,
    /// Where tokens are given back (RFC 7009).
    pub revocation_endpoint: Option<String>,
    /// What ID tokens are signed with.
    #[serde(default)]
    pub id_token_signing_alg_values_supported: Vec<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Whether it always names itself in answers to logins (RFC 9207 §3).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

/// A token endpoint's answer (RFC 6749 §5.1).
#[derive(Deserialize)]
pub struct Granted {
    /// Who logged in.
    pub id_token: Option<String>,
    /// What other servers take.
    pub access_token: Option<String>,
    /// What the next tokens are got with.
    pub refresh_token: Option<String>,
    /// Seconds that the access token lasts.
    pub expires_in: Option<i64>,
}

/// A refusal (RFC 6749 §5.2).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Refused {
    /// A word of the specification, such as `invalid_grant`.
    pub error: String,
    /// More about it.
    pub error_description: Option<String>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The provider says no.
    #[error("{0}")]
    Refused(Refused),
    /// It did not answer, or not as it should.
    #[error("{0}")]
    Broken(String),
}

impl Provider {
    /// Reads what the provider says of itself.
    pub async fn discover(registration: Registration, http: Http) -> Result<Self, String> {
        let issuer = &registration.issuer;
        let url = registration.discovery_url.clone().unwrap_or_else(|| {
            let base = issuer.trim_end_matches('/');
            format!("{base}/.well-known/openid-configuration")
        });
        let document = http.get(&url).await?.body;
        let metadata: Metadata = serde_json::from_slice(&document).map_err(|_| {
            format!("{url} is not a discovery document; is this the issuer's address?")
        })?;
        if metadata.issuer != *issuer {
            return Err(format!(
                "{url}: its issuer is {:?}, not {issuer:?}; write it exactly as the provider does",
                metadata.issuer
            ));
        }
        Ok(Self {
            registration,
            metadata,
            http,
        })
    }

    /// Asks the token endpoint; also says what time it was there. What comes is not verified.
    pub async fn grant(
        &self,
        form: Vec<(String, String)>,
    ) -> Result<(Granted, Option<Timestamp>), Failure> {
        let answer = self.call(&self.metadata.token_endpoint, form).await?;
        // The text of a parser's error would have parts of the answer in it, and those are tokens.
        let granted = serde_json::from_slice(&answer.body).map_err(|_| {
            Failure::Broken("the token endpoint's answer is not understood".to_owned())
        })?;
        Ok((granted, answer.date))
    }

    /// The provider's JSON Web Key Set.
    pub async fn key_set(&self) -> Result<Bytes, String> {
        Ok(self.http.get(&self.metadata.jwks_uri).await?.body)
    }

    /// The address that a browser has to open for `attempt`; `more` are further parameters, the scope among them.
    pub fn login_url(
        &self,
        attempt: &Attempt,
        more: Vec<(String, String)>,
    ) -> Result<String, String> {
        let endpoint = self.metadata.authorization_endpoint.as_deref();
        let endpoint = endpoint.ok_or("the provider has no page to log in at")?;
        super::settings::https_authority(endpoint)
            .map_err(|problem| format!("{}: {problem}", endpoint.escape_debug()))?;
        Ok(attempt.url(endpoint, &self.registration.client_id, more))
    }

    /// Sends a form, with what the client shows of itself (RFC 6749 §2.3.1).
    pub async fn call(
        &self,
        endpoint: &str,
        mut form: Vec<(String, String)>,
    ) -> Result<Answer, Failure> {
        let broken = |error: &dyn std::fmt::Display| Failure::Broken(error.to_string());
        let mut authorization = None;
        let mut secrets: Vec<String> = form
            .iter()
            .filter(|(name, _)| SECRET_FIELDS.contains(&name.as_str()))
            .map(|(_, value)| value.clone())
            .collect();
        let client_id = &self.registration.client_id;
        match &self.registration.client_secret {
            Some(secret) if self.takes("client_secret_basic") => {
                let secret = secret.expose_secret();
                let pair = format!("{}:{}", encoded(client_id), encoded(secret));
                let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
                    .map_err(|error| broken(&error))?;
                value.set_sensitive(true);
                authorization = Some(value);
                secrets.push(secret.to_owned());
            }
            Some(secret) => {
                let secret = secret.expose_secret().to_owned();
                form.push(("client_id".to_owned(), client_id.clone()));
                form.push(("client_secret".to_owned(), secret.clone()));
                secrets.push(secret);
            }
            None => form.push(("client_id".to_owned(), client_id.clone())),
        }
        let form = login::form_text(&form);
        let answer = self.http.post(endpoint, form, authorization).await;
        let answer = answer.map_err(Failure::Broken)?;
        if answer.status == StatusCode::OK {
            return Ok(answer);
        }
        match serde_json::from_slice::<Refused>(&answer.body) {
            Ok(refused) => Err(Failure::Refused(refused.without(&secrets))),
            Err(_) => Err(Failure::Broken(format!(
                "{} answered {}",
                endpoint.escape_debug(),
                answer.status
            ))),
        }
    }

    /// Whether the provider takes this way of showing a secret; one that says nothing takes Basic.
    fn takes(&self, method: &str) -> bool {
        match &self.metadata.token_endpoint_auth_methods_supported {
            None => method == "client_secret_basic",
            Some(methods) => methods.iter().any(|known| known == method),
        }
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
            text.chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_holds_no_secret_and_nothing_that_acts_on_a_terminal() {
        let told = Refused {
            error: "invalid_grant\u{1b}[2J".to_owned(),
            error_description: Some(format!("r3fresh is \u{9b}31m over\r\n{}", "x".repeat(2000))),
        };
        let text = told
            .without(&["r3fresh".to_owned(), String::new()])
            .to_string();
        assert!(
            text.contains("invalid_grant") && text.contains("over"),
            "{text}"
        );
        assert!(
            !text.contains("r3fresh") && !text.contains(char::is_control),
            "{text:?}"
        );
        assert!(text.chars().count() < 400);
    }
}
