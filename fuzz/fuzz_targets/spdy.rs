//! No bytes panic the SPDY decoder or its header blocks, and no cut changes what is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::wire::spdy::frame::{Control, Decoder, Frame, FrameError};
use portcullis::wire::spdy::headers::Inflater;

/// What was read, with payloads joined: a cut may split a payload.
fn read(chunks: [&[u8]; 2]) -> (Vec<String>, Vec<u8>, Option<FrameError>) {
    let mut decoder = Decoder::new();
    let mut inflater = Some(Inflater::new());
    let (mut seen, mut payload) = (Vec::new(), Vec::new());
    for mut chunk in chunks {
        loop {
            match decoder.next(&mut chunk) {
                Ok(Some(Frame::Payload { bytes, .. })) => payload.extend_from_slice(bytes),
                Ok(Some(Frame::Control(control, raw))) => {
                    seen.push(format!("{control:?} {}", raw.len()));
                    let block = match control {
                        Control::SynStream { block, .. } | Control::SynReply { block, .. } => block,
                        _ => continue,
                    };
                    // After a broken block the shared window is lost, and so is the connection.
                    let Some(mut inflate) = inflater.take() else {
                        continue;
                    };
                    let headers = inflate.block(block);
                    seen.push(format!("{headers:?}"));
                    inflater = headers.is_ok().then_some(inflate);
                }
                Ok(Some(frame)) => seen.push(format!("{frame:?}")),
                Ok(None) => break,
                Err(error) => return (seen, payload, Some(error)),
            }
        }
        assert!(chunk.is_empty(), "input was left over");
    }
    (seen, payload, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((&cut, bytes)) = input.split_first() else {
        return;
    };
    let (head, tail) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(
        read([bytes, &[]]),
        read([head, tail]),
        "a cut changes what is read"
    );
});
