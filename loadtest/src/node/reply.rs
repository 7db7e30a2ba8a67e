//! HTTP answers: `Status` objects, plain texts and streams.

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use serde_json::{Value, json};

use super::Body;

/// An answer other than the one asked for.
#[derive(Debug)]
pub(super) enum Fault {
    /// A `Status` object, as the API server answers.
    Status {
        code: StatusCode,
        reason: &'static str,
        message: String,
        details: Option<Value>,
    },
    /// A plain text, as the kubelet and the container runtime answer.
    Text {
        code: StatusCode,
        message: String,
        headers: Vec<(&'static str, String)>,
    },
    /// A WebSocket handshake that was refused: a bare status line and the end of the connection.
    Handshake {
        code: StatusCode,
        message: &'static str,
    },
}

impl Fault {
    pub(super) fn bad_request(message: &str) -> Self {
        Self::status(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(super) fn not_found(message: &str) -> Self {
        Self::status(StatusCode::NOT_FOUND, "NotFound", message)
    }

    fn status(code: StatusCode, reason: &'static str, message: &str) -> Self {
        Self::Status {
            code,
            reason,
            message: message.to_owned(),
            details: None,
        }
    }

    /// A field of the options object of a request that does not validate.
    pub(super) fn invalid(
        kind: &str,
        name: &str,
        field: &str,
        cause: &'static str,
        message: &str,
    ) -> Self {
        let details = json!({
            "name": name,
            "kind": kind,
            "causes": [{"reason": cause, "message": message, "field": field}],
        });
        Self::Status {
            code: StatusCode::UNPROCESSABLE_ENTITY,
            reason: "Invalid",
            message: format!("{kind} \"{name}\" is invalid: {field}: {message}"),
            details: Some(details),
        }
    }

    pub(super) fn text(code: StatusCode, message: impl Into<String>) -> Self {
        Self::Text {
            code,
            message: message.into(),
            headers: Vec::new(),
        }
    }

    pub(super) fn into_response(self) -> Response<Body> {
        match self {
            Self::Status {
                code,
                reason,
                message,
                details,
            } => status(code, reason, &message, details),
            Self::Text {
                code,
                message,
                headers,
            } => plain(code, message, headers),
            Self::Handshake { code, message } => {
                let mut response = Response::new(full(message));
                *response.status_mut() = code;
                response
                    .headers_mut()
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
                response
            }
        }
    }
}

fn status(
    code: StatusCode,
    reason: &'static str,
    message: &str,
    details: Option<Value>,
) -> Response<Body> {
    let mut object = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason,
    });
    if let Some(fields) = object.as_object_mut() {
        if let Some(details) = details {
            fields.insert("details".to_owned(), details);
        }
        fields.insert("code".to_owned(), code.as_u16().into());
    }
    let mut response = Response::new(full(go_json(&object) + "\n"));
    *response.status_mut() = code;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    response
}

fn plain(
    code: StatusCode,
    message: String,
    headers: Vec<(&'static str, String)>,
) -> Response<Body> {
    let mut response = Response::new(full(message));
    *response.status_mut() = code;
    let target = response.headers_mut();
    target.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            target.append(name, value);
        }
    }
    response
}

/// JSON as Go's encoder writes it: `<`, `>` and `&` are escaped.
pub(super) fn go_json(value: &Value) -> String {
    value
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

/// Bytes in lower-case hexadecimal.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// A body that is known at once.
pub(super) fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of chunks that come to be while it is read.
pub(super) fn stream(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk)))).boxed_unsync()
}
