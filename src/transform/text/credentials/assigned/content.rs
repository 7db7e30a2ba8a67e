//! What all values have in common, and those in quotes.

use super::super::value::{Likeness, NO_VALUE, Opening, Step, WHOLE_VALUE};
use crate::limits::PRIVATE_KEY_BYTES_MAX;

/// Backslashes before a quote, bytes of a colour, blanks of an indentation that are open at most.
pub(super) const TAIL_BYTES_MAX: usize = 128;

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
        match self.opening.likeness(self.references) {
            Likeness::Reference => NO_VALUE,
            Likeness::Undecided => Step::Open,
            Likeness::Value => Step::Hide,
        }
    }

    /// Bytes of a value that is known to be secret.
    pub(super) fn pass(&mut self, text: &[u8]) {
        self.opening.pass(text);
    }

    /// A byte or more was read that no word and no reference has.
    pub(super) fn spoil(&mut self) {
        self.opening.spoil();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.opening.is_empty()
    }

    /// Is it what stands before the quote in some languages?
    pub(super) fn is_prefix(&self) -> bool {
        self.opening.is_prefix()
    }

    pub(super) fn is_within_brackets(&self) -> bool {
        self.opening.is_within_brackets()
    }

    pub(super) fn goes_on_behind_line(&self) -> bool {
        self.opening.goes_on_behind_line()
    }

    pub(super) fn is_no_value(&self) -> bool {
        self.opening.is_no_value()
    }

    /// The value ended; so many of the bytes that are open stand behind it.
    pub(super) fn over(&self, shown: usize, decided: bool) -> Step {
        if !decided && (self.opening.is_empty() || self.is_no_value()) {
            NO_VALUE
        } else {
            Step::End { shown }
        }
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
    /// What stands behind the quote that closed it, with that.
    behind: Option<Behind>,
}

/// Behind a closing quote the value goes on, if another one opens it again: `'it''s'` in YAML, in a shell `'it'\''s'`
/// and `'it'"'"'s'`.
#[derive(Clone, Copy, Debug)]
struct Behind {
    length: usize,
    place: BehindPlace,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum BehindPlace {
    Quote,
    Slashes,
    /// Within quotes of the other kind.
    Other,
    /// There, behind the quote; backslashes may stand before the end.
    OtherQuote,
}

impl Behind {
    /// Reads a byte. `None`: the value ended.
    fn step(self, byte: u8, quote: u8) -> Option<Self> {
        let is_other = is_quote(byte) && byte != quote;
        let place = match (self.place, byte) {
            _ if self.length >= TAIL_BYTES_MAX => return None,
            (BehindPlace::Quote | BehindPlace::Slashes, b'\\') => BehindPlace::Slashes,
            (BehindPlace::Quote | BehindPlace::Slashes, _) if is_other => BehindPlace::Other,
            (BehindPlace::Slashes, _) if byte == quote => BehindPlace::Quote,
            (BehindPlace::Other, _) if byte == quote => BehindPlace::OtherQuote,
            (BehindPlace::OtherQuote, b'\\') => BehindPlace::OtherQuote,
            (BehindPlace::OtherQuote, _) if is_other => BehindPlace::Quote,
            _ => return None,
        };
        let length = self.length + 1;
        Some(Self { length, place })
    }
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'')
}

impl Quoted {
    pub(super) fn new(quote: u8, slashes: usize) -> Self {
        Self {
            quote,
            slashes,
            run: 0,
            behind: None,
        }
    }

    pub(super) fn step(&mut self, byte: u8, content: &mut Content, decided: bool) -> Step {
        if let Some(behind) = self.behind {
            return self.behind(behind, byte, content, decided);
        }
        if byte == self.quote && self.closes() {
            if !decided && content.opening.takes_quote() {
                self.run = 0;
                return content.take(byte, decided);
            }
            let length = self.run.min(self.slashes);
            if self.slashes > 0 || !is_quote(byte) {
                return content.over(length, decided);
            }
            self.behind = Some(Behind {
                length: length + 1,
                place: BehindPlace::Quote,
            });
            return if decided {
                Step::HideBefore
            } else {
                Step::Open
            };
        }
        if matches!(byte, b'\n' | b'\r' | 0) {
            return content.over(0, decided);
        }
        if byte == b'\\' && self.run < TAIL_BYTES_MAX {
            self.run += 1;
            return Step::Open;
        }
        if self.run > 0 {
            content.spoil();
            self.run = 0;
        }
        content.take(byte, decided)
    }

    /// Is this byte within the quotes, and nothing open before it?
    pub(super) fn holds(&self, byte: u8) -> bool {
        let ends = byte == self.quote || matches!(byte, b'\n' | b'\r' | 0 | b'\\');
        !ends && self.run == 0 && self.behind.is_none()
    }

    fn behind(&mut self, behind: Behind, byte: u8, content: &mut Content, decided: bool) -> Step {
        if byte == self.quote && behind.place == BehindPlace::Quote {
            self.behind = None;
            self.run = 0;
            content.spoil();
            return content.take(byte, decided);
        }
        self.behind = behind.step(byte, self.quote);
        match self.behind {
            Some(_) => Step::Open,
            None => content.over(behind.length, decided),
        }
    }

    /// The text is over.
    pub(super) fn end(&self, content: &Content, decided: bool) -> Step {
        let shown = self.behind.map_or(0, |behind| behind.length);
        content.over(shown, decided)
    }

    /// Nobody can wait for more: is what is open a part of the value?
    pub(super) fn plausible(&self, content: &Content, decided: bool) -> bool {
        let is_reference = self.behind.is_some() && content.is_no_value();
        !decided && !is_reference
    }

    /// Is this byte the second quote of two, with nothing between them?
    pub(super) fn is_empty(&self, byte: u8, content: &Content) -> bool {
        byte == self.quote && self.run == 0 && self.slashes == 0 && content.is_empty()
    }

    /// Of the backslashes before a quote those that opened it close it too; pairs of escaped ones may
    /// stand before them.
    fn closes(&self) -> bool {
        self.run <= self.slashes || self.run % (2 * (self.slashes + 1)) == self.slashes
    }
}

/// A value in three quotes, of any number of lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tripled {
    quote: u8,
    /// Quotes just read.
    run: usize,
    length: usize,
}

impl Tripled {
    pub(super) fn new(quote: u8) -> Self {
        Self {
            quote,
            run: 0,
            length: 0,
        }
    }

    pub(super) fn step(&mut self, byte: u8, content: &mut Content, decided: bool) -> Step {
        self.length += 1;
        if self.length > PRIVATE_KEY_BYTES_MAX {
            return WHOLE_VALUE;
        }
        if byte == self.quote {
            self.run += 1;
            return match self.run {
                1 if decided => Step::HideBefore,
                3 => content.over(2, decided),
                _ => Step::Open,
            };
        }
        if std::mem::take(&mut self.run) > 0 {
            content.spoil();
        }
        content.take(byte, decided)
    }
}
