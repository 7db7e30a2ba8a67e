//! One masked field, shown to who may see it and says why.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::process::Process;
use crate::support::world::{Caller, KUBECTLS, Kubectl, Options, POLICY, Workshop, World};

const RULE: &str = r#"
- name: developers-may-see-the-password
  subjects: {groups: [developers]}
  verbs: [get]
  apiGroups: [""]
  resources: [secrets]
  namespaces: [default]
  resourceNames: [db]
  reveal: [data.password]
"#;

const DB: &str = "/api/v1/namespaces/default/secrets/db";
const REASON: &str = "portcullis.dev/reason=INC-42";
const PASSWORD: &str = "portcullis.dev/reveal=data.password";
const VALUE: &str = "pw-of-the-database-91c4";

fn world() -> World {
    let policy = POLICY.replace("mask: [secrets]", "mask: [secrets, known-values]");
    let options = Options {
        policy: Some(policy + RULE),
        ..Options::default()
    };
    let world = World::start_with(Arc::new(Workshop::new()), &options);
    let token = world.canaries.fresh();
    let data = json!({
        "password": STANDARD.encode(VALUE),
        "Password": STANDARD.encode(&token),
        "token": STANDARD.encode(&token),
        "dsn": STANDARD.encode(format!("db://admin:{token}@host")),
    });
    let applied = json!({"kind": "Secret", "data": data, "stringData": {"password": token}});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data,
        "metadata": {
            "name": "db", "namespace": "default",
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": applied.to_string(),
                "note": format!("the password is {VALUE}"),
            },
        },
    });
    world.api_server.put(secret).unwrap();
    // The gateway learns a new Secret within a second or two.
    let begun = tokio::time::Instant::now();
    loop {
        let plain = world.run(Kubectl::Current, Caller::Developer, &["get", "--raw", DB]);
        if !plain.stdout.contains(VALUE) {
            return world;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{plain}");
    }
}

/// The events of requests that asked for the field.
fn on_record(world: &World) -> Vec<Value> {
    let events = world.audit().into_iter();
    events
        .filter(|event| event["annotations"]["portcullis.dev/reason"].is_string())
        .collect()
}

#[test]
fn one_field_is_shown_with_a_reason_and_on_record() {
    let world = world();
    let masked = "[masked:v1:";
    for version in KUBECTLS {
        let asked = format!("{DB}?{PASSWORD}&{REASON}");
        let outcome = world.run(version, Caller::Developer, &["get", "--raw", &asked]);
        outcome.expect_code(0);
        let secret: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(secret["data"]["password"], STANDARD.encode(VALUE));
        for key in ["Password", "token", "dsn"] {
            let text = STANDARD
                .decode(secret["data"][key].as_str().unwrap())
                .unwrap();
            assert!(text.starts_with(masked.as_bytes()), "{key}: {outcome}");
        }
        // What the value is called elsewhere was not asked for.
        let note = secret["metadata"]["annotations"]["note"].as_str().unwrap();
        assert!(!note.contains(VALUE) && note.contains(masked), "{note}");

        let plain = world.run(
            version,
            Caller::Developer,
            &["get", "secret", "db", "-o", "json"],
        );
        assert!(!plain.stdout.contains(&STANDARD.encode(VALUE)), "{plain}");
    }
    let events = on_record(&world);
    assert_eq!(events.len(), 4, "received and complete, twice");
    for event in events {
        let annotations = &event["annotations"];
        assert_eq!(annotations["portcullis.dev/revealed"], "data.password");
        assert_eq!(annotations["portcullis.dev/reason"], "INC-42");
        assert!(!event.to_string().contains(VALUE));
    }

    let protobuf = Process::new(world.runtime(), "curl")
        .args(["-sS", "-k", "--max-time", "10"])
        .args(["-H", "Accept: application/vnd.kubernetes.protobuf"])
        .args([
            "-H",
            &format!("Authorization: Bearer {}", world.token(Caller::Developer)),
        ])
        .args([&format!("{}{DB}?{PASSWORD}&{REASON}", world.url())])
        .run();
    world.check(&protobuf);
    // Known values are not searched for in protobuf, so the answer is JSON.
    protobuf.expect(&STANDARD.encode(VALUE));
}

#[test]
fn nothing_is_shown_without_a_reason_or_to_others() {
    let world = world();
    for (caller, target, says) in [
        (
            Caller::Developer,
            format!("{DB}?{PASSWORD}"),
            "needs portcullis.dev/reason",
        ),
        (
            Caller::Developer,
            format!("/api/v1/namespaces/default/secrets?{PASSWORD}&{REASON}"),
            "the GET of one object",
        ),
        (
            Caller::Developer,
            format!("{DB}?portcullis.dev/reveal=data.token&{REASON}"),
            "data.password may be",
        ),
        (
            Caller::Agent,
            format!("{DB}?{PASSWORD}&{REASON}"),
            "none may be",
        ),
    ] {
        for version in KUBECTLS {
            let outcome = world.run(version, caller, &["get", "--raw", &target]);
            outcome.expect_code(1);
            assert!(outcome.stderr.contains(says), "{outcome}");
            assert!(outcome.stdout.is_empty(), "{outcome}");
        }
    }
    for event in on_record(&world) {
        assert!(
            event["annotations"]["portcullis.dev/revealed"].is_null(),
            "{event}"
        );
    }
}
