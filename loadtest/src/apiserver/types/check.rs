//! Decoding as the API server does it: known fields in their order, types checked, the rest reported.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{Field, Kind, Message, Shape};

/// What the decoder found besides the object.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Paths of fields that the type does not have.
    pub(crate) unknown: Vec<String>,
}

/// Rebuilds `value` as a `message`: fields in the type's order, unknown ones dropped and reported.
///
/// The error is Go's text for a value of the wrong type.
pub(crate) fn decode(
    message: &'static Message,
    value: &Value,
    findings: &mut Findings,
) -> Result<Value, String> {
    object(message, value, "", findings)
}

fn object(
    message: &'static Message,
    value: &Value,
    path: &str,
    findings: &mut Findings,
) -> Result<Value, String> {
    let Value::Object(given) = value else {
        return Err(format!(
            "json: cannot unmarshal {} into Go value of type {}",
            go_kind(value),
            message.name
        ));
    };
    let mut out = Map::new();
    if path.is_empty() {
        for key in ["kind", "apiVersion"] {
            if let Some(value) = given.get(key) {
                out.insert(key.to_owned(), value.clone());
            }
        }
    }
    fill(message, given, path, &mut out, findings)?;
    for key in given.keys() {
        let type_meta = path.is_empty() && (key == "kind" || key == "apiVersion");
        if !type_meta && message.field(key).is_none() {
            findings.unknown.push(join(path, key));
        }
    }
    Ok(Value::Object(out))
}

fn fill(
    message: &'static Message,
    given: &Map<String, Value>,
    path: &str,
    out: &mut Map<String, Value>,
    findings: &mut Findings,
) -> Result<(), String> {
    for field in &message.fields {
        if field.inline {
            if let Some(inner) = field.message() {
                fill(inner, given, path, out, findings)?;
            }
            continue;
        }
        match given.get(field.name) {
            None | Some(Value::Null) => {}
            Some(value) => {
                let place = Place {
                    owner: message.name,
                    path: join(path, field.name),
                };
                out.insert(
                    field.name.to_owned(),
                    shaped(field, value, &place, findings)?,
                );
            }
        }
    }
    Ok(())
}

struct Place {
    owner: &'static str,
    path: String,
}

impl Place {
    fn mismatch(&self, value: &Value, wanted: &str) -> String {
        format!(
            "json: cannot unmarshal {} into Go struct field {}.{} of type {wanted}",
            go_kind(value),
            self.owner.rsplit('.').next().unwrap_or(self.owner),
            self.path
        )
    }
}

fn shaped(
    field: &'static Field,
    value: &Value,
    place: &Place,
    findings: &mut Findings,
) -> Result<Value, String> {
    match (field.shape, value) {
        (Shape::One, value) => single(field.kind, value, place, findings),
        (Shape::List, Value::Array(items)) => items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let inner = match field.kind {
                    Kind::Message(_) => Place {
                        owner: place.owner,
                        path: format!("{}[{index}]", place.path),
                    },
                    _ => Place {
                        owner: place.owner,
                        path: place.path.clone(),
                    },
                };
                single(field.kind, item, &inner, findings)
            })
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array),
        (Shape::Map, Value::Object(entries)) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by_key(|(key, _)| key.as_str());
            let mut out = Map::new();
            for (key, item) in sorted {
                out.insert(key.clone(), single(field.kind, item, place, findings)?);
            }
            Ok(Value::Object(out))
        }
        (Shape::List, other) => Err(place.mismatch(other, &format!("[]{}", go_type(field.kind)))),
        (Shape::Map, other) => {
            Err(place.mismatch(other, &format!("map[string]{}", go_type(field.kind))))
        }
    }
}

fn single(
    kind: Kind,
    value: &Value,
    place: &Place,
    findings: &mut Findings,
) -> Result<Value, String> {
    match (kind, value) {
        (Kind::Message(name), value) => match (super::message(name), value) {
            (Some(message), Value::Object(_)) => object(message, value, &place.path, findings),
            (Some(message), other) => Err(place.mismatch(other, &format!("v1.{}", message.name))),
            (None, other) => Ok(other.clone()),
        },
        (Kind::Bytes, Value::String(text)) => match STANDARD.decode(text) {
            Ok(_) => Ok(value.clone()),
            Err(error) => Err(base64_error(text, &error)),
        },
        (Kind::Bytes | Kind::String, Value::Null) => Ok(Value::String(String::new())),
        (
            Kind::String | Kind::Time | Kind::MicroTime | Kind::Duration | Kind::Quantity,
            Value::String(_),
        )
        | (Kind::Bool, Value::Bool(_))
        | (Kind::Double, Value::Number(_))
        | (Kind::IntOrString, Value::String(_) | Value::Number(_))
        | (Kind::Strings, Value::Array(_))
        | (Kind::Raw, _) => Ok(value.clone()),
        (Kind::Quantity, Value::Number(number)) => Ok(Value::String(number.to_string())),
        (Kind::Int, Value::Number(number)) if number.is_i64() => Ok(value.clone()),
        (kind, other) => Err(place.mismatch(other, go_type(kind))),
    }
}

/// Go's message counts to the first byte it cannot use.
fn base64_error(text: &str, error: &base64::DecodeError) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) => *at,
        _ => text.len(),
    };
    format!("illegal base64 data at input byte {at}")
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        Value::Bool(_) => "bool",
        Value::Null => "null",
        Value::Number(_) => "number",
        Value::Object(_) => "object",
        Value::String(_) => "string",
    }
}

fn go_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Bytes => "[]uint8",
        Kind::Double => "float64",
        Kind::Duration => "v1.Duration",
        Kind::Int => "int32",
        Kind::IntOrString => "intstr.IntOrString",
        Kind::Message(name) => name,
        Kind::Quantity => "resource.Quantity",
        Kind::Raw => "runtime.RawExtension",
        Kind::String => "string",
        Kind::Strings => "[]string",
        Kind::Time => "v1.Time",
        Kind::MicroTime => "v1.MicroTime",
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(value: &Value) -> Result<(Value, Vec<String>), String> {
        let mut findings = Findings::default();
        let message = super::super::message("Secret").expect("in the table");
        decode(message, value, &mut findings).map(|value| (value, findings.unknown))
    }

    #[test]
    fn fields_come_out_in_the_order_of_the_type() {
        let (value, unknown) = secret(&json!({
            "type": "Opaque", "data": {"b": "Yg==", "a": "YQ=="}, "metadata": {"namespace": "n", "name": "s"},
            "apiVersion": "v1", "kind": "Secret", "passwordd": "x"
        }))
        .expect("decodes");
        assert_eq!(
            value.to_string(),
            r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","namespace":"n"},"data":{"a":"YQ==","b":"Yg=="},"type":"Opaque"}"#
        );
        assert_eq!(unknown, ["passwordd"]);
    }

    // The texts of captures err-400-decode and err-422-patch-echo.
    #[test]
    fn wrong_types_are_reported_in_go_words() {
        assert_eq!(
            secret(&json!({"stringData": {"password": {"nested": "x"}}})).expect_err("refused"),
            "json: cannot unmarshal object into Go struct field Secret.stringData of type string"
        );
        assert_eq!(
            secret(&json!({"metadata": {"annotations": {"a": {"b": "c"}}}})).expect_err("refused"),
            "json: cannot unmarshal object into Go struct field ObjectMeta.metadata.annotations of type string"
        );
        assert_eq!(
            secret(&json!({"data": {"password": "S3cr3t-Pa55w0rd!"}})).expect_err("refused"),
            "illegal base64 data at input byte 6"
        );
    }
}
