//! Masks text: logs, the output of commands, what is proxied from pods.
//!
//! ```text
//! text -> known values of the namespace -> what looks like a credential -> masked text
//! ```
//!
//! Credentials are looked for in the text as it came, known values included: what stands in their place could
//! hide a credential around it, or its beginning.
//!
//! Nothing waits for the end of a line: only the last bytes of what came are held back, as they may be part
//! of a secret, and each no longer than [`TEXT_HOLD_MAX`](crate::limits::TEXT_HOLD_MAX), after which
//! [`TextMasker::release`] is due. A prompt does not wait at all.

pub(super) mod arguments;
mod arrivals;
pub(super) mod credentials;
pub mod known;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use self::arguments::Arguments;
use self::arrivals::Arrivals;
use self::credentials::Finder;
use self::known::{KnownValues, Scanner, Shelf, Wait};
use super::output::{Collected, Shifted, Sink, Written};
use super::placeholder::{Content, Linkable};
use super::report::{MaskReport, Tally};
use super::{MaskError, Placeholders};
use crate::policy::Permit;

/// Checks what was built with the gateway, some thousandths of a second of work, before the first text comes.
pub fn prepare() {
    credentials::prepare();
}

/// A piece of text that ends in white space and is no longer than this many bytes is a prompt, or lines that
/// somebody follows, and does not wait. Longer pieces are cut by some buffer.
const PROMPT_BYTES_MAX: usize = 1024;

/// What stands where no placeholder can.
const SCRUBBED: &str = "scrubbed";

/// What is masked in the texts that one request is answered with.
#[derive(Clone)]
pub struct TextMasks {
    pub(super) known: Option<Arc<Shelf>>,
    credentials: Option<Arc<Placeholders>>,
    cut: bool,
    fits: bool,
}

impl TextMasks {
    /// The values on a shelf, and what looks like a credential, with placeholders of these.
    pub fn new(known: Option<Arc<Shelf>>, credentials: Option<Arc<Placeholders>>) -> Self {
        Self {
            known,
            credentials,
            cut: false,
            fits: false,
        }
    }

    /// For a text that is cut off where its reader asks for, such as a log with `limitBytes`: of a line that
    /// is not complete the end is left out, as it may be nearly all of a value.
    pub(super) fn cut_off(self) -> Self {
        Self { cut: true, ..self }
    }

    /// For what must keep its length, such as an archive. Placeholders of credentials have the length of what
    /// they stand for; where a known value turns up, nothing leaves any more.
    #[must_use]
    pub fn fitting(self) -> Self {
        Self { fits: true, ..self }
    }

    /// What policy demands for texts from `namespace`; the empty one is all of them.
    pub fn of(
        permit: &Permit,
        namespace: &str,
        placeholders: &Arc<Placeholders>,
        known: &KnownValues,
    ) -> Result<Option<Self>, MaskError> {
        let Some(plan) = permit.mask().filter(|plan| plan.texts().any()) else {
            return Ok(None);
        };
        let credentials = plan.texts().credentials;
        Ok(Some(Self::new(
            known.shelf(permit, namespace)?,
            credentials.then(|| Arc::clone(placeholders)),
        )))
    }
}

/// The words of a command, masked: what [`Arguments`] finds in them, and known values.
pub fn masked_words<'a>(masks: &TextMasks, words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut arguments = Arguments::default();
    let placeholder = |part: &[u8]| {
        let Some(placeholders) = &masks.credentials else {
            return SCRUBBED.to_owned();
        };
        let mut digest = placeholders.start(Content::Text, Linkable::No);
        digest.update(part);
        placeholders.finish(digest).placeholder().text().to_owned()
    };
    let words: Vec<&str> = words.collect();
    let shelf = masks.known.as_ref();
    let mut known = shelf
        .map_or_else(Vec::new, |shelf| known_in_words(shelf, &words))
        .into_iter();
    words
        .iter()
        .map(|word| arguments.replaced(word, known.next().unwrap_or_default(), placeholder))
        .collect()
}

/// Where known values stand in words: in each by itself, and in all behind each other, as whoever leaves the quotes out
/// gives a value with blanks in it as several.
fn known_in_words(shelf: &Arc<Shelf>, words: &[&str]) -> Vec<Vec<Range<usize>>> {
    let mut scanner = Scanner::new(Arc::clone(shelf), Wait::Live);
    let together = scanner.find(words.join(" ").as_bytes());
    let mut behind = 0;
    let parts = words.iter().map(|word| {
        let (from, until) = (behind, behind + word.len());
        behind = until + 1;
        let first = together.partition_point(|part| part.end <= from);
        let here = together
            .iter()
            .skip(first)
            .take_while(|part| part.start < until);
        let here = here.map(|part| part.start.max(from) - from..part.end.min(until) - from);
        let here = here.filter(|part| !part.is_empty());
        credentials::merged(here.chain(scanner.find(word.as_bytes())).collect())
    });
    parts.collect()
}

/// The words of a command without the credentials in them, for what is kept before it is known which masks
/// apply.
pub fn scrubbed_words<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut arguments = Arguments::default();
    words
        .map(|word| arguments.replaced(word, Vec::new(), |_part| SCRUBBED.to_owned()))
        .collect()
}

/// A whole text without the known values in it.
pub fn without_known_values(masks: &TextMasks, text: String) -> String {
    let shelf = masks.known.as_ref();
    let Some(shelf) = shelf.filter(|shelf| !shelf.load().is_empty()) else {
        return text;
    };
    let mut scanner = Scanner::new(Arc::clone(shelf), Wait::Live);
    let mut masked = Vec::with_capacity(text.len());
    let sink = &mut Collected::new(text.as_bytes(), &mut masked);
    scanner.push_whole(text.as_bytes(), sink);
    String::from_utf8_lossy(&masked).into_owned()
}

/// A whole text, masked.
pub fn masked_text(masks: &TextMasks, text: &str) -> String {
    let mut masker = TextMasker::new(masks);
    let mut masked = Vec::with_capacity(text.len());
    masker.push_to(text.as_bytes(), Duration::ZERO, &mut masked);
    masker.finish_to(&mut masked);
    String::from_utf8_lossy(&masked).into_owned()
}

/// Masks one stream of text.
pub struct TextMasker {
    known: Option<Scanner>,
    credentials: Option<Finder>,
    /// Whether the reader says where the text ends.
    cut: bool,
    /// When what is held came.
    arrivals: Arrivals,
    /// What known values do to a text.
    fate: Fate,
    tally: Tally,
}

/// What becomes of a text with a known value in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// The value is masked.
    Masked,
    /// The text must keep its length, so from the value on nothing leaves.
    Withheld,
    /// There was one.
    Ended,
}

impl TextMasker {
    /// A masker at the beginning of a text.
    pub fn new(masks: &TextMasks) -> Self {
        let scan = |shelf: &Arc<Shelf>| Scanner::new(Arc::clone(shelf), Wait::Alike);
        // Whoever reads a text may have written it: with comparable placeholders, guesses could be tested.
        let find = |placeholders: &Arc<Placeholders>| {
            let placeholders = Arc::clone(placeholders);
            if masks.fits {
                Finder::fitting(placeholders)
            } else {
                Finder::new(placeholders, Linkable::No)
            }
        };
        Self {
            known: masks.known.as_ref().map(scan),
            credentials: masks.credentials.as_ref().map(find),
            cut: masks.cut,
            arrivals: Arrivals::default(),
            fate: if masks.fits {
                Fate::Withheld
            } else {
                Fate::Masked
            },
            tally: Tally::default(),
        }
    }

    /// Takes the next bytes, which came `now`; they are the chunk that `sink` copies from.
    pub(super) fn push(&mut self, chunk: &[u8], now: Duration, sink: &mut impl Sink) {
        let prompt = self.fate == Fate::Masked && self.is_prompt(chunk);
        let (known, mut rest) = self.split(chunk, sink);
        match known {
            Some(scanner) if prompt => scanner.push_and_release(chunk, &mut rest),
            Some(scanner) => scanner.push(chunk, &mut rest),
            None => rest.copy(0..chunk.len()),
        }
        self.arrivals.note(chunk.len(), now, self.held());
    }

    /// Whether somebody may be waiting for this piece of text, of which no value is likely to be cut in two.
    fn is_prompt(&self, chunk: &[u8]) -> bool {
        let ends = |byte: &u8| *byte == b'\n' || !self.cut && byte.is_ascii_whitespace();
        chunk.len() <= PROMPT_BYTES_MAX && chunk.last().is_some_and(ends)
    }

    /// How many of the last bytes are held back; none if those are all that [`Self::release`] keeps.
    fn held(&self) -> usize {
        let kept = self.kept();
        let scanner = self.known.as_ref().map_or(0, Scanner::waiting);
        match self.credentials.as_ref().map_or(0, Finder::waiting) {
            0 if scanner <= kept => 0,
            finder => scanner + finder,
        }
    }

    /// How many of the last bytes wait for more, however long that takes: the reader could end the text there.
    fn kept(&self) -> usize {
        match &self.known {
            Some(scanner) if self.cut => scanner.open_line(),
            _ => 0,
        }
    }

    /// When [`Self::release`] is due.
    pub fn due(&self) -> Option<Duration> {
        self.arrivals.due()
    }

    /// Whether nothing leaves any more, because a known value turned up in what must keep its length.
    pub fn withholds(&self) -> bool {
        self.fate == Fate::Ended
    }

    /// Nobody can wait longer for what is due `now`.
    pub(super) fn release(&mut self, now: Duration, sink: &mut impl Sink) {
        let keep = self.arrivals.waiting(now).max(self.kept());
        let (known, mut rest) = self.split(b"", sink);
        let scanner = known.map_or(0, |scanner| {
            scanner.release(keep, &mut rest);
            scanner.waiting()
        });
        rest.let_go(|finder, sink| {
            if scanner + finder.waiting() > keep {
                finder.release(sink);
            }
        });
        self.arrivals.note(0, now, self.held());
    }

    /// The text ends.
    pub(super) fn finish(&mut self, sink: &mut impl Sink) {
        let cut = self.cut;
        let (known, mut rest) = self.split(b"", sink);
        if let Some(scanner) = known {
            if cut {
                scanner.cut_off();
            }
            scanner.finish(&mut rest);
        }
        rest.let_go(Finder::finish);
    }

    /// The scanner, and what follows it.
    fn split<'a, S>(
        &'a mut self,
        chunk: &'a [u8],
        sink: &'a mut S,
    ) -> (Option<&'a mut Scanner>, Rest<'a, S>) {
        let rest = Rest {
            chunk,
            finder: self.credentials.as_mut(),
            fate: &mut self.fate,
            sink,
        };
        (self.known.as_mut(), rest)
    }

    /// What was masked since the last call.
    pub(super) fn tally(&mut self) -> &mut Tally {
        if let Some(scanner) = &mut self.known {
            self.tally.merge(scanner.tally());
        }
        if let Some(finder) = &mut self.credentials {
            self.tally.merge(finder.tally());
        }
        &mut self.tally
    }

    /// Adds what was masked since the last call.
    pub fn report_to(&mut self, report: &MaskReport) {
        report.add(self.tally());
    }

    /// Takes the next bytes, which came `now`, and appends what may leave to `output`.
    pub fn push_to(&mut self, bytes: &[u8], now: Duration, output: &mut Vec<u8>) {
        self.push(bytes, now, &mut Collected::new(bytes, output));
    }

    /// Nobody can wait longer for what is due `now`: appends it.
    pub fn release_to(&mut self, now: Duration, output: &mut Vec<u8>) {
        self.release(now, &mut Collected::new(b"", output));
    }

    /// The text ends: appends the rest of it.
    pub fn finish_to(&mut self, output: &mut Vec<u8>) {
        self.finish(&mut Collected::new(b"", output));
    }
}

/// What comes behind the scanner of known values.
struct Rest<'a, S> {
    chunk: &'a [u8],
    finder: Option<&'a mut Finder>,
    fate: &'a mut Fate,
    sink: &'a mut S,
}

impl<S: Sink> Rest<'_, S> {
    fn let_go(self, finder_lets_go: impl FnOnce(&mut Finder, &mut S)) {
        if let (Some(finder), Fate::Masked | Fate::Withheld) = (self.finder, *self.fate) {
            finder_lets_go(finder, self.sink);
        }
    }
}

impl<S: Sink> Sink for Rest<'_, S> {
    fn copy(&mut self, span: Range<usize>) {
        let text = self.chunk.get(span.clone()).unwrap_or_default();
        let (by, sink) = (span.start, &mut *self.sink);
        match &mut self.finder {
            _ if *self.fate == Fate::Ended => {}
            Some(finder) => finder.push(text, &mut Shifted { by, sink }),
            None => sink.copy(span),
        }
    }

    fn write(&mut self, text: &[u8]) {
        let sink = &mut *self.sink;
        match &mut self.finder {
            _ if *self.fate == Fate::Ended => {}
            Some(finder) => finder.push(text, &mut Written { text, sink }),
            None => sink.write(text),
        }
    }

    fn replace(&mut self, known: &[u8], with: &str) {
        match (&mut *self.fate, &mut self.finder) {
            (Fate::Ended, _) => {}
            (fate @ Fate::Withheld, _) => *fate = Fate::Ended,
            (Fate::Masked, Some(finder)) => finder.push_known(known, with, self.sink),
            (Fate::Masked, None) => self.sink.write(with.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests;
