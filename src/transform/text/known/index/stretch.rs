//! A stretch of a text as it is read: what stands there, one byte behind the other, and where each is written.

use super::KEY_BYTES;
use crate::transform::text::known::forms::plain::{self, SPECIAL, Unit};
use crate::wire::json::Marks;

/// Bytes that are read at once, at the most.
pub(super) const BYTES_MAX: usize = 256;

/// What stands for itself is copied in parts of so many bytes.
const PART_BYTES: usize = 32;

/// Of so many that are written, nearly: places are counted in 16 bits. No value is written as widely, so nothing is kept
/// from so far before.
const WRITTEN_BYTES_MAX: usize = 1 << 15;

/// Bytes that one unit may stand for.
const UNIT_MEANS_MAX: usize = 4;

/// The last bytes of a stretch, with which a key may begin that goes on behind it.
const TAIL_BYTES: usize = KEY_BYTES - 1;

/// What was read last.
pub(super) struct Stretch {
    bytes: [u8; BYTES_MAX + PART_BYTES],
    /// Where each of them is written, counted from `from`.
    places: [u16; BYTES_MAX + PART_BYTES],
    from: usize,
    length: usize,
}

/// The last bytes of a text, fewer than a key has: it may end with the beginning of one.
#[derive(Default)]
pub(super) struct Tail {
    /// The end of a key.
    pub(super) key: u64,
    pub(super) count: usize,
    places: [usize; TAIL_BYTES],
}

impl Tail {
    /// Where the last bytes begin, so many of them.
    pub(super) fn place(&self, count: usize) -> usize {
        let number = self.count.checked_sub(count);
        let place = number.and_then(|number| self.places.get(number));
        place.copied().unwrap_or_default()
    }
}

/// How far a text was read.
pub(super) enum Reached {
    /// So far for now.
    More(usize),
    /// To its end, or to what more text could change, at this place.
    End(usize),
}

impl Stretch {
    /// Without a byte, at a place of a text.
    pub(super) fn at(place: usize) -> Self {
        Self {
            bytes: [0; BYTES_MAX + PART_BYTES],
            places: [0; BYTES_MAX + PART_BYTES],
            from: place,
            length: 0,
        }
    }

    /// What was read.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Where the byte of this number is written.
    pub(super) fn place(&self, number: usize) -> usize {
        let place = self.places.get(number).copied().unwrap_or_default();
        self.from + usize::from(place)
    }

    /// Its last bytes.
    pub(super) fn tail(&self) -> Tail {
        let mut tail = Tail::default();
        let first = self.length.saturating_sub(TAIL_BYTES);
        for (place, number) in tail.places.iter_mut().zip(first..self.length) {
            let byte = self.bytes.get(number).copied().unwrap_or_default();
            tail.key = tail.key << 8 | u64::from(byte);
            *place = self.place(number);
            tail.count += 1;
        }
        tail
    }

    /// Every place before this one was seen with all the bytes that a key has.
    pub(super) fn seen_until(&self) -> usize {
        match self.length {
            0 => self.from,
            length => self.place(length.saturating_sub(TAIL_BYTES)),
        }
    }

    /// The first place from `from` on at which something that was read is written.
    pub(super) fn unit_from(&self, from: usize) -> Option<usize> {
        let places = self.places.get(..self.length)?;
        let number = places.partition_point(|place| self.from + usize::from(*place) < from);
        (number < self.length).then(|| self.place(number))
    }

    /// Reads on from `at`, as far as there is `room`, and little of what is behind `until`. Of what was read before only the
    /// tail is kept.
    pub(super) fn read_on(
        &mut self,
        text: &[u8],
        at: usize,
        until: usize,
        specials: &mut Marks<'_, { SPECIAL.len() }>,
        (room, ended): (usize, bool),
    ) -> Reached {
        self.keep_tail(at);
        let bytes_max = BYTES_MAX.min(self.length + room.max(UNIT_MEANS_MAX));
        let end = text.len().min(until.max(at) + KEY_BYTES);
        let written_until = self.from + WRITTEN_BYTES_MAX;
        let mut at = at;
        while at < end && at < written_until && self.length + UNIT_MEANS_MAX <= bytes_max {
            let room = bytes_max - self.length;
            let special = specials.next_within(at..end.min(at + room));
            if special > at {
                self.push_run(text, at, special - at);
                at = special;
                continue;
            }
            match plain::read(text, at, ended) {
                Unit::Is {
                    bytes,
                    count,
                    width,
                } => {
                    self.push_unit(bytes, count, at);
                    at += width;
                }
                Unit::Nothing { width } => at += width,
                Unit::More => return Reached::End(at),
            }
        }
        if at < text.len() {
            Reached::More(at)
        } else {
            Reached::End(at)
        }
    }

    /// Bytes that stand for themselves: `run` of them from `place` on.
    #[inline]
    fn push_run(&mut self, text: &[u8], place: usize, run: usize) {
        let first = self.offset(place);
        let mut done = 0;
        while done < run {
            self.push_part(text.get(place + done..).unwrap_or_default(), first, done);
            done += PART_BYTES;
        }
        self.length += run;
    }

    /// A part of a run, always as long: what is behind the run is written over by what comes next. Most runs are so short that
    /// to copy just so many bytes would take longer.
    #[inline]
    fn push_part(&mut self, text: &[u8], first: u16, done: usize) {
        let from = self.length + done;
        let bytes = self.bytes.get_mut(from..).and_then(<[u8]>::first_chunk_mut);
        let places = self.places.get_mut(from..);
        let (Some(bytes), Some(places)) = (
            bytes,
            places.and_then(<[u16]>::first_chunk_mut::<PART_BYTES>),
        ) else {
            return;
        };
        *bytes = match text.first_chunk::<PART_BYTES>() {
            Some(part) => *part,
            None => padded(text),
        };
        // Never beyond what 16 bits hold; a check for each would keep them from being written many at a time.
        let mut offset = first.wrapping_add(u16::try_from(done).unwrap_or(u16::MAX));
        for place in places {
            *place = offset;
            offset = offset.wrapping_add(1);
        }
    }

    fn push_unit(&mut self, bytes: [u8; UNIT_MEANS_MAX], count: usize, place: usize) {
        let offset = self.offset(place);
        for byte in bytes.into_iter().take(count) {
            self.push(byte, offset);
        }
    }

    fn push(&mut self, byte: u8, offset: u16) {
        if let (Some(at), Some(place)) = (
            self.bytes.get_mut(self.length),
            self.places.get_mut(self.length),
        ) {
            (*at, *place) = (byte, offset);
            self.length += 1;
        }
    }

    fn offset(&self, place: usize) -> u16 {
        u16::try_from(place - self.from).unwrap_or(u16::MAX)
    }

    /// Forgets all but the tail, as far as it is not long before `at`.
    fn keep_tail(&mut self, at: usize) {
        let mut tail = self.length.saturating_sub(TAIL_BYTES)..self.length;
        let is_far = |number: &usize| at - self.place(*number) >= WRITTEN_BYTES_MAX;
        tail.start += tail.clone().take_while(is_far).count();
        if tail.is_empty() {
            (self.from, self.length) = (at, 0);
            return;
        }
        let by = self.places.get(tail.start).copied().unwrap_or_default();
        self.from += usize::from(by);
        self.length = 0;
        for number in tail {
            let byte = self.bytes.get(number).copied().unwrap_or_default();
            let place = self.places.get(number).copied().unwrap_or_default();
            self.push(byte, place - by);
        }
    }
}

/// The last part of a text, filled up.
#[cold]
fn padded(text: &[u8]) -> [u8; PART_BYTES] {
    let mut padded = [0; PART_BYTES];
    for (to, from) in padded.iter_mut().zip(text) {
        *to = *from;
    }
    padded
}
