//! Sessions: exec, attach, cp, port-forward and logs, over SPDY (kubectl 1.20) and WebSocket (the current one).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::support::process::{Outcome, Process};
use crate::support::world::{Caller, KUBECTLS, Kubectl, Options, Workshop, World, tool};

#[test]
fn exec_passes_output_errors_and_the_exit_code() {
    let world = World::start();
    let pod = world.pod();
    for version in KUBECTLS {
        let script = "echo to-out; echo to-err >&2; exit 7";
        let outcome = world.run(
            version,
            Caller::Developer,
            &["exec", &pod, "--", "sh", "-c", script],
        );
        outcome.expect_code(7).expect_error("to-err");
        assert_eq!(outcome.stdout, "to-out\n", "{outcome}");
        let outcome = world.run(version, Caller::Developer, &["exec", &pod, "--", "true"]);
        outcome.expect_code(0);
    }
}

#[test]
fn exec_passes_input_and_its_end() {
    let world = World::start();
    let pod = world.pod();
    // More than any window, with every byte value.
    let input: Vec<u8> = (0..1_000_000_u32)
        .map(|number| number.to_le_bytes()[0] ^ number.to_le_bytes()[1])
        .collect();
    let file = world.path("input");
    std::fs::write(&file, &input).unwrap();
    for version in KUBECTLS {
        let cat = world
            .kubectl(version, Caller::Developer)
            .args(["exec", "-i", &pod, "--", "cat"]);
        let outcome = cat.input("first\nlast without a newline").run();
        outcome.expect_code(0);
        assert_eq!(outcome.stdout, "first\nlast without a newline", "{outcome}");

        let kubectl = tool(version.name()).join("kubectl");
        let line = format!(
            "{} exec -i {pod} -- cat < {} | cmp - {}",
            kubectl.display(),
            file.display(),
            file.display()
        );
        let outcome = world.shell(version, Caller::Developer, &line).run();
        outcome.expect_code(0);
    }
}

#[test]
fn a_terminal_is_a_terminal() {
    let world = World::start();
    let pod = world.pod();
    for version in KUBECTLS {
        let kubectl = tool(version.name()).join("kubectl");
        // util-linux `script` gives kubectl a terminal of its own.
        let line = format!(
            "script -qec '{} exec -it {pod} -- sh' /dev/null",
            kubectl.display()
        );
        let mut shell = world
            .shell(version, Caller::Developer, &line)
            .interactive()
            .start();
        shell.wait_for("a prompt", |text| {
            text.ends_with("# ") || text.ends_with("$ ")
        });
        shell.type_in("echo one-$((20+22))-two\n");
        shell.wait_for("the command's output", |text| text.contains("one-42-two"));
        shell.type_in("exit 3\n");
        let outcome = shell.wait();
        world.check(&outcome);
        outcome.expect_code(3);
    }
}

#[test]
fn attach_shows_what_the_container_prints() {
    let world = World::start();
    let pod = world.pod();
    for version in KUBECTLS {
        let mut attach = world
            .kubectl(version, Caller::Developer)
            .args(["attach", &pod])
            .start();
        attach.wait_for("two lines", |text| text.lines().count() >= 2);
        world.check(&attach.interrupt());
    }
}

/// `kubectl run` creates a pod, attaches to it, and exits as its main process did.
#[test]
fn run_ends_with_the_pod_and_its_exit_code() {
    let world = World::start();
    for version in KUBECTLS {
        let run = |script: &str| {
            world.kubectl(version, Caller::Developer).args([
                "run",
                "tmp",
                "--rm",
                "-i",
                "--restart=Never",
                "--image=busybox",
                "--",
                "sh",
                "-c",
                script,
            ])
        };
        let says = |outcome: &Outcome, line: &str| {
            world.check(outcome);
            assert!(outcome.stdout.lines().any(|it| it == line), "{outcome}");
        };
        let good = run("echo hi").run();
        says(good.expect_code(0), "hi");
        let failed = run("echo bye; exit 3").run();
        says(failed.expect_code(3), "bye");
        let typed = run("while read line; do echo got $line; done")
            .input("one\ntwo\n")
            .run();
        says(typed.expect_code(0), "got two");

        // util-linux `script` gives kubectl a terminal of its own.
        let line = format!(
            "script -qec '{} run tmp --rm -it --restart=Never --image=busybox -- sh -c \"tty; exit 4\"' /dev/null",
            tool(version.name()).join("kubectl").display()
        );
        let terminal = world.shell(version, Caller::Developer, &line).run();
        says(terminal.expect_code(4), "/dev/pts/0");
        let left = world.admin(&["get", "pods", "-o", "name"]);
        assert!(!left.stdout.contains("pod/tmp"), "--rm: {left}");
    }
}

#[test]
fn logs_are_followed_line_by_line() {
    let world = World::start();
    let pod = world.pod();
    for version in KUBECTLS {
        let follow = ["logs", "-f", &pod, "--tail=1"];
        let mut follow = world
            .kubectl(version, Caller::Developer)
            .args(follow)
            .start();
        follow.wait_for("three more lines", |text| text.lines().count() >= 4);
        world.check(&follow.interrupt());
        // Only now: a pod that has just started has written one line at most.
        let some = world.run(version, Caller::Developer, &["logs", &pod, "--tail=2"]);
        some.expect_code(0);
        assert_eq!(some.stdout.lines().count(), 2, "{some}");
    }
}

#[test]
fn cp_copies_both_ways_unchanged() {
    let world = World::start();
    let pod = world.pod();
    let content: Vec<u8> = (0..300_000_u32)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    std::fs::write(world.path("sent"), &content).unwrap();
    for version in KUBECTLS {
        let there = format!("{pod}:/tmp/copied-by-{}", version.name());
        world
            .run(version, Caller::Developer, &["cp", "sent", &there])
            .expect_code(0);
        let back = format!("back-{}", version.name());
        world
            .run(version, Caller::Developer, &["cp", &there, &back])
            .expect_code(0);
        assert!(
            std::fs::read(world.path(&back)).unwrap() == content,
            "{}: the file changed",
            version.name()
        );
        let hash = world.run(
            version,
            Caller::Developer,
            &[
                "exec",
                &pod,
                "--",
                "sha256sum",
                there.split_once(':').unwrap().1,
            ],
        );
        let ours = Process::new(world.runtime(), "sha256sum")
            .args([world.path("sent")])
            .run();
        assert_eq!(
            hash.stdout.split(' ').next(),
            ours.stdout.split(' ').next(),
            "{hash}"
        );
    }
}

#[test]
fn port_forward_carries_http() {
    let world = World::start();
    let pod = world.pod();
    for version in KUBECTLS {
        let args = ["port-forward", &pod, ":8080", "--address=127.0.0.1"];
        let mut forward = world.kubectl(version, Caller::Developer).args(args).start();
        let said = forward.wait_for("its port", |text| {
            text.contains("Forwarding from 127.0.0.1:")
        });
        let port: u16 = said
            .split("127.0.0.1:")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .and_then(|port| port.parse().ok())
            .expect("a port");
        let url = format!("http://127.0.0.1:{port}/");
        // Several at once: each has streams of its own.
        let fetch = || {
            Process::new(world.runtime(), "curl").args([
                "-sS",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                &url,
            ])
        };
        let together: Vec<_> = (0..8).map(|_| fetch().start()).collect();
        for one in together {
            let outcome = one.wait();
            outcome.expect_code(0);
            assert_eq!(outcome.stdout, "200", "{outcome}");
        }
        // A stalled connection holds up no other.
        let mut stalled = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stalled
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stalled
            .write_all(b"GET / HTTP/1.1\r\nHost: pod\r\n")
            .unwrap();
        assert_eq!(fetch().run().stdout, "200");
        stalled.write_all(b"Connection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stalled.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        world.check(&forward.interrupt());
    }
}

#[test]
fn a_refused_session_says_why_and_is_one_story() {
    let world = World::start();
    let pod = world.pod();
    for version in KUBECTLS {
        let before = world.audit().len();
        let outcome = world.run(version, Caller::Agent, &["exec", &pod, "--", "true"]);
        outcome
            .expect_code(1)
            .expect_error("agents may not open sessions; ask on-call");
        let told: Vec<Value> = world.audit().split_off(before);
        let told: Vec<&Value> = told
            .iter()
            .filter(|event| event["objectRef"]["subresource"] == "exec")
            .collect();
        // kubectl tries SPDY whenever it was refused on WebSocket: two requests, one story.
        assert_eq!(
            told.len(),
            if version == Kubectl::Old { 1 } else { 2 },
            "{told:?}"
        );
        for event in &told {
            assert_eq!(
                event["annotations"]["portcullis.dev/story"], told[0]["auditID"],
                "{told:?}"
            );
            let note = |name: &str| &event["annotations"][&format!("portcullis.dev/{name}")];
            assert_eq!(
                (note("decision"), note("rule")),
                (&"deny".into(), &"end-to-end/agents-open-no-sessions".into())
            );
            assert_eq!(
                note("claimed-session"),
                &told[0]["annotations"]["portcullis.dev/claimed-session"]
            );
        }
        let refused = world.run(version, Caller::Agent, &["port-forward", &pod, ":8080"]);
        refused
            .expect_code(1)
            .expect_error("agents may not open sessions");
    }
    // Two acts with each kubectl, however often it asked.
    let counted = "portcullis_requests_total{decision=\"denied\",verb_class=\"session\"} 4";
    let metrics = world.control("/metrics");
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn a_session_that_falls_back_to_spdy_is_one_story_on_one_tape() {
    let options = Options {
        spdy_only: true,
        ..Options::default()
    };
    let world = World::start_with(Workshop::new().into(), &options);
    let pod = world.pod();
    let script = "echo to-out; exit 7";
    world
        .run(
            Kubectl::Current,
            Caller::Developer,
            &["exec", &pod, "--", "sh", "-c", script],
        )
        .expect_code(7)
        .expect("to-out");
    let tape = world.next_tape(&mut Vec::new());
    assert_eq!(tape.summary["metadata"]["transport"], "spdy");
    let tapes = std::fs::read_dir(
        world
            .path(&format!("data/recordings/{}", tape.path))
            .parent()
            .unwrap(),
    )
    .unwrap()
    .filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|end| end == "cast")
    });
    assert_eq!(
        tapes.count(),
        1,
        "nothing is kept of the session that never was"
    );

    let over: Vec<Value> = world
        .audit()
        .into_iter()
        .filter(|event| event["stage"] == "ResponseComplete")
        .filter(|event| event["objectRef"]["subresource"] == "exec")
        .collect();
    let codes: Vec<_> = over
        .iter()
        .map(|event| &event["responseStatus"]["code"])
        .collect();
    assert_eq!(codes, [403, 101], "{over:?}");
    for event in &over {
        assert_eq!(
            event["annotations"]["portcullis.dev/story"], over[0]["auditID"],
            "{over:?}"
        );
    }
    let counted = "portcullis_requests_total{decision=\"allowed\",verb_class=\"session\"} 1";
    let metrics = world.control("/metrics");
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn a_session_ends_with_its_token_and_says_so() {
    let world = World::start();
    let pod = world.pod();
    for version in [Kubectl::Old, Kubectl::Current] {
        world.log_in(Caller::Developer, Duration::from_secs(6));
        let exec = ["exec", "-i", &pod, "--", "cat"];
        let mut cat = world
            .kubectl(version, Caller::Developer)
            .args(exec)
            .interactive()
            .start();
        cat.type_in("still here\n");
        cat.wait_for("the echo", |text| text.contains("still here"));
        let outcome = cat.wait_at_most(Duration::from_secs(20));
        world.check(&outcome);
        assert_ne!(outcome.code, 0, "{outcome}");
        assert!(
            outcome.stderr.contains("expired"),
            "the person is not told why: {outcome}"
        );
    }
}

#[test]
fn f10_sessions_are_on_tape_whatever_the_client_speaks() {
    let world = World::start();
    let pod = world.pod();
    let mut seen = Vec::new();
    for version in KUBECTLS {
        let script = "echo to-out; echo to-err >&2; exit 7";
        let exec = ["exec", &pod, "--", "sh", "-c", script];
        world.run(version, Caller::Developer, &exec).expect_code(7);
        let tape = world.next_tape(&mut seen);
        let cast = world.read(&format!("data/recordings/{}", tape.path));
        for line in [
            r#""o","to-out\n"]"#,
            r#""o","to-err\n"]"#,
            r#""portcullis.stderr","7"]"#,
            r#""x","7"]"#,
        ] {
            assert!(cast.contains(line), "{line} is missing in\n{cast}");
        }
        assert_eq!(tape.summary["reason"], "completed");
        assert_eq!(tape.summary["exit"]["code"], 7);
        assert_eq!(tape.summary["metadata"]["command"][0], "sh");
    }
}
