//! A YAML file as a tree whose every node knows where it stands, so that all problems of a file can
//! be listed with their line, not only the first.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Spanned};

use crate::limits;

/// A line and a column, both from 1; 0 when unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
}

/// What is wrong with a file, where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Where in it.
    #[serde(flatten)]
    pub at: Position,
    /// The field, `listener.tls.certificateFile`; empty for the file as a whole.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:", self.file.display())?;
        if self.at.line > 0 {
            write!(out, "{}:{}:", self.at.line, self.at.column)?;
        }
        if !self.field.is_empty() {
            write!(out, " {}", self.field)?;
        }
        write!(out, " {}", self.message)
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) at: Position,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float,
    Text(String),
    /// A plain `no`, `on`, ...: a string to us, a boolean to other readers of the same file.
    Ambiguous,
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) at: Position,
}

impl Node {
    /// The same as JSON; `None` where a reader of YAML could take a value for another.
    pub(super) fn json(&self) -> Option<serde_json::Value> {
        Some(match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => (*value).into(),
            Value::Text(text) => text.as_str().into(),
            Value::Float | Value::Ambiguous => return None,
            Value::List(items) => items
                .iter()
                .map(Self::json)
                .collect::<Option<Vec<_>>>()?
                .into(),
            Value::Map(entries) => {
                let json = |(key, node): &(Key, Self)| Some((key.text.clone(), node.json()?));
                let entries: Option<serde_json::Map<_, _>> = entries.iter().map(json).collect();
                entries?.into()
            }
        })
    }
}

/// Reads the text of one file as exactly one YAML document.
pub(super) fn parse(file: &Path, text: &str) -> Result<Node, Problem> {
    let problem = |at, message: String| Problem {
        file: file.to_owned(),
        at,
        field: String::new(),
        message,
    };
    if text.len() > limits::CONFIG_FILE_BYTES_MAX {
        let message = format!("is larger than {} bytes", limits::CONFIG_FILE_BYTES_MAX);
        return Err(problem(Position::default(), message));
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: limits::CONFIG_ALIAS_EVENTS_MAX,
            max_replay_stack_depth: 8,
        },
        reject_unsupported_tags: true,
        emit_comments: false,
        with_snippet: false,
    };
    let mut node: Node = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let at = error
            .location()
            .map_or_else(Position::default, |at| Position {
                line: at.line(),
                column: at.column(),
            });
        let message = match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
                format!("the key {key:?} stands here a second time; keep one of the two")
            }
            serde_saphyr::Error::DuplicateMappingKey { key: None, .. } => {
                "a key stands here a second time; keep one of the two".to_owned()
            }
            other => first_line(&other.to_string()),
        };
        problem(at, message)
    })?;
    let lines: Vec<&str> = text.lines().collect();
    mark_ambiguous(&mut node, &lines);
    Ok(node)
}

/// The parser puts the location behind the message too; ours stands in front.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    match line.rfind(" at line ") {
        Some(at) => line.get(..at).unwrap_or(line).to_owned(),
        None => line.to_owned(),
    }
}

/// Marks a plain `no` and its like, so that whoever wants a value from it asks for a clear one.
fn mark_ambiguous(node: &mut Node, lines: &[&str]) {
    match &mut node.value {
        Value::Text(text) if is_yaml11_boolean(text) && is_plain(node.at, lines) => {
            node.value = Value::Ambiguous;
        }
        Value::List(items) => items
            .iter_mut()
            .for_each(|item| mark_ambiguous(item, lines)),
        Value::Map(entries) => entries
            .iter_mut()
            .for_each(|(_, value)| mark_ambiguous(value, lines)),
        _ => {}
    }
}

fn is_yaml11_boolean(text: &str) -> bool {
    ["y", "n", "yes", "no", "on", "off"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

fn is_plain(at: Position, lines: &[&str]) -> bool {
    let index = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let first = lines
        .get(index(at.line))
        .and_then(|line| line.chars().nth(index(at.column)));
    first.is_some_and(char::is_alphabetic)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            at: position(&spanned),
            value: spanned.value,
        })
    }
}

fn position<T>(spanned: &Spanned<T>) -> Position {
    Position {
        line: spanned.referenced.line(),
        column: spanned.referenced.column(),
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        // Nothing here is that large; the range check of the field says so.
        Ok(Value::Integer(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Float)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            let at = position(&key);
            let key = Key {
                text: key.value,
                at,
            };
            map.push((key, entries.next_value()?));
        }
        Ok(Value::Map(map))
    }
}
