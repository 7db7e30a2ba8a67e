//! Keeps placeholders out of the cluster, and JSON Patches from reading around the mask.
//!
//! A write that carries a placeholder is refused, never repaired: turning placeholders back into
//! values would make the gateway an oracle for them (threats C5). This applies to every resource,
//! masked or not, since a value read from one object is most easily lost in another.

mod find;
mod protobuf;
mod walk;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use self::find::Search;
use self::walk::{WalkError, walk};
use super::MaskError;
use super::release::is_text;
use crate::policy::Permit;
use crate::policy::mask::MaskPlan;
use crate::request::RequestInfo;
use crate::request::body::{JSON, JSON_PATCH, PROTOBUF, YAML, media_type};
use crate::wire::json::JsonError;
use crate::wire::protobuf::MAGIC as PROTOBUF_MAGIC;

/// What may be written to a masked resource: everything we can search and the API server reads.
const READABLE: [&str; 8] = [
    "",
    JSON,
    JSON_PATCH,
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    YAML,
    PROTOBUF,
];

/// The field of a placeholder that was found outside of any field.
const SOMEWHERE: &str = "(request body)";

/// Longest operation name or pointer that an error quotes.
const QUOTED_CHARS_MAX: usize = 256;

/// Checks the whole body of a request before it goes to the API server. Placeholders of every gateway
/// are refused, so no key is needed.
pub fn guard_write(
    info: &RequestInfo,
    permit: &Permit,
    content_type: Option<&str>,
    body: &Bytes,
) -> Result<(), MaskError> {
    if body.is_empty() {
        return Ok(());
    }
    let media_type = media_type(content_type);
    let plan = permit.mask();
    let of_objects = plan.is_some_and(|plan| !is_text(info, plan));
    if of_objects && !READABLE.contains(&media_type.as_str()) {
        return Err(MaskError::UnsupportedMediaType {
            media_type: content_type.unwrap_or_default().to_owned(),
        });
    }
    let mut search = Search::of(body);
    let read = match Form::of(&media_type, body) {
        Form::Json => read_json(body, of_objects, &mut search),
        Form::Yaml => read_yaml(body, &mut search),
        Form::Opaque => Ok(()),
    };
    match read {
        // What is proxied may be anything that only calls itself JSON or YAML.
        Err(MaskError::Unreadable { .. })
            if !info.is_resource_request || info.subresource == "proxy" => {}
        read => read?,
    }
    let mut field = protobuf::find(body, |text| search.holds_placeholder(text));
    if field.is_none() && search.holds_placeholder(body) {
        field = Some(SOMEWHERE.to_owned());
    }
    if let Some(field) = field {
        return Err(MaskError::Placeholder { field });
    }
    if let Some(plan) = plan
        && media_type == JSON_PATCH
    {
        guard_patch(plan, body)?;
    }
    Ok(())
}

/// How a body is read. What it says it is counts less than what it looks like: the API server takes
/// a body without Content-Type as JSON, and JSON in a YAML body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Json,
    Yaml,
    /// Protobuf holds values as they are; what is unknown is searched as it is.
    Opaque,
}

impl Form {
    fn of(media_type: &str, body: &[u8]) -> Self {
        if body.starts_with(PROTOBUF_MAGIC) {
            return Self::Opaque;
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
        Self::Opaque
    }
}

fn read_json(body: &[u8], unique_keys: bool, search: &mut Search) -> Result<(), MaskError> {
    let problem = match walk(body, unique_keys, |text| search.holds_placeholder(text)) {
        Ok(None) => return Ok(()),
        Ok(Some(field)) => return Err(MaskError::Placeholder { field }),
        Err(WalkError::Json(JsonError::TooDeep)) => "it is nested too deep",
        Err(WalkError::Json(_)) => "it is not valid JSON",
        Err(WalkError::Duplicate) => "an object holds the same key twice",
    };
    Err(MaskError::Unreadable { problem })
}

fn read_yaml(body: &[u8], search: &mut Search) -> Result<(), MaskError> {
    let problem = MaskError::Unreadable {
        problem: "it is not YAML with unique keys",
    };
    let documents: Vec<Value> =
        serde_saphyr::from_slice_multiple(body).map_err(|_error| problem.clone())?;
    for document in documents {
        let text = serde_json::to_vec(&document).map_err(|_error| problem.clone())?;
        read_json(&text, false, search)?;
    }
    Ok(())
}

/// One operation of RFC 6902.
#[derive(Deserialize)]
struct Operation {
    op: String,
    path: String,
    from: Option<String>,
}

/// Refuses operations that read a masked field: `copy` and `move` carry the value elsewhere, `test`
/// tells whether a guess is right. Known values may stand anywhere, so nothing is carried to a field in which
/// they are not looked for.
fn guard_patch(plan: &MaskPlan, body: &[u8]) -> Result<(), MaskError> {
    let operations: Vec<Operation> =
        serde_json::from_slice(body).map_err(|_error| MaskError::Unreadable {
            problem: "it is not a list of JSON Patch operations",
        })?;
    for operation in operations {
        let reads = match operation.op.as_str() {
            "add" | "replace" | "remove" => continue,
            "test" => &operation.path,
            "copy" | "move" => operation.from.as_ref().ok_or(MaskError::Unreadable {
                problem: "a JSON Patch operation has no from",
            })?,
            _ => {
                return Err(MaskError::Unreadable {
                    problem: "a JSON Patch operation is not one of RFC 6902",
                });
            }
        };
        if overlaps(plan, reads) {
            return Err(MaskError::PatchReads {
                field: quoted(reads),
                operation: operation.op,
            });
        }
        let carries = operation.op != "test" && plan.texts().known_values;
        if carries && tokens(&operation.path).is_none_or(|path| exempts(plan, &path)) {
            return Err(MaskError::PatchNames {
                field: quoted(&operation.path),
                operation: operation.op,
            });
        }
    }
    Ok(())
}

fn quoted(pointer: &str) -> String {
    pointer.chars().take(QUOTED_CHARS_MAX).collect()
}

fn overlaps(plan: &MaskPlan, pointer: &str) -> bool {
    tokens(pointer).is_none_or(|tokens| plan.overlaps(tokens.iter().map(String::as_str)))
}

fn exempts(plan: &MaskPlan, tokens: &[String]) -> bool {
    plan.exempts(tokens.iter().map(String::as_str))
}

/// The tokens of a JSON Pointer; `None` is the whole document. The API server's JSON Patch library drops
/// whatever stands before the first slash.
fn tokens(pointer: &str) -> Option<Vec<String>> {
    let (_, tokens) = pointer.split_once('/')?;
    let plain = |token: &str| token.replace("~1", "/").replace("~0", "~");
    Some(tokens.split('/').map(plain).collect())
}

#[cfg(test)]
mod tests;
