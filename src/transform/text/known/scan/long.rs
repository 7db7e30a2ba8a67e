//! Long values, which are masked as they come.

use super::super::forms::plain::{self, Unit};
use super::super::index::{Candidates, Index};
use super::{CONFIRMED_BYTES, End, WRITTEN_BYTES_MAX};

/// A value of which so much was equal that it can be no other text.
#[derive(Clone, Copy)]
pub(super) struct Long {
    /// The forms it may be; `None` since it is none.
    candidates: Option<Candidates>,
    /// One of the forms it was.
    form: u32,
    /// How many bytes were compared, or would have been.
    depth: usize,
    /// So many more are masked before it matters whether they were equal.
    left: usize,
    /// Where it goes on.
    pub(super) at: usize,
}

impl Long {
    /// `depth` bytes before `at` were equal.
    pub(super) fn begun(candidates: Candidates, depth: usize, at: usize) -> Self {
        Self {
            candidates: Some(candidates),
            form: candidates.any(),
            depth,
            left: CONFIRMED_BYTES,
            at,
        }
    }

    /// One of the forms it is.
    pub(super) fn form(&self) -> u32 {
        self.form
    }

    /// Where it has ended for sure, however it is written.
    pub(super) fn ends_before(&self, index: &Index) -> usize {
        let longest = self.candidates.map_or(0, |some| index.longest(some));
        self.at + WRITTEN_BYTES_MAX * longest.saturating_sub(self.depth)
    }

    /// Reads on, up to where it ends or the text does. Answers whether it may go on behind the text, and up to where it
    /// is masked.
    pub(super) fn read(&mut self, index: &Index, text: &[u8], end: End) -> (bool, usize) {
        let goes_on = self.read_on(index, text, end);
        // Nobody can wait for the rest of an escape.
        let cut = goes_on && end == End::Final && !self.is_whole(index).0;
        (goes_on, if cut { text.len() } else { self.at })
    }

    fn read_on(&mut self, index: &Index, text: &[u8], end: End) -> bool {
        // Line breaks behind a whole value are none of its bytes.
        let mut behind = self.at;
        loop {
            let (whole, longer) = self.is_whole(index);
            if whole && !longer {
                self.at = behind;
                return false;
            }
            let unit = match text.get(self.at) {
                Some(_) => plain::read(text, self.at, end == End::Last),
                None => Unit::More,
            };
            let (candidates, count, width) = match unit {
                Unit::More => {
                    if whole {
                        self.at = behind;
                    }
                    return end != End::Last;
                }
                Unit::Nothing { width } => (self.candidates, 0, width),
                Unit::Is {
                    bytes,
                    count,
                    width,
                } => {
                    let bytes = bytes.into_iter().take(count).zip(self.depth..);
                    let narrow = |some: Option<Candidates>, (byte, depth)| {
                        some.and_then(|some| index.narrow(some, depth, byte))
                    };
                    (bytes.fold(self.candidates, narrow), count, width)
                }
            };
            if whole && candidates.is_none() {
                self.at = behind;
                return false;
            }
            self.at += width;
            if count > 0 {
                behind = self.at;
            }
            self.candidates = candidates;
            self.depth += count;
            self.left = self.left.saturating_sub(count);
            if self.left == 0 {
                let Some(candidates) = candidates else {
                    return false;
                };
                self.form = candidates.any();
                self.left = CONFIRMED_BYTES;
            }
        }
    }

    /// What completes a group of base64 where it ends.
    pub(super) fn filler(&self, index: &Index) -> &'static str {
        index.filler(self.form, self.depth)
    }

    /// Whether it is a whole form by now, and whether there is a longer one.
    fn is_whole(&self, index: &Index) -> (bool, bool) {
        let complete = |candidates| index.complete(candidates, self.depth);
        self.candidates.map_or((false, false), |candidates| {
            let (form, longer) = complete(candidates);
            (form.is_some(), longer)
        })
    }
}
