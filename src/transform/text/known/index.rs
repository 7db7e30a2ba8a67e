//! Finds where a known value begins.
//!
//! All forms of all values stand in one sorted list, so those that share their first bytes are
//! neighbours: a match in progress is a range of that list, and every further byte narrows it.
//! A range is entered through the first [`KEY_BYTES`] bytes, its key. A text is read in stretches, as what it stands for
//! ([`stretch`]); bit tables ([`filter`]) say of nearly every few places together that no form begins there, and a hash
//! table knows the ranges.
//!
//! This is faster here than the Aho-Corasick automaton one would expect: tens of thousands of values
//! have hundreds of thousands of forms, whose automaton fills hundreds of megabytes and misses the
//! cache at every step, while the bit tables stay in it.

mod filter;
mod quiet;
mod stretch;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use self::filter::{Filter, PLACES};
pub(in crate::transform) use self::quiet::Quiet;
use self::stretch::{BYTES_MAX, Reached, Stretch, Tail};
use super::forms::plain;
use super::forms::{self, Spelling};
use super::scan::{CONFIRMED_BYTES, End, HELD_BYTES_MAX};
use crate::transform::Placeholders;
use crate::wire::json::Marks;

/// The bytes by which a form is found. No form is shorter, so no value is either.
pub(super) const KEY_BYTES: usize = 8;

/// So many bytes are read first, as many keys are close to where they are looked for; then as many as there is room for.
const FIRST_BYTES: usize = 48;

/// Stands where a group of base64 has to be completed.
const FILLER: &str = "AAA";

/// One value, as it is learned.
#[derive(Eq, PartialEq)]
pub struct Value {
    /// The bytes, wiped when dropped.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Where it comes from, such as `secrets/db.data.password`: what the audit log says was masked.
    pub source: String,
}

/// The known values of one namespace or cluster, ready to be searched for. Never printed.
#[derive(Default)]
pub struct Index {
    /// The forms, one after another, in order.
    text: Zeroizing<Vec<u8>>,
    forms: Vec<Form>,
    /// By a hash that nobody can foresee: whoever stores values chooses their keys.
    keys: HashMap<u64, Candidates>,
    /// The keys again, in order, to look for the beginning of one.
    ordered: Vec<u64>,
    filter: Filter,
    values: Vec<Known>,
    /// How many bytes the longest form has.
    longest: usize,
}

#[derive(Clone, Copy)]
struct Form {
    end: u32,
    value: u32,
    spelling: Spelling,
    /// Of the forms that begin with the same [`CONFIRMED_BYTES`] the one whose value was listed first. It stands for
    /// all of them: which of them comes first in order would say something about their other bytes.
    first: u32,
}

struct Known {
    placeholder: String,
    source: String,
}

/// The forms that begin with what was read: neighbours in the list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Candidates {
    from: u32,
    to: u32,
}

/// Where a form may begin.
pub(super) enum Found {
    /// Its key stands here.
    Here(usize, Candidates),
    /// Nowhere before this place, at which a unit begins: the one up to which it was looked for, unless a unit reaches
    /// across it, or one behind which the text ends too soon to say.
    Nowhere { tail: usize },
}

/// How far a text was read for a key.
enum Read {
    /// Its key stands here.
    Key(usize, Candidates),
    /// None begins before this place, which is not before the one to which it was to be read.
    Enough(usize),
    /// To its end, or to what more text could change, at this place.
    All(Tail, usize),
}

impl Index {
    /// Makes the index of `values`, which [`super::admission`] admitted.
    pub fn new<'a>(
        values: impl IntoIterator<Item = &'a Arc<Value>>,
        placeholders: &Placeholders,
    ) -> Self {
        let mut known = Vec::new();
        let mut listed: Vec<(Zeroizing<Vec<u8>>, u32, Spelling)> = Vec::new();
        for value in values {
            let Ok(number) = u32::try_from(known.len()) else {
                break;
            };
            known.push(Known {
                placeholder: placeholders.of(&value.bytes).text().to_owned(),
                source: value.source.clone(),
            });
            forms::each(&value.bytes, |form, spelling| {
                if form.len() >= KEY_BYTES {
                    listed.push((Zeroizing::new(form.to_vec()), number, spelling));
                }
            });
        }
        listed.sort_unstable_by(|one, other| (&*one.0, one.1).cmp(&(&*other.0, other.1)));
        listed.dedup_by(|later, earlier| later.0 == earlier.0);
        let longest = listed.iter().map(|(form, ..)| form.len()).max();
        let longest = longest.unwrap_or_default();
        let mut firsts = firsts(&listed).into_iter();
        let mut text = Zeroizing::new(Vec::with_capacity(
            listed.iter().map(|(form, ..)| form.len()).sum(),
        ));
        let mut forms = Vec::with_capacity(listed.len());
        let mut ranges: Vec<(u64, Candidates)> = Vec::new();
        for (at, (form, value, spelling)) in (0_u32..).zip(listed) {
            text.extend_from_slice(&form);
            let Ok(end) = u32::try_from(text.len()) else {
                break;
            };
            forms.push(Form {
                end,
                value,
                spelling,
                first: firsts.next().unwrap_or(at),
            });
            let Some(key) = key(&form) else { continue };
            match ranges.last_mut() {
                Some((last, range)) if *last == key => range.to = at + 1,
                _ => ranges.push((
                    key,
                    Candidates {
                        from: at,
                        to: at + 1,
                    },
                )),
            }
        }
        Self {
            text,
            forms,
            longest,
            filter: Filter::new(ranges.iter().map(|(key, _)| *key), ranges.len()),
            ordered: ranges.iter().map(|(key, _)| *key).collect(),
            keys: ranges.into_iter().collect(),
            values: known,
        }
    }

    /// How many values it knows.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is nothing to search for.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// Bytes this index occupies, nearly.
    pub fn memory(&self) -> usize {
        self.text.capacity()
            + self.forms.capacity() * size_of::<Form>()
            + self.ordered.capacity() * (size_of::<u64>() * 2 + size_of::<Candidates>())
            + self.filter.memory()
            + self
                .values
                .iter()
                .map(|known| size_of::<Known>() + known.placeholder.len() + known.source.len())
                .sum::<usize>()
    }

    /// The first place in `text`, from `from` on and before `until`, where the key of a form stands, and the
    /// forms it may be.
    pub(super) fn find(&self, text: &[u8], from: usize, until: usize, end: End) -> Found {
        let mut stretch = Stretch::at(from);
        let read = self.read(&mut stretch, text, until, end);
        let next = stretch.unit_from(until);
        let (tail, at) = match read {
            Read::Key(place, candidates) if place < until => {
                return Found::Here(place, candidates);
            }
            Read::Key(..) | Read::Enough(_) => {
                let seen = stretch.seen_until().max(until);
                return Found::Nowhere {
                    tail: next.unwrap_or(seen),
                };
            }
            // Nobody waits for what may begin behind.
            Read::All(..) if end != End::Open => return Found::Nowhere { tail: until },
            Read::All(tail, at) => (tail, at),
        };
        // What is written more widely than a value may be is none.
        let is_near = |count| text.len() - tail.place(count) <= HELD_BYTES_MAX;
        let first = (1..=tail.count)
            .rev()
            .find(|&count| is_near(count) && self.may_begin(tail.key, count));
        let open = first.map_or(at, |count| tail.place(count));
        Found::Nowhere {
            tail: open.min(next.unwrap_or(at)),
        }
    }

    /// The first place in `text`, from `from` on, where the key of a form stands whatever follows; or the one from which
    /// on that cannot be said, whether a form may begin there or not.
    pub(super) fn next_key(&self, text: &[u8], from: usize) -> Result<(usize, Candidates), usize> {
        match self.read(&mut Stretch::at(from), text, text.len(), End::Open) {
            Read::Key(place, candidates) => Ok((place, candidates)),
            Read::Enough(place) => Err(place),
            Read::All(tail, at) if tail.count == 0 => Err(at),
            Read::All(tail, _) => Err(tail.place(tail.count)),
        }
    }

    /// Up to where in `part` of a text no form begins that ends in the text, and whether one may begin there: the next place
    /// where a key stands, or where that cannot be said.
    pub(super) fn absent_until(&self, text: &[u8], part: Range<usize>) -> (usize, bool) {
        match self.read(&mut Stretch::at(part.start), text, part.end, End::Open) {
            Read::Key(place, _) => (place, true),
            Read::Enough(place) => (place, false),
            Read::All(_, at) if at == text.len() => (at, false),
            Read::All(tail, at) if tail.count == 0 => (at, true),
            Read::All(tail, _) => (tail.place(tail.count), true),
        }
    }

    /// Reads on from the place at which `stretch` is.
    fn read(&self, stretch: &mut Stretch, text: &[u8], until: usize, end: End) -> Read {
        if self.is_empty() {
            return Read::Enough(text.len());
        }
        let from = stretch.seen_until();
        let mut specials = Marks::of(text, plain::SPECIAL, from);
        let (mut at, mut room) = (from, FIRST_BYTES);
        loop {
            let how = (room, end != End::Open);
            let reached = stretch.read_on(text, at, until, &mut specials, how);
            room = BYTES_MAX;
            if let Some((number, candidates)) = self.first_key(stretch.bytes()) {
                return Read::Key(stretch.place(number), candidates);
            }
            match reached {
                _ if stretch.seen_until() >= until => return Read::Enough(stretch.seen_until()),
                Reached::End(end) => return Read::All(stretch.tail(), end),
                Reached::More(next) => at = next,
            }
        }
    }

    /// Whether no form stands in `text`, before which nothing came and behind which nothing follows, as no key is there.
    pub(super) fn is_absent(&self, text: &[u8]) -> bool {
        if text.len() < KEY_BYTES {
            return true; // nothing stands for more bytes than it has
        }
        let special = |any, byte: &u8| any | plain::is_special(*byte);
        if text.iter().fold(false, special) {
            let read = self.read(&mut Stretch::at(0), text, text.len(), End::Last);
            return !matches!(read, Read::Key(..));
        }
        self.first_key(text).is_none()
    }

    /// The first place in `plain`, whose bytes stand for themselves, where a key stands.
    fn first_key(&self, plain: &[u8]) -> Option<(usize, Candidates)> {
        let windows = plain.windows(KEY_BYTES).step_by(PLACES);
        for (at, window) in (0..).step_by(PLACES).zip(windows) {
            let near = key(window).is_some_and(|key| self.filter.may_be_near(key));
            if near && let Some(found) = self.key_near(plain, at) {
                return Some(found);
            }
        }
        None
    }

    /// The first of [`PLACES`] from `at` on where a key stands.
    #[inline(never)]
    fn key_near(&self, plain: &[u8], at: usize) -> Option<(usize, Candidates)> {
        (at..at + PLACES).find_map(|place| {
            let key = key(plain.get(place..)?)?;
            Some((place, self.beginning(key)?))
        })
    }

    #[inline]
    fn beginning(&self, key: u64) -> Option<Candidates> {
        if self.filter.may_hold(key) {
            self.keys.get(&key).copied()
        } else {
            None
        }
    }

    /// Whether a form begins with the last `count` bytes of `key`, fewer than all.
    fn may_begin(&self, key: u64, count: usize) -> bool {
        let free = 8 * (KEY_BYTES - count);
        let low = key << free;
        let high = low | ((1 << free) - 1);
        let at = self.ordered.partition_point(|key| *key < low);
        self.ordered.get(at).is_some_and(|key| *key <= high)
    }

    /// The candidates whose byte at `depth` is `byte`.
    pub(super) fn narrow(
        &self,
        candidates: Candidates,
        depth: usize,
        byte: u8,
    ) -> Option<Candidates> {
        if candidates.to == candidates.from + 1 {
            let here = self.form(candidates.from).get(depth) == Some(&byte);
            return here.then_some(candidates);
        }
        let below = |form: u32, inclusive: bool| match self.form(form).get(depth) {
            None => true,
            Some(other) if inclusive => *other <= byte,
            Some(other) => *other < byte,
        };
        let from = partition(candidates.from..candidates.to, |form| below(form, false));
        let to = partition(from..candidates.to, |form| below(form, true));
        (from < to).then_some(Candidates { from, to })
    }

    /// The form that is complete at `depth`, and whether a longer one goes on from there.
    pub(super) fn complete(&self, candidates: Candidates, depth: usize) -> (Option<u32>, bool) {
        // Of forms with the same beginning the shortest comes first.
        if self.form(candidates.from).len() == depth {
            (Some(candidates.from), candidates.to > candidates.from + 1)
        } else {
            (None, true)
        }
    }

    /// What stands in the place of a form; base64, of whole groups, where the form is base64.
    pub(super) fn placeholder(&self, form: u32) -> Cow<'_, str> {
        match self.known(form) {
            None => Cow::Borrowed(""),
            Some((form, known)) => match form.spelling {
                Spelling::Text => Cow::Borrowed(&known.placeholder),
                Spelling::Base64 { lead } => {
                    let mut text = FILLER
                        .get(..usize::from(lead))
                        .unwrap_or_default()
                        .to_owned();
                    STANDARD.encode_string(&known.placeholder, &mut text);
                    Cow::Owned(text)
                }
            },
        }
    }

    /// How many bytes a form has.
    pub(super) fn length(&self, form: u32) -> usize {
        self.form(form).len()
    }

    /// How many bytes the longest form has.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The form that stands for all that begin with the same [`CONFIRMED_BYTES`] as the candidates.
    pub(super) fn first(&self, candidates: Candidates) -> u32 {
        let form = self.forms.get(candidates.from as usize);
        form.map_or(candidates.from, |form| form.first)
    }

    /// What follows the placeholder of `length` bytes of a form, so that base64 stays aligned.
    pub(super) fn filler(&self, form: u32, length: usize) -> &'static str {
        match self.known(form).map(|(form, _)| form.spelling) {
            Some(Spelling::Base64 { lead }) => FILLER
                .get(..(length + 4 - usize::from(lead)) % 4)
                .unwrap_or_default(),
            Some(Spelling::Text) | None => "",
        }
    }

    /// What stands for `length` more bytes, masked behind a placeholder, so that base64 stays aligned.
    pub(super) fn further(&self, form: u32, length: usize) -> &'static str {
        match self.known(form).map(|(form, _)| form.spelling) {
            Some(Spelling::Base64 { .. }) => FILLER.get(..length % 4).unwrap_or_default(),
            Some(Spelling::Text) | None => "",
        }
    }

    /// Where the value of a form comes from.
    pub(super) fn source(&self, form: u32) -> &str {
        self.known(form).map_or("", |(_, known)| &known.source)
    }

    fn known(&self, form: u32) -> Option<(&Form, &Known)> {
        let form = self.forms.get(form as usize)?;
        Some((form, self.values.get(form.value as usize)?))
    }

    fn form(&self, at: u32) -> &[u8] {
        let at = at as usize;
        let start = at
            .checked_sub(1)
            .and_then(|before| self.forms.get(before))
            .map_or(0, |form| form.end as usize);
        self.forms
            .get(at)
            .and_then(|form| self.text.get(start..form.end as usize))
            .unwrap_or_default()
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Index({} values)", self.values.len())
    }
}

/// For each form, which one stands for all that begin like it; see [`Form::first`].
fn firsts(listed: &[(Zeroizing<Vec<u8>>, u32, Spelling)]) -> Vec<u32> {
    let alike = |one: &Zeroizing<Vec<u8>>, other: &Zeroizing<Vec<u8>>| {
        let (one, other) = (one.get(..CONFIRMED_BYTES), other.get(..CONFIRMED_BYTES));
        one.is_some() && one == other
    };
    let mut firsts = Vec::with_capacity(listed.len());
    for group in listed.chunk_by(|one, other| alike(&one.0, &other.0)) {
        let begin = firsts.len();
        let first = (begin..).zip(group).min_by_key(|(_, (_, value, _))| *value);
        let first = first.map_or(begin, |(at, _)| at);
        firsts.resize(begin + group.len(), first);
    }
    let number = |at| u32::try_from(at).unwrap_or(u32::MAX);
    firsts.into_iter().map(number).collect()
}

/// The first of `range` for which `below` no longer holds.
fn partition(range: Range<u32>, below: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if below(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The first bytes of a form as a number that sorts like them.
fn key(text: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*text.first_chunk::<KEY_BYTES>()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a text is read as from `from` on, whatever follows: each byte and where it is written, and where that ends.
    fn read_all(text: &[u8], from: usize) -> (Vec<(u8, usize)>, usize) {
        let (mut read, mut at) = (Vec::new(), from);
        while at < text.len() {
            at += match plain::read(text, at, false) {
                plain::Unit::Is {
                    bytes,
                    count,
                    width,
                } => {
                    read.extend(bytes.into_iter().take(count).map(|byte| (byte, at)));
                    width
                }
                plain::Unit::Nothing { width } => width,
                plain::Unit::More => break,
            };
        }
        (read, at)
    }

    fn bytes(read: &[(u8, usize)]) -> Vec<u8> {
        read.iter().map(|(byte, _)| *byte).collect()
    }

    /// Where the first key stands.
    fn first_key(index: &Index, read: &[(u8, usize)]) -> Option<usize> {
        let is_key = |window: &&[(u8, usize)]| {
            key(&bytes(window)).is_some_and(|key| index.keys.contains_key(&key))
        };
        read.windows(KEY_BYTES)
            .find(is_key)
            .map(|window| window[0].1)
    }

    /// Where the first key may begin that goes on behind the text.
    fn first_open(index: &Index, read: &[(u8, usize)]) -> Option<usize> {
        let last = read.len().saturating_sub(KEY_BYTES - 1);
        let begins = |from: &usize| {
            let beginning = bytes(&read[*from..]);
            let starts = |key: &u64| key.to_be_bytes().starts_with(&beginning);
            index.ordered.iter().any(starts)
        };
        (last..read.len()).find(begins).map(|from| read[from].1)
    }

    fn index() -> Index {
        let values = ["S3cr3t-Pa55w0rd!", "deadbeefcafebabe"].map(|value| {
            Arc::new(Value {
                bytes: value.as_bytes().to_vec().into(),
                source: String::new(),
            })
        });
        Index::new(&values, &Placeholders::new(&[7; 32]))
    }

    fn parts() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            Just("S3cr3t-Pa55w0rd!".to_owned()),
            Just("S3cr\\n3t-P\\u0061%355w0rd!".to_owned()),
            Just("S3cr3t-Pa55".to_owned()),
            Just("deadbeefcafebabe".to_owned()),
            (0_usize..40).prop_map(|count| "\\".repeat(count)),
            (0_usize..80).prop_map(|count| " ".repeat(count)),
            Just(format!("%{}", "25".repeat(31))),
            r"[a-z]{0,300}",
            r#"([\\%u0-9a-fn\n",]|\\{1,3}ud83d|2026-11-21T07:09:00Z ){0,40}"#,
        ];
        prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn keys_are_found_wherever_they_are(text in parts(), from in 0_usize..20, step in 1_usize..99) {
            let index = index();
            let text = text.as_bytes();
            let from = from.min(text.len());
            let (read, end) = read_all(text, from);
            let expected = first_key(&index, &read);
            let found = index.next_key(text, from).map(|(place, _)| place);
            let tail = read.get(read.len().saturating_sub(KEY_BYTES - 1)).map_or(end, |last| last.1);
            prop_assert_eq!(found, expected.ok_or(tail));
            let mut until = (from, false);
            while until.0 < text.len() && !until.1 {
                until = index.absent_until(text, until.0..until.0 + step);
            }
            let silent = if end == text.len() { (end, false) } else { (tail, true) };
            prop_assert_eq!(until, expected.map_or(silent, |place| (place, true)));
            for until in [from.midpoint(text.len()), text.len()] {
                let expected = expected.filter(|place| *place < until);
                match index.find(text, from, until, End::Open) {
                    Found::Here(place, _) if place < until => prop_assert_eq!(Some(place), expected),
                    Found::Here(..) => prop_assert_eq!(None, expected),
                    Found::Nowhere { tail } => {
                        prop_assert_eq!(None, expected);
                        let open = first_open(&index, &read).unwrap_or(end);
                        prop_assert!(tail <= open || text.len() - open > HELD_BYTES_MAX);
                        let mut places = read.iter().map(|(_, place)| *place);
                        let next = places.clone().find(|place| *place >= until);
                        prop_assert!(tail <= next.unwrap_or(end).max(until));
                        let is_unit = places.any(|place| place == tail) || tail == end;
                        prop_assert!(is_unit || tail == until.max(end));
                    }
                }
            }
        }

        #[test]
        fn every_unit_ends_soon(text in parts()) {
            for at in 0..text.len() {
                let enough = text.as_bytes().get(..at + plain::UNIT_BYTES_MAX);
                prop_assert!(enough.is_none_or(|text| plain::read(text, at, false) != plain::Unit::More));
            }
        }
    }

    #[test]
    fn much_that_stands_for_nothing_ends_and_hides_nothing() {
        for before in ["", "S3cr", "X"] {
            for length in [
                100, 32_700, 32_750, 32_760, 32_765, 32_768, 32_769, 40_000, 100_000,
            ] {
                let text = [before, &"\n".repeat(length), r"S3cr\u0033t-Pa55w0rd!"].concat();
                let found = index().next_key(text.as_bytes(), 0).ok();
                let expected = before.len() + length;
                assert_eq!(
                    found.map(|(place, _)| place),
                    Some(expected),
                    "{before} {length}"
                );
            }
        }
    }
}
