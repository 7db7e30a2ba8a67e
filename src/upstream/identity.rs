//! Whom a request is made for, in the form the API server reads: impersonation headers.
//!
//! Invariant: an [`UpstreamIdentity`] names exactly one non-empty user, but for the gateway's own errands,
//! and every string in it reads the same over HTTP/1.1 and HTTP/2. An API server that finds impersonation headers empty, blank or
//! missing runs the request *as the gateway*, so a string that could change its meaning on the way is
//! refused, never repaired.

use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

use crate::identity::Identity;
use crate::policy::Permit;

/// Extra keys under this domain are the gateway's own; a token's claims may not fill them.
const GATEWAY_DOMAIN: &str = "portcullis.dev";

const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");
const IMPERSONATE_UID: HeaderName = HeaderName::from_static("impersonate-uid");
const IMPERSONATE_GROUP: HeaderName = HeaderName::from_static("impersonate-group");
/// `portcullis.dev/request-id`, which every request has.
const REQUEST_ID: HeaderName =
    HeaderName::from_static("impersonate-extra-portcullis.dev%2frequest-id");
const IMPERSONATE_EXTRA_PREFIX: &str = "impersonate-extra-";

/// The validated impersonation headers of one request. No request leaves without one.
#[derive(Debug)]
pub(super) struct UpstreamIdentity {
    lines: Vec<(HeaderName, HeaderValue)>,
}

/// A string of the identity that cannot be sent upstream without a doubt about its meaning.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the caller's {what} cannot be passed to the API server: {why}")]
pub struct IdentityRefused {
    what: &'static str,
    why: &'static str,
}

impl UpstreamIdentity {
    /// The identity behind a decision, the only one a request can be sent with.
    pub(super) fn of(permit: &Permit, request_id: &str) -> Result<Self, IdentityRefused> {
        let mut identity = Self::new(permit.identity(), request_id)?;
        for grant in permit.grants() {
            let lines = &mut identity.lines;
            push_extra(lines, "portcullis.dev/grant", [grant.id()])?;
            push_extra(lines, "portcullis.dev/role", [grant.role()])?;
            let by = grant.answers().iter();
            let by = by.map(|answer| answer.by.user.as_str());
            push_extra(lines, "portcullis.dev/granted-by", by)?;
        }
        if let Some(admission) = permit.admission() {
            let lines = &mut identity.lines;
            push_extra(lines, "portcullis.dev/approval", [admission.id()])?;
            for answer in admission.answers() {
                push_extra(
                    lines,
                    "portcullis.dev/approved-by",
                    [answer.by.user.as_str()],
                )?;
                let at = answer.at.to_string();
                push_extra(lines, "portcullis.dev/approved-at", [at.as_str()])?;
                // Words that cannot be a header's value are in the gateway's own audit log.
                if checked("reason", &answer.reason).is_ok() {
                    push_extra(
                        lines,
                        "portcullis.dev/approval-reason",
                        [answer.reason.as_str()],
                    )?;
                }
            }
        }
        Ok(identity)
    }

    /// The gateway itself, for its own errands: whoever else asked would have the gateway's rights.
    pub(super) fn gateway() -> Self {
        Self { lines: Vec::new() }
    }

    /// `request_id` lets the cluster's audit log be joined with ours.
    fn new(identity: &Identity, request_id: &str) -> Result<Self, IdentityRefused> {
        let mut lines = vec![(
            IMPERSONATE_USER,
            principal("username", identity.username())?,
        )];
        for group in identity.groups() {
            lines.push((IMPERSONATE_GROUP, principal("group", group)?));
        }
        if let Some(uid) = identity.uid() {
            lines.push((IMPERSONATE_UID, checked("uid", uid)?));
        }
        for (key, values) in identity.extra() {
            if is_reserved(key) {
                return Err(IdentityRefused {
                    what: "extra attribute",
                    why: "its key belongs to Kubernetes or to the gateway",
                });
            }
            push_extra(&mut lines, key, values.iter().map(String::as_str))?;
        }
        if let Some(agent) = identity.agent() {
            push_extra(&mut lines, "portcullis.dev/agent", [agent.name.as_str()])?;
            let chain = agent.chain.iter().map(String::as_str);
            push_extra(&mut lines, "portcullis.dev/agent-chain", chain)?;
        }
        lines.push((REQUEST_ID, checked("extra attribute", request_id)?));
        Ok(Self { lines })
    }

    /// Writes the identity, one line per value and in order, into a header list that has none yet.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.lines {
            headers.append(name.clone(), value.clone());
        }
    }
}

fn push_extra<'a>(
    lines: &mut Vec<(HeaderName, HeaderValue)>,
    key: &str,
    values: impl IntoIterator<Item = &'a str>,
) -> Result<(), IdentityRefused> {
    let name = extra_name(key)?;
    for value in values {
        lines.push((name.clone(), checked("extra attribute", value)?));
    }
    Ok(())
}

/// A username or a group: additionally never one of Kubernetes' own.
fn principal(what: &'static str, text: &str) -> Result<HeaderValue, IdentityRefused> {
    let value = checked(what, text)?;
    let head = text.as_bytes().get(.."system:".len());
    if head.is_some_and(|head| head.eq_ignore_ascii_case(b"system:")) {
        let why = "names that start with `system:` are reserved for Kubernetes";
        return Err(IdentityRefused { what, why });
    }
    Ok(value)
}

/// One function for both protocols: HTTP/1.1 trims blanks that HTTP/2 keeps, and a line break would
/// start a new header.
fn checked(what: &'static str, text: &str) -> Result<HeaderValue, IdentityRefused> {
    let refuse = |why| Err(IdentityRefused { what, why });
    if text.is_empty() {
        return refuse("it is empty");
    }
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return refuse("it starts or ends with a blank");
    }
    if text.chars().any(|c| c.is_control() || is_invisible(c)) {
        return refuse("it contains control or invisible characters");
    }
    HeaderValue::from_str(text).or_else(|_| {
        HeaderValue::from_bytes(text.as_bytes())
            .or_else(|_| refuse("it contains characters that HTTP does not allow"))
    })
}

/// Marks, joiners and direction controls: invisible to whoever reads a policy or an audit line.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Kubernetes reserves these domains in its own `AuthenticationConfiguration`: admission plugins and
/// the service account machinery believe what stands there.
fn is_reserved(key: &str) -> bool {
    let domain = key
        .split('/')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    ["kubernetes.io", "k8s.io", GATEWAY_DOMAIN]
        .iter()
        .any(|&reserved| {
            domain
                .strip_suffix(reserved)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
}

/// The header name of an extra key. The API server lower-cases the name first and percent-decodes it
/// second, so upper-case letters survive only when encoded.
fn extra_name(key: &str) -> Result<HeaderName, IdentityRefused> {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let refuse = |why| IdentityRefused {
        what: "extra attribute",
        why,
    };
    if key.is_empty() {
        return Err(refuse("its key is empty"));
    }
    let mut name = IMPERSONATE_EXTRA_PREFIX.as_bytes().to_vec();
    for &byte in key.as_bytes() {
        if is_plain_key_byte(byte) {
            name.push(byte);
        } else {
            let hex = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            name.extend([b'%', hex(byte >> 4), hex(byte & 15)]);
        }
    }
    HeaderName::from_bytes(&name).map_err(|_| refuse("its key is too long for a header name"))
}

/// Token characters of RFC 9110 without `%` and without upper-case letters.
fn is_plain_key_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase()
        || byte.is_ascii_digit()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(identity: &Identity) -> Result<Vec<(String, String)>, IdentityRefused> {
        let mut headers = HeaderMap::new();
        UpstreamIdentity::new(identity, "r-1")?.write(&mut headers);
        Ok(headers
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8(value.as_bytes().to_vec()).unwrap();
                (name.to_string(), value)
            })
            .collect())
    }

    #[test]
    fn writes_one_line_for_each_value() {
        let identity = Identity::for_tests("alice", &["devs", "a,b"])
            .with_uid("42")
            .with_extra("example.com/Team", &["red", "blue"])
            .with_agent("bot", &["outer"]);
        let mut lines = lines(&identity).unwrap();
        lines.sort();
        let expected = [
            ("impersonate-extra-example.com%2f%54eam", "blue"),
            ("impersonate-extra-example.com%2f%54eam", "red"),
            ("impersonate-extra-portcullis.dev%2fagent", "bot"),
            ("impersonate-extra-portcullis.dev%2fagent-chain", "outer"),
            ("impersonate-extra-portcullis.dev%2frequest-id", "r-1"),
            ("impersonate-group", "a,b"),
            ("impersonate-group", "devs"),
            ("impersonate-uid", "42"),
            ("impersonate-user", "alice"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(lines, expected);
    }

    #[test]
    fn b03_b04_refuses_every_string_that_could_change_its_meaning() {
        let bad = [
            "",
            " ",
            "\t",
            " alice",
            "alice ",
            "\u{a0}alice",
            "a\nb",
            "a\r\nImpersonate-Group: system:masters",
            "a\0b",
            "a\tb",
            "a\u{7f}b",
            "a\u{85}b",
            "a\u{200b}b",
            "a\u{202e}b",
            "\u{feff}a",
        ];
        for text in bad {
            assert!(
                lines(&Identity::for_tests(text, &[])).is_err(),
                "user {text:?}"
            );
            assert!(
                lines(&Identity::for_tests("alice", &["devs", text])).is_err(),
                "group {text:?}"
            );
            assert!(
                lines(&Identity::for_tests("alice", &[]).with_uid(text)).is_err(),
                "uid {text:?}"
            );
            let extra = Identity::for_tests("alice", &[]).with_extra("example.com/x", &[text]);
            assert!(lines(&extra).is_err(), "extra {text:?}");
            assert!(
                lines(&Identity::for_tests("alice", &[]).with_agent(text, &[])).is_err(),
                "agent {text:?}"
            );
        }
        for text in [
            "system:masters",
            "System:masters",
            "system:",
            "system:serviceaccount:kube-system:x",
        ] {
            assert!(
                lines(&Identity::for_tests(text, &[])).is_err(),
                "user {text}"
            );
            assert!(
                lines(&Identity::for_tests("alice", &[text])).is_err(),
                "group {text}"
            );
        }
        assert!(lines(&Identity::for_tests("systemd", &["my:system:masters"])).is_ok());
        assert!(lines(&Identity::for_tests("josé müller", &["команда"])).is_ok());
    }

    #[test]
    fn extra_keys_of_kubernetes_and_of_the_gateway_are_reserved() {
        for key in [
            "",
            "kubernetes.io/x",
            "authentication.kubernetes.io/node-name",
            "k8s.io/x",
            "a.k8s.io/x",
            "portcullis.dev/agent",
            "sub.Portcullis.dev/agent",
        ] {
            let identity = Identity::for_tests("alice", &[]).with_extra(key, &["v"]);
            assert!(lines(&identity).is_err(), "{key}");
        }
        let fine = Identity::for_tests("alice", &[]).with_extra("notk8s.io/x", &["v"]);
        assert!(lines(&fine).is_ok());
    }

    /// What Go does with the name: lower-case, then percent-decode.
    fn decode(name: &str) -> Vec<u8> {
        let mut bytes = name.strip_prefix(IMPERSONATE_EXTRA_PREFIX).unwrap().bytes();
        let mut out = Vec::new();
        while let Some(byte) = bytes.next() {
            if byte == b'%' {
                let digit = |b: u8| u8::try_from(char::from(b).to_digit(16).unwrap()).unwrap();
                let high = digit(bytes.next().unwrap());
                out.push(high << 4 | digit(bytes.next().unwrap()));
            } else {
                out.push(byte);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn an_extra_key_arrives_as_it_was(key in "\\PC{1,40}") {
            let name = extra_name(&key).unwrap();
            prop_assert_eq!(decode(&name.as_str().to_ascii_lowercase()), key.into_bytes());
        }

        #[test]
        fn b04_arbitrary_identity_bytes_never_add_a_line(user in any::<String>(), group in any::<String>()) {
            if let Ok(lines) = lines(&Identity::for_tests(&user, &[&group])) {
                // On the wire of HTTP/1.1, as a lenient reader sees it: split at bare LF, trimmed.
                let lines_of = lines.iter().map(|(name, value)| [name.as_str(), ": ", value, "\n"].concat());
                let wire: String = lines_of.collect();
                let read: Vec<_> = wire
                    .split_terminator('\n')
                    .map(|line| line.split_once(':').unwrap())
                    .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                    .collect();
                prop_assert_eq!(read, lines);
            }
        }
    }
}
