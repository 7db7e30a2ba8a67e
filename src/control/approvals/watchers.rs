//! Places for those who watch approvals. Everybody with a token may, so nobody has all of them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Visitor;
use crate::gateway::refuse::Refusal;
use crate::limits;

/// Who watches, and how often at the same time.
#[derive(Clone, Debug, Default)]
pub struct Watchers(Arc<Mutex<HashMap<String, usize>>>);

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    watchers: Watchers,
    who: String,
}

impl Watchers {
    /// A place for somebody, if there is one.
    pub(super) fn admit(&self, visitor: &Visitor) -> Result<Place, Refusal> {
        let who = match visitor {
            Visitor::Local => String::new(),
            Visitor::Known { identity, .. } => {
                format!("{} {}", identity.issuer(), identity.subject())
            }
        };
        let mut taken = self.0.lock();
        if taken.values().sum::<usize>() >= limits::APPROVALS_WATCHERS_MAX {
            return Err(Refusal::too_many(
                "too many people watch approvals here; list them instead, or try again later",
            ));
        }
        let own = taken.entry(who.clone()).or_default();
        if *own >= limits::APPROVALS_WATCHERS_PER_PERSON_MAX {
            return Err(Refusal::too_many(
                "you watch approvals so many times already; end one of them, or list them instead",
            ));
        }
        *own += 1;
        drop(taken);
        Ok(Place {
            watchers: self.clone(),
            who,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.watchers.0.lock();
        if let Some(own) = taken.get_mut(&self.who) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::Person;
    use crate::identity::Identity;

    fn visitor(name: &str) -> Visitor {
        let identity = Arc::new(Identity::for_tests(name, &[]));
        Visitor::Known {
            person: Box::new(Person::from(&*identity)),
            operator: false,
            identity,
        }
    }

    #[test]
    fn nobody_takes_every_place_and_places_come_back() {
        let watchers = Watchers::default();
        let greedy: Vec<Place> = (0..100)
            .filter_map(|_| watchers.admit(&visitor("mallory")).ok())
            .collect();
        assert_eq!(greedy.len(), limits::APPROVALS_WATCHERS_PER_PERSON_MAX);
        let others: Vec<Place> = (0..100)
            .filter_map(|number| watchers.admit(&visitor(&format!("user-{number}"))).ok())
            .collect();
        assert_eq!(others.len() + greedy.len(), limits::APPROVALS_WATCHERS_MAX);
        drop(greedy);
        assert!(watchers.admit(&visitor("carol")).is_ok());
        drop(others);
        assert!(watchers.0.lock().is_empty());
    }
}
