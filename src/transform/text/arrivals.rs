//! When the bytes came that are held back of a text: each may wait so long, and no other makes it wait longer.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::TEXT_HOLD_MAX;

/// Pieces that came within so long of each other are one, as old as the first of them: so there are few of them,
/// however small they are.
const TOGETHER: Duration = Duration::from_millis(1);

/// The last pieces of a text: when each came, and its bytes.
#[derive(Debug, Default)]
pub(super) struct Arrivals(VecDeque<(Duration, usize)>);

impl Arrivals {
    /// So many bytes came, and of all so many of the last are held.
    pub(super) fn note(&mut self, bytes: usize, now: Duration, held: usize) {
        if held > 0 && bytes > 0 {
            match self.0.back_mut() {
                Some((came, piece)) if now.saturating_sub(*came) < TOGETHER => *piece += bytes,
                _ => self.0.push_back((now, bytes)),
            }
        }
        self.keep(held);
    }

    /// When the first of the held bytes is due.
    pub(super) fn due(&self) -> Option<Duration> {
        let (came, _) = self.0.front()?;
        came.checked_add(TEXT_HOLD_MAX)
    }

    /// How many of the last bytes may wait longer. The others are forgotten, as they leave.
    pub(super) fn waiting(&mut self, now: Duration) -> usize {
        while self.due().is_some_and(|due| due <= now) {
            self.0.pop_front();
        }
        self.bytes()
    }

    /// Forgets all but what has one of the last `held` bytes in it.
    fn keep(&mut self, held: usize) {
        let mut bytes = self.bytes();
        while let Some((_, piece)) = self.0.front()
            && bytes - piece >= held
        {
            bytes -= piece;
            self.0.pop_front();
        }
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(_, bytes)| bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn every_byte_has_its_own_time() {
        let mut arrivals = Arrivals::default();
        arrivals.note(600, at(0), 500);
        assert_eq!(arrivals.due(), Some(at(20)));
        arrivals.note(499, at(4), 500);
        assert_eq!(arrivals.due(), Some(at(20)), "one byte of the first piece");
        arrivals.note(1, at(8), 500);
        assert_eq!(arrivals.due(), Some(at(24)));
        assert_eq!(arrivals.waiting(at(23)), 500);
        assert_eq!(arrivals.waiting(at(24)), 1);
        assert_eq!(arrivals.due(), Some(at(28)));
        arrivals.note(9, at(9), 0);
        assert_eq!((arrivals.due(), arrivals.waiting(at(9))), (None, 0));
    }

    #[test]
    fn there_are_few_of_them_however_small_pieces_are() {
        let mut arrivals = Arrivals::default();
        for microseconds in 0..100_000 {
            let now = Duration::from_micros(microseconds);
            arrivals.waiting(now);
            arrivals.note(1, now, 1_000_000);
            assert!(arrivals.0.len() <= 21);
        }
    }
}
