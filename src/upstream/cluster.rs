//! One cluster: its credential as it is now, its connections, and an exchange with it.

mod directly;
mod reach;

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::LOCATION;
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::reach::Reach;
pub(super) use self::reach::look;
use super::credential::{self, Access, Source};
use super::error::{StartError, UpstreamError};
use super::exchange::{Answer, Outgoing};
use super::headers::{self, Ours};
use super::identity::UpstreamIdentity;
use super::pool::{Kind, Lease, NoConnection, NotSent, Pool};
use super::{Call, ReplayableBody};
use crate::gateway::body::{self, Body};
use crate::limits;
use crate::metrics::{Load, Metrics};

/// A configured cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) name: String,
    source: Source,
    access: ArcSwap<Access>,
    pool: Pool,
    pub(super) tasks: TaskTracker,
    pub(super) reach: Reach,
    refreshing: tokio::sync::Mutex<Option<Instant>>,
}

impl Cluster {
    pub(super) fn open(
        name: &str,
        source: Source,
        tasks: &TaskTracker,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let access = credential::load(&source).map_err(|problems| StartError::Credential {
            cluster: name.to_owned(),
            problems,
        })?;
        Ok(Self {
            name: name.to_owned(),
            source,
            access: ArcSwap::from_pointee(access),
            pool: Pool::new(tasks),
            tasks: tasks.clone(),
            reach: Reach::new(metrics),
            refreshing: tokio::sync::Mutex::default(),
        })
    }

    /// Adds what is open to it.
    pub(super) fn count(&self, load: &mut Load) {
        self.pool.count(load);
    }

    pub(super) fn access(&self) -> Arc<Access> {
        self.access.load_full()
    }

    /// Follows changes of the credential's files and ends idle connections, until shutdown.
    pub(super) async fn maintain(self: Arc<Self>, shutdown: CancellationToken) {
        let mut reread = tokio::time::interval(limits::CREDENTIAL_POLL);
        let mut expire = tokio::time::interval(limits::UPSTREAM_IDLE_POLL);
        reread.tick().await; // the first tick is at once, and `open` has just read
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = reread.tick() => {
                    self.refresh().await;
                }
                _ = expire.tick() => self.pool.expire(Instant::now()),
            }
        }
        self.pool.close();
    }

    /// Reads the credential again; true if there is a new one. What cannot be used is reported, and
    /// the old one stays.
    pub(super) async fn refresh(&self) -> bool {
        let before = self.access().digest;
        let mut last = self.refreshing.lock().await;
        if self.access().digest != before {
            return true; // somebody else did, while we waited
        }
        // A storm of 401 answers does not become a storm of file reads.
        if last.is_some_and(|last| last.elapsed() < limits::CREDENTIAL_REREAD_PAUSE) {
            return false;
        }
        *last = Some(Instant::now());
        let source = self.source.clone();
        let loaded = self
            .tasks
            .spawn_blocking(move || credential::load(&source))
            .await;
        match loaded {
            Ok(Ok(access)) if access.digest == before => false,
            Ok(Ok(access)) => {
                tracing::info!(
                    cluster = self.name,
                    "the cluster's credential changed and is in use"
                );
                self.access.store(Arc::new(access));
                self.reach.renewed();
                true
            }
            Ok(Err(problems)) => {
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                tracing::error!(
                    cluster = self.name,
                    problems = problems.join("; "),
                    "the cluster's credential cannot be read again; the former one stays in use"
                );
                false
            }
            Err(error) => {
                tracing::error!(cluster = self.name, %error, "reading the credential failed");
                false
            }
        }
    }

    /// One request and the head of its answer.
    pub(super) async fn send(
        &self,
        request: Request<Body>,
        identity: &UpstreamIdentity,
        call: &Call,
    ) -> Result<Response<Body>, UpstreamError> {
        let (parts, body) = request.into_parts();
        if call.streams
            && parts.method == Method::GET
            && body.is_end_stream()
            && let Some(response) = Box::pin(self.directly(&parts, identity, call)).await?
        {
            return Ok(response);
        }
        let replay = Replay::of(&parts, &body);
        let mut body = Some(body);
        for _ in 0..limits::UPSTREAM_ATTEMPTS_MAX {
            let Some(sending) = body.take().or_else(|| replay.body()) else {
                return Err(UpstreamError::Unprocessed {
                    cluster: self.name.clone(),
                });
            };
            let access = self.access();
            let kind = if call.long_running {
                Kind::LongRunning
            } else {
                Kind::Short
            };
            let lease = self.pool.lend(kind, &access).await;
            let mut lease = lease.map_err(|refused| self.no_connection(&refused))?;
            let request = Self::request(&parts, sending, (&access, &lease), identity, call)?;
            match self.head(&mut lease, request, kind).await? {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                    drop((response, lease));
                    self.unauthorized().await?;
                }
                Ok(response) => {
                    let answer = |body| Answer::new(body, lease).boxed_unsync();
                    return self.accept(response.map(answer), &access);
                }
                Err(not_sent) => {
                    body = self.recover(not_sent, &lease)?;
                }
            }
        }
        Err(UpstreamError::Unprocessed {
            cluster: self.name.clone(),
        })
    }

    async fn head(
        &self,
        lease: &mut Lease,
        request: Request<Outgoing>,
        kind: Kind,
    ) -> Result<Result<Response<Incoming>, NotSent>, UpstreamError> {
        match kind {
            Kind::LongRunning => Ok(lease.send(request).await),
            Kind::Short => timeout(limits::UPSTREAM_HEAD_TIMEOUT, lease.send(request))
                .await
                .map_err(|_| UpstreamError::Timeout {
                    cluster: self.name.clone(),
                }),
        }
    }

    /// After a 401: goes on only if there is another credential to try.
    pub(super) async fn unauthorized(&self) -> Result<(), UpstreamError> {
        if self.refresh().await {
            return Ok(());
        }
        self.reach.rejected();
        tracing::error!(
            cluster = self.name,
            "the API server does not accept the gateway's credential"
        );
        Err(UpstreamError::Unauthorized {
            cluster: self.name.clone(),
        })
    }

    /// What of a failed request may be sent again: the body itself where nothing has left, nothing
    /// where the API server provably did not process it, and an error in every other case.
    fn recover(&self, failed: NotSent, lease: &Lease) -> Result<Option<Body>, UpstreamError> {
        if let Some(request) = failed.request {
            lease.retire();
            return Ok(Some(request.into_body().into_inner()));
        }
        let fate = failed.error.as_ref().map_or(Fate::Unknown, fate);
        match fate {
            Fate::GoingAway => {
                lease.retire();
                Ok(None)
            }
            Fate::Refused => Ok(None),
            Fate::Unknown => {
                lease.retire();
                let error = failed.error.map(|error| format!("{error:?}"));
                tracing::warn!(
                    cluster = self.name,
                    error,
                    "an exchange with the API server broke"
                );
                Err(UpstreamError::Broken {
                    cluster: self.name.clone(),
                })
            }
        }
    }

    fn no_connection(&self, refused: &NoConnection) -> UpstreamError {
        let cluster = self.name.clone();
        match refused {
            NoConnection::Unreachable(why) => self.unreachable(why),
            NoConnection::Full => UpstreamError::Busy { cluster },
        }
    }

    pub(super) fn unreachable(&self, why: &str) -> UpstreamError {
        self.reach.unreachable();
        tracing::warn!(cluster = self.name, why, "no connection to the API server");
        UpstreamError::Unreachable {
            cluster: self.name.clone(),
        }
    }

    fn request(
        parts: &Parts,
        body: Body,
        (access, lease): (&Access, &Lease),
        identity: &UpstreamIdentity,
        call: &Call,
    ) -> Result<Request<Outgoing>, UpstreamError> {
        let body = Outgoing::new(body, lease.request_sent());
        let mut request = Request::new(body);
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = target(&parts.uri, access, lease.is_http2())?;
        let host = if lease.is_http2() {
            None
        } else {
            Some(host(access)?)
        };
        *request.headers_mut() = with_ours(identity, call, access, |ours| {
            headers::request(&parts.headers, ours, host.as_ref())
        })??;
        Ok(request)
    }

    /// Turns an answer into one that may go on to be masked, or refuses it.
    pub(super) fn accept(
        &self,
        response: Response<Body>,
        access: &Access,
    ) -> Result<Response<Body>, UpstreamError> {
        let refuse = |why| {
            Err(UpstreamError::Unacceptable {
                cluster: self.name.clone(),
                why,
            })
        };
        self.reach.answered();
        let (mut parts, body) = response.into_parts();
        if parts.status.is_informational() {
            return refuse("it switches protocols although nobody asked");
        }
        if let Some(location) = parts.headers.remove(LOCATION) {
            match local_location(&location, access) {
                Some(local) => {
                    parts.headers.insert(LOCATION, local);
                }
                None if parts.status.is_redirection() => {
                    return refuse("it redirects to another server");
                }
                None => {}
            }
        }
        headers::clean_response(&mut parts.headers);
        let mut clean = Response::new(body);
        *clean.status_mut() = parts.status;
        *clean.headers_mut() = parts.headers;
        Ok(clean)
    }
}

/// Whether and how a request's body can be sent a second time.
enum Replay {
    Nothing,
    Bytes(Bytes),
    Impossible,
}

impl Replay {
    fn of(parts: &Parts, body: &Body) -> Self {
        if body.is_end_stream() {
            return Self::Nothing;
        }
        match parts.extensions.get::<ReplayableBody>() {
            Some(ReplayableBody(bytes)) => Self::Bytes(bytes.clone()),
            None => Self::Impossible,
        }
    }

    fn body(&self) -> Option<Body> {
        match self {
            Self::Nothing => Some(body::empty()),
            Self::Bytes(bytes) => Some(body::full(bytes.clone())),
            Self::Impossible => None,
        }
    }
}

/// What became of a request that has left.
enum Fate {
    /// GOAWAY, and the stream is above its last one: not processed.
    GoingAway,
    /// The stream was refused: not processed.
    Refused,
    /// It may have been processed.
    Unknown,
}

fn fate(error: &hyper::Error) -> Fate {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            // With NO_ERROR h2 reports GOAWAY only to streams above the last processed one. With any
            // other reason it reports it to all of them, and nothing can be concluded.
            return match error.reason() {
                Some(h2::Reason::NO_ERROR) if error.is_remote() && error.is_go_away() => {
                    Fate::GoingAway
                }
                Some(h2::Reason::REFUSED_STREAM) if error.is_remote() && error.is_reset() => {
                    Fate::Refused
                }
                _ => Fate::Unknown,
            };
        }
        source = cause.source();
    }
    Fate::Unknown
}

/// Lends the headers that are ours to `build`.
pub(super) fn with_ours<T>(
    identity: &UpstreamIdentity,
    call: &Call,
    access: &Access,
    build: impl FnOnce(&Ours<'_>) -> T,
) -> Result<T, UpstreamError> {
    let audit_id = HeaderValue::from_str(&call.audit_id).map_err(|_| UpstreamError::Unbuildable)?;
    Ok(build(&Ours {
        identity,
        authorization: access.authorization.as_ref(),
        peer: call.peer,
        audit_id: &audit_id,
    }))
}

/// Path and query exactly as checked, behind the cluster's own prefix.
pub(super) fn target(uri: &Uri, access: &Access, absolute: bool) -> Result<Uri, UpstreamError> {
    let unbuildable = || UpstreamError::Unbuildable;
    let asked = uri.path_and_query().ok_or_else(unbuildable)?;
    if !asked.as_str().starts_with('/') {
        return Err(unbuildable());
    }
    let path = if access.server.prefix.is_empty() {
        asked.clone()
    } else {
        PathAndQuery::try_from(format!("{}{asked}", access.server.prefix))
            .map_err(|_| unbuildable())?
    };
    let mut target = http::uri::Parts::default();
    target.path_and_query = Some(path);
    if absolute {
        target.scheme = Some(Scheme::HTTPS);
        target.authority = Some(access.server.authority.clone());
    }
    Uri::from_parts(target).map_err(|_| unbuildable())
}

pub(super) fn host(access: &Access) -> Result<HeaderValue, UpstreamError> {
    HeaderValue::from_str(access.server.authority.as_str()).map_err(|_| UpstreamError::Unbuildable)
}

/// A `Location` as a path on this server, or nothing if it leads elsewhere.
fn local_location(location: &HeaderValue, access: &Access) -> Option<HeaderValue> {
    let text = location.to_str().ok().filter(|text| !text.contains('\\'))?;
    let own = format!("https://{}/", access.server.authority);
    let path = match text.get(..own.len()) {
        Some(start) if start.eq_ignore_ascii_case(&own) => text.get(own.len() - 1..)?,
        _ => text,
    };
    if path.starts_with("//") || path.split(['/', '?', '#']).next()?.contains(':') {
        return None;
    }
    let stripped = match path.strip_prefix(&access.server.prefix) {
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    };
    // The prefix gone, what is left must not have become the name of a server.
    if stripped.starts_with("//") {
        return None;
    }
    HeaderValue::from_str(stripped).ok()
}

#[cfg(test)]
impl Cluster {
    pub(super) fn pool_allows(&self) -> usize {
        self.pool.allows()
    }

    /// Answers on connections of their own, and such connections without one.
    pub(super) fn direct(&self) -> (usize, usize) {
        self.pool.direct.open_and_idle()
    }

    pub(super) fn direct_seat(&self) -> Option<super::pool::Seat> {
        self.pool.direct.seat()
    }

    pub(super) fn idle_http1(&self) -> usize {
        self.pool.idle_http1()
    }
}
