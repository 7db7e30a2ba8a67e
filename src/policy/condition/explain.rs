//! How conditions came out, in the words of refusals and explanations.

use serde::Serialize;

use super::{Condition, Held, Scope, Wanted};
use crate::policy::explain::{Mismatch, quote, short};
use crate::policy::rule::Rule;

/// One condition's part in a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionStep {
    /// Its name; of several under `anyOf` the one that decided.
    pub name: String,
    /// Its CEL.
    pub expression: String,
    /// `holds`, `does not hold`, or why that cannot be told.
    pub result: String,
}

/// The conditions that hold where a rule decides, with the risk that they name; `None` where it has none.
pub(in crate::policy) fn held(rule: &Rule, scope: &Scope<'_>) -> Option<String> {
    let held = rule
        .conditions
        .iter()
        .map(|condition| condition.holds(scope).1);
    let named = held.map(|condition| match condition.risk {
        "" => condition.name.clone(),
        risk => format!("{}: {risk}", condition.name),
    });
    let named: Vec<String> = named.collect();
    (!named.is_empty()).then(|| named.join("; "))
}

/// Why a rule holds a request: what it says itself, and which of its conditions hold.
pub(in crate::policy) fn because(rule: &Rule, scope: &Scope<'_>) -> Option<String> {
    let message = rule.source.message.clone();
    match (message, held(rule, scope)) {
        (Some(message), Some(held)) => Some(format!("{message} ({})", short(&held))),
        (message, held) => message.or(held),
    }
}

/// What a caller reads when a condition could not be evaluated, which denies whatever the rule decides.
pub(in crate::policy) fn unclear(rule: &Rule, condition: &str, why: &str) -> String {
    format!(
        "condition {condition:?} of policy rule {} cannot be evaluated: {}; tell whoever runs this gateway",
        rule.source.id,
        short(why)
    )
}

/// What an explanation says where the rule looks at what it was not given.
pub(in crate::policy) fn lacking(wanted: Wanted) -> String {
    match wanted {
        Wanted::Object => "the rule looks at the object that is written; give it with --object FILE",
        Wanted::OldObject => {
            "the rule looks at the object that is there before; give it with --old-object FILE"
        }
        Wanted::DryRun => {
            "the rule looks at request.dryRun, which the body of a delete tells; give one with --object FILE"
        }
    }
    .to_owned()
}

/// Every condition of a rule, and how it came out.
pub(in crate::policy) fn conditions(rule: &Rule, scope: &Scope<'_>) -> Vec<ConditionStep> {
    let step = |condition: &Condition| {
        let (held, which) = condition.holds(scope);
        ConditionStep {
            name: which.name.clone(),
            expression: which.text.clone(),
            result: match held {
                Held::Yes if which.risk.is_empty() => "holds".to_owned(),
                Held::Yes => format!("holds: {}", which.risk),
                Held::No => "does not hold".to_owned(),
                Held::Wants(wanted) => lacking(wanted),
                Held::Failed(_, why) => format!("cannot be evaluated: {why}"),
            },
        }
    };
    rule.conditions.iter().map(step).collect()
}

/// The condition for which a rule that matches otherwise does not decide.
pub(in crate::policy) fn unmet(rule: &Rule, scope: &Scope<'_>) -> Option<Mismatch> {
    let failing = rule
        .conditions
        .iter()
        .find(|condition| condition.holds(scope).0 == Held::No)?;
    (rule.holds(scope) == Held::No).then(|| Mismatch {
        field: "when",
        rule: quote(&failing.name),
        request: "an object for which it does not hold".to_owned(),
    })
}
