//! The life of an approval, as a machine that is told what happens and when.
//!
//! ```text
//!   asked ──► approved ──► used          a yes admits each request once, or a class for some minutes
//!     │          │  └────► expired       it was not used in time
//!     ├──────────┴───────► denied        also a yes is taken back with a no
//!     │          └───────► revoked       the same of a role that was given ahead of time
//!     ├──────────────────► withdrawn     by whoever asked
//!     └──────────────────► expired       nobody answered in time
//! ```
//!
//! Nothing here waits or writes: [`super::ledger`] runs each step within one transaction, so that of two
//! answers, of an answer and the expiry, and of two uses one comes first and the other sees it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::grant::Ahead;
use super::person::{Person, Unfit};
use crate::limits;
use crate::policy::Hold;

/// One question with its answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// What people call it; random.
    pub id: String,
    /// Who asks.
    pub caller: Person,
    /// The cluster it is about.
    pub cluster: String,
    /// The rule that holds, as `POLICY/RULE`.
    pub rule: String,
    /// Why the rule holds it, in its author's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Under which terms.
    pub terms: Hold,
    /// What its requests have in common; of a role, who asks for it.
    pub class: Digest,
    /// Which invocation of a client they are from, as far as it says so; groups, and grants nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Digest>,
    /// What was asked for ahead of time, instead of by a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Ahead>,
    /// The requests, in the order in which they came; at least one, and none of a role.
    pub requests: Vec<Asked>,
    /// When the first came.
    pub asked: Timestamp,
    /// When the question, or the yes, is over.
    pub expires: Timestamp,
    /// Where it stands.
    pub state: State,
    /// What was answered, in order.
    pub answers: Vec<Answer>,
}

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It waits for an answer.
    Asked,
    /// Enough people said yes.
    Approved,
    /// Every request that it admits was carried out.
    Used,
    /// Somebody said no.
    Denied,
    /// Nobody answered in time, or the yes was not used in time.
    Expired,
    /// Whoever asked does not want it any more.
    Withdrawn,
    /// A role that was given was taken away.
    Revoked,
}

/// One request that an answer is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// What it is bound to.
    pub digest: Digest,
    /// When it came first.
    pub at: Timestamp,
    /// What an approver has to see of it.
    pub shown: Shown,
    /// The audit id of the request that was carried out for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<String>,
}

/// What an approver sees of a request; masked before it comes here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shown {
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Kubernetes' verb; `session` is no verb, it says `create`.
    pub verb: String,
    /// The resource with its group and subresource, as in `deployments.apps/scale`.
    pub resource: String,
    /// The namespace; empty at the cluster scope and for all namespaces.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The object; empty for a collection and for a create, which has it in the body.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What the client says its user typed. Nothing is decided by it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub claimed_command: String,
    /// What the client says it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// Whence the connection came.
    pub source: String,
    /// The command of an exec, argument by argument.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub session_command: Vec<String>,
    /// Why it is risky, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub risks: Vec<String>,
    /// The body, decoded and masked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// What it is about: lines for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<String>,
    /// What it would change, by a dry run: a unified diff of YAML.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub diff: String,
}

/// What was found out about a request after it was asked; masked before it comes here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// [`Shown::context`].
    pub context: Vec<String>,
    /// [`Shown::diff`].
    pub diff: String,
}

impl Found {
    /// One line, and no diff.
    #[must_use]
    pub fn line(line: String) -> Self {
        Self {
            context: vec![line],
            diff: String::new(),
        }
    }
}

/// One person's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Who.
    pub by: Person,
    /// When.
    pub at: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What they said.
    pub verdict: Verdict,
}

/// What somebody says to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum Verdict {
    /// Each request, once.
    Yes,
    /// Everything of the same class from now on.
    #[serde(rename_all = "camelCase")]
    YesToClass {
        /// For how many seconds.
        seconds: u32,
    },
    /// No; also takes back a yes.
    No,
}

/// Why an answer does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnswered {
    /// It is over, or has its answer.
    #[error("it is {} already", .0.as_str())]
    Over(State),
    /// The person may not.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The person said yes before; another one is needed.
    #[error("you said yes to it already; somebody else has to as well")]
    Twice,
    /// More was asked since the person looked.
    #[error("the question has {now} requests by now and you saw {seen}; look at it again")]
    Changed {
        /// How many there are.
        now: usize,
        /// How many the person saw.
        seen: usize,
    },
    /// The rule does not let anybody admit a class, or not for so long.
    #[error("the rule {0}")]
    TooWide(String),
}

/// What a yes admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admits {
    /// This request, and no other.
    Once,
    /// Requests of the class until then.
    Until(Timestamp),
}

impl Approval {
    /// Lets time pass. Every other step begins with it.
    pub fn settle(&mut self, now: Timestamp) {
        if matches!(self.state, State::Asked | State::Approved) && self.expires <= now {
            self.state = State::Expired;
        }
    }

    /// Takes another request into a question that is open. `false` when it is not, or full.
    pub fn join(&mut self, request: Asked, now: Timestamp) -> bool {
        self.settle(now);
        let room = self.requests.len() < limits::APPROVAL_REQUESTS_MAX;
        // Who has said yes so far has not seen it.
        if self.state != State::Asked || !room || !self.answers.is_empty() {
            return false;
        }
        self.requests.push(request);
        true
    }

    /// Takes one person's answer, who has seen the first `seen` requests.
    pub fn answer(
        &mut self,
        by: Person,
        verdict: Verdict,
        (reason, seen): (String, usize),
        now: Timestamp,
    ) -> Result<(), NotAnswered> {
        self.settle(now);
        let taken_back = self.state == State::Approved && verdict == Verdict::No;
        if self.state != State::Asked && !taken_back {
            return Err(NotAnswered::Over(self.state));
        }
        by.may_answer(&self.caller, &self.terms.approvers)?;
        if verdict != Verdict::No {
            if self
                .answers
                .iter()
                .any(|answer| answer.by.is_same_human(&by))
            {
                return Err(NotAnswered::Twice);
            }
            if seen != self.requests.len() {
                let now = self.requests.len();
                return Err(NotAnswered::Changed { now, seen });
            }
        }
        if let Verdict::YesToClass { seconds } = verdict {
            self.check_width(seconds)?;
        }
        self.answers.push(Answer {
            by,
            at: now,
            reason,
            verdict,
        });
        if verdict == Verdict::No && self.grant.is_some() && taken_back {
            self.state = State::Revoked;
            self.expires = now;
        } else if verdict == Verdict::No {
            self.state = State::Denied;
            // It stands as long as the question would have: whoever asks the same again is told so.
            self.expires = later(now, self.terms.expires);
        } else if self.answers.len() >= self.terms.approvers.count {
            self.state = State::Approved;
            let ahead = self.grant.as_ref().map(|ahead| ahead.seconds);
            self.expires = match ahead.or_else(|| self.class_seconds()) {
                None => later(now, self.terms.expires),
                Some(seconds) => later(now, std::time::Duration::from_secs(u64::from(seconds))),
            };
        }
        Ok(())
    }

    /// What the yes admits; `None` when there is none that holds at `now`. Something is admitted for a class
    /// only if everybody said so, and for as long as the most careful of them did.
    #[must_use]
    pub fn admits(&self, now: Timestamp) -> Option<Admits> {
        let yes_at = self.answers.last()?.at;
        // A clock that was set back must not make a yes last longer than it was given for.
        let clock_went_back = now
            < yes_at
                .saturating_sub(limits::APPROVAL_CLOCK_STEP_MAX)
                .unwrap_or(Timestamp::MIN);
        if self.state != State::Approved || self.expires <= now || clock_went_back {
            return None;
        }
        Some(match self.class_seconds() {
            Some(_) => Admits::Until(self.expires),
            None => Admits::Once,
        })
    }

    /// Uses a yes up for one of its requests. Once for each of them, whoever asks at the same time.
    pub fn take(&mut self, digest: &Digest, audit_id: &str, now: Timestamp) -> Option<Admits> {
        self.settle(now);
        let admits = self.admits(now)?;
        if admits == Admits::Once {
            let request = self
                .requests
                .iter_mut()
                .find(|request| request.digest == *digest && request.used_by.is_none())?;
            request.used_by = Some(audit_id.to_owned());
            if self
                .requests
                .iter()
                .all(|request| request.used_by.is_some())
            {
                self.state = State::Used;
            }
        }
        Some(admits)
    }

    /// Gives a use back that nothing came of: the API server did not switch protocols, so no command has run, or it
    /// answered that the object is another than the patch was bound to, so nothing was changed.
    /// Only the request that used it may do that, and only while the yes would still hold.
    pub fn give_back(&mut self, digest: &Digest, audit_id: &str, now: Timestamp) -> bool {
        if !matches!(self.state, State::Used | State::Approved) || self.expires <= now {
            return false;
        }
        let used = self.requests.iter_mut().find(|request| {
            request.digest == *digest && request.used_by.as_deref() == Some(audit_id)
        });
        let Some(request) = used else {
            return false;
        };
        request.used_by = None;
        self.state = State::Approved;
        true
    }

    /// Takes a role away that was given: whoever has it, whoever could have said no, and operators.
    pub fn revoke(
        &mut self,
        by: Person,
        is_operator: bool,
        reason: String,
        now: Timestamp,
    ) -> Result<(), NotAnswered> {
        self.settle(now);
        if self.grant.is_none() || self.state != State::Approved {
            return Err(NotAnswered::Over(self.state));
        }
        // Giving something up is nobody else's business, nor is taking it from one's own agent.
        let own =
            by.is_same_caller(&self.caller) || by.agent.is_none() && by.is_same_human(&self.caller);
        if !is_operator && !own {
            by.may_answer(&self.caller, &self.terms.approvers)?;
        }
        self.answers.push(Answer {
            by,
            at: now,
            reason,
            verdict: Verdict::No,
        });
        self.state = State::Revoked;
        self.expires = now;
        Ok(())
    }

    /// Whoever asked takes the question back, or a yes that they did not use.
    pub fn withdraw(&mut self, by: &Person, now: Timestamp) -> Result<(), NotAnswered> {
        self.settle(now);
        if !by.is_same_caller(&self.caller) {
            return Err(Unfit::NotTheCaller.into());
        }
        if !matches!(self.state, State::Asked | State::Approved) {
            return Err(NotAnswered::Over(self.state));
        }
        self.state = State::Withdrawn;
        Ok(())
    }

    /// Whether nothing is known yet of what the request is about.
    #[must_use]
    pub fn lacks_context(&self, digest: &Digest) -> bool {
        let request = self
            .requests
            .iter()
            .find(|request| request.digest == *digest);
        request.is_some_and(|request| request.shown.context.is_empty())
    }

    /// How many more people must say yes.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.terms
            .approvers
            .count
            .saturating_sub(self.answers.len())
    }

    fn check_width(&self, seconds: u32) -> Result<(), NotAnswered> {
        let too_wide = |what: String| Err(NotAnswered::TooWide(what));
        if self.grant.is_some() {
            return too_wide("gives a role for as long as was asked for".to_owned());
        }
        match self.terms.same_class {
            None => too_wide("lets a yes admit each request once and no more".to_owned()),
            Some(most) if u64::from(seconds) > most.as_secs() => too_wide(format!(
                "lets a yes admit a class for at most {} minutes",
                most.as_secs() / 60
            )),
            Some(_) if seconds == 0 => too_wide("needs at least a second".to_owned()),
            Some(_) => Ok(()),
        }
    }

    /// For how long everybody admits the class; `None` when somebody does not.
    fn class_seconds(&self) -> Option<u32> {
        let each = self.answers.iter().map(|answer| match answer.verdict {
            Verdict::YesToClass { seconds } => Some(seconds),
            Verdict::Yes | Verdict::No => None,
        });
        each.min().flatten() // None is less than any number
    }
}

impl State {
    /// The word for it in lists, answers and filters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Approved => "approved",
            Self::Used => "used",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Revoked => "revoked",
        }
    }

    /// Whether anything can still happen to it.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Asked | Self::Approved)
    }
}

pub(super) fn later(now: Timestamp, by: std::time::Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
