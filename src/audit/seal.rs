//! Seals: signed statements of how far a segment of the audit log has come.
//!
//! A seal is a file of two lines: the statement as JSON, and the Ed25519 signature (RFC 8032) over that
//! line, newline included, in base64.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::chain::Link;

/// What is signed of one segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    format: Format,
    /// Its number, from 1.
    pub segment: u64,
    /// When it was begun.
    pub began: Timestamp,
    /// When this was stated.
    pub at: Timestamp,
    /// Its lines up to here.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The link before its first line: the last one of the segment before.
    pub first: Link,
    /// The link after the last of these lines.
    pub last: Link,
}

/// What the statement is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "portcullis-audit/1")]
    One,
}

/// Why a seal proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// It is not two lines, or not a statement.
    #[error("the seal is damaged")]
    Damaged,
    /// Somebody else signed, or the statement was changed.
    #[error("the seal is not signed by the key {0}")]
    Foreign(Fingerprint),
}

impl Statement {
    /// The statement of a segment without a line.
    pub fn begin(segment: u64, first: Link, now: Timestamp) -> Self {
        Self {
            format: Format::One,
            segment,
            began: now,
            at: now,
            lines: 0,
            bytes: 0,
            first,
            last: first,
        }
    }

    /// Goes on by one line.
    pub fn push(&mut self, line: &[u8]) {
        self.lines += 1;
        self.bytes += line.len() as u64;
        self.last = self.last.after(line);
    }

    /// The seal with this statement.
    pub fn sealed(&self, key: &SigningKey) -> Vec<u8> {
        let mut seal = serde_json::to_vec(self).unwrap_or_default();
        seal.push(b'\n');
        let signature = key.0.sign(&seal);
        seal.extend_from_slice(STANDARD.encode(signature).as_bytes());
        seal.push(b'\n');
        seal
    }

    /// What a seal states, whoever wrote it.
    pub fn unverified(seal: &[u8]) -> Option<Self> {
        let statement = seal.split(|byte| *byte == b'\n').next()?;
        serde_json::from_slice(statement).ok()
    }

    /// What a seal states, if this key signed it.
    pub fn verified(seal: &[u8], key: &PublicKey) -> Result<Self, SealError> {
        let mut lines = seal.split_inclusive(|byte| *byte == b'\n');
        let (Some(statement), Some(signature), None) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(SealError::Damaged);
        };
        let signature = STANDARD
            .decode(signature.trim_ascii_end())
            .map_err(|_| SealError::Damaged)?;
        UnparsedPublicKey::new(&ED25519, key.0)
            .verify(statement, &signature)
            .map_err(|_| SealError::Foreign(key.fingerprint()))?;
        serde_json::from_slice(statement).map_err(|_| SealError::Damaged)
    }
}

/// What seals are signed with.
#[derive(Debug)]
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// A new one, as PEM (PKCS #8) and ready.
    pub fn generate() -> Option<(String, Self)> {
        let pair = Ed25519KeyPair::generate().ok()?;
        let document = pair.to_pkcs8v1().ok()?;
        Some((pem("PRIVATE KEY", document.as_ref()), Self(pair)))
    }

    /// Reads the PEM.
    pub fn read(text: &[u8]) -> Option<Self> {
        let document = PrivatePkcs8KeyDer::from_pem_slice(text).ok()?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document.secret_pkcs8_der());
        pair.ok().map(Self)
    }

    /// What verifies its seals.
    pub fn public(&self) -> PublicKey {
        let mut key = [0; KEY_BYTES];
        key.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(key)
    }
}

const KEY_BYTES: usize = 32;
/// What stands before the key in a `SubjectPublicKeyInfo` (RFC 8410 §4).
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// What verifies seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// As PEM, which `openssl pkeyutl -verify -rawin` takes.
    pub fn pem(&self) -> String {
        pem("PUBLIC KEY", &[&SPKI[..], &self.0].concat())
    }

    /// Reads the PEM of a public key, or that of a private one.
    pub fn read(text: &[u8]) -> Option<Self> {
        if let Some(key) = SigningKey::read(text) {
            return Some(key.public());
        }
        let document = SubjectPublicKeyInfoDer::from_pem_slice(text).ok()?;
        let key = document.strip_prefix(&SPKI)?;
        key.try_into().ok().map(Self)
    }

    /// Its name for people.
    pub fn fingerprint(&self) -> Fingerprint {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.0);
        let mut name = [0; 8];
        for (to, from) in name.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Fingerprint(name)
    }
}

/// The first 8 bytes of the SHA-256 of a public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 8]);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&HEXLOWER.encode_display(&self.0), formatter)
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, formatter)
    }
}

/// RFC 7468; everything here fits on two lines.
fn pem(label: &str, document: &[u8]) -> String {
    let text = STANDARD.encode(document);
    let mut lines = String::new();
    for (at, c) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            lines.push('\n');
        }
        lines.push(c);
    }
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_believed_only_as_it_was_signed() {
        let (private, key) = SigningKey::generate().unwrap();
        let mut statement = Statement::begin(1, Link::GENESIS, Timestamp::UNIX_EPOCH);
        statement.push(b"a line\n");
        let seal = statement.sealed(&key);
        let public = PublicKey::read(key.public().pem().as_bytes()).unwrap();
        assert_eq!(PublicKey::read(private.as_bytes()), Some(public));
        assert_eq!(Statement::verified(&seal, &public), Ok(statement));
        for at in 0..seal.len() {
            let mut changed = seal.clone();
            changed[at] ^= 1;
            assert!(Statement::verified(&changed, &public).is_err(), "byte {at}");
            // The last byte is the newline behind the signature.
            if at + 1 < seal.len() {
                assert!(
                    Statement::verified(&seal[..at], &public).is_err(),
                    "cut at {at}"
                );
            }
        }
        let other = SigningKey::generate().unwrap().1.public();
        assert_eq!(
            Statement::verified(&seal, &other),
            Err(SealError::Foreign(other.fingerprint()))
        );
    }
}
