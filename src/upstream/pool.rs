//! The connections to one cluster.
//!
//! HTTP/2 connections carry at most [`limits::UPSTREAM_STREAMS_MAX`] streams each (the API server
//! allows 100); then a further one is opened. Long-running and short requests have lanes of their
//! own, so that a connection full of watches never delays a `get`. An HTTP/1.1 connection carries one
//! exchange at a time and is used again only after a clean end. Long answers have connections of their own,
//! as long as there are few ([`Direct`]).
//!
//! ```text
//!   dial ──► open ──(streams < max)──► lent ──► ... ──► idle 60 s ──► dropped: hyper says GOAWAY
//!             │                          │
//!             └── GOAWAY, EOF, error, changed CA or address: no new streams; open ones finish
//! ```

mod direct;
mod lease;
mod queue;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::direct::Direct;
pub(super) use self::direct::{NoAnswer, Own, Seat};
use self::lease::{Exclusive, Place};
pub(super) use self::lease::{Lease, NotSent};
use self::queue::{Dialing, Queue, Waiting};
use super::connect::{self, Offer, Stream};
use super::credential::Access;
use super::exchange::Outgoing;
use crate::limits;
use crate::metrics::Load;

/// Which requests share connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Watches, logs, proxied requests: many, small, held for long.
    LongRunning,
    /// Everything that ends by itself.
    Short,
}

/// Why there is no connection to lend.
#[derive(Clone, Debug)]
pub(super) enum NoConnection {
    /// Dialling failed; the text is for the log.
    Unreachable(String),
    /// The bound on connections is reached.
    Full,
}

/// Every pooled connection to one cluster.
#[derive(Debug)]
pub(super) struct Pool {
    long_running: Arc<Lane>,
    short: Arc<Lane>,
    /// Those of long answers, while there are few.
    pub(super) direct: Arc<Direct>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Lane {
    stream_window: u32,
    state: Mutex<State>,
    queue: Queue,
}

#[derive(Debug, Default)]
struct State {
    http2: Vec<Arc<Shared>>,
    http1: Vec<Idle>,
    /// The server chose HTTP/1.1 the last time: every exchange needs a connection, so dial at once.
    speaks_http1: bool,
    last_failure: Option<(Instant, String)>,
    closed: bool,
}

/// What comes of waiting for a connection.
enum Turn<'a> {
    Lent(Lease),
    /// To open one; for others too, unless each exchange needs its own.
    Dial(Option<Dialing<'a>>),
    /// None can be opened, or could be meanwhile.
    Refused(NoConnection),
}

/// An HTTP/2 connection.
#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<Outgoing>,
    /// Streams lent: requests on their way and answers still open.
    open: AtomicUsize,
    /// What the server allows at present.
    allowed: Arc<AtomicUsize>,
    idle_since: Mutex<Instant>,
    digest: [u8; 32],
    /// The server said GOAWAY or is gone: no new streams.
    retired: AtomicBool,
}

impl Shared {
    fn is_gone(&self) -> bool {
        self.sender.is_closed() || self.retired.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        let max = self
            .allowed
            .load(Ordering::Relaxed)
            .min(limits::UPSTREAM_STREAMS_MAX);
        self.open.load(Ordering::Relaxed) < max
    }

    fn is_expired(&self, now: Instant) -> bool {
        self.open.load(Ordering::Relaxed) == 0
            && now.duration_since(*self.idle_since.lock()) >= limits::UPSTREAM_IDLE
    }
}

/// An HTTP/1.1 connection between two exchanges.
#[derive(Debug)]
struct Idle {
    sender: http1::SendRequest<Outgoing>,
    abort: CancellationToken,
    since: Instant,
    digest: [u8; 32],
}

impl Pool {
    pub(super) fn new(tasks: &TaskTracker) -> Self {
        Self {
            long_running: Arc::new(Lane::new(limits::UPSTREAM_LONG_STREAM_WINDOW)),
            short: Arc::new(Lane::new(limits::UPSTREAM_SHORT_STREAM_WINDOW)),
            direct: Arc::default(),
            tasks: tasks.clone(),
        }
    }

    /// Lends a place on a connection, opening one where all are full. Waiting is boxed, so that requests that find a
    /// connection do not carry its size along.
    pub(super) async fn lend(&self, kind: Kind, access: &Access) -> Result<Lease, NoConnection> {
        let lane = match kind {
            Kind::LongRunning => &self.long_running,
            Kind::Short => &self.short,
        };
        match lane.take(&access.connection_digest, &self.tasks) {
            Some(lease) => Ok(lease),
            None => Box::pin(self.lend_later(lane, access)).await,
        }
    }

    async fn lend_later(&self, lane: &Arc<Lane>, access: &Access) -> Result<Lease, NoConnection> {
        let waiting = lane.queue.join();
        let turn = lane.turn(&waiting, &access.connection_digest, &self.tasks);
        // Bounded as a whole: whoever waits behind failing dials fails with them.
        match timeout(limits::UPSTREAM_CONNECT_TIMEOUT, turn).await {
            Ok(Turn::Lent(lease)) => Ok(lease),
            Ok(Turn::Dial(dialing)) => {
                let lease = self.dial(lane, access).await;
                if let (Ok(lease), Some(dialing)) = (&lease, dialing)
                    && lease.is_http2()
                {
                    dialing.opened();
                }
                lease
            }
            Ok(Turn::Refused(why)) => Err(why),
            Err(_) => Err(NoConnection::Unreachable(
                "waited too long for a connection".to_owned(),
            )),
        }
    }

    /// Ends what has been idle for long; in-use connections are left alone.
    pub(super) fn expire(&self, now: Instant) {
        self.direct.expire(now);
        for lane in [&self.long_running, &self.short] {
            let mut state = lane.state.lock();
            state
                .http2
                .retain(|shared| !shared.is_gone() && !shared.is_expired(now));
            state.http1.retain(|idle| {
                !idle.sender.is_closed() && now.duration_since(idle.since) < limits::UPSTREAM_IDLE
            });
        }
    }

    /// Adds what is open: connections of HTTP/2, unused ones of HTTP/1.1, those of one long answer; and streams in use.
    pub(super) fn count(&self, load: &mut Load) {
        let [http2, http1, direct] = &mut load.connections;
        for lane in [&self.long_running, &self.short] {
            let state = lane.state.lock();
            *http2 += state.http2.len();
            *http1 += state.http1.len();
            let open = state.http2.iter().map(|it| it.open.load(Ordering::Relaxed));
            load.streams += open.sum::<usize>();
        }
        let (open, idle) = self.direct.open_and_idle();
        *direct += open + idle;
    }

    /// Keeps no connection from now on; open exchanges finish, further ones are still carried.
    pub(super) fn close(&self) {
        self.direct.close();
        for lane in [&self.long_running, &self.short] {
            let mut state = lane.state.lock();
            state.closed = true;
            state.http2.clear();
            state.http1.clear();
        }
    }

    async fn dial(&self, lane: &Arc<Lane>, access: &Access) -> Result<Lease, NoConnection> {
        let opened = match connect::connect(access, Offer::Any).await {
            Ok(stream) if connect::speaks_http2(&stream) => {
                self.open_http2(lane, stream, access.connection_digest)
                    .await
            }
            Ok(stream) => {
                self.open_http1(lane, stream, access.connection_digest)
                    .await
            }
            Err(error) => Err(error.to_string()),
        };
        let failure = opened.as_ref().err();
        lane.state.lock().last_failure = failure.map(|why| (Instant::now(), why.clone()));
        opened.map_err(NoConnection::Unreachable)
    }

    async fn open_http2(
        &self,
        lane: &Arc<Lane>,
        stream: Stream,
        digest: [u8; 32],
    ) -> Result<Lease, String> {
        let handshake = http2::Builder::new(Spawner(self.tasks.clone()))
            .timer(TokioTimer::new())
            .initial_stream_window_size(lane.stream_window)
            .initial_connection_window_size(limits::UPSTREAM_CONNECTION_WINDOW)
            .max_header_list_size(limits::UPSTREAM_HEADER_BYTES_MAX)
            .max_send_buf_size(limits::UPSTREAM_SEND_BUFFER_BYTES_MAX)
            .keep_alive_interval(limits::PING_INTERVAL)
            .keep_alive_timeout(limits::PING_TIMEOUT)
            .keep_alive_while_idle(true)
            // Boxed: hyper makes the task of each request as large as that of the connection.
            .handshake(TokioIo::new(Box::new(stream)));
        let (sender, connection) = timeout(limits::UPSTREAM_CONNECT_TIMEOUT, handshake)
            .await
            .map_err(|_| "no HTTP/2 handshake in time".to_owned())?
            .map_err(|error| error.to_string())?;
        let allowed = Arc::new(AtomicUsize::new(limits::UPSTREAM_STREAMS_MAX));
        let shared = Arc::new(Shared {
            sender,
            open: AtomicUsize::new(1),
            allowed: Arc::clone(&allowed),
            idle_since: Mutex::new(Instant::now()),
            digest,
            retired: AtomicBool::new(false),
        });
        self.tasks.spawn(drive_http2(connection, allowed));
        let mut state = lane.state.lock();
        state.speaks_http1 = false;
        if !state.closed {
            state.http2.push(Arc::clone(&shared));
        }
        Ok(Lease::Http2(Place(shared)))
    }

    async fn open_http1(
        &self,
        lane: &Arc<Lane>,
        stream: Stream,
        digest: [u8; 32],
    ) -> Result<Lease, String> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(limits::UPSTREAM_HTTP1_BUFFER_BYTES_MAX)
            .max_headers(limits::HEADERS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let abort = CancellationToken::new();
        let aborted = abort.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = aborted.cancelled() => {}
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "an upstream HTTP/1.1 connection ended");
                },
            }
        });
        lane.state.lock().speaks_http1 = true;
        let idle = Idle {
            sender,
            abort,
            since: Instant::now(),
            digest,
        };
        Ok(Lease::Http1(Box::new(lane.lend_whole(idle, &self.tasks))))
    }
}

impl Lane {
    fn new(stream_window: u32) -> Self {
        Self {
            stream_window,
            state: Mutex::default(),
            queue: Queue::default(),
        }
    }

    /// A place on an existing connection. Closed ones and ones to a former address leave the pool
    /// here; their open streams go on.
    fn take(self: &Arc<Self>, digest: &[u8; 32], tasks: &TaskTracker) -> Option<Lease> {
        let mut state = self.state.lock();
        state
            .http2
            .retain(|shared| !shared.is_gone() && shared.digest == *digest);
        // The least loaded one: connections share the work of decryption between them.
        let shared = state
            .http2
            .iter()
            .filter(|shared| shared.has_room())
            .min_by_key(|shared| shared.open.load(Ordering::Relaxed));
        if let Some(shared) = shared {
            shared.open.fetch_add(1, Ordering::Relaxed);
            return Some(Lease::Http2(Place(Arc::clone(shared))));
        }
        while let Some(idle) = state.http1.pop() {
            if idle.digest == *digest && idle.sender.is_ready() {
                return Some(Lease::Http1(Box::new(self.lend_whole(idle, tasks))));
            }
        }
        None
    }

    /// Waits for a place, or for the turn to open a connection.
    async fn turn<'a>(
        self: &'a Arc<Self>,
        waiting: &Waiting<'a>,
        digest: &[u8; 32],
        tasks: &TaskTracker,
    ) -> Turn<'a> {
        let asked = Instant::now();
        loop {
            // Before looking, so that nothing is missed between that and waiting.
            let mut changed = pin!(waiting.changed());
            changed.as_mut().enable();
            if let Some(lease) = self.take(digest, tasks) {
                return Turn::Lent(lease);
            }
            if let Some(turn) = self.turn_without_place(waiting, asked) {
                return turn;
            }
            changed.await;
        }
    }

    fn turn_without_place<'a>(&self, waiting: &Waiting<'a>, asked: Instant) -> Option<Turn<'a>> {
        let state = self.state.lock();
        if state.http2.len() >= limits::UPSTREAM_CONNECTIONS_MAX {
            return Some(Turn::Refused(NoConnection::Full));
        }
        if state.speaks_http1 {
            return Some(Turn::Dial(None));
        }
        // One that could not be opened is no loss for those for whom others are being opened.
        if let Some((when, why)) = &state.last_failure
            && *when >= asked
            && waiting.is_surplus()
        {
            let why = NoConnection::Unreachable(why.clone());
            return Some(Turn::Refused(why));
        }
        let dialing = waiting.dial(state.http2.len())?;
        Some(Turn::Dial(Some(dialing)))
    }

    fn lend_whole(self: &Arc<Self>, idle: Idle, tasks: &TaskTracker) -> Exclusive {
        Exclusive::new(idle, Arc::clone(self), tasks.clone())
    }

    /// Takes an HTTP/1.1 connection back after a clean exchange.
    fn give_back(&self, idle: Idle) {
        let mut state = self.state.lock();
        if !state.closed && state.http1.len() < limits::UPSTREAM_HTTP1_IDLE_MAX {
            state.http1.push(idle);
        }
    }
}

/// Drives a connection and keeps `allowed` at what the server says.
async fn drive_http2(
    mut connection: http2::Connection<TokioIo<Box<Stream>>, Outgoing, Spawner>,
    allowed: Arc<AtomicUsize>,
) {
    // hyper tells the limit only when asked, and the server may tell us at any time.
    let mut pause = Duration::from_millis(5);
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "an upstream HTTP/2 connection ended");
                }
                return;
            }
            () = sleep(pause) => pause = (pause * 2).min(limits::UPSTREAM_SETTINGS_POLL),
        }
        allowed.store(connection.current_max_send_streams(), Ordering::Relaxed);
    }
}

/// Lets hyper run its parts of a connection where drain waits for them.
#[derive(Clone, Debug)]
pub(super) struct Spawner(pub(super) TaskTracker);

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

#[cfg(test)]
impl Pool {
    /// How many streams the first long-running connection allows.
    pub(super) fn allows(&self) -> usize {
        let state = self.long_running.state.lock();
        state
            .http2
            .first()
            .map_or(0, |shared| shared.allowed.load(Ordering::Relaxed))
    }

    pub(super) fn idle_http1(&self) -> usize {
        self.short.state.lock().http1.len()
    }
}
