//! Finds placeholders however they are wrapped: base64 at any alignment and up to three times,
//! escapes of JSON and YAML, percent-encoding, line breaks, any case.

use std::borrow::Cow;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use regex::bytes::{Regex, RegexBuilder};

use crate::limits::PLACEHOLDER_DECODINGS_MAX;
use crate::transform::placeholder::FAMILY;

/// How many times a placeholder may be encoded when it is only part of a value.
const BASE64_LEVELS: usize = 3;

/// The family's prefix, plain and as it looks inside base64. `None` would mean a faulty constant;
/// then everything is a placeholder and every test fails.
static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let mut forms = vec![FAMILY.to_owned()];
    let mut latest = forms.clone();
    for _ in 0..BASE64_LEVELS {
        latest = latest.iter().flat_map(|form| inside_base64(form)).collect();
        forms.extend(latest.iter().cloned());
    }
    forms.sort();
    forms.dedup();
    let forms: Vec<String> = forms.iter().map(|form| regex::escape(form)).collect();
    RegexBuilder::new(&forms.join("|"))
        .case_insensitive(true)
        .unicode(false)
        .build()
        .ok()
});

/// Decodes with or without padding, and whatever the last bits say.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Does `text` hold a placeholder of any gateway?
pub(super) fn holds_placeholder(text: &[u8]) -> bool {
    let Some(pattern) = PATTERN.as_ref() else {
        return true;
    };
    let mut text = Cow::Borrowed(text);
    for _ in 0..=PLACEHOLDER_DECODINGS_MAX {
        if pattern.is_match(&text) {
            return true;
        }
        let mut decoded = None;
        for undo in [unescape, percent_decode, without_blanks, base64_decode] {
            if let Some(changed) = undo(decoded.as_deref().unwrap_or(&text)) {
                if pattern.is_match(&changed) {
                    return true;
                }
                decoded = Some(changed);
            }
        }
        match decoded {
            Some(changed) => text = Cow::Owned(changed),
            None => return false,
        }
    }
    false
}

/// The characters that base64 of any text with `form` inside certainly holds, by alignment.
fn inside_base64(form: &str) -> Vec<String> {
    let whole = |skip: usize| {
        let rest = form.as_bytes().get(skip..).unwrap_or_default();
        let whole = rest.get(..rest.len() - rest.len() % 3).unwrap_or_default();
        STANDARD.encode(whole)
    };
    (0..3).map(whole).collect()
}

/// Undoes the escapes of JSON and of double-quoted YAML, leniently.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    if !text.contains(&b'\\') {
        return None;
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, escape) = rest.split_at(at);
        plain.extend_from_slice(before);
        let (digits, length) = match escape.get(1) {
            None => break,
            Some(b'x') => (2, 4),
            Some(b'u') => (4, 6),
            Some(b'U') => (8, 10),
            Some(b'\r' | b'\n') => {
                let next = escape.get(1..).unwrap_or_default().trim_ascii_start();
                rest = next;
                continue;
            }
            Some(byte) => {
                plain.push(match byte {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    other => *other,
                });
                (0, 2)
            }
        };
        if digits > 0 {
            let code = escape.get(2..2 + digits).and_then(hexadecimal);
            let character = code.and_then(char::from_u32).unwrap_or('\u{fffd}');
            plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        rest = escape.get(length..).unwrap_or_default();
    }
    plain.extend_from_slice(rest);
    Some(plain)
}

fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.contains(&b'%') {
        return None;
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let code = (*byte == b'%').then(|| after.get(..2).and_then(hexadecimal));
        if let Some(Some(code)) = code {
            plain.push(u8::try_from(code).unwrap_or_default());
            rest = after.get(2..).unwrap_or_default();
        } else {
            plain.push(*byte);
            rest = after;
        }
    }
    (plain.len() != text.len()).then_some(plain)
}

fn without_blanks(text: &[u8]) -> Option<Vec<u8>> {
    if !text.iter().any(u8::is_ascii_whitespace) {
        return None;
    }
    let solid = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    Some(solid.copied().collect())
}

/// The decoded text, if all of it is base64 of either alphabet.
fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() < FAMILY.len() {
        return None;
    }
    [&alphabet::STANDARD, &alphabet::URL_SAFE]
        .into_iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(text).ok())
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok()?;
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE};

    use super::*;
    use crate::transform::Placeholders;

    fn placeholder() -> String {
        Placeholders::new(&[9; 32]).of("x").text().to_owned()
    }

    fn spell(text: &str, form: fn(u8) -> String) -> String {
        text.bytes().map(form).collect::<Vec<_>>().concat()
    }

    fn encode(text: &str, times: usize) -> String {
        (0..times).fold(text.to_owned(), |text, _| STANDARD.encode(text))
    }

    #[test]
    fn c_82_every_wrapping_is_undone() {
        let text = placeholder();
        let escaped = spell(&text, |byte| format!("\\u{byte:04X}"));
        let hexed = spell(&text, |byte| format!("\\x{byte:02x}"));
        let percent = spell(&text, |byte| format!("%{byte:02X}"));
        let folded = encode(&text, 1)
            .as_bytes()
            .chunks(5)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect::<Vec<_>>()
            .join("\n  ");
        for hidden in [
            text.clone(),
            format!("postgres://u:{text}@db\n"),
            text.to_uppercase(),
            escaped.clone(),
            hexed,
            percent,
            folded,
            text.replace("sked", "s\\\n   ked"),
            serde_json::to_string(&serde_json::to_string(&escaped).unwrap()).unwrap(),
            STANDARD_NO_PAD.encode(format!("\u{3ff}{text}")),
            URL_SAFE.encode(format!("\u{3ff}\u{fffe}{escaped}")),
            encode(&escaped, 3),
            encode(&text, 4),
            encode(&text, 1).to_lowercase(),
            format!("password: {}", encode(&text, 3)),
        ] {
            assert!(holds_placeholder(hidden.as_bytes()), "{hidden}");
        }
        for level in 1..=3 {
            for shift in ["", "a", "ab"] {
                let inside = (0..level).fold(text.clone(), |text, _| {
                    STANDARD.encode(format!("{shift}{text}{shift}"))
                });
                let hidden = format!("key: \"{inside}\" more text");
                assert!(holds_placeholder(hidden.as_bytes()), "{level} {shift}");
            }
        }
    }

    #[test]
    fn ordinary_text_is_none() {
        for text in [
            "",
            "[masked]",
            "[masked:",
            "masked:v1:",
            "100% of \\values\\ \\",
            "W21hc2tlZA==",
            "\\u12",
            "%",
            "%+1",
        ] {
            assert!(!holds_placeholder(text.as_bytes()), "{text}");
        }
        let noise: Vec<u8> = (0..100_000_u32)
            .map(|number| (number * 7 % 251) as u8)
            .collect();
        assert!(!holds_placeholder(&noise));
        assert!(!holds_placeholder(STANDARD.encode(&noise).as_bytes()));
    }
}
