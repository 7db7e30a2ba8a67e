//! SPDY inside of WebSocket messages, whose boundaries mean nothing.

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::services::Site;
use super::{PIPE, spdy};
use crate::node::websocket::Socket;

/// Serves a session until the client leaves.
pub(super) async fn serve(socket: Socket, site: Site) {
    let (mut sink, mut stream) = socket.split();
    let (near, far) = tokio::io::duplex(PIPE);
    let (mut reading, mut writing) = tokio::io::split(near);
    let incoming = async {
        // Anything but a binary message ends the tunnel.
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Message::Binary(bytes) if writing.write_all(&bytes).await.is_ok() => {}
                // Reading on answers pings, and the close.
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
                _ => break,
            }
        }
        if let Err(error) = writing.shutdown().await {
            tracing::trace!(%error, "session has ended");
        }
    };
    let outgoing = async {
        let mut buffer = BytesMut::with_capacity(PIPE);
        while reading
            .read_buf(&mut buffer)
            .await
            .is_ok_and(|read| read > 0)
        {
            if sink
                .send(Message::binary(buffer.split().freeze()))
                .await
                .is_err()
            {
                return;
            }
            buffer.reserve(PIPE);
        }
        let close = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        if let Err(error) = sink.send(Message::Close(Some(close))).await {
            tracing::trace!(%error, "client has closed");
        }
    };
    tokio::join!(incoming, outgoing, spdy::serve(far, site));
}
