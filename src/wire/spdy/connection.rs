//! Follows the streams of one connection while its bytes pass in both directions.
//!
//! What may be forwarded is what was understood: whole control frames, and DATA in slices. Header
//! blocks are only read, so both ends keep their compression state. Frames on streams that have
//! already ended are dropped, because their receiver would ignore them too; everything that Kubernetes'
//! own peers never send ends the connection (threats B-48, D-11). The payload that a server sends can be
//! left to whoever hears the events, who then forwards what he makes of it.
//!
//! ```text
//! SYN_STREAM (client) -> opened -> SYN_REPLY (server) -> open -> FIN of both, or RST of one -> forgotten
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{ConnectionError, Event, Expected, StreamInfo, StreamType};
use super::frame::{Control, Decoder, Frame, put_data};
use super::headers::{HeaderBlock, Inflater};
use crate::limits;
use crate::wire::budget::Budget;
use crate::wire::side::{Both, Side};

/// Receives the events of one call, in order, and what may go on so far. Whole frames may be appended to
/// what the server sends, before what the event is about.
pub type Events<'e> = dyn FnMut(Event<'_>, &mut Vec<u8>) + 'e;

/// Both directions of one connection.
#[derive(Debug)]
pub struct Connection {
    expected: Expected,
    /// The payload that the server sends is forwarded by whoever hears the events.
    rewritten: bool,
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
            rewritten: false,
            directions: Both::default(),
            streams: BTreeMap::new(),
            last_stream: 0,
        }
    }

    /// Leaves the payload that the server sends out of what is forwarded: whoever hears the events puts
    /// frames in its place. Everything else passes as it came.
    #[must_use]
    pub fn rewritten(self) -> Self {
        Self {
            rewritten: true,
            ..self
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
        let rewritten = self.rewrites(side);
        let direction = self.directions.of(side);
        let mut streams = Streams {
            expected: self.expected,
            open: &mut self.streams,
            last: &mut self.last_stream,
            side,
            rewritten,
        };
        let mut rest = input;
        loop {
            let within_frame = direction.decoder.in_data() && !rewritten;
            if direction.gone || (direction.stopping && !within_frame) {
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
                    streams.control(&control, &mut direction.inflater, output, events)?;
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
                    let Some(current) = direction.current else {
                        continue;
                    };
                    if length == 0 && fin {
                        streams.finish(current.stream, output, events);
                    }
                    if length == 0 || !rewritten {
                        output.extend_from_slice(&raw);
                    }
                }
                Frame::Payload { bytes, rest } => {
                    if let Some(current) = direction.current {
                        streams.payload(current, bytes, rest == 0, output, events);
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
        self.rewrites(side) || !self.directions.of(side).decoder.in_data()
    }

    /// Nothing of what `side` sends is forwarded in slices.
    fn rewrites(&self, side: Side) -> bool {
        self.rewritten && side == Side::Server
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
    /// The payload of this side is forwarded by whoever hears the events.
    rewritten: bool,
}

impl Streams<'_> {
    fn control(
        &mut self,
        control: &Control<'_>,
        inflater: &mut Inflater,
        output: &mut Vec<u8>,
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
            ) => self.open(stream, fin, &inflater.block(block)?, output, events),
            (Control::SynReply { stream, fin, block }, Side::Server) => {
                inflater.block(block)?;
                self.accept(stream, fin, output, events)
            }
            (Control::RstStream { stream, .. }, from) => {
                self.check_opened(stream)?;
                if let Some(Stream { info, .. }) = self.open.remove(&stream) {
                    events(Event::Reset { stream: info, from }, output);
                }
                Ok(())
            }
            (Control::GoAway { .. }, from) => {
                events(Event::GoAway { from }, output);
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
        output: &mut Vec<u8>,
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
        events(Event::Opened(info), output);
        if fin {
            self.finish(info, output, events);
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
        output: &mut Vec<u8>,
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
            self.finish(info, output, events);
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

    /// A slice of a DATA frame that may pass; `last` ends it.
    fn payload(
        &mut self,
        Current { stream, fin }: Current,
        bytes: &[u8],
        last: bool,
        output: &mut Vec<u8>,
        events: &mut Events<'_>,
    ) {
        // Whoever forwards the rest of a frame needs its beginning, and forgot it with the stream.
        if self.rewritten && !self.open.contains_key(&stream.id) {
            return;
        }
        let from = self.side;
        let data = Event::Data {
            stream,
            from,
            bytes,
        };
        events(data, output);
        if !self.rewritten {
            output.extend_from_slice(bytes);
        }
        if last && fin {
            self.finish(stream, output, events);
            if self.rewritten {
                put_data(output, stream.id, true, &[]);
            }
        }
    }

    fn finish(&mut self, info: StreamInfo, output: &mut Vec<u8>, events: &mut Events<'_>) {
        if let Some(stream) = self.open.get_mut(&info.id) {
            *stream.finished.of(self.side) = true;
            if stream.finished.client && stream.finished.server {
                self.open.remove(&info.id);
            }
        }
        let finished = Event::Finished {
            stream: info,
            from: self.side,
        };
        events(finished, output);
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
