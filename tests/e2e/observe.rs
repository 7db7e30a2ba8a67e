//! A policy that only observes, and the draft that comes of what it saw.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::world::{Caller, KUBECTLS, Options, POLICY, Workshop, World};

fn world() -> World {
    let rules = r#"
- name: deleting
  subjects: {groups: [developers]}
  verbs: [delete]
  apiGroups: [""]
  resources: [pods]
  decision: hold
  hold: {approvers: {groups: [on-call]}, wait: 0s}
- name: agents-open-no-sessions"#;
    let options = Options {
        policy: Some(
            POLICY
                .replacen("\n- name: agents-open-no-sessions", rules, 1)
                .replacen("\nrules:", "\nmode: observe\nrules:", 1),
        ),
        ..Options::default()
    };
    World::start_with(Arc::new(Workshop::new()), &options)
}

/// The last event like this, once it is written.
#[track_caller]
fn event(world: &World, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(event) = world.audit().into_iter().rfind(&wanted) {
            return event;
        }
        assert!(tokio::time::Instant::now() < deadline, "no such request");
        world.gateway().pause();
    }
}

/// What would have become of the last request with this verb, and the rule that says so.
#[track_caller]
fn would(world: &World, verb: &str, resource: &str) -> (String, String) {
    let event = event(world, |event| {
        event["verb"] == verb && event["objectRef"]["resource"] == resource
    });
    let note = |key: &str| {
        let value = &event["annotations"][format!("portcullis.dev/{key}")];
        value.as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(note("decision"), "allow");
    (note("would"), note("rule"))
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "what is seen in one world is drafted from"
)]
fn what_would_be_stopped_goes_on_is_recorded_and_can_be_drafted() {
    let mut world = world();
    let says = |denied: &str, rule: &str| (denied.to_owned(), rule.to_owned());
    for version in KUBECTLS {
        let pod = world.pod();
        // A denied session of an agent opens, under the tape that the policy wants.
        world
            .run(
                version,
                Caller::Agent,
                &["exec", &pod, "--", "echo", "hello"],
            )
            .expect_code(0)
            .expect("hello");
        let session = event(&world, |event| {
            let target = event["requestURI"].as_str().unwrap_or_default();
            target.contains(&format!("{pod}/exec")) && event["stage"] == "ResponseComplete"
        });
        let notes = &session["annotations"];
        assert_eq!(notes["portcullis.dev/would"], "deny");
        assert_eq!(
            notes["portcullis.dev/rule"],
            "end-to-end/agents-open-no-sessions"
        );
        assert!(notes["portcullis.dev/recording"].is_string(), "{session}");
        let unused = format!("unused-{}", version.name().replace('.', "-"));
        let object = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": unused, "namespace": "default"},
            "spec": {"containers": [{"name": "app", "image": "nginx"}]},
        });
        world.api_server.put(object).unwrap();
        // What no rule allows, and what a rule holds.
        world
            .run(
                version,
                Caller::Agent,
                &["create", "configmap", &unused, "--from-literal=a=b"],
            )
            .expect_code(0);
        assert_eq!(
            would(&world, "create", "configmaps"),
            says("deny", "(none)")
        );
        world
            .run(
                version,
                Caller::Developer,
                &["delete", "pod", "--wait=false", &unused],
            )
            .expect_code(0)
            .expect("deleted");
        assert_eq!(
            would(&world, "delete", "pods"),
            says("hold", "end-to-end/deleting")
        );
        world
            .run(version, Caller::Developer, &["get", "services"])
            .expect_code(0);
        assert_eq!(would(&world, "list", "services").0, "");
        // Masked is masked: the world looks for every secret in what comes back.
        let secrets = world.run(
            version,
            Caller::Developer,
            &["get", "secrets", "-o", "yaml"],
        );
        world.check(&secrets);
        secrets.expect_code(0);
        // Nobody takes this for enforcement.
        world
            .run(
                version,
                Caller::Agent,
                &["auth", "can-i", "delete", "nodes"],
            )
            .expect_code(0)
            .expect_error("the policy only observes");
    }
    let metrics = world.control("/metrics");
    for would in ["deny", "hold"] {
        let line = format!("portcullis_observed_total{{would=\"{would}\"}} ");
        let counted = metrics.lines().find_map(|found| found.strip_prefix(&line));
        assert!(
            counted.is_some_and(|counted| counted != "0"),
            "{line}{counted:?}"
        );
    }
    world.kill_gateway();
    let check = world.portcullis(&["check", "gateway.yaml"]).run();
    check.expect("ONLY OBSERVES");
    let draft = [
        "policy",
        "draft",
        "--audit",
        "data/audit.jsonl",
        "--agent",
        "coding-assistant",
    ];
    let drafted = world.portcullis(&draft).run();
    drafted
        .expect_code(0)
        .expect("pods/exec")
        .expect("configmaps");
    world.write("drafted.yaml", &drafted.stdout);
    let explain = |request: &str| {
        let args = [
            "policy",
            "explain",
            "-o",
            "json",
            "--policy",
            "drafted.yaml",
            "--as",
            "dora",
            "--agent",
            "coding-assistant",
            "--request",
            request,
        ];
        let said = world.portcullis(&args).run();
        let said: Value = serde_json::from_str(&said.expect_code(0).stdout).unwrap();
        said["decision"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        explain("POST /api/v1/namespaces/default/configmaps"),
        "allow"
    );
    assert_eq!(
        explain("DELETE /api/v1/namespaces/default/configmaps/a"),
        "deny"
    );
}
