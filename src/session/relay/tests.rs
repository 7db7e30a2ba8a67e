use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{DuplexStream, duplex};
use tokio::sync::oneshot;

use super::*;
use crate::session::{NoTap, Protocol, SessionEvent, Streams, Tap, TapError};
use crate::wire::channel::{self, Version};
use crate::wire::spdy::frame::{
    self, put_data, put_goaway, put_rst_stream, put_syn_reply, put_syn_stream,
};
use crate::wire::spdy::{Decoder, Deflater, Frame};
use crate::wire::websocket::{self, CLOSE_NORMAL, MessageType, put_close, put_message};

mod rewritten;

const MASK: Option<[u8; 4]> = Some([9, 8, 7, 6]);

fn streams(tty: bool) -> Streams {
    Streams::RemoteCommand {
        stdin: true,
        stdout: true,
        stderr: !tty,
        tty,
    }
}

fn websocket(name: &str, tty: bool) -> Session {
    let protocol = Protocol::Channels(channel::Protocol::parse(name).unwrap());
    Session::new(streams(tty), protocol)
}

fn message(payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_message(&mut bytes, MessageType::Binary, payload, mask);
    bytes
}

fn close(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_close(&mut bytes, code, reason, mask);
    bytes
}

/// Plays a session: the relay runs beside `peers`, which has both far ends and the power to end it.
async fn play<T>(
    session: Session,
    tap: &mut dyn Tap,
    peers: impl AsyncFnOnce(DuplexStream, DuplexStream, oneshot::Sender<Ending>) -> T,
) -> (SessionReport, T) {
    play_with(session, None, tap, peers).await
}

async fn play_with<T>(
    session: Session,
    filters: Option<Filters>,
    tap: &mut dyn Tap,
    peers: impl AsyncFnOnce(DuplexStream, DuplexStream, oneshot::Sender<Ending>) -> T,
) -> (SessionReport, T) {
    let (client, gateway_client) = duplex(4096);
    let (server, gateway_server) = duplex(4096);
    let (end, ended) = oneshot::channel();
    let until = async {
        match ended.await {
            Ok(ending) => ending,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::join!(
        relay(gateway_client, gateway_server, session, filters, until, tap),
        peers(client, server, end)
    )
}

async fn expect(stream: &mut DuplexStream, bytes: &[u8]) {
    let mut arrived = vec![0; bytes.len()];
    stream.read_exact(&mut arrived).await.unwrap();
    assert_eq!(arrived, bytes);
}

async fn rest(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

fn expired() -> Ending {
    Ending {
        reason: EndReason::Expired,
        message: "your token has expired".to_owned(),
    }
}

const EXPIRED_STATUS: &str = r#"{"metadata":{},"status":"Failure","message":"your token has expired","reason":"Unauthorized","code":401}"#;

#[tokio::test(start_paused = true)]
async fn a26_expiry_is_told_over_websocket_in_the_order_clients_need() {
    for (tty, channel, line) in [
        (false, 2, "\nyour token has expired\n"),
        (true, 1, "\r\nyour token has expired\r\n"),
    ] {
        let (report, ()) = play(
            websocket("v5.channel.k8s.io", tty),
            &mut NoTap,
            async |mut client, mut server, end| {
                server.write_all(&message(b"\x01$ ", None)).await.unwrap();
                expect(&mut client, &message(b"\x01$ ", None)).await;
                end.send(expired()).unwrap();
                let expected = [
                    message(&[&[channel], line.as_bytes()].concat(), None),
                    message(&[b"\x03", EXPIRED_STATUS.as_bytes()].concat(), None),
                    close(CLOSE_NORMAL, "", None),
                ];
                assert_eq!(rest(&mut client).await, expected.concat());
                let to_server = rest(&mut server).await;
                assert_eq!(
                    to_server[..2],
                    [0x88, 0x82],
                    "a masked close: {to_server:x?}"
                );
            },
        )
        .await;
        assert_eq!(report.reason, EndReason::Expired);
    }
}

#[tokio::test(start_paused = true)]
async fn a26_expiry_waits_for_the_end_of_a_frame_and_drops_what_follows() {
    let (report, ()) = play(
        websocket("v4.channel.k8s.io", false),
        &mut NoTap,
        async |mut client, mut server, end| {
            let long = message(&[1; 300], None);
            let (first, second) = long.split_at(100);
            server.write_all(first).await.unwrap();
            expect(&mut client, first).await;
            end.send(expired()).unwrap();
            // Paused time moves when nothing else can: the relay has seen the end by then.
            tokio::time::sleep(Duration::from_millis(1)).await;
            server
                .write_all(&[second, &message(b"\x01too late", None)].concat())
                .await
                .unwrap();
            expect(&mut client, second).await;
            let after = rest(&mut client).await;
            assert!(after.starts_with(&message(b"\x02\nyour token has expired\n", None)));
            assert!(!after.windows(8).any(|bytes| bytes == b"too late"));
        },
    )
    .await;
    assert_eq!(report.bytes.stdout, 299);
}

#[tokio::test(start_paused = true)]
async fn expiry_in_base64_is_text_and_before_v4_it_is_plain() {
    play(
        websocket("base64.channel.k8s.io", false),
        &mut NoTap,
        async |mut client, mut server, end| {
            end.send(expired()).unwrap();
            let mut expected = Vec::new();
            put_message(
                &mut expected,
                MessageType::Text,
                b"2CnlvdXIgdG9rZW4gaGFzIGV4cGlyZWQK",
                None,
            );
            put_message(
                &mut expected,
                MessageType::Text,
                b"3eW91ciB0b2tlbiBoYXMgZXhwaXJlZA==",
                None,
            );
            put_close(&mut expected, CLOSE_NORMAL, "", None);
            assert_eq!(rest(&mut client).await, expected);
            rest(&mut server).await;
        },
    )
    .await;
}

/// A SPDY exec with its streams open.
async fn open_spdy(client: &mut DuplexStream, server: &mut DuplexStream, kinds: &[&str]) {
    let (mut asks, mut answers) = (Deflater::new().unwrap(), Deflater::new().unwrap());
    for (id, kind) in (1..).step_by(2).zip(kinds) {
        let (mut syn, mut reply) = (Vec::new(), Vec::new());
        let headers = [("streamtype", *kind)];
        put_syn_stream(&mut syn, id, false, &asks.block(&headers).unwrap());
        put_syn_reply(&mut reply, id, false, &answers.block(&[]).unwrap());
        client.write_all(&syn).await.unwrap();
        expect(server, &syn).await;
        server.write_all(&reply).await.unwrap();
        expect(client, &reply).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a26_expiry_is_told_over_spdy_before_goaway() {
    let session = Session::new(streams(true), Protocol::Spdy(Version::V4));
    let (report, ()) = play(session, &mut NoTap, async |mut client, mut server, end| {
        open_spdy(
            &mut client,
            &mut server,
            &["error", "stdin", "stdout", "resize"],
        )
        .await;
        end.send(expired()).unwrap();
        let mut expected = Vec::new();
        put_data(&mut expected, 5, false, b"\r\nyour token has expired\r\n");
        put_data(&mut expected, 1, true, EXPIRED_STATUS.as_bytes());
        put_data(&mut expected, 5, true, b"");
        put_goaway(&mut expected, 7, frame::GOAWAY_OK);
        assert_eq!(rest(&mut client).await, expected);
        let mut goaway = Vec::new();
        put_goaway(&mut goaway, 0, frame::GOAWAY_OK);
        assert_eq!(rest(&mut server).await, goaway);
    })
    .await;
    assert_eq!(report.reason, EndReason::Expired);
}

#[tokio::test(start_paused = true)]
async fn b49_a_client_that_writes_output_is_cut_off_and_told() {
    let (report, ()) = play(
        websocket("v5.channel.k8s.io", false),
        &mut NoTap,
        async |mut client, mut server, _end| {
            let good = message(b"\x00ls\n", MASK);
            client
                .write_all(&[good.clone(), message(b"\x01forged", MASK)].concat())
                .await
                .unwrap();
            expect(&mut server, &good).await;
            let told = rest(&mut client).await;
            assert!(
                told.windows(10).any(|bytes| bytes == b"BadRequest"),
                "{told:?}"
            );
            assert!(told.windows(2).any(|code| code == 1002_u16.to_be_bytes()));
            let after = rest(&mut server).await;
            assert!(
                !after.windows(6).any(|bytes| bytes == b"forged"),
                "{after:?}"
            );
        },
    )
    .await;
    assert_eq!(report.reason, EndReason::ClientProtocol);
    assert_eq!(report.bytes.stdin, 3);
    assert!(report.detail.unwrap().contains("channel 1"));
}

#[tokio::test(start_paused = true)]
async fn b47_fragments_become_one_frame_and_too_many_bytes_end_the_session() {
    let fragment = |first: u8, payload: &[u8]| {
        let mut bytes = message(payload, MASK);
        bytes[0] = first;
        bytes
    };
    let (_, ()) = play(
        websocket("v5.channel.k8s.io", true),
        &mut NoTap,
        async |mut client, mut server, _end| {
            let pieces = [
                fragment(0x02, b"\x00fir"),
                fragment(0x89, b"ping"),
                fragment(0x80, b"\x04st"),
            ];
            client.write_all(&pieces.concat()).await.unwrap();
            expect(
                &mut server,
                &[pieces[1].clone(), message(b"\x00fir\x04st", MASK)].concat(),
            )
            .await;
            let large = fragment(0x02, &vec![0; limits::WEBSOCKET_JOINED_BYTES_MAX + 1]);
            client.write_all(&large).await.unwrap();
            let told = rest(&mut client).await;
            assert!(told.windows(2).any(|code| code == 1002_u16.to_be_bytes()));
            rest(&mut server).await;
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_exit_status_arrives_although_the_client_still_writes() {
    // The server is gone for writing, but what it sent before must reach the client.
    let (report, ()) = play(
        websocket("v5.channel.k8s.io", false),
        &mut NoTap,
        async |mut client, mut server, _end| {
            let last = [
                message(b"\x01bye\n", None),
                message(b"\x03{\"status\":\"Success\"}", None),
                close(CLOSE_NORMAL, "", None),
            ]
            .concat();
            server.write_all(&last).await.unwrap();
            drop(server);
            for _ in 0..64 {
                client.write_all(&message(&[0; 1000], MASK)).await.unwrap();
            }
            assert_eq!(rest(&mut client).await, last);
            client.shutdown().await.unwrap();
        },
    )
    .await;
    assert_eq!(report.reason, EndReason::Completed);
    assert_eq!(report.exit.unwrap().code, Some(0));
}

#[tokio::test(start_paused = true)]
async fn e24_a_client_that_disappears_ends_the_session_upstream() {
    let (report, ()) = play(
        websocket("v5.channel.k8s.io", false),
        &mut NoTap,
        async |client, mut server, _end| {
            drop(client);
            assert_eq!(rest(&mut server).await, b"");
            // A server that does not hang up by itself is left after the drain time.
        },
    )
    .await;
    assert_eq!(report.reason, EndReason::ClientGone);
    assert!(report.duration <= limits::SESSION_DRAIN_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_ends_with_a_message() {
    let (report, ()) = play(
        websocket("v5.channel.k8s.io", true),
        &mut NoTap,
        async |mut client, mut server, _end| {
            let told = rest(&mut client).await;
            assert!(told.windows(4).any(|bytes| bytes == b"idle"));
            rest(&mut server).await;
        },
    )
    .await;
    assert_eq!(report.reason, EndReason::Idle);
    assert!(report.duration >= limits::SESSION_IDLE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn d03_a_client_that_does_not_read_stops_the_server() {
    let session = Session::new(streams(true), Protocol::Spdy(Version::V4));
    let (report, ()) = play(session, &mut NoTap, async |mut client, mut server, end| {
        open_spdy(&mut client, &mut server, &["error", "stdin", "stdout"]).await;
        // One huge DATA frame; nobody reads it.
        let head = [0, 0, 0, 5, 0, 0xff, 0xff, 0xff];
        server.write_all(&head).await.unwrap();
        let mut written = 0;
        let piece = [7; 1024];
        while timeout(Duration::from_secs(1), server.write_all(&piece))
            .await
            .is_ok()
        {
            written += piece.len();
            assert!(written < 128 * 1024, "nothing pushes back");
        }
        // Ending such a session must not hang.
        end.send(expired()).unwrap();
        drop(client);
    })
    .await;
    assert!(report.bytes.stdout < 128 * 1024);
}

/// Takes note of so many reads.
struct FailingTap(u32);

impl Tap for FailingTap {
    fn ready(&mut self) -> Result<(), TapError> {
        let failed = || TapError::Failed("disk full".to_owned());
        self.0 = self.0.checked_sub(1).ok_or_else(failed)?;
        Ok(())
    }

    fn event(&mut self, _: &SessionEvent<'_>, _: Duration) {}
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_recorded_is_not_forwarded() {
    let (report, ()) = play(
        websocket("v5.channel.k8s.io", false),
        &mut FailingTap(1),
        async |mut client, mut server, _end| {
            let first = message(b"\x00first", MASK);
            client.write_all(&first).await.unwrap();
            expect(&mut server, &first).await;
            client
                .write_all(&message(b"\x00second", MASK))
                .await
                .unwrap();
            let after = rest(&mut server).await;
            assert_eq!(after[..2], [0x88, 0x82], "only a close: {after:x?}");
            let told = rest(&mut client).await;
            assert!(told.windows(8).any(|bytes| bytes == b"recorded"));
        },
    )
    .await;
    assert_eq!(report.reason, EndReason::RecorderFailed);
    assert_eq!(report.detail.as_deref(), Some("disk full"));
}

/// The payload of every DATA frame, by stream.
fn spdy_data(mut input: &[u8]) -> BTreeMap<u32, Vec<u8>> {
    let (mut decoder, mut data, mut current) = (Decoder::new(), BTreeMap::new(), 0);
    while let Some(frame) = decoder.next(&mut input).unwrap() {
        match frame {
            Frame::Data { stream, .. } => current = stream,
            Frame::Payload { bytes, .. } => {
                let stream: &mut Vec<u8> = data.entry(current).or_default();
                stream.extend_from_slice(bytes);
            }
            Frame::Control(..) => {}
        }
    }
    assert!(decoder.at_boundary(), "half a frame was left behind");
    data
}

#[tokio::test(start_paused = true)]
async fn a_client_within_a_frame_is_told_that_nothing_more_is_recorded() {
    let session = Session::new(streams(true), Protocol::Spdy(Version::V4));
    // Three streams opened and accepted, and one more read.
    let mut tap = FailingTap(7);
    let (report, ()) = play(session, &mut tap, async |mut client, mut server, _end| {
        open_spdy(&mut client, &mut server, &["error", "stdin", "stdout"]).await;
        let mut output = Vec::new();
        put_data(&mut output, 5, false, b"recorded, and then not any more");
        server.write_all(&output[..8 + 8]).await.unwrap();
        expect(&mut client, &output[..8 + 8]).await;
        server.write_all(&output[8 + 8..]).await.unwrap();
        let told = [&output[..8 + 8], &rest(&mut client).await].concat();
        let data = spdy_data(&told);
        let filled = [&b"recorded"[..], &[0; 23]].concat();
        assert!(data[&5].starts_with(&filled), "{data:x?}");
        let said = String::from_utf8(data[&5][filled.len()..].to_vec()).unwrap();
        assert!(said.contains("no longer can be"), "{said}");
        let status = String::from_utf8(data[&1].clone()).unwrap();
        assert!(status.contains(r#""status":"Failure""#), "{status}");
        rest(&mut server).await;
    })
    .await;
    assert_eq!(report.reason, EndReason::RecorderFailed);
    assert_eq!(report.bytes.stdout, 8);
}

#[tokio::test(start_paused = true)]
async fn a_client_within_a_message_is_told_that_nothing_more_is_recorded() {
    for (protocol, message) in [
        ("v5.channel.k8s.io", &b"\x82\x0a\x01output..."[..]),
        ("v4.base64.channel.k8s.io", b"\x81\x0d1b3V0cHV0Li4u"),
    ] {
        let mut tap = FailingTap(1);
        let session = websocket(protocol, false);
        let (report, ()) = play(session, &mut tap, async |mut client, mut server, _end| {
            server.write_all(&message[..7]).await.unwrap();
            expect(&mut client, &message[..7]).await;
            server.write_all(&message[7..]).await.unwrap();
            let told = rest(&mut client).await;
            // Filled up to its length, the message is followed by whole ones.
            let (filled, mut after) = told.split_at(message.len() - 7);
            assert!(
                filled.iter().all(|byte| [0, b'A'].contains(byte)),
                "{told:x?}"
            );
            let mut messages = websocket::Decoder::new(Side::Server);
            let mut heads = 0;
            while let Some(frame) = messages.next(&mut after).unwrap() {
                heads += u32::from(matches!(frame, websocket::Frame::Data(..)));
            }
            assert_eq!(heads, 2, "the line for the terminal and the status");
            rest(&mut server).await;
        })
        .await;
        assert_eq!(report.reason, EndReason::RecorderFailed, "{protocol}");
    }
}

#[tokio::test(start_paused = true)]
async fn b48_a_lying_server_ends_the_session() {
    let session = Session::new(streams(true), Protocol::Spdy(Version::V4));
    let (report, ()) = play(session, &mut NoTap, async |mut client, mut server, _end| {
        open_spdy(&mut client, &mut server, &["error", "stdin", "stdout"]).await;
        let mut forged = Vec::new();
        put_data(&mut forged, 3, false, b"into stdin");
        server.write_all(&forged).await.unwrap();
        let told = rest(&mut client).await;
        assert!(!told.windows(4).any(|bytes| bytes == b"into"), "{told:?}");
        rest(&mut server).await;
    })
    .await;
    assert_eq!(report.reason, EndReason::UpstreamProtocol);
}

#[tokio::test(start_paused = true)]
async fn a_port_forward_counts_and_ends_each_connection() {
    let session = Session::new(
        Streams::PortForward { ports: Vec::new() },
        Protocol::Spdy(Version::V4),
    );
    let (report, ()) = play(session, &mut NoTap, async |mut client, mut server, end| {
        let (mut asks, mut answers) = (Deflater::new().unwrap(), Deflater::new().unwrap());
        for (id, kind) in [(1, "error"), (3, "data")] {
            let (mut syn, mut reply) = (Vec::new(), Vec::new());
            let headers = [("streamtype", kind), ("port", "5432"), ("requestid", "0")];
            put_syn_stream(&mut syn, id, false, &asks.block(&headers).unwrap());
            put_syn_reply(&mut reply, id, false, &answers.block(&[]).unwrap());
            client.write_all(&syn).await.unwrap();
            expect(&mut server, &syn).await;
            server.write_all(&reply).await.unwrap();
            expect(&mut client, &reply).await;
        }
        let mut query = Vec::new();
        put_data(&mut query, 3, false, b"select 1");
        client.write_all(&query).await.unwrap();
        expect(&mut server, &query).await;
        end.send(expired()).unwrap();
        let told = rest(&mut client).await;
        let text = BTreeMap::from([(1, b"your token has expired".to_vec())]);
        assert_eq!(
            spdy_data(&told),
            text,
            "on the error stream, not in the data"
        );
        rest(&mut server).await;
    })
    .await;
    assert_eq!((report.connections, report.bytes.data_sent), (1, 8));
}

#[tokio::test(start_paused = true)]
async fn a_partial_frame_at_the_end_is_no_error() {
    let session = Session::new(streams(true), Protocol::Spdy(Version::V4));
    let (report, ()) = play(session, &mut NoTap, async |mut client, mut server, _end| {
        open_spdy(&mut client, &mut server, &["error", "stdin", "stdout"]).await;
        let mut bytes = Vec::new();
        put_data(&mut bytes, 1, false, br#"{"status":"Success"}"#);
        put_rst_stream(&mut bytes, 1, frame::RST_CANCEL);
        let whole = bytes.len();
        put_rst_stream(&mut bytes, 3, frame::RST_CANCEL);
        server.write_all(&bytes[..whole + 5]).await.unwrap();
        drop(server);
        assert_eq!(rest(&mut client).await, bytes[..whole]);
    })
    .await;
    assert_eq!((report.reason, report.detail), (EndReason::Completed, None));
    assert_eq!(report.exit.unwrap().code, Some(0));
}

#[test]
fn a_relay_can_run_on_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    let (client, server) = (duplex(1).0, duplex(1).0);
    let mut tap = NoTap;
    let session = websocket("v5.channel.k8s.io", true);
    is_send(&relay(
        client,
        server,
        session,
        None,
        std::future::pending(),
        &mut tap,
    ));
}
