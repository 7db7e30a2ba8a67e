//! A login by authorization code with PKCE: what the browser is sent with, and what it comes back with (OIDC Core
//! §3.1.2, RFC 7636, RFC 9207). Pure, apart from random numbers.

use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use super::Refused;

/// One login that is under way: what must not be known to anybody but the client.
#[derive(Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Comes back with the browser.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// Shows that whoever has the code began the login (RFC 7636 §4.1).
    pub verifier: String,
    /// Where the browser comes back to.
    pub redirect_uri: String,
}

/// What the browser must bring.
#[derive(Clone, Copy, Debug)]
pub struct Awaited<'a> {
    /// The `state` of the attempt.
    pub state: &'a str,
    /// The provider.
    pub issuer: &'a str,
    /// Whether the provider always names itself in its answer (RFC 9207 §2.3).
    pub issuer_is_told: bool,
}

/// What the browser brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// The answer to this login.
    Code(String),
    /// The provider's no to this login.
    Refused(String),
    /// Something else.
    Stray(&'static str),
}

impl Attempt {
    /// A new one, with new random texts.
    pub fn new(redirect_uri: impl Into<String>) -> Result<Self, NoRandomNumbers> {
        Ok(Self {
            state: random_text()?,
            nonce: random_text()?,
            verifier: random_text()?,
            redirect_uri: redirect_uri.into(),
        })
    }

    /// The address for the browser.
    pub(super) fn url(
        &self,
        endpoint: &str,
        client_id: &str,
        more: Vec<(String, String)>,
    ) -> String {
        let challenge = digest::digest(&digest::SHA256, self.verifier.as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(challenge);
        let mut query = pairs(&[
            ("response_type", "code"),
            ("client_id", client_id),
            ("redirect_uri", &self.redirect_uri),
            ("state", &self.state),
            ("nonce", &self.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        query.extend(more);
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        format!("{endpoint}{joint}{}", form_text(&query))
    }

    /// The form that a code is exchanged with.
    #[must_use]
    pub fn form(&self, code: &str) -> Vec<(String, String)> {
        pairs(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", &self.verifier),
        ])
    }
}

impl Awaited<'_> {
    /// Reads the query that the browser came back with.
    #[must_use]
    pub fn read(&self, query: &str) -> Came {
        let Some(query) = parameters(query) else {
            return Came::Stray("This answer cannot be read.");
        };
        let mut twice = false;
        let mut get = |name: &str| {
            let mut values = query.iter().filter(|(key, _)| key == name);
            let value = values.next().map(|(_, value)| value.as_str());
            twice |= values.next().is_some();
            value
        };
        let (state, issuer) = (get("state"), get("iss"));
        let (code, error) = (get("code"), get("error"));
        let description = get("error_description");
        let ours = state.is_some_and(|state| state.as_bytes().ct_eq(self.state.as_bytes()).into());
        if !ours || twice {
            return Came::Stray(
                "This is not the answer to the login that waits here. Start it again.",
            );
        }
        // RFC 9207 §2.4: an answer of another provider (a mix-up) is for that one to see only.
        match issuer {
            Some(issuer) if issuer != self.issuer => {
                return Came::Refused("the answer is another provider's".to_owned());
            }
            None if self.issuer_is_told => {
                return Came::Refused("the answer does not say whose it is (`iss`)".to_owned());
            }
            _ => {}
        }
        match (code, error) {
            (Some(code), None) if !code.is_empty() => Came::Code(code.to_owned()),
            (None, Some(error)) => {
                let refused = Refused {
                    error: error.to_owned(),
                    error_description: description.map(str::to_owned),
                };
                Came::Refused(refused.without(&[]).to_string())
            }
            _ => Came::Stray("This answer has neither a code nor an error."),
        }
    }
}

/// This machine gives no random numbers.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this machine gives no random numbers")]
pub struct NoRandomNumbers;

/// 256 random bits as text that fits into URLs and cookies.
pub fn random_text() -> Result<String, NoRandomNumbers> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| NoRandomNumbers)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// As forms have it (`application/x-www-form-urlencoded`).
#[must_use]
pub fn form_text(pairs: &[(String, String)]) -> String {
    let pair = |(name, value): &(String, String)| format!("{}={}", encoded(name), encoded(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// A text as part of a path, a query or a form (RFC 3986 §2.3).
#[must_use]
pub fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                let digit = char::from_digit(u32::from(digit), 16).unwrap_or('0');
                out.push(digit.to_ascii_uppercase());
            }
        }
    }
    out
}

/// The pairs of a query or a form; `None` if one is not percent-encoded UTF-8.
#[must_use]
pub fn parameters(query: &str) -> Option<Vec<(String, String)>> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_texts_are_long_and_never_the_same() {
        let texts: std::collections::BTreeSet<String> =
            (0..100).map(|_| random_text().unwrap()).collect();
        assert_eq!(texts.len(), 100);
        // RFC 7636 §4.1: 43 characters are the least for a verifier.
        assert!(texts.iter().all(|text| text.len() == 43));
    }

    #[test]
    fn a_browser_is_sent_with_the_challenge_and_never_with_the_verifier() {
        let attempt = Attempt::new("https://gw.test/callback").unwrap();
        let url = attempt.url("https://issuer.test/auth?p=1", "console", Vec::new());
        assert!(
            url.starts_with("https://issuer.test/auth?p=1&response_type=code&"),
            "{url}"
        );
        for part in ["code_challenge_method=S256", "redirect_uri=https%3A%2F%2F"] {
            assert!(url.contains(part), "{url}");
        }
        assert!(!url.contains(&attempt.verifier), "{url}");
        // RFC 7636, appendix B.
        let attempt = Attempt {
            verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned(),
            ..attempt
        };
        let url = attempt.url("https://issuer.test/auth", "console", Vec::new());
        assert!(url.contains("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"));
    }
}
