//! The notes of a book: what is known by namespace and Secret, and how much room that takes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{LeftOutCounts, Shelf};
use crate::limits::KNOWN_VALUE_BYTES_MAX;
use crate::transform::text::known::admission::LeftOut;
use crate::transform::text::known::index::Value;

/// All notes.
#[derive(Default)]
pub(super) struct Pages {
    pub(super) namespaces: HashMap<String, Namespace>,
    /// The values of all namespaces, for whoever reads across them.
    pub(super) everything: Arc<Shelf>,
    /// Bytes of all values.
    bytes: usize,
}

/// What is known of one namespace.
#[derive(Default)]
pub(super) struct Namespace {
    pub(super) secrets: BTreeMap<String, Secret>,
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
}

impl Pages {
    /// Counts so many bytes of a value, if they fit.
    pub(super) fn make_room(&mut self, bytes: usize) -> Result<(), LeftOut> {
        if self.bytes + bytes > KNOWN_VALUE_BYTES_MAX {
            return Err(LeftOut::Full);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Puts what is known of a Secret now, of which `before` was known.
    pub(super) fn put(&mut self, namespace: &str, secret: &str, now: Secret, before: &Secret) {
        if now.is_empty() && before.is_empty() {
            return;
        }
        let page = self.namespaces.entry(namespace.to_owned()).or_default();
        page.changed |= now.values != before.values;
        if !now.is_empty() {
            page.secrets.insert(secret.to_owned(), now);
        }
    }

    /// Takes out what is known of a Secret.
    pub(super) fn take(&mut self, namespace: &str, secret: &str) -> Secret {
        let page = self.namespaces.get_mut(namespace);
        let taken = page
            .and_then(|page| page.secrets.remove(secret))
            .unwrap_or_default();
        let bytes: usize = taken.values.iter().map(|value| value.bytes.len()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        taken
    }

    pub(super) fn values(&self) -> impl Iterator<Item = Arc<Value>> {
        self.namespaces
            .values()
            .flat_map(|page| page.values().cloned())
    }
}

impl Namespace {
    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.secrets.values().flat_map(|secret| &secret.values)
    }
}
