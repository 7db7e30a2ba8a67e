//! Learns which values are secret: reads the Secrets of one cluster with the gateway's credential, and
//! follows them.
//!
//! ```text
//! list, page by page -> everything is known -> watch --(ended)--> watch
//!   ^                                            |
//!   '------(too old, or broken: after a pause)---'
//! ```
//!
//! What was known stays known while the API server cannot be reached. Without a watch nothing is read: what
//! passed in answers is all that is known, and all that is left to do is to make indexes of it.

use std::collections::HashSet;
use std::sync::Arc;

use thiserror::Error;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::config::live::Live;
use crate::limits::{KNOWN_VALUES_RENEW_PAUSE, KNOWN_VALUES_RETRY_MAX, KNOWN_VALUES_RETRY_MIN};
use crate::metrics::Metrics;
use crate::policy::Policy;
use crate::transform::text::known::{Book, Knowledge, ReadError, SecretsWatch, read_page};
use crate::upstream::{Errand, Upstream, UpstreamError};

/// An index is made again after so many times the time it took: at most a twentieth of a core.
const RENEW_SHARE: u32 = 20;

#[derive(Debug, Error)]
enum LearnError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Who learns for one cluster.
pub struct Learner {
    /// The way to the API server.
    pub upstream: Arc<Upstream>,
    /// Nothing is read before a rule demands it.
    pub policy: Arc<Live<Policy>>,
    /// The cluster's name.
    pub cluster: String,
    /// What is known of it.
    pub book: Arc<Book>,
    /// Whether Secrets are read; otherwise they are learned in passing alone.
    pub watch: bool,
    /// Where it is counted.
    pub metrics: Metrics,
}

impl Learner {
    /// Learns until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = self.demanded() => self.book.demand(),
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = self.follow(), if self.watch => {}
            () = self.keep_shelves() => {}
        }
    }

    /// Returns when the policy in force masks known values.
    async fn demanded(&self) {
        while !self.policy.current().masks_known_values() {
            sleep(KNOWN_VALUES_RENEW_PAUSE).await;
        }
    }

    async fn follow(&self) {
        let mut pause = KNOWN_VALUES_RETRY_MIN;
        loop {
            let begun = Instant::now();
            let Err(error) = self.follow_once().await;
            if begun.elapsed() > KNOWN_VALUES_RETRY_MAX {
                pause = KNOWN_VALUES_RETRY_MIN;
            }
            if !matches!(error, LearnError::Read(ReadError::Expired)) {
                tracing::warn!(
                    cluster = self.cluster,
                    %error,
                    complete = self.book.is_complete(),
                    "the Secrets whose values are to be masked cannot be read; the gateway's credential needs to list and watch them"
                );
            }
            sleep(pause).await;
            pause = (pause * 2).min(KNOWN_VALUES_RETRY_MAX);
        }
    }

    /// Reads everything, then follows it until something is wrong.
    async fn follow_once(&self) -> Result<std::convert::Infallible, LearnError> {
        let mut version = self.list().await?;
        loop {
            let watch = Errand::watch_secrets(&version);
            let answer = self.upstream.run(&watch, &self.cluster).await?;
            let mut watch = SecretsWatch::new(answer)?;
            let begun = Instant::now();
            while let Some(next) = watch.next(&self.book).await? {
                if !next.is_empty() {
                    version = next;
                }
            }
            // Watches end by themselves now and then. One that ends at once would be asked for in a circle.
            if begun.elapsed() < KNOWN_VALUES_RETRY_MIN {
                sleep(KNOWN_VALUES_RETRY_MIN).await;
            }
        }
    }

    /// Reads all Secrets; forgets those that are gone. Answers from where on to watch.
    async fn list(&self) -> Result<String, LearnError> {
        let mut seen = HashSet::new();
        let mut proceed = String::new();
        loop {
            let list = Errand::list_secrets(&proceed);
            let answer = self.upstream.run(&list, &self.cluster).await?;
            let mut page = read_page(answer, &self.book).await?;
            seen.extend(std::mem::take(&mut page.secrets));
            proceed.clone_from(&page.proceed);
            if proceed.is_empty() {
                page.conclude(&self.book, |namespace, secret| {
                    seen.contains(&(namespace.to_owned(), secret.to_owned()))
                });
                self.renew().await;
                self.book.completed();
                return Ok(page.version);
            }
        }
    }

    /// Makes new indexes of what has changed, now and then.
    async fn keep_shelves(&self) {
        let mut known = Knowledge::default();
        loop {
            let begun = Instant::now();
            self.book.tick(begun.into_std());
            if let Some(now) = self.renew().await {
                self.metrics.known_values(&known, &now);
                if now != known {
                    tracing::info!(
                        cluster = self.cluster,
                        known = now.known,
                        left_out = ?now.left_out,
                        "values of Secrets are known, to be masked wherever they turn up"
                    );
                }
                known = now;
            }
            sleep(KNOWN_VALUES_RENEW_PAUSE.max(begun.elapsed() * RENEW_SHARE)).await;
        }
    }

    async fn renew(&self) -> Option<Knowledge> {
        let book = Arc::clone(&self.book);
        tokio::task::spawn_blocking(move || book.renew()).await.ok()
    }
}
