//! Sessions over SPDY: a stream for each channel.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use portcullis::wire::spdy::frame::RST_CANCEL;
use tokio::io::{AsyncRead, AsyncWrite};

use super::outcome::{self, Teller};
use super::websocket::last_size;
use super::{Channel, Deliver, FromClient, Outcome, Plan, Receive, converse};
use crate::node::spdy::{self, Event, Gone, Receiver, Sender};

const V4: &str = "v4.channel.k8s.io";
const V3: &str = "v3.channel.k8s.io";
const V1: &str = "channel.k8s.io";
/// What the container runtime speaks; v5 means nothing over SPDY.
pub(super) const SUPPORTED: &[&str] = &[V4, V3, "v2.channel.k8s.io", V1];
/// How long a client may take to open its streams.
const SETUP_LIMIT: Duration = Duration::from_secs(30);

/// The streams by their purpose.
#[derive(Debug, Default, Clone, Copy)]
struct Streams {
    error: Option<u32>,
    stdin: Option<u32>,
    stdout: Option<u32>,
    stderr: Option<u32>,
    resize: Option<u32>,
}

pub(super) async fn serve<I>(io: I, version: &'static str, plan: Plan)
where
    I: AsyncRead + AsyncWrite + Send,
{
    let Ok((mut receiver, sender)) = spdy::serve(io) else {
        return;
    };
    let mut early = VecDeque::new();
    let setup = set_up(&mut receiver, &sender, version, &plan, &mut early);
    let Ok(Some(streams)) = tokio::time::timeout(SETUP_LIMIT, setup).await else {
        tracing::debug!(pod = ?plan.pod, "SPDY client opened too few streams");
        return;
    };
    let deliver = Writing {
        sender,
        streams,
        version,
        last: receiver.last_stream(),
        plan: plan.clone(),
    };
    let receive = Reading {
        receiver,
        streams,
        early,
        resize: Vec::new(),
    };
    converse(receive, deliver, plan).await;
}

/// Accepts streams until there are as many as the query asks for.
async fn set_up<I>(
    receiver: &mut Receiver<I>,
    sender: &Sender<I>,
    version: &str,
    plan: &Plan,
    early: &mut VecDeque<Event>,
) -> Option<Streams>
where
    I: AsyncRead + AsyncWrite,
{
    let wanted = plan.wanted;
    let resizes = wanted.tty && matches!(version, V4 | V3);
    let expected = 1 + [wanted.stdin, wanted.stdout, wanted.stderr, resizes]
        .iter()
        .filter(|wants| **wants)
        .count();
    let mut streams = Streams::default();
    let mut count = 0;
    while count < expected {
        match receiver.next().await? {
            Event::Opened {
                stream, headers, ..
            } => {
                let slot = match headers.get("streamtype")? {
                    "error" => &mut streams.error,
                    "stdin" => &mut streams.stdin,
                    "stdout" => &mut streams.stdout,
                    "stderr" => &mut streams.stderr,
                    "resize" => &mut streams.resize,
                    other => {
                        tracing::debug!(other, "unexpected stream type");
                        continue;
                    }
                };
                *slot = Some(stream);
                count += 1;
                sender.accept(stream).await.ok()?;
            }
            // A client may write before the last stream is open, but not without end.
            other if early.len() < 64 => early.push_back(other),
            _ => return None,
        }
    }
    Some(streams)
}

struct Reading<I> {
    receiver: Receiver<I>,
    streams: Streams,
    early: VecDeque<Event>,
    resize: Vec<u8>,
}

impl<I: AsyncRead + AsyncWrite + Send> Receive for Reading<I> {
    async fn next(&mut self) -> Option<FromClient> {
        loop {
            let event = match self.early.pop_front() {
                Some(event) => event,
                None => self.receiver.next().await?,
            };
            match event {
                Event::Data { stream, bytes } if Some(stream) == self.streams.stdin => {
                    return Some(FromClient::Stdin(bytes));
                }
                Event::Data { stream, bytes } if Some(stream) == self.streams.resize => {
                    self.resize.extend_from_slice(&bytes);
                    if let Some(size) = last_size(&mut self.resize) {
                        return Some(FromClient::Resize(size.width, size.height));
                    }
                }
                Event::Finished(stream) | Event::Reset(stream)
                    if Some(stream) == self.streams.stdin =>
                {
                    return Some(FromClient::StdinEnd);
                }
                // Streams that are opened later are never accepted.
                Event::Data { .. }
                | Event::Finished(_)
                | Event::Reset(_)
                | Event::Opened { .. } => {}
            }
        }
    }

    async fn drain(&mut self) {
        self.receiver.drain().await;
    }
}

struct Writing<I> {
    sender: Sender<I>,
    streams: Streams,
    version: &'static str,
    last: u32,
    plan: Plan,
}

impl<I: AsyncRead + AsyncWrite + Send> Deliver for Writing<I> {
    async fn output(&mut self, channel: Channel, bytes: Bytes) -> Result<(), Gone> {
        let stream = match channel {
            Channel::Stdout => self.streams.stdout,
            Channel::Stderr => self.streams.stderr,
        };
        match stream {
            Some(stream) => self.sender.data(stream, false, &bytes).await,
            None => Ok(()),
        }
    }

    async fn finish(&mut self, outcome: &Outcome) -> Result<(), Gone> {
        let streams = self.streams;
        let outputs = [streams.stderr, streams.stdout];
        let started = matches!(outcome, Outcome::Exited(_));
        for stream in outputs.into_iter().flatten().filter(|_| started) {
            self.sender.data(stream, true, b"").await?;
        }
        let text = match self.version {
            V4 => outcome::status(outcome, &self.plan, Teller::Runtime),
            _ => outcome::text(outcome, &self.plan),
        };
        if let Some(error) = streams.error.filter(|_| !text.is_empty()) {
            self.sender.data(error, false, text.as_bytes()).await?;
        }
        // The real server resets what is not finished on both sides, and then leaves.
        let open = [streams.error, streams.stdin, streams.resize];
        let unopened = outputs.into_iter().filter(|_| !started);
        for stream in open.into_iter().chain(unopened).flatten() {
            self.sender.reset(stream, RST_CANCEL).await?;
        }
        self.sender.go_away(self.last).await
    }
}
