use proptest::prelude::*;

use super::super::{Documents, Scanner, Step};
use super::*;

pub(super) type Ends = fn(&[u8], &mut bool) -> Option<usize>;
pub(super) type Skips = fn(&mut Skip, &[u8]) -> Result<Option<usize>, JsonError>;

/// All ways that this processor has, of which `portable` is one; so are the next two.
fn ends() -> Vec<Ends> {
    let mut all: Vec<Ends> = vec![
        |text, escaped| string_end_by(text, escaped, portable::quotes),
        string_end,
    ];
    #[cfg(target_arch = "x86_64")]
    all.extend(x86::tests::ends());
    all
}

/// Where a string without a backslash ends.
#[derive(Clone, Copy)]
struct PlainEnd<'a>(&'a [u8]);

impl Walk for PlainEnd<'_> {
    type Outcome = Option<usize>;

    fn with(self, quotes: impl Quotes) -> Self::Outcome {
        plain_end(self.0, quotes)
    }
}

/// Where the string begins that `text` ends in, byte by byte; nothing if it is no JSON.
fn naive_open_string(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => return None,
            b'"' => match naive_string_end(&text[at + 1..], &mut false) {
                Some(length) => at += 1 + length,
                None => return Some(at),
            },
            _ => at += 1,
        }
    }
    Some(text.len())
}

/// What comes of a walk with each kind of vectors.
fn walks<W: Walk + Copy>(of: W) -> Vec<W::Outcome> {
    let mut all = vec![of.with(portable::quotes), walk(of)];
    #[cfg(target_arch = "x86_64")]
    all.extend(x86::tests::walks(of));
    all
}

fn skips() -> Vec<Skips> {
    let mut all: Vec<Skips> = vec![
        |skip, text| skip.end_by(text, portable::bits, prefix_xor),
        Skip::end,
    ];
    #[cfg(target_arch = "x86_64")]
    all.extend(x86::tests::skips());
    all
}

/// What a string's end is, byte by byte.
fn naive_string_end(text: &[u8], escaped: &mut bool) -> Option<usize> {
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if *escaped => *escaped = false,
            b'\\' => *escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// What a container's end is, byte by byte.
fn naive_skip(text: &[u8], object: bool, depth: usize) -> Result<Option<usize>, JsonError> {
    let (mut open, mut counts) = (1_usize, [0_isize, 0]);
    counts[usize::from(object)] = 1;
    let (mut in_string, mut escaped) = (false, false);
    for (at, byte) in text.iter().enumerate() {
        match (in_string, byte) {
            (true, _) => {
                let mut inside = escaped;
                if naive_string_end(&[*byte], &mut inside).is_some() {
                    in_string = false;
                }
                escaped = inside;
            }
            (false, b'"') => (in_string, escaped) = (true, false),
            (false, b'\\') => return Err(JsonError::Unexpected),
            (false, b'{' | b'[') => {
                if open + depth > JSON_DEPTH_MAX {
                    return Err(JsonError::TooDeep);
                }
                open += 1;
                counts[usize::from(*byte == b'{')] += 1;
            }
            (false, b'}' | b']') => {
                open -= 1;
                counts[usize::from(*byte == b'}')] -= 1;
                if open == 0 {
                    let closed = counts == [0, 0] && object == (*byte == b'}');
                    return if closed {
                        Ok(Some(at + 1))
                    } else {
                        Err(JsonError::Unexpected)
                    };
                }
            }
            (false, _) => {}
        }
    }
    Ok(None)
}

fn cut(text: &[u8], at: usize) -> [&[u8]; 2] {
    let (head, tail) = text.split_at(at.min(text.len()));
    [head, tail]
}

#[test]
fn every_byte_is_told_apart() {
    for byte in 0..=255_u8 {
        for at in 0..BLOCK {
            let mut block = [b' '; BLOCK];
            block[at] = byte;
            let bits = portable::bits(&block);
            let is = |bytes: &[u8]| u64::from(bytes.contains(&byte)) << at;
            assert_eq!(bits.quotes, is(b"\""));
            assert_eq!(bits.backslashes, is(b"\\"));
            assert_eq!(bits.opens, is(b"{["));
            assert_eq!(bits.closes, is(b"}]"));
            assert_eq!(bits.curly & (bits.opens | bits.closes), is(b"{}"));
            assert_eq!(quotes(&block), (bits.quotes, bits.backslashes));
            let marks = bits.quotes | bits.backslashes;
            assert_eq!(any_of(&block, *b"\"\\"), marks);
            assert_eq!(portable::any_of(&block, *b"\"\\"), marks);
            #[cfg(target_arch = "x86_64")]
            for other in x86::tests::bits(&block) {
                let curly = other.curly & (bits.opens | bits.closes);
                assert_eq!(Bits { curly, ..other }, bits, "{byte} at {at}");
            }
        }
    }
}

#[test]
fn brackets_that_do_not_match_are_refused_by_their_counts() {
    for text in ["{]}", "[}]", "{\"a\":[}}}", "]"] {
        let padded = ["x".repeat(60).as_bytes(), text.as_bytes(), &[b' '; 70]].concat();
        for skip in skips() {
            let end = skip(&mut Skip::new(true, 1), &padded);
            assert_eq!(end, Err(JsonError::Unexpected), "{text}");
        }
    }
}

fn jsonish() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => r#"[\[\]{}":,\\ a]{0,9}"#,
        1 => r"\\{0,70}",
        2 => "[a-z]{0,70}",
        4 => Just("{}".to_owned()),
        2 => r#""([^"\\]|\\["\\n]){0,40}""#,
        1 => r#"(\{"a":\[){1,6}"#,
        1 => r"(\]\}){1,6}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn strings_end_where_they_end_byte_by_byte(
        text in prop_oneof![
            "([^\"\\\\]{0,70}|\\\\{1,70}|\"){0,5}".prop_map(String::into_bytes),
            jsonish(),
        ],
        at in 0_usize..300,
        escaped: bool,
    ) {
        let plain = text.iter().position(|byte| matches!(byte, b'"' | b'\\'));
        let plain = plain.filter(|at| text[*at] == b'"');
        for end in walks(PlainEnd(&text)) {
            prop_assert_eq!(end, plain);
        }
        let mut left = escaped;
        let naive = naive_string_end(&text, &mut left);
        for end in ends() {
            let mut carried = escaped;
            prop_assert_eq!(end(&text, &mut carried), naive);
            prop_assert_eq!(carried, left);
            let [head, tail] = cut(&text, at);
            let mut carried = escaped;
            let found = end(head, &mut carried)
                .or_else(|| Some(head.len() + end(tail, &mut carried)?));
            prop_assert_eq!(found, naive);
            prop_assert_eq!(carried, left);
        }
    }

    #[test]
    fn strings_are_open_where_they_are_byte_by_byte(
        text in prop_oneof![
            "([^\"\\\\]{0,70}|\\\\{1,70}|\"){0,5}".prop_map(String::into_bytes),
            "(\"([a-z]|\\\\[n\"\\\\]){0,90}\"[,: ]{0,9}){0,5}(\"([a-z]|\\\\.){0,90}\\\\?)?".prop_map(String::into_bytes),
            jsonish(),
        ],
    ) {
        for found in walks(OpenString(&text)) {
            let readable = if naive_open_string(&text).is_some() { &text } else { &text[..found] };
            prop_assert_eq!(naive_open_string(readable), Some(found));
        }
    }

    #[test]
    fn containers_end_where_they_end_byte_by_byte(
        text in jsonish(), at in 0_usize..300, object: bool, depth in prop_oneof![
            4 => Just(1), 1 => JSON_DEPTH_MAX - 6..=JSON_DEPTH_MAX
        ],
    ) {
        let naive = naive_skip(&text, object, depth);
        for skip in skips() {
            let whole = skip(&mut Skip::new(object, depth), &text);
            let mut state = Skip::new(object, depth);
            let [head, tail] = cut(&text, at);
            let parts = match skip(&mut state, head) {
                Ok(None) => skip(&mut state, tail).map(|end| Some(head.len() + end?)),
                done => done,
            };
            for found in [whole, parts] {
                prop_assert_eq!(&found, &naive);
            }
        }
    }
}

/// Scans a document without the members whose keys have an odd length, and says where each step ends.
#[derive(Clone, Copy)]
struct Scan<'a>(&'a [u8]);

impl Walk for Scan<'_> {
    type Outcome = Result<Vec<(Step, usize)>, JsonError>;

    fn with(self, quotes: impl Quotes) -> Self::Outcome {
        let mut scanner = Scanner::new(Documents::One);
        let (mut steps, mut cursor) = (Vec::new(), 0);
        loop {
            let wants = |key: Option<&[u8]>| key.is_none_or(|key| key.len() % 2 == 0);
            let step = scanner.step_by(self.0, &mut cursor, wants, quotes)?;
            steps.push((step, cursor));
            if step == Step::More {
                return Ok(steps);
            }
        }
    }
}

fn members() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"even\"",
        "\"a\\\"b\"",
        "\"\\u0061\"",
        " ",
        "1",
        "null",
        "\"odd\":\"value\",",
        "\"even\":\"value\",",
        "\"odd\":{\"a\":[1,\"}\"]},",
        "\"even\":{\"x\":\"y\"},",
        "\"a key that is longer than one block of sixty-four bytes, and than two\":\"x\",",
    ]);
    let inside = prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat());
    inside.prop_map(|inside| format!("{{{}\"end\":1}}{}", inside, " ".repeat(80)))
}

proptest! {
    #[test]
    fn every_walk_takes_the_same_steps(text in members()) {
        let scan = Scan(text.as_bytes());
        let expected = scan.with(portable::quotes);
        for steps in walks(scan) {
            prop_assert_eq!(&steps, &expected);
        }
    }
}
