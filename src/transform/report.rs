//! What was masked in one response, for the audit event.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::limits::MASKED_PATHS_MAX;

/// Counts and names masked values; complete once the body ended. Holds no value.
#[derive(Debug, Default)]
pub struct MaskReport {
    tally: Mutex<Tally>,
}

impl MaskReport {
    /// How many values were masked so far.
    pub fn values_masked(&self) -> u64 {
        self.tally.lock().values
    }

    /// Where, such as `items[*].data.password`: at most [`MASKED_PATHS_MAX`] distinct paths.
    pub fn masked_paths(&self) -> Vec<String> {
        self.tally.lock().paths.iter().cloned().collect()
    }

    pub(super) fn add(&self, tally: &mut Tally) {
        if tally.values > 0 {
            self.tally.lock().merge(tally);
        }
    }
}

/// A report in the making.
#[derive(Debug, Default)]
pub(super) struct Tally {
    values: u64,
    /// All so far, also those that were handed on.
    paths: BTreeSet<String>,
    /// Those that were not.
    fresh: Vec<String>,
    /// The last ones of each length, nearly: most values stand where one stood before.
    recent: [String; RECENT_PATHS],
}

/// Lengths of paths that are told apart.
const RECENT_PATHS: usize = 16;

impl Tally {
    pub(super) fn count(&mut self, path: &str) {
        self.values += 1;
        let Some(recent) = self.recent.get_mut(path.len() % RECENT_PATHS) else {
            return;
        };
        if recent == path {
            return;
        }
        recent.clear();
        recent.push_str(path);
        if self.paths.len() < MASKED_PATHS_MAX && self.paths.insert(path.to_owned()) {
            self.fresh.push(path.to_owned());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values == 0
    }

    /// Takes over what `other` has and has not handed on yet.
    pub(super) fn merge(&mut self, other: &mut Self) {
        self.values += std::mem::take(&mut other.values);
        for path in other.fresh.drain(..) {
            if self.paths.len() < MASKED_PATHS_MAX && self.paths.insert(path.clone()) {
                self.fresh.push(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_paths_is_bounded() {
        let report = MaskReport::default();
        let mut tally = Tally::default();
        for number in 0..=MASKED_PATHS_MAX {
            tally.count(&format!("data.{number}"));
        }
        report.add(&mut tally);
        tally.count("data.more");
        report.add(&mut tally);
        assert_eq!(report.values_masked(), MASKED_PATHS_MAX as u64 + 2);
        assert_eq!(report.masked_paths().len(), MASKED_PATHS_MAX);
    }
}
