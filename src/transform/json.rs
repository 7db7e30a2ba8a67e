//! Masks JSON while it streams.
//!
//! The scanner says where values begin and end, the plan says what to do with them. Everything that
//! is not masked passes as spans of the chunk it came in; of a masked value nothing leaves before its
//! end, then its placeholder does. What is held between chunks: the place in the document, the digest
//! of the masked value that is open, and the raw text, up to [`EMBEDDED_JSON_BYTES_MAX`], of what can only
//! be judged as a whole: JSON inside JSON, texts that may hold credentials, and elements of arrays whose
//! masking depends on their name.
//!
//! Watches need nothing more: each event is a document of its own, and the plan is rooted at
//! `object` too. Nor do Tables: their objects are at `rows[*].object`.

mod begun;
mod elements;
pub(super) mod embedded;
pub(super) mod familiar;
mod frame;
mod held;
mod masked;
mod quiet;
mod trail;

use std::sync::Arc;

use self::begun::{Begun, Task};
use self::elements::Ahead;
use self::familiar::Familiar;
use self::frame::Frame;
use self::held::through;
use self::masked::{Masking, without_quote};
use self::quiet::Reach;
pub(super) use self::trail::Trail;
use super::output::{Joined, Sink};
use super::placeholder::{Content, Linkable, Placeholder, Placeholders};
use super::report::Tally;
use super::text::arguments::Arguments;
use super::text::known::{Quiet, Shelf, Strings};
use crate::limits::EMBEDDED_JSON_BYTES_MAX;
use crate::policy::mask::{Action, Leaf, Look, MaskName, MaskPlan, Shape, StateId};
use crate::wire::json::{self, Documents, JsonError, Kind, Quotes, Scanner, Step, Walk};

/// What a body is masked by.
#[derive(Clone, Debug)]
pub(super) struct Mask {
    pub(super) plan: Arc<MaskPlan>,
    pub(super) placeholders: Arc<Placeholders>,
    /// Whether the caller may compare placeholders with those of other answers.
    pub(super) linkable: Linkable,
    /// The state of the document.
    pub(super) root: StateId,
    /// Do values below `data` hold base64? True for Secrets.
    pub(super) data_is_base64: bool,
    /// What the plan's search looks for.
    pub(super) known: Option<Arc<Shelf>>,
}

impl Mask {
    /// What stands for a value that is in memory as a whole.
    pub(super) fn placeholder(&self, value: &[u8]) -> Placeholder {
        self.placeholders
            .whole(Content::Text, self.linkable, value)
            .placeholder()
    }
}

/// The masker of one stream.
pub(super) struct JsonMasker {
    mask: Mask,
    scanner: Scanner,
    /// The containers that are being walked; never more than a field path is long.
    frames: Vec<Frame>,
    /// The state of the member whose key was just read.
    member: StateId,
    current: Current,
    /// What hides the value that is open, if it is hidden.
    hidden_by: MaskName,
    trail: Trail,
    tally: Tally,
    /// Looks for known values.
    strings: Option<Box<Strings>>,
    /// Where in the chunk that is being pushed there are none.
    quiet: Quiet,
    /// How many documents this one is embedded in.
    level: u8,
    /// What was read of a command.
    arguments: Arguments,
    /// The same of what is around the elements that are open.
    around: Vec<Arguments>,
    /// For what is masked within this document, kept from one such value to the next.
    spare: Option<Box<Self>>,
    /// Objects and arrays that passed.
    familiar: Familiar,
}

/// The value the scanner is in.
enum Current {
    /// A container whose members are looked at.
    Walked,
    /// A value that passes.
    Passed,
    /// A value that passes but for known values in its strings.
    Searched,
    /// A value that may not pass, of which nothing was looked at yet.
    Begun(Begun),
    /// In a box: most masked values end in the chunk they begin in, and need none.
    Masked(Box<Masking>),
    /// The raw text of a value that is looked at as a whole.
    Held(Held, Vec<u8>),
    /// An element too large to be held, masked as if it met every condition.
    Nested(Box<JsonMasker>),
}

/// A chunk on its way through a masker.
struct Pushed<'a, S> {
    masker: &'a mut JsonMasker,
    chunk: &'a [u8],
    sink: &'a mut S,
}

impl<S: Sink> Walk for Pushed<'_, S> {
    type Outcome = Result<(), JsonError>;

    #[expect(clippy::inline_always, reason = "it is the walk")]
    #[inline(always)]
    fn with(self, quotes: impl Quotes) -> Self::Outcome {
        self.masker.push_with(self.chunk, self.sink, quotes)
    }
}

/// Why a value is held.
#[derive(Clone, Copy)]
enum Held {
    /// A string that holds a document.
    Document,
    /// A string that may hold credentials.
    Scanned(Look),
    /// An object in an array in this state, whose own state depends on its members.
    Element(StateId),
}

impl JsonMasker {
    pub(super) fn new(mask: Mask, documents: Documents) -> Self {
        let known = mask.known.clone();
        Self {
            strings: known.map(|shelf| Box::new(Strings::new(shelf))),
            quiet: Quiet::default(),
            mask,
            scanner: Scanner::new(documents),
            frames: Vec::new(),
            member: StateId::DEAD,
            current: Current::Walked,
            hidden_by: MaskName::OWN,
            trail: Trail::default(),
            tally: Tally::default(),
            level: 0,
            arguments: Arguments::default(),
            around: Vec::new(),
            spare: None,
            familiar: Familiar::default(),
        }
    }

    /// Takes the next chunk and hands all that may be released to `sink`.
    pub(super) fn push(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), JsonError> {
        let mut sink = Joined::new(sink);
        let pushed = self.push_through(chunk, &mut sink);
        sink.flush();
        pushed
    }

    /// Between two documents, gives back what the next one can make anew: of thousands of watches most are idle.
    pub(super) fn rest(&mut self) {
        if self.scanner.is_between_documents() {
            self.spare = None;
            self.familiar.forget();
            self.tally.rest();
            if let Some(strings) = &mut self.strings {
                strings.tally().rest();
            }
        }
    }

    fn push_through(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), JsonError> {
        json::walk(Pushed {
            masker: self,
            chunk,
            sink,
        })
    }

    #[expect(clippy::inline_always, reason = "it is the walk")]
    #[inline(always)]
    fn push_with(
        &mut self,
        chunk: &[u8],
        sink: &mut impl Sink,
        quotes: impl Quotes,
    ) -> Result<(), JsonError> {
        let (mut cursor, mut released) = (0, 0);
        for frame in &mut self.frames {
            frame.first = None;
        }
        self.quiet = Quiet::default();
        loop {
            let from = cursor;
            let reach = self.reach(chunk, from);
            match self.step(chunk, reach, &mut cursor, quotes)? {
                Step::Begin(kind) => {
                    let first = cursor - 1;
                    if let Some(end) = self.begin(kind, first, chunk) {
                        cursor = end;
                    }
                }
                Step::Key => {
                    self.key(chunk);
                    // Most values that are masked are strings that end here: nothing else is to be known of them.
                    if let Action::Mask(leaf) = self.mask.plan.action(self.member, Shape::String)
                        && let Some(text) = self.scanner.plain_string(chunk, &mut cursor, quotes)
                    {
                        sink.copy(released..cursor - text.len() - 2);
                        self.hidden_by = self.mask.plan.mask(self.member);
                        self.put_unescaped(leaf, Kind::String, text, sink);
                        released = cursor;
                    }
                }
                Step::End => {
                    if let Current::Begun(begun) = self.current {
                        if !self.passes(begun, chunk, cursor, released, sink)? {
                            released = cursor;
                        }
                    } else if self.is_taken() {
                        let text = chunk.get(from..cursor).unwrap_or_default();
                        self.take(text, true, sink)?;
                        self.replace(sink)?;
                        released = cursor;
                    } else if let Current::Walked = self.current {
                        self.remember(chunk, cursor, released);
                    }
                    self.end();
                }
                Step::More if cursor < chunk.len() => {} // as far as it may reach
                Step::More => {
                    if let Current::Begun(begun) = self.current {
                        sink.copy(released..begun.first);
                        self.keep(begun);
                        let value = chunk.get(begun.first..).unwrap_or_default();
                        self.take(begun.text(value), false, sink)?;
                    } else if self.is_taken() {
                        self.take(chunk.get(from..).unwrap_or_default(), false, sink)?;
                    } else if let Some(first) = self.passing_that_goes_on() {
                        sink.copy(released..first);
                        self.current = Current::Searched;
                        self.take(chunk.get(first..).unwrap_or_default(), false, sink)?;
                    } else {
                        sink.copy(released..chunk.len());
                    }
                    return Ok(());
                }
            }
        }
    }

    /// The next step. Members in which nothing can match are passed without one.
    #[expect(clippy::inline_always, reason = "it is most of the walk")]
    #[inline(always)]
    fn step(
        &mut self,
        chunk: &[u8],
        reach: Reach,
        cursor: &mut usize,
        quotes: impl Quotes,
    ) -> Result<Step, JsonError> {
        let state = self
            .frames
            .last()
            .map_or(StateId::DEAD, |frame| frame.state);
        let (plan, member) = (&self.mask.plan, &mut self.member);
        self.scanner.step_by(
            chunk.get(..reach.until).unwrap_or(chunk),
            cursor,
            |key| {
                *member = plan.member(state, key);
                !reach.passes || !member.is_dead()
            },
            quotes,
        )
    }

    /// The stream ended; an unfinished document is an error and stays unfinished.
    pub(super) fn finish(&mut self, sink: &mut impl Sink) -> Result<(), JsonError> {
        if self.scanner.finish()? {
            if self.is_taken() {
                self.replace(sink)?;
            }
            self.end();
        }
        Ok(())
    }

    /// Becomes as new, but for its memory: the next document finds nothing of the one before.
    fn forget(&mut self) {
        self.scanner = Scanner::new(Documents::One);
        self.frames.clear();
        self.member = StateId::DEAD;
        self.current = Current::Walked;
        self.hidden_by = MaskName::OWN;
        self.arguments = Arguments::default();
        self.around.clear();
    }

    /// What was masked since the last call.
    pub(super) fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// Bytes held between chunks.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let text = match &self.current {
            Current::Held(_, raw) => raw.len(),
            Current::Nested(masker) => masker.held(),
            Current::Walked
            | Current::Passed
            | Current::Searched
            | Current::Begun(_)
            | Current::Masked(_) => 0,
        };
        text + self.scanner.held() + self.trail.len() + self.frames.len() * size_of::<Frame>()
    }

    /// A value begins, at `first`. Answers where it ends, if all of it was looked at and passes.
    fn begin(&mut self, kind: Kind, first: usize, chunk: &[u8]) -> Option<usize> {
        let begun = |task| Current::Begun(Begun { task, kind, first });
        let conditional = self.conditional_array().filter(|_| kind == Kind::Object);
        let state = match conditional {
            Some(array) => {
                self.element();
                match self.look_ahead(array, chunk, first) {
                    Ahead::Passes { length } => {
                        self.scanner.leave_value();
                        return Some(first + length);
                    }
                    Ahead::Is(state) => state,
                    Ahead::Open => {
                        self.current = begun(Task::Judge(Held::Element(array)));
                        self.scanner.skip_value();
                        return None;
                    }
                }
            }
            None => self.state_of_value(),
        };
        let shape = match kind {
            Kind::Object => Shape::Object,
            Kind::Array => Shape::Array,
            Kind::String => Shape::String,
            Kind::Scalar(b'n') => Shape::Null,
            Kind::Scalar(_) => Shape::Scalar,
        };
        self.hidden_by = self.mask.plan.mask(state);
        match self.mask.plan.action(state, shape) {
            Action::Walk => {
                let array = kind == Kind::Array;
                let length = self.enter(state, array, conditional.is_some(), chunk, first);
                return length.map(|length| first + length);
            }
            Action::Search if self.strings.is_some() => self.current = begun(Task::Search),
            Action::Pass | Action::Search => self.current = Current::Passed,
            Action::Mask(leaf) => self.current = begun(Task::Mask(leaf)),
            Action::Embedded => self.current = begun(Task::Judge(Held::Document)),
            Action::Scan(look) => self.current = begun(Task::Judge(Held::Scanned(look))),
        }
        self.scanner.skip_value();
        None
    }

    /// Whether the open value goes elsewhere than straight to the client.
    fn is_taken(&self) -> bool {
        !matches!(self.current, Current::Walked | Current::Passed)
    }

    fn take(&mut self, text: &[u8], last: bool, sink: &mut impl Sink) -> Result<(), JsonError> {
        match &mut self.current {
            Current::Masked(masking) => masking.take_as_written(text, last),
            Current::Held(held, raw) => {
                let quoted = last && !matches!(held, Held::Element(_));
                let part = if quoted { without_quote(text) } else { text };
                if raw.len() + part.len() <= EMBEDDED_JSON_BYTES_MAX {
                    raw.extend_from_slice(part);
                    return Ok(());
                }
                let (held, raw) = (*held, std::mem::take(raw));
                self.hold_no_longer(held, &raw, sink)?;
                self.take(text, last, sink)
            }
            Current::Nested(masker) => masker.push(text, &mut through(text, sink)),
            Current::Searched => {
                if let Some(strings) = &mut self.strings {
                    strings.push(text, &mut through(text, sink));
                }
                Ok(())
            }
            Current::Walked | Current::Passed | Current::Begun(_) => Ok(()),
        }
    }

    /// Puts what belongs in the place of the value that just ended.
    fn replace(&mut self, sink: &mut impl Sink) -> Result<(), JsonError> {
        match std::mem::replace(&mut self.current, Current::Passed) {
            Current::Masked(masking) => {
                let seal = self.mask.placeholders.finish(masking.digest);
                self.put(seal, masking.base64, sink);
            }
            Current::Held(held, raw) => return self.put_held(held, &raw, sink),
            Current::Nested(mut masker) => {
                masker.finish(&mut through(b"", sink))?;
                self.tally.merge(&mut masker.tally);
            }
            Current::Searched => {
                if let Some(strings) = &mut self.strings {
                    strings.finish(sink);
                    self.tally.merge(strings.tally());
                }
            }
            Current::Walked | Current::Passed | Current::Begun(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests;
