//! The key of a member: a span of the chunk, or what was put together of several, unescaped.

use std::ops::Range;

use super::{JsonError, Unescaper};
use crate::limits::JSON_KEY_BYTES_MAX;

/// The key that was read last.
#[derive(Clone, Debug, Default)]
pub(super) struct Key {
    /// Where the key stands in the current chunk, if it needs no unescaping.
    range: Option<Range<usize>>,
    text: Vec<u8>,
    unescaper: Unescaper,
    partial: bool,
    overlong: bool,
}

impl Key {
    /// Behind its opening quote.
    pub(super) fn start(&mut self) {
        self.range = None;
        self.text.clear();
        self.unescaper = Unescaper::default();
        self.partial = false;
        self.overlong = false;
    }

    /// It stands here, as a whole and without an escape.
    #[inline]
    pub(super) fn is(&mut self, range: Range<usize>) {
        self.range = Some(range);
    }

    /// Its next bytes, which the chunk ends after.
    pub(super) fn push(&mut self, raw: &[u8]) -> Result<(), JsonError> {
        self.partial = true;
        let (text, overlong) = (&mut self.text, &mut self.overlong);
        self.unescaper
            .push(raw, &mut |piece| append(text, overlong, piece))
    }

    /// It ends with what stands here in `chunk`.
    pub(super) fn end(&mut self, chunk: &[u8], range: Range<usize>) -> Result<(), JsonError> {
        let piece = chunk.get(range.clone()).unwrap_or_default();
        if !self.partial && !piece.contains(&b'\\') {
            self.range = Some(range);
            return Ok(());
        }
        self.push(piece)?;
        let (text, overlong) = (&mut self.text, &mut self.overlong);
        self.unescaper
            .finish(&mut |piece| append(text, overlong, piece))
    }

    /// Its text, or `None` when it is longer than [`JSON_KEY_BYTES_MAX`].
    #[inline]
    pub(super) fn text<'a>(&'a self, chunk: &'a [u8]) -> Option<&'a [u8]> {
        if let Some(range) = &self.range {
            return chunk
                .get(range.clone())
                .filter(|key| key.len() <= JSON_KEY_BYTES_MAX);
        }
        (!self.overlong).then_some(self.text.as_slice())
    }

    /// Bytes held between chunks.
    pub(super) fn held(&self) -> usize {
        self.text.len()
    }
}

fn append(text: &mut Vec<u8>, overlong: &mut bool, piece: &[u8]) {
    if *overlong || text.len() + piece.len() > JSON_KEY_BYTES_MAX {
        *overlong = true;
    } else {
        text.extend_from_slice(piece);
    }
}
