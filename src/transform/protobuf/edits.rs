//! What is to be written in the place of which bytes of a message.

use std::ops::Range;

use super::super::output::Sink;
use crate::wire::protobuf::write_head;

/// By how many bytes something grew.
pub(super) type Growth = isize;

pub(super) fn difference(new: usize, old: usize) -> Growth {
    Growth::try_from(new).unwrap_or(Growth::MAX) - Growth::try_from(old).unwrap_or(Growth::MAX)
}

/// Room for so many edits, and for so many bytes of their texts, is kept from one message to the next.
const KEPT_MAX: usize = 256;
const KEPT_TEXT_BYTES_MAX: usize = 16 * 1024;

/// Edits, in the order of the bytes they are about.
#[derive(Default)]
pub(super) struct Edits {
    all: Vec<Edit>,
    /// What is written, one after another, in the order in which it was found.
    texts: Vec<u8>,
}

struct Edit {
    old: Range<usize>,
    /// In `texts`.
    new: Range<usize>,
}

impl Edits {
    /// Forgets all of them, and gives back more memory than most messages need.
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.texts.clear();
        self.all.shrink_to(KEPT_MAX);
        self.texts.shrink_to(KEPT_TEXT_BYTES_MAX);
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Forgets those behind the first `count`. Their texts stay, and nothing points to them.
    pub(super) fn truncate(&mut self, count: usize) {
        self.all.truncate(count);
    }

    /// How much memory they have.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.all.capacity() * size_of::<Edit>() + self.texts.capacity()
    }

    /// The next one.
    pub(super) fn push(&mut self, old: Range<usize>, text: &[u8]) {
        let from = self.texts.len();
        self.texts.extend_from_slice(text);
        let new = from..self.texts.len();
        self.all.push(Edit { old, new });
    }

    /// Puts a field's new head before the edits within the field; `before` edits precede it. Answers by how many bytes the
    /// head grew.
    pub(super) fn insert_head(
        &mut self,
        before: usize,
        old: Range<usize>,
        (number, length): (u32, usize),
    ) -> Growth {
        let from = self.texts.len();
        write_head(number, length, &mut self.texts);
        let new = from..self.texts.len();
        let growth = difference(new.len(), old.len());
        self.all.insert(before, Edit { old, new });
        growth
    }

    /// Hands out the rewritten message, of which `length` bytes were read.
    pub(super) fn write(&self, length: usize, sink: &mut impl Sink) {
        let mut copied = 0;
        for Edit { old, new } in &self.all {
            sink.copy(copied..old.start);
            sink.write(self.texts.get(new.clone()).unwrap_or_default());
            copied = old.end;
        }
        sink.copy(copied..length);
    }
}
