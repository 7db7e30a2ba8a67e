use std::time::Duration;

use super::*;
use crate::limits;
use crate::session::tap::Wire;
use crate::session::{Protocol, Session, SessionEvent, Side, Streams};
use crate::wire::channel::{self, Version};
use crate::wire::spdy::Deflater;
use crate::wire::spdy::frame::{
    self, RST_CANCEL, put_data, put_goaway, put_rst_stream, put_syn_reply, put_syn_stream,
};
use crate::wire::websocket::{CLOSE_NORMAL, MessageType, put_close, put_message};
use toy::Toy;

pub(crate) mod toy;

pub(crate) const VALUE: &str = "hunter2hunter2";

/// Replaces [`VALUE`] on every stream.
pub(crate) fn toys() -> Filters {
    Box::new(|_| Box::new(Toy::new(&[VALUE.as_bytes().to_vec()])))
}

const STREAMS: Streams = Streams::RemoteCommand {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: false,
};

/// An exec over every wire there is.
fn sessions() -> Vec<Session> {
    let versions = [
        Version::V1,
        Version::V2,
        Version::V3,
        Version::V4,
        Version::V5,
    ];
    let names = [
        "",
        "base64.channel.k8s.io",
        "v4.channel.k8s.io",
        "v4.base64.channel.k8s.io",
        "v5.channel.k8s.io",
    ];
    let spdy = versions.into_iter().map(Protocol::Spdy);
    let channels = names
        .into_iter()
        .map(|name| Protocol::Channels(channel::Protocol::parse(name).unwrap()));
    spdy.chain(channels)
        .map(|protocol| Session::new(STREAMS, protocol))
        .collect()
}

fn spdy() -> Session {
    Session::new(STREAMS, Protocol::Spdy(Version::V4))
}

fn websocket() -> Session {
    let protocol = channel::Protocol::parse("v5.channel.k8s.io").unwrap();
    Session::new(STREAMS, Protocol::Channels(protocol))
}

/// The stream's number on the wire of `session`.
fn number(session: &Session, kind: StreamType) -> u8 {
    let (spdy, channel) = match kind {
        StreamType::Error => (1, 3),
        StreamType::Stdin => (3, 0),
        StreamType::Stdout => (5, 1),
        StreamType::Stderr | StreamType::Resize | StreamType::Data => (7, 2),
    };
    match session.protocol {
        Protocol::Spdy(_) => spdy,
        Protocol::Channels(_) | Protocol::Tunnel => channel,
    }
}

/// What a server writes to print `bytes`.
fn data(session: &Session, kind: StreamType, bytes: &str) -> Vec<u8> {
    let (mut output, number) = (Vec::new(), number(session, kind));
    match session.protocol {
        Protocol::Channels(protocol) => {
            let message_type = if protocol.base64 {
                MessageType::Text
            } else {
                MessageType::Binary
            };
            let message = protocol.message(number, bytes.as_bytes());
            put_message(&mut output, message_type, &message, None);
        }
        _ => put_data(&mut output, number.into(), false, bytes.as_bytes()),
    }
    output
}

/// What a server writes at the end.
fn goodbye(session: &Session) -> Vec<u8> {
    let mut output = Vec::new();
    if let Protocol::Channels(_) = session.protocol {
        put_close(&mut output, CLOSE_NORMAL, "", None);
    } else {
        put_data(&mut output, 5, true, &[]);
        put_rst_stream(&mut output, 7, RST_CANCEL);
        put_rst_stream(&mut output, 1, RST_CANCEL);
        put_goaway(&mut output, 7, frame::GOAWAY_OK);
    }
    output
}

/// One end of the wire: what it has seen.
struct End {
    wire: Wire,
    /// Payload of the server, as far as it did not change streams.
    said: Vec<(StreamType, String)>,
    others: Vec<String>,
}

impl End {
    fn new(session: &Session, filters: Option<Filters>) -> Self {
        let mut end = Self {
            wire: Wire::new(session, filters),
            said: Vec::new(),
            others: Vec::new(),
        };
        let mut opening = [Vec::new(), Vec::new()];
        if matches!(session.protocol, Protocol::Spdy(_)) {
            let (mut asks, mut answers) = (Deflater::new().unwrap(), Deflater::new().unwrap());
            for (id, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")] {
                let headers = asks.block(&[("streamtype", kind)]).unwrap();
                put_syn_stream(&mut opening[0], id, false, &headers);
                put_syn_reply(&mut opening[1], id, false, &answers.block(&[]).unwrap());
            }
        }
        for (side, bytes) in [Side::Client, Side::Server].into_iter().zip(opening) {
            assert_eq!(end.take(side, &bytes, 0), bytes, "streams open as ever");
        }
        end
    }

    fn take(&mut self, side: Side, bytes: &[u8], milliseconds: u64) -> Vec<u8> {
        let (mut output, now) = (Vec::new(), Duration::from_millis(milliseconds));
        let Self { wire, said, others } = self;
        wire.receive(side, bytes, now, &mut output, &mut |event| {
            note(&event, said, others);
        })
        .unwrap();
        assert!(wire.at_boundary(Side::Server), "half a frame was sent");
        output
    }

    fn server(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.take(Side::Server, bytes, 0)
    }

    fn release(&mut self, milliseconds: u64) -> Vec<u8> {
        let (mut output, now) = (Vec::new(), Duration::from_millis(milliseconds));
        let Self { wire, said, others } = self;
        wire.release(now, &mut output, &mut |event| note(&event, said, others));
        output
    }

    fn finish(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        let Self { wire, said, others } = self;
        wire.finish(&mut output, &mut |event| note(&event, said, others));
        output
    }
}

fn note(event: &SessionEvent<'_>, said: &mut Vec<(StreamType, String)>, others: &mut Vec<String>) {
    let SessionEvent::Data { stream, bytes, .. } = event else {
        others.push(format!("{event:?}"));
        return;
    };
    let text = std::str::from_utf8(bytes).unwrap();
    match said.last_mut() {
        Some((kind, before)) if *kind == stream.kind => before.push_str(text),
        _ => said.push((stream.kind, text.to_owned())),
    }
}

#[test]
fn a_value_is_found_wherever_frames_and_reads_cut_it() {
    for session in sessions() {
        let has_json = match session.protocol {
            Protocol::Spdy(version) => version.has_json_status(),
            Protocol::Channels(protocol) => protocol.version.has_json_status(),
            Protocol::Tunnel => false,
        };
        let status = if has_json {
            r#"{"status":"Failure","message":"no hunter2hunter2","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#
        } else {
            "no hunter2hunter2"
        };
        for cut in 0..=VALUE.len() {
            let (begin, end) = VALUE.split_at(cut);
            let sent = [
                data(&session, StreamType::Stdout, ""),
                data(&session, StreamType::Stdout, &format!("hunter {begin}")),
                data(&session, StreamType::Stdout, &format!("{end}, hunter2")),
                data(&session, StreamType::Stderr, &format!("error: {VALUE}hunt")),
                data(&session, StreamType::Error, status),
                goodbye(&session),
            ]
            .concat();
            let mut whole = End::new(&session, None);
            whole.server(&sent);
            for read in (1..VALUE.len()).chain([usize::MAX]) {
                let (mut gateway, mut client) =
                    (End::new(&session, Some(toys())), End::new(&session, None));
                for bytes in sent.chunks(read) {
                    client.server(&gateway.server(bytes));
                }
                let context = format!("{:?}, {cut}, {read}", session.protocol);
                let of = |kind| -> String {
                    let said = client.said.iter().filter(|(other, _)| *other == kind);
                    said.map(|(_, text)| text.as_str()).collect()
                };
                assert_eq!(
                    of(StreamType::Stdout),
                    "hunter [masked], hunter2",
                    "{context}"
                );
                assert_eq!(of(StreamType::Stderr), "error: [masked]hunt", "{context}");
                let masked = status.replace(VALUE, "[masked]");
                // In one piece, and after all output.
                let last = client.said.last().unwrap();
                assert_eq!(*last, (StreamType::Error, masked), "{context}");
                // Who looks on sees the same, and so does who reads the status.
                assert_eq!(gateway.said, client.said, "{context}");
                assert_eq!(gateway.others, client.others, "{context}");
                let expected: Vec<String> = whole
                    .others
                    .iter()
                    .map(|event| event.replace(VALUE, "[masked]"))
                    .collect();
                assert_eq!(client.others, expected, "{context}");
                assert!(has_json == client.others.iter().any(|event| event.contains("Some(7)")));
            }
        }
    }
}

#[test]
fn what_is_held_back_leaves_before_whatever_must_not_overtake_it() {
    for session in sessions() {
        let held = data(&session, StreamType::Stdout, "hunter2hun");
        let mut endings = vec![data(&session, StreamType::Error, "x"), goodbye(&session)];
        if matches!(session.protocol, Protocol::Spdy(_)) {
            let mut ways = [Vec::new(), Vec::new(), Vec::new()];
            put_data(&mut ways[0], 5, true, &[]);
            put_rst_stream(&mut ways[1], 5, RST_CANCEL);
            put_goaway(&mut ways[2], 7, frame::GOAWAY_OK);
            endings.extend(ways);
        }
        for ending in endings {
            let mut gateway = End::new(&session, Some(toys()));
            assert_eq!(gateway.server(&held), b"", "{:?}", session.protocol);
            assert_eq!(gateway.server(&ending), [held.clone(), ending].concat());
            assert_eq!(gateway.wire.due(), None);
        }
        // The connection ends without a word.
        let mut gateway = End::new(&session, Some(toys()));
        gateway.server(&held);
        assert_eq!(gateway.finish(), held);
        assert_eq!(gateway.finish(), b"", "once");
    }
}

#[test]
fn the_last_frame_of_a_stream_may_have_payload() {
    let (mut frame, mut expected) = (Vec::new(), Vec::new());
    put_data(&mut frame, 5, true, b"hunter2hunter2hunter2");
    put_data(&mut expected, 5, false, b"[masked]");
    put_data(&mut expected, 5, false, b"hunter2");
    put_data(&mut expected, 5, true, b"");
    let mut gateway = End::new(&spdy(), Some(toys()));
    assert_eq!(gateway.server(&frame), expected);
    assert!(gateway.others.last().unwrap().contains("Finished"));
}

#[test]
fn what_has_no_payload_passes_at_once_and_as_it_came() {
    for session in sessions() {
        let mut gateway = End::new(&session, Some(toys()));
        gateway.server(&data(&session, StreamType::Stdout, "hunter2"));
        let mut frames = data(&session, StreamType::Stderr, "");
        match session.protocol {
            Protocol::Channels(_) => frames.extend(b"\x89\x04ping\x8a\x00\x82\x00"),
            _ => frames.extend(b"\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x02"),
        }
        let mut passed = Vec::new();
        for byte in &frames {
            passed.extend(gateway.server(&[*byte]));
        }
        // An empty message without a channel has no type of its own.
        let same =
            passed == frames || passed == [&frames[..frames.len() - 2], b"\x81\x00"].concat();
        assert!(same, "{:?} {passed:x?}", session.protocol);
    }
}

#[test]
fn what_the_client_sends_is_not_looked_at() {
    for session in sessions() {
        let mut gateway = End::new(&session, Some(toys()));
        gateway.server(&data(&session, StreamType::Stdout, "hunter2"));
        let mut typed = Vec::new();
        match session.protocol {
            Protocol::Channels(protocol) => put_message(
                &mut typed,
                MessageType::Binary,
                &protocol.message(0, VALUE.as_bytes()),
                Some([1, 2, 3, 4]),
            ),
            _ => put_data(&mut typed, 3, true, VALUE.as_bytes()),
        }
        assert_eq!(gateway.take(Side::Client, &typed, 0), typed);
        assert_eq!(gateway.said, [(StreamType::Stdin, VALUE.to_owned())]);
    }
}

#[test]
fn fragments_of_a_server_are_put_together() {
    let session = websocket();
    let sent = [
        &b"\x02\x09\x01hunter2h\x89\x01p\x00\x03unt\x80\x04er2!"[..],
        b"\x02\x0b\x03{\"status\":\x00\x05\"Succ\x80\x05ess\"}",
    ]
    .concat();
    let expected = [
        b"\x89\x01p".to_vec(),
        data(&session, StreamType::Stdout, "[masked]!"),
        data(&session, StreamType::Error, r#"{"status":"Success"}"#),
    ]
    .concat();
    let mut gateway = End::new(&session, Some(toys()));
    assert_eq!(gateway.server(&sent), expected);
    assert!(
        gateway.others.last().unwrap().contains("Some(0)"),
        "{:?}",
        gateway.others
    );
}

#[test]
fn a_status_longer_than_any_passes_in_pieces() {
    let session = websocket();
    let mut gateway = End::new(&session, Some(toys()));
    let long = "x".repeat(limits::SESSION_STATUS_BYTES_MAX) + VALUE;
    let sent = data(&session, StreamType::Error, &long.repeat(3));
    let mut client = End::new(&session, None);
    for piece in sent.chunks(limits::SESSION_READ_BYTES) {
        client.server(&gateway.server(piece));
        let bound = limits::SESSION_STATUS_BYTES_MAX + limits::SESSION_READ_BYTES;
        assert!(gateway.wire.held() <= bound);
    }
    assert_eq!(client.said[0].1, long.repeat(3).replace(VALUE, "[masked]"));
}

#[test]
fn frames_are_no_longer_than_those_of_kubernetes() {
    let mut gateway = End::new(&spdy(), Some(toys()));
    let long = VALUE.repeat(10_000);
    let [_, length @ ..] = u32::try_from(long.len()).unwrap().to_be_bytes();
    let head = [&[0, 0, 0, 5, 0][..], &length].concat();
    let passed = gateway.server(&[&head, long.as_bytes()].concat());
    let mut client = End::new(&spdy(), None);
    client.server(&passed);
    assert_eq!(client.said[0].1, "[masked]".repeat(10_000));
    assert_eq!(
        passed.len(),
        80_000 + 8 * 80_000_usize.div_ceil(limits::SPDY_DATA_FRAME_BYTES)
    );
}

#[test]
fn the_rest_of_a_frame_does_not_pass_without_its_beginning() {
    // The client gives the stream up while half of a value is held back.
    let mut gateway = End::new(&spdy(), Some(toys()));
    let frame = data(&spdy(), StreamType::Stdout, VALUE);
    let (begin, end) = frame.split_at(8 + 5);
    assert_eq!(gateway.server(begin), b"");
    let mut reset = Vec::new();
    put_rst_stream(&mut reset, 5, RST_CANCEL);
    assert_eq!(gateway.take(Side::Client, &reset, 0), reset);
    assert_eq!(gateway.server(end), b"");
    assert_eq!(gateway.said, []);
    assert_eq!(gateway.wire.due(), None);
}

#[test]
fn the_time_of_each_stream_is_its_own() {
    for session in [spdy(), websocket()] {
        let mut gateway = End::new(&session, Some(toys()));
        let half = data(&session, StreamType::Stdout, "hunter2");
        let at = |milliseconds| Some(Duration::from_millis(milliseconds));
        gateway.take(Side::Server, &half, 5);
        assert_eq!(gateway.wire.due(), at(25));
        // What comes on another stream changes nothing, held back or not.
        gateway.take(Side::Server, &data(&session, StreamType::Stderr, "a"), 10);
        gateway.take(Side::Server, &data(&session, StreamType::Stderr, "h"), 15);
        assert_eq!(gateway.wire.due(), at(25));
        assert_eq!(gateway.release(24), b"");
        assert_eq!(gateway.release(25), half);
        assert_eq!(gateway.wire.due(), at(35));
        gateway.release(35);
        assert_eq!(gateway.wire.due(), None);
        // While output flows, what is held back is always new.
        gateway.take(Side::Server, &half, 50);
        gateway.take(
            Side::Server,
            &data(&session, StreamType::Stdout, "hunter2!h"),
            60,
        );
        assert_eq!(gateway.wire.due(), at(80));
    }
}

#[test]
fn forwarded_ports_have_no_filter() {
    let streams = Streams::PortForward { ports: vec![80] };
    let protocol = channel::Protocol::parse("v4.channel.k8s.io").unwrap();
    for protocol in [
        Protocol::Channels(protocol),
        Protocol::Spdy(Version::V4),
        Protocol::Tunnel,
    ] {
        let session = Session::new(streams.clone(), protocol);
        let mut wire = Wire::new(&session, Some(toys()));
        let (mut bytes, mut output) = (Vec::new(), Vec::new());
        if let Protocol::Channels(protocol) = protocol {
            for content in [&b"\x50\x00"[..], VALUE.as_bytes()] {
                let message = protocol.message(0, content);
                put_message(&mut bytes, MessageType::Binary, &message, None);
            }
        } else {
            let (mut asks, mut answers) = (Deflater::new().unwrap(), Deflater::new().unwrap());
            let headers = [("streamtype", "data"), ("port", "80"), ("requestid", "0")];
            let mut syn = Vec::new();
            put_syn_stream(&mut syn, 1, false, &asks.block(&headers).unwrap());
            put_syn_reply(&mut bytes, 1, false, &answers.block(&[]).unwrap());
            put_data(&mut bytes, 1, false, VALUE.as_bytes());
            if protocol == Protocol::Tunnel {
                let (inner_syn, inner) = (std::mem::take(&mut syn), std::mem::take(&mut bytes));
                put_message(&mut syn, MessageType::Binary, &inner_syn, Some([0; 4]));
                put_message(&mut bytes, MessageType::Binary, &inner, None);
            }
            let (side, now) = (Side::Client, Duration::ZERO);
            wire.receive(side, &syn, now, &mut Vec::new(), &mut |_| {})
                .unwrap();
        }
        let (side, now) = (Side::Server, Duration::ZERO);
        wire.receive(side, &bytes, now, &mut output, &mut |_| {})
            .unwrap();
        assert_eq!(output, bytes, "{protocol:?}");
        assert_eq!(wire.due(), None);
    }
}
