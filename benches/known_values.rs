//! What looking for known values costs: 20,000 of them, over log lines of 185 bytes.
//!
//! `none` holds no value, as nearly all logs; `some` has one in every hundredth line.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use portcullis::transform::text::known::{Index, Shelf, Value};
use portcullis::transform::{Placeholders, TextMasker, TextMasks};

const VALUES: u64 = 20_000;
const SIZE: usize = 1 << 20;

/// Text of 24 characters that looks random and is the same on every run.
fn value(number: u64) -> String {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bf0_3635;
    let letters = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    (0..24)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let place = usize::try_from(state % letters.len() as u64).unwrap_or_default();
            char::from(letters.get(place).copied().unwrap_or(b'x'))
        })
        .collect()
}

fn log(secret_every: Option<usize>) -> Vec<u8> {
    let mut text = String::with_capacity(SIZE + 200);
    for line in 0.. {
        if text.len() >= SIZE {
            break;
        }
        let secret = secret_every.is_some_and(|every| line % every == 0);
        let session = if secret {
            value(7)
        } else {
            format!("session-{line:016}")
        };
        let begun = text.len();
        let said = format!(
            "2026-11-21T07:09:{:02}.{:06}Z INFO checkout request handled method=POST path=/v1/carts/{line}/items status=200 took={}ms {session} ",
            line % 60,
            line % 1_000_000,
            line % 900
        );
        text.push_str(&said);
        while text.len() - begun < 184 {
            text.push('.');
        }
        text.push('\n');
    }
    text.into_bytes()
}

fn known_values(criterion: &mut Criterion) {
    let values: Vec<Arc<Value>> = (0..VALUES)
        .map(|number| {
            Arc::new(Value {
                bytes: value(number).into_bytes().into(),
                source: "secrets/bench".to_owned(),
            })
        })
        .collect();
    let placeholders = Placeholders::new(&[7; 32]);
    let shelf = Arc::new(Shelf::from_pointee(Index::new(&values, &placeholders)));
    let mut group = criterion.benchmark_group("known_values");
    for (name, text) in [("none", log(None)), ("some", log(Some(100)))] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        for size in [185, 4 * 1024, 64 * 1024] {
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                let masks = TextMasks::new(Some(Arc::clone(&shelf)), None);
                let mut output = Vec::with_capacity(2 * SIZE);
                bencher.iter(|| {
                    let mut masker = TextMasker::new(&masks);
                    output.clear();
                    for chunk in text.chunks(size) {
                        masker.push_to(black_box(chunk), Duration::ZERO, &mut output);
                    }
                    masker.finish_to(&mut output);
                    black_box(output.len())
                });
            });
        }
    }
    group.finish();
    let mut group = criterion.benchmark_group("known_values_index");
    group.sample_size(10);
    group.bench_function("20000", |bencher| {
        bencher.iter(|| black_box(Index::new(&values, &placeholders)).len());
    });
    group.finish();
}

criterion_group!(benches, known_values);
criterion_main!(benches);
