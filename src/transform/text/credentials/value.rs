//! Where the secret part begins and ends behind a lead-in, byte by byte.

use super::assigned::Assigned;
use super::key::Key;
use super::patterns::Value;
use super::token::TokenValue;
use super::url::UrlPassword;

/// What a byte means to a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// It stands before the value, and is not secret.
    Gap,
    /// It cannot be said yet.
    Open,
    /// It is secret, and so are all that were open.
    Hide,
    /// All that were open are secret; this one is open.
    HideBefore,
    /// The value ended before this byte. Of those that were open the last ones are not secret, so many.
    End { shown: usize },
}

/// Nothing of what was open is secret.
pub(super) const NO_VALUE: Step = Step::End { shown: usize::MAX };

/// All that was open is secret.
pub(super) const WHOLE_VALUE: Step = Step::End { shown: 0 };

/// A value that is being read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reader {
    Token(TokenValue),
    Url(UrlPassword),
    Assigned(Assigned),
    Key(Key),
}

impl Reader {
    /// A reader behind a lead-in. A private key's end begins nothing.
    pub(super) fn new(value: Value) -> Option<Self> {
        match value {
            Value::Token(token) => Some(Self::Token(TokenValue::new(token))),
            Value::Url => Some(Self::Url(UrlPassword::default())),
            Value::Assigned(style) => Some(Self::Assigned(Assigned::new(style))),
            Value::InQuotes(quote) => Some(Self::Assigned(Assigned::in_quotes(quote))),
            Value::Key => Some(Self::Key(Key::default())),
            Value::KeyEnd => None,
        }
    }

    /// Reads a byte. `decided` says that something of the value is known to be secret already.
    pub(super) fn step(&mut self, byte: u8, decided: bool) -> Step {
        match self {
            Self::Token(token) => token.step(byte, decided),
            Self::Url(url) => url.step(byte, decided),
            Self::Assigned(assigned) => assigned.step(byte, decided),
            Self::Key(key) => key.step(byte),
        }
    }

    /// The text is over, and complete.
    pub(super) fn end(&self, decided: bool) -> Step {
        match self {
            Self::Token(token) => token.end(decided),
            Self::Url(url) => url.end(decided),
            Self::Assigned(assigned) => assigned.end(decided),
            Self::Key(_) => WHOLE_VALUE,
        }
    }

    /// The text was cut off: would this, longer, have been a credential?
    pub(super) fn may_go_on(&self) -> bool {
        match self {
            Self::Token(token) => token.plausible(),
            Self::Url(url) => url.plausible(),
            Self::Assigned(_) | Self::Key(_) => false,
        }
    }

    /// Nobody can wait for more: is what is open rather a credential than not?
    pub(super) fn plausible(&self) -> bool {
        match self {
            Self::Token(token) => token.plausible(),
            Self::Url(url) => url.plausible(),
            Self::Assigned(_) | Self::Key(_) => true,
        }
    }
}

/// Bytes of a value that are compared with words: one more than the longest.
const OPENING_BYTES: usize = 16;

/// The first bytes of a value, by which it is known to be none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opening {
    bytes: [u8; OPENING_BYTES],
    length: usize,
}

/// What the first bytes say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Likeness {
    /// It stands for a value, and is none.
    Reference,
    /// It may become a reference, or stay a word.
    Undecided,
    Value,
}

/// What stands for a value, and is none.
pub(super) const REFERENCES: &[&[u8]] = &[b"$(", b"${", b"{{", b"[masked", b"***"];

/// Words that are no credential although their name says so; Go and others print the later ones instead
/// of a value.
pub(super) const WORDS: &[&[u8]] = &[
    b"true",
    b"false",
    b"null",
    b"none",
    b"nil",
    b"~",
    b"<none>",
    b"<nil>",
    b"<unset>",
    b"<redacted>",
    b"redacted",
    b"xxxxx",
];

impl Opening {
    pub(super) fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    /// It has something that no word and no reference has.
    pub(super) fn spoil(&mut self) {
        self.length = OPENING_BYTES;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn likeness(&self, references: &[&[u8]], words: &[&[u8]]) -> Likeness {
        let text = self.text();
        if references.iter().any(|mark| text.starts_with(mark)) {
            return Likeness::Reference;
        }
        let begins = |whole: &&[u8]| {
            whole
                .get(..text.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(text))
        };
        if references.iter().any(begins) || words.iter().any(begins) {
            Likeness::Undecided
        } else {
            Likeness::Value
        }
    }

    pub(super) fn is_word(&self, words: &[&[u8]]) -> bool {
        let text = self.text();
        words.iter().any(|word| word.eq_ignore_ascii_case(text))
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}
