//! What a stream remembers of texts that passed: so many bytes of them, each by its place and by what it is made of.

use std::ops::Range;

use crate::limits::FAMILIAR_BYTES_MAX;

/// Texts that are remembered at most: so many sets, of which their keys choose one, of so many.
const SETS: usize = 32;
const SET: usize = 4;

/// Texts that passed at places `P`.
#[derive(Default)]
pub(in crate::transform) struct Memory<P> {
    texts: Vec<u8>,
    sets: [[Slot<P>; SET]; SETS],
    /// The next of a set that makes room.
    turn: usize,
}

/// Where in the texts one is; nowhere if there is none.
#[derive(Clone, Default)]
struct Slot<P> {
    place: P,
    text: Range<u16>,
    key: u32,
}

/// By what a text is looked for.
#[derive(Clone, Copy, Debug)]
pub(in crate::transform) struct Key {
    set: usize,
    rest: u32,
}

impl Key {
    /// Made of these bytes of a text.
    pub(in crate::transform) fn of(bytes: &[u8]) -> Self {
        /// Odd, and without a pattern in its bits (2^64 by the golden ratio).
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let (words, rest) = bytes.as_chunks();
        let mut last = bytes.len().to_be_bytes();
        for (last, byte) in last.iter_mut().zip(rest) {
            *last = *byte;
        }
        let mixed = words.iter().chain([&last]).fold(SPREAD, |mixed, word| {
            (mixed ^ u64::from_le_bytes(*word))
                .wrapping_mul(SPREAD)
                .rotate_left(29)
        });
        Self {
            set: usize::try_from(mixed % SETS as u64).unwrap_or_default(),
            rest: u32::try_from(mixed >> 32).unwrap_or_default(),
        }
    }
}

impl<P: Copy + Default + Eq> Memory<P> {
    /// The length of the text that passed at this place and that `text` begins with.
    pub(in crate::transform) fn begins(&self, place: P, key: Key, text: &[u8]) -> Option<usize> {
        let mut slots = self.sets.get(key.set)?.iter();
        let slot = slots.find(|slot| slot.key == key.rest)?;
        let range = usize::from(slot.text.start)..usize::from(slot.text.end);
        let known = self.texts.get(range)?;
        let same = slot.place == place && !known.is_empty() && text.starts_with(known);
        same.then_some(known.len())
    }

    /// A text passed at this place.
    pub(in crate::transform) fn learn(&mut self, place: P, key: Key, text: &[u8]) {
        if self.texts.len() + text.len() > FAMILIAR_BYTES_MAX {
            self.texts.clear();
            self.sets = Default::default();
        }
        let from = u16::try_from(self.texts.len());
        let to = u16::try_from(self.texts.len() + text.len());
        let (Some(set), Ok(from), Ok(to)) = (self.sets.get_mut(key.set), from, to) else {
            return;
        };
        let same = set.iter().position(|slot| slot.key == key.rest);
        self.turn = (self.turn + 1) % SET;
        if let Some(slot) = set.get_mut(same.unwrap_or(self.turn)) {
            self.texts.extend_from_slice(text);
            *slot = Slot {
                place,
                text: from..to,
                key: key.rest,
            };
        }
    }

    /// How many bytes are remembered.
    #[cfg(test)]
    pub(in crate::transform) fn bytes(&self) -> usize {
        self.texts.len()
    }
}
