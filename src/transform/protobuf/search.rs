//! Looks for known values in texts of protobuf, and in fields that no table knows.
//!
//! A field that is newer than the table may hold a text, a message or both at once: protobuf does not say. So it is
//! searched as all it may be, on every level: where it was a message a value is a text in it, and where it was a
//! text the value stands in it anyway. What is found keeps its length, so whatever it was, it still is.

use std::ops::Range;
use std::sync::Arc;

use super::super::json::Mask;
use super::super::output::Collected;
use super::super::placeholder::FAMILY;
use super::super::report::Tally;
use crate::limits::{KNOWN_VALUE_BYTES_MIN, PROTOBUF_DEPTH_MAX, PROTOBUF_SEARCH_BYTES_MAX};
use crate::transform::text::known::{Scanner, Shelf, Wait};
use crate::wire::protobuf::{FieldValue, fields, is_message};

/// Known values, to be looked for in one object.
pub(super) struct KnownIn {
    scanner: Scanner,
    /// Bytes of fields that no table knows, those on every level counted, that may still be searched.
    left: usize,
    /// Which bytes of such a field are to be hidden; empty, but for its memory, while none is searched.
    covered: Vec<bool>,
}

impl KnownIn {
    /// `None` if there is nothing to look for.
    pub(super) fn of(shelf: &Arc<Shelf>) -> Option<Self> {
        (!shelf.load().is_empty()).then(|| Self {
            scanner: Scanner::new(Arc::clone(shelf), Wait::Live),
            left: PROTOBUF_SEARCH_BYTES_MAX,
            covered: Vec::new(),
        })
    }

    /// Another object follows.
    pub(super) fn begin(&mut self) {
        self.left = PROTOBUF_SEARCH_BYTES_MAX;
    }

    /// Whether there is one in a text.
    pub(super) fn finds(&mut self, text: &[u8]) -> bool {
        let found = !self.scanner.find(text).is_empty();
        if found {
            self.forget();
        }
        found
    }

    /// Where they stand in a text.
    pub(super) fn find(&mut self, text: &[u8], tally: &mut Tally) -> Vec<Range<usize>> {
        let found = self.scanner.find(text);
        if !found.is_empty() {
            tally.merge(self.scanner.tally());
        }
        found
    }

    /// A text with a placeholder for every known value in it; `None` if it has none.
    pub(super) fn masked(&mut self, text: &[u8], tally: &mut Tally) -> Option<Vec<u8>> {
        if !self.finds(text) {
            return None;
        }
        let mut masked = Vec::with_capacity(text.len());
        self.scanner
            .push_whole(text, &mut Collected::new(text, &mut masked));
        tally.merge(self.scanner.tally());
        Some(masked)
    }

    /// The same, of the same length.
    pub(super) fn masked_in_place(
        &mut self,
        text: &[u8],
        mask: &Mask,
        tally: &mut Tally,
    ) -> Option<Vec<u8>> {
        let found = self.find(text, tally);
        (!found.is_empty()).then(|| in_place(text, found, mask))
    }

    /// The same, of bytes that may be a text, a message, or both.
    pub(super) fn masked_anyhow(
        &mut self,
        bytes: &[u8],
        mask: &Mask,
        tally: &mut Tally,
    ) -> Option<Vec<u8>> {
        let mut covered = std::mem::take(&mut self.covered);
        covered.resize(bytes.len(), false);
        self.cover_levels(bytes, &mut covered, PROTOBUF_DEPTH_MAX, tally);
        let masked = covered_over(bytes, &covered, mask);
        covered.clear();
        self.covered = covered;
        masked
    }

    /// Covers what is to be hidden, from the inside out.
    fn cover_levels(
        &mut self,
        bytes: &[u8],
        covered: &mut [bool],
        levels: usize,
        tally: &mut Tally,
    ) {
        let Some(left) = self.left.checked_sub(bytes.len()) else {
            // Nothing of Kubernetes is as large and as deep; it is hidden unseen.
            covered.fill(true);
            return;
        };
        self.left = left;
        if is_message(bytes) {
            let Some(levels) = levels.checked_sub(1) else {
                // Nothing of Kubernetes is as deep.
                covered.fill(true);
                return;
            };
            let mut all = fields(bytes);
            while let Some(Ok(field)) = all.next() {
                let end = bytes.len() - all.remaining();
                if let FieldValue::Bytes(value) = field.value
                    && let Some(covered) = covered.get_mut(end - value.len()..end)
                {
                    self.cover_levels(value, covered, levels, tally);
                }
            }
        }
        if bytes.len() < KNOWN_VALUE_BYTES_MIN {
            return; // no value is as short, however it is written
        }
        // What a field within was found to hold needs no room beside that field: nor for a `\` before it, which may be the
        // length of that field.
        let mut hits = self.scanner.find(bytes);
        hits.retain(|hit| {
            let inside = covered.get(hit.clone()).unwrap_or_default();
            let text = bytes.get(hit.clone()).unwrap_or_default();
            !inside.contains(&true)
                || inside
                    .iter()
                    .zip(text)
                    .any(|(covered, byte)| !covered && *byte != b'\\')
        });
        if hits.is_empty() {
            self.forget();
        } else {
            tally.merge(self.scanner.tally());
        }
        for hit in hits {
            cover(covered, recognisable(hit, bytes));
        }
    }

    fn forget(&mut self) {
        if !self.scanner.tally().is_empty() {
            *self.scanner.tally() = Tally::default();
        }
    }
}

/// A text with placeholders over these spans of it, and its length.
pub(super) fn in_place(
    text: &[u8],
    spans: impl IntoIterator<Item = Range<usize>>,
    mask: &Mask,
) -> Vec<u8> {
    let mut covered = vec![false; text.len()];
    for span in spans {
        cover(&mut covered, recognisable(span, text));
    }
    covered_over(text, &covered, mask).unwrap_or_else(|| text.to_vec())
}

/// A span that the guard of writes knows again when it comes back: no shorter than the prefix of placeholders, if the
/// text has room for that, and no part of a character.
fn recognisable(span: Range<usize>, text: &[u8]) -> Range<usize> {
    let Range { mut start, mut end } = span;
    let lacking = FAMILY.len().saturating_sub(end - start);
    if lacking == 0 {
        return start..end;
    }
    let within = |at: usize| text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    end = (end + lacking).min(text.len());
    start = start.min(end.saturating_sub(FAMILY.len()));
    while start > 0 && within(start) {
        start -= 1;
    }
    while within(end) {
        end += 1;
    }
    start..end
}

fn cover(covered: &mut [bool], span: Range<usize>) {
    if let Some(span) = covered.get_mut(span) {
        span.fill(true);
    }
}

/// The bytes with a placeholder over every run of covered ones; `None` if there is none.
fn covered_over(bytes: &[u8], covered: &[bool], mask: &Mask) -> Option<Vec<u8>> {
    // No early exit, so that the compiler can use vectors.
    if !covered.iter().fold(false, |any, covered| any | covered) {
        return None;
    }
    let mut at = 0;
    let mut masked: Option<Vec<u8>> = None;
    for run in covered.chunk_by(|one, next| one == next) {
        let span = at..at + run.len();
        at = span.end;
        if run.first() != Some(&true) {
            continue;
        }
        let value = bytes.get(span.clone()).unwrap_or_default();
        let fitted = mask.placeholder(value).fitted(value.len());
        let masked = masked.get_or_insert_with(|| bytes.to_vec());
        if let Some(place) = masked.get_mut(span) {
            place.copy_from_slice(&fitted);
        }
    }
    masked
}
