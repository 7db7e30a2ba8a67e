//! What the gateway knows of the Secrets of one cluster, by namespace.
//!
//! Learning only notes; [`Book::renew`] makes new indexes of what has changed, away from the streams,
//! which go on with the index they have until then.

mod pages;
mod passed;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use self::pages::Pages;
use super::admission::LeftOut;
use super::index::{Index, Value};
use crate::transform::Placeholders;

/// The index of one namespace, or of all: always the newest.
pub type Shelf = ArcSwap<Index>;

/// What is known of one cluster.
pub struct Book {
    placeholders: Arc<Placeholders>,
    minimum: usize,
    pages: Mutex<Pages>,
    demanded: AtomicBool,
    complete: AtomicBool,
}

/// A Secret, at one of its versions.
#[derive(Clone, Copy, Debug)]
pub struct SecretAt<'a> {
    /// `metadata.namespace`
    pub namespace: &'a str,
    /// `metadata.name`
    pub name: &'a str,
    /// `metadata.resourceVersion`; 0 where it is no number, which is older than any.
    pub version: u64,
}

/// How many values were left out, and why.
pub type LeftOutCounts = BTreeMap<LeftOut, u64>;

/// How much is known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Knowledge {
    /// Values.
    pub known: usize,
    /// Values that were left out, and why.
    pub left_out: LeftOutCounts,
}

impl Book {
    /// An empty book. `minimum` is the length in bytes below which values are not known.
    pub fn new(placeholders: Arc<Placeholders>, minimum: usize) -> Self {
        Self {
            placeholders,
            minimum,
            pages: Mutex::default(),
            demanded: AtomicBool::new(false),
            complete: AtomicBool::new(false),
        }
    }

    /// All Secrets have been read, and the shelves hold what was learned of them.
    pub fn completed(&self) {
        self.complete.store(true, Ordering::Release);
    }

    /// Whether all Secrets have been read once.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// A rule demands known values: from now on Secrets that pass are learned.
    pub fn demand(&self) {
        self.demanded.store(true, Ordering::Release);
    }

    /// Whether a rule demanded known values.
    pub fn is_demanded(&self) -> bool {
        self.demanded.load(Ordering::Acquire)
    }

    /// Knows the values of one Secret, `data` by key, and no longer those it had before.
    pub fn learn<'a>(
        &self,
        secret: SecretAt<'_>,
        data: impl IntoIterator<Item = (&'a str, Zeroizing<Vec<u8>>)>,
    ) {
        let mut pages = self.pages.lock();
        pages.change(secret.namespace, secret.name, |pages| {
            pages.take(secret.namespace, secret.name);
            pages.take_passed(secret);
            let learned = pages.admit(secret.name, data, self.minimum);
            pages.put(secret, learned);
        });
    }

    /// The Secret is gone.
    pub fn forget(&self, secret: SecretAt<'_>) {
        let mut pages = self.pages.lock();
        pages.change(secret.namespace, secret.name, |pages| {
            pages.take(secret.namespace, secret.name);
            pages.take_passed(secret);
        });
    }

    /// Forgets every Secret for which `exists` is false: after a list that was complete.
    pub fn retain(&self, mut exists: impl FnMut(&str, &str) -> bool) {
        let mut pages = self.pages.lock();
        let gone: Vec<_> = pages
            .namespaces
            .iter()
            .flat_map(|(namespace, page)| {
                page.secrets
                    .keys()
                    .map(move |secret| (namespace.clone(), secret.clone()))
            })
            .filter(|(namespace, secret)| !exists(namespace, secret))
            .collect();
        for (namespace, secret) in gone {
            pages.change(&namespace, &secret, |pages| pages.take(&namespace, &secret));
        }
    }

    /// What is known in `namespace`; the empty one is all of them.
    pub fn shelf(&self, namespace: &str) -> Arc<Shelf> {
        let mut pages = self.pages.lock();
        if !namespace.is_empty() {
            let page = pages.namespaces.entry(namespace.to_owned()).or_default();
            return Arc::clone(&page.shelf);
        }
        Arc::clone(&pages.everything)
    }

    /// Makes new indexes where something has changed. Takes the time of sorting all forms of the
    /// values there, some hundred milliseconds for tens of thousands: not for a thread that carries
    /// requests. Answers how much is known.
    pub fn renew(&self) -> Knowledge {
        let mut due = Vec::new();
        let knowledge = {
            let mut pages = self.pages.lock();
            let all: Vec<Arc<Value>> = pages.values().collect();
            for page in pages.namespaces.values_mut() {
                if std::mem::take(&mut page.changed) {
                    let values: Vec<_> = page.values().cloned().collect();
                    due.push((Arc::clone(&page.shelf), values));
                }
            }
            let knowledge = Knowledge {
                known: all.len(),
                left_out: pages.left_out(),
            };
            if !due.is_empty() {
                due.push((Arc::clone(&pages.everything), all));
            }
            pages.namespaces.retain(|_, page| !page.is_idle());
            knowledge
        };
        for (shelf, values) in due {
            shelf.store(Arc::new(Index::new(&values, &self.placeholders)));
        }
        knowledge
    }
}

#[cfg(test)]
mod tests;
