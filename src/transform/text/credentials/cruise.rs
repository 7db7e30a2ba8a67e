//! Reads the bytes in which nothing is found, which are most bytes of most texts.
//!
//! ```text
//!          |--- lead ---|
//! lane 0   ==================>
//! lane 1             ------------==================>
//! lane 2                                   ------------==================>
//! ```
//!
//! A byte can be read only when the state behind the one before is there, so one walk through an automaton waits for
//! memory most of the time. Here four walk at once, each through its own part of the text. All but the first begin
//! a few bytes early and in the state of a text that is new: no lead-in goes on for long, so most of the time they
//! come to the beginning of their part in the very state in which the one before ends. Where one did not, or where
//! something is found, the text is read again from there, byte by byte.

use regex_automata::dfa::Automaton as _;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;

use super::patterns::Automaton;

/// Parts of a text that are read at once.
const LANES: usize = 4;

/// Bytes before its part with which a lane begins.
const LEAD: usize = 8;

/// A shorter part takes no less time than to read on in the one before.
const PART_BYTES_MIN: usize = 16;

/// Most bytes of a part: so much is read in vain where something is found.
const PART_BYTES_MAX: usize = 128;

/// Where something was found there may be more: so many bytes are read one by one behind it.
const WARY_BYTES_MIN: usize = 256;

/// The same where lanes were read in vain again and again: all that they cost is an eighth.
const WARY_BYTES_MAX: usize = 4096;

/// How much of a text that goes on is to be read byte by byte.
pub(super) struct Wariness {
    left: usize,
    /// How much behind the next place where something is found.
    stretch: usize,
}

impl Default for Wariness {
    fn default() -> Self {
        Self {
            left: 0,
            stretch: WARY_BYTES_MIN,
        }
    }
}

/// Reads on while nothing is found. Answers the place of the first byte behind a lead-in, unread, or the end of the
/// text.
pub(super) fn cruise(
    automaton: &Automaton,
    state: &mut StateID,
    wariness: &mut Wariness,
    text: &[u8],
) -> usize {
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let (passed, alone) = if wariness.left > 0 {
            (0, wariness.left)
        } else if rest.len() < LEAD + LANES * PART_BYTES_MIN {
            (0, rest.len())
        } else {
            let (passed, alone) = cruise_in_lanes(automaton, state, rest);
            wariness.stretch = match alone {
                0 => WARY_BYTES_MIN,
                _ => (2 * wariness.stretch).min(WARY_BYTES_MAX),
            };
            (passed, alone)
        };
        let rest = rest.get(passed..).unwrap_or_default();
        let rest = rest.get(..alone).unwrap_or(rest);
        let read = cruise_alone(automaton, state, rest);
        at += passed + read;
        wariness.left = wariness.left.saturating_sub(read);
        if read < rest.len() {
            wariness.left = wariness.stretch;
            return at;
        }
        if at == text.len() {
            return at;
        }
    }
}

#[inline(never)] // by itself, all that it needs is in registers
fn cruise_alone(automaton: &Automaton, state: &mut StateID, text: &[u8]) -> usize {
    cruise_while(automaton, state, text, |_| true)
}

/// Reads on up to a lead-in, or to a byte of which `goes_on` says no, unread as well.
#[inline]
pub(super) fn cruise_while(
    automaton: &Automaton,
    state: &mut StateID,
    text: &[u8],
    goes_on: impl Fn(u8) -> bool,
) -> usize {
    for (place, byte) in text.iter().enumerate() {
        let next = automaton.next_state(*state, *byte);
        let found = automaton.is_special_state(next) && automaton.is_match_state(next);
        if found || !goes_on(*byte) {
            return place;
        }
        *state = next;
    }
    text.len()
}

/// Reads on in several places at once. Answers how many bytes it passed, and how many behind them are to be read alone.
#[inline(never)]
fn cruise_in_lanes(automaton: &Automaton, state: &mut StateID, text: &[u8]) -> (usize, usize) {
    let part = (text.len().saturating_sub(LEAD) / LANES).min(PART_BYTES_MAX);
    let like_new = start::Config::new().look_behind(Some(b' '));
    let Ok(fresh) = automaton.start_state(&like_new) else {
        return (0, text.len());
    };
    let lanes: [&[u8]; LANES] =
        std::array::from_fn(|lane| text.get(lane * part..).unwrap_or_default());
    let leads = lanes.map(|lane| lane.get(..LEAD).unwrap_or_default());
    let parts = lanes.map(|lane| lane.get(LEAD..LEAD + part).unwrap_or_default());

    let mut states = [fresh; LANES];
    let [first, ..] = &mut states;
    *first = *state;
    // What is found in another lead than the first is in the part of the lane before, or is not there at all.
    let [found_at_once, ..] = step_together(automaton, &mut states, leads);
    let begun = states;
    let found = step_together(automaton, &mut states, parts);

    let [mut behind, ..] = begun;
    let (mut right, mut passed) = (!found_at_once, 0);
    for ((begin, end), found) in begun.into_iter().zip(states).zip(found) {
        right &= begin == behind && !found;
        if right {
            behind = end;
            passed += if passed == 0 { LEAD + part } else { part };
        }
    }
    if passed > 0 {
        *state = behind;
    }
    (passed, LEAD + LANES * part - passed)
}

/// Walks through texts of one length, and says of each whether something may have been found in it.
#[inline]
fn step_together(
    automaton: &Automaton,
    states: &mut [StateID; LANES],
    texts: [&[u8]; LANES],
) -> [bool; LANES] {
    let (mut now, mut found) = (*states, [false; LANES]);
    let [first, second, third, fourth] = texts;
    for (((first, second), third), fourth) in first.iter().zip(second).zip(third).zip(fourth) {
        let bytes = [first, second, third, fourth];
        for ((state, found), byte) in now.iter_mut().zip(&mut found).zip(bytes) {
            *state = automaton.next_state(*state, *byte);
            *found |= automaton.is_special_state(*state);
        }
    }
    *states = now;
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::patterns::AUTOMATON;
    use super::*;

    /// Where something is found in pieces of a text, and the state behind it.
    fn found(
        pieces: &[&[u8]],
        mut cruise: impl FnMut(&Automaton, &mut StateID, &[u8]) -> usize,
    ) -> (Vec<usize>, StateID) {
        let automaton = AUTOMATON.as_ref().unwrap();
        let mut state = automaton.start_state(&start::Config::new()).unwrap();
        let (mut places, mut before) = (Vec::new(), 0);
        for piece in pieces {
            let mut at = 0;
            while at < piece.len() {
                at += cruise(automaton, &mut state, &piece[at..]);
                if let Some(byte) = piece.get(at) {
                    places.push(before + at);
                    state = automaton.next_state(state, *byte);
                    at += 1;
                }
            }
            before += piece.len();
        }
        (places, state)
    }

    fn agree(pieces: &[&[u8]]) -> Vec<usize> {
        let mut wariness = Wariness::default();
        let together = found(pieces, |automaton, state, text| {
            cruise(automaton, state, &mut wariness, text)
        });
        assert_eq!(together, found(pieces, cruise_alone));
        together.0
    }

    #[test]
    fn all_lanes_pass_where_nothing_is_found() {
        let automaton = AUTOMATON.as_ref().unwrap();
        let line = "2026-11-20T08:00:07Z INFO request served path=/api/items/7 in 12 ms ";
        let text = line.repeat(20);
        for length in LEAD + LANES * PART_BYTES_MIN..text.len() {
            let mut state = automaton.start_state(&start::Config::new()).unwrap();
            let part = ((length - LEAD) / LANES).min(PART_BYTES_MAX);
            let text = &text.as_bytes()[..length];
            let passed = cruise_in_lanes(automaton, &mut state, text);
            assert_eq!(passed, (LEAD + LANES * part, 0), "length {length}");
        }
    }

    #[test]
    fn a_lead_in_is_found_wherever_it_stands() {
        let lead_in = b" --some-rather-long-option-that-is-a-password ";
        for length in [100, 300, 700] {
            let mut places = Vec::new();
            for at in 0..length - lead_in.len() {
                let mut text = vec![b'.'; length];
                text[at..at + lead_in.len()].copy_from_slice(lead_in);
                places.extend(agree(&[&text]));
            }
            let all: Vec<_> = (lead_in.len()..length).collect();
            assert_eq!(places, all, "length {length}");
        }
    }

    proptest! {
        #[test]
        fn four_find_what_one_finds(
            parts in prop::collection::vec(prop_oneof![
                4 => "[a-z0-9 ./:-]{0,60}",
                1 => "[ -~\n\t\0]{0,9}",
                1 => prop::sample::select(vec![
                    "password=x", "token", ": ", "--", "-----BEGIN RSA ", "PRIVATE KEY-----", "https://", "eyJ", "=",
                    "Authorization: Bearer ", " -u ", "secret\u{1b}[0m", "-", " --with-a-long-name-", "pass",
                ]).prop_map(str::to_owned),
            ], 0..60),
            size in 1_usize..2000,
        ) {
            let text = parts.concat();
            let pieces: Vec<_> = text.as_bytes().chunks(size).collect();
            agree(&pieces);
        }
    }
}
