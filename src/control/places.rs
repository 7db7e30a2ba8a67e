//! Places for what lasts, so many in all and so many for one person: nobody has all of them.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::identity::Identity;

/// Who has places, and how many.
#[derive(Clone, Debug)]
pub(super) struct Places {
    taken: Arc<Mutex<HashMap<String, usize>>>,
    most: usize,
    most_each: usize,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    who: String,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// All are taken.
    All,
    /// As many as one person may have.
    Own,
}

impl Places {
    pub(super) fn new(most: usize, most_each: usize) -> Self {
        Self {
            taken: Arc::default(),
            most,
            most_each,
        }
    }

    /// A place for somebody, if there is one; all who come through the socket are one.
    pub(super) fn admit(&self, identity: Option<&Identity>) -> Result<Place, Taken> {
        let who = identity.map(|identity| format!("{} {}", identity.issuer(), identity.subject()));
        let who = who.unwrap_or_default();
        let mut taken = self.taken.lock();
        if taken.values().sum::<usize>() >= self.most {
            return Err(Taken::All);
        }
        let own = taken.get(&who).copied().unwrap_or_default();
        if own >= self.most_each {
            return Err(Taken::Own);
        }
        taken.insert(who.clone(), own + 1);
        drop(taken);
        Ok(Place {
            places: self.clone(),
            who,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
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

    #[test]
    fn nobody_takes_every_place_and_places_come_back() {
        let places = Places::new(32, 4);
        let admit = |name: &str| places.admit(Some(&Identity::for_tests(name, &[])));
        let greedy: Vec<Place> = (0..100).filter_map(|_| admit("mallory").ok()).collect();
        assert_eq!(greedy.len(), 4);
        assert_eq!(admit("mallory").unwrap_err(), Taken::Own);
        let local: Vec<Place> = (0..100).filter_map(|_| places.admit(None).ok()).collect();
        assert_eq!(local.len(), 4);
        let others: Vec<Place> = (0..100)
            .filter_map(|number| admit(&format!("user-{number}")).ok())
            .collect();
        assert_eq!(others.len() + greedy.len() + local.len(), 32);
        assert_eq!(admit("carol").unwrap_err(), Taken::All);
        drop(greedy);
        assert!(admit("carol").is_ok());
        drop((others, local));
        assert!(places.taken.lock().is_empty());
    }
}
