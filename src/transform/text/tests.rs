//! Known values and credentials in one text: neither search hides anything from the other.

use proptest::prelude::*;
use regex::Regex;
use zeroize::Zeroizing;

use super::credentials::tests::{ORDINARY, SAMPLES};
use super::known::{Index, Value};
use super::*;
use crate::limits;

/// What ends every credential.
const END: &str = "\n-----END PRIVATE KEY-----\nnext\n";

fn masks(values: &[&str]) -> TextMasks {
    let placeholders = Arc::new(Placeholders::new(&[7; 32]));
    let values: Vec<_> = values
        .iter()
        .map(|value| {
            Arc::new(Value {
                bytes: Zeroizing::new(value.as_bytes().to_vec()),
                source: "secrets/db".to_owned(),
            })
        })
        .collect();
    let index = Index::new(&values, &placeholders);
    TextMasks::new(
        Some(Arc::new(Shelf::from_pointee(index))),
        Some(placeholders),
    )
}

/// One star for all placeholders in a row.
fn starred(text: &str) -> String {
    let placeholders = Regex::new(r"(\*|\[masked:v1:[0-9a-f]+\])+").unwrap();
    placeholders.replace_all(text, "*").into_owned()
}

fn stream<'a>(masks: &TextMasks, chunks: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut masker = TextMasker::new(masks);
    let mut masked = Vec::new();
    for chunk in chunks {
        masker.push_to(chunk, Duration::ZERO, &mut masked);
    }
    masker.finish_to(&mut masked);
    starred(&String::from_utf8_lossy(&masked))
}

/// What has to leave: the text without what either search finds in it as it came.
fn expected(masks: &TextMasks, text: &str) -> String {
    let shelf = Arc::clone(masks.known.as_ref().unwrap());
    let known = Scanner::new(shelf, Wait::Live).find(text.as_bytes());
    let hidden = credentials::merged([credentials::parts(text.as_bytes()), known].concat());
    let mut shown = String::new();
    let mut copied = 0;
    for part in hidden {
        shown += text.get(copied..part.start).unwrap();
        shown += "*";
        copied = part.end;
    }
    starred(&(shown + text.get(copied..).unwrap()))
}

/// Every sample of a text, with a credential in it or none.
fn samples() -> Vec<&'static str> {
    let found = SAMPLES.iter().flat_map(|(_, found, _)| found.iter());
    let found = found.map(|(text, _)| *text);
    let ordinary = SAMPLES.iter().flat_map(|(_, _, ordinary)| *ordinary);
    found.chain(ordinary.chain(ORDINARY).copied()).collect()
}

/// Where to cut a text so that the first part is no prompt, of which nothing waits for the second.
fn behind_space(text: &str, cut: usize) -> usize {
    let bytes = text.as_bytes();
    let space = |at: &usize| bytes.get(at - 1).is_some_and(u8::is_ascii_whitespace);
    (cut.max(1)..bytes.len())
        .find(|at| !space(at))
        .unwrap_or(bytes.len())
}

#[test]
fn c_45_a_known_value_that_leads_to_credentials_switches_no_search_off() {
    for (lead, credential) in [
        ("password=", "hunter2-hunter2"),
        ("Authorization: Bearer ", "c2Vzc2lvbi10b2tlbi0x"),
        (
            "-----BEGIN RSA PRIVATE KEY-----",
            "\nMIIEpAIBAAKCAQEA7bq3xN\n",
        ),
        (
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
            ".eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        ),
        ("postgres://admin:", "hunter2-hunter2@db/shop"),
        ("curl -u admin:", "hunter2-hunter2"),
    ] {
        let masks = masks(&[lead]);
        let text = format!("a {lead}{credential} b{END}");
        let whole = stream(&masks, [text.as_bytes()]);
        assert_eq!(whole, expected(&masks, &text));
        for part in credential
            .split(['\n', '.', '@'])
            .filter(|part| part.len() > 8)
        {
            assert!(!whole.contains(part), "{whole}");
            let words = masked_words(&masks, std::iter::once(text.as_str()));
            assert!(!words[0].contains(part), "{words:?}");
        }
        for cut in 0..text.len() {
            let (one, other) = text.as_bytes().split_at(behind_space(&text, cut));
            assert_eq!(stream(&masks, [one, other]), whole, "cut at {cut}");
        }
    }
}

#[test]
fn c_45_of_a_known_value_with_a_credential_in_it_nothing_is_shown() {
    let value = "AKIAIOSFODNN7EXAMPLE:rest-of-the-value";
    let masks = masks(&[value]);
    let text = format!("a {value} b");
    assert_eq!(starred(&masked_text(&masks, &text)), "a * b");
    let words = masked_words(&masks, ["-u", value, text.as_str()].into_iter());
    let words: Vec<_> = words.iter().map(|word| starred(word)).collect();
    assert_eq!(words, ["-u", "*", "a * b"]);
}

#[test]
fn c_54_a_known_value_that_is_given_as_several_words_is_masked_in_each() {
    let value = "Hunter2! Hunter3!  end";
    let masks = masks(&[value, "one-word-9!"]);
    let shown = |words: &[&str]| {
        let words = masked_words(&masks, words.iter().copied());
        words.iter().map(|word| starred(word)).collect::<Vec<_>>()
    };
    assert_eq!(
        shown(&["echo", "Hunter2!", "Hunter3!", "", "end", "Hunter2!"]),
        ["echo", "*", "*", "", "*", "Hunter2!"]
    );
    assert_eq!(
        shown(&[
            "sh",
            "-c",
            "cat xHunter2!",
            "Hunter3!  end; ls",
            "one-word-9!"
        ]),
        ["sh", "-c", "cat x*", "*; ls", "*"]
    );
    assert_eq!(shown(&[value, "--password", "x"]), ["*", "--password", "*"]);
    assert_eq!(shown(&["", "Hunter3!", ""]), ["", "Hunter3!", ""]);
}

#[test]
fn c_54_known_values_are_found_in_a_query() {
    let masks = masks(&["Hunter2! Hunter3!"]);
    let shown = |text: &str| starred(&without_known_values(&masks, text.to_owned()));
    for said in ["Hunter2!+Hunter3!", "Hunter2%21%20Hunter3%21"] {
        let query = |value: &str| format!("?labelSelector=app%3D{value}&limit=5");
        assert_eq!(shown(&query(said)), query("*"));
    }
    for said in ["?labelSelector=app%3DHunter2!", ""] {
        assert_eq!(shown(said), said);
    }
}

#[test]
fn c_45_a_known_value_at_the_end_of_a_prompt_does_not_wait() {
    let masks = masks(&["correct-horse-battery-7"]);
    let mut masker = TextMasker::new(&masks);
    let mut masked = Vec::new();
    masker.push_to(b"correct-horse-battery-7 ", Duration::ZERO, &mut masked);
    assert_eq!(starred(std::str::from_utf8(&masked).unwrap()), "* ");
    assert_eq!(masker.due(), None);
}

#[test]
fn base64_of_a_known_value_stays_base64() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let masks = masks(&["correct-horse-battery-7"]);
    for long in [
        "",
        "with a tail of many bytes, so that the value is one of several lines in it",
    ] {
        let plain = format!("user:correct-horse-battery-7{long}");
        let masked = masked_text(&masks, &format!("{}\n", STANDARD.encode(plain)));
        let decoded = STANDARD.decode(masked.trim_end()).unwrap();
        let decoded = String::from_utf8_lossy(&decoded);
        assert!(
            decoded.contains("asked:v1:") && decoded.ends_with(long),
            "{decoded}"
        );
        assert!(!decoded.contains("horse"), "{decoded}");
    }
}

proptest! {
    #[test]
    fn c_45_both_searches_read_the_text_as_it_came(
        sample in 0..usize::MAX,
        value in (any::<prop::sample::Index>(), 8_usize..90),
        again in any::<bool>(),
        cuts in prop::collection::vec(1_usize..40, 0..30),
    ) {
        let samples = samples();
        let mut text = format!("x {}{END}", samples[sample % samples.len()]);
        if again {
            text = text.repeat(2);
        }
        // Any part of the text may be a known value.
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let from = value.0.index(places.len());
        let until = places.get(from + value.1).copied().unwrap_or(text.len());
        let known = text.get(places[from]..until).unwrap().trim().to_owned();
        prop_assume!(known.len() >= 8);
        let masks = masks(&[&known]);
        let mut chunks = Vec::new();
        let mut from = 0;
        for cut in cuts {
            let until = behind_space(&text, (from + cut).min(text.len()));
            chunks.push(&text.as_bytes()[from..until]);
            from = until;
        }
        chunks.push(&text.as_bytes()[from..]);
        prop_assert_eq!(stream(&masks, chunks), expected(&masks, &text), "{}", known);
    }
}

/// A text that comes in pieces, read without a pause.
struct Reading {
    masker: TextMasker,
    now: Duration,
    seen: Vec<u8>,
}

impl Reading {
    fn new(masks: &TextMasks) -> Self {
        Self {
            masker: TextMasker::new(masks),
            now: Duration::ZERO,
            seen: Vec::new(),
        }
    }

    /// So long nothing comes.
    fn pause(&mut self, milliseconds: u64) {
        let until = self.now + Duration::from_millis(milliseconds);
        while let Some(due) = self.masker.due().filter(|due| *due <= until) {
            self.masker.release_to(due, &mut self.seen);
            assert!(self.masker.due().is_none_or(|next| next > due));
        }
        self.now = until;
    }

    fn push(&mut self, piece: &str) {
        self.masker
            .push_to(piece.as_bytes(), self.now, &mut self.seen);
    }
}

#[test]
fn c_50_a_byte_waits_20_ms_whatever_comes_behind_it() {
    let masks = masks(&["correct-horse-battery-7"]);
    for between in [1, 3, 4, 8, 19, 21] {
        let mut reading = Reading::new(&masks);
        let mut came = Vec::new();
        for piece in std::iter::once(600).chain([1; 200]).chain([700, 30, 1]) {
            reading.push(&".".repeat(piece));
            came.push((reading.now, piece));
            reading.pause(between);
            let old = came
                .iter()
                .take_while(|(at, _)| *at + limits::TEXT_HOLD_MAX <= reading.now);
            let old: usize = old.map(|(_, piece)| piece).sum();
            assert!(reading.seen.len() >= old, "{between}");
        }
    }
}

#[test]
fn c_45_a_value_in_a_stream_without_a_pause_shows_no_part_of_itself() {
    let value = "correct-horse-battery-7";
    let masks = masks(&[value]);
    for (length, between) in [(12, 3), (40, 3), (100, 7), (300, 3), (1100, 3), (60, 19)] {
        let mut reading = Reading::new(&masks);
        let mut text = String::new();
        for cut in (1..value.len()).cycle().take(100) {
            let (begin, end) = value.split_at(cut);
            for piece in [format!("{}{begin}", "x".repeat(length)), end.to_owned()] {
                reading.push(&piece);
                reading.pause(between);
                text += &piece;
            }
        }
        reading.masker.finish_to(&mut reading.seen);
        let seen = String::from_utf8(reading.seen).unwrap();
        assert_eq!(
            starred(&seen),
            expected(&masks, &text),
            "{length} {between}"
        );
    }
}

#[test]
fn c_45_a_credential_in_a_stream_without_a_pause_is_one() {
    let masks = masks(&[]);
    let mut reading = Reading::new(&masks);
    for piece in [
        "x ".repeat(300).as_str(),
        "password=hunter2",
        "hunter2",
        " and more.",
    ] {
        reading.push(piece);
        reading.pause(12);
    }
    reading.pause(20);
    let seen = String::from_utf8(reading.seen).unwrap();
    assert_eq!(
        starred(&seen),
        format!("{}password=* and more.", "x ".repeat(300))
    );
}

#[test]
fn c_50_of_a_text_that_its_reader_cuts_off_a_pause_shows_whole_lines_only() {
    let masks = masks(&["correct-horse-battery-7"]).cut_off();
    let line = format!("{}\n", "x".repeat(1100));
    let begun = format!("{line}with correct-horse-battery-");
    let mut reading = Reading::new(&masks);
    reading.push(&begun);
    reading.pause(20);
    assert_eq!(reading.seen, line.as_bytes());
    assert_eq!(reading.masker.due(), None);
    let mut end = Reading::new(&masks);
    end.push(&begun);
    end.pause(60_000);
    end.masker.finish_to(&mut end.seen);
    assert_eq!(end.seen, line.as_bytes());
    // What follows is read with what was kept.
    reading.push("7 and more\nand\n");
    reading.pause(20);
    let seen = String::from_utf8(reading.seen).unwrap();
    assert_eq!(starred(&seen), format!("{line}with * and more\nand\n"));
}
