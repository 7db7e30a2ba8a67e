//! Who has called lately, and what they have open.
//!
//! A caller is an account (issuer and subject) and the agent that acts for it, if any: whatever name somebody gives
//! themselves, what they did stays theirs. The table is bounded. Where it is full only those are forgotten who have
//! nothing open and have not called for longer than anything is counted for; so nobody is forgotten early, and whoever
//! fills it with callers of their own makes room for no new beginning. Who does not fit shares one place with all others
//! who do not: they are counted together, which refuses them sooner and never later.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::spending::{Spending, Used};
use crate::identity::{Identity, Subject};
use crate::limits;
use crate::policy::Allowance;

/// The callers. Several locks, each over its own part of them.
#[derive(Debug)]
pub struct Table {
    shards: Vec<Mutex<HashMap<Key, Arc<Caller>>>>,
    /// Keyed anew in every process: nobody can aim at one shard.
    hasher: RandomState,
    others: Arc<Caller>,
}

/// Who a caller is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The human's or the workload's account.
    pub subject: Subject,
    /// The agent that acts for them.
    pub agent: Option<String>,
}

/// One caller.
#[derive(Debug)]
pub struct Caller {
    /// `None` for all those together who do not fit.
    key: Option<Key>,
    streams: AtomicUsize,
    sessions: AtomicUsize,
    lately: Mutex<Lately>,
}

#[derive(Debug)]
struct Lately {
    user: String,
    last: Option<Timestamp>,
    /// The same on the clock that is never set.
    seen: Duration,
    spending: Spending,
    /// Under which the last request came.
    allowance: Arc<Allowance>,
}

/// What a caller does, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Who it is; `None` for all those together who did not fit.
    pub key: Option<Key>,
    /// The name in their last token.
    pub user: String,
    /// Open watches and logs.
    pub streams: usize,
    /// Open sessions.
    pub sessions: usize,
    /// Requests in the last minute.
    pub requests: u64,
    /// How much of their budgets is used.
    pub used: Vec<Used>,
    /// When the last one came.
    pub last: Option<Timestamp>,
    /// How long ago that is, on the clock that is never set.
    pub idle: Duration,
}

/// Something that a caller has open, as long as it lives.
#[derive(Debug)]
pub struct Open {
    caller: Arc<Caller>,
    session: bool,
}

impl Default for Table {
    fn default() -> Self {
        let shards = (0..limits::CALLER_SHARDS).map(|_| Mutex::default());
        Self {
            shards: shards.collect(),
            hasher: RandomState::new(),
            others: Arc::new(Caller::new(None)),
        }
    }
}

impl Table {
    /// Takes note of a request of a caller, at a moment on both clocks.
    pub fn arrived(
        &self,
        identity: &Identity,
        allowance: &Arc<Allowance>,
        (at, now): (Timestamp, Duration),
    ) -> Arc<Caller> {
        let caller = self.caller(identity, now);
        let mut lately = caller.lately.lock();
        if lately.user != identity.username() {
            identity.username().clone_into(&mut lately.user);
        }
        lately.last = Some(at);
        lately.seen = lately.seen.max(now);
        lately.allowance = Arc::clone(allowance);
        drop(lately);
        caller
    }

    /// Everybody, in no order.
    pub fn list(&self, now: Duration) -> Vec<Activity> {
        let mut all: Vec<Arc<Caller>> = Vec::new();
        for shard in &self.shards {
            all.extend(shard.lock().values().cloned());
        }
        let others = self.others.activity(now);
        let shared = others.last.is_some().then_some(others);
        all.iter()
            .map(|caller| caller.activity(now))
            .chain(shared)
            .collect()
    }

    fn caller(&self, identity: &Identity, now: Duration) -> Arc<Caller> {
        let key = Key::of(identity);
        let count = self.shards.len() as u64;
        let at = usize::try_from(self.hasher.hash_one(&key) % count.max(1)).unwrap_or_default();
        let Some(shard) = self.shards.get(at) else {
            return Arc::clone(&self.others);
        };
        let mut shard = shard.lock();
        if let Some(caller) = shard.get(&key) {
            return Arc::clone(caller);
        }
        if shard.len() >= limits::CALLERS_PER_SHARD_MAX {
            shard.retain(|_, caller| !caller.is_forgettable(now));
        }
        if shard.len() >= limits::CALLERS_PER_SHARD_MAX {
            return Arc::clone(&self.others);
        }
        let caller = Arc::new(Caller::new(Some(key.clone())));
        shard.insert(key, Arc::clone(&caller));
        caller
    }
}

impl Key {
    fn of(identity: &Identity) -> Self {
        Self {
            subject: Subject {
                issuer: identity.issuer().to_owned(),
                subject: identity.subject().to_owned(),
            },
            agent: identity.agent().map(|agent| agent.name.clone()),
        }
    }
}

impl Caller {
    fn new(key: Option<Key>) -> Self {
        Self {
            key,
            streams: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            lately: Mutex::new(Lately {
                user: String::new(),
                last: None,
                seen: Duration::ZERO,
                spending: Spending::default(),
                allowance: Arc::default(),
            }),
        }
    }

    /// Does something with what they have used, and remembers them for it.
    pub(super) fn spends<T>(
        &self,
        now: Duration,
        spend: impl FnOnce(&mut Spending, Duration) -> T,
    ) -> T {
        let mut lately = self.lately.lock();
        lately.seen = lately.seen.max(now);
        spend(&mut lately.spending, now)
    }

    /// Counts a stream or a session as open until what is returned is dropped.
    pub fn opens(self: &Arc<Self>, session: bool) -> Open {
        self.open(session).fetch_add(1, Ordering::Relaxed);
        Open {
            caller: Arc::clone(self),
            session,
        }
    }

    fn open(&self, session: bool) -> &AtomicUsize {
        if session {
            &self.sessions
        } else {
            &self.streams
        }
    }

    /// Whether everything that is counted of it has left every window. Who still holds the caller is about to count.
    fn is_forgettable(self: &Arc<Self>, now: Duration) -> bool {
        Arc::strong_count(self) == 1
            && now.saturating_sub(self.lately.lock().seen) > limits::CALLER_REMEMBERED
    }

    fn activity(&self, now: Duration) -> Activity {
        let mut lately = self.lately.lock();
        let lately = &mut *lately;
        Activity {
            key: self.key.clone(),
            user: lately.user.clone(),
            streams: self.streams.load(Ordering::Relaxed),
            sessions: self.sessions.load(Ordering::Relaxed),
            requests: lately.spending.requests(now),
            used: lately.spending.used(&lately.allowance, now),
            last: lately.last,
            idle: now.saturating_sub(lately.seen),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.caller
            .open(self.session)
            .fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::UNIX_EPOCH;

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A request that is let through.
    fn asks(table: &Table, identity: &Identity, now: Duration) -> Arc<Caller> {
        let none = Arc::default();
        let caller = table.arrived(identity, &none, (NOON, now));
        let said = caller.spends(now, |spending, now| spending.request(&none, now));
        said.unwrap();
        caller
    }

    fn named(number: usize) -> Identity {
        Identity::for_tests(&format!("user-{number}"), &[])
    }

    #[test]
    fn an_agent_is_a_caller_of_its_own_and_a_new_name_is_none() {
        let table = Table::default();
        let alice = Identity::for_tests("alice", &[]);
        let bot = alice.clone().with_agent("bot", &[]);
        asks(&table, &alice, second(1));
        asks(&table, &bot, second(1));
        let caller = asks(&table, &bot, second(2));
        let (watch, shell) = (caller.opens(false), caller.opens(true));
        let mut list = table.list(second(3));
        list.sort_by_key(|activity| activity.requests);
        let open: Vec<_> = list
            .iter()
            .map(|of| (of.requests, of.streams, of.sessions))
            .collect();
        assert_eq!(open, [(1, 0, 0), (2, 1, 1)]);
        drop((watch, shell));
        assert!(
            table
                .list(second(3))
                .iter()
                .all(|of| of.streams + of.sessions == 0)
        );
        assert!(table.list(second(100)).iter().all(|of| of.requests == 0));
    }

    #[test]
    fn a_full_table_forgets_nobody_who_could_gain_by_it() {
        let table = Table::default();
        let size = limits::CALLER_SHARDS * limits::CALLERS_PER_SHARD_MAX;
        let waits = asks(&table, &named(0), second(0)).opens(false);
        // More than fit: whoever came first is still there, the last ones share a place.
        for number in 1..2 * size {
            asks(&table, &named(number), second(1));
        }
        let list = table.list(second(2));
        assert!(list.len() <= size + 1, "{}", list.len());
        let shared = list.iter().find(|of| of.key.is_none()).unwrap();
        assert!(shared.requests > 0);
        assert!(
            list.iter()
                .any(|of| of.user == "user-0" && of.requests == 1)
        );
        let kept = list.iter().filter(|of| of.key.is_some()).count();
        let in_all: u64 = list.iter().map(|of| of.requests).sum();
        assert_eq!(in_all, 2 * size as u64);
        assert!(kept > size / 2);
        // Later all are, but for whoever has something open.
        let later = second(2) + limits::CALLER_REMEMBERED;
        for number in 2 * size..3 * size {
            asks(&table, &named(number), later);
        }
        let list = table.list(later);
        assert!(list.iter().any(|of| of.user == "user-0" && of.streams == 1));
        assert!(list.len() <= size + 1);
        drop(waits);
    }
}
