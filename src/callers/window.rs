//! How much happened lately: a sliding window of a fixed number of steps.
//!
//! The sum is over the step that runs and all the steps that a whole window before it touches. So whoever adds only while
//! the sum stays within a limit exceeds it in no window at all, wherever that begins; in return the window is longer than
//! it says, by at most one step. Time is given as what has passed since some moment on a clock that is never set.

use std::time::Duration;

/// A window of `SLOTS - 1` whole steps and the one that runs.
#[derive(Clone, Debug)]
pub struct Window<const SLOTS: usize> {
    step: Duration,
    /// The count of step `n` is at `n % SLOTS`.
    counts: [u64; SLOTS],
    newest: u64,
}

/// A minute in steps of five seconds.
pub type Minute = Window<13>;
/// An hour in steps of a minute.
pub type Hour = Window<61>;

impl Minute {
    /// An empty minute.
    #[must_use]
    pub fn minute() -> Self {
        Self::of(Duration::from_secs(5))
    }
}

impl Hour {
    /// An empty hour.
    #[must_use]
    pub fn hour() -> Self {
        Self::of(Duration::from_mins(1))
    }
}

impl<const SLOTS: usize> Window<SLOTS> {
    fn of(step: Duration) -> Self {
        Self {
            step,
            counts: [0; SLOTS],
            newest: 0,
        }
    }

    /// How much there is in the window that ends `now`.
    pub fn sum(&mut self, now: Duration) -> u64 {
        self.turn_to(now);
        self.counts
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Adds to what happens `now`.
    pub fn add(&mut self, amount: u64, now: Duration) {
        self.turn_to(now);
        if let Some(count) = self.slot(self.newest) {
            *count = count.saturating_add(amount);
        }
    }

    /// When the sum is down to `most`, if nothing is added meanwhile.
    pub fn down_to(&mut self, most: u64, now: Duration) -> Duration {
        let mut sum = self.sum(now);
        let slots = SLOTS as u64;
        let mut step = (self.newest + 1).saturating_sub(slots);
        while sum > most && step <= self.newest {
            sum -= self.slot(step).map_or(0, |count| *count);
            step += 1;
        }
        if sum > most || step == 0 {
            return now;
        }
        // Step `n` leaves the window when step `n + SLOTS` begins.
        let leaves = u32::try_from(step - 1 + slots).unwrap_or(u32::MAX);
        self.step.saturating_mul(leaves).max(now)
    }

    fn slot(&mut self, step: u64) -> Option<&mut u64> {
        let at = usize::try_from(step % SLOTS as u64).ok()?;
        self.counts.get_mut(at)
    }

    /// Forgets the steps that left the window. A clock that others read a little earlier counts as now.
    fn turn_to(&mut self, now: Duration) {
        let step = now.as_nanos() / self.step.as_nanos().max(1);
        let step = u64::try_from(step).unwrap_or(u64::MAX);
        if step.saturating_sub(self.newest) >= SLOTS as u64 {
            self.counts = [0; SLOTS];
        } else {
            for gone in self.newest + 1..=step {
                if let Some(count) = self.slot(gone) {
                    *count = 0;
                }
            }
        }
        self.newest = self.newest.max(step);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn what_happened_is_forgotten_step_by_step() {
        let mut window = Minute::minute();
        let second = Duration::from_secs;
        window.add(3, second(0));
        window.add(4, second(62));
        assert_eq!(window.sum(second(64)), 7);
        assert_eq!(window.down_to(7, second(64)), second(64));
        assert_eq!(window.down_to(4, second(64)), second(65));
        assert_eq!(window.down_to(3, second(64)), second(125));
        assert_eq!(window.sum(second(65)), 4);
        assert_eq!(window.sum(second(124)), 4);
        assert_eq!(window.sum(second(125)), 0);
        // A long silence, and a reader whose clock is behind.
        window.add(5, second(10_000));
        assert_eq!(window.sum(second(9_000)), 5);
        window.add(1, second(9_000));
        assert_eq!(window.sum(second(10_001)), 6);
    }

    proptest! {
        #[test]
        fn no_window_anywhere_has_more_than_the_limit(
            limit in 1_u64..40,
            asks in prop::collection::vec((0_u64..20_000, 1_u64..8), 1..200),
        ) {
            let mut window = Minute::minute();
            let mut now = Duration::ZERO;
            let mut admitted: Vec<(Duration, u64)> = Vec::new();
            for (pause, amount) in asks {
                now += Duration::from_millis(pause);
                let sum = window.sum(now);
                if sum + amount <= limit {
                    window.add(amount, now);
                    admitted.push((now, amount));
                } else if amount <= limit {
                    let at = window.down_to(limit - amount, now);
                    prop_assert!(at > now && at <= now + MINUTE + Duration::from_secs(5));
                    let mut later = window.clone();
                    prop_assert!(later.sum(at) + amount <= limit, "it recovers when it says");
                    let mut before = window.clone();
                    prop_assert!(before.sum(at.saturating_sub(Duration::from_millis(1))) + amount > limit);
                }
            }
            for (from, _) in &admitted {
                let within = admitted.iter().filter(|(at, _)| at >= from && *at < *from + MINUTE);
                let sum: u64 = within.map(|(_, amount)| amount).sum();
                prop_assert!(sum <= limit, "{sum} from {from:?}");
            }
        }
    }
}
