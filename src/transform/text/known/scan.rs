//! Walks one stream and masks known values in it.
//!
//! ```text
//! passing --(a form's first 8 bytes)--> comparing --(complete, or 64 bytes long)--> masked
//!    ^                                      |
//!    '----------(another byte, or the reader can wait no longer)
//! ```
//!
//! This is asked of every place, those that are masked too: a value may begin within another and go on behind it.
//!
//! Whoever writes into the stream must not be able to find out a value piece by piece. So nothing that
//! can be seen depends on a part of a value, be it in what leaves or in when:
//!
//! * Only whole forms are masked. A form longer than [`CONFIRMED_BYTES`] is masked in blocks of so many
//!   bytes: once one was equal the next is masked whatever it is, and only then compared.
//! * Where a writer is waited for ([`Wait::Alike`]), the end of what was pushed waits whether it may begin a
//!   value or not.
//! * [`Scanner::release`] says that the reader cannot wait any longer: what waits leaves as it is. The last bytes
//!   that left are kept, whatever they are, and if what follows makes them a form, all that has not left yet is masked.
//! * Newer values count at once. Long ones that began before go on with those that were known then; where nobody has
//!   these any more, everything is masked for as long as the longest may be. No stream keeps values by itself: most are
//!   idle, and each would keep others.
//!
//! The text is read as what it stands for ([`super::forms::plain`]): neither a line break nor an escape hides a value.

mod handed;
mod long;
mod look;
mod searched;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use memchr::memrchr;

use self::handed::{Handed, Piece, pass, rewrite};
use self::long::Long;
use self::look::{Verdict, look};
use self::searched::Searched;
use super::book::Shelf;
use super::forms::plain::{self, UNIT_BYTES_MAX};
use super::index::{Found, Index};
use crate::policy::mask::MaskName;
use crate::transform::output::Sink;
use crate::transform::report::Tally;

/// So many bytes in common are no coincidence.
pub(super) const CONFIRMED_BYTES: usize = 64;

/// So much text may stand for each byte: `\u0070`, or lines of ten characters with time stamps. What is longer is not
/// taken for a value.
const WRITTEN_BYTES_MAX: usize = 6;

/// So much text may stand for [`CONFIRMED_BYTES`].
const SPAN_BYTES_MAX: usize = WRITTEN_BYTES_MAX * CONFIRMED_BYTES;

/// So many long values are read at one place of a text. What begins when so many are read already is masked
/// for as long as the longest value it may be.
const LONG_MAX: usize = 8;

/// What one stream has in memory at the most, in bytes.
pub(super) const HELD_BYTES_MAX: usize = SPAN_BYTES_MAX + UNIT_BYTES_MAX;

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
    shelf: Arc<Shelf>,
    wait: Wait,
    /// The end of what was pushed, while it waits, and of what left: a value may begin in it or go on from it.
    held: Vec<u8>,
    /// How many of `held` were handed on already: masked, or because their reader could not wait.
    released: usize,
    /// Whether the last of them were masked.
    masked: bool,
    /// Where in `held` keys stand.
    searched: Searched,
    /// Long values that are being masked; their places are counted from the beginning of `held`.
    long: Vec<Long>,
    /// Up to where everything is masked, because more long values may be there than are read.
    unread: usize,
    tally: Tally,
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

/// A text that is walked over.
#[derive(Clone, Copy)]
struct Text<'a> {
    bytes: &'a [u8],
    end: End,
    /// What is known now.
    index: &'a Arc<Index>,
    searched: Option<&'a Searched>,
}

impl<'a> Text<'a> {
    fn new(bytes: &'a [u8], end: End, index: &'a Arc<Index>) -> Self {
        Self {
            bytes,
            end,
            index,
            searched: None,
        }
    }

    /// The first place from `from` on and before `until` where a value may begin.
    fn find(&self, from: usize, until: usize) -> Found {
        let mut from = from;
        if let Some(searched) = self.searched {
            if let Some(found) = searched.key(from) {
                return found;
            }
            from = from.max(searched.until());
        }
        self.index.find(self.bytes, from, until, self.end)
    }
}

impl Scanner {
    /// A scanner at the beginning of a stream.
    pub(in crate::transform) fn new(shelf: Arc<Shelf>, wait: Wait) -> Self {
        Self {
            shelf,
            wait,
            held: Vec::new(),
            released: 0,
            masked: false,
            searched: Searched::default(),
            long: Vec::new(),
            unread: 0,
            tally: Tally::default(),
        }
    }

    /// How many bytes are held back, so that [`Self::release`] is due when they are too old.
    pub fn waiting(&self) -> usize {
        self.held.len() - self.released
    }

    /// How many bytes of a line that is not complete are held back.
    pub(in crate::transform) fn open_line(&self) -> usize {
        let waiting = self.held.get(self.released..).unwrap_or_default();
        waiting.len() - memrchr(b'\n', waiting).map_or(0, |at| at + 1)
    }

    /// What was masked since the last call: where the values come from.
    pub(in crate::transform) fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// Takes the next bytes of the stream; they are the chunk that `sink` copies from.
    pub(in crate::transform) fn push(&mut self, chunk: &[u8], sink: &mut impl Sink) {
        let index = &self.shelf.load();
        if index.is_empty() && self.waiting() == 0 && !self.is_within() {
            self.reset();
            sink.copy(0..chunk.len());
            return;
        }
        self.searched.reset();
        let Some(from) = self.bridge(index, chunk, sink) else {
            return;
        };
        let (text, until) = (Text::new(chunk, End::Open, index), self.decidable(chunk));
        let keep = self.walk(text, from, until, pass(chunk, sink));
        self.held
            .extend_from_slice(chunk.get(keep..).unwrap_or_default());
    }

    /// Takes the next bytes, and lets them go at once as [`Self::release`] does.
    pub(in crate::transform) fn push_and_release(&mut self, chunk: &[u8], sink: &mut impl Sink) {
        self.held.extend_from_slice(chunk);
        self.release(0, sink);
    }

    /// Takes a whole text, of which nothing came before and nothing follows. Nothing of it is held.
    pub(in crate::transform) fn push_whole(&mut self, text: &[u8], sink: &mut impl Sink) {
        let index = self.shelf.load();
        self.push_whole_by(&index, text, sink);
    }

    /// The same, for who takes several texts in a row and has looked at the shelf.
    pub(super) fn push_whole_by(&mut self, index: &Arc<Index>, text: &[u8], sink: &mut impl Sink) {
        if index.is_absent(text) {
            sink.copy(0..text.len());
            return;
        }
        let whole = Text::new(text, End::Last, index);
        self.walk(whole, 0, text.len(), pass(text, sink));
        self.reset();
    }

    /// Where known values stand in a whole text.
    pub(in crate::transform) fn find(&mut self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        let index = &self.shelf.load();
        if index.is_absent(text) {
            return found;
        }
        let keep = |piece: Piece<'_>| match piece {
            Piece::Known(span, _) => match found.last_mut() {
                Some(last) if last.end == span.start => last.end = span.end,
                _ => found.push(span),
            },
            Piece::Text(_) => {}
        };
        let whole = Text::new(text, End::Last, index);
        self.walk(whole, 0, text.len(), keep);
        self.reset();
        found
    }

    /// The reader cannot wait: lets go what is held but for the last `keep` bytes, masked if it is a value.
    pub(in crate::transform) fn release(&mut self, keep: usize, sink: &mut impl Sink) {
        let mut held = std::mem::take(&mut self.held);
        let mut searched = std::mem::take(&mut self.searched);
        let index = &self.shelf.load();
        searched.search(index, &held);
        let until = held.len().saturating_sub(keep).max(self.released);
        let text = Text {
            searched: Some(&searched),
            ..Text::new(&held, End::Final, index)
        };
        let keep = self.walk(text, 0, until, rewrite(&held, sink));
        held.drain(..keep);
        searched.move_back(keep);
        (self.held, self.searched) = (held, searched);
    }

    /// The stream ends, maybe in the middle of a value.
    pub(in crate::transform) fn finish(&mut self, sink: &mut impl Sink) {
        if !self.held.is_empty() {
            self.release(0, sink);
        }
        self.reset();
    }

    /// The stream ends where its reader wanted it to. Of a line that is not complete the end does not leave,
    /// as it may be nearly all of a value.
    pub(in crate::transform) fn cut_off(&mut self) {
        let lines = self.held.len() - self.open_line();
        self.held.truncate(lines);
        self.searched.reset();
        self.released = self.released.min(lines);
        self.long.clear();
        self.unread = 0;
    }

    /// Whether a long value may go on.
    fn is_within(&self) -> bool {
        !self.long.is_empty() || self.unread > 0
    }

    fn reset(&mut self) {
        self.held.clear();
        self.searched.reset();
        (self.released, self.masked) = (0, false);
        self.long.clear();
        self.unread = 0;
    }

    /// Bytes in memory between two pushes.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.held.len()
    }

    /// Decides about the held bytes with the help of `chunk`. Answers from where on the chunk is
    /// still to be read, or `None` if all of it is held now.
    fn bridge(&mut self, index: &Arc<Index>, chunk: &[u8], sink: &mut impl Sink) -> Option<usize> {
        if self.held.is_empty() {
            return Some(0);
        }
        let held = self.held.len();
        let mut text = std::mem::take(&mut self.held);
        let ahead = chunk.get(..HELD_BYTES_MAX).unwrap_or(chunk);
        text.extend_from_slice(ahead);
        let until = self.decidable(&text).min(held);
        let open = Text::new(&text, End::Open, index);
        let stop = self.walk(open, 0, until, rewrite(&text, sink));
        let behind = stop.checked_sub(held);
        // Behind what was held the chunk has the same bytes.
        text.drain(..behind.map_or(stop, |_| text.len()));
        self.held = text;
        behind
    }

    /// Up to where it may be decided what of `text` leaves, if no value begins before.
    fn decidable(&self, text: &[u8]) -> usize {
        match self.wait {
            Wait::Live => text.len(),
            Wait::Alike => text.len().saturating_sub(HELD_BYTES_MAX),
        }
    }

    /// Reads a text from `from` on, until no value that begins before `until` can be there. Answers from where on
    /// it is to be held and read again: with an [`End::Open`] all before was handed to `out`, else all before `until` was.
    ///
    /// A value may begin within another, and go on behind it. So every place is looked at, those that are masked too.
    fn walk(
        &mut self,
        text: Text<'_>,
        from: usize,
        until: usize,
        out: impl FnMut(Piece<'_>),
    ) -> usize {
        let index = text.index;
        let mut handed = Handed {
            until: from + self.released,
            masked: self.masked,
            out,
        };
        self.go_on(text, from, &mut handed);
        let mut at = from;
        // Where long values ended that began before.
        let mut ends = Vec::new();
        loop {
            let now = self.decidable_now(text.end, until);
            if at >= now {
                break;
            }
            let (place, candidates) = match text.find(at, now) {
                Found::Here(place, candidates) if place < now => (place, candidates),
                Found::Here(..) => break,
                Found::Nowhere { tail } => {
                    // The unit that reaches across `until` goes along, but for what may belong to a longer value.
                    at = tail.min(self.decidable_now(text.end, usize::MAX));
                    break;
                }
            };
            match look(index, text.bytes, place, candidates, text.end) {
                Verdict::Open if text.end == End::Open => {
                    at = place;
                    break;
                }
                Verdict::Nothing | Verdict::Open => {}
                Verdict::Complete { form, behind } => {
                    self.mask(index, form, place..behind, &mut handed);
                }
                Verdict::Confirmed {
                    candidates,
                    depth,
                    behind,
                } => {
                    let long = Long::begun(index, candidates, place..behind, depth);
                    self.follow(text, (place, long), &mut ends, &mut handed);
                }
            }
            // Not within the unit: how it is read would tell that a key stands here.
            at = plain::behind(text.bytes, place, text.end != End::Open);
        }
        let (pass, keep) = match text.end {
            End::Open => (at, at),
            // What leaves may still turn out to begin a value.
            End::Final => (
                until,
                until.min(text.bytes.len().saturating_sub(HELD_BYTES_MAX)),
            ),
            End::Last => (until, text.bytes.len()),
        };
        handed.pass(pass);
        for long in &mut self.long {
            long.move_back(keep);
        }
        self.unread = self.unread.saturating_sub(keep);
        (self.released, self.masked) = (handed.until - keep, handed.masked);
        keep
    }

    /// Up to where it may be decided what leaves, at the most up to `until`. What stands behind a whole value may belong
    /// to a longer one.
    fn decidable_now(&self, end: End, until: usize) -> usize {
        let masked = self.long.iter().map(Long::masked_until);
        match end {
            End::Open => masked.fold(until, usize::min),
            End::Final | End::Last => until,
        }
    }

    /// Goes on with long values.
    fn go_on(&mut self, text: Text<'_>, from: usize, handed: &mut Handed<impl FnMut(Piece<'_>)>) {
        let mut forgotten = 0;
        let read = |long: &mut Long| {
            long.move_forward(from);
            let Some(index) = long.index() else {
                forgotten = forgotten.max(long.ends_before());
                return false;
            };
            let begin = long.masked_until();
            let (goes_on, masked, filler) = long.read(&index, text.bytes, text.end);
            handed.mask(begin..masked, filler);
            goes_on
        };
        self.long.retain_mut(read);
        if self.unread > 0 {
            self.unread += from;
        }
        self.unread = self.unread.max(forgotten);
        if self.unread > 0 {
            handed.mask(handed.until..self.unread.min(text.bytes.len()), "");
        }
    }

    /// Masks a value that is there.
    fn mask(
        &mut self,
        index: &Index,
        form: u32,
        value: Range<usize>,
        handed: &mut Handed<impl FnMut(Piece<'_>)>,
    ) {
        let instead = if handed.is_masked_at(value.start) {
            let more = value.end.saturating_sub(handed.until);
            Cow::Borrowed(index.further(form, more))
        } else {
            index.placeholder(form) + index.filler(form, index.length(form))
        };
        if handed.mask(value, &instead) {
            self.count(index, form);
        }
    }

    /// Masks a long value that begins at `place`, as far as it is there. `ends` are those of long values that are there
    /// too.
    fn follow(
        &mut self,
        text: Text<'_>,
        (place, mut long): (usize, Long),
        ends: &mut Vec<usize>,
        handed: &mut Handed<impl FnMut(Piece<'_>)>,
    ) {
        if self.long.iter().any(|other| other.is(&long)) {
            return;
        }
        let (index, form) = (text.index, long.form());
        let placeholder = if handed.is_masked_at(place) {
            Cow::Borrowed("")
        } else {
            index.placeholder(form)
        };
        ends.retain(|end| *end > place);
        let is_read = self.long.len() + ends.len() < LONG_MAX;
        let (masked, filler) = if is_read {
            let (goes_on, masked, filler) = long.read(index, text.bytes, text.end);
            if goes_on {
                self.long.push(long);
            } else {
                ends.push(long.read_until());
            }
            (masked, filler)
        } else {
            self.unread = self.unread.max(long.ends_before());
            (self.unread.min(text.bytes.len()), "")
        };
        if handed.mask(place..masked, &(placeholder + filler)) {
            self.count(index, form);
        }
    }

    fn count(&mut self, index: &Index, form: u32) {
        self.tally.count(MaskName::KNOWN_VALUES, index.source(form));
    }
}

#[cfg(test)]
mod tests;
