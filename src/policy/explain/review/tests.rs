use std::sync::Arc;

use http::Method;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::policy::condition::ConditionSource;
use crate::policy::hold::Hold;
use crate::policy::rule::{RuleSource, SubjectsSource};
use crate::policy::tests::{allow_all, policy, rule, strings};
use crate::policy::{Decision, PolicySource};

fn alice() -> Identity {
    Identity::for_tests("alice", &["devs"])
}

/// `VERB RESOURCE[/SUBRESOURCE][.GROUP] [NAMESPACE] [NAME]`, `-` for none; or `VERB /PATH`.
fn access(text: &str) -> Access {
    let words: Vec<&str> = text.split(' ').collect();
    let word = |at: usize| match words.get(at) {
        None | Some(&"-") => "",
        Some(word) => word,
    };
    if word(1).starts_with('/') {
        return Access::path(word(0), word(1));
    }
    let (resource, group) = word(1).split_once('.').unwrap_or_else(|| (word(1), ""));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Access::of(&json!({"resourceAttributes": {
        "verb": word(0), "group": group, "resource": resource, "subresource": subresource,
        "namespace": word(2), "name": word(3),
    }}))
    .unwrap()
}

fn foresee(policy: &Policy, text: &str) -> Outlook {
    policy.foresee(&alice(), &access(text), "demo", &Seen::default())
}

fn when(name: &str) -> Vec<ConditionSource> {
    vec![ConditionSource {
        name: name.to_owned(),
        ..ConditionSource::default()
    }]
}

fn expression(text: &str) -> Vec<ConditionSource> {
    vec![ConditionSource {
        name: "own".to_owned(),
        expression: Some(text.to_owned()),
        ..ConditionSource::default()
    }]
}

fn hold(id: &str, verbs: &[&str], resources: &[&str]) -> RuleSource {
    RuleSource {
        hold: Some(Hold::by_one_of(&["sre"])),
        ..rule(id, Effect::Hold, verbs, &[""], resources)
    }
}

fn shop() -> Policy {
    policy(vec![
        RuleSource {
            message: Some("shells are for on-call".to_owned()),
            ..rule("no-exec", Effect::Deny, &["create"], &[""], &["pods/exec"])
        },
        RuleSource {
            namespaces: strings(&["prod"]),
            ..rule("prod", Effect::Deny, &["delete"], &["apps"], &["*"])
        },
        RuleSource {
            resource_names: strings(&["db"]),
            ..rule("db", Effect::Deny, &["get"], &[""], &["secrets"])
        },
        hold("pods", &["delete"], &["pods"]),
        RuleSource {
            when: when("privileged"),
            ..rule(
                "baseline",
                Effect::Deny,
                &["create", "update", "patch"],
                &["*"],
                &["*"],
            )
        },
        allow_all(),
    ])
}

#[test]
fn a_review_says_what_the_rules_would() {
    let shop = shop();
    for (asked, allowed, depends, says) in [
        (
            "get pods shop",
            true,
            false,
            "allowed by policy rule test/all",
        ),
        (
            "delete pods shop",
            true,
            true,
            "after approval by somebody of group \"sre\" (policy rule test/pods)",
        ),
        (
            "create pods shop",
            true,
            true,
            "denied by policy rule test/baseline if privileged: a container runs privileged, which is root on the node; otherwise allowed by policy rule test/all",
        ),
        (
            "create pods/exec shop",
            false,
            false,
            "denied by policy rule test/no-exec: shells are for on-call",
        ),
        // The WebSocket of exec is a GET, and opens the same shell.
        ("get pods/exec shop", false, false, "test/no-exec"),
        ("delete deployments.apps shop", true, false, "test/all"),
        ("delete deployments.apps prod", false, false, "test/prod"),
        (
            "delete deployments.apps -",
            false,
            false,
            "name one with -n",
        ),
        ("get secrets shop web", true, false, "test/all"),
        ("get secrets shop db", false, false, "test/db"),
        ("get secrets shop", false, false, "name one object"),
        (
            "get /metrics",
            false,
            false,
            "no policy rule allows \"alice\" to get /metrics",
        ),
        // Everything is denied where a part of it is.
        ("* * shop", false, false, "test/no-exec"),
        ("get * shop", false, false, "test/db"),
        ("* secrets shop", false, false, "test/db"),
        ("create */exec shop", false, false, "test/no-exec"),
        ("list * shop", true, false, "test/all"),
        // What no request does is the cluster's to say; impersonation is refused to everybody.
        ("bind roles.rbac shop", true, false, ""),
        (
            "impersonate users",
            false,
            false,
            "no impersonation headers",
        ),
    ] {
        let outlook = foresee(&shop, asked);
        assert_eq!(outlook.allowed, allowed, "{asked}: {outlook:?}");
        assert_eq!(outlook.depends, depends, "{asked}: {outlook:?}");
        assert!(outlook.reason.contains(says), "{asked}: {outlook:?}");
        assert_eq!(outlook.reason.is_empty(), says.is_empty(), "{asked}");
    }
}

#[test]
fn what_the_request_would_have_to_show_stays_open() {
    let cases = [
        ("request.verb == 'create'", "create pods shop", Some(true)),
        ("request.verb == 'get'", "create pods shop", Some(false)),
        (
            "request.namespace == 'shop'",
            "create pods shop",
            Some(true),
        ),
        ("request.namespace == 'shop'", "create pods -", None),
        ("request.namespace == ''", "create nodes -", Some(true)),
        ("request.name == 'web'", "get pods shop web", Some(true)),
        ("request.name == 'web'", "get pods shop", None),
        (
            "request.labelSelector == ''",
            "deletecollection pods shop",
            None,
        ),
        (
            "request.labelSelector == ''",
            "delete pods shop",
            Some(true),
        ),
        ("request.dryRun", "create pods shop", None),
        ("request.dryRun", "get pods shop", Some(false)),
        ("object == null", "get pods shop", Some(true)),
        ("object == null", "create pods shop", None),
        ("object == null", "* pods shop", None),
        ("oldObject == null", "delete pods shop web", None),
        ("request.session == null", "get pods shop", Some(true)),
        (
            "request.session != null",
            "create pods/exec shop",
            Some(true),
        ),
        ("request.session != null", "get nodes/proxy -", None),
        (
            "request.session != null && request.session.namespace == 'shop'",
            "create pods/exec shop",
            Some(true),
        ),
        (
            "request.session != null && request.session.namespace == 'shop'",
            "create pods/exec -",
            None,
        ),
        (
            "request.session != null && request.session.tty",
            "create pods/exec shop",
            None,
        ),
        ("size(request) > 0", "get pods shop web", None),
        ("'devs' in caller.groups", "* * -", Some(true)),
        ("request.operation == 'CREATE'", "* pods shop", None),
        ("request.isResourceRequest", "* * -", Some(true)),
        ("request.path == '/metrics'", "get /metrics", Some(true)),
        ("request.path == '/metrics'", "get /*", None),
    ];
    for (text, asked, holds) in cases {
        let deny = RuleSource {
            id: "test/deny".to_owned(),
            decision: Some(Effect::Deny),
            when: expression(text),
            ..RuleSource::default()
        };
        let urls = RuleSource {
            id: "test/urls".to_owned(),
            verbs: strings(&["*"]),
            non_resource_urls: strings(&["*"]),
            decision: Some(Effect::Allow),
            ..RuleSource::default()
        };
        let outlook = foresee(&policy(vec![deny, allow_all(), urls]), asked);
        let found = match (outlook.allowed, outlook.depends) {
            (false, _) => Some(true),
            (true, false) => Some(false),
            (true, true) => None,
        };
        assert_eq!(found, holds, "{text} for {asked}: {outlook:?}");
    }
}

#[test]
fn a_condition_can_also_be_what_allows() {
    let shop = policy(vec![
        RuleSource {
            when: expression("object.metadata.name.startsWith('alice-')"),
            ..rule("own", Effect::Allow, &["create"], &[""], &["pods"])
        },
        RuleSource {
            when: when("system-session"),
            ..rule("system", Effect::Deny, &[], &[""], &["pods/exec"])
        },
        rule("exec", Effect::Allow, &["create"], &[""], &["pods/exec"]),
    ]);
    let outlook = foresee(&shop, "create pods shop");
    assert!(outlook.allowed && outlook.depends);
    assert!(
        outlook
            .reason
            .starts_with("allowed by policy rule test/own if own; otherwise no policy rule"),
        "{outlook:?}"
    );
    assert!(!foresee(&shop, "create pods/exec kube-system").allowed);
    assert_eq!(
        foresee(&shop, "create pods/exec shop").reason,
        "allowed by policy rule test/exec"
    );
    // Which namespaces are meant, nobody knows.
    assert!(foresee(&shop, "create pods/exec -").depends);
}

fn narrow(policy: &Policy, rules: Value) -> (Vec<String>, String) {
    let given: RulesStatus = serde_json::from_value(rules).unwrap();
    let listed = policy.narrow(&alice(), "demo", "shop", (&given, &Seen::default()));
    let listed = serde_json::to_value(listed).unwrap();
    let words = |rule: &Value, key: &str| {
        let items = rule[key].as_array().cloned().unwrap_or_default();
        let items: Vec<&str> = items.iter().map(|item| item.as_str().unwrap()).collect();
        items.join(",")
    };
    let mut lines: Vec<String> = Vec::new();
    for rule in listed["resourceRules"].as_array().unwrap() {
        let names = words(rule, "resourceNames");
        lines.push(format!(
            "{} {}.{} {names}",
            words(rule, "verbs"),
            words(rule, "resources"),
            words(rule, "apiGroups")
        ));
    }
    for rule in listed["nonResourceRules"].as_array().unwrap() {
        lines.push(format!(
            "{} {}",
            words(rule, "verbs"),
            words(rule, "nonResourceURLs")
        ));
    }
    let error = listed["evaluationError"].as_str().unwrap_or_default();
    assert_eq!(listed["incomplete"], !error.is_empty());
    (lines, error.to_owned())
}

fn everything() -> Value {
    json!({
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        "incomplete": false,
    })
}

#[test]
fn the_list_is_what_both_allow() {
    // Where the policy allows everything, the cluster decides.
    let (lines, error) = narrow(&policy(vec![allow_all()]), everything());
    assert_eq!((lines, error.as_str()), (vec!["* *.* ".to_owned()], ""));
    // Where the cluster does, the policy.
    let reading = policy(vec![
        rule(
            "read",
            Effect::Allow,
            &["get", "list"],
            &[""],
            &["pods", "pods/log"],
        ),
        RuleSource {
            resource_names: strings(&["web"]),
            ..rule("web", Effect::Allow, &["delete"], &[""], &["pods"])
        },
        RuleSource {
            id: "test/urls".to_owned(),
            verbs: strings(&["get"]),
            non_resource_urls: strings(&["/api/*", "/version"]),
            decision: Some(Effect::Allow),
            ..RuleSource::default()
        },
    ]);
    let (lines, error) = narrow(&reading, everything());
    assert_eq!(
        lines,
        [
            "get,list pods,pods/log. ",
            "delete pods. web",
            "get /api/*,/version"
        ]
    );
    assert_eq!(error, "");
    // Neither adds to the other.
    let given = json!({
        "resourceRules": [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["web"]},
            {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*"]},
            {"verbs": ["use"], "apiGroups": ["policy"], "resources": ["podsecuritypolicies"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"]},
        ],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/api/v1", "/metrics"]}],
    });
    let (lines, _) = narrow(&reading, given);
    assert_eq!(
        lines,
        [
            "get pods. web",
            "use podsecuritypolicies.policy ",
            "get /api/v1"
        ]
    );
}

#[test]
fn what_a_list_cannot_say_is_said() {
    let taken_out = |rules| narrow(&policy(rules), everything());
    let (lines, error) = taken_out(vec![
        rule("no", Effect::Deny, &[], &[""], &["secrets"]),
        allow_all(),
    ]);
    let line = lines.iter().find(|line| line.contains("pods/log")).unwrap();
    assert!(
        line.starts_with("* ") && !line.contains("secrets"),
        "{line}"
    );
    assert!(lines.contains(&"* *.apps ".to_owned()), "{lines:?}");
    assert!(error.contains("neither Kubernetes itself"), "{error}");
    let (_, error) = taken_out(vec![
        RuleSource {
            resource_names: strings(&["prod-*"]),
            ..rule("no", Effect::Deny, &["delete"], &[""], &["pods"])
        },
        allow_all(),
    ]);
    assert!(error.contains("take out or name by patterns"), "{error}");
    let (lines, error) = taken_out(vec![hold("held", &["delete"], &["pods"]), allow_all()]);
    assert_eq!(lines, ["* *.* "]);
    assert!(error.contains("depends on an approval"), "{error}");
    let own = json!({"incomplete": true, "evaluationError": "the webhook is down"});
    let (lines, error) = narrow(&policy(vec![allow_all()]), own);
    assert_eq!((lines.len(), error.as_str()), (0, "the webhook is down"));
    // However much the cluster's rules name, the gateway looks at so much of it.
    let many: Vec<String> = (0..5000).map(|number| format!("r{number}")).collect();
    let many = json!({"resourceRules": [{"verbs": ["*"], "apiGroups": ["x"], "resources": many}]});
    let (_, error) = narrow(
        &policy(vec![rule("r", Effect::Allow, &["get"], &["x"], &["*"])]),
        many,
    );
    assert!(error.contains("more rules than are looked at"), "{error}");
}

#[test]
fn a_spec_that_asks_for_nothing_or_two_things_is_none() {
    for spec in [
        json!({}),
        json!(null),
        json!({"resourceAttributes": {}, "nonResourceAttributes": {}}),
        json!({"resourceAttributes": {"verb": 7}}),
    ] {
        assert!(Access::of(&spec).is_none(), "{spec}");
    }
}

const VERBS: [&str; 6] = ["get", "list", "create", "delete", "deletecollection", "*"];
const RESOURCES: [&str; 5] = ["pods", "pods/log", "secrets", "nodes", "*"];

fn rules() -> impl Strategy<Value = Vec<RuleSource>> {
    let pick = |of: &'static [&'static str]| proptest::sample::select(of);
    let one = (
        pick(&VERBS),
        pick(&RESOURCES),
        pick(&["", "shop", "prod"]),
        pick(&["", "web", "db"]),
        any::<bool>(),
    );
    proptest::collection::vec(one, 0..6).prop_map(|rules| {
        let rules = rules.into_iter().enumerate();
        let rules = rules.map(|(id, (verb, resource, namespace, name, deny))| {
            let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let effect = if deny { Effect::Deny } else { Effect::Allow };
            RuleSource {
                namespaces: some(namespace).into_iter().collect(),
                resource_names: some(name).into_iter().collect(),
                subjects: Some(SubjectsSource {
                    users: strings(&["alice"]),
                    ..SubjectsSource::default()
                }),
                ..rule(&id.to_string(), effect, &[verb], &[""], &[resource])
            }
        });
        rules.collect()
    })
}

proptest! {
    /// A yes to a review is a yes to every request it is about.
    #[test]
    fn what_a_review_allows_every_request_may(
        rules in rules(),
        verb in proptest::sample::select(&VERBS[..]),
        resource in proptest::sample::select(&RESOURCES[..]),
        namespace in proptest::sample::select(&["-", "shop", "prod"][..]),
        name in proptest::sample::select(&["-", "web", "db"][..]),
    ) {
        let compiled = Policy::compile(PolicySource { rules, ..PolicySource::default() });
        let Ok(policy) = compiled else {
            return Ok(());
        };
        if !foresee(&policy, &format!("{verb} {resource} {namespace} {name}")).allowed {
            return Ok(());
        }
        let requests = [
            ("get", Method::GET, true),
            ("list", Method::GET, false),
            ("create", Method::POST, false),
            ("delete", Method::DELETE, true),
            ("deletecollection", Method::DELETE, false),
        ];
        for (does, method, named) in requests {
            for of in ["pods", "pods/log", "secrets", "nodes"] {
                for (space, object) in [("shop", "web"), ("shop", "db"), ("prod", "web"), ("prod", "x")] {
                    let fits = |asked: &str, has: &str| asked == has || asked == "*" || asked == "-";
                    let (plain, sub) = of.split_once('/').unwrap_or((of, ""));
                    let in_none = plain == "nodes";
                    let is_asked = fits(verb, does) && fits(resource, of)
                        && (if in_none { namespace == "-" || resource != "*" } else { fits(namespace, space) })
                        && (if named { fits(name, object) } else { name == "-" });
                    if !is_asked || (!named && !sub.is_empty()) {
                        continue;
                    }
                    let mut target = if in_none {
                        format!("/api/v1/{plain}")
                    } else {
                        format!("/api/v1/namespaces/{space}/{plain}")
                    };
                    if named {
                        target = format!("{target}/{object}");
                    }
                    if !sub.is_empty() {
                        target = format!("{target}/{sub}");
                    }
                    let info = RequestInfo::parse(&method, &target).unwrap();
                    let decision = policy.decide(&Arc::new(alice()), &info, "demo", &Seen::default());
                    prop_assert!(
                        matches!(decision, Decision::Allow(_)),
                        "{does} {target} for {verb} {resource} {namespace} {name}: {decision:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_policy_that_observes_says_so_to_every_question() {
    let observing = Policy::compile(PolicySource {
        rules: vec![rule("read", Effect::Allow, &["get"], &[""], &["pods"])],
        observes: true,
        ..PolicySource::default()
    })
    .unwrap();
    for asked in ["get pods shop", "delete pods shop", "* *"] {
        let outlook = foresee(&observing, asked);
        assert!(outlook.allowed && outlook.depends, "{outlook:?}");
        assert!(
            outlook.reason.starts_with("the policy only observes"),
            "{outlook:?}"
        );
    }
    assert!(!foresee(&observing, "impersonate users").allowed);
}
