//! What is kept of answers.

use metrics::Counter;

use super::catalog::{RESPONSE_BYTES, RESPONSE_FAILURES, RESPONSE_STORED_BYTES};
use super::{Labels, Metrics, by_mode, of};
use crate::policy::RecordMode;

#[derive(Clone, Debug)]
pub(super) struct Responses {
    bytes: Counter,
    stored: Counter,
    failures: [Counter; 2],
}

impl Responses {
    pub(super) fn register(counter: &impl Fn(&'static str, Labels<'_>) -> Counter) -> Self {
        Self {
            bytes: counter(RESPONSE_BYTES, &[]),
            stored: counter(RESPONSE_STORED_BYTES, &[]),
            failures: by_mode(counter, RESPONSE_FAILURES),
        }
    }
}

impl Metrics {
    /// So many bytes of an answer were kept.
    pub fn response_kept(&self, bytes: u64) {
        self.responses.bytes.increment(bytes);
    }

    /// So many bytes were written for answers.
    pub fn response_stored(&self, bytes: u64) {
        self.responses.stored.increment(bytes);
    }

    /// An answer could not be kept, or not to its end.
    pub fn response_failed(&self, mode: RecordMode) {
        of(&self.responses.failures, mode).increment(1);
    }
}
