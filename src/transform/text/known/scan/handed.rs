//! What a walk hands on: each byte once, in order.

use std::ops::Range;

use crate::transform::output::Sink;

/// The result of a walk, in order.
pub(super) enum Piece<'a> {
    /// These bytes pass.
    Text(Range<usize>),
    /// These are a known value, or a part of one, and this stands in their place.
    Known(Range<usize>, &'a str),
}

/// What of a text was handed on.
pub(super) struct Handed<O> {
    /// Everything before this place.
    pub(super) until: usize,
    /// Whether the last of it was masked.
    pub(super) masked: bool,
    pub(super) out: O,
}

impl<O: FnMut(Piece<'_>)> Handed<O> {
    /// Lets everything before `until` pass.
    pub(super) fn pass(&mut self, until: usize) {
        if self.until < until {
            (self.out)(Piece::Text(self.until..until));
            (self.until, self.masked) = (until, false);
        }
    }

    /// Whether a value that begins at `place` runs into one that was masked.
    pub(super) fn is_masked_at(&self, place: usize) -> bool {
        self.masked && place < self.until
    }

    /// Masks what of a value was not handed on yet. Answers whether there was any.
    pub(super) fn mask(&mut self, value: Range<usize>, instead: &str) -> bool {
        self.pass(value.start);
        if value.end <= self.until {
            return false;
        }
        (self.out)(Piece::Known(self.until..value.end, instead));
        (self.until, self.masked) = (value.end, true);
        true
    }
}

/// Passes bytes of the chunk that `sink` copies from.
pub(super) fn pass<'a>(chunk: &'a [u8], sink: &'a mut impl Sink) -> impl FnMut(Piece<'_>) + 'a {
    move |piece| match piece {
        Piece::Text(span) => sink.copy(span),
        Piece::Known(span, instead) => {
            sink.replace(chunk.get(span).unwrap_or_default(), instead);
        }
    }
}

/// Passes bytes that are in no chunk.
pub(super) fn rewrite<'a>(text: &'a [u8], sink: &'a mut impl Sink) -> impl FnMut(Piece<'_>) + 'a {
    let bytes = |span: Range<usize>| text.get(span).unwrap_or_default();
    move |piece| match piece {
        Piece::Text(span) => sink.write(bytes(span)),
        Piece::Known(span, instead) => sink.replace(bytes(span), instead),
    }
}
