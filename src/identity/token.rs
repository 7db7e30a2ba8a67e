//! The verification of a token: signature, times, audience, kind. Pure; `now` is an argument.
//!
//! A token is a signed JWT in compact form (RFC 7515, RFC 7519) and nothing else: no encryption,
//! no nesting, no `crit` extension, no key from the token itself. The checks follow RFC 8725 (JWT
//! best current practices) and OIDC Core §3.1.3.7, and are closed where those leave a
//! choice: a claim of the wrong type is an error, never an absent claim.

pub(super) mod claims;
pub(super) mod issued;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::error::{IdentityError, TokenError};
use super::keys::key_set::VerifyingKey;
use super::settings::{IssuerSettings, SigningAlgorithm};
use super::{Identity, json};
use crate::limits::{KEY_ID_BYTES_MAX, TOKEN_BYTES_MAX};
use claims::{Checked, Claims, required_text};

/// A token that was read but not verified: good for finding its issuer and key, nothing else.
pub(super) struct Unverified<'a> {
    message: &'a str,
    signature: &'a str,
    algorithm: SigningAlgorithm,
    key_id: Option<String>,
    kind: Option<String>,
    claims: Claims,
}

/// A verified token's identity, and when the token itself ends (without skew).
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) identity: Identity,
    pub(super) ends_at: Timestamp,
}

impl<'a> Unverified<'a> {
    /// Reads a compact JWT.
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenError> {
        let malformed = |problem: &str| TokenError::Malformed(problem.to_owned());
        if token.len() > TOKEN_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        let (message, signature) = token
            .rsplit_once('.')
            .ok_or_else(|| malformed("it has no dots"))?;
        let (header, payload) = message
            .split_once('.')
            .ok_or_else(|| malformed("it has only one dot"))?;
        if payload.contains('.') {
            return Err(malformed(
                "it has more than three parts; encrypted tokens are not supported",
            ));
        }
        if signature.is_empty() {
            return Err(malformed("it has no signature"));
        }
        let header = part("header", header)?;
        let (algorithm, key_id, kind) = read_header(&header)?;
        Ok(Self {
            message,
            signature,
            algorithm,
            key_id,
            kind,
            claims: part("payload", payload)?,
        })
    }

    /// The claimed issuer.
    pub(super) fn issuer(&self) -> Result<&str, TokenError> {
        required_text(&self.claims, "iss")
    }

    /// The claimed key, an opaque string that is only compared.
    pub(super) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// The claimed algorithm.
    pub(super) fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// Verifies the token with `key`, one of `issuer`'s.
    pub(super) fn verify(
        &self,
        key: &VerifyingKey,
        issuer: &IssuerSettings,
        now: Timestamp,
    ) -> Result<Verified, IdentityError> {
        let claims = &self.claims;
        let (issued_at, ends_at) = self.check(key, issuer, now)?;
        let subject = required_text(claims, "sub")?;
        let skew = i64::try_from(issuer.clock_skew.as_secs()).unwrap_or(0);
        let expires_at = timestamp("exp", ends_at.as_second().saturating_add(skew))?;
        let checked = Checked {
            subject,
            issued_at,
            expires_at,
        };
        Ok(Verified {
            identity: claims::identity(claims, issuer, checked)?,
            ends_at,
        })
    }

    /// Everything but whom the token names: key, signature, issuer, kind, times and audience.
    /// Returns `iat` and `exp`.
    fn check(
        &self,
        key: &VerifyingKey,
        issuer: &IssuerSettings,
        now: Timestamp,
    ) -> Result<(Timestamp, Timestamp), TokenError> {
        if key.algorithm() != self.algorithm || !issuer.signing_algorithms.contains(&self.algorithm)
        {
            let name = self.algorithm.name();
            return Err(TokenError::Header(format!(
                "says {name}, which its key is not for"
            )));
        }
        if !key.verifies(self.message.as_bytes(), self.signature) {
            return Err(TokenError::Signature);
        }
        let claims = &self.claims;
        if self.issuer()? != issuer.url {
            return Err(TokenError::unknown_issuer(self.issuer()?));
        }
        check_kind(self.kind.as_deref(), claims, issuer)?;
        let times = check_times(claims, issuer, now)?;
        check_audience(claims, issuer)?;
        Ok(times)
    }
}

/// Decodes strict base64url (no padding, no spare bits, RFC 7515 §2) and strict JSON.
fn part(name: &str, encoded: &str) -> Result<Map<String, Value>, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| {
        TokenError::Malformed(format!("its {name} is not base64url without padding"))
    })?;
    json::object(&bytes).map_err(|error| {
        TokenError::Malformed(format!("its {name} is not acceptable JSON: {error}"))
    })
}

type Header = (SigningAlgorithm, Option<String>, Option<String>);

/// `alg`, `kid` and `typ`. Hints about where to get a key (`jku`, `jwk`, `x5u`, `x5c`) are not read.
fn read_header(header: &Map<String, Value>) -> Result<Header, TokenError> {
    for name in ["crit", "b64", "zip", "enc", "cty"] {
        if header.contains_key(name) {
            return Err(TokenError::Header(format!(
                "has {name:?}, which is not supported"
            )));
        }
    }
    let text = |name: &str| match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(TokenError::Header(format!(
            "has a {name:?} that is not a string"
        ))),
    };
    let algorithm = text("alg")?.ok_or_else(|| TokenError::Header("has no \"alg\"".to_owned()))?;
    let algorithm = algorithm
        .parse()
        .map_err(|problem| TokenError::Header(format!("says {problem}")))?;
    let key_id = text("kid")?;
    if key_id
        .as_ref()
        .is_some_and(|key_id| key_id.is_empty() || key_id.len() > KEY_ID_BYTES_MAX)
    {
        return Err(TokenError::Header(format!(
            "has a \"kid\" that is empty or above {KEY_ID_BYTES_MAX} bytes"
        )));
    }
    Ok((algorithm, key_id, text("typ")?))
}

/// Only the configured kinds of token: an ID token by default. Access tokens (RFC 9068 `at+jwt`),
/// logout tokens (`events`) and refresh tokens of the same issuer have the same signature.
fn check_kind(
    kind: Option<&str>,
    claims: &Claims,
    issuer: &IssuerSettings,
) -> Result<(), TokenError> {
    let accepts = |kind: &str| {
        issuer
            .token_types
            .iter()
            .any(|accepted| accepted.eq_ignore_ascii_case(kind))
    };
    let kind = kind.unwrap_or("JWT");
    // RFC 7515 §4.1.9: `application/` may be left out.
    let kind = match kind.split_at_checked("application/".len()) {
        Some((media, kind)) if media.eq_ignore_ascii_case("application/") => kind,
        _ => kind,
    };
    if !accepts(kind) {
        return Err(TokenError::kind(kind));
    }
    if claims.contains_key("events") {
        return Err(TokenError::Type(
            "logout or security event token".to_owned(),
        ));
    }
    // Keycloak gives every kind the same header and tells them apart in the payload.
    match claims.get("typ") {
        None => Ok(()),
        Some(Value::String(typ)) if typ == "ID" || typ == "JWT" => Ok(()),
        Some(Value::String(typ)) if typ == "Bearer" && accepts("at+jwt") => Ok(()),
        Some(typ) => Err(TokenError::kind(&typ.to_string())),
    }
}

/// `exp` and `iat` are required, `nbf` is heeded; returns `iat` and `exp`.
fn check_times(
    claims: &Claims,
    issuer: &IssuerSettings,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), TokenError> {
    let required = |name: &'static str| {
        seconds(claims, name)?.ok_or_else(|| TokenError::claim(name, "is missing"))
    };
    let (expires, issued, not_before) =
        (required("exp")?, required("iat")?, seconds(claims, "nbf")?);
    let skew = i64::try_from(issuer.clock_skew.as_secs()).unwrap_or(0);
    let now = now.as_second();
    if expires <= issued {
        return Err(TokenError::claim("exp", "is not after iat"));
    }
    let lifetime = expires - issued;
    let max = issuer.token_lifetime_max.as_secs();
    if u64::try_from(lifetime).is_ok_and(|lifetime| lifetime > max) {
        return Err(TokenError::Lifetime { lifetime, max });
    }
    if now - expires >= skew {
        return Err(TokenError::Expired(now - expires));
    }
    let begins = not_before.map_or(issued, |not_before| not_before.max(issued));
    if begins - now > skew {
        return Err(TokenError::NotYetValid(begins - now));
    }
    Ok((timestamp("iat", issued)?, timestamp("exp", expires)?))
}

/// A `NumericDate` (RFC 7519 §2), whole seconds only.
fn seconds(claims: &Claims, name: &str) -> Result<Option<i64>, TokenError> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value
        .as_u64()
        .and_then(|seconds| i64::try_from(seconds).ok());
    let seconds = seconds.filter(|seconds| *seconds <= Timestamp::MAX.as_second());
    match seconds {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(TokenError::claim(
            name,
            "is not a whole number of seconds since 1970",
        )),
    }
}

fn timestamp(claim: &str, seconds: i64) -> Result<Timestamp, TokenError> {
    Timestamp::from_second(seconds).map_err(|_| TokenError::claim(claim, "is beyond the calendar"))
}

/// One of our audiences must be a member of `aud`; a token for several parties must name in `azp`
/// the client it was issued to, and a named client must be one of ours (OIDC Core §3.1.3.7).
fn check_audience(claims: &Claims, issuer: &IssuerSettings) -> Result<(), TokenError> {
    let wrong = || TokenError::claim("aud", "is neither a string nor a list of strings");
    let audiences: Vec<&str> = match claims.get("aud") {
        None => return Err(TokenError::claim("aud", "is missing")),
        Some(Value::String(audience)) => vec![audience],
        Some(Value::Array(audiences)) => audiences
            .iter()
            .map(Value::as_str)
            .collect::<Option<_>>()
            .ok_or_else(wrong)?,
        Some(_) => return Err(wrong()),
    };
    if !audiences
        .iter()
        .any(|audience| issuer.audiences.iter().any(|ours| ours == audience))
    {
        return Err(TokenError::claim(
            "aud",
            "does not name this gateway; use a token that was issued for it",
        ));
    }
    let parties = if issuer.authorized_parties.is_empty() {
        &issuer.audiences
    } else {
        &issuer.authorized_parties
    };
    match claims.get("azp") {
        Some(Value::String(party)) if parties.contains(party) => Ok(()),
        Some(_) => Err(TokenError::claim("azp", "is not an accepted client")),
        None if audiences.len() > 1 => Err(TokenError::claim(
            "azp",
            "is missing although aud names several parties",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
