//! The value itself, in quotes and without.

use super::super::value::{Likeness, NO_VALUE, Opening, Step, WORDS};

/// Backslashes before a quote, bytes of a colour, blanks of an indentation that are open at most.
pub(super) const TAIL_BYTES_MAX: usize = 128;

/// Bytes of a word on the line after the name that may turn out to be a key of YAML.
const KEY_BYTES_MAX: usize = 64;

/// What of a value was read, to tell it from what stands for one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    opening: Opening,
    references: &'static [&'static [u8]],
}

impl Content {
    pub(super) fn new(references: &'static [&'static [u8]]) -> Self {
        Self {
            opening: Opening::default(),
            references,
        }
    }

    /// A byte of the value.
    pub(super) fn take(&mut self, byte: u8, decided: bool) -> Step {
        self.opening.push(byte);
        if decided {
            return Step::Hide;
        }
        match self.opening.likeness(self.references, WORDS) {
            Likeness::Reference => NO_VALUE,
            Likeness::Undecided => Step::Open,
            Likeness::Value => Step::Hide,
        }
    }

    pub(super) fn is_word(&self) -> bool {
        self.opening.is_word(WORDS)
    }

    /// The value ended; so many of the bytes that are open stand behind it.
    pub(super) fn over(&self, shown: usize, decided: bool) -> Step {
        if !decided && (self.opening.is_empty() || self.is_word()) {
            NO_VALUE
        } else {
            Step::End { shown }
        }
    }
}

/// A value without quotes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bare {
    tail: Tail,
    length: usize,
    /// It stands on the line after the name: if it ends in a colon, it is a key.
    next_line: bool,
    last: u8,
}

/// The open end of a value.
#[derive(Clone, Copy, Debug, Default)]
enum Tail {
    #[default]
    None,
    /// They belong to the value, unless a quote follows.
    Slashes(usize),
    /// A colour, within the value or behind it.
    Colour { length: usize, complete: bool },
}

impl Bare {
    pub(super) fn new(next_line: bool) -> Self {
        Self {
            next_line,
            ..Self::default()
        }
    }

    pub(super) fn step(
        &mut self,
        byte: u8,
        content: &mut Content,
        stops: &[u8],
        decided: bool,
    ) -> Step {
        if is_end(byte) || stops.contains(&byte) && !self.within_colour() {
            return self.over(byte, content, decided);
        }
        let tail = match (self.tail, byte) {
            (Tail::Slashes(TAIL_BYTES_MAX..), _) => Tail::None,
            (Tail::Slashes(slashes), b'\\') => Tail::Slashes(slashes + 1),
            (_, b'\\') => Tail::Slashes(1),
            (Tail::Colour { length, .. }, _) if length >= TAIL_BYTES_MAX => Tail::None,
            (
                Tail::Colour {
                    length,
                    complete: false,
                },
                b'[' | b';' | b'0'..=b'9' | b'm',
            ) => Tail::Colour {
                length: length + 1,
                complete: byte == b'm',
            },
            (Tail::Colour { length, .. }, 0x1b) => Tail::Colour {
                length: length + 1,
                complete: false,
            },
            (_, 0x1b) => Tail::Colour {
                length: 1,
                complete: false,
            },
            _ => Tail::None,
        };
        self.go_on(tail, byte, content, decided)
    }

    /// Colours and quotes end a value, as do blanks: what is open before them may be none of it.
    pub(super) fn over(&self, byte: u8, content: &Content, decided: bool) -> Step {
        let shown = match self.tail {
            Tail::Colour { length, .. } => length,
            Tail::Slashes(slashes) if matches!(byte, b'"' | b'\'') => slashes,
            _ => 0,
        };
        if self.next_line && self.last == b':' && !decided {
            return NO_VALUE;
        }
        content.over(shown, decided)
    }

    fn go_on(&mut self, tail: Tail, byte: u8, content: &mut Content, decided: bool) -> Step {
        let before = std::mem::replace(&mut self.tail, tail);
        match (before, tail) {
            (Tail::None, Tail::None) => {}
            (Tail::None, _)
            | (Tail::Slashes(_), Tail::Slashes(_))
            | (Tail::Colour { .. }, Tail::Colour { .. }) => return Step::Open,
            (_, Tail::None) => content.opening.spoil(),
            _ => {
                content.opening.spoil();
                return Step::HideBefore;
            }
        }
        self.length += 1;
        self.last = byte;
        match content.take(byte, decided) {
            Step::Hide if self.next_line && self.length < KEY_BYTES_MAX && !decided => Step::Open,
            step => step,
        }
    }

    fn within_colour(&self) -> bool {
        matches!(
            self.tail,
            Tail::Colour {
                complete: false,
                ..
            }
        )
    }
}

/// A value in quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoted {
    quote: u8,
    /// Backslashes before the quote that opened it: JSON within JSON has one, a level deeper three.
    slashes: usize,
    /// Backslashes just read.
    run: usize,
}

impl Quoted {
    pub(super) fn new(quote: u8, slashes: usize) -> Self {
        Self {
            quote,
            slashes,
            run: 0,
        }
    }

    pub(super) fn step(&mut self, byte: u8, content: &mut Content, decided: bool) -> Step {
        if byte == self.quote && self.closes() {
            return content.over(self.run.min(self.slashes), decided);
        }
        if matches!(byte, b'\n' | b'\r' | 0) {
            return content.over(0, decided);
        }
        if byte == b'\\' && self.run < TAIL_BYTES_MAX {
            self.run += 1;
            return Step::Open;
        }
        if self.run > 0 {
            content.opening.spoil();
            self.run = 0;
        }
        content.take(byte, decided)
    }

    /// Of the backslashes before a quote those that opened it close it too; pairs of escaped ones may
    /// stand before them.
    fn closes(&self) -> bool {
        self.run <= self.slashes || self.run % (2 * (self.slashes + 1)) == self.slashes
    }
}

/// Does this byte end every value without quotes?
pub(super) fn is_end(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, 0x0b | 0 | b'"' | b'\'')
}
