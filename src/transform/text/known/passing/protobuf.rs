//! Learns from Secrets in protobuf, which the mask has in memory as a whole.
//!
//! The numbers are those of `generated.proto` of k8s.io/api/core/v1 and k8s.io/apimachinery.

use zeroize::Zeroizing;

use super::super::SecretAt;
use super::super::secret::number;
use super::Passing;
use crate::wire::protobuf::{FieldValue, fields, last_bytes};

/// `Secret.metadata`
const METADATA: u32 = 1;
/// `Secret.data`
const DATA: u32 = 2;
/// `Secret.type`
const TYPE: u32 = 3;
/// `ObjectMeta.name`
const NAME: u32 = 1;
/// `ObjectMeta.namespace`
const NAMESPACE: u32 = 3;
/// `ObjectMeta.resourceVersion`
const RESOURCE_VERSION: u32 = 6;

impl Passing {
    /// Learns from a Secret, which is gone if a watch says so.
    pub(in crate::transform) fn protobuf(&self, object: &[u8], gone: bool) {
        let metadata = last_bytes(object, METADATA);
        let text = |field| std::str::from_utf8(last_bytes(metadata, field)).unwrap_or_default();
        let secret = SecretAt {
            namespace: text(NAMESPACE),
            name: text(NAME),
            version: number(text(RESOURCE_VERSION)),
        };
        if gone {
            self.end(secret);
        } else if self.wants(secret, last_bytes(object, TYPE)) && entries(object).next().is_some() {
            let data = entries(object).map(|entry| {
                let key = std::str::from_utf8(last_bytes(entry, 1)).unwrap_or_default();
                (key, Zeroizing::new(last_bytes(entry, 2).to_vec()))
            });
            self.book.pass(secret, data);
        }
    }
}

/// The entries of `data`.
fn entries(object: &[u8]) -> impl Iterator<Item = &[u8]> {
    fields(object)
        .map_while(Result::ok)
        .filter_map(|field| match field.value {
            FieldValue::Bytes(entry) if field.number == DATA => Some(entry),
            _ => None,
        })
}
