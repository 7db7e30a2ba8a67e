//! Real sessions, recorded between real clients and a real API server, through the taps and the
//! relay: the handshake is accepted, every byte arrives, the events do not depend on where the bytes
//! are cut, and the exit code is the one the client saw.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail as tests do"
)]

mod captures;
mod masked;
mod relayed;

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis::session::tap::Wire;
use portcullis::session::{ExitStatus, Protocol, SessionEvent, Side};
use portcullis::wire::websocket::{Decoder, Frame};

use captures::{Capture, captures};

/// What was seen, with the slices of each stream joined.
#[derive(Debug, Default, PartialEq, Clone)]
struct Seen {
    data: BTreeMap<String, Vec<u8>>,
    others: Vec<String>,
    exit: Option<ExitStatus>,
}

impl Seen {
    fn note(&mut self, event: &SessionEvent<'_>) {
        match *event {
            SessionEvent::Data {
                stream,
                from,
                bytes,
            } => {
                self.data
                    .entry(format!("{stream:?} {from:?}"))
                    .or_default()
                    .extend_from_slice(bytes);
            }
            SessionEvent::Exit(exit) => self.exit = Some(exit.clone()),
            other => self.others.push(format!("{other:?}")),
        }
    }
}

/// The capture through the taps, cut into pieces of `cut` bytes.
fn replay(capture: &Capture, cut: usize) -> (Seen, [Vec<u8>; 2], Vec<usize>) {
    let mut wire = Wire::new(&capture.session, None);
    let mut seen = Seen::default();
    wire.start(&mut |event| seen.note(&event));
    let mut passed = [Vec::new(), Vec::new()];
    let mut lengths = Vec::new();
    for (side, bytes) in &capture.steps {
        let output = &mut passed[usize::from(*side == Side::Server)];
        let before = output.len();
        for piece in bytes.chunks(cut) {
            wire.receive(*side, piece, Duration::ZERO, output, &mut |event| {
                seen.note(&event);
            })
            .unwrap_or_else(|error| panic!("{}: {error}", capture.name));
        }
        lengths.push(output.len() - before);
    }
    assert!(
        wire.held() < 1024,
        "{}: {} bytes held",
        capture.name,
        wire.held()
    );
    (seen, passed, lengths)
}

/// The payload of all messages: what a tunnel must keep.
fn payload(side: Side, bytes: &[u8]) -> Vec<u8> {
    let (mut decoder, mut input, mut payload) = (Decoder::new(side), bytes, Vec::new());
    loop {
        match decoder.next(&mut input).unwrap() {
            Some(Frame::Payload { bytes, .. }) => payload.extend_from_slice(bytes),
            Some(Frame::Control(_, content, _)) => payload.extend_from_slice(content),
            Some(Frame::Data(..)) => {}
            None => return payload,
        }
    }
}

/// What passed is what was sent: byte for byte, except where the gateway frames anew what it had to look
/// at whole.
#[track_caller]
fn assert_passed(capture: &Capture, side: Side, passed: &[u8]) {
    let sent = capture.sent(side);
    let joined = capture.name.starts_with("exec-ws-fragmented-stdin") && side == Side::Client;
    if joined || capture.session.protocol == Protocol::Tunnel {
        let same = payload(side, passed) == payload(side, &sent);
        assert!(same, "{} {side:?}: other payload", capture.name);
        let shorter = passed.len() < sent.len();
        assert!(!joined || shorter, "the fragments became one frame");
    } else {
        assert!(
            passed == sent,
            "{} {side:?}: not byte for byte",
            capture.name
        );
    }
}

#[test]
fn every_recorded_byte_passes() {
    for capture in captures() {
        let (_, passed, _) = replay(&capture, usize::MAX);
        assert_passed(&capture, Side::Client, &passed[0]);
        assert_passed(&capture, Side::Server, &passed[1]);
    }
}

#[test]
fn events_do_not_depend_on_where_the_bytes_are_cut() {
    for capture in captures() {
        let (whole, bytes, _) = replay(&capture, usize::MAX);
        let wide = capture.session.protocol == Protocol::Tunnel;
        for cut in [1, 2, 3, 7, 13, 64, 1000] {
            let (seen, passed, _) = replay(&capture, cut);
            assert!(
                seen == whole,
                "{} cut at {cut}: {seen:?}\n{whole:?}",
                capture.name
            );
            // Our messages of a tunnel are cut where the input was; their content is not.
            let same = wide || passed == bytes;
            assert!(same, "{} cut at {cut}: other bytes", capture.name);
        }
    }
}

#[test]
fn a_cut_at_every_single_byte_changes_nothing() {
    for capture in captures() {
        let total: usize = capture.steps.iter().map(|(_, bytes)| bytes.len()).sum();
        if total > 3000 {
            continue; // quadratic; the longer ones are cut by the test above
        }
        let (whole, ..) = replay(&capture, usize::MAX);
        let steps = capture.steps.clone();
        let mut cut_capture = capture;
        for (at, (side, bytes)) in steps.iter().enumerate() {
            for middle in 1..bytes.len() {
                let (first, second) = bytes.split_at(middle);
                let halves = [(*side, first.to_vec()), (*side, second.to_vec())];
                let before = steps[..at].iter().cloned();
                let after = steps[at + 1..].iter().cloned();
                cut_capture.steps = before.chain(halves).chain(after).collect();
                let (seen, ..) = replay(&cut_capture, usize::MAX);
                assert!(
                    seen == whole,
                    "{} step {at} cut at {middle}",
                    cut_capture.name
                );
            }
        }
    }
}

#[test]
fn exit_codes_are_those_the_clients_saw() {
    let mut checked = 0;
    for capture in captures() {
        let (seen, ..) = replay(&capture, usize::MAX);
        let kubectl = capture.meta["steps"][0]["client"] == "kubectl";
        // `kubectl cp` first runs a `test -d`, whose status it keeps to itself.
        let probe = capture.name.starts_with("cp-to") && capture.name.ends_with("002");
        let complete = capture.ended_by == Side::Server && !probe;
        if !kubectl || !complete || (seen.exit.is_none() && capture.name.contains("portforward")) {
            continue;
        }
        checked += 1;
        let exit = seen
            .exit
            .unwrap_or_else(|| panic!("{}: no exit status", capture.name));
        // kubectl exits with 1 when the command could not be run.
        let expected = capture.client_exit_code().unwrap();
        assert_eq!(exit.code.map_or(1, i64::from), expected, "{}", capture.name);
    }
    assert!(checked >= 25, "only {checked} exit codes were checked");
    let others = [
        ("js-exec 001", 7),
        ("py-exec 001", 7),
        ("rs-exec 001", 7),
        ("exec-ws-v4 001", 5),
    ];
    for capture in captures() {
        if let Some((_, code)) = others.iter().find(|(name, _)| *name == capture.name) {
            assert_eq!(
                replay(&capture, 5).0.exit.and_then(|exit| exit.code),
                Some(*code),
                "{}",
                capture.name
            );
        }
    }
}

#[test]
fn secrets_are_seen_on_the_streams_that_carried_them() {
    // Whoever masks or records sees what the tap sees, so every recorded value must be there, whole.
    let mut checked = 0;
    for capture in captures() {
        let (seen, ..) = replay(&capture, 1);
        let connection = capture.name.rsplit(' ').next().unwrap();
        for secret in capture.meta["secrets"].as_array().unwrap() {
            let value = secret["value"].as_str().unwrap();
            for place in secret["where"].as_array().unwrap() {
                let (stream, times) = (place["stream"].as_str().unwrap(), place["plain"].as_u64());
                let on_a_stream = stream.starts_with("ws") || stream.starts_with("spdy");
                if place["conn"] != connection || !on_a_stream {
                    continue;
                }
                let Some(times) = times else { continue };
                let kinds = ["Stdin", "Stdout", "Stderr", "Error", "Data"];
                let kind = kinds
                    .iter()
                    .find(|kind| stream.contains(&kind.to_lowercase()));
                let Some(kind) = kind else { continue };
                let data = seen
                    .data
                    .iter()
                    .filter(|(name, _)| name.contains(&format!("kind: {kind}")));
                let found = data
                    .map(|(_, bytes)| occurrences(bytes, value.as_bytes()))
                    .sum::<u64>();
                assert!(
                    found >= times,
                    "{}: {value} on {stream}: {found} of {times}",
                    capture.name
                );
                checked += 1;
            }
        }
    }
    assert!(checked >= 30, "only {checked} places were checked");
}

fn occurrences(bytes: &[u8], value: &[u8]) -> u64 {
    bytes
        .windows(value.len())
        .filter(|window| *window == value)
        .map(|_| 1)
        .sum()
}
