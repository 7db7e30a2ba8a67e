//! What is in force at the moment and can be replaced while the gateway runs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

/// Something that is replaced as a whole: what files say, or operators. Every request takes one snapshot of it.
#[derive(Debug)]
pub struct Live<T> {
    current: ArcSwap<T>,
    generation: watch::Sender<u64>,
    bells: Mutex<Vec<Arc<Notify>>>,
}

impl<T> Live<T> {
    /// Starts with generation 1.
    pub fn new(first: Arc<T>) -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::new(first),
            generation: watch::Sender::new(1),
            bells: Mutex::default(),
        })
    }

    /// What is in force now.
    pub fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// How many have been in force since the start, this one included.
    pub fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// Wakes when another one comes into force.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Has a bell rung whenever another one comes into force. One bell for several takes less memory than waiting for the
    /// changes of each.
    pub fn rings(&self, bell: &Arc<Notify>) {
        self.bells.lock().push(Arc::clone(bell));
    }

    /// Puts another one into force, and returns its generation.
    pub(crate) fn replace(&self, next: T) -> u64 {
        self.current.store(Arc::new(next));
        self.generation.send_modify(|generation| *generation += 1);
        for bell in &*self.bells.lock() {
            bell.notify_waiters();
        }
        self.generation()
    }
}

#[doc(hidden)]
impl<T> Live<T> {
    /// What a reload does, for the tests of other rooms.
    pub fn replace_in_tests(&self, next: T) {
        self.replace(next);
    }
}
