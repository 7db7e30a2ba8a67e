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
    world_of(policy + RULE)
}

fn world_of(policy: String) -> World {
    let options = Options {
        policy: Some(policy),
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

/// The same field, shown after somebody on call said yes; before the rules that let developers read.
fn held_world() -> World {
    let policy = POLICY.replace("mask: [secrets]", "mask: [secrets, known-values]");
    let held = format!(
        "{RULE}  decision: hold\n  hold: {{approvers: {{groups: [on-call]}}, wait: 20s}}\n"
    );
    let first = "\n- name: agents-open-no-sessions";
    let world = world_of(policy.replacen(first, &format!("{held}{first}"), 1));
    world.write("oscar", &world.token(Caller::OnCall));
    world
}

/// `portcullis approvals` as the one on call.
fn approvals(world: &World, arguments: &[&str]) -> String {
    let url = world.control_url();
    let there = ["--server", &url, "--token-file", "oscar"];
    let outcome = world
        .portcullis(&[&["approvals"], arguments, &there[..]].concat())
        .run();
    world.check(&outcome);
    outcome.expect_code(0);
    outcome.stdout
}

/// The one question that is open, once there is one.
#[track_caller]
fn question(world: &World) -> Value {
    let begun = tokio::time::Instant::now();
    loop {
        let open = approvals(world, &["ls", "-o", "json"]);
        let mut open: Vec<Value> = serde_json::from_str(&open).unwrap();
        if let Some(question) = open.pop() {
            assert!(open.is_empty(), "{open:?}");
            return question;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody asks");
    }
}

#[test]
fn a_held_field_is_shown_once_after_a_yes_and_not_after_a_no() {
    let world = held_world();
    for (turn, version) in KUBECTLS.into_iter().enumerate() {
        let asked = format!("{DB}?{PASSWORD}&portcullis.dev/reason=INC-{turn}");
        let ask = |target: &str| {
            let arguments = ["get", "--raw", target];
            world
                .kubectl(version, Caller::Developer)
                .args(arguments)
                .start()
        };
        let waiting = ask(&asked);
        let question = question(&world);
        let id = question["id"].as_str().unwrap();
        let shown = approvals(&world, &["show", id]);
        assert!(shown.contains("data.password"), "{shown}");
        assert!(
            shown.contains(&format!("INC-{turn}")) && !shown.contains(VALUE),
            "{shown}"
        );
        // Who does not ask for the field waits for nobody.
        let plain = world.run(version, Caller::Developer, &["get", "--raw", DB]);
        plain.expect_code(0);
        assert!(!plain.stdout.contains(&STANDARD.encode(VALUE)), "{plain}");
        approvals(&world, &["approve", id]);
        let outcome = waiting.wait();
        world.check(&outcome);
        outcome.expect_code(0);
        let secret: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(secret["data"]["password"], STANDARD.encode(VALUE));
        assert_ne!(secret["data"]["token"], secret["data"]["password"]);

        // The yes is used up; the same is a new question, and so is another reason.
        for other in [asked.clone(), format!("{asked}-again")] {
            let waiting = ask(&other);
            let question = self::question(&world);
            assert_ne!(question["id"], id);
            let no = [
                "deny",
                question["id"].as_str().unwrap(),
                "--reason",
                "ask the owner",
            ];
            approvals(&world, &no);
            let outcome = waiting.wait();
            world.check(&outcome);
            outcome.expect_code(1).expect_error("ask the owner");
            assert!(outcome.stdout.is_empty(), "{outcome}");
        }
    }
    // Each was asked for and answered, and what was shown says who said yes.
    let revealed: Vec<Value> = on_record(&world)
        .into_iter()
        .filter(|event| event["stage"] == "ResponseComplete")
        .filter(|event| event["annotations"]["portcullis.dev/revealed"] == "data.password")
        .filter(|event| event["responseStatus"]["code"] == 200)
        .collect();
    assert_eq!(revealed.len(), KUBECTLS.len(), "{revealed:?}");
    for event in &revealed {
        assert_eq!(event["annotations"]["portcullis.dev/approved-by"], "oscar");
    }
}
