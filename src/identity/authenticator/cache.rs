//! Verified tokens, remembered by their full SHA-256 so that a busy caller is verified once.
//!
//! Only acceptance is remembered, never refusal. Two halves bound the memory: when the young half
//! is full it becomes the old one, and what nobody used since the last time is forgotten.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::identity::Identity;

/// SHA-256 of a token.
pub(super) type Digest = [u8; 32];

/// A token that was verified.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) identity: Arc<Identity>,
    /// The token's `exp`: the skew is granted by verification only.
    pub(super) ends_at: Timestamp,
    /// Which issuer it is from.
    pub(super) issuer: usize,
    /// Which version of the issuer's keys verified it.
    pub(super) version: u64,
}

/// At most so many entries as it was made for.
#[derive(Debug)]
pub(super) struct TokenCache {
    half: usize,
    halves: Mutex<Halves>,
}

#[derive(Debug, Default)]
struct Halves {
    young: HashMap<Digest, Entry>,
    old: HashMap<Digest, Entry>,
}

impl TokenCache {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            half: (entries_max / 2).max(1),
            halves: Mutex::default(),
        }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<Entry> {
        let mut halves = self.halves.lock();
        if let Some(entry) = halves.young.get(digest) {
            return Some(entry.clone());
        }
        let entry = halves.old.remove(digest)?;
        halves.insert(*digest, entry.clone(), self.half);
        Some(entry)
    }

    pub(super) fn insert(&self, digest: Digest, entry: Entry) {
        let mut halves = self.halves.lock();
        halves.old.remove(&digest);
        halves.insert(digest, entry, self.half);
    }

    /// Forgets a token.
    pub(super) fn remove(&self, digest: &Digest) {
        let mut halves = self.halves.lock();
        halves.young.remove(digest);
        halves.old.remove(digest);
    }
}

impl Halves {
    fn insert(&mut self, digest: Digest, entry: Entry, half: usize) {
        if self.young.len() >= half && !self.young.contains_key(&digest) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a32_the_cache_is_bounded_and_keeps_what_is_used() {
        let cache = TokenCache::new(100);
        cache.insert(digest(0), entry("used"));
        for number in 1..10_000_u32 {
            cache.insert(digest(number), entry("other"));
            assert_eq!(cache.get(&digest(0)).unwrap().identity.username(), "used");
            let halves = cache.halves.lock();
            assert!(halves.young.len() + halves.old.len() <= 100);
        }
        assert!(
            cache.get(&digest(1)).is_none(),
            "what nobody used is forgotten"
        );
    }

    #[test]
    fn a32_every_byte_of_the_digest_counts() {
        let cache = TokenCache::new(100);
        cache.insert([7; 32], entry("alice"));
        for index in 0..32 {
            let mut other = [7; 32];
            other[index] ^= 1;
            assert!(cache.get(&other).is_none());
        }
        cache.remove(&[7; 32]);
        assert!(cache.get(&[7; 32]).is_none());
    }

    fn digest(number: u32) -> Digest {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&number.to_be_bytes());
        digest
    }

    fn entry(name: &str) -> Entry {
        Entry {
            identity: Arc::new(Identity::for_tests(name, &[])),
            ends_at: Timestamp::MAX,
            issuer: 0,
            version: 1,
        }
    }
}
