//! An element of XML: `<password>` has been read, the value goes up to `</`.

use super::value::{NO_VALUE, Opening, Step, WHOLE_VALUE};
use crate::limits::CREDENTIAL_HELD_BYTES_MAX;

/// A value on the line of its tag. In `usage: login <token> <server>` none is closed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Element {
    length: usize,
    opening: Opening,
    /// A `<` was read.
    closes: bool,
}

impl Element {
    pub(super) fn step(&mut self, byte: u8, decided: bool) -> Step {
        match byte {
            b'/' if self.closes => return self.over(1, decided),
            _ if self.closes => return Self::end(decided),
            b'\r' | b'\n' | 0 => return Self::end(decided),
            b' ' | b'\t' | b'<' if self.length == 0 => return NO_VALUE,
            b'<' => {
                self.closes = true;
                return if decided {
                    Step::HideBefore
                } else {
                    Step::Open
                };
            }
            _ => {}
        }
        self.length += 1;
        self.opening.push(byte);
        if decided || self.length >= CREDENTIAL_HELD_BYTES_MAX - 1 {
            Step::Hide
        } else {
            Step::Open
        }
    }

    /// Nothing closes it.
    pub(super) fn end(decided: bool) -> Step {
        if decided { WHOLE_VALUE } else { NO_VALUE }
    }

    fn over(&self, shown: usize, decided: bool) -> Step {
        if decided || !self.opening.is_no_value() {
            Step::End { shown }
        } else {
            NO_VALUE
        }
    }
}
