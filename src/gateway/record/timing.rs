//! Where the time of a request goes: to people who are asked, to the API server, and to the gateway.

use jiff::{SignedDuration, Timestamp};

use super::Record;
use crate::audit::milliseconds;

/// Who took how long.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timing {
    /// Somebody was asked for a yes then.
    asked: Option<Timestamp>,
    /// How long until it went on, or did not.
    held: Option<SignedDuration>,
    /// The API server may have seen the request from then on.
    sent: Option<Timestamp>,
    /// How long until the head of its answer was there.
    upstream: Option<SignedDuration>,
}

impl Timing {
    /// Somebody is asked, maybe not for the first time.
    pub(super) fn asks(&mut self, now: Timestamp) {
        self.asked.get_or_insert(now);
    }

    /// Nobody is waited for any more.
    pub(super) fn goes_on(&mut self, now: Timestamp) {
        if let (Some(asked), None) = (self.asked, self.held) {
            self.held = Some(now.duration_since(asked));
        }
    }

    /// The API server has answered.
    fn hears(&mut self, now: Timestamp) {
        if let (Some(sent), None) = (self.sent, self.upstream) {
            self.upstream = Some(now.duration_since(sent));
        }
    }

    /// What of the time until the head of the answer is neither theirs nor the API server's.
    fn own(&self, total: SignedDuration) -> SignedDuration {
        let others = [self.held, self.upstream];
        others
            .into_iter()
            .flatten()
            .fold(total, SignedDuration::saturating_sub)
            .max(SignedDuration::ZERO)
    }
}

impl Record {
    /// From now on the API server may have seen the request.
    pub fn sent(&mut self) {
        self.timing.sent = Some(Timestamp::now());
    }

    /// Whether the API server may have seen it.
    pub fn is_sent(&self) -> bool {
        self.timing.sent.is_some()
    }

    /// The head of the API server's answer is there.
    pub fn heard(&mut self) {
        self.timing.hears(Timestamp::now());
    }

    /// The head of the answer leaves: what the gateway added is known.
    pub(super) fn answers(&mut self) {
        if self.timing.upstream.is_some() {
            let total = Timestamp::now().duration_since(self.arrived);
            let own = self.timing.own(total).as_secs_f64();
            self.keeper.metrics.added(self.class, own);
        }
    }

    /// Puts on record who took how long.
    pub(super) fn note_durations(&mut self, now: Timestamp) {
        self.timing.goes_on(now);
        self.timing.hears(now);
        for (name, took) in [
            ("portcullis.dev/held-ms", self.timing.held),
            ("portcullis.dev/upstream-ms", self.timing.upstream),
        ] {
            if let Some(took) = took {
                self.event.annotate(name, milliseconds(took));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_is_somebodys() {
        let at = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap();
        let mut timing = Timing::default();
        timing.asks(at(10));
        timing.asks(at(500)); // still the same question
        timing.goes_on(at(1010));
        timing.goes_on(at(5000));
        timing.sent = Some(at(1015));
        timing.hears(at(1115));
        timing.hears(at(9000));
        assert_eq!(timing.held, Some(SignedDuration::from_millis(1000)));
        assert_eq!(timing.upstream, Some(SignedDuration::from_millis(100)));
        let own = timing.own(SignedDuration::from_millis(1130));
        assert_eq!(own, SignedDuration::from_millis(30));
        assert_eq!(timing.own(SignedDuration::ZERO), SignedDuration::ZERO);
    }
}
