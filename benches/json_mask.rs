//! What masking costs: real lists of Secrets and Pods, in chunks as they come off a connection.
//!
//! `secrets` replaces every value; `pods` finds nothing to replace; `pods env` walks into containers. `rsonpath` answers
//! the same query beside each of them: it has the whole text at once, and says where the values are.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use portcullis::policy::mask::{FieldPath, MaskPlan, MaskRule, builtin};
use portcullis::transform::{Placeholders, mask_json};
use rsonpath::engine::{Compiler, Engine, RsonpathEngine};
use rsonpath::input::BorrowedBytes;

fn plan(fields: &[&str]) -> Arc<MaskPlan> {
    let rule = MaskRule {
        name: "bench".to_owned(),
        api_groups: vec![String::new()],
        resources: vec!["*".to_owned()],
        fields: fields
            .iter()
            .flat_map(|field| FieldPath::parse(field))
            .collect(),
        ..MaskRule::default()
    };
    Arc::new(MaskPlan::compile(&[&rule]))
}

fn engine(query: &str) -> RsonpathEngine {
    let parsed = rsonpath_syntax::parse(query).ok();
    let engine = parsed.and_then(|query| RsonpathEngine::compile_query(&query).ok());
    match engine {
        Some(engine) => engine,
        None => unreachable!("{query}"),
    }
}

fn corpus(file: &str) -> Bytes {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/captures/corpus/"
    );
    match std::fs::read(format!("{folder}{file}")) {
        Ok(text) => text.into(),
        Err(error) => unreachable!("{file}: {error}"),
    }
}

fn json_mask(criterion: &mut Criterion) {
    let secrets = Arc::new(MaskPlan::compile(
        &builtin("secrets").iter().collect::<Vec<_>>(),
    ));
    let placeholders = Arc::new(Placeholders::new(&[7; 32]));
    let mut group = criterion.benchmark_group("json_mask");
    for (name, text, plan, query) in [
        (
            "secrets",
            corpus("secrets.list.json"),
            Arc::clone(&secrets),
            "$.items[*].data.*",
        ),
        (
            "pods",
            corpus("pods.list.json"),
            secrets,
            "$.items[*].data.*",
        ),
        (
            "pods env",
            corpus("pods.list.json"),
            plan(&["spec.containers[*].env[*].value"]),
            "$.items[*].spec.containers[*].env[*].value",
        ),
    ] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        let engine = engine(query);
        group.bench_function(BenchmarkId::new(name, "rsonpath"), |bencher| {
            let mut found = Vec::new();
            bencher.iter(|| {
                found.clear();
                engine.approximate_spans(&BorrowedBytes::new(&text), &mut found)
            });
        });
        for size in [4 * 1024, 64 * 1024] {
            let chunks: Vec<Bytes> = (0..text.len())
                .step_by(size)
                .map(|from| text.slice(from..(from + size).min(text.len())))
                .collect();
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| {
                    mask_json(&plan, &placeholders, chunks.iter().cloned(), |bytes| {
                        black_box(bytes);
                    })
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, json_mask);
criterion_main!(benches);
