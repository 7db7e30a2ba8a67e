//! Values that begin and end in one chunk, as most do: they are judged where they stand.

use super::held::Judged;
use super::{Current, Held, JsonError, JsonMasker, Kind, Leaf, Sink, without_quote};
use crate::limits::EMBEDDED_JSON_BYTES_MAX;
use crate::transform::output::Shifted;

/// A value that began in the chunk that is being pushed. Most end there, too; then they are judged where they
/// stand, and nothing is kept of them.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    pub(super) task: Task,
    pub(super) kind: Kind,
    /// Where its first byte is.
    pub(super) first: usize,
}

/// What is to be done with a value that may not pass.
#[derive(Clone, Copy)]
pub(super) enum Task {
    Mask(Leaf),
    Judge(Held),
    /// To look for known values in its strings.
    Search,
}

impl JsonMasker {
    /// Does this value, which is all there and ends before `end`, pass as it is? If not, what came before it and what belongs
    /// in its place is with `sink`.
    pub(super) fn passes(
        &mut self,
        begun: Begun,
        chunk: &[u8],
        end: usize,
        released: usize,
        sink: &mut impl Sink,
    ) -> Result<bool, JsonError> {
        let before = released..begun.first;
        let value = chunk.get(begun.first..end).unwrap_or_default();
        let text = begun.text(value);
        match begun.task {
            Task::Search if self.is_quiet(chunk, begun.first, end) => return Ok(true),
            Task::Search => {
                sink.copy(before);
                self.put_searched(value, begun.first, sink);
            }
            Task::Mask(leaf) => {
                sink.copy(before);
                let quoted = begun.kind == Kind::String;
                let text = if quoted { without_quote(text) } else { text };
                self.put_whole(leaf, begun.kind, text, sink)?;
            }
            Task::Judge(_) if value.len() > EMBEDDED_JSON_BYTES_MAX => {
                sink.copy(before);
                self.keep(begun);
                self.take(text, true, sink)?;
                self.replace(sink)?;
            }
            Task::Judge(Held::Element(array)) => {
                sink.copy(before);
                let (by, sink) = (begun.first, sink as &mut dyn Sink);
                self.put_element(array, value, &mut Shifted { by, sink })?;
            }
            Task::Judge(held) => {
                let raw = without_quote(text);
                match self.judge(held, raw)? {
                    Judged::Passes if self.is_quiet(chunk, begun.first, end) => return Ok(true),
                    judged => {
                        sink.copy(before);
                        self.put_judged(held, &judged, raw, sink)?;
                    }
                }
            }
        }
        Ok(false)
    }

    /// Puts a value that stands at `first` of the chunk, without the known values in its strings.
    fn put_searched(&mut self, value: &[u8], first: usize, sink: &mut impl Sink) {
        if let Some(strings) = &mut self.strings {
            strings.push(value, &mut Shifted { by: first, sink });
            strings.finish(sink);
            self.tally.merge(strings.tally());
        }
    }

    /// A value goes on in the next chunk.
    pub(super) fn keep(&mut self, begun: Begun) {
        self.current = match begun.task {
            Task::Mask(leaf) => Current::Masked(Box::new(self.masking(leaf, begun.kind))),
            Task::Judge(held) => Current::Held(held, Vec::new()),
            Task::Search => Current::Searched,
        };
    }
}

impl Begun {
    /// A value to look for known values in.
    pub(super) fn to_search(first: usize) -> Self {
        Self {
            task: Task::Search,
            kind: Kind::Object, // or any other, which is all the same to the search
            first,
        }
    }

    /// The value; without the quote that opens a string, but where it is among what is searched.
    pub(super) fn text<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        match (self.task, self.kind) {
            (Task::Mask(_) | Task::Judge(_), Kind::String) => value.get(1..).unwrap_or_default(),
            _ => value,
        }
    }
}
