use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::transform::Placeholders;
use crate::transform::output::Output;
use crate::transform::text::known::Value;
use crate::transform::text::known::forms::plain;
use crate::transform::text::known::index::KEY_BYTES;
use bytes::Bytes;
use data_encoding::HEXLOWER;

mod newer;
mod overlaps;
mod pieces;

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
    shelf: Arc<Shelf>,
    scanner: Scanner,
    output: Output,
    text: Vec<u8>,
}

impl Stream {
    fn new(index: &Arc<Index>) -> Self {
        Self::waiting(index, Wait::Live)
    }

    fn waiting(index: &Arc<Index>, wait: Wait) -> Self {
        let shelf = Arc::new(Shelf::new(Arc::clone(index)));
        Self {
            scanner: Scanner::new(Arc::clone(&shelf), wait),
            shelf,
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
        self.scanner.release(0, &mut self.output.of(&none));
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
    let index = index(&["correct-horse-battery", "hunter2!hunter3!", LONG]);
    for value in ["correct-horse-battery", "hunter2!hunter3!", LONG] {
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
    let plain = "correct-horse-batter correct-horse hunter2!hunter3";
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

const VALUE: &str = "correct-horse-battery";

#[test]
fn what_waits_is_of_the_same_length_whatever_it_is() {
    let index = index(&[VALUE]);
    let prompt = "x".repeat(HELD_BYTES_MAX);
    for said in ["ls; c", "ls; x", "correct-horse-batter"] {
        let mut stream = Stream::waiting(&index, Wait::Alike);
        stream.push(format!("{said}{prompt}").as_bytes());
        assert_eq!(stream.so_far(), said);
        assert!(stream.scanner.waiting() > 0);
        stream.pause();
        assert_eq!(stream.so_far(), format!("{said}{prompt}"));
        assert_eq!(stream.scanner.waiting(), 0);
        stream.push(b"at");
        assert!(stream.scanner.waiting() > 0);
        assert_eq!(stream.finish(), format!("{said}{prompt}at"));
    }
}

/// What a writer sees of one value: the text after every step, with `#` for the placeholder, and how much
/// waits.
fn trace(value: &str, steps: &[(&str, bool)]) -> Vec<(String, usize)> {
    let index = index(&[value]);
    let mut stream = Stream::waiting(&index, Wait::Alike);
    let mut trace = Vec::new();
    let mut see = |stream: &Stream| {
        let text = stream.so_far().replace(&placeholder(value), "#");
        trace.push((text, stream.scanner.waiting()));
    };
    for (text, pause) in steps {
        stream.push(text.as_bytes());
        see(&stream);
        if *pause {
            stream.pause();
            see(&stream);
        }
    }
    let end = stream.finish().replace(&placeholder(value), "#");
    trace.push((end, 0));
    trace
}

/// Guesses a value character by character, with all of it that is known before the guess.
#[test]
fn a_writer_who_guesses_piece_by_piece_learns_nothing() {
    for (value, form) in [
        (VALUE, VALUE.to_owned()),
        (VALUE, HEXLOWER.encode(VALUE.as_bytes())),
        (
            "https://x.example.org/?k=8",
            "https://x.example.org/?k=8".to_owned(),
        ),
        (LONG, LONG.get(..63).unwrap().to_owned()),
    ] {
        for known in 0..form.len() - 1 {
            let (before, rest) = form.split_at(known);
            let right = rest.get(..1).unwrap();
            let sights = [right, "^", "~"].map(|guess| {
                let guessed = format!("{before}{guess}");
                let in_one = [("|", true), (guessed.as_str(), true), (" ", true)];
                let in_two = [(before, true), (guess, true), (" ", false)];
                let at_once = [("|", false), (guessed.as_str(), false)];
                [&in_one[..], &in_two, &at_once].map(|steps| {
                    let seen = trace(value, steps);
                    let sent: String = steps.iter().map(|(text, _)| *text).collect();
                    assert_eq!(seen.last().unwrap().0, sent);
                    seen.into_iter()
                        .map(|(text, waits)| (text.len(), waits))
                        .collect::<Vec<_>>()
                })
            });
            assert_eq!(sights[0], sights[1], "{known} of {form}");
            assert_eq!(sights[1], sights[2]);
        }
    }
}

/// What may leave ends within an escape with which a guess begins.
#[test]
fn c_47_what_waits_behind_an_escape_says_nothing_of_a_guess() {
    let other = "nothing-of-the-kind-42";
    for guess in [
        r"\u0063orrect-~~~",
        r"\\u0063orrect-~~~",
        "%63orrect-~~~",
        "%2563orrect-~~~",
        "\n2026-11-21T07:09:00Z correct-~~~",
        r"\ud83d\udd11correct-~~~",
    ] {
        for behind in HELD_BYTES_MAX - 20..HELD_BYTES_MAX + 20 {
            let text = format!("ab {guess}{}", "x".repeat(behind));
            for steps in [
                &[(text.as_str(), true)][..],
                &[("ab ", false), (text.as_str(), false), ("y", true)],
            ] {
                assert_eq!(trace(VALUE, steps), trace(other, steps), "{guess} {behind}");
            }
        }
    }
}

/// What stands for nothing between a long value and the rest of a longer one belongs to it.
#[test]
fn c_47_a_gap_within_a_longer_value_is_masked_wherever_it_is_cut() {
    let begun = LONG.get(..CONFIRMED_BYTES + 8).unwrap();
    let index = index(&[begun, LONG]);
    let rest = LONG.get(CONFIRMED_BYTES + 8..).unwrap();
    let text = format!(
        "{begun}\n2026-11-21T07:09:00Z   {rest}{}",
        "x".repeat(2 * HELD_BYTES_MAX)
    );
    let whole = {
        let mut stream = Stream::waiting(&index, Wait::Alike);
        stream.push(text.as_bytes());
        stream.finish()
    };
    for cut in 0..text.len() {
        let (one, two) = text.as_bytes().split_at(cut);
        let mut stream = Stream::waiting(&index, Wait::Alike);
        stream.push(one);
        stream.push(two);
        assert_eq!(stream.finish(), whole, "cut at {cut}");
    }
}

#[test]
fn a_long_value_can_be_guessed_in_blocks_only() {
    let (begin, rest) = LONG.split_at(CONFIRMED_BYTES);
    let other = format!("{begin}{}", "^".repeat(rest.len()));
    for known in 0..CONFIRMED_BYTES {
        let guess = format!("{}?", rest.get(..known).unwrap());
        for steps in [
            &[(begin, true), (guess.as_str(), true), ("|", true)][..],
            &[
                ("> ", true),
                (begin, false),
                (guess.as_str(), true),
                ("|\n", false),
            ],
        ] {
            // Who guesses right sees what he would see of a value that is another from there on.
            assert_eq!(trace(LONG, steps), trace(&other, steps), "{known}");
        }
    }
    let after = "x".repeat(200);
    let text = masked(
        &index(&[LONG]),
        &format!("{}{after}", LONG.get(..70).unwrap()),
    );
    let shown = after.len() + 70 - 2 * CONFIRMED_BYTES;
    assert_eq!(
        text,
        format!("{}{}", placeholder(LONG), after.get(..shown).unwrap())
    );
}

#[test]
fn after_a_pause_the_rest_of_a_value_is_masked() {
    for wait in [Wait::Live, Wait::Alike] {
        for value in [VALUE, LONG] {
            let index = index(&[value]);
            for cut in 0..value.len() {
                let (one, other) = value.split_at(cut);
                let mut stream = Stream::waiting(&index, wait);
                stream.push(format!("> {one}").as_bytes());
                stream.pause();
                stream.push(format!("{other}.").as_bytes());
                let shown = if cut < CONFIRMED_BYTES { one } else { "" };
                let expected = format!("> {shown}{}.", placeholder(value));
                assert_eq!(stream.finish(), expected);
            }
        }
    }
}

#[test]
fn of_a_value_that_is_typed_the_end_is_masked() {
    for (value, shown) in [(VALUE, VALUE.len() - 1), (LONG, CONFIRMED_BYTES - 1)] {
        let index = index(&[value]);
        let mut stream = Stream::waiting(&index, Wait::Alike);
        for byte in format!("> {value}").bytes() {
            stream.push(&[byte]);
            stream.pause();
        }
        stream.push(b" done");
        let expected = format!(
            "> {}{} done",
            value.get(..shown).unwrap(),
            placeholder(value)
        );
        assert_eq!(stream.finish(), expected);
    }
}

#[test]
fn typing_what_a_value_begins_with_is_not_garbled() {
    let index = index(&["https://hooks.example.org/services/T02/B7/xG8s"]);
    let typed = "echo https://hooks.example.org/services/T02/B7/xG8";
    let mut stream = Stream::waiting(&index, Wait::Alike);
    for byte in typed.bytes() {
        stream.push(&[byte]);
        stream.pause();
    }
    assert_eq!(stream.so_far(), typed);
    stream.push(b"\r\n");
    assert_eq!(stream.finish(), format!("{typed}\r\n"));
}

#[test]
fn a_value_within_the_beginning_of_another_is_masked_at_a_pause() {
    let index = index(&["<<hunter2!hunter2!>>", "hunter2!hunter2!"]);
    let instead = placeholder("hunter2!hunter2!");
    let mut stream = Stream::waiting(&index, Wait::Alike);
    stream.push(b"<<hunter2!hunter2!>");
    stream.pause();
    assert_eq!(stream.so_far(), format!("<<{instead}>"));
    // Of what it was within the rest is masked, too.
    stream.push(b"> ");
    let outer = placeholder("<<hunter2!hunter2!>>");
    assert_eq!(stream.finish(), format!("<<{instead}>{outer} "));
}

#[test]
fn a_reader_who_cuts_a_text_off_gets_no_part_of_a_value() {
    let index = index(&[VALUE]);
    for (text, left) in [
        (
            format!("{}{}", "x".repeat(HELD_BYTES_MAX), VALUE.get(..20).unwrap()),
            "xxxxxxxxxxxxxxxxxxxx",
        ),
        ("short".to_owned(), ""),
        ("a line\n".to_owned(), "a line\n"),
        ("a line\ncorrect".to_owned(), "a line\n"),
    ] {
        let mut stream = Stream::waiting(&index, Wait::Alike);
        stream.push(text.as_bytes());
        stream.scanner.cut_off();
        assert_eq!(stream.finish(), left);
    }
}

#[test]
fn newer_values_are_looked_for_in_what_waits() {
    let mut stream = Stream::waiting(&index(&["something-else"]), Wait::Alike);
    stream.push(b"shown ");
    stream.pause();
    stream.push(b"correct-ho");
    stream.shelf.store(index(&[VALUE]));
    stream.push(b"rse-battery");
    assert_eq!(stream.finish(), format!("shown {}", placeholder(VALUE)));
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
    assert_eq!(masked(&index, &broken), placeholder(LONG));
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

fn json(text: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    text.get(1..text.len() - 1).unwrap().to_owned()
}

fn ways_of_writing(value: &str) -> Vec<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    let bytes = |write: fn(u8) -> String| value.bytes().map(write).collect::<String>();
    let others = |write: fn(u8) -> String| {
        let written = |byte: u8| {
            let plain = byte.is_ascii_alphanumeric();
            if plain {
                char::from(byte).to_string()
            } else {
                write(byte)
            }
        };
        value.bytes().map(written).collect::<String>()
    };
    let mut ways = vec![
        value.to_owned(),
        json(value),
        json(&json(value)),
        json(&json(&json(value))),
        others(|byte| match byte {
            b'%' => "%".to_owned(),
            _ => format!("\\u00{byte:02X}"),
        }),
        others(|byte| format!("%{byte:02X}")),
        others(|byte| format!("%25{byte:02x}")),
        bytes(|byte| format!("{byte:02x}")),
        bytes(|byte| format!("{byte:02X}")),
    ];
    for before in ["", "?", "??"] {
        ways.push(STANDARD.encode(format!("{before}{value}")));
        ways.push(URL_SAFE_NO_PAD.encode(format!("{before}{value}>")));
    }
    ways
}

const DOCUMENT: &str = "{\n  \"type\": \"service_account\",\n  \"private_key\": \"-----BEGIN\\nMIIEvQIBADAN\\n\",\n  \"id\": 7\n}";

#[test]
fn neither_breaks_nor_escapes_hide_a_value() {
    let stamp = "2026-11-21T07:09:00.123456789Z ";
    for (value, writings) in [
        (
            DOCUMENT,
            vec![
                DOCUMENT.replace('\n', "\r\n"),
                DOCUMENT.replace('\n', &format!("\n{stamp}")),
                DOCUMENT.replace('\n', "\r\n        "),
                json(DOCUMENT),
                json(&json(DOCUMENT)),
                json(&json(&json(DOCUMENT))),
            ],
        ),
        (
            "p@ss!word(9)*x",
            vec![
                "p@ss!\nword(9)*x".to_owned(),
                "p@\r\nss!word(9)*x".to_owned(),
                "p%40ss!word(9)*x".to_owned(),
                "p%40ss%21word%289%29%2ax".to_owned(),
                r"p@ss\u0021word(9)*x".to_owned(),
                r"p\\\u0040ss\u0021word(9)*x".to_owned(),
            ],
        ),
        (
            r#"ab"cd\ef"ghij"#,
            vec![
                r#"ab\"cd\\ef\"ghij"#.to_owned(),
                r#"ab\\\"cd\\\\ef\\\"ghij"#.to_owned(),
                r"ab%22cd%5Cef%22ghij".to_owned(),
            ],
        ),
        ("ab/cd/ef/ghij/kl", vec![r"ab\/cd\/ef\/ghij\/kl".to_owned()]),
        (
            "key=<ä&b>+c d",
            vec![
                r"key\u003d\u003cä\u0026b\u003e+c d".to_owned(),
                r"key=\u003C\u00E4&b\u003E\u002Bc d".to_owned(),
                "key%3d%3C%C3%A4%26b%3E%2Bc%20d".to_owned(),
                "key%3d%3C%C3%A4%26b%3E%2Bc+d".to_owned(),
            ],
        ),
    ] {
        let index = index(&[value]);
        for text in writings {
            let text = format!("<{text}>");
            let expected = format!("<{}>", placeholder(value));
            for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
                let mut stream = Stream::new(&index);
                stream.push(&text.as_bytes()[..cut]);
                stream.push(&text.as_bytes()[cut..]);
                assert_eq!(stream.finish(), expected, "{text} cut at {cut}");
            }
        }
    }
}

#[test]
fn base64_in_lines_is_masked_wherever_they_break() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    for value in ["p@ss!word(9)*x", LONG] {
        let index = index(&[value]);
        for before in 0..3 {
            let text = STANDARD.encode(format!("{}{value}", "<".repeat(before)));
            for (between, widths) in [
                ("\n", &[1, 3, 19, 76][..]),
                ("\r\n", &[1, 3, 19, 76]),
                ("\n    ", &[3, 19, 76]),
                ("\n2026-11-21T07:09:00.1Z ", &[19, 76]),
            ] {
                for &width in widths {
                    let lines: Vec<&[u8]> = text.as_bytes().chunks(width).collect();
                    let lines = lines.join(between.as_bytes());
                    let out = masked(&index, &String::from_utf8(lines).unwrap());
                    let out: Vec<u8> = plain::plain(out.as_bytes());
                    let out = STANDARD.decode(out).unwrap();
                    let out = String::from_utf8_lossy(&out);
                    assert!(out.contains("asked:v1:"), "{out}");
                    assert!(!out.contains("word") && !out.contains("GeurT8"), "{out}");
                }
            }
        }
    }
}

/// What the scanner should do with text that comes in one piece, without line breaks.
fn oracle(values: &[&str], text: &str) -> String {
    let (mut out, mut until) = (String::new(), 0);
    for place in 0..text.len() {
        let rest = text.get(place..).unwrap();
        let here = values.iter().filter(|value| rest.starts_with(**value));
        let Some(value) = here.max_by_key(|value| value.len()) else {
            continue;
        };
        if place >= until {
            out.push_str(text.get(until..place).unwrap());
            out.push_str(&placeholder(value));
        }
        until = until.max(place + value.len());
    }
    out.push_str(text.get(until..).unwrap());
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
        prop_assume!(!text.contains("abcdabcdabcd") && !text.contains("dcbadcbadcba"));
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
    fn what_is_seen_does_not_depend_on_parts_of_values(
        pieces in proptest::collection::vec((0_usize..60, 0_usize..60, r"[-a-z|\n]{0,2}|\\u006[0-9]|%6[0-9]|[x]{500,530}", any::<bool>()), 1..8),
    ) {
        let (one, other) = ("correct-horse-battery-staple-7", "nothing-of-the-kind-42");
        let steps: Vec<(String, bool)> = pieces
            .into_iter()
            .map(|(from, to, after, pause)| {
                let part = one.get(from.min(to) % one.len()..to % one.len()).unwrap_or_default();
                (format!("{part}{after}"), pause)
            })
            .collect();
        let steps: Vec<(&str, bool)> = steps.iter().map(|(text, pause)| (text.as_str(), *pause)).collect();
        let said: String = steps.iter().map(|(text, _)| *text).collect();
        prop_assume!(!said.replace('\n', "").contains(one));
        prop_assert_eq!(trace(one, &steps), trace(other, &steps));
    }

    #[test]
    fn every_way_of_writing_is_masked_at_every_cut(
        value in "[!-~]{8,40}[0-9]",
        cut in 0_usize..400,
    ) {
        prop_assume!(plain::plain(value.as_bytes()).len() >= KEY_BYTES);
        prop_assume!(!(value.contains('\\') && value.contains('%')));
        let index = index(&[&value]);
        for text in ways_of_writing(&value) {
            let text = format!("<{text}>");
            let (one, two) = text.split_at(cut.min(text.len()));
            let mut stream = Stream::new(&index);
            stream.push(one.as_bytes());
            stream.push(two.as_bytes());
            let out = stream.finish();
            prop_assert_eq!(&out, &masked(&index, &text));
            prop_assert!(!out.contains(text.get(1..text.len() - 1).unwrap()), "{} in {}", text, out);
        }
    }
}
