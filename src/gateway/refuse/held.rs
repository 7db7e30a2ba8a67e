//! Refusals of requests that wait for a human: what is held, who can approve it, and what to type next. The
//! same stands in `details.causes` for programs, which read no sentences.
//!
//! 403 and never 429 with `Retry-After`: client-go would repeat the request silently (wire.md §9.3).

use std::fmt::Write as _;

use http::StatusCode;
use jiff::Timestamp;

use super::{Cause, Fault, Refusal, denial};
use crate::approval::ledger::TooMany;
use crate::approval::{Approval, Grant, StoreError, Verdict};
use crate::identity::Identity;
use crate::limits;
use crate::policy::Help;
use crate::request::RequestInfo;

/// How many bytes of a rule's own words are repeated, so that the answer stays below 1 KiB.
const MESSAGE_BYTES_MAX: usize = 200;

impl Refusal {
    /// 403: the request waits for somebody's yes, and this connection no longer does. `server` is where
    /// approvers call.
    pub fn held(
        info: &RequestInfo,
        identity: &Identity,
        approval: &Approval,
        server: &str,
    ) -> Self {
        let id = &approval.id;
        let why = approval
            .message
            .as_deref()
            .map_or_else(String::new, |message| format!(" ({})", short(message)));
        let missing = approval.missing();
        let more = if missing < approval.terms.approvers.count {
            format!(" {missing} more of them must say yes.")
        } else {
            String::new()
        };
        if approval.expires <= Timestamp::now() {
            let what = format!(
                "nobody answered approval {id} in time; run the same command again to ask anew"
            );
            return Self::waiting(info, identity, &what, Vec::new());
        }
        let what = format!(
            "policy rule {} holds this for approval {id}{why}. Approvers: {}.{more} They run: portcullis approvals approve {id} --server {server}. \
             After that run the same command again, until {:.0}",
            approval.rule,
            short(&approval.terms.approvers.in_words()),
            approval.expires,
        );
        let cause = |field: &str, message: String| Cause {
            reason: "ApprovalRequired",
            message,
            field: field.to_owned(),
        };
        let causes = vec![
            cause("approval.id", id.clone()),
            cause("approval.url", format!("{server}/v1/approvals/{id}")),
            cause("approval.expires", format!("{:.0}", approval.expires)),
        ];
        Self::waiting(info, identity, &what, causes)
    }

    /// 403: somebody said no, and the same request is not asked again for a while.
    pub fn approval_denied(info: &RequestInfo, identity: &Identity, approval: &Approval) -> Self {
        let no = approval
            .answers
            .iter()
            .rev()
            .find(|answer| answer.verdict == Verdict::No);
        let (by, reason) = no.map_or(("somebody", ""), |no| {
            (no.by.user.as_str(), no.reason.as_str())
        });
        let reason = if reason.is_empty() {
            String::new()
        } else {
            format!(": {}", short(reason))
        };
        let what = format!(
            "approval {} was denied by {by:?}{reason}. The same request can be asked for again after {:.0}",
            approval.id, approval.expires,
        );
        let causes = vec![Cause {
            reason: "ApprovalDenied",
            message: approval.id.clone(),
            field: "approval.id".to_owned(),
        }];
        let mut refusal = Self::waiting(info, identity, &what, causes);
        refusal.fault = Fault::Policy;
        if let Some(details) = &mut refusal.details {
            details.retry_after_seconds = 0;
        }
        refusal
    }

    /// 403: too much waits for an answer to ask for more. `server` is where the approvals are listed.
    pub fn too_many_questions(why: TooMany, server: &str) -> Self {
        let own = format!(
            "wait for an answer, or take one back: portcullis approvals ls --server {server} shows them, and portcullis approvals withdraw ID --server {server} takes one back"
        );
        let (which, message) = match why {
            TooMany::OfCaller => (
                "caller",
                format!(
                    "{} of your requests wait for an approval, which is the most for one caller; {own}",
                    limits::APPROVALS_OPEN_PER_CALLER_MAX,
                ),
            ),
            TooMany::OfAgents => (
                "agents",
                format!(
                    "{} requests of agents that act for the same human wait for an approval, which is the most for all of them; {own}",
                    limits::APPROVALS_OPEN_OF_AGENTS_MAX,
                ),
            ),
            TooMany::InAnHour => (
                "hour",
                format!(
                    "you have asked for {} approvals within an hour, which is the most for one caller; try again later",
                    limits::APPROVALS_ASKED_PER_HOUR_MAX,
                ),
            ),
            TooMany::Busy => (
                "busy",
                format!(
                    "{} or more requests wait for an approval here, and until some are answered whoever has one open asks no other; {own}",
                    limits::APPROVALS_OPEN_BUSY,
                ),
            ),
            TooMany::InAll => (
                "all",
                format!(
                    "{} requests wait for an approval here, which is the most; ask the approvers to answer some, then try again",
                    limits::APPROVALS_OPEN_MAX
                ),
            ),
        };
        let mut refusal = Self::new(Fault::Policy, StatusCode::FORBIDDEN, "Forbidden", message);
        let details = refusal.details.get_or_insert_default();
        details.causes = vec![Cause {
            reason: "TooManyApprovals",
            message: which.to_owned(),
            field: "approvals.open".to_owned(),
        }];
        details.retry_after_seconds = RETRY_AFTER_SECONDS;
        refusal
    }

    /// 403: the role by which a request was allowed is over, or was taken away, before it was sent.
    pub fn grant_ended(grant: &Grant) -> Self {
        let message = format!(
            "grant {} of the role {:?} ended before the request was sent; ask for the role again with: portcullis request --role {}",
            grant.id(),
            grant.role(),
            grant.role(),
        );
        Self::new(Fault::Policy, StatusCode::FORBIDDEN, "Forbidden", message)
    }

    fn waiting(info: &RequestInfo, identity: &Identity, what: &str, causes: Vec<Cause>) -> Self {
        let message = denial(info, identity, what);
        let mut refusal =
            Self::new(Fault::Held, StatusCode::FORBIDDEN, "Forbidden", message).about(info);
        let details = refusal.details.get_or_insert_default();
        details.causes = causes;
        details.retry_after_seconds = RETRY_AFTER_SECONDS;
        refusal
    }
}

/// The roles that would help whoever was denied, as commands to type; empty when there are none. `server` is where
/// they call.
pub(in crate::gateway) fn help(roles: &[Help], server: &str) -> String {
    let mut text = String::new();
    for (index, help) in roles.iter().enumerate() {
        let lead = if index == 0 {
            ". You may ask for a role that does"
        } else {
            ", or"
        };
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{lead}: {help} --reason WHY --server {server}");
    }
    text
}

/// When it makes sense for an agent to look again: people take a while.
const RETRY_AFTER_SECONDS: u32 = 30;

fn short(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.len() <= MESSAGE_BYTES_MAX {
        return text;
    }
    let (kept, _) = text.split_at(text.floor_char_boundary(MESSAGE_BYTES_MAX));
    format!("{kept}…")
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "approvals cannot be looked up");
        Self::gateway_unavailable(
            "this request needs an approval, and the gateway's approvals cannot be read or written; try again later or tell the platform team",
        )
        .detail(&error)
    }
}
