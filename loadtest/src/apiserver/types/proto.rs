//! Kubernetes' protobuf, driven by the field table: `k8s\0` + `Unknown` around one message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Field, Kind, Message, Shape};

/// The four bytes in front of every body.
pub(crate) const MAGIC: &[u8; 4] = b"k8s\0";

/// The two empty fields at the end of every body.
pub(crate) const BEHIND: &[u8] = &[3 << 3 | 2, 0, 4 << 3 | 2, 0];

/// Fields whose zero is a decision of the writer (Go pointers), so it must not be dropped.
const MEANINGFUL_ZEROS: &[&str] = &[
    "activeDeadlineSeconds",
    "allowPrivilegeEscalation",
    "allowed",
    "automountServiceAccountToken",
    "backoffLimit",
    "blockOwnerDeletion",
    "controller",
    "completions",
    "containerPort",
    "count",
    "enableServiceLinks",
    "gracePeriodSeconds",
    "immutable",
    "parallelism",
    "privileged",
    "readOnlyRootFilesystem",
    "ready",
    "replicas",
    "restartCount",
    "revisionHistoryLimit",
    "runAsNonRoot",
    "runAsUser",
    "suspend",
    "terminationGracePeriodSeconds",
];

/// Wraps an encoded message: magic, `apiVersion`, `kind`, the message, two empty fields.
pub(crate) fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = envelope_head(api_version, kind, raw, 0);
    out.extend_from_slice(BEHIND);
    out
}

/// What an envelope has up to the beginning of its message, of which `more` bytes and [`BEHIND`] are still to come.
pub(crate) fn envelope_head(
    api_version: &str,
    kind: &str,
    beginning: &[u8],
    more: usize,
) -> Vec<u8> {
    let mut type_meta = Vec::new();
    bytes_field(&mut type_meta, 1, api_version.as_bytes());
    bytes_field(&mut type_meta, 2, kind.as_bytes());
    let mut out = Vec::with_capacity(beginning.len() + type_meta.len() + 24);
    out.extend_from_slice(MAGIC);
    bytes_field(&mut out, 1, &type_meta);
    tag(&mut out, 2, 2);
    varint(&mut out, (beginning.len() + more) as u64);
    out.extend_from_slice(beginning);
    out
}

/// A watch event: `WatchEvent{1: type, 2: RawExtension{1: enveloped object}}`, no length in front.
pub(crate) fn watch_event(event: &str, object: &[u8]) -> Vec<u8> {
    let mut extension = Vec::with_capacity(object.len() + 8);
    bytes_field(&mut extension, 1, object);
    let mut out = Vec::with_capacity(extension.len() + 16);
    bytes_field(&mut out, 1, event.as_bytes());
    bytes_field(&mut out, 2, &extension);
    out
}

/// `(apiVersion, kind, message bytes)` of a body; `None` when it is not Kubernetes protobuf.
pub(crate) fn open(body: &[u8]) -> Option<(String, String, &[u8])> {
    let mut reader = Reader(body.strip_prefix(MAGIC)?);
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &b""[..]);
    while let Some((number, value)) = reader.field()? {
        match (number, value) {
            (1, Wire::Bytes(type_meta)) => {
                let mut inner = Reader(type_meta);
                while let Some((number, value)) = inner.field()? {
                    match (number, value) {
                        (1, Wire::Bytes(text)) => api_version = text_of(text),
                        (2, Wire::Bytes(text)) => kind = text_of(text),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(message)) => raw = message,
            _ => {}
        }
    }
    Some((api_version, kind, raw))
}

/// The fields of a message that hold bytes, in their order; `None` when it is broken.
pub(crate) fn parts(message: &[u8]) -> Option<Vec<(u32, &[u8])>> {
    let mut reader = Reader(message);
    let mut out = Vec::new();
    while let Some((number, value)) = reader.field()? {
        if let Wire::Bytes(bytes) = value {
            out.push((number, bytes));
        }
    }
    Some(out)
}

// ---- decoding ----

/// The JSON form of a message.
pub(crate) fn decode(message: &'static Message, bytes: &[u8]) -> Option<Map<String, Value>> {
    let mut out = Map::new();
    decode_into(message, bytes, &mut out)?;
    Some(out)
}

fn decode_into(
    message: &'static Message,
    bytes: &[u8],
    out: &mut Map<String, Value>,
) -> Option<()> {
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.field()? {
        let Some(field) = message.fields.iter().find(|field| field.number == number) else {
            continue;
        };
        match (field.shape, wire) {
            (_, Wire::Bytes(bytes)) if field.inline => decode_into(field.message()?, bytes, out)?,
            (Shape::One, wire) => {
                let value = decode_value(field.kind, &wire)?;
                if !is_zero(&value) || MEANINGFUL_ZEROS.contains(&field.name) {
                    out.insert(field.name.to_owned(), value);
                }
            }
            (Shape::List, wire) => {
                let value = decode_value(field.kind, &wire)?;
                if let Value::Array(items) = out
                    .entry(field.name)
                    .or_insert_with(|| Value::Array(Vec::new()))
                {
                    items.push(value);
                }
            }
            (Shape::Map, Wire::Bytes(entry)) => {
                let (key, value) = decode_entry(field.kind, entry)?;
                if let Value::Object(entries) = out
                    .entry(field.name)
                    .or_insert_with(|| Value::Object(Map::new()))
                {
                    entries.insert(key, value);
                }
            }
            (Shape::Map, Wire::Varint(_) | Wire::Fixed(_)) => return None,
        }
    }
    Some(())
}

fn decode_entry(kind: Kind, entry: &[u8]) -> Option<(String, Value)> {
    let mut reader = Reader(entry);
    let (mut key, mut value) = (String::new(), None);
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Bytes(text)) => key = text_of(text),
            (2, wire) => value = Some(decode_value(kind, &wire)?),
            _ => {}
        }
    }
    Some((key, value.unwrap_or_else(|| Value::String(String::new()))))
}

fn decode_value(kind: Kind, wire: &Wire<'_>) -> Option<Value> {
    Some(match (kind, wire) {
        (Kind::Bool, Wire::Varint(number)) => Value::Bool(*number != 0),
        (Kind::Int | Kind::Duration, Wire::Varint(number)) => Value::from(number.cast_signed()),
        (Kind::Double, Wire::Fixed(bits)) => Value::from(f64::from_bits(*bits)),
        (Kind::String, Wire::Bytes(bytes)) => Value::String(text_of(bytes)),
        (Kind::Bytes, Wire::Bytes(bytes)) => Value::String(STANDARD.encode(bytes)),
        (Kind::Message(name), Wire::Bytes(bytes)) => {
            Value::Object(decode(super::message(name)?, bytes)?)
        }
        (Kind::Quantity | Kind::Raw, Wire::Bytes(bytes)) => {
            let inner = first_bytes(bytes)?;
            if kind == Kind::Raw {
                serde_json::from_slice(inner).unwrap_or(Value::Null)
            } else {
                Value::String(text_of(inner))
            }
        }
        (Kind::Strings, Wire::Bytes(bytes)) => {
            let mut reader = Reader(bytes);
            let mut items = Vec::new();
            while let Some((_, wire)) = reader.field()? {
                if let Wire::Bytes(text) = wire {
                    items.push(Value::String(text_of(text)));
                }
            }
            Value::Array(items)
        }
        (Kind::Time | Kind::MicroTime, Wire::Bytes(bytes)) => decode_time(kind, bytes)?,
        (Kind::IntOrString, Wire::Bytes(bytes)) => {
            let (number, text) = ints(bytes)?;
            match number.first() {
                Some(1) => Value::String(text),
                _ => Value::from(number.get(1).copied().unwrap_or(0)),
            }
        }
        _ => return None,
    })
}

/// The integers in fields 1 and 2 and the text in field 3.
fn ints(bytes: &[u8]) -> Option<([i64; 2], String)> {
    let (mut numbers, mut text) = ([0; 2], String::new());
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.field()? {
        match (number, wire) {
            (1, Wire::Varint(value)) => {
                numbers = [value.cast_signed(), numbers.last().copied().unwrap_or(0)];
            }
            (2, Wire::Varint(value)) => {
                numbers = [numbers.first().copied().unwrap_or(0), value.cast_signed()];
            }
            (3, Wire::Bytes(value)) => text = text_of(value),
            _ => {}
        }
    }
    Some((numbers, text))
}

fn decode_time(kind: Kind, bytes: &[u8]) -> Option<Value> {
    let ([seconds, nanos], _) = ints(bytes)?;
    if seconds == 0 && nanos == 0 {
        return Some(Value::Null);
    }
    let time = Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok()?;
    Some(Value::String(if kind == Kind::Time {
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    } else {
        time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    }))
}

fn first_bytes(bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.field()? {
        if let (1, Wire::Bytes(inner)) = (number, wire) {
            return Some(inner);
        }
    }
    Some(b"")
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

enum Wire<'a> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next field; `Some(None)` at the end, `None` when the bytes are broken.
    #[expect(
        clippy::option_option,
        reason = "broken and finished are different answers"
    )]
    fn field(&mut self) -> Option<Option<(u32, Wire<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok()?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed(u64::from(u32::from_le_bytes(
                self.take(4)?.try_into().ok()?,
            ))),
            _ => return None,
        };
        Some(Some((number, wire)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

// ---- encoding ----

/// The bytes of a message from its JSON form; what does not fit the type is left out.
pub(crate) fn encode(message: &'static Message, object: &Map<String, Value>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut fields: Vec<&Field> = message.fields.iter().collect();
    fields.sort_by_key(|field| field.number);
    for field in fields {
        if field.inline {
            if let Some(inner) = field.message() {
                bytes_field(&mut out, field.number, &encode(inner, object));
            }
            continue;
        }
        match object.get(field.name) {
            None | Some(Value::Null) => encode_absent(message, field, &mut out),
            Some(value) => encode_field(field, value, &mut out),
        }
    }
    out
}

/// Go writes fields that are not pointers even when they are empty; the ones every object has.
fn encode_absent(message: &Message, field: &Field, out: &mut Vec<u8>) {
    match (message.name, field.number) {
        ("ObjectMeta", 1..=6 | 8) | ("ListMeta", 1..=3) | ("Secret", 3) => {
            bytes_field(out, field.number, b"");
        }
        ("ObjectMeta", 7) => {
            tag(out, field.number, 0);
            out.push(0);
        }
        _ => {}
    }
}

fn encode_field(field: &Field, value: &Value, out: &mut Vec<u8>) {
    match (field.shape, value) {
        (Shape::One, value) => encode_value(field.kind, field.number, value, out),
        (Shape::List, Value::Array(items)) => {
            for item in items {
                encode_value(field.kind, field.number, item, out);
            }
        }
        (Shape::Map, Value::Object(entries)) => {
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by_key(|(key, _)| key.as_str());
            for (key, item) in sorted {
                let mut entry = Vec::new();
                bytes_field(&mut entry, 1, key.as_bytes());
                encode_value(field.kind, 2, item, &mut entry);
                bytes_field(out, field.number, &entry);
            }
        }
        _ => {}
    }
}

fn encode_value(kind: Kind, number: u32, value: &Value, out: &mut Vec<u8>) {
    match (kind, value) {
        (Kind::Bool, Value::Bool(flag)) => varint_field(out, number, u64::from(*flag)),
        (Kind::Int | Kind::Duration, Value::Number(digits)) => {
            varint_field(out, number, digits.as_i64().unwrap_or(0).cast_unsigned());
        }
        (Kind::Double, Value::Number(digits)) => {
            tag(out, number, 1);
            out.extend_from_slice(&digits.as_f64().unwrap_or(0.0).to_bits().to_le_bytes());
        }
        (Kind::String, Value::String(text)) => bytes_field(out, number, text.as_bytes()),
        (Kind::Bytes, Value::String(text)) => {
            bytes_field(out, number, &STANDARD.decode(text).unwrap_or_default());
        }
        (Kind::Message(name), Value::Object(object)) => {
            if let Some(message) = super::message(name) {
                bytes_field(out, number, &encode(message, object));
            }
        }
        (Kind::Quantity, Value::String(text)) => wrapped(out, number, text.as_bytes()),
        (Kind::Raw, value) => wrapped(out, number, value.to_string().as_bytes()),
        (Kind::Strings, Value::Array(items)) => {
            let mut inner = Vec::new();
            for text in items.iter().filter_map(Value::as_str) {
                bytes_field(&mut inner, 1, text.as_bytes());
            }
            bytes_field(out, number, &inner);
        }
        (Kind::Time | Kind::MicroTime, Value::String(text)) => {
            if let Ok(time) = text.parse::<Timestamp>() {
                let mut inner = Vec::new();
                varint_field(&mut inner, 1, time.as_second().cast_unsigned());
                varint_field(
                    &mut inner,
                    2,
                    i64::from(time.subsec_nanosecond()).cast_unsigned(),
                );
                bytes_field(out, number, &inner);
            }
        }
        (Kind::IntOrString, value) => {
            let mut inner = Vec::new();
            varint_field(&mut inner, 1, u64::from(value.is_string()));
            varint_field(&mut inner, 2, value.as_i64().unwrap_or(0).cast_unsigned());
            bytes_field(&mut inner, 3, value.as_str().unwrap_or_default().as_bytes());
            bytes_field(out, number, &inner);
        }
        _ => {}
    }
}

fn wrapped(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    let mut inner = Vec::new();
    bytes_field(&mut inner, 1, bytes);
    bytes_field(out, number, &inner);
}

/// Appends a length-delimited field.
pub(crate) fn bytes_field(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    tag(out, number, 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a varint field.
pub(crate) fn varint_field(out: &mut Vec<u8>, number: u32, value: u64) {
    tag(out, number, 0);
    varint(out, value);
}

fn tag(out: &mut Vec<u8>, number: u32, wire: u64) {
    varint(out, (u64::from(number) << 3) | wire);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    let low = |value: u64| u8::try_from(value & 0x7f).unwrap_or_default();
    while value >= 0x80 {
        out.push(low(value) | 0x80);
        value >>= 7;
    }
    out.push(low(value));
}
