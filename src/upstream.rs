//! As whom, and to where? The way to the API servers.
//!
//! Invariant: nothing is sent without a decision (a `Permit`), and nothing bears an identity that was
//! not rebuilt here.

mod credential;
mod headers;
mod identity;
mod insecure;

pub use credential::{InCluster, Problem, Source, check};
pub use headers::{HeadersRefused, refuse_client_identity};
pub use identity::IdentityRefused;
