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
//! The grammar of punctuation is checked where the scanner walks. Inside skipped values brackets are counted, by
//! kind and up to the depth that is allowed, strings have to end, and no backslash may stand outside of one. That
//! each bracket closes the one before it is not checked there: where it does not, no reader finds a
//! document, and the bytes were to pass anyway. What is wrong stays wrong for the client, whose bytes are not touched.
//!
//! Strings and skipped values are looked through 64 bytes at a time ([`blocks`]), and so are members
//! nobody wants, key and all ([`Scanner::step_where`]).

mod blocks;
mod compact;
mod escape;
mod key;
mod marks;
mod members;

use thiserror::Error;

use self::blocks::Skip;
use self::key::Key;
use self::members::Passed;

pub use self::blocks::{Quotes, Walk, open_string, walk};
pub use self::compact::compact_members;
pub use self::escape::{Places, Unescaper, unescape, unescape_with_places, write_escaped};
pub use self::marks::Marks;
use crate::limits::JSON_DEPTH_MAX;

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
    /// The container that is being skipped.
    skip: Skip,
    /// The value that is being read, or comes next, is of a member nobody wants.
    unwanted: bool,
    /// Where it begins, if it did in this chunk.
    unwanted_from: usize,
    /// A backslash stands before what comes next in the string.
    escaped: bool,
    started: bool,
    /// What is left of the `true`, `false` or `null` that is being read.
    literal: Option<&'static [u8]>,
    key: Key,
    /// Where the value of the member whose key was just read ends, if it is a string without an escape that was seen
    /// together with the key.
    plain_end: Option<usize>,
}

impl Scanner {
    /// A scanner at the beginning of a text.
    pub fn new(documents: Documents) -> Self {
        Self {
            documents,
            state: State::Boundary,
            objects: [0; JSON_DEPTH_MAX / 64],
            depth: 0,
            skip: Skip::new(false, 0),
            unwanted: false,
            unwanted_from: 0,
            escaped: false,
            started: false,
            literal: None,
            key: Key::default(),
            plain_end: None,
        }
    }

    /// Whether no document is open.
    pub fn is_between_documents(&self) -> bool {
        self.state == State::Boundary
    }

    /// Goes on from `cursor` to the next thing worth reporting.
    ///
    /// `chunk` must be the same until [`Step::More`] was reported. Then the same chunk may go on with more bytes than before,
    /// or the next one starts with a cursor of 0.
    pub fn step(&mut self, chunk: &[u8], cursor: &mut usize) -> Result<Step, JsonError> {
        self.step_where(chunk, cursor, |_key| true)
    }

    /// The same, but of members whose key `wants` says no to nothing is reported. It is asked once for each key,
    /// with what [`Scanner::key`] would answer.
    pub fn step_where(
        &mut self,
        chunk: &[u8],
        cursor: &mut usize,
        wants: impl FnMut(Option<&[u8]>) -> bool,
    ) -> Result<Step, JsonError> {
        self.step_by(chunk, cursor, wants, blocks::quotes)
    }

    /// The same on a [`Walk`].
    #[expect(
        clippy::inline_always,
        reason = "it is compiled for the vectors of its caller"
    )]
    #[inline(always)]
    pub fn step_by(
        &mut self,
        chunk: &[u8],
        cursor: &mut usize,
        mut wants: impl FnMut(Option<&[u8]>) -> bool,
        quotes: impl Quotes,
    ) -> Result<Step, JsonError> {
        loop {
            let step = match self.state {
                State::Skip => self.run_skip(chunk, cursor)?,
                State::Text => self.run_text(chunk, cursor),
                State::Scalar => self.run_scalar(chunk, cursor)?,
                State::KeyText => self.run_key(chunk, cursor, &mut wants)?,
                // What comes here is certain, and comes for every member.
                State::Colon | State::Value => {
                    let Some(byte) = next_significant(chunk, cursor) else {
                        return Ok(Step::More);
                    };
                    if self.state == State::Value {
                        self.unwanted_from = *cursor - 1;
                        self.begin(byte)?
                    } else {
                        self.colon(byte)?
                    }
                }
                State::Boundary
                | State::FirstKey
                | State::NextKey
                | State::FirstItem
                | State::AfterValue => {
                    match self.run_members(chunk, cursor, &mut wants, quotes)? {
                        Passed::Key => Some(Step::Key),
                        Passed::Begun => None,
                        Passed::Nothing => {
                            let Some(byte) = next_significant(chunk, cursor) else {
                                return Ok(Step::More);
                            };
                            self.punctuation(byte)?
                        }
                    }
                }
            };
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// Passes the value whose [`Step::Begin`] was just reported: the next step is its
    /// [`Step::End`] or [`Step::More`].
    pub fn skip_value(&mut self) {
        if matches!(self.state, State::FirstKey | State::FirstItem) {
            self.skip = Skip::new(self.state == State::FirstKey, self.depth);
            self.state = State::Skip;
        }
    }

    /// The value of the member whose [`Step::Key`] was just reported, if it is a string without an escape that follows at
    /// once and ends in this chunk: then it is passed, and neither [`Step::Begin`] nor [`Step::End`] follows.
    #[expect(
        clippy::inline_always,
        reason = "it is compiled for the vectors of its caller"
    )]
    #[inline(always)]
    pub fn plain_string<'a>(
        &mut self,
        chunk: &'a [u8],
        cursor: &mut usize,
        quotes: impl Quotes,
    ) -> Option<&'a [u8]> {
        let rest = chunk.get(*cursor..)?.strip_prefix(b":\"")?;
        if self.state != State::Colon {
            return None;
        }
        let start = *cursor + 2;
        let length = match self.plain_end.take() {
            Some(end) => end.checked_sub(start)?,
            None => blocks::plain_end(rest, quotes)?,
        };
        let text = rest.get(..length)?;
        self.state = State::AfterValue;
        *cursor = start + length + 1;
        Some(text)
    }

    /// Behind a [`Step::More`] before or within a value that nobody wanted: it is reported from now on like any other. Answers
    /// where it begins in this chunk, if its [`Step::Begin`] is over. Who asks does so at the end of every chunk.
    pub fn want_after_all(&mut self) -> Option<usize> {
        let begun = !matches!(self.state, State::Colon | State::Value);
        let unwanted = std::mem::take(&mut self.unwanted);
        (unwanted && begun).then_some(self.unwanted_from)
    }

    /// Leaves the container whose [`Step::Begin`] was just reported: the cursor was moved behind it. No
    /// [`Step::End`] follows.
    pub fn leave_value(&mut self) {
        if matches!(self.state, State::FirstKey | State::FirstItem) {
            self.depth -= 1;
            self.end();
        }
    }

    /// The key just reported, unescaped, or `None` when it is longer than [`JSON_KEY_BYTES_MAX`](crate::limits::JSON_KEY_BYTES_MAX).
    pub fn key<'a>(&'a self, chunk: &'a [u8]) -> Option<&'a [u8]> {
        self.key.text(chunk)
    }

    /// How many containers are open.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Bytes held between chunks, apart from the scanner itself.
    pub fn held(&self) -> usize {
        self.key.held()
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
                self.begin(byte)
            }
            (State::FirstKey, b'}')
            | (State::FirstItem, b']')
            | (State::AfterValue, b'}' | b']') => self.close(byte),
            (State::FirstKey | State::NextKey, b'"') => {
                self.key.start();
                self.escaped = false;
                self.state = State::KeyText;
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
            (State::FirstItem, _) => self.begin(byte),
            _ => Err(JsonError::Unexpected),
        }
    }

    fn colon(&mut self, byte: u8) -> Result<Option<Step>, JsonError> {
        if byte != b':' {
            return Err(JsonError::Unexpected);
        }
        self.state = State::Value;
        Ok(None)
    }

    fn begin(&mut self, byte: u8) -> Result<Option<Step>, JsonError> {
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
        if self.unwanted {
            self.skip_value();
            return Ok(None);
        }
        Ok(Some(Step::Begin(kind)))
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

    fn close(&mut self, byte: u8) -> Result<Option<Step>, JsonError> {
        if self.depth == 0 || self.in_object() != (byte == b'}') {
            return Err(JsonError::Unexpected);
        }
        self.depth -= 1;
        Ok(self.end())
    }

    /// A value ended; nothing is reported of one that nobody wanted.
    fn end(&mut self) -> Option<Step> {
        self.state = if self.depth == 0 {
            State::Boundary
        } else {
            State::AfterValue
        };
        (!std::mem::take(&mut self.unwanted)).then_some(Step::End)
    }

    fn in_object(&self) -> bool {
        let level = self.depth.saturating_sub(1);
        self.objects
            .get(level / 64)
            .is_some_and(|word| word >> (level % 64) & 1 == 1)
    }

    fn run_text(&mut self, chunk: &[u8], cursor: &mut usize) -> Option<Step> {
        let rest = chunk.get(*cursor..).unwrap_or_default();
        let Some(end) = blocks::string_end(rest, &mut self.escaped) else {
            *cursor = chunk.len();
            return Some(Step::More);
        };
        *cursor += end;
        self.end()
    }

    fn run_scalar(&mut self, chunk: &[u8], cursor: &mut usize) -> Result<Option<Step>, JsonError> {
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
        Ok(Some(Step::More))
    }

    fn run_key(
        &mut self,
        chunk: &[u8],
        cursor: &mut usize,
        wants: &mut impl FnMut(Option<&[u8]>) -> bool,
    ) -> Result<Option<Step>, JsonError> {
        let rest = chunk.get(*cursor..).unwrap_or_default();
        let Some(length) = blocks::string_end(rest, &mut self.escaped) else {
            self.key.push(rest)?;
            *cursor = chunk.len();
            return Ok(Some(Step::More));
        };
        let end = *cursor + length;
        self.key.end(chunk, *cursor..end.saturating_sub(1))?;
        *cursor = end;
        self.state = State::Colon;
        self.plain_end = None;
        self.unwanted = !wants(self.key.text(chunk));
        Ok((!self.unwanted).then_some(Step::Key))
    }

    fn run_skip(&mut self, chunk: &[u8], cursor: &mut usize) -> Result<Option<Step>, JsonError> {
        let rest = chunk.get(*cursor..).unwrap_or_default();
        let Some(end) = self.skip.end(rest)? else {
            *cursor = chunk.len();
            return Ok(Some(Step::More));
        };
        *cursor += end;
        self.depth -= 1;
        Ok(self.end())
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
