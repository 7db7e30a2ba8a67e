//! Request bodies: JSON, YAML or protobuf, in all their ways to be wrong.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request};
use hyper::body::Incoming;
use portcullis::gateway::body::{ReadError, read_bounded};
use serde_json::Value;

use crate::apiserver::status::ApiError;
use crate::apiserver::types::{self, check, proto};

/// The API server's limit.
const MAX_BODY: usize = 3 * 1024 * 1024;

/// What a write may carry.
const MEDIA: &str = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// A decoded object and the warnings about it.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) value: Value,
    pub(super) warnings: Vec<String>,
}

/// Reads the whole body.
pub(super) async fn read(request: Request<Incoming>) -> Result<Bytes, ApiError> {
    read_bounded(request.into_body(), MAX_BODY)
        .await
        .map_err(|error| match error {
            ReadError::TooLarge { .. } => ApiError::too_large(),
            ReadError::Broken(error) => ApiError::bad_request(error.to_string()),
        })
}

/// The media type without parameters; JSON when none is given.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media = value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim();
    if media.is_empty() {
        "application/json"
    } else {
        media
    }
}

/// Decodes an object of `kind` without looking at its fields.
pub(super) fn parse(headers: &HeaderMap, bytes: &Bytes, kind: &str) -> Result<Value, ApiError> {
    let unrecognized = |why: String| {
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why}"
        ))
    };
    match media_type(headers) {
        "application/json" => serde_json::from_slice(bytes).map_err(|error| {
            let why = if error.is_eof() {
                "unexpected end of JSON input".to_owned()
            } else {
                error.to_string()
            };
            unrecognized(format!(
                "couldn't get version/kind; json parse error: {why} ({})",
                excerpt(bytes)
            ))
        }),
        "application/yaml" => serde_saphyr::from_slice(bytes)
            .map_err(|error| unrecognized(format!("yaml: {error} ({})", hex(bytes)))),
        "application/vnd.kubernetes.protobuf" => {
            let refused = || {
                unrecognized(format!(
                    "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({})",
                    hex(bytes)
                ))
            };
            let (api_version, sent, raw) = proto::open(bytes).ok_or_else(refused)?;
            // The structs of the table that are not called like their kind are of other groups.
            let name = if api_version == "events.k8s.io/v1" {
                "events.Event"
            } else {
                sent.as_str()
            };
            let message = types::message(name).ok_or_else(|| {
                ApiError::unsupported_media(&format!(
                    "{MEDIA} (no protobuf form of {sent} is known here)"
                ))
            })?;
            let fields = proto::decode(message, raw).ok_or_else(refused)?;
            let mut value = serde_json::json!({"kind": sent, "apiVersion": api_version});
            if let Value::Object(entries) = &mut value {
                entries.extend(fields);
            }
            Ok(value)
        }
        _ => Err(ApiError::unsupported_media(MEDIA)),
    }
}

/// Checks the fields of a parsed object: order, types, unknown names by the `fieldValidation` wish.
pub(super) fn checked(
    kind: &str,
    version: &str,
    message: Option<&str>,
    value: Value,
    validation: &str,
) -> Result<Decoded, ApiError> {
    let Some(message) = message.and_then(types::message) else {
        return Ok(Decoded {
            value,
            warnings: Vec::new(),
        });
    };
    let refused = |why: String| {
        ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"
        ))
    };
    let mut findings = check::Findings::default();
    let value = check::decode(message, &value, &mut findings).map_err(refused)?;
    let unknown: Vec<String> = findings
        .unknown
        .iter()
        .map(|path| format!("unknown field \"{path}\""))
        .collect();
    match validation {
        "Strict" if !unknown.is_empty() => Err(refused(format!(
            "strict decoding error: {}",
            unknown.join(", ")
        ))),
        "Ignore" | "Strict" => Ok(Decoded {
            value,
            warnings: Vec::new(),
        }),
        _ => Ok(Decoded {
            value,
            warnings: unknown,
        }),
    }
}

/// The start of a body as the server quotes it.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let start: String = text.chars().take(30).collect();
    if start.len() < text.len() {
        format!("{} ...", start.trim_end())
    } else {
        start
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes
        .iter()
        .take(30)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let digits = digits.concat();
    if bytes.len() > 30 {
        format!("{digits} ...")
    } else {
        digits
    }
}
