//! What was masked in one response, for the audit event.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::limits::MASKED_PATHS_MAX;
use crate::policy::mask::MaskName;

/// Counts and names masked values; complete once the body ended. Holds no value.
#[derive(Debug, Default)]
pub struct MaskReport {
    tally: Mutex<Tally>,
}

impl MaskReport {
    /// How many values were masked so far.
    pub fn values_masked(&self) -> u64 {
        self.tally.lock().values.iter().sum()
    }

    /// The same, by mask; only those that masked something.
    pub fn by_mask(&self) -> Vec<(MaskName, u64)> {
        let values = self.tally.lock().values;
        let all = MaskName::all().into_iter().zip(values);
        all.filter(|(_, values)| *values > 0).collect()
    }

    /// Where, such as `items[*].data.password`: at most [`MASKED_PATHS_MAX`] distinct paths.
    pub fn masked_paths(&self) -> Vec<String> {
        self.tally.lock().paths.iter().cloned().collect()
    }

    pub(super) fn add(&self, tally: &mut Tally) {
        if !tally.is_empty() {
            self.tally.lock().merge(tally);
        }
    }
}

/// A report in the making.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By the place of the mask.
    values: [u64; MaskName::COUNT],
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
    pub(super) fn count(&mut self, mask: MaskName, path: &str) {
        if let Some(values) = self.values.get_mut(mask.place()) {
            *values += 1;
        }
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
        self.values.iter().all(|values| *values == 0)
    }

    /// Takes over what `other` has and has not handed on yet.
    pub(super) fn merge(&mut self, other: &mut Self) {
        for (values, more) in self.values.iter_mut().zip(&mut other.values) {
            *values += std::mem::take(more);
        }
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
            tally.count(MaskName::OWN, &format!("data.{number}"));
        }
        report.add(&mut tally);
        tally.count(MaskName::KNOWN_VALUES, "data.more");
        report.add(&mut tally);
        assert_eq!(report.values_masked(), MASKED_PATHS_MAX as u64 + 2);
        assert_eq!(report.masked_paths().len(), MASKED_PATHS_MAX);
        let own = MASKED_PATHS_MAX as u64 + 1;
        let counts = [(MaskName::KNOWN_VALUES, 1), (MaskName::OWN, own)];
        assert_eq!(report.by_mask(), counts);
    }
}
