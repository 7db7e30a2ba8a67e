//! The output of a session as plain lines of text.
//!
//! One line is kept, with a cursor in it: carriage return, backspace and the sequences that shells use
//! to edit a line do what they do in a terminal. Movement to other lines ends the line, so what a
//! full-screen program drew is there as text, piece by piece, and not as the screen it was.

use std::time::Duration;

use super::escape::{Scanner, Token};
use super::filter::visible;
use super::{Moment, ReadError, Reader};
use crate::limits::{
    RECORDING_TRANSCRIPT_COLUMNS_MAX as COLUMNS_MAX, RECORDING_TRANSCRIPT_LINE_MAX as LINE_MAX,
};
use crate::recording::encode::{CONNECTION, COPY};
use crate::wire::asciicast::{EXIT, MARKER, OUTPUT};

/// A line of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When its first character was shown, since the beginning.
    pub at: Duration,
    /// Its text, without controls and without its line break.
    pub text: String,
}

/// Makes lines out of output.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    scanner: Scanner,
    line: Vec<char>,
    column: usize,
    began: Option<Duration>,
    /// The line was ended by movement: the next line break ends nothing.
    moved: bool,
}

impl Transcript {
    /// Takes what happened next; `line` gets every line that is complete.
    pub fn push(&mut self, moment: &Moment, line: &mut dyn FnMut(Line)) {
        match moment.code.as_str() {
            OUTPUT => {
                for c in moment.data.chars() {
                    if let Some(token) = self.scanner.push(c) {
                        self.token(&token, moment.at, line);
                    }
                }
            }
            EXIT => self.note(moment, "exit code ", line),
            MARKER => self.note(moment, "", line),
            COPY => self.note(moment, "copy: ", line),
            CONNECTION => self.note(moment, "connection: ", line),
            _ => {}
        }
    }

    /// Ends the last line; also says what a control string hides that was never closed.
    pub fn finish(&mut self, at: Duration, line: &mut dyn FnMut(Line)) {
        self.break_off(line);
        let hidden = self.scanner.hidden();
        if hidden > 0 {
            line(Line {
                at,
                text: hidden_note(hidden),
            });
        }
    }

    fn note(&mut self, moment: &Moment, prefix: &str, line: &mut dyn FnMut(Line)) {
        self.break_off(line);
        line(Line {
            at: moment.at,
            text: format!("[{prefix}{}]", visible(&moment.data)),
        });
    }

    fn token(&mut self, token: &Token, at: Duration, line: &mut dyn FnMut(Line)) {
        match token {
            Token::Print(c) => self.print(*c, at, line),
            Token::Control(b'\n' | 0x0b | 0x0c) => self.line_break(at, line),
            Token::Control(b'\r') => self.column = 0,
            Token::Control(0x08) => self.column = self.column.saturating_sub(1),
            Token::Control(b'\t') => self.column = (self.column / 8 + 1) * 8,
            Token::Escape(kept, 'E' | 'D' | 'c') if kept.is_empty() => self.line_break(at, line),
            Token::Escape(kept, 'M') if kept.is_empty() => self.move_away(line),
            Token::Sequence(kept, last) => self.sequence(kept, *last, line),
            Token::Control(_) | Token::Escape(..) => {}
        }
        // No terminal is that wide: who moves there wants long lines of nothing.
        let width = self.line.len().max(COLUMNS_MAX);
        self.column = self.column.min(width).min(LINE_MAX);
    }

    fn print(&mut self, c: char, at: Duration, line: &mut dyn FnMut(Line)) {
        if self.column >= LINE_MAX {
            self.end(line);
        }
        self.began.get_or_insert(at);
        self.moved = false;
        while self.line.len() < self.column {
            self.line.push(' ');
        }
        match self.line.get_mut(self.column) {
            Some(there) => *there = c,
            None => self.line.push(c),
        }
        self.column += 1;
    }

    fn sequence(&mut self, kept: &str, last: char, line: &mut dyn FnMut(Line)) {
        let first = kept.split(';').next().unwrap_or_default();
        let number: usize = first.parse().unwrap_or(0);
        let count = number.clamp(1, LINE_MAX);
        match last {
            'C' | 'a' => self.column = self.column.saturating_add(count),
            'D' => self.column = self.column.saturating_sub(count),
            'G' | '`' => self.column = count - 1,
            // Erasing below is how line editors clear what they are about to draw again.
            'K' | 'J' if number == 0 => self.line.truncate(self.column),
            'K' if number == 1 => self.blank(0, self.column + 1),
            'K' if number == 2 => self.line.clear(),
            'X' => self.blank(self.column, count),
            'P' => {
                let end = self.column.saturating_add(count).min(self.line.len());
                if self.column < end {
                    self.line.drain(self.column..end);
                }
            }
            '@' if self.column < self.line.len() => {
                let blanks = std::iter::repeat_n(' ', count.min(COLUMNS_MAX));
                self.line.splice(self.column..self.column, blanks);
                self.line.truncate(LINE_MAX);
            }
            'A' | 'B' | 'E' | 'F' | 'H' | 'f' | 'd' | 'J' | 'L' | 'M' | 'S' | 'T' => {
                self.move_away(line);
            }
            'h' | 'l' if kept.starts_with("?1049") => self.move_away(line),
            _ => {}
        }
    }

    fn blank(&mut self, from: usize, count: usize) {
        for there in self.line.iter_mut().skip(from).take(count) {
            *there = ' ';
        }
    }

    fn line_break(&mut self, at: Duration, line: &mut dyn FnMut(Line)) {
        if !std::mem::take(&mut self.moved) {
            self.began.get_or_insert(at);
            self.end(line);
        }
        self.column = 0;
    }

    fn move_away(&mut self, line: &mut dyn FnMut(Line)) {
        self.break_off(line);
        self.moved = true;
    }

    /// Ends the line if there is something on it.
    fn break_off(&mut self, line: &mut dyn FnMut(Line)) {
        if self.line.iter().any(|c| *c != ' ') {
            self.end(line);
        }
        self.line.clear();
        self.began = None;
        self.column = 0;
    }

    fn end(&mut self, line: &mut dyn FnMut(Line)) {
        let text: String = self.line.iter().collect();
        line(Line {
            at: self.began.take().unwrap_or_default(),
            text: text.trim_end_matches(' ').to_owned(),
        });
        self.line.clear();
        self.column = 0;
    }
}

/// Reads a recording to its end and hands over its lines.
pub fn lines(reader: &mut Reader, line: &mut dyn FnMut(Line)) -> Result<(), ReadError> {
    let mut transcript = Transcript::default();
    let mut at = Duration::ZERO;
    while let Some(moment) = reader.next_moment()? {
        at = moment.at;
        transcript.push(&moment, line);
    }
    transcript.finish(at, line);
    Ok(())
}

/// A text that is searched for in lines.
#[derive(Clone, Debug)]
pub struct Needle {
    text: String,
    ignore_case: bool,
}

impl Needle {
    /// The text; with `ignore_case` upper and lower case are the same.
    #[must_use]
    pub fn new(text: &str, ignore_case: bool) -> Self {
        let text = if ignore_case {
            text.to_lowercase()
        } else {
            text.to_owned()
        };
        Self { text, ignore_case }
    }

    /// About where in the line the text begins, in bytes; nothing when it is not there.
    #[must_use]
    pub fn find(&self, line: &str) -> Option<usize> {
        if self.ignore_case {
            line.to_lowercase().find(&self.text)
        } else {
            line.find(&self.text)
        }
    }

    /// Bytes of the text that may stand at the end of a piece with the rest in the next one.
    #[must_use]
    pub fn overlap(&self) -> usize {
        self.text.len().saturating_sub(1)
    }
}

/// Says that a control string hid what came after it.
#[must_use]
pub fn hidden_note(characters: u64) -> String {
    format!(
        "[portcullis: the last {characters} characters are inside a control string that was never closed, and are not shown]"
    )
}
