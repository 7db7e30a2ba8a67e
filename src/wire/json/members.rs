//! Passes members nobody wants, from the bitmap of the quotes of 64 bytes.
//!
//! Only what is common in compact JSON is read here: `,"key":` with nothing between, no escape in the key,
//! and all of it in one block. Whatever else comes, the scanner's states go on from the same place.

use super::blocks::{BLOCK, Quotes};
use super::{JsonError, Scanner, State};

/// What the scanner stands behind.
pub(super) enum Passed {
    /// The same as before, or more members: the next byte says what comes.
    Nothing,
    /// The beginning of a value nobody wants.
    Begun,
    /// The key of a member that is wanted.
    Key,
}

impl Scanner {
    /// Passes members that `wants` says no to, as far as they are of the common form.
    #[expect(
        clippy::inline_always,
        reason = "it is compiled for the vectors of its caller"
    )]
    #[inline(always)]
    pub(super) fn run_members(
        &mut self,
        chunk: &[u8],
        cursor: &mut usize,
        wants: &mut impl FnMut(Option<&[u8]>) -> bool,
        quotes: impl Quotes,
    ) -> Result<Passed, JsonError> {
        let mut first_member = match self.state {
            State::FirstKey => true,
            State::AfterValue if self.in_object() => false,
            _ => return Ok(Passed::Nothing),
        };
        loop {
            let rest = chunk.get(*cursor..).unwrap_or_default();
            let (lead, rest) = if std::mem::take(&mut first_member) {
                (1, rest.strip_prefix(b"\""))
            } else {
                (2, rest.strip_prefix(b",\""))
            };
            let Some(block) = rest.and_then(<[u8]>::first_chunk) else {
                return Ok(Passed::Nothing);
            };
            let start = *cursor + lead;
            let (quotes, backslashes) = quotes(block);
            let length = quotes.trailing_zeros() as usize;
            let (Some(key), Some([b':', first])) =
                (block.get(..length), block.get(length + 1..length + 3))
            else {
                return Ok(Passed::Nothing);
            };
            if backslashes & below(length) != 0 {
                return Ok(Passed::Nothing);
            }
            let value = length + 2;
            let behind = quotes & u64::MAX << value << 1;
            let end = behind.trailing_zeros() as usize;
            let plain = *first == b'"' && end < BLOCK && backslashes & below(end) == 0;
            if wants(Some(key)) {
                self.key.is(start..start + length);
                self.plain_end = plain.then_some(start + end);
                *cursor = start + length + 1;
                self.state = State::Colon;
                return Ok(Passed::Key);
            }
            if plain {
                *cursor = start + end + 1;
                self.state = State::AfterValue;
                continue;
            }
            (self.unwanted, self.unwanted_from) = (true, start + value);
            *cursor = start + value;
            if matches!(first, b'"' | b'{' | b'[') {
                *cursor += 1;
                self.begin(*first)?;
            } else {
                self.state = State::Value;
            }
            return Ok(Passed::Begun);
        }
    }
}

/// The bits below this one, which is less than the number of bits.
pub(super) fn below(bit: usize) -> u64 {
    (1 << bit) - 1
}
