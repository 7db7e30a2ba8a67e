//! Where some bytes stand in a text, from bitmaps, for callers that take it apart there: most parts are too short to repay a
//! `memchr` each.

use std::ops::Range;

use super::blocks::{self, BLOCK};

/// Looks for `N` different bytes, 64 places at a time.
pub struct Marks<'a, const N: usize> {
    text: &'a [u8],
    bytes: [u8; N],
    /// Where the block begins that was looked at last.
    block: usize,
    /// Where in it they are, the first place lowest.
    bits: u64,
}

impl<'a, const N: usize> Marks<'a, N> {
    /// Of `text`, from `from` on.
    pub fn of(text: &'a [u8], bytes: [u8; N], from: usize) -> Self {
        let mut marks = Self {
            text,
            bytes,
            block: 0,
            bits: 0,
        };
        marks.look(from);
        marks
    }

    /// The first of them at or behind `at`, or the end of the text. `at` does not decrease from call to call.
    #[inline]
    pub fn next_from(&mut self, at: usize) -> usize {
        self.next_within(at..self.text.len())
    }

    /// The first of them in a part of the text, or its end. Little behind that is looked at.
    #[inline]
    pub fn next_within(&mut self, part: Range<usize>) -> usize {
        let Range { start, end } = part;
        let mut from = start;
        loop {
            let before = from.saturating_sub(self.block);
            if before < BLOCK {
                let bits = self.bits & u64::MAX << before;
                if bits != 0 {
                    return end.min(self.block + bits.trailing_zeros() as usize);
                }
                from = self.block + BLOCK;
            }
            if from >= end {
                return end;
            }
            self.look(from);
        }
    }

    fn look(&mut self, from: usize) {
        let rest = self.text.get(from..).unwrap_or_default();
        // What fills up the last block is none of them.
        let mut room = [0; BLOCK];
        self.bits = blocks::any_of(blocks::block(rest, &mut room).0, self.bytes);
        self.block = from;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_mark_is_found(
            text in r#"([a-z ]{0,90}["\\]{0,3}){0,8}"#,
            steps in prop::collection::vec(0_usize..80, 0..40),
        ) {
            let mut marks = Marks::of(text.as_bytes(), *b"\"\\", 0);
            let mut at = 0;
            for step in steps {
                at = (at + step).min(text.len());
                let rest = text.get(at..).unwrap();
                let next = rest.find(['"', '\\']).map_or(text.len(), |found| at + found);
                prop_assert_eq!(marks.next_from(at), next);
            }
        }

        #[test]
        fn none_behind_the_part_is_found(
            text in r#"([a-z ]{0,90}["\\]{0,3}){0,8}"#,
            steps in prop::collection::vec((0_usize..80, 0_usize..200), 0..40),
        ) {
            let mut marks = Marks::of(text.as_bytes(), *b"\"\\", 0);
            let mut at = 0;
            for (step, length) in steps {
                at = (at + step).min(text.len());
                let end = (at + length).min(text.len());
                let part = text.get(at..end).unwrap();
                let next = part.find(['"', '\\']).map_or(end, |found| at + found);
                prop_assert_eq!(marks.next_within(at..end), next);
            }
        }
    }
}
