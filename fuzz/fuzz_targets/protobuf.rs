//! No bytes panic the protobuf reader, and no field holds more than its message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::wire::protobuf::{FieldValue, Unknown, fields, is_message, last_bytes};

fn check(message: &[u8], depth: usize) {
    let (mut held, mut count) = (0, 0);
    for field in fields(message).map_while(Result::ok) {
        assert!(field.number > 0);
        count += 1;
        if let FieldValue::Bytes(bytes) = field.value {
            held += bytes.len();
            if depth > 0 && is_message(bytes) {
                check(bytes, depth - 1);
            }
        }
    }
    assert!(held + 2 * count <= message.len());
    assert!(last_bytes(message, 2).len() <= held);
}

fuzz_target!(|input: &[u8]| {
    check(input, 8);
    if let Ok(unknown) = Unknown::parse(input) {
        check(unknown.raw, 8);
    }
});
