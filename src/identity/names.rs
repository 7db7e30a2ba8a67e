//! Which strings may name someone.
//!
//! An identity string travels into policy, the audit log, approvals and, as an `Impersonate-*`
//! header, to the API server. A line feed there starts a new header and HTTP/1.1 trims blanks that
//! HTTP/2 keeps, so one string could be two identities. Strings for which that can happen, and
//! strings that look like another one to a human reader, are refused; nothing is trimmed, folded or
//! normalised, so what passes is compared byte for byte everywhere.

use thiserror::Error;

/// What is wrong with an identity string.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// The empty string would make the API server use the gateway's own identity.
    #[error("it is empty")]
    Empty,
    /// Longer than its limit.
    #[error("it is longer than {max} bytes")]
    TooLong {
        /// The limit in bytes.
        max: usize,
    },
    /// HTTP/1.1 trims these, HTTP/2 does not.
    #[error("it begins or ends with a blank")]
    OuterBlank,
    /// A control character, an invisible character or one that changes the direction of text.
    #[error("it contains the forbidden character U+{0:04X}")]
    Forbidden(u32),
    /// `system:` names are Kubernetes' own; the gateway never asserts one.
    #[error("it is, or resembles, a `system:` name, which only Kubernetes itself may use")]
    System,
}

/// Accepts `text` as (part of) an identity of at most `max` bytes.
pub(super) fn check(text: &str, max: usize) -> Result<(), NameError> {
    check_text(text, max)?;
    if resembles_system(text) {
        return Err(NameError::System);
    }
    Ok(())
}

/// As [`check`], for values that name nobody (uid, extra values): `system:` is not special there.
pub(super) fn check_text(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max {
        return Err(NameError::TooLong { max });
    }
    if text.starts_with(' ') || text.ends_with(' ') {
        return Err(NameError::OuterBlank);
    }
    match text.chars().find(|&character| is_forbidden(character)) {
        Some(character) => Err(NameError::Forbidden(u32::from(character))),
        None => Ok(()),
    }
}

/// Whether a human, a proxy or a decoder could take `text` for a `system:` name: case, blanks and
/// percent-encoding are ignored.
pub(super) fn resembles_system(text: &str) -> bool {
    let folded: String = percent_decoded(text)
        .chars()
        .filter(|character| !character.is_whitespace() && !is_forbidden(*character))
        .flat_map(char::to_lowercase)
        .take("system:".len())
        .collect();
    folded == "system:"
}

/// Percent-decodes until nothing changes, so that an encoded percent sign hides nothing.
fn percent_decoded(text: &str) -> String {
    let mut text = text.to_owned();
    loop {
        let decoded = percent_decoded_once(&text);
        if decoded == text {
            return text;
        }
        text = decoded;
    }
}

fn percent_decoded_once(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match after {
            [high, low, ..] if *first == b'%' => hex_pair(*high, *low),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// Control, format and invisible characters, and every blank but the ASCII space.
fn is_forbidden(character: char) -> bool {
    if character.is_control() || (character != ' ' && character.is_whitespace()) {
        return true;
    }
    matches!(
        character,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{070F}' | '\u{08E2}'   // soft hyphen, joiner, Arabic marks
        | '\u{0600}'..='\u{0605}' | '\u{06DD}' | '\u{0890}'..='\u{0891}' // Arabic number signs
        | '\u{115F}'..='\u{1160}' | '\u{3164}' | '\u{FFA0}'              // Hangul fillers: blank glyphs
        | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'              // Khmer, Mongolian invisibles
        | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'              // zero width, bidi
        | '\u{2060}'..='\u{206F}' | '\u{2800}'                           // joiners, bidi isolates, blank Braille
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFF0}'..='\u{FFFF}' // variation selectors, BOM, specials
        | '\u{110BD}' | '\u{110CD}' | '\u{13430}'..='\u{1345F}'          // format characters of old scripts
        | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'          // shorthand, music
        | '\u{E0000}'..='\u{E0FFF}'                                      // tags, variation selectors
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a14_ordinary_names_pass_unchanged() {
        for name in [
            "alice",
            "Alice Smith",
            "a@example.com",
            "oidc:alice",
            "josé",
            "jose\u{301}",
            "李",
            "a%41",
            "-",
        ] {
            assert_eq!(check(name, 256), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn a14_names_with_two_readings_are_refused() {
        let long = "a".repeat(257);
        let cases = [
            ("", NameError::Empty),
            (" ", NameError::OuterBlank),
            (" alice", NameError::OuterBlank),
            ("alice ", NameError::OuterBlank),
            ("\talice", NameError::Forbidden(9)),
            ("ali\tce", NameError::Forbidden(9)),
            ("alice\n", NameError::Forbidden(10)),
            ("alice\r\nImpersonate-Group: x", NameError::Forbidden(13)),
            ("a\0b", NameError::Forbidden(0)),
            ("a\u{7f}", NameError::Forbidden(0x7f)),
            ("a\u{85}", NameError::Forbidden(0x85)),
            ("a\u{a0}b", NameError::Forbidden(0xa0)),
            ("a\u{3000}", NameError::Forbidden(0x3000)),
            ("a\u{202e}b", NameError::Forbidden(0x202e)),
            ("a\u{2066}b", NameError::Forbidden(0x2066)),
            ("a\u{200b}b", NameError::Forbidden(0x200b)),
            ("\u{feff}alice", NameError::Forbidden(0xfeff)),
            ("a\u{e0061}", NameError::Forbidden(0xe_0061)),
            (&long, NameError::TooLong { max: 256 }),
        ];
        for (name, expected) in cases {
            assert_eq!(check(name, 256), Err(expected), "{name:?}");
        }
    }

    #[test]
    fn a15_a16_system_names_and_what_resembles_them() {
        for name in [
            "system:admin",
            "system:masters",
            "system:",
            "System:Masters",
            "SYSTEM:nodes",
            "s ystem:masters",
            "system :masters",
            "system%3Amasters",
            "%73ystem:masters",
            "system%253amasters",
            "%%37%33ystem:masters",
            "system:serviceaccount:kube-system:x",
        ] {
            assert_eq!(check(name, 256), Err(NameError::System), "{name:?}");
        }
        for name in [
            "systems:x",
            "system",
            "oidc:system:masters",
            "mysystem:x",
            "%",
            "100%",
            "%zz",
            "a%3",
        ] {
            assert_eq!(check(name, 256), Ok(()), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a14_accepted_names_hold_no_forbidden_byte(name in "\\PC*|.*|[ -~\\x00-\\x1f\u{80}-\u{2fff}]{0,40}") {
            if check(&name, 256).is_ok() {
                prop_assert!(!name.bytes().any(|byte| byte < b' ' || byte == 0x7f), "control byte");
                prop_assert_eq!(name.trim(), name.as_str());
                prop_assert!(http::HeaderValue::from_str(&name).is_ok());
                prop_assert!(!name.to_lowercase().starts_with("system:"));
                let invisible = ['\u{200b}', '\u{202e}', '\u{feff}', '\u{2028}', '\u{ad}', '\u{2066}'];
                prop_assert!(!name.contains(invisible), "invisible");
            }
        }

        #[test]
        fn a16_no_spelling_of_system_masters_passes(spelling in spelled("system:masters")) {
            prop_assert!(check(&spelling, 1024).is_err(), "{:?}", spelling);
        }
    }

    /// `text` with random case, percent-encoding and blanks.
    fn spelled(text: &'static str) -> impl Strategy<Value = String> {
        prop::collection::vec(0_u8..5, text.len()).prop_map(move |choices| {
            text.chars()
                .zip(choices)
                .map(|(character, choice)| match choice {
                    0 => character.to_string(),
                    1 => character.to_uppercase().to_string(),
                    2 => format!("%{:02x}", u32::from(character)),
                    3 => format!(" {character}"),
                    _ => format!("\u{200d}{character}"),
                })
                .collect()
        })
    }
}
