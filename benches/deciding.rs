//! What a decision costs: by rules alone, and with a condition on an object of 10 KB.
//!
//! Run with `cargo bench --bench deciding`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use http::Method;
use portcullis::identity::Identity;
use portcullis::policy::condition::ConditionSource;
use portcullis::policy::rule::{Effect, RuleSource, SubjectsSource};
use portcullis::policy::{Decision, Policy, PolicySource, Seen};
use portcullis::request::{RequestInfo, body};
use serde_json::{Value, json};

const RULES_BEFORE: usize = 198;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// As many rules about others as make 200 with the two that decide.
fn policy(conditions: Vec<ConditionSource>) -> Policy {
    let about_others = |number: usize| RuleSource {
        id: format!("bench/others-{number}"),
        subjects: Some(SubjectsSource {
            groups: vec![format!("team-{number}-*")],
            ..SubjectsSource::default()
        }),
        verbs: texts(&["get", "list", "watch", "create"]),
        api_groups: texts(&["", "apps"]),
        resources: texts(&["pods", "deployments"]),
        decision: Some(Effect::Allow),
        ..RuleSource::default()
    };
    let mut rules: Vec<RuleSource> = (0..RULES_BEFORE).map(about_others).collect();
    if !conditions.is_empty() {
        rules.push(RuleSource {
            id: "bench/risky".to_owned(),
            when: conditions,
            decision: Some(Effect::Deny),
            ..RuleSource::default()
        });
    }
    rules.push(RuleSource {
        id: "bench/work".to_owned(),
        verbs: texts(&["*"]),
        api_groups: texts(&["*"]),
        resources: texts(&["*"]),
        decision: Some(Effect::Allow),
        ..RuleSource::default()
    });
    Policy::compile(PolicySource {
        rules,
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

fn deciding(criterion: &mut Criterion) {
    let info = RequestInfo::parse(&Method::POST, "/apis/apps/v1/namespaces/shop/deployments")
        .unwrap_or_else(|error| unreachable!("{error}"));
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
    for (name, conditions) in [
        ("rules alone", Vec::new()),
        ("one condition of the policy", vec![own]),
        ("privileged", vec![ready("privileged")]),
        ("secrets", vec![ready("secrets")]),
    ] {
        let policy = policy(conditions);
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

criterion_group!(benches, deciding);
criterion_main!(benches);
