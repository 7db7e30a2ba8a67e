//! The other end of exec: an echo, or as much output as was asked for.

use anyhow::Context as _;
use portcullis::wire::channel::{ERROR, STDIN, STDOUT};
use portcullis::wire::side::Side;
use portcullis::wire::websocket::{Decoder, Frame, MessageType, put_close, put_message};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::answer::Corpus;

const READ_BYTES: usize = 16 << 10;
/// As much as the API server passes on at a time.
const MESSAGE_BYTES: usize = 32 << 10;
const SUCCESS: &[u8] = br#"{"metadata":{},"status":"Success"}"#;

/// Answers the upgrade with this `Sec-WebSocket-Key` and serves the session: `command=print&command=BYTES` prints,
/// everything else echoes.
pub(super) async fn serve(
    stream: &mut TlsStream<TcpStream>,
    path: &str,
    key: &str,
    corpus: &Corpus,
) -> anyhow::Result<()> {
    let accept = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\
         Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.flush().await?;
    match path.split_once("command=print&command=") {
        Some((_, rest)) => {
            let bytes = rest.split('&').next().unwrap_or_default().parse()?;
            print(stream, bytes, corpus).await
        }
        None => echo(stream).await,
    }
}

async fn print(
    stream: &mut TlsStream<TcpStream>,
    bytes: usize,
    corpus: &Corpus,
) -> anyhow::Result<()> {
    let mut text = vec![STDOUT];
    for line in corpus.lines() {
        text.extend_from_slice(line);
    }
    while text.len() <= MESSAGE_BYTES {
        text.extend_from_within(1..);
    }
    let mut message = Vec::with_capacity(MESSAGE_BYTES + 16);
    let mut left = bytes;
    while left > 0 {
        let length = left.min(MESSAGE_BYTES);
        message.clear();
        let content = text.get(..=length).context("not enough text")?;
        put_message(&mut message, MessageType::Binary, content, None);
        stream.write_all(&message).await?;
        left -= length;
    }
    message.clear();
    put_message(
        &mut message,
        MessageType::Binary,
        &[&[ERROR], SUCCESS].concat(),
        None,
    );
    put_close(&mut message, 1000, "", None);
    stream.write_all(&message).await?;
    stream.flush().await?;
    // The other side closes when it has read the close frame.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

async fn echo(stream: &mut TlsStream<TcpStream>) -> anyhow::Result<()> {
    let mut frames = Decoder::new(Side::Client);
    let mut input = vec![0; READ_BYTES];
    loop {
        let length = stream.read(&mut input).await?;
        if length == 0 {
            return Ok(());
        }
        let mut rest = input.get(..length).unwrap_or_default();
        let mut output = Vec::new();
        while let Some(frame) = frames.next(&mut rest)? {
            match frame {
                Frame::Payload {
                    bytes: [STDIN, keys @ ..],
                    ..
                } if !keys.is_empty() => {
                    put_message(
                        &mut output,
                        MessageType::Binary,
                        &[&[STDOUT], keys].concat(),
                        None,
                    );
                }
                Frame::Control(portcullis::wire::websocket::ControlType::Close, ..) => {
                    return Ok(());
                }
                _ => {}
            }
        }
        stream.write_all(&output).await?;
        stream.flush().await?;
    }
}
