//! A lean client of exec over WebSocket (`v5.channel.k8s.io`).

use anyhow::{Context as _, bail, ensure};
use portcullis::wire::channel::{ERROR, STDIN};
use portcullis::wire::side::Side;
use portcullis::wire::websocket::{ControlType, Decoder, Frame, MessageType, put_message};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::super::upstream::templates::Encoding;
use super::http::Endpoint;

const READ_BYTES: usize = 64 << 10;
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Clients must mask what they send; with what does not matter here.
const MASK: [u8; 4] = [1, 2, 3, 4];

/// An open session.
pub struct Exec {
    stream: TlsStream<TcpStream>,
    frames: Decoder,
    input: Vec<u8>,
    /// The channel of the current message, once its first byte is there.
    channel: Option<u8>,
    over: bool,
    /// What came on the error channel.
    status: Vec<u8>,
}

impl Exec {
    /// Opens a session; the path's query has the command and the streams.
    pub async fn open(endpoint: &Endpoint, path: &str) -> anyhow::Result<Self> {
        let mut stream = endpoint.connect(false).await?;
        let head = endpoint.head("GET", path, Encoding::Json);
        let request = format!(
            "{head}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // Byte by byte, so that nothing after the head is taken.
            head.push(stream.read_u8().await.context("the answer ends early")?);
            ensure!(head.len() <= HEAD_BYTES_MAX, "the answer has no end");
        }
        if !head.starts_with(b"HTTP/1.1 101 ") {
            let mut body = vec![0; HEAD_BYTES_MAX];
            let length = stream.read(&mut body).await?;
            head.extend_from_slice(body.get(..length).unwrap_or_default());
            bail!("no session: {}", String::from_utf8_lossy(&head));
        }
        Ok(Self {
            stream,
            frames: Decoder::new(Side::Server),
            input: vec![0; READ_BYTES],
            channel: None,
            over: false,
            status: Vec::new(),
        })
    }

    /// Sends input.
    pub async fn type_in(&mut self, keys: &[u8]) -> std::io::Result<()> {
        let mut message = Vec::with_capacity(keys.len() + 16);
        let content = [&[STDIN], keys].concat();
        put_message(&mut message, MessageType::Binary, &content, Some(MASK));
        self.stream.write_all(&message).await?;
        self.stream.flush().await
    }

    /// Reads once and hands over what came, by channel. False when the session is over.
    pub async fn read(&mut self, mut take: impl FnMut(u8, &[u8])) -> anyhow::Result<bool> {
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
    pub fn status(&self) -> String {
        String::from_utf8_lossy(&self.status).into_owned()
    }
}
