//! Port-forwarding over SPDY: for each connection a pair of streams, one for errors and one for
//! data, which share a `requestid`.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use portcullis::wire::spdy::HeaderBlock;
use portcullis::wire::spdy::frame::{RST_CANCEL, RST_REFUSED_STREAM};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::services::Site;
use super::{PIECES, STALL_LIMIT, forward};
use crate::node::spdy::{self, Event, Gone, Receiver, Sender};

/// Most connections of a session at a time.
const CONNECTION_LIMIT: usize = 1000;

/// A pair of streams that is complete.
struct Connection {
    port: u16,
    error: u32,
    data: u32,
    input: mpsc::Receiver<Bytes>,
}

/// Serves a session until the client leaves.
pub(super) async fn serve<I>(io: I, site: Site)
where
    I: AsyncRead + AsyncWrite + Send,
{
    let Ok((receiver, sender)) = spdy::serve(io) else {
        return;
    };
    let (opened, mut connections) = mpsc::channel(1);
    let mut reading = Reading {
        receiver,
        sender: sender.clone(),
        opened,
        pairs: HashMap::new(),
        inputs: HashMap::new(),
    };
    let mut running = FuturesUnordered::new();
    let serving = async {
        loop {
            tokio::select! {
                Some(connection) = connections.recv() => running.push(run(connection, &sender, &site)),
                Some(ended) = running.next() => if ended.is_err() {
                    return;
                },
                else => return,
            }
        }
    };
    tokio::select! {
        () = reading.listen() => {}
        () = serving => {}
    }
}

async fn run<I: AsyncRead + AsyncWrite>(
    connection: Connection,
    sender: &Sender<I>,
    site: &Site,
) -> Result<(), Gone> {
    let Connection {
        port,
        error,
        data,
        input,
    } = connection;
    let ended = forward(site, port, input, |bytes| async move {
        sender.data(data, false, &bytes).await
    })
    .await;
    sender.data(data, true, b"").await?;
    match ended {
        Ok(()) => sender.data(error, true, b"").await,
        Err(text) => {
            sender.data(error, false, text.as_bytes()).await?;
            sender.reset(error, RST_CANCEL).await
        }
    }
}

/// A pair of which one stream may still be missing.
#[derive(Debug, Default)]
struct Pair {
    error: Option<u32>,
    data: Option<(u32, u16, mpsc::Receiver<Bytes>)>,
}

struct Reading<I> {
    receiver: Receiver<I>,
    sender: Sender<I>,
    opened: mpsc::Sender<Connection>,
    pairs: HashMap<String, Pair>,
    /// By data stream.
    inputs: HashMap<u32, mpsc::Sender<Bytes>>,
}

impl<I: AsyncRead + AsyncWrite> Reading<I> {
    async fn listen(&mut self) {
        while let Some(event) = self.receiver.next().await {
            let done = match event {
                Event::Opened { stream, headers } => self.open(stream, &headers).await,
                Event::Data { stream, bytes } => self.pass_on(stream, bytes).await,
                Event::Finished(stream) | Event::Reset(stream) => {
                    self.inputs.remove(&stream);
                    Ok(())
                }
            };
            if done.is_err() {
                return;
            }
        }
    }

    async fn open(&mut self, stream: u32, headers: &HeaderBlock) -> Result<(), Gone> {
        let port = headers
            .get("port")
            .and_then(|port| port.parse::<u16>().ok())
            .filter(|port| *port > 0);
        let is_data = headers.get("streamtype") == Some("data");
        self.inputs.retain(|_, input| !input.is_closed());
        let (Some(port), true) = (
            port,
            self.inputs.len() < CONNECTION_LIMIT && self.pairs.len() < CONNECTION_LIMIT,
        ) else {
            return self.sender.reset(stream, RST_REFUSED_STREAM).await;
        };
        // Old clients send no id: their data stream follows their error stream.
        let id = headers.get("requestid").map_or_else(
            || {
                if is_data {
                    stream.saturating_sub(2)
                } else {
                    stream
                }
                .to_string()
            },
            str::to_owned,
        );
        self.sender.accept(stream).await?;
        let mut pair = self.pairs.remove(&id).unwrap_or_default();
        if is_data {
            let (sender, input) = mpsc::channel(PIECES);
            self.inputs.insert(stream, sender);
            pair.data = Some((stream, port, input));
        } else {
            pair.error = Some(stream);
        }
        match pair {
            Pair {
                error: Some(error),
                data: Some((data, port, input)),
            } => self
                .opened
                .send(Connection {
                    port,
                    error,
                    data,
                    input,
                })
                .await
                .map_err(|_| Gone),
            incomplete => {
                self.pairs.insert(id, incomplete);
                Ok(())
            }
        }
    }

    async fn pass_on(&mut self, stream: u32, bytes: Bytes) -> Result<(), Gone> {
        let Some(input) = self.inputs.get(&stream) else {
            return Ok(());
        };
        // A service that reads nothing stops the whole session, as it does in a real cluster.
        match tokio::time::timeout(STALL_LIMIT, input.send(bytes)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Gone),
        }
    }
}
