//! What objects travel in: envelopes, lists and events.

use super::MaskProtobufError;
use super::edits::Growth;
use super::rewrite::Rewriter;
use super::schema::Kind;
use crate::wire::protobuf::{FieldValue, MAGIC, Unknown, fields};

/// Masks a body: `k8s\0` and a `runtime.Unknown`, which was read, with one object, or a list, in it.
pub(super) fn body(
    kind: &Kind,
    list: bool,
    rewriter: &mut Rewriter,
    at: usize,
    (body, unknown): (&[u8], &Unknown<'_>),
) -> Result<Growth, MaskProtobufError> {
    require_kind(kind, list, unknown)?;
    let message = body.strip_prefix(MAGIC).unwrap_or_default();
    require_only(message, &[1, 2, 3, 4])?;
    let at = at + MAGIC.len();
    rewriter.fields(at, message, |rewriter, number, at, value| {
        match (number, value) {
            (2, FieldValue::Bytes(items)) if list => self::list(kind, rewriter, at, items),
            (2, FieldValue::Bytes(object)) => rewriter.object(at, object, kind.object),
            _ => Ok(0),
        }
    })
}

/// Masks the items of a list, or of a part of one.
pub(super) fn list(
    kind: &Kind,
    rewriter: &mut Rewriter,
    at: usize,
    list: &[u8],
) -> Result<Growth, MaskProtobufError> {
    rewriter.fields(at, list, |rewriter, number, at, value| {
        match (number, value) {
            (1, FieldValue::Bytes(metadata)) => list_metadata(rewriter, at, metadata),
            (2, FieldValue::Bytes(item)) => rewriter.item(at, item, kind.object),
            _ => Err(MaskProtobufError::Shape),
        }
    })
}

/// Masks one field of a list that is not held as a whole: by itself, so that it does not matter what came with it.
pub(super) fn part_of_list(
    kind: &Kind,
    rewriter: &mut Rewriter,
    at: usize,
    field: &[u8],
) -> Result<Growth, MaskProtobufError> {
    rewriter.apart(|rewriter| list(kind, rewriter, at, field))
}

/// Searches the metadata of a list, but for what tells its versions apart: `selfLink`, `resourceVersion`, `continue`.
fn list_metadata(
    rewriter: &mut Rewriter,
    at: usize,
    metadata: &[u8],
) -> Result<Growth, MaskProtobufError> {
    rewriter.fields(at, metadata, |rewriter, number, at, value| match number {
        1..=3 => Ok(0),
        _ => Ok(rewriter.unknown(at, value)),
    })
}

/// Masks a `WatchEvent`. The `Status` of an error holds no object and is searched.
pub(super) fn event(
    kind: &Kind,
    rewriter: &mut Rewriter,
    event: &[u8],
) -> Result<Growth, MaskProtobufError> {
    require_only(event, &[1, 2])?;
    rewriter.fields(0, event, |rewriter, number, at, value| {
        let FieldValue::Bytes(extension) = value else {
            return Err(MaskProtobufError::Shape);
        };
        if number == 1 {
            rewriter.happened(extension);
            return Ok(0);
        }
        require_only(extension, &[1])?;
        rewriter.fields(at, extension, |rewriter, _raw, at, value| {
            let FieldValue::Bytes(raw) = value else {
                return Err(MaskProtobufError::Shape);
            };
            let unknown = Unknown::parse(raw)?;
            if unknown.kind != "Status" {
                return body(kind, false, rewriter, at, (raw, &unknown));
            }
            let message = raw.strip_prefix(MAGIC).unwrap_or_default();
            require_only(message, &[1, 2, 3, 4])?;
            let at = at + MAGIC.len();
            rewriter.fields(at, message, |rewriter, number, at, value| match number {
                2 => Ok(rewriter.unknown(at, value)),
                _ => Ok(0),
            })
        })
    })
}

/// The kind that was asked for, or its metadata. A rule is never chosen by what a body calls itself; a
/// body that calls itself something else is not what the rule is for.
pub(super) fn require_kind(
    kind: &Kind,
    list: bool,
    unknown: &Unknown<'_>,
) -> Result<(), MaskProtobufError> {
    let name = if list {
        unknown.kind.strip_suffix("List").unwrap_or_default()
    } else {
        unknown.kind
    };
    if name == kind.name || name == "PartialObjectMetadata" {
        Ok(())
    } else {
        Err(MaskProtobufError::Shape)
    }
}

/// Nothing but these fields; of an envelope, nothing that is encoded further.
pub(super) fn require_only(message: &[u8], numbers: &[u32]) -> Result<(), MaskProtobufError> {
    const CONTENT_ENCODING: u32 = 3;
    for field in fields(message) {
        let field = field?;
        let encoded = field.number == CONTENT_ENCODING && field.value != FieldValue::Bytes(b"");
        if !numbers.contains(&field.number) || encoded {
            return Err(MaskProtobufError::Shape);
        }
    }
    Ok(())
}
