//! A request that is refused before anybody reads it as one.

use std::error::Error as StdError;
use std::io;

use thiserror::Error;

/// Why an HTTP/1.1 request is not read, or its body not further. The texts are safe for clients.
///
/// Nothing of a refused head is kept, also not in the audit event: there is no one reading of it. Its
/// connection closes after the answer, and nothing behind it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Two servers in a row could read it in two ways (threats B-09 to B-13).
    #[error(
        "the request is not canonical HTTP/1.1: {0}; send it as a current Kubernetes client does, or over HTTP/2"
    )]
    NotCanonical(&'static str),
    /// More bytes than `listener.maxHeaderBytes`, or more lines than `limits::HEADERS_MAX` (B-53).
    #[error(
        "the request's headers are larger than this gateway reads; send fewer or shorter ones (a token is the usual culprit), or ask the gateway's operator to raise listener.maxHeaderBytes"
    )]
    TooLarge,
    /// It began and was not complete within `listener.headerTimeout` (D-01).
    #[error("the request's headers did not arrive in time; send the request again")]
    TooSlow,
}

impl Unreadable {
    /// The refusal that made hyper fail a body, if that was it.
    pub fn behind(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            let carried = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            if let Some(why) = carried.and_then(|carried| carried.downcast_ref()) {
                return Some(*why);
            }
            next = error.source();
        }
        None
    }
}
