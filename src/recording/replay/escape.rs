//! Takes the output of a program apart into what a terminal does with it.
//!
//! The states are those of a VT500 (the diagram of Paul Williams, which xterm and its relatives
//! follow), in both the seven-bit form and the form with the C1 characters U+0080 to U+009F. Control
//! strings (OSC, DCS, APC, PM, SOS) are passed over without being kept, and sequences longer than
//! anything that draws are dropped, so that memory does not depend on the input.

/// Characters of a sequence before its final one; no sequence that draws is longer.
const SEQUENCE_MAX: usize = 64;

/// What a terminal does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// Shows a character.
    Print(char),
    /// Does what a C0 control says.
    Control(u8),
    /// Does what `ESC` with these intermediates and this final character says.
    Escape(String, char),
    /// Does what `CSI` with these parameters and intermediates, as they were written, and this final
    /// character says.
    Sequence(String, char),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    Sequence,
    /// A sequence that is too long or malformed: nothing of it counts.
    Ignored,
    /// Inside a control string; whether BEL ends it.
    Text {
        bell: bool,
    },
    /// Inside a control string, after ESC.
    TextEscape,
}

/// The state between two characters.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    state: State,
    kept: String,
    hidden: u64,
}

impl Scanner {
    /// Takes the next character; most sequences have many and are one token.
    pub fn push(&mut self, c: char) -> Option<Token> {
        match self.state {
            State::Text { bell } => return self.text(c, bell),
            State::TextEscape => {
                if c == '\\' {
                    self.ground();
                    return None;
                }
                if c == '\u{1b}' {
                    self.hidden += 1;
                    return None;
                }
                // Anything else after ESC ends the string and begins a sequence.
                self.begin(State::Escape);
            }
            _ => {}
        }
        match c {
            '\u{18}' | '\u{1a}' => {
                self.ground();
                None
            }
            '\u{1b}' => {
                self.begin(State::Escape);
                None
            }
            '\u{80}'..='\u{9f}' => self.c1(c),
            '\0'..='\u{1f}' => Some(Token::Control(u8::try_from(c).unwrap_or(0))),
            '\u{7f}' => None,
            _ => self.graphic(c),
        }
    }

    /// How many characters of a control string were passed over that is still open. A program that
    /// never closes one hides everything after it.
    #[must_use]
    pub fn hidden(&self) -> u64 {
        match self.state {
            State::Text { .. } | State::TextEscape => self.hidden,
            _ => 0,
        }
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.kept.clear();
        self.hidden = 0;
    }

    fn ground(&mut self) {
        self.begin(State::Ground);
    }

    fn text(&mut self, c: char, bell: bool) -> Option<Token> {
        match c {
            '\u{1b}' => {
                self.state = State::TextEscape;
                self.hidden += 1;
            }
            '\u{18}' | '\u{1a}' | '\u{9c}' => self.ground(),
            '\u{7}' if bell => self.ground(),
            _ => self.hidden += 1,
        }
        None
    }

    /// A C1 character is ESC and the character 64 below it.
    fn c1(&mut self, c: char) -> Option<Token> {
        self.begin(State::Escape);
        let low = u32::from(c).saturating_sub(0x40);
        self.escape(char::from_u32(low)?)
    }

    fn graphic(&mut self, c: char) -> Option<Token> {
        match self.state {
            State::Ground => Some(Token::Print(c)),
            State::Escape => self.escape(c),
            State::Sequence | State::Ignored if !c.is_ascii() => {
                // Terminals differ; a character that is shown hides nothing.
                self.ground();
                Some(Token::Print(c))
            }
            State::Sequence => self.sequence(c),
            State::Ignored => {
                if ('@'..='~').contains(&c) {
                    self.ground();
                }
                None
            }
            State::Text { .. } | State::TextEscape => None,
        }
    }

    fn escape(&mut self, c: char) -> Option<Token> {
        match c {
            ' '..='/' if self.kept.len() < SEQUENCE_MAX => {
                self.kept.push(c);
                None
            }
            '[' if self.kept.is_empty() => {
                self.begin(State::Sequence);
                None
            }
            ']' if self.kept.is_empty() => {
                self.begin(State::Text { bell: true });
                None
            }
            'P' | 'X' | '^' | '_' if self.kept.is_empty() => {
                self.begin(State::Text { bell: false });
                None
            }
            '0'..='~' => {
                let kept = std::mem::take(&mut self.kept);
                self.ground();
                Some(Token::Escape(kept, c))
            }
            _ => {
                self.ground();
                (!c.is_ascii()).then_some(Token::Print(c))
            }
        }
    }

    fn sequence(&mut self, c: char) -> Option<Token> {
        match c {
            '@'..='~' => {
                let kept = std::mem::take(&mut self.kept);
                self.ground();
                Some(Token::Sequence(kept, c))
            }
            _ if self.kept.len() < SEQUENCE_MAX => {
                self.kept.push(c);
                None
            }
            _ => {
                self.begin(State::Ignored);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        let mut scanner = Scanner::default();
        text.chars().filter_map(|c| scanner.push(c)).collect()
    }

    fn sequence(kept: &str, last: char) -> Token {
        Token::Sequence(kept.to_owned(), last)
    }

    #[test]
    fn sequences_are_one_token_in_both_forms() {
        for text in ["a\u{1b}[1;31mb", "a\u{9b}1;31mb"] {
            assert_eq!(
                tokens(text),
                [Token::Print('a'), sequence("1;31", 'm'), Token::Print('b')]
            );
        }
        assert_eq!(
            tokens("\u{1b}(0\u{85}"),
            [
                Token::Escape("(".to_owned(), '0'),
                Token::Escape(String::new(), 'E')
            ]
        );
    }

    #[test]
    fn control_strings_end_where_terminals_end_them() {
        let shown = |text: &str| tokens(text) == [Token::Print('x')];
        for text in [
            "\u{1b}]0;t\u{7}x",
            "\u{1b}]0;t\u{1b}\\x",
            "\u{9d}0;t\u{9c}x",
            "\u{1b}Pq\u{7}\u{1b}\\x",
            "\u{1b}_a\u{18}x",
            "\u{1b}Xa\u{1b}\u{1b}\\x",
        ] {
            assert!(shown(text), "{text:?}: {:?}", tokens(text));
        }
        // ESC without a backslash ends the string and begins a sequence.
        assert_eq!(tokens("\u{1b}]0;t\u{1b}[m"), [sequence("", 'm')]);
        let mut scanner = Scanner::default();
        for c in "\u{1b}]2;hidden".chars() {
            assert_eq!(scanner.push(c), None);
        }
        assert_eq!(scanner.hidden(), 8);
    }

    #[test]
    fn controls_inside_a_sequence_happen_and_an_endless_one_is_dropped() {
        assert_eq!(
            tokens("\u{1b}[3\n1m"),
            [Token::Control(b'\n'), sequence("31", 'm')]
        );
        let long = format!("\u{1b}[{}mx", "1".repeat(5000));
        assert_eq!(tokens(&long), [Token::Print('x')]);
    }
}
