//! Finds where a known value begins.
//!
//! All forms of all values stand in one sorted list, so those that share their first bytes are
//! neighbours: a match in progress is a range of that list, and every further byte narrows it.
//! A range is entered through the first [`KEY_BYTES`] bytes: a bit table says for nearly every place
//! of a stream that no form begins there, a hash table knows the ranges.
//!
//! This is faster here than the Aho-Corasick automaton one would expect: tens of thousands of values
//! have hundreds of thousands of forms, whose automaton fills hundreds of megabytes and misses the
//! cache at every step, while the bit table stays in it.

mod filter;
mod seen;

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use self::filter::{Filter, Mixed, mix};
use self::seen::Seen;
use super::forms::plain::{self, Specials, Unit};
use super::forms::{self, Spelling};
use super::scan::{CONFIRMED_BYTES, End, HELD_BYTES_MAX};
use crate::transform::Placeholders;

/// The bytes by which a form is found. No form is shorter, so no value is either.
pub(super) const KEY_BYTES: usize = 8;

/// So many bytes without an escape or line break, and it is worth to look for the next.
const RUN_BYTES_MIN: usize = 8;

/// So far it is looked for, so that every call ends soon.
const RUN_BYTES_MAX: usize = 512;

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
    keys: HashMap<u64, Candidates, BuildHasherDefault<Mixed>>,
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
    /// Nowhere before this place; behind it the text ends too soon to say.
    Nowhere { tail: usize },
}

/// How far a text was read for a key.
enum Read {
    /// Its key stands here.
    Key(usize, Candidates),
    /// None begins before where it was to be read.
    Enough,
    /// To its end, or to what more text could change, at this place.
    All(Seen, usize),
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
            + self.filter.bits.len() * size_of::<u64>()
            + self
                .values
                .iter()
                .map(|known| size_of::<Known>() + known.placeholder.len() + known.source.len())
                .sum::<usize>()
    }

    /// The first place in `text`, from `from` on and before `until`, where the key of a form stands, and the
    /// forms it may be.
    pub(super) fn find(&self, text: &[u8], from: usize, until: usize, end: End) -> Found {
        let (seen, at) = match self.read(text, from, until, end) {
            Read::Key(place, candidates) => return Found::Here(place, candidates),
            Read::Enough => return Found::Nowhere { tail: until },
            // Nobody waits for what may begin behind.
            Read::All(..) if end != End::Open => return Found::Nowhere { tail: until },
            Read::All(seen, at) => (seen, at),
        };
        // What is written more widely than a value may be is none.
        let is_near = |count| text.len() - seen.place(count) <= HELD_BYTES_MAX;
        let first = (1..KEY_BYTES.min(seen.count + 1))
            .rev()
            .find(|&count| is_near(count) && self.may_begin(seen.key, count));
        let tail = first.map_or(at, |count| seen.place(count));
        Found::Nowhere {
            tail: tail.min(until),
        }
    }

    /// The first place in `text`, from `from` on, where the key of a form stands whatever follows; or the one from which
    /// on that cannot be said, whether a form may begin there or not.
    pub(super) fn next_key(&self, text: &[u8], from: usize) -> Result<(usize, Candidates), usize> {
        match self.read(text, from, text.len(), End::Open) {
            Read::Key(place, candidates) => Ok((place, candidates)),
            Read::Enough => Err(text.len()),
            Read::All(seen, at) if seen.count == 0 => Err(at),
            Read::All(seen, _) => Err(seen.place(seen.count.min(KEY_BYTES - 1))),
        }
    }

    fn read(&self, text: &[u8], from: usize, until: usize, end: End) -> Read {
        if self.is_empty() {
            return Read::Enough;
        }
        let mut seen = Seen::default();
        let mut specials = Specials::default();
        let mut at = from;
        let mut plain_bytes = 0;
        while let Some(&byte) = text.get(at) {
            if !plain::is_special(byte) && plain_bytes < RUN_BYTES_MIN {
                if let Some(found) = self.see(&mut seen, byte, at) {
                    return found;
                }
                plain_bytes += 1;
                at += 1;
            } else if !plain::is_special(byte) {
                let ahead = text.get(..at + RUN_BYTES_MAX).unwrap_or(text);
                let end = specials.next(ahead, at).min(until.max(at) + KEY_BYTES);
                let run = at + 1 - KEY_BYTES..end.min(text.len());
                if let Some(found) = self.find_plain(text, run.clone(), &mut seen) {
                    return found;
                }
                at = run.end;
            } else {
                plain_bytes = 0;
                match plain::read(text, at, end != End::Open) {
                    Unit::Is {
                        bytes,
                        count,
                        width,
                    } => {
                        for byte in bytes.into_iter().take(count) {
                            if let Some(found) = self.see(&mut seen, byte, at) {
                                return found;
                            }
                        }
                        at += width;
                    }
                    Unit::Nothing { width } => at += width,
                    Unit::More => break,
                }
            }
            if at >= until && seen.count >= KEY_BYTES && seen.place(KEY_BYTES - 1) >= until {
                return Read::Enough;
            }
        }
        Read::All(seen, at)
    }

    /// Whether it is clear at a glance that no form stands in `text`, before which nothing came and behind
    /// which nothing follows: every byte stands for itself, and no key is there.
    pub(super) fn is_absent(&self, text: &[u8]) -> bool {
        if text.len() < KEY_BYTES {
            return true; // nothing stands for more bytes than it has
        }
        let special = |any, byte: &u8| any | plain::is_special(*byte);
        let mut keys = text.windows(KEY_BYTES).filter_map(key);
        !text.iter().fold(false, special) && keys.all(|key| self.beginning(key).is_none())
    }

    /// Looks through a run of bytes that stand for themselves, of which all but one less than a key has
    /// were seen.
    fn find_plain(&self, text: &[u8], run: Range<usize>, seen: &mut Seen) -> Option<Read> {
        let plain = text.get(run.clone()).unwrap_or_default();
        for (at, window) in plain.windows(KEY_BYTES).enumerate() {
            let Some(key) = key(window) else { continue };
            if let Some(candidates) = self.beginning(key) {
                return Some(Read::Key(run.start + at, candidates));
            }
        }
        let last = plain.len().saturating_sub(KEY_BYTES - 1);
        for (at, &byte) in plain.iter().enumerate().skip(last) {
            seen.push(byte, run.start + at);
        }
        None
    }

    /// Sees the next byte. Answers if a key is complete with it.
    #[inline]
    fn see(&self, seen: &mut Seen, byte: u8, at: usize) -> Option<Read> {
        seen.push(byte, at);
        if seen.count < KEY_BYTES || !self.filter.may_hold(mix(seen.key)) {
            return None;
        }
        let candidates = self.beginning(seen.key)?;
        Some(Read::Key(seen.place(KEY_BYTES), candidates))
    }

    #[inline]
    fn beginning(&self, key: u64) -> Option<Candidates> {
        if self.filter.may_hold(mix(key)) {
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
