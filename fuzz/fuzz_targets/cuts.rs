//! Shared by the session targets: a made-up session through the taps, whole and cut to pieces.

use std::time::Duration;

use portcullis::session::tap::Wire;
use portcullis::session::{Session, SessionEvent, Side};

/// What one passage gave.
#[derive(Debug, Default, PartialEq)]
struct Passage {
    /// What went on to the server, and to the client.
    passed: [Vec<u8>; 2],
    /// Payload by stream, and the other events in order.
    data: Vec<(String, Vec<u8>)>,
    others: Vec<String>,
    error: Option<String>,
}

/// Lets `input` through the wire of `session`: turns of a side and a length, then that many bytes.
///
/// However the bytes are cut, the same must be seen and the same must pass, and little may be held.
/// `rewraps`: the wire cuts messages of its own where the input was cut.
pub fn check(session: &Session, input: &[u8], rewraps: bool) {
    let whole = pass(session, input, usize::MAX);
    for cut in [1, 3] {
        let pieces = pass(session, input, cut);
        // What stood before an error in the same bytes may or may not have been seen.
        if whole.error.is_some() || pieces.error.is_some() {
            // Of two errors in the same bytes either may be found first.
            let both = whole.error.is_some() && pieces.error.is_some();
            assert!(
                both,
                "a cut makes an error: {:?} {:?}",
                whole.error, pieces.error
            );
            continue;
        }
        assert_eq!(whole.data, pieces.data, "a cut changes the payload");
        assert_eq!(whole.others, pieces.others, "a cut changes the events");
        assert!(
            rewraps || whole.passed == pieces.passed,
            "a cut changes what passes"
        );
    }
}

fn pass(session: &Session, input: &[u8], cut: usize) -> Passage {
    let mut wire = Wire::new(session, None);
    let mut passage = Passage::default();
    let mut rest = input;
    while let Some(([turn, length], after)) = rest.split_first_chunk::<2>() {
        let side = if turn & 1 == 0 {
            Side::Client
        } else {
            Side::Server
        };
        let length = usize::from(*length) + (usize::from(turn >> 4) << 8);
        let (bytes, after) = after.split_at(length.min(after.len()));
        rest = after;
        for piece in bytes.chunks(cut) {
            let Passage {
                passed,
                data,
                others,
                error,
            } = &mut passage;
            let output = &mut passed[usize::from(side == Side::Server)];
            let before = output.len();
            let result = wire.receive(
                side,
                piece,
                Duration::ZERO,
                output,
                &mut |event| match event {
                    SessionEvent::Data {
                        stream,
                        from,
                        bytes,
                    } => {
                        assert!(!bytes.is_empty());
                        let name = format!("{stream:?} {from:?}");
                        match data.iter_mut().find(|(other, _)| *other == name) {
                            Some((_, joined)) => joined.extend_from_slice(bytes),
                            None => data.push((name, bytes.to_vec())),
                        }
                    }
                    other => others.push(format!("{other:?}")),
                },
            );
            assert!(wire.held() <= 400 * 1024, "{} bytes are held", wire.held());
            assert!(
                output.len() - before <= piece.len() + 400 * 1024,
                "more passes than came"
            );
            if let Err(failure) = result {
                *error = Some(failure.to_string());
                return passage;
            }
        }
    }
    passage
}
