//! Watching: events arrive one by one, masked, and end when the caller's token does.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::process::Process;
use crate::support::world::{Caller, KUBECTLS, Kubectl, World, tool};

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
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python/websockets.py");
    let outcome = Process::new(world.runtime(), tool("venv/bin/python"))
        .args([program])
        .env("HOME", world.path("home"))
        .env("KUBECONFIG", world.path("developer.kubeconfig"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("POD", world.pod())
        .run();
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
        watch.wait_for("the list", |text| text.lines().count() > 1);
        let outcome = watch.wait_at_most(Duration::from_secs(20));
        world.check(&outcome);
        let refused = world.run(version, Caller::Developer, &["get", "pods"]);
        refused.expect_code(1);
        assert!(
            refused.stderr.contains("Unauthorized") || refused.stderr.contains("logged in"),
            "kubectl does not say that the token is the reason: {refused}"
        );
    }
    world.log_in(Caller::Developer, Duration::from_mins(5));
    world
        .run(Kubectl::Current, Caller::Developer, &["get", "pods"])
        .expect_code(0);
}
