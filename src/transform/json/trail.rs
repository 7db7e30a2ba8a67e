//! The way to the value that is being read, as steps. Most values are not masked, and most that are stand where one stood
//! before, so the path that is shown is made of it only when it is asked for.

use crate::limits::MASKED_PATH_BYTES_MAX;
use crate::request::body::ValuePath;

/// A step is two bytes: the length of the key that follows, or one of these.
const ELEMENT: u16 = u16::MAX;
/// A key that is too long to be shown.
const UNNAMED: u16 = u16::MAX - 1;

/// Bound on the bytes of a trail, which one step may exceed by two. Steps behind it are kept without their keys: a path of that
/// length could not be shown whole.
const BYTES_MAX: usize = 2 * MASKED_PATH_BYTES_MAX;

/// Where in a document a value stands.
#[derive(Clone, Debug, Default)]
pub(in crate::transform) struct Trail {
    steps: Vec<u8>,
}

impl Trail {
    /// Becomes the same as another.
    pub(super) fn follow(&mut self, other: &Self) {
        self.steps.clone_from(&other.steps);
    }

    /// How long it is, for [`Trail::truncate`].
    pub(in crate::transform) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Goes back to where it had this length.
    pub(in crate::transform) fn truncate(&mut self, length: usize) {
        self.steps.truncate(length);
    }

    /// Enters any element of an array.
    pub(in crate::transform) fn element(&mut self) {
        self.step(ELEMENT, b"");
    }

    /// Enters a member of an object; `None` is a key that is too long to be shown.
    pub(in crate::transform) fn member(&mut self, key: Option<&[u8]>) {
        let length = key.and_then(|key| u16::try_from(key.len()).ok());
        match (key, length) {
            (Some(key), Some(length)) if length < UNNAMED => self.step(length, key),
            _ => self.step(UNNAMED, b""),
        }
    }

    fn step(&mut self, step: u16, key: &[u8]) {
        if self.steps.len() + key.len() <= BYTES_MAX {
            self.steps.extend_from_slice(&step.to_le_bytes());
            self.steps.extend_from_slice(key);
        } else if self.steps.len() <= BYTES_MAX {
            self.steps.extend_from_slice(&UNNAMED.to_le_bytes());
        }
    }

    /// The same for the same trail, and for no other that can be shown whole.
    pub(in crate::transform) fn bytes(&self) -> &[u8] {
        &self.steps
    }

    /// As it is shown.
    pub(in crate::transform) fn path(&self) -> ValuePath {
        let mut path = ValuePath::default();
        let mut rest = self.steps.as_slice();
        while let Some(([low, high], after)) = rest.split_first_chunk() {
            rest = after;
            match u16::from_le_bytes([*low, *high]) {
                ELEMENT => path.element(),
                UNNAMED => path.key(None),
                length => {
                    let (key, after) = rest.split_at(usize::from(length).min(rest.len()));
                    path.key(Some(key));
                    rest = after;
                }
            }
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn steps() -> impl Strategy<Value = Option<Option<Vec<u8>>>> {
        let key = prop_oneof![
            Just(None),
            "[a-z.\u{e9}\"]{0,9}".prop_map(|key| Some(key.into_bytes())),
            prop::collection::vec(any::<u8>(), 0..4).prop_map(Some),
            (0_usize..1024).prop_map(|length| Some(vec![b'k'; length])),
        ];
        prop::option::of(key)
    }

    proptest! {
        #[test]
        fn a_trail_is_shown_as_the_path_that_was_walked(steps in prop::collection::vec(steps(), 0..8)) {
            let mut path = ValuePath::default();
            let mut trail = Trail::default();
            for step in &steps {
                let length = trail.len();
                for _ in 0..2 {
                    trail.truncate(length);
                    match step {
                        Some(key) => trail.member(key.as_deref()),
                        None => trail.element(),
                    }
                }
                match step {
                    Some(key) => path.key(key.as_deref()),
                    None => path.element(),
                }
            }
            if path.len() <= MASKED_PATH_BYTES_MAX && !path.text().contains("...") {
                let shown = trail.path();
                prop_assert_eq!(shown.text(), path.text());
            }
        }
    }

    #[test]
    fn it_is_bounded() {
        let mut trail = Trail::default();
        for _ in 0..1000 {
            trail.member(Some(&[b'k'; 1000]));
            trail.member(None);
            trail.element();
            assert!(trail.len() <= BYTES_MAX + 2);
        }
        let shown = trail.path();
        assert!(shown.text().contains("..."));
        assert!(shown.len() <= MASKED_PATH_BYTES_MAX + 3);
    }
}
