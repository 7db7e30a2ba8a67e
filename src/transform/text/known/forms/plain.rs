//! Reads text as what it stands for, however often it was quoted on its way, one unit after the other.
//!
//! | written | read as |
//! | --- | --- |
//! | any number of backslashes and a character (`\"`, `\/`, `\\\"`) | the character |
//! | the same with `u` and four digits (`\u003d`, `\u002B`, `\ud83d\udd11`) | the character of that number |
//! | `%40`, `%2540`, `\%40` | the byte |
//! | line breaks (as they are, `\n`, `%0A`), and a time stamp and white space behind one | nothing |
//!
//! Values are read the same way before they are looked for, so it does not matter that a backslash of their
//! own is read as nothing too. Only text in which both differ by no more than that is taken for the other.

/// Longest unit, in bytes: a gap and two numbers behind as many backslashes as there may be.
pub(in crate::transform::text::known) const UNIT_BYTES_MAX: usize =
    GAP_BYTES_MAX + 2 * (BACKSLASHES_MAX + 5);

/// A line break, the time stamp of `kubectl logs --timestamps` and an indentation, in bytes. What is longer
/// goes on as text.
const GAP_BYTES_MAX: usize = 64;

/// Backslashes before one character: documents five deep have 31.
const BACKSLASHES_MAX: usize = 31;

/// A time stamp is no longer than this, in bytes: RFC 3339 with nanoseconds and an offset has 35.
const STAMP_BYTES_MAX: usize = 36;

/// What stands at one place of a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::transform::text::known) enum Unit {
    /// A byte or a character, written in `width` bytes.
    Is {
        bytes: [u8; 4],
        count: usize,
        width: usize,
    },
    /// Nothing, written in `width` bytes.
    Nothing { width: usize },
    /// The text ends before it can be said.
    More,
}

impl Unit {
    #[inline]
    fn byte(byte: u8, width: usize) -> Self {
        let bytes = [byte, 0, 0, 0];
        let count = 1;
        Self::Is {
            bytes,
            count,
            width,
        }
    }

    fn character(character: char, width: usize) -> Self {
        let mut bytes = [0; 4];
        let count = character.encode_utf8(&mut bytes).len();
        Self::Is {
            bytes,
            count,
            width,
        }
    }
}

/// The bytes that stand for more than themselves.
pub(in crate::transform::text::known) const SPECIAL: [u8; 4] = *b"\\%\r\n";

/// Whether a byte stands for more than itself.
#[inline]
pub(in crate::transform::text::known) fn is_special(byte: u8) -> bool {
    SPECIAL.contains(&byte)
}

/// Reads what stands at `at`, which is not the end of `text`. `ended` if nothing follows.
#[inline]
pub(in crate::transform::text::known) fn read(text: &[u8], at: usize, ended: bool) -> Unit {
    match text.get(at) {
        Some(&byte) if !is_special(byte) => Unit::byte(byte, 1),
        _ => special(text.get(at..).unwrap_or_default(), ended),
    }
}

/// Where the unit behind the one at `at` begins.
pub(in crate::transform::text::known) fn behind(text: &[u8], at: usize, ended: bool) -> usize {
    match read(text, at, ended) {
        Unit::Is { width, .. } | Unit::Nothing { width } => at + width,
        Unit::More => at + 1,
    }
}

fn special(rest: &[u8], ended: bool) -> Unit {
    // Most escapes are of this kind.
    if let [b'\\', byte @ (b'"' | b'/'), ..] = rest {
        return Unit::byte(*byte, 2);
    }
    match character(rest, ended) {
        Unit::Is { bytes, width, .. } if is_break(bytes) => gap(rest, width, ended),
        unit => unit,
    }
}

/// Reads a value, or one way of writing it.
pub(in crate::transform::text::known) fn plain(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        at += match read(text, at, true) {
            Unit::Is {
                bytes,
                count,
                width,
            } => {
                plain.extend(bytes.iter().take(count));
                width
            }
            Unit::Nothing { width } => width,
            Unit::More => 1,
        };
    }
    plain
}

/// A character, be it a line break.
fn character(rest: &[u8], ended: bool) -> Unit {
    match rest.first() {
        Some(b'\\') => escaped(rest, ended),
        Some(b'%') => percent(rest, 0, ended),
        Some(byte) => Unit::byte(*byte, 1),
        None => Unit::More,
    }
}

fn escaped(rest: &[u8], ended: bool) -> Unit {
    let slash = |byte: &&u8| **byte == b'\\';
    let slashes = rest.iter().take(BACKSLASHES_MAX).take_while(slash).count();
    let Some(&letter) = rest.get(slashes) else {
        return if ended {
            Unit::Nothing { width: slashes }
        } else {
            Unit::More
        };
    };
    let width = slashes + 1;
    match letter {
        b'\\' => Unit::Nothing { width: slashes },
        b'%' => percent(rest, slashes, ended),
        b'n' => Unit::byte(b'\n', width),
        b'r' => Unit::byte(b'\r', width),
        b't' => Unit::byte(b'\t', width),
        b'b' => Unit::byte(8, width),
        b'f' => Unit::byte(12, width),
        b'u' => match numbered(rest.get(width..).unwrap_or_default(), slashes, ended) {
            Numbered::Is(character, further) => Unit::character(character, width + further),
            Numbered::No => Unit::byte(b'u', width),
            Numbered::More => Unit::More,
        },
        letter => Unit::byte(letter, width),
    }
}

enum Numbered {
    /// A character, and in how many bytes it was written.
    Is(char, usize),
    No,
    More,
}

/// Reads what follows `\u`: a number, or two with their own backslashes between.
fn numbered(rest: &[u8], slashes: usize, ended: bool) -> Numbered {
    let first = match four_digits(rest) {
        Some(unit) => unit,
        None if rest.len() < 4 && !ended && rest.iter().all(u8::is_ascii_hexdigit) => {
            return Numbered::More;
        }
        None => return Numbered::No,
    };
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Numbered::Is(character, 4);
    }
    // The first half of a pair.
    let lead = 4 + slashes + 1;
    if rest.len() < lead + 4 && !ended {
        return Numbered::More;
    }
    let between = rest.get(4..lead).and_then(|between| between.split_last());
    let follows = between.is_some_and(|(letter, before)| {
        *letter == b'u' && before.iter().all(|byte| *byte == b'\\')
    });
    let second = rest.get(lead..).filter(|_| follows).and_then(four_digits);
    let second = second.unwrap_or_default();
    match char::decode_utf16([first, second]).next() {
        Some(Ok(character)) => Numbered::Is(character, lead + 4),
        Some(Err(_)) | None => Numbered::Is(char::REPLACEMENT_CHARACTER, 4),
    }
}

fn four_digits(rest: &[u8]) -> Option<u16> {
    let digits = rest.get(..4)?;
    digits.iter().try_fold(0_u16, |number, digit| {
        Some(number << 4 | u16::from(nibble(*digit)?))
    })
}

/// `%40`, or `%2540`, which was encoded twice, behind so many backslashes.
fn percent(rest: &[u8], slashes: usize, ended: bool) -> Unit {
    let mut at = slashes + 1;
    loop {
        let (high, low) = (rest.get(at), rest.get(at + 1));
        let digit = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_hexdigit);
        let (Some(&high), Some(&low)) = (high, low) else {
            let open = !ended && digit(high) && digit(low);
            return if open {
                Unit::More
            } else {
                Unit::byte(b'%', at)
            };
        };
        let (Some(upper), Some(lower)) = (nibble(high), nibble(low)) else {
            return Unit::byte(b'%', at);
        };
        at += 2;
        let byte = upper << 4 | lower;
        if byte != b'%' || at + 2 > GAP_BYTES_MAX {
            return Unit::byte(byte, at);
        }
    }
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|nibble| u8::try_from(nibble).ok())
}

/// Reads on behind a line break of `width` bytes: more of them, a time stamp, an indentation.
fn gap(rest: &[u8], mut width: usize, ended: bool) -> Unit {
    let mut at_line_start = true;
    while width < GAP_BYTES_MAX {
        let Some(&next) = rest.get(width) else {
            return if ended {
                Unit::Nothing { width }
            } else {
                Unit::More
            };
        };
        let behind = rest.get(width..).unwrap_or_default();
        if at_line_start && next.is_ascii_digit() {
            match stamp(behind, ended) {
                Some(0) => break,
                Some(length) => width += length,
                None => return Unit::More,
            }
            at_line_start = false;
            continue;
        }
        match character(behind, ended) {
            Unit::Is {
                bytes, width: wide, ..
            } if is_break(bytes) => {
                at_line_start = true;
                width += wide;
            }
            Unit::Is {
                bytes: [b' ' | b'\t', ..],
                width: wide,
                ..
            } => width += wide,
            Unit::More => return Unit::More,
            Unit::Is { .. } | Unit::Nothing { .. } => break,
        }
    }
    Unit::Nothing { width }
}

/// The length of a time stamp (RFC 3339) with its blank; none if the text ends within.
fn stamp(rest: &[u8], ended: bool) -> Option<usize> {
    for (at, &byte) in rest.iter().take(STAMP_BYTES_MAX).enumerate() {
        let fits = match at {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            0..=18 => byte.is_ascii_digit(),
            _ if byte == b' ' => return Some(at + 1),
            _ => byte.is_ascii_digit() || b".:+-Z".contains(&byte),
        };
        if !fits {
            return Some(0);
        }
    }
    (ended || rest.len() >= STAMP_BYTES_MAX).then_some(0)
}

fn is_break(bytes: [u8; 4]) -> bool {
    matches!(bytes, [b'\r' | b'\n', ..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(text: &str) -> String {
        String::from_utf8(plain(text.as_bytes())).unwrap()
    }

    #[test]
    fn what_was_quoted_is_read_as_what_it_was() {
        for (written, read) in [
            ("plain text", "plain text"),
            (r#"ab\"cd\\ef\/g"#, r#"ab"cdef/g"#),
            (r#"ab\\\"cd\\\\ef\\\"g"#, r#"ab"cdef"g"#),
            (r"a\u003d\u002B\\u0026\u00E4\ud83d\udd11z", "a=+&ä🔑z"),
            (r"a\ud83dz\u12xy\", "a\u{fffd}zu12xy"),
            (r#"a\\ud83d","deadbeef"#, "a\u{fffd}\",\"deadbeef"),
            (
                r"\ud83d--deadbeef\ud83d\\udead",
                "\u{fffd}--deadbeef\u{fffd}\u{fffd}",
            ),
            ("p%40ss%2540x%c3%A4 100% %zz", "p@ss@xä 100% %zz"),
            (r"p\%40ss\\%2540x\% \%4", "p@ss@x% %4"),
            ("{\r\n  \"a\": 1,\n\n\t\"b\"", "{\"a\": 1,\"b\""),
            (r#"{\n  \"a\":%0A%20%20x"#, "{\"a\":x"),
            (
                "QXBA\n2026-11-21T07:09:00.123456789Z c3Mh\n2026-11-21T07:09:00+01:00   x",
                "QXBAc3Mhx",
            ),
            ("a\n2026 b\n12345678", "a2026 b12345678"),
        ] {
            assert_eq!(read_all(written), read, "{written}");
        }
    }

    proptest! {
        #[test]
        fn more_text_never_changes_what_was_read(text in r"([\\%u0-9a-fnT:Z \n-]|2026-11-21T07:09:00Z |\\u[0-9a-f]{4}){0,40}") {
            let text = text.as_bytes();
            for at in 0..text.len() {
                let whole = read(text, at, true);
                let none = matches!(whole, Unit::More | Unit::Is { width: 0, .. } | Unit::Nothing { width: 0 });
                prop_assert!(!none);
                for end in at + 1..text.len() {
                    let so_far = read(&text[..end], at, false);
                    prop_assert!(so_far == Unit::More || so_far == whole);
                }
                let enough = text.get(..at + UNIT_BYTES_MAX);
                prop_assert!(enough.is_none_or(|text| read(text, at, false) != Unit::More));
            }
        }
    }
}
