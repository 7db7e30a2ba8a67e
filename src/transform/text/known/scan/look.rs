//! Says what stands where a form of a known value may begin.

use super::super::forms::plain::{self, Unit};
use super::super::index::{Candidates, Index, KEY_BYTES};
use super::{CONFIRMED_BYTES, End, SPAN_BYTES_MAX};

/// What stands at one place of a stream.
pub(super) enum Verdict {
    /// No known value.
    Nothing,
    /// A form, up to this place.
    Complete { form: u32, behind: usize },
    /// The beginning of a form so long that it can be no other text, up to this place.
    Confirmed {
        candidates: Candidates,
        depth: usize,
        behind: usize,
    },
    /// More bytes are needed to say.
    Open,
}

/// What stands at `at`, where the key of `candidates` was found.
pub(super) fn look(
    index: &Index,
    text: &[u8],
    at: usize,
    candidates: Candidates,
    end: End,
) -> Verdict {
    let mut candidates = candidates;
    let mut place = at;
    let mut depth = 0;
    let mut complete = None;
    'units: while place - at <= SPAN_BYTES_MAX {
        let unit = match text.get(place) {
            Some(_) => plain::read(text, place, end != End::Open),
            None => Unit::More,
        };
        match unit {
            Unit::More if end != End::Open && complete.is_some() => break,
            Unit::More => return Verdict::Open,
            Unit::Nothing { width } => {
                place += width;
                continue;
            }
            Unit::Is {
                bytes,
                count,
                width,
            } => {
                for byte in bytes.into_iter().take(count) {
                    if depth >= KEY_BYTES {
                        match index.narrow(candidates, depth, byte) {
                            Some(fewer) => candidates = fewer,
                            None => break 'units,
                        }
                    }
                    depth += 1;
                }
                place += width;
            }
        }
        if depth < KEY_BYTES {
            continue;
        }
        let (form, longer) = index.complete(candidates, depth);
        if let Some(form) = form {
            complete = Some((form, place));
        }
        if depth >= CONFIRMED_BYTES {
            return Verdict::Confirmed {
                candidates,
                depth,
                behind: place,
            };
        }
        if !longer {
            break;
        }
    }
    complete.map_or(Verdict::Nothing, |(form, behind)| Verdict::Complete {
        form,
        behind,
    })
}
