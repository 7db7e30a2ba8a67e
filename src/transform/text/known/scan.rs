//! Walks one stream and masks known values in it.
//!
//! ```text
//! passing --(a form's first 8 bytes)--> comparing --(complete, or 64 bytes long)--> masked
//!    ^                                      |
//!    '----------(another byte, or the reader can wait no longer)
//! ```
//!
//! Whoever writes into the stream must not be able to find out a value piece by piece. So nothing that
//! can be seen depends on a part of a value, be it in what leaves or in when:
//!
//! * Only whole forms are masked. A form longer than [`CONFIRMED_BYTES`] is masked in blocks of so many
//!   bytes: once one was equal the next is masked whatever it is, and only then compared.
//! * Where a writer is waited for ([`Wait::Alike`]), the end of what was pushed waits whether it may begin a
//!   value or not.
//! * [`Scanner::release`] says that the reader cannot wait any longer: what waits leaves as it is. It is
//!   remembered, and if what follows makes it a form, all that has not left yet is masked.
//!
//! The text is read as what it stands for ([`plain`]): neither a line break nor an escape hides a value.

mod look;

use std::ops::Range;
use std::sync::Arc;

use memchr::memrchr;

use self::look::{Verdict, look};
use super::forms::plain::{self, UNIT_BYTES_MAX, Unit};
use super::index::{Candidates, Found, Index};
use crate::policy::mask::MaskName;
use crate::transform::output::Sink;
use crate::transform::report::Tally;

/// So many bytes in common are no coincidence.
const CONFIRMED_BYTES: usize = 64;

/// So much text may stand for [`CONFIRMED_BYTES`]: `\u0070` for each, or lines of ten characters with time
/// stamps. What is longer is not taken for a value.
const SPAN_BYTES_MAX: usize = 6 * CONFIRMED_BYTES;

/// What one stream has in memory at the most, in bytes.
const HELD_BYTES_MAX: usize = SPAN_BYTES_MAX + UNIT_BYTES_MAX;

/// What waits for the next bytes of a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::transform) enum Wait {
    /// What may begin a value. For text of which no part leaves before the next comes anyway.
    Live,
    /// The last bytes, so many as may ever have to wait, whatever they are: how long they take says nothing.
    Alike,
}

/// Masks the known values of one stream.
pub struct Scanner {
    index: Arc<Index>,
    wait: Wait,
    /// The end of what was pushed, while it waits, or while it may begin a value.
    held: Vec<u8>,
    /// How many of `held` have left already, because their reader could not wait.
    released: usize,
    /// A long value that is being masked as it comes.
    swallowing: Option<Swallowing>,
    tally: Tally,
}

/// A long value that is being masked.
#[derive(Clone, Copy)]
struct Swallowing {
    /// The forms it may be; `None` since it is none.
    candidates: Option<Candidates>,
    /// One of the forms it was.
    form: u32,
    /// How many bytes were compared, or would have been.
    depth: usize,
    /// So many more are masked before it matters whether they were equal.
    left: usize,
}

/// What may come where the bytes end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// More, at any time.
    Open,
    /// Nothing for now: nobody can wait.
    Final,
    /// Nothing: the text has ended.
    Last,
}

/// The result of a walk, in order.
enum Piece<'a> {
    /// These bytes pass.
    Text(Range<usize>),
    /// These are a known value, or a part of one, and this stands in their place.
    Known(Range<usize>, &'a str),
}

impl Scanner {
    /// A scanner at the beginning of a stream.
    pub(in crate::transform) fn new(index: Arc<Index>, wait: Wait) -> Self {
        Self {
            index,
            wait,
            held: Vec::new(),
            released: 0,
            swallowing: None,
            tally: Tally::default(),
        }
    }

    /// Goes on with the values of `index`, which may be newer, if it is not within a value.
    pub fn refresh(&mut self, index: &Arc<Index>) {
        if self.swallowing.is_none() && !Arc::ptr_eq(&self.index, index) {
            // What has left was compared with the values known then.
            self.held.drain(..self.released);
            self.released = 0;
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
        if self.index.is_empty() && self.held.is_empty() {
            sink.copy(0..chunk.len());
            return;
        }
        let Some(from) = self.bridge(chunk, sink) else {
            return;
        };
        let until = self.decidable(chunk);
        let stop = self.walk(chunk, from, until, End::Open, &mut pass(chunk, sink));
        self.hold(chunk, stop, 0);
    }

    /// Takes the next bytes, and lets them go at once as [`Self::release`] does.
    pub(in crate::transform) fn push_and_release(&mut self, chunk: &[u8], sink: &mut impl Sink) {
        if !self.held.is_empty() {
            self.push(chunk, sink);
            self.release(sink);
            return;
        }
        let stop = self.walk(chunk, 0, chunk.len(), End::Final, &mut pass(chunk, sink));
        self.hold(chunk, stop, chunk.len());
    }

    /// Takes a whole text, of which nothing came before and nothing follows. Nothing of it is held.
    pub(in crate::transform) fn push_whole(&mut self, text: &[u8], sink: &mut impl Sink) {
        if self.index.is_absent(text) {
            sink.copy(0..text.len());
            return;
        }
        self.walk(text, 0, text.len(), End::Last, &mut pass(text, sink));
        self.reset();
    }

    /// Where known values stand in a whole text.
    pub(in crate::transform) fn find(&mut self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        if self.index.is_absent(text) {
            return found;
        }
        let mut keep = |piece: Piece<'_>| match piece {
            Piece::Known(span, _) => match found.last_mut() {
                Some(last) if last.end == span.start => last.end = span.end,
                _ => found.push(span),
            },
            Piece::Text(_) => {}
        };
        self.walk(text, 0, text.len(), End::Last, &mut keep);
        self.reset();
        found
    }

    /// The reader cannot wait: lets go what is held, masked if it is a value.
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
        if !self.held.is_empty() {
            self.release(sink);
        }
        self.reset();
    }

    /// The stream ends where its reader wanted it to. Of a line that is not complete the end does not leave,
    /// as it may be nearly all of a value.
    pub(in crate::transform) fn cut_off(&mut self) {
        let lines = memrchr(b'\n', &self.held).map_or(0, |at| at + 1);
        self.held.truncate(lines);
        self.released = self.released.min(lines);
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
        let until = self.decidable(&text).min(held);
        let stop = self.walk(
            &text,
            0,
            until,
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

    /// Up to where it may be decided what of `text` leaves, if no value begins before.
    fn decidable(&self, text: &[u8]) -> usize {
        match self.wait {
            Wait::Live => text.len(),
            Wait::Alike => text.len().saturating_sub(HELD_BYTES_MAX),
        }
    }

    /// Reads `text` from `at` on, until no value that begins before `until` can be there. Answers
    /// from where on it is to be read again: with an [`End::Open`] all before was handed to `out`, else
    /// everything was.
    fn walk(
        &mut self,
        text: &[u8],
        mut at: usize,
        until: usize,
        end: End,
        out: &mut impl FnMut(Piece<'_>),
    ) -> usize {
        let index = Arc::clone(&self.index);
        at = self.swallow(text, at, end, out);
        let mut passed = at;
        let mut remembered = None;
        while at < until && self.swallowing.is_none() {
            let (place, candidates) = match index.find(text, at, until, end) {
                Found::Here(place, candidates) if place < until => (place, candidates),
                Found::Here(..) => {
                    at = until;
                    break;
                }
                Found::Nowhere { tail } => {
                    at = tail;
                    break;
                }
            };
            match look(&index, text, place, candidates, end) {
                Verdict::Nothing => {
                    at = place + 1;
                    continue;
                }
                Verdict::Open if end == End::Open => {
                    out(Piece::Text(passed..place));
                    return place;
                }
                Verdict::Open => {
                    // A shorter value may stand within what begins this one.
                    remembered = remembered.or(Some(place));
                    at = place + 1;
                    continue;
                }
                Verdict::Complete { form, behind } => {
                    out(Piece::Text(passed..place));
                    self.count(form);
                    let filler = index.filler(form, index.length(form));
                    let instead = index.placeholder(form) + filler;
                    out(Piece::Known(place..behind, &instead));
                    at = behind;
                }
                Verdict::Confirmed {
                    candidates,
                    depth,
                    behind,
                } => {
                    out(Piece::Text(passed..place));
                    self.count(candidates.any());
                    out(Piece::Known(
                        place..behind,
                        &index.placeholder(candidates.any()),
                    ));
                    self.swallowing = Some(Swallowing {
                        candidates: Some(candidates),
                        form: candidates.any(),
                        depth,
                        left: CONFIRMED_BYTES,
                    });
                    at = self.swallow(text, behind, end, out);
                }
            }
            remembered = None;
            passed = at;
        }
        let leaves = if end == End::Open { at } else { text.len() };
        out(Piece::Text(passed..leaves));
        remembered.unwrap_or(at)
    }

    /// Goes on with a long value. Answers where it ends, or up to where `text` could be read.
    fn swallow(
        &mut self,
        text: &[u8],
        mut at: usize,
        end: End,
        out: &mut impl FnMut(Piece<'_>),
    ) -> usize {
        let Some(mut value) = self.swallowing.take() else {
            return at;
        };
        let from = at;
        let filler = |value: Swallowing| self.index.filler(value.form, value.depth);
        while at < text.len() {
            let before = value.candidates;
            let whole = |candidates| self.index.complete(candidates, value.depth).0.is_some();
            let whole = before.is_some_and(whole);
            let (candidates, count, width) = match plain::read(text, at, end != End::Open) {
                Unit::More => break,
                Unit::Nothing { width } => (before.filter(|_| !whole), 0, width),
                Unit::Is {
                    bytes,
                    count,
                    width,
                } => {
                    let bytes = bytes.into_iter().take(count).zip(value.depth..);
                    let narrow = |some: Option<Candidates>, (byte, depth)| {
                        some.and_then(|some| self.index.narrow(some, depth, byte))
                    };
                    (bytes.fold(before, narrow), count, width)
                }
            };
            if whole && candidates.is_none() {
                out(Piece::Known(from..at, filler(value)));
                return at;
            }
            at += width;
            value.candidates = candidates;
            value.depth += count;
            value.left = value.left.saturating_sub(count);
            if value.left > 0 {
                continue;
            }
            let Some(candidates) = candidates else {
                out(Piece::Known(from..at, filler(value)));
                return at;
            };
            value.form = candidates.any();
            value.left = CONFIRMED_BYTES;
        }
        out(Piece::Known(from..at, ""));
        self.swallowing = Some(value);
        at
    }

    fn count(&mut self, form: u32) {
        self.tally
            .count(MaskName::KNOWN_VALUES, self.index.source(form));
    }

    /// Keeps `text` from `from` on; the first `released` bytes of `text` have left.
    fn hold(&mut self, text: &[u8], from: usize, released: usize) {
        self.held.clear();
        self.held
            .extend_from_slice(text.get(from..).unwrap_or_default());
        self.released = released.saturating_sub(from).min(self.held.len());
    }
}

/// Passes bytes of the chunk that `sink` copies from.
fn pass<'a>(chunk: &'a [u8], sink: &'a mut impl Sink) -> impl FnMut(Piece<'_>) + 'a {
    move |piece| match piece {
        Piece::Text(span) => sink.copy(span),
        Piece::Known(span, instead) => {
            sink.replace(chunk.get(span).unwrap_or_default(), instead);
        }
    }
}

/// Passes bytes that are in no chunk, without the first `released` of them, which have left.
fn rewrite<'a>(
    text: &'a [u8],
    released: usize,
    sink: &'a mut impl Sink,
) -> impl FnMut(Piece<'_>) + 'a {
    let left = move |span: Range<usize>| {
        let span = span.start.max(released)..span.end;
        text.get(span).unwrap_or_default()
    };
    move |piece| match piece {
        Piece::Text(span) => sink.write(left(span)),
        Piece::Known(span, instead) => sink.replace(left(span), instead),
    }
}

#[cfg(test)]
mod tests;
