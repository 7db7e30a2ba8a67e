//! Cases that a policy must decide in a certain way: what `portcullis policy test` runs.

use std::sync::Arc;

use http::Method;

use super::explain::Explanation;
use super::rule::Effect;
use super::{Decision, Policy, Seen};
use crate::identity::Identity;
use crate::request::RequestInfo;

/// One request and the decision it must get.
#[derive(Clone, Debug)]
pub struct Case {
    /// What the case shows.
    pub name: String,
    /// Who asks.
    pub identity: Arc<Identity>,
    /// `METHOD TARGET`, as on the wire: `GET /api/v1/namespaces/default/secrets`.
    pub request: String,
    /// The cluster it is for.
    pub cluster: String,
    /// What must be decided.
    pub expect: Effect,
    /// Which rule must decide, as `RULE` or `POLICY/RULE`; `None` leaves it open.
    pub rule: Option<String>,
    /// What the request shows besides its head.
    pub seen: Seen,
    /// Which masks must be on the answer, exactly; `None` leaves it open.
    pub mask: Option<Vec<String>>,
}

/// A case that came out otherwise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What differs.
    pub message: String,
    /// How the decision came about; `None` when the request is malformed.
    pub explanation: Option<Box<Explanation>>,
}

impl Case {
    /// Decides the request and compares.
    pub fn run(&self, policy: &Policy) -> Result<(), Failure> {
        let info = parse_request(&self.request).map_err(|message| Failure {
            message,
            explanation: None,
        })?;
        let (effect, rule, masks) =
            match policy.enforced(&self.identity, &info, &self.cluster, &self.seen) {
                Decision::Allow(permit) => (
                    Effect::Allow,
                    Some(permit.rule().to_owned()),
                    permit.mask_names().to_vec(),
                ),
                Decision::Hold(question) => (
                    Effect::Hold,
                    Some(question.rule().to_owned()),
                    question.mask_names().to_vec(),
                ),
                Decision::Deny(reason) => (Effect::Deny, reason.rule, Vec::new()),
                Decision::Ask(_) => {
                    return Err(Failure {
                        message: "a rule looks at the object; give the case one with object: (and \
                              oldObject: for the one that is there before)"
                            .to_owned(),
                        explanation: Some(Box::new(self.explain(policy, &info))),
                    });
                }
            };
        let mut differences = Vec::new();
        if effect != self.expect {
            differences.push(format!(
                "expected {}, got {}",
                word(self.expect),
                word(effect)
            ));
        }
        if let Some(expected) = &self.rule
            && !rule.as_deref().is_some_and(|rule| names(rule, expected))
        {
            let got = rule.as_deref().unwrap_or("no rule");
            differences.push(format!("expected rule {expected}, got {got}"));
        }
        if let Some(expected) = &self.mask
            && !same_set(expected, &masks)
        {
            differences.push(format!("expected masks {expected:?}, got {masks:?}"));
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(Failure {
            message: differences.join("; "),
            explanation: Some(Box::new(self.explain(policy, &info))),
        })
    }

    fn explain(&self, policy: &Policy, info: &RequestInfo) -> Explanation {
        policy.explain(&self.identity, info, &self.cluster, &self.seen)
    }
}

/// Reads `METHOD TARGET`.
pub fn parse_request(text: &str) -> Result<RequestInfo, String> {
    let Some((method, target)) = text.trim().split_once(' ') else {
        return Err(format!(
            "{text:?} is not METHOD PATH, as in \"GET /api/v1/pods\""
        ));
    };
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| format!("{method:?} is not an HTTP method"))?;
    RequestInfo::parse(&method, target.trim_start()).map_err(|error| error.to_string())
}

fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::Hold => "hold",
        Effect::Deny => "deny",
    }
}

/// Whether `expected` names the rule, with or without its policy.
fn names(rule: &str, expected: &str) -> bool {
    rule == expected
        || rule
            .split_once('/')
            .is_some_and(|(_, name)| name == expected)
}

fn same_set(left: &[String], right: &[String]) -> bool {
    left.len() == right.len() && left.iter().all(|item| right.contains(item))
}
