//! Helpers of the node's tests: a server in memory, and readers for what it answers. The readers
//! are written for the tests alone, so that they do not share a mistake with the server.

use std::collections::BTreeMap;
use std::convert::Infallible;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use portcullis::wire::spdy::{Control, Decoder, Frame};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

/// The pod of the captures.
pub(super) fn toolbox() -> PodRef {
    let object = json!({
        "metadata": {"name": "toolbox", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "main", "env": [
            {"name": "DB_PASSWORD", "value": "S3cr3t-Pa55w0rd!"}, {"name": "API_TOKEN", "value": "apitok"},
        ]}]},
        "status": {"phase": "Running"},
    });
    PodRef::new("shop", "toolbox", object)
}

/// A connection to a server that has nothing but `pod`.
pub(super) fn connect(node: &Node, pod: PodRef) -> DuplexStream {
    let (near, far) = tokio::io::duplex(64 << 10);
    let own = node.clone();
    let service = service_fn(move |request| {
        let answer = own.handle(request, pod.clone());
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    node.tasks().spawn(async move {
        let mut server = hyper::server::conn::http1::Builder::new();
        server.title_case_headers(true).half_close(true);
        let connection = server.serve_connection(TokioIo::new(far), service);
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "test connection ended");
        }
    });
    near
}

/// Bytes of a capture.
pub(super) fn capture(scenario: &str, file: &str) -> Vec<u8> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/captures");
    std::fs::read(format!("{root}/{scenario}/{file}")).unwrap()
}

/// Sends the client's bytes of a capture and returns all that comes back. The client's goodbye,
/// at least `goodbye` bytes of it, waits until the server has nothing more to say.
pub(super) async fn replay(
    pod: PodRef,
    scenario: &str,
    connection: &str,
    goodbye: usize,
) -> Vec<u8> {
    let node = Node::new(Settings::default());
    let (mut reading, mut writing) = tokio::io::split(connect(&node, pod));
    let bytes = capture(scenario, &format!("{connection}.client.bin"));
    let (bytes, goodbye) = bytes.split_at(before_goodbye(&bytes).min(bytes.len() - goodbye));
    let mut answer = Vec::new();
    let sending = async {
        // The server may close before it has read everything, as the real one did.
        match writing.write_all(bytes).await {
            Ok(()) | Err(_) => std::future::pending::<()>().await,
        }
    };
    let talking = async {
        while let Ok(Ok(read)) =
            tokio::time::timeout(Duration::from_millis(1500), reading.read_buf(&mut answer)).await
        {
            if read == 0 {
                break;
            }
        }
    };
    tokio::select! {
        () = sending => {}
        () = talking => {}
    }
    if writing.write_all(goodbye).await.is_ok() {
        writing.shutdown().await.unwrap();
    }
    let rest = tokio::time::timeout(Duration::from_secs(20), reading.read_to_end(&mut answer));
    rest.await.expect("the server closes").unwrap();
    answer
}

/// Where a client begins to take its leave: a WebSocket close, or SPDY resets and GOAWAY.
fn before_goodbye(bytes: &[u8]) -> usize {
    let mut end = bytes.len();
    if bytes[..end]
        .get(end - 8..)
        .is_some_and(|tail| tail.starts_with(&[0x88, 0x82]))
    {
        return end - 8;
    }
    while let [0x80, 3, 0, 3 | 7, ..] = bytes[end - 16..end] {
        end -= 16;
    }
    end
}

/// Status line and headers in an order of their own, without what differs at every run; and what
/// follows the head.
pub(super) fn head(bytes: &[u8]) -> (Vec<String>, Vec<u8>) {
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a whole head")
        + 4;
    let text = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = text.lines();
    let status = lines.next().unwrap().to_owned();
    let mut headers: Vec<String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| format!("{}: {}", name.to_lowercase(), value.trim()))
        .filter(|line| !line.starts_with("date:") && !line.starts_with("audit-id:"))
        // hyper tells the length of an empty body, the real server only closes.
        .filter(|line| line != "content-length: 0")
        .collect();
    headers.sort();
    headers.insert(0, status);
    (headers, bytes[end..].to_vec())
}

/// The messages of a server: opcode and payload.
pub(super) fn messages(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        assert_eq!(first & 0xf0, 0x80, "whole messages only");
        let (length, rest) = match second {
            126 => (
                usize::from(u16::from_be_bytes([rest[0], rest[1]])),
                &rest[2..],
            ),
            127 => (
                usize::try_from(u64::from_be_bytes(rest[..8].try_into().unwrap())).unwrap(),
                &rest[8..],
            ),
            length => (usize::from(*length), rest),
        };
        all.push((first & 0x0f, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    all
}

/// What was sent on each channel, joined.
pub(super) fn channels(messages: &[(u8, Vec<u8>)]) -> BTreeMap<u8, Vec<u8>> {
    let mut channels = BTreeMap::<u8, Vec<u8>>::new();
    for (_, payload) in messages.iter().filter(|(opcode, _)| *opcode != 8) {
        channels
            .entry(payload[0])
            .or_default()
            .extend_from_slice(&payload[1..]);
    }
    channels
}

/// What came on a stream: its data, and the frames that opened and ended it.
pub(super) type Stream = (Vec<u8>, Vec<String>);

/// What a SPDY server sent: for each stream its data and what ended it, and the last control frame.
pub(super) fn streams(mut bytes: &[u8]) -> (BTreeMap<u32, Stream>, Vec<String>) {
    let mut decoder = Decoder::new();
    let mut streams = BTreeMap::<u32, Stream>::new();
    let mut control = Vec::new();
    let mut current = 0;
    while let Some(frame) = decoder.next(&mut bytes).unwrap() {
        match frame {
            Frame::Data { stream, fin, .. } => {
                current = stream;
                let entry = streams.entry(stream).or_default();
                entry.1.extend(fin.then(|| "FIN".to_owned()));
            }
            Frame::Payload { bytes, .. } => streams
                .entry(current)
                .or_default()
                .0
                .extend_from_slice(bytes),
            Frame::Control(Control::SynReply { stream, .. }, raw) => {
                streams
                    .entry(stream)
                    .or_default()
                    .1
                    .push(format!("REPLY {}", raw.len()));
            }
            Frame::Control(Control::RstStream { stream, status }, _) => {
                streams
                    .entry(stream)
                    .or_default()
                    .1
                    .push(format!("RST {status}"));
            }
            Frame::Control(other, _) => control.push(format!("{other:?}")),
        }
    }
    (streams, control)
}

/// A text with the identifiers that every run makes anew replaced.
pub(super) fn without_ids(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let is_id = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words: Vec<String> = text
        .split(|c: char| !c.is_ascii_hexdigit())
        .filter(is_id)
        .map(str::to_owned)
        .collect();
    let text = words
        .iter()
        .fold(text.clone(), |text, id| text.replace(id, "ID"));
    // The network namespace is made up too; in JSON the quote behind it is escaped.
    let Some((before, after)) = text.split_once("/cni-") else {
        return text;
    };
    let end = after.find(['"', '\\']).unwrap_or(0);
    format!("{before}/cni{}", after.split_at(end).1)
}
