//! Where protobuf informers ask: one HTTP/2 connection for all their lists and watches, as client-go has it.

use std::fs::File;
use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use loadtest::apiserver::answer;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;

use super::Way;
use crate::support::world::{ADMIN_TOKEN, Caller, World};

/// A way to the API server, and what came of it.
#[derive(Debug)]
pub(super) struct Endpoint {
    url: String,
    token: String,
    connection: SendRequest<Empty<Bytes>>,
    /// What answers are to come in.
    pub(super) media: Media,
    /// Every event, as a line of JSON.
    pub(super) events: Mutex<File>,
    /// All bytes, as they came but decompressed.
    pub(super) received: Mutex<File>,
}

/// What can be read: client-go names both and goes by the answer's type.
#[derive(Clone, Copy, Debug)]
pub(super) enum Media {
    Json,
    Protobuf,
}

impl Media {
    /// How it is called.
    fn content_type(self, watch: bool) -> &'static str {
        match (self, watch) {
            (Self::Json, _) => "application/json",
            (Self::Protobuf, false) => "application/vnd.kubernetes.protobuf",
            (Self::Protobuf, true) => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }

    /// An object or a list.
    pub(super) fn object(self, body: &[u8]) -> Option<Value> {
        match self {
            Self::Json => serde_json::from_slice(body).ok(),
            Self::Protobuf => answer::object(body),
        }
    }

    /// Takes a whole event from the front of what has come.
    pub(super) fn next_event(
        self,
        buffer: &mut Vec<u8>,
    ) -> Option<anyhow::Result<(String, Value)>> {
        let (from, to) = match self {
            Self::Json => (0, 1 + buffer.iter().position(|byte| *byte == b'\n')?),
            Self::Protobuf => {
                let length = u32::from_be_bytes(buffer.first_chunk().copied()?) as usize;
                (4, 4 + length)
            }
        };
        let event = buffer.get(from..to)?.to_vec();
        buffer.drain(..to);
        let event = match self {
            Self::Json => serde_json::from_slice(&event).ok().map(|mut event: Value| {
                let kind = event["type"].as_str().unwrap_or_default().to_owned();
                (kind, event["object"].take())
            }),
            Self::Protobuf => answer::watch_event(&event),
        };
        Some(event.context("a broken event"))
    }
}

impl Endpoint {
    /// Connects.
    pub(super) async fn open(world: &World, way: Way, events: File, received: File) -> Self {
        let (url, token, media) = match way {
            Way::Gateway => (world.url(), world.token(Caller::Developer), Media::Json),
            Way::NativeProtobuf => (world.url(), world.token(Caller::Agent), Media::Protobuf),
            Way::Direct => (
                world.api_server.url(),
                ADMIN_TOKEN.to_owned(),
                Media::Protobuf,
            ),
        };
        let address: SocketAddr = url.trim_start_matches("https://").parse().unwrap();
        let tls = TlsConnector::from(world.ca.client_config(&["h2"]).unwrap());
        let tcp = TcpStream::connect(address).await.unwrap();
        let server = ServerName::from(address.ip());
        let stream = TokioIo::new(tls.connect(server, tcp).await.unwrap());
        let (connection, driver) = handshake(TokioExecutor::new(), stream).await.unwrap();
        // It ends with the last sender.
        Handle::current().spawn(driver);
        Self {
            url,
            token,
            connection,
            media,
            events: Mutex::new(events),
            received: Mutex::new(received),
        }
    }

    /// The answer to a request, if it is one of the right type.
    pub(super) async fn ask(
        &self,
        target: &str,
        headers: &[(String, String)],
        watch: bool,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::get(format!("{}{target}", self.url))
            .header("Authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Empty::new())?;
        let response = self.connection.clone().send_request(request).await?;
        let content_type = response.headers().get(CONTENT_TYPE);
        if response.status() != StatusCode::OK
            || content_type.is_none_or(|it| it != self.media.content_type(watch))
        {
            bail!("{} {content_type:?}", response.status());
        }
        Ok(response)
    }
}
