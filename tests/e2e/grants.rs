//! Roles that are asked for ahead of time: what they allow, and that it ends with them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::support::process::Outcome;
use crate::support::world::{Caller, KUBECTLS, Options, POLICY, Workshop, World};

/// The usual policy, where shells in `default` need a role that on-call gives.
fn world() -> World {
    let rules = r#"
- name: by-role
  subjects: {roles: [debug-prod]}
  verbs: [create]
  apiGroups: [""]
  resources: [pods/exec]
  namespaces: [default]
  decision: allow
- name: shells
  subjects: {groups: [developers]}
  verbs: [create]
  apiGroups: [""]
  resources: [pods/exec]
  decision: deny
  message: shells are for whoever debugs
- name: agents-open-no-sessions"#;
    let roles = r"
roles:
- {name: debug-prod, subjects: {users: [dora, oscar]}, approvers: {groups: [on-call]}, longest: 2h}
rules:";
    let options = Options {
        policy: Some(
            POLICY
                .replacen("\n- name: agents-open-no-sessions", rules, 1)
                .replacen("\nrules:", roles, 1),
        ),
        ..Options::default()
    };
    let world = World::start_with(Arc::new(Workshop::new()), &options);
    tokens(&world);
    world
}

fn tokens(world: &World) {
    for (caller, file) in [
        (Caller::OnCall, "oscar"),
        (Caller::Developer, "dora"),
        (Caller::Agent, "agent"),
    ] {
        world.write(file, &world.token(caller));
    }
}

/// A command with somebody's token.
fn run(world: &World, token: &str, args: &[&str]) -> Outcome {
    let url = world.control_url();
    let there = ["--server", &url, "--token-file", token];
    let outcome = world.portcullis(&[args, &there[..]].concat()).run();
    world.check(&outcome);
    outcome
}

fn ask(world: &World, token: &str, time: &str) -> Outcome {
    let args = [
        "request",
        "--role",
        "debug-prod",
        "--for",
        time,
        "--reason",
        "INC-42",
        "-o",
        "json",
    ];
    run(world, token, &args)
}

fn annotation(event: &Value, key: &str) -> String {
    let value = &event["annotations"][format!("portcullis.dev/{key}")];
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one role's story")]
fn a_role_is_asked_for_given_used_and_taken_away() {
    let mut world = world();
    let pod = world.pod();
    for (round, version) in KUBECTLS.into_iter().enumerate() {
        // What is denied names the role that would help, and how to ask for it.
        let exec = ["exec", "-i", &pod, "--", "cat"];
        let command = "portcullis request --role debug-prod --for 1h --reason WHY --server http";
        world
            .run(version, Caller::Developer, &exec)
            .expect_code(1)
            .expect_error("shells are for whoever debugs")
            .expect_error(command);
        let can_i = [
            "auth",
            "can-i",
            "create",
            "pods",
            "--subresource=exec",
            "-n",
            "default",
        ];
        world
            .run(version, Caller::Developer, &can_i)
            .expect_code(1)
            .expect("no - ")
            .expect(command);
        let agents = world.run(version, Caller::Agent, &can_i);
        assert!(!agents.stdout.contains("request --role"), "{agents}");

        // Not for longer than the role is given, and not by whom it does not name.
        ask(&world, "dora", "3h")
            .expect_code(2)
            .expect_error("10s to 2h");
        ask(&world, "agent", "1h")
            .expect_code(2)
            .expect_error("may ask for");
        let asked = ask(&world, "dora", "1h");
        asked.expect_code(0);
        let asked: Value = serde_json::from_str(&asked.stdout).unwrap();
        let id = asked["id"].as_str().unwrap();
        let shown = run(&world, "oscar", &["approvals", "show", id]);
        shown.expect("debug-prod").expect("1h").expect("INC-42");
        for token in ["dora", "agent"] {
            let refused = run(&world, token, &["approvals", "approve", id]);
            assert_ne!(refused.code, 0, "{refused}");
        }
        world.run(version, Caller::Developer, &exec).expect_code(1);
        run(
            &world,
            "oscar",
            &["approvals", "approve", id, "--reason", "go"],
        )
        .expect_code(0)
        .expect("has the role until");

        world
            .run(version, Caller::Developer, &can_i)
            .expect_code(0)
            .expect("yes");
        if round == 0 {
            // A gateway that was killed has forgotten nothing.
            world.kill_gateway();
            world.restart_gateway();
            tokens(&world);
        }
        let mut shell = world
            .kubectl(version, Caller::Developer)
            .args(exec)
            .interactive()
            .start();
        shell.type_in("open\n");
        shell.wait_for("the echo", |text| text.contains("open"));
        let seen = world.api_server.requests();
        let sent = seen
            .iter()
            .rfind(|seen| seen.uri.path().ends_with("/exec"))
            .map(|seen| format!("{seen:?}").to_lowercase())
            .unwrap();
        for (key, value) in [
            ("grant", id),
            ("role", "debug-prod"),
            ("granted-by", "oscar"),
        ] {
            let header = format!("impersonate-extra-portcullis.dev%2f{key}");
            assert!(
                sent.contains(&header) && sent.contains(value),
                "{header}: {sent}"
            );
        }

        let listed = run(&world, "dora", &["grants", "ls", "-o", "json"]);
        let listed: Vec<Value> = serde_json::from_str(&listed.stdout).unwrap();
        assert_eq!(
            (listed.len(), &listed[0]["state"]),
            (1, &Value::from("approved"))
        );
        let others = run(&world, "agent", &["grants", "ls", "--all", "-o", "json"]);
        others.expect("[]");
        run(&world, "agent", &["grants", "revoke", id, "--reason", "x"])
            .expect_code(2)
            .expect_error("that you may see");
        run(
            &world,
            "oscar",
            &["grants", "revoke", id, "--reason", "INC-42 is over"],
        )
        .expect_code(0)
        .expect("revoked");
        let over = shell.wait();
        over.expect_error("the approval or role that opened this session");
        world.check(&over);
        world.run(version, Caller::Developer, &exec).expect_code(1);
        expect_ended_at_once(&world, id);
    }
}

/// The shell is on record with its grant, and ended within a second of the call that took the role away.
#[track_caller]
fn expect_ended_at_once(world: &World, id: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let at =
        |event: &Value| -> Timestamp { event["stageTimestamp"].as_str().unwrap().parse().unwrap() };
    loop {
        let events = world.audit();
        let revoked = format!("/v1/grants/{id}/revoke");
        let taken = events
            .iter()
            .rfind(|event| {
                event["requestURI"] == revoked.as_str() && event["responseStatus"]["code"] == 200
            })
            .expect("the call");
        let ended = events.iter().rfind(|event| {
            annotation(event, "grant") == id && annotation(event, "ended") == "approval-ended"
        });
        if let Some(ended) = ended {
            let took = at(ended).duration_since(at(taken)).as_secs_f64();
            assert!(took < 1.0, "after {took} s: {ended}");
            assert_eq!(annotation(ended, "role"), "debug-prod");
            assert_eq!(annotation(ended, "granted-by"), "oscar");
            assert_eq!(annotation(ended, "grant-reason"), "INC-42");
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the shell did not end"
        );
        world.gateway().pause();
    }
}
