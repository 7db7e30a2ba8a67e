//! Every text that is written, with the field it stands in: for who looks for something in bodies of all kinds.
//!
//! What a body says it is counts less here than what it looks like: the API server takes one without
//! Content-Type as JSON, and JSON in a YAML body.

use serde::de::IgnoredAny;

use super::document::{self, Keys};
use super::{Undecoded, media_type, protobuf};
use crate::wire::protobuf::MAGIC;

/// The place of what stands in no field.
pub const SOMEWHERE: &str = "(request body)";

/// The field of the first key or text that `matches`, decoded from JSON, YAML and protobuf, whose bytes and broken parts are
/// looked at too. A body in another form has no texts, and has to be searched as it is.
pub fn find(
    content_type: Option<&str>,
    body: &[u8],
    keys: Keys,
    matches: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<Option<String>, Undecoded> {
    let path = match Form::of(&media_type(content_type), body) {
        Form::Json => document::find(body, keys, matches)?,
        Form::Yaml => document::find_in_yaml(body, matches)?,
        Form::Protobuf => return Ok(protobuf::walk::find(body, matches)),
        Form::Other => None,
    };
    Ok(path.map(|path| match path.text() {
        "" => SOMEWHERE.to_owned(),
        text => text.to_owned(),
    }))
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Json,
    Yaml,
    Protobuf,
    Other,
}

impl Form {
    fn of(media_type: &str, body: &[u8]) -> Self {
        if body.starts_with(MAGIC) {
            return Self::Protobuf;
        }
        let braces = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
        if media_type.ends_with("yaml") {
            // `{a: b}` is YAML only.
            return if braces && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
                Self::Json
            } else {
                Self::Yaml
            };
        }
        if braces || media_type.ends_with("json") {
            return Self::Json;
        }
        Self::Other
    }
}
