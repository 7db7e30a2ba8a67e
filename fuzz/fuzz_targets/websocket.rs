//! No bytes panic the WebSocket decoder, no cut changes what is read, and every byte is handed out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::wire::side::Side;
use portcullis::wire::websocket::{Decoder, Frame, WebSocketError};

/// What was read: heads and control frames, joined payload, and the bytes as they came.
fn read(
    side: Side,
    bytes: &[u8],
    cut: usize,
) -> (Vec<String>, Vec<u8>, Vec<u8>, Option<WebSocketError>) {
    let mut decoder = Decoder::new(side);
    let (mut seen, mut payload, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for mut chunk in bytes.chunks(cut) {
        loop {
            match decoder.next(&mut chunk) {
                Ok(Some(Frame::Control(kind, content, bytes))) => {
                    seen.push(format!("{kind:?} {content:?}"));
                    raw.extend_from_slice(bytes);
                }
                Ok(Some(Frame::Data(head, bytes))) => {
                    seen.push(format!("{head:?}"));
                    raw.extend_from_slice(bytes);
                }
                Ok(Some(Frame::Payload {
                    bytes,
                    raw: as_it_came,
                    ..
                })) => {
                    payload.extend_from_slice(bytes);
                    raw.extend_from_slice(as_it_came);
                }
                Ok(None) => break,
                Err(error) => return (seen, payload, raw, Some(error)),
            }
        }
        assert!(chunk.is_empty(), "input was left over");
        assert!(decoder.held() <= 14 + 125, "more than a head is held");
    }
    (seen, payload, raw, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else {
        return;
    };
    let side = if choice & 1 == 0 {
        Side::Client
    } else {
        Side::Server
    };
    let whole = read(side, bytes, usize::MAX);
    assert!(
        bytes.starts_with(&whole.2),
        "bytes are handed out that did not come"
    );
    for cut in [1, 2, 7] {
        assert_eq!(read(side, bytes, cut), whole, "a cut changes what is read");
    }
});
