//! No text panics the maskers of text, no cut changes what the known values leave, and no known value leaves.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use portcullis::transform::text::known::{Index, Shelf, Value};
use portcullis::transform::{Placeholders, TextMasker, TextMasks};

const VALUES: [&str; 3] = [
    "hunter2!hunter2!",
    "hunter2!and more \"<quoted>\"",
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKjMzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dV",
];

static PLACEHOLDERS: LazyLock<Arc<Placeholders>> =
    LazyLock::new(|| Arc::new(Placeholders::new(&[7; 32])));
static SHELF: LazyLock<Arc<Shelf>> = LazyLock::new(|| {
    let values = VALUES.map(|text| {
        Arc::new(Value {
            bytes: text.as_bytes().to_vec().into(),
            source: "secrets/fuzz".to_owned(),
        })
    });
    Arc::new(Shelf::from_pointee(Index::new(&values, &PLACEHOLDERS)))
});

/// Masks pieces, with a pause behind each where `pauses`.
fn mask(masks: &TextMasks, pieces: &[&[u8]], pauses: bool) -> Vec<u8> {
    let mut masker = TextMasker::new(masks);
    let mut output = Vec::new();
    for piece in pieces {
        masker.push_to(piece, Duration::ZERO, &mut output);
        if pauses {
            masker.release_to(Duration::MAX, &mut output);
        }
    }
    masker.finish_to(&mut output);
    output
}

fn holds(text: &[u8], value: &str) -> bool {
    text.windows(value.len())
        .any(|window| window == value.as_bytes())
}

fuzz_target!(|input: &[u8]| {
    // The first byte says where the rest is cut.
    let Some((cut, text)) = input.split_first() else {
        return;
    };
    let (head, tail) = text.split_at(text.len() * usize::from(*cut) / 256);
    let known = TextMasks::new(Some(Arc::clone(&SHELF)), None);
    let whole = mask(&known, &[text], false);
    // A piece that ends in white space does not wait for what follows.
    if !head.last().is_some_and(u8::is_ascii_whitespace) {
        assert_eq!(mask(&known, &[head, tail], false), whole);
    }
    let both = TextMasks::new(Some(Arc::clone(&SHELF)), Some(Arc::clone(&PLACEHOLDERS)));
    let bytes: Vec<&[u8]> = text.chunks(1).collect();
    for masked in [
        whole,
        mask(&known, &[head, tail], true),
        mask(&both, &[text], false),
        mask(&both, &bytes, false),
    ] {
        for value in VALUES {
            assert!(!holds(&masked, value));
        }
    }
});
