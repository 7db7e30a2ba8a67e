//! Reads typed values out of a [`Node`] tree and collects everything that is wrong on the way.
//!
//! A getter that finds something wrong reports it and answers as if the key were absent, so that one
//! run lists every problem of a file.

mod alike;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;

use super::document::{Node, Position, Problem, Value, parse};
use alike::is_alike;

/// One file that is being read, with what was found wrong so far.
#[derive(Debug)]
pub(super) struct Document {
    file: PathBuf,
    root: Option<Node>,
    problems: RefCell<Vec<Problem>>,
    /// How many of them are about reading, if that is done.
    unread: Cell<Option<usize>>,
    keys: RefCell<BTreeSet<String>>,
}

/// A value, where it stands and what it is called: enough to complain about it later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) at: Position,
    pub(super) field: String,
}

/// One mapping of a document.
pub(super) struct Section<'d> {
    document: &'d Document,
    field: String,
    at: Position,
    entries: &'d [(super::document::Key, Node)],
    seen: RefCell<BTreeSet<&'static str>>,
}

impl Document {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        let (root, problems) = match parse(file, text) {
            Ok(root) => (Some(root), Vec::new()),
            Err(problem) => (None, vec![problem]),
        };
        Self {
            file: file.to_owned(),
            root,
            problems: RefCell::new(problems),
            unread: Cell::new(None),
            keys: RefCell::default(),
        }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The top of the document, if it is of this kind.
    pub(super) fn open(&self, kind: &str) -> Option<Section<'_>> {
        let root = self.root.as_ref()?;
        if matches!(root.value, Value::Null) {
            self.report(
                root.at,
                "",
                "is empty; an empty file is not an empty policy or configuration",
            );
            return None;
        }
        let top = Section::of(self, root, String::new())?;
        top.constant("apiVersion", super::API_VERSION);
        top.constant("kind", kind);
        Some(top)
    }

    pub(super) fn report(&self, at: Position, field: &str, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
            file: self.file.clone(),
            at,
            field: field.to_owned(),
            message: message.into(),
        });
    }

    /// What is reported from now on is no reason for [`Section::report_item`] to be silent.
    pub(super) fn reading_is_done(&self) {
        self.unread.set(Some(self.problems.borrow().len()));
    }

    /// The opposite: reading another part of the document begins.
    pub(super) fn reading_goes_on(&self) {
        self.unread.set(None);
    }

    /// Whether the value of a field, or something in it, could not be read.
    fn is_unread(&self, field: &str) -> bool {
        let problems = self.problems.borrow();
        let count = self.unread.get().unwrap_or(problems.len());
        problems.iter().take(count).any(|problem| {
            problem
                .field
                .strip_prefix(field)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Everything that is wrong, each once, in the order of the file.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for problem in self.problems.into_inner() {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        problems.sort_by_key(|problem| problem.at);
        problems
    }

    /// Every key that a reader asked for, without the indices of lists.
    #[cfg(test)]
    pub(super) fn keys(&self) -> BTreeSet<String> {
        self.keys.borrow().clone()
    }
}

impl<T> Found<T> {
    pub(super) fn report(&self, document: &Document, message: impl Into<String>) {
        document.report(self.at, &self.field, message);
    }
}

impl<'d> Section<'d> {
    fn of(document: &'d Document, node: &'d Node, field: String) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            document.report(node.at, &field, "must be a mapping of keys to values");
            return None;
        };
        Some(Self {
            document,
            field,
            at: node.at,
            entries,
            seen: RefCell::default(),
        })
    }

    pub(super) fn document(&self) -> &'d Document {
        self.document
    }

    pub(super) fn at(&self) -> Position {
        self.at
    }

    /// Complains about the section as a whole.
    pub(super) fn report(&self, message: impl Into<String>) {
        self.document.report(self.at, &self.field, message);
    }

    /// Complains about one of its keys, where that stands if it is there.
    pub(super) fn report_key(&self, key: &str, message: impl Into<String>) {
        let at = self
            .entries
            .iter()
            .find(|(name, _)| name.text == key)
            .map_or(self.at, |(name, _)| name.at);
        self.document.report(at, &self.path(key), message);
    }

    /// Complains about `subjects.groups` or one item of it, as precisely as the file allows. Silent
    /// where reading the field has failed already: what was read of it is not what was written.
    pub(super) fn report_item(
        &self,
        field: &str,
        index: Option<usize>,
        message: impl Into<String>,
    ) {
        let mut at = self.at;
        let mut path = self.field.clone();
        let mut entries = Some(self.entries);
        let mut node = None;
        for key in field.split('.').filter(|key| !key.is_empty()) {
            path = if path.is_empty() {
                key.to_owned()
            } else {
                format!("{path}.{key}")
            };
            let entry =
                entries.and_then(|entries| entries.iter().find(|(name, _)| name.text == key));
            node = entry.map(|(_, node)| node);
            if let Some((name, _)) = entry {
                at = name.at;
            }
            entries = match node.map(|node| &node.value) {
                Some(Value::Map(entries)) => Some(entries),
                _ => None,
            };
        }
        if path != self.field && self.document.is_unread(&path) {
            return;
        }
        if let Some(index) = index {
            path = format!("{path}[{index}]");
            if let Some(Value::List(items)) = node.map(|node| &node.value)
                && let Some(item) = items.get(index)
            {
                at = item.at;
            }
        }
        self.document.report(at, &path, message);
    }

    fn path(&self, key: &str) -> String {
        if self.field.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.field)
        }
    }

    /// The value of a key; `null` counts as absent, as in Kubernetes.
    fn node(&self, key: &'static str) -> Option<(&'d Node, String)> {
        self.seen.borrow_mut().insert(key);
        let path = self.path(key);
        self.document
            .keys
            .borrow_mut()
            .insert(without_indices(&path));
        self.entries
            .iter()
            .find(|(name, _)| name.text == key)
            .map(|(_, node)| (node, path))
            .filter(|(node, _)| !matches!(node.value, Value::Null))
    }

    pub(super) fn has(&self, key: &'static str) -> bool {
        self.node(key).is_some()
    }

    fn wrong<T>(&self, node: &Node, path: &str, message: impl Into<String>) -> Option<T> {
        self.document.report(node.at, path, message);
        None
    }

    /// Whether the key holds a mapping.
    pub(super) fn is_section(&self, key: &'static str) -> bool {
        self.node(key)
            .is_some_and(|(node, _)| matches!(node.value, Value::Map(_)))
    }

    pub(super) fn text(&self, key: &'static str) -> Option<Found<String>> {
        let (node, path) = self.node(key)?;
        self.text_of(node, path)
    }

    fn text_of(&self, node: &Node, field: String) -> Option<Found<String>> {
        match &node.value {
            Value::Text(value) => Some(Found {
                value: value.clone(),
                at: node.at,
                field,
            }),
            Value::Bool(_) | Value::Integer(_) | Value::Float | Value::Ambiguous | Value::Null => {
                self.wrong(node, &field, "must be a string; write it in quotes")
            }
            Value::List(_) | Value::Map(_) => self.wrong(node, &field, "must be a string"),
        }
    }

    /// A string that must be there and not be empty.
    pub(super) fn required(&self, key: &'static str) -> Option<Found<String>> {
        if !self.has(key) {
            self.report_key(key, "is missing");
            return None;
        }
        let found = self.text(key)?;
        if found.value.is_empty() {
            found.report(self.document, "is empty");
            return None;
        }
        Some(found)
    }

    fn constant(&self, key: &'static str, expected: &str) {
        match self.required(key) {
            Some(found) if found.value != expected => {
                found.report(self.document, format!("must be {expected}"));
            }
            _ => {}
        }
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let found = self.text(key)?;
        let value = words
            .iter()
            .find(|(word, _)| *word == found.value)
            .map(|(_, value)| *value);
        if value.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            found.report(self.document, format!("must be {}", words.join(" or ")));
        }
        value
    }

    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        let (node, path) = self.node(key)?;
        match node.value {
            Value::Bool(value) => Some(value),
            _ => self.wrong(node, &path, "must be true or false"),
        }
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, key: &'static str, bounds: RangeInclusive<usize>) -> Option<usize> {
        let (node, path) = self.node(key)?;
        let number = match node.value {
            Value::Integer(number) => usize::try_from(number).ok(),
            _ => return self.wrong(node, &path, "must be a whole number"),
        };
        match number {
            Some(number) if bounds.contains(&number) => Some(number),
            _ => {
                let (low, high) = (bounds.start(), bounds.end());
                self.wrong(node, &path, format!("must be between {low} and {high}"))
            }
        }
    }

    /// A duration within bounds, `10s`, `1m30s` or `24h`.
    pub(super) fn duration(
        &self,
        key: &'static str,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let (node, path) = self.node(key)?;
        let Value::Text(text) = &node.value else {
            return self.wrong(
                node,
                &path,
                "must be a duration with its unit, such as 10s or 24h",
            );
        };
        let parsed = text
            .parse::<SignedDuration>()
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok());
        match parsed {
            None => self.wrong(
                node,
                &path,
                format!("{text:?} is not a duration; write it like 10s, 1m30s or 24h"),
            ),
            Some(duration) if !bounds.contains(&duration) => {
                let (low, high) = (spell(*bounds.start()), spell(*bounds.end()));
                self.wrong(node, &path, format!("must be between {low} and {high}"))
            }
            Some(duration) => Some(duration),
        }
    }

    /// A list of strings; absent is empty.
    pub(super) fn texts(&self, key: &'static str) -> Vec<Found<String>> {
        self.node(key)
            .map_or_else(Vec::new, |(node, path)| self.texts_of(node, &path))
    }

    fn texts_of(&self, node: &Node, path: &str) -> Vec<Found<String>> {
        let Value::List(items) = &node.value else {
            self.document.report(
                node.at,
                path,
                "must be a list; write [a, b] or one \"- a\" a line",
            );
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| self.text_of(item, format!("{path}[{index}]")))
            .collect()
    }

    /// Lists of strings by names of the writer's choice; absent is empty.
    pub(super) fn texts_by_name(&self, key: &'static str) -> Vec<(String, Vec<Found<String>>)> {
        let Some(section) = self.section(key) else {
            return Vec::new();
        };
        let named = section.entries.iter().map(|(name, node)| {
            let path = section.path(&name.text);
            (name.text.clone(), self.texts_of(node, &path))
        });
        named.collect()
    }

    /// A mapping with anything in it, as JSON.
    pub(super) fn json(&self, key: &'static str) -> Option<serde_json::Value> {
        let (node, path) = self.node(key)?;
        let json = node.json();
        if json.is_none() {
            return self.wrong(
                node,
                &path,
                "has a value that is not clear; write it in quotes",
            );
        }
        json
    }

    pub(super) fn section(&self, key: &'static str) -> Option<Self> {
        let (node, path) = self.node(key)?;
        Section::of(self.document, node, path)
    }

    /// A section that must be there.
    pub(super) fn required_section(&self, key: &'static str) -> Option<Self> {
        if !self.has(key) {
            self.report_key(key, "is missing");
        }
        self.section(key)
    }

    /// A list of sections; absent is empty.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Self> {
        let Some((node, path)) = self.node(key) else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            self.document
                .report(node.at, &path, "must be a list, one \"- \" an item");
            return Vec::new();
        };
        items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| {
                Section::of(self.document, item, format!("{path}[{index}]"))
            })
            .collect()
    }

    /// Complains about every key that nobody asked for. Call it after the last getter.
    pub(super) fn finish(&self) {
        let seen = self.seen.borrow();
        for (key, _) in self.entries {
            if seen.contains(key.text.as_str()) {
                continue;
            }
            if seen.is_empty() {
                let message = "is not a known key; nothing is known here";
                self.document.report(key.at, &self.path(&key.text), message);
                continue;
            }
            let message = if let Some(known) = seen.iter().find(|known| is_alike(known, &key.text))
            {
                format!("is not a known key; did you mean {known}?")
            } else {
                let known: Vec<&str> = seen.iter().copied().collect();
                format!("is not a known key; known here: {}", known.join(", "))
            };
            self.document.report(key.at, &self.path(&key.text), message);
        }
    }
}

/// `rules[3].verbs` → `rules[].verbs`.
fn without_indices(path: &str) -> String {
    path.split_inclusive('[')
        .map(|part| part.trim_start_matches(|character: char| character.is_ascii_digit()))
        .collect()
}

fn spell(duration: Duration) -> String {
    SignedDuration::try_from(duration)
        .map_or_else(|_| "any".to_owned(), |duration| format!("{duration:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_left_out_of_key_names() {
        assert_eq!(without_indices("a[12].b[0].c"), "a[].b[].c");
        assert_eq!(without_indices("a1.b2"), "a1.b2");
    }
}
