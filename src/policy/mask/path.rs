//! Field paths: `data.*`, `spec.containers[*].env[*].value`, `metadata.annotations["a.b/c"]`.

use std::fmt;
use std::str::FromStr;

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
    /// A condition such as `[name~="password"]`.
    #[error("the condition `{condition}` is not supported yet; use `[*]` to mask every element")]
    Condition {
        /// The text in brackets.
        condition: String,
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

    /// The path of every member of the top-level object `key`.
    pub(super) fn members_of(key: &str) -> Self {
        Self {
            segments: vec![Segment::Key(key.to_owned()), Segment::AnyKey],
        }
    }

    /// The steps from the object to the field.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Is the field at `keys` exactly what this path stands for?
    fn selects(&self, keys: &[&str]) -> bool {
        self.segments.len() == keys.len()
            && self
                .segments
                .iter()
                .zip(keys)
                .all(|(segment, key)| match segment {
                    Segment::Key(wanted) => wanted == key,
                    Segment::AnyKey => true,
                    Segment::AnyElement => false,
                })
    }
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
            }
        }
        Ok(())
    }
}

fn next_segment(text: &str) -> Result<(Segment, &str), FieldPathError> {
    if let Some(bracket) = text.strip_prefix('[') {
        return bracketed(text, bracket);
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
        assert!(matches!(
            FieldPath::parse("spec.containers[*].env[name~=\"(?i)password\"].value"),
            Err(FieldPathError::Condition { condition }) if condition == "[name~=\"(?i)password\"]"
        ));
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
        ] {
            assert!(
                matches!(FieldPath::parse(text), Err(FieldPathError::Needed { .. })),
                "{text}"
            );
        }
    }
}
