//! Why a decision came out as it did: as data, and in the words that refusals, the command line and
//! the audit log share.

pub mod review;
mod words;

use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;

use super::condition::explain::{ConditionStep, conditions, held, lacking, unmet};
use super::condition::{Scope, Seen};
use super::matcher::Reach;
use super::rule::{Asked, Criterion, Effect, Rule};
use super::{Decision, Hold, Policy, RecordObligation};
use crate::identity::Identity;
use crate::request::RequestInfo;

/// A decision with its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Who asks, in words.
    pub caller: String,
    /// What they ask for, in words.
    pub request: String,
    /// What was decided.
    pub decision: Effect,
    /// Whether a rule looks at what was not given; then `decision` is what the gateway would do without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub undecided: bool,
    /// The rule that decided; absent when none did, which denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What a denied caller reads, or why it is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Under which terms it is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// The masks on the answer.
    pub masks: Vec<String>,
    /// The fields that they hide.
    pub masked_fields: Vec<String>,
    /// The one of them that is shown nevertheless, because the request asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revealed: Option<String>,
    /// The fields that a request for this object may ask to see.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reveal: Vec<String>,
    /// How much the caller may do in a minute or an hour, by all budgets about them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub budgets: String,
    /// How the session would be recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordObligation>,
    /// `strict` if the request would be on the disk before it is carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<&'static str>,
    /// Every rule up to the deciding one, and later ones that oblige to something.
    pub steps: Vec<Step>,
    /// The digest of the policy.
    pub policy_version: String,
}

/// One rule's part in a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// `POLICY/RULE`.
    pub rule: String,
    /// `FILE:LINE`.
    pub location: String,
    /// What it decides when it matches; absent for a rule that only masks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// The masks it adds when it matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub masks: Vec<String>,
    /// How it wants a session recorded when it matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordObligation>,
    /// `strict` if it wants the request on the disk before it is carried out, when it matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<&'static str>,
    /// The fields it lets callers ask for when it matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reveal: Vec<String>,
    /// What it has under `when`, if it came to that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<ConditionStep>,
    /// The first criterion that failed; absent when the rule matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mismatch: Option<Mismatch>,
}

/// A criterion that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// The key in the rule.
    pub field: &'static str,
    /// What the rule asks for.
    pub rule: String,
    /// What the request has.
    pub request: String,
}

impl Policy {
    /// Decides a request and says how the decision came about.
    pub fn explain(
        &self,
        identity: &Arc<Identity>,
        info: &RequestInfo,
        cluster: &str,
        seen: &Seen,
    ) -> Explanation {
        let asked = Asked::new(identity, info, cluster);
        let scope = Scope::new(&asked, seen);
        let outcome = Outcome::of(self.decide(identity, info, cluster, seen));
        let mut steps = Vec::new();
        let mut decided = false;
        for rule in &self.rules {
            let step = step(rule, &scope, decided);
            if !decided || rule.obliges(&asked) {
                steps.push(step);
            }
            decided |= outcome.rule.as_ref() == Some(&rule.source.id);
        }
        Explanation {
            caller: caller(identity),
            request: format!("{} on cluster {cluster}", action(&asked)),
            masked_fields: match outcome.decision {
                Effect::Deny => Vec::new(),
                Effect::Allow | Effect::Hold => self.fields_of(&asked),
            },
            undecided: outcome.undecided,
            decision: outcome.decision,
            rule: outcome.rule,
            message: outcome.message,
            hold: outcome.hold,
            masks: outcome.masks,
            revealed: outcome.revealed,
            reveal: self.offered(&asked),
            record: outcome.record,
            audit: strict(
                outcome.decision != Effect::Deny
                    && self.rules.iter().any(|rule| rule.audits_strictly(&asked)),
            ),
            budgets: self.allowance(identity).to_string(),
            steps,
            policy_version: self.version().to_string(),
        }
    }
}

/// What a decision says about the answer.
struct Outcome {
    decision: Effect,
    undecided: bool,
    rule: Option<String>,
    message: Option<String>,
    hold: Option<Hold>,
    masks: Vec<String>,
    revealed: Option<String>,
    record: Option<RecordObligation>,
}

impl Outcome {
    fn of(decision: Decision) -> Self {
        match decision {
            Decision::Ask(inquiry) => Self {
                decision: Effect::Deny,
                undecided: true,
                rule: Some(inquiry.permit().rule().to_owned()),
                message: Some(lacking(inquiry.wanted())),
                hold: None,
                masks: Vec::new(),
                revealed: None,
                record: None,
            },
            Decision::Allow(permit) => Self {
                decision: Effect::Allow,
                undecided: false,
                rule: Some(permit.rule().to_owned()),
                message: None,
                hold: None,
                masks: permit.mask_names().to_vec(),
                revealed: permit.revealed().map(ToString::to_string),
                record: permit.record(),
            },
            Decision::Hold(question) => Self {
                decision: Effect::Hold,
                undecided: false,
                rule: Some(question.rule().to_owned()),
                message: question.message().map(str::to_owned),
                hold: Some(question.terms().clone()),
                masks: question.mask_names().to_vec(),
                revealed: question.revealed().map(ToString::to_string),
                record: question.record(),
            },
            Decision::Deny(reason) => Self {
                decision: Effect::Deny,
                undecided: false,
                rule: reason.rule,
                message: Some(reason.message),
                hold: None,
                masks: Vec::new(),
                revealed: None,
                record: None,
            },
        }
    }
}

/// A rule's part in a decision. What it has under `when` only comes up while nothing is decided.
/// The word for it in rules.
fn strict(strict: bool) -> Option<&'static str> {
    strict.then_some("strict")
}

fn step(rule: &Rule, scope: &Scope<'_>, decided: bool) -> Step {
    let asked = scope.asked;
    let reach = rule.source.decision.map_or(Reach::Touches, Effect::reach);
    let mismatch = rule
        .mismatch(asked, reach)
        .map(|criterion| describe(criterion, rule, asked));
    let comes_up = mismatch.is_none() && !decided;
    Step {
        rule: rule.source.id.clone(),
        location: rule.source.location.clone(),
        effect: rule.source.decision,
        masks: rule.source.mask.clone(),
        record: rule.source.record,
        audit: strict(rule.source.strict_audit),
        reveal: rule.source.reveal.iter().map(ToString::to_string).collect(),
        when: if comes_up {
            conditions(rule, scope)
        } else {
            Vec::new()
        },
        mismatch: mismatch.or_else(|| comes_up.then(|| unmet(rule, scope)).flatten()),
    }
}

/// What the caller of a denied request reads: who said no, why, and what to do next.
pub(super) fn denied_by(rule: &Rule, scope: &Scope<'_>) -> String {
    let asked = scope.asked;
    let mut text = match &rule.source.message {
        Some(message) => format!("denied by policy rule {}: {message}", rule.source.id),
        None => format!(
            "policy rule {} denies to {}; ask whoever runs this gateway if you need it",
            rule.source.id,
            action(asked)
        ),
    };
    if let Some(held) = held(rule, scope) {
        // Writing to a String cannot fail.
        let _infallible = write!(text, " ({})", short(&held));
    }
    let narrower = |field: Criterion| rule.mismatch(asked, Reach::Contains) == Some(field);
    if narrower(Criterion::Namespaces) {
        text.push_str(
            " (the request spans all namespaces, one of them is denied; name one with -n)",
        );
    } else if narrower(Criterion::ResourceNames) {
        text.push_str(" (the request covers every name, one of them is denied; name one object)");
    }
    text
}

/// The same when a request spans what one rule holds and more that another one does.
pub(super) fn held_twice(first: &Rule, second: &Rule, asked: &Asked<'_>) -> String {
    format!(
        "policy rules {} and {} both hold a part of what it takes to {}; ask for less at a time, as with -n",
        first.source.id,
        second.source.id,
        action(asked)
    )
}

/// The same when no rule decided.
pub(super) fn denied_by_default(asked: &Asked<'_>) -> String {
    format!(
        "no policy rule allows {} to {}; ask whoever runs this gateway for a rule that does",
        caller(asked.identity),
        action(asked)
    )
}

pub(super) fn caller(identity: &Identity) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = match identity.agent() {
        Some(agent) => write!(
            text,
            "agent {:?} acting for {:?}",
            short(&agent.name),
            short(identity.username())
        ),
        None => write!(text, "{:?}", short(identity.username())),
    };
    text
}

/// `create pods/exec "web-0" in namespace "shop"`.
pub(super) fn action(asked: &Asked<'_>) -> String {
    let info = asked.info;
    if !info.is_resource_request {
        return format!("{} {}", asked.verb, short(&info.path));
    }
    let also = asked
        .also
        .map_or_else(String::new, |also| format!(" and {also}"));
    let mut text = format!("{}{also} {}", asked.verb, short(&info.resource));
    if !info.subresource.is_empty() {
        text.push('/');
        text.push_str(&short(&info.subresource));
    }
    if !info.api_group.is_empty() {
        text.push('.');
        text.push_str(&short(&info.api_group));
    }
    if !info.name.is_empty() {
        // Writing to a String cannot fail.
        let _infallible = write!(text, " {:?}", short(&info.name));
    }
    if !info.namespace.is_empty() && info.resource != "namespaces" {
        // Writing to a String cannot fail.
        let _infallible = write!(text, " in namespace {:?}", short(&info.namespace));
    }
    text
}

/// Refusals must fit into the 1024 bytes that clients keep of a refused upgrade.
pub(super) fn short(text: &str) -> String {
    const CHARACTERS_MAX: usize = 100;
    if text.chars().nth(CHARACTERS_MAX).is_none() {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(CHARACTERS_MAX).collect();
    cut.push('…');
    cut
}

fn describe(criterion: Criterion, rule: &Rule, asked: &Asked<'_>) -> Mismatch {
    let source = &rule.source;
    let info = asked.info;
    let (field, wanted, got) = match criterion {
        Criterion::Clusters => ("clusters", list(&source.clusters), quote(asked.cluster)),
        Criterion::Subjects => {
            let subjects = source.subjects.as_ref();
            let subjects = subjects.map_or_else(String::new, ToString::to_string);
            ("subjects", subjects, who(asked.identity))
        }
        Criterion::Kind if info.is_resource_request => (
            "nonResourceURLs",
            list(&source.non_resource_urls),
            "a resource".to_owned(),
        ),
        Criterion::Kind => (
            "resources",
            list(&source.resources),
            format!("the path {}", info.path),
        ),
        Criterion::NonResourceUrls => (
            "nonResourceURLs",
            list(&source.non_resource_urls),
            quote(&info.path),
        ),
        Criterion::ApiGroups => (
            "apiGroups",
            list(&source.api_groups),
            quote(&info.api_group),
        ),
        Criterion::Resources => (
            "resources",
            list(&source.resources),
            quote(&info.qualified_resource()),
        ),
        Criterion::Verbs => ("verbs", list(&source.verbs), asked.verbs()),
        Criterion::Namespaces => (
            "namespaces",
            list(&source.namespaces),
            if info.namespace.is_empty() {
                "none (cluster scope or all namespaces)".to_owned()
            } else {
                quote(&info.namespace)
            },
        ),
        Criterion::ResourceNames => (
            "resourceNames",
            list(&source.resource_names),
            if info.name.is_empty() {
                "none (every name)".to_owned()
            } else {
                quote(info.object_name())
            },
        ),
    };
    Mismatch {
        field,
        rule: wanted,
        request: got,
    }
}

fn who(identity: &Identity) -> String {
    let agent = identity
        .agent()
        .map_or_else(String::new, |agent| format!(", agent {:?}", agent.name));
    format!(
        "user {:?}, groups {}{agent}",
        identity.username(),
        list(identity.groups())
    )
}

pub(super) fn quote(text: &str) -> String {
    format!("{text:?}")
}

fn list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| quote(item)).collect();
    format!("[{}]", quoted.join(", "))
}
