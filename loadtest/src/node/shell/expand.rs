//! From words to arguments: `$`, field splitting, file name patterns.

mod arithmetic;
pub(super) mod pattern;

use std::sync::Arc;

use bytes::BytesMut;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::io::{Output, Streams, TEXT_LIMIT};
use super::syntax::{Change, Command, Content, Piece, Word};
use super::{Shell, fs};

/// Most arguments of a command.
const FIELD_LIMIT: usize = 200_000;

/// An argument in the making.
#[derive(Debug, Default)]
struct Field {
    text: String,
    /// The same as a pattern in which quoted text is literal.
    pattern: String,
}

/// The arguments made so far, and the one that is still open.
#[derive(Debug, Default)]
struct Fields {
    done: Vec<Field>,
    open: Option<Field>,
}

impl Fields {
    fn literal(&mut self, text: &str) {
        let open = self.open.get_or_insert_default();
        open.text.push_str(text);
        pattern::escape(text, &mut open.pattern);
    }

    fn unquoted(&mut self, text: &str) {
        let open = self.open.get_or_insert_default();
        open.text.push_str(text);
        open.pattern.push_str(text);
    }

    fn split(&mut self, text: &str) {
        let mut words = text.split([' ', '\t', '\n']);
        if let Some(first) = words.next().filter(|word| !word.is_empty()) {
            self.unquoted(first);
        }
        for word in words {
            self.end();
            if !word.is_empty() {
                self.unquoted(word);
            }
        }
    }

    fn end(&mut self) {
        self.done.extend(self.open.take());
    }
}

impl Shell {
    /// Expands words into arguments.
    pub(super) async fn arguments_of(
        &mut self,
        words: &[Word],
        streams: &Streams,
    ) -> Result<Vec<String>, String> {
        let mut arguments = Vec::new();
        let mut size = 0;
        for word in words {
            let mut fields = Fields::default();
            for (index, piece) in word.0.iter().enumerate() {
                self.piece(piece, index == 0, &mut fields, streams).await?;
            }
            fields.end();
            for field in fields.done {
                size += field.text.len();
                if size > TEXT_LIMIT || arguments.len() > FIELD_LIMIT {
                    return Err("argument list too long".to_owned());
                }
                self.file_names(field, &mut arguments);
            }
        }
        Ok(arguments)
    }

    /// Expands a word into one text, without splitting and without patterns.
    pub(super) async fn text_of(
        &mut self,
        word: &Word,
        streams: &Streams,
    ) -> Result<String, String> {
        let mut text = String::new();
        for (index, piece) in word.0.iter().enumerate() {
            match &piece.content {
                Content::Text(plain) if index == 0 && !piece.quoted => {
                    text.push_str(&self.home(plain));
                }
                content => text.push_str(&self.value(content, streams).await?),
            }
            if text.len() > TEXT_LIMIT {
                return Err("word too long".to_owned());
            }
        }
        Ok(text)
    }

    /// Expands a word into a pattern: only what stood outside of quotes is special.
    pub(super) async fn pattern_of(
        &mut self,
        word: &Word,
        streams: &Streams,
    ) -> Result<String, String> {
        let mut text = String::new();
        for piece in &word.0 {
            let value = self.value(&piece.content, streams).await?;
            if piece.quoted {
                pattern::escape(&value, &mut text);
            } else {
                text.push_str(&value);
            }
        }
        Ok(text)
    }

    async fn piece(
        &mut self,
        piece: &Piece,
        first: bool,
        fields: &mut Fields,
        streams: &Streams,
    ) -> Result<(), String> {
        match &piece.content {
            Content::Text(text) if piece.quoted => fields.literal(text),
            Content::Text(text) if first => fields.unquoted(&self.home(text)),
            Content::Text(text) => fields.unquoted(text),
            Content::Parameter { name, change: None } if name == "@" && piece.quoted => {
                for (index, argument) in self.arguments.iter().enumerate() {
                    if index > 0 {
                        fields.end();
                    }
                    fields.literal(argument);
                }
            }
            content => {
                let value = self.value(content, streams).await?;
                if piece.quoted {
                    fields.literal(&value);
                } else {
                    fields.split(&value);
                }
            }
        }
        Ok(())
    }

    fn value<'a>(
        &'a mut self,
        content: &'a Content,
        streams: &'a Streams,
    ) -> BoxFuture<'a, Result<String, String>> {
        async move {
            match content {
                Content::Text(text) => Ok(text.clone()),
                Content::Length(name) => Ok(self
                    .parameter(name)
                    .unwrap_or_default()
                    .chars()
                    .count()
                    .to_string()),
                Content::Parameter { name, change: None } => {
                    Ok(self.parameter(name).unwrap_or_default())
                }
                Content::Parameter {
                    name,
                    change: Some((change, word)),
                } => self.changed(name, *change, word, streams).await,
                Content::Output(command) => self.output_of(command, streams).await,
                Content::Arithmetic(word) => {
                    let text = self.text_of(word, streams).await?;
                    let value = arithmetic::evaluate(&text, &|name| {
                        self.parameter(name).unwrap_or_default()
                    })?;
                    Ok(value.to_string())
                }
            }
        }
        .boxed()
    }

    async fn changed(
        &mut self,
        name: &str,
        change: Change,
        word: &Word,
        streams: &Streams,
    ) -> Result<String, String> {
        let value = self.parameter(name);
        let set = |empty_is_unset: bool| {
            value
                .as_ref()
                .filter(|value| !(empty_is_unset && value.is_empty()))
        };
        match change {
            Change::Default(strict) | Change::Assign(strict) | Change::Fail(strict)
                if set(strict).is_some() =>
            {
                Ok(value.unwrap_or_default())
            }
            Change::Default(_) => self.text_of(word, streams).await,
            Change::Assign(_) => {
                let text = self.text_of(word, streams).await?;
                self.assign(name, text.clone())?;
                Ok(text)
            }
            Change::Alternative(strict) if set(strict).is_some() => {
                self.text_of(word, streams).await
            }
            Change::Alternative(_) => Ok(String::new()),
            Change::Fail(_) => {
                let text = self.text_of(word, streams).await?;
                Err(format!(
                    "{name}: {}",
                    if text.is_empty() {
                        "parameter not set"
                    } else {
                        &text
                    }
                ))
            }
            Change::Prefix(longest) => {
                let pattern = self.pattern_of(word, streams).await?;
                Ok(without(&value.unwrap_or_default(), &pattern, longest, true))
            }
            Change::Suffix(longest) => {
                let pattern = self.pattern_of(word, streams).await?;
                Ok(without(
                    &value.unwrap_or_default(),
                    &pattern,
                    longest,
                    false,
                ))
            }
        }
    }

    async fn output_of(&mut self, command: &Command, streams: &Streams) -> Result<String, String> {
        let memory = Arc::new(Mutex::new(BytesMut::new()));
        let mut inner = self.subshell()?;
        let streams = Streams {
            output: Output::Memory(Arc::clone(&memory)),
            ..streams.clone()
        };
        inner.run(command, &streams).await;
        self.status = inner.status;
        let text = String::from_utf8_lossy(&memory.lock()).into_owned();
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// `~` and `~/…`.
    fn home(&self, text: &str) -> String {
        match text.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                self.parameter("HOME").unwrap_or_default() + rest
            }
            _ => text.to_owned(),
        }
    }

    fn file_names(&self, field: Field, into: &mut Vec<String>) {
        if !pattern::is_pattern(&field.pattern) {
            into.push(field.text);
            return;
        }
        let absolute = field.pattern.starts_with('/');
        let mut found = vec![String::new()];
        for part in field.pattern.split('/').filter(|part| !part.is_empty()) {
            let mut next = Vec::new();
            for base in &found {
                let shown = if absolute {
                    format!("/{base}")
                } else {
                    base.clone()
                };
                let directory = fs::absolute(&self.directory, &shown);
                let join = |name: &str| {
                    if base.is_empty() {
                        name.to_owned()
                    } else {
                        format!("{base}/{name}")
                    }
                };
                let names = self.machine.fs.list(&directory).unwrap_or_default();
                let names = names.iter().map(|(name, _)| name).filter(|name| {
                    (!name.starts_with('.') || part.starts_with('.'))
                        && pattern::matches(part, name)
                });
                next.extend(names.map(|name| join(name)));
            }
            found = next;
        }
        if found.is_empty() {
            into.push(field.text);
        } else {
            into.extend(
                found
                    .into_iter()
                    .map(|path| if absolute { format!("/{path}") } else { path }),
            );
        }
    }
}

/// A value without the part at its beginning or end that matches.
fn without(value: &str, pattern: &str, longest: bool, prefix: bool) -> String {
    let cuts = value.char_indices().map(|(at, _)| at).chain([value.len()]);
    let mut cuts: Vec<usize> = cuts.collect();
    // A prefix grows with the cut, a suffix shrinks with it.
    if longest == prefix {
        cuts.reverse();
    }
    for cut in cuts {
        let (head, tail) = value.split_at(cut);
        let (gone, kept) = if prefix { (head, tail) } else { (tail, head) };
        if pattern::matches(pattern, gone) {
            return kept.to_owned();
        }
    }
    value.to_owned()
}
