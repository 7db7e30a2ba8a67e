//! Says of nearly every key at a glance that no form begins with it.

use std::hash::Hasher;

/// Bits of the table for each key: one in sixteen places without a form looks as if it had one.
const BITS_PER_KEY: usize = 16;

/// The bit table is no larger than this, so that it stays in the processor's second cache.
const FILTER_BITS_MAX: usize = 1 << 23;

/// Spreads keys, whose bytes are text, over all bits (Fibonacci hashing). Nobody can choose keys to
/// make this slow who could not choose the values too.
pub(super) fn mix(key: u64) -> u64 {
    let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

/// Says of most keys that they are not known.
#[derive(Default)]
pub(super) struct Filter {
    pub(super) bits: Vec<u64>,
    mask: usize,
}

impl Filter {
    pub(super) fn new(keys: impl Iterator<Item = u64>, count: usize) -> Self {
        let size = (count * BITS_PER_KEY)
            .next_power_of_two()
            .clamp(64, FILTER_BITS_MAX);
        let mut filter = Self {
            bits: vec![0; size / 64],
            mask: size / 64 - 1,
        };
        for key in keys {
            let (word, bit) = filter.place(mix(key));
            if let Some(word) = filter.bits.get_mut(word) {
                *word |= bit;
            }
        }
        filter
    }

    fn place(&self, mixed: u64) -> (usize, u64) {
        let word = (mixed >> 6) as usize & self.mask;
        (word, 1 << (mixed & 63))
    }

    pub(super) fn may_hold(&self, mixed: u64) -> bool {
        let (word, bit) = self.place(mixed);
        self.bits.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// The hasher of the table of keys.
#[derive(Default)]
pub(super) struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = mix(key);
    }
}
