//! Known values: secrets that turn up elsewhere than in their Secret.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::process::Outcome;
use crate::support::world::{Caller, KUBECTLS, Kubectl, Options, POLICY, Workshop, World, tool};

const NAMESPACE: &str = "default";

const MASKS: &str = "mask: [secrets, known-values]";

fn world_with(masks: &str, known_values: Value) -> World {
    let policy = POLICY
        .replace("mask: [secrets]", masks)
        .replace("record: required", "record: {mode: required, stdin: true}");
    let options = Options {
        policy: Some(policy),
        known_values,
        ..Options::default()
    };
    World::start_with(Arc::new(Workshop::new()), &options)
}

fn world() -> World {
    world_with(MASKS, Value::Null)
}

/// Asks again until the answer is as expected: what is learned is masked a moment later.
#[track_caller]
fn eventually(what: &str, mut ask: impl FnMut() -> Outcome, good: impl Fn(&Outcome) -> bool) {
    let begun = tokio::time::Instant::now();
    loop {
        let outcome = ask();
        if good(&outcome) {
            return;
        }
        let late = begun.elapsed() > Duration::from_secs(20);
        assert!(!late, "not {what} in time: {outcome}");
    }
}

/// Writes the value into a config map behind the gateway's back, and waits until it is masked there.
#[track_caller]
fn learned(world: &World, value: &str) {
    copy(world, value);
    eventually(
        "masked",
        || copied(world),
        |outcome| outcome.code == 0 && !outcome.stdout.contains(value),
    );
}

/// Writes the value into a config map behind the gateway's back.
#[track_caller]
fn copy(world: &World, value: &str) {
    world
        .api_server
        .put(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "copied", "namespace": NAMESPACE},
            "data": {
                "plain": value,
                "inside": format!("url = db://admin:{value}@host\n"),
                "header": STANDARD.encode(format!("admin:{value}")),
            },
        }))
        .unwrap();
}

/// Stores a Secret behind the gateway's back.
#[track_caller]
fn store(world: &World, name: &str, value: &str) {
    world
        .api_server
        .put(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "data": {"password": STANDARD.encode(value)},
        }))
        .unwrap();
}

/// Makes the Secret `made` through the gateway.
#[track_caller]
fn create(world: &World, value: &str) {
    let password = format!("--from-literal=password={value}");
    let arguments = ["create", "secret", "generic", "made", &password];
    world
        .run(Kubectl::Current, Caller::Developer, &arguments)
        .expect_code(0);
}

/// What a developer sees of that config map.
fn copied(world: &World) -> Outcome {
    let arguments = ["get", "configmap", "copied", "-o", "yaml"];
    world
        .kubectl(Kubectl::Current, Caller::Developer)
        .args(arguments)
        .run()
}

#[test]
fn values_are_masked_in_objects_logs_and_command_output() {
    let world = world();
    let value = world.seed_secret("db");
    learned(&world, &value);
    let pod = world.pod();
    let text = format!("plain {value} and {{\"json\":\"{value}\"}}\n");
    let input = world.path("input");
    std::fs::write(&input, &text).unwrap();
    for version in KUBECTLS {
        for arguments in [
            &["get", "configmap", "copied", "-o", "json"][..],
            &["get", "configmaps", "-A", "-o", "yaml"],
            &["describe", "configmap", "copied"],
        ] {
            let outcome = world.run(version, Caller::Developer, arguments);
            outcome.expect_code(0);
            assert!(outcome.stdout.contains("[masked:v1:"), "{outcome}");
        }
        let kubectl = tool(version.name()).join("kubectl");
        // Through a pod that copies, encodes, escapes and cuts its input.
        for command in ["cat", "base64", "sh -c 'cat >&2'", "sh -c 'base64 -w 19'"] {
            let line = format!(
                "{} exec -i {pod} -- {command} < {}",
                kubectl.display(),
                input.display()
            );
            let outcome = world.shell(version, Caller::Developer, &line).run();
            outcome.expect_code(0);
            world.check(&outcome);
            let said = [outcome.stdout.as_str(), outcome.stderr.as_str()].concat();
            let decoded: Vec<u8> = said
                .bytes()
                .filter(|byte| !byte.is_ascii_whitespace())
                .collect();
            let decoded = STANDARD.decode(decoded).unwrap_or_default();
            assert!(
                said.contains("[masked:v1:")
                    || String::from_utf8_lossy(&decoded).contains("[masked:v1:"),
                "{outcome}"
            );
        }
    }
    // Whoever is not masked sees it.
    let plain = world
        .kubectl(Kubectl::Current, Caller::OnCall)
        .args(["get", "configmap", "copied", "-o", "json"])
        .run();
    assert!(plain.stdout.contains(&value));
    let events = world.audit();
    let named = |event: &Value| {
        let paths = &event["annotations"]["portcullis.dev/masked-paths"];
        let session = event["objectRef"]["subresource"] == "exec";
        session
            && paths
                .as_str()
                .is_some_and(|paths| paths.contains("secrets/db.data"))
    };
    assert!(
        events.iter().any(named),
        "no session's event says what was masked"
    );
}

#[test]
fn a_terminal_echoes_no_known_value_and_a_prompt_does_not_wait() {
    let world = world();
    let value = world.seed_secret("db");
    learned(&world, &value);
    let pod = world.pod();
    let mut seen = Vec::new();
    // What is a copy is known by the command as it runs, not by the masked one.
    let option = "--checkpoint-action=exec=id";
    store(&world, "option", option);
    learned(&world, option);
    let tar = ["exec", &pod, "--", "tar", "cf", "-", option];
    world.run(Kubectl::Current, Caller::Developer, &tar);
    let summary = world.next_tape(&mut seen).summary;
    let path = summary["metadata"]["command"][3].as_str().unwrap();
    assert!(path.starts_with("[masked:v1:"), "{summary}");
    assert_eq!(summary["copy"], Value::Null, "{summary}");
    for version in KUBECTLS {
        let kubectl = tool(version.name()).join("kubectl");
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
        // The first bytes of the value are a prompt that somebody waits for.
        let (first, rest) = value.split_at(3);
        let (second, _) = rest.split_at(2);
        let prompt = [first, second].concat();
        shell.type_in(&format!("printf '%s%s' {first} {second}\n"));
        shell.wait_for("the live prefix", |text| {
            text.contains(&format!("\n{prompt}"))
        });
        shell.type_in("\nstty -echo; read line; echo \"got $line\"\n");
        shell.wait_for("the command", |text| text.contains("got $line"));
        shell.type_in(&format!("{value}\n"));
        shell.wait_for("the placeholder", |text| text.contains("got [masked:v1:"));
        shell.type_in("exit 3\n");
        let outcome = shell.wait();
        outcome.expect_code(3);
        world.check(&outcome);

        // The command gets the value; the recording of what it was given does not.
        let count = [
            "exec",
            "-i",
            &pod,
            "--",
            "sh",
            "-c",
            "read -r it; echo ${#it}",
        ];
        let given = world.kubectl(version, Caller::Developer).args(count);
        let outcome = given.input(format!("{value}\n")).run();
        assert_eq!(outcome.stdout, format!("{}\n", value.len()), "{outcome}");
        let tapes = [world.next_tape(&mut seen), world.next_tape(&mut seen)];
        for tape in tapes {
            let events = world.events(&tape);
            let typed: String = events
                .iter()
                .filter(|event| event.code == "i")
                .map(|event| event.data.as_str())
                .collect();
            assert!(!typed.is_empty() && !typed.contains(&value), "{typed}");
            let is_tty = tape.summary["metadata"]["tty"] == true;
            assert!(is_tty || typed.starts_with("[masked:v1:"), "{typed}");
        }
    }
}

#[test]
fn followed_logs_are_masked_and_values_come_and_go_with_their_secret() {
    let world = world();
    // What the simulated containers write into their logs.
    let password = "S3cr3t-Pa55w0rd!";
    store(&world, "logged", password);
    let pod = world.pod();
    let log = |version: Kubectl| {
        let arguments = ["logs", &pod, "--tail=50"];
        world
            .kubectl(version, Caller::Developer)
            .args(arguments)
            .run()
    };
    for version in KUBECTLS {
        eventually(
            "masked",
            || log(version),
            |outcome| {
                outcome.stdout.contains("password=[masked:v1:")
                    && !outcome.stdout.contains(password)
            },
        );
        let mut follow = world
            .kubectl(version, Caller::Developer)
            .args(["logs", "-f", &pod, "--tail=50"])
            .start();
        follow.wait_for("masked lines", |text| {
            text.matches("password=[masked").count() > 3
        });
        follow.signal("TERM");
        let outcome = follow.wait();
        assert!(!outcome.stdout.contains(password), "{outcome}");
    }
    world.admin(&["delete", "secret", "logged"]);
    eventually(
        "forgotten",
        || log(Kubectl::Current),
        |outcome| outcome.stdout.contains(password),
    );
}

/// Whoever speaks to the control plane may speak of any cluster.
#[test]
fn c_54_what_operators_say_is_kept_without_known_values() {
    let world = world();
    let value = world.seed_secret("db");
    learned(&world, &value);
    let reason = format!("because {value}");
    for word in ["block", "unblock"] {
        let place = ["--data-dir", "data"];
        let said = ["callers", word, "mallory", "--reason", &reason];
        let outcome = world.portcullis(&[&said[..], &place].concat()).run();
        world.check(&outcome);
        outcome.expect_code(0);
    }
    let audit = world.audit();
    let reasons = audit
        .iter()
        .filter_map(|event| event["annotations"]["portcullis.dev/block-reason"].as_str());
    let reasons: Vec<&str> = reasons.collect();
    assert_eq!(reasons.len(), 2);
    for kept in reasons {
        assert!(kept.starts_with("because [masked"), "{kept}");
    }
}

#[test]
fn without_a_watch_what_passed_through_the_gateway_is_masked() {
    let world = world_with(MASKS, json!({"watch": false}));
    assert!(
        !world.control("/readyz").contains("known-values"),
        "nothing is refused, so nothing is degraded"
    );
    for version in KUBECTLS {
        let name = format!("passed-{}", version.name()).replace('.', "-");
        let value = world.canaries.fresh();
        store(&world, &name, &value);
        copy(&world, &value);
        let before = copied(&world);
        before.expect_code(0);
        assert!(
            before.stdout.contains(&value),
            "nobody has seen it: {before}"
        );
        let get = ["get", "secret", &name, "-o", "yaml"];
        world.run(version, Caller::Developer, &get).expect_code(0);
        learned(&world, &value);
    }
    // What is written through the gateway is learned from the answer.
    let fresh = world.canaries.fresh();
    create(&world, &fresh);
    learned(&world, &fresh);
}

#[test]
fn without_a_watch_what_passes_anew_takes_the_place_of_what_passed() {
    let world = world_with(MASKS, json!({"watch": false}));
    let old = world.canaries.fresh();
    create(&world, &old);
    learned(&world, &old);
    // What the simulated containers write into their logs.
    let password = "S3cr3t-Pa55w0rd!";
    store(&world, "made", password);
    let list = ["get", "secrets", "-o", "json"];
    world
        .run(Kubectl::Current, Caller::Developer, &list)
        .expect_code(0);
    let pod = world.pod();
    let log = || {
        let arguments = ["logs", &pod, "--tail=50"];
        world
            .kubectl(Kubectl::Current, Caller::Developer)
            .args(arguments)
            .run()
    };
    eventually("masked", log, |log| {
        log.stdout.contains("password=[masked:v1:") && !log.stdout.contains(password)
    });
    eventually(
        "forgotten",
        || copied(&world),
        |outcome| outcome.stdout.contains(&old),
    );
}

#[test]
fn a_secret_made_through_the_gateway_is_masked_a_moment_later() {
    let world = world();
    let fresh = world.canaries.fresh();
    copy(&world, &fresh);
    create(&world, &fresh);
    learned(&world, &fresh);
    // Its end is told by the watch.
    world.admin(&["delete", "secret", "made"]);
    eventually(
        "forgotten",
        || copied(&world),
        |outcome| outcome.stdout.contains(&fresh),
    );
}

#[test]
fn what_looks_like_a_credential_is_masked_in_logs_and_command_output() {
    let world = world_with("mask: [credentials]", Value::Null);
    let pod = world.pod();
    // No Secret has it.
    let password = world.canaries.fresh();
    let input = world.path("input");
    std::fs::write(
        &input,
        format!("HOME=/root\nDB_PASSWORD={password}\nready\n"),
    )
    .unwrap();
    for version in KUBECTLS {
        let kubectl = tool(version.name()).join("kubectl");
        let line = format!(
            "{} exec -i {pod} -- cat < {}",
            kubectl.display(),
            input.display()
        );
        let outcome = world.shell(version, Caller::Developer, &line).run();
        outcome.expect_code(0);
        world.check(&outcome);
        assert!(
            outcome
                .stdout
                .starts_with("HOME=/root\nDB_PASSWORD=[masked:v1:")
        );
        assert!(outcome.stdout.ends_with("]\nready\n"), "{outcome}");
        // A new container says its password after a few lines of other things.
        eventually(
            "masked",
            || world.run(version, Caller::Developer, &["logs", &pod, "--tail=50"]),
            |logs| {
                assert!(!logs.stdout.contains("S3cr3t-Pa55w0rd!"), "{logs}");
                logs.stdout.contains("password=[masked:v1:")
            },
        );
    }
}

#[test]
fn c_51_a_copy_out_of_a_pod_stays_whole_where_credentials_are_masked() {
    let world = world_with("mask: [credentials]", Value::Null);
    let pod = world.pod();
    let password = world.canaries.fresh();
    let sent = world.path("sent");
    std::fs::create_dir(&sent).unwrap();
    let settings = format!("token: x\npassword: {password}\nline 3\n");
    std::fs::write(sent.join("settings"), &settings).unwrap();
    std::fs::write(sent.join("token: x"), "Basic Commands\n").unwrap();
    for version in KUBECTLS {
        let there = format!("{pod}:/tmp/of-{}", version.name());
        let back = format!("back-{}", version.name());
        for arguments in [["cp", "sent", &there], ["cp", &there, &back]] {
            let copied = world.run(version, Caller::Developer, &arguments);
            copied.expect_code(0);
            assert!(!copied.stderr.contains("tar"), "{copied}");
        }
        let masked = std::fs::read_to_string(world.path(&back).join("settings")).unwrap();
        assert_eq!(masked.len(), settings.len());
        assert!(masked.starts_with("token: \u{1a}\npassword: [masked:v1:"));
        assert!(masked.ends_with("\nline 3\n") && !masked.contains(&password));
        let other = std::fs::read_to_string(world.path(&back).join("token: x")).unwrap();
        assert_eq!(other, "Basic Commands\n");
    }
}

#[test]
fn c_51_a_copy_with_a_known_value_in_it_fails_and_does_not_show_it() {
    let world = world();
    let pod = world.pod();
    let value = world.seed_secret("db");
    learned(&world, &value);
    let short = format!("plain {value} and more\n");
    // What comes behind the value is more than is read at once.
    let long = short.clone() + &"nothing of interest\n".repeat(100_000);
    for (length, text) in [("short", short), ("long", long)] {
        std::fs::write(world.path("sent"), text).unwrap();
        for version in KUBECTLS {
            let name = format!("{length}-known-to-{}", version.name());
            let there = format!("{pod}:/tmp/{name}");
            let back = format!("back-{}", version.name());
            world
                .run(version, Caller::Developer, &["cp", "sent", &there])
                .expect_code(0);
            let copied = world.run(version, Caller::Developer, &["cp", &there, &back]);
            assert_ne!(copied.code, 0, "{copied}");
            copied
                .expect_error("portcullis: the copy ended early and is incomplete")
                .expect_error(&name)
                .expect_error("known-values");
            let left = std::fs::read(world.path(&back)).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&left).contains(&value));
        }
    }
}

#[test]
fn no_secret_takes_answers_and_columns_away() {
    let masks =
        "[secrets, tokens, workloads, configmaps, events, storage, known-values, credentials]";
    let world = world_with(&format!("mask: {masks}"), Value::Null);
    let media_type = "application/json";
    world
        .api_server
        .put(json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "odd", "namespace": NAMESPACE},
            "data": {"token": STANDARD.encode(media_type)},
        }))
        .unwrap();
    learned(&world, media_type);
    for version in KUBECTLS {
        for (what, column) in [("pods", "STATUS"), ("deployments", "AVAILABLE")] {
            let outcome = world.run(version, Caller::Developer, &["get", what]);
            outcome.expect_code(0);
            outcome.expect(column);
        }
    }
}
