//! The password of a URL: `scheme://user:` has been read.

use super::value::{NO_VALUE, Opening, Step, WHOLE_VALUE};
use crate::limits::CREDENTIAL_HELD_BYTES_MAX;

/// Bytes of a host name (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// Digits of a port.
const PORT_BYTES_MAX: usize = 5;

/// A password, if an `@` follows; else it was a port.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UrlPassword {
    length: usize,
    opening: Opening,
    /// It is no port.
    other_than_digits: bool,
    /// Bytes since the last `@`, of which a password with an `@` in it may have one more.
    host: Option<usize>,
}

impl UrlPassword {
    pub(super) fn step(&mut self, byte: u8, decided: bool) -> Step {
        if let Some(host) = &mut self.host {
            *host += 1;
            return match byte {
                b'@' => Step::HideBefore,
                b'/' | b'?' | b'#' | b',' | b';' | b'&' | b')' => NO_VALUE,
                _ if ends(byte) || *host > HOST_BYTES_MAX => NO_VALUE,
                _ => Step::Open,
            };
        }
        if byte == b'@' {
            if self.opening.is_empty() || self.opening.is_no_value() && !decided {
                return NO_VALUE;
            }
            self.host = Some(0);
            return Step::HideBefore;
        }
        // Behind a port a path begins, also with the slash that PHP escapes.
        let path = byte == b'/' && !self.other_than_digits && self.length <= PORT_BYTES_MAX + 1;
        if ends(byte) || path {
            return self.end(decided);
        }
        self.length += 1;
        self.opening.push(byte);
        self.other_than_digits |= !byte.is_ascii_digit() && byte != b'\\';
        if decided || self.length >= CREDENTIAL_HELD_BYTES_MAX {
            Step::Hide
        } else {
            Step::Open
        }
    }

    pub(super) fn end(&self, decided: bool) -> Step {
        if decided && self.host.is_none() {
            WHOLE_VALUE
        } else {
            NO_VALUE
        }
    }

    /// A few digits are rather a port.
    pub(super) fn plausible(&self) -> bool {
        self.other_than_digits || self.length > PORT_BYTES_MAX
    }
}

fn ends(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'>' | 0 | 0x1b)
}
