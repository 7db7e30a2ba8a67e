//! Learns from Secrets on their way to a caller: beside the mask, from the same bytes, before they leave.
//!
//! Which answers hold Secrets is known from the request. Only what the API server stores is
//! believed: answers to reads and writes, not to dry runs, whose values exist nowhere. An
//! object without `data` (metadata only, a `Status`, a Table) teaches nothing, nor does one of another
//! namespace or name than was asked for.

mod glance;
mod json;
mod protobuf;

use std::sync::Arc;

pub(in crate::transform) use self::json::JsonPassing;
use super::secret::{Event, Secret};
use super::{Book, SecretAt};
use crate::request::RequestInfo;

/// Releases of Helm: large, compressed, and without a value as others write it. The watch leaves them out too.
const HELM_RELEASE: &str = "helm.sh/release.v1";

/// Who learns from the answer to one request.
pub(in crate::transform) struct Passing {
    book: Arc<Book>,
    /// The namespace that was asked for; empty for all.
    namespace: String,
    /// The name that was asked for; empty for any.
    name: String,
    /// Whether what leaves a watch is gone, and not only out of its selection.
    sees_ends: bool,
}

impl Passing {
    /// The answer to this request holds Secrets of the cluster that `book` is of.
    pub(in crate::transform) fn new(info: &RequestInfo, book: &Arc<Book>) -> Option<Self> {
        let secrets = info.api_group.is_empty()
            && info.api_version == "v1"
            && info.resource == "secrets"
            && info.subresource.is_empty();
        let stored = match info.verb.as_str() {
            "get" | "list" | "watch" => true,
            "create" | "update" | "patch" => info.query.first("dryRun").is_none(),
            _ => false,
        };
        (secrets && stored).then(|| Self {
            book: Arc::clone(book),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            sees_ends: info.field_selector.is_empty() && info.label_selector.is_empty(),
        })
    }

    /// Learns from a Secret in JSON. What is none teaches nothing.
    fn secret(&self, text: &[u8]) {
        if let Ok(secret) = serde_json::from_slice(text) {
            self.learn(&secret);
        }
    }

    /// Learns from an event of a watch in JSON.
    fn event(&self, text: &[u8]) {
        let Ok(event) = serde_json::from_slice::<Event<'_>>(text) else {
            return;
        };
        match &*event.kind {
            "ADDED" | "MODIFIED" => self.learn(&event.object),
            "DELETED" => self.end(event.object.at()),
            _ => {}
        }
    }

    fn learn(&self, secret: &Secret<'_>) {
        if self.wants(secret.at(), secret.kind.as_bytes())
            && let Ok(Some(data)) = secret.data()
        {
            self.book.pass(secret.at(), data.iter());
        }
    }

    fn end(&self, secret: SecretAt<'_>) {
        if self.sees_ends && self.was_asked_for(secret) {
            self.book.pass_away(secret);
        }
    }

    /// Is there something to learn of this Secret? That takes no memory.
    fn wants(&self, secret: SecretAt<'_>, kind: &[u8]) -> bool {
        kind != HELM_RELEASE.as_bytes() && self.was_asked_for(secret) && self.book.wants(secret)
    }

    fn was_asked_for(&self, secret: SecretAt<'_>) -> bool {
        let meant = |asked: &str, is: &str| !is.is_empty() && (asked.is_empty() || asked == is);
        meant(&self.namespace, secret.namespace) && meant(&self.name, secret.name)
    }
}

#[cfg(test)]
mod tests;
