//! What may they see? Masks every response while it streams, and keeps placeholders out of writes.
//!
//! A request for a masked resource passes here three times: [`negotiate()`] makes sure that the
//! answer comes in a form that can be masked, [`guard_write()`] refuses bodies that would store a placeholder or read around the
//! mask, and [`release()`] turns an [`Unreleased`] answer into a [`Released`] one, which is the only
//! kind the gateway can send.

pub mod body;
mod json;
mod negotiate;
mod output;
mod placeholder;
mod protobuf;
mod release;
mod report;
pub mod text;
mod writeback;

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::policy::mask::{MaskPlan, Root};
use crate::request::RequestInfo;
use crate::request::body::Undecoded;
use crate::wire::json::{Documents, JsonError};

pub use self::body::{Released, Unreleased, read_to_show};
pub use self::negotiate::{negotiate, negotiate_json};
pub use self::placeholder::{Origin, Placeholder, Placeholders};
pub use self::release::{masked_object, release};
pub use self::report::MaskReport;
pub use self::text::{
    TextMasker, TextMasks, masked_text, masked_words, scrubbed_words, without_known_values,
};
pub use self::writeback::guard_write;

/// Why a request or response under a mask goes no further. The texts are safe for clients.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum MaskError {
    /// The client accepts no form that can be masked (406, the client's fault).
    #[error(
        "this resource is masked by policy and is served as JSON only; \
         add application/json to the Accept header (kubectl: -o json)"
    )]
    NotAcceptable,
    /// A body in a form that cannot be checked (415, the client's fault).
    #[error(
        "a write to this masked resource cannot be checked as {media_type:?}; \
         send JSON, YAML or Kubernetes protobuf without Content-Encoding"
    )]
    UnsupportedMediaType {
        /// The content type or encoding, as sent.
        media_type: String,
    },
    /// A body that cannot be read without doubt (400, the client's fault).
    #[error("the request body cannot be read without doubt: it {problem}; nothing was written")]
    Unreadable {
        /// What it is or has, as in "it is not valid JSON".
        problem: &'static str,
    },
    /// A body that would store a placeholder (422, the client's fault).
    #[error(
        "{field}: holds a placeholder of a masked value (or is encoded too many times to tell); \
         nothing was written. Remove this field from the request (a patch leaves it as it is) or put the real value there"
    )]
    Placeholder {
        /// Where, such as `data.password`.
        field: String,
    },
    /// A JSON Patch that would read a masked field (422, the client's fault).
    #[error(
        "{field}: the JSON Patch operation {operation:?} reads a masked field; nothing was written. \
         Use add, replace or remove"
    )]
    PatchReads {
        /// The operation.
        operation: String,
        /// The JSON Pointer it reads.
        field: String,
    },
    /// A JSON Patch would carry a value to where it is not looked for (422).
    #[error(
        "{field}: the JSON Patch operation {operation:?} could carry a value of a Secret to where it is not \
         looked for; nothing was written. Use add or replace"
    )]
    PatchNames {
        /// The operation.
        operation: String,
        /// The JSON Pointer it writes.
        field: String,
    },
    /// Known values are to be masked, and the gateway has not read them yet (503, the gateway's fault).
    #[error(
        "the gateway has not read the Secrets of this cluster yet, whose values policy demands to mask; \
         retry in a few seconds. If this lasts, the gateway's credential may not list and watch secrets"
    )]
    NotLearned,
    /// A selector that would tell whether a guess at a masked value is right (400, the client's fault).
    #[error(
        "the {kind} names a masked field, {field}: the answer would tell whether a guess at its value is \
         right. Select by other fields, or list without it"
    )]
    Selector {
        /// The query parameter.
        kind: &'static str,
        /// The field, as the selector spells it.
        field: String,
    },
    /// An answer that cannot be masked (502, the API server's fault).
    #[error("the API server's answer for this masked resource was withheld: {problem}")]
    Upstream {
        /// What is wrong.
        problem: &'static str,
    },
}

impl From<Undecoded> for MaskError {
    fn from(error: Undecoded) -> Self {
        Self::Unreadable {
            problem: match error {
                Undecoded::Malformed(problem) => problem,
                Undecoded::Opaque | Undecoded::MediaType => "is in no form that is searched",
                Undecoded::TooLarge => "has too many values",
            },
        }
    }
}

impl MaskError {
    /// The HTTP status the client gets.
    pub fn code(&self) -> http::StatusCode {
        match self {
            Self::NotAcceptable => http::StatusCode::NOT_ACCEPTABLE,
            Self::UnsupportedMediaType { .. } => http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unreadable { .. } | Self::Selector { .. } => http::StatusCode::BAD_REQUEST,
            Self::Placeholder { .. } | Self::PatchReads { .. } | Self::PatchNames { .. } => {
                http::StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::NotLearned => http::StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream { .. } => http::StatusCode::BAD_GATEWAY,
        }
    }

    /// The field at fault, for `details.causes`.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Placeholder { field }
            | Self::PatchReads { field, .. }
            | Self::PatchNames { field, .. } => Some(field),
            _ => None,
        }
    }
}

/// Masks a whole text that arrives in chunks, for benchmarks and fuzzing; hands on what may leave and
/// says how many values were masked.
#[doc(hidden)]
pub fn mask_json(
    plan: &Arc<MaskPlan>,
    placeholders: &Arc<Placeholders>,
    chunks: impl IntoIterator<Item = Bytes>,
    mut leave: impl FnMut(Bytes),
) -> Result<u64, JsonError> {
    let mask = json::Mask {
        plan: Arc::clone(plan),
        placeholders: Arc::clone(placeholders),
        linkable: placeholder::Linkable::Yes,
        root: plan.root(Root::Object),
        data_is_base64: true,
        known: None,
    };
    let mut masker = json::JsonMasker::new(mask, Documents::Sequence);
    let mut output = output::Output::default();
    for chunk in chunks {
        masker.push(&chunk, &mut output.of(&chunk))?;
        drain(&mut output, &mut leave);
    }
    masker.finish(&mut output.of(&Bytes::new()))?;
    drain(&mut output, &mut leave);
    let report = MaskReport::default();
    report.add(masker.tally());
    Ok(report.values_masked())
}

/// Masks the credentials in a text that arrives in chunks, with pauses (`None`) between them, for
/// benchmarks and fuzzing; hands on what may leave and says how many were masked.
#[doc(hidden)]
pub fn mask_credentials(
    placeholders: &Arc<Placeholders>,
    chunks: impl IntoIterator<Item = Option<Bytes>>,
    mut leave: impl FnMut(Bytes),
) -> u64 {
    let linkable = placeholder::Linkable::Yes;
    let mut finder = text::credentials::Finder::new(Arc::clone(placeholders), linkable);
    let mut output = output::Output::default();
    for chunk in chunks {
        match chunk {
            Some(chunk) => finder.push(&chunk, &mut output.of(&chunk)),
            None if finder.waiting() > 0 => finder.release(&mut output.of(&Bytes::new())),
            None => {}
        }
        drain(&mut output, &mut leave);
    }
    finder.finish(&mut output.of(&Bytes::new()));
    drain(&mut output, &mut leave);
    let report = MaskReport::default();
    report.add(finder.tally());
    report.values_masked()
}

fn drain(output: &mut output::Output, leave: &mut impl FnMut(Bytes)) {
    while let Some(bytes) = output.pop() {
        leave(bytes);
    }
}

/// Learns from the answer to a request that arrives in chunks, for fuzzing.
#[doc(hidden)]
pub fn learn_json<'a>(
    book: &Arc<text::known::Book>,
    info: &RequestInfo,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) {
    if let Some(passing) = text::known::Passing::new(info, book) {
        let mut passing = text::known::JsonPassing::new(passing, info);
        chunks.into_iter().for_each(|chunk| passing.push(chunk));
    }
}

/// Learns from an object in protobuf that a request is answered with, for fuzzing; a watch may say that it is gone.
#[doc(hidden)]
pub fn learn_protobuf(
    book: &Arc<text::known::Book>,
    info: &RequestInfo,
    object: &[u8],
    gone: bool,
) {
    if let Some(passing) = text::known::Passing::new(info, book) {
        passing.protobuf(object, gone);
    }
}

/// The API groups whose Tables are printed by the API server's own code. Every other group may print
/// any field of its objects.
const BUILTIN_GROUPS: [&str; 22] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// Are the cells of this resource's Tables known not to show what the plan masks?
fn cells_are_safe(info: &RequestInfo, plan: &MaskPlan) -> bool {
    plan.is_empty() || BUILTIN_GROUPS.contains(&info.api_group.as_str()) && !plan.is_printed()
}

#[cfg(test)]
mod tests;
