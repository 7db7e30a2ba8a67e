//! Messages that begin with a channel: exec and attach, and the old port-forward.
//!
//! The API server takes a continuation frame of a client for a message of its own, whose first byte
//! is a channel; we do not (threat B-47). A fragmented message of a client is therefore joined into
//! one frame, up to a limit. It is the only thing that is framed anew, unless a command's output is rewritten.
//! Messages that the API server would ignore are left out.

use std::time::Duration;

use super::super::tap::{Contents, Events, ProtocolError};
use super::super::{EndReason, Ending, Filters, SessionEvent, Side, StreamType, Streams};
use super::layout::{Layout, Verdict};
use super::rewriting::{Rewriting, message_type, putting};
use super::{FIRST_MASK, Phase, close_code, empty_frames};
use crate::limits;
use crate::wire::budget::Budget;
use crate::wire::channel::{self, ChannelError, ERROR, Protocol, STDERR, STDOUT};
use crate::wire::side::Both;
use crate::wire::websocket::{
    ControlType, DataHead, Decoder, Frame, MessageType, put_close, put_message,
};

/// A message up to this long is looked at whole before it is forwarded; longer ones pass in slices.
const WHOLE_MESSAGE_BYTES: u64 = 125;

/// Reads channel messages as they pass.
#[derive(Debug)]
pub(in crate::session) struct ChannelTap {
    layout: Layout,
    contents: Contents,
    frames: Both<Decoder>,
    directions: Both<Direction>,
    rewriting: Option<Rewriting>,
}

#[derive(Debug)]
struct Direction {
    messages: channel::Decoder,
    /// The head of a frame, until the message's channel has been checked.
    head: Vec<u8>,
    /// A message that is looked at whole.
    whole: Option<Vec<u8>>,
    /// Where the payload of the current message belongs, once that is known.
    verdict: Option<Verdict>,
    message: MessageType,
    /// The current frame is the last one of its message.
    last: bool,
    /// Part of a message has been forwarded.
    open: bool,
    mask: Option<[u8; 4]>,
    empty_frames: Budget,
    phase: Phase,
}

impl Direction {
    fn new(side: Side, protocol: Protocol) -> Self {
        Self {
            messages: channel::Decoder::new(protocol),
            head: Vec::new(),
            whole: None,
            verdict: None,
            message: MessageType::Binary,
            last: true,
            open: false,
            mask: (side == Side::Client).then_some(FIRST_MASK),
            empty_frames: empty_frames(),
            phase: Phase::Running,
        }
    }
}

impl ChannelTap {
    pub(in crate::session) fn new(
        streams: &Streams,
        protocol: Protocol,
        filters: Option<Filters>,
    ) -> Self {
        let filters = filters.filter(|_| matches!(streams, Streams::RemoteCommand { .. }));
        Self {
            layout: Layout::new(streams, protocol),
            contents: Contents::new(streams, protocol.version),
            frames: Both {
                client: Decoder::new(Side::Client),
                server: Decoder::new(Side::Server),
            },
            directions: Both {
                client: Direction::new(Side::Client, protocol),
                server: Direction::new(Side::Server, protocol),
            },
            rewriting: filters.map(Rewriting::new),
        }
    }

    pub(in crate::session) fn start(&self, events: &mut Events<'_>) {
        for channel in 0..=u8::MAX {
            if let Some(stream) = self.layout.stream(channel) {
                events(SessionEvent::Opened(stream));
            }
        }
    }

    pub(in crate::session) fn receive(
        &mut self,
        side: Side,
        input: &[u8],
        now: Duration,
        output: &mut Vec<u8>,
        events: &mut Events<'_>,
    ) -> Result<(), ProtocolError> {
        let Self {
            layout,
            contents,
            frames,
            directions,
            rewriting,
        } = self;
        let mut message = Message {
            layout,
            contents,
            direction: directions.of(side),
            rewriting: rewriting.as_mut().filter(|_| side == Side::Server),
            side,
            output,
            events,
        };
        let mut rest = input;
        loop {
            if !message.direction.phase.passes(!message.direction.open) {
                return Ok(());
            }
            let Some(frame) = frames.of(side).next(&mut rest)? else {
                return Ok(());
            };
            message.frame(frame, now)?;
        }
    }

    pub(in crate::session) fn due(&self) -> Option<Duration> {
        self.rewriting.as_ref()?.rewriter.due()
    }

    pub(in crate::session) fn release(
        &mut self,
        now: Duration,
        output: &mut Vec<u8>,
        events: &mut Events<'_>,
    ) {
        let protocol = self.layout.protocol;
        if let Some(rewriting) = &mut self.rewriting {
            let put = &mut putting(protocol, &mut self.contents, output, events);
            rewriting.rewriter.release(now, put);
        }
    }

    pub(in crate::session) fn finish(&mut self, output: &mut Vec<u8>, events: &mut Events<'_>) {
        let protocol = self.layout.protocol;
        if let Some(rewriting) = &mut self.rewriting {
            let put = &mut putting(protocol, &mut self.contents, output, events);
            rewriting.rewriter.finish_all(put);
        }
    }

    pub(in crate::session) fn stop(&mut self, side: Side) {
        self.directions.of(side).phase.stop();
    }

    pub(in crate::session) fn at_boundary(&mut self, side: Side) -> bool {
        !self.directions.of(side).open
    }

    pub(in crate::session) fn closed(&mut self, side: Side) -> bool {
        self.directions.of(side).phase == Phase::Closed
    }

    pub(in crate::session) fn held(&mut self) -> usize {
        let directions = [&self.directions.client, &self.directions.server].into_iter();
        let messages: usize = directions
            .map(|direction| {
                direction
                    .head
                    .len()
                    .saturating_add(direction.whole.as_ref().map_or(0, Vec::len))
            })
            .sum();
        messages
            .saturating_add(self.rewriting.as_ref().map_or(0, Rewriting::held))
            .saturating_add(self.frames.client.held())
            .saturating_add(self.frames.server.held())
    }

    pub(in crate::session) fn fill(&mut self) -> Option<Vec<u8>> {
        let direction = &mut self.directions.server;
        let missing = self.frames.server.abandon();
        // Peers in Kubernetes send messages of one frame, so nothing waits for another one.
        if missing > limits::SESSION_FILL_BYTES_MAX || !direction.last {
            return None;
        }
        direction.open = false;
        let zero = if self.layout.protocol.base64 { b'A' } else { 0 };
        Some(vec![zero; missing])
    }

    /// The order matters: clients read everything up to the first status, and nothing after Close.
    pub(in crate::session) fn ending(&mut self, to: Side, ending: &Ending) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Direction { phase, mask, .. } = *self.directions.of(to.other());
        if phase == Phase::Closed {
            return bytes;
        }
        let protocol = self.layout.protocol;
        if let (
            Side::Client,
            Streams::RemoteCommand {
                stdout,
                stderr,
                tty,
                ..
            },
        ) = (to, &self.layout.streams)
        {
            let kind = message_type(protocol);
            let terminal = match (*stderr && !*tty, *stdout) {
                (true, _) => Some(STDERR),
                (false, true) => Some(STDOUT),
                (false, false) => None,
            };
            if let Some(channel) = terminal.filter(|_| !self.contents.has_status()) {
                put_message(
                    &mut bytes,
                    kind,
                    &protocol.message(channel, &ending.terminal_line(*tty)),
                    mask,
                );
            }
            if !self.contents.has_status() {
                let content = ending.error_content(protocol.version);
                put_message(&mut bytes, kind, &protocol.message(ERROR, &content), mask);
            }
        }
        let reason = if ending.reason == EndReason::ClientProtocol {
            ending.message.as_str()
        } else {
            ""
        };
        put_close(&mut bytes, close_code(to, ending), reason, mask);
        bytes
    }
}

/// One direction at work.
struct Message<'a, 'e> {
    layout: &'a mut Layout,
    contents: &'a mut Contents,
    direction: &'a mut Direction,
    /// When the content of what this side sends is rewritten.
    rewriting: Option<&'a mut Rewriting>,
    side: Side,
    output: &'a mut Vec<u8>,
    events: &'a mut Events<'e>,
}

impl Message<'_, '_> {
    fn frame(&mut self, frame: Frame<'_>, now: Duration) -> Result<(), ProtocolError> {
        match frame {
            Frame::Control(kind, _, raw) => {
                self.spend(now)?;
                if let (ControlType::Close, Some(rewriting)) = (kind, &mut self.rewriting) {
                    let protocol = self.layout.protocol;
                    let put = &mut putting(protocol, self.contents, self.output, self.events);
                    rewriting.rewriter.finish_all(put);
                }
                self.output.extend_from_slice(raw);
                if kind == ControlType::Close {
                    self.direction.phase = Phase::Closed;
                    if self.side == Side::Server {
                        self.contents.closed_by_server(self.events);
                    }
                }
                Ok(())
            }
            Frame::Data(head, raw) => self.head(head, raw, now),
            Frame::Payload { bytes, raw, rest } => {
                if let Some(whole) = &mut self.direction.whole {
                    if whole.len().saturating_add(bytes.len()) > limits::WEBSOCKET_JOINED_BYTES_MAX
                    {
                        return Err(ChannelError::Fragmented.into());
                    }
                    whole.extend_from_slice(bytes);
                } else {
                    self.slice(bytes, raw, now)?;
                }
                if rest == 0 {
                    self.frame_ended(now)
                } else {
                    Ok(())
                }
            }
        }
    }

    fn head(&mut self, head: DataHead, raw: &[u8], now: Duration) -> Result<(), ProtocolError> {
        let direction = &mut *self.direction;
        if head.first {
            direction.messages.begin();
            direction.verdict = None;
            direction.message = head.message;
            let joined =
                self.side == Side::Client && (!head.last || head.length <= WHOLE_MESSAGE_BYTES);
            direction.whole = joined.then(Vec::new);
        }
        direction.last = head.last;
        if head.mask.is_some() {
            direction.mask = head.mask;
        }
        if direction.whole.is_none() && self.rewriting.is_none() {
            direction.head.clear();
            direction.head.extend_from_slice(raw);
            // Fragments of a server's message after its channel is known, and empty ones.
            if head.length == 0 || direction.verdict.is_some() {
                self.output.append(&mut direction.head);
                direction.open = true;
            }
        }
        if head.length > 0 {
            return Ok(());
        }
        self.spend(now)?;
        self.frame_ended(now)
    }

    /// A slice of a message that passes in slices.
    fn slice(&mut self, bytes: &[u8], raw: &[u8], now: Duration) -> Result<(), ProtocolError> {
        let Some((channel, content)) = self.direction.messages.push(bytes)? else {
            return Ok(());
        };
        let verdict = match self.direction.verdict {
            Some(verdict) => verdict,
            None => self.layout.verdict(self.side, channel, true)?,
        };
        self.direction.verdict = Some(verdict);
        match verdict {
            Verdict::Drop => {
                self.direction.head.clear();
                return Ok(());
            }
            // Too long to be one.
            Verdict::Close => return Err(ChannelError::Close.into()),
            Verdict::Stream(stream) => {
                if let Some(rewriting) = &mut self.rewriting {
                    let protocol = self.layout.protocol;
                    let put = &mut putting(protocol, self.contents, self.output, self.events);
                    rewriting.content(channel, stream.kind, content, now, put);
                    return Ok(());
                }
                self.contents.data(stream, self.side, content, self.events);
            }
            Verdict::Pass => {}
        }
        self.direction.open = true;
        self.output.append(&mut self.direction.head);
        self.output.extend_from_slice(raw);
        Ok(())
    }

    fn frame_ended(&mut self, now: Duration) -> Result<(), ProtocolError> {
        if !self.direction.last {
            return Ok(());
        }
        if let Some(whole) = self.direction.whole.take() {
            return self.whole(&whole, now);
        }
        self.direction.open = false;
        let channel = self.direction.messages.end()?;
        self.rewritten_ended(channel, now);
        if let Some(channel) = channel {
            self.layout.message_ended(self.side, channel);
            if self.side == Side::Server && channel == ERROR {
                self.contents.error_ended(self.events);
            }
        }
        Ok(())
    }

    /// The end of a message whose content was rewritten.
    fn rewritten_ended(&mut self, channel: Option<u8>, now: Duration) {
        let Some(rewriting) = &mut self.rewriting else {
            return;
        };
        let protocol = self.layout.protocol;
        if let (Some(channel), Some(Verdict::Stream(stream))) = (channel, self.direction.verdict) {
            let put = &mut putting(protocol, self.contents, self.output, self.events);
            rewriting.message_ended(channel, stream.kind, now, put);
        } else {
            put_message(self.output, message_type(protocol), &[], None);
        }
    }

    /// A message that is looked at whole. Only clients' messages are.
    fn whole(&mut self, whole: &[u8], now: Duration) -> Result<(), ProtocolError> {
        if let Some((channel, content)) = self.direction.messages.push(whole)? {
            match self
                .layout
                .verdict(self.side, channel, !content.is_empty())?
            {
                Verdict::Drop => return Ok(()),
                Verdict::Pass => {}
                Verdict::Stream(stream) => {
                    if content.is_empty() {
                        self.spend(now)?;
                    } else {
                        self.contents.data(stream, self.side, content, self.events);
                    }
                }
                Verdict::Close => {
                    let &[closed] = content else {
                        return Err(ChannelError::Close.into());
                    };
                    self.close(closed)?;
                }
            }
            self.direction.messages.end()?;
        }
        put_message(
            self.output,
            self.direction.message,
            whole,
            self.direction.mask,
        );
        Ok(())
    }

    fn close(&mut self, channel: u8) -> Result<(), ProtocolError> {
        let stream = self.layout.stream(channel).ok_or(ChannelError::Close)?;
        if stream.kind == StreamType::Stdin && !self.layout.stdin_closed {
            self.layout.stdin_closed = true;
            (self.events)(SessionEvent::Finished {
                stream,
                from: self.side,
            });
        }
        Ok(())
    }

    fn spend(&mut self, now: Duration) -> Result<(), ProtocolError> {
        if self.direction.empty_frames.take(now) {
            Ok(())
        } else {
            Err(ChannelError::TooManyEmpty.into())
        }
    }
}
