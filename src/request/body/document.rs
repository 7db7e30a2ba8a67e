//! JSON as `sigs.k8s.io/json` reads it: keys match by case, and a document is one object.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::Undecoded;
use crate::limits;

/// What the visitor says where it stops; serde's errors are text.
const DUPLICATE: &str = "has the same key twice in one object; send it once";
const MANY: &str = "too many values";

/// One object; members that are null are left out.
pub(super) fn decode(body: &[u8]) -> Result<Value, Undecoded> {
    match read(body, false)? {
        value @ Value::Object(_) => Ok(value),
        _ => Err(Undecoded::Malformed("is not a JSON object")),
    }
}

/// Any value, with its nulls, which mean something in patches.
pub(super) fn with_nulls(body: &[u8]) -> Result<Value, Undecoded> {
    read(body, true)
}

fn read(body: &[u8], nulls: bool) -> Result<Value, Undecoded> {
    let mut left = limits::REQUEST_OBJECT_VALUES_MAX;
    let mut reader = serde_json::Deserializer::from_slice(body);
    let node = Node {
        left: &mut left,
        nulls,
    };
    node.deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| match error.to_string() {
            text if text.starts_with(DUPLICATE) => Undecoded::Malformed(DUPLICATE),
            text if text.starts_with(MANY) => Undecoded::TooLarge,
            _ => Undecoded::Malformed("is not valid JSON"),
        })
}

/// Reads one value. Recursion ends at `serde_json`'s 128 levels.
struct Node<'a> {
    /// Values that may still be read.
    left: &'a mut usize,
    /// Whether members that are null stay.
    nulls: bool,
}

impl Node<'_> {
    fn count<E: Error>(&mut self) -> Result<(), E> {
        *self.left = self.left.checked_sub(1).ok_or_else(|| E::custom(MANY))?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Value, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
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

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        let nulls = self.nulls;
        while let Some(item) = items.next_element_seed(Node {
            left: self.left,
            nulls,
        })? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut left_out: HashSet<String> = HashSet::new();
        let nulls = self.nulls;
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) || left_out.contains(&key) {
                return Err(A::Error::custom(DUPLICATE));
            }
            let node = Node {
                left: self.left,
                nulls,
            };
            match entries.next_value_seed(node)? {
                Value::Null if !nulls => drop(left_out.insert(key)),
                value => drop(map.insert(key, value)),
            }
        }
        Ok(Value::Object(map))
    }
}
