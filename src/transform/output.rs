//! Where released bytes go: slices of what came in, and replacements between them.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::limits::SMALL_SPAN_BYTES_MAX;

/// Takes the result of a transform, in order.
pub(super) trait Sink {
    /// A span of the chunk that is being pushed passes unchanged.
    fn copy(&mut self, span: Range<usize>);
    /// Something new stands here.
    fn write(&mut self, text: &[u8]);
    /// In the place of a known value, or of a part of one, stands this. Whoever stands before another sink hands it on: to
    /// some it is more than something that is written.
    fn replace(&mut self, known: &[u8], with: &str);
}

/// Bytes ready to leave.
#[derive(Debug, Default)]
pub(super) struct Output {
    ready: VecDeque<Bytes>,
    /// Small spans and replacements since the last large span.
    tail: BytesMut,
    /// How much memory a tail asks for at once, in bytes: the size of the chunk, since little more is ever copied.
    expected: usize,
}

impl Output {
    /// A sink for the transform of `chunk`.
    pub(super) fn of<'a>(&'a mut self, chunk: &'a Bytes) -> ChunkSink<'a> {
        self.expected = chunk.len();
        ChunkSink {
            chunk,
            output: self,
        }
    }

    /// Adds bytes that need no copy.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if bytes.len() <= SMALL_SPAN_BYTES_MAX {
            self.append(&bytes);
            return;
        }
        self.flush();
        self.ready.push_back(bytes);
    }

    fn append(&mut self, text: &[u8]) {
        if self.tail.capacity() - self.tail.len() < text.len() {
            self.tail.reserve(self.expected.max(text.len()));
        }
        self.tail.extend_from_slice(text);
    }

    /// The next bytes to send.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if !self.ready.is_empty() {
            return self.ready.pop_front();
        }
        // Nothing is kept for a next time that may be far off.
        let tail = std::mem::take(&mut self.tail);
        (!tail.is_empty()).then(|| tail.freeze())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.tail.is_empty()
    }

    fn flush(&mut self) {
        if !self.tail.is_empty() {
            // What is left of its memory is the next one's: how much was asked for is for all of them.
            self.ready.push_back(self.tail.split().freeze());
        }
    }
}

/// Cuts spans from one chunk.
pub(super) struct ChunkSink<'a> {
    chunk: &'a Bytes,
    output: &'a mut Output,
}

impl Sink for ChunkSink<'_> {
    fn copy(&mut self, span: Range<usize>) {
        if span.start < span.end && span.end <= self.chunk.len() {
            if span.len() <= SMALL_SPAN_BYTES_MAX {
                self.write(self.chunk.get(span).unwrap_or_default());
            } else {
                self.output.push(self.chunk.slice(span));
            }
        }
    }

    fn write(&mut self, text: &[u8]) {
        self.output.append(text);
    }

    fn replace(&mut self, _known: &[u8], with: &str) {
        self.write(with.as_bytes());
    }
}

/// Joins spans that follow one another: what passes in pieces is copied, or sliced, at once.
pub(super) struct Joined<'a, S> {
    sink: &'a mut S,
    open: Range<usize>,
}

impl<'a, S: Sink> Joined<'a, S> {
    /// Before `sink`.
    pub(super) fn new(sink: &'a mut S) -> Self {
        Self { sink, open: 0..0 }
    }

    /// Hands on what was kept.
    pub(super) fn flush(&mut self) {
        if !self.open.is_empty() {
            self.sink.copy(std::mem::take(&mut self.open));
        }
    }
}

impl<S: Sink> Sink for Joined<'_, S> {
    fn copy(&mut self, span: Range<usize>) {
        if span.start == self.open.end {
            self.open.end = span.end;
            return;
        }
        self.flush();
        self.open = span;
    }

    fn write(&mut self, text: &[u8]) {
        if !text.is_empty() {
            self.flush();
            self.sink.write(text);
        }
    }

    fn replace(&mut self, known: &[u8], with: &str) {
        self.flush();
        self.sink.replace(known, with);
    }
}

/// Takes spans of a part of the chunk that `sink` copies from, which begins there at `by`.
pub(super) struct Shifted<'a, S: ?Sized> {
    pub(super) by: usize,
    pub(super) sink: &'a mut S,
}

impl<S: Sink + ?Sized> Sink for Shifted<'_, S> {
    fn copy(&mut self, span: Range<usize>) {
        self.sink.copy(span.start + self.by..span.end + self.by);
    }

    fn write(&mut self, text: &[u8]) {
        self.sink.write(text);
    }

    fn replace(&mut self, known: &[u8], with: &str) {
        self.sink.replace(known, with);
    }
}

/// Takes spans of a text that the sink does not copy from.
pub(super) struct Written<'a, S: ?Sized> {
    pub(super) text: &'a [u8],
    pub(super) sink: &'a mut S,
}

impl<S: Sink + ?Sized> Sink for Written<'_, S> {
    fn copy(&mut self, span: Range<usize>) {
        self.sink.write(self.text.get(span).unwrap_or_default());
    }

    fn write(&mut self, text: &[u8]) {
        self.sink.write(text);
    }

    fn replace(&mut self, known: &[u8], with: &str) {
        self.sink.replace(known, with);
    }
}

/// Appends everything to one vector.
pub(super) struct Collected<'a> {
    chunk: &'a [u8],
    collected: &'a mut Vec<u8>,
}

impl<'a> Collected<'a> {
    /// A sink for the transform of `chunk`.
    pub(super) fn new(chunk: &'a [u8], collected: &'a mut Vec<u8>) -> Self {
        Self { chunk, collected }
    }
}

impl Sink for Collected<'_> {
    fn copy(&mut self, span: Range<usize>) {
        self.collected
            .extend_from_slice(self.chunk.get(span).unwrap_or_default());
    }

    fn write(&mut self, text: &[u8]) {
        self.collected.extend_from_slice(text);
    }

    fn replace(&mut self, _known: &[u8], with: &str) {
        self.write(with.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_spans_are_slices_and_small_ones_are_joined() {
        let chunk = Bytes::from(vec![b'x'; 3 * SMALL_SPAN_BYTES_MAX]);
        let mut output = Output::default();
        let mut sink = output.of(&chunk);
        sink.copy(0..2);
        sink.write(b"new");
        sink.copy(2..2 * SMALL_SPAN_BYTES_MAX);
        sink.copy(2 * SMALL_SPAN_BYTES_MAX..2 * SMALL_SPAN_BYTES_MAX + 1);
        let before = output.pop().unwrap();
        assert_eq!(before, "xxnew");
        let span = output.pop().unwrap();
        assert_eq!(span.as_ptr(), chunk[2..].as_ptr());
        let behind = output.pop().unwrap();
        assert_eq!(behind, "x");
        assert_eq!(
            behind.as_ptr(),
            before.as_ptr_range().end,
            "memory is asked for once"
        );
        assert!(output.pop().is_none() && output.is_empty());
    }
}
