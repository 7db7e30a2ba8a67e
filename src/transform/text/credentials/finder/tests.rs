//! Streams: cut anywhere, paused anywhere, of any length.

use proptest::prelude::*;

use super::super::parts;
use super::super::tests::{ORDINARY, SAMPLES, pieces};
use super::*;
use crate::limits::CREDENTIAL_HELD_BYTES_MAX;
use crate::transform::placeholder::{FAMILY, FILL};
use crate::transform::report::MaskReport;

/// What leaves, as one text.
struct Collected<'a> {
    chunk: &'a [u8],
    text: &'a mut Vec<u8>,
}

impl Sink for Collected<'_> {
    fn copy(&mut self, span: Range<usize>) {
        self.text.extend_from_slice(&self.chunk[span]);
    }

    fn write(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    fn replace(&mut self, _known: &[u8], with: &str) {
        self.write(with.as_bytes());
    }
}

struct Stream {
    finder: Finder,
    text: Vec<u8>,
}

impl Stream {
    fn new() -> Self {
        let placeholders = Arc::new(Placeholders::new(&[7; 32]));
        Self {
            finder: Finder::new(placeholders, Linkable::Yes),
            text: Vec::new(),
        }
    }

    fn push(&mut self, chunk: &[u8]) {
        let text = &mut self.text;
        self.finder.push(chunk, &mut Collected { chunk, text });
        assert!(self.finder.search.held() <= CREDENTIAL_HELD_BYTES_MAX);
    }

    fn release(&mut self) {
        let text = &mut self.text;
        self.finder.release(&mut Collected { chunk: b"", text });
        assert_eq!(self.finder.waiting(), 0);
    }

    fn finish(mut self) -> String {
        let text = &mut self.text;
        self.finder.finish(&mut Collected { chunk: b"", text });
        String::from_utf8_lossy(&self.text).into_owned()
    }
}

fn stream<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut stream = Stream::new();
    for chunk in chunks {
        stream.push(chunk);
    }
    stream.finish()
}

/// What has to leave, by way of the look at whole texts.
fn expected(text: &[u8]) -> String {
    let placeholders = Placeholders::new(&[7; 32]);
    let mut masked = Vec::new();
    let mut shown = 0;
    for part in parts(text) {
        let mut digest = placeholders.start(Content::Text, Linkable::Yes);
        digest.update(&text[part.clone()]);
        masked.extend_from_slice(&text[shown..part.start]);
        masked.extend_from_slice(placeholders.finish(digest).placeholder().text().as_bytes());
        shown = part.end;
    }
    masked.extend_from_slice(&text[shown..]);
    String::from_utf8_lossy(&masked).into_owned()
}

fn samples() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    let found = SAMPLES
        .iter()
        .flat_map(|(_, found, _)| found.iter().copied());
    let ordinary = SAMPLES.iter().flat_map(|(_, _, ordinary)| *ordinary);
    let none: &[&str] = &[];
    found.chain(ordinary.chain(ORDINARY).map(move |text| (*text, none)))
}

/// What ends every value but those in three quotes, a block of YAML and a key that is cut off too.
const END: &str = "\n-----END PRIVATE KEY-----\nnext\n";

#[test]
fn c_48_wherever_a_stream_is_cut_it_is_masked_like_a_whole_text() {
    for (text, _) in samples() {
        let text = format!("{text}{END}").into_bytes();
        let whole = expected(&text);
        assert_eq!(stream([&text[..]]), whole);
        assert_eq!(stream(text.chunks(1)), whole);
        for cut in 0..=text.len() {
            let (first, second) = text.split_at(cut);
            assert_eq!(stream([first, second]), whole, "{cut}");
        }
    }
}

/// Bytes that may leave of a value that comes byte by byte, as [`Finder`] says.
fn may_leave(text: &str, value: &str) -> usize {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    match value.rsplit_once('@') {
        Some((_, after)) => after.len() + 1,
        None if text.contains("://") && digits => 5,
        None if ["bearer", "basic"]
            .iter()
            .any(|word| text.to_ascii_lowercase().contains(word)) =>
        {
            if value.bytes().all(|byte| byte.is_ascii_lowercase()) {
                31
            } else {
                7
            }
        }
        None => 0,
    }
}

#[test]
fn c_48_of_a_value_that_is_printed_slowly_nothing_leaves_but_what_the_docs_say() {
    for (text, values) in samples() {
        let mut at = 0;
        let mut secret = vec![None; text.len()];
        for (number, value) in values.iter().enumerate() {
            let from = at + text.get(at..).unwrap().find(value).unwrap();
            at = from + value.len();
            secret[from..at].fill(Some(number));
        }
        let mut left = vec![0; values.len()];
        let mut stream = Stream::new();
        for (&byte, secret) in text.as_bytes().iter().zip(secret) {
            stream.text.clear();
            stream.push(&[byte]);
            stream.release();
            if let Some(number) = secret
                && byte.is_ascii_alphanumeric()
                && stream.text == [byte]
            {
                left[number] += 1;
            }
        }
        for (value, left) in values.iter().zip(left) {
            // The colour within one of the values.
            let most = may_leave(text, value) + 2 * value.matches('\u{1b}').count();
            assert!(left <= most, "{left} bytes of {value:?} left in {text:?}");
        }
    }
}

/// What leaves a finder that keeps the length.
fn fitted<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut finder = Finder::fitting(Arc::new(Placeholders::new(&[7; 32])));
    let mut text = Vec::new();
    for chunk in chunks {
        finder.push(
            chunk,
            &mut Collected {
                chunk,
                text: &mut text,
            },
        );
    }
    let text_left = &mut text;
    finder.finish(&mut Collected {
        chunk: b"",
        text: text_left,
    });
    text
}

#[test]
fn c_51_placeholders_that_fit_have_the_length_of_what_they_stand_for() {
    for (text, _) in samples() {
        let text = format!("{text}{END}").into_bytes();
        let hidden = parts(&text);
        for size in [1, 7, text.len()] {
            let masked = fitted(text.chunks(size));
            assert_eq!(masked.len(), text.len());
            let mut shown = 0;
            for part in &hidden {
                assert_eq!(masked[shown..part.start], text[shown..part.start]);
                let instead = &masked[part.clone()];
                let filled = instead.iter().all(|byte| *byte == FILL);
                let long = part.len() >= FAMILY.len();
                assert_eq!(instead.starts_with(FAMILY.as_bytes()), long);
                assert_eq!(filled, !long);
                shown = part.end;
            }
            assert_eq!(masked[shown..], text[shown..]);
        }
    }
    // In bounded memory, as it comes.
    let mut finder = Finder::fitting(Arc::new(Placeholders::new(&[7; 32])));
    let mut left = Vec::new();
    for chunk in ["token=", &"A".repeat(1 << 16), &"A".repeat(1 << 16)] {
        left.clear();
        let text = &mut left;
        let chunk = chunk.as_bytes();
        finder.push(chunk, &mut Collected { chunk, text });
    }
    assert_eq!(left, ".".repeat(1 << 16).as_bytes());
}

#[test]
fn c_49_a_stream_that_is_cut_off_shows_no_beginning_of_a_value_and_no_digest_of_it() {
    let text = "key AKIAIOSFODNN7EXAMPLE";
    let mut seen = Vec::new();
    for end in "key AKIA".len() + 1..text.len() {
        let masked = stream([&text.as_bytes()[..end]]);
        assert!(masked.starts_with("key AKIA[masked:v1:"), "{masked}");
        assert!(!seen.contains(&masked));
        seen.push(masked);
    }
    let cut = stream([&b"token=hunter2"[..]]);
    assert!(cut.starts_with("token=[masked:v1:"));
    assert_ne!(cut, expected(b"token=hunter2"));
    assert_eq!(stream([&b"token=true"[..]]), "token=true");
    assert_eq!(
        stream([&b"http://localhost:8080"[..]]),
        "http://localhost:8080"
    );
}

#[test]
fn a_terminal_is_never_delayed_by_what_leads_to_a_value() {
    for text in [
        "password: ",
        "password=\"",
        "curl -u bob:",
        "postgres://bob:",
        "Bearer ",
        "eyJhbGciOiJSUzI1NiJ9.",
        "ghp_",
        "-----BEGIN PRIVATE KEY-----\n",
        "password\u{1b}[0m=\u{1b}[32m",
    ] {
        let mut stream = Stream::new();
        for (at, chunk) in text.as_bytes().chunks(1).enumerate() {
            stream.push(chunk);
            assert_eq!(stream.finder.waiting(), 0);
            assert_eq!(stream.text, &text.as_bytes()[..=at]);
        }
    }
}

#[test]
fn what_was_typed_is_shown_where_it_is_no_credential() {
    for text in [
        "curl http://localhost:8080/x",
        "basic auth ",
        "basic authentication and authorization ",
        "{\"max_token\": 4096}",
        "PWD ",
    ] {
        let mut stream = Stream::new();
        for chunk in text.as_bytes().chunks(1) {
            stream.push(chunk);
            stream.release();
        }
        assert_eq!(stream.finish(), text);
    }
}

#[test]
fn a_value_after_a_pause_goes_on_hidden_and_is_told_apart_from_all_others() {
    let mut stream = Stream::new();
    for chunk in ["token=hun", "ter2", "-more\nx token=", "hunter2\n"] {
        stream.push(chunk.as_bytes());
        stream.release();
    }
    let report = MaskReport::default();
    report.add(stream.finder.tally());
    let masked = stream.finish();
    let plain = expected(b"token=hunter2\n");
    let (first, second) = masked.split_once("\nx ").unwrap();
    assert_eq!(second, plain);
    assert_eq!(first.len(), "token=".len() + Placeholder::LENGTH);
    assert_ne!(first, plain.trim_end());
    assert_eq!(report.values_masked(), 2);
    assert_eq!(report.masked_paths(), ["credentials.pair"]);
}

#[test]
fn values_of_any_length_are_hidden_in_bounded_memory() {
    for (lead_in, begins, piece, ends) in [
        ("token=", "", "A", "\n"),
        ("token=\"", "", "A", "\""),
        ("postgres://bob:", "", "A", "@db\n"),
        ("eyJhbGciOiJSUzI1NiJ9.", "", "A", "\n"),
        // What begins like a reference, and never ends.
        ("token=", "${", "A", "\n"),
        ("token=", "$(", "A", "\n"),
        ("token=", "${A}", ")", "\n"),
        ("token=\"", "${A}", ")", "\""),
        ("token=", "true", ")", "\n"),
        ("<token>", "${", "A", "</token>\n"),
        ("token: |\n  ", "${", "A", "\n"),
    ] {
        let text = format!("{lead_in}{begins}{}{ends}", piece.repeat(1 << 20));
        let masked = stream(text.as_bytes().chunks(1000));
        assert_eq!(
            masked.len(),
            lead_in.len() + Placeholder::LENGTH + ends.len(),
            "{lead_in}{begins}"
        );
    }
}

/// Reading costs at most so many steps a byte: one of the automaton and one of each open value, of which
/// there may be four of each of two patterns.
const STEPS_MAX: usize = 10;

#[test]
fn d_15_the_work_is_linear_in_the_text() {
    for piece in [
        "password",
        "password=",
        "password:\n ",
        "token=\"\\",
        "eyJ",
        "eyJaaaaaaaa.",
        "-eyJaaaaaaaa",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n",
        "a://b:",
        "a://b:c@",
        "a://b:token=",
        "-u a:",
        " -u -u a:token=eyJaaaaaaaa.a://b:",
        "AKIA",
        "sig=&sig=",
        "\u{1b}[",
        "token=\u{1b}[0m",
        "token: |\n  ",
        "bearer ",
        "bearer authentication",
        "token: a ",
        "password=,",
        "password=,x",
        "password=${",
        "password=\"\"\"",
        "<token>a<",
        "token:\n- ",
        "-token: -token ",
    ] {
        let text = piece.repeat((1 << 20) / piece.len());
        for size in [1 << 16, 7] {
            let mut stream = Stream::new();
            for chunk in text.as_bytes().chunks(size) {
                stream.push(chunk);
            }
            let steps = stream.finder.search.steps;
            assert!(steps <= STEPS_MAX * text.len(), "{steps} for {piece:?}");
        }
    }
}

proptest! {
    #[test]
    fn a_stream_is_masked_like_a_whole_text(
        text in pieces(), cuts in prop::collection::vec(0_usize..400, 0..5),
    ) {
        let mut text = text;
        text.extend_from_slice(END.as_bytes());
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]);
        let (masked, whole) = (stream(chunks), expected(&text));
        // Of a value that ends with the text nobody knows whether that was all of it: its placeholder can be
        // compared with no other.
        let compared = match parts(&text).last() {
            Some(last) if last.end == text.len() => whole.len() - Placeholder::LENGTH + FAMILY.len(),
            _ => whole.len(),
        };
        prop_assert_eq!(masked.len(), whole.len());
        prop_assert_eq!(masked.get(..compared), whole.get(..compared));
    }
}
