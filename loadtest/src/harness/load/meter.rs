//! What comes in, counted: bytes, lines, stamps and what should never have come.

use memchr::{memchr_iter, memmem};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use hdrhistogram::Histogram;

use super::super::clock;
use super::super::upstream::objects::{CANARY, CANARY_BASE64, STAMP, STAMP_DIGITS};

/// Latencies up to a minute, in nanoseconds, three digits exact.
const LATENCY_MAX: u64 = 60_000_000_000;
/// How many failures are kept in words.
const FAILURES: usize = 5;

/// What all streams of a measurement saw; they share it.
#[derive(Debug)]
pub struct Tally {
    /// Whether what comes counts: not during the warm-up.
    counting: AtomicBool,
    /// Events, items, requests or lines, whichever the scenario is about.
    pub units: AtomicU64,
    /// Bytes of bodies.
    pub bytes: AtomicU64,
    /// Secret values that came through, counted always.
    pub leaks: AtomicU64,
    /// Requests that failed or ended early, counted always.
    pub errors: AtomicU64,
    failures: Mutex<Vec<String>>,
    /// The largest share of a stamped list that was sent before its first byte arrived.
    pub held: Mutex<Option<f64>>,
    /// From the time an event was due to its arrival, nanoseconds.
    pub latency: Mutex<Histogram<u64>>,
    /// From the time a request was due to its first byte, nanoseconds.
    pub first_byte: Mutex<Histogram<u64>>,
    /// The same to its last byte.
    pub response: Mutex<Histogram<u64>>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            counting: AtomicBool::new(false),
            units: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            leaks: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            failures: Mutex::default(),
            held: Mutex::default(),
            latency: Mutex::new(histogram()),
            first_byte: Mutex::new(histogram()),
            response: Mutex::new(histogram()),
        }
    }
}

/// An empty histogram for latencies.
#[expect(clippy::expect_used, reason = "the bounds are constants and right")]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, LATENCY_MAX, 3).expect("bounds of a histogram")
}

impl Tally {
    /// From now on it counts, or no more.
    pub fn count(&self, on: bool) {
        self.counting.store(on, Relaxed);
    }

    /// Whether it does.
    pub fn is_counting(&self) -> bool {
        self.counting.load(Relaxed)
    }

    /// Something is done that counts as `count` units.
    pub fn done(&self, count: u64) {
        if self.is_counting() {
            self.units.fetch_add(count, Relaxed);
        }
    }

    /// How long events or keys took, or answers where there are none.
    pub fn delays(&self) -> Histogram<u64> {
        let latency = self.latency.lock();
        if latency.is_empty() {
            self.response.lock().clone()
        } else {
            latency.clone()
        }
    }

    /// Something that was due at `due` is here.
    pub fn arrived(&self, due: u64) {
        if self.is_counting() {
            self.latency
                .lock()
                .saturating_record(clock::now().saturating_sub(due));
        }
    }

    /// The first byte of an answer came at `began`; the request was due at `due`.
    pub fn began(&self, due: u64, began: u64) {
        self.first_byte
            .lock()
            .saturating_record(began.saturating_sub(due));
    }

    /// Its last byte came; the request was due at `due`.
    pub fn ended(&self, due: u64) {
        self.response
            .lock()
            .saturating_record(clock::now().saturating_sub(due));
    }

    /// Of `all` items or initial events, `early` were sent before its first byte arrived.
    #[expect(clippy::cast_precision_loss, reason = "counts of items")]
    pub fn held_back(&self, early: u64, all: u64) {
        let mut held = self.held.lock();
        let share = early as f64 / all.max(1) as f64;
        *held = Some(held.unwrap_or(0.0).max(share));
    }

    /// Something went wrong.
    pub fn failed(&self, error: &anyhow::Error) {
        self.errors.fetch_add(1, Relaxed);
        let mut failures = self.failures.lock();
        if failures.len() < FAILURES {
            failures.push(format!("{error:#}"));
        }
    }

    /// The first of what went wrong.
    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().clone()
    }
}

/// What a stream consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A unit ends with a newline: events and log lines.
    Line,
    /// A unit has its length before it, in four bytes: events in protobuf.
    Frame,
    /// The whole body is one, or is counted by who asked.
    Whole,
}

/// Reads one stream for the tally.
#[derive(Debug)]
pub struct Meter {
    unit: Unit,
    frames: Frames,
    stamps: Finder,
    canaries: [Finder; 2],
}

impl Meter {
    /// A meter at the begin of a stream.
    pub fn new(unit: Unit) -> Self {
        Self {
            unit,
            frames: Frames::default(),
            stamps: Finder::new(STAMP, STAMP_DIGITS),
            canaries: [Finder::new(CANARY, 0), Finder::new(CANARY_BASE64, 0)],
        }
    }

    /// Counts what came. `stamps` and `canaries` say what is looked for.
    pub fn take(&mut self, bytes: &[u8], tally: &Tally, stamps: bool, canaries: bool) {
        if tally.is_counting() {
            tally.bytes.fetch_add(bytes.len() as u64, Relaxed);
        }
        match self.unit {
            Unit::Line if tally.is_counting() => {
                tally.done(memchr_iter(b'\n', bytes).count() as u64);
            }
            // Where a frame ends is known by those who saw the ones before.
            Unit::Frame => tally.done(self.frames.take(bytes)),
            Unit::Line | Unit::Whole => {}
        }
        if stamps {
            self.stamps.find(bytes, |digits| {
                if let Some(due) = stamp(digits) {
                    tally.arrived(due);
                }
            });
        }
        if canaries {
            for finder in &mut self.canaries {
                finder.find(bytes, |_| {
                    tally.leaks.fetch_add(1, Relaxed);
                });
            }
        }
    }
}

/// Counts frames: four bytes that say how many follow (big-endian), and these.
#[derive(Debug, Default)]
struct Frames {
    /// How many bytes of the head there are.
    head: usize,
    /// What they say; below it, what is still to come.
    left: u64,
}

impl Frames {
    const HEAD_BYTES: usize = 4;

    /// How many ended in what comes next.
    fn take(&mut self, mut bytes: &[u8]) -> u64 {
        let mut ended = 0;
        while let Some((&first, rest)) = bytes.split_first() {
            if self.head < Self::HEAD_BYTES {
                self.left = self.left << 8 | u64::from(first);
                self.head += 1;
                bytes = rest;
            } else {
                let here = self.left.min(bytes.len() as u64);
                self.left -= here;
                let here = usize::try_from(here).unwrap_or(bytes.len());
                bytes = bytes.get(here..).unwrap_or_default();
            }
            if self.head == Self::HEAD_BYTES && self.left == 0 {
                self.head = 0;
                ended += 1;
            }
        }
        ended
    }
}

/// The time that a stamp tells, unless it was never set.
pub fn stamp(digits: &[u8]) -> Option<u64> {
    let due = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (due > 0).then_some(due)
}

/// Counts what of an answer was sent before the first byte of it arrived.
#[derive(Debug)]
pub struct Early {
    stamps: Finder,
    /// Items or events.
    pub count: u64,
}

impl Default for Early {
    fn default() -> Self {
        let stamps = Finder::new(STAMP, STAMP_DIGITS);
        Self { stamps, count: 0 }
    }
}

impl Early {
    /// Takes what comes next of an answer that began to arrive at `began`.
    pub fn take(&mut self, bytes: &[u8], began: u64) {
        let Self { stamps, count } = self;
        stamps.find(bytes, |digits| {
            *count += u64::from(stamp(digits).is_some_and(|sent| sent < began));
        });
    }
}

/// Finds a word, and so many bytes after it, in a stream that is cut anywhere.
#[derive(Debug)]
pub struct Finder {
    word: memmem::Finder<'static>,
    width: usize,
    /// The last bytes, fewer than `width`.
    carry: Vec<u8>,
}

impl Finder {
    /// Finds `word`, and hands over the `follow` bytes after it.
    pub fn new(word: &'static [u8], follow: usize) -> Self {
        Self {
            word: memmem::Finder::new(word),
            width: word.len() + follow,
            carry: Vec::new(),
        }
    }

    /// Searches what comes next.
    pub fn find(&mut self, bytes: &[u8], mut found: impl FnMut(&[u8])) {
        let edge = bytes
            .get(..bytes.len().min(self.width - 1))
            .unwrap_or_default();
        let before = self.carry.len();
        self.carry.extend_from_slice(edge);
        for (text, begins_before) in [(self.carry.as_slice(), before), (bytes, usize::MAX)] {
            for at in self.word.find_iter(text) {
                let whole = text.get(at..at + self.width);
                if let (Some(whole), true) = (whole, at < begins_before) {
                    found(whole.get(self.word.needle().len()..).unwrap_or_default());
                }
            }
        }
        if edge.len() < self.width - 1 {
            let old = self.carry.len().saturating_sub(self.width - 1);
            self.carry.drain(..old);
        } else {
            self.carry.clear();
            let from = bytes.len() - edge.len();
            self.carry
                .extend_from_slice(bytes.get(from..).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finder_finds_the_same_wherever_the_stream_is_cut() {
        let text = b"due=12..due=due=34due=5";
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut finder = Finder::new(b"due=", 2);
                let mut found = Vec::new();
                for part in [&text[..first], &text[first..second], &text[second..]] {
                    finder.find(part, |digits| found.push(digits.to_vec()));
                }
                assert_eq!(found, [b"12", b"du", b"34"], "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn frames_are_counted_wherever_the_stream_is_cut() {
        let text = b"\0\0\0\x02ab\0\0\0\0\0\0\0\x05\0\0\0\x01c\0\0";
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut frames = Frames::default();
                let parts = [&text[..first], &text[first..second], &text[second..]];
                let ended: u64 = parts.into_iter().map(|part| frames.take(part)).sum();
                assert_eq!(ended, 3, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_leak_counts_during_the_warm_up_too() {
        let tally = Tally::default();
        let mut meter = Meter::new(Unit::Line);
        meter.take(b"{\"data\":{\"a\":\"Y2Fu", &tally, true, true);
        meter.take(b"YXJ5\"}}\n", &tally, true, true);
        assert_eq!(tally.leaks.load(Relaxed), 1);
        assert_eq!(tally.units.load(Relaxed), 0);
        tally.count(true);
        meter.take(b"\n\n", &tally, true, true);
        assert_eq!(tally.units.load(Relaxed), 2);
    }
}
