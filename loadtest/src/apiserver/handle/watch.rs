//! Watches: initial events, history, bookmarks; over HTTP and over WebSocket.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use http::header::{
    CONTENT_TYPE, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use portcullis::gateway::body::{Body, empty};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Call;
use super::read::Filter;
use crate::apiserver::respond::negotiate::{Format, Media, View, negotiate};
use crate::apiserver::respond::table::{Include, partial, table};
use crate::apiserver::respond::{json_text, proto_bytes};
use crate::apiserver::status::ApiError;
use crate::apiserver::store::{Batch, Change, Event, Object};
use crate::apiserver::types::proto;

/// Events taken from the history at a time.
const BATCH: usize = 64;
/// How long a watch lasts that does not say: the server's minimum request timeout.
const MAX_SECONDS: u64 = 1800;

/// A running watch.
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent facts, each read where it matters"
)]
struct Watch {
    call: Call,
    key: String,
    filter: Filter,
    format: Format,
    include: Include,
    /// Events up to this version were delivered.
    version: u64,
    pending: VecDeque<Bytes>,
    columns_sent: bool,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    changed: tokio::sync::watch::Receiver<u64>,
    finished: bool,
    /// Protobuf events carry their length, except over WebSocket.
    framed: bool,
}

/// Starts a watch over HTTP, or over WebSocket when the client asks to upgrade.
pub(super) fn start(call: &Call, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let websocket = request
        .headers()
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let mut watch = Watch::new(call)?;
    if websocket {
        watch.framed = false;
        return Ok(upgrade(watch, request));
    }
    let content_type = match watch.format.media {
        Media::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Media::Json | Media::Yaml => "application/json",
    };
    let frames = stream::unfold(watch, |mut watch| async move {
        let bytes = watch.next().await?;
        Some((Ok(Frame::data(bytes)), watch))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

impl Watch {
    fn new(call: &Call) -> Result<Self, ApiError> {
        let query = &call.info.query;
        let format = negotiate(&call.headers, query, call.offer(true))?;
        let mut filter_query = Filter::from_query(&call.resource, query)?;
        if !call.info.name.is_empty() {
            // The legacy path form of a single object.
            filter_query = filter_query.only(&call.info.name);
        }
        let initial = query
            .first("sendInitialEvents")
            .map(|_| query.flag("sendInitialEvents"));
        if initial.is_some() != (query.text("resourceVersionMatch") == "NotOlderThan") {
            let why = "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, and only then is it allowed for watch";
            return Err(ApiError::new(
                422,
                "Invalid",
                format!("ListOptions.meta.k8s.io \"\" is invalid: {why}"),
            ));
        }
        let seconds = query
            .text("timeoutSeconds")
            .parse::<u64>()
            .ok()
            .filter(|seconds| *seconds > 0);
        let key = call.resource.key();
        let now = Instant::now();
        let mut watch = Self {
            changed: call.state.store.subscribe(&key),
            next_bookmark: now + call.state.settings.bookmark_interval,
            deadline: now + Duration::from_secs(seconds.unwrap_or(MAX_SECONDS)),
            include: Include::from_query(query),
            version: query.text("resourceVersion").parse().unwrap_or(0),
            bookmarks: query.flag("allowWatchBookmarks"),
            pending: VecDeque::new(),
            columns_sent: false,
            finished: false,
            framed: true,
            filter: filter_query,
            format,
            key,
            call: call.share(),
        };
        let from_now = watch.version == 0 && initial != Some(false);
        if from_now || initial == Some(true) {
            watch.initial_events(initial == Some(true));
        } else if watch.version == 0 {
            watch.version = watch.call.state.store.version();
        }
        Ok(watch)
    }

    /// The state as ADDED events, and for a `WatchList` the bookmark that ends them.
    fn initial_events(&mut self, list: bool) {
        let (version, objects) = self.call.state.store.list(&self.key, self.call.namespace());
        self.version = version;
        for object in objects {
            if self.filter.matches(&object.value) {
                self.push("ADDED", &object);
            }
        }
        if list && self.bookmarks {
            self.push_bookmark(true);
        }
    }

    /// The next bytes; `None` when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.pending.pop_front() {
                return Some(bytes);
            }
            if self.finished {
                return None;
            }
            self.changed.mark_unchanged();
            match self
                .call
                .state
                .store
                .events_after(&self.key, self.version, BATCH)
            {
                Batch::Events(events) if events.is_empty() => self.wait().await,
                Batch::Events(events) => {
                    for event in events {
                        self.version = event.version;
                        self.deliver(&event);
                    }
                }
                Batch::TooOld(oldest) => {
                    let error = ApiError::new(
                        410,
                        "Expired",
                        format!("too old resource version: {} ({oldest})", self.version),
                    );
                    self.push_error(&error);
                    self.finished = true;
                }
            }
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            changed = self.changed.changed() => self.finished |= changed.is_err(),
            () = sleep_until(self.deadline) => {
                if self.bookmarks {
                    self.push_bookmark(false);
                }
                self.finished = true;
            }
            () = sleep_until(self.next_bookmark), if self.bookmarks => {
                self.next_bookmark = Instant::now() + self.call.state.settings.bookmark_interval;
                self.push_bookmark(false);
            }
            () = self.call.state.shutdown.cancelled() => self.finished = true,
        }
    }

    /// What an event means for this watch's selectors.
    fn deliver(&mut self, event: &Event) {
        let namespace = self.call.namespace();
        let place = event
            .object
            .value
            .pointer("/metadata/namespace")
            .and_then(Value::as_str);
        if !namespace.is_empty() && place != Some(namespace) {
            return;
        }
        let now = event.change != Change::Deleted && self.filter.matches(&event.object.value);
        let before = event
            .previous
            .as_ref()
            .is_some_and(|object| self.filter.matches(&object.value));
        match (before, now, event.change) {
            (false, true, _) => self.push("ADDED", &event.object),
            (true, true, _) => self.push("MODIFIED", &event.object),
            (true, false, Change::Deleted) => self.push("DELETED", &event.object),
            (true, false, _) => {
                // It left the selection: the last state that matched, with the version of now.
                if let Some(previous) = &event.previous {
                    let mut value = previous.value.clone();
                    if let Some(version) = value.pointer_mut("/metadata/resourceVersion") {
                        *version = json!(event.version.to_string());
                    }
                    self.push("DELETED", &Arc::new(Object::new(value, event.version)));
                }
            }
            (false, false, _) => {}
        }
    }

    fn push(&mut self, kind: &str, object: &Arc<Object>) {
        if self.format.view == View::Object && self.format.media == Media::Json {
            let text = object.json();
            let mut line = Vec::with_capacity(text.len() + 40);
            line.extend_from_slice(format!("{{\"type\":\"{kind}\",\"object\":").as_bytes());
            line.extend_from_slice(text);
            line.extend_from_slice(b"}\n");
            self.pending.push_back(line.into());
            return;
        }
        self.push_value(kind, &object.value);
    }

    fn push_value(&mut self, kind: &str, value: &Value) {
        let (view, message) = match &self.format.view {
            View::Object => (value.clone(), self.call.resource.message),
            View::Partial(version) => (partial(value, version), Some("ObjectMeta")),
            View::Table(version) => {
                let version_of = value
                    .pointer("/metadata/resourceVersion")
                    .cloned()
                    .unwrap_or_default();
                let style = (
                    self.include,
                    !std::mem::replace(&mut self.columns_sent, true),
                );
                let rows = std::iter::once(value);
                let metadata = json!({"resourceVersion": version_of});
                (
                    table(
                        &self.call.resource,
                        version,
                        &metadata,
                        rows,
                        style,
                        Timestamp::now(),
                    ),
                    None,
                )
            }
        };
        self.push_encoded(kind, &view, message);
    }

    fn push_encoded(&mut self, kind: &str, view: &Value, message: Option<&str>) {
        let encoded = (self.format.media == Media::Protobuf)
            .then(|| proto_bytes(message, view))
            .flatten();
        let bytes = match encoded {
            Some(object) => {
                let event = proto::watch_event(kind, &object);
                let mut framed = Vec::with_capacity(event.len() + 4);
                if self.framed {
                    framed.extend_from_slice(
                        &u32::try_from(event.len()).unwrap_or(u32::MAX).to_be_bytes(),
                    );
                }
                framed.extend_from_slice(&event);
                framed
            }
            None => {
                format!("{{\"type\":\"{kind}\",\"object\":{}}}\n", json_text(view)).into_bytes()
            }
        };
        self.pending.push_back(bytes.into());
    }

    fn push_bookmark(&mut self, initial_end: bool) {
        let resource = &self.call.resource;
        let version = self.version.to_string();
        let metadata = if initial_end {
            json!({"resourceVersion": version, "annotations": {"k8s.io/initial-events-end": "true"}})
        } else {
            json!({"resourceVersion": version})
        };
        let bookmark = json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata});
        self.push_value("BOOKMARK", &bookmark);
    }

    /// Errors are never turned into tables.
    fn push_error(&mut self, error: &ApiError) {
        self.push_encoded("ERROR", &error.status(), Some("Status"));
    }
}

/// Go's WebSocket server wants an `Origin` and at most one subprotocol.
fn upgrade(watch: Watch, mut request: Request<Incoming>) -> Response<Body> {
    let refuse = |status: StatusCode| {
        let mut response = Response::new(empty());
        *response.status_mut() = status;
        response
    };
    let headers = request.headers();
    if !headers.contains_key(ORIGIN) {
        return refuse(StatusCode::FORBIDDEN);
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY).cloned() else {
        return refuse(StatusCode::BAD_REQUEST);
    };
    let Some(protocol) = subprotocol(headers) else {
        return refuse(StatusCode::BAD_REQUEST);
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let tasks = watch.call.state.tasks.clone();
    tasks.spawn(async move {
        match upgraded.await {
            Ok(io) => relay(watch, TokioIo::new(io)).await,
            Err(error) => tracing::debug!(%error, "the watch was not upgraded"),
        }
    });
    let mut response = refuse(StatusCode::SWITCHING_PROTOCOLS);
    let fields = response.headers_mut();
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert(
        http::header::CONNECTION,
        HeaderValue::from_static("Upgrade"),
    );
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        fields.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        fields.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

/// The one offered subprotocol, if any; `None` when there are several.
#[expect(
    clippy::option_option,
    reason = "none offered and too many offered are different answers"
)]
fn subprotocol(headers: &HeaderMap) -> Option<Option<HeaderValue>> {
    let mut values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    match (values.next(), values.next()) {
        (None, _) => Some(None),
        (Some(value), None) if !value.as_bytes().contains(&b',') => Some(Some(value.clone())),
        _ => None,
    }
}

async fn relay<S>(mut watch: Watch, io: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let binary = watch.format.media == Media::Protobuf;
    let (mut sink, mut source) = WebSocketStream::from_raw_socket(io, Role::Server, None)
        .await
        .split();
    loop {
        let bytes = tokio::select! {
            bytes = watch.next() => bytes,
            message = source.next() => match message {
                // Messages of the client are ignored; its close ends the watch.
                Some(Ok(message)) if !message.is_close() => continue,
                _ => break,
            },
        };
        let Some(bytes) = bytes else { break };
        let message = if binary {
            Message::Binary(bytes)
        } else {
            Message::text(String::from_utf8_lossy(&bytes).into_owned())
        };
        if sink.send(message).await.is_err() {
            break;
        }
    }
    if let Err(error) = sink.close().await {
        tracing::debug!(%error, "the watch's WebSocket did not close cleanly");
    }
}
