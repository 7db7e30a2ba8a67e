//! Which tokens are no longer believed, although their issuer signed them and their time is not over.
//!
//! A JWT cannot be taken back at its issuer: whoever verifies it has to be told. The operator's list
//! says so, and it counts for tokens that are remembered and for streams that are open as well.

mod block;

use std::collections::HashMap;

use jiff::Timestamp;

use super::Identity;

pub use block::{Block, Blocks, Names, Subject, Whom};

/// The revoked tokens. The default revokes none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    version: String,
    entries: HashMap<Whose, Reach>,
}

/// Whose tokens are revoked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// One token, by its `jti` (RFC 7519 §4.1.7).
    Token {
        /// Its `iss`.
        issuer: String,
        /// Its `jti`.
        id: String,
    },
    /// Everybody with this `sub`, agents acting for them included.
    Subject {
        /// Their tokens' `iss`.
        issuer: String,
        /// Their tokens' `sub`.
        subject: String,
    },
    /// A user as policy and audit name them, agents acting for them included.
    User(String),
}

/// How many of their tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// Those with an earlier `iat`.
    IssuedBefore(Timestamp),
    /// All, later ones too.
    All,
}

impl Revocations {
    /// A list; `version` is a digest of its file. An entry revokes what was issued before its moment,
    /// or everything. Of several for the same tokens the one that reaches further counts.
    pub fn new(
        version: String,
        entries: impl IntoIterator<Item = (Whose, Option<Timestamp>)>,
    ) -> Self {
        let mut list = Self {
            version,
            entries: HashMap::new(),
        };
        for (whose, issued_before) in entries {
            let reach = issued_before.map_or(Reach::All, Reach::IssuedBefore);
            let known = list.entries.entry(whose).or_insert(reach);
            *known = reach.max(*known);
        }
        list
    }

    /// The digest of the file that the list was read from.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether the token that this identity was made from is revoked.
    pub fn revokes(&self, identity: &Identity) -> bool {
        if self.entries.is_empty() {
            return false;
        }
        let issuer = identity.issuer().to_owned();
        let token = identity.token_id().map(|id| Whose::Token {
            issuer: issuer.clone(),
            id: id.to_owned(),
        });
        let subject = Whose::Subject {
            issuer,
            subject: identity.subject().to_owned(),
        };
        let user = Whose::User(identity.username().to_owned());
        let entries = [token, Some(subject), Some(user)];
        entries
            .iter()
            .flatten()
            .filter_map(|whose| self.entries.get(whose))
            .any(|reach| match reach {
                Reach::All => true,
                Reach::IssuedBefore(moment) => identity.issued_at() < *moment,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(issuer: &str) -> Whose {
        Whose::Subject {
            issuer: issuer.to_owned(),
            subject: "alice".to_owned(),
        }
    }

    fn revokes(whose: &[(Whose, Option<i64>)], identity: &Identity) -> bool {
        let entries = whose.iter().map(|(whose, second)| {
            let moment = second.map(|second| Timestamp::from_second(second).unwrap());
            (whose.clone(), moment)
        });
        Revocations::new(String::new(), entries).revokes(identity)
    }

    #[test]
    fn an_entry_reaches_its_own_tokens_only() {
        let alice = Identity::for_tests("alice", &[]).with_token_id("1");
        let token = |id: &str| Whose::Token {
            issuer: alice.issuer().to_owned(),
            id: id.to_owned(),
        };
        for (whose, revoked) in [
            (token("1"), true),
            (token("2"), false),
            (token(""), false),
            (subject(alice.issuer()), true),
            (subject("https://other.test"), false),
            (Whose::User("alice".to_owned()), true),
            (Whose::User("alic".to_owned()), false),
        ] {
            assert_eq!(
                revokes(&[(whose.clone(), None)], &alice),
                revoked,
                "{whose:?}"
            );
        }
        assert!(!Revocations::default().revokes(&alice));
    }

    #[test]
    fn who_logs_in_again_after_the_moment_is_welcome() {
        let whose = subject("https://issuer.test");
        let alice = |second| {
            Identity::for_tests("alice", &[]).issued(Timestamp::from_second(second).unwrap())
        };
        let entry = (whose.clone(), Some(100));
        assert!(revokes(std::slice::from_ref(&entry), &alice(99)));
        assert!(!revokes(std::slice::from_ref(&entry), &alice(100)));
        for wider in [(whose.clone(), Some(101)), (whose.clone(), None)] {
            for both in [[entry.clone(), wider.clone()], [wider, entry.clone()]] {
                assert!(revokes(&both, &alice(100)), "{both:?}");
            }
        }
    }

    #[test]
    fn an_agent_goes_with_the_human_it_acts_for() {
        let agent = Identity::for_tests("alice", &[]).with_agent("bot", &[]);
        assert!(revokes(&[(Whose::User("alice".to_owned()), None)], &agent));
        assert!(!revokes(&[(Whose::User("bot".to_owned()), None)], &agent));
    }
}
