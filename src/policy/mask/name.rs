//! Which mask it was, for counts: they have labels from a closed set, and policies name masks as they like.

use super::BUILTIN;

/// One of [`BUILTIN`], or any that a policy names itself.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MaskName(u8);

impl MaskName {
    /// Those of a policy's own.
    pub const OWN: Self = Self(8);
    /// What looks like a credential.
    pub const CREDENTIALS: Self = Self(7);
    /// Values of Secrets, wherever they turn up.
    pub const KNOWN_VALUES: Self = Self(6);
    /// How many there are.
    pub const COUNT: usize = BUILTIN.len() + 1;

    /// The one that a rule is called.
    pub fn of(name: &str) -> Self {
        let mut places = (0..).zip(BUILTIN);
        let found = places.find(|(_, builtin)| *builtin == name);
        found.map_or(Self::OWN, |(place, _)| Self(place))
    }

    /// Its label: the name, or `own`.
    pub fn label(self) -> &'static str {
        BUILTIN.get(self.place()).copied().unwrap_or("own")
    }

    /// Its place in a list of all.
    pub fn place(self) -> usize {
        usize::from(self.0)
    }

    /// Every one, in order.
    pub fn all() -> [Self; Self::COUNT] {
        let mut places = 0..;
        [(); Self::COUNT].map(|()| Self(places.next().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mask_has_a_label() {
        for name in BUILTIN {
            assert_eq!(MaskName::of(name).label(), name);
        }
        assert_eq!(MaskName::of("database-passwords"), MaskName::OWN);
        assert_eq!(MaskName::of("credentials"), MaskName::CREDENTIALS);
        assert_eq!(MaskName::of("known-values"), MaskName::KNOWN_VALUES);
        let labels = MaskName::all().map(MaskName::label);
        assert_eq!(labels.last(), Some(&"own"));
        assert_eq!(labels[..BUILTIN.len()], BUILTIN);
    }
}
