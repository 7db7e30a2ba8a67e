//! Who is logged in: a bounded table, in memory only. A browser has a random id of 256 bits and nothing else.
//!
//! The table keeps the token that somebody logged in with. Every request is judged by that token anew, by the same
//! code as a request of kubectl: so a session ends with its token, with a revocation and with a block.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::identity::client::login::{NoRandomNumbers, random_text};
use crate::identity::{BearerToken, Identity};
use crate::limits;

/// The sessions of the console.
#[derive(Default)]
pub(super) struct Visits(Mutex<HashMap<Key, Visit>>);

/// The digest of an id: what leaks from the table's memory logs nobody in.
type Key = Vec<u8>;

/// One browser that somebody is logged in with.
#[derive(Clone)]
struct Visit {
    pass: Pass,
    issuer: String,
    subject: String,
    /// When its person last did something.
    seen: Timestamp,
    /// When it is over at the latest.
    ends: Timestamp,
    /// Ends what it has open.
    _end: Arc<tokio_util::sync::DropGuard>,
}

/// What a session is good for.
#[derive(Clone)]
pub(super) struct Pass {
    /// What it was begun with.
    pub(super) token: BearerToken,
    /// What every form of it must bring.
    pub(super) csrf: Arc<str>,
    /// Cancelled when it is over.
    pub(super) over: CancellationToken,
}

/// Why nobody can log in.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum NotBegun {
    /// Too many people are.
    #[error("too many people are logged in; try again later")]
    Full,
    /// There is no id to give.
    #[error(transparent)]
    Random(#[from] NoRandomNumbers),
}

impl Visits {
    /// Begins a session for whoever has shown this token; returns its id, which nobody has had before.
    pub(super) fn begin(
        &self,
        token: BearerToken,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<String, NotBegun> {
        let (id, csrf) = (random_text()?, random_text()?);
        let over = CancellationToken::new();
        let latest = later(now, limits::CONSOLE_SESSION_LIFETIME_MAX);
        let visit = Visit {
            pass: Pass {
                token,
                csrf: csrf.into(),
                over: over.clone(),
            },
            issuer: identity.issuer().to_owned(),
            subject: identity.subject().to_owned(),
            seen: now,
            ends: latest.min(identity.expires_at()),
            _end: Arc::new(over.drop_guard()),
        };
        let mut visits = self.0.lock();
        visits.retain(|_, visit| visit.lasts(now));
        let own =
            |other: &Visit| (&other.issuer, &other.subject) == (&visit.issuer, &visit.subject);
        let theirs = visits.iter().filter(|(_, other)| own(other));
        let mut theirs: Vec<(Timestamp, Key)> = theirs
            .map(|(key, other)| (other.seen, key.clone()))
            .collect();
        theirs.sort();
        let most = limits::CONSOLE_SESSIONS_PER_PERSON_MAX - 1;
        let spare = theirs.len().saturating_sub(most);
        for (_, key) in theirs.iter().take(spare) {
            visits.remove(key);
        }
        if visits.len() >= limits::CONSOLE_SESSIONS_MAX {
            return Err(NotBegun::Full);
        }
        visits.insert(key(&id), visit);
        Ok(id)
    }

    /// The session with this id, if it goes on. `by_hand` says that a person did something, and not their page.
    pub(super) fn look(&self, id: &str, now: Timestamp, by_hand: bool) -> Option<Pass> {
        let mut visits = self.0.lock();
        let key = key(id);
        let visit = visits.get_mut(&key)?;
        if !visit.lasts(now) {
            visits.remove(&key);
            return None;
        }
        if by_hand {
            visit.seen = now;
        }
        Some(visit.pass.clone())
    }

    /// Ends the session with this id.
    pub(super) fn end(&self, id: &str) {
        self.0.lock().remove(&key(id));
    }

    /// Ends every session whose time is over, and with it the pages that it still has open.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.0.lock().retain(|_, visit| visit.lasts(now));
    }
}

impl Visit {
    fn lasts(&self, now: Timestamp) -> bool {
        now < self.ends && now < later(self.seen, limits::CONSOLE_IDLE_MAX)
    }
}

fn key(id: &str) -> Key {
    digest(&SHA256, id.as_bytes()).as_ref().to_vec()
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn token() -> BearerToken {
        BearerToken::new("a.b.c").unwrap()
    }

    fn seconds(length: Duration) -> i64 {
        i64::try_from(length.as_secs()).unwrap()
    }

    #[test]
    fn a_session_ends_with_its_token_with_idleness_and_with_age() {
        let visits = Visits::default();
        let identity = Identity::for_tests("carol", &[]).expiring(at(100));
        let id = visits.begin(token(), &identity, at(0)).unwrap();
        let over = visits.look(&id, at(99), true).unwrap().over;
        assert!(visits.look(&id, at(100), true).is_none());
        assert!(over.is_cancelled(), "what it had open ends");

        let identity = Identity::for_tests("carol", &[]);
        let idle = seconds(limits::CONSOLE_IDLE_MAX);
        let id = visits.begin(token(), &identity, at(0)).unwrap();
        assert!(visits.look(&id, at(idle - 1), false).is_some());
        assert!(
            visits.look(&id, at(idle), false).is_none(),
            "what a page does by itself keeps nobody logged in"
        );

        let id = visits.begin(token(), &identity, at(0)).unwrap();
        let most = seconds(limits::CONSOLE_SESSION_LIFETIME_MAX);
        for now in (0..most).step_by(60) {
            assert!(visits.look(&id, at(now), true).is_some(), "{now}");
        }
        assert!(visits.look(&id, at(most), true).is_none());
    }

    #[test]
    fn logging_out_ends_what_is_open_and_sweeping_what_is_over() {
        let visits = Visits::default();
        let identity = Identity::for_tests("carol", &[]).expiring(at(100));
        let [one, other] = [(); 2].map(|()| visits.begin(token(), &identity, at(0)).unwrap());
        let [over, stays] = [&one, &other].map(|id| visits.look(id, at(1), true).unwrap().over);
        visits.end(&one);
        assert!(over.is_cancelled() && !stays.is_cancelled());
        assert!(visits.look(&one, at(1), true).is_none());
        visits.sweep(at(100));
        assert!(stays.is_cancelled());
    }

    #[test]
    fn an_id_is_never_taken_from_a_browser_and_one_person_has_a_few() {
        let visits = Visits::default();
        let carol = Identity::for_tests("carol", &[]);
        assert!(visits.look("chosen-by-an-attacker", at(0), true).is_none());
        let dave = visits
            .begin(token(), &Identity::for_tests("dave", &[]), at(0))
            .unwrap();
        let ids: Vec<String> = (0..20)
            .map(|second| visits.begin(token(), &carol, at(second)).unwrap())
            .collect();
        let open = ids
            .iter()
            .filter(|id| visits.look(id, at(30), false).is_some());
        assert_eq!(open.count(), limits::CONSOLE_SESSIONS_PER_PERSON_MAX);
        assert!(visits.look(&ids[0], at(30), false).is_none(), "the oldest");
        assert!(visits.look(&dave, at(30), false).is_some());
        let csrf: std::collections::BTreeSet<Arc<str>> = ids
            .iter()
            .filter_map(|id| visits.look(id, at(30), false))
            .map(|pass| pass.csrf)
            .collect();
        assert_eq!(csrf.len(), limits::CONSOLE_SESSIONS_PER_PERSON_MAX);
    }

    #[test]
    fn the_table_is_bounded() {
        let visits = Visits::default();
        for number in 0..limits::CONSOLE_SESSIONS_MAX {
            let somebody = Identity::for_tests(&format!("user-{number}"), &[]);
            visits.begin(token(), &somebody, at(0)).unwrap();
        }
        let late = visits.begin(token(), &Identity::for_tests("late", &[]), at(1));
        assert!(matches!(late, Err(NotBegun::Full)));
    }
}
