//! The notes of a book: what is known by namespace and Secret, and how much room that takes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::passed::Passed;
use super::{LeftOutCounts, SecretAt, Shelf};
use crate::limits::KNOWN_VALUE_BYTES_MAX;
use crate::transform::text::known::admission::{LeftOut, admit, is_short_as_read};
use crate::transform::text::known::index::Value;

/// All notes.
#[derive(Default)]
pub(super) struct Pages {
    pub(super) namespaces: HashMap<String, Namespace>,
    /// The values of all namespaces, for whoever reads across them.
    pub(super) everything: Arc<Shelf>,
    /// Bytes of all values, and of what is kept beside those that passed.
    bytes: usize,
    /// Up to which version list and watch have told everything.
    pub(super) followed: u64,
    pub(super) clock: super::passed::Clock,
    /// Values that passed and found no room of late.
    pub(super) turned_away: u64,
}

/// What is known of one namespace.
#[derive(Default)]
pub(super) struct Namespace {
    /// What list and watch told.
    pub(super) secrets: BTreeMap<String, Secret>,
    /// What passed through the gateway, newer than what they told.
    pub(super) passed: BTreeMap<String, Passed>,
    pub(super) shelf: Arc<Shelf>,
    /// The shelf does not hold what is known.
    pub(super) changed: bool,
}

/// What is known of one Secret.
#[derive(Default)]
pub(super) struct Secret {
    pub(super) values: Vec<Arc<Value>>,
    pub(super) left_out: LeftOutCounts,
}

impl Secret {
    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.left_out.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.values.iter().map(|value| value.bytes.len()).sum()
    }
}

impl Pages {
    /// Counts so many bytes, if they fit.
    pub(super) fn make_room(&mut self, bytes: usize) -> Result<(), LeftOut> {
        if self.bytes + bytes > KNOWN_VALUE_BYTES_MAX {
            return Err(LeftOut::Full);
        }
        self.bytes += bytes;
        Ok(())
    }

    pub(super) fn give_back(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Admits the values of a Secret, `data` by key, as far as there is room. Those of at least `minimum`
    /// bytes.
    pub(super) fn admit<'a>(
        &mut self,
        secret: &str,
        data: impl IntoIterator<Item = (&'a str, Zeroizing<Vec<u8>>)>,
        minimum: usize,
    ) -> Secret {
        let mut learned = Secret::default();
        for (key, bytes) in data {
            let admitted = admit(key, &bytes, minimum);
            if let Err(why) = admitted.and_then(|()| self.make_room(bytes.len())) {
                *learned.left_out.entry(why).or_default() += 1;
                continue;
            }
            if is_short_as_read(&bytes) {
                *learned.left_out.entry(LeftOut::Short).or_default() += 1;
            }
            let source = format!("secrets/{secret}.data[{key:?}]");
            learned.values.push(Arc::new(Value { bytes, source }));
        }
        learned
    }

    /// Puts what was told of a Secret.
    pub(super) fn put(&mut self, secret: SecretAt<'_>, learned: Secret) {
        if !learned.is_empty() {
            let page = self.page(secret.namespace);
            page.secrets.insert(secret.name.to_owned(), learned);
        }
    }

    /// Takes out what was told of a Secret.
    pub(super) fn take(&mut self, namespace: &str, secret: &str) {
        let page = self.namespaces.get_mut(namespace);
        if let Some(taken) = page.and_then(|page| page.secrets.remove(secret)) {
            self.give_back(taken.bytes());
        }
    }

    /// The page of a namespace, a new one if need be.
    pub(super) fn page(&mut self, namespace: &str) -> &mut Namespace {
        self.namespaces.entry(namespace.to_owned()).or_default()
    }

    /// Carries out a change of what is known of a Secret, and notes whether its values are others now.
    pub(super) fn change(&mut self, namespace: &str, secret: &str, change: impl FnOnce(&mut Self)) {
        let values = |pages: &Self| {
            let page = pages.namespaces.get(namespace);
            page.map(|page| page.of(secret).cloned().collect::<Vec<_>>())
                .unwrap_or_default()
        };
        let before = values(self);
        change(self);
        if values(self) != before {
            self.page(namespace).changed = true;
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = Arc<Value>> {
        self.namespaces
            .values()
            .flat_map(|page| page.values().cloned())
    }

    /// How many values are left out, and why.
    pub(super) fn left_out(&self) -> LeftOutCounts {
        let mut counts = LeftOutCounts::new();
        for (why, count) in self.namespaces.values().flat_map(Namespace::left_out) {
            *counts.entry(why).or_default() += count;
        }
        if self.turned_away > 0 {
            *counts.entry(LeftOut::Full).or_default() += self.turned_away;
        }
        counts
    }
}

impl Namespace {
    /// Nothing is known here, and nobody reads here.
    pub(super) fn is_idle(&self) -> bool {
        self.secrets.is_empty() && self.passed.is_empty() && Arc::strong_count(&self.shelf) == 1
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<Value>> {
        let told = self.secrets.values().flat_map(|secret| &secret.values);
        told.chain(self.passed.keys().flat_map(|name| self.news(name)))
    }

    /// The values of one Secret.
    fn of(&self, secret: &str) -> impl Iterator<Item = &Arc<Value>> {
        let told = self.secrets.get(secret).into_iter();
        told.flat_map(|told| &told.values).chain(self.news(secret))
    }

    /// Values of a Secret that passed and have not been told.
    fn news(&self, secret: &str) -> impl Iterator<Item = &Arc<Value>> {
        let told = self.secrets.get(secret);
        let passed = self.passed.get(secret).into_iter();
        passed
            .flat_map(|passed| &passed.secret.values)
            .filter(move |value| told.is_none_or(|told| !told.values.contains(value)))
    }

    /// What is left out; of a Secret that passed, the newer news counts.
    fn left_out(&self) -> impl Iterator<Item = (LeftOut, u64)> {
        let told = self.secrets.iter();
        let told = told.filter(|(name, _)| !self.passed.contains_key(*name));
        let told = told.map(|(_, secret)| secret);
        told.chain(self.passed.values().map(|passed| &passed.secret))
            .flat_map(|secret| secret.left_out.iter().map(|(why, count)| (*why, *count)))
    }
}
