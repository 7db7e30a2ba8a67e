//! A session whose streams are SPDY streams.

use std::time::Duration;

use super::tap::{Contents, Events, ProtocolError};
use super::{EndReason, Ending, SessionEvent, SessionStream, Side, StreamType, Streams};
use crate::limits;
use crate::wire::channel::Version;
use crate::wire::spdy::frame::{self, GOAWAY_OK, GOAWAY_PROTOCOL_ERROR};
use crate::wire::spdy::{Connection, Event, Expected, StreamInfo};

/// Reads SPDY as it passes, and knows how to end it.
#[derive(Debug)]
pub(super) struct SpdyTap {
    connection: Connection,
    contents: Contents,
    tty: bool,
}

impl SpdyTap {
    pub(super) fn new(streams: &Streams, version: Version) -> Self {
        let (expected, tty) = match *streams {
            Streams::RemoteCommand {
                stdin,
                stdout,
                stderr,
                tty,
            } => (
                Expected::RemoteCommand {
                    stdin,
                    stdout,
                    stderr,
                    tty,
                },
                tty,
            ),
            Streams::PortForward { .. } => (Expected::PortForward, false),
        };
        Self {
            connection: Connection::new(expected),
            contents: Contents::new(streams, version),
            tty,
        }
    }

    pub(super) fn receive(
        &mut self,
        side: Side,
        input: &[u8],
        now: Duration,
        output: &mut Vec<u8>,
        events: &mut Events<'_>,
    ) -> Result<(), ProtocolError> {
        let Self {
            connection,
            contents,
            ..
        } = self;
        connection.receive(side, input, now, output, &mut |event| match event {
            Event::Opened(stream) => events(SessionEvent::Opened(describe(stream))),
            Event::Data {
                stream,
                from,
                bytes,
            } => contents.data(describe(stream), from, bytes, events),
            Event::Finished { stream, from } | Event::Reset { stream, from } => {
                if stream.kind == StreamType::Error && from == Side::Server {
                    contents.error_ended(events);
                }
                events(SessionEvent::Finished {
                    stream: describe(stream),
                    from,
                });
            }
            Event::GoAway { from } => {
                if from == Side::Server {
                    contents.closed_by_server(events);
                }
            }
        })?;
        Ok(())
    }

    pub(super) fn stop(&mut self, side: Side) {
        self.connection.stop(side);
    }

    pub(super) fn at_boundary(&mut self, side: Side) -> bool {
        self.connection.at_boundary(side)
    }

    pub(super) fn closed(&mut self, side: Side) -> bool {
        self.connection.gone(side)
    }

    pub(super) fn held(&mut self) -> usize {
        self.connection
            .held(Side::Client)
            .saturating_add(self.connection.held(Side::Server))
    }

    pub(super) fn fill(&mut self) -> Option<Vec<u8>> {
        let missing = self.connection.abandon(Side::Server);
        (missing <= limits::SESSION_FILL_BYTES_MAX).then(|| vec![0; missing])
    }

    pub(super) fn ending(&mut self, to: Side, ending: &Ending) -> Vec<u8> {
        let mut bytes = Vec::new();
        let from = to.other();
        if self.connection.gone(from) {
            return bytes;
        }
        let mut last_stream = 0;
        if to == Side::Client {
            last_stream = self.connection.last_stream();
            let open: Vec<StreamInfo> = self.connection.open_from(Side::Server).collect();
            self.tell_client(&open, ending, &mut bytes);
        }
        let at_fault = match ending.reason {
            EndReason::ClientProtocol => to == Side::Client,
            EndReason::UpstreamProtocol => to == Side::Server,
            _ => false,
        };
        frame::put_goaway(
            &mut bytes,
            last_stream,
            if at_fault {
                GOAWAY_PROTOCOL_ERROR
            } else {
                GOAWAY_OK
            },
        );
        bytes
    }

    /// The order matters: kubectl waits for the end of the output and then reads the error stream,
    /// and nobody reads anything after GOAWAY.
    fn tell_client(&self, open: &[StreamInfo], ending: &Ending, bytes: &mut Vec<u8>) {
        let find = |kind| open.iter().find(|stream| stream.kind == kind);
        if let Some(stream) = find(StreamType::Stderr).or_else(|| find(StreamType::Stdout)) {
            frame::put_data(bytes, stream.id, false, &ending.terminal_line(self.tty));
        }
        for stream in open {
            match stream.kind {
                StreamType::Error if !self.contents.has_status() => {
                    let content = if stream.port.is_some() {
                        ending.message.clone().into_bytes()
                    } else {
                        ending.error_content(self.contents.version())
                    };
                    frame::put_data(bytes, stream.id, true, &content);
                }
                StreamType::Error | StreamType::Stdout | StreamType::Stderr | StreamType::Data => {
                    frame::put_data(bytes, stream.id, true, &[]);
                }
                StreamType::Stdin | StreamType::Resize => {}
            }
        }
    }
}

fn describe(stream: StreamInfo) -> SessionStream {
    SessionStream {
        kind: stream.kind,
        port: stream.port,
        connection: stream.request,
    }
}
