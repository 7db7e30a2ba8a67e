//! Every capture of a remote command with its output rewritten: what arrives, and what is seen of it, is
//! what a filter makes of the whole, wherever the bytes are cut.

use std::time::Duration;

use portcullis::session::tap::Wire;
use portcullis::session::{Filter, Filters, Protocol, Side, Streams};
use portcullis::wire::{spdy, websocket};

use crate::captures::{Capture, captures};
use crate::{Seen, occurrences};
use toy::Toy;

#[path = "../../src/session/filter/tests/toy.rs"]
mod toy;

/// What one side sent.
type Step = (Side, Vec<u8>);

/// The steps through one wire, with each in pieces of `cut` bytes.
fn pass(
    capture: &Capture,
    steps: &[Step],
    cut: usize,
    masked: Option<&[Vec<u8>]>,
) -> (Seen, Vec<Step>) {
    let filters = masked.map(|values| -> Filters {
        let values = values.to_vec();
        Box::new(move |_| Box::new(Toy::new(&values)))
    });
    let mut wire = Wire::new(&capture.session, filters);
    let mut seen = Seen::default();
    wire.start(&mut |event| seen.note(&event));
    let mut passed = Vec::new();
    for (side, bytes) in steps {
        let mut output = Vec::new();
        for piece in bytes.chunks(cut) {
            wire.receive(*side, piece, Duration::ZERO, &mut output, &mut |event| {
                seen.note(&event);
            })
            .unwrap_or_else(|error| panic!("{}: {error}", capture.name));
        }
        passed.push((*side, output));
    }
    let mut output = Vec::new();
    wire.finish(&mut output, &mut |event| seen.note(&event));
    passed.push((Side::Server, output));
    (seen, passed)
}

/// What must not be read: the capture's secrets, and something of everything that it says.
fn values(capture: &Capture, whole: &Seen) -> Vec<Vec<u8>> {
    let secrets = capture.meta["secrets"].as_array().unwrap().iter();
    let mut values: Vec<Vec<u8>> = secrets
        .map(|secret| secret["value"].as_str().unwrap().as_bytes().to_vec())
        .collect();
    values.push(b"non-zero".to_vec());
    let server = whole
        .data
        .iter()
        .filter(|(name, _)| name.ends_with("Server"));
    let (status, output): (Vec<_>, Vec<_>) = server.partition(|(name, _)| name.contains("Error"));
    for (_, bytes) in output.into_iter().filter(|(_, bytes)| bytes.len() >= 8) {
        let some = &bytes[bytes.len() / 2..][..(bytes.len() / 4).clamp(4, 20)];
        // What is said of it in a status must stay readable.
        if !status
            .iter()
            .any(|(_, status)| occurrences(status, some) > 0)
        {
            values.push(some.to_vec());
        }
    }
    values
}

/// What the filter makes of bytes that come all at once.
fn whole_masked(values: &[Vec<u8>], bytes: &[u8]) -> Vec<u8> {
    let (mut toy, mut output) = (Toy::new(values), Vec::new());
    toy.push(bytes, Duration::ZERO, &mut output);
    toy.finish(&mut output);
    output
}

/// What the filter makes of the whole.
fn masked(whole: &Seen, values: &[Vec<u8>]) -> Seen {
    let mut masked = whole.clone();
    for (name, bytes) in &mut masked.data {
        if name.ends_with("Server") {
            *bytes = whole_masked(values, bytes);
        }
    }
    let without = |text: &str| String::from_utf8(whole_masked(values, text.as_bytes())).unwrap();
    if let Some(exit) = &mut masked.exit {
        exit.message = without(&exit.message);
    }
    masked
}

/// Frames without payload, as they came: pings, closes, replies, resets, ends.
fn frames_without_payload(capture: &Capture, steps: &[Step]) -> Vec<Vec<u8>> {
    let server = steps.iter().filter(|(side, _)| *side == Side::Server);
    let bytes: Vec<u8> = server.flat_map(|(_, bytes)| bytes.clone()).collect();
    let (mut input, mut frames) = (bytes.as_slice(), Vec::new());
    if matches!(capture.session.protocol, Protocol::Spdy(_)) {
        let mut decoder = spdy::Decoder::new();
        while let Some(frame) = decoder.next(&mut input).unwrap() {
            match frame {
                spdy::Frame::Control(_, raw) => frames.push(raw.to_vec()),
                // The end of a stream is a frame of its own once its payload is rewritten.
                spdy::Frame::Data {
                    stream, fin: true, ..
                } => {
                    frames.push(stream.to_be_bytes().to_vec());
                }
                spdy::Frame::Data { .. } | spdy::Frame::Payload { .. } => {}
            }
        }
    } else {
        let mut decoder = websocket::Decoder::new(Side::Server);
        while let Some(frame) = decoder.next(&mut input).unwrap() {
            match frame {
                websocket::Frame::Control(_, _, raw) => frames.push(raw.to_vec()),
                websocket::Frame::Data(head, raw) if head.length < 2 => frames.push(raw.to_vec()),
                websocket::Frame::Data(..) | websocket::Frame::Payload { .. } => {}
            }
        }
    }
    frames
}

/// Checks one way of cutting; how many placeholders arrived.
#[track_caller]
fn check(
    capture: &Capture,
    steps: &[Step],
    cut: usize,
    values: &[Vec<u8>],
    expected: &Seen,
) -> u64 {
    let (seen, passed) = pass(capture, steps, cut, Some(values));
    let (arrived, same) = pass(capture, &passed, usize::MAX, None);
    let context = format!("{} cut at {cut}", capture.name);
    assert!(seen == *expected, "{context}: {seen:?}\n{expected:?}");
    assert!(arrived == seen, "{context}: {arrived:?}\n{seen:?}");
    let bytes =
        |steps: &[Step]| -> Vec<u8> { steps.iter().flat_map(|(_, bytes)| bytes.clone()).collect() };
    assert!(
        bytes(&same) == bytes(&passed),
        "{context}: not what a server may send"
    );
    let (frames, original) = (
        frames_without_payload(capture, &passed),
        frames_without_payload(capture, &capture.steps),
    );
    assert!(frames == original, "{context}: {frames:x?}\n{original:x?}");
    let arrived = arrived.data.values();
    arrived
        .map(|bytes| occurrences(bytes, toy::PLACEHOLDER))
        .sum()
}

fn remote_commands() -> impl Iterator<Item = Capture> {
    let is_command =
        |capture: &Capture| matches!(capture.session.streams, Streams::RemoteCommand { .. });
    captures().into_iter().filter(is_command)
}

#[test]
fn every_capture_is_masked_wherever_it_is_cut() {
    let mut placeholders = 0;
    for capture in remote_commands() {
        let (whole, _) = pass(&capture, &capture.steps, usize::MAX, None);
        let values = values(&capture, &whole);
        let expected = masked(&whole, &values);
        let codes = |seen: &Seen| seen.exit.as_ref().map(|exit| exit.code);
        assert_eq!(codes(&expected), codes(&whole), "{}", capture.name);
        for cut in [usize::MAX, 1, 2, 3, 7, 13, 64, 1000] {
            placeholders += check(&capture, &capture.steps, cut, &values, &expected);
        }
    }
    assert!(placeholders > 300, "only {placeholders} placeholders");
}

#[test]
fn a_cut_at_every_single_byte_of_the_server_masks_the_same() {
    for capture in remote_commands() {
        let total: usize = capture.steps.iter().map(|(_, bytes)| bytes.len()).sum();
        if total > 3000 {
            continue; // quadratic; the longer ones are cut by the test above
        }
        let (whole, _) = pass(&capture, &capture.steps, usize::MAX, None);
        let values = values(&capture, &whole);
        let expected = masked(&whole, &values);
        for (at, (side, bytes)) in capture.steps.iter().enumerate() {
            for middle in 1..bytes.len() {
                if *side == Side::Client {
                    break;
                }
                let (first, second) = bytes.split_at(middle);
                let mut steps = capture.steps.clone();
                steps.splice(at..=at, [(*side, first.to_vec()), (*side, second.to_vec())]);
                check(&capture, &steps, usize::MAX, &values, &expected);
            }
        }
    }
}
