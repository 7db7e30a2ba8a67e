//! `pods/log`: lines computed from the container's name and the clock, so that the same question
//! gets the same answer and nothing is stored.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt, Stream, StreamExt, stream};
use http::{HeaderValue, Request, Response, StatusCode, header};
use jiff::Timestamp;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::pod::{Container, PodRef};
use super::query::Query;
use super::reply::{self, Fault};
use super::websocket::{self, Socket};
use super::{Body, Node};

mod options;

use options::Options;

/// Annotation of a pod: how many lines its containers' logs hold, for load tests.
pub const LINES_ANNOTATION: &str = "simulated.portcullis.dev/log-lines";
/// Bytes the real server reads, and sends, at a time over WebSocket.
const WEBSOCKET_READ: usize = 2048;
/// Lines of a log whose container has ended.
const FINISHED_LINES: u64 = 20;

/// The log of one container.
#[derive(Debug, Clone)]
pub(super) struct Log {
    started: Timestamp,
    period: Duration,
    kept: u64,
    /// The number of lines there will ever be; `None` while the container runs.
    end: Option<u64>,
    password: String,
    token: String,
    seed: u64,
}

/// One line without its newline.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) time: Timestamp,
    pub(super) text: String,
    pub(super) stderr: bool,
}

impl Log {
    pub(super) fn of(node: &Node, pod: &PodRef, container: &Container) -> Self {
        let settings = node.settings();
        let annotated = pod
            .annotation(LINES_ANNOTATION)
            .and_then(|count| count.parse().ok());
        let kept = annotated.unwrap_or(settings.log_lines);
        let silent = container.stdin
            || container
                .argv
                .first()
                .is_some_and(|word| word.ends_with("sleep"));
        let end = match () {
            () if silent => Some(0),
            () if pod.is_finished() => Some(FINISHED_LINES),
            () => None,
        };
        let value = |key: &str, other: &str| {
            container
                .environment
                .get(key)
                .cloned()
                .unwrap_or_else(|| other.into())
        };
        Self {
            started: container.started,
            period: settings.log_period.max(Duration::from_millis(1)),
            kept,
            end,
            password: value("DB_PASSWORD", "S3cr3t-Pa55w0rd!"),
            token: value("API_TOKEN", "apitok-9f8e7d6c5b4a39281706f5e4d3c2b1a0"),
            seed: pod
                .name
                .bytes()
                .chain(container.name.bytes())
                .fold(7, |sum: u64, byte| {
                    sum.wrapping_mul(31).wrapping_add(byte.into())
                }),
        }
    }

    /// The log of the container's life before its last restart.
    fn previous(mut self) -> Self {
        self.end = Some(FINISHED_LINES);
        let life = self
            .period
            .saturating_mul(u32::try_from(FINISHED_LINES).unwrap_or(u32::MAX));
        self.started = self.started.checked_sub(life).unwrap_or(self.started);
        self
    }

    /// How many lines had been written at `now`.
    pub(super) fn written(&self, now: Timestamp) -> u64 {
        let age = Duration::try_from(now.duration_since(self.started)).unwrap_or_default();
        let count = u64::try_from(age.as_nanos() / self.period.as_nanos()).unwrap_or(u64::MAX);
        self.end.map_or(count, |end| end.min(count))
    }

    fn first_kept(&self, written: u64) -> u64 {
        written.saturating_sub(self.kept)
    }

    /// Line number `number`; the same at any time.
    pub(super) fn line(&self, number: u64) -> Line {
        let nanos = u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX);
        let time = self
            .started
            .checked_add(Duration::from_nanos(nanos.saturating_mul(number)));
        let order = number.wrapping_mul(7919).wrapping_add(self.seed) % 100_000;
        let (text, stderr) = match number % 8 {
            0 => (format!("tick {number} harmless"), false),
            2 => (
                format!(
                    "tick {number} connecting with password={} token={}",
                    self.password, self.token
                ),
                false,
            ),
            3 => (format!("tick {number} warn"), true),
            5 => (
                format!(
                    r#"{{"level":"info","tick":{number},"user":"u{order}@example.com","msg":"login"}}"#
                ),
                false,
            ),
            6 => (
                format!(
                    "tick {number} GET /orders/{order} authorization=\"Bearer {}\" 200",
                    self.token
                ),
                false,
            ),
            _ => (
                format!("tick {number} GET /orders/{order} 200 {}ms", order % 90),
                false,
            ),
        };
        Line {
            time: time.unwrap_or(self.started),
            text,
            stderr,
        }
    }

    /// Waits until line `number` exists; false if it never will.
    pub(super) async fn wait_for(&self, number: u64) -> bool {
        if self.end.is_some_and(|end| number >= end) {
            return false;
        }
        let due = self
            .line(number)
            .time
            .checked_add(self.period)
            .unwrap_or(Timestamp::MAX);
        if let Ok(wait) = Duration::try_from(due.duration_since(Timestamp::now())) {
            tokio::time::sleep(wait).await;
        }
        true
    }
}

/// Answers `GET …/log`, over HTTP or WebSocket.
pub(super) fn answer<B>(
    node: &Node,
    request: Request<B>,
    query: &Query,
    pod: &PodRef,
) -> Result<Response<Body>, Fault> {
    let options = Options::parse(query, &pod.name)?;
    let container = pod.container(query.text("container"))?;
    if pod.phase() == "Pending" {
        let message = format!(
            "container \"{}\" in pod \"{}\" is waiting to start: ContainerCreating",
            container.name, pod.name
        );
        return Err(Fault::bad_request(&message));
    }
    let mut log = Log::of(node, pod, &container);
    if options.previous {
        if container.restarts == 0 {
            let message = format!(
                "previous terminated container \"{}\" in pod \"{}\" not found",
                container.name, pod.name
            );
            return Err(Fault::bad_request(&message));
        }
        log = log.previous();
    }
    let chunks = chunks(log, options, Timestamp::now());
    if websocket::is_upgrade(request.headers()) {
        let accepted = websocket::accept(request, &["binary.k8s.io", "base64.binary.k8s.io"])?;
        let base64 = accepted.protocol == "base64.binary.k8s.io";
        node.tasks().spawn(async move {
            if let Some(socket) = websocket::connect(accepted.upgrade).await {
                send(socket, chunks, base64).await;
            }
        });
        return Ok(accepted.response);
    }
    let mut response = Response::new(reply::stream(chunks));
    *response.status_mut() = StatusCode::OK;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    Ok(response)
}

/// Where a reader of a log stands.
struct Position {
    log: Log,
    options: Options,
    next: u64,
    /// Lines before this one exist already and need no waiting.
    written: u64,
    left: u64,
}

/// The log as chunks: lines that exist are joined, lines that come later are sent one by one.
fn chunks(
    log: Log,
    options: Options,
    now: Timestamp,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let written = log.written(now);
    let mut next = log.first_kept(written);
    if let Some(since) = options.since(now) {
        while next < written && log.line(next).time < since {
            next += 1;
        }
    }
    if let Some(tail) = options.tail {
        next = next.max(written.saturating_sub(tail));
    }
    let left = options.limit.unwrap_or(u64::MAX);
    let position = Position {
        log,
        options,
        next,
        written,
        left,
    };
    stream::unfold(position, |mut position| async move {
        let chunk = position.read().await?;
        Some((chunk, position))
    })
}

impl Position {
    async fn read(&mut self) -> Option<Bytes> {
        let mut text = String::new();
        while self.next < self.written && text.len() < 4 * WEBSOCKET_READ {
            self.push(&mut text);
        }
        if text.is_empty() {
            if !self.options.follow || !self.log.wait_for(self.next).await {
                return None;
            }
            self.push(&mut text);
        }
        let mut bytes = Bytes::from(text);
        // A limit may cut in the middle of a line.
        bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left = self.left.saturating_sub(bytes.len() as u64);
        (!bytes.is_empty()).then_some(bytes)
    }

    fn push(&mut self, text: &mut String) {
        let line = self.log.line(self.next);
        if self.options.timestamps {
            text.extend([format!("{:.9} ", line.time)]);
        }
        text.push_str(&line.text);
        text.push('\n');
        self.next += 1;
    }
}

/// Sends a log over WebSocket: an empty message, then one for each read of the real server.
async fn send(socket: Socket, chunks: impl Stream<Item = Bytes> + Send, base64: bool) {
    let (mut sink, mut incoming) = socket.split();
    let message = |part: &[u8]| {
        if base64 {
            Message::text(STANDARD.encode(part))
        } else {
            Message::binary(part.to_vec())
        }
    };
    let sending = async {
        sink.send(message(b"")).await?;
        let mut pending: VecDeque<Bytes> = VecDeque::new();
        let mut chunks = std::pin::pin!(chunks);
        while let Some(chunk) = chunks.next().await {
            pending.push_back(chunk);
            while let Some(mut chunk) = pending.pop_front() {
                let part = chunk.split_to(chunk.len().min(WEBSOCKET_READ));
                sink.send(message(&part)).await?;
                if !chunk.is_empty() {
                    pending.push_front(chunk);
                }
            }
        }
        sink.send(Message::Close(Some(CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        })))
        .await
    };
    // Reading answers pings and notices that the client has gone.
    let reading = async { while let Some(Ok(_)) = incoming.next().await {} };
    tokio::select! {
        sent = sending => if let Err(error) = sent {
            tracing::debug!(%error, "log client left");
        },
        () = reading => {}
    }
}

#[cfg(test)]
mod tests;
