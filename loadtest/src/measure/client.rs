//! A lean client of exec over WebSocket (`v5.channel.k8s.io`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use portcullis::wire::channel::{ERROR, STDIN};
use portcullis::wire::side::Side;
use portcullis::wire::websocket::{ControlType, Decoder, Frame, MessageType, put_message};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const READ_BYTES: usize = 64 * 1024;
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Where sessions are opened, and as whom.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) token: String,
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) pod: &'static str,
}

/// An open session.
pub(super) struct Exec {
    stream: TlsStream<TcpStream>,
    frames: Decoder,
    input: Vec<u8>,
    /// The channel of the current message, once its first byte is there.
    channel: Option<u8>,
    over: bool,
    /// What came on the error channel.
    status: Vec<u8>,
}

impl Endpoint {
    /// Opens a session; `query` has the command and the streams.
    pub(super) async fn exec(&self, query: &str) -> anyhow::Result<Exec> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::from(self.address.ip());
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let mut stream = connector.connect(name, tcp).await?;
        let Self {
            address,
            token,
            pod,
            ..
        } = self;
        let request = format!(
            "GET /api/v1/namespaces/default/pods/{pod}/exec?container=main&{query} HTTP/1.1\r\nHost: {address}\r\n\
             Authorization: Bearer {token}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // Byte by byte, so that nothing after the head is taken.
            head.push(stream.read_u8().await.context("the answer ends early")?);
            if head.len() > HEAD_BYTES_MAX {
                bail!("the answer has no end");
            }
        }
        if !head.starts_with(b"HTTP/1.1 101 ") {
            let mut body = vec![0; HEAD_BYTES_MAX];
            let length = stream.read(&mut body).await?;
            head.extend_from_slice(body.get(..length).unwrap_or_default());
            bail!("no session: {}", String::from_utf8_lossy(&head));
        }
        Ok(Exec {
            stream,
            frames: Decoder::new(Side::Server),
            input: vec![0; READ_BYTES],
            channel: None,
            over: false,
            status: Vec::new(),
        })
    }
}

impl Exec {
    /// Sends input.
    pub(super) async fn type_in(&mut self, keys: &[u8]) -> io::Result<()> {
        let mut message = Vec::with_capacity(keys.len() + 16);
        let content = [&[STDIN], keys].concat();
        put_message(
            &mut message,
            MessageType::Binary,
            &content,
            Some([1, 2, 3, 4]),
        );
        self.stream.write_all(&message).await?;
        self.stream.flush().await
    }

    /// Reads once and hands over what came, by channel. False when the session is over.
    pub(super) async fn read(&mut self, mut take: impl FnMut(u8, &[u8])) -> anyhow::Result<bool> {
        if self.over {
            return Ok(false);
        }
        let length = self.stream.read(&mut self.input).await?;
        self.over = length == 0;
        let mut input = self.input.get(..length).unwrap_or_default();
        while let Some(frame) = self.frames.next(&mut input)? {
            match frame {
                Frame::Data(head, _) if head.first => self.channel = None,
                Frame::Data(..) => {}
                Frame::Payload { bytes, .. } => {
                    let content = if self.channel.is_none() {
                        let (first, content) = bytes.split_first().context("an empty message")?;
                        self.channel = Some(*first);
                        content
                    } else {
                        bytes
                    };
                    match self.channel {
                        Some(ERROR) => self.status.extend_from_slice(content),
                        Some(channel) if !content.is_empty() => take(channel, content),
                        _ => {}
                    }
                }
                Frame::Control(kind, ..) => self.over |= kind == ControlType::Close,
            }
        }
        Ok(!self.over)
    }

    /// What the error channel said: empty until the end.
    pub(super) fn status(&self) -> &[u8] {
        &self.status
    }
}

/// Asks the control listener.
pub(super) async fn is_ready(control: SocketAddr) -> anyhow::Result<bool> {
    let mut stream = TcpStream::connect(control).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}
