//! The audit log, for people to look into: a page of it, all that matches of it, and what comes.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use crate::audit::commands::{Filter, Request, Seen};
use crate::audit::follow::Follower;
use crate::audit::history::History;
use crate::audit::segments::Segments;
use crate::control::places::{Place, Places, Taken};
use crate::gateway::body::{Body, BodyError};
use crate::gateway::refuse::Refusal;
use crate::identity::Identity;
use crate::limits;

/// The audit log, for people to look into.
pub struct Trail {
    history: Option<History>,
    /// Places for pages.
    readers: Arc<Semaphore>,
    /// Places for what lasts as long as somebody reads.
    streams: Arc<Semaphore>,
    /// Places for what has no end.
    followers: Places,
}

/// Whoever is sent something.
struct Listener {
    tell: mpsc::Sender<Result<Bytes, io::Error>>,
    _place: OwnedSemaphorePermit,
}

/// Whoever follows the log.
struct Following {
    follower: Follower,
    filter: Filter,
    silent_since: Instant,
    _place: Place,
}

impl Following {
    fn is_silent(&self) -> bool {
        self.silent_since.elapsed() >= limits::AUDIT_FOLLOWED_SILENCE_MAX
    }
}

impl Trail {
    /// That of the log of this file; nothing is shown of one that cannot be read again.
    #[must_use]
    pub fn of(file: &Path) -> Self {
        let regular = std::fs::metadata(file).is_ok_and(|found| found.is_file());
        Self {
            history: regular.then(|| History::new(Segments::of(file))),
            readers: Arc::new(Semaphore::new(limits::CONSOLE_LOG_READERS_MAX)),
            streams: Arc::new(Semaphore::new(limits::AUDIT_STREAMS_MAX)),
            followers: Places::new(
                limits::AUDIT_FOLLOWERS_MAX,
                limits::AUDIT_FOLLOWERS_PER_OPERATOR_MAX,
            ),
        }
    }

    /// Reads the log in a thread of its own: it may be long, and the disk slow.
    pub(in crate::control) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(History) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let history = self.history()?;
        let place = admit(&self.readers)?;
        let reading = tokio::task::spawn_blocking(move || {
            let found = look(history);
            drop(place);
            found
        });
        let found = reading
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        found.map_err(|error| unreadable(&error))
    }

    /// The lines of requests that match, the latest first, each once and as far as it has come; as long as somebody
    /// listens.
    pub(super) fn events(&self, filter: Filter) -> Result<Response<Body>, Refusal> {
        let history = self.history()?;
        self.send(NDJSON, move |listener| {
            let mut latest = history.latest(&filter)?;
            loop {
                let enough = latest.read() + limits::AUDIT_STREAM_BYTES;
                while let Some(found) = latest.advance(enough)? {
                    if !listener.hears(found.line.into()) {
                        return Ok(());
                    }
                }
                if latest.rest().is_none() || listener.is_gone() {
                    return Ok(());
                }
            }
        })
    }

    /// Every line that matches, from now on, and an empty one where there is none for long.
    pub(super) async fn follow(
        &self,
        filter: Filter,
        operator: Option<&Identity>,
    ) -> Result<Response<Body>, Refusal> {
        let history = self.history()?;
        let place = self.followers.admit(operator).map_err(|taken| {
            Refusal::too_many(match taken {
                Taken::All => {
                    "too many programs follow the audit log; ask for what there is instead, or try again later"
                }
                Taken::Own => {
                    "you follow the audit log so many times already; end one of them, or ask for what there is instead"
                }
            })
        })?;
        let opened = tokio::task::spawn_blocking(move || history.follow()).await;
        let follower = opened.unwrap_or_else(|error| Err(io::Error::other(error)));
        let following = Following {
            follower: follower.map_err(|error| unreadable(&error))?,
            filter,
            silent_since: Instant::now(),
            _place: place,
        };
        let lines = stream::try_unfold(following, |mut following| async move {
            loop {
                let read = tokio::task::spawn_blocking(move || {
                    let lines = some(&mut following.follower, &following.filter);
                    (following, lines)
                });
                let (back, lines) = read.await?;
                following = back;
                let lines = match lines? {
                    Some(lines) if !lines.is_empty() => lines,
                    _ if following.is_silent() => b"\n".to_vec(),
                    Some(_) => continue,
                    None => {
                        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
                        continue;
                    }
                };
                following.silent_since = Instant::now();
                let frame = Frame::data(Bytes::from(lines));
                return Ok::<_, BodyError>(Some((frame, following)));
            }
        });
        Ok(streamed(StreamBody::new(lines).boxed_unsync(), NDJSON))
    }

    /// What can be read, block by block.
    pub(super) fn answer(
        &self,
        mut packed: impl Read + Send + 'static,
    ) -> Result<Response<Body>, Refusal> {
        self.send(BYTES, move |listener| {
            let mut block = vec![0; BLOCK_BYTES];
            loop {
                let read = packed.read(&mut block)?;
                let read = block.get(..read).unwrap_or_default();
                if read.is_empty() || !listener.hears(Bytes::copy_from_slice(read)) {
                    return Ok(());
                }
            }
        })
    }

    fn history(&self) -> Result<History, Refusal> {
        self.history.clone().ok_or_else(|| {
            Refusal::not_found(
                "the audit log of this gateway goes to where it cannot be read again (audit.file)",
            )
        })
    }

    /// An answer that a thread of its own makes. It breaks off where that fails: what was cut must not look whole.
    fn send(
        &self,
        form: &'static str,
        work: impl FnOnce(&Listener) -> io::Result<()> + Send + 'static,
    ) -> Result<Response<Body>, Refusal> {
        let place = admit(&self.streams)?;
        let (tell, told) = mpsc::channel(limits::AUDIT_STREAM_WAITING_MAX);
        tokio::task::spawn_blocking(move || {
            let listener = Listener {
                tell,
                _place: place,
            };
            if let Err(error) = work(&listener) {
                tracing::warn!(%error, "the audit log cannot be read");
                listener.tell.blocking_send(Err(error)).ok();
            }
        });
        let pieces = stream::unfold(told, |mut told| async move {
            let piece = told.recv().await?;
            Some((piece.map(Frame::data).map_err(BodyError::from), told))
        });
        Ok(streamed(StreamBody::new(pieces).boxed_unsync(), form))
    }
}

impl Listener {
    fn hears(&self, piece: Bytes) -> bool {
        self.tell.blocking_send(Ok(piece)).is_ok()
    }

    fn is_gone(&self) -> bool {
        self.tell.is_closed()
    }
}

const NDJSON: &str = "application/x-ndjson";
const BYTES: &str = "application/octet-stream";
/// Bytes of an answer that are sent at once, and about as many of lines that are followed.
const BLOCK_BYTES: usize = 64 * 1024;
/// How long to wait for the next line.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Some of the lines that came and match; nothing if nothing came.
fn some(follower: &mut Follower, filter: &Filter) -> io::Result<Option<Vec<u8>>> {
    let (mut lines, mut read) = (Vec::new(), 0);
    while lines.len() < BLOCK_BYTES && read < limits::AUDIT_STREAM_BYTES {
        let Some(line) = follower.advance()? else {
            break;
        };
        read += line.len() as u64;
        let request = Seen::read(&line).map(Request::from);
        if request.is_some_and(|request| filter.matches(&request)) {
            lines.extend_from_slice(&line);
        }
    }
    Ok((read > 0).then_some(lines))
}

fn admit(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(places).try_acquire_owned().map_err(|_| {
        Refusal::too_many("others look through the audit log at this moment; try again in a second")
    })
}

fn unreadable(error: &io::Error) -> Refusal {
    tracing::warn!(%error, "the audit log cannot be read");
    Refusal::gateway_failed("the audit log cannot be read; the gateway's log says why")
        .detail(error)
}

fn streamed(body: Body, form: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
impl Trail {
    /// As many readers as there may be.
    pub(in crate::control) fn hold_in_tests(&self) -> OwnedSemaphorePermit {
        let all = u32::try_from(limits::CONSOLE_LOG_READERS_MAX).unwrap();
        Arc::clone(&self.readers)
            .try_acquire_many_owned(all)
            .unwrap()
    }
}
