//! Which known key a misspelt one was meant to be.

/// Whether a key is probably a misspelling of a known one: other case, or two edits away.
pub(super) fn is_alike(known: &str, given: &str) -> bool {
    let plain = |text: &str| -> Vec<char> {
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|character| character.to_ascii_lowercase())
            .collect()
    };
    let (known, given) = (plain(known), plain(given));
    known.len().abs_diff(given.len()) <= 2 && known.len() > 2 && edits(&known, &given) <= 2
}

fn edits(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.iter().enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        for (b, cell) in right.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = *cell;
            before = replaced.min(before + 1).min(*cell + 1);
            *cell = before;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness_is_two_edits() {
        for (known, given, expected) in [
            ("resourceNames", "resourcenames", true),
            ("resourceNames", "resource_names", true),
            ("namespaces", "namespace", true),
            ("verbs", "verb", true),
            ("subjects", "resources", false),
            ("mask", "message", false),
        ] {
            assert_eq!(is_alike(known, given), expected, "{known} {given}");
        }
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(edits(&chars("kitten"), &chars("sitting")), 3);
        assert_eq!(edits(&chars(""), &chars("abc")), 3);
        assert_eq!(edits(&chars("abc"), &chars("")), 3);
    }
}
