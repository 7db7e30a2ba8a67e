//! Every capture between two sockets: the relay drives them, a recorder listens, and what arrives and what
//! is on tape is compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use portcullis::recording::copy::Copy;
use portcullis::recording::encode::{Encoder, Options, RAW, STDERR};
use portcullis::session::{
    EndReason, Ending, Protocol, SessionEvent, SessionReport, Side, Streams, Tap, relay,
};
use portcullis::wire::asciicast::{Event, INPUT, OUTPUT};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, duplex};
use tokio::net::{TcpListener, TcpStream};

use crate::captures::{Capture, captures};
use crate::{Seen, assert_passed, replay};

/// Longer recordings are kept as a digest.
const SHOWN_BYTES: usize = 32 * 1024;

/// Takes note of everything and records it. Its clock is the number of the step in milliseconds.
struct Cassette {
    seen: Seen,
    encoder: Encoder,
    lines: Vec<u8>,
    step: Arc<AtomicU64>,
}

impl Cassette {
    fn new(capture: &Capture, step: &Arc<AtomicU64>) -> Self {
        let (tty, stdin) = match capture.session.streams {
            Streams::RemoteCommand { tty, stdin, .. } => (tty, stdin),
            Streams::PortForward { .. } => (false, false),
        };
        let options = Options {
            stdin,
            tty,
            copy: Copy::of(&capture.command, tty, stdin),
            ..Options::default()
        };
        Self {
            seen: Seen::default(),
            encoder: Encoder::new(options),
            lines: Vec::new(),
            step: Arc::clone(step),
        }
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.step.load(Ordering::SeqCst))
    }
}

impl Tap for Cassette {
    fn event(&mut self, event: &SessionEvent<'_>, _: Duration) {
        self.seen.note(event);
        let now = self.now();
        self.encoder.event(event, now, &mut self.lines);
    }
}

/// What a capture left behind the relay.
struct Passage {
    report: SessionReport,
    seen: Seen,
    cast: String,
    /// At the server, and at the client.
    arrived: [Vec<u8>; 2],
}

/// Plays a capture through the relay, step by step: the next one begins when everything of the one before
/// has arrived. `lengths` says how much that is.
async fn pass<S>(capture: &Capture, ends: [(S, S); 2], lengths: &[usize]) -> Passage
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let [(mut client, gateway_client), (mut server, gateway_server)] = ends;
    let step = Arc::new(AtomicU64::new(0));
    let relaying = async {
        let mut cassette = Cassette::new(capture, &step);
        let never = std::future::pending::<Ending>();
        let session = capture.session.clone();
        let report = relay(
            gateway_client,
            gateway_server,
            session,
            None,
            never,
            &mut cassette,
        )
        .await;
        let now = cassette.now();
        cassette.encoder.finish(now, &mut cassette.lines);
        (report, cassette.seen, cassette.lines)
    };
    let peers = async {
        let mut arrived = [Vec::new(), Vec::new()];
        for ((side, sent), length) in capture.steps.iter().zip(lengths) {
            step.fetch_add(1, Ordering::SeqCst);
            let (from, to) = match side {
                Side::Client => (&mut client, &mut server),
                Side::Server => (&mut server, &mut client),
            };
            let mut bytes = vec![0; *length];
            let (wrote, read) = tokio::join!(from.write_all(sent), to.read_exact(&mut bytes));
            wrote.unwrap();
            read.unwrap_or_else(|error| panic!("{}: {error}", capture.name));
            arrived[usize::from(*side == Side::Server)].extend(bytes);
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
    let ((report, seen, lines), arrived) = tokio::join!(relaying, peers);
    Passage {
        report,
        seen,
        cast: String::from_utf8(lines).unwrap(),
        arrived,
    }
}

/// The same through pipes that hold `capacity` bytes.
async fn pass_in_memory(capture: &Capture, capacity: usize, lengths: &[usize]) -> Passage {
    let ends = [duplex(capacity), duplex(capacity)];
    pass(capture, ends, lengths).await
}

#[track_caller]
fn check(capture: &Capture, expected: &Seen, passage: &Passage) {
    let Passage { report, seen, .. } = passage;
    assert_passed(capture, Side::Client, &passage.arrived[0]);
    assert_passed(capture, Side::Server, &passage.arrived[1]);
    assert!(seen == expected, "{}: {seen:?}\n{expected:?}", capture.name);
    assert_eq!(report.exit, expected.exit, "{}", capture.name);
    if expected.exit.is_some() {
        assert_eq!(report.reason, EndReason::Completed, "{}", capture.name);
    }
    assert_eq!(report.detail, None, "{}", capture.name);
    assert!(capture.agreed.response().is_ok());
}

/// What a recording shows, however its output was cut: input, output and errors as bytes, and the rest in
/// its order without the times.
#[derive(Debug, Default, PartialEq)]
struct Shown {
    bytes: BTreeMap<&'static str, Vec<u8>>,
    others: Vec<String>,
}

fn shown(cast: &str) -> Shown {
    let events: Vec<Event> = cast
        .lines()
        .map(|line| Event::parse(line.as_bytes()).unwrap())
        .collect();
    let mut shown = Shown::default();
    for (at, event) in events.iter().enumerate() {
        match event.code.as_str() {
            OUTPUT | INPUT => {
                let notes = || events[at + 1..].iter().take(2);
                let is_stderr = notes().next().is_some_and(|note| note.code == STDERR);
                let raw = notes()
                    .take_while(|note| [STDERR, RAW].contains(&note.code.as_str()))
                    .find(|note| note.code == RAW)
                    .map(|note| {
                        base64::Engine::decode(&base64::prelude::BASE64_STANDARD, &note.data)
                    });
                let stream = match (event.code.as_str(), is_stderr) {
                    (INPUT, _) => "stdin",
                    (_, true) => "stderr",
                    (_, false) => "stdout",
                };
                let bytes = raw.map_or_else(|| event.data.clone().into_bytes(), Result::unwrap);
                shown.bytes.entry(stream).or_default().extend(bytes);
            }
            STDERR | RAW => {}
            other => shown
                .others
                .push(format!("{other} {}", untimed(&event.data))),
        }
    }
    shown
}

/// Without the times of a connection.
fn untimed(data: &str) -> &str {
    data.split(",\"openedMs\"").next().unwrap_or(data)
}

#[tokio::test(start_paused = true)]
async fn every_capture_passes_the_relay_and_is_on_tape_like_this() {
    let mut checked = 0;
    for capture in captures() {
        let (expected, _, lengths) = replay(&capture, usize::MAX);
        let passage = pass_in_memory(&capture, 256 * 1024, &lengths).await;
        check(&capture, &expected, &passage);
        checked += u32::from(shows_what_the_client_printed(&capture, &passage.cast));
        let cast = if passage.cast.len() > SHOWN_BYTES {
            digest_of(&passage.cast)
        } else {
            passage.cast
        };
        insta::assert_snapshot!(capture.name.replace(' ', "-"), cast);
    }
    assert!(
        checked >= 20,
        "only {checked} were compared with the client"
    );
}

/// Whether kubectl's own output is known; if so, the recording has it.
fn shows_what_the_client_printed(capture: &Capture, cast: &str) -> bool {
    let step = &capture.meta["steps"][0];
    let tty = matches!(
        capture.session.streams,
        Streams::RemoteCommand { tty: true, .. }
    );
    let is_exec = capture.name.starts_with("exec-") && step["client"] == "kubectl";
    if tty || !is_exec {
        return false;
    }
    let recorded = shown(cast).bytes.remove("stdout").unwrap_or_default();
    match (step["stdout"].as_str(), step["stdout"]["sha256"].as_str()) {
        // Whoever was interrupted had not printed everything yet.
        (Some(printed), _) if capture.ended_by == Side::Client => {
            assert!(recorded.starts_with(printed.as_bytes()), "{}", capture.name);
        }
        (Some(printed), _) => {
            assert_eq!(
                String::from_utf8(recorded).unwrap(),
                printed,
                "{}",
                capture.name
            );
        }
        (_, Some(sha256)) => {
            let sum = format!("{:?}", digest::digest(&digest::SHA256, &recorded));
            assert_eq!(sum, format!("SHA256:{sha256}"), "{}", capture.name);
        }
        (None, None) => return false,
    }
    true
}

fn digest_of(cast: &str) -> String {
    let sum = digest::digest(&digest::SHA256, cast.as_bytes());
    let (lines, bytes) = (cast.lines().count(), cast.len());
    format!("{lines} lines, {bytes} bytes\n{sum:?}")
}

#[tokio::test(start_paused = true)]
async fn every_capture_passes_the_relay_byte_by_byte() {
    for capture in captures() {
        let (expected, _, lengths) = replay(&capture, usize::MAX);
        let whole = pass_in_memory(&capture, 256 * 1024, &lengths).await;
        // A pipe that holds a single byte cuts at every one, in both directions.
        let (_, _, lengths) = replay(&capture, 1);
        let bytes = pass_in_memory(&capture, 1, &lengths).await;
        check(&capture, &expected, &bytes);
        assert_eq!(shown(&bytes.cast), shown(&whole.cast), "{}", capture.name);
    }
}

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (near, (far, _)) = (near.unwrap(), far.unwrap());
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

#[tokio::test]
async fn every_capture_passes_the_relay_on_loopback() {
    for capture in captures() {
        // How many bytes a tunnel makes of a step depends on how TCP cuts it.
        if capture.session.protocol != Protocol::Tunnel {
            let (expected, _, lengths) = replay(&capture, usize::MAX);
            let ends = [connected().await, connected().await];
            check(&capture, &expected, &pass(&capture, ends, &lengths).await);
        }
    }
}
