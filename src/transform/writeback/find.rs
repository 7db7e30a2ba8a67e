//! Finds placeholders however they are wrapped.
//!
//! Two searches complement each other. A pattern meets what is plainly there, and what any text with
//! it inside looks like as base64 (at any alignment, three times), hexadecimal or UTF-16. Where a
//! value, or a long word in it, is wholly encoded, its layers are peeled off and each is searched in
//! turn: escapes, percent-encoding, line breaks, UTF-16, base64, hexadecimal, gzip.
//!
//! The work for one body is bounded. A value wrapped deeper, or a body inflating to more, counts as a
//! placeholder: nothing that a client writes in earnest looks like that.

mod undo;

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use data_encoding::HEXLOWER;
use memchr::memmem;
use regex::bytes::{Regex, RegexBuilder};

use crate::limits::{PLACEHOLDER_DECODINGS_MAX, PLACEHOLDER_SEARCH_BYTES_MAX};
use crate::transform::placeholder::{FAMILY, FILL};
use crate::wire::protobuf::{MAGIC, is_message};

/// How many times a placeholder may be in base64 when it is only part of a value.
const BASE64_LEVELS: usize = 3;

/// Layers of base64 and hexadecimal shrink: all of those of a body that is searched twice, as values and as a
/// whole, are not longer than so many bodies.
const TEXT_LAYERS: usize = 8;

/// How many times escapes are undone; what still has some then is no placeholder in earnest.
const CLEANINGS_MAX: u8 = 4;

/// The shortest word that is peeled: the family's prefix in base64 without padding.
const WORD_BYTES_MIN: usize = FAMILY.len() * 4 / 3;

/// A decoded text of so many bytes is one, and not a word that happens to be base64 of something readable.
const DECODED_BYTES_MIN: usize = 16;

/// What stands before a filler in a text that is not only of readable characters: so many bytes are looked at, and so many
/// have to be there, since two bytes in noise are soon found.
const LEAD_BYTES: RangeInclusive<usize> = 3..=6;

/// One byte of so many may be a control character in a text.
const READABLE_PER_CONTROL: usize = 32;

/// The family's prefix, plain and as it looks inside other encodings. `None` would mean a faulty
/// constant; then everything is a placeholder and every test fails.
static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let plain = FAMILY.as_bytes().to_vec();
    let wide: Vec<u8> = plain.iter().flat_map(|byte| [*byte, 0]).collect();
    // Without the last NUL, so that both byte orders match.
    let wide = wide.get(..wide.len() - 1).unwrap_or_default().to_vec();
    let mut forms = vec![
        plain.clone(),
        wide.clone(),
        HEXLOWER.encode(&plain).into_bytes(),
    ];
    forms.extend(inside_base64(&wide));
    let mut latest = vec![plain];
    for _ in 0..BASE64_LEVELS {
        latest = latest.iter().flat_map(|form| inside_base64(form)).collect();
        forms.extend(latest.iter().cloned());
    }
    forms.sort();
    forms.dedup();
    let literal = |form: &Vec<u8>| regex::escape(&String::from_utf8_lossy(form));
    let forms: Vec<String> = forms.iter().map(literal).collect();
    RegexBuilder::new(&forms.join("|"))
        .case_insensitive(true)
        .unicode(false)
        .build()
        .ok()
});

/// The filler in base64 with its padding. `None` is as above.
static FILL_IN_BASE64: LazyLock<Option<Regex>> = LazyLock::new(|| {
    RegexBuilder::new("(?:Ghoa){0,3}(?:Ghoa|Gho=|Gg==)")
        .unicode(false)
        .build()
        .ok()
});

/// The search of one body, whose values share a bound.
pub(super) struct Search {
    /// Bytes of decoded text that may still be searched.
    bytes_left: usize,
}

impl Search {
    pub(super) fn of(body: &[u8]) -> Self {
        Self {
            bytes_left: body.len() * TEXT_LAYERS + PLACEHOLDER_SEARCH_BYTES_MAX,
        }
    }

    /// Does `text`, a part of the body, hold a placeholder of any gateway, or something that could hide one?
    pub(super) fn holds_placeholder(&mut self, text: &[u8]) -> bool {
        let Some(pattern) = PATTERN.as_ref() else {
            return true;
        };
        Layers {
            pattern,
            bytes_left: &mut self.bytes_left,
        }
        .value(text, PLACEHOLDER_DECODINGS_MAX)
            || holds_fill(text)
    }
}

struct Layers<'a> {
    pattern: &'static Regex,
    bytes_left: &'a mut usize,
}

impl Layers<'_> {
    /// Searches a text and everything it may be the encoding of.
    fn value(&mut self, text: &[u8], layers: u8) -> bool {
        if self.pattern.is_match(text) {
            return true;
        }
        if text.starts_with(undo::GZIP_MAGIC) {
            match undo::gunzip(text, *self.bytes_left) {
                Some(plain) if self.layer(&plain, layers) => return true,
                Some(_) => {}
                None => return true,
            }
        }
        let mut clean = Cow::Borrowed(text);
        for _ in 0..CLEANINGS_MAX {
            let before = clean.len();
            for undo in [
                undo::unescape,
                undo::percent_decode,
                undo::entities,
                undo::without_nuls,
            ] {
                if let Some(changed) = undo(&clean) {
                    if self.pattern.is_match(&changed) {
                        return true;
                    }
                    clean = Cow::Owned(changed);
                }
            }
            if clean.len() == before {
                break;
            }
        }
        let solid = undo::without_blanks(&clean);
        if solid
            .as_ref()
            .is_some_and(|solid| self.pattern.is_match(solid))
        {
            return true;
        }
        let whole = solid.as_deref().unwrap_or(&clean);
        is_fill(&clean)
            || holds_encoded_fill(&clean)
            || holds_run_of_fill(&clean) && !is_protobuf(text)
            || self.word(whole, layers)
            || words(&clean).any(|word| word.len() < whole.len() && self.word(word, layers))
    }

    /// Searches what a word without blanks may be the encoding of.
    fn word(&mut self, word: &[u8], layers: u8) -> bool {
        if word.len() < WORD_BYTES_MIN {
            return false;
        }
        [undo::base64, undo::from_hexadecimal]
            .into_iter()
            .filter_map(|decode| decode(word))
            .any(|plain| self.layer(&plain, layers))
    }

    fn layer(&mut self, plain: &[u8], layers: u8) -> bool {
        let (Some(left), Some(layers)) = (
            self.bytes_left.checked_sub(plain.len()),
            layers.checked_sub(1),
        ) else {
            return true;
        };
        *self.bytes_left = left;
        let long = plain.len() >= DECODED_BYTES_MIN || memmem::find(plain, &[FILL, FILL]).is_some();
        long && holds_fill(plain) || self.value(plain, layers)
    }
}

/// Is it what stands for values too short for a placeholder, as it is or in base64, whatever blanks are around it?
/// Not in base64, if other bytes stand around it: two characters in noise are soon found.
fn is_fill(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let solid = |char: &char| !char.is_whitespace() && *char != '\u{feff}';
    let mut characters = text.chars().filter(solid).peekable();
    if characters.peek() == Some(&char::from(FILL)) {
        return characters.all(|char| char == char::from(FILL));
    }
    let word: String = characters.take(WORD_BYTES_MIN).collect();
    is_encoded_fill(word.as_bytes())
}

/// Is it the same in base64, once or more often? `Go` is none that a program would write.
fn is_encoded_fill(word: &[u8]) -> bool {
    if word.len() >= WORD_BYTES_MIN {
        return false;
    }
    let canonical = |plain: &[u8]| {
        word.len().is_multiple_of(4) || STANDARD_NO_PAD.encode(plain).as_bytes() == word
    };
    undo::base64(word).is_some_and(|plain| {
        !plain.is_empty()
            && canonical(&plain)
            && (plain.iter().all(|byte| *byte == FILL) || is_encoded_fill(&plain))
    })
}

/// Is it a text with the same in it? At the very end one may stand: so files of DOS end.
fn holds_fill(text: &[u8]) -> bool {
    let before_last = text.split_last().map_or(&[][..], |(_, before)| before);
    let readable = |char: char| {
        !char.is_control() || char.is_whitespace() || matches!(char, '\u{1a}' | '\u{1b}' | '\u{8}')
    };
    memchr::memchr(FILL, before_last).is_some()
        && std::str::from_utf8(text).is_ok_and(|text| text.chars().all(readable))
        && !is_protobuf(text)
}

/// Is it a text with two or more of the same in it, in whatever encoding? In what was escaped a single one is rather a
/// program's own.
fn holds_run_of_fill(text: &[u8]) -> bool {
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let behind_text = |at: usize| {
        let lead = text.get(at.saturating_sub(*LEAD_BYTES.end())..at);
        lead.is_some_and(|lead| lead.len() >= *LEAD_BYTES.start() && lead.iter().all(is_text))
    };
    memmem::find_iter(text, &[FILL, FILL]).any(behind_text) && is_rather_text(text)
}

/// Is it a text with a word in it that stands for nothing else, in base64?
fn holds_encoded_fill(text: &[u8]) -> bool {
    let Some(pattern) = FILL_IN_BASE64.as_ref() else {
        return true;
    };
    let outside = |byte: Option<&u8>| byte.is_none_or(|byte| *byte == b'=' || !is_in_word(*byte));
    pattern.find_iter(text).any(|found| {
        let before = text.get(..found.start()).and_then(<[u8]>::last);
        outside(before) && outside(text.get(found.end()))
    }) && is_rather_text(text)
}

fn is_rather_text(bytes: &[u8]) -> bool {
    let is_control = |byte: &&u8| {
        byte.is_ascii_control()
            && !byte.is_ascii_whitespace()
            && !matches!(**byte, FILL | 0x1b | 0x8)
    };
    bytes.iter().filter(is_control).count() * READABLE_PER_CONTROL <= bytes.len()
}

/// In these a byte like the filler begins the third field.
fn is_protobuf(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC) || is_message(bytes)
}

/// The parts of a text that may be encoded on their own.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| !is_in_word(*byte))
        .filter(|word| word.len() >= WORD_BYTES_MIN)
        .map(last_value)
        .filter(|word| word.len() >= WORD_BYTES_MIN)
}

fn is_in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte)
}

/// In `name=value` the value.
fn last_value(word: &[u8]) -> &[u8] {
    let padding = word.iter().rev().take_while(|byte| **byte == b'=').count();
    let name = word
        .iter()
        .rev()
        .skip(padding)
        .position(|byte| *byte == b'=');
    name.and_then(|length| word.get(word.len() - padding - length..))
        .unwrap_or(word)
}

/// The characters that base64 of any text with `form` inside certainly holds, by alignment.
fn inside_base64(form: &[u8]) -> Vec<Vec<u8>> {
    let whole = |skip: usize| {
        let rest = form.get(skip..).unwrap_or_default();
        let whole = rest.get(..rest.len() - rest.len() % 3).unwrap_or_default();
        STANDARD.encode(whole).into_bytes()
    };
    (0..3).map(whole).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use base64::engine::general_purpose::URL_SAFE;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::transform::Placeholders;

    fn holds_placeholder(text: &[u8]) -> bool {
        Search::of(text).holds_placeholder(text)
    }

    fn placeholder() -> String {
        Placeholders::new(&[9; 32]).of("x").text().to_owned()
    }

    fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        "\u{feff}"
            .encode_utf16()
            .chain(text.encode_utf16())
            .flat_map(order)
            .collect()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// One more layer around a value: an encoding, and in text sometimes line breaks.
    fn wrap(value: &[u8], layer: u8, width: usize) -> Vec<u8> {
        let folded = |text: String| {
            let lines: Vec<&[u8]> = text.as_bytes().chunks(width).collect();
            lines.join(&b"\n"[..])
        };
        match layer {
            0 => STANDARD.encode(value).into_bytes(),
            1 => STANDARD_NO_PAD.encode(value).into_bytes(),
            2 => URL_SAFE.encode(value).into_bytes(),
            3 => folded(STANDARD.encode(value)),
            4 => HEXLOWER.encode(value).into_bytes(),
            5 => folded(HEXLOWER.encode(value).to_uppercase()),
            6 => gzip(value),
            7 if value.is_ascii() => value.iter().flat_map(|byte| [0, *byte]).collect(),
            _ => value.to_vec(),
        }
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
        for hidden in [
            HEXLOWER.encode(text.as_bytes()).into_bytes(),
            HEXLOWER.encode(text.as_bytes()).to_uppercase().into_bytes(),
            format!("key={}", HEXLOWER.encode(text.as_bytes())).into_bytes(),
            HEXLOWER
                .encode(HEXLOWER.encode(text.as_bytes()).as_bytes())
                .into_bytes(),
            utf16(&text, u16::to_le_bytes),
            utf16(&text, u16::to_be_bytes),
            utf16(&encode(&text, 2), u16::to_le_bytes),
            gzip(text.as_bytes()),
            gzip(&gzip(encode(&text, 4).as_bytes())),
            [gzip(b"first"), gzip(text.as_bytes()), b"x".to_vec()].concat(),
        ] {
            assert!(holds_placeholder(&hidden), "{hidden:?}");
            for line in [STANDARD.encode(&hidden), STANDARD_NO_PAD.encode(&hidden)] {
                let field = format!("password: {line}\n");
                assert!(holds_placeholder(field.as_bytes()), "{field}");
            }
        }
        for length in 1..9 {
            let fill = vec![FILL; length];
            assert!(holds_placeholder(&fill), "{length}");
            assert!(
                holds_placeholder(STANDARD.encode(&fill).as_bytes()),
                "{length}"
            );
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
    fn c_82_the_filler_is_known_whatever_stands_around_it() {
        for length in 1..9 {
            let fill = "\u{1a}".repeat(length);
            for hidden in [
                fill.clone(),
                format!("{fill}\n"),
                format!("\n {fill}"),
                format!("\u{feff}{fill}\0"),
                fill.replace('\u{1a}', "%1A"),
                fill.replace('\u{1a}', "\\u001a"),
                format!("db.user=app\ndb.password={fill}\n"),
            ] {
                assert!(holds_placeholder(hidden.as_bytes()), "{hidden:?}");
            }
            let inside = format!("db.user=app\ndb.password={fill}\n");
            for (once, least) in [(encode(&fill, 1), 1), (encode(&inside, 1), usize::MAX)] {
                let twice = encode(&once, 1);
                let (first, rest) = once.split_at(least.min(once.len()));
                for hidden in [
                    format!("\u{feff}{once}"),
                    format!("{first}\n{rest}"),
                    format!("{first}\u{b}{rest}"),
                    format!("{first}\u{a0}{rest}"),
                    format!("{twice}\n"),
                    once.clone(),
                ] {
                    assert!(holds_placeholder(hidden.as_bytes()), "{hidden:?}");
                }
            }
        }
    }

    #[test]
    fn c_82_the_filler_is_known_in_every_text_that_a_program_writes() {
        let fill = "\u{1a}".repeat(7);
        let base64 = encode(&fill, 1);
        let properties = format!("db.user=app\r\ndb.password={fill}\r\n");
        let json = serde_json::json!({"user": "app", "password": fill}).to_string();
        let manifest = serde_json::json!({"data": {"password": base64}}).to_string();
        for hidden in [
            format!("# Schl\u{fc}ssel\n{properties}")
                .chars()
                .map(|char| char as u8)
                .collect(),
            format!("# \u{7}, and so on\n{properties}").into_bytes(),
            format!("{properties}\0").into_bytes(),
            utf16(&properties, u16::to_le_bytes),
            utf16(&properties, u16::to_be_bytes),
            serde_json::to_string(&json).unwrap().into_bytes(),
            json.into_bytes(),
            format!("password: \"{}\"\n", fill.replace('\u{1a}', "\\x1A")).into_bytes(),
            format!("postgres://u:{}@db/x", fill.replace('\u{1a}', "%1A")).into_bytes(),
            format!("<password>{}</password>", fill.replace('\u{1a}', "&#26;")).into_bytes(),
            format!("<password>{}</password>", fill.replace('\u{1a}', "&#x1a;")).into_bytes(),
            format!("data:\n  password: {base64}\n").into_bytes(),
            format!("PASSWORD={base64}\n").into_bytes(),
            format!("PASSWORD={}\n", encode(&properties, 1)).into_bytes(),
            manifest.into_bytes(),
        ] {
            assert!(
                holds_placeholder(&hidden),
                "{}",
                String::from_utf8_lossy(&hidden)
            );
            assert!(holds_placeholder(STANDARD.encode(&hidden).as_bytes()));
        }
    }

    #[test]
    fn what_only_has_the_byte_of_the_filler_is_none() {
        for text in [
            &b"the end of a file of DOS\r\n\x1a"[..],
            b"Go",
            b"\x1a\nthe-name-a",
            b"\x0a\x20abcdefghabcdefghabcdefghabcdefgh\x1a\x09the-third",
            b"\x7fELF\x02\x01\x1a\x1a",
            b"\xff\x1a\x1a",
            b"const CONTROL = /[\\x00\\x08\\x1a]/;",
            b"SUB = '\\x1a'; tr '\\032' ' '; caf\xe9 \x1a",
            b"Goodbye, Ghost: G G= Gg Gho Gh0a==",
            b"k8s\0\x0a\x40 some metadata \x12\x20 data of a config map: \"x\"\x1a\x1a and another",
        ] {
            assert!(!holds_placeholder(text), "{text:?}");
        }
    }

    #[test]
    fn files_of_noise_are_none() {
        // The multiplier is Knuth's; the high bytes are as good as random.
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(1 << 20)
        .collect();
        assert!(memmem::find_iter(&noise, &[FILL, FILL]).count() > 10);
        assert!(!holds_placeholder(&noise));
        for length in [24, 64, 300] {
            let lines = noise.chunks(length).map(|file| STANDARD.encode(file));
            let lock_file = lines.collect::<Vec<_>>().join("\n");
            assert!(!holds_placeholder(lock_file.as_bytes()), "{length}");
        }
    }

    #[test]
    fn c_82_what_is_wrapped_too_deep_or_inflates_to_too_much_is_refused() {
        assert!(!holds_placeholder(
            encode(&"plain text ".repeat(9), 4).as_bytes()
        ));
        assert!(holds_placeholder(
            encode(&"plain text ".repeat(9), 13).as_bytes()
        ));
        assert!(!holds_placeholder(&gzip(&vec![
            b' ';
            PLACEHOLDER_SEARCH_BYTES_MAX
                / 2
        ])));
        assert!(holds_placeholder(&gzip(
            &vec![b' '; 2 * PLACEHOLDER_SEARCH_BYTES_MAX]
        )));
    }

    proptest! {
        #[test]
        fn c_82_any_wrapping_of_a_value_is_undone(
            before in "[ -~]{0,20}", after in "[ -~\\n]{0,20}",
            layers in prop::collection::vec((0_u8..8, 1_usize..100), 0..8),
        ) {
            let mut value = format!("{before}{}{after}", placeholder()).into_bytes();
            for (layer, width) in layers {
                value = wrap(&value, layer, width);
                // Layers of text grow by half or double.
                if value.len() > 1 << 20 {
                    break;
                }
            }
            prop_assert!(holds_placeholder(&value));
        }

        #[test]
        fn random_bytes_are_none(bytes: Vec<u8>, layers in prop::collection::vec(0_u8..8, 0..4)) {
            // A text with that byte in it is a placeholder: in long protobuf lists there is no room for more.
            prop_assume!(!bytes.contains(&FILL));
            let wrapped = layers.into_iter().fold(bytes, |value, layer| wrap(&value, layer, 64));
            prop_assert!(!holds_placeholder(&wrapped));
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
        let few = b"\x04\x1c\x10\xca\x04\x20\xa0";
        let few = HEXLOWER.encode(&[&[0; 16], &few[..]].concat());
        assert!(!holds_placeholder(few.as_bytes()));
        assert!(!holds_placeholder(
            HEXLOWER.encode(few.as_bytes()).as_bytes()
        ));
        let noise: Vec<u8> = (0..100_000_u32)
            .map(|number| (number * 7 % 251) as u8)
            .collect();
        assert!(!holds_placeholder(&noise));
        assert!(!holds_placeholder(STANDARD.encode(&noise).as_bytes()));
    }
}
