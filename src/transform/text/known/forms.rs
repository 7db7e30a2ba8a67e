//! The ways one value is written in logs, documents and commands.
//!
//! | form | where it comes from |
//! | --- | --- |
//! | raw | `echo $PASSWORD`, a file that is printed |
//! | raw, with one blank for any white space | words that a shell took apart: `echo $PASSWORD` |
//! | raw, with `+` for a blank | forms of HTML in connection strings and requests |
//! | base64 and base64url, at three alignments | manifests, `Authorization: Basic`, files in files |
//! | hex, upper and lower case | dumps |
//!
//! Escapes and percent-encoding are no forms: the text is read as what it stands for ([`mod@plain`]), and so are
//! the forms.

pub(super) mod plain;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use data_encoding::{HEXLOWER, HEXUPPER};

use self::plain::plain;

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

/// Values longer than this are not looked for in hex, to bound memory: keys and documents are not found in
/// dumps.
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
    form(plain(value), Spelling::Text);
    if value.contains(&b'\\') {
        // As it is read when it was percent-encoded.
        form(value.to_vec(), Spelling::Text);
    }
    if value.iter().any(u8::is_ascii_whitespace) {
        let words = value.split(u8::is_ascii_whitespace);
        let words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).collect();
        form(plain(&words.join(&b' ')), Spelling::Text);
    }
    if value.contains(&b' ') {
        let plus = |byte: &u8| if *byte == b' ' { b'+' } else { *byte };
        let text: Vec<u8> = value.iter().map(plus).collect();
        form(plain(&text), Spelling::Text);
    }
    if value.len() <= SHORT_BYTES_MAX {
        for digits in [HEXLOWER, HEXUPPER] {
            form(digits.encode(value).into_bytes(), Spelling::Text);
        }
    }
    for line in value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        if line.len() >= LINE_BYTES_MIN && !line.iter().any(u8::is_ascii_whitespace) {
            form(plain(line), Spelling::Text);
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
    fn c_47_a_value_has_the_forms_that_programs_write() {
        let forms = all(b"p<\"w rd+1\n");
        for form in [
            "p<\"w rd+1",
            "p<\"w+rd+1",
            "703c2277207264",
            "703C2277207264",
        ] {
            assert!(
                forms.iter().any(|known| known.starts_with(form)),
                "{form} is missing in {forms:?}"
            );
        }
        assert_eq!(
            all(b"plainvalue")
                .iter()
                .filter(|form| *form == "plainvalue")
                .count(),
            1
        );
    }

    #[test]
    fn c_47_a_value_is_known_as_the_words_that_a_shell_makes_of_it() {
        for (value, words) in [
            (&b"Hunter2!  Hunter3!"[..], "Hunter2! Hunter3!"),
            (b"alpha-12x4\nbeta-56z8", "alpha-12x4 beta-56z8"),
            (b"alpha-12x4\r\n\tbeta-56z8\n", "alpha-12x4 beta-56z8"),
        ] {
            assert!(all(value).iter().any(|form| form == words), "{words}");
        }
    }

    #[test]
    fn c_47_base64_is_found_at_every_alignment() {
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
