//! A place on a connection, held from the request to the end of its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use super::{Idle, Lane, Shared};
use crate::limits;
use crate::upstream::exchange::Outgoing;

/// A lent connection, or a lent stream of one.
#[derive(Debug)]
pub(in crate::upstream) enum Lease {
    /// One stream.
    Http2(Place),
    /// A whole connection.
    Http1(Box<Exclusive>),
    /// The connection of a refused upgrade: closed with its answer, never used again.
    Once(#[expect(dead_code, reason = "held for its drop")] DropGuard),
}

/// A request that was not answered.
#[derive(Debug)]
pub(in crate::upstream) struct NotSent {
    /// Absent when the connection was gone before anything was tried.
    pub(in crate::upstream) error: Option<hyper::Error>,
    /// The request, where nothing of it has left.
    pub(in crate::upstream) request: Option<Request<Outgoing>>,
}

impl NotSent {
    fn gone(request: Request<Outgoing>) -> Self {
        Self {
            error: None,
            request: Some(request),
        }
    }
}

impl Lease {
    pub(in crate::upstream) fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// The flag the request's body sets once it is sent whole.
    pub(in crate::upstream) fn request_sent(&self) -> Arc<AtomicBool> {
        match self {
            Self::Http1(exclusive) => Arc::clone(&exclusive.request_sent),
            Self::Http2(_) | Self::Once(_) => Arc::default(),
        }
    }

    /// Sends the request and waits for the answer's head.
    pub(in crate::upstream) async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, NotSent> {
        let sent = match self {
            Self::Http2(place) => place.0.sender.clone().try_send_request(request).await,
            Self::Http1(exclusive) => match exclusive.idle.as_mut() {
                Some(idle) => idle.sender.try_send_request(request).await,
                None => return Err(NotSent::gone(request)),
            },
            Self::Once(_) => return Err(NotSent::gone(request)),
        };
        sent.map_err(|mut failed| NotSent {
            request: failed.take_message(),
            error: Some(failed.into_error()),
        })
    }

    /// Lends no more streams of this connection.
    pub(in crate::upstream) fn retire(&self) {
        if let Self::Http2(place) = self {
            place.0.retired.store(true, Ordering::Relaxed);
        }
    }

    /// The answer was read to its end.
    pub(in crate::upstream) fn finished(&mut self) {
        if let Self::Http1(exclusive) = self {
            exclusive.answer_read = true;
        }
    }
}

/// One stream of a shared connection.
#[derive(Debug)]
pub(in crate::upstream) struct Place(pub(super) Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.idle_since.lock() = Instant::now();
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An HTTP/1.1 connection in use. It returns to the pool only if both the request and the answer
/// ended cleanly (threats B-43); else it is closed at once, so that nothing left on it can be taken
/// for another caller's answer.
#[derive(Debug)]
pub(in crate::upstream) struct Exclusive {
    idle: Option<Idle>,
    answer_read: bool,
    request_sent: Arc<AtomicBool>,
    lane: Arc<Lane>,
    tasks: TaskTracker,
}

impl Exclusive {
    pub(super) fn new(idle: Idle, lane: Arc<Lane>, tasks: TaskTracker) -> Self {
        Self {
            idle: Some(idle),
            answer_read: false,
            request_sent: Arc::new(AtomicBool::new(false)),
            lane,
            tasks,
        }
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        let Some(mut idle) = self.idle.take() else {
            return;
        };
        if !self.answer_read || !self.request_sent.load(Ordering::Acquire) {
            idle.abort.cancel();
            return;
        }
        let lane = Arc::clone(&self.lane);
        self.tasks.spawn(async move {
            // hyper notices the end of the exchange a moment after the body does.
            let ready = timeout(limits::UPSTREAM_REUSE_TIMEOUT, idle.sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                idle.since = Instant::now();
                lane.give_back(idle);
            } else {
                idle.abort.cancel();
            }
        });
    }
}
