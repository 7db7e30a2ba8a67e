//! The ways one value is written in logs, documents and commands.
//!
//! | form | where it comes from |
//! | --- | --- |
//! | raw | `echo $PASSWORD`, a file that is printed |
//! | JSON string, with and without `<`, `>`, `&` escaped (Go escapes them), and in ASCII (Python) | structured logs, API objects |
//! | base64 and base64url, at three alignments | manifests, `Authorization: Basic`, files in files |
//! | percent-encoded (RFC 3986), upper and lower case, space as `+` too | connection strings |
//! | hex, upper and lower case | dumps |

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

const STANDARD: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new());
const URL_SAFE: GeneralPurpose =
    GeneralPurpose::new(&alphabet::URL_SAFE, GeneralPurposeConfig::new());

/// What a placeholder must look like in the place of a form.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spelling {
    /// Any text may stand there.
    Text,
    /// Only base64 may stand there, of a length that keeps the rest aligned. The form begins so many
    /// characters before a group of four.
    Base64 { lead: u8 },
}

/// Values longer than this are neither percent-encoded nor in hex, to bound memory: keys and
/// documents are not found in connection strings and dumps.
const SHORT_BYTES_MAX: usize = 1024;

/// A line of a text of several lines is looked for by itself if it has so many bytes and no white
/// space, as the lines of a PEM key: logs put a time stamp before every line.
const LINE_BYTES_MIN: usize = 32;

/// Calls `with` for every distinct form of `value`, without its surrounding white space: files end
/// with a newline that is not printed with the value.
pub(super) fn each(value: &[u8], mut with: impl FnMut(&[u8], Spelling)) {
    let value = value.trim_ascii();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let mut form = |text: Vec<u8>, spelling| {
        if !seen.contains(&text) {
            with(&text, spelling);
            seen.push(text);
        }
    };
    form(value.to_vec(), Spelling::Text);
    if let Some(escaped) = json(value) {
        form(html_safe(&escaped).into_bytes(), Spelling::Text);
        form(ascii(&escaped).into_bytes(), Spelling::Text);
        form(escaped.into_bytes(), Spelling::Text);
    }
    for upper in [false, true] {
        if value.len() > SHORT_BYTES_MAX {
            break;
        }
        form(percent(value, "%20", upper).into_bytes(), Spelling::Text);
        form(percent(value, "+", upper).into_bytes(), Spelling::Text);
        form(hex(value, upper).into_bytes(), Spelling::Text);
    }
    for line in value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        if line.len() >= LINE_BYTES_MIN && !line.iter().any(u8::is_ascii_whitespace) {
            form(line.to_vec(), Spelling::Text);
        }
    }
    for engine in [&STANDARD, &URL_SAFE] {
        for (before, lead) in [(0, 0), (1, 2), (2, 1)] {
            for text in base64(engine, value, before) {
                form(text, Spelling::Base64 { lead });
            }
        }
    }
}

/// The value as base64 after `before` unknown bytes: once as it stands before more bytes, once at the
/// end of the input, with and without padding. Characters that depend on unknown bytes are left out.
fn base64(engine: &GeneralPurpose, value: &[u8], before: usize) -> Vec<Vec<u8>> {
    let mut input = vec![0; before];
    input.extend_from_slice(value);
    let padded = engine.encode(&input);
    let unknown = (before * 8).div_ceil(6);
    let known_at_end = padded.trim_end_matches('=').len();
    let known_before_more = input.len() * 8 / 6;
    // Of a long value the last characters say too little to keep it three times.
    let ends = if value.len() > SHORT_BYTES_MAX {
        &[padded.len()][..]
    } else {
        &[known_before_more, known_at_end, padded.len()]
    };
    ends.iter()
        .copied()
        .filter_map(|end| padded.as_bytes().get(unknown..end))
        .map(<[u8]>::to_vec)
        .collect()
}

/// The inside of a JSON string, as encoders write it by default.
fn json(value: &[u8]) -> Option<String> {
    let text = serde_json::to_string(std::str::from_utf8(value).ok()?).ok()?;
    Some(text.get(1..text.len() - 1)?.to_owned())
}

/// What Go's `encoding/json` escapes besides, and the API server with it.
fn html_safe(escaped: &str) -> String {
    let mut text = String::with_capacity(escaped.len());
    for character in escaped.chars() {
        match character {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            other => text.push(other),
        }
    }
    text
}

/// What Python's `json` and others that write ASCII only escape besides.
fn ascii(escaped: &str) -> String {
    let mut text = String::with_capacity(escaped.len());
    let mut units = [0; 2];
    for character in escaped.chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            for unit in character.encode_utf16(&mut units) {
                text.push_str("\\u");
                text.push_str(&hex(&unit.to_be_bytes(), false));
            }
        }
    }
    text
}

fn percent(value: &[u8], space: &str, upper: bool) -> String {
    let mut text = String::with_capacity(value.len());
    for &byte in value {
        match byte {
            b' ' => text.push_str(space),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                text.push(char::from(byte));
            }
            byte => {
                text.push('%');
                text.push_str(&hex(&[byte], upper));
            }
        }
    }
    text
}

fn hex(value: &[u8], upper: bool) -> String {
    let digits: &[u8; 16] = if upper {
        b"0123456789ABCDEF"
    } else {
        b"0123456789abcdef"
    };
    value
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|nibble| digits.get(usize::from(nibble)))
        .map(|digit| char::from(*digit))
        .collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose;

    use super::*;

    fn all(value: &[u8]) -> Vec<String> {
        let mut forms = Vec::new();
        each(value, |form, _| {
            forms.push(String::from_utf8_lossy(form).into_owned());
        });
        forms
    }

    #[test]
    fn a_value_has_the_forms_that_programs_write() {
        let forms = all(b"p<\"w rd+1\n");
        for form in [
            "p<\"w rd+1",
            r#"p<\"w rd+1"#,
            r#"p\u003c\"w rd+1"#,
            "p%3C%22w%20rd%2B1",
            "p%3c%22w+rd%2b1",
            "703c227720",
        ] {
            assert!(
                forms.iter().any(|known| known.starts_with(form)),
                "{form} is missing in {forms:?}"
            );
        }
        assert!(
            all("pässwörd🔑x".as_bytes()).contains(&r"p\u00e4ssw\u00f6rd\ud83d\udd11x".to_owned())
        );
        assert_eq!(
            all(b"plainvalue")
                .iter()
                .filter(|form| *form == "plainvalue")
                .count(),
            1
        );
    }

    #[test]
    fn base64_is_found_at_every_alignment() {
        let value = b"correct?>horse~~battery";
        let forms = all(value);
        for engine in [general_purpose::STANDARD, general_purpose::URL_SAFE_NO_PAD] {
            for before in 0..7 {
                for after in 0..4 {
                    let mut input = vec![b'\xff'; before];
                    input.extend_from_slice(value);
                    input.extend_from_slice(&vec![b'\xfe'; after]);
                    let text = engine.encode(input);
                    let longest = forms
                        .iter()
                        .filter(|form| text.contains(*form))
                        .map(String::len)
                        .max();
                    // Two characters at each end at most depend on the neighbours.
                    assert!(
                        longest >= Some(value.len() * 8 / 6 - 1),
                        "{before} {after} {text}"
                    );
                }
            }
        }
    }
}
