//! What masking costs on the whole way an answer takes, from the decision to the last byte: every encoding, and
//! every carrier of secrets.
//!
//! Bytes are those that the API server sent, inflated where they came compressed.

#[path = "support/answers.rs"]
mod answers;

use answers::{Masks, Sent, cases};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const KNOWN: usize = 20_000;

fn masking(criterion: &mut Criterion) {
    let masks = Masks::new(KNOWN);
    let mut group = criterion.benchmark_group("masking");
    for case in cases() {
        let name = case.name;
        let sent = Sent::new(case);
        group.throughput(Throughput::Bytes(sent.bytes as u64));
        group.bench_function(name, |bencher| bencher.iter(|| sent.release(&masks)));
    }
    group.finish();
}

criterion_group!(benches, masking);
criterion_main!(benches);
