//! What do they write? The body of a request as the API server will decode it, or not at all.
//!
//! The one reader of request bodies, for policy and for whoever searches what is written ([`search`]). Whole bodies
//! come in, of 3 MiB at most ([`limits::REQUEST_BODY_BYTES_MAX`](crate::limits::REQUEST_BODY_BYTES_MAX)).
//!
//! Bodies that say the whole object (creates and updates in JSON or protobuf) are decoded here. What only the
//! API server can tell exactly is [`Undecoded::Opaque`]: patches of every type and applies, whose result
//! depends on the live object; YAML, whose dialect is that of the API server's own parser (YAML 1.1: `yes` is
//! true); protobuf of kinds that are not in the table. Nothing is guessed.
//!
//! What two decoders could read differently is refused: keys that stand twice (Go merges the one into the
//! other), text that is not UTF-8, more than one document.

mod document;
pub(crate) mod kinds;
pub mod patch;
mod pin;
mod place;
mod protobuf;
pub mod search;

use serde_json::Value;

pub use document::Keys;
pub use pin::Pin;
pub use place::ValuePath;

use super::RequestInfo;

/// The media type of JSON Patch, RFC 6902.
pub const JSON_PATCH: &str = "application/json-patch+json";
/// The media type of Kubernetes' protobuf envelope.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// The media type of JSON.
pub const JSON: &str = "application/json";
/// The media type of YAML.
pub const YAML: &str = "application/yaml";

/// Why there is no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecoded {
    /// It is whole and readable for the API server only.
    #[error("only the API server can tell what it makes of this body")]
    Opaque,
    /// 400: the API server would not read it, or could read it in another way.
    #[error("the request body {0}")]
    Malformed(&'static str),
    /// 413: more values than are held in memory for one request.
    #[error(
        "the request body has too many values for a rule that looks into it; send a smaller object"
    )]
    TooLarge,
    /// 415: no API server reads this media type.
    #[error("the request body has a media type that rules cannot look into; send application/json")]
    MediaType,
}

/// The object that a create or an update says, with the names that its fields have in JSON; `None` where a
/// request of this kind has none. Fields that are null are left out, as typed decoding does.
pub fn object(
    info: &RequestInfo,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Option<Value>, Undecoded> {
    match info.verb.as_str() {
        _ if !info.is_resource_request || info.subresource == "proxy" => Ok(None),
        "create" | "update" if info.session().is_some() => Ok(None),
        "create" | "update" => whole(content_type, body).map(Some),
        "patch" => Err(Undecoded::Opaque),
        _ => Ok(None),
    }
}

/// A whole object in whatever encoding, also the options of a delete.
pub fn whole(content_type: Option<&str>, body: &[u8]) -> Result<Value, Undecoded> {
    match media_type(content_type).as_str() {
        // Without a media type the API server takes the first it supports.
        "" | JSON => document::decode(body),
        PROTOBUF => protobuf::decode(body),
        YAML => Err(Undecoded::Opaque),
        _ => Err(Undecoded::MediaType),
    }
}

/// The media type of a `Content-Type`, without parameters, in lower case; empty when there is none.
pub fn media_type(content_type: Option<&str>) -> String {
    let text = content_type.unwrap_or_default();
    let media_type = text.split(';').next().unwrap_or_default();
    media_type.trim().to_ascii_lowercase()
}

/// An object from a file or an answer in JSON, read as a body is.
pub fn from_json(text: &[u8]) -> Result<Value, Undecoded> {
    document::decode(text)
}

#[cfg(test)]
mod tests;
