//! Passes members nobody wants, from the bitmap of the quotes of 64 bytes.
//!
//! Only what is common in compact JSON is read here: `,"key":` with nothing between, no escape in the key,
//! and all of it in one block. Whatever else comes, the scanner's states go on from the same place.

use super::blocks::{self, BLOCK};
use super::{Scanner, State};

/// What the scanner stands behind.
pub(super) enum Passed {
    /// The same as before, or more members: the next byte says what comes.
    Nothing,
    /// The key of a member nobody wants.
    Members,
    /// The key of one that is wanted.
    Key,
}

impl Scanner {
    /// Passes members that `wants` says no to, as far as they are of the common form.
    #[inline]
    pub(super) fn run_members(
        &mut self,
        chunk: &[u8],
        cursor: &mut usize,
        wants: &mut impl FnMut(Option<&[u8]>) -> bool,
    ) -> Passed {
        let mut first_member = match self.state {
            State::FirstKey => true,
            State::AfterValue if self.in_object() => false,
            _ => return Passed::Nothing,
        };
        loop {
            let rest = chunk.get(*cursor..).unwrap_or_default();
            let (lead, rest) = if std::mem::take(&mut first_member) {
                (1, rest.strip_prefix(b"\""))
            } else {
                (2, rest.strip_prefix(b",\""))
            };
            let Some(block) = rest.and_then(<[u8]>::first_chunk) else {
                return Passed::Nothing;
            };
            let start = *cursor + lead;
            let (quotes, backslashes) = blocks::quotes(block);
            let length = quotes.trailing_zeros() as usize;
            let (Some(key), Some([b':', first])) =
                (block.get(..length), block.get(length + 1..length + 3))
            else {
                return Passed::Nothing;
            };
            if backslashes & below(length) != 0 {
                return Passed::Nothing;
            }
            if wants(Some(key)) {
                self.key.is(start..start + length);
                *cursor = start + length + 1;
                self.state = State::Colon;
                return Passed::Key;
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
            return Passed::Members;
        }
    }
}

/// The bits below this one, which is less than the number of bits.
pub(super) fn below(bit: usize) -> u64 {
    (1 << bit) - 1
}
