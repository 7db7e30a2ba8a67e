//! From text to commands, by recursive descent.

use std::sync::{Arc, OnceLock};

use super::words::Builder;
use super::{Command, Simple, SyntaxError, Word};

/// How deep commands may be nested.
const DEPTH_LIMIT: u32 = 60;

/// Parses a whole text.
pub(crate) fn parse(text: &str) -> Result<Command, SyntaxError> {
    Parser::new(text, 0).whole()
}

/// Where the parser stands.
pub(super) struct Parser<'a> {
    rest: &'a str,
    depth: u32,
    /// Here-documents whose text comes after the current line.
    pub(super) waiting: Vec<Waiting>,
}

/// A here-document that was announced.
pub(super) struct Waiting {
    pub(super) end: String,
    pub(super) literal: bool,
    pub(super) strip_tabs: bool,
    pub(super) word: Arc<OnceLock<Word>>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, depth: u32) -> Self {
        Self {
            rest: text,
            depth,
            waiting: Vec::new(),
        }
    }

    fn whole(&mut self) -> Result<Command, SyntaxError> {
        let command = self.list(&[], None)?;
        if !self.waiting.is_empty() {
            return Err(SyntaxError::Incomplete);
        }
        match self.peek() {
            None => Ok(command),
            Some(c) => Err(SyntaxError::Unexpected(c.to_string())),
        }
    }

    /// Parses a text inside of this one.
    pub(super) fn nested(&self, text: &str) -> Result<Command, SyntaxError> {
        if self.depth >= DEPTH_LIMIT {
            return Err(SyntaxError::TooDeep);
        }
        Parser::new(text, self.depth + 1).whole()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn peek_second(&self) -> Option<char> {
        self.rest.chars().nth(1)
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    pub(super) fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    pub(super) fn expect(&mut self, text: &str) -> Result<(), SyntaxError> {
        if self.eat(text) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    pub(super) fn take_while(&mut self, mut matches: impl FnMut(char) -> bool) -> String {
        let rest = self.rest.trim_start_matches(&mut matches);
        let taken = self.rest.strip_suffix(rest).unwrap_or_default().to_owned();
        self.rest = rest;
        taken
    }

    pub(super) fn unexpected(&self) -> SyntaxError {
        match self.peek() {
            None => SyntaxError::Incomplete,
            Some('\n') => SyntaxError::Unexpected("newline".to_owned()),
            Some(c) => SyntaxError::Unexpected(c.to_string()),
        }
    }

    pub(super) fn blanks(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\r']);
            if self.peek() == Some('#') {
                self.rest = self.rest.trim_start_matches(|c| c != '\n');
            } else if !self.eat("\\\n") {
                return;
            }
        }
    }

    /// Skips newlines; here-documents stand behind the first of them.
    fn newlines(&mut self) -> Result<(), SyntaxError> {
        loop {
            self.blanks();
            if !self.eat("\n") {
                return Ok(());
            }
            for waiting in std::mem::take(&mut self.waiting) {
                self.here_document(&waiting)?;
            }
        }
    }

    fn here_document(&mut self, waiting: &Waiting) -> Result<(), SyntaxError> {
        let mut text = String::new();
        loop {
            if self.rest.is_empty() {
                return Err(SyntaxError::Incomplete);
            }
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            let line = if waiting.strip_tabs {
                line.trim_start_matches('\t')
            } else {
                line
            };
            if line == waiting.end {
                break;
            }
            text.push_str(line);
            text.push('\n');
        }
        let word = if waiting.literal {
            Word::text(text)
        } else {
            let mut inner = Parser::new(&text, self.depth + 1);
            let mut word = Builder::default();
            inner.double_quoted(&mut word, None)?;
            word.done()
        };
        waiting.word.set(word).map_err(|_| SyntaxError::TooDeep)
    }

    /// Commands up to one of the `stops` (reserved words), `close`, or the end.
    pub(super) fn list(
        &mut self,
        stops: &[&str],
        close: Option<char>,
    ) -> Result<Command, SyntaxError> {
        self.deeper(|parser| parser.commands(stops, close))
    }

    fn commands(&mut self, stops: &[&str], close: Option<char>) -> Result<Command, SyntaxError> {
        let mut commands = Vec::new();
        loop {
            self.newlines()?;
            let at_stop =
                stops.iter().any(|stop| self.at_keyword(stop)) || self.rest.starts_with(";;");
            if at_stop || self.peek().is_none() || self.peek() == close {
                break;
            }
            commands.push(self.and_or()?);
            self.blanks();
            match self.peek() {
                Some(';') if self.rest.starts_with(";;") => {}
                // A job in the background runs in the foreground here.
                Some(';' | '&') => {
                    self.next();
                }
                Some('\n') | None => {}
                c if c == close => {}
                _ => return Err(self.unexpected()),
            }
        }
        match commands.pop() {
            Some(only) if commands.is_empty() => Ok(only),
            last => Ok(Command::Sequence(
                commands.into_iter().chain(last).collect(),
            )),
        }
    }

    fn and_or(&mut self) -> Result<Command, SyntaxError> {
        let mut left = self.pipeline()?;
        loop {
            self.blanks();
            let and = self.eat("&&");
            if !and && !self.eat("||") {
                return Ok(left);
            }
            self.newlines()?;
            let (first, second) = (Box::new(left), Box::new(self.pipeline()?));
            left = if and {
                Command::And(first, second)
            } else {
                Command::Or(first, second)
            };
        }
    }

    fn pipeline(&mut self) -> Result<Command, SyntaxError> {
        self.blanks();
        let negated = self.at_keyword("!") && self.eat("!");
        let mut stages = vec![self.command()?];
        loop {
            self.blanks();
            if self.rest.starts_with("||") || !self.eat("|") {
                break;
            }
            self.newlines()?;
            stages.push(self.command()?);
        }
        match stages.pop() {
            Some(only) if stages.is_empty() && !negated => Ok(only),
            last => Ok(Command::Pipeline(
                negated,
                stages.into_iter().chain(last).collect(),
            )),
        }
    }

    fn at_keyword(&self, word: &str) -> bool {
        let after = self.rest.strip_prefix(word);
        after.is_some_and(|after| {
            after.is_empty() || after.starts_with([' ', '\t', '\r', '\n', ';', ')', '(', '&', '|'])
        })
    }

    fn keyword(&mut self, word: &str) -> bool {
        self.blanks();
        self.at_keyword(word) && self.eat(word)
    }

    fn need_keyword(&mut self, word: &str) -> Result<(), SyntaxError> {
        if self.keyword(word) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    /// Counts a level of nesting; errors end the parse, so only success counts back.
    pub(super) fn deeper<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        if self.depth >= DEPTH_LIMIT {
            return Err(SyntaxError::TooDeep);
        }
        self.depth += 1;
        let parsed = parse(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    fn command(&mut self) -> Result<Command, SyntaxError> {
        self.blanks();
        let Some(compound) = self.deeper(Self::compound)? else {
            return self.deeper(Self::simple);
        };
        let redirects = self.redirects()?;
        Ok(match compound {
            Command::Subshell(body, _) => Command::Subshell(body, redirects),
            other if redirects.is_empty() => other,
            other => Command::Group(Box::new(other), redirects),
        })
    }

    fn compound(&mut self) -> Result<Option<Command>, SyntaxError> {
        if self.keyword("if") {
            return self.conditional().map(Some);
        }
        for (word, until) in [("while", false), ("until", true)] {
            if self.keyword(word) {
                let condition = Box::new(self.list(&["do"], None)?);
                let body = Box::new(self.do_group()?);
                return Ok(Some(Command::While {
                    until,
                    condition,
                    body,
                }));
            }
        }
        if self.keyword("for") {
            return self.for_loop().map(Some);
        }
        if self.keyword("case") {
            return self.case().map(Some);
        }
        if self.keyword("{") {
            let body = Box::new(self.list(&["}"], None)?);
            self.need_keyword("}")?;
            return Ok(Some(Command::Group(body, Vec::new())));
        }
        if self.eat("(") {
            let body = Box::new(self.list(&[], Some(')'))?);
            self.expect(")")?;
            return Ok(Some(Command::Subshell(body, Vec::new())));
        }
        Ok(None)
    }

    fn conditional(&mut self) -> Result<Command, SyntaxError> {
        let mut branches = Vec::new();
        loop {
            let condition = self.list(&["then"], None)?;
            self.need_keyword("then")?;
            branches.push((Some(condition), self.list(&["elif", "else", "fi"], None)?));
            if self.keyword("elif") {
                continue;
            }
            if self.keyword("else") {
                branches.push((None, self.list(&["fi"], None)?));
            }
            self.need_keyword("fi")?;
            return Ok(Command::If(branches));
        }
    }

    fn do_group(&mut self) -> Result<Command, SyntaxError> {
        self.newlines()?;
        self.need_keyword("do")?;
        let body = self.list(&["done"], None)?;
        self.need_keyword("done")?;
        Ok(body)
    }

    fn for_loop(&mut self) -> Result<Command, SyntaxError> {
        self.blanks();
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() {
            return Err(self.unexpected());
        }
        self.newlines()?;
        let mut words = None;
        if self.keyword("in") {
            let mut list = Vec::new();
            self.blanks();
            while let Some(word) = self.word()? {
                list.push(word);
                self.blanks();
            }
            words = Some(list);
        }
        self.blanks();
        self.eat(";");
        let body = Box::new(self.do_group()?);
        Ok(Command::For { name, words, body })
    }

    fn case(&mut self) -> Result<Command, SyntaxError> {
        self.blanks();
        let subject = self.word()?.ok_or_else(|| self.unexpected())?;
        self.newlines()?;
        self.need_keyword("in")?;
        let mut arms = Vec::new();
        loop {
            self.newlines()?;
            if self.keyword("esac") {
                return Ok(Command::Case { subject, arms });
            }
            self.eat("(");
            let mut patterns = Vec::new();
            loop {
                self.blanks();
                patterns.push(self.word()?.ok_or_else(|| self.unexpected())?);
                self.blanks();
                if !self.eat("|") {
                    break;
                }
            }
            self.expect(")")?;
            arms.push((patterns, self.list(&["esac"], None)?));
            self.eat(";;");
        }
    }

    fn simple(&mut self) -> Result<Command, SyntaxError> {
        let mut simple = Simple::default();
        loop {
            self.blanks();
            if let Some(redirect) = self.redirect()? {
                simple.redirects.extend(redirect);
                continue;
            }
            if simple.words.is_empty()
                && let Some(name) = self.assignment_name()
            {
                simple
                    .assignments
                    .push((name, self.word()?.unwrap_or_default()));
                continue;
            }
            let Some(word) = self.word()? else { break };
            if simple.words.is_empty() && self.eat("()") {
                let name = word
                    .bare()
                    .map(str::to_owned)
                    .ok_or_else(|| self.unexpected())?;
                self.newlines()?;
                return Ok(Command::Function(name, Arc::new(self.command()?)));
            }
            simple.words.push(word);
        }
        if simple == Simple::default() {
            return Err(self.unexpected());
        }
        Ok(Command::Simple(simple))
    }

    fn assignment_name(&mut self) -> Option<String> {
        let (name, rest) = self.rest.split_once('=')?;
        let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        valid.then(|| {
            self.rest = rest;
            name.to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_commands_ask_for_more() {
        for text in [
            "echo 'a",
            "if true; then",
            "while true; do x",
            "a &&",
            "cat <<EOF\nx\n",
            "echo $(date",
            "(a",
            "x() {",
            "a |",
        ] {
            assert_eq!(parse(text), Err(SyntaxError::Incomplete), "{text}");
        }
    }

    #[test]
    fn wrong_commands_are_refused() {
        for text in ["; a", "a ;; b", "| b", "fi )", "echo )", "cat >"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(matches!(
            parse(&"(".repeat(5000)),
            Err(SyntaxError::TooDeep)
        ));
        assert!(matches!(
            parse(&"$(".repeat(5000)),
            Err(SyntaxError::TooDeep)
        ));
        assert!(parse(&"! { ".repeat(5000)).is_err());
        assert!(parse(&"x() ".repeat(50_000)).is_err());
        assert!(parse(&"${a:-".repeat(50_000)).is_err());
    }

    #[test]
    fn comments_and_empty_lines_are_skipped() {
        assert_eq!(parse("# nothing\n\n"), Ok(Command::Sequence(vec![])));
        assert!(
            matches!(parse("echo a#b # c"), Ok(Command::Simple(simple)) if simple.words.len() == 2)
        );
    }
}
