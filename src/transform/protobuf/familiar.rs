//! Messages that passed before. Many hold the same, in the Pods of one workload and in the events of one Pod: what was looked
//! through once, and had nothing to mask in it, is known by its bytes when it comes again.

use super::routes::{Step, address};
use crate::limits::FAMILIAR_CONTAINER_BYTES_MAX;
use crate::policy::mask::StateId;
use crate::transform::json::familiar::memory::{Key, Memory};

/// The memory of one stream; none before something has passed.
#[derive(Default)]
pub(super) struct Familiar(Option<Box<Memory<Place>>>);

/// Where a message stands. All else that is thought of it depends on its bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Place {
    state: StateId,
    /// The address of what the table says of it: fields of several are met in one state.
    message: usize,
    /// It is an element, whose own state depends on what it holds; this one is the array's.
    element: bool,
}

/// A message that may be remembered.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    place: Place,
    key: Key,
}

impl Familiar {
    /// What is asked for, if a message of this step may be among them.
    pub(super) fn candidate(step: Step, element: bool, message: &[u8]) -> Option<Candidate> {
        let kind = step.message?;
        if message.is_empty() || message.len() > FAMILIAR_CONTAINER_BYTES_MAX {
            return None;
        }
        let place = Place {
            state: step.next,
            message: address(kind),
            element,
        };
        let key = Key::of(message);
        Some(Candidate { place, key })
    }

    /// Whether this very message passed there before.
    pub(super) fn has(&self, candidate: Candidate, message: &[u8]) -> bool {
        let Candidate { place, key } = candidate;
        let known = self
            .0
            .as_ref()
            .and_then(|memory| memory.begins(place, key, message));
        known == Some(message.len())
    }

    /// How many bytes are remembered.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |memory| memory.bytes())
    }

    /// It passed.
    pub(super) fn learn(&mut self, candidate: Candidate, message: &[u8]) {
        let memory = self.0.get_or_insert_default();
        memory.learn(candidate.place, candidate.key, message);
    }
}
