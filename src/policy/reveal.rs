//! One masked field, shown to who may see it and says why.
//!
//! A rule with `reveal` offers fields, it shows none: the request has to name one of them
//! ([`crate::request::Reveal`]). Asked for what no rule offers, the answer is no, not the masked object, so
//! that nobody takes a placeholder for a value.
//!
//! A rule with `reveal` and `decision: hold` shows its fields after an approval, and holds nothing else.

use std::sync::Arc;

use super::mask::{FieldPath, KAPP_ORIGINAL, LAST_APPLIED};
use super::rule::{Asked, Effect, Matching, Rule};
use super::{Reason, explain};

impl Matching<'_, '_> {
    /// The field that the request is to show; `None` when it asks for none. What a rule reveals after an approval
    /// is revealed only where that rule decides.
    pub(super) fn revealed(&self, decider: &Rule) -> Result<Option<Arc<FieldPath>>, Reason> {
        let asked = self.asked;
        let Some(reveal) = asked.info.reveal() else {
            return Ok(None);
        };
        let field: Option<FieldPath> = reveal.field.parse().ok();
        let offered = field.filter(|field| self.offers(decider, field));
        let Some(field) = offered else {
            let message = not_revealed(reveal.field, &self.offered(), asked);
            return Err(Reason::of(None, message));
        };
        Ok(Some(Arc::new(field)))
    }

    /// The fields that the caller may ask for in a request like this one.
    pub(super) fn offered(&self) -> Vec<String> {
        let fields = self.reveals().flat_map(|(_, fields)| fields);
        let mut fields: Vec<String> = fields.map(ToString::to_string).collect();
        fields.dedup();
        fields
    }

    fn offers(&self, decider: &Rule, field: &FieldPath) -> bool {
        let Some(keys) = field.keys() else {
            return false;
        };
        // The whole manifest in there is not one field.
        if keys
            .last()
            .is_some_and(|key| [LAST_APPLIED, KAPP_ORIGINAL].contains(key))
        {
            return false;
        }
        self.reveals().any(|(rule, fields)| {
            let held = rule.source.decision == Some(Effect::Hold);
            (!held || rule.id == decider.id) && fields.iter().any(|path| path.selects(&keys))
        })
    }
}

/// What the caller reads whom nothing reveals the field to.
fn not_revealed(field: &str, offered: &[String], asked: &Asked<'_>) -> String {
    let offered = if offered.is_empty() {
        "none may be".to_owned()
    } else {
        format!("{} may be", explain::short(&offered.join(", ")))
    };
    format!(
        "no policy rule reveals {:?} to {} in {}; {offered}. Leave portcullis.dev/reveal out to see it masked",
        explain::short(field),
        explain::caller(asked.identity),
        explain::action(asked)
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{allow_all, ask, policy, rule, strings};
    use super::*;
    use crate::identity::Identity;
    use crate::policy::rule::{Effect, RuleSource, SubjectsSource};
    use crate::policy::{Decision, Policy, PolicySource};

    /// Alice may see two fields of one Secret, which is masked for everybody.
    fn offering() -> Policy {
        let fields = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let reveal = RuleSource {
            subjects: Some(SubjectsSource {
                users: strings(&["alice"]),
                ..SubjectsSource::default()
            }),
            namespaces: strings(&["shop"]),
            resource_names: strings(&["db"]),
            reveal: fields(&["data.password", "metadata.annotations.*"]),
            decision: None,
            ..rule("reveal", Effect::Allow, &["get"], &[""], &["secrets"])
        };
        let mask = RuleSource {
            id: "test/mask".to_owned(),
            mask: strings(&["secrets"]),
            ..RuleSource::default()
        };
        policy(vec![allow_all(), mask, reveal])
    }

    #[test]
    fn a_field_is_revealed_only_where_a_rule_contains_the_whole_request() {
        let policy = offering();
        let asks = |who: &str, path: &str, field: &str| {
            let target =
                format!("{path}?portcullis.dev/reveal={field}&portcullis.dev/reason=INC-42");
            ask(&policy, Identity::for_tests(who, &[]), "GET", &target)
        };
        let db = "/api/v1/namespaces/shop/secrets/db";
        for field in [
            "data.password",
            r#"data["password"]"#,
            r#"metadata.annotations["a.b/c"]"#,
        ] {
            let Decision::Allow(permit) = asks("alice", db, field) else {
                panic!("{field}")
            };
            let revealed: FieldPath = field.parse().unwrap();
            assert_eq!(permit.revealed(), Some(&revealed));
            assert_eq!(permit.mask_names(), ["secrets"]);
        }
        // What a human may see, an agent acting for them may not.
        let agent = Identity::for_tests("alice", &[]).with_agent("bot", &[]);
        let target =
            format!("{db}?portcullis.dev/reveal=data.password&portcullis.dev/reason=INC-42");
        let asked = ask(&policy, agent, "GET", &target);
        assert!(matches!(asked, Decision::Deny(_)));
        // Without being asked for, nothing is.
        let plain = ask(&policy, Identity::for_tests("alice", &[]), "GET", db);
        assert!(matches!(plain, Decision::Allow(permit) if permit.revealed().is_none()));
        let applied = format!("metadata.annotations[\"{LAST_APPLIED}\"]");
        for (who, path, field) in [
            ("bob", db, "data.password"),
            (
                "alice",
                "/api/v1/namespaces/shop/secrets/other",
                "data.password",
            ),
            (
                "alice",
                "/api/v1/namespaces/test/secrets/db",
                "data.password",
            ),
            (
                "alice",
                "/api/v1/namespaces/shop/configmaps/db",
                "data.password",
            ),
            ("alice", db, "data.token"),
            ("alice", db, "data.Password"),
            ("alice", db, "data.*"),
            ("alice", db, "data"),
            ("alice", db, "data.password.x"),
            ("alice", db, "data.["),
            ("alice", db, ""),
            ("alice", db, applied.as_str()),
        ] {
            let Decision::Deny(reason) = asks(who, path, field) else {
                panic!("{who} {path} {field}")
            };
            assert!(
                reason.message.contains("no policy rule reveals"),
                "{}",
                reason.message
            );
        }
    }

    #[test]
    fn what_is_revealed_after_an_approval_is_revealed_no_other_way() {
        let held = RuleSource {
            reveal: vec!["data.password".parse().unwrap()],
            hold: Some(crate::policy::Hold::by_one_of(&["sre"])),
            ..rule("held", Effect::Hold, &["get"], &[""], &["secrets"])
        };
        let mask = RuleSource {
            id: "test/mask".to_owned(),
            mask: strings(&["secrets"]),
            ..RuleSource::default()
        };
        let before = policy(vec![held.clone(), allow_all(), mask.clone()]);
        let after = policy(vec![allow_all(), held, mask]);
        let db = "/api/v1/namespaces/shop/secrets/db";
        let asks = |policy: &Policy, field: &str| {
            let target = format!("{db}?portcullis.dev/reveal={field}&portcullis.dev/reason=INC-42");
            ask(policy, Identity::for_tests("alice", &[]), "GET", &target)
        };
        let Decision::Hold(question) = asks(&before, "data.password") else {
            panic!("it is not held");
        };
        assert_eq!(question.revealed(), Some(&"data.password".parse().unwrap()));
        assert!(matches!(asks(&before, "data.token"), Decision::Deny(_)));
        assert!(matches!(asks(&after, "data.password"), Decision::Deny(_)));
        // Who does not ask for it sees the object masked and waits for nobody.
        let plain = ask(&before, Identity::for_tests("alice", &[]), "GET", db);
        assert!(matches!(plain, Decision::Allow(_)));
    }

    #[test]
    fn a_reveal_that_could_never_matter_is_a_mistake() {
        let get = RuleSource {
            reveal: vec!["data.password".parse().unwrap()],
            ..rule("r", Effect::Allow, &["get"], &[""], &["secrets"])
        };
        for source in [
            RuleSource {
                decision: Some(Effect::Deny),
                ..get.clone()
            },
            RuleSource {
                verbs: strings(&["list", "watch"]),
                ..get.clone()
            },
            RuleSource {
                non_resource_urls: strings(&["/version"]),
                api_groups: Vec::new(),
                resources: Vec::new(),
                ..get.clone()
            },
            RuleSource {
                resources: Vec::new(),
                decision: None,
                ..get.clone()
            },
            RuleSource {
                reveal: vec!["spec.list[*].x".parse().unwrap()],
                ..get
            },
        ] {
            let source = PolicySource {
                rules: vec![source],
                ..PolicySource::default()
            };
            let problems = Policy::compile(source).unwrap_err();
            assert!(
                problems
                    .iter()
                    .any(|(_, problem)| problem.field == "reveal")
            );
        }
    }
}
