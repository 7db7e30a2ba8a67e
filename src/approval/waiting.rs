//! Which questions wait for an answer, for whoever measures that: how many, for how long, and what became of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::state::{Approval, State};

/// The questions that are open, with the times at which they were asked and expire. At most as many as may be open.
#[derive(Debug, Default)]
pub struct Waiting(HashMap<Arc<str>, (Timestamp, Timestamp)>);

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Enough people said yes.
    Approved,
    /// Somebody said no.
    Denied,
    /// Nobody answered in time.
    Expired,
    /// Whoever asked took it back.
    Withdrawn,
}

impl Waiting {
    /// Follows one change; says what became of a question that waited, and how long it did.
    pub fn follow(&mut self, approval: &Approval, now: Timestamp) -> Option<(Answered, Duration)> {
        let answered = match approval.state {
            State::Asked => {
                let times = (approval.asked, approval.expires);
                self.0.insert(Arc::from(approval.id.as_str()), times);
                return None;
            }
            State::Approved | State::Used => Answered::Approved,
            State::Denied | State::Revoked => Answered::Denied,
            State::Expired => Answered::Expired,
            State::Withdrawn => Answered::Withdrawn,
        };
        let (asked, expires) = self.0.remove(approval.id.as_str())?;
        let until = if answered == Answered::Expired {
            expires
        } else {
            now
        };
        Some((answered, between(asked, until)))
    }

    /// Lets time pass: how long those waited that nobody answered.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Duration> {
        let mut over = Vec::new();
        self.0.retain(|_, (asked, expires)| {
            let open = *expires > now;
            if !open {
                over.push(between(*asked, *expires));
            }
            open
        });
        over
    }

    /// How many wait.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// For how long the oldest has waited; zero when none does.
    #[must_use]
    pub fn oldest(&self, now: Timestamp) -> Duration {
        let first = self.0.values().map(|(asked, _)| *asked).min();
        first.map_or(Duration::ZERO, |first| between(first, now))
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::grant::tests::given;
    use crate::identity::Identity;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn question(id: &str, asked: i64) -> Approval {
        let mut approval = given(id, "debug", &Identity::for_tests("alice", &[]));
        approval.state = State::Asked;
        (approval.asked, approval.expires) = (at(asked), at(asked + 100));
        approval
    }

    #[test]
    fn what_waits_is_counted_until_it_is_answered_or_over() {
        let mut waiting = Waiting::default();
        for (id, asked) in [("a", 0), ("b", 10), ("c", 20)] {
            assert_eq!(waiting.follow(&question(id, asked), at(asked)), None);
        }
        assert_eq!((waiting.count(), waiting.oldest(at(30)).as_secs()), (3, 30));
        let mut answered = |id: &str, state, second| {
            let approval = Approval {
                state,
                ..question(id, 0)
            };
            let told = waiting.follow(&approval, at(second));
            told.map(|(answered, waited)| (answered, waited.as_secs()))
        };
        assert_eq!(
            answered("a", State::Approved, 40),
            Some((Answered::Approved, 40))
        );
        // What a yes is used for, or taken back, was told before.
        assert_eq!(answered("a", State::Used, 50), None);
        assert_eq!(
            answered("b", State::Denied, 50),
            Some((Answered::Denied, 40))
        );
        assert_eq!(waiting.expire(at(119)).len(), 0);
        assert_eq!(waiting.expire(at(130)), [Duration::from_secs(100)]);
        assert_eq!(
            (waiting.count(), waiting.oldest(at(130))),
            (0, Duration::ZERO)
        );
    }
}
