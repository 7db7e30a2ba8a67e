//! What was heard of a text. Known values are nearly nowhere: so who takes a text apart listens a little ahead, and what it
//! hears nothing in it need not search.

use std::ops::Range;

/// So far ahead is listened at once, in bytes.
const AHEAD_BYTES: usize = 1024;

/// The part of a text in which no value is.
#[derive(Clone, Copy, Default)]
pub(in crate::transform) struct Quiet {
    from: usize,
    /// Up to here no string that is all there has a known value in it.
    until: usize,
    /// One may begin there.
    ends: bool,
}

impl Quiet {
    /// Whether no known value is in the strings that begin and end in this part. Where it was listened from another place
    /// behind its beginning the answer is no.
    ///
    /// `listen` says up to where in a part none is, and whether one may begin there ([`super::Index::absent_until`]).
    pub(in crate::transform) fn is_in(
        &mut self,
        part: Range<usize>,
        listen: impl Fn(Range<usize>) -> (usize, bool),
    ) -> bool {
        let Range { start, end } = part;
        if self.until < start {
            *self = Self {
                from: start,
                until: start,
                ends: false,
            };
        }
        while self.until < end && !self.ends {
            let ahead = self.until + AHEAD_BYTES;
            (self.until, self.ends) = listen(self.until..ahead.max(end));
        }
        self.from <= start && end <= self.until
    }

    /// Up to where no string of this part has a known value in it, if it is all there; as far as it was listened to, and that
    /// at least a little if nothing begins there.
    pub(in crate::transform) fn reach(
        &mut self,
        part: Range<usize>,
        listen: impl Fn(Range<usize>) -> (usize, bool),
    ) -> usize {
        let Range { start, end } = part;
        self.is_in(start..end.min(start + 1), listen);
        self.until(start).min(end)
    }

    /// Up to where it is quiet from `start` on.
    pub(in crate::transform) fn until(&self, start: usize) -> usize {
        if self.from <= start {
            self.until.max(start)
        } else {
            start
        }
    }
}
