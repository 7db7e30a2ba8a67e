//! No text panics the masker, no cut changes the outcome, and where the text is a Secret no value
//! below `data` leaves.
#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use portcullis::policy::mask::{MaskPlan, builtin};
use portcullis::transform::{Placeholders, mask_json};
use serde_json::Value;

static PLAN: LazyLock<Arc<MaskPlan>> = LazyLock::new(|| {
    let secrets = builtin("secrets");
    Arc::new(MaskPlan::compile(&secrets.iter().collect::<Vec<_>>()))
});
static PLACEHOLDERS: LazyLock<Arc<Placeholders>> =
    LazyLock::new(|| Arc::new(Placeholders::new(&[7; 32])));

fn mask(chunks: &[&[u8]]) -> Option<(Vec<u8>, u64)> {
    let chunks = chunks.iter().map(|chunk| Bytes::copy_from_slice(chunk));
    let mut text = Vec::new();
    let masked = mask_json(&PLAN, &PLACEHOLDERS, chunks, |bytes| {
        text.extend_from_slice(&bytes)
    });
    masked.ok().map(|masked| (text, masked))
}

fuzz_target!(|input: &[u8]| {
    // The first byte says where the rest is cut.
    let Some((cut, text)) = input.split_first() else {
        return;
    };
    let whole = mask(&[text]);
    let (head, tail) = text.split_at(text.len() * usize::from(*cut) / 256);
    assert_eq!(mask(&[head, tail]), whole);
    let Some((masked, count)) = whole else {
        return;
    };
    if count == 0 {
        assert_eq!(masked, text);
    }
    if serde_json::from_slice::<Value>(text).is_err() {
        return;
    }
    let masked: Value = serde_json::from_slice(&masked).expect("JSON stays JSON");
    for root in [&masked, &masked["object"]] {
        match &root["data"] {
            Value::Object(data) => {
                for value in data.values() {
                    // base64 of `[masked:v1:`
                    assert!(
                        value
                            .as_str()
                            .is_some_and(|value| value.starts_with("W21hc2tlZDp2MT"))
                    );
                }
            }
            Value::Null => {}
            value => assert!(
                value
                    .as_str()
                    .is_some_and(|value| value.starts_with("[masked:v1:"))
            ),
        }
    }
});
