//! Says of nearly every key at a glance that no form begins with it, and of nearly every few places in a row that at
//! none of them one begins.

use super::KEY_BYTES;

/// Bits of a table for each key: one in sixteen places without a form looks as if it had one.
const BITS_PER_KEY: usize = 16;

/// The same for what several keys have in common: a place that looks as if is looked at once more.
const BITS_PER_GRAM: usize = 32;

/// A bit table is no larger than this, so that it stays in the processor's caches.
const FILTER_BITS_MAX: usize = 1 << 24;

/// So many places are looked at together. Whichever of them has a key, the last [`GRAM_BYTES`] of the bytes that the
/// first of them would have for a key are in it.
pub(super) const PLACES: usize = 4;

/// Bytes that the keys at [`PLACES`] places in a row have in common.
const GRAM_BYTES: usize = KEY_BYTES + 1 - PLACES;

/// Spreads keys, whose bytes are text, over all bits; the upper ones best (Fibonacci hashing: 2^64 by the golden ratio).
/// Whoever may choose values and texts can make these tables say yes everywhere; then each place costs a look-up of its key.
fn mix(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Says of most keys that they are not known.
#[derive(Default)]
pub(super) struct Filter {
    keys: Bits,
    grams: Bits,
}

impl Filter {
    pub(super) fn new(keys: impl Iterator<Item = u64>, count: usize) -> Self {
        let mut filter = Self {
            keys: Bits::new(count * BITS_PER_KEY),
            grams: Bits::new(count * PLACES * BITS_PER_GRAM),
        };
        for key in keys {
            filter.keys.set(key);
            for before in 0..PLACES {
                filter.grams.set(gram(key >> (8 * before)));
            }
        }
        filter
    }

    /// May this be a key?
    #[inline]
    pub(super) fn may_hold(&self, key: u64) -> bool {
        self.keys.has(key)
    }

    /// May there be a key where these bytes stand, or at one of the [`PLACES`] that begin there?
    #[inline]
    pub(super) fn may_be_near(&self, key: u64) -> bool {
        self.grams.has(gram(key))
    }

    /// Bytes it occupies.
    pub(super) fn memory(&self) -> usize {
        (self.keys.words.len() + self.grams.words.len()) * size_of::<u64>()
    }
}

/// The last bytes of a key.
#[inline]
fn gram(key: u64) -> u64 {
    key & (u64::MAX >> (8 * (KEY_BYTES - GRAM_BYTES)))
}

/// A bit for each of many numbers.
#[derive(Default)]
struct Bits {
    words: Vec<u64>,
    /// How many of the bits of a number do not count.
    shift: u32,
}

impl Bits {
    fn new(count: usize) -> Self {
        let size = count.next_power_of_two().clamp(64, FILTER_BITS_MAX);
        Self {
            words: vec![0; size / 64],
            shift: u64::BITS - size.trailing_zeros(),
        }
    }

    #[inline]
    fn place(&self, key: u64) -> (usize, u64) {
        let place = mix(key) >> self.shift;
        ((place / 64) as usize, 1 << (place % 64))
    }

    fn set(&mut self, key: u64) {
        let (word, bit) = self.place(key);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
    }

    #[inline]
    fn has(&self, key: u64) -> bool {
        let (word, bit) = self.place(key);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }
}
