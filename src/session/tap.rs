//! What is seen of a session: events in the order of the bytes, before the bytes are forwarded.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::{
    ByteCounts, Ending, Filters, Protocol, Session, Side, StreamType, Streams, spdy, websocket,
};
use crate::limits;
use crate::wire::channel::{self, ExitStatus, ResizeReader, TerminalSize};

/// Sees a session pass. Recording is one.
pub trait Tap: Send {
    /// Whether note can be taken. Asked before the bytes of either side are looked at: if it fails, they
    /// are not forwarded and the session ends.
    fn ready(&mut self) -> Result<(), TapError> {
        Ok(())
    }

    /// Takes note of `event`, `now` after the beginning of the session. The bytes behind the event
    /// are forwarded only afterwards.
    fn event(&mut self, event: &SessionEvent<'_>, now: Duration);

    /// How fast the tap can take note, asked once at the beginning; `None` is as fast as it comes.
    fn pace(&self) -> Option<Arc<dyn Pace>> {
        None
    }
}

/// How fast a tap can take note: while there is no room, nothing more of the session is read. That is
/// how a slow disk slows a session instead of filling the memory.
pub trait Pace: Send + Sync {
    /// Whether there is room now.
    fn has_room(&self) -> bool;
    /// Resolves when there is room again.
    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Why a tap lets nothing more pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TapError {
    /// It does not work; the words are for the log.
    #[error("{0}")]
    Failed(String),
    /// It takes no more bytes than these.
    #[error("it has reached its cap of {0} bytes")]
    Full(u64),
    /// Something else ends the session.
    #[error("{}", .0.message)]
    Ends(Ending),
}

/// Takes note of nothing.
#[derive(Debug, Default)]
pub struct NoTap;

impl Tap for NoTap {
    fn event(&mut self, _: &SessionEvent<'_>, _: Duration) {}
}

/// One stream of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionStream {
    /// What it carries.
    pub kind: StreamType,
    /// The port in the pod; port-forward only.
    pub port: Option<u16>,
    /// What pairs the error and data streams of a forwarded connection.
    pub connection: Option<u64>,
}

impl SessionStream {
    pub(super) const fn of(kind: StreamType) -> Self {
        Self {
            kind,
            port: None,
            connection: None,
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent<'a> {
    /// A stream exists from now on.
    Opened(SessionStream),
    /// Payload, in slices as it arrived; never empty. Not for terminal sizes.
    Data {
        /// On which stream.
        stream: SessionStream,
        /// Who sent it.
        from: Side,
        /// The payload itself, without any encoding.
        bytes: &'a [u8],
    },
    /// The terminal's size.
    Resize(TerminalSize),
    /// `from` sends nothing more on the stream.
    Finished {
        /// Which stream.
        stream: SessionStream,
        /// Whose end it is.
        from: Side,
    },
    /// The command ended.
    Exit(&'a ExitStatus),
    /// The gateway ends the session.
    Ending(&'a Ending),
}

/// Receives the events of one call, in order.
pub(super) type Events<'e> = dyn FnMut(SessionEvent<'_>) + 'e;

/// Why the bytes of one side cannot be followed any longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Not SPDY as Kubernetes speaks it.
    #[error(transparent)]
    Spdy(#[from] crate::wire::spdy::ConnectionError),
    /// Not WebSocket.
    #[error(transparent)]
    WebSocket(#[from] crate::wire::websocket::WebSocketError),
    /// Not the channel protocol.
    #[error(transparent)]
    Channel(#[from] channel::ChannelError),
    /// A text message in a tunnel.
    #[error("text message in a SPDY tunnel")]
    TextInTunnel,
}

/// The wire format of one session, both directions.
///
/// This is the pure half of the relay, public for tests, fuzzing and benchmarks.
#[derive(Debug)]
pub struct Wire(Format);

#[derive(Debug)]
enum Format {
    Spdy(Box<spdy::SpdyTap>),
    Channels(Box<websocket::ChannelTap>),
    Tunnel(Box<websocket::TunnelTap>),
}

impl Wire {
    /// The wire right after the upgrade. With `filters`, what the server sends on the streams of a remote
    /// command is rewritten.
    #[must_use]
    pub fn new(session: &Session, filters: Option<Filters>) -> Self {
        Self(match session.protocol {
            Protocol::Spdy(version) => Format::Spdy(Box::new(spdy::SpdyTap::new(
                &session.streams,
                version,
                filters,
            ))),
            Protocol::Channels(protocol) => Format::Channels(Box::new(websocket::ChannelTap::new(
                &session.streams,
                protocol,
                filters,
            ))),
            Protocol::Tunnel => Format::Tunnel(Box::new(websocket::TunnelTap::new())),
        })
    }

    /// The streams that exist from the beginning, on wires that open none.
    pub fn start(&self, events: &mut Events<'_>) {
        if let Format::Channels(tap) = &self.0 {
            tap.start(events);
        }
    }

    /// Takes bytes that `side` sent and appends to `output` what may go on to the other side.
    ///
    /// After an error nothing more may be passed in for that side; what is in `output` was valid.
    pub fn receive(
        &mut self,
        side: Side,
        input: &[u8],
        now: Duration,
        output: &mut Vec<u8>,
        events: &mut Events<'_>,
    ) -> Result<(), ProtocolError> {
        match &mut self.0 {
            Format::Spdy(tap) => tap.receive(side, input, now, output, events),
            Format::Channels(tap) => tap.receive(side, input, now, output, events),
            Format::Tunnel(tap) => tap.receive(side, input, now, output, events),
        }
    }

    /// When bytes will have been held back for too long, counted from the beginning of the session.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        match &self.0 {
            Format::Spdy(tap) => tap.due(),
            Format::Channels(tap) => tap.due(),
            Format::Tunnel(_) => None,
        }
    }

    /// Appends to `output`, for the client, what has been held back for too long.
    pub fn release(&mut self, now: Duration, output: &mut Vec<u8>, events: &mut Events<'_>) {
        match &mut self.0 {
            Format::Spdy(tap) => tap.release(now, output, events),
            Format::Channels(tap) => tap.release(now, output, events),
            Format::Tunnel(_) => {}
        }
    }

    /// Nothing more of the server passes: appends to `output`, for the client, what is held back.
    pub fn finish(&mut self, output: &mut Vec<u8>, events: &mut Events<'_>) {
        match &mut self.0 {
            Format::Spdy(tap) => tap.finish(output, events),
            Format::Channels(tap) => tap.finish(output, events),
            Format::Tunnel(_) => {}
        }
    }

    /// From now on only the rest of what `side` has begun to send passes.
    pub fn stop(&mut self, side: Side) {
        match &mut self.0 {
            Format::Spdy(tap) => tap.stop(side),
            Format::Channels(tap) => tap.stop(side),
            Format::Tunnel(tap) => tap.stop(side),
        }
    }

    /// True when bytes of our own may follow what was forwarded of `side`.
    pub fn at_boundary(&mut self, side: Side) -> bool {
        match &mut self.0 {
            Format::Spdy(tap) => tap.at_boundary(side),
            Format::Channels(tap) => tap.at_boundary(side),
            Format::Tunnel(tap) => tap.at_boundary(side),
        }
    }

    /// True when `side` has said goodbye.
    pub fn closed(&mut self, side: Side) -> bool {
        match &mut self.0 {
            Format::Spdy(tap) => tap.closed(side),
            Format::Channels(tap) => tap.closed(side),
            Format::Tunnel(tap) => tap.closed(side),
        }
    }

    /// Completes what the server has begun to send, with zeroes in place of its content, so that bytes of
    /// our own may follow. `None` if that is too much; nothing of the server may pass in any case.
    pub fn fill(&mut self) -> Option<Vec<u8>> {
        match &mut self.0 {
            Format::Spdy(tap) => tap.fill(),
            Format::Channels(tap) => tap.fill(),
            Format::Tunnel(tap) => tap.fill(),
        }
    }

    /// What `to` is told when the gateway ends the session (only at a boundary of the other side).
    pub fn ending(&mut self, to: Side, ending: &Ending) -> Vec<u8> {
        match &mut self.0 {
            Format::Spdy(tap) => tap.ending(to, ending),
            Format::Channels(tap) => tap.ending(to, ending),
            Format::Tunnel(tap) => tap.ending(to, ending),
        }
    }

    /// Bytes held back now, in both directions.
    pub fn held(&mut self) -> usize {
        match &mut self.0 {
            Format::Spdy(tap) => tap.held(),
            Format::Channels(tap) => tap.held(),
            Format::Tunnel(tap) => tap.held(),
        }
    }
}

/// What travels on the streams of an exec or attach, on any wire.
#[derive(Debug)]
pub(super) struct Contents {
    version: channel::Version,
    remote_command: bool,
    sizes: ResizeReader,
    error: Vec<u8>,
    exit_seen: bool,
}

impl Contents {
    pub(super) fn new(streams: &Streams, version: channel::Version) -> Self {
        Self {
            version,
            remote_command: matches!(streams, Streams::RemoteCommand { .. }),
            sizes: ResizeReader::default(),
            error: Vec::new(),
            exit_seen: false,
        }
    }

    pub(super) fn data(
        &mut self,
        stream: SessionStream,
        from: Side,
        bytes: &[u8],
        events: &mut Events<'_>,
    ) {
        if bytes.is_empty() {
            return;
        }
        if stream.kind == StreamType::Resize {
            for size in self.sizes.push(bytes) {
                events(SessionEvent::Resize(size));
            }
            return;
        }
        if self.remote_command && stream.kind == StreamType::Error {
            let room = limits::SESSION_STATUS_BYTES_MAX.saturating_sub(self.error.len());
            self.error
                .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
        events(SessionEvent::Data {
            stream,
            from,
            bytes,
        });
    }

    /// The error stream is complete. Clients take the first content as final, and so do we.
    pub(super) fn error_ended(&mut self, events: &mut Events<'_>) {
        if self.remote_command && !self.exit_seen && !self.error.is_empty() {
            self.exit_seen = true;
            events(SessionEvent::Exit(&ExitStatus::parse(
                &self.error,
                self.version,
            )));
        }
    }

    /// The server has closed the session in order. Before v4 saying nothing means success.
    pub(super) fn closed_by_server(&mut self, events: &mut Events<'_>) {
        self.error_ended(events);
        if self.remote_command && !self.exit_seen && !self.version.has_json_status() {
            self.exit_seen = true;
            events(SessionEvent::Exit(&ExitStatus::parse(&[], self.version)));
        }
    }

    /// Whether the client has the final status, or part of it, so that ours must not follow.
    pub(super) fn has_status(&self) -> bool {
        self.exit_seen || !self.error.is_empty()
    }

    pub(super) fn version(&self) -> channel::Version {
        self.version
    }
}

/// Counts, and hands events to the tap.
pub(super) struct Ledger<'t> {
    tap: &'t mut dyn Tap,
    pub(super) bytes: ByteCounts,
    pub(super) connections: u64,
    pub(super) exit: Option<ExitStatus>,
}

impl<'t> Ledger<'t> {
    pub(super) fn new(tap: &'t mut dyn Tap) -> Self {
        Self {
            tap,
            bytes: ByteCounts::default(),
            connections: 0,
            exit: None,
        }
    }

    pub(super) fn ready(&mut self) -> Result<(), TapError> {
        self.tap.ready()
    }

    pub(super) fn event(&mut self, event: &SessionEvent<'_>, now: Duration) {
        match *event {
            SessionEvent::Data {
                stream,
                from,
                bytes,
            } => {
                let count = match (stream.kind, from) {
                    (StreamType::Stdin, _) => &mut self.bytes.stdin,
                    (StreamType::Stdout, _) => &mut self.bytes.stdout,
                    (StreamType::Stderr, _) => &mut self.bytes.stderr,
                    (StreamType::Data, Side::Client) => &mut self.bytes.data_sent,
                    (StreamType::Data, Side::Server) => &mut self.bytes.data_received,
                    // Small, and told by `exit` or by the terminal sizes.
                    (StreamType::Error | StreamType::Resize, _) => &mut 0,
                };
                *count = count.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            }
            SessionEvent::Opened(stream) if stream.kind == StreamType::Data => {
                self.connections = self.connections.saturating_add(1);
            }
            SessionEvent::Exit(exit) => self.exit = Some(exit.clone()),
            SessionEvent::Opened(_)
            | SessionEvent::Resize(_)
            | SessionEvent::Finished { .. }
            | SessionEvent::Ending(_) => {}
        }
        self.tap.event(event, now);
    }
}
