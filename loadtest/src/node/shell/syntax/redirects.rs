//! Redirections and the announcement of here-documents.

use std::sync::{Arc, OnceLock};

use super::parser::{Parser, Waiting};
use super::{Redirect, SyntaxError, Target, Word};

impl Parser<'_> {
    pub(super) fn redirects(&mut self) -> Result<Vec<Redirect>, SyntaxError> {
        let mut all = Vec::new();
        loop {
            self.blanks();
            match self.redirect()? {
                Some(redirect) => all.extend(redirect),
                None => return Ok(all),
            }
        }
    }

    /// A redirection, if one starts here; `&>file` counts as two.
    pub(super) fn redirect(&mut self) -> Result<Option<Vec<Redirect>>, SyntaxError> {
        if self.eat("&>") {
            let target = Target::Write(self.redirect_word()?);
            let both = Redirect {
                descriptor: 2,
                target: Target::Duplicate(1),
            };
            return Ok(Some(vec![
                Redirect {
                    descriptor: 1,
                    target,
                },
                both,
            ]));
        }
        let digit = self.peek().filter(char::is_ascii_digit);
        let follows = if digit.is_some() {
            self.peek_second()
        } else {
            self.peek()
        };
        if !matches!(follows, Some('<' | '>')) {
            return Ok(None);
        }
        if digit.is_some() {
            self.next();
        }
        let given = digit
            .and_then(|digit| digit.to_digit(10))
            .and_then(|digit| u8::try_from(digit).ok());
        let (default, target) = if self.eat(">>") {
            (1, Target::Append(self.redirect_word()?))
        } else if self.eat(">&") {
            let number = self.take_while(|c| c.is_ascii_digit());
            (
                1,
                Target::Duplicate(number.parse().map_err(|_| self.unexpected())?),
            )
        } else if self.eat(">|") || self.eat(">") {
            (1, Target::Write(self.redirect_word()?))
        } else if self.eat("<<<") {
            (0, Target::HereString(self.redirect_word()?))
        } else if self.eat("<<") {
            (0, self.here()?)
        } else {
            self.expect("<")?;
            (0, Target::Read(self.redirect_word()?))
        };
        Ok(Some(vec![Redirect {
            descriptor: given.unwrap_or(default),
            target,
        }]))
    }

    fn redirect_word(&mut self) -> Result<Word, SyntaxError> {
        self.blanks();
        self.word()?.ok_or_else(|| self.unexpected())
    }

    fn here(&mut self) -> Result<Target, SyntaxError> {
        let strip_tabs = self.eat("-");
        self.blanks();
        let raw = self.take_while(|c| !" \t\r\n;&|<>()".contains(c));
        let end: String = raw.chars().filter(|c| !"'\"\\".contains(*c)).collect();
        if end.is_empty() {
            return Err(self.unexpected());
        }
        let word = Arc::new(OnceLock::new());
        let literal = end.len() != raw.len();
        self.waiting.push(Waiting {
            end,
            literal,
            strip_tabs,
            word: Arc::clone(&word),
        });
        Ok(Target::Here(word))
    }
}
