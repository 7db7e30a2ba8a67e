//! A rate limit that is handed the time.

use std::time::Duration;

/// A bucket that starts full and refills steadily.
#[derive(Clone, Debug)]
pub struct Budget {
    burst: u32,
    per_second: u32,
    left: u32,
    refilled: Duration,
}

impl Budget {
    /// `burst` at once, `per_second` in the long run.
    #[must_use]
    pub const fn new(burst: u32, per_second: u32) -> Self {
        Self {
            burst,
            per_second,
            left: burst,
            refilled: Duration::ZERO,
        }
    }

    /// Takes one; false when there is none. `now` counts from any fixed point and never falls.
    pub fn take(&mut self, now: Duration) -> bool {
        if let Some(seconds) = now
            .checked_sub(self.refilled)
            .map(|passed| passed.as_secs())
            .filter(|s| *s > 0)
        {
            let seconds_short = u32::try_from(seconds).unwrap_or(u32::MAX);
            self.left = self
                .left
                .saturating_add(self.per_second.saturating_mul(seconds_short))
                .min(self.burst);
            self.refilled = self.refilled.saturating_add(Duration::from_secs(seconds));
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// Gives one back that was taken, up to the burst.
    pub fn give_back(&mut self) {
        self.left = self.left.saturating_add(1).min(self.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refills_with_time_up_to_the_burst() {
        let mut budget = Budget::new(2, 1);
        let mut take = |millis| budget.take(Duration::from_millis(millis));
        assert_eq!([take(0), take(0), take(999)], [true, true, false]);
        assert_eq!([take(1000), take(1000)], [true, false]);
        assert_eq!(
            [take(60_000), take(60_000), take(60_000)],
            [true, true, false]
        );
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_up_to_the_burst() {
        let mut budget = Budget::new(1, 0);
        assert!(budget.take(Duration::ZERO));
        budget.give_back();
        budget.give_back();
        assert_eq!([(); 2].map(|()| budget.take(Duration::ZERO)), [true, false]);
    }
}
