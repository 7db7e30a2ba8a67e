//! Watching: events arrive one by one, masked, and end when the caller's token does.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::process::Process;
use crate::support::world::{Caller, KUBECTLS, Kubectl, POLICY, World, tool};

#[test]
fn each_event_arrives_alone_and_masked() {
    let world = World::start();
    for version in KUBECTLS {
        let name = format!("watched-by-{}", version.name());
        for (output, shown) in [
            ("wide", name.as_str()),
            ("yaml", "password: "),
            ("json", "\"password\": "),
        ] {
            let args = ["get", "secrets", "-w", "-o", output];
            let mut watch = world.kubectl(version, Caller::Developer).args(args).start();
            watch.wait_for("the list", |text| text.contains("db"));
            world.seed_secret(&name);
            // No second event follows that could push this one out of a buffer.
            watch.wait_for("the new secret", |text| {
                text.contains(&name) && text.contains(shown)
            });
            world.admin(&["label", "secret", &name, "colour=blue"]);
            if output != "wide" {
                watch.wait_for("the change", |text| text.contains("colour"));
            }
            world.admin(&["delete", "secret", &name]);
            world.check(&watch.interrupt());
        }
    }
}

#[test]
fn a_raw_watch_is_masked_too() {
    let world = World::start();
    for version in KUBECTLS {
        let path = "/api/v1/namespaces/default/secrets?watch=true&timeoutSeconds=20";
        let mut watch = world
            .kubectl(version, Caller::Developer)
            .args(["get", "--raw", path])
            .start();
        watch.wait_for("the first event", |text| text.contains("\"ADDED\""));
        let name = format!("raw-{}", version.name());
        world.seed_secret(&name);
        watch.wait_for("the new secret", |text| {
            text.contains(&name) && text.ends_with('\n')
        });
        world.check(&watch.interrupt());
    }
}

#[test]
fn c_08_over_websocket_events_and_logs_are_messages_and_masked() {
    let world = World::start();
    let outcome = websockets(&world, &[]).env("POD", world.pod()).run();
    world.check(&outcome);
    outcome.expect_code(0);
    let steps: Vec<Value> = outcome
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [watch, log, refused] = steps.as_slice() else {
        panic!("three steps, not {steps:?}");
    };
    assert_eq!(watch["text"], json!(true), "{watch}");
    let all = |key: &str, is: fn(&str) -> bool| {
        let found = watch[key].as_array().unwrap();
        assert!(!found.is_empty(), "{watch}");
        assert!(found.iter().all(|one| is(one.as_str().unwrap())), "{watch}");
    };
    all("types", |kind| kind == "ADDED");
    all("passwords", |password| password.starts_with("[masked:v1:"));
    assert_eq!(
        *log,
        json!({"step": "log", "first": ["", ""], "same": true, "lines": 3})
    );
    assert_eq!(*refused, json!({"step": "refused", "status": 400}));

    // It lasts as long as what was granted, and no client that reads nothing holds up another.
    world.log_in(Caller::Developer, Duration::from_secs(6));
    let mut expiring = websockets(&world, &["follow", "pods?watch=1"]).start();
    expiring.wait_for("a pod", |text| text.contains("\"ADDED\""));
    world.log_in(Caller::Developer, Duration::from_hours(1));
    a_client_that_reads_nothing_costs_little_and_holds_up_nobody(&world);
    a_watch_ends_when_the_policy_forbids_it(&world);
    let outcome = expiring.wait_at_most(Duration::from_secs(20));
    outcome.expect_code(0).expect("{\"closed\": 1000}");
}

/// The Python client, with these arguments.
fn websockets(world: &World, args: &[&str]) -> Process {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python/websockets.py");
    Process::new(world.runtime(), tool("venv/bin/python"))
        .args([program])
        .args(args)
        .env("HOME", world.path("home"))
        .env("KUBECONFIG", world.path("developer.kubeconfig"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
}

fn a_client_that_reads_nothing_costs_little_and_holds_up_nobody(world: &World) {
    const EVENTS: usize = 48;
    const EVENT_BYTES: usize = 256 << 10;
    let mut neighbour = websockets(world, &["follow", "secrets?watch=1"]).start();
    let mut stalled = websockets(world, &["stall", "secrets?watch=1"])
        .interactive()
        .start();
    neighbour.wait_for("the list", |text| text.contains("\"db\""));
    stalled.wait_for("its connection", |text| text.contains("connected"));
    let before = world.gateway().peak_memory();
    for number in 0..EVENTS {
        let note = "n".repeat(EVENT_BYTES);
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "noted", "namespace": "default", "annotations": {"note": note}},
            "data": {"password": STANDARD.encode(world.canaries.fresh())},
        });
        world.api_server.put(secret).expect("a stored secret");
        let seen = |text: &str| text.matches("\"noted\"").count() > number;
        neighbour.wait_for("every event", seen);
    }
    let grown = world.gateway().peak_memory() - before;
    let sent = EVENTS * EVENT_BYTES;
    assert!(grown < sent as u64 / 2, "{grown} bytes more for {sent}");
    assert!(!stalled.has_ended());
    stalled.interrupt();
    world.check(&neighbour.interrupt());
}

fn a_watch_ends_when_the_policy_forbids_it(world: &World) {
    let mut watch = websockets(world, &["follow", "secrets?watch=1"]).start();
    watch.wait_for("the list", |text| text.contains("\"db\""));
    let forbidden = "- name: nobody-watches-secrets\n  verbs: [watch]\n  apiGroups: [\"\"]\n  \
                     resources: [secrets]\n  decision: deny\n- name: agents-read\n";
    let stricter = POLICY.replace("- name: agents-read\n", forbidden);
    assert_ne!(stricter, POLICY);
    world.write("policy.yaml", &stricter);
    let outcome = watch.wait_at_most(Duration::from_secs(20));
    world.check(&outcome);
    outcome.expect_code(0).expect("{\"closed\": 1000}");
    world.write("policy.yaml", POLICY);
}

#[test]
fn waiting_for_a_deletion_works() {
    let world = World::start();
    for version in KUBECTLS {
        let name = format!("short-lived-{}", version.name());
        world.seed_secret(&name);
        let secret = format!("secret/{name}");
        let args = ["wait", "--for=delete", &secret, "--timeout=20s"];
        let mut wait = world.kubectl(version, Caller::Developer).args(args).start();
        while !world
            .api_server
            .requests()
            .iter()
            .any(|seen| seen.uri.query().is_some_and(|it| it.contains(&name)))
        {
            assert!(!wait.has_ended(), "it did not wait");
            wait.pause();
        }
        world.admin(&["delete", &secret]);
        let outcome = wait.wait();
        world.check(&outcome);
        outcome.expect_code(0);
    }
}

#[test]
fn a_watch_ends_with_its_token() {
    let world = World::start();
    for version in KUBECTLS {
        // Long enough for kubectl's discovery; the watch itself would go on for minutes.
        world.log_in(Caller::Developer, Duration::from_secs(6));
        let mut watch = world
            .kubectl(version, Caller::Developer)
            .args(["get", "pods", "-w"])
            .start();
        let listed = watch.wait_for("the list", |text| text.lines().count() > 1);
        let label = format!("watched-by={}", version.name());
        world.admin(&["label", "pod", &world.pod(), &label, "--overwrite"]);
        watch.wait_for("an event", |text| text.len() > listed.len());
        let outcome = watch.wait_at_most(Duration::from_secs(20));
        world.check(&outcome);
        let refused = world.run(version, Caller::Developer, &["get", "pods"]);
        refused.expect_code(1);
        assert!(
            refused.stderr.contains("Unauthorized") || refused.stderr.contains("logged in"),
            "kubectl does not say that the token is the reason: {refused}"
        );
        is_on_record_from_its_begin_to_its_end(&world);
    }
    world.log_in(Caller::Developer, Duration::from_mins(5));
    world
        .run(Kubectl::Current, Caller::Developer, &["get", "pods"])
        .expect_code(0);
}

/// The last watch of pods has a line for its beginning and one that counts what came.
fn is_on_record_from_its_begin_to_its_end(world: &World) {
    let events = world.audit();
    let watches = events
        .iter()
        .filter(|event| event["verb"] == "watch" && event["objectRef"]["resource"] == "pods");
    let last: Vec<_> = watches.rev().take(2).collect();
    assert_eq!(last[1]["stage"], "ResponseStarted", "{last:?}");
    assert_eq!(last[0]["stage"], "ResponseComplete", "{last:?}");
    assert_eq!(last[0]["auditID"], last[1]["auditID"]);
    for count in ["events", "bytes"] {
        let counted = last[0]["annotations"][format!("portcullis.dev/{count}")].as_str();
        let counted: u64 = counted.expect(count).parse().expect("a number");
        assert!(counted > 0, "{count}: {last:?}");
    }
}
