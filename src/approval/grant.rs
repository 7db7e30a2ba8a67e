//! A role that somebody has for a while, because they asked for it and others said yes ahead of time.
//!
//! A grant is an approval of no request: what it admits is said by the rules of the policy that name its role. It is
//! bound to the caller as an approval is, so neither their agent nor somebody with their name has it.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::person::Person;
use super::state::{Answer, Approval, State};
use crate::identity::Identity;
use crate::limits;
use crate::policy::Approvers;

/// What somebody asks for ahead of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ahead {
    /// The role, as the policy calls it.
    pub role: String,
    /// For how many seconds, counted from the yes.
    pub seconds: u32,
    /// Why; approvers and audit read it.
    pub reason: String,
}

/// A role that somebody has. Only an approval that was given makes one ([`Approval::granted`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    id: String,
    ahead: Ahead,
    holder: Digest,
    caller: Person,
    approvers: Approvers,
    answers: Vec<Answer>,
    since: Timestamp,
    until: Timestamp,
}

/// The grants in force. The default has none.
#[derive(Clone, Debug, Default)]
pub struct Grants(HashMap<Digest, Vec<Arc<Grant>>>);

impl Approval {
    /// The role that its caller has by it; `None` when it is about requests, or not in force.
    #[must_use]
    pub fn granted(&self, now: Timestamp) -> Option<Grant> {
        let grant = Grant {
            id: self.id.clone(),
            ahead: self.grant.clone()?,
            holder: self.class.clone(),
            caller: self.caller.clone(),
            approvers: self.terms.approvers.clone(),
            answers: self.answers.clone(),
            since: self.answers.last()?.at,
            until: self.expires,
        };
        (self.state == State::Approved && grant.is_in_force(now)).then_some(grant)
    }
}

impl Grant {
    /// The approval that it came from.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.ahead.role
    }

    /// For how many seconds it was asked for.
    #[must_use]
    pub fn seconds(&self) -> u32 {
        self.ahead.seconds
    }

    /// Why, in the words of whoever asked.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.ahead.reason
    }

    /// Who has it.
    #[must_use]
    pub fn caller(&self) -> &Person {
        &self.caller
    }

    /// Who could say yes when it was asked.
    #[must_use]
    pub fn approvers(&self) -> &Approvers {
        &self.approvers
    }

    /// Who said yes, when and why.
    #[must_use]
    pub fn answers(&self) -> &[Answer] {
        &self.answers
    }

    /// When it ends by itself.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// Whether it counts at `now`. A clock that was set back must not make it last longer than it was given for.
    #[must_use]
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        let earliest = self
            .since
            .saturating_sub(limits::APPROVAL_CLOCK_STEP_MAX)
            .unwrap_or(Timestamp::MIN);
        (earliest..self.until).contains(&now)
    }
}

impl Grants {
    /// These, as far as they count at `now`.
    #[must_use]
    pub fn new(grants: impl IntoIterator<Item = Arc<Grant>>, now: Timestamp) -> Self {
        let mut all = Self::default();
        for grant in grants.into_iter().filter(|grant| grant.is_in_force(now)) {
            all.0.entry(grant.holder.clone()).or_default().push(grant);
        }
        all
    }

    /// Those that a caller has at `now`.
    #[must_use]
    pub fn of(&self, identity: &Identity, now: Timestamp) -> Vec<Arc<Grant>> {
        // Nearly always: then nothing is hashed to look it up with.
        if self.0.is_empty() {
            return Vec::new();
        }
        let held = self.0.get(&Digest::of_caller(identity));
        let held = held.into_iter().flatten();
        held.filter(|grant| grant.is_in_force(now))
            .cloned()
            .collect()
    }

    /// Whether this one still counts: it is there, and its time is not over.
    #[must_use]
    pub fn holds(&self, grant: &Grant, now: Timestamp) -> bool {
        let of_holder = self.0.get(&grant.holder);
        grant.is_in_force(now)
            && of_holder.is_some_and(|held| held.iter().any(|one| one.id == grant.id))
    }

    /// The same with what became of an approval: with its grant if it gives one now, without if it does not.
    #[must_use]
    pub fn after(&self, approval: &Approval, now: Timestamp) -> Self {
        let others = self.iter().filter(|grant| grant.id != approval.id).cloned();
        let given = approval.granted(now).map(Arc::new);
        Self::new(others.chain(given), now)
    }

    /// How many count at `now`.
    #[must_use]
    pub fn count(&self, now: Timestamp) -> usize {
        self.iter().filter(|grant| grant.is_in_force(now)).count()
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.0.values().flatten()
    }
}

#[cfg(test)]
pub(crate) mod tests;
