//! What was masked in one response, for the audit event.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::limits::{MASKED_PATH_BYTES_MAX, MASKED_PATHS_MAX};

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

/// The path of the current value, of bounded length.
#[derive(Clone, Debug, Default)]
pub(super) struct ValuePath {
    text: String,
}

impl ValuePath {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn truncate(&mut self, length: usize) {
        self.text.truncate(length);
    }

    pub(super) fn element(&mut self) {
        self.append("[*]");
    }

    pub(super) fn index(&mut self, index: usize) {
        self.append(&format!("[{index}]"));
    }

    pub(super) fn key(&mut self, key: Option<&[u8]>) {
        let Some(key) = key.and_then(|key| std::str::from_utf8(key).ok()) else {
            return self.append("[...]");
        };
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/' | b'$');
        if !key.bytes().all(|byte| plain(byte) || byte == b'.') {
            self.append(&format!("[{key:?}]"));
        } else if key.is_empty() || key.contains('.') {
            self.append_all(&["[\"", key, "\"]"]);
        } else if self.text.is_empty() {
            self.append(key);
        } else {
            self.append_all(&[".", key]);
        }
    }

    fn append(&mut self, step: &str) {
        self.append_all(&[step]);
    }

    fn append_all(&mut self, parts: &[&str]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if self.text.len() + length <= MASKED_PATH_BYTES_MAX {
            self.text.extend(parts.iter().copied());
        } else if !self.text.ends_with("...") {
            self.text.push_str("...");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_their_number_are_bounded() {
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

        let mut path = ValuePath::default();
        path.key(Some(b"data"));
        path.key(Some(b"tls.key"));
        path.element();
        path.key(Some(b"x"));
        assert_eq!(path.text(), "data[\"tls.key\"][*].x");
        for _ in 0..3 {
            path.key(Some(&[b'k'; MASKED_PATH_BYTES_MAX]));
        }
        assert_eq!(path.text(), "data[\"tls.key\"][*].x...");
    }
}
