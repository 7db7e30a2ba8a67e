//! How many bytes of request bodies are held at one time, by everybody and by one caller.
//!
//! A body must be whole before it is checked for placeholders. Without a budget a caller could open
//! hundreds of streams and fill the memory with bodies that never end (threats D-02, D-07).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::gateway::refuse::Refusal;
use crate::limits;

/// The budget of a gateway. Cheap to clone.
#[derive(Clone, Default)]
pub struct BodyBudget(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    bytes: usize,
    by_caller: HashMap<String, usize>,
}

/// A part of the budget; given back when dropped.
pub struct Share {
    budget: BodyBudget,
    caller: String,
    bytes: usize,
}

impl BodyBudget {
    /// Takes `bytes` for a body of `caller`, or refuses with 429 and when to come back.
    pub fn take(&self, caller: &str, bytes: usize) -> Result<Share, Refusal> {
        let mut held = self.0.lock();
        let own = held.by_caller.get(caller).copied().unwrap_or_default();
        if own + bytes > limits::REQUEST_BODIES_BYTES_PER_CALLER_MAX {
            return Err(Refusal::too_many(
                "you have too many request bodies under way; let some of them finish and send this one again",
            ));
        }
        if held.bytes + bytes > limits::REQUEST_BODIES_BYTES_MAX {
            return Err(Refusal::too_many(
                "the gateway holds too many request bodies; send this one again in a moment",
            ));
        }
        held.bytes += bytes;
        held.by_caller.insert(caller.to_owned(), own + bytes);
        drop(held);
        Ok(Share {
            budget: self.clone(),
            caller: caller.to_owned(),
            bytes,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.budget.0.lock();
        held.bytes = held.bytes.saturating_sub(self.bytes);
        if let Some(own) = held.by_caller.get_mut(&self.caller) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                held.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d_02_one_caller_cannot_take_everything_and_everybody_not_more_than_there_is() {
        let budget = BodyBudget::default();
        let one = limits::REQUEST_BODIES_BYTES_PER_CALLER_MAX;
        let share = budget.take("alice", one).unwrap();
        let refusal = budget.take("alice", 1).err().unwrap();
        assert_eq!(refusal.code(), 429);
        let mut others = Vec::new();
        for caller in 1..limits::REQUEST_BODIES_BYTES_MAX / one {
            others.push(budget.take(&format!("caller-{caller}"), one).unwrap());
        }
        assert!(budget.take("late", one).is_err());
        drop(share);
        assert!(budget.take("late", one).is_ok());
        drop(others);
        assert_eq!(budget.0.lock().bytes, 0);
        assert!(budget.0.lock().by_caller.is_empty());
    }
}
