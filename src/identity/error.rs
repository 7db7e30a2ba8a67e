//! Why a caller is not let in: precise for the log, the same few sentences for every client.
//!
//! A client that could tell a bad signature from an unknown audience would learn about keys and
//! users that are not its own, so clients see one of four texts; [`std::fmt::Display`] has the reason.

use std::sync::Arc;

use thiserror::Error;

use super::names::NameError;
use super::{Block, Identity};

/// Why a token does not become an [`Identity`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// The token is not acceptable: 401.
    #[error("the token was refused: {0}")]
    Token(#[from] TokenError),
    /// The token is genuine, but whom it names is not acceptable: 403.
    #[error("the token is genuine, but its caller was refused: {0}")]
    Caller(#[from] CallerError),
    /// The token is genuine, but an operator has revoked it: 401.
    #[error("the token of user {:?} was revoked", .0.username())]
    Revoked(Arc<Identity>),
    /// The token is genuine, but an operator has blocked its caller: 403.
    #[error("the caller {:?} is blocked by {:?}: {}", .identity.username(), .block.by, .block.reason)]
    Blocked {
        /// Who calls.
        identity: Arc<Identity>,
        /// Why they may not.
        block: Arc<Block>,
    },
    /// The issuer's keys are not there, so nothing can be said about the token: 503.
    #[error("the keys of issuer {issuer:?} are not available: {reason}")]
    Unavailable {
        /// The configured issuer.
        issuer: String,
        /// What its last fetch ended with.
        reason: String,
    },
}

/// Whose fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No valid credential: 401 `Unauthorized`.
    Credential,
    /// A valid credential for somebody who may not come in: 403 `Forbidden`.
    Caller,
    /// The gateway cannot verify anything of this issuer now: 503 `ServiceUnavailable`.
    Gateway,
}

impl IdentityError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Token(_) | Self::Revoked(_) => Fault::Credential,
            Self::Caller(_) | Self::Blocked { .. } => Fault::Caller,
            Self::Unavailable { .. } => Fault::Gateway,
        }
    }

    /// Whose token was genuine and is refused all the same: for the audit log.
    pub fn genuine(&self) -> Option<&Arc<Identity>> {
        match self {
            Self::Revoked(identity) | Self::Blocked { identity, .. } => Some(identity),
            _ => None,
        }
    }

    /// What keeps the caller out, if an operator does.
    pub fn block(&self) -> Option<&Block> {
        match self {
            Self::Blocked { block, .. } => Some(block),
            _ => None,
        }
    }

    /// What the client is told: one text for each [`Fault`], whatever the reason. Only whoever holds a
    /// genuine token hears that it was revoked.
    pub fn client_message(&self) -> &'static str {
        if matches!(self, Self::Revoked(_)) {
            return "the bearer token was revoked; log in again for a new one, and if that is refused too ask the \
                    gateway's operator, who keeps the revocation list";
        }
        match self.fault() {
            Fault::Credential => {
                "the bearer token was not accepted; log in again for a new one, and if that does not help ask the \
                 gateway's operator, whose log has the reason"
            }
            Fault::Caller => {
                "the bearer token is valid, but the user or the groups in it are not accepted here; ask the gateway's \
                 operator, whose log has the reason"
            }
            Fault::Gateway => {
                "the gateway cannot verify tokens of this issuer now because the issuer's keys are not available; \
                 try again shortly"
            }
        }
    }
}

/// What is wrong with a token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not a signed JWT in compact form (RFC 7515 §3.1).
    #[error("it is not a signed JWT: {0}")]
    Malformed(String),
    /// A header that is missing, mistyped or not supported.
    #[error("its header {0}")]
    Header(String),
    /// No issuer of this name is configured.
    #[error(
        "its issuer {0:?} is not configured; add it under authentication.jwt if its tokens shall be accepted"
    )]
    UnknownIssuer(String),
    /// The issuer publishes no such key.
    #[error(
        "its key {0:?} is not among the issuer's keys; if the issuer rotated its keys, log in again"
    )]
    UnknownKey(Option<String>),
    /// The signature is not the key's.
    #[error("its signature does not verify")]
    Signature,
    /// A required claim is missing or a claim has the wrong type or value.
    #[error("its claim {claim:?} {problem}")]
    Claim {
        /// The claim's name.
        claim: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// `exp` is past.
    #[error("it expired {0} s ago; log in again")]
    Expired(i64),
    /// `nbf` or `iat` is in the future.
    #[error("it is not valid for another {0} s; compare the clocks of issuer and gateway")]
    NotYetValid(i64),
    /// `exp` lies too far after `iat`.
    #[error(
        "its lifetime of {lifetime} s is above the allowed {max} s; shorten it at the issuer or raise maxTokenLifetime"
    )]
    Lifetime {
        /// `exp` minus `iat`.
        lifetime: i64,
        /// The allowed lifetime.
        max: u64,
    },
    /// Not the kind of token that is configured.
    #[error("it is a token of type {0:?}, which is not accepted; use the ID token")]
    Type(String),
    /// A delegation that cannot be understood completely.
    #[error("its delegation cannot be read: {0}")]
    Actor(String),
}

impl TokenError {
    /// `issuer` is the client's text, so only its beginning is kept.
    pub(super) fn unknown_issuer(issuer: &str) -> Self {
        Self::UnknownIssuer(issuer.chars().take(256).collect())
    }

    /// `kind` is the client's text, so only its beginning is kept.
    pub(super) fn kind(kind: &str) -> Self {
        Self::Type(kind.chars().take(64).collect())
    }

    pub(super) fn claim(claim: &str, problem: &'static str) -> Self {
        Self::Claim {
            claim: claim.to_owned(),
            problem,
        }
    }
}

/// What is wrong with the caller that a genuine token names.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallerError {
    /// The mapping yields no user, so there is nobody to act as.
    #[error("the username claim {0:?} is missing or empty")]
    NoUser(String),
    /// A name that may not be asserted.
    #[error("the {what} {name:?} cannot be used: {problem}")]
    Name {
        /// `username`, `group`, `agent`, `uid` or an extra key.
        what: String,
        /// The refused string, cut.
        name: String,
        /// Why.
        problem: NameError,
    },
    /// More groups than can be sent on; a cut list could lose the group that a rule denies.
    #[error(
        "it has more groups than the limit of {max} {unit}; have the issuer send only the groups that matter here"
    )]
    TooManyGroups {
        /// The limit.
        max: usize,
        /// `groups` or `bytes`.
        unit: &'static str,
    },
    /// The issuer left the groups out because there are too many (an overage or distributed claim).
    #[error(
        "its groups are not in the token ({0}); have the issuer send them, or only those that matter here"
    )]
    GroupsUnknown(&'static str),
}

impl CallerError {
    pub(super) fn name(what: &str, name: &str, problem: NameError) -> Self {
        Self::Name {
            what: what.to_owned(),
            name: name.chars().take(64).collect(),
            problem,
        }
    }

    /// Whether the token claims a name that only Kubernetes may use: a sign that an issuer is
    /// misconfigured or no longer its owner's, worth an alert.
    pub fn is_alarming(&self) -> bool {
        matches!(
            self,
            Self::Name {
                problem: NameError::System,
                ..
            }
        )
    }
}
