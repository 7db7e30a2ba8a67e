//! Follows the streams of one connection while its bytes pass in both directions.
//!
//! What may be forwarded is what was understood: whole control frames, and DATA in slices. Header
//! blocks are only read, so both ends keep their compression state. Frames on streams that have
//! already ended are dropped, because their receiver would ignore them too; everything that Kubernetes'
//! own peers never send ends the connection (threats B-48, D-11).
//!
//! ```text
//! SYN_STREAM (client) -> opened -> SYN_REPLY (server) -> open -> FIN of both, or RST of one -> forgotten
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{Event, Expected, StreamInfo, StreamType};
use super::frame::{Control, Decoder, Frame, FrameError};
use super::headers::{HeaderBlock, HeaderError, Inflater};
use crate::limits;
use crate::wire::budget::Budget;
use crate::wire::side::{Both, Side};

/// Why the connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The bytes are not frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The headers of a frame cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A frame that this side never sends in Kubernetes.
    #[error("unexpected SPDY {0} frame")]
    Unexpected(&'static str),
    /// Stream numbers must be odd and rise.
    #[error("SPDY stream number {0} out of order")]
    StreamNumber(u32),
    /// A stream that the request did not ask for, or that exists already.
    #[error("SPDY stream type {0:?} was not asked for, or is open already")]
    StreamType(String),
    /// A header of a port-forward stream is not valid.
    #[error("SPDY stream has no valid {0}")]
    StreamHeader(&'static str),
    /// More open streams than allowed.
    #[error("too many SPDY streams")]
    TooManyStreams,
    /// A frame for a stream that was never opened.
    #[error("SPDY frame for stream {0}, which was not opened")]
    NotOpened(u32),
    /// DATA for a stream that was not accepted yet.
    #[error("SPDY data on stream {0} before it was accepted")]
    NotAccepted(u32),
    /// Payload against the direction of the stream.
    #[error("SPDY data on the {0:?} stream from the wrong side")]
    WrongDirection(StreamType),
    /// PINGs and frames without content faster than any client sends them.
    #[error("too many SPDY frames without content")]
    TooManyEmptyFrames,
}

/// Receives the events of one call, in order.
pub type Events<'e> = dyn FnMut(Event<'_>) + 'e;

/// Both directions of one connection.
#[derive(Debug)]
pub struct Connection {
    expected: Expected,
    directions: Both<Direction>,
    streams: BTreeMap<u32, Stream>,
    last_stream: u32,
}

#[derive(Debug, Default)]
struct Direction {
    decoder: Decoder,
    inflater: Inflater,
    /// Where the payload of the current DATA frame belongs; `None` drops it.
    current: Option<Current>,
    empty_frames: EmptyFrames,
    /// A GOAWAY has passed: the receiver reads nothing more.
    gone: bool,
    /// Only the rest of the current DATA frame may still pass.
    stopping: bool,
}

#[derive(Debug)]
struct EmptyFrames(Budget);

impl Default for EmptyFrames {
    fn default() -> Self {
        Self(Budget::new(
            limits::SESSION_EMPTY_FRAMES_BURST,
            limits::SESSION_EMPTY_FRAMES_PER_SECOND,
        ))
    }
}

#[derive(Debug, Clone, Copy)]
struct Current {
    stream: StreamInfo,
    fin: bool,
}

#[derive(Debug)]
struct Stream {
    info: StreamInfo,
    accepted: bool,
    finished: Both<bool>,
}

impl Connection {
    /// A connection right after the upgrade.
    #[must_use]
    pub fn new(expected: Expected) -> Self {
        Self {
            expected,
            directions: Both::default(),
            streams: BTreeMap::new(),
            last_stream: 0,
        }
    }

    /// Takes bytes that `side` sent and appends to `output` what may go on to the other side.
    ///
    /// After an error nothing more may be passed in; what is in `output` was valid and may be sent.
    pub fn receive(
        &mut self,
        side: Side,
        input: &[u8],
        now: Duration,
        output: &mut Vec<u8>,
        events: &mut Events<'_>,
    ) -> Result<(), ConnectionError> {
        let direction = self.directions.of(side);
        let mut streams = Streams {
            expected: self.expected,
            open: &mut self.streams,
            last: &mut self.last_stream,
            side,
        };
        let mut rest = input;
        loop {
            if direction.gone || (direction.stopping && !direction.decoder.in_data()) {
                return Ok(());
            }
            let Some(frame) = direction.decoder.next(&mut rest)? else {
                return Ok(());
            };
            match frame {
                Frame::Control(control, raw) => {
                    if !changes_a_stream(&control) && !direction.empty_frames.0.take(now) {
                        return Err(ConnectionError::TooManyEmptyFrames);
                    }
                    streams.control(&control, &mut direction.inflater, events)?;
                    direction.gone = matches!(control, Control::GoAway { .. });
                    output.extend_from_slice(raw);
                }
                Frame::Data {
                    stream,
                    fin,
                    length,
                    raw,
                } => {
                    if length == 0 && !fin && !direction.empty_frames.0.take(now) {
                        return Err(ConnectionError::TooManyEmptyFrames);
                    }
                    direction.current = streams
                        .data(stream, length)?
                        .map(|stream| Current { stream, fin });
                    if let Some(current) = direction.current {
                        output.extend_from_slice(&raw);
                        if length == 0 && current.fin {
                            streams.finish(current.stream, events);
                        }
                    }
                }
                Frame::Payload { bytes, rest } => {
                    let Some(Current { stream, fin }) = direction.current else {
                        continue;
                    };
                    events(Event::Data {
                        stream,
                        from: side,
                        bytes,
                    });
                    output.extend_from_slice(bytes);
                    if rest == 0 && fin {
                        streams.finish(stream, events);
                    }
                }
            }
        }
    }

    /// From now on only the rest of the current DATA frame of `side` passes.
    pub fn stop(&mut self, side: Side) {
        self.directions.of(side).stopping = true;
    }

    /// True when frames of our own may follow what was forwarded of `side`.
    pub fn at_boundary(&mut self, side: Side) -> bool {
        !self.directions.of(side).decoder.in_data()
    }

    /// True when `side` has said that it reads nothing more.
    pub fn gone(&mut self, side: Side) -> bool {
        self.directions.of(side).gone
    }

    /// Gives up the DATA frame that `side` has begun to send; how many bytes of it were still to be
    /// forwarded. Nothing of that side may be passed in afterwards.
    pub fn abandon(&mut self, side: Side) -> usize {
        let direction = self.directions.of(side);
        let missing = direction.decoder.abandon();
        // Of a frame that is dropped nothing was forwarded.
        if direction.current.is_some() {
            missing
        } else {
            0
        }
    }

    /// The streams on which `side` may still send.
    pub fn open_from(&mut self, side: Side) -> impl Iterator<Item = StreamInfo> {
        self.streams.values_mut().filter_map(move |stream| {
            (stream.accepted && !*stream.finished.of(side)).then_some(stream.info)
        })
    }

    /// The highest stream the client has opened.
    #[must_use]
    pub fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// Bytes held back of what `side` sent.
    pub fn held(&mut self, side: Side) -> usize {
        self.directions.of(side).decoder.held()
    }
}

/// The streams, seen from one side.
struct Streams<'a> {
    expected: Expected,
    open: &'a mut BTreeMap<u32, Stream>,
    last: &'a mut u32,
    side: Side,
}

impl Streams<'_> {
    fn control(
        &mut self,
        control: &Control<'_>,
        inflater: &mut Inflater,
        events: &mut Events<'_>,
    ) -> Result<(), ConnectionError> {
        match (*control, self.side) {
            (
                Control::SynStream {
                    stream,
                    associated: 0,
                    unidirectional: false,
                    fin,
                    block,
                    ..
                },
                Side::Client,
            ) => self.open(stream, fin, &inflater.block(block)?, events),
            (Control::SynReply { stream, fin, block }, Side::Server) => {
                inflater.block(block)?;
                self.accept(stream, fin, events)
            }
            (Control::RstStream { stream, .. }, from) => {
                self.check_opened(stream)?;
                if let Some(Stream { info, .. }) = self.open.remove(&stream) {
                    events(Event::Reset { stream: info, from });
                }
                Ok(())
            }
            (Control::GoAway { .. }, from) => {
                events(Event::GoAway { from });
                Ok(())
            }
            (Control::Settings | Control::Ping { .. } | Control::WindowUpdate { .. }, _) => Ok(()),
            (Control::SynStream { .. }, _) => Err(ConnectionError::Unexpected("SYN_STREAM")),
            (Control::SynReply { .. }, _) => Err(ConnectionError::Unexpected("SYN_REPLY")),
            (Control::Headers { .. }, _) => Err(ConnectionError::Unexpected("HEADERS")),
        }
    }

    fn open(
        &mut self,
        id: u32,
        fin: bool,
        headers: &HeaderBlock,
        events: &mut Events<'_>,
    ) -> Result<(), ConnectionError> {
        if id.is_multiple_of(2) || id <= *self.last {
            return Err(ConnectionError::StreamNumber(id));
        }
        *self.last = id;
        let info = self.describe(id, headers)?;
        let streams_max = match self.expected {
            Expected::RemoteCommand { .. } => limits::SPDY_REMOTE_COMMAND_STREAMS_MAX,
            Expected::PortForward => limits::SPDY_PORT_FORWARD_STREAMS_MAX,
        };
        if self.open.len() >= streams_max {
            return Err(ConnectionError::TooManyStreams);
        }
        self.open.insert(
            id,
            Stream {
                info,
                accepted: false,
                finished: Both::default(),
            },
        );
        events(Event::Opened(info));
        if fin {
            self.finish(info, events);
        }
        Ok(())
    }

    fn describe(&self, id: u32, headers: &HeaderBlock) -> Result<StreamInfo, ConnectionError> {
        let name = headers
            .get("streamtype")
            .ok_or(ConnectionError::StreamHeader("streamtype"))?;
        let kind = match (self.expected, name) {
            (_, "error") => Some(StreamType::Error),
            (Expected::RemoteCommand { stdin: true, .. }, "stdin") => Some(StreamType::Stdin),
            (Expected::RemoteCommand { stdout: true, .. }, "stdout") => Some(StreamType::Stdout),
            (Expected::RemoteCommand { stderr: true, .. }, "stderr") => Some(StreamType::Stderr),
            (Expected::RemoteCommand { tty: true, .. }, "resize") => Some(StreamType::Resize),
            (Expected::PortForward, "data") => Some(StreamType::Data),
            _ => None,
        };
        let refused = || ConnectionError::StreamType(name.to_owned());
        let kind = kind.ok_or_else(refused)?;
        let (mut port, mut request) = (None, None);
        if self.expected == Expected::PortForward {
            let value = headers
                .get("port")
                .and_then(decimal)
                .and_then(|port| u16::try_from(port).ok());
            port = Some(
                value
                    .filter(|port| *port > 0)
                    .ok_or(ConnectionError::StreamHeader("port"))?,
            );
            // Clients before request ids existed leave it out; the server pairs by stream number then.
            request = headers
                .get("requestid")
                .map(|text| decimal(text).ok_or(ConnectionError::StreamHeader("requestid")))
                .transpose()?;
        }
        let twin = |other: &Stream| {
            other.info.kind == kind
                && other.info.request == request
                && (port.is_none() || request.is_some())
        };
        if self.open.values().any(twin) {
            return Err(refused());
        }
        Ok(StreamInfo {
            id,
            kind,
            port,
            request,
        })
    }

    fn accept(
        &mut self,
        id: u32,
        fin: bool,
        events: &mut Events<'_>,
    ) -> Result<(), ConnectionError> {
        self.check_opened(id)?;
        // A reply can cross the client's RST.
        let Some(stream) = self.open.get_mut(&id) else {
            return Ok(());
        };
        if stream.accepted {
            return Err(ConnectionError::Unexpected("SYN_REPLY"));
        }
        stream.accepted = true;
        let info = stream.info;
        if fin {
            self.finish(info, events);
        }
        Ok(())
    }

    /// The stream on which the DATA frame may pass; `None` when its receiver would ignore it.
    fn data(&mut self, id: u32, length: u32) -> Result<Option<StreamInfo>, ConnectionError> {
        self.check_opened(id)?;
        let Some(stream) = self.open.get_mut(&id) else {
            return Ok(None);
        };
        if *stream.finished.of(self.side) {
            return Ok(None);
        }
        if !stream.accepted {
            return Err(ConnectionError::NotAccepted(id));
        }
        if length > 0 && !stream.info.kind.carries_from(self.side) {
            return Err(ConnectionError::WrongDirection(stream.info.kind));
        }
        Ok(Some(stream.info))
    }

    fn finish(&mut self, info: StreamInfo, events: &mut Events<'_>) {
        if let Some(stream) = self.open.get_mut(&info.id) {
            *stream.finished.of(self.side) = true;
            if stream.finished.client && stream.finished.server {
                self.open.remove(&info.id);
            }
        }
        events(Event::Finished {
            stream: info,
            from: self.side,
        });
    }

    fn check_opened(&self, id: u32) -> Result<(), ConnectionError> {
        if id.is_multiple_of(2) || id > *self.last {
            Err(ConnectionError::NotOpened(id))
        } else {
            Ok(())
        }
    }
}

/// Decimal digits and nothing else: `str::parse` alone would take a sign.
fn decimal(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// Frames that open or end a stream are bounded by the number of streams.
fn changes_a_stream(control: &Control<'_>) -> bool {
    matches!(
        control,
        Control::SynStream { .. } | Control::SynReply { .. }
    )
}

#[cfg(test)]
mod tests;
