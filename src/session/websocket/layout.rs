//! Which channels a session has, and what happens to a message on each.

use super::super::{SessionStream, Side, StreamType, Streams};
use crate::wire::channel::{
    CLOSE, ChannelError, ERROR, Protocol, RESIZE, STDERR, STDIN, STDOUT, Version,
};

/// Which channels there are.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) streams: Streams,
    pub(super) protocol: Protocol,
    /// A v5 client has closed its input.
    pub(super) stdin_closed: bool,
    /// Old port-forward: the first message on each channel names the port.
    announced: Vec<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Forward; the content belongs to this stream.
    Stream(SessionStream),
    /// Forward; it has no content of interest.
    Pass,
    /// v5: the client closes this channel.
    Close,
    /// Leave out: the receiver would ignore it.
    Drop,
}

impl Layout {
    pub(super) fn new(streams: &Streams, protocol: Protocol) -> Self {
        let channels = match streams {
            Streams::RemoteCommand { .. } => 0,
            Streams::PortForward { ports } => ports.len().saturating_mul(2),
        };
        Self {
            streams: streams.clone(),
            protocol,
            stdin_closed: false,
            announced: vec![false; channels],
        }
    }

    /// The stream behind a channel of this session.
    pub(super) fn stream(&self, channel: u8) -> Option<SessionStream> {
        match &self.streams {
            Streams::RemoteCommand {
                stdin,
                stdout,
                stderr,
                tty,
            } => {
                let kind = match channel {
                    STDIN if *stdin => StreamType::Stdin,
                    STDOUT if *stdout => StreamType::Stdout,
                    STDERR if *stderr => StreamType::Stderr,
                    ERROR => StreamType::Error,
                    RESIZE if *tty => StreamType::Resize,
                    _ => return None,
                };
                Some(SessionStream::of(kind))
            }
            Streams::PortForward { ports } => {
                let port = *ports.get(usize::from(channel / 2))?;
                let kind = if channel.is_multiple_of(2) {
                    StreamType::Data
                } else {
                    StreamType::Error
                };
                Some(SessionStream {
                    kind,
                    port: Some(port),
                    connection: Some(u64::from(channel / 2)),
                })
            }
        }
    }

    /// What happens to a message of `side` on `channel` (threat B-49).
    pub(super) fn verdict(
        &self,
        side: Side,
        channel: u8,
        has_content: bool,
    ) -> Result<Verdict, ChannelError> {
        if side == Side::Client && channel == CLOSE && self.protocol.version == Version::V5 {
            return Ok(Verdict::Close);
        }
        let stream = self.stream(channel).ok_or(ChannelError::Channel(channel))?;
        if !stream.kind.carries_from(side) {
            return if has_content {
                Err(ChannelError::Channel(channel))
            } else {
                Ok(Verdict::Pass)
            };
        }
        if side == Side::Client && stream.kind == StreamType::Stdin && self.stdin_closed {
            return Ok(Verdict::Drop);
        }
        if side == Side::Server && self.announced.get(usize::from(channel)) == Some(&false) {
            return Ok(Verdict::Pass);
        }
        Ok(Verdict::Stream(stream))
    }

    pub(super) fn message_ended(&mut self, side: Side, channel: u8) {
        if let (Side::Server, Some(announced)) =
            (side, self.announced.get_mut(usize::from(channel)))
        {
            *announced = true;
        }
    }
}
