//! The digits of placeholders, two at a time: each stands behind the next, so that one look-up gives both.

/// Both hexadecimal digits of every byte.
static HEX: [[u8; 2]; 256] = pairs(*b"0123456789abcdef");

/// Both base64 digits of every twelve bits.
static BASE64: [[u8; 2]; 4096] =
    pairs(*b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");

#[expect(
    clippy::indexing_slicing,
    reason = "it is done while compiling, which fails where there is no such place"
)]
const fn pairs<const DIGITS: usize, const PAIRS: usize>(digits: [u8; DIGITS]) -> [[u8; 2]; PAIRS] {
    let mut pairs = [[0; 2]; PAIRS];
    let mut number = 0;
    while number < PAIRS {
        pairs[number] = [digits[number / DIGITS], digits[number % DIGITS]];
        number += 1;
    }
    pairs
}

/// Writes bytes as hexadecimal digits, as far as there is room.
pub(super) fn write_hex(bytes: &[u8], places: &mut [u8]) {
    for (place, byte) in places.as_chunks_mut().0.iter_mut().zip(bytes) {
        *place = HEX.get(usize::from(*byte)).copied().unwrap_or_default();
    }
}

/// Writes bytes as base64, as far as there is room: whole groups of three only.
pub(super) fn write_base64(bytes: &[u8], places: &mut [u8]) {
    let places = places.as_chunks_mut::<4>().0.iter_mut();
    for (place, [first, second, third]) in places.zip(bytes.as_chunks().0) {
        let bits = u32::from_be_bytes([0, *first, *second, *third]) as usize;
        let [[a, b], [c, d]] =
            [bits >> 12, bits & 0xfff].map(|half| BASE64.get(half).copied().unwrap_or_default());
        *place = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_those_of_others(groups in prop::collection::vec(any::<[u8; 3]>(), 0..30)) {
            let bytes = groups.concat();
            let mut hex = vec![0; 2 * bytes.len()];
            write_hex(&bytes, &mut hex);
            prop_assert_eq!(hex, HEXLOWER.encode(&bytes).into_bytes());
            let mut base64 = vec![0; bytes.len() / 3 * 4];
            write_base64(&bytes, &mut base64);
            prop_assert_eq!(base64, STANDARD.encode(&bytes).into_bytes());
        }
    }
}
