//! Which values are worth knowing: masking `default` or `true` wherever it stands would make logs
//! unreadable and protect nothing.

use crate::transform::placeholder::FAMILY;

/// Why a value is left out. Reported by number, never with the value.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum LeftOut {
    /// Fewer bytes than the configured minimum.
    Short,
    /// A word, a host name, a date: text that stands in logs for other reasons.
    Common,
    /// Too few different bytes to be a secret: `********`.
    Monotonous,
    /// Public by its kind: certificates, names of namespaces and users.
    Public,
    /// Longer than what is worth keeping in memory.
    Long,
    /// One of our own placeholders.
    Placeholder,
    /// No room: as much is known of the cluster as may be.
    Full,
}

impl LeftOut {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Short,
        Self::Common,
        Self::Monotonous,
        Self::Public,
        Self::Long,
        Self::Placeholder,
        Self::Full,
    ];

    /// The label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Common => "common",
            Self::Monotonous => "monotonous",
            Self::Public => "public",
            Self::Long => "long",
            Self::Placeholder => "placeholder",
            Self::Full => "full",
        }
    }
}

/// Longest value that is kept, in bytes: a private key of 16384 bits with its frame is under 13 KiB.
const BYTES_MAX: usize = 16 * 1024;

/// A value of letters alone is taken for a word or a name up to this many bytes.
const WORD_BYTES_MAX: usize = 11;

/// Longest name of an object (RFC 1123 label), in bytes.
const NAME_BYTES_MAX: usize = 63;

/// What keys have in them that name secrets.
const SECRET_KEYS: [&str; 7] = ["pass", "pwd", "secret", "token", "key", "cred", "auth"];

/// Fewer different bytes than this are a filler, not a secret.
const DISTINCT_BYTES_MIN: usize = 4;

/// Keys of Secrets whose values are public by convention: `kubernetes.io/tls`,
/// `kubernetes.io/service-account-token`, `kubernetes.io/basic-auth`, bootstrap tokens.
const PUBLIC_KEYS: [&str; 8] = [
    "ca.crt",
    "tls.crt",
    "namespace",
    "username",
    "token-id",
    "description",
    "expiration",
    "auth-extra-groups",
];

/// Whether the value under `key` of a Secret is to be known. `minimum` is in bytes, at least
/// [`super::index::KEY_BYTES`].
pub fn admit(key: &str, value: &[u8], minimum: usize) -> Result<(), LeftOut> {
    let value = value.trim_ascii();
    if PUBLIC_KEYS.contains(&key) {
        return Err(LeftOut::Public);
    }
    if value.len() < minimum.max(super::index::KEY_BYTES) {
        return Err(LeftOut::Short);
    }
    if value.len() > BYTES_MAX {
        return Err(LeftOut::Long);
    }
    let mut bytes = value.to_vec();
    bytes.sort_unstable();
    bytes.dedup();
    if bytes.len() < DISTINCT_BYTES_MIN {
        return Err(LeftOut::Monotonous);
    }
    if value.starts_with(FAMILY.as_bytes()) {
        return Err(LeftOut::Placeholder);
    }
    if value.len() <= WORD_BYTES_MAX && value.iter().all(u8::is_ascii_alphabetic)
        || is_object_name(value) && !says_secret(key)
        || is_host_name(value)
        || is_date(value)
    {
        return Err(LeftOut::Common);
    }
    Ok(())
}

/// `orders-db-primary`: what objects, users and databases are called. A key must say that it is a password.
fn is_object_name(value: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let words = value
        .split(|byte| *byte == b'-')
        .filter(|word| word.len() >= 2 && word.iter().all(u8::is_ascii_lowercase))
        .count();
    value.len() <= NAME_BYTES_MAX && value.iter().all(plain) && words >= 2
}

/// Does the key of a Secret say that its value is one?
fn says_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_KEYS.iter().any(|part| key.contains(part))
}

/// `db.payments.svc.cluster.local:5432`: dots between labels of lower-case letters, digits and
/// dashes, of which the last is letters. A secret of that shape is left out with them.
fn is_host_name(value: &[u8]) -> bool {
    let name = value
        .iter()
        .position(|byte| *byte == b':')
        .map_or(value, |at| value.get(..at).unwrap_or_default());
    let mut labels = name.split(|byte| *byte == b'.').peekable();
    let mut count = 0;
    while let Some(label) = labels.next() {
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        if label.is_empty() || label.len() > 63 || !label.iter().all(plain) {
            return false;
        }
        count += 1;
        if labels.peek().is_none() && !label.iter().all(u8::is_ascii_lowercase) {
            return false;
        }
    }
    count >= 2
}

/// `2026-11-21` or `2026-11-21T01:39:13Z`.
fn is_date(value: &[u8]) -> bool {
    let shape: Vec<u8> = value
        .iter()
        .take(10)
        .map(|byte| if byte.is_ascii_digit() { b'0' } else { *byte })
        .collect();
    shape == b"0000-00-00"
        && value.len() <= 35
        && value.iter().all(|byte| b"0123456789-:.TZ+".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_mask_ordinary_text_is_left_out() {
        for (key, value, expected) in [
            ("password", "correct-horse-battery", Ok(())),
            ("password", "hunter2!", Ok(())),
            ("pin", "4929031875530021", Ok(())),
            ("password", "hunter2", Err(LeftOut::Short)),
            ("password", "  hunter2 \n", Err(LeftOut::Short)),
            ("database", "postgresql", Err(LeftOut::Common)),
            (
                "host",
                "db.payments.svc.cluster.local:5432",
                Err(LeftOut::Common),
            ),
            ("host", "postgres.example.com", Err(LeftOut::Common)),
            ("database", "orders-db-primary-7", Err(LeftOut::Common)),
            ("value", "0d1b-77ce-a9b3", Ok(())),
            ("x", "4929-0318-7553", Ok(())),
            ("since", "2026-11-21T01:39:13Z", Err(LeftOut::Common)),
            ("mask", "************", Err(LeftOut::Monotonous)),
            (
                "ca.crt",
                "-----BEGIN CERTIFICATE-----",
                Err(LeftOut::Public),
            ),
            ("copied", "[masked:v1:00]", Err(LeftOut::Placeholder)),
        ] {
            assert_eq!(admit(key, value.as_bytes(), 8), expected, "{key}={value}");
        }
        assert_eq!(
            admit("key", &vec![b'a'; BYTES_MAX + 1], 8),
            Err(LeftOut::Long)
        );
        assert_eq!(admit("key", b"longer1-1", 10), Err(LeftOut::Short));
    }
}
