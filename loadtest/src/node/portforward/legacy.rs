//! The older form: `?ports=`, two channels for each port, and the port number as the first message
//! of each channel.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use tokio::sync::{Mutex, mpsc};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::services::Site;
use super::{PIECES, STALL_LIMIT, forward};
use crate::node::query::Query;
use crate::node::reply::Fault;
use crate::node::spdy::Gone;
use crate::node::websocket::Socket;

const BASE64: &str = "v4.base64.channel.k8s.io";
pub(super) const SUPPORTED: &[&str] = &["v4.channel.k8s.io", BASE64];
/// Channels are one byte, or one digit in base64; two for each port.
const PORT_LIMIT: usize = 100;

/// The ports a client asks for; it must ask for one.
pub(super) fn ports(query: &Query) -> Result<Vec<u16>, Fault> {
    let values = [query.all("ports"), query.all("port")].concat();
    let ports = values
        .iter()
        .flat_map(|value| value.split(','))
        .map(|port| {
            let number = port.parse::<u16>().ok().filter(|port| *port > 0);
            number.ok_or_else(|| {
                Fault::text(StatusCode::BAD_REQUEST, format!("invalid port \"{port}\""))
            })
        });
    let ports = ports.collect::<Result<Vec<_>, _>>()?;
    if ports.is_empty() || ports.len() > PORT_LIMIT {
        return Err(Fault::text(
            StatusCode::BAD_REQUEST,
            "query parameter \"port\" is required",
        ));
    }
    Ok(ports)
}

/// Serves the ports until all connections have ended or the client leaves.
pub(super) async fn serve(socket: Socket, protocol: &str, ports: Vec<u16>, site: Site) {
    let base64 = protocol == BASE64;
    let (sink, mut stream) = socket.split();
    let sink = Mutex::new(sink);
    let send = async |channel: usize, data: &[u8]| {
        let message = if base64 {
            Message::text(format!("{channel}{}", STANDARD.encode(data)))
        } else {
            let channel = u8::try_from(channel).map_err(|_| Gone)?;
            Message::binary([&[channel], data].concat())
        };
        sink.lock().await.send(message).await.map_err(|_| Gone)
    };
    for (index, port) in ports.iter().enumerate() {
        for channel in [2 * index, 2 * index + 1] {
            if send(channel, &port.to_le_bytes()).await.is_err() {
                return;
            }
        }
    }
    let pipes = ports.iter().map(|_| mpsc::channel::<Bytes>(PIECES));
    let (senders, inputs): (Vec<_>, Vec<_>) = pipes.unzip();
    let (send, site) = (&send, &site);
    let connections =
        ports
            .iter()
            .zip(inputs)
            .enumerate()
            .map(|(index, (port, input))| async move {
                let data = |bytes: Bytes| async move { send(2 * index, &bytes).await };
                match forward(site, *port, input, data).await {
                    Ok(()) => Ok(()),
                    Err(text) => send(2 * index + 1, text.as_bytes()).await,
                }
            });
    let listening = async {
        while let Some(Ok(message)) = stream.next().await {
            let Some((channel, data)) = open(message, base64) else {
                continue;
            };
            let input = senders
                .get(channel / 2)
                .filter(|_| channel % 2 == 0 && !data.is_empty());
            if let Some(input) = input
                && tokio::time::timeout(STALL_LIMIT, input.send(data))
                    .await
                    .is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        ended = join_all(connections) => {
            let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            if ended.iter().all(Result::is_ok)
                && sink.lock().await.send(Message::Close(Some(close))).await.is_ok()
            {
                while let Some(Ok(_)) = stream.next().await {}
            }
        }
        () = listening => {}
    }
}

fn open(message: Message, base64: bool) -> Option<(usize, Bytes)> {
    let mut data = match message {
        Message::Binary(data) => data,
        Message::Text(text) => Bytes::from(text),
        _ => return None,
    };
    if data.is_empty() {
        return None;
    }
    let channel = data.split_to(1).first().copied()?;
    if !base64 {
        return Some((channel.into(), data));
    }
    Some((
        channel.checked_sub(b'0')?.into(),
        STANDARD.decode(&data).ok()?.into(),
    ))
}
