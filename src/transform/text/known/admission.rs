//! Which values are worth knowing: masking `default` or `true` wherever it stands would make logs
//! unreadable and protect nothing.

use std::net::{IpAddr, SocketAddr};

use super::forms::plain::plain;
use crate::transform::placeholder::FAMILY;

/// Why a value is left out. Reported by number, never with the value.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum LeftOut {
    /// Fewer bytes than the configured minimum.
    Short,
    /// A word, a host name, an address, a path, a date: text that stands in logs for other reasons.
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

/// The parts of a `CamelCase` word have no more letters than this, and there are no more of them. Longer ones
/// are letters at random.
const HUMP_BYTES_MAX: usize = 16;
const HUMPS_MAX: usize = 6;

/// Letters and digits of a path that are no word are no secret up to this many bytes.
const SHORT_BYTES_MAX: usize = 4;

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
    let text = std::str::from_utf8(value).unwrap_or_default();
    if value.len() <= WORD_BYTES_MAX && value.iter().all(u8::is_ascii_alphabetic)
        || (is_object_name(value) || is_word(text)) && !says_secret(key)
        || is_host_name(value)
        || is_address(text)
        || is_place(text)
        || is_date(value)
    {
        return Err(LeftOut::Common);
    }
    Ok(())
}

/// Is it an admitted value that is found in base64, in hexadecimal and escaped, but not as it is? The backslashes in
/// it read as escapes there, and too little is left.
pub(super) fn is_short_as_read(value: &[u8]) -> bool {
    plain(value.trim_ascii()).len() < super::index::KEY_BYTES
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
    let text = std::str::from_utf8(value).unwrap_or_default();
    let (name, port) = text.split_once(':').unwrap_or((text, "0"));
    if port.parse::<u16>().is_err() {
        return false;
    }
    let mut labels = name.split('.').map(str::as_bytes).peekable();
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

/// `10.96.0.15`, `10.96.0.15:5432`, `10.96.0.0/12`, `[fd00::1]:443`: also in the midst of other addresses.
fn is_address(text: &str) -> bool {
    let network = text.rsplit_once('/').filter(|(_, bits)| {
        let length = bits.parse::<u8>();
        length.is_ok_and(|length| length <= 128)
    });
    let address = network.map_or(text, |(address, _)| address);
    address.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok()
}

/// `https://api.example.org/v1/items`, `/var/lib/data`, `topology.kubernetes.io/zone`: where something is, if
/// nothing in it looks like a secret. No user, no query: those hold passwords and tokens.
fn is_place(text: &str) -> bool {
    let (scheme, place) = text.split_once("://").unwrap_or(("", text));
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let is_path = path.split('/').all(|part| {
        let words = part.split(['-', '_', '.']);
        part.is_empty()
            || words
                .into_iter()
                .all(|word| is_word(word) || is_short(word))
    });
    let named = scheme.bytes().all(|byte| byte.is_ascii_lowercase())
        && (is_host_name(host.as_bytes()) || is_address(host) || is_short_host(host));
    let rooted = host.is_empty() && scheme.is_empty() && !path.is_empty();
    let local = scheme == "file" && host.is_empty();
    let within = place.contains('/') && is_host_name(host.as_bytes());
    is_path && (rooted || local || within || !scheme.is_empty() && named)
}

/// `localhost`, `redis:6379`.
fn is_short_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    !name.is_empty() && name.bytes().all(plain) && port.parse::<u16>().is_ok()
}

/// `v1`, `2026`, `x86`: too short to be a secret by itself.
fn is_short(word: &str) -> bool {
    word.len() <= SHORT_BYTES_MAX && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// `production`, `ContainersReady`, `PROXY`: letters alone that can be pronounced, at least by their case.
fn is_word(text: &str) -> bool {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return false;
    }
    let mut humps: Vec<usize> = Vec::new();
    let mut before = b'A';
    for byte in text.bytes() {
        match humps.last_mut() {
            Some(hump) if !byte.is_ascii_uppercase() || before.is_ascii_uppercase() => *hump += 1,
            _ => humps.push(1),
        }
        before = byte;
    }
    let long = humps.iter().all(|hump| (2..=HUMP_BYTES_MAX).contains(hump));
    long && humps.len() <= HUMPS_MAX && 3 * humps.len() <= text.len()
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
            ("x", "john.doe:Passw0rd!", Ok(())),
            ("url", "https://john.doe:Passw0rd!@db/x", Ok(())),
            ("url", "Passw0rd!://localhost/", Ok(())),
            ("database", "orders-db-primary-7", Err(LeftOut::Common)),
            ("value", "0d1b-77ce-a9b3", Ok(())),
            ("x", "4929-0318-7553", Ok(())),
            ("password", "10.96.0.15", Err(LeftOut::Common)),
            ("host", "10.244.0.5:5432", Err(LeftOut::Common)),
            ("range", "10.244.0.0/16", Err(LeftOut::Common)),
            ("host", "[fd00:10::5]:443", Err(LeftOut::Common)),
            ("host", "fd00:10:244::5", Err(LeftOut::Common)),
            ("password", "kubernetes.io/hostname", Err(LeftOut::Common)),
            ("x", "topology.kubernetes.io/zone", Err(LeftOut::Common)),
            (
                "url",
                "https://api.example.org/v1/items",
                Err(LeftOut::Common),
            ),
            ("url", "http://localhost:8080/", Err(LeftOut::Common)),
            ("url", "redis://redis:6379/0", Err(LeftOut::Common)),
            (
                "path",
                "/var/run/secrets/kubernetes.io",
                Err(LeftOut::Common),
            ),
            ("file", "file:///etc/app/config.yaml", Err(LeftOut::Common)),
            ("x", "ContainersReady", Err(LeftOut::Common)),
            ("mode", "singletenancy", Err(LeftOut::Common)),
            ("password", "ContainersReady", Ok(())),
            ("password", "singletenancy", Ok(())),
            ("x", "kqzxwvjtrpwmnbgfdslkjh", Ok(())),
            ("x", "xKqPzRtYuIoPlKjHgFdS", Ok(())),
            ("url", "https://user:pw@api.example.org/", Ok(())),
            ("url", "https://api.example.org/?key=abc", Ok(())),
            (
                "url",
                "https://hooks.example.org/T02AB4CD/xG8sKq2LmZ",
                Ok(()),
            ),
            ("url", "postgres://orders:s3cret@db/orders", Ok(())),
            ("path", "/x9Kq2LmZ/xG8sKq2L+Zw=", Ok(())),
            ("key", "AKIAIOSFODNN7/Example", Ok(())),
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
    }

    #[test]
    fn backslashes_may_make_a_value_too_short() {
        for (value, expected) in [
            ("Pa55\\wrd", true),
            ("Pa55\\wrd9", false),
            ("Pa55-wrd", false),
            (" \\u0050a55wrd\n", true),
        ] {
            assert_eq!(admit("password", value.as_bytes(), 8), Ok(()), "{value}");
            assert_eq!(is_short_as_read(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn what_is_too_long_or_too_short_is_left_out() {
        assert_eq!(
            admit("key", &vec![b'a'; BYTES_MAX + 1], 8),
            Err(LeftOut::Long)
        );
        assert_eq!(admit("key", b"longer1-1", 10), Err(LeftOut::Short));
    }
}
