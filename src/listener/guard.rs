//! Stands between TLS and hyper: lets only canonical HTTP/1.1 requests through, meters HTTP/2 control
//! frames, and ends connections that make no progress.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::flood::FrameMeter;
use super::framing::{Framing, Verdict};
use crate::limits;

/// What hyper is given instead of a refused request: it answers 400 by itself and closes.
const POISON: &[u8] = b"\0\r\n\r\n";

/// A guarded connection.
#[derive(Debug)]
pub(super) struct Guard<I, P> {
    inner: I,
    reading: Reading,
    head_timeout: Duration,
    head_deadline: Option<Pin<Box<Sleep>>>,
    write_deadline: Option<Pin<Box<Sleep>>>,
    /// The connection's places under the caps; given back when the bytes end, also after an upgrade.
    _permit: P,
}

#[derive(Debug)]
enum Reading {
    Http1(Held),
    Http2(FrameMeter),
}

/// Bytes read and not yet handed on.
#[derive(Debug)]
struct Held {
    framing: Framing,
    bytes: BytesMut,
    released: usize,
    refused: bool,
}

impl<I, P> Guard<I, P> {
    pub(super) fn http1(
        inner: I,
        permit: P,
        head_bytes_max: usize,
        head_timeout: Duration,
    ) -> Self {
        let held = Held {
            framing: Framing::new(head_bytes_max),
            bytes: BytesMut::new(),
            released: 0,
            refused: false,
        };
        Self::new(inner, permit, Reading::Http1(held), head_timeout)
    }

    pub(super) fn http2(inner: I, permit: P, head_timeout: Duration) -> Self {
        let meter = FrameMeter::new(Instant::now().into_std());
        Self::new(inner, permit, Reading::Http2(meter), head_timeout)
    }

    fn new(inner: I, permit: P, reading: Reading, head_timeout: Duration) -> Self {
        Self {
            inner,
            reading,
            head_timeout,
            head_deadline: None,
            write_deadline: None,
            _permit: permit,
        }
    }
}

impl Held {
    /// Moves the judgement on as far as the bytes at hand allow.
    fn judge(&mut self) {
        if self.released > 0 || self.refused {
            return;
        }
        match self.framing.judge(&self.bytes) {
            Verdict::Release(count) => self.released = count,
            Verdict::Hold => {}
            Verdict::TooLarge => {
                // hyper finds it too large as well and answers 431; the poison ends it in any case.
                self.released = self.bytes.len();
                self.bytes.extend_from_slice(POISON);
                self.released += POISON.len();
                self.refused = true;
            }
            Verdict::Refuse(why) => {
                tracing::info!(why, "refused an HTTP/1.1 request that is not canonical");
                self.bytes.clear();
                self.bytes.extend_from_slice(POISON);
                self.released = POISON.len();
                self.refused = true;
            }
        }
    }

    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.released.min(buf.remaining());
        buf.put_slice(self.bytes.get(..count).unwrap_or_default());
        self.bytes.advance(count);
        self.released -= count;
    }

    /// A request has begun to arrive and is not complete.
    fn is_in_head(&self) -> bool {
        !self.bytes.is_empty() && self.framing.is_in_head()
    }
}

impl<I: AsyncRead + Unpin, P> Guard<I, P> {
    fn poll_read_http1(
        inner: &mut I,
        held: &mut Held,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            held.judge();
            if held.released > 0 {
                held.hand_over(buf);
                return Poll::Ready(Ok(()));
            }
            if held.refused {
                return Poll::Ready(Ok(())); // the end, as hyper sees it
            }
            let passes = held.framing.passes();
            if passes > 0 && held.bytes.is_empty() {
                if passes == u64::MAX {
                    return Pin::new(&mut *inner).poll_read(cx, buf);
                }
                let most = usize::try_from(passes).unwrap_or(usize::MAX);
                let most = most.min(buf.remaining()).min(limits::LISTENER_READ_BYTES);
                let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
                ready!(Pin::new(&mut *inner).poll_read(cx, &mut part))?;
                let count = part.filled().len();
                buf.advance(count);
                held.framing.passed(count as u64);
                return Poll::Ready(Ok(()));
            }
            let mut space = [0; limits::LISTENER_READ_BYTES];
            let mut part = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut *inner).poll_read(cx, &mut part))?;
            if part.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            held.bytes.extend_from_slice(part.filled());
        }
    }
}

impl<I: AsyncRead + Unpin, P: Unpin> AsyncRead for Guard<I, P> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.reading {
            Reading::Http2(meter) => {
                let before = buf.filled().len();
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                let fresh = buf.filled().get(before..).unwrap_or_default();
                meter.read(fresh, Instant::now().into_std()).map_err(|_| {
                    tracing::info!("closed an HTTP/2 connection that sent too many control frames");
                    io::Error::new(io::ErrorKind::InvalidData, "too many HTTP/2 control frames")
                })?;
                Poll::Ready(Ok(()))
            }
            Reading::Http1(held) => {
                let read = Self::poll_read_http1(&mut this.inner, held, cx, buf);
                if !held.is_in_head() {
                    this.head_deadline = None;
                } else if read.is_pending() {
                    let timeout = this.head_timeout;
                    let deadline = this
                        .head_deadline
                        .get_or_insert_with(|| Box::pin(sleep(timeout)));
                    ready!(deadline.as_mut().poll(cx));
                    return Poll::Ready(Err(timed_out("no complete request head in time")));
                }
                read
            }
        }
    }
}

impl<I: AsyncWrite + Unpin, P: Unpin> Guard<I, P> {
    /// Watches a write: a peer that takes nothing for long is let go.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_deadline = None;
            return written;
        }
        let deadline = self
            .write_deadline
            .get_or_insert_with(|| Box::pin(sleep(limits::LISTENER_WRITE_TIMEOUT)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(timed_out("the peer takes nothing")))
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<I: AsyncWrite + Unpin, P: Unpin> AsyncWrite for Guard<I, P> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.watch(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        this.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(cx);
        this.watch(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.watch(cx, shut)
    }
}
