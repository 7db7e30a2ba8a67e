//! What recording costs for every megabyte of output.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis::recording::encode::{Encoder, Options};
use portcullis::session::{SessionEvent, SessionStream, Side, StreamType};

const SIZE: usize = 1024 * 1024;
const PIECE: usize = 32 * 1024;

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("asciicast_encode");
    group.throughput(Throughput::Bytes(SIZE as u64));
    let log = "2026-11-20T23:59:59Z INFO request served path=/healthz status=200 took=1.3ms\n";
    let colours = "\x1b[32mok\x1b[0m  src/recording.rs  größer \x1b[1mfett\x1b[0m\r\n";
    let repeat = |text: &str| text.bytes().cycle().take(SIZE).collect::<Vec<u8>>();
    let binary = (0..SIZE)
        .map(|at| u8::try_from((at.wrapping_mul(2_654_435_761) >> 13) & 0xff).unwrap_or(0))
        .collect::<Vec<u8>>();
    for (name, bytes) in [
        ("log", repeat(log)),
        ("terminal", repeat(colours)),
        ("binary", binary),
    ] {
        group.bench_function(name, |bencher| {
            let mut lines = Vec::with_capacity(8 * SIZE);
            bencher.iter(|| {
                lines.clear();
                let mut encoder = Encoder::new(Options::default());
                for piece in bytes.chunks(PIECE) {
                    let event = SessionEvent::Data {
                        stream: SessionStream {
                            kind: StreamType::Stdout,
                            port: None,
                            connection: None,
                        },
                        from: Side::Server,
                        bytes: piece,
                    };
                    encoder.event(black_box(&event), Duration::from_secs(1), &mut lines);
                }
                black_box(lines.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encode);
criterion_main!(benches);
