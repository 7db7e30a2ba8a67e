//! What stands in the place of a masked value.
//!
//! ```text
//! [masked:v1:3f9a1c2e77d04b518a6b0c9d2e4f6071a1b2c3d4e5]
//!  |      |  |                               |
//!  |      |  |                               tag: this gateway made it
//!  |      |  digest: keyed, of the value; equal for equal values, says nothing else ([`digest`])
//!  |      version of the form
//!  the family, by which placeholders of other gateways are known
//! ```
//!
//! In answers to writes the digest says nothing at all: whoever may write could otherwise put guesses
//! beside a masked value, with `dryRun=All` even without a trace, and see which placeholder is equal.
//!
//! The length is always the same, so a value's length stays hidden. The digest is taken over the base64 of
//! a value: where a client expects base64 that is the value as it stands, so the same secret has one
//! digest in `data` and in `stringData`, and what is not base64 there has another than any text.

mod digest;
mod digits;

use std::fmt;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use aes::Aes256;
use aes::cipher::{BlockEncrypt as _, KeyInit as _};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use base64::engine::{Simd, general_purpose::PAD};
use data_encoding::HEXLOWER;

use self::digest::{
    DIGEST_BYTES, Hash, HashKey, Hashing, SEAL_BYTES, SHORT_BYTES_MAX, SealKey, TAG_BYTES,
};

/// How every placeholder of this version begins, from any gateway.
pub(super) const FAMILY: &str = "[masked:v1:";

/// What stands for every byte of a value that is too short for a placeholder and must keep its length:
/// ASCII's own substitute character.
pub(super) const FILL: u8 = 0x1a;

/// The bytes of a placeholder as base64.
const ENCODED_LENGTH: usize = Placeholder::LENGTH / 3 * 4;
const _: () = assert!(Placeholder::LENGTH.is_multiple_of(3));

/// Bytes of text that are turned into base64 at once: a multiple of three.
const PLAIN_BLOCK: usize = 768;

/// What they become.
const ENCODED_BLOCK: usize = PLAIN_BLOCK / 3 * 4;

const _: () = assert!(
    ENCODED_BLOCK > SHORT_BYTES_MAX,
    "what is more than a block is long"
);

/// So many blocks of a text that is all there become base64 at once: the library turns the end of what it is given a
/// byte at a time.
const BLOCKS_AT_ONCE: usize = 2;

/// Standard base64, with the vectors that the processor has, where the library knows them.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static BLOCKS: LazyLock<Simd> = LazyLock::new(|| Simd::standard(PAD));
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static BLOCKS: base64::engine::GeneralPurpose = STANDARD;

/// Makes placeholders and knows them again; one key a gateway.
pub struct Placeholders {
    text: HashKey,
    json: HashKey,
    unlinkable: Aes256,
    seal: SealKey,
    /// What digests that may not be compared are made of: random, then counted on.
    start: u128,
    used: AtomicU64,
}

/// Whether two placeholders may be compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Linkable {
    /// Reads: equal values have equal placeholders, a changed value has another.
    Yes,
    /// Answers to writes: every placeholder is new.
    No,
}

/// What a placeholder says: the digest, and the tag behind it.
#[derive(Clone, Copy)]
pub(super) struct Seal([u8; SEAL_BYTES]);

/// A placeholder, as text.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Placeholder([u8; Self::LENGTH]);

/// Whose placeholder a text holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// Made with this key.
    Own,
    /// Made by another gateway, or with an earlier key, or damaged.
    Foreign,
}

impl Placeholders {
    /// From the gateway's secret key.
    pub fn new(key: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let derive = |purpose: &[u8]| {
            let mut derived = [0; 32];
            derived.copy_from_slice(hmac::sign(&key, purpose).as_ref());
            derived
        };
        Self {
            text: HashKey::new(&derive(b"portcullis placeholder hash of text")),
            json: HashKey::new(&derive(b"portcullis placeholder hash of json")),
            unlinkable: Aes256::new(&derive(b"portcullis placeholder unlinkable").into()),
            seal: SealKey::new(
                &derive(b"portcullis placeholder digest"),
                &derive(b"portcullis placeholder tag"),
            ),
            start: u128::from_le_bytes(random()),
            used: AtomicU64::new(0),
        }
    }

    /// The placeholder of a value.
    pub fn of(&self, value: impl AsRef<[u8]>) -> Placeholder {
        self.whole(Content::Text, Linkable::Yes, value.as_ref())
            .placeholder()
    }

    /// The seal of a value that is all there: what [`Self::start`] and [`Self::finish`] make of it in pieces.
    pub(super) fn whole(&self, content: Content, linkable: Linkable, value: &[u8]) -> Seal {
        let hash = match (linkable, content) {
            (Linkable::No, _) => self.new_hash(),
            (Linkable::Yes, Content::Json) => self.json.of(value),
            (Linkable::Yes, Content::Base64) => self.text.of(value),
            (Linkable::Yes, Content::Text) if value.len() <= PLAIN_BLOCK => {
                let mut encoded = [0; ENCODED_BLOCK];
                self.text.of(encode(value, &mut encoded))
            }
            (Linkable::Yes, Content::Text) => self.text.of_long(|update| {
                let mut encoded = [0; BLOCKS_AT_ONCE * ENCODED_BLOCK];
                for blocks in value.chunks(BLOCKS_AT_ONCE * PLAIN_BLOCK) {
                    update(encode(blocks, &mut encoded));
                }
            }),
        };
        Seal(self.seal.seal(hash))
    }

    /// Whose placeholder the text holds, if any.
    pub fn recognise(&self, text: &str) -> Option<Origin> {
        let text = text.to_ascii_lowercase();
        let mut found = None;
        for (at, _) in text.match_indices(FAMILY) {
            let body = text.get(at + FAMILY.len()..).unwrap_or_default();
            if self.verify(body) {
                return Some(Origin::Own);
            }
            found = Some(Origin::Foreign);
        }
        found
    }

    pub(super) fn start(&self, content: Content, linkable: Linkable) -> Digest {
        let hashing = match content {
            Content::Text | Content::Base64 => self.text.start(),
            Content::Json => self.json.start(),
        };
        Digest {
            hashing,
            content,
            linkable,
            open: [0; 3],
            open_length: 0,
        }
    }

    pub(super) fn finish(&self, mut digest: Digest) -> Seal {
        digest.end_of_text();
        Seal(self.seal.seal(match digest.linkable {
            Linkable::Yes => digest.hashing.finish(),
            Linkable::No => self.new_hash(),
        }))
    }

    /// A hash of nothing, other than all before.
    fn new_hash(&self) -> Hash {
        let number = u128::from(self.used.fetch_add(1, Ordering::Relaxed));
        let mut hash = self.start.wrapping_add(number).to_le_bytes();
        self.unlinkable.encrypt_block((&mut hash).into());
        hash
    }

    fn verify(&self, body: &str) -> bool {
        let Some((digest, rest)) = body.split_at_checked(2 * DIGEST_BYTES) else {
            return false;
        };
        let (Some(tag), Some("]")) = (
            rest.get(..2 * TAG_BYTES),
            rest.get(2 * TAG_BYTES..=2 * TAG_BYTES),
        ) else {
            return false;
        };
        let mut bytes = [0; DIGEST_BYTES];
        if HEXLOWER.decode_mut(digest.as_bytes(), &mut bytes).is_err() {
            return false;
        }
        // The tag is no credential: whoever reads masked objects has seen many.
        HEXLOWER.encode(&self.seal.tag_of(bytes)) == tag
    }
}

/// Sixteen random bytes. Should the system have none, the counter still keeps placeholders apart.
fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok();
    bytes
}

impl fmt::Debug for Placeholders {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Placeholders(..)")
    }
}

impl Seal {
    /// As text.
    pub(super) fn placeholder(&self) -> Placeholder {
        let mut text = [b']'; Placeholder::LENGTH];
        let (family, digits) = text.split_at_mut(FAMILY.len());
        family.copy_from_slice(FAMILY.as_bytes());
        digits::write_hex(&self.0, digits);
        Placeholder(text)
    }

    /// As a JSON string that holds the text's padded base64.
    pub(super) fn quoted_base64(&self) -> [u8; ENCODED_LENGTH + 2] {
        let mut quoted = [b'"'; ENCODED_LENGTH + 2];
        let (_, inside) = quoted.split_at_mut(1);
        digits::write_base64(&self.0, inside);
        quoted
    }
}

impl Placeholder {
    /// How many bytes every placeholder has.
    pub const LENGTH: usize = FAMILY.len() + 2 * (DIGEST_BYTES + TAG_BYTES) + 1;

    /// As text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default() // it is ASCII
    }

    /// As text, for what is written.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As many bytes as the value has, where its length cannot change. A value too short for the family's
    /// prefix becomes [`FILL`], which is known again but for a single one at the end of a text.
    pub(super) fn fitted(&self, length: usize) -> Vec<u8> {
        let mut text = self.0.to_vec();
        if length < FAMILY.len() {
            text.clear();
        }
        text.resize(length, if length < FAMILY.len() { FILL } else { b'.' });
        text
    }

    /// The bytes `from..to` of what [`Self::fitted`] makes of a value that has `to` bytes at least.
    pub(super) fn fitted_part(&self, from: usize, to: usize) -> Vec<u8> {
        let mut part = self
            .0
            .get(from..to.min(Self::LENGTH))
            .unwrap_or_default()
            .to_vec();
        part.resize(to - from, b'.');
        part
    }

    /// As padded base64, for fields that hold bytes.
    pub fn base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// As a JSON string.
    pub(super) fn quoted(&self) -> [u8; Self::LENGTH + 2] {
        let mut quoted = [b'"'; Self::LENGTH + 2];
        for (place, byte) in quoted.iter_mut().skip(1).zip(self.0) {
            *place = byte;
        }
        quoted
    }
}

impl fmt::Debug for Placeholder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}

/// What the digested bytes are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Content {
    /// The text of a string.
    Text,
    /// The text of a string that holds base64.
    Base64,
    /// A value that is not a string, as written.
    Json,
}

/// A digest in the making; the value never is in memory as a whole.
pub(super) struct Digest {
    hashing: Hashing,
    content: Content,
    linkable: Linkable,
    /// Bytes of a text that do not make a group of base64 yet.
    open: [u8; 3],
    open_length: usize,
}

impl Digest {
    pub(super) fn update(&mut self, text: &[u8]) {
        match (self.linkable, self.content) {
            (Linkable::No, _) => {} // nothing of the value counts
            (Linkable::Yes, Content::Base64 | Content::Json) => self.hashing.update(text),
            (Linkable::Yes, Content::Text) => self.encode(text),
        }
    }

    /// Takes the base64 of a text.
    fn encode(&mut self, text: &[u8]) {
        let mut rest = text;
        while self.open_length > 0 {
            let Some((byte, after)) = rest.split_first() else {
                return;
            };
            rest = after;
            if let Some(place) = self.open.get_mut(self.open_length) {
                *place = *byte;
            }
            self.open_length = (self.open_length + 1) % self.open.len();
            if self.open_length == 0 {
                let open = self.open;
                self.take(&open);
            }
        }
        let (whole, open) = rest.split_at(rest.len() - rest.len() % self.open.len());
        for block in whole.chunks(PLAIN_BLOCK) {
            self.take(block);
        }
        self.open_length = open.len();
        for (place, byte) in self.open.iter_mut().zip(open) {
            *place = *byte;
        }
    }

    fn take(&mut self, plain: &[u8]) {
        let mut encoded = [0; ENCODED_BLOCK];
        self.hashing.update(encode(plain, &mut encoded));
    }

    fn end_of_text(&mut self) {
        let open = self.open;
        if let Some(open @ [_, ..]) = open.get(..self.open_length) {
            self.take(open);
        }
    }
}

/// A block of text, or several, as base64.
fn encode<'a>(plain: &[u8], encoded: &'a mut [u8]) -> &'a [u8] {
    let length = BLOCKS.encode_slice(plain, &mut *encoded);
    let encoded = encoded.get(..length.unwrap_or_default());
    encoded.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(content: Content, pieces: &[&[u8]]) -> Placeholder {
        let placeholders = Placeholders::new(&[7; 32]);
        let mut digest = placeholders.start(content, Linkable::Yes);
        for piece in pieces {
            digest.update(piece);
        }
        placeholders.finish(digest).placeholder()
    }

    #[test]
    fn c_50_answers_to_writes_cannot_be_compared_with_anything() {
        let placeholders = Placeholders::new(&[7; 32]);
        let of = |linkable| {
            let mut digest = placeholders.start(Content::Text, linkable);
            digest.update(b"correct-horse-battery");
            placeholders.finish(digest).placeholder().text().to_owned()
        };
        assert_eq!(of(Linkable::Yes), of(Linkable::Yes));
        let (first, second) = (of(Linkable::No), of(Linkable::No));
        assert_ne!(first, second);
        assert_ne!(first, of(Linkable::Yes));
        assert_eq!(placeholders.recognise(&first), Some(Origin::Own));
    }

    #[test]
    fn c_80_a_placeholder_says_what_it_is_and_hides_the_length() {
        let placeholders = Placeholders::new(&[7; 32]);
        let (short, long) = (placeholders.of(""), placeholders.of("x".repeat(100_000)));
        for placeholder in [&short, &long] {
            assert!(placeholder.text().starts_with("[masked:v1:"));
            assert_eq!(placeholder.text().len(), Placeholder::LENGTH);
            let decoded = STANDARD.decode(placeholder.base64()).unwrap();
            assert_eq!(decoded, placeholder.text().as_bytes());
            let quoted = format!("{:?}", placeholder.text());
            assert_eq!(placeholder.quoted(), quoted.as_bytes());
        }
        assert_ne!(short, long);
        assert_eq!(short, placeholders.of(""));
        assert_ne!(short, Placeholders::new(&[8; 32]).of(""));
    }

    #[test]
    fn c_86_own_and_foreign_placeholders_are_told_apart() {
        let own = Placeholders::new(&[7; 32]);
        let other = Placeholders::new(&[8; 32]);
        let text = own.of("x").text().to_owned();
        assert_eq!(own.recognise(&text), Some(Origin::Own));
        assert_eq!(other.recognise(&text), Some(Origin::Foreign));
        let both = format!("a {} b {}\n", other.of("y").text(), text.to_uppercase());
        assert_eq!(own.recognise(&both), Some(Origin::Own));
        assert_eq!(
            own.recognise(&text.replace(']', "0]")),
            Some(Origin::Foreign)
        );
        assert_eq!(own.recognise("[masked]"), None);
        assert_eq!(own.recognise(FAMILY), Some(Origin::Foreign));
    }

    #[test]
    fn a_value_has_one_digest_as_text_and_as_base64() {
        let placeholders = Placeholders::new(&[7; 32]);
        for value in ["", "p", "pa", "pas", "S3cr3t-Pa55w0rd!"] {
            let encoded = STANDARD.encode(value);
            assert_eq!(
                digest(Content::Base64, &[encoded.as_bytes()]),
                placeholders.of(value)
            );
        }
        let odd: Vec<_> = [
            "cA==x", "cA==", "cA=", "cA", "c", "%%%%", "cAAA%", "cA==cA==",
        ]
        .into_iter()
        .map(|value| digest(Content::Base64, &[value.as_bytes()]))
        .collect();
        for (place, placeholder) in odd.iter().enumerate() {
            assert!(!odd[..place].contains(placeholder), "{place}");
        }
    }

    proptest! {
        #[test]
        fn cutting_anywhere_changes_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            cuts in prop::collection::vec(0_usize..4000, 0..4),
        ) {
            for content in [Content::Text, Content::Base64, Content::Json] {
                let mut cuts: Vec<_> = cuts.iter().map(|cut| *cut.min(&bytes.len())).collect();
                cuts.sort_unstable();
                let mut pieces = Vec::new();
                let mut from = 0;
                for cut in cuts {
                    pieces.push(&bytes[from..cut]);
                    from = cut;
                }
                pieces.push(&bytes[from..]);
                let whole = Placeholders::new(&[7; 32]).whole(content, Linkable::Yes, &bytes);
                prop_assert_eq!(digest(content, &pieces), whole.placeholder());
            }
            let encoded = STANDARD.encode(&bytes);
            let encoded = digest(Content::Base64, &[encoded.as_bytes()]);
            prop_assert_eq!(digest(Content::Text, &[&bytes]), encoded);
        }
    }
}
