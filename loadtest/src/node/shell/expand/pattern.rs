//! `*`, `?` and `[…]`, in file names, `case` and `${x#…}`. A backslash makes the next character
//! literal.

/// Whether the whole `text` matches.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // After a mismatch: back to the last star, which takes one character more. Only the last star
    // is ever reconsidered, so the time is bounded by the product of both lengths.
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = text.get(t) {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(_) => {
                if let Some(width) = one(pattern.get(p..).unwrap_or_default(), *c) {
                    p += width;
                    t += 1;
                    continue;
                }
            }
            None => {}
        }
        let Some((at, taken)) = star else {
            return false;
        };
        star = Some((at, taken + 1));
        p = at + 1;
        t = taken + 1;
    }
    pattern
        .get(p..)
        .unwrap_or_default()
        .iter()
        .all(|c| *c == '*')
}

/// How many characters of the pattern match `c`, if they do.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', literal, ..] => (*literal == c).then_some(2),
        ['[', set @ ..] => {
            let close = set.iter().skip(1).position(|c| *c == ']').map(|at| at + 1);
            let Some(set) = close.and_then(|close| set.get(..close)) else {
                return (c == '[').then_some(1);
            };
            let (negated, members) = match set {
                ['!' | '^', rest @ ..] => (true, rest),
                all => (false, all),
            };
            let mut found = members.contains(&c);
            for range in members.windows(3) {
                found |= matches!(range, [from, '-', to] if (*from..=*to).contains(&c));
            }
            (found != negated).then_some(set.len() + 2)
        }
        [literal, ..] => (*literal == c).then_some(1),
        [] => None,
    }
}

/// Quotes everything that has a meaning in a pattern.
pub(crate) fn escape(text: &str, into: &mut String) {
    for c in text.chars() {
        if "*?[\\".contains(c) {
            into.push('\\');
        }
        into.push(c);
    }
}

/// Whether a pattern is more than text.
pub(crate) fn is_pattern(text: &str) -> bool {
    let mut escaped = false;
    text.chars().any(|c| {
        let special = !escaped && "*?[".contains(c);
        escaped = !escaped && c == '\\';
        special
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_a_shell_does() {
        let yes = [
            ("*", ""),
            ("a*c", "abbc"),
            ("?", "x"),
            ("[a-c]x", "bx"),
            ("[!a]", "b"),
            ("\\*", "*"),
            ("*.tar.*", "a.tar.gz"),
            ("[", "["),
        ];
        let no = [
            ("a*c", "ab"),
            ("?", ""),
            ("[a-c]x", "dx"),
            ("\\*", "a"),
            ("a", "ab"),
            ("", "a"),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in no {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(matches(&"a*".repeat(200), &"a".repeat(400)));
        assert!(!matches(&("a*".repeat(200) + "b"), &"a".repeat(400)));
    }
}
