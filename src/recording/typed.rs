//! Which typed bytes may be kept: those that the terminal showed.
//!
//! A terminal echoes what is typed, except where a password is asked for. So a typed byte is kept only
//! if it is the next thing in the output, soon; everything else becomes `*`. Keys that print nothing
//! (Enter, Ctrl-C) are kept. What can go wrong is written down in `docs/recording.md`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits;

/// Typed bytes that wait for their echo.
#[derive(Clone, Debug, Default)]
pub(super) struct Typed {
    waiting: VecDeque<(u8, Duration)>,
}

/// What stands in for a byte that was not echoed.
const MASK: u8 = b'*';

impl Typed {
    /// Takes typed bytes; appends to `kept` what is decided by now.
    pub(super) fn typed(&mut self, bytes: &[u8], now: Duration, kept: &mut Vec<u8>) {
        self.expire(now, kept);
        for byte in bytes {
            if self.waiting.len() >= limits::RECORDING_TYPED_BYTES_MAX {
                self.give_up(kept);
            }
            self.waiting.push_back((*byte, now));
        }
    }

    /// Takes output, which may be an echo; appends to `kept` what is decided by now.
    pub(super) fn output(&mut self, mut bytes: &[u8], now: Duration, kept: &mut Vec<u8>) {
        self.expire(now, kept);
        while let Some((byte, _)) = self.waiting.front().copied() {
            if is_silent(byte) {
                // Whatever it does to the screen, it is no secret.
                bytes = without_echo_of(byte, bytes);
                kept.push(byte);
                self.waiting.pop_front();
                continue;
            }
            match bytes.split_first() {
                Some((first, rest)) if *first == byte => {
                    kept.push(byte);
                    self.waiting.pop_front();
                    bytes = rest;
                }
                Some(_) => {
                    self.give_up(kept);
                    return;
                }
                None => return,
            }
        }
    }

    /// Nothing more is coming.
    pub(super) fn finish(&mut self, kept: &mut Vec<u8>) {
        self.give_up(kept);
    }

    /// Masks what has waited for too long.
    fn expire(&mut self, now: Duration, kept: &mut Vec<u8>) {
        while let Some((byte, since)) = self.waiting.front().copied() {
            if now.saturating_sub(since) <= limits::RECORDING_ECHO_TIMEOUT {
                break;
            }
            put_masked(byte, kept);
            self.waiting.pop_front();
        }
    }

    fn give_up(&mut self, kept: &mut Vec<u8>) {
        for (byte, _) in self.waiting.drain(..) {
            put_masked(byte, kept);
        }
    }
}

/// Keys that print nothing of their own: control characters and delete.
fn is_silent(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

fn put_masked(byte: u8, kept: &mut Vec<u8>) {
    if is_silent(byte) {
        kept.push(byte);
    } else if byte & 0xc0 != 0x80 {
        kept.push(MASK); // once for every character
    }
}

/// The output without what terminals show for a silent key, if it begins with that.
fn without_echo_of(byte: u8, output: &[u8]) -> &[u8] {
    let caret = [b'^', byte ^ 0x40];
    let shown: &[&[u8]] = match byte {
        b'\r' | b'\n' => &[b"\r\n", b"\n"],
        0x7f | 0x08 => &[b"\x08 \x08", b"\x08\x1b[K"],
        b'\t' => &[b"\t"],
        _ => &[&caret],
    };
    shown
        .iter()
        .find_map(|shown| output.strip_prefix(*shown))
        .unwrap_or(output)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    enum Step {
        Typed(&'static str),
        Shown(&'static str),
        Wait,
    }
    use Step::{Shown, Typed as Keys, Wait};

    fn kept(steps: &[Step]) -> String {
        let (mut typed, mut kept, mut now) = (Typed::default(), Vec::new(), Duration::ZERO);
        for step in steps {
            match step {
                Keys(text) => typed.typed(text.as_bytes(), now, &mut kept),
                Shown(text) => typed.output(text.as_bytes(), now, &mut kept),
                Wait => now += limits::RECORDING_ECHO_TIMEOUT + Duration::from_millis(1),
            }
        }
        typed.finish(&mut kept);
        String::from_utf8(kept).unwrap()
    }

    #[test]
    fn echoed_keys_are_kept() {
        assert_eq!(kept(&[Keys("l"), Shown("l"), Keys("s"), Shown("s")]), "ls");
        assert_eq!(
            kept(&[Keys("ls\r"), Shown("ls\r\nfile\r\n"), Shown("$ ")]),
            "ls\r"
        );
        assert_eq!(kept(&[Keys("é"), Shown("é")]), "é");
        assert_eq!(kept(&[Keys("a\x7fb"), Shown("a\x08 \x08b")]), "a\x7fb");
        assert_eq!(kept(&[Keys("\x03"), Shown("^C\r\n")]), "\x03");
    }

    #[test]
    fn c52_a_password_without_echo_is_masked() {
        let prompt = Shown("Password: ");
        assert_eq!(
            kept(&[prompt, Keys("hunter2\r"), Shown("\r\n# ")]),
            "*******\r"
        );
        assert_eq!(
            kept(&[Keys("h"), Wait, Keys("u"), Wait, Keys("\r"), Shown("\r\n")]),
            "**\r"
        );
        // Programs that show a star for every key, and keys that nobody answers.
        assert_eq!(kept(&[Keys("x"), Shown("*"), Keys("é"), Wait]), "**");
        // Too late is no echo.
        assert_eq!(kept(&[Keys("x"), Wait, Shown("x")]), "*");
        // Output in between is no echo either.
        assert_eq!(kept(&[Keys("x"), Shown("log x"), Shown("x")]), "*");
    }

    proptest! {
        #[test]
        fn what_is_kept_of_letters_was_shown(keys in "[a-z]{0,40}", shown in "[a-z]{0,40}", cut in 0_usize..40) {
            let (mut typed, mut kept) = (Typed::default(), Vec::new());
            let cut = cut.min(shown.len());
            typed.typed(keys.as_bytes(), Duration::ZERO, &mut kept);
            typed.output(&shown.as_bytes()[..cut], Duration::ZERO, &mut kept);
            typed.output(&shown.as_bytes()[cut..], Duration::ZERO, &mut kept);
            typed.finish(&mut kept);
            prop_assert_eq!(kept.len(), keys.len());
            let shared = keys.bytes().zip(shown.bytes()).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(&kept[..shared], &keys.as_bytes()[..shared]);
            prop_assert!(kept[shared..].iter().all(|byte| *byte == MASK));
        }

        #[test]
        fn memory_is_bounded(chunks in proptest::collection::vec(0_usize..10_000, 0..10)) {
            let (mut typed, mut kept) = (Typed::default(), Vec::new());
            for length in chunks {
                typed.typed(&vec![b'x'; length], Duration::ZERO, &mut kept);
                prop_assert!(typed.waiting.len() <= limits::RECORDING_TYPED_BYTES_MAX);
            }
        }
    }
}
