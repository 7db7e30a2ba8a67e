//! Why a request did not reach the API server, or its answer not the caller. The texts are safe for
//! clients; addresses and details go to the log.

use thiserror::Error;

use super::credential::Problem;
use super::headers::HeadersRefused;
use super::identity::IdentityRefused;

/// What went wrong on the way upstream, by whose fault it was.
#[derive(Debug, Error)]
pub enum UpstreamError {
    /// The caller's headers (see the variants for the status).
    #[error(transparent)]
    Headers(#[from] HeadersRefused),
    /// The caller's identity has a string that may not be sent (403).
    #[error(transparent)]
    Identity(#[from] IdentityRefused),
    /// A permit for a cluster that is not configured: our fault (500).
    #[error("the gateway has no cluster `{0}`")]
    UnknownCluster(String),
    /// A request that cannot be written: our fault (500).
    #[error("the gateway could not build the request to the API server")]
    Unbuildable,
    /// No connection: refused, no route, TLS failure, timeout (503).
    #[error(
        "the API server of cluster `{cluster}` cannot be reached; try again, and if it lasts tell the gateway's operator"
    )]
    Unreachable {
        /// The cluster's name.
        cluster: String,
    },
    /// More connections than `limits` allows (503).
    #[error("the gateway has too many requests open to cluster `{cluster}`; try again later")]
    Busy {
        /// The cluster's name.
        cluster: String,
    },
    /// The API server does not accept the gateway's own credential (502, never 401: the caller's
    /// credential plugin would run for nothing).
    #[error(
        "cluster `{cluster}` does not accept the gateway's credential; tell the gateway's operator"
    )]
    Unauthorized {
        /// The cluster's name.
        cluster: String,
    },
    /// The API server refused the request unprocessed, as it does when it shuts down: safe to repeat
    /// (503 with `Retry-After: 1`).
    #[error(
        "the API server of cluster `{cluster}` is going away and did not process the request; try again"
    )]
    Unprocessed {
        /// The cluster's name.
        cluster: String,
    },
    /// No answer in time (504).
    #[error("the API server of cluster `{cluster}` did not answer in time")]
    Timeout {
        /// The cluster's name.
        cluster: String,
    },
    /// The connection broke before the answer's head: whether it was processed is unknown (502).
    #[error(
        "the connection to the API server of cluster `{cluster}` broke before it answered; the request may have been carried out"
    )]
    Broken {
        /// The cluster's name.
        cluster: String,
    },
    /// An answer that must not be passed on: a redirect elsewhere, an upgrade nobody asked for (502).
    #[error("the API server of cluster `{cluster}` gave an answer that cannot be passed on: {why}")]
    Unacceptable {
        /// The cluster's name.
        cluster: String,
        /// What was wrong with it.
        why: &'static str,
    },
}

/// Why [`super::Upstream::start`] refused.
#[derive(Debug, Error)]
pub enum StartError {
    /// A cluster's credential cannot be used.
    #[error("cluster `{cluster}`: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Credential {
        /// The cluster's name.
        cluster: String,
        /// Everything that is wrong.
        problems: Vec<Problem>,
    },
    /// Two clusters of one name.
    #[error("cluster `{0}` is configured twice")]
    Duplicate(String),
}
