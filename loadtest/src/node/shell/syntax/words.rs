//! Words: quotes, `$` and everything behind it.

use super::parser::Parser;
use super::{Change, Content, Piece, SyntaxError, Word};

/// Characters that end an unquoted word.
const METACHARACTERS: &str = " \t\n;&|<>()";

impl Parser<'_> {
    /// The word that starts here; `None` if none does.
    pub(super) fn word(&mut self) -> Result<Option<Word>, SyntaxError> {
        let word = self.word_until(|c| METACHARACTERS.contains(c))?;
        Ok((!word.0.is_empty()).then_some(word))
    }

    fn word_until(&mut self, ends: impl Fn(char) -> bool) -> Result<Word, SyntaxError> {
        let mut word = Builder::default();
        while let Some(c) = self.peek() {
            match c {
                '\'' => {
                    self.next();
                    word.quoted(&self.until('\'')?);
                }
                '"' => {
                    self.next();
                    self.double_quoted(&mut word, Some('"'))?;
                }
                '\\' => {
                    self.next();
                    match self.next() {
                        Some('\n') => {}
                        Some(c) => word.quoted(c.encode_utf8(&mut [0; 4])),
                        None => return Err(SyntaxError::Incomplete),
                    }
                }
                '$' | '`' => {
                    let content = self.dollar()?;
                    word.push(content, false);
                }
                c if ends(c) => break,
                c => {
                    self.next();
                    word.plain(c);
                }
            }
        }
        Ok(word.done())
    }

    /// Text in which only `$`, backquotes and some escapes are special: the inside of double
    /// quotes up to `end`, or a here-document up to the end of the text.
    pub(super) fn double_quoted(
        &mut self,
        word: &mut Builder,
        end: Option<char>,
    ) -> Result<(), SyntaxError> {
        word.quoted("");
        loop {
            match self.peek() {
                None if end.is_none() => return Ok(()),
                None => return Err(SyntaxError::Incomplete),
                Some(c) if Some(c) == end => {
                    self.next();
                    return Ok(());
                }
                Some('\\') => {
                    self.next();
                    match self.next() {
                        Some('\n') => {}
                        Some(c) if "$`\\".contains(c) || Some(c) == end => {
                            word.quoted(c.encode_utf8(&mut [0; 4]));
                        }
                        Some(c) => word.quoted(&format!("\\{c}")),
                        None => word.quoted("\\"),
                    }
                }
                Some('$' | '`') => {
                    let content = self.dollar()?;
                    word.push(content, true);
                }
                Some(c) => {
                    self.next();
                    word.quoted(c.encode_utf8(&mut [0; 4]));
                }
            }
        }
    }

    fn dollar(&mut self) -> Result<Content, SyntaxError> {
        self.deeper(Self::substitution)
    }

    fn substitution(&mut self) -> Result<Content, SyntaxError> {
        if self.eat("`") {
            let inner = self.until('`')?.replace("\\`", "`").replace("\\$", "$");
            return Ok(Content::Output(Box::new(self.nested(&inner)?)));
        }
        if self.eat("$((") {
            let mut word = Builder::default();
            let mut open = 0usize;
            loop {
                match self.peek().ok_or(SyntaxError::Incomplete)? {
                    ')' if open == 0 && self.eat("))") => {
                        return Ok(Content::Arithmetic(word.done()));
                    }
                    '$' | '`' => {
                        let content = self.dollar()?;
                        word.push(content, true);
                    }
                    c => {
                        open = if c == '(' {
                            open + 1
                        } else {
                            open.saturating_sub(usize::from(c == ')'))
                        };
                        self.next();
                        word.quoted(c.encode_utf8(&mut [0; 4]));
                    }
                }
            }
        }
        if self.eat("$(") {
            let command = self.list(&[], Some(')'))?;
            self.expect(")")?;
            return Ok(Content::Output(Box::new(command)));
        }
        if self.eat("${") {
            return self.braces();
        }
        self.next();
        let name = match self.peek() {
            Some(c) if "?$#@*!-0123456789".contains(c) => {
                self.next();
                c.to_string()
            }
            _ => self.name(),
        };
        if name.is_empty() {
            return Ok(Content::Text("$".to_owned()));
        }
        Ok(Content::Parameter { name, change: None })
    }

    fn braces(&mut self) -> Result<Content, SyntaxError> {
        if self.peek() == Some('#') && self.peek_second() != Some('}') {
            self.next();
            let name = self.parameter_name();
            self.expect("}")?;
            return Ok(Content::Length(name));
        }
        let name = self.parameter_name();
        if name.is_empty() {
            return Err(SyntaxError::Unexpected("${".to_owned()));
        }
        let operators = [
            (":-", Change::Default(true)),
            (":=", Change::Assign(true)),
            (":+", Change::Alternative(true)),
            (":?", Change::Fail(true)),
            ("-", Change::Default(false)),
            ("=", Change::Assign(false)),
            ("+", Change::Alternative(false)),
            ("?", Change::Fail(false)),
            ("##", Change::Prefix(true)),
            ("#", Change::Prefix(false)),
            ("%%", Change::Suffix(true)),
            ("%", Change::Suffix(false)),
        ];
        let change = operators
            .iter()
            .find(|(text, _)| self.eat(text))
            .map(|(_, change)| *change);
        let change = match change {
            Some(change) => Some((change, self.word_until(|c| c == '}')?)),
            None => None,
        };
        self.expect("}")?;
        Ok(Content::Parameter { name, change })
    }

    fn parameter_name(&mut self) -> String {
        match self.peek() {
            Some(c) if "?$#@*!-".contains(c) => {
                self.next();
                c.to_string()
            }
            _ => self.take_while(|c| c.is_ascii_alphanumeric() || c == '_'),
        }
    }

    fn name(&mut self) -> String {
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    /// Everything up to `end`, which is consumed.
    fn until(&mut self, end: char) -> Result<String, SyntaxError> {
        let mut text = String::new();
        loop {
            match self.next().ok_or(SyntaxError::Incomplete)? {
                c if c == end => return Ok(text),
                '\\' if end == '`' => {
                    text.push('\\');
                    text.push(self.next().ok_or(SyntaxError::Incomplete)?);
                }
                c => text.push(c),
            }
        }
    }
}

/// Joins neighbouring text of a word.
#[derive(Debug, Default)]
pub(super) struct Builder(Vec<Piece>);

impl Builder {
    fn plain(&mut self, c: char) {
        self.text(c.encode_utf8(&mut [0; 4]), false);
    }

    fn quoted(&mut self, text: &str) {
        self.text(text, true);
    }

    fn text(&mut self, text: &str, quoted: bool) {
        match self.0.last_mut() {
            Some(Piece {
                content: Content::Text(last),
                quoted: same,
            }) if *same == quoted => last.push_str(text),
            _ => self.push(Content::Text(text.to_owned()), quoted),
        }
    }

    fn push(&mut self, content: Content, quoted: bool) {
        self.0.push(Piece { content, quoted });
    }

    pub(super) fn done(self) -> Word {
        Word(self.0)
    }
}
