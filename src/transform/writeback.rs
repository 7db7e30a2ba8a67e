//! Keeps placeholders out of the cluster, and JSON Patches from reading around the mask.
//!
//! A write that carries a placeholder is refused, never repaired: turning placeholders back into
//! values would make the gateway an oracle for them (threats C5). This applies to every resource,
//! masked or not, since a value read from one object is most easily lost in another.

mod find;

use bytes::Bytes;

use self::find::Search;
use super::MaskError;
use super::release::is_text;
use crate::policy::Permit;
use crate::policy::mask::MaskPlan;
use crate::request::RequestInfo;
use crate::request::body::search::{self, SOMEWHERE};
use crate::request::body::{JSON, JSON_PATCH, Keys, PROTOBUF, YAML, media_type, patch};

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

/// Longest pointer that an error quotes.
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
    let keys = if of_objects { Keys::Unique } else { Keys::Any };
    let mut placeholders = Search::of(body);
    let read = search::find(content_type, body, keys, &mut |text| {
        placeholders.holds_placeholder(text)
    });
    let mut field = match read {
        // What is proxied may be anything that only calls itself JSON or YAML.
        Err(_) if !info.is_resource_request || info.subresource == "proxy" => None,
        read => read?,
    };
    if field.is_none() && placeholders.holds_placeholder(body) {
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

/// Refuses operations that read a masked field: `copy` and `move` carry the value elsewhere, `test`
/// tells whether a guess is right. Known values may stand anywhere, so nothing is carried to a field in which
/// they are not looked for.
fn guard_patch(plan: &MaskPlan, body: &[u8]) -> Result<(), MaskError> {
    for operation in patch::operations(body)? {
        if let Some(reads) = operation.reads()
            && patch::tokens(reads).is_none_or(|path| plan.overlaps(strs(&path)))
        {
            return Err(MaskError::PatchReads {
                field: quoted(reads),
                operation: operation.op.to_string(),
            });
        }
        if let Some(to) = operation.carries_to()
            && plan.texts().known_values
            && patch::tokens(to).is_none_or(|path| plan.exempts(strs(&path)))
        {
            return Err(MaskError::PatchNames {
                field: quoted(to),
                operation: operation.op.to_string(),
            });
        }
    }
    Ok(())
}

fn strs(tokens: &[String]) -> impl Iterator<Item = &str> {
    tokens.iter().map(String::as_str)
}

fn quoted(pointer: &str) -> String {
    pointer.chars().take(QUOTED_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
