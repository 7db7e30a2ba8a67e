//! Where in a chunk no known value is. Nearly everywhere: so a masker listens a little ahead of what it walks, and what
//! it hears nothing in passes as if nothing were known, members nobody wants unseen and objects it remembers at a glance.
//! What it masks by its place it need not listen to.

use super::begun::Begun;
use super::{Current, JsonMasker};
use crate::limits::FAMILIAR_CONTAINER_BYTES_MAX;

/// So far ahead the masker listens at once, in bytes.
const AHEAD_BYTES: usize = 1024;

/// What was listened to of the chunk that is being pushed.
#[derive(Clone, Copy, Default)]
pub(super) struct Quiet {
    from: usize,
    /// Up to here no string that is all there has a known value in it.
    until: usize,
    /// One may begin there.
    ends: bool,
}

/// How far the next step may go.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    pub(super) until: usize,
    /// Members that no mask names may be passed without a word.
    pub(super) passes: bool,
}

impl JsonMasker {
    /// How far the next step may go from here.
    pub(super) fn reach(&mut self, chunk: &[u8], from: usize) -> Reach {
        let all = |passes| Reach {
            until: chunk.len(),
            passes,
        };
        if self.strings.is_none() {
            return all(true);
        }
        if !matches!(self.current, Current::Walked) || self.sees_all() {
            return all(false);
        }
        if self.is_quiet(chunk, from, from + 1) {
            return Reach {
                until: self.quiet.until.min(chunk.len()),
                passes: true,
            };
        }
        // What passes here may have a known value in it.
        if let Some(first) = self.scanner.want_after_all() {
            self.current = Current::Begun(Begun::to_search(first));
        }
        all(false)
    }

    /// Whether no known value is in the strings that begin and end between these places. Where it was listened from another
    /// place behind `from` the answer is no.
    pub(super) fn is_quiet(&mut self, chunk: &[u8], from: usize, end: usize) -> bool {
        let Some(strings) = &self.strings else {
            return true;
        };
        let (quiet, end) = (&mut self.quiet, end.min(chunk.len()));
        if quiet.until < from {
            *quiet = Quiet {
                from,
                until: from,
                ends: false,
            };
        }
        while quiet.until < end && !quiet.ends {
            let ahead = quiet.until + AHEAD_BYTES;
            let heard = strings.absent_until(chunk, quiet.until..ahead.max(end));
            (quiet.until, quiet.ends) = heard;
        }
        quiet.from <= from && end <= quiet.until
    }

    /// What stands from `first` on and is quiet: at least so much as a container that is remembered has, if it is.
    pub(super) fn quiet_text<'a>(&mut self, chunk: &'a [u8], first: usize) -> &'a [u8] {
        self.is_quiet(chunk, first, first + FAMILIAR_CONTAINER_BYTES_MAX);
        let end = match self.strings {
            None => chunk.len(),
            Some(_) if self.quiet.from > first => first,
            Some(_) => self.quiet.until.min(chunk.len()),
        };
        chunk.get(first..end).unwrap_or_default()
    }

    /// Whether every member of what is being walked is looked at for itself.
    fn sees_all(&self) -> bool {
        self.frames
            .last()
            .is_none_or(|frame| frame.array || self.mask.plan.names_all(frame.state))
    }
}
