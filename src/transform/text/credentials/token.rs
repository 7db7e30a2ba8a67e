//! Credentials of one class of bytes: keys of clouds, JSON web tokens, base64.

use super::value::{Likeness, NO_VALUE, Opening, REFERENCES, Step, WHOLE_VALUE, WORDS};

/// What comes after `basic` and `bearer` in ordinary text.
pub(super) const ORDINARY_WORDS: &[&[u8]] = &[
    b"authentication",
    b"authenticator",
    b"authorization",
    b"configuration",
    b"credentials",
    b"functionality",
    b"information",
    b"operations",
    b"settings",
    b"structure",
    b"validation",
];

/// How a token looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    class: fn(u8) -> bool,
    least: usize,
    exactly: bool,
    gap: bool,
    ordinary: bool,
}

impl Token {
    /// So many bytes of a class, or more.
    pub(super) const fn of(least: usize, class: fn(u8) -> bool) -> Self {
        Self {
            class,
            least,
            exactly: false,
            gap: false,
            ordinary: false,
        }
    }

    /// No more than that, and then the end of a word.
    pub(super) const fn exactly(self) -> Self {
        Self {
            exactly: true,
            ..self
        }
    }

    /// Blanks and quotes may stand before it.
    pub(super) const fn after_a_gap(self) -> Self {
        Self { gap: true, ..self }
    }

    /// The lead-in is an ordinary word: after a pause fewer bytes than a token has may pass.
    pub(super) const fn after_a_word(self) -> Self {
        Self {
            ordinary: true,
            ..self
        }
    }
}

/// A token that is being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenValue {
    token: Token,
    length: usize,
    opening: Opening,
    full_stop: bool,
}

impl TokenValue {
    pub(super) fn new(token: Token) -> Self {
        Self {
            token,
            length: 0,
            opening: Opening::default(),
            full_stop: false,
        }
    }

    pub(super) fn step(&mut self, byte: u8, decided: bool) -> Step {
        if self.length == 0 && self.token.gap && matches!(byte, b' ' | b'\t' | b'"' | b'\'' | b'\\')
        {
            return Step::Gap;
        }
        if !(self.token.class)(byte) {
            return self.over(decided, !is_word(byte));
        }
        self.length += 1;
        if self.token.ordinary && byte == b'.' {
            self.full_stop = true;
        } else {
            if self.full_stop {
                self.opening.spoil();
            }
            self.opening.push(byte);
        }
        if decided {
            return Step::Hide;
        }
        if self.token.exactly {
            return if self.length > self.token.least {
                NO_VALUE
            } else {
                Step::Open
            };
        }
        if self.length < self.token.least || self.may_be_a_word() {
            Step::Open
        } else {
            Step::Hide
        }
    }

    pub(super) fn end(&self, decided: bool) -> Step {
        self.over(decided, true)
    }

    /// All but the first bytes behind an ordinary word.
    pub(super) fn plausible(&self) -> bool {
        !self.token.ordinary || self.length >= self.token.least && !self.may_be_a_word()
    }

    fn over(&self, decided: bool, word_ends: bool) -> Step {
        let long_enough = self.length >= self.token.least;
        let whole = long_enough && (word_ends || !self.token.exactly);
        if decided || whole && !self.opening.is_word(self.words()) {
            WHOLE_VALUE
        } else {
            NO_VALUE
        }
    }

    fn may_be_a_word(&self) -> bool {
        self.opening.likeness(REFERENCES, self.words()) != Likeness::Value
    }

    fn words(&self) -> &'static [&'static [u8]] {
        if self.token.ordinary {
            ORDINARY_WORDS
        } else {
            WORDS
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
