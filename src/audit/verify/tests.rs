//! Tampering: each kind is found, and named where it is.

use std::fs;
use std::sync::Arc;

use super::super::journal::tests::{Log, copy, prove};
use super::super::seal::SigningKey;
use super::*;

/// Two full segments of four lines and a third one with three, of which the last is not sealed yet.
fn log() -> Arc<tempfile::TempDir> {
    let mut log = Log::new();
    log.write(4)
        .rotate()
        .write(4)
        .rotate()
        .write(2)
        .seal()
        .write(1);
    log.kill()
}

fn lines(folder: &Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    text.split_inclusive('\n').map(str::to_owned).collect()
}

fn write(folder: &Path, name: &str, lines: &[String]) {
    fs::write(folder.join(name), lines.concat()).unwrap();
}

const SECOND: &str = "audit-00000002.jsonl";
const ACTIVE: &str = "audit.jsonl";

#[test]
fn a_log_that_nobody_touched_proves() {
    let folder = log();
    let proof = prove(folder.path()).unwrap();
    let said = (
        proof.first_segment,
        proof.last_segment,
        proof.lines,
        proof.unsealed_lines,
    );
    assert_eq!(said, (1, 3, 10, 1));
    assert_eq!((proof.torn_lines, proof.unchained_lines), (0, 0));
}

/// Every bit of every byte matters, in files and seals.
#[test]
fn no_byte_can_be_changed() {
    let folder = log();
    for name in [
        SECOND,
        "audit-00000002.jsonl.seal",
        ACTIVE,
        "audit-00000003.jsonl.seal",
    ] {
        let path = folder.path().join(name);
        let good = fs::read(&path).unwrap();
        // The last line of the active file is not sealed yet.
        let held = match name {
            ACTIVE => lines(folder.path(), name)[..2].concat().len(),
            _ => good.len(),
        };
        for at in 0..held {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            let flaw = prove(folder.path()).unwrap_err();
            assert_eq!(flaw.file, path, "byte {at}");
            if let Some(line) = flaw.line {
                let before = good[..at].split(|byte| *byte == b'\n').count() as u64 - 1;
                assert!(
                    (before + 1..=before + 2).contains(&line),
                    "byte {at}: {flaw:?}"
                );
            }
        }
        fs::write(&path, &good).unwrap();
    }
}

/// What somebody does to the lines of a file.
type Edit<'a> = &'a dyn Fn(&mut Vec<String>);

#[test]
fn no_line_can_be_dropped_added_moved_or_repeated() {
    let folder = log();
    for (name, sealed) in [(SECOND, 4), (ACTIVE, 2)] {
        let good = lines(folder.path(), name);
        for at in 0..sealed {
            let acts: [Edit<'_>; 6] = [
                &|lines| drop(lines.remove(at)),
                &|lines| lines.insert(at, lines[at].clone()),
                &|lines| lines.insert(at, "{\"kind\":\"Event\"}\n".to_owned()),
                &|lines| lines.insert(at, "torn\n".to_owned()),
                &|lines| lines.swap(at, (at + 1) % sealed),
                &|lines| lines[at] = lines[at].replace("Event", "event"),
            ];
            for (number, act) in acts.iter().enumerate() {
                let mut bad = good.clone();
                act(&mut bad);
                write(folder.path(), name, &bad);
                let flaw = prove(folder.path()).unwrap_err();
                assert_eq!(flaw.file, folder.path().join(name));
                let line = flaw.line.unwrap();
                let first = if number == 4 {
                    at.min((at + 1) % sealed)
                } else {
                    at
                } as u64
                    + 1;
                assert!(
                    (first..=first + 1).contains(&line),
                    "act {number} on {name}:{first}: {flaw:?}"
                );
            }
        }
        write(folder.path(), name, &good);
    }
}

#[test]
fn nothing_sealed_can_be_cut_off() {
    let folder = log();
    for (name, sealed) in [(SECOND, 4), (ACTIVE, 2)] {
        let good = lines(folder.path(), name).concat();
        let held = lines(folder.path(), name)[..sealed].concat().len();
        for cut in 0..held {
            fs::write(folder.path().join(name), &good.as_bytes()[..cut]).unwrap();
            let flaw = prove(folder.path()).unwrap_err();
            assert_eq!(flaw.file, folder.path().join(name), "cut at {cut}");
            assert!(flaw.line.is_some(), "{flaw:?}");
        }
        fs::write(folder.path().join(name), &good).unwrap();
    }
    let more = lines(folder.path(), SECOND).concat() + "{}\n";
    fs::write(folder.path().join(SECOND), more).unwrap();
    let flaw = prove(folder.path()).unwrap_err();
    assert!(flaw.why.contains("added after"), "{flaw:?}");
}

#[test]
fn segments_cannot_be_removed_renamed_or_spliced() {
    let good = log();
    let other = log();
    let acts: [&dyn Fn(&Path); 7] = [
        &|image| {
            fs::remove_file(image.join(SECOND)).unwrap();
        },
        &|image| {
            fs::remove_file(image.join(SECOND)).unwrap();
            fs::remove_file(image.join("audit-00000002.jsonl.seal")).unwrap();
        },
        &|image| fs::remove_file(image.join("audit-00000002.jsonl.seal")).unwrap(),
        &|image| fs::remove_file(image.join(ACTIVE)).unwrap(),
        // the first one under the second one's name, with its seal
        &|image| {
            fs::copy(image.join("audit-00000001.jsonl"), image.join(SECOND)).unwrap();
            fs::copy(
                image.join("audit-00000001.jsonl.seal"),
                image.join("audit-00000002.jsonl.seal"),
            )
            .unwrap();
        },
        // one of another gateway, with its seal
        &|image| {
            fs::copy(other.path().join(SECOND), image.join(SECOND)).unwrap();
            let seal = "audit-00000002.jsonl.seal";
            fs::copy(other.path().join(seal), image.join(seal)).unwrap();
        },
        // the last one gone, and the active one in its place
        &|image| fs::rename(image.join(ACTIVE), image.join(SECOND)).unwrap(),
    ];
    for (number, act) in acts.iter().enumerate() {
        let image = copy(good.path());
        act(image.path());
        assert!(prove(image.path()).is_err(), "act {number}");
    }
}

/// The oldest segments may be removed; that they are not there is said.
#[test]
fn a_log_may_begin_later() {
    let folder = log();
    for name in ["audit-00000001.jsonl", "audit-00000001.jsonl.seal"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let proof = prove(folder.path()).unwrap();
    assert_eq!((proof.first_segment, proof.lines), (2, 6));
}

/// Somebody who cannot read the key makes the whole log anew, with a key of their own.
#[test]
fn a_log_made_anew_is_not_signed_by_the_key() {
    let folder = log();
    let (_, key) = SigningKey::generate().unwrap();
    let kept = fs::read(folder.path().join("audit.key")).unwrap();
    let (mut link, mut number) = (Link::GENESIS, 0);
    for name in ["audit-00000001.jsonl", SECOND, ACTIVE] {
        number += 1;
        let mut statement = Statement::begin(number, link, Timestamp::now());
        let mut text = Vec::new();
        for n in 0..4 {
            let mut line = Vec::new();
            statement.last.bind(
                format!("{{\"n\":{n},\"annotations\":{{}}}}\n").as_bytes(),
                &mut line,
            );
            statement.push(&line);
            text.extend_from_slice(&line);
        }
        fs::write(folder.path().join(name), text).unwrap();
        fs::write(
            folder.path().join(format!("audit-{number:08}.jsonl.seal")),
            statement.sealed(&key),
        )
        .unwrap();
        link = statement.last;
    }
    let flaw = prove(folder.path()).unwrap_err();
    assert!(flaw.why.contains("not signed by the key"), "{flaw:?}");
    let segments = Segments::of(&folder.path().join(ACTIVE));
    assert!(
        whole(&segments, &key.public(), &mut |_| {}).is_ok(),
        "it is a good log of another key"
    );
    assert_eq!(kept, fs::read(folder.path().join("audit.key")).unwrap());
}

#[test]
fn full_segments_are_proven_by_themselves() {
    let folder = log();
    let key = PublicKey::read(&fs::read(folder.path().join("audit.key")).unwrap()).unwrap();
    let file = |name: &str| folder.path().join(name);
    let [first, second] = [file("audit-00000001.jsonl"), file(SECOND)];
    let proof = these(&[first.clone(), second.clone()], &key, &mut |_| {}).unwrap();
    assert_eq!(
        (proof.first_segment, proof.last_segment, proof.lines),
        (1, 2, 8)
    );
    let proof = these(std::slice::from_ref(&second), &key, &mut |_| {}).unwrap();
    assert_eq!((proof.first_segment, proof.lines), (2, 4));
    assert!(these(&[second, first], &key, &mut |_| {}).is_err());
}
