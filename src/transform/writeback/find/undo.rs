//! Undoes one layer of an encoding, leniently: what comes out is searched, never stored.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use flate2::{Decompress, FlushDecompress, Status};
use memchr::memmem;

use crate::limits::INFLATE_BYTES_MAX;

/// How gzip begins.
pub(super) const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

const WINDOW_BITS: u8 = 15;

/// The longest number of a character, with what ends it.
const ENTITY_BYTES_MAX: usize = 10;

/// Decodes with or without padding, and whatever the last bits say.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Undoes the escapes of JSON and of double-quoted YAML, leniently.
pub(super) fn unescape(text: &[u8]) -> Option<Vec<u8>> {
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
            let code = escape.get(2..2 + digits).and_then(code_point);
            let character = code.and_then(char::from_u32).unwrap_or('\u{fffd}');
            plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        rest = escape.get(length..).unwrap_or_default();
    }
    plain.extend_from_slice(rest);
    Some(plain)
}

pub(super) fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.contains(&b'%') {
        return None;
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let code = (*byte == b'%').then(|| after.get(..2).and_then(code_point));
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

/// Undoes the numbers of characters in XML and HTML: `&#26;`, `&#x1a;`.
pub(super) fn entities(text: &[u8]) -> Option<Vec<u8>> {
    memmem::find(text, b"&#")?;
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        if let Some((character, length)) = entity(rest) {
            plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            rest = rest.get(length..).unwrap_or_default();
        } else {
            plain.push(*byte);
            rest = after;
        }
    }
    (plain.len() != text.len()).then_some(plain)
}

/// The character whose number a text begins with, and how long that is.
fn entity(text: &[u8]) -> Option<(char, usize)> {
    let number = text.strip_prefix(b"&#")?;
    let number = number.get(..number.len().min(ENTITY_BYTES_MAX))?;
    let number = number.get(..memchr::memchr(b';', number)?)?;
    let code = match number {
        [b'x' | b'X', digits @ ..] => code_point(digits)?,
        digits => std::str::from_utf8(digits).ok()?.parse().ok()?,
    };
    Some((char::from_u32(code)?, b"&#;".len() + number.len()))
}

/// Joins folded lines, and drops byte order marks.
pub(super) fn without_blanks(text: &[u8]) -> Option<Vec<u8>> {
    if text.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let solid = text.iter().filter(|byte| byte.is_ascii_graphic());
    Some(solid.copied().collect())
}

fn code_point(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok()?;
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

/// UTF-16 and UTF-32 of either byte order, as far as the text is ASCII.
pub(super) fn without_nuls(text: &[u8]) -> Option<Vec<u8>> {
    if !text.contains(&0) {
        return None;
    }
    Some(text.iter().filter(|byte| **byte != 0).copied().collect())
}

/// The decoded text, if all of it is base64 of either alphabet.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    [&alphabet::STANDARD, &alphabet::URL_SAFE]
        .into_iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(text).ok())
}

/// The decoded text, if all of it is pairs of hexadecimal digits.
pub(super) fn from_hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    if !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pair = |pair: &[u8]| u8::try_from(code_point(pair)?).ok();
    text.chunks_exact(2).map(pair).collect()
}

/// What gzip holds, as far as it can be read; `None` when that is more than `max` bytes. What
/// follows the last member does not matter.
pub(super) fn gunzip(text: &[u8], max: usize) -> Option<Vec<u8>> {
    let (mut plain, mut rest) = (Vec::new(), text);
    while rest.starts_with(GZIP_MAGIC) {
        let mut member = Decompress::new_gzip(WINDOW_BITS);
        let mut status = Ok(Status::Ok);
        while matches!(status, Ok(Status::Ok)) {
            if plain.len() > max {
                return None;
            }
            plain.reserve(INFLATE_BYTES_MAX);
            let (read, written) = (member.total_in(), plain.len());
            status = member.decompress_vec(rest, &mut plain, FlushDecompress::Sync);
            let read = usize::try_from(member.total_in() - read).ok()?;
            rest = rest.get(read..).unwrap_or_default();
            if read == 0 && plain.len() == written {
                break;
            }
        }
        if !matches!(status, Ok(Status::StreamEnd)) {
            break;
        }
    }
    Some(plain)
}
