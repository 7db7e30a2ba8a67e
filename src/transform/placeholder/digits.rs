//! The digits of placeholders, several at a time: what they become is looked up.
//!
//! ```text
//! text     [masked:v 1:3 f9a 1c2 e77 ... 4e5 f6]
//! base64   W21hc2tlZDp2 MToz ZjlhMWMyZTc3 ... NGU1 ZjZd
//! ```
//!
//! Three bytes of text are four of base64, and most of the text are hexadecimal digits, so there is a table of all there are
//! of three. By hand, because every masked value comes by: libraries go a byte at a time for so little, or ask first which
//! vectors there are.

use self::tables::{FIRST, HEX, LAST, THREE};
use super::digest::SEAL_BYTES;

/// The base64 of how the text begins, as far as it is always the same.
const BEGINNING: &[u8; 12] = b"W21hc2tlZDp2";

/// What is looked up.
#[expect(
    clippy::indexing_slicing,
    reason = "it is done while compiling, which fails where there is no such place"
)]
mod tables {
    /// Both hexadecimal digits of every byte.
    pub(super) static HEX: [[u8; 2]; 256] = {
        let mut table = [[0; 2]; 256];
        let mut byte = 0;
        while byte < table.len() {
            table[byte] = [hex(byte >> 4), hex(byte)];
            byte += 1;
        }
        table
    };

    /// The base64 of `1:` and one hexadecimal digit.
    pub(super) static FIRST: [[u8; 4]; 16] = {
        let mut table = [[0; 4]; 16];
        let mut digit = 0;
        while digit < table.len() {
            table[digit] = base64([b'1', b':', hex(digit)]);
            digit += 1;
        }
        table
    };

    /// The base64 of three hexadecimal digits.
    pub(super) static THREE: [[u8; 4]; 4096] = {
        let mut table = [[0; 4]; 4096];
        let mut bits = 0;
        while bits < table.len() {
            table[bits] = base64([hex(bits >> 8), hex(bits >> 4), hex(bits)]);
            bits += 1;
        }
        table
    };

    /// The base64 of two hexadecimal digits and `]`.
    pub(super) static LAST: [[u8; 4]; 256] = {
        let mut table = [[0; 4]; 256];
        let mut byte = 0;
        while byte < table.len() {
            let [first, second] = HEX[byte];
            table[byte] = base64([first, second, b']']);
            byte += 1;
        }
        table
    };

    /// The hexadecimal digit of the lowest four bits.
    const fn hex(bits: usize) -> u8 {
        b"0123456789abcdef"[bits % 16]
    }

    /// Three bytes as base64.
    const fn base64([first, second, third]: [u8; 3]) -> [u8; 4] {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let bits = u32::from_be_bytes([0, first, second, third]) as usize;
        [
            DIGITS[bits >> 18 & 63],
            DIGITS[bits >> 12 & 63],
            DIGITS[bits >> 6 & 63],
            DIGITS[bits & 63],
        ]
    }
}

/// Writes a seal as hexadecimal digits, as far as there is room.
pub(super) fn write_hex(seal: &[u8; SEAL_BYTES], places: &mut [u8]) {
    for (place, byte) in places.as_chunks_mut().0.iter_mut().zip(seal) {
        *place = HEX.get(usize::from(*byte)).copied().unwrap_or_default();
    }
}

/// Writes the base64 of the text that says this seal, as far as there is room.
pub(super) fn write_base64(seal: &[u8; SEAL_BYTES], places: &mut [u8]) {
    let (beginning, places) = places.split_at_mut(BEGINNING.len().min(places.len()));
    beginning.copy_from_slice(BEGINNING.get(..beginning.len()).unwrap_or_default());
    let mut places = places.as_chunks_mut().0.iter_mut();
    let mut put = |group: Option<&[u8; 4]>| {
        if let (Some(place), Some(group)) = (places.next(), group) {
            *place = *group;
        }
    };
    let [a, .., y, z, last] = seal.map(usize::from);
    put(FIRST.get(a >> 4));
    for [a, b, c, d] in seal
        .map(usize::from)
        .windows(4)
        .step_by(3)
        .filter_map(<[usize]>::first_chunk)
    {
        put(THREE.get((a & 15) << 8 | b));
        put(THREE.get(c << 4 | d >> 4));
    }
    put(THREE.get((y & 15) << 8 | z));
    put(LAST.get(last));
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::super::Seal;
    use super::*;

    proptest! {
        #[test]
        fn they_are_those_of_others(seal: [u8; SEAL_BYTES]) {
            let placeholder = Seal(seal).placeholder();
            let text = format!("[masked:v1:{}]", HEXLOWER.encode(&seal));
            prop_assert_eq!(placeholder.text(), text);
            let quoted = format!("{:?}", placeholder.base64());
            prop_assert_eq!(&Seal(seal).quoted_base64()[..], quoted.as_bytes());
        }
    }
}
