//! Binds a patch to one state of its object.
//!
//! A patch is decided on by its result, and the result depends on the object. With a `resourceVersion` in it the
//! API server applies it to that state or answers 409
//! (`docs/reference/using-api/api-concepts.md`, *Updates to existing resources*).

use serde_json::{Map, Value, json};

use super::{JSON_PATCH, Undecoded, document, media_type};

/// A patch that can be bound.
#[derive(Clone, Debug, PartialEq)]
pub enum Pin {
    /// JSON Patch.
    Operations(Vec<Value>),
    /// Any patch that has the object's own shape: merge, strategic merge, apply.
    Shape(Map<String, Value>),
}

const UNBOUND: Undecoded = Undecoded::Malformed(
    "is a patch that cannot be bound to the object it was decided on; send it as JSON, with metadata as an object \
     or without",
);

impl Pin {
    /// Reads a patch in JSON; an apply in YAML has to be sent as JSON, which is YAML too.
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Self, Undecoded> {
        let patch = document::with_nulls(body)?;
        match (media_type(content_type).as_str(), patch) {
            (JSON_PATCH, Value::Array(operations)) => Ok(Self::Operations(operations)),
            (JSON_PATCH, _) => Err(UNBOUND),
            (
                "application/merge-patch+json"
                | "application/strategic-merge-patch+json"
                | "application/apply-patch+yaml",
                Value::Object(shape),
            ) if shape.get("metadata").is_none_or(Value::is_object) => Ok(Self::Shape(shape)),
            (
                "application/merge-patch+json"
                | "application/strategic-merge-patch+json"
                | "application/apply-patch+yaml",
                _,
            ) => Err(UNBOUND),
            _ => Err(Undecoded::MediaType),
        }
    }

    /// The patch that applies to this version only.
    pub fn to(self, resource_version: &str) -> Vec<u8> {
        let bound = match self {
            Self::Operations(mut operations) => {
                // Last, so that nothing behind it sets another; `add` replaces a member that is there
                // (RFC 6902 §4.1).
                operations.push(json!({
                    "op": "add", "path": "/metadata/resourceVersion", "value": resource_version,
                }));
                Value::Array(operations)
            }
            Self::Shape(mut shape) => {
                let metadata = shape
                    .entry("metadata")
                    .or_insert_with(|| Value::Object(Map::new()));
                if let Some(metadata) = metadata.as_object_mut() {
                    metadata.insert("resourceVersion".to_owned(), resource_version.into());
                }
                Value::Object(shape)
            }
        };
        bound.to_string().into_bytes()
    }
}
