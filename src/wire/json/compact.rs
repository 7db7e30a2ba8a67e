//! The members of an object that is written as the API server writes it, without a blank, and all there.
//!
//! Only what is common is read: keys without an escape, and values that are strings or containers. What is of
//! another form is left to the [`Scanner`](super::Scanner), which says the same of everything that is read here.

use super::blocks::{self, BLOCK, Skip};
use super::members::below;
use crate::limits::JSON_DEPTH_MAX;

/// Reads the object that `text` begins with, in which `depth` containers are open with it. `each` is told the
/// key and the raw value of every member, in order, and says whether to go on. Answers the length of the object,
/// or `None` if it is not of the common form, does not end here, or was left.
pub fn compact_members<'a>(
    text: &'a [u8],
    depth: usize,
    mut each: impl FnMut(&'a [u8], &'a [u8]) -> bool,
) -> Option<usize> {
    if text.get(..2)? == b"{}" {
        return Some(2);
    }
    let mut at = 1;
    loop {
        let rest = text.get(at..)?;
        let block = rest.strip_prefix(b"\"")?.first_chunk()?;
        let (quotes, backslashes) = blocks::quotes(block);
        let length = quotes.trailing_zeros() as usize;
        let (key, [b':', first]) = (rest.get(1..=length)?, block.get(length + 1..length + 3)?)
        else {
            return None;
        };
        let value = length + 2;
        let behind = quotes & u64::MAX << value << 1;
        let end = behind.trailing_zeros() as usize;
        if backslashes & below(length) != 0 {
            return None;
        }
        // The block begins behind the quote of the key, and so one byte behind `rest`.
        let inside = || rest.get(value + 2..);
        let end = match *first {
            b'"' if end < BLOCK && backslashes & below(end) == 0 => end + 2,
            b'"' => value + 2 + blocks::string_end(inside()?, &mut false)?,
            b'{' | b'[' if depth < JSON_DEPTH_MAX => {
                let mut skip = Skip::new(*first == b'{', depth + 1);
                value + 2 + skip.end(inside()?).ok()??
            }
            _ => return None,
        };
        if !each(key, rest.get(value + 1..end)?) {
            return None;
        }
        at += end + 1;
        match rest.get(end)? {
            b',' => {}
            b'}' => return Some(at),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::{Documents, Scanner, Step};
    use super::*;

    type Members<'a> = Vec<(&'a [u8], &'a [u8])>;
    type Unescaped<'a> = Vec<(Vec<u8>, &'a [u8])>;

    fn compact(text: &[u8]) -> Option<(usize, Members<'_>)> {
        let mut members = Vec::new();
        let length = compact_members(text, 1, |key, value| {
            members.push((key, value));
            true
        })?;
        Some((length, members))
    }

    /// What the scanner says of the object that `text` begins with.
    fn scanned(text: &[u8]) -> Option<(usize, Unescaped<'_>)> {
        let mut scanner = Scanner::new(Documents::One);
        let (mut cursor, mut first, mut members) = (0, None, Vec::new());
        loop {
            match scanner.step(text, &mut cursor).ok()? {
                Step::Begin(_) if cursor == 1 => {}
                Step::Begin(_) => {
                    first = Some(cursor - 1);
                    scanner.skip_value();
                }
                Step::Key => {}
                Step::End if scanner.depth() == 0 => return Some((cursor, members)),
                Step::End => {
                    let value = text.get(first?..cursor)?;
                    members.push((scanner.key(text)?.to_vec(), value));
                }
                Step::More => return None,
            }
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[a-z\"\\\\]{0,80}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z\\\\]{0,9}", inner, 0..4)
                    .prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn it_says_what_the_scanner_says(
            members in prop::collection::vec(("[a-z\"]{0,70}", values()), 0..5),
            cut: prop::sample::Index, change: Option<(prop::sample::Index, u8)>,
        ) {
            let members = members.iter().map(|(key, value)| format!("{}:{value}", json!(key)));
            let object = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
            let mut text = format!("{object},{}", " ".repeat(BLOCK)).into_bytes();
            if let Some((place, byte)) = change {
                let place = place.index(object.len());
                text[place] = byte;
            }
            for text in [&text[..], &text[..cut.index(text.len())]] {
                if !text.starts_with(b"{") {
                    continue;
                }
                let Some((length, members)) = compact(text) else {
                    continue;
                };
                let (expected, wanted) = scanned(text).unwrap();
                prop_assert_eq!(length, expected);
                let members: Vec<_> = members.iter().map(|(key, value)| (key.to_vec(), *value)).collect();
                prop_assert_eq!(members, wanted);
            }
        }
    }

    #[test]
    fn what_is_common_is_read() {
        let object = br#"{"name":"A","value":"b \"c\" \\","valueFrom":{"a":["}"]},"long":"0123456789012345678901234567890123456789012345678901234567890123456789"}"#;
        let text = [&object[..], &[b' '; BLOCK]].concat();
        let (length, members) = compact(&text).unwrap();
        assert_eq!((length, members.len()), (object.len(), 4));
        assert_eq!(members[1], (&b"value"[..], &br#""b \"c\" \\""#[..]));
        assert_eq!(members[2].1, br#"{"a":["}"]}"#);
        for other in [
            &br#"{ "a":"b"}"#[..],
            br#"{"a" :"b"}"#,
            br#"{"a":"b" }"#,
            br#"{"a":1}"#,
            br#"{"\u0061":"b"}"#,
            br#"{"a":"b",}"#,
            br#"{"a":"b"]"#,
        ] {
            assert_eq!(compact(&[other, &[b' '; BLOCK]].concat()), None);
        }
    }
}
