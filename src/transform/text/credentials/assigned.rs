//! What a name is set to: `password=value`, `"token": "value"`, `--password value`, blocks of YAML.

mod bare;
mod content;

use self::bare::{Bare, Line, is_end};
use self::content::{Content, Quoted, TAIL_BYTES_MAX, Tripled};
use super::value::{NO_VALUE, Step};

/// How an assignment is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    gap: Gap,
    /// What a value without quotes never begins with.
    no_beginning: &'static [u8],
    /// Right behind the sign it may begin with these even so.
    begins_at_sign: bool,
    /// What ends it, beside blanks, quotes and NUL.
    stops: &'static [u8],
    /// What ends it if another `name=` follows, or nothing.
    separators: &'static [u8],
    /// What begins with these stands for a value.
    references: &'static [&'static [u8]],
    /// The name is in quotes: numbers stay, and a list may follow.
    json: bool,
    /// The name is a word of prose as well: `invalid token: expected a comma`.
    prose: bool,
}

/// What may stand before the value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Gap {
    /// The rest of `:=` or `=>`, blanks, colours, a line break if the next line is indented.
    Sign,
    /// Blanks, or the NUL between the arguments of a process.
    Blanks,
    /// The same, or nothing.
    Letter,
    /// Nothing.
    None,
}

/// `name: value`.
pub(super) const PAIR: Style = Style {
    gap: Gap::Sign,
    no_beginning: b",&{}[]",
    begins_at_sign: false,
    stops: b"",
    separators: b",;&",
    references: &[],
    json: false,
    prose: false,
};

/// `name=value`.
pub(super) const SET: Style = Style {
    begins_at_sign: true,
    ..PAIR
};

/// `"name": value`. Without quotes it is a number, or no JSON.
pub(super) const MEMBER: Style = Style {
    no_beginning: b",;&{}[]()",
    stops: b",}]",
    separators: b"",
    json: true,
    ..PAIR
};

/// `token: value`.
pub(super) const REMARK: Style = Style {
    no_beginning: b",;&{}[]()",
    prose: true,
    ..PAIR
};

/// `name=value`, but what begins with a slash is a path.
pub(super) const PATH_OR_PASSWORD: Style = Style {
    references: &[b"/"],
    ..SET
};

/// `--name value`.
pub(super) const FLAG: Style = Style {
    gap: Gap::Blanks,
    no_beginning: b"-|<>&;()",
    separators: b"",
    ..PAIR
};

/// `-p value`, `-pvalue`.
pub(super) const LETTER: Style = Style {
    gap: Gap::Letter,
    begins_at_sign: true,
    ..FLAG
};

/// `-u user:value`; in `--user https://...` no user was read.
pub(super) const USER: Style = Style {
    gap: Gap::None,
    no_beginning: b"",
    separators: b"",
    references: &[b"//"],
    ..PAIR
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
    /// Behind the dash of a list on the next line; has a blank come?
    Dash { blank: bool },
    /// Within a tag or an anchor of YAML, or a value that begins like one.
    Tag,
    /// Behind a `#`: a blank makes it a comment.
    Hash,
    /// Within a comment, before the value on the next line.
    Comment,
    /// Behind the `|` or `>` of a block.
    BlockHead,
    /// Within a comment there.
    BlockComment,
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
    /// Behind two quotes: a third one begins a value of TOML or Python.
    Empty { quote: u8 },
    /// Within a value in three quotes.
    Tripled(Tripled),
}

impl Assigned {
    pub(super) fn new(style: Style) -> Self {
        let place = match style.gap {
            Gap::Sign | Gap::Letter => Place::Sign,
            Gap::Blanks => Place::Gap,
            Gap::None => Place::Bare(Bare::new(Line::Same)),
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
        if let Place::Bare(bare) = self.place
            && let Some(quote) = bare.is_prefix_of(byte, &self.content)
        {
            self.content.spoil();
            self.place = Place::Quoted(Quoted::new(quote, 0));
        }
        match &mut self.place {
            Place::Tag => self.tag(byte, decided),
            Place::Hash | Place::Comment => self.comment(byte, decided),
            Place::Bare(bare) => bare.step(byte, &mut self.content, &self.style, decided),
            Place::Quoted(quoted) if quoted.is_empty(byte, &self.content) => {
                self.place = Place::Empty { quote: byte };
                Step::Gap
            }
            Place::Quoted(quoted) => quoted.step(byte, &mut self.content, decided),
            Place::Tripled(tripled) => tripled.step(byte, &mut self.content, decided),
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

    /// Does this byte say no more of a value that is known to be secret?
    pub(super) fn holds(&self, byte: u8) -> bool {
        match &self.place {
            Place::Bare(bare) => bare.holds(byte),
            Place::Quoted(quoted) => quoted.holds(byte),
            Place::Block { .. } => byte != b'\n',
            _ => false,
        }
    }

    /// Reads bytes that it [holds](Self::holds).
    pub(super) fn pass(&mut self, text: &[u8]) {
        if let Place::Bare(bare) = &mut self.place {
            bare.pass(text);
        }
        self.content.pass(text);
    }

    /// The text is over.
    pub(super) fn end(&self, decided: bool) -> Step {
        match self.place {
            Place::Bare(bare) => bare.over(b'\n', &self.content, &self.style, decided),
            Place::Quoted(quoted) => quoted.end(&self.content, decided),
            Place::Tag | Place::Block { .. } | Place::Tripled(_) => self.content.over(0, decided),
            _ => NO_VALUE,
        }
    }

    /// Is what is open rather a part of the value than not? A number in JSON is none, and would be none
    /// without its end; behind a value, only what stands behind a comma may be one.
    pub(super) fn plausible(&self, decided: bool) -> bool {
        match self.place {
            Place::Bare(bare) if decided => bare.is_separated(),
            Place::Bare(bare) if bare.is_behind_quote() && self.content.is_no_value() => false,
            Place::Bare(bare) => !bare.is_number(&self.style),
            Place::Quoted(quoted) => quoted.plausible(&self.content, decided),
            _ => !decided,
        }
    }

    /// Reads a byte before the value.
    fn before(&mut self, byte: u8, decided: bool) -> Step {
        let pair = self.style.gap == Gap::Sign;
        let place = match (self.place, byte) {
            (Place::Sign, b'=' | b'>') => {
                self.style.prose = false;
                Place::Sign
            }
            (Place::Sign | Place::Gap, 0x1b) | (Place::Colour, b'[' | b';' | b'0'..=b'9') => {
                Place::Colour
            }
            (Place::Sign | Place::Gap, b' ' | b'\t') | (Place::Colour, b'm' | b'K') => Place::Gap,
            (Place::Escape { slashes }, b'\\') if slashes < TAIL_BYTES_MAX => Place::Escape {
                slashes: slashes + 1,
            },
            (Place::Escape { slashes }, b'"' | b'\'') => Place::Quoted(Quoted::new(byte, slashes)),
            (Place::NextLine { fed: false }, b'\n') => Place::NextLine { fed: true },
            (Place::NextLine { fed: true } | Place::Indentation, b' ' | b'\t') => {
                Place::Indentation
            }
            (Place::NextLine { fed: true } | Place::Indentation, b'-') if !self.style.json => {
                Place::Dash { blank: false }
            }
            (Place::Dash { .. }, b' ') => Place::Dash { blank: true },
            (Place::Dash { blank: false }, _) => return NO_VALUE,
            (Place::Indentation | Place::Dash { .. }, b'-' | b'#' | b'|' | b'>' | b'\\' | 0x1b) => {
                return NO_VALUE;
            }
            (Place::BlockHead | Place::BlockComment | Place::BlockIndentation { .. }, _) => {
                return self.before_block(byte, decided);
            }
            (Place::Sign | Place::Gap, 0) if !pair => Place::Gap,
            (Place::Sign | Place::Gap, b'\\') => Place::Escape { slashes: 1 },
            (Place::Sign | Place::Gap, b'[') if self.style.json => Place::Gap,
            (Place::Sign | Place::Gap, b'\r') if pair => Place::NextLine { fed: false },
            (Place::Sign | Place::Gap, b'\n') if pair => Place::NextLine { fed: true },
            (Place::Gap, b'|' | b'>') if pair => Place::BlockHead,
            (Place::Gap, b'#') if pair => {
                self.place = Place::Hash;
                return Step::Open;
            }
            (Place::Gap | Place::Indentation | Place::Dash { .. }, b'!' | b'&')
                if pair && !self.style.prose =>
            {
                self.place = Place::Tag;
                return self.content.take(byte, decided);
            }
            (
                Place::Sign | Place::Gap | Place::Indentation | Place::Dash { .. },
                b'"' | b'\'' | b'`',
            ) => Place::Quoted(Quoted::new(byte, 0)),
            (Place::Empty { quote }, _) if byte == quote => Place::Tripled(Tripled::new(quote)),
            // `\n` ends a line within JSON.
            (Place::Escape { .. }, _) if !is_end(byte) && !b"nrtu".contains(&byte) => {
                return self.begin(Line::Same, byte, decided);
            }
            (Place::Sign, _) if self.style.begins_at_sign && !is_end(byte) => {
                return self.begin(Line::Same, byte, decided);
            }
            (Place::Sign | Place::Gap, _) if self.may_begin(byte) => {
                return self.begin(Line::Same, byte, decided);
            }
            (Place::Indentation, _) if self.may_begin(byte) => {
                return self.begin(Line::Next, byte, decided);
            }
            (Place::Dash { .. }, _) if self.may_begin(byte) => {
                return self.begin(Line::Item, byte, decided);
            }
            _ => return NO_VALUE,
        };
        self.place = place;
        Step::Gap
    }

    /// Reads a byte behind the `|` of a block, before its first line begins.
    fn before_block(&mut self, byte: u8, decided: bool) -> Step {
        self.place = match (self.place, byte) {
            (Place::BlockHead, b' ' | b'\t' | b'\r' | b'-' | b'+' | b'0'..=b'9') => {
                Place::BlockHead
            }
            (Place::BlockHead, b'#') => Place::BlockComment,
            (Place::BlockComment, byte) if byte != b'\n' => Place::BlockComment,
            (Place::BlockHead | Place::BlockComment, b'\n')
            | (Place::BlockIndentation { .. }, b'\r' | b'\n') => {
                Place::BlockIndentation { width: 0 }
            }
            (Place::BlockIndentation { width }, b' ' | b'\t') => {
                Place::BlockIndentation { width: width + 1 }
            }
            (Place::BlockIndentation { width }, _) => {
                self.place = Place::Block { width };
                return self.content.take(byte, decided);
            }
            _ => return NO_VALUE,
        };
        Step::Gap
    }

    /// Reads a byte of what may be a tag, which is hidden as well: the value stands behind it, or it is the value.
    fn tag(&mut self, byte: u8, decided: bool) -> Step {
        if matches!(byte, b' ' | b'\t') && !self.content.is_no_value() {
            self.place = Place::Gap;
            return Step::Gap;
        }
        if is_end(byte) {
            return self.content.over(0, decided);
        }
        self.content.take(byte, decided)
    }

    /// Reads a byte behind a `#`.
    fn comment(&mut self, byte: u8, decided: bool) -> Step {
        self.place = match (self.place, byte) {
            (_, b'\n') => Place::NextLine { fed: true },
            (_, b'\r' | b' ' | b'\t') => Place::Comment,
            (_, b'"' | 0) => return NO_VALUE,
            (Place::Hash, _) => {
                self.begin(Line::Same, b'#', decided);
                return self.step(byte, decided);
            }
            _ => Place::Comment,
        };
        Step::Gap
    }

    fn may_begin(&self, byte: u8) -> bool {
        !is_end(byte) && !self.style.no_beginning.contains(&byte)
    }

    fn begin(&mut self, line: Line, byte: u8, decided: bool) -> Step {
        self.place = Place::Bare(Bare::new(line));
        self.step(byte, decided)
    }

    fn block(&mut self, width: usize, byte: u8, decided: bool) -> Step {
        if byte != b'\n' {
            return self.content.take(byte, decided);
        }
        // Without an indentation nothing says where it ends.
        if width == 0 || !decided && self.content.is_no_value() {
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
