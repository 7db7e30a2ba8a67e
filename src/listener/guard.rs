//! Stands between TLS and hyper: lets only canonical HTTP/1.1 requests through, meters HTTP/2 control
//! frames, and ends connections that make no progress.
//!
//! A head that is refused never reaches hyper. In its place hyper gets [`STAND_IN`], a request without
//! meaning, so that the refusal is answered and kept on record like any other. What tells the two apart
//! is no byte that a client could send: it is [`Refused`], which only the guard can set, and behind
//! which it lets no further byte of the client through.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::Unreadable;
use super::flood::FrameMeter;
use super::framing::{Framing, Verdict};
use super::patience::Patient;
use crate::limits;

/// What hyper is given instead of a refused head.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n";

/// Whether the connection's last request was refused, and why. Once set, the next request that hyper
/// makes out is the stand-in: it hands over a head as soon as it is complete, and reads no other before
/// that one is answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused(Arc<OnceLock<Unreadable>>);

impl Refused {
    pub(super) fn why(&self) -> Option<Unreadable> {
        self.0.get().copied()
    }

    fn set(&self, why: Unreadable) {
        // The first refusal stands: nothing is judged behind it.
        self.0.get_or_init(|| why);
    }
}

/// A guarded connection.
#[derive(Debug)]
pub(super) struct Guard<I, P> {
    inner: Patient<I>,
    reading: Reading,
    head_timeout: Duration,
    head_deadline: Option<Pin<Box<Sleep>>>,
    /// After a refusal: until when, and how many more bytes, what the client still sends is dropped.
    farewell: Option<(Pin<Box<Sleep>>, usize)>,
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
    refused: Refused,
    /// Why a body's framing is refused; hyper fails its body with it.
    broken: Option<Unreadable>,
}

impl<I, P> Guard<I, P> {
    pub(super) fn http1(
        inner: I,
        permit: P,
        head_bytes_max: usize,
        head_timeout: Duration,
    ) -> (Self, Refused) {
        let refused = Refused::default();
        let held = Held {
            framing: Framing::new(head_bytes_max),
            bytes: BytesMut::new(),
            released: 0,
            refused: refused.clone(),
            broken: None,
        };
        let mut guard = Self::new(inner, permit, Reading::Http1(held), head_timeout);
        // The first head, and be it of no byte.
        guard.head_deadline = Some(Box::pin(sleep(head_timeout)));
        (guard, refused)
    }

    pub(super) fn http2(inner: I, permit: P, head_timeout: Duration) -> Self {
        let meter = FrameMeter::new(Instant::now().into_std());
        Self::new(inner, permit, Reading::Http2(meter), head_timeout)
    }

    fn new(inner: I, permit: P, reading: Reading, head_timeout: Duration) -> Self {
        Self {
            inner: Patient::new(inner, limits::LISTENER_WRITE_TIMEOUT),
            reading,
            head_timeout,
            head_deadline: None,
            farewell: None,
            _permit: permit,
        }
    }
}

impl Held {
    /// Moves the judgement on as far as the bytes at hand allow.
    fn judge(&mut self) {
        if self.released > 0 || self.is_over() {
            return;
        }
        let in_head = self.framing.is_in_head();
        match self.framing.judge(&self.bytes) {
            Verdict::Release(count) => self.released = count,
            Verdict::Hold => {}
            Verdict::Refuse(why) if in_head => self.refuse_head(why),
            Verdict::Refuse(why) => self.broken = Some(why),
        }
    }

    fn refuse_head(&mut self, why: Unreadable) {
        self.refused.set(why);
        self.bytes.clear();
        self.bytes.extend_from_slice(STAND_IN);
        self.released = STAND_IN.len();
    }

    /// Whether something was refused: the client's bytes no longer count.
    fn is_over(&self) -> bool {
        self.broken.is_some() || self.refused.why().is_some()
    }

    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.released.min(buf.remaining());
        buf.put_slice(self.bytes.get(..count).unwrap_or_default());
        self.bytes.advance(count);
        self.released -= count;
    }

    /// A request has begun to arrive and is not complete.
    fn is_in_head(&self) -> bool {
        !self.bytes.is_empty() && self.framing.is_in_head() && !self.is_over()
    }
}

impl<I: AsyncRead + Unpin, P> Guard<I, P> {
    fn poll_read_http1(
        inner: &mut Patient<I>,
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
            if let Some(why) = held.broken {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
            }
            if held.refused.why().is_some() {
                return Poll::Pending; // hyper closes when the stand-in is answered
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
            let mut space = [MaybeUninit::uninit(); limits::LISTENER_READ_BYTES];
            let mut part = ReadBuf::uninit(&mut space);
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
                if read.is_ready() {
                    this.head_deadline = None;
                    return read;
                }
                if held.is_over() {
                    return Poll::Pending;
                }
                if held.is_in_head() {
                    let timeout = this.head_timeout;
                    this.head_deadline
                        .get_or_insert_with(|| Box::pin(sleep(timeout)));
                }
                let Some(deadline) = &mut this.head_deadline else {
                    return Poll::Pending;
                };
                ready!(deadline.as_mut().poll(cx));
                this.head_deadline = None;
                if !held.is_in_head() {
                    return Poll::Ready(Err(timed_out("no request in time")));
                }
                held.refuse_head(Unreadable::TooSlow);
                held.hand_over(buf);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<I: AsyncRead + Unpin, P> Guard<I, P> {
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (deadline, left) = self.farewell.get_or_insert_with(|| {
            let deadline = Box::pin(sleep(limits::LISTENER_FAREWELL));
            (deadline, limits::LISTENER_FAREWELL_BYTES)
        });
        loop {
            if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut space = [0; limits::LISTENER_READ_BYTES];
            let mut part = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part));
            *left = left.saturating_sub(part.filled().len());
            if read.is_err() || part.filled().is_empty() || *left == 0 {
                return Poll::Ready(());
            }
        }
    }
}

fn timed_out(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<I: AsyncRead + AsyncWrite + Unpin, P: Unpin> AsyncWrite for Guard<I, P> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    /// A client that was refused may still be sending. To close on it at once would make its system
    /// throw our answer away, so what comes is dropped for a moment (RFC 9112 §9.6).
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        match &this.reading {
            Reading::Http1(held) if held.is_over() => this.poll_farewell(cx).map(Ok),
            _ => Poll::Ready(Ok(())),
        }
    }
}
