//! Passes members nobody wants, from the bitmap of the quotes of 64 bytes.
//!
//! Only what is common in compact JSON is read here: `,"key":` with nothing between, no escape in the key,
//! and all of it in one block. Whatever else comes, the scanner's states go on from the same place.

use super::blocks::{self, BLOCK};
use super::{JsonError, Scanner, State};

impl Scanner {
    /// Passes members that `wants` says no to, as far as they are of the common form. True behind the key
    /// of one that is wanted; else the scanner goes on where it stands now.
    #[inline]
    pub(super) fn run_members(
        &mut self,
        chunk: &[u8],
        cursor: &mut usize,
        wants: &mut impl FnMut(Option<&[u8]>) -> bool,
    ) -> Result<bool, JsonError> {
        loop {
            let lead: &[u8] = match self.state {
                State::FirstKey => b"\"",
                State::AfterValue if self.in_object() => b",\"",
                _ => return Ok(false),
            };
            let start = *cursor + lead.len();
            let Some(block) = chunk.get(start..).and_then(<[u8]>::first_chunk) else {
                return Ok(false);
            };
            if chunk.get(*cursor..start) != Some(lead) {
                return Ok(false);
            }
            let (quotes, backslashes) = blocks::quotes(block);
            let length = quotes.trailing_zeros() as usize;
            let (Some(key), Some([b':', first])) =
                (block.get(..length), block.get(length + 1..length + 3))
            else {
                return Ok(false);
            };
            if backslashes & below(length) != 0 {
                return Ok(false);
            }
            if wants(Some(key)) {
                self.key.is(start..start + length);
                *cursor = start + length + 1;
                self.state = State::Colon;
                return Ok(true);
            }
            let value = length + 2;
            let behind = quotes & u64::MAX << value << 1;
            let end = behind.trailing_zeros() as usize;
            if *first == b'"' && end < BLOCK && backslashes & below(end) == 0 {
                *cursor = start + end + 1;
                self.state = State::AfterValue;
                continue;
            }
            self.unwanted = true;
            self.state = State::Value;
            *cursor = start + value;
            return Ok(false);
        }
    }
}

/// The bits below this one, which is less than the number of bits.
pub(super) fn below(bit: usize) -> u64 {
    (1 << bit) - 1
}
