//! Real sessions, recorded between real clients and a real API server, through the taps and the
//! relay: the handshake is accepted, every byte arrives, the events do not depend on where the bytes
//! are cut, and the exit code is the one the client saw.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail as tests do"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Request, Response, request, response};
use portcullis::gateway::upgrade::{Agreed, Offer};
use portcullis::recording::encode::{Encoder, Options};
use portcullis::request::RequestInfo;
use portcullis::session::tap::Wire;
use portcullis::session::{
    EndReason, Ending, ExitStatus, Protocol, Session, SessionEvent, Side, Streams, Tap, TapError,
    relay,
};
use portcullis::wire::asciicast::Event;
use portcullis::wire::websocket::{Decoder, Frame};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

/// One recorded connection, from the upgrade on.
struct Capture {
    name: String,
    session: Session,
    agreed: Agreed,
    /// What was sent after the heads, in the order in which it was seen.
    steps: Vec<(Side, Vec<u8>)>,
    ended_by: Side,
    meta: Value,
}

impl Capture {
    fn sent(&self, side: Side) -> Vec<u8> {
        let steps = self.steps.iter().filter(|(from, _)| *from == side);
        steps.flat_map(|(_, bytes)| bytes.clone()).collect()
    }

    /// The exit code that the client's process had, if it was that of the command.
    fn client_exit_code(&self) -> Option<i64> {
        self.meta["steps"][0]["exit_code"].as_i64()
    }
}

fn captures() -> Vec<Capture> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures");
    let mut folders: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|folder| folder.join("meta.json").exists()) // others hold plain requests
        .collect();
    folders.sort();
    let found: Vec<_> = folders
        .iter()
        .flat_map(|folder| sessions_in(folder))
        .collect();
    assert!(found.len() >= 59, "only {} captures found", found.len());
    found
}

fn sessions_in(folder: &Path) -> Vec<Capture> {
    let meta: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("meta.json")).unwrap()).unwrap();
    let negotiated = meta["negotiated"].as_array().cloned().unwrap_or_default();
    let is_session = |connection: &&Value| {
        let path = connection["path"].as_str().unwrap();
        ["/exec", "/attach", "/portforward"]
            .iter()
            .any(|end| path.ends_with(end))
    };
    negotiated
        .iter()
        .filter(is_session)
        .filter_map(|it| load(folder, &meta, it))
        .collect()
}

fn load(folder: &Path, meta: &Value, negotiated: &Value) -> Option<Capture> {
    let number = negotiated["conn"].as_str().unwrap();
    let read = |end: &str| fs::read(folder.join(format!("{number}.{end}"))).ok();
    let (client, server) = (read("client.bin")?, read("server.bin")?);
    let timeline = String::from_utf8(read("timeline.jsonl")?).unwrap();
    let name = format!("{} {number}", folder.file_name().unwrap().to_str().unwrap());
    let (request, client_head) = request_head(&client);
    let (answer, server_head) = response_head(&server);
    let target = request.uri.to_string();
    let info = RequestInfo::parse(&request.method, &target).unwrap();
    let offer = Offer::parse(&request, info.session().unwrap())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let agreed = offer
        .accept(&answer)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut steps = Vec::new();
    for line in timeline.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let at = |key: &str| usize::try_from(line[key].as_u64().unwrap()).unwrap();
        let (side, bytes, head) = match line["dir"].as_str() {
            Some("c") => (Side::Client, &client, client_head),
            _ => (Side::Server, &server, server_head),
        };
        let (from, to) = (at("offset").max(head), at("offset") + at("len"));
        if from < to {
            steps.push((side, bytes[from..to].to_vec()));
        }
    }
    let connections = meta["connections"].as_array().unwrap();
    let entry = connections
        .iter()
        .find(|entry| entry["n"] == number)
        .unwrap();
    let ended_by = if entry["ended_by"] == "client" {
        Side::Client
    } else {
        Side::Server
    };
    let session = agreed.session(&info);
    Some(Capture {
        name,
        session,
        agreed,
        steps,
        ended_by,
        meta: meta.clone(),
    })
}

fn head(bytes: &[u8]) -> (Vec<&str>, usize) {
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    (
        std::str::from_utf8(&bytes[..end])
            .unwrap()
            .split("\r\n")
            .collect(),
        end + 4,
    )
}

fn request_head(bytes: &[u8]) -> (request::Parts, usize) {
    let (lines, length) = head(bytes);
    let mut words = lines[0].split(' ');
    let mut builder = Request::builder()
        .method(words.next().unwrap())
        .uri(words.next().unwrap());
    for (name, value) in lines[1..].iter().filter_map(|line| line.split_once(':')) {
        builder = builder.header(name, value.trim());
    }
    (builder.body(()).unwrap().into_parts().0, length)
}

fn response_head(bytes: &[u8]) -> (response::Parts, usize) {
    let (lines, length) = head(bytes);
    let mut builder = Response::builder().status(lines[0].split(' ').nth(1).unwrap());
    for (name, value) in lines[1..].iter().filter_map(|line| line.split_once(':')) {
        builder = builder.header(name, value.trim());
    }
    (builder.body(()).unwrap().into_parts().0, length)
}

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
    let mut wire = Wire::new(&capture.session);
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

/// The recording of a capture, with the number of the step as its time in milliseconds.
fn cast(capture: &Capture, cut: usize, stdin: bool) -> String {
    let Streams::RemoteCommand { tty, .. } = capture.session.streams else {
        panic!("{}: not a command", capture.name)
    };
    let mut encoder = Encoder::new(Options {
        stdin,
        tty,
        ..Options::default()
    });
    let mut wire = Wire::new(&capture.session);
    let (mut lines, mut now) = (Vec::new(), Duration::ZERO);
    for (side, bytes) in &capture.steps {
        now += Duration::from_millis(1);
        for piece in bytes.chunks(cut) {
            wire.receive(*side, piece, now, &mut Vec::new(), &mut |event| {
                encoder.event(&event, now, &mut lines);
            })
            .unwrap();
        }
    }
    encoder.finish(now, &mut lines);
    String::from_utf8(lines).unwrap()
}

#[test]
fn recordings_of_captures_look_like_this() {
    let mut checked = 0;
    for capture in captures() {
        let wanted = [
            ("exec-tty-1.36", true),
            ("exec-spdy-tty-1.36", false),
            ("exec-exit7-1.20", false),
            ("exec-exit7-1.36", false),
            ("exec-notfound-1.32", false),
            ("attach-plain-1.36", false),
        ];
        let (folder, number) = capture.name.split_once(' ').unwrap();
        if let Some((_, stdin)) = wanted.iter().find(|(name, _)| *name == folder) {
            checked += 1;
            let name = format!("{folder}-{number}");
            insta::assert_snapshot!(name, cast(&capture, usize::MAX, *stdin));
        }
    }
    assert!(checked >= 6, "only {checked}");
}

#[test]
fn recordings_show_the_same_wherever_bytes_are_cut() {
    let shown = |cast: &str| -> (String, Vec<String>) {
        let events = cast
            .lines()
            .map(|line| Event::parse(line.as_bytes()).unwrap());
        let (output, others): (Vec<_>, Vec<_>) = events.partition(|event| event.code == "o");
        let others = others
            .into_iter()
            .filter(|event| !event.code.starts_with("portcullis."));
        (
            output.into_iter().map(|event| event.data).collect(),
            others.map(|event| event.code + &event.data).collect(),
        )
    };
    for capture in captures() {
        if matches!(capture.session.streams, Streams::RemoteCommand { .. }) {
            let whole = shown(&cast(&capture, usize::MAX, false));
            assert_eq!(shown(&cast(&capture, 1, false)), whole, "{}", capture.name);
        }
    }
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

#[test]
fn every_recorded_byte_passes() {
    for capture in captures() {
        let (_, passed, _) = replay(&capture, usize::MAX);
        for (side, passed) in [Side::Client, Side::Server].into_iter().zip(&passed) {
            let sent = capture.sent(side);
            let joined =
                capture.name.starts_with("exec-ws-fragmented-stdin") && side == Side::Client;
            if capture.session.protocol == Protocol::Tunnel {
                assert_eq!(
                    payload(side, passed),
                    payload(side, &sent),
                    "{} {side:?}",
                    capture.name
                );
            } else if joined {
                assert_eq!(
                    payload(side, passed),
                    payload(side, &sent),
                    "{}",
                    capture.name
                );
                assert!(passed.len() < sent.len(), "the fragments became one frame");
            } else {
                assert!(
                    *passed == sent,
                    "{} {side:?}: not byte for byte",
                    capture.name
                );
            }
        }
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

#[derive(Default)]
struct Notes(Seen);

impl Tap for Notes {
    fn event(&mut self, event: &SessionEvent<'_>, _: Duration) -> Result<(), TapError> {
        self.0.note(event);
        Ok(())
    }
}

async fn read(stream: &mut DuplexStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test(start_paused = true)]
async fn every_capture_passes_the_relay() {
    for capture in captures() {
        let (expected, bytes, lengths) = replay(&capture, usize::MAX);
        let (mut client, gateway_client) = duplex(256 * 1024);
        let (mut server, gateway_server) = duplex(256 * 1024);
        let session = capture.session.clone();
        let relaying = async {
            let mut notes = Notes::default();
            let never = std::future::pending::<Ending>();
            let report = relay(gateway_client, gateway_server, session, never, &mut notes).await;
            (report, notes.0)
        };
        let peers = async {
            let mut arrived = [Vec::new(), Vec::new()];
            for ((side, sent), length) in capture.steps.iter().zip(&lengths) {
                let (from, to) = match side {
                    Side::Client => (&mut client, &mut server),
                    Side::Server => (&mut server, &mut client),
                };
                from.write_all(sent).await.unwrap();
                arrived[usize::from(*side == Side::Server)].extend(read(to, *length).await);
            }
            let (first, second) = match capture.ended_by {
                Side::Client => (&mut client, &mut server),
                Side::Server => (&mut server, &mut client),
            };
            first.shutdown().await.unwrap();
            let (mut at_first, mut at_second) = (Vec::new(), Vec::new());
            second.read_to_end(&mut at_second).await.unwrap();
            second.shutdown().await.unwrap();
            first.read_to_end(&mut at_first).await.unwrap();
            let (at_server, at_client) = match capture.ended_by {
                Side::Client => (at_second, at_first),
                Side::Server => (at_first, at_second),
            };
            arrived[0].extend(at_server);
            arrived[1].extend(at_client);
            arrived
        };
        let ((report, seen), arrived) = tokio::join!(relaying, peers);
        for (side, (arrived, expected)) in [Side::Client, Side::Server]
            .into_iter()
            .zip(arrived.iter().zip(&bytes))
        {
            assert!(
                arrived == expected,
                "{} {side:?}: other bytes arrived",
                capture.name
            );
        }
        assert!(seen == expected, "{}: {seen:?}\n{expected:?}", capture.name);
        assert_eq!(report.exit, expected.exit, "{}", capture.name);
        if expected.exit.is_some() {
            assert_eq!(report.reason, EndReason::Completed, "{}", capture.name);
        }
        assert_eq!(report.detail, None, "{}", capture.name);
        assert!(capture.agreed.response().is_ok());
    }
}
