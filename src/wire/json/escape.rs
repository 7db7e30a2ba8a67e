//! The text of JSON strings: undoing and redoing escapes.

use std::borrow::Cow;
use std::ops::Range;

use super::JsonError;

/// Undoes the escapes of one string that arrives in pieces.
///
/// Lone surrogates become U+FFFD, as in Go. Invalid UTF-8 passes as it is.
#[derive(Clone, Debug, Default)]
pub struct Unescaper {
    /// The raw escape begun in an earlier piece: at most `\uXXXX\uXXXX`.
    pending: [u8; 12],
    pending_length: usize,
}

impl Unescaper {
    /// Takes the next raw piece (without the quotes) and hands out its text.
    pub fn push(&mut self, raw: &[u8], text: &mut impl FnMut(&[u8])) -> Result<(), JsonError> {
        let mut rest = raw;
        while self.pending_length > 0 {
            let Some((byte, after)) = rest.split_first() else {
                return Ok(());
            };
            if let Some(place) = self.pending.get_mut(self.pending_length) {
                *place = *byte;
                self.pending_length += 1;
            }
            rest = after;
            self.resolve(false, text)?;
        }
        while let Some(backslash) = memchr::memchr(b'\\', rest) {
            let (plain, escape) = rest.split_at(backslash);
            if !plain.is_empty() {
                text(plain);
            }
            match unit(escape, false)? {
                Some(unit) => {
                    unit.emit(text);
                    rest = escape.get(unit.raw..).unwrap_or_default();
                }
                None => return self.keep(escape),
            }
        }
        if !rest.is_empty() {
            text(rest);
        }
        Ok(())
    }

    /// The string ended.
    pub fn finish(&mut self, text: &mut impl FnMut(&[u8])) -> Result<(), JsonError> {
        while self.pending_length > 0 {
            self.resolve(true, text)?;
        }
        Ok(())
    }

    fn keep(&mut self, escape: &[u8]) -> Result<(), JsonError> {
        let place = self.pending.get_mut(..escape.len());
        place.ok_or(JsonError::Escape)?.copy_from_slice(escape);
        self.pending_length = escape.len();
        Ok(())
    }

    /// Hands out what is complete in `pending`, which always begins with a backslash.
    fn resolve(&mut self, last: bool, text: &mut impl FnMut(&[u8])) -> Result<(), JsonError> {
        let pending = self.pending.get(..self.pending_length).unwrap_or_default();
        let Some(unit) = unit(pending, last)? else {
            return Ok(());
        };
        unit.emit(text);
        // A lone surrogate leaves the beginning of whatever followed it: plain text, or an escape.
        let rest = self.pending;
        let rest = rest.get(unit.raw..self.pending_length).unwrap_or_default();
        self.pending_length = 0;
        if rest.is_empty() {
            return Ok(());
        }
        if rest.first() == Some(&b'\\') {
            self.keep(rest)?;
            return self.resolve(last, text);
        }
        text(rest);
        Ok(())
    }
}

/// Undoes the escapes of a whole raw string (without the quotes).
pub fn unescape(raw: &[u8]) -> Result<Cow<'_, [u8]>, JsonError> {
    unescape_each(raw, |_escape| {})
}

/// So many escapes need no further memory: those of a small manifest.
const ESCAPES: usize = 64;

/// The same, and where the text stands in `raw`.
pub fn unescape_with_places(raw: &[u8]) -> Result<(Cow<'_, [u8]>, Places), JsonError> {
    let mut escapes = Vec::with_capacity(ESCAPES);
    let text = unescape_each(raw, |escape| escapes.push(escape))?;
    Ok((text, Places { escapes, before: 0 }))
}

#[inline]
fn unescape_each(raw: &[u8], mut each: impl FnMut(Escape)) -> Result<Cow<'_, [u8]>, JsonError> {
    let next_from = |from: usize| {
        let rest = raw.get(from..).unwrap_or_default();
        memchr::memchr(b'\\', rest).map(|next| from + next)
    };
    let mut next = next_from(0);
    if next.is_none() {
        return Ok(Cow::Borrowed(raw));
    }
    let mut text = Vec::with_capacity(raw.len());
    let mut copied = 0;
    while let Some(at) = next {
        text.extend_from_slice(raw.get(copied..at).unwrap_or_default());
        let (start, escape) = (text.len(), raw.get(at..).unwrap_or_default());
        let raw_end = if let [_, b'"' | b'\\', ..] = escape {
            // Nearly all there are, where JSON stands in JSON: what follows stands for itself.
            copied = at + 1;
            at + 2
        } else {
            let unit = unit(escape, true)?.ok_or(JsonError::Escape)?;
            unit.emit(&mut |character| text.extend_from_slice(character));
            copied = at + unit.raw;
            copied
        };
        each(Escape {
            text: start..text.len() + (raw_end - copied),
            raw_end,
        });
        next = next_from(raw_end);
    }
    text.extend_from_slice(raw.get(copied..).unwrap_or_default());
    Ok(Cow::Owned(text))
}

/// Where the text of a string stands in its raw form.
#[derive(Debug)]
pub struct Places {
    escapes: Vec<Escape>,
    /// How many of them end before the place that was asked for last.
    before: usize,
}

/// One escape of a string.
#[derive(Debug)]
struct Escape {
    /// Where in the text its character stands.
    text: Range<usize>,
    /// Where in the raw form it ends.
    raw_end: usize,
}

impl Places {
    /// The place in the raw form of one in the text, if that is not within a character. No call asks for an earlier place
    /// than the one before.
    pub fn raw(&mut self, at: usize) -> Option<usize> {
        let behind = self.escapes.get(self.before..).unwrap_or_default();
        let more = behind.iter().take_while(|escape| escape.text.end <= at);
        self.before += more.count();
        if let Some(next) = self.escapes.get(self.before)
            && next.text.start < at
        {
            return None;
        }
        let Some(last) = self.before.checked_sub(1) else {
            return Some(at);
        };
        let last = self.escapes.get(last)?;
        Some(last.raw_end + at.checked_sub(last.text.end)?)
    }
}

/// Appends `text` so that it can stand inside a JSON string.
pub fn write_escaped(text: &[u8], output: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        let (plain, from) = rest.split_at(plain_length(rest));
        output.extend_from_slice(plain);
        let Some((byte, after)) = from.split_first() else {
            return;
        };
        write_escape(*byte, output);
        rest = after;
    }
}

/// How many bytes stand before the first one that has to be escaped. Looked for in blocks: of each without an early exit, so
/// that the compiler uses vectors, and no further than where it is, so that many cost no more than one block each.
fn plain_length(text: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let is_escaped = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    let any = |block: &[u8]| block.iter().fold(false, |any, byte| any | is_escaped(byte));
    let plain = text.chunks(BLOCK).take_while(|block| !any(block)).count() * BLOCK;
    let rest = text.get(plain..).unwrap_or_default();
    rest.iter()
        .position(is_escaped)
        .map_or(text.len(), |at| plain + at)
}

fn write_escape(byte: u8, output: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    if matches!(byte, b'"' | b'\\') {
        output.extend_from_slice(&[b'\\', byte]);
        return;
    }
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    output.extend_from_slice(b"\\u00");
    output.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
}

/// One escape: the character it stands for and its raw length.
struct Unit {
    character: char,
    raw: usize,
}

impl Unit {
    fn emit(&self, text: &mut impl FnMut(&[u8])) {
        text(self.character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// The escape at the beginning of `raw`; `None` when it needs more bytes and `last` is not set.
fn unit(raw: &[u8], last: bool) -> Result<Option<Unit>, JsonError> {
    let incomplete = if last {
        Err(JsonError::Escape)
    } else {
        Ok(None)
    };
    let character = match raw.get(1) {
        None => return incomplete,
        Some(b'u') => {
            let Some(first) = hexadecimal(raw.get(2..).unwrap_or_default())? else {
                return incomplete;
            };
            return surrogates(raw, first, last);
        }
        Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(_) => return Err(JsonError::Escape),
    };
    Ok(Some(Unit { character, raw: 2 }))
}

fn surrogates(raw: &[u8], first: u32, last: bool) -> Result<Option<Unit>, JsonError> {
    let lone = Some(Unit {
        character: char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER),
        raw: 6,
    });
    if !(0xd800..0xdc00).contains(&first) {
        return Ok(lone);
    }
    match (raw.get(6), raw.get(7)) {
        (None, _) | (Some(b'\\'), None) => return Ok(if last { lone } else { None }),
        (Some(b'\\'), Some(b'u')) => {}
        _ => return Ok(lone),
    }
    let Some(second) = hexadecimal(raw.get(8..).unwrap_or_default())? else {
        return if last {
            Err(JsonError::Escape)
        } else {
            Ok(None)
        };
    };
    if !(0xdc00..0xe000).contains(&second) {
        return Ok(lone);
    }
    let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    Ok(char::from_u32(code).map(|character| Unit { character, raw: 12 }))
}

/// Four hexadecimal digits; `None` when there are fewer bytes.
fn hexadecimal(raw: &[u8]) -> Result<Option<u32>, JsonError> {
    let mut value = 0;
    for place in 0..4 {
        let Some(byte) = raw.get(place) else {
            return Ok(None);
        };
        let digit = char::from(*byte).to_digit(16).ok_or(JsonError::Escape)?;
        value = value * 16 + digit;
    }
    Ok(Some(value))
}
