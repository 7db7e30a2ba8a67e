//! Masks one message that is in memory as a whole.
//!
//! The walk only collects edits: what stands in the place of which bytes. When a value's length
//! changes, the head of every message around it is such an edit too.

use std::ops::Range;

use super::super::json::Mask;
use super::super::json::embedded::mask_document;
use super::super::output::Sink;
use super::super::placeholder::Content;
use super::super::report::Tally;
use super::MaskProtobufError;
use super::schema::{Holds, Message};
use crate::policy::mask::{Action, Look, Shape, StateId};
use crate::request::body::ValuePath;
use crate::transform::text::arguments::Arguments;
use crate::transform::text::credentials::{self, Found};
use crate::transform::text::known::Passing;
use crate::wire::protobuf::{FieldValue, ProtobufError, fields, last_bytes, write_head};

/// May the length of a value change?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Length {
    /// Every value becomes a whole placeholder.
    Free,
    /// What stands around is sent already: a value keeps its length.
    Kept,
}

/// Collects the edits of one message.
pub(super) struct Rewriter<'a> {
    mask: &'a Mask,
    length: Length,
    passing: Option<&'a Passing>,
    /// A watch says that the object is gone.
    gone: bool,
    path: ValuePath,
    edits: Vec<(Range<usize>, Vec<u8>)>,
    tally: &'a mut Tally,
}

/// By how many bytes something grew.
pub(super) type Growth = isize;

impl<'a> Rewriter<'a> {
    pub(super) fn new(
        mask: &'a Mask,
        length: Length,
        passing: Option<&'a Passing>,
        tally: &'a mut Tally,
    ) -> Self {
        Self {
            mask,
            length,
            passing,
            gone: false,
            path: ValuePath::default(),
            edits: Vec::new(),
            tally,
        }
    }

    /// Goes over the length-delimited fields of a message that begins at `at`; `each` says by how much
    /// a field's value grows.
    pub(super) fn fields<'m>(
        &mut self,
        at: usize,
        message: &'m [u8],
        mut each: impl FnMut(&mut Self, u32, usize, FieldValue<'m>) -> Result<Growth, MaskProtobufError>,
    ) -> Result<Growth, MaskProtobufError> {
        let mut growth = 0;
        let mut all = fields(message);
        loop {
            let head = at + message.len() - all.remaining();
            let Some(field) = all.next() else {
                return Ok(growth);
            };
            let field = field?;
            let end = at + message.len() - all.remaining();
            let FieldValue::Bytes(value) = field.value else {
                each(self, field.number, end, field.value)?;
                continue;
            };
            let (start, before) = (end - value.len(), self.edits.len());
            let grown = each(self, field.number, start, field.value)?;
            if grown == 0 {
                continue;
            }
            let length = value
                .len()
                .checked_add_signed(grown)
                .ok_or(MaskProtobufError::Wire(ProtobufError::Truncated))?;
            let mut text = Vec::new();
            write_head(field.number, length, &mut text);
            growth += grown + difference(text.len(), start - head);
            self.edits.insert(before, (head..start, text));
        }
    }

    /// What a watch says has happened to the object that follows.
    pub(super) fn happened(&mut self, event: &[u8]) {
        self.gone = event == b"DELETED";
    }

    /// Masks a whole object.
    pub(super) fn object(
        &mut self,
        at: usize,
        bytes: &[u8],
        object: &'static Message,
    ) -> Result<Growth, MaskProtobufError> {
        if let Some(passing) = self.passing {
            passing.protobuf(bytes, self.gone);
        }
        self.message(at, bytes, object, self.mask.root)
    }

    /// Masks an object of a list.
    pub(super) fn item(
        &mut self,
        at: usize,
        bytes: &[u8],
        object: &'static Message,
    ) -> Result<Growth, MaskProtobufError> {
        self.path.truncate(0);
        self.path.key(Some(b"items"));
        self.path.element();
        self.object(at, bytes, object)
    }

    /// Masks the fields of a message by what the plan says in `state`.
    fn message(
        &mut self,
        at: usize,
        bytes: &[u8],
        message: &'static Message,
        state: StateId,
    ) -> Result<Growth, MaskProtobufError> {
        let mut commands = Commands::default();
        self.fields(at, bytes, |this, number, at, value| {
            let Some(row) = message.row(number) else {
                return Ok(0);
            };
            if let (Holds::Inline(inner), FieldValue::Bytes(value)) = (row.holds, value) {
                return this.message(at, value, inner, state);
            }
            let next = this.mask.plan.member(state, Some(row.key.as_bytes()));
            if next.is_dead() {
                return Ok(0);
            }
            // A known field of another type: readers would not agree on what it holds.
            let FieldValue::Bytes(value) = value else {
                return Err(MaskProtobufError::Wire(ProtobufError::WireType));
            };
            let length = this.path.len();
            this.path.key(Some(row.key.as_bytes()));
            let grown = if matches!(row.holds, Holds::Texts) {
                this.path.element();
                let arguments = commands.at(number);
                Ok(this.text(at, value, this.mask.plan.element(next), arguments))
            } else {
                this.value(at, value, row.holds, next)
            };
            this.path.truncate(length);
            grown
        })
    }

    fn value(
        &mut self,
        at: usize,
        value: &[u8],
        holds: Holds,
        state: StateId,
    ) -> Result<Growth, MaskProtobufError> {
        match holds {
            Holds::Text | Holds::Texts => {
                Ok(self.text(at, value, state, &mut Arguments::default()))
            }
            Holds::Map => self.entry(at, value, state),
            Holds::One(message) | Holds::Inline(message) => self.message(at, value, message, state),
            Holds::Many(message) => {
                self.path.element();
                let plan = &self.mask.plan;
                let holds = plan.conditions(state).map(|condition| {
                    let number = message.number(condition.key).unwrap_or_default();
                    // Every reader takes the last name; any of them counts.
                    all_bytes(value, number).any(|name| {
                        std::str::from_utf8(name).map_or(true, |name| condition.holds(name))
                    })
                });
                let element = plan.element_where(state, holds);
                self.message(at, value, message, element)
            }
            Holds::Json => {
                self.fields(at, value, |this, number, at, value| match (number, value) {
                    (1, FieldValue::Bytes(text)) => this.json(at, text, state),
                    _ => Ok(0),
                })
            }
        }
    }

    /// An entry of a map: the key in field 1, the value in field 2. The last key counts.
    fn entry(
        &mut self,
        at: usize,
        entry: &[u8],
        state: StateId,
    ) -> Result<Growth, MaskProtobufError> {
        let key = last_bytes(entry, 1);
        let next = self.mask.plan.member(state, Some(key));
        if next.is_dead() {
            return Ok(0);
        }
        self.path.key(Some(key));
        self.fields(at, entry, |this, number, at, value| match (number, value) {
            (2, FieldValue::Bytes(text)) => {
                Ok(this.text(at, text, next, &mut Arguments::default()))
            }
            _ => Ok(0),
        })
    }

    fn text(
        &mut self,
        at: usize,
        text: &[u8],
        state: StateId,
        arguments: &mut Arguments,
    ) -> Growth {
        match self.mask.plan.action(state, Shape::String) {
            Action::Pass | Action::Walk => 0,
            Action::Mask(_) | Action::Search => self.placeholder(at, text),
            Action::Embedded if text.trim_ascii().is_empty() => 0,
            Action::Embedded => self.document(at, text, self.mask.clone()),
            // Bytes are themselves here, not base64.
            Action::Scan(Look::Argument) => self.found(at, text, arguments.look(text)),
            Action::Scan(look) => self.found(at, text, credentials::look(text, look)),
        }
    }

    fn found(&mut self, at: usize, text: &[u8], found: Found) -> Growth {
        match found {
            Found::Nothing => 0,
            Found::Whole => self.placeholder(at, text),
            Found::Parts(parts) => {
                let part = |part: Range<usize>| (part.start, text.get(part).unwrap_or_default());
                parts
                    .into_iter()
                    .map(part)
                    .map(|(start, part)| self.placeholder(at + start, part))
                    .sum()
            }
        }
    }

    /// The JSON of a `RawExtension`, which may also be an object in an envelope of its own: that is not
    /// followed.
    fn json(
        &mut self,
        at: usize,
        text: &[u8],
        state: StateId,
    ) -> Result<Growth, MaskProtobufError> {
        if text.trim_ascii().is_empty() {
            return Ok(0);
        }
        let mask = Mask {
            root: state,
            data_is_base64: false,
            ..self.mask.clone()
        };
        if !matches!(text.trim_ascii_start().first(), Some(b'{')) {
            return Err(MaskProtobufError::Shape);
        }
        Ok(self.document(at, text, mask))
    }

    fn document(&mut self, at: usize, text: &[u8], mask: Mask) -> Growth {
        let Some(masked) = mask_document(mask, text, &self.path, self.tally) else {
            return self.placeholder(at, text);
        };
        let masked = match self.length {
            Length::Free => masked,
            Length::Kept if masked.len() <= text.len() => padded(masked, text.len(), b' '),
            // Too long: an empty document is one, and says nothing.
            Length::Kept => padded(b"{}".to_vec(), text.len(), b' '),
        };
        self.replace(at, text, masked)
    }

    fn placeholder(&mut self, at: usize, value: &[u8]) -> Growth {
        let mut digest = self
            .mask
            .placeholders
            .start(Content::Text, self.mask.linkable);
        digest.update(value);
        let placeholder = self.mask.placeholders.finish(digest);
        self.tally.count(self.path.text());
        let text = match self.length {
            Length::Free => placeholder.text().as_bytes().to_vec(),
            Length::Kept => placeholder.fitted(value.len()),
        };
        self.replace(at, value, text)
    }

    fn replace(&mut self, at: usize, old: &[u8], new: Vec<u8>) -> Growth {
        let growth = difference(new.len(), old.len());
        if new != old {
            self.edits.push((at..at + old.len(), new));
        }
        growth
    }

    /// Hands the rewritten text out; `length` is that of what was read.
    pub(super) fn write(self, length: usize, sink: &mut impl Sink) {
        let mut copied = 0;
        for (span, text) in self.edits {
            sink.copy(copied..span.start);
            sink.write(&text);
            copied = span.end;
        }
        sink.copy(copied..length);
    }
}

/// The length-delimited fields of that number.
fn all_bytes(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    fields(message)
        .map_while(Result::ok)
        .filter_map(move |field| match field.value {
            FieldValue::Bytes(bytes) if field.number == number => Some(bytes),
            _ => None,
        })
}

fn padded(mut text: Vec<u8>, length: usize, with: u8) -> Vec<u8> {
    text.resize(length, with);
    text
}

fn difference(new: usize, old: usize) -> Growth {
    Growth::try_from(new).unwrap_or(Growth::MAX) - Growth::try_from(old).unwrap_or(Growth::MAX)
}

/// The lists of words in one message: a command and its arguments.
#[derive(Default)]
struct Commands {
    number: u32,
    arguments: Arguments,
}

impl Commands {
    /// What was read before the next word of this field.
    fn at(&mut self, number: u32) -> &mut Arguments {
        if self.number != number {
            self.number = number;
            self.arguments.enter(true);
        }
        &mut self.arguments
    }
}
