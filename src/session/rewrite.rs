//! The filters of one session: which stream has which, and when each lets go what it holds back.
//!
//! What leaves a filter goes to its client in frames of our own. No end of a remote command can tell: SPDY
//! has no flow control here, and where messages end means nothing, but for the final status.

use std::fmt;
use std::time::Duration;

use super::{Filter, Filters, StreamType};
use crate::limits;

/// A time at which all that is held is due.
const EVERYTHING: Duration = Duration::MAX;

/// Takes what leaves a filter: what names the stream on the wire, what it carries, and the bytes.
pub(super) type Put<'p, N> = dyn FnMut(N, StreamType, &[u8]) + 'p;

/// Rewrites what the server sends on the streams of a remote command. `N` names a stream.
pub(super) struct Rewriter<N> {
    make: Filters,
    /// Those on which something was sent, the final status last.
    streams: Vec<Stream<N>>,
    /// What left a filter, on its way; kept for its memory.
    rewritten: Vec<u8>,
}

struct Stream<N> {
    name: N,
    kind: StreamType,
    filter: Box<dyn Filter>,
}

impl<N: Copy + PartialEq> Rewriter<N> {
    pub(super) fn new(filters: Filters) -> Self {
        Self {
            make: filters,
            streams: Vec::new(),
            rewritten: Vec::new(),
        }
    }

    /// Takes payload, `now` after the beginning of the session.
    pub(super) fn push(
        &mut self,
        name: N,
        kind: StreamType,
        bytes: &[u8],
        now: Duration,
        put: &mut Put<'_, N>,
    ) {
        self.meet(name, kind, put);
        self.each(
            |stream| stream.name == name,
            |filter, rewritten| filter.push(bytes, now, rewritten),
            put,
        );
    }

    /// Takes the whole final status and lets it go in one piece.
    pub(super) fn push_status(
        &mut self,
        name: N,
        bytes: &[u8],
        now: Duration,
        put: &mut Put<'_, N>,
    ) {
        self.meet(name, StreamType::Error, put);
        self.each(
            |stream| stream.name == name,
            |filter, rewritten| {
                filter.push(bytes, now, rewritten);
                filter.release(EVERYTHING, rewritten);
            },
            put,
        );
    }

    /// The server sends nothing more on the stream.
    pub(super) fn finish(&mut self, name: N, put: &mut Put<'_, N>) {
        self.each(
            |stream| stream.name == name,
            |filter, rewritten| filter.finish(rewritten),
            put,
        );
        self.forget(name);
    }

    /// The server sends nothing more at all.
    pub(super) fn finish_all(&mut self, put: &mut Put<'_, N>) {
        self.each(|_| true, |filter, rewritten| filter.finish(rewritten), put);
        self.streams.clear();
    }

    /// The stream is over, and nobody reads what is left of it.
    pub(super) fn forget(&mut self, name: N) {
        self.streams.retain(|stream| stream.name != name);
    }

    /// When bytes will have been held back for too long, counted from the beginning of the session.
    pub(super) fn due(&self) -> Option<Duration> {
        let due = |stream: &Stream<N>| stream.filter.due();
        self.streams.iter().filter_map(due).min()
    }

    /// Lets go of what has been held back for too long.
    pub(super) fn release(&mut self, now: Duration, put: &mut Put<'_, N>) {
        self.each(
            |stream| stream.filter.due().is_some_and(|due| due <= now),
            |filter, rewritten| filter.release(now, rewritten),
            put,
        );
    }

    /// Payload has come on a stream. Clients read the output, then the status, then nothing.
    fn meet(&mut self, name: N, kind: StreamType, put: &mut Put<'_, N>) {
        if kind == StreamType::Error {
            self.each(
                |stream| stream.kind != StreamType::Error,
                |filter, rewritten| filter.release(EVERYTHING, rewritten),
                put,
            );
        }
        if self.streams.iter().all(|stream| stream.name != name) {
            self.streams.push(Stream {
                name,
                kind,
                filter: (self.make)(kind),
            });
            self.streams
                .sort_by_key(|stream| stream.kind == StreamType::Error);
        }
    }

    /// Lets the filters of some streams work.
    fn each(
        &mut self,
        which: impl Fn(&Stream<N>) -> bool,
        work: impl Fn(&mut dyn Filter, &mut Vec<u8>),
        put: &mut Put<'_, N>,
    ) {
        for stream in self.streams.iter_mut().filter(|stream| which(stream)) {
            self.rewritten.clear();
            work(&mut *stream.filter, &mut self.rewritten);
            if !self.rewritten.is_empty() {
                put(stream.name, stream.kind, &self.rewritten);
            }
        }
        self.rewritten.shrink_to(limits::SESSION_READ_BYTES);
    }
}

impl<N> fmt::Debug for Rewriter<N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is held back is not for anybody's eyes.
        formatter.debug_struct("Rewriter").finish_non_exhaustive()
    }
}
