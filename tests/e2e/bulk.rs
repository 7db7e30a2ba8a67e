//! A lot of bytes: through exec and cp in both directions, on tape, in constant memory.

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest;
use portcullis::wire::asciicast::OUTPUT;
use serde_json::json;

use crate::support::process::{Outcome, Process};
use crate::support::tape::Tape;
use crate::support::world::{Caller, KUBECTLS, Kubectl, Options, Workshop, World, tool};

const FILE_BYTES: usize = 100_000_000;
/// What the gateway may need above idle, however much passes.
const MEMORY: u64 = 48 << 20;
/// How long one passage may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(5);

/// Lines of text that do not repeat.
fn write_text(path: &Path) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut text = Vec::with_capacity(FILE_BYTES + 16);
    while text.len() < FILE_BYTES {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        text.extend(format!("{state:016x}").bytes());
        if text.len() % 80 == 0 {
            text.push(b'\n');
        }
    }
    text.truncate(FILE_BYTES);
    std::fs::write(path, text).unwrap();
}

/// A shell line around `kubectl`, run to its end.
#[track_caller]
fn shell(world: &World, version: Kubectl, line: &str) -> Outcome {
    let kubectl = tool(version.name()).join("kubectl");
    let line = line.replace("kubectl", &kubectl.display().to_string());
    let process = world.shell(version, Caller::Developer, &line);
    let outcome = process.start().wait_at_most(PATIENCE);
    outcome.expect_code(0);
    outcome
}

/// The first word of what `sha256sum` prints.
fn sum(outcome: &Outcome) -> String {
    outcome.stdout.split(' ').next().unwrap().to_owned()
}

/// The digest of everything a recording shows.
fn sum_on_tape(world: &World, tape: &Tape) -> String {
    let mut digest = digest::Context::new(&digest::SHA256);
    for event in world.events(tape) {
        if event.code == OUTPUT {
            digest.update(event.data.as_bytes());
        }
    }
    let hexadecimal = format!("{:?}", digest.finish());
    hexadecimal.trim_start_matches("SHA256:").to_owned()
}

#[test]
fn a_hundred_megabytes_pass_every_way_and_are_on_tape() {
    let world = World::start();
    let pod = world.pod();
    let gateway = world.gateway();
    let idle = gateway.peak_memory();
    write_text(&world.path("big"));
    let ours = Process::new(world.runtime(), "sha256sum")
        .args([world.path("big")])
        .start()
        .wait_at_most(PATIENCE);
    let ours = sum(&ours);
    let mut seen = Vec::new();
    for version in KUBECTLS {
        // In, as input that ends.
        let stdin = shell(
            &world,
            version,
            &format!("kubectl exec -i {pod} -- sha256sum < big"),
        );
        assert_eq!(sum(&stdin), ours, "{}: stdin", version.name());
        let tape = world.next_tape(&mut seen);
        assert_eq!(tape.summary["bytes"]["stdin"], FILE_BYTES);

        // In, as a copy, which is hashed and not kept.
        shell(&world, version, &format!("kubectl cp big {pod}:/tmp/big"));
        // Before it there was a `test -d`; which of the two is sealed first is left open.
        let tapes = [world.next_tape(&mut seen), world.next_tape(&mut seen)];
        let copy = tapes.iter().find(|tape| tape.summary["copy"].is_object());
        let tape = copy.expect("the copy is on tape");
        let copied = tape.summary["copy"]["bytes"].as_u64().unwrap();
        assert!(copied > FILE_BYTES as u64, "{}", tape.summary);
        assert_eq!(tape.summary["copy"]["names"], json!(["big"]));

        // Out, as output: the same on the tape as at the client.
        let stdout = shell(
            &world,
            version,
            &format!("kubectl exec {pod} -- cat /tmp/big | sha256sum"),
        );
        assert_eq!(sum(&stdout), ours, "{}: stdout", version.name());
        let tape = world.next_tape(&mut seen);
        assert_eq!(tape.summary["bytes"]["stdout"], FILE_BYTES);
        assert_eq!(sum_on_tape(&world, &tape), ours, "{}: tape", version.name());
        for part in world.parts(&tape) {
            std::fs::remove_file(part).unwrap(); // searched for secrets it would take a minute
        }

        // Out, as a copy.
        shell(&world, version, &format!("kubectl cp {pod}:/tmp/big back"));
        world.next_tape(&mut seen);
        let back = shell(&world, version, "sha256sum back; rm back");
        assert_eq!(sum(&back), ours, "{}: cp from", version.name());
        shell(
            &world,
            version,
            &format!("kubectl exec {pod} -- rm /tmp/big"),
        );
        world.next_tape(&mut seen);
    }
    let needed = gateway.peak_memory() - idle;
    eprintln!("the gateway needed {} KiB above idle", needed >> 10);
    assert!(
        needed < MEMORY,
        "the gateway needed {needed} bytes above idle"
    );
}

#[test]
fn endless_output_stays_below_the_cap_and_the_client_loses_nothing() {
    const CAP: u64 = 8 << 20;
    const PART: u64 = 1 << 20;
    const PIECES: u64 = 4;
    const PIECE: u64 = 50 << 20;
    let options = Options {
        recording: json!({"maxBytes": CAP, "partBytes": PART}),
        ..Options::default()
    };
    let world = World::start_with(Workshop::new().into(), &options);
    let pod = world.pod();
    let gateway = world.gateway();
    let idle = gateway.peak_memory();
    let mut seen = Vec::new();
    let make = format!(
        "head -c {PIECE} /dev/urandom > /tmp/r; cat /tmp/r /tmp/r /tmp/r /tmp/r | sha256sum"
    );
    let made = world.run(
        Kubectl::Current,
        Caller::Developer,
        &["exec", &pod, "--", "sh", "-c", &make],
    );
    let theirs = sum(&made);
    world.next_tape(&mut seen);
    for version in KUBECTLS {
        let line = format!("kubectl exec {pod} -- cat /tmp/r /tmp/r /tmp/r /tmp/r | sha256sum");
        assert_eq!(
            sum(&shell(&world, version, &line)),
            theirs,
            "{}",
            version.name()
        );
        let tape = world.next_tape(&mut seen);
        assert_eq!(tape.summary["capped"], true, "{}", tape.summary);
        assert_eq!(tape.summary["bytes"]["stdout"], PIECES * PIECE);
        assert_eq!(tape.summary["exit"]["code"], 0);
        let sizes = world.parts(&tape);
        let sizes: Vec<u64> = sizes
            .iter()
            .map(|part| part.metadata().unwrap().len())
            .collect();
        assert!(sizes.len() >= 8, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size <= PART), "{sizes:?}");
        // Past the cap there is room for the marker and the end.
        let total: u64 = sizes.iter().sum();
        assert!(total > CAP * 9 / 10 && total < CAP + 4096, "{sizes:?}");
        let events = world.events(&tape);
        let marker = |text: &str| {
            let mut marks = events.iter().filter(|event| event.code == "m");
            marks.any(|event| event.data.contains(text))
        };
        assert!(marker("has reached its cap"), "no marker");
        let last = events.last().unwrap();
        assert_eq!((last.code.as_str(), last.data.as_str()), ("x", "0"));
    }
    let needed = gateway.peak_memory() - idle;
    eprintln!("the gateway needed {} KiB above idle", needed >> 10);
    assert!(
        needed < MEMORY,
        "the gateway needed {needed} bytes above idle"
    );
}
