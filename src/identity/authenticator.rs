//! From a bearer token to an identity: the right issuer, its keys, and a memory of what was verified.

mod cache;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::credential::BearerToken;
use super::error::{IdentityError, TokenError};
use super::keys::{Fetcher, IssuerKeys, Missing};
use super::settings::{IssuerSettings, Settings};
use super::token::Unverified;
use super::{Blocks, Fault, Identity, Revocations};
use crate::config::live::Live;
use crate::limits::TOKEN_CACHE_ENTRIES_MAX;
use cache::{Digest, Entry, TokenCache};

/// Knows the issuers and verifies their tokens.
pub struct Authenticator {
    issuers: Vec<Issuer>,
    cache: TokenCache,
    refused: Refused,
    counters: Counters,
}

/// Who is refused although the issuer vouches for them, as operators say.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Tokens that are no longer believed.
    pub revocations: Arc<Live<Revocations>>,
    /// Callers who are kept out.
    pub blocks: Arc<Live<Blocks>>,
}

impl Refused {
    /// Nobody is.
    #[must_use]
    pub fn nobody() -> Self {
        Self {
            revocations: Live::new(Arc::default()),
            blocks: Live::new(Arc::default()),
        }
    }
}

/// Why an authenticator could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The settings cannot be used.
    #[error("authentication cannot be used as configured: {}", .0.join("; "))]
    Settings(Vec<String>),
    /// An issuer's connection cannot be prepared.
    #[error("issuer {issuer:?}: {problem}")]
    Issuer {
        /// The issuer's URL.
        issuer: String,
        /// What is wrong.
        problem: String,
    },
}

/// What happened so far, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tokens that became an identity, remembered ones included.
    pub accepted: u64,
    /// Genuine tokens that were remembered.
    pub remembered: u64,
    /// Tokens that were refused (401).
    pub refused_tokens: u64,
    /// Genuine tokens whose caller was refused (403).
    pub refused_callers: u64,
    /// Those among them that claimed a `system:` name: worth an alert.
    pub refused_system_names: u64,
    /// Tokens that nothing could be said about (503).
    pub unavailable: u64,
    /// Complete fetches of key sets.
    pub key_fetches: u64,
    /// Those among them that failed.
    pub key_fetches_failed: u64,
}

struct Issuer {
    settings: IssuerSettings,
    keys: Arc<IssuerKeys>,
}

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    remembered: AtomicU64,
    refused_tokens: AtomicU64,
    refused_callers: AtomicU64,
    refused_system_names: AtomicU64,
    unavailable: AtomicU64,
}

impl Authenticator {
    /// Checks the settings and starts to fetch every issuer's keys. It does not wait for them:
    /// until they are there, [`Authenticator::ready`] says so and tokens are refused.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "every room's start takes its own token"
    )]
    pub fn start(
        settings: Settings,
        refused: Refused,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Arc<Self>, StartError> {
        let problems = settings.problems();
        if !problems.is_empty() {
            return Err(StartError::Settings(problems));
        }
        let mut issuers = Vec::with_capacity(settings.issuers.len());
        for settings in settings.issuers {
            let fetcher = Fetcher::new(&settings).map_err(|problem| StartError::Issuer {
                issuer: settings.url.clone(),
                problem,
            })?;
            let keys = Arc::new(IssuerKeys::fetched_by(fetcher, settings.key_timing));
            issuers.push(Issuer { settings, keys });
        }
        Ok(Self::run(issuers, refused, tasks, &shutdown))
    }

    /// Whose token this is, at the time `now`. The error's [`IdentityError::client_message`] is for
    /// the client; its reason is logged here and belongs nowhere else.
    pub async fn identify(
        &self,
        token: &BearerToken,
        now: Timestamp,
    ) -> Result<Arc<Identity>, IdentityError> {
        let digest = digest(token.expose());
        let genuine = match self.remembered(&digest, now) {
            Some(identity) => {
                self.counters.remembered.fetch_add(1, Ordering::Relaxed);
                Ok(identity)
            }
            None => self.verify(token.expose(), digest, now).await,
        };
        let result = genuine.and_then(|identity| {
            if self.refused.revocations.current().revokes(&identity) {
                return Err(IdentityError::Revoked(identity));
            }
            match self.refused.blocks.current().of(&identity, now) {
                Some(block) => Err(IdentityError::Blocked {
                    block: Arc::clone(block),
                    identity,
                }),
                None => Ok(identity),
            }
        });
        self.count(&result);
        result
    }

    /// Resolves when somebody who was let in is shut out: for answers that go on.
    pub async fn shut_out(&self, identity: &Identity) {
        let Refused {
            revocations,
            blocks,
        } = &self.refused;
        let (mut revoked, mut blocked) = (revocations.changes(), blocks.changes());
        loop {
            let is_blocked = blocks.current().of(identity, Timestamp::now()).is_some();
            if is_blocked || revocations.current().revokes(identity) {
                return;
            }
            let changed = tokio::select! {
                changed = revoked.changed() => changed,
                changed = blocked.changed() => changed,
            };
            if changed.is_err() {
                std::future::pending::<()>().await; // nobody is left to change anything
            }
        }
    }

    /// Whether the keys of at least one issuer are there; what is wrong with each otherwise. An
    /// issuer that is down takes only its own callers with it.
    pub fn ready(&self) -> Result<(), String> {
        let problems = self.without_keys();
        if problems.len() < self.issuers.len() {
            return Ok(());
        }
        Err(problems.join("; "))
    }

    /// What is wrong with each issuer whose tokens cannot be verified.
    pub fn without_keys(&self) -> Vec<String> {
        let problem = |Issuer { settings, keys }: &Issuer| {
            let problem = keys.current().err()?;
            let url = &settings.url;
            Some(format!(
                "the keys of issuer {url:?} are not available: {problem}"
            ))
        };
        self.issuers.iter().filter_map(problem).collect()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let fetches = self.issuers.iter().map(|issuer| issuer.keys.fetches());
        let (key_fetches, key_fetches_failed) = fetches.fold((0, 0), |sum, (complete, failed)| {
            (sum.0 + complete, sum.1 + failed)
        });
        Stats {
            accepted: read(&self.counters.accepted),
            remembered: read(&self.counters.remembered),
            refused_tokens: read(&self.counters.refused_tokens),
            refused_callers: read(&self.counters.refused_callers),
            refused_system_names: read(&self.counters.refused_system_names),
            unavailable: read(&self.counters.unavailable),
            key_fetches,
            key_fetches_failed,
        }
    }

    fn run(
        issuers: Vec<Issuer>,
        refused: Refused,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Arc<Self> {
        for Issuer { settings, keys } in &issuers {
            let (keys, url, shutdown) = (Arc::clone(keys), settings.url.clone(), shutdown.clone());
            tasks.spawn(async move { keys.run(&url, shutdown).await });
        }
        Arc::new(Self {
            issuers,
            cache: TokenCache::new(TOKEN_CACHE_ENTRIES_MAX),
            refused,
            counters: Counters::default(),
        })
    }

    /// A remembered identity counts until the token's `exp`, while its issuer's keys are fresh and
    /// still those that verified it.
    fn remembered(&self, digest: &Digest, now: Timestamp) -> Option<Arc<Identity>> {
        let entry = self.cache.get(digest)?;
        let issuer = self.issuers.get(entry.issuer)?;
        let same_keys = issuer
            .keys
            .current()
            .is_ok_and(|loaded| loaded.version == entry.version);
        if now < entry.ends_at && same_keys {
            return Some(entry.identity);
        }
        self.cache.remove(digest);
        None
    }

    async fn verify(
        &self,
        token: &str,
        digest: Digest,
        now: Timestamp,
    ) -> Result<Arc<Identity>, IdentityError> {
        let token = Unverified::parse(token)?;
        let url = token.issuer()?;
        let found = self
            .issuers
            .iter()
            .enumerate()
            .find(|(_, issuer)| issuer.settings.url == url);
        let (index, Issuer { settings, keys }) =
            found.ok_or_else(|| TokenError::unknown_issuer(url))?;
        let (key_id, algorithm) = (token.key_id(), token.algorithm());
        let unknown_key = || TokenError::UnknownKey(key_id.map(str::to_owned));
        let loaded = keys
            .with(key_id, algorithm)
            .await
            .map_err(|missing| match missing {
                Missing::Unknown => unknown_key().into(),
                Missing::Unavailable(reason) => IdentityError::Unavailable {
                    issuer: settings.url.clone(),
                    reason,
                },
            })?;
        let key = loaded
            .keys
            .find(key_id, algorithm)
            .ok_or_else(unknown_key)?;
        let verified = token.verify(key, settings, now)?;
        let identity = Arc::new(verified.identity);
        let entry = Entry {
            identity: Arc::clone(&identity),
            ends_at: verified.ends_at,
            issuer: index,
            version: loaded.version,
        };
        self.cache.insert(digest, entry);
        Ok(identity)
    }

    fn count(&self, result: &Result<Arc<Identity>, IdentityError>) {
        let Err(error) = result else {
            self.counters.accepted.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let counter = match error.fault() {
            Fault::Credential => &self.counters.refused_tokens,
            Fault::Caller => &self.counters.refused_callers,
            Fault::Gateway => &self.counters.unavailable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        match error {
            IdentityError::Caller(caller) if caller.is_alarming() => {
                self.counters
                    .refused_system_names
                    .fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "a genuine token claims a name of Kubernetes itself; look at its issuer");
            }
            _ => tracing::info!(%error, "a caller was not let in"),
        }
    }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let issuers: Vec<&str> = self
            .issuers
            .iter()
            .map(|issuer| issuer.settings.url.as_str())
            .collect();
        formatter
            .debug_struct("Authenticator")
            .field("issuers", &issuers)
            .finish_non_exhaustive()
    }
}

fn digest(token: &str) -> Digest {
    let mut digest = [0; 32];
    let computed = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    for (to, from) in digest.iter_mut().zip(computed.as_ref()) {
        *to = *from;
    }
    digest
}

#[cfg(test)]
mod tests;
