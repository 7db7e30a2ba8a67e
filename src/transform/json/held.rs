//! Values that are judged when they are complete: documents in strings, texts with credentials in them,
//! and elements whose masking depends on a member.

use std::borrow::Cow;
use std::ops::Range;

use super::embedded::Edits;
use super::{Current, Held, JsonMasker, Kind, Sink, elements};
use crate::policy::mask::{Leaf, Look, StateId};
use crate::transform::output::{Collected, Written};
use crate::transform::placeholder::Placeholder;
use crate::transform::text::credentials::{self, Found};
use crate::wire::json::{Documents, JsonError, unescape, unescape_with_places};

impl JsonMasker {
    /// Puts a held value, masked as far as it must be.
    pub(super) fn put_held(
        &mut self,
        held: Held,
        raw: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), JsonError> {
        if let Held::Element(array) = held {
            return self.put_element(array, raw, &mut through(raw, sink));
        }
        let judged = self.judge(held, raw)?;
        self.put_judged(held, &judged, raw, sink)
    }

    /// What becomes of a string, of which this is the raw text.
    pub(super) fn judge(&mut self, held: Held, raw: &[u8]) -> Result<Judged, JsonError> {
        match held {
            Held::Document => Ok(self.mask_embedded(raw)),
            Held::Scanned(look) => self.scanned(look, raw),
            Held::Element(_) => Ok(Judged::Hidden), // no string, so nobody asks
        }
    }

    /// Puts what became of a string.
    pub(super) fn put_judged(
        &mut self,
        held: Held,
        judged: &Judged,
        raw: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), JsonError> {
        if let Judged::Hidden = judged {
            return self.put_whole(leaf(held), Kind::String, raw, sink);
        }
        sink.write(b"\"");
        match judged {
            Judged::Masked(text) => sink.write(text),
            _ if matches!(held, Held::Document) => sink.write(raw), // its own strings have been searched
            _ => self.write_searched(raw, sink),
        }
        sink.write(b"\"");
        Ok(())
    }

    /// Writes the inside of a string without the known values in it.
    fn write_searched(&mut self, text: &[u8], sink: &mut impl Sink) {
        match &mut self.strings {
            Some(strings) => {
                strings.push_content(text, &mut through(text, sink));
                self.tally.merge(strings.tally());
            }
            None => sink.write(text),
        }
    }

    /// A value is too large to be held: it is masked more than it may have to be.
    pub(super) fn hold_no_longer(
        &mut self,
        held: Held,
        raw: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), JsonError> {
        let Held::Element(array) = held else {
            let mut masking = self.masking(leaf(held), Kind::String);
            masking.take(raw)?;
            self.current = Current::Masked(Box::new(masking));
            return Ok(());
        };
        let mut masker = self.within(self.mask.plan.element(array), self.level);
        masker.push(raw, &mut through(raw, sink))?;
        self.current = Current::Nested(masker);
        Ok(())
    }

    /// What the credentials in a string make of it, and known values beside them.
    fn scanned(&mut self, look: Look, raw: &[u8]) -> Result<Judged, JsonError> {
        let text = unescape(raw)?;
        let found = match look {
            Look::Argument => self.arguments.look(&text),
            _ => credentials::look(&text, look),
        };
        let parts = match found {
            Found::Nothing => return Ok(Judged::Passes),
            Found::Whole => return Ok(Judged::Hidden),
            Found::Parts(parts) => self.with_known(parts, &text),
        };
        if parts.is_empty() {
            return Ok(Judged::Passes);
        }
        if let Cow::Borrowed(plain) = text {
            // It has no escapes, and neither have placeholders.
            let mut masked = Vec::with_capacity(raw.len() + parts.len() * Placeholder::LENGTH);
            self.put_parts(parts, plain, &mut Collected::new(plain, &mut masked));
            return Ok(Judged::Masked(masked));
        }
        let (text, places) = unescape_with_places(raw)?;
        let mut edits = Edits::of(raw, places);
        self.put_parts(parts, &text, &mut edits);
        Ok(edits.applied())
    }

    /// Puts a text, and placeholders where these parts of it are.
    fn put_parts(&mut self, parts: Vec<Range<usize>>, text: &[u8], sink: &mut impl Sink) {
        let mut copied = 0;
        for part in parts {
            let value = text.get(part.clone()).unwrap_or_default();
            let placeholder = self.mask.placeholder(value);
            sink.copy(copied..part.start);
            sink.write(placeholder.bytes());
            self.tally.count_at(self.hidden_by, &self.trail);
            copied = part.end;
        }
        sink.copy(copied..text.len());
    }

    /// Parts of a text that are to be hidden, and the known values in it. One may be part of the other.
    fn with_known(&mut self, parts: Vec<Range<usize>>, text: &[u8]) -> Vec<Range<usize>> {
        let Some(strings) = &mut self.strings else {
            return parts;
        };
        let known = strings.find(text);
        self.tally.merge(strings.tally());
        credentials::merged([parts, known].concat())
    }

    /// Puts an element, whose members say in which state it is. `sink` takes spans of `raw`.
    pub(super) fn put_element(
        &mut self,
        array: StateId,
        raw: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), JsonError> {
        let plan = &self.mask.plan;
        let state = elements::state_ahead(plan, array, raw);
        let state = state.unwrap_or_else(|| plan.element(array));
        let mut masker = self.within(state, self.level);
        masker.push(raw, sink)?;
        masker.finish(sink)?;
        self.done(masker);
        Ok(())
    }

    /// The masker of something within this document.
    pub(super) fn within(&mut self, root: StateId, level: u8) -> Box<Self> {
        let mut masker = self
            .spare
            .take()
            .unwrap_or_else(|| Box::new(Self::new(self.mask.clone(), Documents::One)));
        masker.mask.root = root;
        if masker.level != level {
            // What a document within may hold depends on how deep it is.
            masker.familiar.forget();
            masker.level = level;
        }
        masker.trail.follow(&self.trail);
        masker
    }

    /// It has come to the end of its document, so it can take another.
    pub(super) fn done(&mut self, mut masker: Box<Self>) {
        self.tally.merge(&mut masker.tally);
        masker.forget();
        self.spare = Some(masker);
    }
}

/// What a held string is when all of it is masked.
fn leaf(held: Held) -> Leaf {
    match held {
        Held::Scanned(Look::Binary) => Leaf::Binary,
        _ => Leaf::Text,
    }
}

/// A sink for spans of another text than the one that is being pushed outside. Of one type at every level, or documents
/// within documents would be compiled without end.
pub(super) fn through<'a>(text: &'a [u8], sink: &'a mut impl Sink) -> Written<'a, dyn Sink + 'a> {
    Written { text, sink }
}

/// What becomes of a string that was looked at as a whole.
pub(super) enum Judged {
    /// Nothing is to be masked in it.
    Passes,
    /// All of it is masked.
    Hidden,
    /// Its raw text, masked.
    Masked(Vec<u8>),
}
