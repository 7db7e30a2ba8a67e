//! JSON inside a JSON string, such as the last-applied annotation.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::{JsonMasker, Mask, Sink};
use crate::limits::EMBEDDED_JSON_DEPTH_MAX;
use crate::request::body::ValuePath;
use crate::transform::output::Collected;
use crate::transform::report::Tally;
use crate::wire::json::{Documents, raw_length, unescape, write_escaped};

impl JsonMasker {
    /// The raw text of a string with the document inside it masked; bytes outside of masked values
    /// keep their escapes. `None` when it is no document, or nested too deep: the caller masks it as
    /// a whole.
    pub(super) fn mask_embedded(&mut self, raw: &[u8]) -> Option<Vec<u8>> {
        if self.level >= EMBEDDED_JSON_DEPTH_MAX {
            return None;
        }
        let text = unescape(raw).ok()?;
        if text.trim_ascii().is_empty() {
            return Some(raw.to_vec());
        }
        let mut edits = Edits::default();
        let mut masker = Self::embedded(self.mask.clone(), &self.path, self.level + 1);
        masker.whole(&text, &mut edits)?;
        let masked = edits.apply(raw)?;
        self.tally.merge(&mut masker.tally);
        Some(masked)
    }

    fn embedded(mask: Mask, path: &ValuePath, level: u8) -> Self {
        let mut masker = Self::new(mask, Documents::One);
        masker.level = level;
        masker.path = path.clone();
        masker
    }

    /// Masks a document that is complete; `None` when it is none.
    fn whole(&mut self, text: &[u8], sink: &mut impl Sink) -> Option<()> {
        // The scanner forgives what is wrong in values it skips. Here nobody else would notice, and
        // a text that is not the document it seems to be may hold anything anywhere.
        serde_json::from_slice::<IgnoredAny>(text).ok()?;
        self.push(text, sink).ok()?;
        self.finish(sink).ok()
    }
}

/// The document `text`, which stands in a field at `path`, masked; `None` when it is no document.
pub(in crate::transform) fn mask_document(
    mask: Mask,
    text: &[u8],
    path: &ValuePath,
    tally: &mut Tally,
) -> Option<Vec<u8>> {
    let mut masker = JsonMasker::embedded(mask, path, 1);
    let mut masked = Vec::with_capacity(text.len());
    masker.whole(text, &mut Collected::new(text, &mut masked))?;
    tally.merge(&mut masker.tally);
    Some(masked)
}

/// A sink that remembers what to do, to do it to the escaped form of the text.
#[derive(Default)]
pub(super) struct Edits(Vec<Edit>);

enum Edit {
    Copy(Range<usize>),
    Write(Vec<u8>),
}

impl Sink for Edits {
    fn copy(&mut self, span: Range<usize>) {
        self.0.push(Edit::Copy(span));
    }

    fn write(&mut self, text: &[u8]) {
        self.0.push(Edit::Write(text.to_vec()));
    }
}

impl Edits {
    pub(super) fn apply(self, raw: &[u8]) -> Option<Vec<u8>> {
        let mut masked = Vec::with_capacity(raw.len());
        let (mut text_at, mut raw_at) = (0, 0);
        for edit in self.0 {
            match edit {
                Edit::Copy(span) => {
                    raw_at +=
                        raw_length(raw.get(raw_at..)?, span.start.checked_sub(text_at)?).ok()?;
                    let end = raw_at + raw_length(raw.get(raw_at..)?, span.len()).ok()?;
                    masked.extend_from_slice(raw.get(raw_at..end)?);
                    (text_at, raw_at) = (span.end, end);
                }
                Edit::Write(text) => write_escaped(&text, &mut masked),
            }
        }
        Some(masked)
    }
}
