//! What a masked Secret in protobuf may differ in, told field by field without the masker's tables.

use crate::policy::mask::LAST_APPLIED;
use crate::wire::protobuf::{FieldValue, Unknown, fields, last_bytes};

/// Compares a body or the frames of a watch; how many values differ.
#[track_caller]
pub(super) fn assert_only_values_changed(masked: &[u8], original: &[u8], watch: bool) -> usize {
    if !watch {
        return body(masked, original);
    }
    let (masked, original) = (frames(masked), frames(original));
    assert_eq!(masked.len(), original.len());
    masked
        .iter()
        .zip(original)
        .map(|(masked, original)| {
            assert_eq!(last_bytes(masked, 1), last_bytes(original, 1));
            body(
                last_bytes(last_bytes(masked, 2), 1),
                last_bytes(last_bytes(original, 2), 1),
            )
        })
        .sum()
}

pub(super) fn frames(mut text: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = text.split_first_chunk() {
        let (frame, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        frames.push(frame);
        text = rest;
    }
    frames
}

#[track_caller]
fn body(masked: &[u8], original: &[u8]) -> usize {
    let (masked, original) = (
        Unknown::parse(masked).unwrap(),
        Unknown::parse(original).unwrap(),
    );
    assert_eq!(masked.kind, original.kind);
    if !original.kind.ends_with("List") {
        return object(masked.raw, original.raw);
    }
    pairs(masked.raw, original.raw)
        .map(|(number, masked, original)| {
            if number == 2 {
                return object(masked, original);
            }
            assert_eq!(masked, original);
            0
        })
        .sum()
}

#[track_caller]
fn object(masked: &[u8], original: &[u8]) -> usize {
    pairs(masked, original)
        .map(|(number, masked, original)| match number {
            1 => metadata(masked, original),
            2 | 4 => {
                assert_eq!(last_bytes(masked, 1), last_bytes(original, 1));
                assert!(last_bytes(masked, 2).starts_with(b"[masked:v1:"));
                1
            }
            _ => {
                assert_eq!(masked, original);
                0
            }
        })
        .sum()
}

#[track_caller]
fn metadata(masked: &[u8], original: &[u8]) -> usize {
    pairs(masked, original)
        .filter(|(number, masked, original)| {
            let key = last_bytes(original, 1);
            if *number == 12 && key == LAST_APPLIED.as_bytes() {
                let parse = |entry| serde_json::from_slice(last_bytes(entry, 2)).unwrap();
                let (document, mut old): (_, serde_json::Value) = (parse(masked), parse(original));
                super::naive_roots(&mut old, 0);
                super::assert_agrees(&document, &old);
                return masked != original;
            }
            assert_eq!(masked, original);
            false
        })
        .count()
}

/// The length-delimited fields of both, which have the same numbers; all others are equal.
#[track_caller]
fn pairs<'a>(
    masked: &'a [u8],
    original: &'a [u8],
) -> impl Iterator<Item = (u32, &'a [u8], &'a [u8])> {
    assert_eq!(fields(masked).count(), fields(original).count());
    fields(masked)
        .zip(fields(original))
        .map(|(masked, original)| {
            let (masked, original) = (masked.unwrap(), original.unwrap());
            assert_eq!(masked.number, original.number);
            match (masked.value, original.value) {
                (FieldValue::Bytes(masked), FieldValue::Bytes(old)) => {
                    (original.number, masked, old)
                }
                (masked, old) => {
                    assert_eq!(masked, old);
                    (original.number, &[][..], &[][..])
                }
            }
        })
}
