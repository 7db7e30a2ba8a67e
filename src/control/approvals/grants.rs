//! Roles, asked for ahead of time: the same approvals, and what is only theirs.

use http::Method;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{Approvals, Call, Visitor, list, name, not_answered, unknown};
use crate::approval::ledger::Wish;
use crate::approval::{Ahead, Approval, Person, State};
use crate::audit::Event;
use crate::control::call::one_line;
use crate::gateway::refuse::Refusal;
use crate::limits;
use crate::policy::Askable;
use crate::request::Query;

/// What every path of this part begins with.
pub(super) const PREFIX: &str = "/v1/grants";

/// The body of a call that takes a role away.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Why; whoever has it reads it.
    pub reason: String,
}

/// Reads a call below `/v1/grants`.
pub(super) fn parse(method: &Method, parts: &[&str], query: &Query) -> Result<Call, Refusal> {
    match parts {
        [] if *method == Method::POST => Ok(Call::Ask),
        [] => match list(query)? {
            Call::List { open, limit } => Ok(Call::Grants { open, limit }),
            other => Ok(other),
        },
        [id, "revoke"] => Ok(Call::Revoke(name(id)?)),
        _ => Err(Refusal::not_found(
            "served here: /v1/grants and, below that, ID/revoke",
        )),
    }
}

impl Approvals {
    /// Asks for a role in the visitor's own name.
    pub(super) async fn ask(
        &self,
        visitor: &Visitor,
        ahead: Ahead,
        event: &mut Event,
    ) -> Result<Approval, Refusal> {
        event.annotate("portcullis.dev/role", one_line(&ahead.role, 64));
        let reason = self.reason(&ahead.reason);
        event.annotate("portcullis.dev/grant-reason", reason.clone());
        let ahead = Ahead { reason, ..ahead };
        visitor.somebody()?;
        let Visitor::Known { identity, .. } = visitor else {
            return Err(unknown(&ahead.role));
        };
        let roles = self.policy.current().askable(identity);
        let Some(role) = roles.iter().find(|role| role.name == ahead.role) else {
            return Err(Refusal::never_allowed(format!(
                "there is no role {:?} that you may ask for; {}",
                one_line(&ahead.role, 64),
                in_words(&roles)
            )));
        };
        let ahead = checked(ahead, role)?;
        let asked = self.desk.wish(Wish::of(identity, ahead, role)).await?;
        let asked = asked.map_err(|why| Refusal::too_many_questions(why, &self.at))?;
        event.annotate("portcullis.dev/approval", asked.id.clone());
        Ok(asked)
    }

    /// Takes a role away.
    pub(super) async fn revoke(
        &self,
        visitor: &Visitor,
        id: String,
        revoke: Revoke,
        event: &mut Event,
    ) -> Result<Approval, Refusal> {
        let reason = self.reason(&revoke.reason);
        event.annotate("portcullis.dev/approval-reason", reason.clone());
        if reason.is_empty() {
            return Err(Refusal::bad_request(
                "reason is empty; whoever has the role reads it, so say why",
            ));
        }
        let approval = self.seen(visitor, id.clone()).await?;
        if approval.grant.is_none() {
            return Err(Refusal::bad_request(
                "that is an approval of requests; take it back with: portcullis approvals deny",
            ));
        }
        if approval.state == State::Asked {
            return Err(Refusal::conflict(
                "nobody has said yes to it yet; use portcullis approvals deny, or withdraw if it is your own",
            ));
        }
        let by = match visitor {
            Visitor::Known {
                person, operator, ..
            } => (Person::clone(person), *operator),
            Visitor::Local => (Person::local(), true),
        };
        let revoked = self.desk.revoke(id.clone(), by, reason).await?;
        revoked
            .ok_or_else(|| unknown(&id))?
            .map_err(|why| not_answered(&why))
    }
}

/// What is asked for, if the role allows it.
fn checked(ahead: Ahead, role: &Askable) -> Result<Ahead, Refusal> {
    if ahead.reason.is_empty() {
        return Err(Refusal::bad_request(
            "reason is empty; the approvers read it, so say what the role is needed for",
        ));
    }
    let within = limits::GRANT_MIN.as_secs()..=role.longest.as_secs();
    if !within.contains(&u64::from(ahead.seconds)) {
        return Err(Refusal::bad_request(format!(
            "the role {:?} is given for {} to {}",
            role.name,
            spell(*within.start()),
            spell(*within.end())
        )));
    }
    Ok(ahead)
}

fn in_words(roles: &[Askable]) -> String {
    if roles.is_empty() {
        return "the policy lets you ask for none".to_owned();
    }
    let named: Vec<String> = roles
        .iter()
        .map(|role| format!("{:?} (up to {})", role.name, spell(role.longest.as_secs())))
        .collect();
    format!("you may ask for {}", named.join(", "))
}

/// Seconds for people: `1h 30m`.
#[must_use]
pub fn spell(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    format!("{:#}", SignedDuration::from_secs(seconds))
}
