//! What is found in texts that are held as a whole, and what is not.

mod samples;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::prelude::*;
use regex::bytes::{Regex, RegexBuilder};
use regex_automata::dfa::Automaton as _;

pub(in crate::transform::text) use self::samples::{ORDINARY, SAMPLES};
use super::patterns::{AUTOMATON, PATTERNS};
use super::value::{Reader, Step};
use super::*;

fn hidden(text: &str) -> Vec<&str> {
    match look(text.as_bytes(), Look::Text) {
        Found::Nothing => Vec::new(),
        Found::Parts(parts) => parts
            .into_iter()
            .filter_map(|part| text.get(part))
            .collect(),
        Found::Whole => vec![text],
    }
}

#[test]
fn c_45_credentials_are_found_where_they_stand() {
    for (_, found, _) in SAMPLES {
        for (text, expected) in *found {
            assert_eq!(hidden(text), *expected, "{text:?}");
        }
    }
}

#[test]
fn c_45_ordinary_text_is_left_alone() {
    let samples = SAMPLES.iter().flat_map(|(_, _, ordinary)| *ordinary);
    for text in samples.chain(ORDINARY) {
        assert_eq!(hidden(text), Vec::<&str>::new(), "{text:?}");
    }
}

#[test]
fn every_pattern_has_two_samples_of_either_kind() {
    let names: BTreeSet<_> = PATTERNS.iter().map(|pattern| pattern.name).collect();
    let sampled: BTreeSet<_> = SAMPLES.iter().map(|(name, _, _)| *name).collect();
    assert_eq!(names, sampled);
    for (name, found, ordinary) in SAMPLES {
        assert!(found.len() >= 2 && ordinary.len() >= 2, "{name}");
    }
}

#[test]
fn c_45_a_data_source_of_go_shows_no_password() {
    for (text, expected) in [
        ("app:S3cr3t@tcp(db:3306)/shop", &["S3cr3t"][..]),
        (
            "dsn=app:a=b@c:d@tcp(db)/x ro:pw@unix(/s)",
            &["a=b@c:d", "pw"],
        ),
        (
            "{\"dsn\":\"app:${PW:-S3cr3t}@tcp(db)/x\"}",
            &["${PW:-S3cr3t}"],
        ),
        ("app:${PW}@tcp(db), app:@tcp(db), app@tcp(db), @tcp(", &[]),
        ("app:$(DB_PASSWORD)@tcp(db:3306)/shop", &[]),
    ] {
        assert_eq!(hidden(text), expected, "{text}");
    }
}

/// The same, with a look back from every `@`.
fn slow_data_sources(text: &[u8]) -> Vec<Range<usize>> {
    let outside = |byte: &u8| byte.is_ascii_whitespace() || b"\0\"'`".contains(byte);
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"${}()_. ".contains(byte);
    let mut found = Vec::new();
    for at in 0..text.len() {
        if !DATA_SOURCES.iter().any(|mark| text[at..].starts_with(mark)) {
            continue;
        }
        let from = text[..at].iter().rposition(outside);
        let from = from.map_or(0, |end| end + 1);
        let Some(colon) = memchr::memchr(b':', &text[from..at]) else {
            continue;
        };
        let password = from + colon + 1..at;
        let bytes = &text[password.clone()];
        let begins = [&b"$("[..], b"${", b"{{"];
        let reference =
            begins.iter().any(|mark| bytes.starts_with(mark)) && bytes.iter().all(inside);
        if !bytes.is_empty() && !reference {
            found.push(password);
        }
    }
    merged(found)
}

proptest! {
    #[test]
    fn data_sources_are_found_as_by_a_look_back(
        pieces in prop::collection::vec(
            prop::sample::select(vec!["a", ":", "@", "@tcp(", "@unix(", "${A}", "$(", " ", "\"", "/"]), 0..20,
        ),
    ) {
        let text = pieces.concat();
        prop_assert_eq!(data_sources(text.as_bytes()), slow_data_sources(text.as_bytes()), "{}", text);
    }
}

/// Bytes are read once as a part of a word, and twice as what may be a reference.
const DATA_SOURCE_STEPS_MAX: usize = 3;

#[test]
fn d_15_the_work_for_data_sources_is_linear_in_the_text() {
    for (start, piece) in [
        ("", "@tcp("),
        ("a:", "@tcp("),
        ("", "a:@unix("),
        ("a:${", "b"),
        ("a:${", "b@tcp("),
    ] {
        let text = format!("{start}{}@tcp(@tcp(", piece.repeat(20_000));
        let sources = DataSources::of(text.as_bytes());
        let most = DATA_SOURCE_STEPS_MAX * text.len();
        assert!(sources.steps <= most, "{} for {piece:?}", sources.steps);
    }
}

#[test]
fn c_44_what_is_encoded_is_looked_into() {
    let kubeconfig = STANDARD.encode("users:\n- user:\n    token: hunter2-hunter2\n");
    assert_eq!(hidden(&kubeconfig), [kubeconfig.as_str()]);
    let twice = STANDARD.encode(&kubeconfig);
    assert_eq!(hidden(&twice), [twice.as_str()]);
    for magic in COMPRESSED {
        let release = STANDARD.encode([magic, &[7; 40]].concat());
        assert_eq!(hidden(&release), [release.as_str()]);
    }
    let plain = STANDARD.encode("nothing of interest in here");
    assert_eq!(hidden(&plain), Vec::<&str>::new());
    let binary = look(b"password=hunter2", Look::Binary);
    assert_eq!(binary, Found::Whole);
}

/// The same credentials as regular expressions, which read a text as a whole: their groups are secret.
const SLOW: [&str; 18] = [
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----\n*([A-Za-z0-9+/=][A-Za-z0-9+/=\n]*)",
    r#"[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@"'<>\[\x1b\x00]*:([^\s/@"'<>\x1b\x00]+)@"#,
    r"\beyJ[A-Za-z0-9_-]{8,}\.([A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)",
    r"\b(?:AKIA|ASIA)([A-Z0-9]{16})\b",
    r"\bAIza([0-9A-Za-z_-]{35})",
    r"\bya29\.([0-9A-Za-z_-]{20,})",
    r"(?i)(?:AccountKey|SharedAccessKey)=([A-Za-z0-9+/]{16,}={0,2})",
    r"(?i)[?&]sig=([A-Za-z0-9%+/=_-]{16,})",
    r"\b(?:gh[pousr]_([A-Za-z0-9]{20,})|github_pat_([A-Za-z0-9_]{20,})|glpat-([A-Za-z0-9_-]{20,}))",
    r"\bxox[abeoprs]-([A-Za-z0-9-]{10,})",
    r"hooks\.slack\.com/services/([A-Za-z0-9/]+)",
    r"\b[rs]k_(?:live|test)_([A-Za-z0-9]{10,})",
    r#"client-key-data["'\\]*\s*:[ \t"'\\]*([A-Za-z0-9+/=]+)"#,
    r#""auth\\?"\s*:\s*\\?"([A-Za-z0-9+/=]+)"#,
    r"(?i)\b(?:bearer|basic)[ \t]+([A-Za-z0-9._~+/=-]{8,})",
    r#"(?i)NAMES\\?["']?\s*[:=][ \t]*(?:\\?"((?:[^"\\\r\n\x00]|\\[^"\r\n\x00])+)|'([^'\r\n\x00]+)|([^\s"'\\,;&|>{}\[\]()=\x1b\x00][^\s"',;&}\]\x1b\x00]*))"#,
    r#"(?i)NAMES\\?["']?\s*:[ \t]*[|>][-+]?[ \t]*\n\s*([^\n]+)"#,
    r#"(?i)(?:^|\s)--?[\w-]*NAMES[ \t]+["']?([^\s"'|<>&;()\x1b\x00-][^\s"'\x1b\x00]*)"#,
];

static SLOW_COMPILED: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let names = "(?:password|passwd|passphrase|secret|token|credentials?|(?:api|access|private|secret|account|signing|encryption)[_-]?key)";
    let compile = |pattern: &str| {
        RegexBuilder::new(&pattern.replace("NAMES", names))
            .unicode(false)
            .build()
            .unwrap()
    };
    SLOW.into_iter().map(compile).collect()
});

/// Letters that may be a word, a call, a key on the next line: samples say which of them are hidden.
fn is_ordinary(value: &[u8]) -> bool {
    let random = |pair: &[u8]| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase();
    value.len() < 32 && !value.iter().any(u8::is_ascii_digit) && !value.windows(2).any(random)
}

/// `os.Getenv(` before a quote, digits in the name or not.
fn is_call(value: &[u8], behind: &[u8]) -> bool {
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.".contains(byte);
    let called = value.strip_suffix(b"(");
    called.is_some_and(|called| called.iter().all(name)) && matches!(behind, [b'"' | b'\'', ..])
}

/// All that [`SLOW`] finds, words, calls and references excepted, is hidden.
fn assert_finds_what_the_slow_way_finds(text: &[u8]) {
    let found = parts(text);
    for pattern in &*SLOW_COMPILED {
        for groups in pattern.captures_iter(text) {
            for group in groups.iter().skip(1).flatten() {
                // A backslash before a quote belongs to the quote.
                let slashes = group.as_bytes().iter().rev();
                let slashes = slashes.take_while(|byte| **byte == b'\\').count();
                let end = group.end() - slashes;
                let value = &text[group.start()..end];
                let mut opening = value::Opening::default();
                for byte in value {
                    opening.push(*byte);
                }
                let number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                // What follows says whether that is all of it.
                let expression = [&b"$("[..], b"{{", b"${{"];
                let exempt = expression.iter().any(|mark| value.starts_with(mark))
                    || opening.is_no_value()
                    || value.iter().all(number)
                    || is_ordinary(value)
                    || is_call(value, &text[end..]);
                let hidden = found
                    .iter()
                    .any(|part| part.start <= group.start() && end <= part.end);
                assert!(
                    exempt || hidden,
                    "{pattern} finds {:?} in {:?}, but hidden are {found:?}",
                    group.range(),
                    String::from_utf8_lossy(text),
                );
            }
        }
    }
}

/// Pieces of credentials and of what stands around them.
pub(super) fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(
            SAMPLES
                .iter()
                .flat_map(|(_, found, ordinary)| {
                    found
                        .iter()
                        .map(|(text, _)| *text)
                        .chain(ordinary.iter().copied())
                })
                .collect::<Vec<_>>()
        )
        .prop_map(str::to_owned),
        prop::sample::select(vec![
            "password",
            "token",
            "=",
            ":",
            " ",
            "\n",
            "\"",
            "\\\"",
            "\\",
            "'",
            "--",
            "-u ",
            "@",
            "://",
            "http://",
            "bob:",
            "Bearer ",
            "eyJ",
            ".",
            "AKIA",
            "ghp_",
            "\u{1b}[31m",
            "-----BEGIN PRIVATE KEY-----",
            "-----END PRIVATE KEY-----",
            "${",
            "{{ ",
            "true",
            "|",
            ",",
            ";",
            "&sig=",
            "\t",
            "\r\n",
            "  ",
            "pwd",
            "/",
            "#",
            "\0",
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z0-9]{1,40}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
}

#[test]
fn all_samples_are_found_the_slow_way_too() {
    for (_, found, _) in SAMPLES {
        for (text, _) in *found {
            assert_finds_what_the_slow_way_finds(text.as_bytes());
        }
    }
}

proptest! {
    #[test]
    fn nothing_that_regular_expressions_find_is_missed(text in pieces()) {
        assert_finds_what_the_slow_way_finds(&text);
    }
}

proptest! {
    #[test]
    fn bytes_that_are_passed_are_what_they_are_one_by_one(
        pattern in prop::sample::select(PATTERNS.iter().map(|it| it.value).collect::<Vec<_>>()),
        start in prop::sample::select(vec!["", " ", "\"", "|\n  ", "b'", "{{ ", "S3cr3t"]),
        text in pieces(),
    ) {
        let Some(mut one_by_one) = Reader::new(pattern) else {
            return Ok(());
        };
        let mut passing = one_by_one;
        let (mut decided, mut open) = (false, false);
        for byte in [start.as_bytes(), &text].concat() {
            let passes = decided && !open && passing.holds(byte);
            let step = one_by_one.step(byte, decided);
            if passes {
                passing.pass(&[byte]);
                prop_assert_eq!(step, Step::Hide);
            } else {
                prop_assert_eq!(passing.step(byte, decided), step);
            }
            (decided, open) = match step {
                Step::Gap => (decided, false),
                Step::Open => (decided, true),
                Step::Hide => (true, false),
                Step::HideBefore => (true, true),
                Step::End { .. } => return Ok(()),
            };
            prop_assert_eq!(passing.end(decided), one_by_one.end(decided));
            prop_assert_eq!(passing.plausible(decided), one_by_one.plausible(decided));
        }
    }
}

#[test]
fn the_automaton_is_of_these_lead_ins() {
    let automaton = AUTOMATON
        .as_ref()
        .expect("what the build script wrote is no automaton; without one everything would be taken for a credential");
    assert_eq!(automaton.pattern_len(), PATTERNS.len());
}
