use http::Method;
use proptest::prelude::*;

use super::*;
use crate::policy::rule::SubjectsSource;

mod held;
mod kept;
mod mistakes;

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
