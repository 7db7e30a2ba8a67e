//! The chain that every line of the audit log is a link of, so that none can be changed, dropped, added or
//! moved without all later ones telling.
//!
//! The link after a line is the SHA-256 of the link before it and the line, newline included; the first
//! link is 64 zeros. Every line carries the link before it, as its last annotation. `docs/audit.md` says the
//! same to the byte.

use std::fmt;

use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What stands in each line before its link, and after it. Only this code writes these bytes: in values
/// of events quotes are escaped.
const BEFORE: &[u8] = b"\"portcullis.dev/chain\":\"";
const AFTER: &[u8] = b"\"}}\n";
const DIGITS: usize = 64;

/// How far the chain has come: a SHA-256 as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Link([u8; DIGITS]);

impl Link {
    /// Where every chain begins.
    pub const GENESIS: Self = Self([b'0'; DIGITS]);

    /// The link after one more line. A line is whatever ends with a newline: what a crash tore is one too.
    #[must_use]
    pub fn after(&self, line: &[u8]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.0);
        context.update(line);
        let mut digits = [0; DIGITS];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(context.finish().as_ref()) {
            for (digit, half) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = if half < 10 {
                    b'0' + half
                } else {
                    b'a' + half - 10
                };
            }
        }
        Self(digits)
    }

    /// The link that a line carries, if it carries one.
    pub fn carried(line: &[u8]) -> Option<Self> {
        let rest = line.strip_suffix(AFTER)?;
        let (head, digits) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
        head.ends_with(BEFORE).then(|| Self::read(digits))?
    }

    /// Appends an event's line to a batch with this link in it.
    pub fn bind(&self, line: &[u8], batch: &mut Vec<u8>) {
        // An event ends with its annotations (`an_event_is_one_line_of_audit_k8s_io`).
        let open = line.strip_suffix(b"}}\n").unwrap_or(line);
        batch.extend_from_slice(open);
        if !open.ends_with(b"{") {
            batch.push(b',');
        }
        batch.extend_from_slice(BEFORE);
        batch.extend_from_slice(&self.0);
        batch.extend_from_slice(AFTER);
    }

    fn read(digits: &[u8]) -> Option<Self> {
        let known = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        let digits: [u8; DIGITS] = digits.try_into().ok()?;
        digits.iter().all(known).then_some(Self(digits))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|digit| fmt::Write::write_char(formatter, char::from(*digit)))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for Link {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Link {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(text.as_bytes()).ok_or_else(|| de::Error::custom("not a SHA-256 in hexadecimal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_what_sha256sum_says() {
        let mut line = Vec::new();
        Link::GENESIS.bind(b"{\"annotations\":{\"a\":\"b\"}}\n", &mut line);
        let zeros = "0".repeat(64);
        let whole =
            format!("{{\"annotations\":{{\"a\":\"b\",\"portcullis.dev/chain\":\"{zeros}\"}}}}\n");
        assert_eq!(String::from_utf8_lossy(&line), whole);
        assert_eq!(Link::carried(&line), Some(Link::GENESIS));
        let said = digest::digest(&digest::SHA256, format!("{zeros}{whole}").as_bytes());
        let said: [u8; 32] = said.as_ref().try_into().unwrap();
        let link = Link::GENESIS.after(&line).to_string();
        for (byte, digits) in said.iter().zip(link.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).unwrap();
            assert_eq!(u8::from_str_radix(digits, 16), Ok(*byte));
        }
    }

    #[test]
    fn an_event_without_annotations_can_be_bound() {
        let mut line = Vec::new();
        Link::GENESIS.bind(b"{\"annotations\":{}}\n", &mut line);
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["annotations"]["portcullis.dev/chain"], "0".repeat(64));
    }

    #[test]
    fn what_only_looks_like_a_link_is_none() {
        let zeros = "0".repeat(64);
        for line in [
            String::new(),
            "\"}}\n".to_owned(),
            format!("\"portcullis.dev/chain\":\"{zeros}\"}}}}"),
            format!("\"portcullis.dev/chain\":\"{}\"}}}}\n", "G".repeat(64)),
            // within a value, as somebody who may choose the value would have it
            format!(
                "{{\"a\":{}}}}}\n",
                serde_json::json!(format!("\"portcullis.dev/chain\":\"{zeros}"))
            ),
        ] {
            assert_eq!(Link::carried(line.as_bytes()), None, "{line}");
        }
    }
}
