//! The quotes and backslashes of a text, from bitmaps, for callers that take it apart into strings: most strings are too
//! short to repay a `memchr` each.

use super::blocks::{self, BLOCK};

/// Looks for quotes and backslashes, 64 bytes at a time.
pub struct Marks<'a> {
    text: &'a [u8],
    /// Where the block begins that was looked at last.
    block: usize,
    /// Which of its bytes are one or the other, the first one lowest.
    bits: u64,
}

impl<'a> Marks<'a> {
    /// At the beginning of `text`.
    pub fn of(text: &'a [u8]) -> Self {
        let mut marks = Self {
            text,
            block: 0,
            bits: 0,
        };
        marks.look(0);
        marks
    }

    /// The first one at or behind `at`, or the end of the text. `at` does not decrease from call to call.
    #[inline]
    pub fn next_from(&mut self, at: usize) -> usize {
        let mut from = at;
        loop {
            let before = from.saturating_sub(self.block);
            if before < BLOCK {
                let bits = self.bits & u64::MAX << before;
                if bits != 0 {
                    return self.block + bits.trailing_zeros() as usize;
                }
                from = self.block + BLOCK;
            }
            if from >= self.text.len() {
                return self.text.len();
            }
            self.look(from);
        }
    }

    fn look(&mut self, from: usize) {
        let rest = self.text.get(from..).unwrap_or_default();
        let (quotes, backslashes) = blocks::quotes(blocks::block(rest, &mut [b' '; BLOCK]).0);
        (self.block, self.bits) = (from, quotes | backslashes);
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
            let mut marks = Marks::of(text.as_bytes());
            let mut at = 0;
            for step in steps {
                at = (at + step).min(text.len());
                let rest = text.get(at..).unwrap();
                let next = rest.find(['"', '\\']).map_or(text.len(), |found| at + found);
                prop_assert_eq!(marks.next_from(at), next);
            }
        }
    }
}
