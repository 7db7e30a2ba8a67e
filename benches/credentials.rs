//! What looking for credentials costs for every megabyte of a stream.
//!
//! `log` has none, as nearly all logs; `json` has names that lead to values in every line; `secrets` is
//! an environment in which every second line is masked.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis::transform::{Placeholders, mask_credentials};

const SIZE: usize = 1024 * 1024;
const PIECE: usize = 32 * 1024;

fn credentials(criterion: &mut Criterion) {
    let placeholders = Arc::new(Placeholders::new(&[7; 32]));
    let mut group = criterion.benchmark_group("credentials");
    group.throughput(Throughput::Bytes(SIZE as u64));
    for (name, line) in [
        (
            "log",
            "10.0.0.7 - bob [21/Nov/2026:10:00:00 +0000] \"GET /api/v1/pods?limit=500 HTTP/1.1\" 200 612\n",
        ),
        (
            "json",
            "{\"level\":\"info\",\"ts\":1763719200.1,\"token\":null,\"msg\":\"see http://localhost:8080/x\"}\n",
        ),
        (
            "secrets",
            "HOSTNAME=web-0\nDB_PASSWORD=correct-horse-battery\nPATH=/usr/bin\nAPI_TOKEN=hunter2-hunter2\n",
        ),
    ] {
        let text = Bytes::from(line.bytes().cycle().take(SIZE).collect::<Vec<u8>>());
        let chunks: Vec<Bytes> = (0..SIZE)
            .step_by(PIECE)
            .map(|from| text.slice(from..from + PIECE))
            .collect();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                mask_credentials(&placeholders, chunks.iter().cloned().map(Some), |bytes| {
                    black_box(bytes);
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, credentials);
criterion_main!(benches);
