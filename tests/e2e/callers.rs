//! Who calls, and the switch that keeps somebody out: what they have open ends, what they ask is refused.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::process::{Outcome, Running};
use crate::support::world::{Caller, KUBECTLS, Kubectl, Options, POLICY, Workshop, World};

const HERE: [&str; 2] = ["--data-dir", "data"];

/// The usual policy, where deletes of pods wait for on-call.
fn world() -> World {
    let rules = r#"
- name: deleting
  subjects: {groups: [developers]}
  verbs: [delete]
  apiGroups: [""]
  resources: [pods]
  decision: hold
  hold: {approvers: {groups: [on-call]}}
- name: agents-open-no-sessions"#;
    let options = Options {
        policy: Some(POLICY.replacen("\n- name: agents-open-no-sessions", rules, 1)),
        ..Options::default()
    };
    World::start_with(Arc::new(Workshop::new()), &options)
}

fn callers(world: &World, args: &[&str], place: &[&str]) -> Outcome {
    let outcome = world
        .portcullis(&[&["callers"], args, place].concat())
        .run();
    world.check(&outcome);
    outcome
}

fn list(world: &World) -> Vec<Value> {
    let listed = callers(world, &["ls", "-o", "json"], &HERE);
    listed.expect_code(0);
    serde_json::from_str(&listed.stdout).unwrap()
}

fn of<'a>(list: &'a [Value], user: &str, agent: Option<&str>) -> &'a Value {
    let found = list
        .iter()
        .find(|item| item["user"] == user && item["agent"].as_str() == agent);
    found.unwrap_or_else(|| panic!("no {user} {agent:?} in {list:?}"))
}

fn watch(world: &World, version: Kubectl, caller: Caller) -> Running {
    let mut watch = world
        .kubectl(version, caller)
        .args(["get", "pods", "-w"])
        .start();
    watch.wait_for("the list", |text| text.lines().count() > 1);
    watch
}

/// The moment at which the audit log says that the caller was blocked.
fn blocked_at(world: &World) -> Timestamp {
    let events = world.audit();
    let call = events
        .iter()
        .rfind(|event| event["requestURI"] == "/v1/callers/block")
        .expect("the operator's call");
    let at = call["annotations"]["portcullis.dev/blocked-at"].as_str();
    at.unwrap().parse().unwrap()
}

/// What was open ended within a second of the block, and the audit log says why.
#[track_caller]
fn expect_ended_at_once(world: &World, expected: &[&str]) {
    let asked = blocked_at(world);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let mut ended = Vec::new();
        for event in world.audit() {
            let at: Timestamp = event["stageTimestamp"].as_str().unwrap().parse().unwrap();
            let notes = &event["annotations"];
            let refused = event["responseStatus"]["message"]
                .as_str()
                .is_some_and(|message| message.starts_with("you are blocked"))
                && notes["portcullis.dev/approval"].is_string();
            if at < asked || !(notes["portcullis.dev/ended"] == "caller-blocked" || refused) {
                continue;
            }
            let took = at.duration_since(asked).as_secs_f64();
            assert!(took < 1.0, "after {took} s: {event}");
            let object = &event["objectRef"];
            let part = object["subresource"].as_str().unwrap_or_default();
            let agent = notes["portcullis.dev/agent"].as_str().unwrap_or_default();
            let verb = event["verb"].as_str().unwrap();
            let verb = if part == "exec" { "" } else { verb };
            ended.push(format!("{verb} {part} {agent}"));
        }
        ended.sort_unstable();
        if ended == expected {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "ended: {ended:?}, expected: {expected:?}"
        );
        world.gateway().pause();
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one caller's story")]
fn a_blocked_user_loses_everything_within_a_second_and_a_restart_lifts_nothing() {
    let mut world = world();
    let pod = world.pod();
    for version in KUBECTLS {
        let mut shell = world
            .kubectl(version, Caller::Developer)
            .args(["exec", "-i", &pod, "--", "cat"])
            .interactive()
            .start();
        shell.type_in("open\n");
        shell.wait_for("the echo", |text| text.contains("open"));
        let lost = watch(&world, version, Caller::Developer);
        let agents = watch(&world, version, Caller::Agent);
        let mut kept = watch(&world, version, Caller::OnCall);
        let deleting = world
            .kubectl(version, Caller::Developer)
            .args(["delete", "pod", "--wait=false", &pod])
            .start();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while world
            .portcullis(&["approvals", "ls", "-o", "json", "--data-dir", "data"])
            .run()
            .stdout
            .trim()
            == "[]"
        {
            assert!(tokio::time::Instant::now() < deadline, "nobody asks");
        }
        let open = list(&world);
        let dora = of(&open, "dora", None);
        assert_eq!(
            (&dora["streams"], &dora["sessions"]),
            (&json!(1), &json!(1)),
            "{dora}"
        );
        assert!(dora["requestsLastMinute"].as_u64().unwrap() >= 3, "{dora}");
        assert_eq!(of(&open, "dora", Some("coding-assistant"))["streams"], 1);

        let block = ["block", "dora", "--reason", "her laptop is gone"];
        let said = callers(&world, &block, &HERE);
        said.expect_code(0)
            .expect("user \"dora\" is blocked until it is lifted");
        assert_eq!(said.stderr, "", "she has called");
        let ended = shell.wait();
        world.check(&ended);
        assert_ne!(ended.code, 0, "{ended}");
        ended.expect_error("portcullis: you were blocked by \"local\": her laptop is gone");
        world.check(&lost.wait());
        world.check(&agents.wait());
        let refused = deleting.wait();
        assert_ne!(refused.code, 0, "{refused}");
        refused.expect_error("you are blocked by \"local\"");
        expect_ended_at_once(
            &world,
            &[" exec ", "delete  ", "watch  ", "watch  coding-assistant"],
        );
        assert!(!kept.has_ended());
        world.check(&kept.interrupt());

        // Neither another token nor another gateway on the same data lets her in.
        world.kill_gateway();
        world.restart_gateway();
        for caller in [Caller::Developer, Caller::Agent] {
            for args in [&["get", "pods"][..], &["exec", &pod, "--", "true"]] {
                let refused = world.run(version, caller, args);
                assert_ne!(refused.code, 0, "{refused}");
                refused
                    .expect_error("you are blocked by \"local\" since ")
                    .expect_error("her laptop is gone")
                    .expect_error("until an operator lifts it; ask");
            }
        }
        let events = world.audit();
        let refusal = events.last().unwrap();
        assert_eq!(refusal["responseStatus"]["code"], 403, "{refusal}");
        assert_eq!(refusal["user"]["username"], "dora", "{refusal}");
        let notes = &refusal["annotations"];
        assert_eq!(notes["portcullis.dev/blocked-by"], "local", "{refusal}");
        assert_eq!(notes["portcullis.dev/block-reason"], "her laptop is gone");
        let blocked = of(&list(&world), "dora", None)["blocked"].clone();
        assert_eq!(blocked["reason"], "her laptop is gone");
        assert_eq!(blocked["subjects"][0]["subject"], "dora");

        // Lifted without a gateway.
        world.kill_gateway();
        callers(&world, &["unblock", "dora"], &HERE)
            .expect_code(0)
            .expect_error("");
        world.restart_gateway();
        world
            .run(version, Caller::Developer, &["get", "pods"])
            .expect_code(0);
        // And the question that she left open is still one.
        let ids = world
            .portcullis(&["approvals", "ls", "-o", "json", "--data-dir", "data"])
            .run();
        let open: Vec<Value> = serde_json::from_str(&ids.stdout).unwrap();
        let id = open[0]["id"].as_str().unwrap();
        world.write("dora", &world.token(Caller::Developer));
        let url = world.control_url();
        let withdraw = [
            "approvals",
            "withdraw",
            id,
            "--server",
            &url,
            "--token-file",
            "dora",
        ];
        world.portcullis(&withdraw).run().expect_code(0);
    }
}

#[test]
fn an_agent_is_blocked_by_an_operator_and_its_human_is_not() {
    let world = world();
    for (caller, file) in [(Caller::OnCall, "oscar"), (Caller::Developer, "dora")] {
        world.write(file, &world.token(caller));
    }
    let url = world.control_url();
    let there = |token| ["--server", &url, "--token-file", token];
    let get = |caller| world.run(Kubectl::Current, caller, &["get", "pods"]);
    get(Caller::Agent).expect_code(0);

    let agent = [
        "block",
        "--agent",
        "coding-assistant",
        "--reason",
        "it loops",
    ];
    callers(&world, &agent, &there("dora"))
        .expect_code(2)
        .expect_error("you are not an operator");
    get(Caller::Agent).expect_code(0);
    let lasts = [&agent[..], &["--for", "1h"]].concat();
    callers(&world, &lasts, &there("oscar"))
        .expect_code(0)
        .expect("agent \"coding-assistant\" is blocked until 2");
    let refused = get(Caller::Agent);
    assert_ne!(refused.code, 0, "{refused}");
    refused
        .expect_error("you are blocked by \"oscar\"")
        .expect_error("it loops");
    get(Caller::Developer).expect_code(0);
    let shown = callers(&world, &["ls"], &there("oscar"));
    shown
        .expect("coding-assistant")
        .expect("by oscar since")
        .expect("it loops");

    // A name that nobody has is blocked, and said to be nobody's.
    callers(&world, &["block", "Dora", "--reason", "x"], &HERE)
        .expect_code(0)
        .expect_error("user \"Dora\" has not called")
        .expect_error("user \"dora\"");
    get(Caller::Developer).expect_code(0);

    // An operator who is blocked lifts nothing, not even by way of the API.
    callers(&world, &["block", "oscar", "--reason", "on holiday"], &HERE).expect_code(0);
    callers(&world, &["unblock", "oscar"], &there("oscar"))
        .expect_code(2)
        .expect_error("you are blocked by \"local\"");
    callers(&world, &["unblock", "oscar"], &HERE).expect_code(0);
    callers(
        &world,
        &["unblock", "--agent", "coding-assistant"],
        &there("oscar"),
    )
    .expect_code(0)
    .expect("agent \"coding-assistant\" is no longer blocked");
    get(Caller::Agent).expect_code(0);
    callers(
        &world,
        &["unblock", "--agent", "coding-assistant"],
        &there("oscar"),
    )
    .expect_code(2)
    .expect_error("is not blocked");
    let metrics = world.control("/metrics");
    assert!(
        metrics.contains("portcullis_callers_blocked 1"),
        "{metrics}"
    );
}
