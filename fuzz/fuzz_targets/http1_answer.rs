//! No bytes panic the reader of answers, no cut changes what is read, and no content is made up.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use portcullis::wire::http1::{Body, Head, Http1Error};

/// Status, content, and how many bytes came behind the answer.
fn read(answer: &[u8], cut: usize) -> Result<(u16, Vec<u8>, usize), Http1Error> {
    let (mut held, mut content, mut behind) = (Vec::new(), BytesMut::new(), 0);
    let mut begun: Option<(u16, Body)> = None;
    for mut piece in answer.chunks(cut) {
        if begun.is_none() {
            let before = held.len();
            held.extend_from_slice(piece);
            let Some((head, length)) = Head::read(&held)? else {
                continue;
            };
            piece = &piece[length - before..];
            begun = Some((head.status.as_u16(), head.body));
        }
        if let Some((_, body)) = &mut begun {
            let taken = body.read(piece, &mut content)?;
            assert!(
                taken == piece.len() || body.is_done(),
                "input was left over"
            );
            behind += piece.len() - taken;
        }
    }
    let (status, mut body) = begun.ok_or(Http1Error::Truncated)?;
    body.end()?;
    assert!(content.len() <= answer.len(), "content is made up");
    Ok((status, content.to_vec(), behind))
}

fuzz_target!(|answer: &[u8]| {
    let whole = read(answer, usize::MAX);
    for cut in [1, 2, 7] {
        let pieces = read(answer, cut);
        // Of two faults in the same bytes either may be found first.
        assert!(
            pieces == whole || pieces.is_err() && whole.is_err(),
            "a cut changes what is read: {whole:?} {pieces:?}"
        );
    }
});
