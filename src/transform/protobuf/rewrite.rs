//! Masks one message that is in memory as a whole.
//!
//! The walk only collects edits: what stands in the place of which bytes. When a value's length
//! changes, the head of every message around it is such an edit too.

mod text;

use std::sync::Arc;

use super::super::json::embedded::FieldMasker;
use super::super::json::{Mask, Trail};
use super::super::output::Sink;
use super::super::report::Tally;
use super::MaskProtobufError;
use super::edits::{Edits, Growth};
use super::familiar::Familiar;
use super::routes::{Routes, Step};
use super::schema::{Kind, number_of};
use super::search::KnownIn;
use crate::policy::mask::{Action, MaskName, Shape as JsonShape, StateId};
use crate::request::body::kinds::{Holds, Message, Shape};
use crate::transform::text::arguments::Arguments;
use crate::transform::text::known::Passing;
use crate::wire::protobuf::{FieldValue, ProtobufError, all_bytes, fields, last_bytes};

/// May the length of a value change?
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Length {
    /// Every value becomes a whole placeholder.
    Free,
    /// What stands around is sent already: a value keeps its length.
    Kept,
}

/// Collects the edits of one message after another.
pub(super) struct Rewriter {
    mask: Mask,
    routes: Arc<Routes>,
    length: Length,
    /// Learns from the Secrets in them.
    passing: Option<Passing>,
    /// What is looked for in everything that the plan does not name.
    known: Option<KnownIn>,
    /// A watch says that the object is gone.
    gone: bool,
    /// What hides the text that is looked at, if it is hidden.
    hidden_by: MaskName,
    /// Where what is looked at stands.
    trail: Trail,
    /// Masks the documents in its texts.
    documents: FieldMasker,
    pub(super) familiar: Familiar,
    pub(super) edits: Edits,
    tally: Tally,
}

impl Rewriter {
    pub(super) fn new(mask: Mask, kind: &Kind, passing: Option<Passing>) -> Self {
        Self {
            mask,
            routes: Arc::clone(&kind.routes),
            length: Length::Free,
            passing,
            known: None,
            gone: false,
            hidden_by: MaskName::OWN,
            trail: Trail::default(),
            documents: FieldMasker::default(),
            familiar: Familiar::default(),
            edits: Edits::default(),
            tally: Tally::default(),
        }
    }

    /// Another message follows, which is searched for what is known by now.
    pub(super) fn begin(&mut self, length: Length) {
        self.length = length;
        self.known = self.mask.known.as_ref().and_then(KnownIn::of);
        self.gone = false;
        self.hidden_by = MaskName::OWN;
        self.trail.truncate(0);
        self.edits.clear();
    }

    /// What was masked since the last call.
    pub(super) fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// Gives back what the next message can make anew.
    pub(super) fn rest(&mut self) {
        self.known = None;
        self.documents = FieldMasker::default();
        self.familiar = Familiar::default();
        self.edits = Edits::default();
        self.tally.rest();
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
            let (start, before) = (end - value.len(), self.edits.count());
            let grown = each(self, field.number, start, field.value)?;
            if grown == 0 {
                continue;
            }
            let length = value
                .len()
                .checked_add_signed(grown)
                .ok_or(MaskProtobufError::Wire(ProtobufError::Truncated))?;
            let head = self
                .edits
                .insert_head(before, head..start, (field.number, length));
            growth += grown + head;
        }
    }

    /// Masks what is judged by itself: if that fails nothing of it is edited, and what may be searched is its own.
    pub(super) fn apart(
        &mut self,
        mask: impl FnOnce(&mut Self) -> Result<Growth, MaskProtobufError>,
    ) -> Result<Growth, MaskProtobufError> {
        let before = self.edits.count();
        if let Some(known) = &mut self.known {
            known.begin();
        }
        let outcome = mask(self);
        if outcome.is_err() {
            self.edits.truncate(before);
        }
        outcome
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
        if let Some(passing) = &self.passing {
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
        self.trail.truncate(0);
        self.trail.member(Some(b"items"));
        self.trail.element();
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
        let row = self.routes.row(state, message);
        self.fields(at, bytes, |this, number, at, value| {
            let Some(step) = this.routes.step(row, number, &this.mask.plan) else {
                return Ok(this.unknown(at, value));
            };
            if step.next.is_dead() && this.known.is_none() {
                return Ok(0);
            }
            if let (Some(inner), FieldValue::Bytes(value)) = (step.inline(), value) {
                return this.message(at, value, inner, state);
            }
            let FieldValue::Bytes(value) = value else {
                // A known field of another type: readers would not agree on what it holds.
                return if this.mask.plan.hides(step.next) {
                    Err(MaskProtobufError::Wire(ProtobufError::WireType))
                } else {
                    Ok(0)
                };
            };
            let length = this.trail.len();
            if step.may_be_told() {
                this.trail.member(Some(step.field.key.as_bytes()));
            }
            let grown = match step.field.shape {
                Shape::One => this.value(at, value, step),
                Shape::List => this.element(at, value, step, &mut commands),
                Shape::Map => this.entry(at, value, step),
            };
            this.trail.truncate(length);
            grown
        })
    }

    fn value(&mut self, at: usize, value: &[u8], step: Step) -> Result<Growth, MaskProtobufError> {
        let state = step.next;
        match step.field.holds {
            Holds::Text | Holds::Bytes => {
                Ok(self.text(at, value, state, &mut Arguments::default()))
            }
            Holds::Message(_) => match step.message {
                Some(message) => self.unless_familiar(value, step, false, |this| {
                    this.message(at, value, message, state)
                }),
                None => Ok(self.opaque(at, value)),
            },
            Holds::Texts => self.inner(at, value, 1, self.mask.plan.element(state)),
            Holds::Quantity => self.inner(at, value, 1, state),
            Holds::IntOrString => self.inner(at, value, 3, state),
            Holds::Json => {
                self.fields(at, value, |this, number, at, value| match (number, value) {
                    (1, FieldValue::Bytes(text)) => this.json(at, text, state),
                    _ => Ok(this.unknown(at, value)),
                })
            }
            // Numbers, if they are what the table says.
            Holds::Time
            | Holds::MicroTime
            | Holds::Bool
            | Holds::Int32
            | Holds::Int64
            | Holds::Double => Ok(self.opaque(at, value)),
        }
    }

    /// A message that is nothing but texts, in the field of this number.
    fn inner(
        &mut self,
        at: usize,
        message: &[u8],
        texts: u32,
        state: StateId,
    ) -> Result<Growth, MaskProtobufError> {
        self.fields(at, message, |this, number, at, value| match value {
            FieldValue::Bytes(text) if number == texts => {
                Ok(this.text(at, text, state, &mut Arguments::default()))
            }
            _ => Ok(this.unknown(at, value)),
        })
    }

    /// An element of an array in `state`.
    fn element(
        &mut self,
        at: usize,
        value: &[u8],
        step: Step,
        commands: &mut Commands,
    ) -> Result<Growth, MaskProtobufError> {
        self.trail.element();
        let (plan, state) = (&self.mask.plan, step.next);
        if let Holds::Text | Holds::Bytes = step.field.holds {
            let words = commands.at(step.field.number);
            return Ok(self.text(at, value, plan.element(state), words));
        }
        let Some(message) = step.message else {
            let next = plan.element(state);
            return self.value(at, value, Step { next, ..step });
        };
        self.unless_familiar(value, step, true, |this| {
            let plan = &this.mask.plan;
            let holds = plan.conditions(state).map(|condition| {
                let number = number_of(message, condition.key).unwrap_or_default();
                // Every reader takes the last name; any of them counts.
                all_bytes(value, number).any(|name| {
                    std::str::from_utf8(name).map_or(true, |name| condition.holds(name))
                })
            });
            let element = plan.element_where(state, holds);
            this.message(at, value, message, element)
        })
    }

    /// Masks a message, unless it passed before: what is done with it depends on its bytes alone while nothing is searched
    /// for known values.
    fn unless_familiar(
        &mut self,
        message: &[u8],
        step: Step,
        element: bool,
        mask: impl FnOnce(&mut Self) -> Result<Growth, MaskProtobufError>,
    ) -> Result<Growth, MaskProtobufError> {
        let may_be = self.known.is_none() && self.mask.plan.looks(step.next);
        let candidate = may_be.then(|| Familiar::candidate(step, element, message));
        let Some(candidate) = candidate.flatten() else {
            return mask(self);
        };
        if self.familiar.has(candidate, message) {
            return Ok(0);
        }
        let before = self.edits.count();
        let grown = mask(self)?;
        if self.edits.count() == before {
            self.familiar.learn(candidate, message);
        }
        Ok(grown)
    }

    /// An entry of a map: the key in field 1, the value in field 2. The last key counts.
    fn entry(&mut self, at: usize, entry: &[u8], step: Step) -> Result<Growth, MaskProtobufError> {
        let (key, state) = (last_bytes(entry, 1), step.next);
        let next = self.mask.plan.member(state, Some(key));
        if next.is_dead() && self.known.is_none() {
            return Ok(0);
        }
        // As in JSON: keys above what a mask names stay.
        let keys = self.mask.plan.action(state, JsonShape::Object) == Action::Search;
        let step = Step { next, ..step };
        if step.may_be_told() {
            self.trail.member(Some(key));
        }
        self.fields(at, entry, |this, number, at, value| match (number, value) {
            (1, FieldValue::Bytes(_)) if !keys => Ok(0),
            (1, FieldValue::Bytes(key)) => Ok(this.search(at, key)),
            (2, FieldValue::Bytes(value)) => this.value(at, value, step),
            _ => Ok(this.unknown(at, value)),
        })
    }

    /// Hands the rewritten text out; `length` is that of what was read.
    pub(super) fn write(&self, length: usize, sink: &mut impl Sink) {
        self.edits.write(length, sink);
    }
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
