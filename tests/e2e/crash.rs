//! The gateway is killed in the middle of a session.

use std::time::Duration;

use portcullis::wire::asciicast::OUTPUT;
use serde_json::Value;

use crate::support::tape::events_of;
use crate::support::world::{Caller, KUBECTLS, Kubectl, World};

/// What a `kill -9` may cost.
const AT_RISK: Duration = Duration::from_secs(1);

/// The number in the last whole `line-N` of a text.
fn last_line(text: &str) -> u64 {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let last = whole
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("line-"));
    last.map_or(0, |number| number.parse().unwrap())
}

/// The one file of recordings that ends like this and was not there before.
fn recording(world: &World, seen: &[String]) -> String {
    let found = world
        .shell(
            KUBECTLS[0],
            Caller::OnCall,
            "find data/recordings -name '*.cast'",
        )
        .run();
    let mut new = found
        .stdout
        .lines()
        .filter(|path| !seen.iter().any(|old| old == path));
    let path = new.next().expect("a recording").to_owned();
    assert_eq!(new.next(), None, "{found}");
    path
}

#[test]
fn a_killed_gateway_loses_at_most_the_last_second_of_a_session() {
    let mut world = World::start();
    let pod = world.pod();
    let mut seen = Vec::new();
    for version in KUBECTLS {
        let script = "i=0; while true; do i=$((i+1)); echo line-$i; sleep 0.02; done";
        let mut shell = world
            .kubectl(version, Caller::Developer)
            .args(["exec", &pod, "--", "sh", "-c", script])
            .start();
        shell.wait_for("some lines", |text| last_line(text) > 100);
        let before = last_line(&shell.stdout());
        let now = tokio::time::Instant::now();
        shell.wait_for("a second to pass", |_| now.elapsed() >= AT_RISK);
        world.kill_gateway();
        let outcome = shell.wait();
        // Over SPDY kubectl takes a connection that is gone for success, also without a gateway.
        assert!(outcome.code != 0 || version == Kubectl::Old, "{outcome}");

        let path = recording(&world, &seen);
        seen.push(path.clone());
        let id = path.rsplit('/').next().unwrap().trim_end_matches(".cast");
        let replayed = || {
            let replay = ["replay", "--text", id, "--data-dir", "data"];
            let replayed = world.portcullis(&replay).run();
            replayed.expect_code(0);
            last_line(&replayed.stdout)
        };
        let on_tape = replayed();
        eprintln!(
            "{}: line {before} was a second old, line {on_tape} is on tape",
            version.name()
        );
        assert!(
            before <= on_tape,
            "line {before} was a second old, but {on_tape} is the last on tape"
        );

        world.restart_gateway();
        let sidecar = world.path(&path.replace(".cast", ".json"));
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while !sidecar.exists() {
            assert!(tokio::time::Instant::now() < deadline, "it was not sealed");
            world.gateway().pause();
        }
        let summary: Value = serde_json::from_slice(&std::fs::read(&sidecar).unwrap()).unwrap();
        assert_eq!(summary["truncated"], true, "{summary}");
        assert_eq!(summary["metadata"]["pod"], pod.as_str(), "{summary}");
        let events = events_of(&world.read(&path));
        assert_eq!(summary["events"], events.len(), "every line is whole");
        let shown: String = events
            .into_iter()
            .filter(|event| event.code == OUTPUT)
            .map(|event| event.data)
            .collect();
        assert_eq!(last_line(&shown), on_tape);
        let replay = ["replay", "--text", id, "--data-dir", "data"];
        let replayed = world.portcullis(&replay).run();
        replayed.expect_code(0).expect_error("truncated");
        assert_eq!(last_line(&replayed.stdout), on_tape);
    }
    the_audit_log_proves(&world);
    the_audit_log_tells_of_commands(&world);
}

/// Each shell is a command of its own, and told once, whether it saw its end or not.
fn the_audit_log_tells_of_commands(world: &World) {
    let list = [
        "audit",
        "ls",
        "--data-dir",
        "data",
        "--verb",
        "get",
        "-o",
        "json",
    ];
    let listed = world.portcullis(&list).run();
    listed.expect_code(0);
    let commands: Value = serde_json::from_str(&listed.stdout).unwrap();
    let shells: Vec<&Value> = commands
        .as_array()
        .unwrap()
        .iter()
        .filter(|command| command["claimedCommand"] == "kubectl exec")
        .collect();
    let [shell] = shells.as_slice() else {
        panic!("{commands:#}");
    };
    assert!(
        shell["requests"].to_string().contains("pods/exec"),
        "{shell}"
    );
    let id = shell["id"].as_str().unwrap();
    let show = ["audit", "show", id, "--data-dir", "data"];
    let shown = world.portcullis(&show).run();
    shown
        .expect_code(0)
        .expect("kubectl exec")
        .expect("pods/exec");
}

/// By our own program and by the one in the documentation, over all runs and kills.
fn the_audit_log_proves(world: &World) {
    let key = world
        .portcullis(&["audit", "key", "--data-dir", "data"])
        .run();
    key.expect_code(0).expect("BEGIN PUBLIC KEY");
    world.write("audit.pub", &key.stdout);
    let verify = [
        "audit",
        "verify",
        "--data-dir",
        "data",
        "--key",
        "audit.pub",
    ];
    world
        .portcullis(&verify)
        .run()
        .expect_code(0)
        .expect("verified: ");

    let page = include_str!("../../docs/audit.md");
    let (_, rest) = page.split_once("```python\n").unwrap();
    world.write("verify.py", rest.split_once("```").unwrap().0);
    let python = |log: &str| {
        let script = format!("python3 verify.py {log} audit.pub");
        world.shell(KUBECTLS[0], Caller::OnCall, &script).run()
    };
    python("data/audit.jsonl").expect_code(0).expect("verified");
    let text = world.read("data/audit.jsonl");
    world
        .shell(KUBECTLS[0], Caller::OnCall, "cp -r data copy")
        .run();
    world.write("copy/audit.jsonl", &text.replacen("allow", "alloW", 1));
    let flawed = python("copy/audit.jsonl");
    assert_eq!(flawed.code, 1, "{flawed}");
    let own = ["audit", "verify", "copy/audit.jsonl", "--key", "audit.pub"];
    world
        .portcullis(&own)
        .run()
        .expect_code(1)
        .expect("it does not follow");
}
