//! Field paths: `data.*`, `spec.containers[*].env[name~="(?i)password"].value`,
//! `metadata.annotations["a.b/c"]`, `data[~="\.key$"]`, `spec.**[~="(?i)token"]`.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use regex::{Regex, RegexBuilder};
use thiserror::Error;

use crate::limits::{FIELD_PATH_SEGMENTS_MAX, JSON_KEY_BYTES_MAX};

/// Paths without which no client can use an object.
const NEEDED: [&[&str]; 8] = [
    &["kind"],
    &["apiVersion"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "uid"],
    &["metadata", "resourceVersion"],
    &["metadata", "annotations"],
];

/// A field of an object, or all fields a pattern stands for.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct FieldPath {
    segments: Vec<Segment>,
}

/// One step of a field path.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Segment {
    /// The member with this key.
    Key(String),
    /// `*`: every member of an object.
    AnyKey,
    /// `[*]`: every element of an array.
    AnyElement,
    /// `[~="(?i)token"]`: every member whose key matches.
    KeyLike(Pattern),
    /// `[name~="(?i)token"]`: every element of an array that is an object in which the member of this
    /// name is a string that matches.
    ElementWhere(String, Pattern),
    /// `**`: any number of members and elements, none as well.
    Deep,
}

/// A regular expression, equal to others that are written the same.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

/// Bytes a compiled pattern may have; real ones have a few KiB.
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl Pattern {
    fn parse(text: &str) -> Result<Self, FieldPathError> {
        let regex = RegexBuilder::new(text)
            .size_limit(PATTERN_BYTES_MAX)
            .build();
        regex.map(Self).map_err(|_error| FieldPathError::Pattern {
            pattern: text.to_owned(),
        })
    }

    /// Is it found in the text?
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

/// Why a text is not a field path.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum FieldPathError {
    /// Nothing is named.
    #[error("the field path is empty; write for example `data.*`")]
    Empty,
    /// A segment that cannot be read.
    #[error(
        "cannot read the field path from `{rest}` on; write `key`, `*`, `[*]` or `[\"key\"]`, \
         joined by dots"
    )]
    Syntax {
        /// The text from the error on.
        rest: String,
    },
    /// A condition of another form than `[name~="password"]`.
    #[error(
        "cannot read the condition `{condition}`; write `[name~=\"(?i)password\"]` for elements and \
         `[~=\"(?i)password\"]` for keys"
    )]
    Condition {
        /// The text in brackets.
        condition: String,
    },
    /// Not a regular expression, or one that is too large.
    #[error("`{pattern}` is no regular expression that can be used (see docs.rs/regex)")]
    Pattern {
        /// The text in quotes.
        pattern: String,
    },
    /// A single array element.
    #[error("a single element `{index}` cannot be masked, elements move; use `[*]`")]
    Index {
        /// The text in brackets.
        index: String,
    },
    /// More segments than [`FIELD_PATH_SEGMENTS_MAX`] or a key above [`JSON_KEY_BYTES_MAX`].
    #[error("the field path is too long")]
    TooLong,
    /// A path that no client can do without.
    #[error("`{path}` cannot be masked: no client can use an object without it")]
    Needed {
        /// The path.
        path: String,
    },
}

impl FieldPath {
    /// Reads a path as written in a policy.
    pub fn parse(text: &str) -> Result<Self, FieldPathError> {
        let mut segments = Vec::new();
        let mut rest = text.strip_prefix('.').unwrap_or(text);
        if rest.is_empty() {
            return Err(FieldPathError::Empty);
        }
        loop {
            let (segment, after) = next_segment(rest)?;
            segments.push(segment);
            if after.is_empty() {
                break;
            }
            rest = match after.strip_prefix('.') {
                Some(next) if !next.is_empty() && !next.starts_with('[') => next,
                None if after.starts_with('[') => after,
                _ => return Err(syntax(after)),
            };
        }
        let overlong = |segment: &Segment| matches!(segment, Segment::Key(key) if key.len() > JSON_KEY_BYTES_MAX);
        if segments.len() > FIELD_PATH_SEGMENTS_MAX || segments.iter().any(overlong) {
            return Err(FieldPathError::TooLong);
        }
        let path = Self { segments };
        if NEEDED.iter().any(|needed| path.selects(needed)) {
            return Err(FieldPathError::Needed {
                path: path.to_string(),
            });
        }
        Ok(path)
    }

    /// The steps from the object to the field.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The keys, if the path has nothing else: then it is one field.
    pub fn keys(&self) -> Option<Vec<&str>> {
        let mut keys = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            let Segment::Key(key) = segment else {
                return None;
            };
            keys.push(key.as_str());
        }
        Some(keys)
    }

    /// Is the field at `keys` exactly what this path stands for?
    pub fn selects(&self, keys: &[&str]) -> bool {
        selects(&self.segments, keys)
    }
}

fn selects(segments: &[Segment], keys: &[&str]) -> bool {
    let Some((segment, rest)) = segments.split_first() else {
        return keys.is_empty();
    };
    if *segment == Segment::Deep {
        let below = keys.split_first();
        return selects(rest, keys) || below.is_some_and(|(_, below)| selects(segments, below));
    }
    let Some((key, below)) = keys.split_first() else {
        return false;
    };
    let selected = match segment {
        Segment::Key(wanted) => wanted == key,
        Segment::AnyKey => true,
        Segment::KeyLike(pattern) => pattern.matches(key),
        Segment::AnyElement | Segment::ElementWhere(..) | Segment::Deep => false,
    };
    selected && selects(rest, below)
}

impl FromStr for FieldPath {
    type Err = FieldPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, segment) in self.segments.iter().enumerate() {
            let dot = if place == 0 { "" } else { "." };
            match segment {
                Segment::Key(key) if is_plain(key) => write!(formatter, "{dot}{key}")?,
                Segment::Key(key) => write!(formatter, "[{key:?}]")?,
                Segment::AnyKey => write!(formatter, "{dot}*")?,
                Segment::AnyElement => write!(formatter, "[*]")?,
                Segment::KeyLike(Pattern(pattern)) => write!(formatter, "[~='{pattern}']")?,
                Segment::ElementWhere(key, Pattern(pattern)) => {
                    write!(formatter, "[{key}~='{pattern}']")?;
                }
                Segment::Deep => write!(formatter, "{dot}**")?,
            }
        }
        Ok(())
    }
}

fn next_segment(text: &str) -> Result<(Segment, &str), FieldPathError> {
    if let Some(bracket) = text.strip_prefix('[') {
        return bracketed(text, bracket);
    }
    if let Some(after) = text.strip_prefix("**") {
        return Ok((Segment::Deep, after));
    }
    if let Some(after) = text.strip_prefix('*') {
        return Ok((Segment::AnyKey, after));
    }
    let end = text
        .find(|character| !is_plain_character(character))
        .unwrap_or(text.len());
    let (key, after) = text.split_at(end);
    if key.is_empty() {
        return Err(syntax(text));
    }
    Ok((Segment::Key(key.to_owned()), after))
}

fn bracketed<'a>(text: &str, bracket: &'a str) -> Result<(Segment, &'a str), FieldPathError> {
    if let Some(after) = bracket.strip_prefix("*]") {
        return Ok((Segment::AnyElement, after));
    }
    for quote in ['"', '\''] {
        if let Some(quoted) = bracket.strip_prefix(quote) {
            let (key, after) = quoted.split_once(quote).ok_or_else(|| syntax(text))?;
            let after = after.strip_prefix(']').ok_or_else(|| syntax(text))?;
            if key.is_empty() || key.contains('\\') {
                return Err(syntax(text));
            }
            return Ok((Segment::Key(key.to_owned()), after));
        }
    }
    if let Some((key, condition)) = bracket.split_once("~=")
        && is_plain(key) | key.is_empty()
    {
        let (pattern, after) = quoted(condition).ok_or_else(|| FieldPathError::Condition {
            condition: text.chars().take(64).collect(),
        })?;
        let pattern = Pattern::parse(pattern)?;
        let segment = if key.is_empty() {
            Segment::KeyLike(pattern)
        } else {
            Segment::ElementWhere(key.to_owned(), pattern)
        };
        return Ok((segment, after));
    }
    let (inside, _) = bracket.split_once(']').ok_or_else(|| syntax(text))?;
    if inside.contains(['=', '~', '<', '>', '?']) {
        return Err(FieldPathError::Condition {
            condition: format!("[{inside}]"),
        });
    }
    if !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(FieldPathError::Index {
            index: format!("[{inside}]"),
        });
    }
    Err(syntax(text))
}

/// The text in quotes at the beginning, and what follows the bracket behind it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text
        .chars()
        .next()
        .filter(|quote| matches!(quote, '"' | '\''))?;
    let end = format!("{quote}]");
    text.strip_prefix(quote)?.split_once(&end)
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.chars().all(is_plain_character)
}

fn is_plain_character(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '$' | '/')
}

fn syntax(rest: &str) -> FieldPathError {
    FieldPathError::Syntax {
        rest: rest.chars().take(64).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_paths() {
        for text in [
            "data.*",
            "spec.containers[*].env[*].value",
            "metadata.annotations[\"kubectl.kubernetes.io/last-applied-configuration\"]",
            "*.password",
            "spec.a-b.c_d",
            "spec.containers[*].env[name~='(?i)password|[a-z]token'].value",
            "data[~='(?i)\\.key$']",
            "spec.**[~='(?i)password']",
        ] {
            assert_eq!(FieldPath::parse(text).unwrap().to_string(), text);
        }
        let quoted = FieldPath::parse(".metadata.annotations['a.b']").unwrap();
        assert_eq!(quoted.to_string(), "metadata.annotations[\"a.b\"]");
    }

    #[test]
    fn refuses_what_it_cannot_mean() {
        for text in [
            "", ".", "data.", "data..x", "[", "[]", "[\"a]", "a[\"\"]", "a b", "a.[*]",
        ] {
            assert!(FieldPath::parse(text).is_err(), "{text}");
        }
        for text in [
            "env[name=x]",
            "env[name~=x]",
            "env[name~=\"x]",
            "env[name=~\"x\"]",
        ] {
            assert!(
                matches!(
                    FieldPath::parse(text),
                    Err(FieldPathError::Condition { .. })
                ),
                "{text}"
            );
        }
        for text in ["data[~=\"(\"]", "env[name~='x{1000}{1000}'].value"] {
            assert!(
                matches!(FieldPath::parse(text), Err(FieldPathError::Pattern { .. })),
                "{text}"
            );
        }
        assert!(matches!(
            FieldPath::parse("spec.containers[0].env"),
            Err(FieldPathError::Index { .. })
        ));
        let long = ["a"; FIELD_PATH_SEGMENTS_MAX + 1].join(".");
        assert_eq!(FieldPath::parse(&long), Err(FieldPathError::TooLong));
        for text in [
            "kind",
            "*",
            "metadata",
            "metadata.*",
            "metadata.name",
            "*.uid",
            "**",
            "metadata.**",
            "**.name",
            "[~='^k']",
            "metadata[~='(?i)version']",
        ] {
            assert!(
                matches!(FieldPath::parse(text), Err(FieldPathError::Needed { .. })),
                "{text}"
            );
        }
    }
}
