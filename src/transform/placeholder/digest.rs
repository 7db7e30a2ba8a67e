//! What a placeholder says of a value: a digest, and a tag by which the gateway knows it as its own.
//!
//! ```text
//! value -> hash (AEGIS) -+-> digest (AES-256)
//!                        '-> tag    (AES-256 with another key, its first bytes)
//! ```
//!
//! The hash is the message authentication code that AEGIS gives to the value (RFC 10032). It serves as a universal hash
//! with a secret key: without the key nobody finds two values that share one, but for one chance in 2^128 with each pair.
//! AES makes of it what nobody without the key can tell from random, so a digest says of a value only whether it is
//! equal to another, whoever chose the two. Who knows the keys goes back from the digest to the hash, and from there to
//! the tag: it is not made of the digest, because then one would have to wait for the other.
//!
//! AEGIS because it is the fastest: Secrets are mostly values. Most of them are short, and then AEGIS-128L is done in half
//! the time; AEGIS-128X2 takes the others at twice the speed. Each has a key of its own.

use std::fmt;

use aegis::aegis128l::Aegis128LMac;
use aegis::aegis128x2::Aegis128X2Mac;
use aes::Aes256;
use aes::cipher::{BlockDecrypt as _, BlockEncrypt as _, KeyInit as _};

/// The digest, in bytes.
pub(super) const DIGEST_BYTES: usize = 16;

/// The tag, in bytes.
pub(super) const TAG_BYTES: usize = 5;

/// Both.
pub(super) const SEAL_BYTES: usize = DIGEST_BYTES + TAG_BYTES;

/// Up to so many bytes a value is short: both kinds of AEGIS take the same time for it.
pub(super) const SHORT_BYTES_MAX: usize = 512;

/// The keys of the hashes for one purpose.
pub(super) struct HashKey {
    short: Short,
    long: Long,
}

/// A hash in the making; the value is not kept.
pub(super) struct Hashing {
    /// Of no use once the value is long.
    short: Short,
    long: Long,
    length: usize,
}

/// The keys of what is made of hashes.
pub(super) struct SealKey {
    digest: Aes256,
    tag: Aes256,
}

type Short = Aegis128LMac<DIGEST_BYTES>;
type Long = Aegis128X2Mac<DIGEST_BYTES>;
pub(super) type Hash = [u8; DIGEST_BYTES];

impl HashKey {
    /// The key's halves are the keys of the two.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let (short, long) = halves(key);
        Self {
            short: Short::new(short),
            long: Long::new(long),
        }
    }

    /// The hash of a value that is all there. What is in the making has hundreds of bytes, and stays where it is.
    pub(super) fn of(&self, value: &[u8]) -> Hash {
        if value.len() <= SHORT_BYTES_MAX {
            let mut hash = self.short.clone();
            hash.update(value);
            hash.finalize_and_reset()
        } else {
            let mut hash = self.long.clone();
            hash.update(value);
            hash.finalize_and_reset()
        }
    }

    /// The same of one that is long; `each` hands it over in pieces.
    pub(super) fn of_long(&self, each: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Hash {
        let mut hash = self.long.clone();
        each(&mut |piece| hash.update(piece));
        hash.finalize_and_reset()
    }

    pub(super) fn start(&self) -> Hashing {
        Hashing {
            short: self.short.clone(),
            long: self.long.clone(),
            length: 0,
        }
    }
}

fn halves(key: &[u8; 32]) -> (&[u8; 16], &[u8; 16]) {
    match key.as_chunks() {
        ([first, second], []) => (first, second),
        _ => unreachable!("32 bytes are twice 16"),
    }
}

impl Hashing {
    pub(super) fn update(&mut self, text: &[u8]) {
        self.length = self.length.saturating_add(text.len());
        if self.length <= SHORT_BYTES_MAX {
            self.short.update(text);
        }
        self.long.update(text);
    }

    pub(super) fn finish(self) -> Hash {
        if self.length <= SHORT_BYTES_MAX {
            self.short.finalize()
        } else {
            self.long.finalize()
        }
    }
}

impl SealKey {
    pub(super) fn new(digest: &[u8; 32], tag: &[u8; 32]) -> Self {
        Self {
            digest: Aes256::new(digest.into()),
            tag: Aes256::new(tag.into()),
        }
    }

    /// The digest, and the tag behind it.
    pub(super) fn seal(&self, hash: Hash) -> [u8; SEAL_BYTES] {
        let mut digest = hash;
        self.digest.encrypt_block((&mut digest).into());
        let mut seal = [0; SEAL_BYTES];
        let (first, second) = seal.split_at_mut(DIGEST_BYTES);
        first.copy_from_slice(&digest);
        second.copy_from_slice(&self.tag(hash));
        seal
    }

    /// The tag that belongs to this digest.
    pub(super) fn tag_of(&self, digest: [u8; DIGEST_BYTES]) -> [u8; TAG_BYTES] {
        let mut hash = digest;
        self.digest.decrypt_block((&mut hash).into());
        self.tag(hash)
    }

    fn tag(&self, hash: Hash) -> [u8; TAG_BYTES] {
        let mut tag = hash;
        self.tag.encrypt_block((&mut tag).into());
        tag.first_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HashKey(..)")
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SealKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    fn bytes(digits: &str) -> Vec<u8> {
        HEXLOWER.decode(digits.as_bytes()).unwrap()
    }

    fn hash(key: [u8; 32], pieces: &[impl AsRef<[u8]>]) -> Hash {
        let mut hashing = HashKey::new(&key).start();
        for piece in pieces {
            hashing.update(piece.as_ref());
        }
        hashing.finish()
    }

    fn encrypted(key: u8, mut block: [u8; 16]) -> [u8; 16] {
        let key = UnboundCipherKey::new(&AES_256, &[key; 32]).unwrap();
        let key = EncryptingKey::ecb(key).unwrap();
        key.encrypt(&mut block).unwrap();
        block
    }

    /// With whatever instructions this machine has.
    #[test]
    fn the_hashes_are_the_tags_of_the_rfc() {
        let key = bytes("10010000000000000000000000000000");
        let nonce = bytes("10000200000000000000000000000000");
        let (key, nonce) = (key.first_chunk().unwrap(), nonce.first_chunk().unwrap());
        let value: Vec<u8> = (0..=0x22).collect();
        let mut short = Short::new_with_nonce(key, nonce);
        short.update(&value);
        let tag = bytes("d3f09b2842ad301687d6902c921d7818");
        assert_eq!(&short.finalize()[..], tag);
        let mut long = Long::new_with_nonce(key, nonce);
        long.update(&value);
        let tag = bytes("6873ee34e6b5c59143b6d35c5e4f2c6e");
        assert_eq!(&long.finalize()[..], tag);
    }

    proptest! {
        #[test]
        fn it_is_the_tag_however_the_value_comes(
            first: [u8; 16], second: [u8; 16],
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        ) {
            let value = pieces.concat();
            let tag = if value.len() <= 512 {
                let mut tag = Short::new(&first);
                tag.update(&value);
                tag.finalize()
            } else {
                let mut tag = Long::new(&second);
                tag.update(&value);
                tag.finalize()
            };
            let mut key = [0; 32];
            key[..16].copy_from_slice(&first);
            key[16..].copy_from_slice(&second);
            prop_assert_eq!(hash(key, &pieces), tag);
            prop_assert_eq!(HashKey::new(&key).of(&value), tag);
        }

        #[test]
        fn digest_and_tag_are_the_hash_encrypted(hash: Hash, digest: u8, tag: u8) {
            let key = SealKey::new(&[digest; 32], &[tag; 32]);
            let seal = key.seal(hash);
            let (first, second) = seal.split_first_chunk().unwrap();
            prop_assert_eq!(first, &encrypted(digest, hash));
            prop_assert_eq!(second, &encrypted(tag, hash)[..TAG_BYTES]);
            prop_assert_eq!(second, key.tag_of(*first));
        }
    }

    #[test]
    fn it_depends_on_the_value_and_on_the_key() {
        for length in [5, 512, 513] {
            let value = vec![b'v'; length];
            let one = hash([1; 32], &[&value]);
            assert_ne!(one, hash([2; 32], &[&value]));
            assert_ne!(one, hash([1; 32], &[&value[..], b"\0"]));
            assert_eq!(one, hash([1; 32], &[&value[..2], b"", &value[2..]]));
        }
    }
}
