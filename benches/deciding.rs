//! What a decision costs: by 200 rules alone, for requests of every kind, by ten times as many, and with a condition on
//! an object of 10 KB; and requests from their lines to their audit events.
//!
//! Run with `cargo bench --bench deciding`. The bars are the median of `rules alone/*` below 5 µs, and `one condition of
//! the policy` below 50 µs.

#[path = "support/requests.rs"]
mod requests;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis::identity::Identity;
use portcullis::policy::condition::ConditionSource;
use portcullis::policy::{Decision, Seen};
use portcullis::request::body;
use requests::{REQUESTS, RULES, Requests, info, policy};
use serde_json::{Value, json};

/// Ten times as many rules.
const MANY: usize = 2_000;

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

/// Requests of every kind, each from its request line to its audit event.
fn with_event(criterion: &mut Criterion) {
    let requests = Requests::new();
    let mut group = criterion.benchmark_group("with audit event");
    group.throughput(Throughput::Elements(REQUESTS.len() as u64));
    group.bench_function("every kind", |bencher| bencher.iter(|| requests.decide()));
    group.finish();
}

criterion_group!(benches, by_rules_alone, by_conditions, with_event);
criterion_main!(benches);
