//! Credentials of one class of bytes: keys of clouds, JSON web tokens, base64.

use super::value::{Likeness, NO_VALUE, Opening, Step, WHOLE_VALUE};

/// Bytes behind an ordinary word that are a token although all of them are letters of one case.
const WORD_BYTES_MAX: usize = 32;

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

    /// The lead-in is an ordinary word, so what follows has to look random.
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
    /// It has a digit, or a capital letter behind a small one; `Commands` and `understanding` do not.
    random: bool,
    last: u8,
}

impl TokenValue {
    pub(super) fn new(token: Token) -> Self {
        Self {
            token,
            length: 0,
            opening: Opening::default(),
            random: !token.ordinary,
            last: 0,
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
        self.opening.push(byte);
        self.random |= byte.is_ascii_digit()
            || byte.is_ascii_uppercase() && self.last.is_ascii_lowercase()
            || self.length >= WORD_BYTES_MAX;
        self.last = byte;
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
        if self.plausible() && self.long_enough() && !self.may_be_a_word() {
            Step::Hide
        } else {
            Step::Open
        }
    }

    pub(super) fn holds(&self, byte: u8) -> bool {
        self.length > 0 && (self.token.class)(byte)
    }

    /// Of what is known to be secret nothing else counts.
    pub(super) fn pass(&mut self, text: &[u8]) {
        self.length += text.len();
    }

    pub(super) fn end(&self, decided: bool) -> Step {
        self.over(decided, true)
    }

    /// All but the first bytes behind an ordinary word.
    pub(super) fn plausible(&self) -> bool {
        !self.token.ordinary || self.random && self.long_enough()
    }

    fn over(&self, decided: bool, word_ends: bool) -> Step {
        let whole = self.long_enough() && (word_ends || !self.token.exactly);
        if decided || whole && self.plausible() && !self.opening.is_no_value() {
            WHOLE_VALUE
        } else {
            NO_VALUE
        }
    }

    fn long_enough(&self) -> bool {
        self.length >= self.token.least
    }

    fn may_be_a_word(&self) -> bool {
        self.opening.likeness(&[]) != Likeness::Value
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
