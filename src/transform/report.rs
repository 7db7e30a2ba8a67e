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
    recent: Recent,
}

/// The places that were counted last: most values stand where one stood before, and in the same order.
#[derive(Debug, Default)]
struct Recent {
    places: Vec<Vec<u8>>,
    /// Where the last one is.
    at: usize,
}

impl Recent {
    const MAX: usize = 16;

    /// Whether a place is among them. From now on it is.
    fn has(&mut self, place: &[u8]) -> bool {
        let behind = self.at + 1;
        let (before, after) = self.places.split_at(behind.min(self.places.len()));
        let found = after.iter().position(|own| own == place);
        let found = found.map(|found| behind + found);
        let found = found.or_else(|| before.iter().position(|own| own == place));
        if let Some(found) = found {
            self.at = found;
            return true;
        }
        if self.places.len() < Self::MAX {
            self.at = self.places.len();
            self.places.push(place.to_vec());
        } else {
            self.at = behind % Self::MAX;
            if let Some(next) = self.places.get_mut(self.at) {
                next.clear();
                next.extend_from_slice(place);
            }
        }
        false
    }
}

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
        if self.recent.has(place) {
            return;
        }
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
        self.recent = Recent::default();
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
    fn places_are_told_apart_however_many_there_are() {
        for places in [1, 2, Recent::MAX, Recent::MAX + 1, 3 * Recent::MAX] {
            let mut recent = Recent::default();
            let all: Vec<Vec<u8>> = (0..places).map(|place| vec![b'a'; place]).collect();
            for _ in 0..3 {
                for place in &all {
                    recent.has(place);
                    assert!(recent.has(place));
                }
                assert!(recent.places.len() <= Recent::MAX);
            }
            assert!(!recent.has(b"another"));
            let rounds = all.iter().filter(|place| recent.has(place)).count();
            assert!(
                places >= Recent::MAX || rounds == places,
                "{places}: {rounds}"
            );
        }
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
