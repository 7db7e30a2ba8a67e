//! Bitmaps with what every processor has: eight bytes in a word.

use super::{BLOCK, Bits};

const EVERY: u64 = 0x0101_0101_0101_0101;

/// Where `byte` stands.
fn places(block: &[u8; BLOCK], byte: u8) -> u64 {
    let mut places = 0;
    for (number, word) in block.as_chunks::<8>().0.iter().enumerate() {
        let differs = u64::from_le_bytes(*word) ^ (EVERY * u64::from(byte));
        // The highest bit of every byte that is zero, and of no other.
        let low = differs & (0x7f * EVERY);
        let same = !((low + 0x7f * EVERY) | differs | (0x7f * EVERY));
        // Gathers the eight bits in the highest byte.
        let gathered = (same >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        places |= gathered << (8 * number);
    }
    places
}

pub(super) fn any_of<const N: usize>(block: &[u8; BLOCK], bytes: [u8; N]) -> u64 {
    let found = bytes.into_iter().map(|byte| places(block, byte));
    found.fold(0, |any, found| any | found)
}

pub(super) fn quotes(block: &[u8; BLOCK]) -> (u64, u64) {
    (places(block, b'"'), places(block, b'\\'))
}

pub(super) fn bits(block: &[u8; BLOCK]) -> Bits {
    let (quotes, backslashes) = quotes(block);
    let (open, close) = (places(block, b'{'), places(block, b'}'));
    Bits {
        quotes,
        backslashes,
        opens: open | places(block, b'['),
        closes: close | places(block, b']'),
        curly: open | close,
    }
}
