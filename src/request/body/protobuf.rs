//! Kubernetes' protobuf as the object it stands for.
//!
//! Decoded strictly: a field that the table does not have, that comes twice, or has another wire type, makes the
//! body opaque. Generated clients send no such thing; and whoever does is read by the API server alone.

pub(super) mod walk;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::kinds::{self, Field, Holds, Message, Presence, Shape};
use super::{Undecoded, document};
use crate::limits;
use crate::wire::protobuf::{self as wire, FieldValue, MAGIC, fields, last_bytes};

/// The fields of `runtime.Unknown`, the envelope.
const TYPE_META: u32 = 1;
const RAW: u32 = 2;

/// Deepest message; the deepest of the built-in kinds has 20 levels.
const DEPTH_MAX: usize = 64;

pub(super) fn decode(body: &[u8]) -> Result<Value, Undecoded> {
    let unknown = body.strip_prefix(MAGIC).ok_or(Undecoded::Malformed(
        "does not begin as Kubernetes' protobuf does",
    ))?;
    // One object: the envelope says each thing once.
    for number in [TYPE_META, RAW] {
        let times = fields(unknown)
            .map_while(Result::ok)
            .filter(|field| field.number == number);
        if times.count() > 1 {
            return Err(Undecoded::Opaque);
        }
    }
    if fields(unknown).any(|field| field.is_err()) {
        return Err(Undecoded::Malformed("is not protobuf"));
    }
    let type_meta = last_bytes(unknown, TYPE_META);
    let name = |number| std::str::from_utf8(last_bytes(type_meta, number)).unwrap_or_default();
    let (api_version, kind) = (name(1), name(2));
    let message = kinds::kind(api_version, kind).ok_or(Undecoded::Opaque)?;
    let mut reader = Reader {
        left: limits::REQUEST_OBJECT_VALUES_MAX,
    };
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), api_version.into());
    object.insert("kind".to_owned(), kind.into());
    reader.message(message, last_bytes(unknown, RAW), DEPTH_MAX, &mut object)?;
    Ok(Value::Object(object))
}

struct Reader {
    /// Values that may still be made.
    left: usize,
}

impl Reader {
    fn message(
        &mut self,
        message: &Message,
        bytes: &[u8],
        depth: usize,
        object: &mut Map<String, Value>,
    ) -> Result<(), Undecoded> {
        let depth = depth.checked_sub(1).ok_or(Undecoded::Opaque)?;
        let mut seen: Vec<u32> = Vec::new();
        for field in fields(bytes) {
            let wire::Field { number, value } = field.map_err(|_| Undecoded::Opaque)?;
            let known = message.field(number).ok_or(Undecoded::Opaque)?;
            if known.shape == Shape::One {
                if seen.contains(&number) {
                    return Err(Undecoded::Opaque);
                }
                seen.push(number);
            }
            self.field(known, value, depth, object)?;
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: &Field,
        value: FieldValue<'_>,
        depth: usize,
        object: &mut Map<String, Value>,
    ) -> Result<(), Undecoded> {
        self.left = self.left.checked_sub(1).ok_or(Undecoded::TooLarge)?;
        if field.key.is_empty() {
            let Holds::Message(place) = field.holds else {
                return Err(Undecoded::Opaque);
            };
            let message = kinds::message(place).ok_or(Undecoded::Opaque)?;
            return self.message(message, bytes_of(value)?, depth, object);
        }
        match field.shape {
            Shape::One => {
                let value = self.value(field.holds, value, depth)?;
                if field.presence == Presence::Pointer || !is_zero(&value) {
                    object.insert(field.key.to_owned(), value);
                }
            }
            Shape::List => {
                let numbers = matches!(field.holds, Holds::Int32 | Holds::Int64);
                if numbers && matches!(value, FieldValue::Bytes(_)) {
                    return Err(Undecoded::Opaque); // packed, which Kubernetes' clients do not send
                }
                let value = self.value(field.holds, value, depth)?;
                let list = object
                    .entry(field.key)
                    .or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut().ok_or(Undecoded::Opaque)?.push(value);
            }
            Shape::Map => {
                let (key, value) = self.entry(field.holds, bytes_of(value)?, depth)?;
                let map = object
                    .entry(field.key)
                    .or_insert_with(|| Value::Object(Map::new()));
                let map = map.as_object_mut().ok_or(Undecoded::Opaque)?;
                if map.insert(key, value).is_some() {
                    return Err(Undecoded::Opaque);
                }
            }
        }
        Ok(())
    }

    /// An entry of a map: key in field 1, value in field 2, either left out when it is zero.
    fn entry(
        &mut self,
        holds: Holds,
        bytes: &[u8],
        depth: usize,
    ) -> Result<(String, Value), Undecoded> {
        let (mut key, mut value) = (None, None);
        for field in fields(bytes) {
            let wire::Field {
                number,
                value: held,
            } = field.map_err(|_| Undecoded::Opaque)?;
            let twice = match number {
                1 => key.replace(text(held)?).is_some(),
                2 => value.replace(held).is_some(),
                _ => return Err(Undecoded::Opaque),
            };
            if twice {
                return Err(Undecoded::Opaque);
            }
        }
        let value = self.value(holds, value.unwrap_or(FieldValue::Bytes(b"")), depth)?;
        Ok((key.unwrap_or_default(), value))
    }

    fn value(
        &mut self,
        holds: Holds,
        value: FieldValue<'_>,
        depth: usize,
    ) -> Result<Value, Undecoded> {
        Ok(match holds {
            Holds::Text => text(value)?.into(),
            Holds::Bool => (number(value)? != 0).into(),
            Holds::Int32 => int32(number(value)?).into(),
            Holds::Int64 => number(value)?.cast_signed().into(),
            Holds::Double => match value {
                FieldValue::Fixed64(bits) => f64::from_bits(bits).into(),
                _ => return Err(Undecoded::Opaque),
            },
            Holds::Bytes => STANDARD.encode(bytes_of(value)?).into(),
            Holds::Quantity => one(bytes_of(value)?, 1)?
                .map_or_else(|| Ok(String::new()), text)?
                .into(),
            Holds::IntOrString => int_or_string(bytes_of(value)?)?,
            Holds::Time | Holds::MicroTime => time(bytes_of(value)?)?,
            Holds::Json => match one(bytes_of(value)?, 1)? {
                Some(raw) => document::decode(bytes_of(raw)?).map_err(|_| Undecoded::Opaque)?,
                None => Value::Null,
            },
            Holds::Texts => {
                let texts = fields(bytes_of(value)?).map(|field| match field {
                    Ok(field) if field.number == 1 => text(field.value).map(Value::from),
                    _ => Err(Undecoded::Opaque),
                });
                texts.collect::<Result<_, _>>()?
            }
            Holds::Message(place) => {
                let message = kinds::message(place).ok_or(Undecoded::Opaque)?;
                let mut object = Map::new();
                self.message(message, bytes_of(value)?, depth, &mut object)?;
                Value::Object(object)
            }
        })
    }
}

/// What `omitempty` leaves out of JSON. Messages that are Go values stay, as they do there.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn bytes_of(value: FieldValue<'_>) -> Result<&[u8], Undecoded> {
    match value {
        FieldValue::Bytes(bytes) => Ok(bytes),
        _ => Err(Undecoded::Opaque),
    }
}

fn number(value: FieldValue<'_>) -> Result<u64, Undecoded> {
    match value {
        FieldValue::Varint(number) => Ok(number),
        // The value of a map's entry that was left out.
        FieldValue::Bytes(b"") => Ok(0),
        _ => Err(Undecoded::Opaque),
    }
}

/// Go keeps the lower 32 bits.
fn int32(number: u64) -> i32 {
    u32::try_from(number & u64::from(u32::MAX))
        .unwrap_or_default()
        .cast_signed()
}

fn text(value: FieldValue<'_>) -> Result<String, Undecoded> {
    let bytes = bytes_of(value)?.to_vec();
    String::from_utf8(bytes).map_err(|_| Undecoded::Malformed("has text that is not UTF-8"))
}

/// The one field of that number, in a message that has nothing else.
fn one(bytes: &[u8], number: u32) -> Result<Option<FieldValue<'_>>, Undecoded> {
    let mut fields = fields(bytes);
    match (fields.next(), fields.next()) {
        (None, _) => Ok(None),
        (Some(Ok(field)), None) if field.number == number => Ok(Some(field.value)),
        _ => Err(Undecoded::Opaque),
    }
}

/// `intstr.IntOrString`: type in 1, the number in 2, the text in 3.
fn int_or_string(bytes: &[u8]) -> Result<Value, Undecoded> {
    let (mut is_text, mut of, mut text_of) = (0, 0, String::new());
    for field in fields(bytes) {
        let field = field.map_err(|_| Undecoded::Opaque)?;
        match field.number {
            1 => is_text = number(field.value)?,
            2 => of = number(field.value)?,
            3 => text_of = text(field.value)?,
            _ => return Err(Undecoded::Opaque),
        }
    }
    match is_text {
        0 => Ok(int32(of).into()),
        1 => Ok(text_of.into()),
        _ => Err(Undecoded::Opaque),
    }
}

/// `metav1.Time` and `MicroTime`: seconds in 1, nanoseconds in 2; empty is null.
fn time(bytes: &[u8]) -> Result<Value, Undecoded> {
    let (mut seconds, mut nanoseconds) = (None, 0);
    for field in fields(bytes) {
        let field = field.map_err(|_| Undecoded::Opaque)?;
        match field.number {
            1 => seconds = Some(number(field.value)?.cast_signed()),
            2 => nanoseconds = int32(number(field.value)?),
            _ => return Err(Undecoded::Opaque),
        }
    }
    match seconds {
        None => Ok(Value::Null),
        Some(seconds) => Timestamp::new(seconds, nanoseconds)
            .map(|time| time.to_string().into())
            .map_err(|_| Undecoded::Opaque),
    }
}
