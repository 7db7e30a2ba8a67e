//! The bodies of one exchange: what we send, and the answer, which holds its connection's lease for as
//! long as it is open.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Lease;
use crate::gateway::body::{Body, BodyError};
use crate::limits::{UPSTREAM_FRAME_BYTES, UPSTREAM_SMALL_FRAME_BYTES};

/// A request body on its way. Trailers a client sent are not forwarded: they could carry headers.
#[derive(Debug)]
pub(super) struct Outgoing {
    inner: Body,
    /// Set once nothing of the body is left to send.
    sent: Arc<AtomicBool>,
}

impl Outgoing {
    pub(super) fn new(inner: Body, sent: Arc<AtomicBool>) -> Self {
        sent.store(inner.is_end_stream(), Ordering::Release);
        Self { inner, sent }
    }

    pub(super) fn into_inner(self) -> Body {
        self.inner
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let data = poll_data(Pin::new(&mut self.inner), cx);
        if matches!(data, Poll::Ready(None)) || self.inner.is_end_stream() {
            self.sent.store(true, Ordering::Release);
        }
        data.map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body. Dropping it early resets the upstream stream, or closes the connection where
/// there are no streams.
#[derive(Debug)]
pub(super) struct Answer {
    inner: Incoming,
    lease: Lease, // after `inner`: the stream is reset before its place is free
    /// What was found behind frames that were joined.
    next: Option<Next>,
}

type Next = Option<Result<Bytes, BodyError>>;

impl Answer {
    pub(super) fn new(inner: Incoming, lease: Lease) -> Self {
        Self {
            inner,
            lease,
            next: None,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let next = match self.next.take() {
            Some(next) => next,
            None => ready!(poll_data(Pin::new(&mut self.inner), cx)),
        };
        if next.is_none() {
            self.lease.finished();
        }
        Poll::Ready(next)
    }

    /// Adds to a small frame those that have come behind it.
    fn join(&mut self, first: Bytes, cx: &mut Context<'_>) -> Bytes {
        let mut joined = BytesMut::new();
        while first.len().max(joined.len()) < UPSTREAM_FRAME_BYTES {
            let Poll::Ready(next) = self.poll_next(cx) else {
                break;
            };
            let data = match &next {
                Some(Ok(data)) => Some(data),
                _ => None,
            };
            let room = UPSTREAM_FRAME_BYTES.saturating_sub(first.len().max(joined.len()));
            if let Some(data) =
                data.filter(|data| data.len() < UPSTREAM_SMALL_FRAME_BYTES.min(room))
            {
                if joined.is_empty() {
                    joined.reserve(4 * (first.len() + data.len()));
                    joined.extend_from_slice(&first);
                }
                joined.extend_from_slice(data);
            } else {
                self.next = Some(next);
                break;
            }
        }
        if joined.is_empty() {
            first
        } else {
            joined.freeze()
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = ready!(self.poll_next(cx));
        // Over HTTP/1.1 hyper hands over one chunk each time it runs, so that there never are any more.
        let joined = match next {
            Some(Ok(data)) if data.len() < UPSTREAM_SMALL_FRAME_BYTES && self.lease.is_http2() => {
                Some(Ok(self.join(data, cx)))
            }
            next => next,
        };
        Poll::Ready(joined).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        match &self.next {
            Some(next) => next.is_none(),
            None => self.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        if let Some(Some(Ok(waiting))) = &self.next {
            let waiting = waiting.len() as u64;
            if let Some(exact) = hint.exact() {
                hint = SizeHint::with_exact(exact + waiting);
            }
        }
        hint
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.lease.finished();
        }
    }
}

/// The next bytes; trailers are passed over.
fn poll_data<B>(mut body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<Next>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BodyError>,
{
    loop {
        match ready!(body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Poll::Ready(Some(Ok(data)));
                }
            }
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        }
    }
}
