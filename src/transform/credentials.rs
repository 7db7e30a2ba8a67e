//! Finds what looks like a credential in a text: keys, tokens, URLs with passwords, `password=` pairs.
//!
//! Pure and linear in the text, so that streams of text can use it too. Patterns err on the side of
//! masking where a name says what the value is, and ask for a form where only the value does.

use std::ops::Range;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use crate::policy::mask::Look;

/// Names of which the value is a credential, whatever it looks like.
const NAMES: &str = r"(?:password|passwd|passphrase|pwd|secret|token|credentials?|(?:api|access|private|secret|account|signing|encryption)[_-]?key)";

/// Each hides its groups, or all it matches if it has none. `NAMES` stands for the names above.
const PATTERNS: [&str; 18] = [
    // Private keys in PEM, also those that are cut off.
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
    // postgres://user:password@host
    r#"[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@"'<>]*:([^\s/@"'<>]+)@"#,
    // JSON web tokens
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    // AWS
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    // Google
    r"\bAIza[0-9A-Za-z_-]{35}",
    r"\bya29\.[0-9A-Za-z_-]{20,}",
    // Azure
    r"(?i)(?:AccountKey|SharedAccessKey)=([A-Za-z0-9+/]{16,}={0,2})",
    r"(?i)[?&]sig=([A-Za-z0-9%+/=_-]{16,})",
    // GitHub, GitLab, Slack, Stripe
    r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{20,})",
    r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    r"hooks\.slack\.com/services/([A-Za-z0-9/]+)",
    r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{10,}",
    // kubeconfig, docker configuration
    r#"client-key-data["'\\]*\s*:\s*["'\\]*([A-Za-z0-9+/=]+)"#,
    r#""auth\\?"\s*:\s*\\?"([A-Za-z0-9+/=]+)"#,
    // Authorization: Bearer
    r"(?i)\b(?:bearer|basic)\s+([A-Za-z0-9._~+/=-]{8,})",
    // password=..., "token": "...", and blocks of YAML
    r#"(?i)[\w.-]*NAMES\\?["']?\s*[:=]\s*(?:[|>][-+]?\s*\n\s*([^\n]+)|\\?"((?:[^"\\\n]|\\[^"])+)|'([^'\n]+)|([^\s"'\\,;&|>{}\[\]()][^\s"',;&]*))"#,
    // --password ... within a command line
    r#"(?i)(?:^|\s)--?[\w-]*NAMES\s+["']?([^\s"'-][^\s"']*)"#,
    // curl -u user:password
    r#"(?:^|\s)(?:-u|--user)[\s=]+["']?[^\s:"']+:([^\s"']+)"#,
];

/// A flag whose value is the next argument.
const FLAG: &str = r"(?i)^--?[\w-]*NAMES$";

/// What stands for a value, and is none.
const REFERENCES: [&[u8]; 4] = [b"$(", b"${", b"{{", b"[masked"];

/// Words that are no credential although their name says so.
const WORDS: [&[u8]; 6] = [b"true", b"false", b"null", b"none", b"nil", b"~"];

/// Bytes all patterns may have together when compiled.
const COMPILED_BYTES_MAX: usize = 16 << 20;

/// Shortest text that is decoded to be looked into.
const BASE64_BYTES_MIN: usize = 24;

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// `None` would mean a faulty constant: then all is a credential, and every test fails.
static COMPILED: LazyLock<Option<Compiled>> = LazyLock::new(Compiled::new);

struct Compiled {
    /// Which patterns are worth looking for.
    any: RegexSet,
    each: Vec<Regex>,
    flag: Regex,
}

impl Compiled {
    fn new() -> Option<Self> {
        let text = |pattern: &str| pattern.replace("NAMES", NAMES);
        let one = |pattern: &str| {
            let mut builder = RegexBuilder::new(&text(pattern));
            builder
                .unicode(false)
                .size_limit(COMPILED_BYTES_MAX)
                .build()
                .ok()
        };
        Some(Self {
            any: RegexSetBuilder::new(PATTERNS.map(text))
                .unicode(false)
                .size_limit(COMPILED_BYTES_MAX)
                .build()
                .ok()?,
            each: PATTERNS.into_iter().map(one).collect::<Option<_>>()?,
            flag: one(FLAG)?,
        })
    }
}

/// What of a text is to be hidden.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Found {
    Nothing,
    /// These parts, in order, apart from each other.
    Parts(Vec<Range<usize>>),
    /// All of it.
    Whole,
}

/// Looks at a whole value. `after_flag` says that the argument before it was [`is_flag`].
pub(super) fn look(text: &[u8], look: Look, after_flag: bool) -> Found {
    if look == Look::Argument && after_flag && !text.is_empty() {
        return Found::Whole;
    }
    if hides(text) {
        return Found::Whole;
    }
    match parts(text) {
        parts if parts.is_empty() => Found::Nothing,
        _ if look == Look::Binary => Found::Whole,
        parts => Found::Parts(parts),
    }
}

/// Is the next argument a credential?
pub(super) fn is_flag(argument: &[u8]) -> bool {
    COMPILED
        .as_ref()
        .is_none_or(|patterns| patterns.flag.is_match(argument))
}

/// Is it base64 of a text with a credential in it, or of something compressed, such as a Helm release?
fn hides(text: &[u8]) -> bool {
    let solid: Vec<u8> = text
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .copied()
        .collect();
    if solid.len() < BASE64_BYTES_MIN {
        return false;
    }
    let Ok(decoded) = STANDARD.decode(solid) else {
        return false;
    };
    decoded.starts_with(GZIP_MAGIC) || !parts(&decoded).is_empty() || hides(&decoded)
}

/// The parts of a text that look like credentials, in order.
fn parts(text: &[u8]) -> Vec<Range<usize>> {
    let Some(patterns) = COMPILED.as_ref() else {
        return std::iter::once(0..text.len()).collect();
    };
    let mut parts = Vec::new();
    let matching = patterns.any.matches(text);
    for pattern in matching.iter().filter_map(|place| patterns.each.get(place)) {
        for found in pattern.captures_iter(text) {
            let groups = found.iter().skip(1).flatten();
            let whole = if pattern.captures_len() == 1 {
                found.get(0)
            } else {
                None
            };
            for part in groups.chain(whole) {
                let value = part.as_bytes();
                let reference = REFERENCES.iter().any(|mark| value.starts_with(mark));
                let word = WORDS.iter().any(|word| value.eq_ignore_ascii_case(word));
                if !reference && !word {
                    parts.push(part.range());
                }
            }
        }
    }
    parts.sort_by_key(|part| part.start);
    let mut apart: Vec<Range<usize>> = Vec::with_capacity(parts.len());
    for part in parts {
        match apart.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => apart.push(part),
        }
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &str) -> Vec<&str> {
        match look(text.as_bytes(), Look::Text, false) {
            Found::Nothing => Vec::new(),
            Found::Parts(parts) => parts
                .into_iter()
                .filter_map(|part| text.get(part))
                .collect(),
            Found::Whole => vec![text],
        }
    }

    #[test]
    fn c_45_credentials_are_found_where_they_stand() {
        let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----";
        let cut = "-----BEGIN PRIVATE KEY-----\nMIIE";
        let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl";
        for (text, expected) in [
            (format!("a\n{key}\nb"), vec![key]),
            (cut.to_owned(), vec![cut]),
            (
                "url: postgres://bob:s3cr3t@db:5432/x".to_owned(),
                vec!["s3cr3t"],
            ),
            ("redis://:s3cr3t@cache".to_owned(), vec!["s3cr3t"]),
            (format!("Authorization: Bearer {jwt}"), vec![jwt]),
            (format!("x {jwt} y"), vec![jwt]),
            (
                "id AKIAIOSFODNN7EXAMPLE.".to_owned(),
                vec!["AKIAIOSFODNN7EXAMPLE"],
            ),
            (
                "DefaultEndpointsProtocol=https;AccountKey=AbCdEfGhIjKlMnOpQrSt0123==;X=y"
                    .to_owned(),
                vec!["AbCdEfGhIjKlMnOpQrSt0123=="],
            ),
            (
                "ghp_0123456789abcdefghijABCDEFGHIJ".to_owned(),
                vec!["ghp_0123456789abcdefghijABCDEFGHIJ"],
            ),
            (
                "https://hooks.slack.com/services/T0/B0/xyz".to_owned(),
                vec!["T0/B0/xyz"],
            ),
            ("db.password=hunter2\nuser=bob".to_owned(), vec!["hunter2"]),
            ("password: hunter 2".to_owned(), vec!["hunter"]),
            ("password: \"hunter 2\"".to_owned(), vec!["hunter 2"]),
            (r#"{"apiKey":"a b","x":"y"}"#.to_owned(), vec!["a b"]),
            (r#"{\"token\":\"abc\",\"x\":1}"#.to_owned(), vec!["abc"]),
            (
                "password: |\n  hunter2\nuser: bob".to_owned(),
                vec!["hunter2"],
            ),
            ("curl -u bob:hunter2 https://x".to_owned(), vec!["hunter2"]),
            (
                "run --db-password hunter2 --port 1".to_owned(),
                vec!["hunter2"],
            ),
            (
                "users:\n- user:\n    client-key-data: LS0tLS1=\n".to_owned(),
                vec!["LS0tLS1="],
            ),
            (
                r#"{"auths":{"r":{"auth":"Ym9iOmh1bnRlcjI="}}}"#.to_owned(),
                vec!["Ym9iOmh1bnRlcjI="],
            ),
        ] {
            assert_eq!(hidden(&text), expected, "{text}");
        }
    }

    #[test]
    fn c_45_ordinary_text_is_left_alone() {
        for text in [
            "",
            "LOG_LEVEL=debug",
            "https://example.com:8443/path?x=1",
            "passwordFile: /run/secrets/db",
            "secretName: db",
            "token: $(TOKEN)",
            "password: ${DB_PASSWORD}",
            "password: {{ .Values.password }}",
            "automountServiceAccountToken: false",
            "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
            "Pulling image \"registry/app:1\"",
            "basic auth",
        ] {
            assert_eq!(hidden(text), Vec::<&str>::new(), "{text}");
        }
    }

    #[test]
    fn c_44_what_is_encoded_is_looked_into() {
        let kubeconfig = STANDARD.encode("users:\n- user:\n    token: hunter2-hunter2\n");
        assert_eq!(hidden(&kubeconfig), [kubeconfig.as_str()]);
        let twice = STANDARD.encode(&kubeconfig);
        assert_eq!(hidden(&twice), [twice.as_str()]);
        let release = STANDARD.encode([&[0x1f, 0x8b][..], &[7; 40]].concat());
        assert_eq!(hidden(&release), [release.as_str()]);
        let plain = STANDARD.encode("nothing of interest in here");
        assert_eq!(hidden(&plain), Vec::<&str>::new());
        let binary = look(b"password=hunter2", Look::Binary, false);
        assert_eq!(binary, Found::Whole);
    }

    #[test]
    fn c_45_the_argument_after_a_flag_is_its_value() {
        for flag in ["--password", "-token", "--db-api-key", "--Secret"] {
            assert!(is_flag(flag.as_bytes()), "{flag}");
        }
        for flag in [
            "--port",
            "password",
            "--password=x",
            "--password-file",
            "--tokens",
        ] {
            assert!(!is_flag(flag.as_bytes()), "{flag}");
        }
        assert_eq!(look(b"hunter2", Look::Argument, true), Found::Whole);
        assert_eq!(look(b"hunter2", Look::Argument, false), Found::Nothing);
        assert_eq!(
            look(b"--password=hunter2", Look::Argument, false),
            Found::Parts(std::iter::once(11..18).collect())
        );
    }
}
