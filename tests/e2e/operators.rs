//! Operators: who lists sessions, watches them and ends them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::world::{Caller, KUBECTLS, World};

fn open_sessions(world: &World, place: &[&str]) -> Vec<Value> {
    let args = [&["sessions", "ls", "--live", "-o", "json"], place].concat();
    let listed = world.portcullis(&args).run();
    listed.expect_code(0);
    world.check(&listed);
    serde_json::from_str(&listed.stdout).unwrap()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one session's story, told twice")]
fn an_operator_watches_a_session_and_ends_it_and_its_user_reads_why() {
    let world = World::start();
    let pod = world.pod();
    world.write("token", &world.token(Caller::OnCall));
    let url = world.control_url();
    let here = ["--data-dir", "data"];
    let there = ["--server", url.as_str(), "--token-file", "token"];
    for (version, place, operator) in [
        (KUBECTLS[0], &here[..], "local"),
        (KUBECTLS[1], &here[..], "local"),
        (KUBECTLS[1], &there[..], "oscar"),
    ] {
        let mut cat = world
            .kubectl(version, Caller::Developer)
            .args(["exec", "-i", &pod, "--", "cat"])
            .interactive()
            .start();
        cat.type_in("first\n");
        cat.wait_for("the echo", |text| text.contains("first"));
        let open = open_sessions(&world, place);
        assert_eq!(open.len(), 1, "{open:?}");
        let id = open[0]["id"].as_str().unwrap();
        let (beginning, _) = id.split_at(18);
        assert_eq!(
            (&open[0]["user"], &open[0]["pod"]),
            (&"dora".into(), &pod.as_str().into())
        );

        let mut tail = world
            .portcullis(&[&["sessions", "tail", beginning], place].concat())
            .start();
        let followed = || times_followed(&world, id);
        while followed() == 0 {
            tail.pause();
        }
        cat.type_in("second\n");
        tail.wait_for("what is typed now", |text| text.contains("second"));

        let ordered = tokio::time::Instant::now();
        let kill = [
            "sessions",
            "kill",
            beginning,
            "--reason",
            "the incident is over",
        ];
        world
            .portcullis(&[&kill[..], place].concat())
            .run()
            .expect_code(0);
        let outcome = cat.wait_at_most(Duration::from_secs(10));
        let took = ordered.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}"); // the programs' own start included
        assert_ne!(outcome.code, 0, "{outcome}");
        outcome.expect_error("the incident is over");
        world.check(&outcome);
        let seen = tail.wait_at_most(Duration::from_secs(10));
        seen.expect_code(0);
        assert!(!seen.stdout.contains("first"), "it was before: {seen}");

        let shown = world
            .portcullis(&[&["sessions", "show", beginning, "-o", "json"], place].concat())
            .run();
        let session: Value = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!(session["verdict"], "killed", "{session}");
        let events = world.audit();
        let note = |event: &Value, name: &str| {
            event["annotations"][&format!("portcullis.dev/{name}")].clone()
        };
        let end = events
            .iter()
            .rfind(|event| event["auditID"] == id && event["stage"] == "ResponseComplete")
            .expect("the end of the session");
        assert_eq!(note(end, "killed-by"), operator);
        assert_eq!(note(end, "kill-reason"), "the incident is over");
        let call = events
            .iter()
            .rfind(|event| event["requestURI"] == format!("/v1/sessions/{id}/kill"))
            .expect("the operator's call");
        assert_eq!(note(call, "kill-reason"), "the incident is over");
    }
    let killed = ["sessions", "ls", "--verdict", "killed", "-o", "json"];
    let listed = world.portcullis(&[&killed[..], &here].concat()).run();
    let list: Vec<Value> = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(list.len(), 3, "{listed}");
    let found = world
        .portcullis(&["sessions", "search", "second", "--data-dir", "data"])
        .run();
    found.expect_code(0);
    assert_eq!(found.stdout.lines().count(), 3, "{found}");
}

/// How many follow a session, as its gateway says.
fn times_followed(world: &World, id: &str) -> usize {
    let events = world.audit();
    let target = format!("/v1/sessions/{id}/live");
    events
        .iter()
        .filter(|event| event["requestURI"] == target)
        .count()
}

/// What `portcullis audit` says of what the developer did, read from the files and asked of the gateway.
fn audit_here_and_there(world: &World, args: &[&str]) -> [Value; 2] {
    let url = world.control_url();
    let there = ["--server", url.as_str(), "--token-file", "token"];
    [&["--data-dir", "data"][..], &there].map(|place| {
        let said = world
            .portcullis(&[&["audit"], args, &["-o", "json"], place].concat())
            .run();
        said.expect_code(0);
        world.check(&said);
        serde_json::from_str(&said.stdout).unwrap()
    })
}

#[test]
fn an_operator_reads_the_audit_log_from_afar_as_it_is_in_its_files_and_follows_it() {
    let world = World::start();
    let pod = world.pod();
    world.write("token", &world.token(Caller::OnCall));
    for version in KUBECTLS {
        let get = ["get", "pod", &pod, "-o", "name"];
        world.run(version, Caller::Developer, &get).expect_code(0);
    }
    let delete = ["delete", "secret", "none"];
    world
        .run(KUBECTLS[1], Caller::Agent, &delete)
        .expect_code(1);

    for args in [
        &["ls", "--user", "dora"][..],
        &["ls", "--user", "dora", "--requests"],
        &["ls", "--user", "dora", "--limit", "1"],
        &["ls", "--agent", "coding-assistant", "--decision", "deny"],
        &["ls", "--verb", "get", "--namespace", "default"],
        &["ls", "--user", "n o/b&dy"],
    ] {
        let [here, there] = audit_here_and_there(&world, args);
        assert_eq!(here, there, "{args:?}");
        assert_eq!(here == json!([]), args.contains(&"n o/b&dy"), "{args:?}");
    }
    let [denied, _] = audit_here_and_there(&world, &["ls", "--decision", "deny"]);
    assert_eq!(denied.as_array().map(Vec::len), Some(1), "{denied}");
    let id = denied[0]["id"].as_str().unwrap();
    let (beginning, _) = id.split_at(18);
    for id in [id, beginning] {
        let [here, there] = audit_here_and_there(&world, &["show", id]);
        assert_eq!(here, there);
        assert_eq!(here["requests"][0]["verb"], "delete", "{here}");
    }

    let url = world.control_url();
    let there = ["--server", url.as_str(), "--token-file", "token"];
    let tail = ["audit", "tail", "--user", "dora", "--verb", "delete"];
    let mut tail = world.portcullis(&[&tail[..], &there].concat()).start();
    let follows = |event: &Value| {
        let uri = event["requestURI"].as_str().unwrap_or_default();
        uri.starts_with("/v1/audit/events?follow=true")
    };
    while !world.audit().iter().any(follows) {
        tail.pause();
    }
    world
        .run(KUBECTLS[1], Caller::Agent, &delete)
        .expect_code(1);
    let seen = tail.wait_for("what is denied now", |text| {
        text.contains("delete secrets none")
    });
    assert!(seen.contains("deny") && seen.contains("dora (coding-assistant)"));
    assert_eq!(seen.lines().count(), 1, "only what is now: {seen}");
    // Whoever is shut out follows nothing.
    let block = ["callers", "block", "oscar", "--reason", "INC-42"];
    let block = [&block[..], &["--data-dir", "data"]].concat();
    world.portcullis(&block).run().expect_code(0);
    let ended = tail.wait_at_most(Duration::from_secs(20));
    ended.expect_code(2).expect_error("broke off");
}

#[test]
fn whoever_is_no_operator_sees_nothing_of_the_audit_log() {
    let world = World::start();
    let url = world.control_url();
    let there = ["--server", url.as_str(), "--token-file", "token"];
    for caller in [Caller::Developer, Caller::Agent] {
        world.write("token", &world.token(caller));
        for args in [
            &["audit", "ls"][..],
            &["audit", "show", "0199"],
            &["audit", "tail"],
            &["replay", "--caller", "oscar"],
        ] {
            let said = world.portcullis(&[args, &there].concat()).run();
            said.expect_code(2).expect_error("not an operator");
            assert_eq!(said.stdout, "", "{args:?}");
        }
    }
}

#[test]
fn whoever_is_no_operator_sees_no_session() {
    let world = World::start();
    let pod = world.pod();
    world
        .run(
            KUBECTLS[1],
            Caller::Developer,
            &["exec", &pod, "--", "true"],
        )
        .expect_code(0);
    for caller in [Caller::Developer, Caller::Agent] {
        world.write("token", &world.token(caller));
        let url = world.control_url();
        let listed = world
            .portcullis(&["sessions", "ls", "--server", &url, "--token-file", "token"])
            .run();
        listed.expect_code(2).expect_error("not an operator");
        assert_eq!(listed.stdout, "");
    }
}
