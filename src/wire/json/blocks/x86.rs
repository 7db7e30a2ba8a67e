//! Bitmaps with the vectors of x86-64: SSE2, which all have, AVX2 and AVX-512.
//!
//! The one module with `unsafe`: a function that is compiled for AVX2 or AVX-512 may only be called where the
//! processor has it, which is asked right before. Nothing here takes a pointer; blocks are made of
//! integers, which the compiler turns into one load.

#![expect(
    unsafe_code,
    reason = "calls of functions that are compiled for instructions the processor was just found to have"
)]

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_clmulepi64_si128, _mm_cmpeq_epi8, _mm_cvtsi128_si64,
    _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8, _mm_slli_epi16,
    _mm256_cmpeq_epi8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set_epi64x, _mm256_set1_epi8,
    _mm256_slli_epi16, _mm512_cmpeq_epi8_mask, _mm512_or_si512, _mm512_set_epi64, _mm512_set1_epi8,
    _mm512_test_epi8_mask,
};

use std::sync::LazyLock;

use super::super::JsonError;
use super::{BLOCK, Bits, Skip, Walk, prefix_xor, string_end_by};

/// The instructions that are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Level {
    /// What the language guarantees: SSE2.
    Base,
    Avx2,
    Avx512,
}

/// The best that this processor has.
static LEVEL: LazyLock<Level> = LazyLock::new(best);

#[inline]
fn level() -> Level {
    *LEVEL
}

fn best() -> Level {
    if is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("bmi1")
    {
        return Level::Avx512;
    }
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("bmi1")
    {
        return Level::Avx2;
    }
    Level::Base
}

/// Where the quotes and the backslashes of a block are.
#[inline]
pub(super) fn quotes(block: &[u8; BLOCK]) -> (u64, u64) {
    // SAFETY: every x86-64 processor has SSE2.
    unsafe { quotes_sse2(block) }
}

/// Where any of these bytes are.
#[inline]
pub(super) fn any_of<const N: usize>(block: &[u8; BLOCK], bytes: [u8; N]) -> u64 {
    // SAFETY: every x86-64 processor has SSE2.
    unsafe { any_of_sse2(block, bytes) }
}

#[inline]
pub(super) fn walk<W: Walk>(walk: W) -> W::Outcome {
    match level() {
        Level::Base => walk.with(quotes),
        // SAFETY: `level` says that the processor has these instructions.
        Level::Avx2 => unsafe { walk_avx2(walk) },
        // SAFETY: as above.
        Level::Avx512 => unsafe { walk_avx512(walk) },
    }
}

#[inline]
pub(super) fn string_end(text: &[u8], escaped: &mut bool) -> Option<usize> {
    match level() {
        Level::Base => string_end_by(text, escaped, quotes),
        // SAFETY: `level` says that the processor has these instructions.
        Level::Avx2 => unsafe { string_end_avx2(text, escaped) },
        // SAFETY: as above.
        Level::Avx512 => unsafe { string_end_avx512(text, escaped) },
    }
}

pub(super) fn skip(skip: &mut Skip, text: &[u8]) -> Result<Option<usize>, JsonError> {
    match level() {
        // SAFETY: every x86-64 processor has SSE2.
        Level::Base => unsafe { skip_sse2(skip, text) },
        // SAFETY: `level` says that the processor has these instructions.
        Level::Avx2 => unsafe { skip_avx2(skip, text) },
        // SAFETY: as above.
        Level::Avx512 => unsafe { skip_avx512(skip, text) },
    }
}

// -- AVX-512 --

#[target_feature(enable = "avx512bw,bmi1")]
fn walk_avx512<W: Walk>(walk: W) -> W::Outcome {
    walk.with(|block| quotes_avx512(block))
}

#[target_feature(enable = "avx512bw,bmi1")]
fn string_end_avx512(text: &[u8], escaped: &mut bool) -> Option<usize> {
    string_end_by(text, escaped, |block| quotes_avx512(block))
}

#[target_feature(enable = "avx512bw")]
#[inline]
fn quotes_avx512(block: &[u8; BLOCK]) -> (u64, u64) {
    let block = whole(block);
    (find_avx512(block, b'"'), find_avx512(block, b'\\'))
}

#[target_feature(enable = "avx512bw,avx2,pclmulqdq,popcnt,bmi1")]
fn skip_avx512(skip: &mut Skip, text: &[u8]) -> Result<Option<usize>, JsonError> {
    skip.end_by(text, |block| bits_avx512(block), |bits| product(bits))
}

#[target_feature(enable = "avx512bw")]
#[inline]
fn bits_avx512(block: &[u8; BLOCK]) -> Bits {
    let block = whole(block);
    // `[` and `]` differ from `{` and `}` in this bit, and no other byte becomes one of them by it.
    let bit = _mm512_set1_epi8(0x20);
    let folded = _mm512_or_si512(block, bit);
    Bits {
        quotes: find_avx512(block, b'"'),
        backslashes: find_avx512(block, b'\\'),
        opens: find_avx512(folded, b'{'),
        closes: find_avx512(folded, b'}'),
        curly: _mm512_test_epi8_mask(block, bit),
    }
}

#[target_feature(enable = "avx512bw")]
#[inline]
fn whole(block: &[u8; BLOCK]) -> __m512i {
    let word = words(block);
    _mm512_set_epi64(
        word[7], word[6], word[5], word[4], word[3], word[2], word[1], word[0],
    )
}

#[target_feature(enable = "avx512bw")]
#[inline]
fn find_avx512(block: __m512i, byte: u8) -> u64 {
    _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8(byte.cast_signed()))
}

// -- AVX2 --

#[target_feature(enable = "avx2,bmi1")]
fn walk_avx2<W: Walk>(walk: W) -> W::Outcome {
    walk.with(|block| quotes_avx2(block))
}

#[target_feature(enable = "avx2,bmi1")]
fn string_end_avx2(text: &[u8], escaped: &mut bool) -> Option<usize> {
    string_end_by(text, escaped, |block| quotes_avx2(block))
}

#[target_feature(enable = "avx2")]
#[inline]
fn quotes_avx2(block: &[u8; BLOCK]) -> (u64, u64) {
    let halves = halves(block);
    (find_avx2(halves, b'"'), find_avx2(halves, b'\\'))
}

#[target_feature(enable = "avx2,pclmulqdq,popcnt,bmi1")]
fn skip_avx2(skip: &mut Skip, text: &[u8]) -> Result<Option<usize>, JsonError> {
    skip.end_by(text, |block| bits_avx2(block), |bits| product(bits))
}

#[target_feature(enable = "avx2")]
#[inline]
fn bits_avx2(block: &[u8; BLOCK]) -> Bits {
    let [low, high] = halves(block);
    let bit = _mm256_set1_epi8(0x20);
    let folded = [_mm256_or_si256(low, bit), _mm256_or_si256(high, bit)];
    let curly = |half| _mm256_movemask_epi8(_mm256_slli_epi16::<2>(half));
    Bits {
        quotes: find_avx2([low, high], b'"'),
        backslashes: find_avx2([low, high], b'\\'),
        opens: find_avx2(folded, b'{'),
        closes: find_avx2(folded, b'}'),
        curly: joined([curly(low), curly(high)]),
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn halves(block: &[u8; BLOCK]) -> [__m256i; 2] {
    let word = words(block);
    [
        _mm256_set_epi64x(word[3], word[2], word[1], word[0]),
        _mm256_set_epi64x(word[7], word[6], word[5], word[4]),
    ]
}

#[target_feature(enable = "avx2")]
#[inline]
fn find_avx2([low, high]: [__m256i; 2], byte: u8) -> u64 {
    let wanted = _mm256_set1_epi8(byte.cast_signed());
    joined([
        _mm256_movemask_epi8(_mm256_cmpeq_epi8(low, wanted)),
        _mm256_movemask_epi8(_mm256_cmpeq_epi8(high, wanted)),
    ])
}

#[inline]
fn joined([low, high]: [i32; 2]) -> u64 {
    u64::from(low.cast_unsigned()) | u64::from(high.cast_unsigned()) << 32
}

/// As [`prefix_xor`]: a product without carries, by all ones.
#[target_feature(enable = "pclmulqdq")]
#[inline]
fn product(bits: u64) -> u64 {
    let bits = _mm_set_epi64x(0, bits.cast_signed());
    let product = _mm_clmulepi64_si128::<0>(bits, _mm_set1_epi8(-1));
    _mm_cvtsi128_si64(product).cast_unsigned()
}

// -- SSE2 --

#[target_feature(enable = "sse2")]
fn skip_sse2(skip: &mut Skip, text: &[u8]) -> Result<Option<usize>, JsonError> {
    skip.end_by(text, |block| bits_sse2(block), prefix_xor)
}

#[target_feature(enable = "sse2")]
#[inline]
fn quotes_sse2(block: &[u8; BLOCK]) -> (u64, u64) {
    let quarters = quarters(block);
    (find_sse2(quarters, b'"'), find_sse2(quarters, b'\\'))
}

#[target_feature(enable = "sse2")]
#[inline]
fn any_of_sse2<const N: usize>(block: &[u8; BLOCK], bytes: [u8; N]) -> u64 {
    let wanted = bytes.map(|byte| _mm_set1_epi8(byte.cast_signed()));
    joined_sse2(quarters(block).map(|quarter| {
        let found = wanted.map(|wanted| _mm_cmpeq_epi8(quarter, wanted));
        let any = found
            .into_iter()
            .reduce(|any, found| _mm_or_si128(any, found));
        any.map_or(0, |any| _mm_movemask_epi8(any))
    }))
}

#[target_feature(enable = "sse2")]
#[inline]
fn bits_sse2(block: &[u8; BLOCK]) -> Bits {
    let [a, b, c, d] = quarters(block);
    let bit = _mm_set1_epi8(0x20);
    let folded = [
        _mm_or_si128(a, bit),
        _mm_or_si128(b, bit),
        _mm_or_si128(c, bit),
        _mm_or_si128(d, bit),
    ];
    let curly = |quarter| _mm_movemask_epi8(_mm_slli_epi16::<2>(quarter));
    Bits {
        quotes: find_sse2([a, b, c, d], b'"'),
        backslashes: find_sse2([a, b, c, d], b'\\'),
        opens: find_sse2(folded, b'{'),
        closes: find_sse2(folded, b'}'),
        curly: joined_sse2([curly(a), curly(b), curly(c), curly(d)]),
    }
}

#[target_feature(enable = "sse2")]
#[inline]
fn quarters(block: &[u8; BLOCK]) -> [__m128i; 4] {
    let word = words(block);
    [
        _mm_set_epi64x(word[1], word[0]),
        _mm_set_epi64x(word[3], word[2]),
        _mm_set_epi64x(word[5], word[4]),
        _mm_set_epi64x(word[7], word[6]),
    ]
}

#[target_feature(enable = "sse2")]
#[inline]
fn find_sse2([a, b, c, d]: [__m128i; 4], byte: u8) -> u64 {
    let wanted = _mm_set1_epi8(byte.cast_signed());
    joined_sse2([
        _mm_movemask_epi8(_mm_cmpeq_epi8(a, wanted)),
        _mm_movemask_epi8(_mm_cmpeq_epi8(b, wanted)),
        _mm_movemask_epi8(_mm_cmpeq_epi8(c, wanted)),
        _mm_movemask_epi8(_mm_cmpeq_epi8(d, wanted)),
    ])
}

#[inline]
fn joined_sse2([a, b, c, d]: [i32; 4]) -> u64 {
    let part = |bits: i32, number: u32| u64::from(bits.cast_unsigned()) << (16 * number);
    part(a, 0) | part(b, 1) | part(c, 2) | part(d, 3)
}

/// A block as numbers. The compiler makes one load of it.
#[inline]
fn words(block: &[u8; BLOCK]) -> [i64; 8] {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<8>().0) {
        *word = i64::from_le_bytes(*bytes);
    }
    words
}

#[cfg(test)]
pub(super) mod tests {
    //! What the tests of all of them compare with `portable`.

    use super::super::tests::{Ends, Skips};
    use super::*;

    /// Miri knows no processor but the one that is compiled for: `make miri` does so for each level that it means to see.
    #[cfg(target_feature = "avx512bw")]
    #[test]
    fn what_is_compiled_for_is_used() {
        assert_eq!(level(), Level::Avx512);
    }

    fn has(wanted: Level) -> bool {
        wanted == Level::Base || level() == wanted || level() == Level::Avx512
    }

    pub(in super::super) fn ends() -> Vec<Ends> {
        let mut all: Vec<Ends> = vec![|text, escaped| string_end_by(text, escaped, quotes)];
        if has(Level::Avx2) {
            // SAFETY: asked in the line above.
            all.push(|text, escaped| unsafe { string_end_avx2(text, escaped) });
        }
        all
    }

    pub(in super::super) fn skips() -> Vec<Skips> {
        // SAFETY: every x86-64 processor has SSE2.
        let mut all: Vec<Skips> = vec![|skip, text| unsafe { skip_sse2(skip, text) }];
        if has(Level::Avx2) {
            // SAFETY: asked in the line above.
            all.push(|skip, text| unsafe { skip_avx2(skip, text) });
        }
        all
    }

    pub(in super::super) fn walks<W: Walk + Copy>(walk: W) -> Vec<W::Outcome> {
        let mut all = vec![walk.with(quotes)];
        if has(Level::Avx2) {
            // SAFETY: asked in the line above.
            all.push(unsafe { walk_avx2(walk) });
        }
        if has(Level::Avx512) {
            // SAFETY: asked in the line above.
            all.push(unsafe { walk_avx512(walk) });
        }
        all
    }

    pub(in super::super) fn bits(block: &[u8; BLOCK]) -> Vec<Bits> {
        // SAFETY: every x86-64 processor has SSE2.
        let mut all = vec![unsafe { bits_sse2(block) }];
        if has(Level::Avx2) {
            // SAFETY: asked in the line above.
            all.push(unsafe { bits_avx2(block) });
        }
        if has(Level::Avx512) {
            // SAFETY: asked in the line above.
            all.push(unsafe { bits_avx512(block) });
        }
        all
    }
}
