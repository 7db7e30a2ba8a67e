//! JSON as a token may contain it: no key twice, no deep nesting.
//!
//! RFC 7519 §4 lets a parser keep the last of two equal claims; others keep the first. A token that
//! says `"groups"` twice would be two identities, so it is none (RFC 8725 §2.4).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::limits::TOKEN_JSON_DEPTH_MAX;

/// Reads one JSON object that fills `bytes` and repeats no key at any level.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict {
        levels: TOKEN_JSON_DEPTH_MAX,
    }
    .deserialize(&mut deserializer)?;
    deserializer.end()?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Error::custom("not a JSON object")),
    }
}

/// Reads any value with at most `levels` more levels of nesting.
#[derive(Clone, Copy)]
struct Strict {
    levels: usize,
}

impl Strict {
    fn nested<E: Error>(self) -> Result<Self, E> {
        match self.levels.checked_sub(1) {
            Some(levels) => Ok(Self { levels }),
            None => Err(E::custom("nested too deeply")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
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

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.nested()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.nested()?;
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.insert(key, value).is_some() {
                return Err(Error::custom("the same key twice in one object"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a20_a_repeated_key_is_refused_at_every_level() {
        for text in [
            r#"{"groups":["a"],"groups":["b"]}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[{"b":[{"c":1,"c":2}]}]}"#,
            r#"{"groups":["a"],"gro\u0075ps":["b"]}"#,
            r#"{"":1,"":2}"#,
        ] {
            let error = object(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("the same key twice"), "{text}: {error}");
        }
    }

    #[test]
    fn a24_deep_nesting_is_refused() {
        let nested =
            |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert!(object(nested(TOKEN_JSON_DEPTH_MAX - 1).as_bytes()).is_ok());
        assert!(object(nested(TOKEN_JSON_DEPTH_MAX).as_bytes()).is_err());
        assert!(object(nested(8000).as_bytes()).is_err());
    }

    #[test]
    fn only_one_whole_object_is_read() {
        assert_eq!(
            object(br#" {"a":[1,-2,0.5,null,true,"x"],"__proto__":{}} "#)
                .unwrap()
                .len(),
            2
        );
        for text in [
            "",
            "[]",
            "1",
            "null",
            "{}{}",
            "{} x",
            "{\"a\":1e400}",
            "{\"a\":\"\\ud800\"}",
            "\u{feff}{}",
        ] {
            assert!(object(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_err());
    }

    proptest! {
        #[test]
        fn without_repeated_keys_it_reads_what_serde_json_reads(
            pairs in prop::collection::btree_map(".{0,8}", ".{0,8}", 0..8),
        ) {
            let text = serde_json::to_vec(&pairs).unwrap();
            let expected: Map<String, Value> = serde_json::from_slice(&text).unwrap();
            prop_assert_eq!(object(&text).unwrap(), expected);
        }
    }
}
