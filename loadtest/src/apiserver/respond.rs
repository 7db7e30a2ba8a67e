//! Answers: which form the client accepts, and the bytes of that form.

pub(crate) mod columns;
pub(crate) mod negotiate;
pub(crate) mod table;

pub(super) mod status;

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use portcullis::gateway::body::{Body, full};
use serde_json::{Map, Value};

use super::status::ApiError;
use super::types::{self, proto};
use negotiate::{Format, Media};

/// Bodies above this are compressed for clients that accept gzip.
const GZIP_ABOVE: usize = 131_072;

/// The media type of Kubernetes protobuf.
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// One line of JSON with Go's HTML escapes, without a newline.
pub(crate) fn json_text(value: &Value) -> String {
    escape_html(value.to_string())
}

/// Go writes `<`, `>` and `&` (which stand in strings only) as escapes.
pub(crate) fn escape_html(text: String) -> String {
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    for letter in text.chars() {
        match letter {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            letter => out.push(letter),
        }
    }
    out
}

/// JSON with two spaces of indentation and no final newline.
pub(crate) fn pretty_text(value: &Value) -> String {
    escape_html(serde_json::to_string_pretty(value).unwrap_or_default())
}

/// YAML with sorted keys, as Go's converter prints it.
pub(crate) fn yaml_text(value: &Value) -> String {
    serde_saphyr::to_string(&sorted(value)).unwrap_or_default()
}

/// The same value with all keys in alphabetical order: how custom resources and YAML are printed.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            Value::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.clone(), sorted(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// `(content type, body)` of an object in the negotiated form. `message` is its struct, if the
/// field table has it; without one protobuf was not negotiable.
pub(crate) fn encode(
    format: &Format,
    message: Option<&str>,
    value: &Value,
) -> (&'static str, Vec<u8>) {
    match format.media {
        Media::Yaml => ("application/yaml", yaml_text(value).into_bytes()),
        Media::Protobuf => match proto_bytes(message, value) {
            Some(bytes) => (PROTOBUF, bytes),
            None => ("application/json", line(json_text(value))),
        },
        Media::Json if format.pretty => ("application/json", pretty_text(value).into_bytes()),
        Media::Json => ("application/json", line(json_text(value))),
    }
}

fn line(mut text: String) -> Vec<u8> {
    text.push('\n');
    text.into_bytes()
}

/// An enveloped object or list; `None` when the field table does not know the kind.
pub(crate) fn proto_bytes(message: Option<&str>, value: &Value) -> Option<Vec<u8>> {
    let object = value.as_object()?;
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let raw = match (object.get("items"), types::message(message?)) {
        (Some(Value::Array(items)), Some(message)) => {
            let empty = Map::new();
            let metadata = object
                .get("metadata")
                .and_then(Value::as_object)
                .unwrap_or(&empty);
            let mut raw = Vec::new();
            proto::bytes_field(
                &mut raw,
                1,
                &proto::encode(types::message("ListMeta")?, metadata),
            );
            for item in items.iter().filter_map(Value::as_object) {
                proto::bytes_field(&mut raw, 2, &proto_item(message, item));
            }
            raw
        }
        (_, message) => proto_item(message?, object),
    };
    Some(proto::envelope(text("apiVersion"), text("kind"), &raw))
}

/// `PartialObjectMetadata` is one field around `ObjectMeta`.
fn proto_item(message: &'static types::Message, object: &Map<String, Value>) -> Vec<u8> {
    if message.name == "ObjectMeta" {
        let empty = Map::new();
        let metadata = object
            .get("metadata")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        let mut raw = Vec::new();
        proto::bytes_field(&mut raw, 1, &proto::encode(message, metadata));
        raw
    } else {
        proto::encode(message, object)
    }
}

/// A whole answer, compressed if the client takes gzip and the body is long.
pub(crate) fn answer(
    status: StatusCode,
    headers: &HeaderMap,
    content_type: &str,
    body: Vec<u8>,
) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    let fields = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(content_type) {
        fields.insert(CONTENT_TYPE, value);
    }
    let body = if body.len() > GZIP_ABOVE && negotiate::accepts_gzip(headers) {
        fields.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        fields.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        gzip(&body)
    } else {
        body
    };
    *response.body_mut() = full(Bytes::from(body));
    response
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing to a Vec does not fail.
    encoder
        .write_all(body)
        .and_then(|()| encoder.finish())
        .unwrap_or_default()
}

/// An object in the negotiated form.
pub(crate) fn object(
    status: StatusCode,
    headers: &HeaderMap,
    format: &Format,
    message: Option<&str>,
    value: &Value,
) -> Response<Body> {
    let (content_type, body) = encode(format, message, value);
    answer(status, headers, content_type, body)
}

/// An error in the form the client accepts: JSON unless it asked for YAML or protobuf.
pub(crate) fn error(headers: &HeaderMap, error: &ApiError) -> Response<Body> {
    let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if error.plain {
        let mut response = answer(
            status,
            headers,
            "text/plain; charset=utf-8",
            error.message.clone().into_bytes(),
        );
        response.headers_mut().insert(
            "x-content-type-options",
            HeaderValue::from_static("nosniff"),
        );
        return response;
    }
    let mut format = negotiate::for_errors(headers);
    format.pretty |= error.pretty;
    let mut response = object(status, headers, &format, Some("Status"), &error.status());
    if error.code == 403 {
        response.headers_mut().insert(
            "x-content-type-options",
            HeaderValue::from_static("nosniff"),
        );
    }
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_is_escaped_as_go_does() {
        assert_eq!(
            json_text(&json!({"a": "<b>&\"q\""})),
            r#"{"a":"\u003cb\u003e\u0026\"q\""}"#
        );
        assert_eq!(
            yaml_text(&json!({"b": [{"d": 1, "c": "x"}], "a": "z"})),
            "a: z\nb:\n- c: x\n  d: 1\n"
        );
    }

    // The bytes of capture err-404: the protobuf form of a Status.
    #[test]
    fn a_status_encodes_to_the_kind_and_message_of_the_capture() {
        let error = ApiError::new(404, "NotFound", "secrets \"no-such\" not found");
        let bytes = proto_bytes(Some("Status"), &error.status()).expect("known");
        assert!(bytes.starts_with(b"k8s\0\n\x0c\n\x02v1\x12\x06Status\x12"));
        let (_, kind, raw) = proto::open(&bytes).expect("opens");
        let decoded =
            proto::decode(types::message("Status").expect("known"), raw).expect("decodes");
        assert_eq!(kind, "Status");
        assert_eq!(decoded.get("code"), Some(&json!(404)));
        assert_eq!(
            decoded.get("message"),
            Some(&json!("secrets \"no-such\" not found"))
        );
    }
}
