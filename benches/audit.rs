//! How many events the audit log takes: what the chain costs, what a log on a disk costs, and what it costs to prove one.

#![expect(
    clippy::expect_used,
    reason = "a benchmark stops at what it did not expect"
)]

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use portcullis::audit::chain::Link;
use portcullis::audit::{AuditLog, Event, Settings};

/// Events of one round: more than the log holds in memory.
const EVENTS: usize = 4096;

/// An event as kubectl causes it.
fn event() -> Event {
    let mut headers = HeaderMap::new();
    headers.insert(
        "user-agent",
        HeaderValue::from_static("kubectl/v1.36.2 (linux/amd64) kubernetes/abc"),
    );
    headers.insert("kubectl-command", HeaderValue::from_static("kubectl get"));
    headers.insert(
        "kubectl-session",
        HeaderValue::from_static("0b7f0c5d-9a11-4c31-9d0e-5b7f0c5d9a11"),
    );
    let target = "/api/v1/namespaces/shop/pods?limit=500";
    let peer = Ipv4Addr::LOCALHOST.into();
    let id = "0199c7a1-52f0-7c31-9d0e-5b7f0c5d9a11";
    let mut event = Event::received(id, "GET", target, &headers, peer, Timestamp::UNIX_EPOCH);
    for (key, value) in [
        ("portcullis.dev/decision", "allow"),
        ("portcullis.dev/rule", "developers/everything"),
        ("portcullis.dev/cluster", "east"),
        ("portcullis.dev/issuer", "https://issuer.example"),
        ("portcullis.dev/subject", "248289761001"),
        ("portcullis.dev/bytes", "48211"),
    ] {
        event.annotate(key, value);
    }
    event.answered(StatusCode::OK, None, None);
    event
}

fn throughput(bytes: usize) -> Throughput {
    Throughput::ElementsAndBytes {
        elements: EVENTS as u64,
        bytes: bytes as u64,
    }
}

/// What one core does: the event as a line, and its link.
fn chain(criterion: &mut Criterion) {
    let event = event();
    let line = event.line();
    let mut group = criterion.benchmark_group("audit_chain");
    group.throughput(throughput(EVENTS * line.len()));
    group.bench_function("link", |bencher| {
        let mut batch = Vec::new();
        bencher.iter(|| {
            let mut link = Link::GENESIS;
            for _ in 0..EVENTS {
                batch.clear();
                link.bind(black_box(&line), &mut batch);
                link = link.after(&batch);
            }
            black_box(link)
        });
    });
    group.bench_function("serialize", |bencher| {
        bencher.iter(|| {
            for _ in 0..EVENTS {
                black_box(black_box(&event).line());
            }
        });
    });
    group.finish();
}

/// From many requests to the file, through the log's own thread; synced and sealed behind it once a second.
fn log(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings::new(&folder.path().join("audit.jsonl"), folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let entered = runtime.enter();
    let log = AuditLog::open(&settings).expect("a log");
    drop(entered);
    let event = event();
    let mut group = criterion.benchmark_group("audit_log");
    group.throughput(throughput(EVENTS * event.line().len()));
    group.bench_function("written", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let mut last = None;
                for _ in 0..EVENTS {
                    let place = log.place().await.expect("a place");
                    last = Some(place.write(&event));
                }
                last.expect("an event").await.expect("the file has it");
            });
        });
    });
    group.finish();
}

criterion_group!(benches, chain, log);
criterion_main!(benches);
