//! The bodies of one exchange: what we send, and the answer, which holds its connection's lease for as
//! long as it is open.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::Lease;
use crate::gateway::body::{Body, BodyError};

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
        let frame = poll_data(Pin::new(&mut self.inner), cx);
        if matches!(frame, Poll::Ready(None)) || self.inner.is_end_stream() {
            self.sent.store(true, Ordering::Release);
        }
        frame
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
}

impl Answer {
    pub(super) fn new(inner: Incoming, lease: Lease) -> Self {
        Self { inner, lease }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = poll_data(Pin::new(&mut self.inner), cx);
        if matches!(frame, Poll::Ready(None)) {
            self.lease.finished();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.inner.is_end_stream() {
            self.lease.finished();
        }
    }
}

/// The next data frame; trailers are passed over.
fn poll_data<B>(
    mut body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BodyError>,
{
    loop {
        match std::task::ready!(body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) if frame.is_data() => return Poll::Ready(Some(Ok(frame))),
            Some(Ok(_trailers)) => {}
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        }
    }
}
