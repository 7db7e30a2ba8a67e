//! JSON inside a JSON string, such as the last-applied annotation.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::held::Judged;
use super::{JsonMasker, Mask, Sink, Trail};
use crate::limits::EMBEDDED_JSON_DEPTH_MAX;
use crate::transform::output::Collected;
use crate::transform::report::Tally;
use crate::wire::json::{Documents, raw_length, unescape, write_escaped};

impl JsonMasker {
    /// What the document in a string makes of it; bytes outside of masked values keep their escapes. What is no
    /// document, or nested too deep, is hidden.
    pub(super) fn mask_embedded(&mut self, raw: &[u8]) -> Judged {
        if self.level >= EMBEDDED_JSON_DEPTH_MAX {
            return Judged::Hidden;
        }
        let Ok(text) = unescape(raw) else {
            return Judged::Hidden;
        };
        if text.trim_ascii().is_empty() {
            return Judged::Passes;
        }
        let mut edits = Edits::default();
        let mut masker = self.within(self.mask.root, self.level + 1);
        if masker.whole(&text, &mut edits).is_none() {
            return Judged::Hidden;
        }
        self.done(masker);
        edits.apply(raw)
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

/// The document `text`, which stands in a field at the end of `trail`, masked; `None` when it is no document.
pub(in crate::transform) fn mask_document(
    mask: Mask,
    text: &[u8],
    trail: &Trail,
    tally: &mut Tally,
) -> Option<Vec<u8>> {
    let mut masker = JsonMasker::new(mask, Documents::One);
    masker.level = 1;
    masker.trail.follow(trail);
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

    fn replace(&mut self, _known: &[u8], with: &str) {
        self.write(with.as_bytes());
    }
}

impl Edits {
    /// What they make of the escaped form.
    pub(super) fn apply(self, raw: &[u8]) -> Judged {
        if self.0.iter().all(|edit| matches!(edit, Edit::Copy(_))) {
            return Judged::Passes; // nothing is ever left out without something in its place
        }
        self.applied(raw).map_or(Judged::Hidden, Judged::Masked)
    }

    fn applied(self, raw: &[u8]) -> Option<Vec<u8>> {
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
