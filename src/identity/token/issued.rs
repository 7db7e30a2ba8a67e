//! An ID token as the client reads that it was issued to (OIDC Core §3.1.3.7). Pure.
//!
//! The same checks as for a caller's token, by the same code; besides, the token answers the request
//! that this client made. Whom the gateway takes its holder for is not decided here.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::Unverified;
use super::claims::required_text;
use crate::identity::credential::BearerToken;
use crate::identity::error::{IdentityError, TokenError};
use crate::identity::keys::key_set::KeySet;
use crate::identity::settings::{IssuerSettings, SigningAlgorithm};

/// What a client expects of an ID token.
#[derive(Clone, Copy, Debug)]
pub struct IssuedTo<'a> {
    /// The issuer, byte for byte.
    pub issuer: &'a str,
    /// The client: `aud` must name it, and `azp` nobody else.
    pub client_id: &'a str,
    /// The `nonce` of the request. Without one the token may have any or none, as after a refresh and
    /// with device codes, whose requests have none.
    pub nonce: Option<&'a str>,
    /// The issuer's JSON Web Key Set.
    pub key_set: &'a [u8],
    /// The algorithms that the issuer says it signs with; names that are not known are left out.
    pub algorithms: &'a [String],
}

/// What a verified ID token says to its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Its `sub`.
    pub subject: String,
    /// Its `exp`, by the issuer's clock.
    pub expires_at: Timestamp,
}

impl IssuedTo<'_> {
    /// Verifies `token`; `now` is the issuer's time, as far as the client knows it.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Issued, IdentityError> {
        let mut settings = IssuerSettings::new(self.issuer, vec![self.client_id.to_owned()]);
        // How long a token may last is the gateway's to say.
        settings.token_lifetime_max = Duration::MAX;
        let named: Vec<SigningAlgorithm> = self
            .algorithms
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        if !named.is_empty() {
            settings.signing_algorithms = named;
        }
        let (keys, _left_out) =
            KeySet::parse(self.key_set, &settings.signing_algorithms).map_err(|reason| {
                IdentityError::Unavailable {
                    issuer: self.issuer.to_owned(),
                    reason,
                }
            })?;
        let read = Unverified::parse(token)?;
        if read.issuer()? != self.issuer {
            return Err(TokenError::claim("iss", "is another issuer than the one asked").into());
        }
        let key = keys
            .find(read.key_id(), read.algorithm())
            .ok_or_else(|| TokenError::UnknownKey(read.key_id().map(str::to_owned)))?;
        let (_issued_at, expires_at) = read.check(key, &settings, now)?;
        let subject = required_text(&read.claims, "sub")?.to_owned();
        if let Some(nonce) = self.nonce {
            check_nonce(&read, nonce)?;
        }
        Ok(Issued {
            subject,
            expires_at,
        })
    }
}

/// Whether a token that the gateway has verified is the answer to one login: issued to this very client, with the
/// nonce that it asked for (OIDC Core §3.1.3.7, points 3 to 5 and 11).
pub fn answers(token: &BearerToken, client_id: &str, nonce: &str) -> Result<(), IdentityError> {
    let read = Unverified::parse(token.expose())?;
    let settings = IssuerSettings::new(read.issuer()?, vec![client_id.to_owned()]);
    super::check_audience(&read.claims, &settings)?;
    check_nonce(&read, nonce)
}

fn check_nonce(read: &Unverified<'_>, nonce: &str) -> Result<(), IdentityError> {
    if read.claims.get("nonce") == Some(&Value::from(nonce)) {
        return Ok(());
    }
    Err(TokenError::claim(
        "nonce",
        "is not the one that was asked for; the answer belongs to another login",
    )
    .into())
}

/// When a token says that it ends, unverified: good for knowing when to get another, nothing else.
/// `None` for a token that is no JWT, or says nothing.
pub fn claimed_expiry(token: &str) -> Option<Timestamp> {
    let read = Unverified::parse(token).ok()?;
    let seconds = super::seconds(&read.claims, "exp").ok()??;
    super::timestamp("exp", seconds).ok()
}

#[cfg(test)]
mod tests {
    use loadtest::issuer::{Algorithm, SigningKeys};
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://issuer.test";
    const NOW: i64 = 1_800_000_000;

    #[test]
    fn a_token_must_answer_this_clients_request() {
        let good = json!({
            "iss": ISSUER, "aud": "cli", "sub": "dora", "iat": NOW, "exp": NOW + 300, "nonce": "n-1",
        });
        let expected = Issued {
            subject: "dora".to_owned(),
            expires_at: Timestamp::from_second(NOW + 300).unwrap(),
        };
        assert_eq!(verify(&good, Some("n-1")).unwrap(), expected);
        assert_eq!(verify(&good, None).unwrap(), expected);
        let cases = [
            ("nonce", json!({"nonce": "n-2"})),
            ("nonce", json!({"nonce": null})),
            ("nonce", json!({"nonce": ["n-1"]})),
            ("iss", json!({"iss": "https://evil.test"})),
            ("aud", json!({"aud": "another"})),
            ("azp", json!({"aud": ["cli", "another"]})),
            ("azp", json!({"azp": "another"})),
            ("expired", json!({"iat": NOW - 400, "exp": NOW - 100})),
            ("not valid", json!({"iat": NOW + 100, "exp": NOW + 400})),
            ("sub", json!({"sub": ""})),
        ];
        for (problem, changed) in cases {
            let mut claims = good.clone();
            let changed = changed.as_object().unwrap().clone();
            claims.as_object_mut().unwrap().extend(changed);
            let error = verify(&claims, Some("n-1")).unwrap_err().to_string();
            assert!(error.contains(problem), "{problem}: {error}");
        }
    }

    #[test]
    fn a_login_is_answered_by_its_own_client_and_nonce() {
        let keys = SigningKeys::generate("1").unwrap();
        let key = keys.get(Algorithm::ES256).unwrap();
        let good =
            json!({"iss": ISSUER, "aud": ["console", "cli"], "azp": "console", "nonce": "n"});
        let accepts = |changed: Value| {
            let mut claims = good.clone();
            let changed = changed.as_object().unwrap().clone();
            claims.as_object_mut().unwrap().extend(changed);
            let token = BearerToken::new(&key.token(&claims).unwrap()).unwrap();
            answers(&token, "console", "n").is_ok()
        };
        assert!(accepts(json!({})));
        assert!(accepts(json!({"aud": "console"})));
        for changed in [
            json!({"nonce": "m"}),
            json!({"nonce": null}),
            json!({"aud": "cli"}),
            json!({"azp": "cli"}),
            json!({"azp": null}),
        ] {
            assert!(!accepts(changed.clone()), "{changed}");
        }
    }

    #[test]
    fn a_token_signed_by_somebody_else_is_refused() {
        let claims =
            json!({"iss": ISSUER, "aud": "cli", "sub": "dora", "iat": NOW, "exp": NOW + 300});
        let [theirs, ours] = [(); 2].map(|()| SigningKeys::generate("1").unwrap());
        let token = theirs
            .get(Algorithm::ES256)
            .unwrap()
            .token(&claims)
            .unwrap();
        let error = check(&token, &ours, None).unwrap_err();
        assert_eq!(error, TokenError::Signature.into());
    }

    #[test]
    fn the_end_of_a_token_can_be_read_without_its_keys() {
        let keys = SigningKeys::generate("1").unwrap();
        let key = keys.get(Algorithm::ES256).unwrap();
        let token = |claims: Value| key.token(&claims).unwrap();
        assert_eq!(
            claimed_expiry(&token(json!({"exp": NOW}))),
            Some(Timestamp::from_second(NOW).unwrap())
        );
        assert_eq!(claimed_expiry(&token(json!({"exp": "soon"}))), None);
        assert_eq!(claimed_expiry(&token(json!({}))), None);
        assert_eq!(claimed_expiry("opaque"), None);
    }

    fn verify(claims: &Value, nonce: Option<&str>) -> Result<Issued, IdentityError> {
        let keys = SigningKeys::generate("1").unwrap();
        let token = keys.get(Algorithm::ES256).unwrap().token(claims).unwrap();
        check(&token, &keys, nonce)
    }

    fn check(
        token: &str,
        keys: &SigningKeys,
        nonce: Option<&str>,
    ) -> Result<Issued, IdentityError> {
        let key_set = keys.key_set().to_string();
        IssuedTo {
            issuer: ISSUER,
            client_id: "cli",
            nonce,
            key_set: key_set.as_bytes(),
            algorithms: &["none".to_owned(), "HS256".to_owned(), "ES256".to_owned()],
        }
        .verify(token, Timestamp::from_second(NOW).unwrap())
    }
}
