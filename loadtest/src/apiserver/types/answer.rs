//! Protobuf for clients in tests: reads the server's answers, writes bodies.

use serde_json::{Map, Value, json};

use super::proto;

/// The JSON form of an answer: an object, a list or metadata only. `None` when it is broken or of an unknown kind.
pub fn object(body: &[u8]) -> Option<Value> {
    let (api_version, kind, raw) = proto::open(body)?;
    let mut object = Map::new();
    object.insert("kind".to_owned(), json!(kind));
    object.insert("apiVersion".to_owned(), json!(api_version));
    if kind == "PartialObjectMetadata" {
        let metadata = decoded("ObjectMeta", part(raw, 1)?)?;
        object.insert("metadata".to_owned(), Value::Object(metadata));
    } else if let Some(of) = kind.strip_suffix("List") {
        let metadata = decoded("ListMeta", part(raw, 1)?)?;
        let items = proto::parts(raw)?.into_iter().filter(|(it, _)| *it == 2);
        let items: Option<Vec<Value>> = items
            .map(|(_, item)| decoded(of, item).map(Value::Object))
            .collect();
        object.insert("metadata".to_owned(), Value::Object(metadata));
        object.insert("items".to_owned(), Value::Array(items?));
    } else {
        object.extend(decoded(&kind, raw)?);
    }
    Some(Value::Object(object))
}

/// An event of a watch, without the length in front of it: its type and the JSON form of its object.
pub fn watch_event(event: &[u8]) -> Option<(String, Value)> {
    let kind = String::from_utf8(part(event, 1)?.to_vec()).ok()?;
    Some((kind, object(part(part(event, 2)?, 1)?)?))
}

/// The body of a write: an object of a known kind. What its type does not have is left out.
pub fn written(object: &Value) -> Option<Vec<u8>> {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    let (api_version, kind) = (text("apiVersion")?, text("kind")?);
    let raw = proto::encode(super::message(kind)?, object.as_object()?);
    Some(proto::envelope(api_version, kind, &raw))
}

fn part(message: &[u8], number: u32) -> Option<&[u8]> {
    let mut parts = proto::parts(message)?.into_iter();
    parts.find_map(|(it, bytes)| (it == number).then_some(bytes))
}

fn decoded(message: &str, bytes: &[u8]) -> Option<Map<String, Value>> {
    proto::decode(super::message(message)?, bytes)
}
