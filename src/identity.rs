//! Who is it? An OIDC token becomes an [`Identity`].
//!
//! Invariant: an `Identity` is made only by token verification (and by tests through
//! [`Identity::for_tests`]); nothing a client sends besides its verified token ends up in it.

pub mod client;
pub mod credential;

mod authenticator;
mod error;
mod json;
mod keys;
mod names;
mod revocation;
mod settings;
mod token;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

pub use authenticator::{Authenticator, Refused, StartError, Stats};
pub use credential::{BearerToken, CredentialError};
pub use error::{CallerError, Fault, IdentityError, TokenError};
pub(crate) use keys::{check_authority, tls_config};
pub use names::NameError;
pub use revocation::{Block, Blocks, Names, Revocations, Subject, Whom, Whose};
pub use settings::{
    AgentMapping, ClaimMappings, ClaimRule, ExtraMapping, IssuerSettings, KeyTiming, PrefixedClaim,
    Settings, SigningAlgorithm,
};
pub use token::issued::{Issued, IssuedTo, answers, claimed_expiry};

/// Who is making a request: a human, a workload, or an agent acting for a human.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    username: String,
    uid: Option<String>,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
    agent: Option<Agent>,
    issuer: String,
    subject: String,
    token_id: Option<String>,
    issued_at: Timestamp,
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

impl Identity {
    /// The user's name as policy, audit and the API server see it, prefix included.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The user's unique id, when the issuer's mapping names a claim for it.
    pub fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }

    /// The user's groups, prefix included, each once and in the order of their bytes: rules look for some of many.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// Extra attributes by their lower-case, domain-prefixed key.
    pub fn extra(&self) -> &BTreeMap<String, Vec<String>> {
        &self.extra
    }

    /// The agent that acts for the user, when the token was delegated.
    pub fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }

    /// The issuer of the token, byte for byte as configured.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The token's `sub`, whatever claim the username is from: with the issuer it names the caller
    /// for good (OIDC Core §2).
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The token's `jti`, for the audit log and the revocation list.
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// The token's `iat`.
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// When the token ends; a stream ends then too, or `stream_grace` later.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

/// Identities for the tests of other rooms; the product makes them from verified tokens only.
#[doc(hidden)]
impl Identity {
    /// A user with groups, without agent, whose token never ends.
    pub fn for_tests(username: &str, groups: &[&str]) -> Self {
        Self {
            username: username.to_owned(),
            uid: None,
            groups: groups
                .iter()
                .map(|&group| group.to_owned())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            extra: BTreeMap::new(),
            agent: None,
            issuer: "https://issuer.test".to_owned(),
            subject: username.to_owned(),
            token_id: None,
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::MAX,
        }
    }

    /// The same user, with an agent acting for them.
    #[must_use]
    pub fn with_agent(mut self, name: &str, chain: &[&str]) -> Self {
        let chain = chain.iter().map(|&actor| actor.to_owned()).collect();
        self.agent = Some(Agent {
            name: name.to_owned(),
            chain,
        });
        self
    }

    /// The same user with a uid.
    #[must_use]
    pub fn with_uid(mut self, uid: &str) -> Self {
        self.uid = Some(uid.to_owned());
        self
    }

    /// The same user with one more extra attribute.
    #[must_use]
    pub fn with_extra(mut self, key: &str, values: &[&str]) -> Self {
        self.extra.insert(
            key.to_owned(),
            values.iter().map(|&value| value.to_owned()).collect(),
        );
        self
    }

    /// The same user with a token id (`jti`).
    #[must_use]
    pub fn with_token_id(mut self, token_id: &str) -> Self {
        self.token_id = Some(token_id.to_owned());
        self
    }

    /// The same user with a token of this `iat`.
    #[must_use]
    pub fn issued(mut self, issued_at: Timestamp) -> Self {
        self.issued_at = issued_at;
        self
    }

    /// The same user with a token that ends at `expires_at`.
    #[must_use]
    pub fn expiring(mut self, expires_at: Timestamp) -> Self {
        self.expires_at = expires_at;
        self
    }
}

/// The pure steps of verification, opened for the fuzz targets only.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    use super::token::claims;
    use super::{Identity, IssuerSettings, json, token};
    use jiff::Timestamp;

    /// Reads a token as far as that goes without a key.
    pub fn read_token(text: &str) -> bool {
        token::Unverified::parse(text).is_ok()
    }

    /// Maps a payload as if its signature had been verified.
    pub fn map_claims(payload: &[u8]) -> Option<Identity> {
        let claims = json::object(payload).ok()?;
        let issuer = IssuerSettings::new("https://issuer.test", vec!["portcullis".to_owned()]);
        let checked = claims::Checked {
            subject: "subject",
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::UNIX_EPOCH,
        };
        claims::identity(&claims, &issuer, checked).ok()
    }
}
