//! What approvers see of a held write: the object, and what the API server would make of it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use loadtest::apiserver::Denial;
use serde_json::{Value, json};

use crate::support::process::{Outcome, Process, Running};
use crate::support::world::{Caller, KUBECTLS, Kubectl, Options, POLICY, Workshop, World};

fn world() -> World {
    let rules = r#"
- name: writing
  subjects: {groups: [developers]}
  verbs: [create, update, patch, deletecollection]
  apiGroups: ["", apps]
  resources: [configmaps, secrets, deployments, serviceaccounts/token]
  decision: hold
  hold: {approvers: {groups: [on-call]}}
- name: agents-open-no-sessions"#;
    let options = Options {
        policy: Some(POLICY.replacen("\n- name: agents-open-no-sessions", rules, 1)),
        denials: vec![Denial {
            user: "dora".to_owned(),
            verb: "patch".to_owned(),
            resource: "deployments".to_owned(),
            ..Denial::default()
        }],
        ..Options::default()
    };
    let world = World::start_with(Arc::new(Workshop::new()), &options);
    world.write("oscar", &world.token(Caller::OnCall));
    world
}

fn approvals(world: &World, args: &[&str]) -> Outcome {
    let url = world.control_url();
    let there = ["--server", &url, "--token-file", "oscar"];
    let outcome = world
        .portcullis(&[&["approvals"], args, &there[..]].concat())
        .run();
    world.check(&outcome);
    outcome.expect_code(0);
    outcome
}

/// The one question that is open, once it is known what it is about.
#[track_caller]
fn asked(world: &World, client: &mut Running) -> String {
    let begun = tokio::time::Instant::now();
    loop {
        let listed = approvals(world, &["ls", "-o", "json"]);
        let open: Vec<Value> = serde_json::from_str(&listed.stdout).unwrap();
        if let [question] = open.as_slice()
            && question["requests"][0]["shown"]["context"].is_array()
        {
            return question["id"].as_str().unwrap().to_owned();
        }
        assert!(
            !client.has_ended(),
            "{}{}",
            client.stdout(),
            client.stderr()
        );
        assert!(begun.elapsed() < Duration::from_secs(20), "{open:?}");
    }
}

fn start(world: &World, version: Kubectl, args: &[&str]) -> Running {
    world.kubectl(version, Caller::Developer).args(args).start()
}

fn end(world: &World, id: &str, client: Running) {
    approvals(world, &["deny", id, "--reason", "only looking"]);
    let outcome = client.wait();
    world.check(&outcome);
    outcome.expect_code(1);
}

fn config_map(world: &World, name: &str) {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": {"colour": "blue", "shape": "round"},
    });
    world.api_server.put(object).unwrap();
}

#[test]
fn a_patch_is_shown_as_what_becomes_of_the_object() {
    let world = world();
    for version in KUBECTLS {
        let name = format!("web-{}", version.name().replace('.', "-"));
        config_map(&world, &name);
        let patch = r#"{"data":{"colour":"red"}}"#;
        let args = ["patch", "configmap", &name, "--type=merge", "-p", patch];
        let mut waiting = start(&world, version, &args);
        let id = asked(&world, &mut waiting);
        let shown = approvals(&world, &["show", &id]);
        shown
            .expect("| -  colour: blue\n")
            .expect("| +  colour: red\n")
            .expect("|    shape: round\n")
            .expect("as it was when it was asked");
        let (_, changes) = shown.stdout.split_once("  changes\n").unwrap();
        for noise in ["resourceVersion", "managedFields", "uid", "\u{1b}"] {
            assert!(!changes.contains(noise), "{shown}");
        }
        approvals(&world, &["approve", &id]);
        waiting.wait().expect_code(0);
        let there = world.admin(&["get", "configmap", &name, "-o", "jsonpath={.data.colour}"]);
        assert_eq!(there.stdout, "red");
        // The dry run left nothing behind, and the patch came once.
        let seen = world.api_server.requests();
        let patches = seen
            .iter()
            .filter(|seen| seen.method == "PATCH" && seen.uri.path().ends_with(&name));
        let dry: Vec<bool> = patches
            .map(|seen| seen.uri.query().unwrap_or_default().contains("dryRun=All"))
            .collect();
        assert_eq!(dry, [true, false]);
    }
}

#[test]
fn what_is_made_is_shown_whatever_it_is_written_in() {
    let world = world();
    for version in KUBECTLS {
        // The newer one sends protobuf.
        let args = ["create", "configmap", "new", "--from-literal=colour=green"];
        let mut waiting = start(&world, version, &args);
        let id = asked(&world, &mut waiting);
        approvals(&world, &["show", &id])
            .expect("\"colour\": \"green\"")
            .expect("| +kind: ConfigMap\n")
            .expect("| +  colour: green\n");
        end(&world, &id, waiting);
    }
    let there = world.admin(&["get", "configmaps", "-o", "name"]);
    assert!(!there.stdout.contains("configmap/new"), "{there}");
}

#[test]
fn of_a_secret_it_is_shown_that_a_value_changes_and_not_to_what() {
    let world = world();
    for version in KUBECTLS {
        let name = format!("db-{}", version.name().replace('.', "-"));
        world.seed_secret(&name);
        let value = STANDARD.encode(world.canaries.fresh());
        let patch = json!({"data": {"password": value}}).to_string();
        let mut waiting = start(&world, version, &["patch", "secret", &name, "-p", &patch]);
        let id = asked(&world, &mut waiting);
        let shown = approvals(&world, &["show", &id]);
        shown
            .expect("| -  password: [masked:v1:")
            .expect("| +  password: [masked:v1:");
        let json = approvals(&world, &["show", &id, "-o", "json"]);
        json.expect("\"diff\"");
        end(&world, &id, waiting);
    }
}

#[test]
fn what_cannot_be_tried_out_is_said() {
    let world = world();
    config_map(&world, "there");
    for version in KUBECTLS {
        let mut waiting = start(&world, version, &["create", "configmap", "there"]);
        let id = asked(&world, &mut waiting);
        approvals(&world, &["show", &id])
            .expect("the API server would refuse it (409 AlreadyExists")
            .expect("\"there\" already exists");
        end(&world, &id, waiting);
        // A no to the same request stands.
        let replicas = if version == Kubectl::Old { 3 } else { 4 };
        let patch = json!({"spec": {"replicas": replicas}}).to_string();
        let args = ["patch", "deployment", "web", "-p", &patch];
        let mut waiting = start(&world, version, &args);
        let id = asked(&world, &mut waiting);
        approvals(&world, &["show", &id]).expect("would refuse it (403 Forbidden");
        end(&world, &id, waiting);
    }
    let mut waiting = start(&world, Kubectl::Current, &["create", "token", "default"]);
    let id = asked(&world, &mut waiting);
    approvals(&world, &["show", &id]).expect("knows no dry run of it");
    end(&world, &id, waiting);
}

/// kubectl never sends one; controllers and programs do.
#[test]
fn of_a_deletecollection_it_is_shown_what_it_would_delete() {
    let world = world();
    for (name, app) in [("one", "web"), ("two", "web"), ("three", "other")] {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
        });
        world.api_server.put(object).unwrap();
    }
    let authorization = format!("Authorization: Bearer {}", world.token(Caller::Developer));
    let selected = "api/v1/namespaces/default/configmaps?labelSelector=app%3Dweb";
    let mut waiting = Process::new(world.runtime(), "curl")
        .args([
            "-sS",
            "-k",
            "-X",
            "DELETE",
            "-w",
            "%{http_code}",
            "-H",
            &authorization,
        ])
        .args([format!("{}/{selected}", world.url())])
        .start();
    let id = asked(&world, &mut waiting);
    let shown = approvals(&world, &["show", &id]);
    shown
        .expect("it would delete 2 objects")
        .expect("deletes one")
        .expect("deletes two");
    assert!(!shown.stdout.contains("deletes three"), "{shown}");
    approvals(&world, &["approve", &id]);
    waiting.wait().expect("200");
    let left = world.admin(&["get", "configmaps", "-o", "name"]);
    assert!(left.stdout.contains("configmap/three"), "{left}");
    assert!(!left.stdout.contains("configmap/one"), "{left}");
}
