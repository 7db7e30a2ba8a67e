//! Output of a session as plain text: nothing that could act on the terminal of whoever looks at it.

use std::io::{self, Write};

use crate::wire::asciicast::{Event, MARKER, OUTPUT};

/// Leaves out escape sequences and control characters, also when they arrive in pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct Plain {
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC, or after ESC and intermediate characters.
    Escape,
    /// After CSI: parameters until a final character.
    Control,
    /// OSC, DCS, SOS, PM, APC: text until BEL or ST.
    Text7,
    /// The same, after an ESC that may begin ST.
    TextEscape,
}

impl Plain {
    /// Appends what is left of a piece of output.
    #[expect(
        clippy::match_same_arms,
        reason = "the order of the arms is the order in which a terminal decides"
    )]
    pub(super) fn push(&mut self, piece: &str, out: &mut String) {
        for c in piece.chars() {
            self.state = match (self.state, c) {
                (State::Text7, '\u{1b}') => State::TextEscape,
                // A sequence is begun anew, or cancelled, wherever these appear.
                (_, '\u{18}' | '\u{1a}') => State::Text,
                (State::Text7, '\u{7}' | '\u{9c}') | (State::TextEscape, '\\') => State::Text,
                (State::Text7, _) => State::Text7,
                (_, '\u{1b}') => State::Escape,
                (_, '\u{9b}') => State::Control,
                (_, '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}') => State::Text7,
                (State::Escape | State::TextEscape, '[') => State::Control,
                (State::Escape | State::TextEscape, ']' | 'P' | 'X' | '^' | '_') => State::Text7,
                (State::Escape | State::TextEscape, ' '..='/') => State::Escape,
                (State::Escape | State::TextEscape, '0'..='~') => State::Text,
                (State::Control, ' '..='?') => State::Control,
                (State::Control, '@'..='~') => State::Text,
                (State::Text, _) | (_, '\u{80}'..) => {
                    if !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{8}') {
                        out.push(c);
                    }
                    State::Text
                }
                // Terminals carry out control characters in the middle of a sequence.
                (state, _) => {
                    if matches!(c, '\n' | '\r') {
                        out.push(c);
                    }
                    state
                }
            };
        }
    }
}

/// Prints the lines of an open session.
#[derive(Debug, Default)]
pub(super) struct Screen {
    plain: Plain,
    text: String,
}

impl Screen {
    /// Prints what one line of asciicast shows. Headers and what players skip show nothing.
    pub(super) fn line(&mut self, line: &[u8], out: &mut dyn Write) -> io::Result<()> {
        let Ok(event) = Event::parse(line) else {
            return Ok(());
        };
        self.text.clear();
        match event.code.as_str() {
            OUTPUT => self.plain.push(&event.data, &mut self.text),
            MARKER => {
                self.text.push_str("\n[");
                Plain::default().push(&event.data, &mut self.text);
                self.text.push_str("]\n");
            }
            _ => {}
        }
        out.write_all(self.text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_on_the_terminal_wherever_it_is_cut() {
        let cases = [
            ("plain\r\n\ttext\u{8} ä€", "plain\r\n\ttext\u{8} ä€"),
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("a\u{1b}]52;c;aGk=\u{7}b", "ab"),
            ("a\u{1b}]0;title\u{1b}\\b", "ab"),
            (
                "a\u{1b}Pq#0\u{1b}\\b\u{1b}_x\u{1b}\\c\u{1b}^y\u{1b}\\d\u{1b}Xz\u{1b}\\e",
                "abcde",
            ),
            ("a\u{9b}2Jb\u{9d}52;c;x\u{9c}c\u{90}x\u{9c}d", "abcd"),
            ("a\u{1b}(Bb\u{1b}#8c\u{1b}cd\u{1b}>e", "abcde"),
            ("\u{7}\u{0}\u{5}\u{7f}\u{85}x", "x"),
            ("a\u{1b}]52;c;\u{1b}[2Jb", "ab"),
            ("a\u{1b}]52\u{18}b", "ab"),
            ("a\u{1b}[3\n1mb", "a\nb"),
        ];
        for (input, expected) in cases {
            let ends: Vec<usize> = input.char_indices().map(|(at, _)| at).collect();
            for cut in ends {
                let (mut plain, mut out) = (Plain::default(), String::new());
                let (head, tail) = input.split_at(cut);
                plain.push(head, &mut out);
                plain.push(tail, &mut out);
                assert_eq!(out, expected, "{input:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn an_open_session_is_shown_without_its_escapes() {
        let (mut screen, mut out) = (Screen::default(), Vec::new());
        for line in [
            r#"{"version":2,"width":80,"height":24}"#,
            r#"[0.1,"o","a\u001b["]"#,
            r#"[0.2,"portcullis.stderr","3"]"#,
            r#"[0.3,"o","31mb"]"#,
            r#"[0.4,"m","portcullis: \u001b]0;x\u0007end"]"#,
            r#"[0.5,"i","secret"]"#,
        ] {
            screen.line(line.as_bytes(), &mut out).unwrap();
        }
        assert_eq!(String::from_utf8(out).unwrap(), "ab\n[portcullis: end]\n");
    }
}
