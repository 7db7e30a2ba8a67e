//! Sessions as they are relayed: what is on tape is what the client got.

use super::*;

fn message(channel: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_message(
        &mut bytes,
        MessageType::Binary,
        &[&[channel], payload].concat(),
        mask,
    );
    bytes
}

fn websocket() -> Session {
    let streams = Streams::RemoteCommand {
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    };
    let protocol = channel::Protocol::parse("v5.channel.k8s.io").unwrap();
    Session::new(streams, Protocol::Channels(protocol))
}

#[tokio::test]
async fn d19_a_session_that_loses_its_recorder_is_told_and_ends() {
    let (shelf, recorder) = on_shelf(|_| {});
    let mut recording = begin(&recorder, RecordMode::Required).await;
    *shelf.room.lock() = Some(0);
    let (mut client, gateway_client) = duplex(4096);
    let (mut server, gateway_server) = duplex(4096);
    let failed = recording.failed();
    let until = async {
        Ending {
            reason: EndReason::RecorderFailed,
            message: failed.await,
        }
    };
    let peers = async {
        server.write_all(&message(1, b"one", None)).await.unwrap();
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.unwrap();
        drop(client);
        String::from_utf8_lossy(&told).into_owned()
    };
    let relay = session::relay(
        gateway_client,
        gateway_server,
        websocket(),
        None,
        until,
        &mut recording,
    );
    let (report, told) = tokio::join!(relay, peers);
    assert_eq!(report.reason, EndReason::RecorderFailed);
    assert!(
        told.contains("storage") && told.contains(r#""code":500"#),
        "{told}"
    );
}

/// What is on tape is compared with what arrived at the client, not with what was sent: a mask works on the
/// bytes before the recorder sees them.
#[tokio::test]
async fn what_is_on_tape_is_what_arrived() {
    let masks = || Some(session::filter::tests::toys());
    for (filters, said, bytes) in [
        (None, "secret: hunter2hunter2 hünter2\n", 32),
        (masks(), "secret: [masked] hünter2\n", 26),
    ] {
        let (shelf, recorder) = on_shelf(|_| {});
        let mut recording = begin(&recorder, RecordMode::Required).await;
        let (mut client, gateway_client) = duplex(4096);
        let (mut server, gateway_server) = duplex(4096);
        let never = std::future::pending::<Ending>();
        let peers = async {
            let frames = [
                message(1, b"secret: hunter2", None),
                message(1, "hunter2 hünter2\n".as_bytes(), None),
            ]
            .concat();
            for byte in frames {
                server.write_all(&[byte]).await.unwrap();
            }
            server.shutdown().await.unwrap();
            let mut arrived = Vec::new();
            client.read_to_end(&mut arrived).await.unwrap();
            drop(client);
            arrived
        };
        let relay = session::relay(
            gateway_client,
            gateway_server,
            websocket(),
            filters,
            never,
            &mut recording,
        );
        let (report, arrived) = tokio::join!(relay, peers);
        recording.seal(&report).await;
        assert_eq!(report.bytes.stdout, bytes);
        let mut wire = session::tap::Wire::new(&websocket(), None);
        let mut expected = Vec::new();
        wire.receive(
            Side::Server,
            &arrived,
            Duration::ZERO,
            &mut Vec::new(),
            &mut |event| {
                if let SessionEvent::Data { bytes, .. } = event {
                    expected.extend_from_slice(bytes);
                }
            },
        )
        .unwrap();
        let (text, _) = shown(&shelf.read("0193-id.cast").unwrap());
        assert_eq!(text.as_bytes(), expected);
        assert_eq!(text, said);
    }
}
