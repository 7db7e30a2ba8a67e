use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::transform::Placeholders;
use crate::transform::output::Output;
use crate::transform::text::known::Value;
use bytes::Bytes;

const LONG: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKjMzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu";

fn placeholders() -> Placeholders {
    Placeholders::new(&[7; 32])
}

fn index(values: &[&str]) -> Arc<Index> {
    let values: Vec<_> = values
        .iter()
        .map(|value| {
            Arc::new(Value {
                bytes: Zeroizing::new(value.as_bytes().to_vec()),
                source: format!("secrets/test.data.{}", value.len()),
            })
        })
        .collect();
    Arc::new(Index::new(&values, &placeholders()))
}

/// A stream that remembers what left at which time.
struct Stream {
    scanner: Scanner,
    output: Output,
    text: Vec<u8>,
}

impl Stream {
    fn new(index: &Arc<Index>) -> Self {
        Self {
            scanner: Scanner::new(Arc::clone(index)),
            output: Output::default(),
            text: Vec::new(),
        }
    }

    fn push(&mut self, chunk: &[u8]) {
        let chunk = Bytes::copy_from_slice(chunk);
        self.scanner.push(&chunk, &mut self.output.of(&chunk));
        assert!(self.scanner.held() <= HELD_BYTES_MAX);
        self.collect();
    }

    fn pause(&mut self) {
        let none = Bytes::new();
        self.scanner.release(&mut self.output.of(&none));
        self.collect();
    }

    fn finish(mut self) -> String {
        let none = Bytes::new();
        self.scanner.finish(&mut self.output.of(&none));
        self.collect();
        String::from_utf8(self.text).unwrap()
    }

    fn collect(&mut self) {
        while let Some(bytes) = self.output.pop() {
            self.text.extend_from_slice(&bytes);
        }
    }

    fn so_far(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap()
    }
}

fn masked(index: &Arc<Index>, text: &str) -> String {
    let mut stream = Stream::new(index);
    stream.push(text.as_bytes());
    stream.finish()
}

fn placeholder(value: &str) -> String {
    placeholders().of(value).text().to_owned()
}

#[test]
fn values_are_masked_wherever_they_stand() {
    let index = index(&["correct-horse-battery", "hunter2!hunter2!", LONG]);
    for value in ["correct-horse-battery", "hunter2!hunter2!", LONG] {
        let instead = placeholder(value);
        for (before, after) in [
            ("", ""),
            ("password=", "\n"),
            ("\u{1b}[1m", "\u{1b}[0m"),
            ("x", "x"),
        ] {
            let text = format!("{before}{value}{after}{value}{value}");
            let expected = format!("{before}{instead}{after}{instead}{instead}");
            assert_eq!(masked(&index, &text), expected);
        }
    }
    let plain = "correct-horse-batter correct-horse hunter2!hunter2";
    assert_eq!(masked(&index, &format!("{plain} ")), format!("{plain} "));
}

#[test]
fn of_two_values_with_one_beginning_the_longer_is_masked_whole() {
    let index = index(&["swordfish-1", "swordfish-1-extended"]);
    let (short, long) = (
        placeholder("swordfish-1"),
        placeholder("swordfish-1-extended"),
    );
    assert_eq!(
        masked(&index, "swordfish-1 swordfish-1-extended swordfish-1-ext."),
        format!("{short} {long} {short}-ext.")
    );
    assert_eq!(masked(&index, "swordfish-1"), short);
}

#[test]
fn only_what_may_begin_a_value_waits() {
    let index = index(&["correct-horse-battery"]);
    let mut stream = Stream::new(&index);
    stream.push(b"root@db:/# ");
    assert_eq!(stream.so_far(), "root@db:/# ");
    assert!(!stream.scanner.waits());
    stream.push(b"ls; c");
    assert_eq!(stream.so_far(), "root@db:/# ls; ");
    assert!(stream.scanner.waits());
    stream.pause();
    assert_eq!(stream.so_far(), "root@db:/# ls; c");
    assert!(!stream.scanner.waits());
    stream.push(b"at x");
    assert_eq!(stream.so_far(), "root@db:/# ls; cat x");
}

#[test]
fn a_value_that_arrives_byte_by_byte_shows_seven_bytes_at_most() {
    for value in ["correct-horse-battery", LONG] {
        let index = index(&[value]);
        for pauses in [1, 2, 3] {
            let mut stream = Stream::new(&index);
            stream.push(b"> ");
            for (number, byte) in value.bytes().enumerate() {
                stream.push(&[byte]);
                if number % pauses == 0 {
                    stream.pause();
                }
            }
            stream.push(b" done");
            let text = stream.finish();
            let (shown, rest) = text.split_once('[').expect("a placeholder");
            assert!(shown.len() <= 2 + 7, "{text}");
            assert_eq!(format!("[{rest}"), format!("{} done", placeholder(value)));
        }
    }
}

#[test]
fn a_pause_within_a_value_masks_what_there_is_of_it() {
    let index = index(&["correct-horse-battery"]);
    let instead = placeholder("correct-horse-battery");
    let mut stream = Stream::new(&index);
    stream.push(b"correct-h");
    stream.pause();
    assert_eq!(stream.so_far(), instead);
    stream.push(b"orse-battery.");
    assert_eq!(stream.finish(), format!("{instead}."));

    let mut stream = Stream::new(&index);
    stream.push(b"correct-horse-bat");
    assert_eq!(stream.finish(), instead, "a value cut off by the end");
}

#[test]
fn line_breaks_do_not_hide_a_value() {
    let index = index(&["correct-horse-battery", LONG]);
    let instead = placeholder("correct-horse-battery");
    assert_eq!(
        masked(&index, "a correct-horse\r\n-battery b"),
        format!("a {instead} b")
    );
    let mut broken = String::new();
    for (number, character) in LONG.chars().enumerate() {
        if number % 76 == 0 && number > 0 {
            broken.push('\n');
        }
        broken.push(character);
    }
    assert_eq!(masked(&index, &broken), format!("{}\n", placeholder(LONG)));
}

#[test]
fn base64_stays_base64_of_the_same_alignment() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    for value in ["correct-horse-battery", "correct-horse-battery1", LONG] {
        let index = index(&[value]);
        for before in 0..5 {
            for after in 0..5 {
                let document = format!("{}{value}{}", "<".repeat(before), ">".repeat(after));
                let text = masked(&index, &STANDARD.encode(&document));
                let decoded = STANDARD
                    .decode(&text)
                    .unwrap_or_else(|error| panic!("{error}: {text}"));
                let decoded = String::from_utf8_lossy(&decoded).into_owned();
                assert!(
                    !decoded.contains("horse") && !decoded.contains("QEFAASC"),
                    "{decoded}"
                );
                assert!(decoded.contains("asked:v1:"), "{decoded}");
            }
        }
    }
}

#[test]
fn an_empty_index_lets_everything_pass() {
    let index = index(&[]);
    assert_eq!(masked(&index, "anything at all"), "anything at all");
}

/// What the scanner should do with text that comes in one piece, without line breaks.
fn oracle(values: &[&str], text: &str) -> String {
    let mut rest = text;
    let mut out = String::new();
    'places: while !rest.is_empty() {
        let mut by_length = values.to_vec();
        by_length.sort_by_key(|value| std::cmp::Reverse(value.len()));
        for value in by_length {
            if let Some(after) = rest.strip_prefix(value) {
                out.push_str(&placeholder(value));
                rest = after;
                continue 'places;
            }
        }
        let mut characters = rest.chars();
        out.extend(characters.next());
        rest = characters.as_str();
    }
    out
}

const ORACLE_VALUES: [&str; 5] = [
    "abababab",
    "ababababab",
    "babababac",
    "aaaaaaab",
    "abcabcabcabc",
];

proptest! {
    #[test]
    fn it_does_what_the_oracle_does_however_it_is_cut(
        text in "(a|b|c|ab|abc|abababab|aaaaaaab| ){0,40}",
        cuts in proptest::collection::vec(1_usize..12, 0..40),
    ) {
        let index = index(&ORACLE_VALUES);
        // A value that is cut off by the end is masked, which the oracle does not know.
        let text = format!("{text}.");
        let expected = oracle(&ORACLE_VALUES, &text);
        prop_assert_eq!(&masked(&index, &text), &expected);
        let mut stream = Stream::new(&index);
        let mut rest = text.as_bytes();
        for cut in cuts {
            let (chunk, after) = rest.split_at(cut.min(rest.len()));
            stream.push(chunk);
            rest = after;
        }
        stream.push(rest);
        prop_assert_eq!(stream.finish(), expected);
    }

    #[test]
    fn pauses_lose_and_repeat_nothing_of_other_text(
        text in "[a-d ]{0,60}",
        cuts in proptest::collection::vec(1_usize..5, 0..60),
    ) {
        let index = index(&["abcdabcdabcd", "dcbadcbadcba"]);
        prop_assume!(!text.contains("abcdabcd") && !text.contains("dcbadcba"));
        let mut stream = Stream::new(&index);
        let mut rest = text.as_bytes();
        for cut in cuts {
            let (chunk, after) = rest.split_at(cut.min(rest.len()));
            stream.push(chunk);
            stream.pause();
            rest = after;
        }
        stream.push(rest);
        prop_assert_eq!(stream.finish(), text);
    }

    #[test]
    fn every_form_is_masked_at_every_cut(
        value in "[!-~]{8,40}[0-9]",
        cut in 0_usize..200,
    ) {
        let index = index(&[&value]);
        let mut forms = Vec::new();
        crate::transform::text::known::forms::each(value.as_bytes(), |form, _| forms.push(String::from_utf8(form.to_vec()).unwrap()));
        for form in forms {
            let text = format!("<{form}>");
            let (one, two) = text.split_at(cut.min(text.len()));
            let mut stream = Stream::new(&index);
            stream.push(one.as_bytes());
            stream.push(two.as_bytes());
            let out = stream.finish();
            prop_assert!(!out.contains(&form), "{} in {}", form, out);
        }
    }
}
