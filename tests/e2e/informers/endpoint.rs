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
    /// Every event, as a line of JSON.
    pub(super) events: Mutex<File>,
    /// All bytes, as they came but decompressed.
    pub(super) received: Mutex<File>,
}

/// How protobuf is called: client-go names JSON too, and goes by the answer's type.
fn media_type(watch: bool) -> &'static str {
    if watch {
        "application/vnd.kubernetes.protobuf;stream=watch"
    } else {
        "application/vnd.kubernetes.protobuf"
    }
}

/// Takes a whole event from the front of what has come.
pub(super) fn next_event(buffer: &mut Vec<u8>) -> Option<anyhow::Result<(String, Value)>> {
    let length = u32::from_be_bytes(buffer.first_chunk().copied()?) as usize;
    let event = buffer.get(4..4 + length)?.to_vec();
    buffer.drain(..4 + length);
    Some(answer::watch_event(&event).context("a broken event"))
}

impl Endpoint {
    /// Connects.
    pub(super) async fn open(world: &World, way: Way, events: File, received: File) -> Self {
        let (url, token) = match way {
            Way::Gateway => (world.url(), world.token(Caller::Developer)),
            Way::Direct => (world.api_server.url(), ADMIN_TOKEN.to_owned()),
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
            || content_type.is_none_or(|it| it != media_type(watch))
        {
            bail!("{} {content_type:?}", response.status());
        }
        Ok(response)
    }
}
