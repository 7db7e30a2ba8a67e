//! Streams that come in small pieces, of which nothing waits.

use super::overlaps::part;
use super::*;
use crate::transform::output::Collected;

const PASSWORD: &str = "correct-horse-battery";
const ESCAPED: &str = "p\"ss\\w=rd%40-\nand-more-of-it";

/// How a piece is pushed.
#[derive(Clone, Copy, Debug)]
enum Push {
    Release,
    Wait,
    /// And all but so many bytes are released.
    Keep(usize),
}

/// What is seen of each piece, and how much waits. Where it `forgets`, all that is held is searched for each.
fn sights(
    steps: &[(String, Push, usize)],
    stored: &[String],
    forgets: bool,
) -> Vec<(String, usize)> {
    let known = |count: usize| {
        let stored = stored.iter().take(count).map(String::as_str);
        index(
            &[PASSWORD, LONG, ESCAPED]
                .into_iter()
                .chain(stored)
                .collect::<Vec<_>>(),
        )
    };
    let shelf = Arc::new(Shelf::new(known(0)));
    let mut scanner = Scanner::new(Arc::clone(&shelf), Wait::Alike);
    let (mut older, mut before) = (Vec::new(), 0);
    let mut sights = Vec::new();
    for (piece, push, count) in steps {
        if *count != before {
            older.push(shelf.swap(known(*count)));
            before = *count;
        }
        if forgets {
            scanner.searched.reset();
        }
        let mut seen = Vec::new();
        let mut sink = Collected::new(piece.as_bytes(), &mut seen);
        match push {
            Push::Release => scanner.push_and_release(piece.as_bytes(), &mut sink),
            Push::Wait => scanner.push(piece.as_bytes(), &mut sink),
            Push::Keep(keep) => {
                scanner.push(piece.as_bytes(), &mut sink);
                scanner.release(*keep, &mut sink);
            }
        }
        assert!(scanner.held() <= HELD_BYTES_MAX);
        sights.push((
            String::from_utf8_lossy(&seen).into_owned(),
            scanner.waiting(),
        ));
    }
    let mut seen = Vec::new();
    scanner.finish(&mut Collected::new(b"", &mut seen));
    sights.push((String::from_utf8_lossy(&seen).into_owned(), 0));
    sights
}

#[test]
fn what_was_searched_is_searched_again_for_newer_values() {
    let newer = "brand-new-value-77";
    for (cut, count) in (0..newer.len()).flat_map(|cut| [(cut, 0), (cut, 1)]) {
        let (one, other) = newer.split_at(cut);
        let steps = [
            (format!("line\n{one}"), Push::Release, count),
            (format!("{other}\n"), Push::Release, 1),
        ];
        let seen = sights(&steps, &[newer.to_owned()], false);
        assert_eq!(seen[0].0, format!("line\n{one}"));
        assert_eq!(seen[1].0, format!("{}\n", placeholder(newer)));
    }
}

#[test]
fn more_keys_than_are_remembered_are_found_again() {
    let begin = part(LONG, ..KEY_BYTES);
    for lines in 0..60 {
        let mut steps: Vec<_> = (0..lines)
            .map(|_| (format!("{begin}\n"), Push::Release, 0))
            .collect();
        let (one, other) = PASSWORD.split_at(10);
        steps.push((one.to_owned(), Push::Release, 0));
        steps.push((other.to_owned(), Push::Release, 0));
        let seen = sights(&steps, &[], false);
        assert_eq!(seen[lines + 1].0, placeholder(PASSWORD), "behind {lines}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_was_searched_changes_nothing(
        stored in proptest::collection::vec((0_usize..128, 0_usize..128, "[-ghi]{0,20}"), 0..6),
        steps in proptest::collection::vec(
            (
                (0_usize..3, 0_usize..128, 0_usize..128, 0_usize..10),
                r#"([-.|\n\\%u04" ]|\r\n|\\n|2026-11-21T07:09:00Z |\\u0041|x{200}){0,4}"#,
                (0_usize..6, 0_usize..600),
                0_usize..6,
            ),
            1..20,
        ),
    ) {
        let of_value = |which: usize, one: usize, two: usize| {
            let value = [PASSWORD, LONG, ESCAPED][which % 3];
            let (one, two) = (one % (value.len() + 1), two % (value.len() + 1));
            part(value, one.min(two)..one.max(two))
        };
        let stored: Vec<String> = stored
            .into_iter()
            .map(|(one, two, more)| format!("{}{more}", of_value(one, one, two)))
            .filter(|stored| plain::plain(stored.as_bytes()).len() >= KEY_BYTES)
            .collect();
        let mut steps: Vec<(String, Push, usize)> = steps
            .into_iter()
            .map(|((which, one, two, own), more, (push, keep), count)| {
                let own = stored.get(own).map_or_else(|| of_value(which, one, two), String::as_str);
                let push = match push {
                    0 => Push::Wait,
                    1 => Push::Keep(keep),
                    _ => Push::Release,
                };
                (format!("{own}{more}"), push, count)
            })
            .collect();
        steps.sort_by_key(|(_, _, count)| *count);
        prop_assert_eq!(sights(&steps, &stored, false), sights(&steps, &stored, true));
    }
}
