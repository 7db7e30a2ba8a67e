//! What a decision costs: by 200 rules alone, for requests of every kind, by ten times as many, and with a condition on
//! an object of 10 KB.
//!
//! Run with `cargo bench --bench deciding`. The bars are the median of `rules alone/*` below 5 µs, and `one condition of
//! the policy` below 50 µs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use http::Method;
use portcullis::identity::Identity;
use portcullis::policy::condition::ConditionSource;
use portcullis::policy::rule::{Effect, RuleSource, SubjectsSource};
use portcullis::policy::{Decision, Policy, PolicySource, Seen};
use portcullis::request::{RequestInfo, body};
use serde_json::{Value, json};

const RULES: usize = 200;
const MANY: usize = 2_000;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// A rule that decides nothing here, in one of the ways in which rules do not match.
fn about_others(number: usize) -> RuleSource {
    let subjects = SubjectsSource::default;
    let rule = RuleSource {
        id: format!("bench/others-{number}"),
        verbs: texts(&[
            "get", "list", "watch", "create", "update", "patch", "delete",
        ]),
        api_groups: texts(&["", "apps"]),
        resources: texts(&["pods", "pods/log", "deployments", "configmaps"]),
        decision: Some(Effect::Allow),
        ..RuleSource::default()
    };
    match number % 4 {
        // Another team.
        0 => RuleSource {
            subjects: Some(SubjectsSource {
                groups: vec![format!("team-{number}-*")],
                ..subjects()
            }),
            ..rule
        },
        // Everybody, elsewhere.
        1 => RuleSource {
            namespaces: vec![format!("stage-{number}"), format!("test-{number}-*")],
            ..rule
        },
        // Other agents.
        2 => RuleSource {
            subjects: Some(SubjectsSource {
                agents: vec![format!("bot-{number}*")],
                ..subjects()
            }),
            decision: Some(Effect::Deny),
            ..rule
        },
        // Our team, other things.
        _ => RuleSource {
            subjects: Some(SubjectsSource {
                users: texts(&["alice@example.com"]),
                groups: texts(&["developers"]),
                ..subjects()
            }),
            api_groups: vec![format!("group-{number}.example.com")],
            resources: texts(&["*"]),
            ..rule
        },
    }
}

/// Rules about others, and behind them what decides.
fn policy(rules: usize, conditions: Vec<ConditionSource>) -> Policy {
    let mut last = vec![
        RuleSource {
            id: "bench/work".to_owned(),
            verbs: texts(&["*"]),
            api_groups: texts(&["*"]),
            resources: texts(&["*"]),
            decision: Some(Effect::Allow),
            ..RuleSource::default()
        },
        RuleSource {
            id: "bench/discovery".to_owned(),
            verbs: texts(&["get"]),
            non_resource_urls: texts(&["/version", "/openapi/*"]),
            decision: Some(Effect::Allow),
            ..RuleSource::default()
        },
    ];
    if !conditions.is_empty() {
        let risky = RuleSource {
            id: "bench/risky".to_owned(),
            when: conditions,
            decision: Some(Effect::Deny),
            ..RuleSource::default()
        };
        last.insert(0, risky);
    }
    let others = (0..rules - last.len()).map(about_others);
    Policy::compile(PolicySource {
        rules: others.chain(last).collect(),
        ..PolicySource::default()
    })
    .unwrap_or_else(|problems| unreachable!("{problems:?}"))
}

fn ready(name: &str) -> ConditionSource {
    ConditionSource {
        name: name.to_owned(),
        ..ConditionSource::default()
    }
}

/// A Deployment of 10 KB: four containers with their variables, and what managers keep.
fn object() -> Value {
    let env: Vec<Value> = (0..24)
        .map(|number| json!({"name": format!("VARIABLE_{number}"), "value": "some value of a usual length"}))
        .collect();
    let containers: Vec<Value> = (0..4)
        .map(|number| {
            json!({
                "name": format!("container-{number}"),
                "image": "registry.example/team/service:1.2.3",
                "env": env,
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "ports": [{"containerPort": 8080}],
            })
        })
        .collect();
    let fields =
        json!({"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {}}}}});
    let manager = json!({"manager": "kubectl", "operation": "Update", "fieldsV1": fields});
    let managers: Vec<&Value> = std::iter::repeat_n(&manager, 24).collect();
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "managedFields": managers},
        "spec": {"replicas": 3, "template": {"spec": {
            "containers": containers, "volumes": [{"name": "tmp", "emptyDir": {}}],
        }}},
    })
}

const REQUESTS: [(&str, &str); 12] = [
    ("get a pod", "GET /api/v1/namespaces/shop/pods/web-0"),
    ("list pods", "GET /api/v1/namespaces/shop/pods?limit=500"),
    ("list everywhere", "GET /api/v1/pods?limit=500"),
    (
        "watch",
        "GET /apis/apps/v1/namespaces/shop/deployments?watch=true&resourceVersion=7",
    ),
    (
        "log",
        "GET /api/v1/namespaces/shop/pods/web-0/log?follow=true&container=app",
    ),
    (
        "exec",
        "POST /api/v1/namespaces/shop/pods/web-0/exec?command=sh&stdin=true&tty=true",
    ),
    ("create", "POST /apis/apps/v1/namespaces/shop/deployments"),
    (
        "patch",
        "PATCH /api/v1/namespaces/shop/configmaps/web?fieldManager=kubectl",
    ),
    ("delete", "DELETE /api/v1/namespaces/shop/pods/web-0"),
    (
        "delete many",
        "DELETE /api/v1/namespaces/shop/pods?labelSelector=app%3Dweb",
    ),
    (
        "custom resource",
        "GET /apis/example.com/v1/namespaces/shop/widgets/one",
    ),
    ("version", "GET /version"),
];

fn info(request: &str) -> RequestInfo {
    let (method, target) = request.split_once(' ').unwrap_or_default();
    let method = method.parse().unwrap_or(Method::GET);
    RequestInfo::parse(&method, target).unwrap_or_else(|error| unreachable!("{error}"))
}

fn by_rules_alone(criterion: &mut Criterion) {
    let groups: Vec<String> = (0..30)
        .map(|number| format!("department-{number}"))
        .collect();
    let mut groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    groups.push("developers");
    let human = Arc::new(Identity::for_tests("alice@example.com", &groups));
    let agent = Identity::for_tests("alice@example.com", &["developers"]);
    let agent = Arc::new(agent.with_agent("coding-assistant", &[]));
    let seen = Seen::default();
    let (few, many) = (policy(RULES, Vec::new()), policy(MANY, Vec::new()));
    let mut group = criterion.benchmark_group("rules alone");
    group
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    for (who, identity, policy) in [
        ("human", &human, &few),
        ("agent", &agent, &few),
        ("human, 2,000 rules", &human, &many),
    ] {
        for (name, request) in REQUESTS {
            let info = info(request);
            group.bench_function(format!("{who}, {name}"), |bencher| {
                bencher.iter(|| {
                    let decision = policy.decide(identity, black_box(&info), "bench", &seen);
                    assert!(matches!(decision, Decision::Allow(_)));
                });
            });
        }
    }
    group.finish();
}

fn by_conditions(criterion: &mut Criterion) {
    let info = info("POST /apis/apps/v1/namespaces/shop/deployments");
    let identity = Arc::new(Identity::for_tests("alice", &["developers", "team-x"]));
    let object = object();
    let text = object.to_string();
    assert!((10_000..12_000).contains(&text.len()), "{}", text.len());
    let seen = Seen::default().object(Some(&object));
    let own = ConditionSource {
        expression: Some("object.spec.template.spec.containers.exists(c, !c.image.startsWith('registry.example/'))".to_owned()),
        ..ready("own")
    };
    let mut group = criterion.benchmark_group("deciding");
    for (name, condition) in [
        ("one condition of the policy", own),
        ("privileged", ready("privileged")),
        ("secrets", ready("secrets")),
        ("unconfined", ready("unconfined")),
    ] {
        let policy = policy(RULES, vec![condition]);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let decision = policy.decide(&identity, black_box(&info), "bench", &seen);
                assert!(matches!(decision, Decision::Allow(_)));
            });
        });
    }
    group.bench_function("decoding the object", |bencher| {
        bencher.iter(|| {
            let object = body::object(&info, Some(body::JSON), black_box(text.as_bytes()));
            Seen::default().object(object.unwrap_or_default().as_ref())
        });
    });
    group.finish();
}

criterion_group!(benches, by_rules_alone, by_conditions);
criterion_main!(benches);
