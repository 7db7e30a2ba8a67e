//! What is learned of Secrets that pass through the gateway, in answers to callers.
//!
//! It stands beside what list and watch tell and never in its place: it is searched for as well, until they
//! have come to the version that passed, and are believed alone from then on. Without a watch it stays
//! until another version passes, the end of the Secret does, or it was not seen for
//! [`KNOWN_VALUES_PASSED_LIFE`]. The versions of one cluster are numbers that grow with every
//! write (KEP-5504), so what passes late, from a cache or a slow connection, is known to be old.

use std::time::Instant;

use zeroize::Zeroizing;

use super::pages::{Pages, Secret};
use super::{Book, SecretAt};
use crate::limits::{
    KNOWN_VALUES_PASSED_ENTRY_BYTES, KNOWN_VALUES_PASSED_LIFE, KNOWN_VALUES_PASSED_SWEEP,
};

/// What is known of a Secret that passed.
pub(super) struct Passed {
    pub(super) secret: Secret,
    version: u64,
    /// When it passed last, as far as the clock says; `None` before the clock's first word.
    seen: Option<Instant>,
}

/// What the learner says of the time.
#[derive(Default)]
pub(super) struct Clock {
    now: Option<Instant>,
    swept: Option<Instant>,
}

impl Book {
    /// Is there something to learn of a Secret that passes? Remembers that it was seen.
    pub fn wants(&self, secret: SecretAt<'_>) -> bool {
        let mut pages = self.pages.lock();
        let now = pages.clock.now;
        if secret.version <= pages.followed {
            return false;
        }
        let page = pages.namespaces.get_mut(secret.namespace);
        let Some(known) = page.and_then(|page| page.passed.get_mut(secret.name)) else {
            return true;
        };
        if known.version == secret.version {
            known.seen = now;
        }
        known.version < secret.version
    }

    /// Knows the values of a Secret that passes, `data` by key, if it is news.
    pub fn pass<'a>(
        &self,
        secret: SecretAt<'_>,
        data: impl IntoIterator<Item = (&'a str, Zeroizing<Vec<u8>>)>,
    ) {
        if !self.wants(secret) {
            return;
        }
        let mut pages = self.pages.lock();
        pages.change(secret.namespace, secret.name, |pages| {
            pages.take_passed(secret);
            if pages.make_room(entry_bytes(secret.name)).is_err() {
                pages.turned_away += data.into_iter().count() as u64;
                return;
            }
            let passed = Passed {
                secret: pages.admit(secret.name, data, self.minimum),
                version: secret.version,
                seen: pages.clock.now,
            };
            let page = pages.page(secret.namespace);
            page.passed.insert(secret.name.to_owned(), passed);
        });
    }

    /// It passes that the Secret is gone.
    pub fn pass_away(&self, secret: SecretAt<'_>) {
        let mut pages = self.pages.lock();
        pages.change(secret.namespace, secret.name, |pages| {
            pages.take_passed(secret);
        });
    }

    /// List and watch have told everything up to this version.
    pub fn followed(&self, version: u64) {
        let mut pages = self.pages.lock();
        pages.followed = version;
        pages.retain_passed(|passed| passed.version > version);
    }

    /// Says what time it is; forgets what passed too long ago.
    pub fn tick(&self, now: Instant) {
        let mut pages = self.pages.lock();
        pages.clock.now = Some(now);
        let soon = |swept| now.duration_since(swept) < KNOWN_VALUES_PASSED_SWEEP;
        if pages.clock.swept.is_some_and(soon) {
            return;
        }
        pages.clock.swept = Some(now);
        pages.turned_away = 0;
        pages.retain_passed(|passed| {
            let seen = *passed.seen.get_or_insert(now);
            now.duration_since(seen) < KNOWN_VALUES_PASSED_LIFE
        });
    }
}

impl Pages {
    /// Takes out what passed of a Secret up to this version.
    pub(super) fn take_passed(&mut self, secret: SecretAt<'_>) {
        let page = self.namespaces.get_mut(secret.namespace);
        let Some(page) = page else { return };
        let known = page.passed.get(secret.name);
        if known.is_some_and(|known| known.version <= secret.version)
            && let Some(taken) = page.passed.remove(secret.name)
        {
            self.give_back(entry_bytes(secret.name) + taken.secret.bytes());
        }
    }

    fn retain_passed(&mut self, mut stays: impl FnMut(&mut Passed) -> bool) {
        let mut gone = Vec::new();
        for (namespace, page) in &mut self.namespaces {
            for (name, passed) in &mut page.passed {
                if !stays(passed) {
                    gone.push((namespace.clone(), name.clone(), passed.version));
                }
            }
        }
        for (namespace, name, version) in &gone {
            let secret = SecretAt {
                namespace,
                name,
                version: *version,
            };
            self.change(namespace, name, |pages| pages.take_passed(secret));
        }
    }
}

/// Room that a Secret which passed takes, besides its values: their number is bounded by it.
fn entry_bytes(name: &str) -> usize {
    KNOWN_VALUES_PASSED_ENTRY_BYTES + name.len()
}
