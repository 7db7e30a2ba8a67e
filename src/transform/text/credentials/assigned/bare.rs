//! A value without quotes: where it ends, and what looks like one and is none.

use super::super::value::{NO_VALUE, Step, WHOLE_VALUE};
use super::Style;
use super::content::{Content, TAIL_BYTES_MAX};

/// Bytes that may turn out to be something else: a key of YAML, a word of prose, a function, a number.
const DOUBTFUL_BYTES_MAX: usize = 64;

/// A value without quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bare {
    tail: Tail,
    length: usize,
    line: Line,
    shape: Shape,
    last: u8,
    /// Bytes since the first blank, which stands within brackets: all are a reference, or the first word is a value.
    behind_word: usize,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Line {
    /// On the line of the name.
    Same,
    /// On the next one: if it ends in a colon, it is a key.
    Next,
    /// There, as the first of a list: if another word follows, it is no value.
    Item,
}

/// The open end of a value.
#[derive(Clone, Copy, Debug)]
enum Tail {
    None,
    /// They belong to the value, unless a quote follows.
    Slashes(usize),
    /// A colour, within the value or behind it.
    Colour {
        length: usize,
        complete: bool,
    },
    /// A comma or the like and what may be the name of another pair.
    Separator {
        length: usize,
    },
    /// A quote and the backslashes before it: within the value, or behind it.
    Quote {
        length: usize,
        quote: u8,
    },
    /// Behind a word: if another one follows, it was prose.
    Blanks {
        length: usize,
    },
}

/// What a text without quotes may be.
#[derive(Clone, Copy, Debug)]
struct Shape {
    word: Word,
    /// `os.Getenv(`: it is a call, if a quote follows.
    call: bool,
    number: bool,
}

/// May it be a word of prose: letters, of which at most the first is a capital one, and punctuation?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Word {
    Letters,
    Punctuated,
    No,
}

impl Bare {
    pub(super) fn new(line: Line) -> Self {
        Self {
            tail: Tail::None,
            length: 0,
            line,
            shape: Shape {
                word: Word::Letters,
                call: true,
                number: true,
            },
            last: 0,
            behind_word: 0,
        }
    }

    pub(super) fn step(
        &mut self,
        byte: u8,
        content: &mut Content,
        style: &Style,
        decided: bool,
    ) -> Step {
        if !decided && content.is_within_brackets() {
            return self.within_brackets(byte, content);
        }
        if let Tail::Blanks { length } = self.tail {
            return match byte {
                b' ' | b'\t' if length < TAIL_BYTES_MAX => {
                    self.tail = Tail::Blanks { length: length + 1 };
                    Step::Open
                }
                b'#' | b'\r' | b'\n' => content.over(length, decided),
                _ => NO_VALUE,
            };
        }
        if self.is_behind_quote() && !goes_on_behind_quote(byte) {
            return self.over(byte, content, style, decided);
        }
        if self.may_go_on_behind(byte, decided) {
            return Step::Open;
        }
        let separates = style.separators.contains(&byte) && !self.within_colour();
        let stops = style.stops.contains(&byte) && !self.within_colour();
        if matches!(byte, b' ' | b'\t') && !decided && style.prose && self.is_word() {
            let length = 1 + usize::from(matches!(self.tail, Tail::Separator { .. }));
            self.tail = Tail::Blanks { length };
            return Step::Open;
        }
        if is_end(byte) || stops {
            return self.over(byte, content, style, decided);
        }
        let tail = match (self.tail, byte) {
            _ if separates => Tail::Separator { length: 1 },
            (Tail::Separator { length }, b'=') if length > 1 => {
                return content.over(length, decided);
            }
            (Tail::Separator { length }, _) if length < TAIL_BYTES_MAX && is_name(byte) => {
                self.tail = Tail::Separator { length: length + 1 };
                return Step::Open;
            }
            (Tail::Slashes(TAIL_BYTES_MAX..), _) => Tail::None,
            (Tail::Slashes(slashes), b'\\') => Tail::Slashes(slashes + 1),
            (_, b'\\') => Tail::Slashes(1),
            (Tail::Colour { length, .. }, _) if length >= TAIL_BYTES_MAX => Tail::None,
            (
                Tail::Colour {
                    length,
                    complete: false,
                },
                b'[' | b';' | b'0'..=b'9' | b'm' | b'K',
            ) => Tail::Colour {
                length: length + 1,
                complete: matches!(byte, b'm' | b'K'),
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
        self.go_on(tail, byte, content, style, decided)
    }

    /// Is this byte, as most are, a part of the value whatever follows, and nothing open before it?
    pub(super) fn holds(&self, byte: u8) -> bool {
        let may_end = !byte.is_ascii_alphanumeric()
            && !matches!(byte, b'-' | b'_' | b'.' | b'/' | b'+' | b'=');
        !may_end && matches!(self.tail, Tail::None)
    }

    /// Reads bytes that it [holds](Self::holds). The shape of what is known to be secret says nothing.
    pub(super) fn pass(&mut self, text: &[u8]) {
        self.length += text.len();
        self.last = text.last().copied().unwrap_or(self.last);
    }

    /// Reads a byte within `{{ … }}` or `$(a command)`, where blanks and quotes end nothing.
    fn within_brackets(&mut self, byte: u8, content: &mut Content) -> Step {
        let ends = match byte {
            b'\r' | b'\n' => !content.goes_on_behind_line(),
            _ => byte == 0,
        };
        if ends {
            return content.over(self.behind_word, false);
        }
        let blank = self.behind_word > 0 || byte.is_ascii_whitespace();
        let step = content.take(byte, false);
        if step == Step::Hide && self.behind_word > 0 {
            return Step::End {
                shown: self.behind_word,
            };
        }
        self.behind_word += usize::from(blank);
        step
    }

    /// Colours, separators and quotes end a value, as do blanks: what is open before them may be none of it.
    pub(super) fn over(&self, byte: u8, content: &Content, style: &Style, decided: bool) -> Step {
        let quote = matches!(byte, b'"' | b'\'' | b'`');
        if !decided
            && (self.line != Line::Same && self.last == b':'
                || self.line == Line::Item && matches!(byte, b' ' | b'\t')
                || self.shape.call && self.last == b'(' && quote
                || self.is_number(style))
        {
            return NO_VALUE;
        }
        if !decided && content.is_within_brackets() {
            return content.over(self.behind_word, decided);
        }
        let shown = match self.tail {
            Tail::Colour { length, .. } | Tail::Quote { length, .. } | Tail::Blanks { length } => {
                length
            }
            Tail::Slashes(slashes) if quote => slashes,
            Tail::Separator { length: 1 } => 1,
            Tail::Separator { .. } => return WHOLE_VALUE,
            Tail::Slashes(_) | Tail::None => 0,
        };
        content.over(shown, decided)
    }

    /// Is this byte a quote that may be a part of the value? What follows says so, but not behind `os.Getenv(`.
    fn may_go_on_behind(&mut self, byte: u8, decided: bool) -> bool {
        let slashes = match self.tail {
            _ if !matches!(byte, b'"' | b'\'') => return false,
            _ if !decided && self.shape.call && self.last == b'(' => return false,
            Tail::None if self.length > 0 => 0,
            Tail::Slashes(slashes) => slashes,
            _ => return false,
        };
        self.tail = Tail::Quote {
            length: slashes + 1,
            quote: byte,
        };
        true
    }

    /// A number in JSON counts something, and without it JSON would be none.
    pub(super) fn is_number(&self, style: &Style) -> bool {
        style.json && self.shape.number && self.length > 0
    }

    /// What is open may be another pair, or the rest of the value.
    pub(super) fn is_separated(&self) -> bool {
        matches!(self.tail, Tail::Separator { .. })
    }

    /// Do a quote and this byte begin a text of which the prefix was read: `b'...'`, `r"..."`, `$'...'`?
    pub(super) fn is_prefix_of(&self, byte: u8, content: &Content) -> Option<u8> {
        match self.tail {
            Tail::Quote { length: 1, quote } if goes_on_behind_quote(byte) => {
                content.is_prefix().then_some(quote)
            }
            _ => None,
        }
    }

    /// Was it closed, unless a letter follows?
    pub(super) fn is_behind_quote(&self) -> bool {
        matches!(self.tail, Tail::Quote { .. })
    }

    fn go_on(
        &mut self,
        tail: Tail,
        byte: u8,
        content: &mut Content,
        style: &Style,
        decided: bool,
    ) -> Step {
        let before = std::mem::replace(&mut self.tail, tail);
        match (before, tail) {
            (Tail::None, Tail::None) => {}
            (Tail::None, _)
            | (Tail::Slashes(_), Tail::Slashes(_))
            | (Tail::Colour { .. }, Tail::Colour { .. }) => return Step::Open,
            (_, Tail::None) => self.spoil(content),
            _ => {
                self.spoil(content);
                return Step::HideBefore;
            }
        }
        self.length += 1;
        self.last = byte;
        self.shape.take(byte, self.length);
        match content.take(byte, decided) {
            Step::Hide if !decided && self.is_doubtful(style) => Step::Open,
            step => step,
        }
    }

    /// What was open within it belongs to it, and no word and no reference has it.
    fn spoil(&mut self, content: &mut Content) {
        content.spoil();
        self.shape.word = Word::No;
        self.shape.call = false;
        self.shape.number = false;
    }

    fn is_doubtful(&self, style: &Style) -> bool {
        let shape = self.shape;
        self.length < DOUBTFUL_BYTES_MAX
            && (self.line != Line::Same
                || style.prose && shape.word != Word::No
                || shape.call
                || style.json && shape.number)
    }

    fn is_word(&self) -> bool {
        self.shape.word != Word::No
            && (1..DOUBTFUL_BYTES_MAX).contains(&self.length)
            && matches!(self.tail, Tail::None | Tail::Separator { length: 1 })
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

impl Shape {
    /// The byte with this number, from one.
    fn take(&mut self, byte: u8, number: usize) {
        self.word = match (self.word, byte) {
            (Word::Letters, b'a'..=b'z') => Word::Letters,
            (Word::Letters, b'A'..=b'Z') if number == 1 => Word::Letters,
            (Word::Letters, b'.' | b':') if number > 1 => Word::Punctuated,
            _ => Word::No,
        };
        let name = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        self.call &= name || byte == b'(' && number > 1;
        self.number &= byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
    }
}

/// Does this byte end every value without quotes?
pub(super) fn is_end(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, 0x0b | 0 | b'"' | b'\'')
}

/// Is a quote before this byte within a word? What stands behind the quotes around a whole one is no letter.
fn goes_on_behind_quote(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"_-!@#$%^*+~=([{".contains(&byte)
}

/// May it be in the name of a pair?
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}
