//! What reading the bytes of a connection costs, before anybody looks at what they say: bodies of HTTP/1.1, frames of
//! `WebSocket` and of SPDY, JSON, protobuf, and request lines.
//!
//! Run with `cargo bench --bench wire`. Of each there is what is common and what is worst: as little as possible in
//! each chunk, frame or value.

use std::hint::black_box;
use std::time::Duration;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::Method;
use portcullis::request::RequestInfo;
use portcullis::wire::events::EventCounter;
use portcullis::wire::http1::Head;
use portcullis::wire::json::{Documents, Scanner, Step};
use portcullis::wire::protobuf::{self, FieldValue};
use portcullis::wire::side::Side;
use portcullis::wire::spdy::frame::{put_data, put_syn_reply, put_syn_stream};
use portcullis::wire::spdy::{Connection, Deflater, Expected};
use portcullis::wire::websocket::{Decoder, Frame, MessageType, put_message};

/// As much as is read off a connection at a time.
const PIECE_BYTES: usize = 64 * 1024;
const SIZE: usize = 1024 * 1024;

/// A small event of a watch.
const SMALL_BYTES: usize = 300;

fn capture(file: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/captures/");
    match std::fs::read(format!("{folder}{file}")) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("{file}: {error}"),
    }
}

/// A chunked body (RFC 9112, section 7.1).
fn chunked(content: &[u8], size: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in content.chunks(size) {
        body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

fn http1_body(criterion: &mut Criterion) {
    let content = capture("corpus/pods.list.json");
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut group = criterion.benchmark_group("http1_body");
    for size in [16 * 1024, SMALL_BYTES, 1] {
        let sent = chunked(&content, size);
        group.throughput(Throughput::Bytes(sent.len() as u64));
        group.bench_function(format!("chunks of {size}"), |bencher| {
            let mut read = BytesMut::with_capacity(content.len());
            bencher.iter(|| {
                read.clear();
                let Ok(Some((Head { mut body, .. }, _))) = Head::read(head) else {
                    unreachable!("it is a head");
                };
                for piece in sent.chunks(PIECE_BYTES) {
                    assert_eq!(body.read(piece, &mut read), Ok(piece.len()));
                }
                assert!(body.is_done());
            });
        });
    }
    group.finish();
}

fn websocket(criterion: &mut Criterion) {
    let output = capture("exec-large-1.36/002.server.bin");
    let head = memchr::memmem::find(&output, b"\r\n\r\n").map_or(0, |at| at + 4);
    let (_head, output) = output.split_at(head);
    let mut keys = Vec::new();
    while keys.len() < SIZE {
        put_message(&mut keys, MessageType::Binary, b"\x00k", Some([1, 2, 3, 4]));
    }
    let mut group = criterion.benchmark_group("websocket");
    for (name, side, sent) in [
        ("output of a command", Side::Server, output),
        ("keystrokes", Side::Client, &keys[..]),
    ] {
        group.throughput(Throughput::Bytes(sent.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut decoder = Decoder::new(side);
                let mut content = 0;
                for mut piece in sent.chunks(PIECE_BYTES) {
                    while let Some(frame) = frame(&mut decoder, &mut piece) {
                        content += frame;
                    }
                }
                black_box(content)
            });
        });
    }
    group.finish();
}

/// How many bytes of content the next frame has here.
fn frame(decoder: &mut Decoder, piece: &mut &[u8]) -> Option<usize> {
    match decoder.next(piece) {
        Ok(frame) => frame.map(|frame| match frame {
            Frame::Payload { bytes, .. } => bytes.len(),
            Frame::Control(..) | Frame::Data(..) => 0,
        }),
        Err(error) => unreachable!("{error}"),
    }
}

/// The stream of SPDY on which a command prints.
const STDOUT: u32 = 1;

/// A connection on which a command may print.
fn printing() -> Connection {
    let mut connection = Connection::new(Expected::RemoteCommand {
        stdin: false,
        stdout: true,
        stderr: false,
        tty: false,
    });
    let block = |headers: &[(&str, &str)]| {
        let block = Deflater::new().and_then(|mut deflater| deflater.block(headers));
        block.unwrap_or_else(|error| unreachable!("{error}"))
    };
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    put_syn_stream(
        &mut asked,
        STDOUT,
        false,
        &block(&[("streamtype", "stdout")]),
    );
    put_syn_reply(&mut answered, STDOUT, false, &block(&[]));
    receive(&mut connection, Side::Client, &asked, &mut Vec::new());
    receive(&mut connection, Side::Server, &answered, &mut Vec::new());
    connection
}

fn receive(connection: &mut Connection, side: Side, bytes: &[u8], passed: &mut Vec<u8>) {
    let heard = connection.receive(side, bytes, Duration::ZERO, passed, &mut |_, _| {});
    assert!(heard.is_ok(), "{heard:?}");
}

fn spdy(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spdy");
    for size in [32 * 1024, 1] {
        let mut sent = Vec::new();
        while sent.len() < SIZE {
            put_data(&mut sent, STDOUT, false, &vec![b'x'; size]);
        }
        group.throughput(Throughput::Bytes(sent.len() as u64));
        group.bench_function(format!("frames of {size}"), |bencher| {
            let mut passed = Vec::with_capacity(2 * sent.len());
            bencher.iter(|| {
                passed.clear();
                let mut connection = printing();
                for piece in sent.chunks(PIECE_BYTES) {
                    receive(&mut connection, Side::Server, piece, &mut passed);
                }
                assert_eq!(passed.len(), sent.len());
            });
        });
    }
    group.finish();
}

fn json(criterion: &mut Criterion) {
    let pods = capture("corpus/pods.list.json");
    let worst = format!("[{}0]", "0,".repeat(SIZE / 2)).into_bytes();
    let mut group = criterion.benchmark_group("json");
    for (name, text, skips) in [
        ("every value", &pods, false),
        ("the end of all", &pods, true),
        ("every value of one byte", &worst, false),
    ] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut scanner = Scanner::new(Documents::One);
                let (mut cursor, mut steps) = (0, 0_usize);
                loop {
                    match scanner.step(text, &mut cursor) {
                        Ok(Step::More) => break,
                        Ok(Step::Begin(_)) if skips => scanner.skip_value(),
                        Ok(_) => steps += 1,
                        Err(error) => unreachable!("{error}"),
                    }
                }
                assert_eq!(scanner.finish(), Ok(false));
                black_box(steps)
            });
        });
    }
    group.finish();
}

fn protobuf_fields(criterion: &mut Criterion) {
    fn walk(message: &[u8], depth: usize) -> usize {
        let fields = protobuf::fields(message).flatten();
        fields
            .map(|field| match field.value {
                FieldValue::Bytes(bytes) if depth > 0 => 1 + walk(bytes, depth - 1),
                _ => 1,
            })
            .sum()
    }
    let pods = capture("corpus/pods.list.pb");
    let mut group = criterion.benchmark_group("protobuf");
    group.throughput(Throughput::Bytes(pods.len() as u64));
    group.bench_function("every field, seven deep", |bencher| {
        bencher.iter(|| black_box(walk(pods.get(4..).unwrap_or_default(), 7)));
    });
    group.finish();
}

fn events(criterion: &mut Criterion) {
    let lines = capture("corpus/secrets.watch.jsonl");
    let mut group = criterion.benchmark_group("events");
    for (name, text) in [("of a watch", lines), ("of one byte", vec![b'\n'; SIZE])] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut counter = EventCounter::of("application/json");
                for piece in text.chunks(PIECE_BYTES) {
                    if let Some(counter) = &mut counter {
                        counter.push(piece);
                    }
                }
                black_box(counter)
            });
        });
    }
    group.finish();
}

fn request_line(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("request_line");
    for (name, target) in [
        ("get", "/api/v1/namespaces/shop/configmaps/settings".to_owned()),
        (
            "watch",
            "/apis/apps/v1/deployments?allowWatchBookmarks=true&resourceVersion=12345678&timeoutSeconds=543&watch=true"
                .to_owned(),
        ),
        (
            "exec",
            "/api/v1/namespaces/shop/pods/web-5d8f7c9b4-x2x7p/exec?command=sh&command=-c&command=ls%20-l%20%2Fetc&container=web&stdin=true&stdout=true&tty=true"
                .to_owned(),
        ),
        (
            "labels of 2 KB",
            format!("/api/v1/pods?labelSelector=app%20in%20%28{}x%29", "web-frontend%2C".repeat(140)),
        ),
    ] {
        group.throughput(Throughput::Bytes(target.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let info = RequestInfo::parse(&Method::GET, black_box(&target));
                assert!(info.is_ok());
                info
            });
        });
    }
    group.finish();
}

criterion_group!(
    benches,
    http1_body,
    websocket,
    spdy,
    json,
    protobuf_fields,
    events,
    request_line
);
criterion_main!(benches);
