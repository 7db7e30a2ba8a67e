//! Requests that wait for a human: at two terminals, over restarts, and for agents.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::process::{Outcome, Process, Running};
use crate::support::world::{Caller, KUBECTLS, Kubectl, Options, POLICY, Workshop, World};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// The usual policy with rules before everybody's that hold what they name.
fn policy(hold: &str) -> String {
    let rules = format!(
        r#"
- name: deleting
  subjects: {{groups: [developers, ai-agents]}}
  verbs: [delete]
  apiGroups: [""]
  resources: [pods]
  decision: hold
  message: somebody may be using it
  hold: {{approvers: {{groups: [on-call]}}{hold}}}
- name: shells
  subjects: {{groups: [developers]}}
  verbs: [create]
  apiGroups: [""]
  resources: [pods/exec]
  decision: hold
  hold: {{approvers: {{groups: [on-call]}}{hold}}}
- name: agents-open-no-sessions"#
    );
    POLICY.replacen("\n- name: agents-open-no-sessions", &rules, 1)
}

fn world_with(hold: &str, spdy_only: bool) -> World {
    let options = Options {
        policy: Some(policy(hold)),
        spdy_only,
        ..Options::default()
    };
    let world = World::start_with(Arc::new(Workshop::new()), &options);
    for (caller, file) in [
        (Caller::OnCall, "oscar"),
        (Caller::Developer, "dora"),
        (Caller::Agent, "agent"),
    ] {
        world.write(file, &world.token(caller));
    }
    world
}

fn seed(world: &World, name: &str) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "app", "image": "nginx"}]},
    });
    world.api_server.put(pod).unwrap();
}

fn exists(world: &World, name: &str) -> bool {
    let found = world.admin(&["get", "pods", "-o", "name"]);
    found
        .stdout
        .lines()
        .any(|line| line == format!("pod/{name}"))
}

/// `portcullis approvals` with somebody's token.
fn approvals(world: &World, token: &str, args: &[&str]) -> Outcome {
    let url = world.control_url();
    let there = ["--server", &url, "--token-file", token];
    let outcome = world
        .portcullis(&[&["approvals"], args, &there[..]].concat())
        .run();
    world.check(&outcome);
    outcome
}

fn open(world: &World) -> Vec<Value> {
    let listed = approvals(world, "oscar", &["ls", "-o", "json"]);
    listed.expect_code(0);
    serde_json::from_str(&listed.stdout).unwrap()
}

/// The one question that is open, once there is one.
#[track_caller]
fn asked(world: &World) -> Value {
    let begun = tokio::time::Instant::now();
    loop {
        let mut open = open(world);
        if let Some(question) = open.pop() {
            assert!(open.is_empty(), "{open:?}");
            return question;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody asks");
    }
}

fn id(question: &Value) -> &str {
    question["id"].as_str().unwrap()
}

fn delete(world: &World, version: Kubectl, caller: Caller, args: &[&str]) -> Process {
    world
        .kubectl(version, caller)
        .args([&["delete", "pod", "--wait=false"], args].concat())
}

/// Ends a client that waits.
fn leave(client: Running) {
    client.signal("TERM");
    client.wait();
}

fn count(world: &World, method: &str, pod: &str) -> usize {
    let target = format!("{PODS}/{pod}");
    let seen = world.api_server.requests();
    seen.iter()
        .filter(|seen| seen.method == method && seen.uri.path() == target)
        .count()
}

#[test]
fn a_held_delete_goes_on_when_somebody_at_another_terminal_says_yes() {
    let world = world_with("", false);
    for version in KUBECTLS {
        let pod = format!("web-{}", version.name().replace('.', "-"));
        seed(&world, &pod);
        let mut waiting = delete(&world, version, Caller::Developer, &[&pod]).start();
        let question = asked(&world);
        assert!(!waiting.has_ended() && exists(&world, &pod));
        let shown = approvals(&world, "oscar", &["show", id(&question)]);
        shown
            .expect("\"dora\"")
            .expect(&format!("DELETE {PODS}/{pod}"))
            .expect("risk")
            .expect("somebody may be using it")
            .expect("kept by nobody")
            .expect("container app of image nginx")
            .expect("propagationPolicy");
        if version == Kubectl::Current {
            shown.expect("to run \"kubectl delete\"");
        }
        // Neither who asked nor an agent nor nobody in particular can answer.
        for token in ["dora", "agent"] {
            let refused = approvals(
                &world,
                token,
                &["approve", id(&question), "--requests", "1"],
            );
            assert_ne!(refused.code, 0, "{refused}");
        }
        let local = world
            .portcullis(&["approvals", "approve", id(&question), "--data-dir", "data"])
            .run();
        local.expect_code(2).expect_error("in their own name");
        assert!(exists(&world, &pod));
        let yes = ["approve", id(&question), "--reason", "agreed in INC-42"];
        approvals(&world, "oscar", &yes)
            .expect_code(0)
            .expect("approved");
        let outcome = waiting.wait();
        world.check(&outcome);
        outcome.expect_code(0).expect("deleted");
        outcome
            .expect_error("Warning: approval ")
            .expect_error("by oscar (agreed in INC-42)");
        assert!(!exists(&world, &pod));
        assert_eq!(count(&world, "DELETE", &pod), 1);

        let annotation = |event: &Value, key: &str| {
            event["annotations"][format!("portcullis.dev/{key}")].clone()
        };
        let events = world.audit();
        let event = events
            .iter()
            .rfind(|event| event["verb"] == "delete" && event["stage"] == "ResponseComplete")
            .unwrap();
        assert_eq!(annotation(event, "approval"), question["id"]);
        assert_eq!(annotation(event, "approved-by"), "oscar");
        assert_eq!(annotation(event, "approval-reason"), "agreed in INC-42");
        let seen = world.api_server.requests();
        let deleted = seen.iter().rfind(|seen| seen.method == "DELETE").unwrap();
        let extra = format!("{deleted:?}").to_lowercase();
        assert!(
            extra.contains("approved-by") && extra.contains("oscar"),
            "{extra}"
        );
    }
}

#[test]
fn a_no_is_told_with_its_reason_and_stands() {
    let world = world_with("", false);
    for version in KUBECTLS {
        let pod = format!("web-{}", version.name().replace('.', "-"));
        seed(&world, &pod);
        let waiting = delete(&world, version, Caller::Developer, &[&pod]).start();
        let question = asked(&world);
        let no = ["deny", id(&question), "--reason", "not during the sale"];
        approvals(&world, "oscar", &no).expect_code(0);
        let outcome = waiting.wait();
        outcome
            .expect_code(1)
            .expect_error("denied by \"oscar\": not during the sale");
        // It is not asked again.
        let again = delete(&world, version, Caller::Developer, &[&pod]).run();
        again.expect_code(1).expect_error("not during the sale");
        assert!(open(&world).is_empty() && exists(&world, &pod));
        assert_eq!(count(&world, "DELETE", &pod), 0);
    }
}

#[test]
fn whoever_left_or_whose_gateway_was_killed_runs_the_same_again_and_once() {
    let mut world = world_with("", false);
    for version in KUBECTLS {
        let pod = format!("web-{}", version.name().replace('.', "-"));
        seed(&world, &pod);
        let waiting = delete(&world, version, Caller::Developer, &[&pod]).start();
        let question = asked(&world);
        // The client leaves, and the gateway dies twice: with the question and with the answer.
        leave(waiting);
        world.kill_gateway();
        world.restart_gateway();
        for (caller, file) in [(Caller::OnCall, "oscar"), (Caller::Developer, "dora")] {
            world.write(file, &world.token(caller));
        }
        assert_eq!(asked(&world)["id"], question["id"]);
        approvals(&world, "oscar", &["approve", id(&question)]).expect_code(0);
        world.kill_gateway();
        world.restart_gateway();
        world.write("oscar", &world.token(Caller::OnCall));
        let outcome = delete(&world, version, Caller::Developer, &[&pod]).run();
        outcome.expect_code(0);
        assert!(!exists(&world, &pod));
        // Used up, also for a gateway that was killed since.
        seed(&world, &pod);
        world.kill_gateway();
        world.restart_gateway();
        world.write("oscar", &world.token(Caller::OnCall));
        let again = delete(&world, version, Caller::Developer, &[&pod]).start();
        let question = asked(&world);
        assert!(exists(&world, &pod));
        approvals(
            &world,
            "oscar",
            &["deny", id(&question), "--reason", "once is enough"],
        )
        .expect_code(0);
        again.wait().expect_code(1);
    }
}

#[test]
fn who_does_not_wait_is_told_what_to_do_and_another_body_is_another_question() {
    let world = world_with(", wait: 0s, expires: 20s", false);
    for version in KUBECTLS {
        let pod = format!("web-{}", version.name().replace('.', "-"));
        seed(&world, &pod);
        let refused = delete(&world, version, Caller::Developer, &[&pod]).run();
        let question = asked(&world);
        refused
            .expect_code(1)
            .expect_error("Error from server (Forbidden)")
            .expect_error(&format!(
                "portcullis approvals approve {} --server http",
                id(&question)
            ))
            .expect_error("run the same command again");
        approvals(&world, "oscar", &["approve", id(&question)]).expect_code(0);
        // The same command with another grace period has another body.
        let other = ["--grace-period=7", &pod];
        let refused = delete(&world, version, Caller::Developer, &other).run();
        refused
            .expect_code(1)
            .expect_error("holds this for approval");
        assert!(exists(&world, &pod));
        delete(&world, version, Caller::Developer, &[&pod])
            .run()
            .expect_code(0);
        assert_eq!(count(&world, "DELETE", &pod), 1);
        // The question that nobody answers ends by itself.
        let begun = tokio::time::Instant::now();
        while open(&world).iter().any(|open| open["state"] == "asked") {
            assert!(begun.elapsed() < Duration::from_secs(40));
        }
        let listed = approvals(&world, "oscar", &["ls", "--all"]);
        listed.expect("expired").expect("used");
    }
}

/// A request as an agent's program sends it: the code and the body of the answer.
fn call(world: &World, method: &str, target: &str, body: &str) -> (String, Value) {
    let outcome = Process::new(world.runtime(), "curl")
        .args([
            "-sS",
            "-k",
            "--max-time",
            "20",
            "-X",
            method,
            "-w",
            "\n%{http_code}",
        ])
        .args(["-H", "Content-Type: application/json", "-d", body])
        .args([
            "-H",
            &format!("Authorization: Bearer {}", world.token(Caller::Agent)),
        ])
        .args([&format!("{}{target}", world.url())])
        .run();
    world.check(&outcome);
    let (text, code) = outcome.stdout.rsplit_once('\n').unwrap();
    (code.to_owned(), serde_json::from_str(text).unwrap())
}

#[test]
fn an_agent_reads_what_it_waits_for_and_its_retry_passes_once() {
    let world = world_with("", false);
    seed(&world, "web");
    let target = format!("{PODS}/web");
    let (code, status) = call(&world, "DELETE", &target, "{}");
    assert_eq!(code, "403");
    let question = asked(&world);
    let details = &status["details"];
    let cause = |field: &str| {
        let causes = details["causes"].as_array().unwrap();
        let cause = causes.iter().find(|cause| cause["field"] == field).unwrap();
        assert_eq!(cause["reason"], "ApprovalRequired");
        cause["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(cause("approval.id"), id(&question));
    assert!(cause("approval.url").ends_with(&format!("/v1/approvals/{}", id(&question))));
    assert!(cause("approval.expires").parse::<jiff::Timestamp>().is_ok());
    assert!(
        details["retryAfterSeconds"]
            .as_u64()
            .is_some_and(|seconds| seconds > 0)
    );
    // Asking again is the same question; the agent may see it, and can neither answer nor pass.
    assert_eq!(call(&world, "DELETE", &target, "{}").0, "403");
    assert_eq!(asked(&world)["id"], question["id"]);
    approvals(&world, "agent", &["show", id(&question)]).expect("coding-assistant");
    // The human behind it does not answer either: it is asked for them.
    let own = approvals(&world, "dora", &["approve", id(&question)]);
    own.expect_error("nobody approves their own request");
    approvals(&world, "oscar", &["approve", id(&question)]).expect_code(0);
    // The human is not the agent: what was approved was the agent's request.
    let (code, _) = call(&world, "DELETE", &target, "{ }");
    assert_eq!(code, "403", "another body");
    assert_eq!(call(&world, "DELETE", &target, "{}").0, "200");
    seed(&world, "web");
    assert_eq!(call(&world, "DELETE", &target, "{}").0, "403");
    assert_eq!(count(&world, "DELETE", "web"), 1);
    // What could be read in two ways is asked nobody.
    let twice = r#"{"gracePeriodSeconds":0,"gracePeriodSeconds":30}"#;
    let (code, status) = call(&world, "DELETE", &target, twice);
    assert_eq!(code, "400", "{status}");
    // A yes is to the pod that was there, not to another that has its name since.
    seed(&world, "api");
    let held = || {
        let (code, status) = call(&world, "DELETE", &format!("{PODS}/api"), "{}");
        assert_eq!(code, "403");
        let causes = status["details"]["causes"].as_array().unwrap().iter();
        let mut ids = causes.filter(|cause| cause["field"] == "approval.id");
        ids.next().unwrap()["message"].as_str().unwrap().to_owned()
    };
    let of_the_first = held();
    approvals(&world, "oscar", &["approve", &of_the_first]).expect_code(0);
    world.api_server.delete("pods", "default", "api").unwrap();
    assert_ne!(held(), of_the_first, "nothing is there");
    seed(&world, "api");
    let of_the_second = held();
    assert_ne!(of_the_second, of_the_first);
    assert_eq!(count(&world, "DELETE", "api"), 0);
    approvals(&world, "oscar", &["approve", &of_the_second]).expect_code(0);
    let (code, _) = call(&world, "DELETE", &format!("{PODS}/api"), "{}");
    assert_eq!(code, "200");
}

#[test]
fn a_shell_is_asked_for_once_whichever_transport_it_takes() {
    for (version, spdy_only) in [
        (Kubectl::Old, false),
        (Kubectl::Current, false),
        (Kubectl::Current, true),
    ] {
        let world = world_with("", spdy_only);
        let pod = world.pod();
        // It is in no approval, no recording and no line of the audit log.
        let password = world.canaries.fresh();
        let script = "echo after the yes";
        let mut command = vec!["exec", &pod, "--", "sh", "-c", script];
        command.extend(["--password", &password]);
        let waiting = world
            .kubectl(version, Caller::Developer)
            .args(command)
            .start();
        let question = asked(&world);
        approvals(&world, "oscar", &["show", id(&question)])
            .expect("echo after the yes")
            .expect("argument   --password")
            .expect("argument   [masked:v1:")
            .expect("runs a command")
            .expect(&format!("Pod {pod}, made"))
            .expect("as service account")
            .expect("of image");
        approvals(&world, "oscar", &["approve", id(&question)]).expect_code(0);
        let outcome = waiting.wait();
        outcome.expect_code(0).expect("after the yes");
        let listed = approvals(&world, "oscar", &["ls", "--all", "-o", "json"]);
        let all: Vec<Value> = serde_json::from_str(&listed.stdout).unwrap();
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0]["state"], "used");
        let tape = world.next_tape(&mut Vec::new());
        assert_eq!(tape.summary["metadata"]["approvalId"], id(&question));
        let command = tape.summary["metadata"]["command"].as_array().unwrap();
        assert_eq!(command[3], "--password");
        assert!(command[4].as_str().unwrap().starts_with("[masked:v1:"));
        let mut events = world.audit().into_iter();
        let exec = events.rfind(|event| event["objectRef"]["subresource"] == "exec");
        let uri = exec.unwrap()["requestURI"].to_string();
        assert!(
            uri.contains("command=--password&command=[masked:v1:"),
            "{uri}"
        );
    }
}

#[test]
fn what_is_asked_over_both_transports_is_one_question_and_waited_for_once() {
    let world = world_with(", wait: 2s", false);
    let pod = world.pod();
    let begun = tokio::time::Instant::now();
    let refused = world
        .kubectl(Kubectl::Current, Caller::Developer)
        .args(["exec", &pod, "--", "echo", "no"])
        .run();
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    let question = asked(&world);
    refused
        .expect_code(1)
        .expect_error(&format!("portcullis approvals approve {}", id(&question)));
}

#[test]
fn an_inbox_shows_what_comes_and_a_class_is_admitted_until_that_is_taken_back() {
    let world = world_with(", sameClass: 10m", false);
    for pod in ["web-a", "web-b", "web-c"] {
        seed(&world, pod);
    }
    let url = world.control_url();
    let mut inbox = world
        .portcullis(&[
            "approvals",
            "watch",
            "--server",
            &url,
            "--token-file",
            "oscar",
        ])
        .start();
    inbox.wait_for("an empty inbox", |text| text.contains("nothing waits"));
    let waiting = delete(
        &world,
        Kubectl::Current,
        Caller::Developer,
        &["web-a", "web-b"],
    )
    .start();
    inbox.wait_for("the question", |text| {
        text.contains(&format!("DELETE {PODS}/web-a"))
    });
    let question = asked(&world);
    let wide = approvals(
        &world,
        "oscar",
        &["approve", id(&question), "--same-class", "11m"],
    );
    wide.expect_error("at most 10 minutes");
    approvals(
        &world,
        "oscar",
        &["approve", id(&question), "--same-class", "5m"],
    )
    .expect_code(0);
    waiting.wait().expect_code(0);
    assert!(!exists(&world, "web-a") && !exists(&world, "web-b"));
    inbox.wait_for("that it is gone", |text| text.contains("no longer waits"));
    approvals(
        &world,
        "oscar",
        &["deny", id(&question), "--reason", "that is all"],
    )
    .expect_code(0);
    let held = delete(&world, Kubectl::Current, Caller::Developer, &["web-c"]).start();
    assert_ne!(asked(&world)["id"], question["id"]);
    assert!(exists(&world, "web-c"));
    leave(held);
    leave(inbox);
}

#[test]
fn h_03_names_and_commands_that_play_tricks_are_shown_as_what_they_are() {
    let world = world_with(", wait: 0s", false);
    let target = format!("{PODS}/web?note=%1b%5B2Jx%E2%80%AEtxt");
    let outcome = Process::new(world.runtime(), "curl")
        .args([
            "-sS",
            "-k",
            "-X",
            "DELETE",
            "-H",
            "Kubectl-Command: kubectl get\u{9b}31m \u{202e}sdop",
        ])
        .args([
            "-H",
            &format!("Authorization: Bearer {}", world.token(Caller::Developer)),
        ])
        .args([&format!("{}{target}", world.url())])
        .run();
    outcome.expect("ApprovalRequired");
    let question = asked(&world);
    let shown = approvals(&world, "oscar", &["show", id(&question)]);
    let tricks = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!shown.stdout.contains(tricks), "{:?}", shown.stdout);
}

/// An agent does not wait, so its kubectl sends all of them: one question lists them, and the same command passes as
/// a whole. kubectl 1.20 does not say which command a request is from.
#[test]
fn what_one_kubectl_sends_is_one_question_and_its_retry_passes_as_a_whole() {
    let world = world_with("", false);
    for version in KUBECTLS {
        let pods = ["a", "b", "c"].map(|pod| format!("{pod}-{}", version.name().replace('.', "-")));
        for pod in &pods {
            seed(&world, pod);
        }
        let names: Vec<&str> = pods.iter().map(String::as_str).collect();
        let refused = delete(&world, version, Caller::Agent, &names).run();
        refused
            .expect_code(1)
            .expect_error("holds this for approval");
        let open = open(&world);
        let requests = |question: &Value| question["requests"].as_array().unwrap().len();
        let asked: Vec<usize> = open.iter().map(requests).collect();
        match version {
            Kubectl::Current => assert_eq!(asked, [3], "{open:?}"),
            Kubectl::Old => assert_eq!(asked, [1, 1, 1], "{open:?}"),
        }
        for question in &open {
            approvals(&world, "oscar", &["approve", id(question)]).expect_code(0);
        }
        delete(&world, version, Caller::Agent, &names)
            .run()
            .expect_code(0);
        for pod in &pods {
            assert!(!exists(&world, pod));
            assert_eq!(count(&world, "DELETE", pod), 1);
        }
    }
}

#[test]
fn what_one_command_sends_at_once_is_one_question_and_each_of_it_goes_on() {
    let world = world_with("", false);
    let mut waiting = Vec::new();
    for pod in ["web-a", "web-b", "web-c"] {
        seed(&world, pod);
        let client = Process::new(world.runtime(), "curl")
            .args([
                "-sS",
                "-k",
                "--max-time",
                "25",
                "-X",
                "DELETE",
                "-o",
                "/dev/null",
            ])
            .args(["-w", "%{http_code}", "-H", "Kubectl-Session: one"])
            .args([
                "-H",
                &format!("Authorization: Bearer {}", world.token(Caller::Developer)),
            ])
            .args([&format!("{}{PODS}/{pod}", world.url())])
            .start();
        waiting.push(client);
        asked(&world);
    }
    let requests = |question: &Value| question["requests"].as_array().unwrap().len();
    let question = loop {
        let question = asked(&world);
        if requests(&question) == 3 {
            break question;
        }
    };
    let blind = approvals(
        &world,
        "oscar",
        &["approve", id(&question), "--requests", "2"],
    );
    blind.expect_error("has 3 requests by now and you saw 2");
    approvals(&world, "oscar", &["approve", id(&question)]).expect_code(0);
    for client in waiting {
        client.wait().expect_code(0).expect("200");
    }
}
