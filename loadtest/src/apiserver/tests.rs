//! Tests over real connections.

mod features;
mod replay;
mod watching;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::gateway::body::read_bounded;
use serde_json::Value;
use tokio::net::TcpStream;

use super::{ApiServer, Running, Settings, Token};

const TOKEN: &str = "test-token";

async fn started(settings: Settings) -> Running {
    let tokens = vec![Token::new(TOKEN, "admin", &["system:masters"])];
    ApiServer::start(Settings { tokens, ..settings })
        .await
        .expect("starts")
}

/// An answer read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    fn content_type(&self) -> &str {
        self.headers
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// Sends one request over a connection of its own and gives the answer's head and body.
async fn send(running: &Running, request: Request<Full<Bytes>>) -> hyper::Response<Incoming> {
    let stream = TcpStream::connect(running.address())
        .await
        .expect("connects");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("speaks");
    running.state.tasks.spawn(async move {
        let _ended = connection.with_upgrades().await;
    });
    sender.send_request(request).await.expect("answers")
}

/// The same over HTTP/2.
async fn send_h2(running: &Running, request: Request<Full<Bytes>>) -> hyper::Response<Incoming> {
    let stream = TcpStream::connect(running.address())
        .await
        .expect("connects");
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .expect("speaks");
    running.state.tasks.spawn(async move {
        let _ended = connection.await;
    });
    sender.send_request(request).await.expect("answers")
}

async fn whole(response: hyper::Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = read_bounded(body, 64 * 1024 * 1024).await.expect("arrives");
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

/// `headers` are `name: value` lines.
fn request(method: &str, path: &str, headers: &[&str], body: &str) -> Request<Full<Bytes>> {
    let mut builder = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost");
    if !headers
        .iter()
        .any(|line| line.to_ascii_lowercase().starts_with("authorization:"))
    {
        builder = builder.header("authorization", format!("Bearer {TOKEN}"));
    }
    for line in headers {
        let (name, value) = line.split_once(':').expect("a header line");
        builder = builder.header(name, value.trim());
    }
    builder
        .body(Full::new(Bytes::from(body.to_owned())))
        .expect("a request")
}

async fn call(running: &Running, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    whole(send(running, request(method, path, headers, body)).await).await
}

/// The next piece of a streamed body, as text.
async fn piece(body: &mut Incoming) -> Option<String> {
    loop {
        let frame = body.frame().await?.expect("arrives");
        if let Ok(data) = frame.into_data() {
            return Some(String::from_utf8_lossy(&data).into_owned());
        }
    }
}
