//! Values that are judged when they are complete: documents in strings, texts with credentials in them,
//! and elements whose masking depends on a member, such as the value of a variable on its name.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;

use super::embedded::Edits;
use super::{Current, Held, JsonMasker, Kind, Mask, Sink};
use crate::policy::mask::{Condition, Leaf, Look, StateId};
use crate::transform::placeholder::Content;
use crate::transform::text::credentials::{self, Found};
use crate::wire::json::{Documents, JsonError, unescape};

impl JsonMasker {
    /// Puts a held value, masked as far as it must be.
    pub(super) fn put_held(
        &mut self,
        held: Held,
        raw: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), JsonError> {
        let text = match held {
            Held::Element(array) => return self.put_element(array, raw, sink),
            Held::Document => self.mask_embedded(raw),
            Held::Scanned { look, after_flag } => self.scanned(look, after_flag, raw)?,
        };
        let Some(text) = text else {
            return self.put_whole(leaf(held), raw, sink);
        };
        sink.write(b"\"");
        if let Held::Document = held {
            sink.write(&text); // its own strings have been searched
        } else {
            self.write_searched(&text, sink);
        }
        sink.write(b"\"");
        Ok(())
    }

    /// Writes the inside of a string without the known values in it.
    fn write_searched(&mut self, text: &[u8], sink: &mut impl Sink) {
        match &mut self.strings {
            Some(strings) => {
                strings.search();
                strings.push_content(text, &mut Through { text, sink });
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
            masking.take(raw, false)?;
            self.current = Current::Masked(masking);
            return Ok(());
        };
        let mut masker = self.nested(self.mask.plan.element(array));
        masker.push(raw, &mut Through { text: raw, sink })?;
        self.current = Current::Nested(Box::new(masker));
        Ok(())
    }

    /// The raw text of a string without the credentials in it; `None` to mask all of it.
    fn scanned(
        &mut self,
        look: Look,
        after_flag: bool,
        raw: &[u8],
    ) -> Result<Option<Vec<u8>>, JsonError> {
        let text = unescape(raw)?;
        if look == Look::Argument
            && let Some(frame) = self.frames.last_mut()
        {
            frame.after_flag = credentials::is_flag(&text);
        }
        let parts = match credentials::look(&text, look, after_flag) {
            Found::Nothing => return Ok(Some(raw.to_vec())),
            Found::Whole => return Ok(None),
            Found::Parts(parts) => parts,
        };
        let mut edits = Edits::default();
        let mut copied = 0;
        for part in parts {
            let mut digest = self
                .mask
                .placeholders
                .start(Content::Text, self.mask.linkable);
            digest.update(text.get(part.clone()).unwrap_or_default());
            let placeholder = self.mask.placeholders.finish(digest);
            edits.copy(copied..part.start);
            edits.write(placeholder.text().as_bytes());
            self.tally.count(self.path.text());
            copied = part.end;
        }
        edits.copy(copied..text.len());
        Ok(edits.apply(raw))
    }

    fn put_element(
        &mut self,
        array: StateId,
        raw: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), JsonError> {
        let plan = &self.mask.plan;
        let members = serde_json::from_slice(raw).ok();
        let holds = plan
            .conditions(array)
            .map(|condition| meets(members.as_ref(), condition));
        let state = plan.element_where(array, holds);
        let mut masker = self.nested(state);
        masker.push(raw, &mut Through { text: raw, sink })?;
        masker.finish(&mut Through { text: b"", sink })?;
        self.tally.merge(&mut masker.tally);
        Ok(())
    }

    fn nested(&self, state: StateId) -> Self {
        let mask = Mask {
            root: state,
            ..self.mask.clone()
        };
        let mut masker = Self::new(mask, Documents::One);
        masker.level = self.level;
        masker.path = self.path.clone();
        masker
    }
}

/// What a held string is when all of it is masked.
fn leaf(held: Held) -> Leaf {
    match held {
        Held::Scanned {
            look: Look::Binary, ..
        } => Leaf::Binary,
        _ => Leaf::Text,
    }
}

/// Does one of the members of this name meet the condition? What cannot be read does.
fn meets(members: Option<&Members>, condition: Condition<'_>) -> bool {
    let Some(Members(members)) = members else {
        return true;
    };
    members
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(condition.key))
        .any(|(_, value)| value.as_str().is_none_or(|text| condition.holds(text)))
}

/// All members of an object, also those of the same name.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

/// A sink for spans of another text than the one that is being pushed outside.
pub(super) struct Through<'a> {
    pub(super) text: &'a [u8],
    pub(super) sink: &'a mut dyn Sink,
}

impl Sink for Through<'_> {
    fn copy(&mut self, span: Range<usize>) {
        self.sink.write(self.text.get(span).unwrap_or_default());
    }

    fn write(&mut self, text: &[u8]) {
        self.sink.write(text);
    }
}
