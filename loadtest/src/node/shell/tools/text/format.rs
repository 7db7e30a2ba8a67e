//! Escapes and `printf`.

/// Longest padding.
const WIDTH_LIMIT: usize = 1024;

/// `\n`, `\t`, `\033`, `\x1b` and their like.
pub(super) fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c == '\\' {
            escape(&mut rest, &mut out);
        } else {
            push(c, &mut out);
        }
    }
    out
}

fn push(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn escape(rest: &mut std::str::Chars<'_>, out: &mut Vec<u8>) {
    let after = rest.clone();
    match rest.next() {
        Some('n') => out.push(b'\n'),
        Some('t') => out.push(b'\t'),
        Some('r') => out.push(b'\r'),
        Some('a') => out.push(7),
        Some('b') => out.push(8),
        Some('e') => out.push(0x1b),
        Some('x') => out.push(number(rest, 16, 2)),
        Some(c) if c.is_digit(8) => {
            *rest = after;
            out.push(number(rest, 8, if c == '0' { 4 } else { 3 }));
        }
        Some('\\') | None => out.push(b'\\'),
        Some(other) => {
            out.push(b'\\');
            push(other, out);
        }
    }
}

fn number(rest: &mut std::str::Chars<'_>, radix: u32, most: usize) -> u8 {
    let mut value = 0u32;
    for _ in 0..most {
        let Some(digit) = rest.clone().next().and_then(|c| c.to_digit(radix)) else {
            break;
        };
        value = value * radix + digit;
        rest.next();
    }
    value.to_le_bytes()[0]
}

/// Prints values by a pattern, again and again while there are values left.
pub(super) fn printf(pattern: &str, values: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut values = values.iter();
    loop {
        let before = values.len();
        once(pattern, &mut values, &mut out);
        if values.len() == 0 || values.len() == before {
            return out;
        }
    }
}

fn once(pattern: &str, values: &mut std::slice::Iter<'_, String>, out: &mut Vec<u8>) {
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => escape(&mut rest, out),
            '%' => directive(&mut rest, values, out),
            c => push(c, out),
        }
    }
}

fn directive(
    rest: &mut std::str::Chars<'_>,
    values: &mut std::slice::Iter<'_, String>,
    out: &mut Vec<u8>,
) {
    let mut flags = String::new();
    let kind = loop {
        match rest.next() {
            Some(c) if c.is_ascii_digit() || "-+ .#".contains(c) => flags.push(c),
            Some(c) => break c,
            None => return,
        }
    };
    if kind == '%' {
        out.push(b'%');
        return;
    }
    let value = values.next().map(String::as_str).unwrap_or_default();
    let integer = || value.trim().parse::<i64>().unwrap_or(0);
    let text = match kind {
        'd' | 'i' | 'u' => integer().to_string().into_bytes(),
        'x' => format!("{:x}", integer()).into_bytes(),
        'X' => format!("{:X}", integer()).into_bytes(),
        'o' => format!("{:o}", integer()).into_bytes(),
        'f' => format!("{:.6}", value.parse::<f64>().unwrap_or(0.0)).into_bytes(),
        'c' => value.chars().take(1).collect::<String>().into_bytes(),
        'b' => unescape(value),
        _ => value.as_bytes().to_vec(),
    };
    let left = flags.starts_with('-');
    let zero = flags.starts_with('0') && "dixXuof".contains(kind);
    let (width, precision) = flags.split_once('.').unwrap_or((&flags, ""));
    let width = width
        .trim_start_matches(['-', '+', ' ', '#', '0'])
        .parse()
        .unwrap_or(0usize)
        .min(WIDTH_LIMIT);
    let cut = precision
        .parse()
        .ok()
        .filter(|_| kind == 's')
        .unwrap_or(usize::MAX);
    let text = text.get(..cut).unwrap_or(&text);
    let padding = vec![if zero { b'0' } else { b' ' }; width.saturating_sub(text.len())];
    let (first, second) = if left {
        (text, padding.as_slice())
    } else {
        (padding.as_slice(), text)
    };
    out.extend_from_slice(first);
    out.extend_from_slice(second);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pattern: &str, values: &[&str]) -> String {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        String::from_utf8(printf(pattern, &values)).unwrap()
    }

    #[test]
    fn prints() {
        assert_eq!(
            text("\\033[1mbold\\033[0m %s\\n", &["x"]),
            "\x1b[1mbold\x1b[0m x\n"
        );
        assert_eq!(text("%s-", &["a", "b"]), "a-b-");
        assert_eq!(
            text("%05d|%-4s|%3s|%x|%%", &["42", "ab", "c", "255"]),
            "00042|ab  |  c|ff|%"
        );
        assert_eq!(text("%.2s\\x41\\0101", &["abcdef"]), "abAA");
        assert_eq!(text("plain\\q", &["unused"]), "plain\\q");
    }
}
