//! Operators: who lists sessions, watches them and ends them.

use std::time::Duration;

use serde_json::Value;

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
