//! The current keys of one issuer, kept fresh by one task.
//!
//! ```text
//!            first fetch fails: retry, 1 s to 1 min          no success for `stale_max`
//!   ┌──────┐ ───────────────────────────────┐      ┌───────┐ ─────────────────────────▶ ┌───────┐
//!   │ none │ ◀──────────────────────────────┘      │ fresh │                            │ stale │
//!   └──────┘ ─────────── success ────────────────▶ └───────┘ ◀──────── success ──────── └───────┘
//! ```
//!
//! Without fresh keys the issuer's tokens are refused, and only this issuer's. Fetches happen one
//! at a time, regularly and, at most once per `refetch_pause`, because a token names an unknown key.

mod fetch;
pub(super) mod key_set;

pub(crate) use fetch::{check_authority, tls_config};

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::settings::{KeyTiming, SigningAlgorithm};
use crate::limits::UNKNOWN_KEY_IDS_MAX;
use fetch::Fetched;
pub(super) use fetch::Fetcher;
use key_set::KeySet;

/// The first pause after a failed fetch; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest pause after failed fetches.
const RETRY_MAX: Duration = Duration::from_mins(1);
/// For how many pauses a key that was sought in vain is not sought again. Not for ever: whoever
/// guesses the id of a key before it is published must not keep it unknown.
const UNKNOWN_PAUSES: u32 = 4;

/// Fetches the keys; the argument asks for the discovery document as well.
pub(super) type Fetch =
    Box<dyn Fn(bool) -> Pin<Box<dyn Future<Output = Fetched> + Send>> + Send + Sync>;

/// One issuer's keys.
pub(super) struct IssuerKeys {
    timing: KeyTiming,
    fetch: Fetch,
    current: ArcSwapOption<Loaded>,
    failure: Mutex<Option<String>>,
    schedule: Mutex<Schedule>,
    /// An unknown key id asks the task for a fetch.
    wanted: Notify,
    /// How many fetches are complete.
    completed: watch::Sender<u64>,
    failed: AtomicU64,
}

/// Keys that were fetched.
pub(super) struct Loaded {
    pub(super) keys: KeySet,
    /// Counts the changes of the key set: what was verified with another version is void.
    pub(super) version: u64,
    fetched_at: Instant,
}

/// Why a key is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The issuer does not have it.
    Unknown,
    /// Nobody knows: there are no keys, or only stale ones.
    Unavailable(String),
}

#[derive(Default)]
struct Schedule {
    started: u64,
    requested: bool,
    refetched_at: Option<Instant>,
    /// When a key id was sought in vain.
    unknown: HashMap<Option<String>, Instant>,
}

impl IssuerKeys {
    pub(super) fn new(timing: KeyTiming, fetch: Fetch) -> Self {
        Self {
            timing,
            fetch,
            current: ArcSwapOption::empty(),
            failure: Mutex::new(None),
            schedule: Mutex::default(),
            wanted: Notify::new(),
            completed: watch::Sender::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Keys that are fetched by `fetcher`.
    pub(super) fn fetched_by(fetcher: Fetcher, timing: KeyTiming) -> Self {
        let fetcher = Arc::new(fetcher);
        let fetch: Fetch = Box::new(move |rediscover| {
            let fetcher = Arc::clone(&fetcher);
            Box::pin(async move { fetcher.fetch(rediscover).await })
        });
        Self::new(timing, fetch)
    }

    /// The keys, unless there are none or they are stale.
    pub(super) fn current(&self) -> Result<Arc<Loaded>, String> {
        let failure = || {
            self.failure
                .lock()
                .clone()
                .unwrap_or_else(|| "no fetch is complete yet".to_owned())
        };
        match self.current.load_full() {
            None => Err(failure()),
            Some(loaded) if loaded.fetched_at.elapsed() >= self.timing.stale_max => {
                Err(format!("the last good keys are too old; {}", failure()))
            }
            Some(loaded) => Ok(loaded),
        }
    }

    /// Keys among which is the one that a token names; an unknown name may cause one fetch.
    pub(super) async fn with(
        &self,
        key_id: Option<&str>,
        algorithm: SigningAlgorithm,
    ) -> Result<Arc<Loaded>, Missing> {
        if *self.completed.borrow() == 0 {
            self.wait_for(1).await;
        }
        let loaded = self.current().map_err(Missing::Unavailable)?;
        if loaded.keys.find(key_id, algorithm).is_some() {
            return Ok(loaded);
        }
        let Some(fetch) = self.request(key_id) else {
            return Err(Missing::Unknown);
        };
        self.wait_for(fetch).await;
        let loaded = self.current().map_err(Missing::Unavailable)?;
        if loaded.keys.find(key_id, algorithm).is_some() {
            return Ok(loaded);
        }
        let mut schedule = self.schedule.lock();
        let remembered = self.timing.refetch_pause * UNKNOWN_PAUSES;
        schedule
            .unknown
            .retain(|_, since| since.elapsed() < remembered);
        if schedule.unknown.len() < UNKNOWN_KEY_IDS_MAX {
            schedule
                .unknown
                .insert(key_id.map(str::to_owned), Instant::now());
        }
        Err(Missing::Unknown)
    }

    /// How many fetches are complete, and how many of them failed.
    pub(super) fn fetches(&self) -> (u64, u64) {
        (
            *self.completed.borrow(),
            self.failed.load(Ordering::Relaxed),
        )
    }

    /// Keeps the keys fresh until `shutdown`.
    pub(super) async fn run(&self, issuer: &str, shutdown: CancellationToken) {
        let mut next = Instant::now();
        let mut retry = RETRY_MIN;
        loop {
            let regular = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep_until(next) => true,
                () = self.wanted.notified() => false,
            };
            if !self.begin(regular) {
                continue;
            }
            let fetched = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                fetched = (self.fetch)(regular) => fetched,
            };
            match fetched {
                Ok((keys, left_out)) => {
                    self.store(keys, &left_out, issuer);
                    next = Instant::now() + self.timing.refresh;
                    retry = RETRY_MIN;
                }
                Err(reason) => {
                    tracing::warn!(issuer, reason, "the issuer's keys could not be fetched");
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    *self.failure.lock() = Some(reason);
                    let again = Instant::now() + retry.min(self.timing.refresh);
                    next = if regular { again } else { next.min(again) };
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
            self.completed.send_modify(|completed| *completed += 1);
        }
    }

    /// Counts a fetch as started; a wish that another fetch fulfilled meanwhile starts none.
    fn begin(&self, regular: bool) -> bool {
        let mut schedule = self.schedule.lock();
        let wanted = std::mem::take(&mut schedule.requested);
        schedule.started += u64::from(regular || wanted);
        regular || wanted
    }

    fn store(&self, keys: KeySet, left_out: &[String], issuer: &str) {
        let before = self.current.load_full();
        let same = before.as_ref().is_some_and(|before| before.keys == keys);
        let version = before.map_or(0, |before| before.version) + u64::from(!same);
        if !same {
            tracing::info!(issuer, version, "the issuer's keys are new");
            for reason in left_out {
                tracing::warn!(issuer, reason, "a key of the issuer is not used");
            }
            self.schedule.lock().unknown.clear();
        }
        *self.failure.lock() = None;
        self.current.store(Some(Arc::new(Loaded {
            keys,
            version,
            fetched_at: Instant::now(),
        })));
    }

    /// The number of the fetch that may bring an unknown key: the one under way, or a new one if
    /// this key was not sought in vain and the last such fetch is long enough ago.
    fn request(&self, key_id: Option<&str>) -> Option<u64> {
        let mut schedule = self.schedule.lock();
        let completed = *self.completed.borrow();
        if schedule.started > completed || schedule.requested {
            return Some(schedule.started.max(completed + 1));
        }
        let in_vain = schedule
            .unknown
            .get(&key_id.map(str::to_owned))
            .is_some_and(|since| since.elapsed() < self.timing.refetch_pause * UNKNOWN_PAUSES);
        let paused = schedule
            .refetched_at
            .is_some_and(|at| at.elapsed() < self.timing.refetch_pause);
        if paused || in_vain {
            return None;
        }
        schedule.refetched_at = Some(Instant::now());
        schedule.requested = true;
        self.wanted.notify_one();
        Some(completed + 1)
    }

    /// Waits until that many fetches are complete; a task that ended never completes one.
    async fn wait_for(&self, number: u64) {
        let mut completed = self.completed.subscribe();
        let reached = completed.wait_for(|completed| *completed >= number);
        // A fetch is two documents, each within the timeout.
        let limit = self.timing.fetch_timeout * 2 + Duration::from_secs(1);
        drop(tokio::time::timeout(limit, reached).await);
    }
}

#[cfg(test)]
mod tests;
