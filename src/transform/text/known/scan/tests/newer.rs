//! Values that become known while a stream goes on.

use super::overlaps::part;
use super::*;

const PASSWORD: &str = "correct-horse-battery";

/// What a writer sees of `value`, who stores values of their own: before each step those of the beginning of `stored`,
/// as many as the step says. What was known before stays in memory while another stream needs it, and else it does not.
fn sights(value: &str, stored: &[String], steps: &[(String, usize, bool)]) -> Vec<(String, usize)> {
    let kept = sights_where(value, stored, steps, true);
    [kept, sights_where(value, stored, steps, false)].concat()
}

fn sights_where(
    value: &str,
    stored: &[String],
    steps: &[(String, usize, bool)],
    kept: bool,
) -> Vec<(String, usize)> {
    let known = |count: usize| {
        let stored = stored.iter().take(count).map(String::as_str);
        index(&[value].into_iter().chain(stored).collect::<Vec<_>>())
    };
    let mut stream = Stream::waiting(&known(0), Wait::Alike);
    let (mut sights, mut older, mut before) = (Vec::new(), Vec::new(), 0);
    for (text, count, pause) in steps {
        if *count != before {
            let was = stream.shelf.swap(known(*count));
            older.extend(kept.then_some(was));
            before = *count;
        }
        stream.push(text.as_bytes());
        if *pause {
            stream.pause();
        }
        let seen = stream.so_far().replace(&placeholder(value), "#");
        sights.push((seen, stream.scanner.waiting()));
    }
    sights.push((stream.finish().replace(&placeholder(value), "#"), 0));
    sights
}

#[test]
fn newer_values_count_at_once_behind_a_stored_beginning_of_a_value() {
    let newer = "brand-new-value-77";
    for length in [64, 65, 70, 100, 127] {
        let guesses = [part(LONG, length..=length), "^"].map(|guess| {
            let stored = format!("{}{guess}", part(LONG, ..length));
            let steps = [
                (stored.clone(), 1, true),
                ("\n".to_owned(), 1, true),
                (newer.to_owned(), 2, true),
                (format!("|{newer}|"), 2, true),
            ];
            sights(LONG, &[stored, newer.to_owned()], &steps)
        });
        assert_eq!(guesses[0], guesses[1], "{length}");
        let (text, _) = guesses[0].last().unwrap();
        assert!(!text.contains(newer), "{text}");
    }
}

#[test]
fn no_stream_keeps_what_was_known_before() {
    for begun in ["nothing\n", part(LONG, ..100)] {
        let first = index(&[LONG]);
        let mut stream = Stream::waiting(&first, Wait::Alike);
        stream.push(begun.as_bytes());
        stream.pause();
        stream.shelf.store(index(&["another-value"]));
        assert_eq!(Arc::strong_count(&first), 1);
        drop(first);
        stream.push(part(LONG, 100..).as_bytes());
        stream.push(b"another-value");
        // It may be what was known when it began, and nobody knows any more.
        let is_within = begun.starts_with(part(LONG, ..10));
        let text = stream.finish();
        assert_eq!(!text.contains(part(LONG, 100..110)), is_within, "{text}");
        assert!(!text.contains("another-value"), "{text}");
    }
}

#[test]
fn a_newer_value_does_not_say_that_the_beginning_of_another_was_let_go() {
    for length in 8..PASSWORD.len() - 1 {
        let guesses = [part(PASSWORD, length..=length), "^"].map(|guess| {
            let guess = format!("{}{guess}", part(PASSWORD, ..length));
            let stored = format!("{guess}-and-more");
            let steps = [(guess, 0, true), ("-and-more|".to_owned(), 1, true)];
            let seen = sights(PASSWORD, std::slice::from_ref(&stored), &steps);
            seen.into_iter()
                .map(|(text, waits)| (text.replace(&placeholder(&stored), "+").len(), waits))
                .collect::<Vec<_>>()
        });
        assert_eq!(guesses[0], guesses[1], "{length}");
    }
}

#[test]
fn a_newer_value_does_not_say_that_a_long_one_goes_on() {
    let begin = part(LONG, ..CONFIRMED_BYTES);
    let guesses = [part(LONG, 64..65), "^"].map(|guess| {
        let stored = format!("{begin}{guess}and more");
        let steps = [
            (format!("{begin}{guess}"), 0, true),
            (format!("and more{}", ".".repeat(100)), 1, true),
        ];
        sights(LONG, &[stored], &steps)
    });
    assert_eq!(guesses[0], guesses[1]);
}

#[test]
fn how_many_long_values_are_read_does_not_say_that_one_may_go_on() {
    let guesses = [part(LONG, 100..101), "^"].map(|guess| {
        let guess = format!("{}{guess}", part(LONG, ..100));
        // As many as are read go on from the guess, the last one where nobody waits for the rest of an escape.
        let last = guess.len() + 1 - CONFIRMED_BYTES;
        let own = (1..LONG_MAX).chain([last]);
        let own = own.map(|from| format!("{}%z{}", part(&guess, from..), "-".repeat(200)));
        let stored: Vec<String> = [guess.clone()].into_iter().chain(own).collect();
        let count = stored.len();
        let steps = [
            (guess, count, true),
            ("%".to_owned(), count, true),
            (".".repeat(3000), count, true),
        ];
        sights(LONG, &stored, &steps)
    });
    assert_eq!(guesses[0], guesses[1]);
}

#[test]
fn what_stands_behind_a_whole_value_waits_for_the_rest_of_a_longer_one() {
    let whole = part(LONG, ..70);
    let within = part(LONG, 80..90);
    let index = index(&[LONG, whole, within]);
    let (one, other) = LONG.split_at(110);
    let mut stream = Stream::new(&index);
    stream.push(one.as_bytes());
    stream.push(other.as_bytes());
    stream.push(b".");
    assert_eq!(stream.finish(), format!("{}.", placeholder(LONG)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Two values are the same up to a place that is in the midst of what can be guessed at once; the writer knows
    /// the first one, and does not print enough of it to be told that it is right.
    #[test]
    fn what_is_seen_does_not_depend_on_parts_of_values_whatever_is_stored_meanwhile(
        known in 8_usize..120,
        stored in proptest::collection::vec((0_usize..128, 0_usize..128, "[-ghi]{0,60}"), 0..10),
        steps in proptest::collection::vec(
            (0_usize..128, 0_usize..128, 0_usize..10, "[-.|\n\\\\%]{0,3}", 0_usize..10, any::<bool>()),
            1..7,
        ),
        is_long: bool,
    ) {
        let value = if is_long { LONG } else { PASSWORD };
        let block_end = value.len().min((known / CONFIRMED_BYTES + 1) * CONFIRMED_BYTES);
        let known = if is_long { known.max(CONFIRMED_BYTES) } else { known % 12 + 8 };
        let guessable = if is_long { block_end.max(2 * CONFIRMED_BYTES).min(value.len()) } else { block_end } - 1;
        let other = format!("{}{}", part(value, ..known), "^".repeat(value.len() - known));
        let of_value = |one: usize, two: usize| {
            let (one, two) = (one % (guessable + 1), two % (guessable + 1));
            part(value, one.min(two)..one.max(two))
        };
        let stored: Vec<String> = stored
            .into_iter()
            .map(|(one, two, more)| format!("{}{more}", of_value(one, two)))
            .filter(|stored| stored.len() >= KEY_BYTES)
            .collect();
        let mut steps: Vec<(String, usize, bool)> = steps
            .into_iter()
            .map(|(one, two, own, more, count, pause)| {
                let own = stored.get(own).map_or("", String::as_str);
                (format!("{own}{}{more}", if own.is_empty() { of_value(one, two) } else { "" }), count, pause)
            })
            .collect();
        steps.sort_by_key(|(_, count, _)| *count);
        let said: String = steps.iter().map(|(text, ..)| text.as_str()).collect();
        let said = String::from_utf8_lossy(&plain::plain(said.as_bytes())).into_owned();
        let too_much = part(value, ..=guessable);
        prop_assume!(!said.contains(too_much) && !said.contains('^'));
        prop_assert_eq!(sights(value, &stored, &steps), sights(&other, &stored, &steps));
    }
}
