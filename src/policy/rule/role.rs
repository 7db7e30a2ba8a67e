//! Roles: what somebody may ask for ahead of time, and which of them a caller has.
//!
//! A grant counts only while the role is what it was when the yes was given: whoever may no longer ask for it, or not
//! for so long, or whose approvers are others now, does not have it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::super::condition::{Scope, Seen};
use super::super::hold::Approvers;
use super::super::{First, Policy, first};
use super::check::check_approvers;
use super::subjects::{Subjects, SubjectsSource};
use super::{Asked, Effect, Rule, RuleProblem};
use crate::approval::Grant;
use crate::identity::Identity;
use crate::limits;

/// A role as written in a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleSource {
    /// `POLICY/ROLE`.
    pub id: String,
    /// What people ask for, and rules name; no other role of the policy has it.
    pub name: String,
    /// Who may ask for it.
    pub subjects: Option<SubjectsSource>,
    /// Who may say yes; `None` was not readable, or is missing, which the reader has said.
    pub approvers: Option<Approvers>,
    /// For how long one may have it at most.
    pub longest: Option<Duration>,
}

/// A compiled role.
#[derive(Debug)]
pub(in crate::policy) struct Role {
    id: String,
    pub(in crate::policy) name: String,
    subjects: Subjects,
    approvers: Approvers,
    longest: Duration,
}

/// Roles of a policy, as bits in their order.
pub(in crate::policy) type Roles = u64;

/// A role that a caller may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Askable {
    /// Its name.
    pub name: String,
    /// Where it is defined, as `POLICY/ROLE`.
    pub id: String,
    /// Who may say yes.
    pub approvers: Approvers,
    /// For how long at most.
    pub longest: Duration,
}

/// A role that would help a caller whose request is denied.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Help {
    /// The role.
    pub role: String,
    /// A duration to ask for.
    #[serde(rename = "forSeconds")]
    pub seconds: u64,
}

impl Role {
    pub(in crate::policy) fn compile(source: &RoleSource) -> Result<Self, Vec<RuleProblem>> {
        let mut problems = Vec::new();
        let mut missing = |field, message: &str| {
            problems.push(RuleProblem {
                field,
                index: None,
                message: message.to_owned(),
            });
        };
        if source.subjects.is_none() {
            missing(
                "subjects",
                "is missing: say who may ask for the role, as in rules",
            );
        }
        if source.longest.is_none() {
            missing(
                "longest",
                "is missing: say for how long one may have the role at most, as in 4h",
            );
        }
        let subjects = source.subjects.clone().unwrap_or_default();
        if !subjects.roles.is_empty() {
            missing(
                "subjects.roles",
                "has no meaning in a role; say who may ask for it",
            );
        }
        let compiled = Subjects::compile(&subjects, &[], &mut problems);
        if let Some(approvers) = &source.approvers {
            let fields = ["approvers", "approvers.count", "approvers.principal"];
            check_approvers(approvers, fields, source.subjects.as_ref(), &mut problems);
        }
        match (&source.approvers, source.longest) {
            (Some(approvers), Some(longest)) if problems.is_empty() => Ok(Self {
                id: source.id.clone(),
                name: source.name.clone(),
                subjects: compiled,
                approvers: approvers.clone(),
                longest,
            }),
            _ => Err(problems),
        }
    }

    /// Whether a caller may ask for it. An agent may not just because the human it acts for may: the role has to name it.
    fn is_for(&self, identity: &Identity) -> bool {
        match identity.agent() {
            Some(_) => self.subjects.name_agent(identity),
            None => self.subjects.include(identity, 0),
        }
    }

    /// Whether a caller has the role by this grant.
    fn is_given(&self, identity: &Identity, grant: &Grant) -> bool {
        grant.role() == self.name
            && *grant.approvers() == self.approvers
            && u64::from(grant.seconds()) <= self.longest.as_secs()
            && self.is_for(identity)
    }
}

impl Policy {
    /// The roles that a caller has.
    pub(in crate::policy) fn held(&self, identity: &Identity, seen: &Seen) -> Roles {
        if self.roles.is_empty() || seen.has_no_role() {
            return 0;
        }
        let held = self.roles.iter().enumerate().filter(|(_, role)| {
            let supposed = seen.supposed.contains(&role.name);
            let mut grants = seen.grants.iter();
            supposed && role.is_for(identity) || grants.any(|grant| role.is_given(identity, grant))
        });
        held.fold(0, |bits, (bit, _)| bits | 1 << bit)
    }

    /// The grants without which these rules would not have been about the caller: of each, the one that lasts longest.
    pub(in crate::policy) fn granting<'s>(
        &self,
        rules: impl IntoIterator<Item = &'s Rule>,
        asked: &Asked<'_>,
        seen: &Seen,
    ) -> Vec<Arc<Grant>> {
        let mut granting: Vec<Arc<Grant>> = Vec::new();
        for rule in rules {
            let by = rule.roles() & asked.roles;
            let roles = self.roles.iter().enumerate();
            let roles: Vec<&Role> = roles
                .filter(|(bit, _)| by & (1 << bit) != 0)
                .map(|(_, role)| role)
                .collect();
            let grants = seen.grants.iter().filter(|grant| {
                roles
                    .iter()
                    .any(|role| role.is_given(asked.identity, grant))
            });
            if let Some(grant) = grants.max_by_key(|grant| grant.until())
                && !granting.iter().any(|one| one.id() == grant.id())
            {
                granting.push(Arc::clone(grant));
            }
        }
        granting
    }

    /// The roles that a caller may ask for.
    pub fn askable(&self, identity: &Identity) -> Vec<Askable> {
        let roles = self.roles.iter();
        roles
            .filter(|role| role.is_for(identity))
            .map(|role| Askable {
                name: role.name.clone(),
                id: role.id.clone(),
                approvers: role.approvers.clone(),
                longest: role.longest,
            })
            .collect()
    }

    /// The roles that the caller of a denied request lacks and may ask for, and with which it would not be denied.
    pub(in crate::policy) fn helping(&self, asked: &Asked<'_>, seen: &Seen) -> Vec<Help> {
        self.help(asked, |asked| {
            match first(&self.matching(asked), &Scope::new(asked, seen)) {
                First::Decides(_, effect, _) => effect != Effect::Deny,
                First::Wants(..) => true,
                First::Refuses(_) => false,
            }
        })
    }

    /// The same for whatever is to be tried with the role.
    pub(in crate::policy) fn help(
        &self,
        asked: &Asked<'_>,
        helps: impl Fn(&Asked<'_>) -> bool,
    ) -> Vec<Help> {
        let lacking = self
            .roles
            .iter()
            .enumerate()
            .filter(|(bit, role)| asked.roles & (1 << bit) == 0 && role.is_for(asked.identity));
        let helping = lacking.filter(|(bit, _)| helps(&asked.holding(asked.roles | 1 << bit)));
        helping
            .map(|(_, role)| Help {
                role: role.name.clone(),
                seconds: role.longest.min(limits::GRANT_SUGGESTED).as_secs(),
            })
            .take(limits::ROLES_SUGGESTED_MAX)
            .collect()
    }
}

impl fmt::Display for Help {
    /// The command to ask for it, without the gateway's address.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (role, seconds) = (&self.role, self.seconds);
        match seconds {
            whole if whole % 3600 == 0 => {
                write!(
                    out,
                    "portcullis request --role {role} --for {}h",
                    whole / 3600
                )
            }
            whole if whole % 60 == 0 => {
                write!(
                    out,
                    "portcullis request --role {role} --for {}m",
                    whole / 60
                )
            }
            other => write!(out, "portcullis request --role {role} --for {other}s"),
        }
    }
}

#[cfg(test)]
mod tests;
