//! The containers of a node, by pod and name.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::pod::{Container, PodRef};
use super::shell::Machine;
use super::shell::fs::Budget;

/// Most containers a node remembers; the oldest is forgotten first.
const LIMIT: usize = 2000;

/// Containers that somebody has looked into.
#[derive(Debug)]
pub(super) struct Machines {
    all: HashMap<(String, String), Arc<Machine>>,
    order: VecDeque<(String, String)>,
    budget: Arc<Budget>,
}

impl Machines {
    pub(super) fn new(memory: u64) -> Self {
        Self {
            all: HashMap::new(),
            order: VecDeque::new(),
            budget: Budget::new(memory),
        }
    }

    /// The container, as it was left by whoever was there before.
    pub(super) fn get(&mut self, pod: &PodRef, container: &Container) -> Arc<Machine> {
        let key = (pod.key(), container.name.clone());
        if let Some(machine) = self.all.get(&key) {
            return Arc::clone(machine);
        }
        if self.order.len() >= LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
        let machine = Machine::new(
            Arc::clone(&self.budget),
            &pod.namespace,
            &pod.name,
            container,
        );
        let machine = Arc::new(machine);
        self.order.push_back(key.clone());
        self.all.insert(key, Arc::clone(&machine));
        machine
    }

    pub(super) fn forget(&mut self, pod: &PodRef) {
        let gone = pod.key();
        self.all.retain(|(pod, _), _| *pod != gone);
        self.order.retain(|(pod, _)| *pod != gone);
    }
}
