//! One connection, from its handshake to its end.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::Place;
use super::gather::{Flusher, Gather};
use super::guard::{Guard, Refused};
use super::{Arrival, Peer, Protocol, Settings};
use crate::gateway::body::{Body, BodyError};
use crate::limits;

/// What every connection of a listener shares.
pub(super) struct Shared<H> {
    pub(super) settings: Settings,
    pub(super) handler: H,
    pub(super) tls: TlsAcceptor,
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
}

/// Carries a connection to its end.
pub(super) async fn run<H, F>(
    shared: Arc<Shared<H>>,
    tcp: TcpStream,
    address: SocketAddr,
    place: Place,
) where
    H: Fn(Arrival, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let handshake = timeout(shared.settings.handshake_timeout, shared.tls.accept(tcp));
    let stream = tokio::select! {
        biased;
        () = shared.shutdown.cancelled() => return,
        stream = handshake => match stream {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "a TLS handshake failed");
                return;
            }
            Err(_) => return,
        },
    };
    // No ALPN is HTTP/1.1: kubectl's upgrades offer none.
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    };
    let peer = Peer { address, protocol };
    match protocol {
        Protocol::Http1 => http1(&shared, stream, peer, place).await,
        Protocol::Http2 => http2(&shared, stream, peer, place).await,
    }
}

async fn http1<H, F>(shared: &Shared<H>, stream: TlsStream<TcpStream>, peer: Peer, place: Place)
where
    H: Fn(Arrival, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let head_bytes = usize::try_from(shared.settings.header_bytes_max).unwrap_or(usize::MAX);
    let head_timeout = shared.settings.header_timeout;
    let (guard, refused) = Guard::http1(stream, place, head_bytes, head_timeout);
    let activity = Arc::new(Activity::new());
    let service = service(shared, peer, Arc::clone(&activity), refused);
    let connection = http1::Builder::new()
        // A head reaches hyper whole: the guard waits for it, and says why when it ends that; `End` is for idle connections.
        .header_read_timeout(None)
        .max_buf_size(head_bytes.max(limits::HTTP1_BUFFER_BYTES_MIN))
        .max_headers(limits::HEADERS_MAX)
        .serve_connection(TokioIo::new(guard), service_fn(service))
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut end = End::new(shared, &activity, None); // the guard waits for the first request
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return log(peer, ended),
            next = end.next() => match next {
                Next::Finish => connection.as_mut().graceful_shutdown(),
                Next::Abort => return,
            },
        }
    }
}

async fn http2<H, F>(shared: &Shared<H>, stream: TlsStream<TcpStream>, peer: Peer, place: Place)
where
    H: Fn(Arrival, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let guard = Guard::http2(stream, place, shared.settings.header_timeout);
    let (io, flusher) = Gather::new(guard);
    let activity = Arc::new(Activity::new());
    let service = service(shared, peer, Arc::clone(&activity), Refused::default());
    let connection = http2::Builder::new(Spawner(shared.tasks.clone()))
        .timer(TokioTimer::new())
        .max_concurrent_streams(shared.settings.concurrent_streams_max)
        .max_header_list_size(shared.settings.header_bytes_max)
        .max_pending_accept_reset_streams(limits::LISTENER_PENDING_RESETS_MAX)
        .max_local_error_reset_streams(limits::LISTENER_LOCAL_RESETS_MAX)
        .initial_stream_window_size(limits::LISTENER_STREAM_WINDOW)
        .initial_connection_window_size(limits::LISTENER_CONNECTION_WINDOW)
        .max_send_buf_size(limits::LISTENER_SEND_BUFFER_BYTES_MAX)
        .keep_alive_interval(limits::PING_INTERVAL)
        .keep_alive_timeout(limits::PING_TIMEOUT)
        .serve_connection(TokioIo::new(io), service_fn(service));
    let mut connection = pin!(connection);
    let first_request_by = Instant::now() + shared.settings.header_timeout;
    let mut end = End::new(shared, &activity, Some(first_request_by));
    loop {
        tokio::select! {
            biased;
            ended = poll_fn(|cx| poll_and_flush(connection.as_mut(), &flusher, cx)) => {
                return log(peer, ended);
            }
            next = end.next() => match next {
                Next::Finish => connection.as_mut().graceful_shutdown(),
                Next::Abort => return,
            },
        }
    }
}

/// Lets a connection go on as far as it can, and what it said leave.
fn poll_and_flush<C, I>(
    connection: Pin<&mut C>,
    flusher: &Flusher<I>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), BodyError>>
where
    C: Future<Output = Result<(), hyper::Error>>,
    I: AsyncWrite + Unpin,
{
    if let Poll::Ready(ended) = connection.poll(cx) {
        return Poll::Ready(ended.map_err(Into::into));
    }
    match flusher.poll_flush(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
        _ => Poll::Pending,
    }
}

fn log(peer: Peer, ended: Result<(), impl std::fmt::Debug>) {
    if let Err(error) = ended {
        tracing::debug!(address = %peer.address, error = ?error, "a connection ended");
    }
}

/// A request being answered.
type Answering = Pin<Box<dyn Future<Output = Result<Response<Answer>, BodyError>> + Send>>;

/// Asks the handler, and follows the answer's body to its end.
fn service<H, F>(
    shared: &Shared<H>,
    peer: Peer,
    activity: Arc<Activity>,
    refused: Refused,
) -> impl Fn(Request<Incoming>) -> Answering + use<H, F>
where
    H: Fn(Arrival, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let handler = shared.handler.clone();
    move |request| {
        let open = Activity::open(&activity);
        let upgrade =
            request.version() != Version::HTTP_2 && request.headers().contains_key(UPGRADE);
        let arrival = match refused.why() {
            Some(why) => Arrival::Unreadable(why),
            None => Arrival::Request(request),
        };
        let answer = handler(arrival, peer);
        Box::pin(answer.map(move |mut response| {
            // After a request for an upgrade the guard no longer reads HTTP: what a client has sent
            // behind a refused one is dropped with the connection.
            if upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|inner| Answer { inner, _open: open }))
        }))
    }
}

/// What happens on a connection.
#[derive(Debug)]
struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    open: usize,
    any: bool,
    since: Instant,
}

impl Activity {
    fn new() -> Self {
        Self(Mutex::new(State {
            open: 0,
            any: false,
            since: Instant::now(),
        }))
    }

    fn open(this: &Arc<Self>) -> Open {
        let mut state = this.0.lock();
        state.open += 1;
        state.any = true;
        Open(Arc::clone(this))
    }

    /// Since when nothing has been open, and whether there ever was anything.
    fn idle_since(&self) -> Option<(Instant, bool)> {
        let state = self.0.lock();
        (state.open == 0).then_some((state.since, state.any))
    }
}

/// A request under way; ends with its answer's body.
#[derive(Debug)]
struct Open(Arc<Activity>);

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.open -= 1;
        state.since = Instant::now();
    }
}

/// When a connection should end although the client has not ended it.
struct End<'a> {
    shutdown: &'a CancellationToken,
    activity: &'a Activity,
    first_request_by: Option<Instant>,
    drain: std::time::Duration,
    finishing: Option<Instant>,
}

enum Next {
    /// No new requests; open ones may finish.
    Finish,
    Abort,
}

impl<'a> End<'a> {
    fn new<H>(
        shared: &'a Shared<H>,
        activity: &'a Activity,
        first_request_by: Option<Instant>,
    ) -> Self {
        Self {
            shutdown: &shared.shutdown,
            activity,
            first_request_by,
            drain: shared.settings.drain_timeout,
            finishing: None,
        }
    }

    async fn next(&mut self) -> Next {
        if let Some(deadline) = self.finishing {
            sleep_until(deadline).await;
            return Next::Abort;
        }
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => {}
            abort = idle_for_long(self.activity, self.first_request_by) => if abort {
                return Next::Abort;
            },
        }
        self.finishing = Some(Instant::now() + self.drain);
        Next::Finish
    }
}

/// Returns when the connection is not used: true if there was never a request.
async fn idle_for_long(activity: &Activity, first_request_by: Option<Instant>) -> bool {
    if let Some(first_request_by) = first_request_by {
        sleep_until(first_request_by).await;
    }
    loop {
        match activity.idle_since() {
            Some((_, false)) if first_request_by.is_some() => return true,
            Some((since, _)) if since.elapsed() >= limits::LISTENER_IDLE => return false,
            Some((since, _)) => sleep_until(since + limits::LISTENER_IDLE).await,
            None => sleep(limits::LISTENER_IDLE).await,
        }
    }
}

/// An answer's body, which keeps its connection from being idle.
#[derive(Debug)]
struct Answer {
    inner: Body,
    _open: Open,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Lets hyper run streams where drain waits for them.
#[derive(Clone, Debug)]
struct Spawner(TaskTracker);

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
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn d01_a_connection_is_kept_idle_for_its_time_and_never_while_a_request_is_open() {
        let activity = Arc::new(Activity::new());
        let open = Activity::open(&activity);
        let begun = Instant::now();
        let busy = timeout(limits::LISTENER_IDLE * 10, idle_for_long(&activity, None));
        assert!(busy.await.is_err(), "a request is open");
        assert_eq!(begun.elapsed(), limits::LISTENER_IDLE * 10);
        drop(open);
        let idle = Instant::now();
        assert!(
            !idle_for_long(&activity, None).await,
            "open ones may finish"
        );
        assert!(idle.elapsed() >= limits::LISTENER_IDLE);
        assert!(idle.elapsed() < limits::LISTENER_IDLE + std::time::Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn d01_a_first_request_has_its_time() {
        let activity = Arc::new(Activity::new());
        let by = Instant::now() + limits::LISTENER_HEADER_TIMEOUT_DEFAULT;
        assert!(idle_for_long(&activity, Some(by)).await, "closed at once");
        assert!(Instant::now() >= by && Instant::now() < by + limits::LISTENER_IDLE);
    }
}
