//! JSON without a tree: an incremental scanner that says where values begin and end.
//!
//! [`Scanner::step`] walks one chunk after the other and reports [`Step`]s with a cursor into the
//! current chunk; all state between chunks is a few words, one bit a nesting level and one bounded
//! key. Strings are never collected. A value the caller does not care about is passed with
//! [`Scanner::skip_value`], which looks for nothing but its end.
//!
//! ```text
//!             +------------- , -----------+
//!             v                           |
//!  Boundary -> Value --{--> FirstKey --"--> KeyText --"--> Colon --:--> Value
//!                    --[--> FirstItem --> Value                 AfterValue <- end of a value
//!                    --"--> Text      --" --> AfterValue or Boundary
//!                    --1--> Scalar    --, --> AfterValue or Boundary
//!  skip_value: any Value just begun -> Skip -> AfterValue or Boundary
//! ```
//!
//! The grammar of punctuation is checked where the scanner walks. Inside skipped values only the
//! nesting is; what is wrong there stays wrong for the client, whose bytes are not touched.

mod escape;

use std::ops::Range;

use memchr::memchr2;
use thiserror::Error;

pub use self::escape::{Unescaper, raw_length, unescape, write_escaped};
use crate::limits::{JSON_DEPTH_MAX, JSON_KEY_BYTES_MAX};

/// Bytes of a string looked at one by one before `memchr` is worth its start.
const SHORT_STRING_BYTES: usize = 16;

/// Why a text is not JSON for us.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum JsonError {
    /// A byte that cannot stand where it stands.
    #[error("unexpected byte")]
    Unexpected,
    /// Nested deeper than [`JSON_DEPTH_MAX`].
    #[error("nested too deep")]
    TooDeep,
    /// Something follows the document.
    #[error("text after the end of the document")]
    Trailing,
    /// The text ended inside a document.
    #[error("the document is not finished")]
    Unfinished,
    /// A backslash followed by something JSON does not know.
    #[error("invalid escape in a string")]
    Escape,
}

/// What kind of value begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A number, `true`, `false` or `null`; with its first byte.
    Scalar(u8),
}

/// What the scanner met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// A value begins; the cursor stands behind its first byte.
    Begin(Kind),
    /// A key is complete, see [`Scanner::key`]; the cursor stands behind its closing quote.
    Key,
    /// The innermost open value ended; the cursor stands behind its last byte.
    End,
    /// The chunk is used up.
    More,
}

/// How many documents a text holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Documents {
    /// Exactly one, or none at all.
    One,
    /// Any number, one after the other, as in a watch.
    Sequence,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Boundary,
    Value,
    FirstKey,
    NextKey,
    KeyText,
    Colon,
    FirstItem,
    AfterValue,
    Text,
    Scalar,
    Skip,
}

/// The incremental scanner.
#[derive(Clone, Debug)]
pub struct Scanner {
    documents: Documents,
    state: State,
    /// One bit a level: set for objects.
    objects: [u64; JSON_DEPTH_MAX / 64],
    depth: usize,
    /// The depth outside the value that is being skipped.
    floor: usize,
    in_string: bool,
    escaped: bool,
    started: bool,
    /// What is left of the `true`, `false` or `null` that is being read.
    literal: Option<&'static [u8]>,
    key: Key,
}

#[derive(Clone, Debug, Default)]
struct Key {
    /// Where the key stands in the current chunk, if it needs no unescaping.
    range: Option<Range<usize>>,
    text: Vec<u8>,
    unescaper: Unescaper,
    partial: bool,
    overlong: bool,
}

impl Scanner {
    /// A scanner at the beginning of a text.
    pub fn new(documents: Documents) -> Self {
        Self {
            documents,
            state: State::Boundary,
            objects: [0; JSON_DEPTH_MAX / 64],
            depth: 0,
            floor: 0,
            in_string: false,
            escaped: false,
            started: false,
            literal: None,
            key: Key::default(),
        }
    }

    /// Goes on from `cursor` to the next thing worth reporting.
    ///
    /// `chunk` must be the same until [`Step::More`] was reported; the next chunk starts with a
    /// cursor of 0.
    pub fn step(&mut self, chunk: &[u8], cursor: &mut usize) -> Result<Step, JsonError> {
        loop {
            match self.state {
                State::Skip => return self.run_skip(chunk, cursor),
                State::Text => return Ok(self.run_text(chunk, cursor)),
                State::Scalar => return self.run_scalar(chunk, cursor),
                State::KeyText => return self.run_key(chunk, cursor),
                _ => {}
            }
            let Some(byte) = next_significant(chunk, cursor) else {
                return Ok(Step::More);
            };
            if let Some(step) = self.punctuation(byte)? {
                return Ok(step);
            }
        }
    }

    /// Passes the value whose [`Step::Begin`] was just reported: the next step is its
    /// [`Step::End`] or [`Step::More`].
    pub fn skip_value(&mut self) {
        if matches!(self.state, State::FirstKey | State::FirstItem) {
            self.floor = self.depth.saturating_sub(1);
            self.in_string = false;
            self.state = State::Skip;
        }
    }

    /// The key just reported, unescaped, or `None` when it is longer than [`JSON_KEY_BYTES_MAX`].
    pub fn key<'a>(&'a self, chunk: &'a [u8]) -> Option<&'a [u8]> {
        if let Some(range) = &self.key.range {
            return chunk
                .get(range.clone())
                .filter(|key| key.len() <= JSON_KEY_BYTES_MAX);
        }
        (!self.key.overlong).then_some(self.key.text.as_slice())
    }

    /// How many containers are open.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Bytes held between chunks, apart from the scanner itself.
    pub fn held(&self) -> usize {
        self.key.text.len()
    }

    /// The text ended. True when this ends a number at the top level, which nothing else can end.
    pub fn finish(&mut self) -> Result<bool, JsonError> {
        match self.state {
            State::Boundary => Ok(false),
            State::Scalar if self.depth == 0 && self.literal.is_none_or(<[u8]>::is_empty) => {
                self.state = State::Boundary;
                Ok(true)
            }
            _ => Err(JsonError::Unfinished),
        }
    }

    fn punctuation(&mut self, byte: u8) -> Result<Option<Step>, JsonError> {
        match (self.state, byte) {
            (State::Boundary, _) => {
                if self.started && self.documents == Documents::One {
                    return Err(JsonError::Trailing);
                }
                self.started = true;
                self.begin(byte).map(Some)
            }
            (State::FirstKey, b'}')
            | (State::FirstItem, b']')
            | (State::AfterValue, b'}' | b']') => self.close(byte).map(Some),
            (State::FirstKey | State::NextKey, b'"') => {
                self.key.start();
                self.escaped = false;
                self.state = State::KeyText;
                Ok(None)
            }
            (State::Colon, b':') => {
                self.state = State::Value;
                Ok(None)
            }
            (State::AfterValue, b',') => {
                self.state = if self.in_object() {
                    State::NextKey
                } else {
                    State::Value
                };
                Ok(None)
            }
            (State::Value | State::FirstItem, _) => self.begin(byte).map(Some),
            _ => Err(JsonError::Unexpected),
        }
    }

    fn begin(&mut self, byte: u8) -> Result<Step, JsonError> {
        let (state, kind) = match byte {
            b'{' => (State::FirstKey, Kind::Object),
            b'[' => (State::FirstItem, Kind::Array),
            b'"' => (State::Text, Kind::String),
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => (State::Scalar, Kind::Scalar(byte)),
            _ => return Err(JsonError::Unexpected),
        };
        if matches!(kind, Kind::Object | Kind::Array) {
            self.open(kind == Kind::Object)?;
        }
        self.literal = match byte {
            b't' => Some(b"rue"),
            b'f' => Some(b"alse"),
            b'n' => Some(b"ull"),
            _ => None,
        };
        self.escaped = false;
        self.state = state;
        Ok(Step::Begin(kind))
    }

    fn open(&mut self, object: bool) -> Result<(), JsonError> {
        let Some(word) = self.objects.get_mut(self.depth / 64) else {
            return Err(JsonError::TooDeep);
        };
        let bit = 1_u64 << (self.depth % 64);
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        Ok(())
    }

    fn close(&mut self, byte: u8) -> Result<Step, JsonError> {
        if self.depth == 0 || self.in_object() != (byte == b'}') {
            return Err(JsonError::Unexpected);
        }
        self.depth -= 1;
        Ok(self.end())
    }

    fn end(&mut self) -> Step {
        self.state = if self.depth == 0 {
            State::Boundary
        } else {
            State::AfterValue
        };
        Step::End
    }

    fn in_object(&self) -> bool {
        let level = self.depth.saturating_sub(1);
        self.objects
            .get(level / 64)
            .is_some_and(|word| word >> (level % 64) & 1 == 1)
    }

    fn run_text(&mut self, chunk: &[u8], cursor: &mut usize) -> Step {
        if let Some(end) = self.string_end(chunk, *cursor) {
            *cursor = end;
            return self.end();
        }
        *cursor = chunk.len();
        Step::More
    }

    fn run_scalar(&mut self, chunk: &[u8], cursor: &mut usize) -> Result<Step, JsonError> {
        while let Some(byte) = chunk.get(*cursor) {
            let in_scalar =
                matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.');
            match self.literal.map(<[u8]>::split_first) {
                Some(Some((expected, rest))) if expected == byte => self.literal = Some(rest),
                Some(None) | None if !in_scalar => return Ok(self.end()),
                Some(_) => return Err(JsonError::Unexpected),
                None if byte.is_ascii_alphabetic() && !matches!(byte, b'e' | b'E') => {
                    return Err(JsonError::Unexpected);
                }
                None => {}
            }
            *cursor += 1;
        }
        Ok(Step::More)
    }

    fn run_key(&mut self, chunk: &[u8], cursor: &mut usize) -> Result<Step, JsonError> {
        let start = *cursor;
        let Some(end) = self.string_end(chunk, start) else {
            self.key.push(chunk.get(start..).unwrap_or_default())?;
            *cursor = chunk.len();
            return Ok(Step::More);
        };
        let text = start..end.saturating_sub(1);
        let piece = chunk.get(text.clone()).unwrap_or_default();
        if self.key.partial || piece.contains(&b'\\') {
            self.key.push(piece)?;
            self.key.finish()?;
        } else {
            self.key.range = Some(text);
        }
        *cursor = end;
        self.state = State::Colon;
        Ok(Step::Key)
    }

    fn run_skip(&mut self, chunk: &[u8], cursor: &mut usize) -> Result<Step, JsonError> {
        loop {
            if self.in_string {
                let Some(end) = self.string_end(chunk, *cursor) else {
                    *cursor = chunk.len();
                    return Ok(Step::More);
                };
                *cursor = end;
                self.in_string = false;
            }
            let rest = chunk.get(*cursor..).unwrap_or_default();
            let structural = rest
                .iter()
                .position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']'));
            let Some((offset, byte)) =
                structural.and_then(|offset| Some((offset, *rest.get(offset)?)))
            else {
                *cursor = chunk.len();
                return Ok(Step::More);
            };
            *cursor += offset + 1;
            match byte {
                b'"' => {
                    self.escaped = false;
                    self.in_string = true;
                }
                b'{' | b'[' => self.open(byte == b'{')?,
                _ => {
                    let step = self.close(byte)?;
                    if self.depth == self.floor {
                        return Ok(step);
                    }
                    self.state = State::Skip;
                }
            }
        }
    }

    /// The place behind the closing quote of the string that contains `from`, if it is in `chunk`.
    fn string_end(&mut self, chunk: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        if self.escaped {
            chunk.get(at)?;
            self.escaped = false;
            at += 1;
        }
        loop {
            let rest = chunk.get(at..)?;
            let (head, tail) = rest.split_at(rest.len().min(SHORT_STRING_BYTES));
            let offset = head
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\'))
                .or_else(|| Some(head.len() + memchr2(b'"', b'\\', tail)?))?;
            if rest.get(offset) == Some(&b'"') {
                return Some(at + offset + 1);
            }
            at += offset + 2;
            if at > chunk.len() {
                self.escaped = true;
                return None;
            }
        }
    }
}

impl Key {
    fn start(&mut self) {
        self.range = None;
        self.text.clear();
        self.unescaper = Unescaper::default();
        self.partial = false;
        self.overlong = false;
    }

    fn push(&mut self, raw: &[u8]) -> Result<(), JsonError> {
        self.partial = true;
        let (text, overlong) = (&mut self.text, &mut self.overlong);
        self.unescaper
            .push(raw, &mut |piece| append_key(text, overlong, piece))
    }

    fn finish(&mut self) -> Result<(), JsonError> {
        let (text, overlong) = (&mut self.text, &mut self.overlong);
        self.unescaper
            .finish(&mut |piece| append_key(text, overlong, piece))
    }
}

fn append_key(text: &mut Vec<u8>, overlong: &mut bool, piece: &[u8]) {
    if *overlong || text.len() + piece.len() > JSON_KEY_BYTES_MAX {
        *overlong = true;
    } else {
        text.extend_from_slice(piece);
    }
}

/// The next byte that is not blank; the cursor is behind it.
fn next_significant(chunk: &[u8], cursor: &mut usize) -> Option<u8> {
    loop {
        let byte = *chunk.get(*cursor)?;
        *cursor += 1;
        if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            return Some(byte);
        }
    }
}

#[cfg(test)]
mod tests;
