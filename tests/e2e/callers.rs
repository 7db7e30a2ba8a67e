//! Who calls, and the switch that keeps somebody out: what they have open ends, what they ask is refused.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::process::{Outcome, Process, Running};
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

/// The usual policy with a budget for developers.
fn limited(limits: &str) -> World {
    let budget =
        format!("budgets:\n- {{name: dev, subjects: {{groups: [developers]}}, {limits}}}\nrules:");
    let options = Options {
        policy: Some(POLICY.replacen("rules:", &budget, 1)),
        ..Options::default()
    };
    World::start_with(Arc::new(Workshop::new()), &options)
}

fn last_event(world: &World, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(event) = world.audit().into_iter().rev().find(&wanted) {
            return event;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "it is not in the audit log"
        );
        world.gateway().pause();
    }
}

#[test]
fn who_deletes_too_much_is_told_how_much_and_when() {
    let world = limited("deletesPerHour: 2");
    for (version, pods) in KUBECTLS.into_iter().zip([["a", "b"], ["c", "d"]]) {
        for name in pods {
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"containers": [{"name": "app", "image": "nginx"}]},
            });
            world.api_server.put(pod).unwrap();
        }
        let delete = |name| {
            world.run(
                version,
                Caller::Developer,
                &["delete", "pod", "--wait=false", name],
            )
        };
        if version == KUBECTLS[0] {
            delete("a").expect_code(0);
            // A dry run counts; what the API server refuses, too.
            delete("nobody").expect_error("not found");
        }
        let refused = delete(pods[1]);
        refused.expect_code(1).expect_error(
            "budget end-to-end/dev: 2 of 2 deletes an hour are used; there is room again in 6",
        );
        // Everything else goes on, and so do other people.
        world
            .run(version, Caller::Developer, &["get", "pods"])
            .expect_code(0);
        world
            .run(
                version,
                Caller::OnCall,
                &["delete", "pod", "--wait=false", pods[1]],
            )
            .expect_code(0);
    }
    let listed = list(&world);
    let budgets = &of(&listed, "dora", None)["budgets"];
    let expected =
        json!([{"budget": "end-to-end/dev", "measure": "deletes", "used": 2, "most": 2}]);
    assert_eq!(*budgets, expected);
    let event = last_event(&world, |event| event["responseStatus"]["code"] == 403);
    let note = event["annotations"]["portcullis.dev/budget"]
        .as_str()
        .unwrap();
    assert!(note.starts_with("budget end-to-end/dev"), "{event}");
    let metrics = world.control("/metrics");
    let counted = "portcullis_over_budget_total{measure=\"deletes\"} 2";
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn who_asks_too_often_waits_without_an_error() {
    let world = limited("requestsPerMinute: 3");
    let token = world.token(Caller::Developer);
    let call = || {
        Process::new(world.runtime(), "curl")
            .args([
                "-sS",
                "-k",
                "-i",
                "-H",
                &format!("Authorization: Bearer {token}"),
            ])
            .args([&format!("{}/version", world.url())])
            .run()
    };
    for _ in 0..3 {
        call().expect("HTTP/2 200");
    }
    let refused = call();
    refused
        .expect("HTTP/2 429")
        .expect("retry-after: ")
        .expect("3 of 3 requests a minute are used");
    for version in KUBECTLS {
        let mut waiting = world
            .kubectl(version, Caller::Developer)
            .args(["get", "pods"])
            .start();
        let agent = match version {
            Kubectl::Old => "kubectl/v1.20",
            Kubectl::Current => "kubectl/v1.36",
        };
        last_event(&world, |event| {
            let by = event["userAgent"].as_str().unwrap_or_default();
            event["responseStatus"]["code"] == 429 && by.contains(agent)
        });
        assert!(!waiting.has_ended(), "it waits to ask again");
        waiting.interrupt();
    }
    // Nobody else waits.
    world
        .run(
            Kubectl::Current,
            Caller::OnCall,
            &["get", "--raw", "/version"],
        )
        .expect_code(0);
}

#[test]
fn who_reads_too_much_is_cut_off_and_namespaces_have_an_end() {
    let world = limited("bytesPerHour: 64Ki, namespacesPerHour: 2");
    let pod = world.pod();
    let get = |args: &[&str]| world.run(Kubectl::Current, Caller::Developer, args);
    let everywhere = get(&["get", "pods", "-A"]);
    everywhere.expect_code(1).expect_error(
        "2 different namespaces an hour are used; this spans all namespaces; name one with -n",
    );
    for namespace in ["default", "kube-system"] {
        get(&[
            "get",
            "--raw",
            &format!("/api/v1/namespaces/{namespace}/configmaps"),
        ])
        .expect_code(0);
    }
    get(&["get", "--raw", "/api/v1/namespaces/shop/configmaps"])
        .expect_code(1)
        .expect_error("2 of 2 different namespaces an hour are used");
    let shell = world
        .kubectl(Kubectl::Current, Caller::Developer)
        .args(["exec", &pod, "--", "seq", "1", "100000"])
        .run();
    world.check(&shell);
    shell.expect_error(
        "budget end-to-end/dev: 65536 of 65536 bytes an hour are used; there is room again in ",
    );
    assert!(shell.stdout.len() < 200_000, "{}", shell.stdout.len());
    last_event(&world, |event| {
        event["annotations"]["portcullis.dev/ended"] == "over-budget"
    });
    get(&["get", "pods"])
        .expect_code(1)
        .expect_error("65536 of 65536 bytes an hour are used");
}

#[test]
fn a_watch_ends_in_order_when_its_bytes_are_used_up() {
    let world = limited("bytesPerHour: 256Ki");
    let mut watch = watch(&world, Kubectl::Current, Caller::Developer);
    for number in 0..400 {
        if watch.has_ended() {
            break;
        }
        let map = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("pod-{number}"), "namespace": "default"},
            "spec": {"containers": [{"name": "x".repeat(2000), "image": "nginx"}]},
        });
        world.api_server.put(map).unwrap();
    }
    let event = last_event(&world, |event| {
        event["annotations"]["portcullis.dev/ended"] == "over-budget"
    });
    assert_eq!(event["verb"], "watch");
    let bytes: u64 = event["annotations"]["portcullis.dev/bytes"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(bytes <= 256 * 1024, "{bytes}");
    drop(watch);
}
