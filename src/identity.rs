//! Who is it? An OIDC token becomes an [`Identity`].
//!
//! Invariant: an `Identity` is made only by [`token`] verification (and by tests through
//! [`Identity::for_tests`]); nothing a client sends besides its verified token ends up in it.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Who is making a request: a human, a workload, or an agent acting for a human.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    username: String,
    uid: Option<String>,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
    agent: Option<Agent>,
    issuer: String,
    token_id: Option<String>,
    expires_at: Timestamp,
}

/// A non-human caller acting for the human that [`Identity::username`] names (RFC 8693 `act`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The agent that holds the token: the outermost `act.sub`, with the issuer's prefix.
    pub name: String,
    /// Whom it acts through, outermost first (nested `act` claims), `name` itself not repeated.
    pub chain: Vec<String>,
}
