//! The simplest filter there is.

use std::time::Duration;

use super::Filter;

/// How long it holds something back.
const HOLD: Duration = Duration::from_millis(20);

pub(crate) const PLACEHOLDER: &[u8] = b"[masked]";

/// Replaces values. Holds back whatever begins one.
pub(crate) struct Toy {
    values: Vec<Vec<u8>>,
    held: Vec<u8>,
    /// Since when; what begins a value is let go as a whole.
    since: Duration,
}

impl Toy {
    pub(crate) fn new(values: &[Vec<u8>]) -> Self {
        Self {
            values: values.to_vec(),
            held: Vec::new(),
            since: Duration::ZERO,
        }
    }
}

impl Filter for Toy {
    fn push(&mut self, bytes: &[u8], now: Duration, output: &mut Vec<u8>) {
        for byte in bytes {
            if self.held.is_empty() {
                self.since = now;
            }
            self.held.push(*byte);
            if self.values.contains(&self.held) {
                self.held.clear();
                output.extend_from_slice(PLACEHOLDER);
            }
            while !self
                .values
                .iter()
                .any(|value| value.starts_with(&self.held))
            {
                output.push(self.held.remove(0));
            }
        }
    }

    fn due(&self) -> Option<Duration> {
        (!self.held.is_empty()).then_some(self.since + HOLD)
    }

    fn release(&mut self, _now: Duration, output: &mut Vec<u8>) {
        output.append(&mut self.held);
    }

    fn finish(&mut self, output: &mut Vec<u8>) {
        self.release(Duration::MAX, output);
    }
}
