//! Values that begin within others, and what is left of a value after a pause.

use super::*;
use crate::transform::output::Sink;

/// Remembers of each byte whether it was shown.
#[derive(Default)]
struct Shown(Vec<bool>);

impl Sink for Shown {
    fn copy(&mut self, span: Range<usize>) {
        self.0.extend(span.map(|_| true));
    }

    fn write(&mut self, text: &[u8]) {
        self.0.extend(text.iter().map(|_| true));
    }

    fn replace(&mut self, known: &[u8], _with: &str) {
        self.0.extend(known.iter().map(|_| false));
    }
}

pub(super) fn part(text: &str, range: impl std::slice::SliceIndex<str, Output = str>) -> &str {
    text.get(range).unwrap()
}

/// Which bytes of the pieces are shown; behind some of them there is a pause.
fn shown(index: &Arc<Index>, wait: Wait, pieces: &[(&str, bool)]) -> Vec<bool> {
    let mut scanner = Scanner::new(Arc::new(Shelf::new(Arc::clone(index))), wait);
    let mut shown = Shown::default();
    for (piece, pause) in pieces {
        scanner.push(piece.as_bytes(), &mut shown);
        assert!(scanner.held() <= HELD_BYTES_MAX);
        assert!(scanner.long.len() <= LONG_MAX);
        if *pause {
            scanner.release(0, &mut shown);
        }
    }
    scanner.finish(&mut shown);
    let length = pieces.iter().map(|(piece, _)| piece.len()).sum::<usize>();
    assert_eq!(shown.0.len(), length, "nothing is lost or doubled");
    shown.0
}

/// Bytes of values that are shown although they came behind the last pause within the value.
fn leaks(values: &[&str], pieces: &[(&str, bool)], shown: &[bool]) -> Vec<usize> {
    let text: String = pieces.iter().map(|(piece, _)| *piece).collect();
    let mut pauses = Vec::new();
    let mut at = 0;
    for (piece, pause) in pieces {
        at += piece.len();
        pauses.extend(pause.then_some(at));
    }
    let mut leaks = Vec::new();
    for value in values {
        for place in (0..text.len()).filter(|place| part(&text, *place..).starts_with(value)) {
            let end = place + value.len();
            let paused = pauses.iter().filter(|pause| (place..end).contains(*pause));
            let from = paused.max().copied().unwrap_or(place);
            leaks.extend((from..end).filter(|at| shown[*at]));
        }
    }
    leaks
}

/// No place.
const NONE: [usize; 0] = [];

const PASSWORD: &str = "correct-horse-battery";

#[test]
fn a_value_that_begins_within_another_is_masked_to_its_end() {
    let long = format!("{LONG}{}", LONG.to_lowercase());
    let decoy = format!("{}zzzz", part(LONG, ..64));
    for (values, text, expected) in [
        // Who may write Secrets guesses how a password begins.
        (
            vec![PASSWORD, "the agreed word is c"],
            format!("the agreed word is {PASSWORD} for the rollout"),
            format!("{} for the rollout", placeholder("the agreed word is c")),
        ),
        // What is masked whatever it is ends within the password.
        (
            vec![PASSWORD, &decoy],
            format!("{}{}{PASSWORD}, no more", part(LONG, ..64), "-".repeat(50)),
            format!("{}, no more", placeholder(&decoy)),
        ),
        (
            vec![&long],
            format!("{}... all of it: {long} end", part(&long, ..70)),
            format!("{} end", placeholder(&long)),
        ),
    ] {
        let index = index(&values);
        assert_eq!(masked(&index, &text), expected);
        for wait in [Wait::Live, Wait::Alike] {
            for cut in 0..text.len() {
                let pieces = [(part(&text, ..cut), false), (part(&text, cut..), false)];
                let shown = shown(&index, wait, &pieces);
                assert_eq!(leaks(&values, &pieces, &shown), NONE, "cut at {cut}");
            }
        }
    }
}

#[test]
fn a_value_in_what_was_let_go_does_not_hide_the_rest_of_another() {
    let index = index(&["cdefgh12", "abcdefgh12345678zz"]);
    let mut stream = Stream::waiting(&index, Wait::Alike);
    stream.push(b"abcdefgh12");
    stream.pause();
    stream.push(b"345678zz.");
    assert_eq!(stream.finish(), format!("ab{}.", placeholder("cdefgh12")));
}

#[test]
fn a_value_that_comes_line_by_line_is_masked_behind_its_first_block() {
    for between in ["\n", "\r\n", "\n    ", "\n2026-11-21T07:09:00.1Z "] {
        let value = LONG.repeat(3);
        let index = index(&[&value]);
        let lines: Vec<&str> = (0..value.len())
            .step_by(76)
            .map(|at| part(&value, at..value.len().min(at + 76)))
            .collect();
        let text = lines.join(between);
        for line_break in 0..between.len() {
            // A line leaves with its break, and the next one begins with what follows.
            let mut pieces = Vec::new();
            let mut rest = text.as_str();
            while let Some(at) = rest.find(between) {
                let (piece, after) = rest.split_at(at + line_break + 1);
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let mut stream = Stream::waiting(&index, Wait::Alike);
            for piece in &pieces {
                stream.push(piece.as_bytes());
                stream.pause();
            }
            assert_eq!(stream.finish(), placeholder(&value), "{between:?}");
            let mut scanner = Scanner::new(Arc::new(Shelf::new(Arc::clone(&index))), Wait::Alike);
            let mut shown = Shown::default();
            for piece in &pieces {
                scanner.push_and_release(piece.as_bytes(), &mut shown);
            }
            scanner.finish(&mut shown);
            assert_eq!(shown.0, vec![false; text.len()], "{between:?}");
        }
    }
}

#[test]
fn a_line_of_its_own_ends_behind_its_value() {
    let longer = format!("{LONG}{LONG}");
    let index = index(&[LONG, &longer]);
    let mut stream = Stream::waiting(&index, Wait::Alike);
    stream.push(format!("{LONG}\n").as_bytes());
    stream.pause();
    assert_eq!(stream.so_far(), format!("{}\n", placeholder(LONG)));
    stream.push(b"next\n");
    assert_eq!(stream.finish(), format!("{}\nnext\n", placeholder(LONG)));
}

#[test]
fn a_pause_within_an_escape_does_not_hide_the_rest() {
    for value in ["tok-Ab3@0Zz9QwErTyUiOpAsDfGh", "p\"ss\\w=rd-and-more", LONG] {
        let index = index(&[value]);
        for written in ways_of_writing(value) {
            for wait in [Wait::Live, Wait::Alike] {
                for cut in 1..written.len() {
                    let pieces = [
                        (part(&written, ..cut), true),
                        (part(&written, cut..), false),
                        ("  ", false),
                    ];
                    let shown = shown(&index, wait, &pieces);
                    // Of the first and last groups of base64 a part stands for bytes of others.
                    let rest = &shown[cut..written.len()];
                    let first = rest.iter().position(|shown| !shown);
                    let last = rest.iter().rposition(|shown| !shown);
                    let (first, last) = first.zip(last).unwrap_or_default();
                    let inside = !rest[first..last].contains(&true);
                    assert!(
                        first < 4 && rest.len() - last <= 5 && inside,
                        "{written} cut at {cut}: {rest:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_repeats_itself_is_read_a_few_times_at_most() {
    let value = "ab".repeat(100);
    let index = index(&[&value]);
    let text = format!("{}{}", "ab".repeat(20_000), "x".repeat(4000));
    for pieces in [
        vec![(text.as_str(), false)],
        vec![
            (part(&text, ..1000), true),
            (part(&text, 1000..20_001), false),
            (part(&text, 20_001..), true),
        ],
    ] {
        let shown = shown(&index, Wait::Alike, &pieces);
        assert_eq!(leaks(&[&value], &pieces, &shown), NONE);
        assert_eq!(shown[text.len() - 200..], [true; 200]);
    }
}

#[test]
fn what_stands_for_a_long_value_says_nothing_of_its_other_bytes() {
    let begin = part(LONG, ..64);
    let text = format!("{begin}{}", ".".repeat(200));
    let next = LONG.as_bytes()[64];
    for guess in ["0", "z"] {
        assert_ne!(guess.as_bytes()[0], next);
        let stored = format!("{begin}{guess}");
        for values in [[LONG, &stored], [&stored, LONG]] {
            let text = masked(&index(&values), &text);
            assert!(text.starts_with(&placeholder(values[0])), "{values:?}");
        }
    }
}

#[test]
fn behind_a_stored_beginning_of_a_value_no_guess_is_seen() {
    for length in [64, 65, 70, 100] {
        let index = index(&[LONG, part(LONG, ..length)]);
        let right = part(LONG, length..=length);
        let sights = [right, "^"].map(|guess| {
            let text = format!("{}{guess}{}", part(LONG, ..length), ".".repeat(200));
            let pieces = [
                (part(&text, ..length + 1), true),
                (part(&text, length + 1..), false),
            ];
            [Wait::Live, Wait::Alike].map(|wait| {
                let at_once = [(text.as_str(), false)];
                (shown(&index, wait, &pieces), shown(&index, wait, &at_once))
            })
        });
        assert_eq!(sights[0], sights[1], "{length}");
    }
}

/// Guesses how a long value goes on behind what is known of it, stores the guess and prints it.
fn sight_of_guess(value: &str, stored: &str, pieces: &[&str]) -> String {
    let mut stream = Stream::waiting(&index(&[value, stored]), Wait::Alike);
    for piece in pieces {
        stream.push(piece.as_bytes());
        stream.pause();
    }
    stream.finish()
}

#[test]
fn what_completes_a_group_of_base64_does_not_say_that_a_longer_form_may_go_on() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let base64 = STANDARD.encode(LONG);
    for length in [64, 65, 66, 67, 68, 100, 127] {
        let known = part(&base64, ..length);
        let right = part(&base64, length..=length);
        let sights = [right, "+", "8"].map(|guess| {
            let stored = format!("{known}{guess}");
            ["!", "\n", "\n\n!"].map(|after| sight_of_guess(LONG, &stored, &[&stored, after]))
        });
        assert_eq!(sights[0], sights[1], "{length}");
        assert_eq!(sights[1], sights[2], "{length}");
    }
}

#[test]
fn base64_stays_aligned_where_a_stored_beginning_of_it_comes_first() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let base64 = STANDARD.encode(LONG);
    for length in 64..80 {
        let (begin, rest) = base64.split_at(length);
        let after = STANDARD.encode("and what follows");
        let text = sight_of_guess(LONG, begin, &[begin, &format!("{rest}{after}")]);
        assert!(text.ends_with(&after), "{text}");
        assert_eq!(text.len() % 4, 0, "{length}: {text}");
    }
}

#[test]
fn a_character_of_several_bytes_does_not_say_how_a_long_value_goes_on() {
    let value = format!("{}é and the rest", part(LONG, ..63));
    let sights = [r"\u00e9", r"\u00e8"].map(|guess| {
        let stored = format!("{}{guess}", part(LONG, ..63));
        sight_of_guess(&value, &stored, &[&stored, "!"])
    });
    assert_eq!(sights[0], sights[1]);
    assert_eq!(sights[0], format!("{}!", placeholder(&value)));
}

#[test]
fn gaps_of_any_length_lose_nothing() {
    let index = index(&["abcdefgh1234"]);
    for gap in ["\n", "\r\n", "\\"] {
        let text = format!("{}a{}END", "x".repeat(600), gap.repeat(10_000));
        for wait in [Wait::Live, Wait::Alike] {
            let mut pieces = Vec::new();
            let mut rest = text.as_str();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(4096));
                pieces.push((piece, false));
                rest = after;
            }
            assert!(!shown(&index, wait, &pieces).contains(&false));
        }
    }
}

#[test]
fn newer_values_do_not_forget_what_a_pause_cut() {
    let mut stream = Stream::waiting(&index(&[PASSWORD]), Wait::Alike);
    stream.push(b"> correct-ho");
    stream.pause();
    stream.shelf.store(index(&[PASSWORD, "another-value"]));
    stream.push(b"rse-battery|");
    let expected = format!("> correct-ho{}|", placeholder(PASSWORD));
    assert_eq!(stream.finish(), expected);
}

#[test]
fn an_escape_that_a_pause_cuts_belongs_to_more_than_one_value() {
    let values = ["Xabcdef@hidden-rest-1", "abcdef%4z-something"];
    let index = index(&values);
    let mut stream = Stream::waiting(&index, Wait::Alike);
    stream.push(b"Xabcdef%4");
    stream.pause();
    stream.push(b"0hidden-rest-1|");
    let expected = format!("Xabcdef%4{}|", placeholder(values[0]));
    assert_eq!(stream.finish(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_whole_value_is_shown(
        parts in proptest::collection::vec((0_usize..4, 0_usize..140, 0_usize..140, "[-abcd]{0,3}"), 1..8),
        cuts in proptest::collection::vec((1_usize..160, any::<bool>()), 0..12),
        alike: bool, pauses: bool,
    ) {
        let first = "abcd-dcba+".repeat(10);
        let second = format!("{}{}", part(&first, 37..), "d".repeat(70));
        let third = format!("{}cbcb", part(&first, ..75));
        let values = [first.as_str(), &second, &third, "cba+abcd-d"];
        let index = index(&values);
        let mut text = String::new();
        for (value, from, to, noise) in parts {
            let value = values[value];
            text += part(value, from.min(to).min(value.len())..to.max(from).min(value.len()));
            text += &noise;
        }
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        for (length, pause) in cuts {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            pieces.push((piece, pause && pauses));
            rest = after;
        }
        pieces.push((rest, false));
        let wait = if alike { Wait::Alike } else { Wait::Live };
        let shown = shown(&index, wait, &pieces);
        prop_assert_eq!(leaks(&values, &pieces, &shown), NONE);
    }
}
