//! One reader of JSON and YAML: it keeps a document as a tree, or searches its texts and keeps nothing.
//!
//! JSON is read as `sigs.k8s.io/json` does: keys match by case, and there is one document. YAML becomes what it
//! says in JSON first, within the bounds of its parser.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Undecoded, ValuePath};
use crate::limits;

/// What the visitor says where it stops; serde's errors are text.
const DUPLICATE: &str = "has the same key twice in one object; send it once";
const MANY: &str = "too many values";
/// What `serde_json` says at its 128th level. An API server goes on to the 10 000th (`maxNestingDepth` of
/// `sigs.k8s.io/json`), which takes stack that grows with what a client sends; no Kubernetes object has a tenth of it.
const TOO_DEEP: &str = "recursion limit exceeded";
/// What the YAML parser says at its 65th.
const TOO_DEEP_FOR_YAML: &str = "budget breached: Depth";
/// What clients are told.
const DEEP: &str = "is nested too deep: it has objects and arrays within each other at more than 127 levels, which is as deep as the gateway reads; send it flatter";
const DEEP_YAML: &str = "is nested too deep: it has maps and lists within each other at more than 64 levels, which is as deep as the gateway reads YAML; send it flatter, or as JSON";

/// One object; members that are null are left out.
pub(super) fn decode(body: &[u8]) -> Result<Value, Undecoded> {
    match Reader::keeping(false).json(body)? {
        value @ Value::Object(_) => Ok(value),
        _ => Err(Undecoded::Malformed("is not a JSON object")),
    }
}

/// Any value, with its nulls, which mean something in patches.
pub(super) fn with_nulls(body: &[u8]) -> Result<Value, Undecoded> {
    Reader::keeping(true).json(body)
}

/// The first key or text of a document in JSON that `matches`, by its path.
pub(super) fn find(
    body: &[u8],
    keys: Keys,
    matches: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<Option<ValuePath>, Undecoded> {
    let mut reader = Reader::searching(keys, matches);
    let read = reader.json(body).map(|_nothing| ());
    reader.found(read)
}

/// The same of all documents in YAML.
pub(super) fn find_in_yaml(
    body: &[u8],
    matches: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<Option<ValuePath>, Undecoded> {
    let documents: Vec<Value> = serde_saphyr::from_slice_multiple(body).map_err(|error| {
        let deep = error.to_string().contains(TOO_DEEP_FOR_YAML);
        Undecoded::Malformed(if deep {
            DEEP_YAML
        } else {
            "is not YAML with unique keys"
        })
    })?;
    let mut reader = Reader::searching(Keys::Unique, matches);
    for document in &documents {
        reader.enter(0, |_| {});
        let read = reader.value(document).map(|_nothing| ());
        if let found @ Some(_) = reader.found(read)? {
            return Ok(found);
        }
    }
    Ok(None)
}

/// What is made of an object that has a key twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keys {
    /// It is refused: readers would see different ones.
    Unique,
    /// Both members are looked at.
    Any,
}

struct Reader<'a> {
    keys: Keys,
    aim: Aim<'a>,
}

/// What a document is read for.
enum Aim<'a> {
    /// A tree of at most so many more values, with members that are null or without.
    Tree { left: usize, nulls: bool },
    /// The place of what matches, where reading stops.
    Search {
        path: ValuePath,
        matches: &'a mut dyn FnMut(&[u8]) -> bool,
        found: bool,
    },
}

impl<'a> Reader<'a> {
    fn keeping(nulls: bool) -> Self {
        Self {
            keys: Keys::Unique,
            aim: Aim::Tree {
                left: limits::REQUEST_OBJECT_VALUES_MAX,
                nulls,
            },
        }
    }

    fn searching(keys: Keys, matches: &'a mut dyn FnMut(&[u8]) -> bool) -> Self {
        Self {
            keys,
            aim: Aim::Search {
                path: ValuePath::default(),
                matches,
                found: false,
            },
        }
    }

    fn json(&mut self, body: &[u8]) -> Result<Value, Undecoded> {
        let mut json = serde_json::Deserializer::from_slice(body);
        Node(self)
            .deserialize(&mut json)
            .and_then(|value| json.end().map(|()| value))
            .map_err(|error| undecoded(&error))
    }

    fn value(&mut self, value: &Value) -> Result<Value, Undecoded> {
        Node(self)
            .deserialize(value)
            .map_err(|error| undecoded(&error))
    }

    /// Where the search stopped, if that is why it did.
    fn found(&mut self, read: Result<(), Undecoded>) -> Result<Option<ValuePath>, Undecoded> {
        match &mut self.aim {
            Aim::Search {
                path, found: true, ..
            } => Ok(Some(std::mem::take(path))),
            _ => read.map(|()| None),
        }
    }

    /// Enters a value.
    fn count<E: Error>(&mut self) -> Result<(), E> {
        if let Aim::Tree { left, .. } = &mut self.aim {
            *left = left.checked_sub(1).ok_or_else(|| E::custom(MANY))?;
        }
        Ok(())
    }

    /// Takes a text.
    fn text<E: Error>(&mut self, text: &str) -> Result<(), E> {
        if let Aim::Search { matches, found, .. } = &mut self.aim {
            *found = matches(text.as_bytes());
            if *found {
                return Err(E::custom("found"));
            }
        }
        Ok(())
    }

    /// Goes from an object or array, whose path has `length`, to its member or element.
    fn enter(&mut self, length: usize, step: impl FnOnce(&mut ValuePath)) {
        if let Aim::Search { path, .. } = &mut self.aim {
            path.truncate(length);
            step(path);
        }
    }

    fn path_length(&self) -> usize {
        match &self.aim {
            Aim::Search { path, .. } => path.len(),
            Aim::Tree { .. } => 0,
        }
    }

    fn keeps(&self) -> bool {
        matches!(self.aim, Aim::Tree { .. })
    }

    fn keeps_nulls(&self) -> bool {
        matches!(self.aim, Aim::Tree { nulls: true, .. })
    }
}

fn undecoded(error: &serde_json::Error) -> Undecoded {
    match error.to_string() {
        text if text.starts_with(DUPLICATE) => Undecoded::Malformed(DUPLICATE),
        text if text.starts_with(MANY) => Undecoded::TooLarge,
        text if text.starts_with(TOO_DEEP) => Undecoded::Malformed(DEEP),
        _ => Undecoded::Malformed("is not valid JSON"),
    }
}

/// Reads one value. Recursion ends at `serde_json`'s 128 levels, and at those of the YAML parser.
struct Node<'r, 'a>(&'r mut Reader<'a>);

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.0.text(value)?;
        Ok(if self.0.keeps() {
            value.into()
        } else {
            Value::Null
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let reader = self.0;
        let length = reader.path_length();
        let mut list = Vec::new();
        for index in 0.. {
            reader.enter(length, |path| path.index(index));
            let Some(item) = items.next_element_seed(Node(reader))? else {
                break;
            };
            if reader.keeps() {
                list.push(item);
            }
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let reader = self.0;
        let length = reader.path_length();
        let mut map = Map::new();
        let mut left_out: HashSet<String> = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            reader.enter(length, |path| path.key(Some(key.as_bytes())));
            reader.text(&key)?;
            if reader.keys == Keys::Unique && (map.contains_key(&key) || left_out.contains(&key)) {
                return Err(A::Error::custom(DUPLICATE));
            }
            match entries.next_value_seed(Node(reader))? {
                Value::Null if !reader.keeps_nulls() => drop(left_out.insert(key)),
                value if reader.keeps() => drop(map.insert(key, value)),
                _ => drop(left_out.insert(key)),
            }
        }
        Ok(Value::Object(map))
    }
}
