//! The client side of one request after the other, over HTTP/1.1 or as a stream of HTTP/2. HTTP/1.1 is read by hand:
//! a client library hands over chunk by chunk, which costs more than what is measured.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use memchr::memmem;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::network;
use super::super::upstream::templates::Encoding;
use super::chunked::Chunked;

const READ_BYTES: usize = 128 << 10;
const HEAD_BYTES_MAX: usize = 32 << 10;
/// As Go's client: one stalled stream must not stall its connection.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;

/// Where requests go, and as whom.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Of the target.
    pub address: SocketAddr,
    /// What its certificate must say.
    pub name: ServerName<'static>,
    /// What stands before every path.
    pub prefix: String,
    /// The bearer token; empty where a client certificate says who asks.
    pub token: String,
    /// Offers `http/1.1`.
    pub tls_http1: Arc<rustls::ClientConfig>,
    /// Offers `h2`.
    pub tls_http2: Arc<rustls::ClientConfig>,
}

impl Endpoint {
    /// A TLS connection that offers HTTP/1.1, or HTTP/2.
    pub async fn connect(&self, http2: bool) -> anyhow::Result<TlsStream<TcpStream>> {
        let tls = if http2 {
            &self.tls_http2
        } else {
            &self.tls_http1
        };
        let tcp = network::connect(self.address)
            .await
            .context("cannot connect")?;
        let connector = TlsConnector::from(Arc::clone(tls));
        Ok(connector.connect(self.name.clone(), tcp).await?)
    }

    /// The head of a request, with everything but what belongs to its body or an upgrade.
    pub(super) fn head(&self, method: &str, path: &str, encoding: Encoding) -> String {
        let Self {
            address,
            prefix,
            token,
            ..
        } = self;
        let authorization = if token.is_empty() {
            String::new()
        } else {
            format!("Authorization: Bearer {token}\r\n")
        };
        let accept = encoding.accept();
        format!(
            "{method} {prefix}{path} HTTP/1.1\r\nHost: {address}\r\n{authorization}Accept: {accept}\r\n\
             User-Agent: loadtest\r\n"
        )
    }

    /// A connection for one HTTP/1.1 request after the other.
    pub async fn http1(&self) -> anyhow::Result<Client> {
        Ok(Client::Http1(Box::new(Http1 {
            stream: self.connect(false).await?,
            input: vec![0; READ_BYTES],
            filled: 0,
            body: Chunked::ended(),
        })))
    }

    /// A connection for many requests at a time; each clone is one of them. Its task lives in `tasks`.
    pub async fn http2(&self, tasks: &mut JoinSet<()>) -> anyhow::Result<Http2> {
        let stream = self.connect(true).await?;
        ensure!(
            stream.get_ref().1.alpn_protocol() == Some(b"h2"),
            "the target does not speak HTTP/2"
        );
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tasks.spawn(async move { drop(connection.await) });
        Ok(Http2 { sender, body: None })
    }
}

/// One request at a time.
#[derive(Debug)]
pub enum Client {
    /// On a connection of its own.
    Http1(Box<Http1>),
    /// On a connection with others.
    Http2(Http2),
}

/// A connection.
#[derive(Debug)]
pub struct Http1 {
    stream: TlsStream<TcpStream>,
    input: Vec<u8>,
    /// Bytes of `input` that came with the head of an answer.
    filled: usize,
    body: Chunked,
}

/// A stream of a connection.
#[derive(Debug)]
pub struct Http2 {
    sender: SendRequest<Empty<Bytes>>,
    body: Option<Incoming>,
}

impl Clone for Http2 {
    fn clone(&self) -> Self {
        let sender = self.sender.clone();
        Self { sender, body: None }
    }
}

impl Client {
    /// Asks and waits for the head of the answer. Anything but 200 and 201 is an error with what was said.
    pub async fn get(
        &mut self,
        endpoint: &Endpoint,
        path: &str,
        encoding: Encoding,
    ) -> anyhow::Result<()> {
        let (status, content_type) = match self {
            Self::Http1(http1) => {
                let head = endpoint.head("GET", path, encoding);
                http1.send(&format!("{head}\r\n")).await?
            }
            Self::Http2(http2) => http2.get(endpoint, path, encoding).await?,
        };
        self.check(path, status).await?;
        // Logs are text whatever is asked for.
        let wanted = encoding.media_type();
        ensure!(
            encoding == Encoding::Json || content_type.starts_with(wanted),
            "{path}: the answer is {content_type:?}, not {wanted}"
        );
        Ok(())
    }

    /// Applies `body` on the server (server-side apply) over HTTP/1.1, as [`Client::get`] asks.
    pub async fn apply(
        &mut self,
        endpoint: &Endpoint,
        path: &str,
        body: &str,
    ) -> anyhow::Result<()> {
        let Self::Http1(http1) = self else {
            bail!("writes go over HTTP/1.1");
        };
        let head = endpoint.head("PATCH", path, Encoding::Json);
        let request = format!(
            "{head}Content-Type: application/apply-patch+yaml\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, _) = http1.send(&request).await?;
        self.check(path, status).await
    }

    async fn check(&mut self, path: &str, status: u16) -> anyhow::Result<()> {
        if matches!(status, 200 | 201) {
            return Ok(());
        }
        let mut said = Vec::new();
        while said.len() < HEAD_BYTES_MAX
            && self.read(|bytes| said.extend_from_slice(bytes)).await?
        {}
        bail!(
            "{path}: status {status}: {}",
            String::from_utf8_lossy(&said)
        );
    }

    /// Reads once and hands over what came of the body. False when it is complete; the next request may follow.
    pub async fn read(&mut self, take: impl FnMut(&[u8])) -> anyhow::Result<bool> {
        match self {
            Self::Http1(http1) => http1.read(take).await,
            Self::Http2(http2) => http2.read(take).await,
        }
    }
}

impl Http1 {
    /// Sends a whole request and reads the head of the answer: its status and its media type.
    async fn send(&mut self, request: &str) -> anyhow::Result<(u16, String)> {
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        self.filled = 0;
        loop {
            let room = self
                .input
                .get_mut(self.filled..)
                .context("the head of the answer has no end")?;
            let read = self.stream.read(room).await?;
            ensure!(read > 0, "the answer ends early");
            self.filled += read;
            let head = self.input.get(..self.filled).unwrap_or_default();
            if let Some(end) = memmem::find(head, b"\r\n\r\n") {
                let (head, _) = head.split_at(end + 4);
                let status =
                    String::from_utf8_lossy(head.get(9..12).unwrap_or_default()).parse()?;
                self.body = Chunked::from_head(head)?;
                let text = String::from_utf8_lossy(head);
                let content_type = network::header(&text, "content-type");
                let content_type = content_type.unwrap_or_default().to_owned();
                self.input.copy_within(end + 4..self.filled, 0);
                self.filled -= end + 4;
                return Ok((status, content_type));
            }
        }
    }

    async fn read(&mut self, mut take: impl FnMut(&[u8])) -> anyhow::Result<bool> {
        if self.filled == 0 && !self.body.is_complete() {
            self.filled = self.stream.read(&mut self.input).await?;
            ensure!(self.filled > 0, "the body ends early");
        }
        let input = self.input.get(..self.filled).unwrap_or_default();
        self.filled = 0;
        self.body.take(input, &mut take)?;
        Ok(!self.body.is_complete())
    }
}

impl Http2 {
    async fn get(
        &mut self,
        endpoint: &Endpoint,
        path: &str,
        encoding: Encoding,
    ) -> anyhow::Result<(u16, String)> {
        let Endpoint {
            address,
            prefix,
            token,
            ..
        } = endpoint;
        let mut request = http::Request::get(format!("https://{address}{prefix}{path}"))
            .header("accept", encoding.accept())
            .header("user-agent", "loadtest");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Empty::new())?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status().as_u16();
        let content_type = response.headers().get(http::header::CONTENT_TYPE);
        let content_type = content_type.and_then(|it| it.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        self.body = Some(response.into_body());
        Ok((status, content_type))
    }

    async fn read(&mut self, mut take: impl FnMut(&[u8])) -> anyhow::Result<bool> {
        let Some(body) = &mut self.body else {
            return Ok(false);
        };
        let Some(frame) = body.frame().await else {
            self.body = None;
            return Ok(false);
        };
        if let Some(data) = frame?.data_ref() {
            take(data);
        }
        Ok(true)
    }
}
