//! What stands in the place of a masked value.
//!
//! ```text
//! [masked:v1:3f9a1c2e77d04b518a6b0c9d2e4f6071a1b2c3d4e5]
//!  |      |  |                               |
//!  |      |  |                               tag: this gateway made it (HMAC over the digest)
//!  |      |  digest: HMAC over the value; equal for equal values, says nothing else
//!  |      version of the form
//!  the family, by which placeholders of other gateways are known
//! ```
//!
//! In answers to writes the digest says nothing at all: whoever may write could otherwise put guesses
//! beside a masked value, with `dryRun=All` even without a trace, and see which placeholder is equal.
//!
//! The length is always the same, so a value's length stays hidden. Where a client expects base64
//! the placeholder is encoded, and its digest is taken over the bytes that the value's base64 stands
//! for: the same secret has one digest in `data` and in `stringData`. A value that is not valid
//! base64 there is digested as it stands from the first wrong group on.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How every placeholder of this version begins, from any gateway.
pub(super) const FAMILY: &str = "[masked:v1:";

/// What stands for every byte of a value that is too short for a placeholder and must keep its length:
/// ASCII's own substitute character.
pub(super) const FILL: u8 = 0x1a;

const DIGEST_BYTES: usize = 16;
const TAG_BYTES: usize = 5;
const HEX_LENGTH: usize = 2 * (DIGEST_BYTES + TAG_BYTES);

/// Bytes of base64 decoded at once.
const BASE64_BLOCK: usize = 1024;

/// Marks, inside the digested bytes, where a value stopped being base64.
const NOT_BASE64: &[u8] = b"\0not base64\0";

/// Marks a value that is not a string.
const NOT_TEXT: &[u8] = b"\0json\0";

/// Makes placeholders and knows them again; one key a gateway.
pub struct Placeholders {
    digest: hmac::Key,
    tag: hmac::Key,
    /// What digests that may not be compared begin with: random, then counted on.
    unlinkable: [u8; 16],
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

/// A placeholder, as text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placeholder(String);

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
        let derive =
            |purpose: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, purpose).as_ref());
        Self {
            digest: derive(b"portcullis placeholder digest"),
            tag: derive(b"portcullis placeholder tag"),
            unlinkable: random(),
            used: AtomicU64::new(0),
        }
    }

    /// The placeholder of a value.
    pub fn of(&self, value: impl AsRef<[u8]>) -> Placeholder {
        let mut digest = self.start(Content::Text, Linkable::Yes);
        digest.update(value.as_ref());
        self.finish(digest)
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
        let mut context = hmac::Context::with_key(&self.digest);
        if linkable == Linkable::No {
            context.update(&self.unlinkable);
            context.update(&self.used.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        }
        if content == Content::Json {
            context.update(NOT_TEXT);
        }
        Digest {
            context,
            base64: (content == Content::Base64).then(Groups::default),
        }
    }

    pub(super) fn finish(&self, mut digest: Digest) -> Placeholder {
        digest.end_of_base64();
        let digest = hexadecimal(digest.context.sign().as_ref(), DIGEST_BYTES);
        let tag = self.tag_of(&digest);
        Placeholder(format!("{FAMILY}{digest}{tag}]"))
    }

    fn tag_of(&self, digest: &str) -> String {
        hexadecimal(hmac::sign(&self.tag, digest.as_bytes()).as_ref(), TAG_BYTES)
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
        // The tag is no credential: whoever reads masked objects has seen many.
        self.tag_of(digest) == tag
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

impl Placeholder {
    /// How many bytes every placeholder has.
    pub const LENGTH: usize = FAMILY.len() + HEX_LENGTH + 1;

    /// As text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// As many bytes as the value has, where its length cannot change. A value too short for the family's
    /// prefix becomes [`FILL`], which is known again only when it is all of a value.
    pub(super) fn fitted(&self, length: usize) -> Vec<u8> {
        let mut text = self.0.as_bytes().to_vec();
        if length < FAMILY.len() {
            text.clear();
        }
        text.resize(length, if length < FAMILY.len() { FILL } else { b'.' });
        text
    }

    /// The bytes `from..to` of what [`Self::fitted`] makes of a value that has `to` bytes at least.
    pub(super) fn fitted_part(&self, from: usize, to: usize) -> Vec<u8> {
        let text = self.0.as_bytes();
        let mut part = text
            .get(from..to.min(text.len()))
            .unwrap_or_default()
            .to_vec();
        part.resize(to - from, b'.');
        part
    }

    /// As padded base64, for fields that hold bytes.
    pub fn base64(&self) -> String {
        STANDARD.encode(&self.0)
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
    context: hmac::Context,
    base64: Option<Groups>,
}

/// Groups of four base64 characters.
#[derive(Default)]
struct Groups {
    open: [u8; 4],
    length: usize,
    padded: bool,
}

impl Digest {
    pub(super) fn update(&mut self, text: &[u8]) {
        let mut rest = text;
        while let (Some(groups), false) = (&mut self.base64, rest.is_empty()) {
            if groups.length == 0 && !groups.padded {
                let whole = (rest.len() - rest.len() % 4).min(BASE64_BLOCK);
                let (block, after) = rest.split_at(whole);
                let mut decoded = [0; BASE64_BLOCK];
                if !block.is_empty()
                    && !block.contains(&b'=')
                    && let Ok(length) = STANDARD.decode_slice(block, &mut decoded)
                {
                    self.context
                        .update(decoded.get(..length).unwrap_or_default());
                    rest = after;
                    continue;
                }
            }
            let Some((byte, after)) = rest.split_first() else {
                break;
            };
            rest = after;
            self.group(*byte);
        }
        if self.base64.is_none() && !rest.is_empty() {
            self.context.update(rest);
        }
    }

    fn group(&mut self, byte: u8) {
        let Some(groups) = &mut self.base64 else {
            return;
        };
        if let Some(place) = groups.open.get_mut(groups.length) {
            *place = byte;
            groups.length += 1;
        }
        if groups.length < 4 && !groups.padded {
            return;
        }
        let mut decoded = [0; 8];
        match STANDARD.decode_slice(groups.open, &mut decoded) {
            Ok(length) if !groups.padded => {
                groups.padded = groups.open.contains(&b'=');
                groups.length = 0;
                self.context
                    .update(decoded.get(..length).unwrap_or_default());
            }
            _ => self.end_of_base64(),
        }
    }

    /// What is left cannot be base64: it is digested as it stands, and so is all that follows.
    fn end_of_base64(&mut self) {
        let Some(groups) = self.base64.take() else {
            return;
        };
        if groups.length > 0 {
            self.context.update(NOT_BASE64);
            let open = groups.open.get(..groups.length).unwrap_or_default();
            self.context.update(open);
        }
    }
}

/// The first `length` bytes as digits.
pub(super) fn hexadecimal(bytes: &[u8], length: usize) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(2 * length);
    for byte in bytes.iter().take(length) {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base64_digest(pieces: &[&[u8]]) -> Placeholder {
        let placeholders = Placeholders::new(&[7; 32]);
        let mut digest = placeholders.start(Content::Base64, Linkable::Yes);
        for piece in pieces {
            digest.update(piece);
        }
        placeholders.finish(digest)
    }

    #[test]
    fn c_50_answers_to_writes_cannot_be_compared_with_anything() {
        let placeholders = Placeholders::new(&[7; 32]);
        let of = |linkable| {
            let mut digest = placeholders.start(Content::Text, linkable);
            digest.update(b"correct-horse-battery");
            placeholders.finish(digest).text().to_owned()
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
    fn base64_is_digested_decoded() {
        let placeholders = Placeholders::new(&[7; 32]);
        for value in ["", "p", "pa", "pas", "S3cr3t-Pa55w0rd!"] {
            let encoded = STANDARD.encode(value);
            assert_eq!(base64_digest(&[encoded.as_bytes()]), placeholders.of(value));
        }
        let odd: Vec<_> = [
            "cA==x", "cA==", "cA=", "cA", "c", "%%%%", "cAAA%", "cA==cA==",
        ]
        .into_iter()
        .map(|value| base64_digest(&[value.as_bytes()]))
        .collect();
        for (place, placeholder) in odd.iter().enumerate() {
            assert!(!odd[..place].contains(placeholder), "{place}");
        }
    }

    proptest! {
        #[test]
        fn cutting_base64_anywhere_changes_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..2000), noise in "[=%A]{0,3}",
            cuts in prop::collection::vec(0_usize..4000, 0..4),
        ) {
            let text = STANDARD.encode(&bytes) + &noise;
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            pieces.push(&text.as_bytes()[from..]);
            prop_assert_eq!(base64_digest(&pieces), base64_digest(&[text.as_bytes()]));
        }
    }
}
