use http::Method;
use proptest::prelude::*;

use super::*;
use crate::policy::rule::SubjectsSource;

pub(super) fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

/// A rule about resources; `RuleSource { .. }` updates say the rest.
pub(super) fn rule(
    id: &str,
    effect: Effect,
    verbs: &[&str],
    groups: &[&str],
    resources: &[&str],
) -> RuleSource {
    RuleSource {
        id: format!("test/{id}"),
        location: "test.yaml:1".to_owned(),
        verbs: strings(verbs),
        api_groups: strings(groups),
        resources: strings(resources),
        decision: Some(effect),
        ..RuleSource::default()
    }
}

pub(super) fn allow_all() -> RuleSource {
    rule("all", Effect::Allow, &["*"], &["*"], &["*"])
}

pub(super) fn policy(rules: Vec<RuleSource>) -> Policy {
    Policy::compile(PolicySource {
        version: "v".to_owned(),
        rules,
        ..PolicySource::default()
    })
    .unwrap()
}

pub(super) fn ask(policy: &Policy, identity: Identity, method: &str, target: &str) -> Decision {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let info = RequestInfo::parse(&method, target).unwrap();
    policy.decide(&Arc::new(identity), &info, "demo", &Seen::default())
}

/// The deciding rule without its policy; upper case when it allowed.
fn decided(policy: &Policy, method: &str, target: &str) -> String {
    match ask(
        policy,
        Identity::for_tests("alice", &["devs"]),
        method,
        target,
    ) {
        Decision::Allow(permit) => permit.rule().trim_start_matches("test/").to_uppercase(),
        Decision::Hold(question) => {
            format!("hold {}", question.rule().trim_start_matches("test/"))
        }
        Decision::Deny(reason) => reason.rule.map_or_else(
            || "default".to_owned(),
            |rule| rule.trim_start_matches("test/").to_owned(),
        ),
        Decision::Ask(inquiry) => panic!("{inquiry:?}"),
    }
}

fn masks(policy: &Policy, target: &str) -> Vec<String> {
    match ask(
        policy,
        Identity::for_tests("alice", &["devs"]),
        "GET",
        target,
    ) {
        Decision::Allow(permit) => {
            assert_eq!(permit.mask().is_some(), !permit.mask_names().is_empty());
            permit.mask_names().to_vec()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn h10_nothing_is_allowed_by_default() {
    let empty = policy(Vec::new());
    let Decision::Deny(reason) = ask(
        &empty,
        Identity::for_tests("alice", &[]).with_agent("bot", &[]),
        "GET",
        "/apis/apps/v1/namespaces/shop/deployments/web/scale",
    ) else {
        panic!("allowed")
    };
    assert_eq!(reason.rule, None);
    assert_eq!(
        reason.message,
        "no policy rule allows agent \"bot\" acting for \"alice\" to get deployments/scale.apps \
         \"web\" in namespace \"shop\"; ask whoever runs this gateway for a rule that does"
    );
    assert_eq!(decided(&empty, "GET", "/version"), "default");
}

#[test]
fn the_first_rule_with_a_decision_decides() {
    let policy = policy(vec![
        rule("no-exec", Effect::Deny, &["create"], &[""], &["pods/exec"]),
        rule(
            "read",
            Effect::Allow,
            &["get", "list", "watch"],
            &["", "apps"],
            &["pods", "deployments"],
        ),
        rule("no-pods", Effect::Deny, &[], &[], &["pods"]),
        allow_all(),
    ]);
    for (method, target, expected) in [
        ("GET", "/api/v1/namespaces/n/pods", "READ"),
        ("GET", "/api/v1/namespaces/n/pods?watch=1", "READ"),
        ("HEAD", "/api/v1/namespaces/n/pods/p", "READ"),
        ("DELETE", "/api/v1/namespaces/n/pods/p", "no-pods"),
        ("GET", "/apis/example.com/v1/namespaces/n/pods/p", "no-pods"),
        ("GET", "/api/v1/namespaces/n/pods/p/log", "ALL"),
        ("POST", "/api/v1/namespaces/n/pods/p/exec", "no-exec"),
        // B-34: one decision for both transports.
        ("GET", "/api/v1/namespaces/n/pods/p/exec", "no-exec"),
        ("GET", "/api/v1/namespaces/n/secrets", "ALL"),
        ("GET", "/metrics", "default"),
    ] {
        assert_eq!(
            decided(&policy, method, target),
            expected,
            "{method} {target}"
        );
    }
}

#[test]
fn urls_are_not_resources() {
    let policy = policy(vec![RuleSource {
        non_resource_urls: strings(&["/api", "/api/*", "/healthz"]),
        ..rule("discovery", Effect::Allow, &["get"], &[], &[])
    }]);
    for (method, target, expected) in [
        ("GET", "/api", "DISCOVERY"),
        ("GET", "/api/v1/", "DISCOVERY"),
        ("HEAD", "/healthz", "DISCOVERY"),
        ("GET", "/healthz/etcd", "default"),
        ("POST", "/api", "default"),
        // The path starts with /api/, but it is a resource.
        ("GET", "/api/v1/secrets", "default"),
    ] {
        assert_eq!(
            decided(&policy, method, target),
            expected,
            "{method} {target}"
        );
    }
}

#[test]
fn subjects_match_by_user_group_or_agent() {
    let subjects = |users: &[&str], groups: &[&str], agents: &[&str]| SubjectsSource {
        users: strings(users),
        groups: strings(groups),
        agents: strings(agents),
        acting_for: None,
        roles: Vec::new(),
    };
    for (subjects, human, agent) in [
        (subjects(&["alice"], &[], &[]), true, true),
        (subjects(&["Alice"], &[], &[]), false, false),
        (subjects(&["devs"], &[], &[]), false, false),
        (subjects(&[], &["dev*"], &[]), true, true),
        (subjects(&[], &["alice"], &[]), false, false),
        (subjects(&[], &[], &["*"]), false, true),
        (subjects(&[], &[], &["other"]), false, false),
        (subjects(&["bob"], &["x"], &["bot"]), false, true),
    ] {
        let policy = policy(vec![RuleSource {
            subjects: Some(subjects.clone()),
            ..allow_all()
        }]);
        let alice = Identity::for_tests("alice", &["devs"]);
        let bot = alice.clone().with_agent("bot", &[]);
        let allowed = |identity| {
            matches!(
                ask(&policy, identity, "GET", "/api/v1/pods"),
                Decision::Allow(_)
            )
        };
        assert_eq!(allowed(alice), human, "{subjects:?}");
        assert_eq!(allowed(bot), agent, "{subjects:?}");
    }
}

#[test]
fn an_allow_contains_and_a_deny_touches() {
    let scoped = |effect| RuleSource {
        namespaces: strings(&["dev-*"]),
        ..rule("scoped", effect, &["*"], &["*"], &["*"])
    };
    let allow = policy(vec![scoped(Effect::Allow)]);
    let deny = policy(vec![scoped(Effect::Deny), allow_all()]);
    for (target, allowed, denied) in [
        ("/api/v1/namespaces/dev-a/pods", true, true),
        ("/api/v1/namespaces/prod/pods", false, false),
        ("/api/v1/pods", false, true),
        ("/apis/example.com/v1/widgets?watch=1", false, true),
        ("/api/v1/nodes", false, false),
        ("/api/v1/namespaces", false, false),
        ("/api/v1/namespaces/dev-a", true, true),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            false,
            false,
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/rolebindings",
            false,
            true,
        ),
        ("/apis/example.com/v1/widgets/w", false, false),
    ] {
        assert_eq!(
            decided(&allow, "GET", target) == "SCOPED",
            allowed,
            "{target}"
        );
        assert_eq!(
            decided(&deny, "GET", target) == "scoped",
            denied,
            "{target}"
        );
    }
    let any = policy(vec![RuleSource {
        namespaces: strings(&["*"]),
        ..scoped(Effect::Allow)
    }]);
    assert_eq!(decided(&any, "GET", "/api/v1/pods"), "SCOPED");
    assert_eq!(decided(&any, "GET", "/api/v1/nodes"), "default");
}

#[test]
fn names_reach_over_lists_and_proxies() {
    let named = |effect| RuleSource {
        resource_names: strings(&["db*"]),
        ..rule("named", effect, &["*"], &["*"], &["*"])
    };
    let allow = policy(vec![named(Effect::Allow)]);
    let deny = policy(vec![named(Effect::Deny), allow_all()]);
    for (method, target, allowed, denied) in [
        ("GET", "/api/v1/namespaces/n/secrets/db1", true, true),
        ("GET", "/api/v1/namespaces/n/secrets/web", false, false),
        ("GET", "/api/v1/namespaces/n/secrets", false, true),
        ("POST", "/api/v1/namespaces/n/secrets", false, true),
        // B-30: the field selector names the object.
        (
            "GET",
            "/api/v1/namespaces/n/secrets?fieldSelector=metadata.name=db1",
            true,
            true,
        ),
        (
            "GET",
            "/api/v1/namespaces/n/secrets?fieldSelector=metadata.name=web",
            false,
            false,
        ),
        (
            "DELETE",
            "/api/v1/namespaces/n/secrets?fieldSelector=metadata.name=web",
            false,
            true,
        ),
        // B-33
        (
            "GET",
            "/api/v1/namespaces/n/services/https:db:443/proxy/x",
            true,
            true,
        ),
    ] {
        assert_eq!(
            decided(&allow, method, target) == "NAMED",
            allowed,
            "{method} {target}"
        );
        assert_eq!(
            decided(&deny, method, target) == "named",
            denied,
            "{method} {target}"
        );
    }
    let Decision::Deny(reason) = ask(
        &deny,
        Identity::for_tests("alice", &[]),
        "GET",
        "/api/v1/namespaces/n/secrets",
    ) else {
        panic!("allowed")
    };
    assert!(
        reason.message.ends_with("name one object)"),
        "{}",
        reason.message
    );
}

#[test]
fn masks_accumulate_wherever_the_rule_stands() {
    let mask = |id: &str, masks: &[&str]| RuleSource {
        id: format!("test/{id}"),
        mask: strings(masks),
        ..RuleSource::default()
    };
    let custom = MaskRule {
        name: "widgets".to_owned(),
        api_groups: strings(&["", "example.com"]),
        resources: strings(&["secrets", "widgets"]),
        fields: vec![FieldPath::parse("spec.token").unwrap()],
        ..MaskRule::default()
    };
    let policy = Policy::compile(PolicySource {
        version: String::new(),
        masks: vec![custom],
        rules: vec![
            allow_all(),
            mask("behind", &["secrets"]),
            RuleSource {
                namespaces: strings(&["shop"]),
                ..mask("scoped", &["widgets", "secrets"])
            },
        ],
        ..PolicySource::default()
    })
    .unwrap();
    for (target, expected) in [
        ("/api/v1/namespaces/n/secrets/s", &["secrets"][..]),
        ("/api/v1/namespaces/n/secrets?watch=1", &["secrets"]),
        ("/api/v1/namespaces/shop/secrets", &["secrets", "widgets"]),
        // A list across namespaces may hold what the scoped rule names.
        ("/api/v1/secrets", &["secrets", "widgets"]),
        ("/apis/example.com/v1/namespaces/shop/widgets", &["widgets"]),
        ("/apis/example.com/v1/namespaces/n/widgets", &[]),
        ("/api/v1/namespaces/n/pods", &[]),
        ("/api/v1/namespaces/n/secrets/s/status", &["secrets"]),
        ("/api/v1/namespaces/n/secrets/s/log", &[]),
        // B-51: the same plural in another group.
        ("/apis/secrets.acme/v1/namespaces/n/secrets", &[]),
    ] {
        assert_eq!(masks(&policy, target), expected, "{target}");
    }
    let plan = |target: &str| match ask(&policy, Identity::for_tests("a", &[]), "GET", target) {
        Decision::Allow(permit) => Arc::clone(permit.mask().unwrap()),
        other => panic!("{other:?}"),
    };
    let one = plan("/api/v1/namespaces/n/secrets/s");
    assert!(Arc::ptr_eq(&one, &plan("/api/v1/namespaces/m/secrets")));
    assert!(!Arc::ptr_eq(&one, &plan("/api/v1/secrets")));
}

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

#[test]
fn refusals_fit_into_what_clients_keep_of_them() {
    let long = "x".repeat(250);
    let policy = policy(vec![RuleSource {
        message: Some("m".repeat(512)),
        ..rule("deny", Effect::Deny, &["create"], &[""], &["pods/exec"])
    }]);
    for target in [
        format!("/api/v1/namespaces/{long}/pods/{long}/exec"),
        format!("/apis/{long}/{long}/namespaces/{long}/{long}/{long}/{long}"),
    ] {
        let identity = Identity::for_tests(&long, &[]).with_agent(&long, &[]);
        let Decision::Deny(reason) = ask(&policy, identity, "GET", &target) else {
            panic!("allowed")
        };
        assert!(reason.message.len() < 900, "{}", reason.message.len());
    }
}

#[test]
fn an_explanation_says_what_failed_first() {
    let policy = policy(vec![
        RuleSource {
            subjects: Some(SubjectsSource {
                groups: strings(&["ops"]),
                ..SubjectsSource::default()
            }),
            ..rule("ops", Effect::Allow, &["*"], &["*"], &["*"])
        },
        rule("read", Effect::Allow, &["get"], &[""], &["pods"]),
        RuleSource {
            message: Some("ask on-call".to_owned()),
            ..rule("no-delete", Effect::Deny, &["delete"], &[""], &["pods"])
        },
        rule("never-reached", Effect::Allow, &["*"], &["*"], &["*"]),
    ]);
    let info = RequestInfo::parse(&Method::DELETE, "/api/v1/namespaces/n/pods/p").unwrap();
    let identity = Arc::new(Identity::for_tests("alice", &["devs"]));
    let explanation = policy.explain(&identity, &info, "demo", &Seen::default());
    insta::assert_snapshot!(explanation, @r#"
    DENIED by rule test/no-delete
      caller:  "alice"
      request: delete pods "p" in namespace "n" on cluster demo
      message: denied by policy rule test/no-delete: ask on-call

    Rules in order:
      - test/ops (allow, test.yaml:1): subjects is groups ["ops"], the request has user "alice", groups ["devs"]
      - test/read (allow, test.yaml:1): verbs is ["get"], the request has "delete"
      = test/no-delete (deny, test.yaml:1) matches

    Policy version v
    "#);
}

/// Rules and requests over a small alphabet, so that they meet often.
fn some_rule(effect: Effect) -> impl Strategy<Value = RuleSource> {
    let pick = |items: &'static [&'static str]| prop::sample::subsequence(items, 1..=items.len());
    (
        pick(&["get", "list", "watch", "create", "delete", "*"]),
        pick(&["pods", "pods/exec", "secrets", "pods/*", "*/scale"]),
        prop::sample::subsequence(&["dev", "pr*"][..], 0..=2),
        prop::sample::subsequence(&["a", "b*"][..], 0..=2),
    )
        .prop_map(move |(verbs, resources, namespaces, names)| RuleSource {
            namespaces: strings(&namespaces),
            resource_names: strings(&names),
            ..rule("some", effect, &verbs, &[""], &resources)
        })
}

fn some_request() -> impl Strategy<Value = (String, String)> {
    let pick = |items: &'static [&'static str]| prop::sample::select(items).prop_map(str::to_owned);
    (
        pick(&["GET", "POST", "DELETE"]),
        pick(&["", "/namespaces/dev", "/namespaces/prod"]),
        pick(&[
            "/pods",
            "/secrets",
            "/pods/a",
            "/pods/c/exec",
            "/secrets/b1",
        ]),
        pick(&["", "?watch=1", "?fieldSelector=metadata.name=a"]),
    )
        .prop_map(|(method, namespace, rest, query)| {
            (method, format!("/api/v1{namespace}{rest}{query}"))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn h10_a_deny_rule_never_widens_access(
        allows in prop::collection::vec(some_rule(Effect::Allow), 1..4),
        deny in some_rule(Effect::Deny),
        at in 0_usize..4,
        (method, target) in some_request(),
    ) {
        let before = decided(&policy(allows.clone()), &method, &target);
        let mut with_deny = allows;
        with_deny.insert(at.min(with_deny.len()), deny);
        let after = decided(&policy(with_deny), &method, &target);
        prop_assert!(after != "SOME" || before == "SOME");
    }

    /// Whatever a caller may list, they may get piece by piece; a denied object is in no list.
    #[test]
    fn a_denied_object_is_in_no_allowed_list(
        deny in some_rule(Effect::Deny),
        namespace in prop::sample::select(vec!["dev", "prod"]),
        resource in prop::sample::select(vec!["pods", "secrets"]),
        name in prop::sample::select(vec!["a", "b1", "c"]),
    ) {
        let deny = RuleSource { verbs: strings(&["*"]), ..deny };
        let policy = policy(vec![deny, allow_all()]);
        let object = format!("/api/v1/namespaces/{namespace}/{resource}/{name}");
        if decided(&policy, "GET", &object) == "some" {
            for list in [format!("/api/v1/namespaces/{namespace}/{resource}"), format!("/api/v1/{resource}")] {
                prop_assert_eq!(decided(&policy, "GET", &list), "some");
            }
        }
    }

    #[test]
    fn the_explanation_names_the_rule_that_decides(
        rules in prop::collection::vec(prop_oneof![some_rule(Effect::Allow), some_rule(Effect::Deny)], 0..5),
        (method, target) in some_request(),
    ) {
        let rules = rules.into_iter().enumerate()
            .map(|(index, rule)| RuleSource { id: format!("test/{index}"), ..rule })
            .collect();
        let policy = policy(rules);
        let info = RequestInfo::parse(&Method::from_bytes(method.as_bytes()).unwrap(), &target).unwrap();
        let identity = Arc::new(Identity::for_tests("alice", &[]));
        let explanation = policy.explain(&identity, &info, "demo", &Seen::default());
        let matching = explanation.steps.iter().find(|step| step.mismatch.is_none());
        prop_assert_eq!(matching.map(|step| &step.rule), explanation.rule.as_ref());
        prop_assert_eq!(matching.map_or(Effect::Deny, |step| step.effect.unwrap()), explanation.decision);
    }
}

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
fn c67_a_session_through_a_node_is_a_get_and_a_create() {
    let nodes = |name, effect, verbs: &[&str]| rule(name, effect, verbs, &[""], &["nodes/proxy"]);
    let allowed = |rules: Vec<RuleSource>, method: &str, tail: &str| {
        let policy = policy(rules);
        let target = format!("/api/v1/nodes/n1/proxy/{tail}");
        let decision = ask(&policy, Identity::for_tests("alice", &[]), method, &target);
        matches!(decision, Decision::Allow(_))
    };
    let (shell, metrics) = ("exec/shop/web/app?command=id&output=1", "metrics");
    for (verbs, method, tail, expected) in [
        (&["get"][..], "GET", metrics, true),
        (&["get"], "GET", shell, false),
        (&["create"], "GET", shell, false),
        (&["get", "create"], "GET", shell, true),
        (&["*"], "GET", shell, true),
        (&["create"], "POST", shell, true),
        (&["get"], "POST", shell, false),
    ] {
        let allow = nodes("nodes", Effect::Allow, verbs);
        assert_eq!(
            allowed(vec![allow], method, tail),
            expected,
            "{verbs:?} {method} {tail}"
        );
    }
    // A deny of either is a deny.
    for verb in ["get", "create"] {
        let deny = nodes("no", Effect::Deny, &[verb]);
        assert!(!allowed(vec![deny, allow_all()], "GET", shell), "{verb}");
    }
    let reads = policy(vec![nodes("nodes", Effect::Allow, &["get"])]);
    let info =
        RequestInfo::parse(&Method::GET, &format!("/api/v1/nodes/n1/proxy/{shell}")).unwrap();
    let why = reads.explain(
        &Arc::new(Identity::for_tests("alice", &[])),
        &info,
        "east",
        &Seen::default(),
    );
    let message = why.message.unwrap();
    assert!(
        message.contains("to get and create nodes/proxy"),
        "{message}"
    );
    let mismatch = why.steps[0].mismatch.clone().unwrap();
    assert_eq!(
        mismatch.request,
        r#""get" and, as it opens a session, "create""#
    );
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

/// A rule that holds until somebody of `sre` says yes.
fn hold(name: &str, verbs: &[&str], resources: &[&str], namespaces: &[&str]) -> RuleSource {
    RuleSource {
        namespaces: strings(namespaces),
        hold: Some(Hold::by_one_of(&["sre"])),
        ..rule(name, Effect::Hold, verbs, &[""], resources)
    }
}

#[test]
fn h_10_no_wider_request_goes_around_a_hold_and_no_yes_admits_more_than_rules_do() {
    let denied = RuleSource {
        namespaces: strings(&["kube-system"]),
        ..rule("system", Effect::Deny, &["*"], &[""], &["pods"])
    };
    let held = || {
        hold(
            "held",
            &["delete", "deletecollection"],
            &["pods"],
            &["prod"],
        )
    };
    let open = policy(vec![held(), allow_all()]);
    let guarded = policy(vec![held(), denied, allow_all()]);
    let alone = policy(vec![held()]);
    let twice = policy(vec![
        held(),
        hold("also", &["*"], &["pods"], &["test"]),
        allow_all(),
    ]);
    let one = "/api/v1/namespaces/prod/pods/web";
    let all = "/api/v1/pods";
    for (policy, target, expected) in [
        (&open, one, "hold held"),
        (&guarded, one, "hold held"),
        (&alone, one, "hold held"),
        (&twice, one, "hold held"),
        // All namespaces at once: the rest must be allowed, denied is denied, and two holds are not one.
        (&open, all, "hold held"),
        (&guarded, all, "system"),
        (&alone, all, "default"),
        (&twice, all, "also"),
        (&open, "/api/v1/namespaces/test/pods/web", "ALL"),
    ] {
        assert_eq!(decided(policy, "DELETE", target), expected, "{target}");
    }
}

#[test]
fn a_hold_that_nobody_could_answer_is_a_mistake() {
    let good = || hold("h", &["delete"], &["pods"], &[]);
    let with = |change: &dyn Fn(&mut Hold)| {
        let mut rule = good();
        change(rule.hold.as_mut().unwrap());
        rule
    };
    let nobody = with(&|hold| hold.approvers.groups.clear());
    let few = with(&|hold| {
        hold.approvers.groups.clear();
        hold.approvers.users = strings(&["carol"]);
        hold.approvers.count = 2;
    });
    let own = with(&|hold| hold.approvers.principal = true);
    let agents = RuleSource {
        subjects: Some(SubjectsSource {
            agents: strings(&["*"]),
            ..SubjectsSource::default()
        }),
        ..own.clone()
    };
    let missing = RuleSource {
        hold: None,
        ..good()
    };
    let allowing = RuleSource {
        decision: Some(Effect::Allow),
        ..good()
    };
    for (rule, field) in [
        (good(), None),
        (agents, None),
        (nobody, Some("hold.approvers")),
        (few, Some("hold.approvers.count")),
        (own, Some("hold.approvers.principal")),
        (missing, Some("hold")),
        (allowing, Some("hold")),
    ] {
        let compiled = Policy::compile(PolicySource {
            rules: vec![rule],
            ..PolicySource::default()
        });
        let found = compiled.err().map(|problems| problems[0].1.field);
        assert_eq!(found, field);
    }
}

/// A policy that only observes stops nothing, says what it would have done, and still masks and records.
#[test]
fn a_policy_that_observes_stops_nothing_but_still_masks_and_records() {
    let hold = RuleSource {
        hold: Some(Hold::by_one_of(&["sre"])),
        ..rule("held", Effect::Hold, &["delete"], &[""], &["pods"])
    };
    let rules = vec![
        RuleSource {
            id: "test/mask".to_owned(),
            mask: strings(&["secrets"]),
            ..RuleSource::default()
        },
        RuleSource {
            record: Some(RecordObligation::new(RecordMode::Required)),
            decision: None,
            ..rule("record", Effect::Allow, &["create"], &[""], &["pods/exec"])
        },
        hold,
        rule("denied", Effect::Deny, &["create"], &[""], &["pods/exec"]),
        rule("allowed", Effect::Allow, &["list"], &[""], &["pods"]),
    ];
    let source = |observes| PolicySource {
        version: "v".to_owned(),
        rules: rules.clone(),
        observes,
        ..PolicySource::default()
    };
    let (enforcing, observing) = (
        Policy::compile(source(false)).unwrap(),
        Policy::compile(source(true)).unwrap(),
    );
    let alice = || Identity::for_tests("alice", &[]);
    let secret = "/api/v1/namespaces/shop/secrets/db";
    for (method, target, would, by) in [
        ("GET", "/api/v1/namespaces/shop/pods", None, "test/allowed"),
        ("GET", secret, Some("deny"), "(none)"),
        (
            "GET",
            "/api/v1/namespaces/shop/pods/a/exec?command=sh",
            Some("deny"),
            "test/denied",
        ),
        (
            "DELETE",
            "/api/v1/namespaces/shop/pods/a",
            Some("hold"),
            "test/held",
        ),
    ] {
        let Decision::Allow(permit) = ask(&observing, alice(), method, target) else {
            panic!("{method} {target}")
        };
        assert_eq!(
            permit.would().map(Would::as_str),
            would,
            "{method} {target}"
        );
        assert_eq!(permit.rule(), by);
        assert_eq!(permit.mask().is_some(), target == secret);
        assert_eq!(permit.record().is_some(), target.contains("exec"));
        let enforced = ask(&enforcing, alice(), method, target);
        assert_eq!(matches!(enforced, Decision::Allow(_)), would.is_none());
    }
    // What nobody may see is not observed out of its mask.
    let reveal = format!("{secret}?portcullis.dev/reveal=data.a&portcullis.dev/reason=x");
    assert!(matches!(
        ask(&observing, alice(), "GET", &reveal),
        Decision::Deny(_)
    ));
    // Explanations say what would be decided, and that it is not.
    let info = RequestInfo::parse(&Method::GET, secret).unwrap();
    let told = observing.explain(&Arc::new(alice()), &info, "demo", &Seen::default());
    assert_eq!((told.decision, told.observed), (Effect::Deny, true));
    assert!(told.to_string().starts_with("THE POLICY ONLY OBSERVES"));
}

#[test]
fn what_cannot_be_shown_is_no_obstacle_to_a_policy_that_observes() {
    let looks = || RuleSource {
        when: vec![condition::ConditionSource {
            name: "privileged".to_owned(),
            ..condition::ConditionSource::default()
        }],
        ..rule("baseline", Effect::Deny, &["create"], &[""], &["pods"])
    };
    for observes in [false, true] {
        let policy = Policy::compile(PolicySource {
            rules: vec![looks(), allow_all()],
            observes,
            ..PolicySource::default()
        });
        let alice = Identity::for_tests("alice", &[]);
        let asked = ask(
            &policy.unwrap(),
            alice,
            "POST",
            "/api/v1/namespaces/shop/pods",
        );
        let Decision::Ask(inquiry) = asked else {
            panic!("{asked:?}")
        };
        let permit = inquiry.unseen("no JSON");
        assert_eq!(permit.is_some(), observes);
        let would = permit.as_ref().and_then(Permit::would);
        assert_eq!(would.map(Would::as_str), observes.then_some("deny"));
    }
}
