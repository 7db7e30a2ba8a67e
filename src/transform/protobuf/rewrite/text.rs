//! What becomes of one text.

use super::super::super::json::Mask;
use super::super::super::placeholder::{FAMILY, Placeholder};
use super::super::MaskProtobufError;
use super::super::edits::{Growth, difference};
use super::super::search::in_place;
use super::{Length, Rewriter};
use crate::policy::mask::{Action, Look, Shape as JsonShape, StateId};
use crate::transform::text::arguments::Arguments;
use crate::transform::text::credentials::{self, Found};
use crate::wire::protobuf::FieldValue;

impl Rewriter {
    pub(super) fn text(
        &mut self,
        at: usize,
        text: &[u8],
        state: StateId,
        arguments: &mut Arguments,
    ) -> Growth {
        self.hidden_by = self.mask.plan.mask(state);
        match self.mask.plan.action(state, JsonShape::String) {
            Action::Pass | Action::Walk => 0,
            Action::Search => self.search(at, text),
            Action::Mask(_) => self.placeholder(at, text),
            Action::Embedded if text.trim_ascii().is_empty() => 0,
            Action::Embedded => self.document(at, text, self.mask.clone()),
            // Bytes are themselves here, not base64.
            Action::Scan(Look::Argument) => self.found(at, text, arguments.look(text)),
            Action::Scan(look) => self.found(at, text, credentials::look(text, look)),
        }
    }

    /// Masks the credentials that were found in a text, and known values, of which one may be part of the other.
    fn found(&mut self, at: usize, text: &[u8], found: Found) -> Growth {
        let parts = match found {
            Found::Nothing => return self.search(at, text),
            Found::Whole => return self.placeholder(at, text),
            Found::Parts(parts) => parts,
        };
        let known = self.known.as_mut();
        let known = known.map_or_else(Vec::new, |known| known.find(text, &mut self.tally));
        let parts = credentials::merged([parts, known].concat());
        if self.length == Length::Kept {
            self.tally.count_at(self.hidden_by, &self.trail);
            return self.replace(at, text, &in_place(text, parts, &self.mask));
        }
        let mut masked = Vec::with_capacity(text.len());
        let mut copied = 0;
        for part in parts {
            masked.extend_from_slice(text.get(copied..part.start).unwrap_or_default());
            copied = part.end;
            let placeholder = self.stand_in(text.get(part).unwrap_or_default());
            masked.extend_from_slice(placeholder.bytes());
        }
        masked.extend_from_slice(text.get(copied..).unwrap_or_default());
        self.replace(at, text, &masked)
    }

    /// The JSON of a `RawExtension`, which may also be an object in an envelope of its own: where something in
    /// it is to be masked by its field, that is not followed.
    pub(super) fn json(
        &mut self,
        at: usize,
        text: &[u8],
        state: StateId,
    ) -> Result<Growth, MaskProtobufError> {
        if text.trim_ascii().is_empty() {
            return Ok(0);
        }
        self.hidden_by = self.mask.plan.mask(state);
        let object = matches!(text.trim_ascii_start().first(), Some(b'{'));
        let named = self.mask.plan.hides(state);
        if !named && !object {
            return Ok(self.opaque(at, text));
        }
        if !object {
            return Err(MaskProtobufError::Shape);
        }
        // Most have nothing in them, which is found out faster in their text.
        if !named && !self.known.as_mut().is_some_and(|known| known.finds(text)) {
            return Ok(0);
        }
        let mask = Mask {
            root: state,
            data_is_base64: false,
            ..self.mask.clone()
        };
        Ok(self.document(at, text, mask))
    }

    fn document(&mut self, at: usize, text: &[u8], mask: Mask) -> Growth {
        let Some(masked) = self
            .documents
            .mask(mask, text, &self.trail, &mut self.tally)
        else {
            return self.placeholder(at, text);
        };
        let masked = match self.length {
            _ if masked == text => return 0,
            Length::Free => masked,
            Length::Kept if masked.len() <= text.len() => padded(masked, text.len(), b' '),
            Length::Kept => self.stand_in_document(text),
        };
        self.replace(at, text, &masked)
    }

    /// Known values in a field that is in no table, or in a broken one.
    pub(in crate::transform::protobuf) fn unknown(
        &mut self,
        at: usize,
        value: FieldValue<'_>,
    ) -> Growth {
        match value {
            FieldValue::Bytes(bytes) => self.opaque(at, bytes),
            FieldValue::Varint(_) | FieldValue::Fixed32(_) | FieldValue::Fixed64(_) => 0,
        }
    }

    /// Known values in what may be a text, a message, or both. Its length stays whatever the answer is.
    pub(super) fn opaque(&mut self, at: usize, bytes: &[u8]) -> Growth {
        let Some(known) = &mut self.known else {
            return 0;
        };
        let masked = known.masked_anyhow(bytes, &self.mask, &mut self.tally);
        masked.map_or(0, |masked| self.replace(at, bytes, &masked))
    }

    /// Known values in a text.
    pub(super) fn search(&mut self, at: usize, text: &[u8]) -> Growth {
        let masked = self.searched(text);
        masked.map_or(0, |masked| self.replace(at, text, &masked))
    }

    /// A text without the known values in it; `None` if it has none.
    fn searched(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        let known = self.known.as_mut()?;
        match self.length {
            Length::Free => known.masked(text, &mut self.tally),
            Length::Kept => known.masked_in_place(text, &self.mask, &mut self.tally),
        }
    }

    fn placeholder(&mut self, at: usize, value: &[u8]) -> Growth {
        let placeholder = self.stand_in(value);
        match self.length {
            Length::Free => self.replace(at, value, placeholder.bytes()),
            Length::Kept => self.replace(at, value, &placeholder.fitted(value.len())),
        }
    }

    /// What stands in the place of a value.
    fn stand_in(&mut self, value: &[u8]) -> Placeholder {
        self.tally.count_at(self.hidden_by, &self.trail);
        self.mask.placeholder(value)
    }

    /// A document of the same length that says nothing, but that it is masked: written back it would take the place of
    /// the whole one, so the guard of writes has to know it again.
    fn stand_in_document(&self, text: &[u8]) -> Vec<u8> {
        const BEFORE: &[u8] = b"{\"";
        const BEHIND: &[u8] = b"\":0}";
        match text.len().checked_sub(BEFORE.len() + BEHIND.len()) {
            Some(room) if room >= FAMILY.len() => {
                let key = self.mask.placeholder(text).fitted(room);
                [BEFORE, &key, BEHIND].concat()
            }
            _ => padded(b"{}".to_vec(), text.len(), b' '),
        }
    }

    fn replace(&mut self, at: usize, old: &[u8], new: &[u8]) -> Growth {
        self.edits.push(at..at + old.len(), new);
        difference(new.len(), old.len())
    }
}

fn padded(mut text: Vec<u8>, length: usize, with: u8) -> Vec<u8> {
    text.resize(length, with);
    text
}
