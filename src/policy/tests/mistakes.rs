//! Rules that cannot work, and what is said of them.

use super::*;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn rules_that_cannot_work_are_refused_with_their_field() {
    let problems = |rule: RuleSource| -> Vec<String> {
        let compiled = Policy::compile(PolicySource {
            rules: vec![rule],
            ..PolicySource::default()
        });
        let found = compiled.err().unwrap_or_default();
        found
            .into_iter()
            .map(|(_, problem)| problem.field.to_owned())
            .collect()
    };
    let good = || rule("r", Effect::Allow, &["get"], &[""], &["pods"]);
    assert_eq!(problems(good()), [""; 0]);
    for (rule, field) in [
        (
            RuleSource {
                decision: None,
                ..good()
            },
            "decision",
        ),
        (
            RuleSource {
                verbs: Vec::new(),
                ..good()
            },
            "verbs",
        ),
        (
            RuleSource {
                verbs: strings(&["read"]),
                ..good()
            },
            "verbs",
        ),
        (
            RuleSource {
                verbs: strings(&["exec"]),
                ..good()
            },
            "verbs",
        ),
        (
            RuleSource {
                resources: Vec::new(),
                ..good()
            },
            "resources",
        ),
        (
            RuleSource {
                resources: strings(&["Pods"]),
                ..good()
            },
            "resources",
        ),
        (
            RuleSource {
                api_groups: Vec::new(),
                ..good()
            },
            "apiGroups",
        ),
        (
            RuleSource {
                api_groups: strings(&["apps/v1"]),
                ..good()
            },
            "apiGroups",
        ),
        (
            RuleSource {
                api_groups: strings(&["core"]),
                ..good()
            },
            "apiGroups",
        ),
        (
            RuleSource {
                api_groups: strings(&["v1"]),
                ..good()
            },
            "apiGroups",
        ),
        (
            RuleSource {
                namespaces: strings(&["a", "[b"]),
                ..good()
            },
            "namespaces",
        ),
        (
            RuleSource {
                mask: strings(&["secret"]),
                ..good()
            },
            "mask",
        ),
        (
            RuleSource {
                message: Some("no".to_owned()),
                ..good()
            },
            "message",
        ),
        (
            RuleSource {
                subjects: Some(SubjectsSource::default()),
                ..good()
            },
            "subjects",
        ),
        (
            RuleSource {
                non_resource_urls: strings(&["/api"]),
                ..good()
            },
            "nonResourceURLs",
        ),
    ] {
        assert_eq!(problems(rule.clone()), [field], "{rule:?}");
    }
}
