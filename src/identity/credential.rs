//! The bearer token of a request: from exactly one place, or none.
//!
//! A token comes in one `Authorization` header (RFC 6750 §2.1) or, on a WebSocket upgrade, as the
//! subprotocol that Kubernetes defines for browsers. Nothing else is looked at: a token in the
//! query, a cookie or a body is not a credential.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

use crate::limits::TOKEN_BYTES_MAX;

/// What a WebSocket subprotocol begins with when the rest of it is a token in unpadded base64url.
/// It must never be sent upstream or answered to the client.
pub const BEARER_PROTOCOL_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// A bearer token that has the form of one; nothing about it is verified.
#[derive(Clone, Debug)]
pub struct BearerToken(SecretString);

/// Why a request has no usable credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CredentialError {
    /// There is none.
    #[error("no bearer token was sent; log in and send one in the Authorization header")]
    Missing,
    /// More than one `Authorization` header or more than one subprotocol token.
    #[error("more than one credential was sent; send exactly one bearer token")]
    Several,
    /// A header and a subprotocol token: which one counts would be a guess.
    #[error(
        "a bearer token was sent both in the Authorization header and as a subprotocol; send it once"
    )]
    TwoPlaces,
    /// Basic, Negotiate and the like.
    #[error("only bearer tokens are accepted; use `Authorization: Bearer <token>`")]
    Scheme,
    /// A bearer credential that is not a token.
    #[error("the bearer token is malformed; log in again for a new one")]
    Malformed,
    /// A token above the size limit.
    #[error(
        "the bearer token is longer than {TOKEN_BYTES_MAX} bytes; have the issuer put fewer claims into it"
    )]
    TooLong,
    /// A subprotocol token without a subprotocol to speak.
    #[error("the bearer subprotocol was sent alone; offer the subprotocol to speak as well")]
    NoOtherProtocol,
}

impl CredentialError {
    /// Whether the request contradicts itself (400) rather than lacking a credential (401).
    pub fn is_bad_request(self) -> bool {
        matches!(self, Self::TwoPlaces | Self::NoOtherProtocol)
    }
}

/// Finds the one credential of a request; `websocket_upgrade` says that it is a valid WebSocket
/// upgrade request, on others the subprotocol is no credential.
pub fn from_headers(
    headers: &HeaderMap,
    websocket_upgrade: bool,
) -> Result<BearerToken, CredentialError> {
    let header = only(headers.get_all(AUTHORIZATION).iter())?;
    let protocol = if websocket_upgrade {
        from_protocols(headers)?
    } else {
        None
    };
    match (header, protocol) {
        (Some(_), Some(_)) => Err(CredentialError::TwoPlaces),
        (Some(header), None) => from_authorization(header),
        (None, Some(token)) => Ok(token),
        (None, None) => Err(CredentialError::Missing),
    }
}

impl BearerToken {
    /// Accepts what can be a JWT: base64url characters and dots, within the size limit.
    pub fn new(token: &str) -> Result<Self, CredentialError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(CredentialError::TooLong);
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'_' | b'.');
        // Every byte is looked at, because many are then looked at together.
        if token.is_empty() || !token.bytes().fold(true, |all, byte| all & allowed(byte)) {
            return Err(CredentialError::Malformed);
        }
        Ok(Self(token.into()))
    }

    /// The token itself, for verification only.
    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

fn from_authorization(value: &HeaderValue) -> Result<BearerToken, CredentialError> {
    let value = std::str::from_utf8(value.as_bytes()).map_err(|_| CredentialError::Malformed)?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(CredentialError::Scheme);
    }
    BearerToken::new(token)
}

fn from_protocols(headers: &HeaderMap) -> Result<Option<BearerToken>, CredentialError> {
    let (mut tokens, mut others) = (Vec::new(), false);
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let value = value.to_str().map_err(|_| CredentialError::Malformed)?;
        for protocol in value
            .split(',')
            .map(|protocol| protocol.trim_matches([' ', '\t']))
        {
            match protocol.strip_prefix(BEARER_PROTOCOL_PREFIX) {
                Some(token) => tokens.push(token),
                None => others |= !protocol.is_empty(),
            }
        }
    }
    let Some(encoded) = only(tokens.into_iter())? else {
        return Ok(None);
    };
    if !others {
        return Err(CredentialError::NoOtherProtocol);
    }
    if encoded.len() > TOKEN_BYTES_MAX.div_ceil(3) * 4 {
        return Err(CredentialError::TooLong);
    }
    let token = URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| CredentialError::Malformed)?;
    let token = zeroize::Zeroizing::new(token);
    let token = std::str::from_utf8(&token).map_err(|_| CredentialError::Malformed)?;
    BearerToken::new(token).map(Some)
}

/// The only item, if there is one.
fn only<T>(mut items: impl Iterator<Item = T>) -> Result<Option<T>, CredentialError> {
    match (items.next(), items.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err(CredentialError::Several),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a21_exactly_one_authorization_header_in_one_form() {
        use CredentialError::{Malformed, Missing, Scheme, Several};
        let cases: [(&[&str], Result<&str, CredentialError>); 20] = [
            (&["Bearer a.b-_.c"], Ok("a.b-_.c")),
            (&["bearer a.b.c"], Ok("a.b.c")),
            (&["BEARER a.b.c"], Ok("a.b.c")),
            (&[], Err(Missing)),
            (&["Bearer a", "Bearer a"], Err(Several)),
            (&["Bearer a", "Basic YTpi"], Err(Several)),
            (&["Bearer a, Bearer b"], Err(Malformed)),
            (&["Bearer a,Basic b"], Err(Malformed)),
            (&["Basic YTpi"], Err(Scheme)),
            (&["Negotiate x"], Err(Scheme)),
            (&["a.b.c"], Err(Scheme)),
            (&[""], Err(Scheme)),
            (&["Bearer"], Err(Malformed)),
            (&["Bearer "], Err(Malformed)),
            (&["Bearer  a.b.c"], Err(Malformed)),
            (&["Bearer\ta.b.c"], Err(Scheme)),
            (&["Bearer a.b.c "], Err(Malformed)),
            (&["Bearer a.b.c trailing"], Err(Malformed)),
            (&["Bearer a.b.c="], Err(Malformed)),
            (&["Bearer a.b+c/d"], Err(Malformed)),
        ];
        for (values, expected) in cases {
            assert_eq!(
                read(values, &[], false),
                expected.map(str::to_owned),
                "{values:?}"
            );
        }
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_bytes(b"Bearer a\xff").unwrap(),
        );
        assert_eq!(from_headers(&headers, false).unwrap_err(), Malformed);
    }

    #[test]
    fn a22_the_bearer_subprotocol_counts_on_websocket_upgrades_only() {
        use CredentialError::{Malformed, Missing, NoOtherProtocol, Several, TwoPlaces};
        let token = &format!("{BEARER_PROTOCOL_PREFIX}YS5iLmM"); // a.b.c
        let padded = &format!("{BEARER_PROTOCOL_PREFIX}YS5iLg=="); // a.b.
        let trailing_bits = &format!("{BEARER_PROTOCOL_PREFIX}YS5iLh"); // the last character has bits to spare
        let blank = &format!("{BEARER_PROTOCOL_PREFIX}YSBi"); // `a b`
        let empty = &BEARER_PROTOCOL_PREFIX.to_owned();
        let v4 = "v4.channel.k8s.io";
        let cases: [(Vec<String>, Result<&str, CredentialError>); 12] = [
            (vec![format!("{v4}, {token}")], Ok("a.b.c")),
            (vec![format!("{token},{v4}")], Ok("a.b.c")),
            (vec![token.clone(), v4.to_owned()], Ok("a.b.c")),
            (vec![token.clone()], Err(NoOtherProtocol)),
            (vec![format!("{token}, ,")], Err(NoOtherProtocol)),
            (vec![format!("{v4},{token},{token}")], Err(Several)),
            (vec![format!("{v4},{token}"), token.clone()], Err(Several)),
            (vec![format!("{v4},{padded}")], Err(Malformed)),
            (vec![format!("{v4},{trailing_bits}")], Err(Malformed)),
            (vec![format!("{v4},{blank}")], Err(Malformed)),
            (vec![format!("{v4},{empty}")], Err(Malformed)),
            (vec![v4.to_owned()], Err(Missing)),
        ];
        for (values, expected) in cases {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            assert_eq!(
                read(&[], &values, true),
                expected.map(str::to_owned),
                "{values:?}"
            );
            assert_eq!(
                read(&[], &values, false),
                Err(Missing),
                "{values:?} without an upgrade"
            );
        }
        let both = format!("{v4},{token}");
        assert_eq!(read(&["Bearer x.y.z"], &[&both], true), Err(TwoPlaces));
        assert!(TwoPlaces.is_bad_request());
        assert_eq!(
            read(&["Bearer x.y.z"], &[&both], false),
            Ok("x.y.z".to_owned())
        );
    }

    #[test]
    fn a23_other_places_are_not_looked_at() {
        let mut headers = HeaderMap::new();
        for name in [
            "cookie",
            "x-auth-token",
            "proxy-authorization",
            "x-forwarded-access-token",
        ] {
            headers.insert(name, HeaderValue::from_static("Bearer a.b.c"));
        }
        assert_eq!(
            from_headers(&headers, true).unwrap_err(),
            CredentialError::Missing
        );
    }

    #[test]
    fn a24_long_tokens_are_refused_before_they_are_decoded() {
        assert!(BearerToken::new(&"a".repeat(TOKEN_BYTES_MAX)).is_ok());
        assert_eq!(
            BearerToken::new(&"a".repeat(TOKEN_BYTES_MAX + 1)).unwrap_err(),
            CredentialError::TooLong
        );
        assert_eq!(
            BearerToken::new(&".".repeat(100_000)).unwrap_err(),
            CredentialError::TooLong
        );
        let long = format!(
            "v4.channel.k8s.io, {BEARER_PROTOCOL_PREFIX}{}",
            "YWFh".repeat(10_000)
        );
        assert_eq!(read(&[], &[&long], true), Err(CredentialError::TooLong));
    }

    #[test]
    fn a_token_never_prints() {
        assert!(!format!("{:?}", BearerToken::new("abc.def.ghi").unwrap()).contains("def"));
    }

    fn read(
        authorization: &[&str],
        protocols: &[&str],
        upgrade: bool,
    ) -> Result<String, CredentialError> {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        for value in protocols {
            headers.append(
                SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_str(value).unwrap(),
            );
        }
        from_headers(&headers, upgrade).map(|token| token.expose().to_owned())
    }
}
