//! The bytes that may be a key with the next one.

use super::KEY_BYTES;

/// The last bytes that were read, and where they stand.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) key: u64,
    places: [usize; KEY_BYTES],
    pub(super) count: usize,
}

impl Seen {
    #[inline]
    pub(super) fn push(&mut self, byte: u8, at: usize) {
        self.key = self.key << 8 | u64::from(byte);
        if let Some(place) = self.places.get_mut(self.count % KEY_BYTES) {
            *place = at;
        }
        self.count += 1;
    }

    /// Where the `count` last bytes begin.
    pub(super) fn place(&self, count: usize) -> usize {
        let number = self.count.wrapping_sub(count) % KEY_BYTES;
        self.places.get(number).copied().unwrap_or_default()
    }
}
