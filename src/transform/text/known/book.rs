//! What the gateway knows of the Secrets of one cluster, by namespace.
//!
//! Learning only notes; [`Book::renew`] makes new indexes of what has changed, away from the streams,
//! which go on with the index they have until then.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::admission::{LeftOut, admit};
use super::index::{Index, Value};
use crate::limits::KNOWN_VALUE_BYTES_MAX;
use crate::transform::Placeholders;

/// The index of one namespace, or of all: always the newest.
pub type Shelf = ArcSwap<Index>;

/// What is known of one cluster.
pub struct Book {
    placeholders: Arc<Placeholders>,
    minimum: usize,
    pages: Mutex<Pages>,
    complete: AtomicBool,
}

#[derive(Default)]
struct Pages {
    namespaces: HashMap<String, Namespace>,
    /// The values of all namespaces, for whoever reads across them.
    everything: Arc<Shelf>,
    /// Bytes of all values.
    bytes: usize,
}

#[derive(Default)]
struct Namespace {
    secrets: BTreeMap<String, Secret>,
    shelf: Arc<Shelf>,
    /// The shelf does not hold what is known.
    changed: bool,
}

/// What is known of one Secret.
#[derive(Default)]
struct Secret {
    values: Vec<Arc<Value>>,
    left_out: LeftOutCounts,
}

impl Secret {
    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.left_out.is_empty()
    }
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

    /// Knows the values of one Secret, `data` by key, and no longer those it had before.
    pub fn learn<'a>(
        &self,
        namespace: &str,
        secret: &str,
        data: impl IntoIterator<Item = (&'a str, Zeroizing<Vec<u8>>)>,
    ) {
        let mut learned = Secret::default();
        let mut pages = self.pages.lock();
        let before = pages.take(namespace, secret);
        for (key, bytes) in data {
            let admitted = admit(key, &bytes, self.minimum);
            if let Err(why) = admitted.and_then(|()| pages.make_room(bytes.len())) {
                *learned.left_out.entry(why).or_default() += 1;
                continue;
            }
            let source = format!("secrets/{secret}.data[{key:?}]");
            learned.values.push(Arc::new(Value { bytes, source }));
        }
        pages.put(namespace, secret, learned, &before);
    }

    /// The Secret is gone.
    pub fn forget(&self, namespace: &str, secret: &str) {
        let mut pages = self.pages.lock();
        let before = pages.take(namespace, secret);
        pages.put(namespace, secret, Secret::default(), &before);
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
            let before = pages.take(&namespace, &secret);
            pages.put(&namespace, &secret, Secret::default(), &before);
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
            let mut knowledge = Knowledge {
                known: all.len(),
                left_out: LeftOutCounts::new(),
            };
            let pages_now = pages.namespaces.values();
            for secret in pages_now.flat_map(|page| page.secrets.values()) {
                for (why, count) in &secret.left_out {
                    *knowledge.left_out.entry(*why).or_default() += count;
                }
            }
            if !due.is_empty() {
                due.push((Arc::clone(&pages.everything), all));
            }
            pages
                .namespaces
                .retain(|_, page| !page.secrets.is_empty() || Arc::strong_count(&page.shelf) > 1);
            knowledge
        };
        for (shelf, values) in due {
            shelf.store(Arc::new(Index::new(&values, &self.placeholders)));
        }
        knowledge
    }
}

impl Pages {
    /// Counts so many bytes of a value, if they fit.
    fn make_room(&mut self, bytes: usize) -> Result<(), LeftOut> {
        if self.bytes + bytes > KNOWN_VALUE_BYTES_MAX {
            return Err(LeftOut::Full);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Puts what is known of a Secret now, of which `before` was known.
    fn put(&mut self, namespace: &str, secret: &str, now: Secret, before: &Secret) {
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
    fn take(&mut self, namespace: &str, secret: &str) -> Secret {
        let page = self.namespaces.get_mut(namespace);
        let taken = page
            .and_then(|page| page.secrets.remove(secret))
            .unwrap_or_default();
        let bytes: usize = taken.values.iter().map(|value| value.bytes.len()).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        taken
    }

    fn values(&self) -> impl Iterator<Item = Arc<Value>> {
        self.namespaces
            .values()
            .flat_map(|page| page.values().cloned())
    }
}

impl Namespace {
    fn values(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.secrets.values().flat_map(|secret| &secret.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> Book {
        Book::new(Arc::new(Placeholders::new(&[7; 32])), 8)
    }

    /// What was left out, without the work of making indexes.
    fn left_out(book: &Book) -> LeftOutCounts {
        let pages = book.pages.lock();
        let mut counts = LeftOutCounts::new();
        for secret in pages.namespaces["shop"].secrets.values() {
            for (why, count) in &secret.left_out {
                *counts.entry(*why).or_default() += count;
            }
        }
        counts
    }

    fn bytes(text: &str) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(text.as_bytes().to_vec())
    }

    #[test]
    fn values_are_known_in_their_namespace_until_the_secret_goes() {
        let book = book();
        let (shop, bank, all) = (book.shelf("shop"), book.shelf("bank"), book.shelf(""));
        book.learn(
            "shop",
            "db",
            [("password", bytes("correct-horse")), ("pin", bytes("123"))],
        );
        assert_eq!(shop.load().len(), 0, "learning does not wait for the index");
        let left_out = LeftOutCounts::from([(LeftOut::Short, 1)]);
        assert_eq!(book.renew(), Knowledge { known: 1, left_out });
        let lengths = || [shop.load().len(), bank.load().len(), all.load().len()];
        assert_eq!(lengths(), [1, 0, 1]);

        book.learn(
            "shop",
            "db",
            [
                ("key-a", bytes("correct-horse")),
                ("key-b", bytes("battery-staple")),
            ],
        );
        book.learn("bank", "db", [("key-a", bytes("open-sesame-1"))]);
        assert_eq!(book.renew().known, 3);
        assert_eq!(lengths(), [2, 1, 3]);

        book.retain(|namespace, _| namespace == "bank");
        assert_eq!(book.renew().known, 1);
        assert_eq!(lengths(), [0, 1, 1]);
        book.forget("bank", "db");
        book.forget("bank", "never was");
        assert_eq!(book.renew(), Knowledge::default());
        assert_eq!(lengths(), [0, 0, 0]);
    }

    #[test]
    fn what_did_not_change_makes_no_new_index() {
        let book = book();
        let data = || [("password", bytes("correct-horse"))];
        book.learn("shop", "db", data());
        let shop = book.shelf("shop");
        book.renew();
        let before = shop.load_full();
        book.learn("shop", "db", data());
        book.renew();
        assert!(Arc::ptr_eq(&before, &shop.load_full()));
        book.learn("shop", "db", [("password", bytes("battery-staple"))]);
        book.renew();
        assert!(!Arc::ptr_eq(&before, &shop.load_full()));
    }

    #[test]
    fn shelves_that_nobody_reads_and_nobody_fills_are_taken_away() {
        let book = book();
        drop(book.shelf("empty"));
        let held = book.shelf("held");
        book.renew();
        let namespaces: Vec<String> = book.pages.lock().namespaces.keys().cloned().collect();
        assert_eq!(namespaces, ["held"]);
        book.learn("held", "db", [("password", bytes("correct-horse"))]);
        book.renew();
        assert_eq!(held.load().len(), 1);
    }

    #[test]
    fn what_is_known_is_bounded() {
        let book = book();
        let mut known = 0;
        let mut number = 0;
        loop {
            let value = format!("{number:08}{}", "abcd".repeat(4000));
            number += 1;
            book.learn("shop", &number.to_string(), [("key", bytes(&value))]);
            let left_out = left_out(&book);
            if !left_out.is_empty() {
                assert_eq!(left_out, LeftOutCounts::from([(LeftOut::Full, 1)]));
                break;
            }
            known += value.len();
        }
        assert!(known <= KNOWN_VALUE_BYTES_MAX);
        book.forget("shop", "1");
        book.learn("shop", "again", [("key", bytes(&"wxyz".repeat(100)))]);
        assert_eq!(left_out(&book), LeftOutCounts::from([(LeftOut::Full, 1)]));
    }
}
