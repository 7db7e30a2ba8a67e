//! The recorder does not work: what must be recorded does not run, what need not be goes on.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::process::Running;
use crate::support::world::{Caller, KUBECTLS, Kubectl, Options, POLICY, Workshop, World};

/// Numbered lines without end, a kilobyte each.
const ENDLESS: &str = "pad=$(yes | head -c 1000 | tr '\\n' -); i=0; while true; do i=$((i+1)); echo line-$i $pad; done";

fn best_effort() -> String {
    let policy = POLICY.replace("record: required", "record: best-effort");
    assert_ne!(policy, POLICY);
    policy
}

/// A world in which a file stands where recordings should go: since the start, which it would prevent.
pub(crate) fn without_folder(policy: Option<String>) -> World {
    let options = Options {
        policy,
        ..Options::default()
    };
    let world = World::start_with(Workshop::new().into(), &options);
    let folder = world.path("data/recordings");
    if folder.exists() {
        std::fs::remove_dir(&folder).unwrap();
    }
    std::fs::write(&folder, "not a folder").unwrap();
    world
}

/// A world in which no file grows beyond a megabyte or so, as when the disk is full.
fn with_full_disk(policy: Option<String>) -> World {
    let options = Options {
        policy,
        file_bytes_max: Some(1 << 20),
        ..Options::default()
    };
    World::start_with(Workshop::new().into(), &options)
}

fn endless(world: &World, version: Kubectl, pod: &str) -> Running {
    let exec = ["exec", pod, "--", "sh", "-c", ENDLESS];
    world.kubectl(version, Caller::Developer).args(exec).start()
}

/// The audit event of the last session's end.
fn end_of_session(world: &World) -> Value {
    let is_end = |event: &Value| {
        event["objectRef"]["subresource"] == "exec" && event["stage"] == "ResponseComplete"
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(event) = world.audit().into_iter().rfind(is_end) {
            return event;
        }
        assert!(tokio::time::Instant::now() < deadline, "no end");
        world.gateway().pause();
    }
}

/// What the metrics say has failed, over all reasons.
fn failures(world: &World) -> u64 {
    let metrics = world.control("/metrics");
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("portcullis_recording_failures_total"));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// The session ended because it could no longer be recorded, and everybody was told.
#[track_caller]
fn expect_unrecorded_end(world: &World, session: Running) {
    let outcome = session.wait();
    assert_ne!(outcome.code, 0, "{}", outcome.stderr);
    outcome.expect_error("must be recorded and no longer can be");
    let end = end_of_session(world);
    assert_eq!(
        end["annotations"]["portcullis.dev/ended"], "recorder-failed",
        "{end}"
    );
    let why = &end["annotations"]["portcullis.dev/recording-failure"];
    assert!(why.is_string(), "{end}");
    assert!(failures(world) > 0);
}

#[test]
fn e15_without_a_recorder_there_is_no_session() {
    // Nobody is asked for a yes to what could not begin after it.
    let held = r#"
- name: attaching
  subjects: {groups: [developers]}
  verbs: [create]
  apiGroups: [""]
  resources: [pods/attach]
  decision: hold
  hold: {approvers: {groups: [on-call]}}
- name: agents-open-no-sessions"#;
    let policy = POLICY.replacen("\n- name: agents-open-no-sessions", held, 1);
    let world = without_folder(Some(policy));
    let pod = world.pod();
    for version in KUBECTLS {
        for args in [
            &["exec", &pod, "--", "echo", "never"][..],
            &["attach", &pod],
            &["cp", &format!("{pod}:/etc/hostname"), "copied"],
        ] {
            let refused = world.run(version, Caller::Developer, args);
            assert_ne!(refused.code, 0, "{refused}");
            refused.expect_error("the gateway's recorder does not work");
            assert_eq!(refused.stdout, "", "{refused}");
        }
    }
    let all = [
        "approvals",
        "ls",
        "--all",
        "-o",
        "json",
        "--data-dir",
        "data",
    ];
    let asked = world.portcullis(&all).run();
    assert_eq!(asked.expect_code(0).stdout.trim(), "[]");
    let opened = world.audit().into_iter().filter(|event| {
        event["objectRef"]["subresource"].is_string() && event["responseStatus"]["code"] == 101
    });
    assert_eq!(opened.count(), 0, "a session began");
    let refused = world
        .audit()
        .into_iter()
        .filter(|event| event["responseStatus"]["code"] == 503);
    assert!(refused.count() >= 6);
}

#[test]
fn e15_a_best_effort_session_goes_on_without_a_recorder_and_is_counted() {
    let world = without_folder(Some(best_effort()));
    let pod = world.pod();
    for (version, count) in KUBECTLS.into_iter().zip(1..) {
        let outcome = world.run(
            version,
            Caller::Developer,
            &["exec", &pod, "--", "echo", "went on"],
        );
        outcome.expect_code(0).expect("went on");
        let end = end_of_session(&world);
        let why = &end["annotations"]["portcullis.dev/recording-failure"];
        assert!(why.is_string(), "{end}");
        assert_eq!(failures(&world), count);
    }
}

#[test]
fn e15_a_full_disk_ends_the_session_and_tells_its_user() {
    for version in KUBECTLS {
        let world = with_full_disk(None);
        let pod = world.pod();
        let session = endless(&world, version, &pod);
        expect_unrecorded_end(&world, session);
    }
}

#[test]
fn e15_a_full_disk_does_not_end_a_best_effort_session() {
    let world = with_full_disk(Some(best_effort()));
    let pod = world.pod();
    let before = failures(&world);
    for version in KUBECTLS {
        let cat = ["exec", &pod, "--", "head", "-c", "5000000", "/dev/zero"];
        let outcome = world.run(version, Caller::Developer, &cat);
        outcome.expect_code(0);
        assert_eq!(outcome.stdout.len(), 5_000_000);
    }
    assert_eq!(failures(&world), before + 2);
}

#[test]
fn e15_a_folder_that_goes_away_in_the_middle_ends_the_session() {
    let options = Options {
        recording: json!({"partBytes": 1 << 20}),
        ..Options::default()
    };
    let world = World::start_with(Workshop::new().into(), &options);
    let pod = world.pod();
    for version in KUBECTLS {
        let mut session = endless(&world, version, &pod);
        session.wait_for("output", |text| text.contains("line-1 "));
        let folder = world.path("data/recordings");
        std::fs::rename(&folder, world.path("data/elsewhere")).unwrap();
        std::fs::write(&folder, "not a folder").unwrap();
        expect_unrecorded_end(&world, session);
        std::fs::remove_file(&folder).unwrap();
        std::fs::rename(world.path("data/elsewhere"), &folder).unwrap();
    }
}

#[test]
fn nobody_gets_rid_of_a_required_recording_by_filling_it() {
    let options = Options {
        recording: json!({"maxBytes": 1 << 20, "partBytes": 1 << 20}),
        ..Options::default()
    };
    let world = World::start_with(Workshop::new().into(), &options);
    let pod = world.pod();
    let mut seen = Vec::new();
    for version in KUBECTLS {
        let mut shell = world
            .kubectl(version, Caller::Developer)
            .args(["exec", "-i", &pod, "--", "sh"])
            .interactive()
            .start();
        shell.type_in("head -c 3000000 /dev/zero; echo unseen\n");
        let outcome = shell.wait();
        assert_ne!(outcome.code, 0, "{}", outcome.stderr);
        outcome.expect_error("has reached its cap of 1048576 bytes (recording.maxBytes");
        assert!(!outcome.stdout.contains("unseen"), "it went on");
        let tape = world.next_tape(&mut seen);
        let told = |key: &str| tape.summary[key].clone();
        assert_eq!(
            (told("reason"), told("capped")),
            ("recording-full".into(), true.into()),
            "{}",
            tape.summary
        );
        assert!(told("detail").to_string().contains("has reached its cap"));
    }
}

#[test]
fn a_session_ends_when_a_new_policy_wants_it_on_tape() {
    let unrecorded = POLICY.replace("  record: required\n", "  decision: allow\n");
    assert_ne!(unrecorded, POLICY);
    let options = Options {
        policy: Some(unrecorded.clone()),
        ..Options::default()
    };
    let world = World::start_with(Workshop::new().into(), &options);
    let pod = world.pod();
    let mut sessions = KUBECTLS.map(|version| {
        let mut cat = world
            .kubectl(version, Caller::Developer)
            .args(["exec", "-i", &pod, "--", "cat"])
            .interactive()
            .start();
        cat.type_in("unrecorded\n");
        cat.wait_for("the echo", |text| text.contains("unrecorded"));
        cat
    });
    // A policy that wants nothing more of these sessions leaves them alone.
    let renamed = unrecorded.replace("name: people-do-everything", "name: people-do-all");
    assert_ne!(renamed, unrecorded);
    world.write("policy.yaml", &renamed);
    for cat in &mut sessions {
        cat.wait_for("the reload", |_| {
            world
                .gateway()
                .stderr()
                .contains("a new policy is in force")
        });
        cat.type_in("still here\n");
        cat.wait_for("the echo", |text| text.contains("still here"));
    }
    world.write("policy.yaml", POLICY);
    for cat in sessions {
        let outcome = cat.wait();
        assert_ne!(outcome.code, 0, "{outcome}");
        outcome.expect_error("the policy changed and no longer allows this session");
    }
    let end = end_of_session(&world);
    assert_eq!(
        end["annotations"]["portcullis.dev/ended"], "policy-changed",
        "{end}"
    );
}
