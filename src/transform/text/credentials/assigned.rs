//! What a name is set to: `password=value`, `"token": "value"`, `--password value`, blocks of YAML.

mod content;

use self::content::{Bare, Content, Quoted, TAIL_BYTES_MAX, is_end};
use super::value::{NO_VALUE, REFERENCES, Step};

/// How an assignment is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    gap: Gap,
    /// What a value without quotes never begins with.
    no_beginning: &'static [u8],
    /// What ends it, beside blanks, quotes and NUL.
    stops: &'static [u8],
    references: &'static [&'static [u8]],
}

/// What may stand before the value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Gap {
    /// The rest of `:=` or `=>`, blanks, colours, a line break if the next line is indented.
    Sign,
    /// Blanks, or the NUL between the arguments of a process.
    Blanks,
    /// Nothing.
    None,
}

/// `name=value`, `name: value`.
pub(super) const PAIR: Style = Style {
    gap: Gap::Sign,
    no_beginning: b",;&{}[]()",
    stops: b",;&",
    references: REFERENCES,
};

/// The same, but what begins with a slash is a path.
pub(super) const PATH_OR_PASSWORD: Style = Style {
    references: &[b"$(", b"${", b"{{", b"[masked", b"***", b"/"],
    ..PAIR
};

/// `--name value`.
pub(super) const FLAG: Style = Style {
    gap: Gap::Blanks,
    no_beginning: b"-|<>&;()",
    stops: b"",
    references: REFERENCES,
};

/// `-u user:value`; in `--user https://...` no user was read.
pub(super) const USER: Style = Style {
    gap: Gap::None,
    no_beginning: b"",
    stops: b"",
    references: &[b"$(", b"${", b"{{", b"[masked", b"***", b"//"],
};

/// A value that is being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assigned {
    style: Style,
    place: Place,
    content: Content,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Right behind the sign, which may be longer.
    Sign,
    /// Before the value.
    Gap,
    /// Within a sequence that sets a colour, before the value.
    Colour,
    /// Backslashes before a quote.
    Escape { slashes: usize },
    /// The line ended before the value; has its line feed come?
    NextLine { fed: bool },
    /// On the next line, before the value.
    Indentation,
    /// Behind the `|` or `>` of a block.
    BlockHead,
    /// Before the first line of a block.
    BlockIndentation { width: usize },
    /// Within a block, of which every line is indented so far.
    Block { width: usize },
    /// At the beginning of a line that may go on with the block.
    BlockLine {
        width: usize,
        column: usize,
        open: usize,
    },
    /// Within a value without quotes.
    Bare(Bare),
    /// Within a value in quotes.
    Quoted(Quoted),
}

impl Assigned {
    pub(super) fn new(style: Style) -> Self {
        let place = match style.gap {
            Gap::Sign => Place::Sign,
            Gap::Blanks => Place::Gap,
            Gap::None => Place::Bare(Bare::default()),
        };
        Self {
            style,
            place,
            content: Content::new(style.references),
        }
    }

    /// A value whose quote was opened before.
    pub(super) fn in_quotes(quote: u8) -> Self {
        Self {
            place: Place::Quoted(Quoted::new(quote, 0)),
            ..Self::new(USER)
        }
    }

    pub(super) fn step(&mut self, byte: u8, decided: bool) -> Step {
        match &mut self.place {
            Place::Bare(bare) => bare.step(byte, &mut self.content, self.style.stops, decided),
            Place::Quoted(quoted) => quoted.step(byte, &mut self.content, decided),
            Place::Block { width } => {
                let width = *width;
                self.block(width, byte, decided)
            }
            Place::BlockLine {
                width,
                column,
                open,
            } => {
                let (width, column, open) = (*width, *column, *open);
                self.block_line(width, column, open, byte)
            }
            _ => self.before(byte, decided),
        }
    }

    /// The text is over.
    pub(super) fn end(&self, decided: bool) -> Step {
        match self.place {
            Place::Bare(bare) => bare.over(b'\n', &self.content, decided),
            Place::Block { .. } | Place::Quoted(_) => self.content.over(0, decided),
            _ => NO_VALUE,
        }
    }

    /// Reads a byte before the value.
    fn before(&mut self, byte: u8, decided: bool) -> Step {
        let pair = self.style.gap == Gap::Sign;
        let place = match (self.place, byte) {
            (Place::Sign, b'=' | b'>') => Place::Sign,
            (Place::Sign | Place::Gap, 0x1b) | (Place::Colour, b'[' | b';' | b'0'..=b'9') => {
                Place::Colour
            }
            (Place::Sign | Place::Gap, b' ' | b'\t') | (Place::Colour, b'm') => Place::Gap,
            (Place::Escape { slashes }, b'\\') if slashes < TAIL_BYTES_MAX => Place::Escape {
                slashes: slashes + 1,
            },
            (Place::Escape { slashes }, b'"' | b'\'') => Place::Quoted(Quoted::new(byte, slashes)),
            (Place::NextLine { fed: false }, b'\n') => Place::NextLine { fed: true },
            (Place::NextLine { fed: true } | Place::Indentation, b' ' | b'\t') => {
                Place::Indentation
            }
            (Place::Indentation, b'-' | b'#' | b'|' | b'>' | b'\\' | 0x1b) => return NO_VALUE,
            (Place::BlockHead, b' ' | b'\t' | b'\r' | b'-' | b'+' | b'0'..=b'9') => {
                Place::BlockHead
            }
            (Place::BlockHead, b'\n') | (Place::BlockIndentation { .. }, b'\r' | b'\n') => {
                Place::BlockIndentation { width: 0 }
            }
            (Place::BlockIndentation { width }, b' ' | b'\t') => {
                Place::BlockIndentation { width: width + 1 }
            }
            (Place::BlockIndentation { width }, _) => {
                self.place = Place::Block { width };
                return self.content.take(byte, decided);
            }
            (Place::Gap, 0) if !pair => Place::Gap,
            (Place::Sign | Place::Gap, b'\\') => Place::Escape { slashes: 1 },
            (Place::Sign | Place::Gap, b'\r') if pair => Place::NextLine { fed: false },
            (Place::Sign | Place::Gap, b'\n') if pair => Place::NextLine { fed: true },
            (Place::Gap, b'|' | b'>') if pair => Place::BlockHead,
            (Place::Sign | Place::Gap | Place::Indentation, b'"' | b'\'' | b'`') => {
                Place::Quoted(Quoted::new(byte, 0))
            }
            (Place::Sign | Place::Gap | Place::Indentation, _)
                if !is_end(byte) && !self.style.no_beginning.contains(&byte) =>
            {
                let next_line = matches!(self.place, Place::Indentation);
                self.place = Place::Bare(Bare::new(next_line));
                return self.step(byte, decided);
            }
            _ => return NO_VALUE,
        };
        self.place = place;
        Step::Gap
    }

    fn block(&mut self, width: usize, byte: u8, decided: bool) -> Step {
        if byte != b'\n' {
            return self.content.take(byte, decided);
        }
        // Without an indentation nothing says where it ends.
        if width == 0 || !decided && self.content.is_word() {
            return self.content.over(0, decided);
        }
        self.place = Place::BlockLine {
            width,
            column: 0,
            open: 1,
        };
        Step::HideBefore
    }

    fn block_line(&mut self, width: usize, column: usize, open: usize, byte: u8) -> Step {
        let column = match byte {
            _ if open >= TAIL_BYTES_MAX => return NO_VALUE,
            b' ' | b'\t' => column + 1,
            b'\r' | b'\n' => 0,
            _ if column < width => return NO_VALUE,
            _ => {
                self.place = Place::Block { width };
                return Step::Hide;
            }
        };
        self.place = Place::BlockLine {
            width,
            column,
            open: open + 1,
        };
        Step::Open
    }
}
