//! The line discipline of a simulated terminal: echo, erasing, Ctrl-C and Ctrl-D.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::io::Output;

/// The longest line, as in Linux.
const LINE_LIMIT: usize = 4096;

/// A terminal as programs see it.
#[derive(Debug)]
pub(crate) struct Terminal {
    size: watch::Receiver<(u16, u16)>,
    echo: AtomicBool,
    interrupts: watch::Sender<u64>,
}

impl Terminal {
    pub(crate) fn new(size: watch::Receiver<(u16, u16)>) -> Self {
        Self {
            size,
            echo: AtomicBool::new(true),
            interrupts: watch::Sender::new(0),
        }
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> (u16, u16) {
        *self.size.borrow()
    }

    pub(crate) fn set_echo(&self, on: bool) {
        self.echo.store(on, Ordering::Relaxed);
    }

    /// Changes with every Ctrl-C.
    pub(crate) fn interrupts(&self) -> watch::Receiver<u64> {
        self.interrupts.subscribe()
    }

    /// Turns what is typed into lines until the client closes its input.
    pub(crate) async fn pump(
        &self,
        mut typed: mpsc::Receiver<Bytes>,
        lines: mpsc::Sender<Bytes>,
        screen: Output,
    ) {
        let mut line = Line::default();
        while let Some(bytes) = typed.recv().await {
            let mut echo = String::new();
            for byte in bytes {
                match line.press(byte) {
                    Pressed::Nothing => {}
                    Pressed::Echo(text) => self.show(&text, &mut echo),
                    Pressed::Interrupt => {
                        echo.push_str("^C");
                        if !screen.echo(std::mem::take(&mut echo)).await {
                            return;
                        }
                        self.interrupts.send_modify(|count| *count += 1);
                    }
                    Pressed::Done { text, newline } => {
                        if newline {
                            self.show("\r\n", &mut echo);
                        }
                        if !screen.echo(std::mem::take(&mut echo)).await
                            || lines.send(text).await.is_err()
                        {
                            return;
                        }
                    }
                }
            }
            if !screen.echo(echo).await {
                return;
            }
        }
    }

    fn show(&self, text: &str, echo: &mut String) {
        if self.echo.load(Ordering::Relaxed) {
            echo.push_str(text);
        }
    }
}

/// What a key did.
#[derive(Debug, PartialEq, Eq)]
enum Pressed {
    Nothing,
    Echo(String),
    Interrupt,
    Done { text: Bytes, newline: bool },
}

#[derive(Debug, Default)]
struct Line {
    text: Vec<u8>,
    escape: Escape,
}

/// Cursor keys and answers of the terminal are swallowed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    No,
    Started,
    Sequence,
}

impl Line {
    fn press(&mut self, byte: u8) -> Pressed {
        match (self.escape, byte) {
            (Escape::No, 0x1b) => self.escape = Escape::Started,
            (Escape::Started, b'[' | b'O') => self.escape = Escape::Sequence,
            (Escape::Started, _) | (Escape::Sequence, 0x40..=0x7e) => self.escape = Escape::No,
            (Escape::Sequence, _) => {}
            (Escape::No, other) => return self.key(other),
        }
        Pressed::Nothing
    }

    fn key(&mut self, byte: u8) -> Pressed {
        match byte {
            b'\r' | b'\n' => {
                self.text.push(b'\n');
                Pressed::Done {
                    text: std::mem::take(&mut self.text).into(),
                    newline: true,
                }
            }
            0x03 => {
                self.text.clear();
                Pressed::Interrupt
            }
            0x04 => Pressed::Done {
                text: std::mem::take(&mut self.text).into(),
                newline: false,
            },
            0x7f | 0x08 => self.erase(1),
            0x15 => self.erase(usize::MAX),
            0x17 => {
                let word = self
                    .text
                    .iter()
                    .rev()
                    .skip_while(|b| **b == b' ')
                    .take_while(|b| **b != b' ');
                let spaces = self.text.iter().rev().take_while(|b| **b == b' ').count();
                let count = spaces + word.filter(|b| !is_continuation(**b)).count();
                self.erase(count)
            }
            b'\t' | 0x20.. if self.text.len() < LINE_LIMIT => {
                self.text.push(byte);
                // A character is shown when its last byte is there.
                let start = self
                    .text
                    .iter()
                    .rposition(|b| !is_continuation(*b))
                    .unwrap_or(0);
                let last = self.text.get(start..).unwrap_or_default();
                std::str::from_utf8(last)
                    .map_or(Pressed::Nothing, |text| Pressed::Echo(text.to_owned()))
            }
            _ => Pressed::Nothing,
        }
    }

    fn erase(&mut self, characters: usize) -> Pressed {
        let mut erased = 0;
        while erased < characters && !self.text.is_empty() {
            while self.text.pop().is_some_and(is_continuation) {}
            erased += 1;
        }
        if erased == 0 {
            Pressed::Nothing
        } else {
            Pressed::Echo("\x08 \x08".repeat(erased))
        }
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(keys: &[u8]) -> (Vec<String>, String) {
        let mut line = Line::default();
        let (mut done, mut screen) = (Vec::new(), String::new());
        for key in keys {
            match line.press(*key) {
                Pressed::Nothing => {}
                Pressed::Echo(text) => screen.push_str(&text),
                Pressed::Interrupt => screen.push_str("^C"),
                Pressed::Done { text, .. } => done.push(String::from_utf8(text.to_vec()).unwrap()),
            }
        }
        (done, screen)
    }

    #[test]
    fn erases_characters_words_and_lines() {
        assert_eq!(
            lines("ab\x7fc\r".as_bytes()),
            (vec!["ac\n".into()], "ab\x08 \x08c".into())
        );
        assert_eq!(lines("ä\x7fb\r".as_bytes()).0, ["b\n"]);
        assert_eq!(lines(b"one two \x17x\r").0, ["one x\n"]);
        assert_eq!(lines(b"one two\x15x\r").0, ["x\n"]);
    }

    #[test]
    fn control_c_drops_the_line_and_control_d_ends_input() {
        assert_eq!(lines(b"abc\x03d\r"), (vec!["d\n".into()], "abc^Cd".into()));
        assert_eq!(lines(b"\x04").0, [""]);
        assert_eq!(lines(b"ab\x04").0, ["ab"]);
    }

    #[test]
    fn cursor_keys_are_swallowed() {
        assert_eq!(lines(b"a\x1b[Ab\x1bOA\x1b[1;5Cc\r").0, ["abc\n"]);
    }
}
