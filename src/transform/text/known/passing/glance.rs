//! Says of most Secrets at a glance that there is nothing to learn of them.
//!
//! A Secret that is known already passes again with every list and watch, and reading all of it to find that out
//! would take longer than masking it. Only the form in which the API server writes JSON is known here: what begins
//! otherwise is read in full, which decides alone what is learned.

use super::super::SecretAt;
use super::super::secret::number;
use super::Passing;
use crate::wire::json::compact_members;

/// `type` is the last field of a Secret (k8s.io/api/core/v1).
const RELEASE_ENDING: &[u8] = br#","type":"helm.sh/release.v1"}"#;

/// How an event begins that tells of a Secret; what ends is always read in full.
const TELLS: [&[u8]; 2] = [
    br#"{"type":"ADDED","object":"#,
    br#"{"type":"MODIFIED","object":"#,
];

impl Passing {
    /// May something be learned of the Secret that `text` begins with? Its metadata has to be there.
    pub(super) fn may_want(&self, text: &[u8]) -> bool {
        let mut may = true;
        // Whether it could be read to the end says nothing more.
        let _ = compact_members(text, 1, |key, metadata| {
            if key == b"metadata" {
                may = self.may_want_by(metadata);
            }
            key != b"metadata"
        });
        may
    }

    /// The same of an event.
    pub(super) fn may_want_event(&self, text: &[u8]) -> bool {
        told(text).is_none_or(|object| self.may_want(object))
    }

    fn may_want_by(&self, metadata: &[u8]) -> bool {
        let (mut name, mut namespace, mut version) = (None, None, None);
        let _ = compact_members(metadata, 2, |key, value| {
            match key {
                b"name" => name = plain(value),
                b"namespace" => namespace = plain(value),
                b"resourceVersion" => version = plain(value),
                _ => {}
            }
            name.is_none() || namespace.is_none() || version.is_none()
        });
        let (Some(name), Some(namespace), Some(version)) = (name, namespace, version) else {
            return true;
        };
        let at = SecretAt {
            namespace,
            name,
            version: number(version),
        };
        // Its type comes later.
        self.wants(at, b"")
    }
}

/// Is this Secret, of which all is there, a release of Helm?
pub(super) fn is_release(secret: &[u8]) -> bool {
    secret.ends_with(RELEASE_ENDING)
}

/// The same of an event that tells of one.
pub(super) fn is_release_told(event: &[u8]) -> bool {
    let object = told(event).and_then(|rest| rest.strip_suffix(b"}"));
    object.is_some_and(is_release)
}

/// Whether this is so far an event as the API server writes it, in one line.
pub(super) fn is_told(event: &[u8]) -> bool {
    told(event).is_some()
}

/// What an event tells of, and what is behind.
fn told(event: &[u8]) -> Option<&[u8]> {
    TELLS.iter().find_map(|tell| event.strip_prefix(*tell))
}

/// What a string says, if it is one without an escape.
fn plain(value: &[u8]) -> Option<&str> {
    let inside = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let inside = std::str::from_utf8(inside).ok()?;
    (!inside.contains('\\')).then_some(inside)
}
