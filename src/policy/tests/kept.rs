//! What rules oblige to put on record.

use super::*;

#[test]
fn recording_accumulates_wherever_the_rule_stands_and_for_sessions_only() {
    let record = |id: &str, obligation: RecordObligation| RuleSource {
        id: format!("test/{id}"),
        record: Some(obligation),
        ..RuleSource::default()
    };
    let weak = RecordObligation::new(RecordMode::BestEffort);
    let policy = policy(vec![
        RuleSource {
            resources: strings(&["pods/exec"]),
            namespaces: strings(&["shop"]),
            ..record(
                "input",
                RecordObligation {
                    stdin: true,
                    ..weak
                },
            )
        },
        allow_all(),
        RuleSource {
            resources: strings(&["pods/*"]),
            namespaces: strings(&["shop", "bank"]),
            ..record("all", RecordObligation::new(RecordMode::Required))
        },
    ]);
    let recorded =
        |target: &str| match ask(&policy, Identity::for_tests("alice", &[]), "GET", target) {
            Decision::Allow(permit) => permit
                .record()
                .map(|record| (record.as_str(), record.stdin)),
            other => panic!("{other:?}"),
        };
    let pod =
        |namespace: &str, rest: &str| format!("/api/v1/namespaces/{namespace}/pods/web{rest}");
    for (target, expected) in [
        (pod("shop", "/exec?command=sh"), Some(("required", true))),
        (pod("shop", "/exec/?command=sh"), Some(("required", true))),
        (pod("shop", "/portforward"), Some(("required", false))),
        (pod("bank", "/attach"), Some(("required", false))),
        (pod("dev", "/exec?command=sh"), None),
        (pod("shop", ""), None),
        // A kubelet's own exec is in every namespace.
        (
            "/api/v1/nodes/n1/proxy/exec/dev/web/main".to_owned(),
            Some(("required", true)),
        ),
        (
            "/api/v1/nodes/n1/proxy/x/../run/dev/web/main".to_owned(),
            Some(("required", true)),
        ),
        ("/api/v1/nodes/n1/proxy/metrics".to_owned(), None),
    ] {
        // What cannot be read in one way only is refused before any rule.
        if RequestInfo::parse(&Method::GET, &target).is_ok() {
            assert_eq!(recorded(&target), expected, "{target}");
        } else {
            assert!(target.contains(".."), "{target}");
        }
    }
}

#[test]
fn a_strict_audit_counts_wherever_its_rule_stands() {
    let strict = |id: &str, resource: &str| RuleSource {
        id: format!("test/{id}"),
        resources: strings(&[resource]),
        namespaces: strings(&["shop"]),
        strict_audit: true,
        ..RuleSource::default()
    };
    let policy = policy(vec![
        strict("before", "configmaps"),
        allow_all(),
        strict("behind", "pods/exec"),
    ]);
    for (target, expected) in [
        ("/api/v1/namespaces/shop/configmaps/a", true),
        ("/api/v1/configmaps", true), // it may be about the namespace
        ("/api/v1/namespaces/bank/configmaps/a", false),
        ("/api/v1/namespaces/shop/pods/web/exec?command=id", true),
        ("/api/v1/namespaces/shop/pods/web", false),
        // through the node it may be any pod's
        ("/api/v1/nodes/n1/proxy/exec/bank/web/app?command=id", true),
    ] {
        match ask(&policy, Identity::for_tests("alice", &[]), "GET", target) {
            Decision::Allow(permit) => assert_eq!(permit.strict_audit(), expected, "{target}"),
            other => panic!("{target}: {other:?}"),
        }
    }
    let denies = PolicySource {
        rules: vec![RuleSource {
            strict_audit: true,
            ..rule("r", Effect::Deny, &["create"], &[""], &["pods"])
        }],
        ..PolicySource::default()
    };
    assert_eq!(Policy::compile(denies).unwrap_err()[0].1.field, "audit");
}

#[test]
fn a_record_for_nodes_is_no_mistake_and_counts() {
    let required = RecordObligation::new(RecordMode::Required);
    let policy = policy(vec![RuleSource {
        record: Some(required),
        ..rule("nodes", Effect::Allow, &["*"], &[""], &["nodes/proxy"])
    }]);
    for tail in ["exec/shop/web/app?command=id", "run/shop/web/app"] {
        let target = format!("/api/v1/nodes/n1/proxy/{tail}");
        match ask(&policy, Identity::for_tests("alice", &[]), "POST", &target) {
            Decision::Allow(permit) => assert_eq!(permit.record(), Some(required), "{tail}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_record_that_could_never_matter_is_a_mistake() {
    let record = Some(RecordObligation::new(RecordMode::Required));
    for source in [
        RuleSource {
            record,
            ..rule("r", Effect::Deny, &["create"], &[""], &["pods/exec"])
        },
        RuleSource {
            record,
            ..rule("r", Effect::Allow, &["get"], &[""], &["pods/exec"])
        },
        RuleSource {
            record,
            ..rule("r", Effect::Allow, &["create"], &["apps"], &["*"])
        },
        RuleSource {
            record,
            ..rule("r", Effect::Allow, &["create"], &[""], &["pods"])
        },
        RuleSource {
            record,
            non_resource_urls: strings(&["/version"]),
            ..RuleSource::default()
        },
    ] {
        let source = PolicySource {
            rules: vec![source],
            ..PolicySource::default()
        };
        let problems = Policy::compile(source).unwrap_err();
        assert_eq!(problems[0].1.field, "record");
    }
}
