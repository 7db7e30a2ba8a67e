//! JSON inside a JSON string, such as the last-applied annotation.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::held::Judged;
use super::{JsonMasker, Mask, Sink, Trail};
use crate::limits::EMBEDDED_JSON_DEPTH_MAX;
use crate::transform::output::Collected;
use crate::transform::report::Tally;
use crate::wire::json::{Documents, Places, unescape_with_places, write_escaped};

impl JsonMasker {
    /// What the document in a string makes of it; bytes outside of masked values keep their escapes. What is no
    /// document, or nested too deep, is hidden.
    pub(super) fn mask_embedded(&mut self, raw: &[u8]) -> Judged {
        if self.level >= EMBEDDED_JSON_DEPTH_MAX {
            return Judged::Hidden;
        }
        let Ok((text, places)) = unescape_with_places(raw) else {
            return Judged::Hidden;
        };
        if text.trim_ascii().is_empty() {
            return Judged::Passes;
        }
        let mut edits = Edits::of(raw, places);
        let mut masker = self.within(self.mask.root, self.level + 1);
        if masker.whole(&text, &mut edits).is_none() {
            return Judged::Hidden;
        }
        self.done(masker);
        edits.applied()
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

/// Masks documents that stand in fields of something else than JSON, one after another, all by masks that only differ in
/// where they begin.
#[derive(Default)]
pub(in crate::transform) struct FieldMasker {
    spare: Option<Box<JsonMasker>>,
}

impl FieldMasker {
    /// The document `text`, which stands in the field that `trail` leads to, masked; `None` when it is no document.
    pub(in crate::transform) fn mask(
        &mut self,
        mask: Mask,
        text: &[u8],
        trail: &Trail,
        tally: &mut Tally,
    ) -> Option<Vec<u8>> {
        let mut masker = match self.spare.take() {
            Some(mut masker) => {
                masker.mask = mask;
                masker
            }
            None => Box::new(JsonMasker::new(mask, Documents::One)),
        };
        masker.level = 1;
        masker.trail.follow(trail);
        let mut masked = Vec::with_capacity(text.len());
        masker.whole(text, &mut Collected::new(text, &mut masked))?;
        tally.merge(&mut masker.tally);
        masker.forget();
        self.spare = Some(masker);
        Some(masked)
    }
}

/// A sink for the text of a string that is masked in its raw form: what passes keeps its escapes.
pub(super) struct Edits<'a> {
    raw: &'a [u8],
    places: Places,
    /// What of `raw` is to be copied next.
    passing: Range<usize>,
    masked: Vec<u8>,
    outcome: Outcome,
}

/// What edits come to.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Outcome {
    /// All was copied so far: nothing is ever left out without something in its place.
    Same,
    Changed,
    /// A span begins or ends within an escape.
    Lost,
}

impl<'a> Edits<'a> {
    /// For the text of `raw`, whose places these are.
    pub(super) fn of(raw: &'a [u8], places: Places) -> Self {
        Self {
            raw,
            places,
            passing: 0..0,
            masked: Vec::new(),
            outcome: Outcome::Same,
        }
    }

    /// What they made of the raw form.
    pub(super) fn applied(mut self) -> Judged {
        match self.outcome {
            Outcome::Same => Judged::Passes,
            Outcome::Lost => Judged::Hidden,
            Outcome::Changed => {
                self.pass();
                Judged::Masked(self.masked)
            }
        }
    }

    fn pass(&mut self) {
        let passing = self.raw.get(self.passing.clone()).unwrap_or_default();
        self.masked.extend_from_slice(passing);
        self.passing.start = self.passing.end;
    }
}

impl Sink for Edits<'_> {
    fn copy(&mut self, span: Range<usize>) {
        let (start, end) = (self.places.raw(span.start), self.places.raw(span.end));
        let (Some(start), Some(end)) = (start, end) else {
            self.outcome = Outcome::Lost;
            return;
        };
        if start != self.passing.end {
            self.pass();
            self.passing.start = start;
        }
        self.passing.end = end;
    }

    fn write(&mut self, text: &[u8]) {
        if self.masked.is_empty() {
            self.masked.reserve(self.raw.len());
        }
        self.pass();
        write_escaped(text, &mut self.masked);
        if self.outcome == Outcome::Same {
            self.outcome = Outcome::Changed;
        }
    }

    fn replace(&mut self, _known: &[u8], with: &str) {
        self.write(with.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mask_by;
    use super::*;
    use crate::policy::mask::builtin;
    use crate::transform::report::MaskReport;

    #[test]
    fn a_document_is_masked_as_if_it_were_the_first() {
        let pod = |container: &str| format!(r#"{{"spec":{{"containers":[{container}]}}}}"#);
        let documents = [
            pod(r#"{"env":[{"name":"PASSWORD","value":"hunter2"}],"command":["mysql","-p"]}"#),
            pod(r#"{"args":["hunter2","--password"]}"#),
            "{".to_owned(),
            pod(r#"{"args":["hunter2"]},{"env":[{"value":"hunter2","name":"API_TOKEN"}]}"#),
            "1".to_owned(),
            pod(r#"{"env":[{"name":"A","value":"b"}]}"#),
        ];
        let mask = mask_by(&builtin("workloads")[0]);
        let mut trail = Trail::default();
        trail.member(Some(b"template"));
        let mut together = FieldMasker::default();
        for text in documents.iter().chain(&documents) {
            let masked = |masker: &mut FieldMasker| {
                let mut tally = Tally::default();
                let masked = masker.mask(mask.clone(), text.as_bytes(), &trail, &mut tally);
                let report = MaskReport::default();
                report.add(&mut tally);
                (masked, report.values_masked())
            };
            let by_itself = masked(&mut FieldMasker::default());
            assert_eq!(masked(&mut together), by_itself, "{text}");
        }
    }
}
