//! SPDY in WebSocket messages. The boundaries of the messages mean nothing (peers send a message for
//! every field of a frame), so the tunnel is opened: SPDY is checked, and what may pass leaves in
//! messages of our own.

use std::time::Duration;

use super::super::spdy::SpdyTap;
use super::super::tap::{Events, ProtocolError};
use super::super::{Ending, Side, Streams};
use super::{FIRST_MASK, Phase, close_code, empty_frames};
use crate::wire::budget::Budget;
use crate::wire::channel::{ChannelError, Version};
use crate::wire::side::Both;
use crate::wire::websocket::{ControlType, Decoder, Frame, MessageType, put_close, put_message};

/// Reads tunnelled SPDY as it passes.
#[derive(Debug)]
pub(in crate::session) struct TunnelTap {
    spdy: SpdyTap,
    directions: Both<Direction>,
    /// SPDY bytes on their way into a message.
    inner: Vec<u8>,
}

#[derive(Debug)]
struct Direction {
    frames: Decoder,
    mask: Option<[u8; 4]>,
    empty_frames: Budget,
    phase: Phase,
}

impl Direction {
    fn new(side: Side) -> Self {
        Self {
            frames: Decoder::new(side),
            mask: (side == Side::Client).then_some(FIRST_MASK),
            empty_frames: empty_frames(),
            phase: Phase::Running,
        }
    }
}

impl TunnelTap {
    pub(in crate::session) fn new() -> Self {
        Self {
            // The version is that of exec and attach; a port-forward has none.
            spdy: SpdyTap::new(
                &Streams::PortForward { ports: Vec::new() },
                Version::V4,
                None,
            ),
            directions: Both {
                client: Direction::new(Side::Client),
                server: Direction::new(Side::Server),
            },
            inner: Vec::new(),
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
        let result = self.unwrap_frames(side, input, now, output, events);
        self.wrap(side, output);
        result
    }

    fn unwrap_frames(
        &mut self,
        side: Side,
        input: &[u8],
        now: Duration,
        output: &mut Vec<u8>,
        events: &mut Events<'_>,
    ) -> Result<(), ProtocolError> {
        let mut rest = input;
        loop {
            let direction = self.directions.of(side);
            if !direction.phase.passes(self.spdy.at_boundary(side)) {
                return Ok(());
            }
            let Some(frame) = direction.frames.next(&mut rest)? else {
                return Ok(());
            };
            match frame {
                Frame::Payload { bytes, .. } => {
                    self.spdy
                        .receive(side, bytes, now, &mut self.inner, events)?;
                }
                Frame::Data(head, _) => {
                    if head.message == MessageType::Text {
                        return Err(ProtocolError::TextInTunnel);
                    }
                    direction.mask = head.mask;
                    if head.length == 0 && !direction.empty_frames.take(now) {
                        return Err(ChannelError::TooManyEmpty.into());
                    }
                }
                Frame::Control(kind, _, raw) => {
                    if !direction.empty_frames.take(now) {
                        return Err(ChannelError::TooManyEmpty.into());
                    }
                    if kind == ControlType::Close {
                        direction.phase = Phase::Closed;
                    }
                    // What came before it goes before it.
                    if !self.inner.is_empty() {
                        put_message(output, MessageType::Binary, &self.inner, direction.mask);
                        self.inner.clear();
                    }
                    output.extend_from_slice(raw);
                }
            }
        }
    }

    pub(in crate::session) fn stop(&mut self, side: Side) {
        self.directions.of(side).phase.stop();
        self.spdy.stop(side);
    }

    pub(in crate::session) fn at_boundary(&mut self, side: Side) -> bool {
        self.spdy.at_boundary(side)
    }

    pub(in crate::session) fn closed(&mut self, side: Side) -> bool {
        self.directions.of(side).phase == Phase::Closed
    }

    pub(in crate::session) fn held(&mut self) -> usize {
        let frames = self
            .directions
            .client
            .frames
            .held()
            .saturating_add(self.directions.server.frames.held());
        self.spdy.held().saturating_add(frames)
    }

    pub(in crate::session) fn fill(&mut self) -> Option<Vec<u8>> {
        let mut output = Vec::new();
        self.inner = self.spdy.fill()?;
        self.wrap(Side::Server, &mut output);
        Some(output)
    }

    pub(in crate::session) fn ending(&mut self, to: Side, ending: &Ending) -> Vec<u8> {
        let from = to.other();
        let mut output = Vec::new();
        let direction = self.directions.of(from);
        if direction.phase != Phase::Closed {
            let mask = direction.mask;
            self.inner = self.spdy.ending(to, ending);
            self.wrap(from, &mut output);
            put_close(&mut output, close_code(to, ending), "", mask);
        }
        output
    }

    fn wrap(&mut self, side: Side, output: &mut Vec<u8>) {
        if !self.inner.is_empty() {
            put_message(
                output,
                MessageType::Binary,
                &self.inner,
                self.directions.of(side).mask,
            );
            self.inner.clear();
        }
    }
}
