//! Walks one stream and masks known values in it.
//!
//! ```text
//! passing --(a form's first 8 bytes)--> comparing --(complete, or 64 bytes long)--> masked
//!    ^                                     |   |
//!    '---------(another byte)--------------'   '--(the stream pauses)--> held, at most 20 ms
//! ```
//!
//! * Bytes are held back only while they may be the beginning of a value, and never more than
//!   [`CONFIRMED_BYTES`] of them and a few line breaks. [`Scanner::release`] says that the reader
//!   cannot wait any longer: fewer than eight bytes leave as they are, more are masked as the value
//!   they begin. So a value that arrives byte by byte, slower than the reader waits, shows seven bytes
//!   at most.
//! * A value longer than [`CONFIRMED_BYTES`] is masked from there on as it goes; if the stream then
//!   says something else, only what was equal has been masked.
//! * A line break within a value does not hide it: `base64` breaks its lines, terminals do.

use std::ops::Range;
use std::sync::Arc;

use super::index::{Candidates, Index, KEY_BYTES};
use crate::transform::output::Sink;
use crate::transform::report::Tally;

/// So many bytes in common are no coincidence.
const CONFIRMED_BYTES: usize = 64;

/// Line breaks that may stand within the compared bytes: CR LF after every 19 characters.
const BREAK_BYTES_MAX: usize = 8;

/// What one stream has in memory at the most, in bytes.
const HELD_BYTES_MAX: usize = CONFIRMED_BYTES + BREAK_BYTES_MAX;

/// Masks the known values of one stream.
pub struct Scanner {
    index: Arc<Index>,
    /// The end of what was pushed, while it may begin a value.
    held: Vec<u8>,
    /// How many of `held` have left already, because their reader could not wait.
    released: usize,
    /// A long value that is being masked as it comes.
    swallowing: Option<Swallowing>,
    tally: Tally,
}

#[derive(Clone, Copy)]
struct Swallowing {
    candidates: Candidates,
    depth: usize,
}

/// What stands at one place of a stream.
enum Verdict {
    /// No known value.
    Nothing,
    /// A form, up to this place.
    Complete { form: u32, end: usize },
    /// The beginning of a form so long that it can be no other text, up to this place.
    Confirmed { swallowing: Swallowing, end: usize },
    /// More bytes are needed to say.
    Open(Swallowing),
}

/// What may come where the bytes end.
#[derive(Clone, Copy, Eq, PartialEq)]
enum End {
    /// More, at any time.
    Open,
    /// Nothing for now: nobody can wait, or the reader has cut the text off where it wanted.
    Final,
    /// Nothing: whoever wrote the text ended it here.
    Written,
}

/// The result of a walk, in order.
enum Piece<'a> {
    /// These bytes pass.
    Text(Range<usize>),
    /// This stands in the place of others.
    Instead(&'a str),
}

impl Scanner {
    /// A scanner at the beginning of a stream.
    pub fn new(index: Arc<Index>) -> Self {
        Self {
            index,
            held: Vec::new(),
            released: 0,
            swallowing: None,
            tally: Tally::default(),
        }
    }

    /// Goes on with the values of `index`, which may be newer, if it is between two values.
    pub fn refresh(&mut self, index: &Arc<Index>) {
        if self.held.is_empty() && self.swallowing.is_none() && !Arc::ptr_eq(&self.index, index) {
            self.index = Arc::clone(index);
        }
    }

    /// Whether bytes are held back, so that [`Self::release`] is due after a pause.
    pub fn waits(&self) -> bool {
        self.held.len() > self.released
    }

    /// What was masked since the last call: where the values come from.
    pub(in crate::transform) fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// Takes the next bytes of the stream; they are the chunk that `sink` copies from.
    pub(in crate::transform) fn push(&mut self, chunk: &[u8], sink: &mut impl Sink) {
        let Some(from) = self.bridge(chunk, sink) else {
            return;
        };
        let mut pass = |piece: Piece<'_>| match piece {
            Piece::Text(span) => sink.copy(span),
            Piece::Instead(text) => sink.write(text.as_bytes()),
        };
        let stop = self.walk(chunk, from, chunk.len(), End::Open, &mut pass);
        self.hold(chunk, stop, 0);
    }

    /// The reader cannot wait: lets go what is held, masked if it is a value or the better part of one.
    pub(in crate::transform) fn release(&mut self, sink: &mut impl Sink) {
        let text = std::mem::take(&mut self.held);
        let released = self.released;
        let tail = self.walk(
            &text,
            0,
            text.len(),
            End::Final,
            &mut rewrite(&text, released, sink),
        );
        // What has left may still turn out to begin a value.
        self.hold(&text, tail, text.len());
    }

    /// The stream ends, maybe in the middle of a value.
    pub(in crate::transform) fn finish(&mut self, sink: &mut impl Sink) {
        self.release(sink);
        self.reset();
    }

    /// The stream ends where its writer ended it. Fewer than half of a value is other text then, such as
    /// the `https://` that some value begins with.
    pub(in crate::transform) fn finish_written(&mut self, sink: &mut impl Sink) {
        if !self.held.is_empty() {
            let text = std::mem::take(&mut self.held);
            let mut out = rewrite(&text, self.released, sink);
            self.walk(&text, 0, text.len(), End::Written, &mut out);
        }
        self.reset();
    }

    fn reset(&mut self) {
        self.held.clear();
        self.released = 0;
        self.swallowing = None;
    }

    /// Bytes in memory between two pushes.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.held.len()
    }

    /// Decides about the held bytes with the help of `chunk`. Answers from where on the chunk is
    /// still to be read, or `None` if all of it is held now.
    fn bridge(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Option<usize> {
        if self.held.is_empty() {
            return Some(0);
        }
        let held = self.held.len();
        let mut text = std::mem::take(&mut self.held);
        let ahead = chunk.get(..HELD_BYTES_MAX).unwrap_or(chunk);
        text.extend_from_slice(ahead);
        let released = self.released;
        let stop = self.walk(
            &text,
            0,
            held,
            End::Open,
            &mut rewrite(&text, released, sink),
        );
        if stop < held {
            self.hold(&text, stop, released);
            return None;
        }
        self.released = 0;
        Some(stop - held)
    }

    /// Reads `text` from `at` on, until no value that begins before `until` can be there. Answers
    /// where it stopped: all before was handed to `out`.
    fn walk(
        &mut self,
        text: &[u8],
        mut at: usize,
        until: usize,
        end: End,
        out: &mut impl FnMut(Piece<'_>),
    ) -> usize {
        let index = Arc::clone(&self.index);
        at = self.swallow(text, at, out);
        let mut passed = at;
        while at < until {
            let found = index.find(text, at).filter(|(place, _)| *place < until);
            let Some((place, candidates)) = found else {
                let tail = index.tail(text, at).min(until);
                let leaves = if end == End::Open { tail } else { text.len() };
                out(Piece::Text(passed..leaves));
                return tail;
            };
            let verdict = look(&index, text, place, candidates, end);
            let nothing = match &verdict {
                Verdict::Nothing => true,
                Verdict::Open(part) => {
                    end == End::Written && !index.is_better_part(part.candidates, part.depth)
                }
                Verdict::Complete { .. } | Verdict::Confirmed { .. } => false,
            };
            if nothing {
                at = place + 1;
                continue;
            }
            out(Piece::Text(passed..place));
            at = match verdict {
                Verdict::Complete { form, end } => {
                    self.mask(form, out);
                    out(Piece::Instead(index.filler(form, end - place)));
                    end
                }
                Verdict::Confirmed { swallowing, end } => {
                    self.mask(swallowing.candidates.any(), out);
                    self.swallowing = Some(swallowing);
                    self.swallow(text, end, out)
                }
                Verdict::Open(swallowing) if end != End::Open => {
                    self.mask(swallowing.candidates.any(), out);
                    self.swallowing = Some(swallowing);
                    text.len()
                }
                Verdict::Open(_) | Verdict::Nothing => return place,
            };
            passed = at;
        }
        out(Piece::Text(passed..at));
        at
    }

    /// Goes on with a long value. Answers where it ends, or the end of `text`.
    fn swallow(&mut self, text: &[u8], from: usize, out: &mut impl FnMut(Piece<'_>)) -> usize {
        let Some(Swallowing {
            mut candidates,
            mut depth,
        }) = self.swallowing.take()
        else {
            return from;
        };
        for (at, &byte) in text.iter().enumerate().skip(from) {
            if let Some(fewer) = self.index.narrow(candidates, depth, byte) {
                candidates = fewer;
                depth += 1;
            } else if is_break(byte) && self.index.complete(candidates, depth).1 {
                out(Piece::Text(at..at + 1));
            } else {
                out(Piece::Instead(self.index.filler(candidates.any(), depth)));
                return at;
            }
        }
        self.swallowing = Some(Swallowing { candidates, depth });
        text.len()
    }

    fn mask(&mut self, form: u32, out: &mut impl FnMut(Piece<'_>)) {
        out(Piece::Instead(&self.index.placeholder(form)));
        self.tally.count(self.index.source(form));
    }

    /// Keeps `text` from `from` on; the first `released` bytes of `text` have left.
    fn hold(&mut self, text: &[u8], from: usize, released: usize) {
        self.held = text.get(from..).unwrap_or_default().to_vec();
        self.released = released.saturating_sub(from).min(self.held.len());
    }
}

/// What stands at `at`, where the key of `candidates` was found.
fn look(index: &Index, text: &[u8], at: usize, candidates: Candidates, end: End) -> Verdict {
    let mut candidates = candidates;
    let mut place = at + KEY_BYTES;
    let mut depth = KEY_BYTES;
    let mut breaks = 0;
    let mut complete = None;
    loop {
        let (form, longer) = index.complete(candidates, depth);
        if let Some(form) = form {
            complete = Some((form, place));
        }
        if !longer {
            break;
        }
        if depth >= CONFIRMED_BYTES {
            return Verdict::Confirmed {
                swallowing: Swallowing { candidates, depth },
                end: place,
            };
        }
        let Some(&byte) = text.get(place) else {
            if end != End::Open && complete.is_some() {
                break;
            }
            return Verdict::Open(Swallowing { candidates, depth });
        };
        if let Some(fewer) = index.narrow(candidates, depth, byte) {
            candidates = fewer;
            depth += 1;
        } else if is_break(byte) && breaks < BREAK_BYTES_MAX {
            breaks += 1;
        } else {
            break;
        }
        place += 1;
    }
    complete.map_or(Verdict::Nothing, |(form, end)| Verdict::Complete {
        form,
        end,
    })
}

/// Passes bytes that are in no chunk, without the first `released` of them, which have left.
fn rewrite<'a>(
    text: &'a [u8],
    released: usize,
    sink: &'a mut impl Sink,
) -> impl FnMut(Piece<'_>) + 'a {
    move |piece| match piece {
        Piece::Text(span) => {
            let span = span.start.max(released)..span.end;
            sink.write(text.get(span).unwrap_or_default());
        }
        Piece::Instead(text) => sink.write(text.as_bytes()),
    }
}

fn is_break(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

#[cfg(test)]
mod tests;
