//! A private key in PEM (RFC 7468): everything up to its last line, which the automaton finds.

use super::value::{Step, WHOLE_VALUE};
use crate::limits::PRIVATE_KEY_BYTES_MAX;

/// Bytes of base64 in a row that only a line of a key has. PEM has 64, OpenSSH 70.
const RUN_BYTES_MIN: usize = 24;

/// Lines without such a run after which it is no key that follows: its headers are fewer
/// (`Proc-Type`, `DEK-Info`; `Version`, `Comment`, `Charset`; an empty line).
const OTHER_LINES_MAX: usize = 6;

/// A key that is being read, behind its first line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Key {
    length: usize,
    run: usize,
    other_lines: usize,
    line_has_run: bool,
    begun: bool,
    backslash: bool,
}

impl Key {
    pub(super) fn step(&mut self, byte: u8) -> Step {
        if !self.begun && matches!(byte, b'\r' | b'\n') {
            return Step::Gap;
        }
        self.begun = true;
        self.length += 1;
        if self.length > PRIVATE_KEY_BYTES_MAX || self.other_lines > OTHER_LINES_MAX {
            return WHOLE_VALUE;
        }
        // Within JSON a line ends in `\n`, as two characters.
        let escaped = self.backslash && byte == b'n';
        self.backslash = byte == b'\\';
        if byte == b'\n' || escaped {
            self.other_lines = if self.line_has_run {
                0
            } else {
                self.other_lines + 1
            };
            self.line_has_run = false;
            self.run = 0;
        } else if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=') {
            self.run += 1;
            self.line_has_run |= self.run >= RUN_BYTES_MIN;
        } else {
            self.run = 0;
        }
        Step::Hide
    }
}
