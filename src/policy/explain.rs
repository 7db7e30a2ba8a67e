//! Why a decision came out as it did: as data, and in the words that refusals, the command line and
//! the audit log share.

mod refusals;
pub mod review;
mod words;

use std::sync::Arc;

use serde::Serialize;

use super::condition::explain::{ConditionStep, conditions, lacking, unmet};
use super::condition::{Scope, Seen};
use super::matcher::Reach;
use super::rule::{Asked, Criterion, Effect, Rule};
use super::{Decision, Help, Hold, Policy, RecordMode, RecordObligation};
use crate::identity::Identity;
use crate::request::RequestInfo;

pub(super) use refusals::{action, caller, denied_by, denied_by_default, held_twice, short};

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
    /// Whether the policy only observes: whatever is decided, the request goes on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub observed: bool,
    /// The rule that decided; absent when none did, which denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What a denied caller reads, or why it is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Under which terms it is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// The roles that the caller may ask for and with which it would not be denied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Help>,
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
    /// Whether the masked answer would be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub responses: Option<RecordMode>,
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
    /// Whether it wants the answer kept when it matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub responses: Option<RecordMode>,
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
        let asked = Asked::new(identity, info, cluster).holding(self.held(identity, seen));
        let matching = self.matching(&asked);
        let scope = Scope::new(&asked, seen);
        let outcome = Outcome::of(self.enforced(identity, info, cluster, seen));
        let mut steps = Vec::new();
        let mut decided = false;
        for rule in &self.rules {
            let step = step(rule, &scope, decided);
            let obliges = || rule.matches(&asked).is_some_and(|it| it.obliges(&asked));
            if !decided || obliges() {
                steps.push(step);
            }
            decided |= outcome.rule.as_ref() == Some(&rule.source.id);
        }
        Explanation {
            caller: caller(identity),
            request: format!("{} on cluster {cluster}", action(&asked)),
            masked_fields: match outcome.decision {
                Effect::Deny => Vec::new(),
                Effect::Allow | Effect::Hold => self.fields_of(&matching),
            },
            undecided: outcome.undecided,
            observed: self.observes,
            decision: outcome.decision,
            rule: outcome.rule,
            message: outcome.message,
            hold: outcome.hold,
            roles: outcome.roles,
            masks: outcome.masks,
            revealed: outcome.revealed,
            reveal: matching.offered(),
            record: outcome.record,
            responses: outcome.responses,
            audit: strict(outcome.decision != Effect::Deny && matching.strict_audit()),
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
    roles: Vec<Help>,
    masks: Vec<String>,
    revealed: Option<String>,
    record: Option<RecordObligation>,
    responses: Option<RecordMode>,
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
                roles: Vec::new(),
                masks: Vec::new(),
                revealed: None,
                record: None,
                responses: None,
            },
            Decision::Allow(permit) => Self {
                decision: Effect::Allow,
                undecided: false,
                rule: Some(permit.rule().to_owned()),
                message: None,
                hold: None,
                roles: Vec::new(),
                masks: permit.mask_names().to_vec(),
                revealed: permit.revealed().map(ToString::to_string),
                record: permit.record(),
                responses: permit.responses(),
            },
            Decision::Hold(question) => Self {
                decision: Effect::Hold,
                undecided: false,
                rule: Some(question.rule().to_owned()),
                message: question.message().map(str::to_owned),
                hold: Some(question.terms().clone()),
                roles: Vec::new(),
                masks: question.mask_names().to_vec(),
                revealed: question.revealed().map(ToString::to_string),
                record: question.record(),
                responses: question.responses(),
            },
            Decision::Deny(reason) => Self {
                decision: Effect::Deny,
                undecided: false,
                rule: reason.rule,
                message: Some(reason.message),
                hold: None,
                roles: reason.roles,
                masks: Vec::new(),
                revealed: None,
                record: None,
                responses: None,
            },
        }
    }
}

/// The word for it in rules.
fn strict(strict: bool) -> Option<&'static str> {
    strict.then_some("strict")
}

/// A rule's part in a decision. What it has under `when` only comes up while nothing is decided.
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
        responses: rule.source.responses,
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
