//! A login on another device, with a short code (RFC 8628).

use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::Deserialize;

use super::{Expected, Failure, Provider};
use crate::cli::caller::cache::Tokens;
use crate::cli::output::{clean, say};

/// The longest time that a code is waited for, whatever the provider says.
const CODE_SECONDS_MAX: u64 = 30 * 60;
/// The pause between two questions, when the provider names none (RFC 8628 §3.2).
const PAUSE_DEFAULT: u64 = 5;
const PAUSE_MAX: u64 = 60;

/// The answer of the device authorization endpoint (RFC 8628 §3.2).
#[derive(Deserialize)]
struct Started {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: Option<u64>,
}

impl Provider<'_> {
    /// Prints a code, and waits until somebody has typed it elsewhere.
    pub(super) async fn log_in_elsewhere(&self, endpoint: &str) -> anyhow::Result<Tokens> {
        let answer = self.client.call(endpoint, self.with_params(&[])).await;
        let answer = answer.map_err(|failure| {
            Failure::from(failure).explained("the provider gives no device code")
        })?;
        let started: Started = serde_json::from_slice(&answer.body)
            .ok()
            .context("the provider's device code is not understood")?;
        say(&format!(
            "Log in at\n\n  {}\n\non any device, with the code {}\n",
            clean(&started.verification_uri),
            clean(&started.user_code)
        ));
        if let Some(complete) = &started.verification_uri_complete {
            say(&format!("or, with the code in it: {}\n", clean(complete)));
        }
        self.poll(&started).await
    }

    async fn poll(&self, started: &Started) -> anyhow::Result<Tokens> {
        let mut pause = started
            .interval
            .unwrap_or(PAUSE_DEFAULT)
            .clamp(1, PAUSE_MAX);
        let lifetime = Duration::from_secs(started.expires_in.min(CODE_SECONDS_MAX));
        let ends_at = Timestamp::now() + lifetime;
        while Timestamp::now() < ends_at {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            let form = [
                ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                ("device_code", &started.device_code),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
            match self.obtain(form.to_vec(), Expected::default()).await {
                Ok(tokens) => return Ok(tokens),
                Err(Failure::Refused(refused)) if refused.error == "authorization_pending" => {}
                Err(Failure::Refused(refused)) if refused.error == "slow_down" => {
                    pause = (pause + 5).min(PAUSE_MAX); // RFC 8628 §3.5
                }
                Err(Failure::Refused(refused)) if refused.error == "expired_token" => break,
                Err(failure) => return Err(failure.explained("the provider refused the login")),
            }
        }
        bail!("nobody typed the code in time; try again")
    }
}
