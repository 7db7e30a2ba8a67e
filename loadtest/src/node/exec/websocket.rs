//! Sessions over WebSocket: one channel a message, named by its first byte.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::outcome::{self, Teller};
use super::{Channel, Deliver, FromClient, Outcome, Plan, Receive, converse};
use crate::node::spdy::Gone;
use crate::node::websocket::Socket;

/// The protocol in which a client can close its input alone.
pub(super) const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";
const V4_BASE64: &str = "v4.base64.channel.k8s.io";
const BASE64: &str = "base64.channel.k8s.io";
/// What the container runtime speaks itself.
pub(super) const SUPPORTED: &[&str] = &[V4, V4_BASE64, "channel.k8s.io", BASE64];

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

pub(super) async fn serve(socket: Socket, protocol: &'static str, plan: Plan) {
    let (sink, stream) = socket.split();
    let base64 = matches!(protocol, BASE64 | V4_BASE64);
    let receive = Reading {
        stream,
        base64,
        v5: protocol == V5,
        resize: Vec::new(),
    };
    let mut deliver = Writing {
        sink,
        base64,
        protocol,
        plan: plan.clone(),
    };
    // Clients take the first message, empty on the first open output, as the sign to begin.
    let first = match (plan.wanted.stdout, plan.wanted.stderr) {
        (true, _) => STDOUT,
        (false, true) => STDERR,
        (false, false) => ERROR,
    };
    if deliver.send(first, b"").await.is_ok() {
        converse(receive, deliver, plan).await;
    }
}

/// Columns and rows, as clients send them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Size {
    pub(super) width: u16,
    pub(super) height: u16,
}

/// The last whole size in a stream of JSON objects; what is incomplete stays.
pub(super) fn last_size(held: &mut Vec<u8>) -> Option<Size> {
    let mut sizes = serde_json::Deserializer::from_slice(held).into_iter::<Size>();
    let mut last = None;
    while let Some(Ok(size)) = sizes.next() {
        last = Some(size);
    }
    let read = sizes.byte_offset().min(held.len());
    held.drain(..read);
    if held.len() > 4096 {
        // No size is that long: this client sends something else.
        held.clear();
    }
    last
}

struct Reading {
    stream: SplitStream<Socket>,
    base64: bool,
    v5: bool,
    resize: Vec<u8>,
}

impl Reading {
    /// Channel and content of a message.
    fn open(&self, message: Message) -> Option<(u8, Bytes)> {
        let mut data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::from(text),
            _ => return None,
        };
        if data.is_empty() {
            return None;
        }
        let channel = data.split_to(1).first().copied()?;
        if self.base64 {
            let decoded = STANDARD.decode(&data).ok()?;
            return Some((channel.checked_sub(b'0')?, decoded.into()));
        }
        Some((channel, data))
    }
}

impl Receive for Reading {
    async fn next(&mut self) -> Option<FromClient> {
        loop {
            let message = self.stream.next().await?.ok()?;
            if message.is_close() {
                // Reading on sends the answer to the close.
                self.drain().await;
                return None;
            }
            let Some((channel, data)) = self.open(message) else {
                continue;
            };
            match channel {
                STDIN if !data.is_empty() => return Some(FromClient::Stdin(data)),
                RESIZE => {
                    self.resize.extend_from_slice(&data);
                    if let Some(size) = last_size(&mut self.resize) {
                        return Some(FromClient::Resize(size.width, size.height));
                    }
                }
                CLOSE if self.v5 => match data.as_ref() {
                    [STDIN] => return Some(FromClient::StdinEnd),
                    [1..=4] => {}
                    // The real server gives up here.
                    _ => return None,
                },
                _ => {}
            }
        }
    }

    async fn drain(&mut self) {
        while let Some(Ok(_)) = self.stream.next().await {}
    }
}

struct Writing {
    sink: SplitSink<Socket, Message>,
    base64: bool,
    protocol: &'static str,
    plan: Plan,
}

impl Writing {
    async fn send(&mut self, channel: u8, data: &[u8]) -> Result<(), Gone> {
        let message = if self.base64 {
            Message::text(format!("{channel}{}", STANDARD.encode(data)))
        } else {
            Message::binary([&[channel], data].concat())
        };
        self.sink.send(message).await.map_err(|_| Gone)
    }
}

impl Deliver for Writing {
    async fn output(&mut self, channel: Channel, bytes: Bytes) -> Result<(), Gone> {
        let channel = match channel {
            Channel::Stdout => STDOUT,
            Channel::Stderr => STDERR,
        };
        self.send(channel, &bytes).await
    }

    async fn finish(&mut self, outcome: &Outcome) -> Result<(), Gone> {
        let text = match self.protocol {
            V5 => outcome::status(outcome, &self.plan, Teller::Translator),
            V4 | V4_BASE64 => outcome::status(outcome, &self.plan, Teller::Runtime),
            _ => outcome::text(outcome, &self.plan),
        };
        if !text.is_empty() {
            self.send(ERROR, text.as_bytes()).await?;
        }
        let close = Message::Close(Some(CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        }));
        self.sink.send(close).await.map_err(|_| Gone)
    }
}
