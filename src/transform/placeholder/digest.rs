//! The keyed digest of a value: AES-256 of the tag that AEGIS-128X2 gives to the value as a message authentication
//! code (RFC 10032).
//!
//! The tag serves as a universal hash with a secret key: without the key nobody finds two values that share one, but
//! for one chance in 2^128 with each pair. AES makes of it what nobody without the key can tell from random, so a digest
//! says of a value only whether it is equal to another, whoever chose the two. AEGIS because it is the fastest:
//! Secrets are mostly values.

use std::fmt;

use aegis::aegis128x2::Aegis128X2Mac;
use aes::Aes256;
use aes::cipher::{BlockEncrypt as _, KeyInit as _};

/// The digest, in bytes.
pub(super) const DIGEST_BYTES: usize = 16;

/// The keys of the digests for one purpose.
pub(super) struct DigestKey {
    hash: Hash,
    cipher: Aes256,
}

/// A digest in the making; the value is not kept.
pub(super) struct Hashing(Hash);

type Hash = Aegis128X2Mac<DIGEST_BYTES>;

impl DigestKey {
    pub(super) fn new(hash: &[u8; 32], cipher: &[u8; 32]) -> Self {
        Self {
            hash: Hash::new(hash.first_chunk().unwrap_or(&[0; 16])),
            cipher: Aes256::new(cipher.into()),
        }
    }

    /// The digest of a value that is all there. The hash is 704 bytes, and stays where it is.
    pub(super) fn of(&self, value: &[u8]) -> [u8; DIGEST_BYTES] {
        let mut hash = self.hash.clone();
        hash.update(value);
        let mut digest = hash.finalize_and_reset();
        encrypt(&self.cipher, &mut digest);
        digest
    }

    pub(super) fn start(&self) -> Hashing {
        Hashing(self.hash.clone())
    }

    pub(super) fn finish(&self, hashing: Hashing) -> [u8; DIGEST_BYTES] {
        let mut digest = hashing.0.finalize();
        encrypt(&self.cipher, &mut digest);
        digest
    }
}

impl Hashing {
    pub(super) fn update(&mut self, text: &[u8]) {
        self.0.update(text);
    }
}

/// One block, in place.
pub(super) fn encrypt(cipher: &Aes256, block: &mut [u8; DIGEST_BYTES]) {
    cipher.encrypt_block(block.into());
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DigestKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::cipher::{AES_256, EncryptingKey, UnboundCipherKey};
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    fn digest(hash: u8, cipher: u8, pieces: &[impl AsRef<[u8]>]) -> [u8; DIGEST_BYTES] {
        let key = DigestKey::new(&[hash; 32], &[cipher; 32]);
        let mut hashing = key.start();
        for piece in pieces {
            hashing.update(piece.as_ref());
        }
        key.finish(hashing)
    }

    fn bytes(digits: &str) -> Vec<u8> {
        HEXLOWER.decode(digits.as_bytes()).unwrap()
    }

    /// With whatever instructions this machine has.
    #[test]
    fn the_hash_gives_the_tag_of_the_rfc() {
        let key = bytes("10010000000000000000000000000000");
        let nonce = bytes("10000200000000000000000000000000");
        let mut hash =
            Hash::new_with_nonce(key.first_chunk().unwrap(), nonce.first_chunk().unwrap());
        hash.update(&(0..=0x22).collect::<Vec<u8>>());
        let tag = bytes("6873ee34e6b5c59143b6d35c5e4f2c6e");
        assert_eq!(&hash.finalize()[..], tag);
    }

    proptest! {
        #[test]
        fn it_is_the_tag_encrypted_however_the_value_comes(
            hash: u8, cipher: u8,
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..6),
        ) {
            let mut tag = Hash::new(&[hash; 16]);
            tag.update(&pieces.concat());
            let mut block = tag.finalize();
            let other = UnboundCipherKey::new(&AES_256, &[cipher; 32]).unwrap();
            EncryptingKey::ecb(other).unwrap().encrypt(&mut block).unwrap();
            prop_assert_eq!(digest(hash, cipher, &pieces), block);
        }
    }

    #[test]
    fn it_depends_on_the_value_and_on_both_keys() {
        let one = digest(1, 2, &["value"]);
        assert_ne!(one, digest(3, 2, &["value"]));
        assert_ne!(one, digest(1, 3, &["value"]));
        assert_ne!(one, digest(1, 2, &["value\0"]));
        assert_eq!(one, digest(1, 2, &["val", "", "ue"]));
    }
}
