//! Walks a text of any length and says of every byte whether it may be shown.
//!
//! ```text
//! cruising --(the end of a lead-in)--> reading values --(all have ended)--> cruising
//! ```
//!
//! The automaton of lead-ins reads every byte, those of values as well: a value may hold another one
//! (`password=postgres://…`), or turn out to be none. What belongs to any value is hidden.
//! Bytes wait only while the fate of one before them is open.

use std::ops::Range;

use regex_automata::dfa::Automaton as _;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;

use super::cruise::{Wariness, cruise, cruise_while};
use super::patterns::{AUTOMATON, Automaton, PATTERNS, Pattern, Prelude, PreludeStep, Value};
use super::value::{NO_VALUE, Reader, Step, WHOLE_VALUE};

/// Decided bytes that are handed on together while a value is being read.
const BATCH_BYTES: usize = 4096;

/// Bytes there is room for when a value begins; few are longer.
const VALUE_BYTES: usize = 64;

/// Values of one pattern that are read at once. One may stand within another and end behind it:
/// `secret_key=SECRET_KEY="two words"`. More than these say nothing that could be told from noise, and
/// without a bound a text of lead-ins would take time that grows with its square.
const NESTED_MAX: usize = 4;

/// Takes what was decided, in order: together all bytes of the text.
pub(super) trait Decided {
    /// These bytes of the chunk that is being pushed may be shown.
    fn show_span(&mut self, span: Range<usize>);
    /// These may be shown.
    fn show(&mut self, text: &[u8]);
    /// These are part of a secret.
    fn hide(&mut self, text: &[u8], secret: Secret);
}

/// Whose a hidden byte is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Secret {
    /// A credential's.
    Credential {
        /// The name of the pattern.
        name: &'static str,
        /// The beginning of the value was handed on before it was complete.
        cut: bool,
    },
    /// A known value's.
    Known {
        /// It is the first byte of one.
        first: bool,
    },
}

/// Whose a held byte is: nobody's, a pattern's (its number and one), perhaps cut, or a known value's. One byte,
/// because every byte of a text with values in it has one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Mark(u8);

impl Mark {
    const CUT: u8 = 0x80;
    const KNOWN: Self = Self(Self::CUT - 1);
    const KNOWN_FIRST: Self = Self(Self::CUT - 2);
    /// What has more than so many patterns needs another mark.
    const PATTERNS_MAX: usize = Self::CUT as usize - 3;

    fn of(pattern: usize, cut: bool) -> Self {
        const { assert!(PATTERNS.len() <= Self::PATTERNS_MAX) };
        let number = u8::try_from(pattern + 1).unwrap_or_default();
        Self(if cut { number | Self::CUT } else { number })
    }

    fn secret(self) -> Option<Secret> {
        if self == Self::KNOWN || self == Self::KNOWN_FIRST {
            let first = self == Self::KNOWN_FIRST;
            return Some(Secret::Known { first });
        }
        let number = usize::from(self.0 & !Self::CUT).checked_sub(1)?;
        Some(Secret::Credential {
            name: PATTERNS.get(number).map_or("", |pattern| pattern.name),
            cut: self.0 & Self::CUT != 0,
        })
    }
}

/// How a text ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    /// Nothing is missing.
    Complete,
    /// It may be cut off, so what may be a credential is one.
    Cut,
}

/// A walk through one text.
pub(super) struct Search {
    /// What the automaton has read; `None` before the first byte.
    state: Option<StateID>,
    wariness: Wariness,
    /// The values that are being read, at most [`NESTED_MAX`] a pattern.
    reading: Vec<Candidate>,
    /// What has not been handed on, and whose it is.
    held: Vec<u8>,
    marks: Vec<Mark>,
    /// Work done, to prove that it is linear.
    #[cfg(test)]
    pub(super) steps: usize,
}

/// Is a word a program, maybe with the one before it, so that an option behind it may be a credential by its letter?
pub(in crate::transform::text) fn is_program(before: &[u8], word: &[u8]) -> bool {
    let automaton = AUTOMATON.as_ref();
    let Some((automaton, start)) = automaton.and_then(|known| Some((known, first_state(known)?)))
    else {
        return false;
    };
    // The end of the last word, and one byte more: a lead-in is known behind its end.
    let apart = if before.is_empty() { &b""[..] } else { b"\0" };
    let words = before.iter().chain(apart).chain(word).chain(b"\0\0");
    let state = words.fold(start, |state, byte| automaton.next_state(state, *byte));
    let matches = if automaton.is_match_state(state) {
        automaton.match_len(state)
    } else {
        0
    };
    (0..matches).any(|place| {
        let number = automaton.match_pattern(state, place).as_usize();
        PATTERNS.get(number).is_some_and(Pattern::is_of_program)
    })
}

/// What may be a credential.
struct Candidate {
    pattern: usize,
    /// What stands before the value, and how far it has come.
    prelude: Option<(Prelude, usize)>,
    reader: Reader,
    /// Something of it is hidden.
    decided: bool,
    /// Something of it was handed on after a pause.
    cut: bool,
    /// Where among the held bytes those begin that may belong to it.
    open: Option<usize>,
}

impl Search {
    pub(super) fn new() -> Self {
        Self {
            state: None,
            wariness: Wariness::default(),
            reading: Vec::new(),
            held: Vec::new(),
            marks: Vec::new(),
            #[cfg(test)]
            steps: 0,
        }
    }

    /// Reads on up to the first byte behind a lead-in, which is still to be pushed. Answers how many bytes come before:
    /// they may be shown.
    pub(super) fn skip(&mut self, chunk: &[u8]) -> usize {
        let Some((automaton, mut state)) = self.machine() else {
            return 0;
        };
        let cruised = cruise(automaton, &mut state, &mut self.wariness, chunk);
        self.state = Some(state);
        cruised
    }

    /// Reads on.
    pub(super) fn push(&mut self, chunk: &[u8], out: &mut impl Decided) {
        let Some((automaton, mut state)) = self.machine() else {
            let name = "credentials.unknown";
            return out.hide(chunk, Secret::Credential { name, cut: false });
        };
        let mut at = 0;
        while at < chunk.len() {
            if self.reading.is_empty() {
                self.drain(out);
                let rest = chunk.get(at..).unwrap_or_default();
                let from = at;
                at += cruise(automaton, &mut state, &mut self.wariness, rest);
                out.show_span(from..at);
                let more = (chunk.len() - at).min(VALUE_BYTES);
                self.held.reserve(more);
                self.marks.reserve(more);
            }
            at += self.pass(automaton, &mut state, chunk.get(at..).unwrap_or_default());
            if let Some(&byte) = chunk.get(at) {
                state = automaton.next_state(state, byte);
                self.read(automaton, state, byte);
                at += 1;
            }
            if self.held.len() >= BATCH_BYTES {
                self.drain(out);
            }
        }
        self.state = Some(state);
        self.drain(out);
    }

    /// Reads on in a known value, all of which is hidden; it begins here if it is the `first` part of one.
    pub(super) fn push_known(&mut self, value: &[u8], first: bool, out: &mut impl Decided) {
        let Some((automaton, mut state)) = self.machine() else {
            return out.hide(value, Secret::Known { first });
        };
        let mut mark = if first {
            Mark::KNOWN_FIRST
        } else {
            Mark::KNOWN
        };
        for &byte in value {
            state = automaton.next_state(state, byte);
            self.read(automaton, state, byte);
            if let Some(own) = self.marks.last_mut() {
                *own = mark;
            }
            mark = Mark::KNOWN;
            if self.held.len() >= BATCH_BYTES {
                self.drain(out);
            }
        }
        self.state = Some(state);
        self.drain(out);
    }

    /// The automaton, and what it has read.
    fn machine(&self) -> Option<(&'static Automaton, StateID)> {
        let automaton = AUTOMATON.as_ref()?;
        Some((automaton, self.state.or_else(|| first_state(automaton))?))
    }

    /// Nothing may wait any longer: what may be a credential is hidden, and what follows of it will be.
    pub(super) fn release(&mut self, out: &mut impl Decided) {
        for candidate in &mut self.reading {
            candidate.release(&mut self.marks);
        }
        self.drain(out);
    }

    /// The text is over.
    pub(super) fn finish(&mut self, ending: Ending, out: &mut impl Decided) {
        for mut candidate in std::mem::take(&mut self.reading) {
            let step = candidate.end(ending);
            candidate.apply(step, self.held.len(), &mut self.marks);
        }
        self.drain(out);
        self.state = None;
    }

    /// Bytes that wait for others.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Reads one byte, after which the automaton is in this state.
    fn read(&mut self, automaton: &Automaton, state: StateID, byte: u8) {
        let now = self.held.len();
        self.held.push(byte);
        self.marks.push(Mark::default());
        // A lead-in is known one byte after it ended: when its value begins.
        let matches = if automaton.is_match_state(state) {
            automaton.match_len(state)
        } else {
            0
        };
        let found = (0..matches).map(|place| automaton.match_pattern(state, place).as_usize());
        for number in found.clone() {
            self.meet(number);
        }
        #[cfg(test)]
        {
            self.steps += 1 + self.reading.len();
        }
        let marks = &mut self.marks;
        self.reading
            .retain_mut(|candidate| candidate.advance(byte, now, marks));
        for number in found {
            let same = |candidate: &&Candidate| candidate.pattern == number;
            let full = self.reading.iter().filter(same).count() >= NESTED_MAX;
            if let (false, Some(mut candidate)) = (full, Candidate::new(number))
                && candidate.advance(byte, now, &mut self.marks)
            {
                self.reading.push(candidate);
            }
        }
    }

    /// Reads on within values that are known to be secret, up to a byte that says more of one of them, or that is
    /// found. Answers how many bytes it read.
    fn pass(&mut self, automaton: &Automaton, state: &mut StateID, text: &[u8]) -> usize {
        let Some(first) = self.reading.first() else {
            return 0;
        };
        let own = Mark::of(first.pattern, first.cut);
        let within = |byte| self.reading.iter().all(|it| it.holds(byte));
        let text = text.get(..BATCH_BYTES).unwrap_or(text);
        let length = cruise_while(automaton, state, text, within);
        let text = text.get(..length).unwrap_or_default();
        for candidate in &mut self.reading {
            candidate.reader.pass(text);
        }
        #[cfg(test)]
        {
            self.steps += length * (1 + self.reading.len());
        }
        self.held.extend_from_slice(text);
        self.marks.resize(self.held.len(), own);
        text.len()
    }

    /// A private key ends where the automaton says so, and where another begins it is not too long yet.
    fn meet(&mut self, number: usize) {
        match PATTERNS.get(number).map(|pattern| pattern.value) {
            Some(Value::Key) => {
                for candidate in &mut self.reading {
                    if candidate.pattern == number
                        && let Some(again) = Reader::new(Value::Key)
                    {
                        candidate.reader = again;
                    }
                }
            }
            Some(Value::KeyEnd) => self
                .reading
                .retain(|candidate| !matches!(candidate.reader, Reader::Key(_))),
            _ => {}
        }
    }

    /// Hands on all that is decided.
    fn drain(&mut self, out: &mut impl Decided) {
        if self.held.is_empty() {
            return;
        }
        let open = self.reading.iter().filter_map(|candidate| candidate.open);
        let until = open.min().unwrap_or(self.held.len());
        let mut from = 0;
        for run in self
            .marks
            .get(..until)
            .unwrap_or_default()
            .chunk_by(|one, next| one == next)
        {
            let text = self.held.get(from..from + run.len()).unwrap_or_default();
            match run.first().and_then(|mark| mark.secret()) {
                Some(secret) => out.hide(text, secret),
                None => out.show(text),
            }
            from += run.len();
        }
        self.held.drain(..until);
        self.marks.drain(..until);
        for candidate in &mut self.reading {
            candidate.open = candidate.open.map(|open| open - until);
        }
    }
}

impl Candidate {
    fn new(pattern: usize) -> Option<Self> {
        let known = PATTERNS.get(pattern)?;
        Some(Self {
            pattern,
            prelude: known.prelude.map(|prelude| (prelude, 0)),
            reader: Reader::new(known.value)?,
            decided: false,
            cut: false,
            open: None,
        })
    }

    /// Reads a byte. Answers whether the value goes on.
    fn advance(&mut self, byte: u8, now: usize, marks: &mut [Mark]) -> bool {
        if let Some((prelude, state)) = &mut self.prelude {
            let step = prelude.read(byte, state);
            if step == Some(PreludeStep::Over) {
                self.prelude = None;
            }
            return step.is_some();
        }
        let step = self.reader.step(byte, self.decided);
        self.apply(step, now, marks)
    }

    /// Is this byte a part of a value that is known to be secret, of which nothing is open?
    fn holds(&self, byte: u8) -> bool {
        self.decided && self.open.is_none() && self.reader.holds(byte)
    }

    fn end(&self, ending: Ending) -> Step {
        if self.open.is_none() {
            return NO_VALUE;
        }
        let step = self.reader.end(self.decided);
        let may_go_on = ending == Ending::Cut && self.reader.may_go_on();
        if step == NO_VALUE && may_go_on && !self.decided {
            WHOLE_VALUE
        } else {
            step
        }
    }

    fn apply(&mut self, step: Step, now: usize, marks: &mut [Mark]) -> bool {
        match step {
            Step::Gap => self.open = None,
            Step::Open => {
                self.open.get_or_insert(now);
            }
            Step::Hide => {
                let from = self.open.take().unwrap_or(now);
                self.hide(from..now + 1, marks);
            }
            Step::HideBefore => {
                let from = self.open.replace(now).unwrap_or(now);
                self.hide(from..now, marks);
            }
            Step::End { shown } => {
                let from = self.open.take().unwrap_or(now);
                self.hide(from..now.saturating_sub(shown).max(from), marks);
                return false;
            }
        }
        true
    }

    /// What is open cannot wait: it is hidden if it may be a credential.
    fn release(&mut self, marks: &mut [Mark]) {
        if let Some(from) = self.open.take()
            && self.reader.plausible(self.decided)
        {
            self.hide(from..marks.len(), marks);
        }
        self.cut = self.decided;
    }

    fn hide(&mut self, span: Range<usize>, marks: &mut [Mark]) {
        self.decided = true;
        let own = Mark::of(self.pattern, self.cut);
        for mark in marks.get_mut(span).unwrap_or_default() {
            if *mark == Mark::default() {
                *mark = own;
            }
        }
    }
}

fn first_state(automaton: &Automaton) -> Option<StateID> {
    automaton.start_state(&start::Config::new()).ok()
}
