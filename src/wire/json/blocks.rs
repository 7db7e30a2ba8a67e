//! Where strings and containers end, 64 bytes at a time.
//!
//! A block becomes bitmaps, one bit a byte, the first byte lowest: where quotes stand, where backslashes,
//! where brackets open and close. From these follows what is in a string, and then how many brackets are
//! open behind the block, without looking at one byte after the other (Langdale and Lemire, "Parsing
//! Gigabytes of JSON per Second", 2019). How a block becomes bitmaps depends on the processor and is the
//! only thing that does; `portable` says the same everywhere and is what the others are tested against.

#![expect(
    clippy::inline_always,
    reason = "what is not inlined is compiled without the vectors of the function that calls it"
)]

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::JsonError;
use crate::limits::JSON_DEPTH_MAX;

/// Bytes of a block, bits of a bitmap.
pub(super) const BLOCK: usize = 64;

/// What stands where in one block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Bits {
    quotes: u64,
    backslashes: u64,
    /// `{` and `[`
    opens: u64,
    /// `}` and `]`
    closes: u64,
    /// Which of the brackets are curly; says nothing of other bytes.
    curly: u64,
}

/// Where the quotes and the backslashes of a block are.
#[inline]
pub(super) fn quotes(block: &[u8; BLOCK]) -> (u64, u64) {
    #[cfg(target_arch = "x86_64")]
    return x86::quotes(block);
    #[cfg(not(target_arch = "x86_64"))]
    return portable::quotes(block);
}

/// Where any of these bytes are in a block.
#[inline]
pub(super) fn any_of<const N: usize>(block: &[u8; BLOCK], bytes: [u8; N]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    return x86::any_of(block, bytes);
    #[cfg(not(target_arch = "x86_64"))]
    return portable::any_of(block, bytes);
}

/// Says where the quotes and the backslashes of a block are, with some kind of vectors.
pub trait Quotes: Fn(&[u8; BLOCK]) -> (u64, u64) + Copy {}

impl<F: Fn(&[u8; BLOCK]) -> (u64, u64) + Copy> Quotes for F {}

/// A walk through JSON. It is compiled for each kind of vectors: what it does for every member is too little to ask
/// again each time which ones the processor has.
pub trait Walk {
    /// What comes of it.
    type Outcome;

    /// Goes, with these vectors. It is to be inlined, and so is what it does often.
    fn with(self, quotes: impl Quotes) -> Self::Outcome;
}

/// Goes on a walk with the vectors that the processor has.
#[inline]
pub fn walk<W: Walk>(walk: W) -> W::Outcome {
    #[cfg(target_arch = "x86_64")]
    return x86::walk(walk);
    #[cfg(not(target_arch = "x86_64"))]
    return walk.with(portable::quotes);
}

/// The place behind the closing quote of the string that `text` is inside of. `escaped` is whether a
/// backslash stood before it, and is left for what follows if the string does not end here.
pub(super) fn string_end(text: &[u8], escaped: &mut bool) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    return x86::string_end(text, escaped);
    #[cfg(not(target_arch = "x86_64"))]
    return string_end_by(text, escaped, portable::quotes);
}

/// A container of which only the end matters.
#[derive(Clone, Debug)]
pub(super) struct Skip {
    /// Containers that are open, this one among them.
    open: usize,
    /// How many more may be.
    depth_max: usize,
    /// How many of those that are open are objects, unless brackets do not match.
    objects: i64,
    /// The container is one.
    object: bool,
    /// All bits, or none.
    in_string: u64,
    escaped: u64,
}

impl Skip {
    /// Behind the opening bracket of a container; `depth` are open with it.
    pub(super) fn new(object: bool, depth: usize) -> Self {
        Self {
            open: 1,
            depth_max: JSON_DEPTH_MAX.saturating_sub(depth),
            objects: i64::from(object),
            object,
            in_string: 0,
            escaped: 0,
        }
    }

    /// The place behind the container's closing bracket, if it is in `text`.
    ///
    /// Brackets are counted by kind. That each closes the one before it is not looked at: a reader
    /// for whom it does not would find no document here, and nothing is masked within.
    pub(super) fn end(&mut self, text: &[u8]) -> Result<Option<usize>, JsonError> {
        #[cfg(target_arch = "x86_64")]
        return x86::skip(self, text);
        #[cfg(not(target_arch = "x86_64"))]
        return self.end_by(text, portable::bits, prefix_xor);
    }

    #[inline(always)]
    fn end_by(
        &mut self,
        text: &[u8],
        bits: impl Fn(&[u8; BLOCK]) -> Bits,
        prefix_xor: impl Fn(u64) -> u64,
    ) -> Result<Option<usize>, JsonError> {
        let mut padded = [b' '; BLOCK];
        let mut at = 0;
        while at < text.len() {
            let rest = text.get(at..).unwrap_or_default();
            let (block, length) = block(rest, &mut padded);
            let mut bits = bits(block);
            if bits.backslashes | self.escaped != 0 {
                bits.quotes &= !escaped(bits.backslashes, length, &mut self.escaped);
            }
            let in_string = prefix_xor(bits.quotes) ^ self.in_string;
            self.in_string = 0_u64.wrapping_sub(in_string >> 63);
            // A backslash that is in no string ends what can be read.
            let wrong = bits.backslashes & !in_string;
            let readable = !in_string & (wrong & wrong.wrapping_neg()).wrapping_sub(1);
            bits.opens &= readable;
            bits.closes &= readable;
            if let Some(end) = self.count(bits)? {
                return Ok(Some(at + end));
            }
            if wrong != 0 {
                return Err(JsonError::Unexpected);
            }
            at += BLOCK;
        }
        Ok(None)
    }

    /// Counts the brackets of a block.
    #[inline(always)]
    fn count(&mut self, bits: Bits) -> Result<Option<usize>, JsonError> {
        // Most are `{}`, which end nothing.
        let empty = bits.opens & bits.closes >> 1 & !(bits.curly ^ bits.curly >> 1);
        let (opens, closes) = (bits.opens ^ empty, bits.closes ^ empty << 1);
        let (opening, closing) = (count(opens), count(closes));
        if closing >= self.open || self.open + opening >= self.depth_max {
            return self.count_each(
                Bits {
                    opens,
                    closes,
                    ..bits
                },
                empty,
            );
        }
        self.open = self.open + opening - closing;
        self.objects += balance(opens & bits.curly, closes & bits.curly);
        Ok(None)
    }

    /// The same, one bracket after the other.
    #[cold]
    fn count_each(&mut self, bits: Bits, empty: u64) -> Result<Option<usize>, JsonError> {
        let mut left = bits.opens | bits.closes | empty;
        while left != 0 {
            let lowest = left & left.wrapping_neg();
            left ^= lowest;
            let object = i64::from(bits.curly & lowest != 0);
            if (bits.opens | empty) & lowest != 0 {
                if self.open > self.depth_max {
                    return Err(JsonError::TooDeep);
                }
                if empty & lowest != 0 {
                    continue;
                }
                self.open += 1;
                self.objects += object;
                continue;
            }
            self.open -= 1;
            self.objects -= object;
            if self.open == 0 {
                let closed = self.objects == 0 && (object == 1) == self.object;
                return if closed {
                    Ok(Some(lowest.trailing_zeros() as usize + 1))
                } else {
                    Err(JsonError::Unexpected)
                };
            }
        }
        Ok(None)
    }
}

#[inline(always)]
fn string_end_by(
    text: &[u8],
    escaped_first: &mut bool,
    quotes: impl Fn(&[u8; BLOCK]) -> (u64, u64),
) -> Option<usize> {
    let mut padded = [b' '; BLOCK];
    let mut carry = u64::from(*escaped_first);
    let mut at = 0;
    while at < text.len() {
        let rest = text.get(at..).unwrap_or_default();
        let (block, length) = block(rest, &mut padded);
        let (mut quotes, backslashes) = quotes(block);
        if backslashes | carry != 0 {
            quotes &= !escaped(backslashes, length, &mut carry);
        }
        if quotes != 0 {
            *escaped_first = false;
            return Some(at + quotes.trailing_zeros() as usize + 1);
        }
        at += BLOCK;
    }
    *escaped_first = carry != 0;
    None
}

/// The place of the closing quote of the string that `text` is inside of, if no backslash stands before it.
#[inline(always)]
pub(super) fn plain_end(text: &[u8], quotes: impl Quotes) -> Option<usize> {
    let mut padded = [b' '; BLOCK];
    let mut at = 0;
    while at < text.len() {
        let rest = text.get(at..).unwrap_or_default();
        let (quotes, backslashes) = quotes(block(rest, &mut padded).0);
        if quotes | backslashes != 0 {
            let end = quotes.trailing_zeros();
            return (end < backslashes.trailing_zeros()).then_some(at + end as usize);
        }
        at += BLOCK;
    }
    None
}

/// Where the string begins that `text` ends in, which begins in none: its opening quote, or the end of the text if it ends in
/// none either. Of what is no JSON, as a backslash is in no string, it is a place before that with no string around it.
pub fn open_string(text: &[u8]) -> usize {
    walk(OpenString(text))
}

#[derive(Clone, Copy)]
struct OpenString<'a>(&'a [u8]);

impl Walk for OpenString<'_> {
    type Outcome = usize;

    #[inline(always)]
    fn with(self, quotes: impl Quotes) -> usize {
        let text = self.0;
        let mut padded = [b' '; BLOCK];
        let (mut in_string, mut carry) = (0, 0);
        let (mut at, mut opened) = (0, 0);
        while at < text.len() {
            let rest = text.get(at..).unwrap_or_default();
            let (block, length) = block(rest, &mut padded);
            let (mut quotes, backslashes) = quotes(block);
            if backslashes | carry != 0 {
                quotes &= !escaped(backslashes, length, &mut carry);
            }
            let within = prefix_xor(quotes) ^ in_string;
            if backslashes & !within != 0 {
                return if in_string == 0 { at } else { opened };
            }
            let opening = quotes & within;
            if opening != 0 {
                opened = at + opening.ilog2() as usize;
            }
            in_string = 0_u64.wrapping_sub(within >> 63);
            at += BLOCK;
        }
        if in_string == 0 { text.len() } else { opened }
    }
}

/// The next block of `rest`, and how much of it there is; what is missing is blank.
#[inline(always)]
pub(super) fn block<'a>(rest: &'a [u8], padded: &'a mut [u8; BLOCK]) -> (&'a [u8; BLOCK], usize) {
    if let Some(block) = rest.first_chunk() {
        return (block, BLOCK);
    }
    let (head, _) = padded.split_at_mut(rest.len().min(BLOCK));
    head.copy_from_slice(rest.get(..head.len()).unwrap_or_default());
    (padded, rest.len())
}

/// What a backslash stands before that is not behind one itself. `carry` is 1 where the last backslash
/// stands before what follows the `length` bytes of the block.
///
/// Subtraction finds the ends of the runs of backslashes; the comparison with every second bit says
/// whether they are odd (simdjson, `json_escape_scanner`).
#[inline(always)]
fn escaped(backslashes: u64, length: usize, carry: &mut u64) -> u64 {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    let begins = backslashes & !*carry;
    let runs = (begins << 1 | ODD).wrapping_sub(begins) ^ ODD;
    let escaped = runs ^ (backslashes | *carry);
    *carry = (runs & backslashes) >> (length - 1) & 1;
    escaped
}

/// Every bit becomes the parity of all up to it: what is between an odd quote and an even one.
fn prefix_xor(bits: u64) -> u64 {
    let mut parity = bits;
    for by in [1, 2, 4, 8, 16, 32] {
        parity ^= parity << by;
    }
    parity
}

#[inline(always)]
fn count(bits: u64) -> usize {
    bits.count_ones() as usize
}

#[inline(always)]
fn balance(opens: u64, closes: u64) -> i64 {
    i64::from(opens.count_ones()) - i64::from(closes.count_ones())
}

#[cfg(test)]
mod tests;
