//! What can be worked out ahead of a walk, once for all walks.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;

use parking_lot::RwLock;

use super::{MaskPlan, StateId};

/// What was worked out from a plan, by what it is about. It says nothing that the plan does not.
#[derive(Default)]
pub(super) struct Notes(RwLock<HashMap<usize, Note>>);

type Note = Box<dyn Any + Send + Sync>;

impl StateId {
    /// Its place among all states of its plan.
    pub fn place(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl MaskPlan {
    /// All states that an element of an array in `state` may have.
    pub fn elements(&self, state: StateId) -> impl Iterator<Item = StateId> {
        let elements = self.node(state).map_or(&[][..], |node| &node.elements);
        let nothing = elements.is_empty().then_some(StateId::DEAD);
        elements.iter().copied().chain(nothing)
    }

    /// What follows from all of the plan for `about`, which is never given up: `make` works it out when it is asked for
    /// the first time.
    pub fn note<A, T>(&self, about: &'static A, make: impl FnOnce() -> T) -> T
    where
        T: Any + Clone + Send + Sync,
    {
        let place = std::ptr::from_ref(about).addr();
        let known = |note: &Note| note.downcast_ref::<T>().cloned();
        if let Some(known) = self.notes.0.read().get(&place).and_then(known) {
            return known;
        }
        let made = make();
        self.notes.0.write().insert(place, Box::new(made.clone()));
        made
    }
}

impl Clone for Notes {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Eq for Notes {}

impl PartialEq for Notes {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Notes(..)")
    }
}
