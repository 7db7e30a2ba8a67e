//! What is wrong with a rule as written, in the words of whoever wrote it.

use super::super::hold::Approvers;
use super::super::mask::Segment;
use super::super::matcher::{check_resource, check_url};
use super::{Effect, RuleProblem, RuleSource, SubjectsSource, item};
use crate::limits;

/// The verbs that requests for resources have.
pub(in crate::policy) const RESOURCE_VERBS: &[&str] = &[
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
];
/// The verbs that rules for other paths know; `head` is a `get`.
pub(in crate::policy) const URL_VERBS: &[&str] = &["get", "post", "put", "patch", "delete"];

pub(super) fn check_lists(source: &RuleSource, problems: &mut Vec<RuleProblem>) {
    let about_urls = !source.non_resource_urls.is_empty();
    let about_resources = source.names_resources();
    for (index, verb) in source.verbs.iter().enumerate() {
        let known = verb == "*"
            || (!about_urls || about_resources) && RESOURCE_VERBS.contains(&verb.as_str())
            || (!about_resources || about_urls) && URL_VERBS.contains(&verb.as_str());
        if !known {
            let all = if about_urls {
                URL_VERBS
            } else {
                RESOURCE_VERBS
            };
            problems.push(item("verbs", index, verb_hint(verb, all)));
        }
    }
    for (index, entry) in source.resources.iter().enumerate() {
        if let Err(why) = check_resource(entry) {
            problems.push(item("resources", index, format!("{entry:?} {why}")));
        }
    }
    for (index, entry) in source.non_resource_urls.iter().enumerate() {
        if let Err(why) = check_url(entry) {
            problems.push(item("nonResourceURLs", index, format!("{entry:?} {why}")));
        }
    }
    for (index, group) in source.api_groups.iter().enumerate() {
        // `core` and a version are no groups: such a rule would never match, a deny would deny nothing.
        let looks_good = group != "core" && !is_version(group);
        let good = group == "*"
            || looks_good
                && group.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)
                });
        if !good {
            let why = "is not an API group: write \"\" (core), apps, rbac.authorization.k8s.io, ... \
                       without a version, or \"*\"";
            problems.push(item("apiGroups", index, format!("{group:?} {why}")));
        }
    }
}

/// `v1`, `v2beta1`: a version, and no group that Kubernetes has.
fn is_version(text: &str) -> bool {
    text.strip_prefix('v')
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

fn verb_hint(verb: &str, known: &[&str]) -> String {
    let hint = match verb {
        "exec" | "attach" | "connect" | "portforward" => {
            "; a session is the verb create on pods/exec, pods/attach or pods/portforward"
        }
        "impersonate" | "bind" | "escalate" | "approve" | "sign" | "use" => {
            "; the API server asks its own RBAC for that verb, no request has it"
        }
        _ => "",
    };
    format!(
        "{verb:?} is not a verb of a request; use {} or *{hint}",
        known.join(", ")
    )
}

/// What a rule must and must not have, taken as a whole.
pub(super) fn check_shape(source: &RuleSource, problems: &mut Vec<RuleProblem>) {
    let mut whole = |field, message: &str| {
        problems.push(RuleProblem {
            field,
            index: None,
            message: message.to_owned(),
        });
    };
    if source.decision.is_none()
        && source.mask.is_empty()
        && source.record.is_none()
        && source.responses.is_none()
        && !source.strict_audit
        && source.reveal.is_empty()
    {
        whole(
            "decision",
            "is missing: say allow, hold or deny, or give the rule a `mask`, `record`, `audit` or `reveal`",
        );
    }
    if source.message.is_some() && !matches!(source.decision, Some(Effect::Deny | Effect::Hold)) {
        whole(
            "message",
            "belongs to a rule with `decision: deny` or `decision: hold`",
        );
    }
    if source
        .message
        .as_ref()
        .is_some_and(|text| text.len() > MESSAGE_BYTES_MAX)
    {
        // kubectl shows the first KiB of a refused upgrade.
        whole("message", "is longer than 512 bytes");
    }
    if !source.non_resource_urls.is_empty() && source.names_resources() {
        whole(
            "nonResourceURLs",
            "cannot stand beside apiGroups, resources, namespaces or resourceNames; make two rules",
        );
    }
    if !source.non_resource_urls.is_empty() && !source.mask.is_empty() {
        whole("mask", "has no meaning for nonResourceURLs");
    }
    if matches!(source.decision, Some(Effect::Allow | Effect::Hold)) {
        if source.verbs.is_empty() {
            whole(
                "verbs",
                "is missing: an allow or hold rule says what it is about; write [\"*\"] for every verb",
            );
        }
        if source.non_resource_urls.is_empty() {
            if source.resources.is_empty() {
                whole(
                    "resources",
                    "is missing: an allow or hold rule says what it is about; write [\"*\"] for every resource, or give nonResourceURLs",
                );
            }
            if source.api_groups.is_empty() {
                whole(
                    "apiGroups",
                    "is missing: an allow or hold rule says what it is about; write [\"\"] for the core group, [\"*\"] for every group",
                );
            }
        }
    }
}

/// Refusals stay well under the 1024 bytes that clients keep of a refused upgrade.
const MESSAGE_BYTES_MAX: usize = 512;

/// Whether recording can matter where the rule asks for it.
pub(super) fn check_record(source: &RuleSource, problems: &mut Vec<RuleProblem>) {
    let message = if source.record.is_none() && source.responses.is_none() {
        return;
    } else if source.decision == Some(Effect::Deny) {
        "has no meaning in a rule with `decision: deny`"
    } else if source.record.is_some() && !source.may_be_about_sessions() {
        "needs a rule about sessions: pods/exec, pods/attach, pods/portforward or nodes/proxy with the verb create; `record: responses` keeps answers"
    } else {
        return;
    };
    problems.push(RuleProblem {
        field: "record",
        index: None,
        message: message.to_owned(),
    });
}

/// What is denied is not carried out.
pub(super) fn check_audit(source: &RuleSource, problems: &mut Vec<RuleProblem>) {
    if source.strict_audit && source.decision == Some(Effect::Deny) {
        problems.push(RuleProblem {
            field: "audit",
            index: None,
            message: "has no meaning in a rule with `decision: deny`".to_owned(),
        });
    }
}

/// Whether conditions are where they count: they are for decisions. What a rule obliges to would otherwise depend on
/// a body, and a mask that does not apply shows what it hides.
pub(super) fn check_when(source: &RuleSource, problems: &mut Vec<RuleProblem>) {
    if source.when.is_empty() {
        return;
    }
    let obliges = !source.mask.is_empty()
        || !source.reveal.is_empty()
        || source.record.is_some()
        || source.responses.is_some()
        || source.strict_audit;
    let message = if source.decision.is_none() {
        "needs a decision; mask, reveal, record and audit hold whatever a request says"
    } else if obliges {
        "has no meaning for mask, reveal, record and audit; put them into a rule of their own"
    } else if source.when.len() > limits::RULE_CONDITIONS_MAX {
        "has more than 64 conditions; split the rule"
    } else {
        return;
    };
    problems.push(RuleProblem {
        field: "when",
        index: None,
        message: message.to_owned(),
    });
}

/// Whether revealing can matter where the rule offers it.
pub(super) fn check_reveal(source: &RuleSource, problems: &mut Vec<RuleProblem>) {
    if source.reveal.is_empty() {
        return;
    }
    let get =
        source.verbs.is_empty() || source.verbs.iter().any(|verb| verb == "*" || verb == "get");
    let whole = if source.decision == Some(Effect::Deny) {
        Some("has no meaning in a rule with `decision: deny`")
    } else if !source.non_resource_urls.is_empty() {
        Some("has no meaning for nonResourceURLs")
    } else if !get {
        Some("needs a rule about the verb get: one object at a time is revealed")
    } else if source.resources.is_empty() || source.api_groups.is_empty() {
        Some("needs apiGroups and resources: say whose fields may be seen")
    } else {
        None
    };
    problems.extend(whole.map(|message| RuleProblem {
        field: "reveal",
        index: None,
        message: message.to_owned(),
    }));
    for (index, field) in source.reveal.iter().enumerate() {
        let members = field.segments().iter().all(|segment| {
            matches!(
                segment,
                Segment::Key(_) | Segment::AnyKey | Segment::KeyLike(_)
            )
        });
        if !members {
            let message = format!("{field}: elements of arrays cannot be revealed; name members");
            problems.push(item("reveal", index, message));
        }
    }
}

/// Whether somebody can answer what the rule holds, within bounds.
pub(super) fn check_hold(source: &RuleSource, problems: &mut Vec<RuleProblem>) {
    let mut wrong = |field, message: String| {
        problems.push(RuleProblem {
            field,
            index: None,
            message,
        });
    };
    let holds = source.decision == Some(Effect::Hold);
    let Some(hold) = &source.hold else {
        if holds {
            wrong(
                "hold",
                "is missing: say who may approve, as in `hold: {approvers: {groups: [sre]}}`"
                    .to_owned(),
            );
        }
        return;
    };
    if !holds {
        wrong("hold", "belongs to a rule with `decision: hold`".to_owned());
    }
    let fields = [
        "hold.approvers",
        "hold.approvers.count",
        "hold.approvers.principal",
    ];
    check_approvers(&hold.approvers, fields, source.subjects.as_ref(), problems);
}

/// Whether somebody can answer. The fields are what they are called: the whole, the count and the principal.
pub(super) fn check_approvers(
    approvers: &Approvers,
    [whole, count, principal]: [&'static str; 3],
    subjects: Option<&SubjectsSource>,
    problems: &mut Vec<RuleProblem>,
) {
    let mut wrong = |field, message: String| {
        problems.push(RuleProblem {
            field,
            index: None,
            message,
        });
    };
    if approvers.groups.is_empty() && approvers.users.is_empty() && !approvers.principal {
        wrong(
            whole,
            "names nobody: give groups or users, whose names are compared as they are".to_owned(),
        );
    }
    // Groups may have any number of people; without them the count can be seen to be out of reach.
    let known = approvers.users.len() + usize::from(approvers.principal);
    if approvers.groups.is_empty() && known > 0 && approvers.count > known {
        let asked = approvers.count;
        wrong(
            count,
            format!("is {asked}, and only {known} can answer; nobody approves their own request"),
        );
    }
    let only_agents = subjects.is_some_and(|subjects| {
        !subjects.agents.is_empty() && subjects.users.is_empty() && subjects.groups.is_empty()
    });
    if approvers.principal && !only_agents {
        wrong(
            principal,
            "needs subjects that are agents and nobody else".to_owned(),
        );
    }
}

/// A role gives something: it needs a decision to which the grant can be held, on the record and when it ends.
pub(super) fn check_roles(source: &RuleSource, problems: &mut Vec<RuleProblem>) {
    let subjects = source.subjects.as_ref();
    if subjects.is_none_or(|subjects| subjects.roles.is_empty()) {
        return;
    }
    let message = if !source.reveal.is_empty() {
        "cannot reveal anything; name subjects, and hold it"
    } else if !matches!(source.decision, Some(Effect::Allow | Effect::Hold)) {
        "needs a rule with `decision: allow` or `decision: hold`: a role gives something"
    } else {
        return;
    };
    problems.push(RuleProblem {
        field: "subjects.roles",
        index: None,
        message: message.to_owned(),
    });
}
