//! Connections that carry one long answer at a time: a list, a watch, a log.
//!
//! hyper hands over an HTTP/1.1 body chunk by chunk, and each chunk then becomes a TLS record and a system
//! call of its own. Here whatever has come is decoded at once, in the task that sends it to the client, and
//! handed on as one frame. Nothing is read while the client takes nothing, so back-pressure is TCP's own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncBufRead as _, AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::gateway::body::BodyError;
use crate::limits;
use crate::upstream::connect::{self, Offer, Stream};
use crate::upstream::credential::Access;
use crate::wire::budget::Budget;
use crate::wire::http1::{self, Head, Http1Error};

/// The connections of their own to one cluster.
#[derive(Debug)]
pub(in crate::upstream) struct Direct {
    /// Answers under way.
    open: AtomicUsize,
    dialing: AtomicUsize,
    /// How many may be opened, counted from `since`.
    dials: Mutex<Budget>,
    since: Instant,
    idle: Mutex<Idle>,
}

impl Default for Direct {
    fn default() -> Self {
        let (burst, per_second) = (
            limits::UPSTREAM_DIRECT_DIALS_BURST,
            limits::UPSTREAM_DIRECT_DIALS_PER_SECOND,
        );
        Self {
            open: AtomicUsize::default(),
            dialing: AtomicUsize::default(),
            dials: Mutex::new(Budget::new(burst, per_second)),
            since: Instant::now(),
            idle: Mutex::default(),
        }
    }
}

#[derive(Debug, Default)]
struct Idle {
    lines: Vec<Line>,
    closed: bool,
}

/// One connection between two answers.
#[derive(Debug)]
struct Line {
    stream: Stream,
    since: Instant,
    digest: [u8; 32],
}

/// The right to one connection of its own.
#[derive(Debug)]
pub(in crate::upstream) struct Seat(Arc<Direct>);

/// A connection on which one request may be sent.
#[derive(Debug)]
pub(in crate::upstream) struct Own {
    stream: Stream,
    digest: [u8; 32],
    seat: Seat,
    /// It has carried an answer before, and the server may have closed it meanwhile.
    pub(in crate::upstream) is_used: bool,
    /// Bytes until it was worth its handshake, and another may be opened in its place; none for one that is used again.
    to_earn: usize,
}

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::upstream) enum NoAnswer {
    /// The connection ended before the answer's first byte.
    Gone(io::Error),
    /// It broke within the head.
    Broken(io::Error),
    /// The head cannot be read.
    Unreadable(Http1Error),
}

impl Direct {
    /// A place for one more answer, unless too many have one.
    pub(in crate::upstream) fn seat(self: &Arc<Self>) -> Option<Seat> {
        let more = |open: usize| (open < limits::UPSTREAM_DIRECT_MAX).then_some(open + 1);
        let taken = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_before| Seat(Arc::clone(self)))
    }

    /// Ends what has been idle for long.
    pub(in crate::upstream) fn expire(&self, now: Instant) {
        let mut idle = self.idle.lock();
        idle.lines
            .retain(|line| now.duration_since(line.since) < limits::UPSTREAM_IDLE);
    }

    /// Keeps no connection from now on.
    pub(in crate::upstream) fn close(&self) {
        let mut idle = self.idle.lock();
        idle.closed = true;
        idle.lines.clear();
    }

    /// A connection to the same server that was left clean. Whatever came on it unasked, and be it its end,
    /// makes it useless: it could be taken for an answer (threats B-43).
    fn take(&self, digest: &[u8; 32]) -> Option<Stream> {
        let mut idle = self.idle.lock();
        while let Some(mut line) = idle.lines.pop() {
            let mut context = Context::from_waker(Waker::noop());
            let came = Pin::new(&mut line.stream).poll_fill_buf(&mut context);
            if line.digest == *digest && came.is_pending() {
                return Some(line.stream);
            }
        }
        None
    }

    fn give_back(&self, stream: Stream, digest: [u8; 32]) {
        let mut idle = self.idle.lock();
        if !idle.closed && idle.lines.len() < limits::UPSTREAM_DIRECT_IDLE_MAX {
            let since = Instant::now();
            idle.lines.push(Line {
                stream,
                since,
                digest,
            });
        }
    }

    /// Connections with an answer under way, and without one.
    pub(in crate::upstream) fn open_and_idle(&self) -> (usize, usize) {
        let idle = self.idle.lock().lines.len();
        (self.open.load(Ordering::Relaxed), idle)
    }
}

impl Seat {
    /// A connection: one that is there, or a new one. `None` when so many are being opened, or were lately, that sharing one
    /// is faster.
    pub(in crate::upstream) async fn connection(self, access: &Access) -> io::Result<Option<Own>> {
        let digest = access.connection_digest;
        if let Some(stream) = self.0.take(&digest) {
            return Ok(Some(Own {
                stream,
                digest,
                seat: self,
                is_used: true,
                to_earn: 0,
            }));
        }
        let Some(dialing) = Dialing::begin(&self.0) else {
            return Ok(None);
        };
        let stream = connect::connect(access, Offer::Http1).await?;
        drop(dialing);
        Ok(Some(Own {
            stream,
            digest,
            seat: self,
            is_used: false,
            to_earn: limits::UPSTREAM_DIRECT_DIAL_BYTES,
        }))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection that is being opened.
struct Dialing<'a>(&'a AtomicUsize);

impl<'a> Dialing<'a> {
    fn begin(direct: &'a Direct) -> Option<Self> {
        let dialing = &direct.dialing;
        let before = dialing.fetch_add(1, Ordering::Relaxed);
        let this = Self(dialing);
        let may = before < limits::UPSTREAM_DIRECT_DIALS_MAX
            && direct.dials.lock().take(direct.since.elapsed());
        may.then_some(this)
    }
}

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Own {
    /// Sends a `GET` without a body and reads the head of its answer.
    pub(in crate::upstream) async fn ask<B>(
        mut self,
        request: &Request<B>,
    ) -> Result<Response<OwnBody>, NoAnswer> {
        let head = request_head(request);
        let sent = async {
            self.stream.write_all(&head).await?;
            self.stream.flush().await
        };
        sent.await.map_err(NoAnswer::Gone)?;
        for _ in 0..limits::UPSTREAM_INTERIM_ANSWERS_MAX {
            let head = self.head().await?;
            if head.status.is_informational()
                && head.status != http::StatusCode::SWITCHING_PROTOCOLS
            {
                continue;
            }
            let mut response = Response::new(());
            *response.status_mut() = head.status;
            *response.headers_mut() = head.headers;
            let body = OwnBody {
                left: head.body,
                keeps: head.keeps,
                own: Some(self),
                failed: None,
            };
            return Ok(response.map(|()| body.begun()));
        }
        Err(NoAnswer::Unreadable(Http1Error::Head))
    }

    /// Counts what it carries until it was worth its handshake.
    fn carried(&mut self, bytes: usize) {
        if self.to_earn > 0 {
            self.to_earn = self.to_earn.saturating_sub(bytes);
            if self.to_earn == 0 {
                self.seat.0.dials.lock().give_back();
            }
        }
    }

    /// Reads a head, and not a byte more.
    async fn head(&mut self) -> Result<Head, NoAnswer> {
        let mut held = Vec::new();
        loop {
            let broken = if held.is_empty() {
                NoAnswer::Gone
            } else {
                NoAnswer::Broken
            };
            let came = match self.stream.fill_buf().await {
                Ok([]) => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(came) => came,
                Err(error) => return Err(broken(error)),
            };
            let before = held.len();
            held.extend_from_slice(came);
            let came = came.len();
            match Head::read(&held).map_err(NoAnswer::Unreadable)? {
                Some((head, length)) => {
                    Pin::new(&mut self.stream).consume(length.saturating_sub(before));
                    return Ok(head);
                }
                None => Pin::new(&mut self.stream).consume(came),
            }
        }
    }
}

/// The request as it is sent. Every part of it was checked when it was built: no value can hold a line end.
fn request_head<B>(request: &Request<B>) -> Vec<u8> {
    let mut head = Vec::with_capacity(1024);
    let target = request.uri().path_and_query();
    head.extend_from_slice(request.method().as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(target.map_or("/", |target| target.as_str()).as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in request.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The body of an answer on its own connection, which closes when the body is dropped before its end.
#[derive(Debug)]
pub(in crate::upstream) struct OwnBody {
    left: http1::Body,
    keeps: bool,
    /// Gone when the body has ended.
    own: Option<Own>,
    /// Told after what came before it.
    failed: Option<BodyError>,
}

impl OwnBody {
    fn begun(mut self) -> Self {
        self.settle();
        self
    }

    /// After the last byte the connection is free for another request, if nothing else came behind it.
    fn settle(&mut self) {
        if !self.left.is_done() {
            return;
        }
        let Some(own) = self.own.take() else { return };
        if self.keeps {
            // What came too much is found, and refused, when the connection is taken.
            own.seat.0.give_back(own.stream, own.digest);
        }
    }

    /// Appends everything that is there, up to a frame's worth. Ready when there is something, or never will be.
    fn poll_content(
        &mut self,
        content: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), BodyError>> {
        while let Some(own) = &mut self.own {
            let room = limits::UPSTREAM_FRAME_BYTES.saturating_sub(content.len());
            if room == 0 {
                break;
            }
            let waiting = own.stream.get_ref().0.held();
            let came = match Pin::new(&mut own.stream).poll_fill_buf(cx) {
                Poll::Ready(came) => came?,
                Poll::Pending if content.is_empty() => return Poll::Pending,
                Poll::Pending => break, // nothing waits for more
            };
            if came.is_empty() {
                self.own = None;
                self.left.end()?;
                break;
            }
            if content.is_empty() {
                content.reserve((came.len() + waiting).min(room));
            }
            let came = came.get(..room).unwrap_or(came);
            let count = self.left.read(came, content)?;
            Pin::new(&mut own.stream).consume(count);
            self.settle();
        }
        Poll::Ready(Ok(()))
    }
}

impl http_body::Body for OwnBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut content = BytesMut::new();
        if self.failed.is_none() {
            let outcome = ready!(self.poll_content(&mut content, cx));
            self.failed = outcome.err();
        }
        if !content.is_empty() {
            if let Some(own) = &mut self.own {
                own.carried(content.len());
            }
            return Poll::Ready(Some(Ok(Frame::data(content.freeze()))));
        }
        self.own = self.own.take().filter(|_| self.failed.is_none());
        Poll::Ready(self.failed.take().map(Err))
    }

    fn is_end_stream(&self) -> bool {
        self.own.is_none() && self.left.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .left()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
