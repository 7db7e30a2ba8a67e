//! Which of the held bytes were searched already: where a stream comes in small pieces, a byte is held through many of
//! them.

use std::sync::{Arc, Weak};

use super::super::forms::plain;
use super::super::index::{Candidates, Found, Index};

/// So many keys are remembered. What stands behind them is searched again.
const KEYS_MAX: usize = 16;

/// Where keys stand in a text, as far as it was searched.
///
/// All of it could be said again of the text and the index, so nothing that is seen depends on what is remembered: with
/// another index all of the text is searched again, and whether a value goes on behind its key is asked anew each time.
#[derive(Default)]
pub(super) struct Searched {
    index: Weak<Index>,
    /// Every place before this one.
    until: usize,
    /// Those where a key stands.
    keys: Vec<(usize, Candidates)>,
}

impl Searched {
    /// Reads on in a text that begins with what was searched, as far as it stays the same whatever follows.
    pub(super) fn search(&mut self, index: &Arc<Index>, text: &[u8]) {
        if self.index.as_ptr() != Arc::as_ptr(index) {
            self.reset();
            self.index = Arc::downgrade(index);
        }
        while self.keys.len() < KEYS_MAX {
            match index.next_key(text, self.until) {
                Ok((place, candidates)) => {
                    self.keys.push((place, candidates));
                    self.until = plain::behind(text, place, false);
                }
                Err(open) => {
                    self.until = open;
                    return;
                }
            }
        }
    }

    /// The first key from `from` on.
    pub(super) fn key(&self, from: usize) -> Option<Found> {
        let behind = |(place, _): &&(usize, Candidates)| *place >= from;
        let (place, candidates) = self.keys.iter().find(behind)?;
        Some(Found::Here(*place, *candidates))
    }

    /// There is no other key before this place.
    pub(super) fn until(&self) -> usize {
        self.until
    }

    /// The first bytes of the text are gone.
    pub(super) fn move_back(&mut self, by: usize) {
        self.until = self.until.saturating_sub(by);
        self.keys
            .retain_mut(|(place, _)| match place.checked_sub(by) {
                Some(back) => {
                    *place = back;
                    true
                }
                None => false,
            });
    }

    /// Nothing was searched.
    pub(super) fn reset(&mut self) {
        self.until = 0;
        self.keys.clear();
    }
}
