//! What was masked in one response, for the audit event.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use super::json::Trail;
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
    /// The last path counted in each of sixteen slots, chosen by its length and last byte: most values stand where one
    /// stood before.
    recent: Option<Box<[Vec<u8>; RECENT_PATHS]>>,
}

/// Paths that are told apart at first.
const RECENT_PATHS: usize = 16;

impl Tally {
    /// Counts a value that stands at `path`.
    pub(super) fn count(&mut self, mask: MaskName, path: &str) {
        self.count_new(mask, path.as_bytes(), || path.to_owned());
    }

    /// The same of a value whose path was not made yet.
    pub(super) fn count_at(&mut self, mask: MaskName, trail: &Trail) {
        self.count_new(mask, trail.bytes(), || trail.path().text().to_owned());
    }

    fn count_new(&mut self, mask: MaskName, place: &[u8], path: impl FnOnce() -> String) {
        if let Some(values) = self.values.get_mut(mask.place()) {
            *values += 1;
        }
        let last = place.last().copied().unwrap_or_default();
        let likeness = place.len() ^ usize::from(last);
        let recent = self.recent.get_or_insert_default();
        let Some(recent) = recent.get_mut(likeness % RECENT_PATHS) else {
            return;
        };
        // Nothing was counted yet where nothing stands.
        if recent == place && !place.is_empty() {
            return;
        }
        recent.clear();
        recent.extend_from_slice(place);
        if self.paths.len() < MASKED_PATHS_MAX {
            let path = path();
            if !self.paths.contains(&path) {
                self.paths.insert(path.clone());
                self.fresh.push(path);
            }
        }
    }

    /// Gives back what only makes counting faster.
    pub(super) fn rest(&mut self) {
        self.recent = None;
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
    fn a_value_that_is_a_whole_document_has_the_path_of_the_document() {
        let (report, mut tally) = (MaskReport::default(), Tally::default());
        tally.count_at(MaskName::OWN, &Trail::default());
        report.add(&mut tally);
        assert_eq!(report.masked_paths(), [""]);
    }

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
