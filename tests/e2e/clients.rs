//! The stock Python, JavaScript and Rust clients run one scenario, and what they print is compared with what a
//! person would expect. The programs are in `tests/clients/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::process::Process;
use crate::support::world::{World, tool};

/// Runs one client's scenario and checks every step's facts.
#[track_caller]
fn check(name: &str, prepare: impl FnOnce(&World) -> Process) {
    let world = World::start();
    world.seed_secret("first");
    let pod = world.pod();
    let new_value = world.canaries.fresh();
    let outcome = prepare(&world)
        .env("HOME", world.path("home"))
        .env("KUBECONFIG", world.path("developer.kubeconfig"))
        .env("POD", &pod)
        .env("SECRET", "first")
        .env("NEW_VALUE", &new_value)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .run();
    world.check(&outcome);
    outcome.expect_code(0);
    let steps: BTreeMap<String, Value> = outcome
        .stdout
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        })
        .map(|facts| (facts["step"].as_str().unwrap().to_owned(), facts))
        .collect();
    let step = |step: &str| {
        let facts = steps
            .get(step)
            .unwrap_or_else(|| panic!("{name}: no step {step:?} in {outcome}"));
        assert!(
            facts["error"].is_null(),
            "{name}: {step}: {}",
            facts["error"]
        );
        facts
    };
    let names =
        |facts: &Value| -> Vec<String> { serde_json::from_value(facts["names"].clone()).unwrap() };
    let placeholder = |facts: &Value, key: &str| {
        let text = facts[key]
            .as_str()
            .unwrap_or_else(|| panic!("{name}: no {key} in {facts}"));
        assert!(!text.is_empty(), "{name}: {facts}");
        text.to_owned()
    };

    assert!(names(step("list secrets")).contains(&"first".to_owned()));
    let first = placeholder(step("get secret"), "value");
    let seen = placeholder(step("watch secrets"), "value");
    assert_ne!(first, seen, "{name}: two values, two placeholders");
    // Answers to writes cannot be compared with what is read, or a writer could test guesses.
    for (write, key) in [("watch secrets", "created"), ("patch secret", "value")] {
        let answered = placeholder(step(write), key);
        assert!(answered.contains("[masked:v1:"), "{name}: {answered}");
        assert_ne!(seen, answered, "{name}: {write}");
    }
    assert_eq!(step("patch secret")["label"], "yes");
    assert_eq!(
        step("replace with placeholder")["code"],
        422,
        "{name}: {outcome}"
    );
    assert_eq!(step("delete secret")["gone"], true);
    assert!(names(step("list pods")).contains(&pod));
    let exec = step("exec");
    assert_eq!(
        (&exec["stdout"], &exec["stderr"], &exec["exit"]),
        (&"out\n".into(), &"err\n".into(), &7.into())
    );
    assert_eq!(step("exec with stdin")["stdout"], "typed\n");
    assert_eq!(step("follow logs")["lines"], 3);
    assert_eq!(step("forward port")["status"], "HTTP/1.1 200 OK");
}

/// Where the clients' sources are.
pub(crate) fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

#[test]
fn python() {
    check("python", |world| {
        Process::new(world.runtime(), tool("venv/bin/python"))
            .args([programs().join("python/client.py")])
    });
}

#[test]
fn javascript() {
    check("javascript", |world| {
        let program = tool("node/clients/node/client.mjs");
        Process::new(world.runtime(), tool("node/node")).args([
            "--preserve-symlinks".as_ref(),
            "--preserve-symlinks-main".as_ref(),
            program.as_os_str(),
        ])
    });
}

#[test]
fn kube_rs() {
    check("kube-rs", |world| {
        Process::new(world.runtime(), kube_rs_program("kube-rs-client"))
    });
}

/// A program of the Rust client, built if it is not.
#[track_caller]
pub(crate) fn kube_rs_program(name: &str) -> PathBuf {
    // check.sh has built it; a developer's plain `cargo test` builds it here.
    let built = std::process::Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--target-dir",
            "target/clients",
            "--manifest-path",
        ])
        .arg(programs().join("kube-rs/Cargo.toml"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo");
    assert!(built.success(), "the kube-rs client does not build");
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/clients/debug")
        .join(name)
}
