//! The containers around what the masker reads: where in the document it is, and by which state the next value is judged.

use super::{Current, JsonMasker};
use crate::policy::mask::StateId;

/// A container that is being walked.
#[derive(Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is asked for by itself, at every step"
)]
pub(super) struct Frame {
    pub(super) state: StateId,
    pub(super) array: bool,
    pub(super) trail_length: usize,
    /// Every value in it is looked at for itself, so that none can be passed unseen.
    pub(super) sees_all: bool,
    /// An element that was judged by its members: its commands are its own.
    pub(super) apart: bool,
    /// It is a list of words, or within one.
    pub(super) words: bool,
    /// Where it begins, if that is in the chunk that is being pushed and it may be remembered.
    pub(super) first: Option<usize>,
}

impl JsonMasker {
    /// The state of the value that begins here.
    pub(super) fn state_of_value(&mut self) -> StateId {
        let Some(frame) = self.frames.last().copied() else {
            return self.mask.root;
        };
        if !frame.array {
            return self.member;
        }
        let state = self.mask.plan.element(frame.state);
        if !state.is_dead() {
            self.element();
        }
        state
    }

    /// The array the scanner is in, if its elements do not all have the same state.
    pub(super) fn conditional_array(&self) -> Option<StateId> {
        let frame = self.frames.last().filter(|frame| frame.array)?;
        let mut conditions = self.mask.plan.conditions(frame.state);
        conditions.next().map(|_condition| frame.state)
    }

    /// The next element of the array the scanner is in.
    pub(super) fn element(&mut self) {
        if let Some(frame) = self.frames.last() {
            self.trail.truncate(frame.trail_length);
            self.trail.element();
        }
    }

    /// The key of a member was read.
    pub(super) fn key(&mut self, chunk: &[u8]) {
        let Some(frame) = self.frames.last().copied() else {
            return;
        };
        if !self.member.is_dead() {
            self.trail.truncate(frame.trail_length);
            self.trail.member(self.scanner.key(chunk));
        }
    }

    /// The value that was open is over.
    pub(super) fn end(&mut self) {
        if matches!(self.current, Current::Walked)
            && let Some(frame) = self.frames.pop()
        {
            self.trail.truncate(frame.trail_length);
            if frame.apart {
                self.arguments = self.around.pop().unwrap_or_default();
            }
        }
        self.current = Current::Walked;
    }
}
