//! A session whose streams are SPDY streams.

use std::time::Duration;

use super::rewrite::Rewriter;
use super::tap::{Contents, Events, ProtocolError};
use super::{EndReason, Ending, Filters, SessionEvent, SessionStream, Side, StreamType, Streams};
use crate::limits;
use crate::wire::channel::Version;
use crate::wire::spdy::frame::{self, GOAWAY_OK, GOAWAY_PROTOCOL_ERROR};
use crate::wire::spdy::{Connection, Event, Expected, StreamInfo};

/// Reads SPDY as it passes, and knows how to end it.
#[derive(Debug)]
pub(super) struct SpdyTap {
    connection: Connection,
    contents: Contents,
    rewriter: Option<Rewriter<u32>>,
    tty: bool,
}

impl SpdyTap {
    pub(super) fn new(streams: &Streams, version: Version, filters: Option<Filters>) -> Self {
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
        let filters = filters.filter(|_| expected != Expected::PortForward);
        let connection = Connection::new(expected);
        Self {
            connection: if filters.is_some() {
                connection.rewritten()
            } else {
                connection
            },
            contents: Contents::new(streams, version),
            rewriter: filters.map(Rewriter::new),
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
        let mut passing = Passing {
            contents: &mut self.contents,
            rewriter: self.rewriter.as_mut(),
            now,
            events,
        };
        self.connection
            .receive(side, input, now, output, &mut |event, output| {
                passing.event(event, output);
            })?;
        Ok(())
    }

    pub(super) fn due(&self) -> Option<Duration> {
        self.rewriter.as_ref()?.due()
    }

    pub(super) fn release(&mut self, now: Duration, output: &mut Vec<u8>, events: &mut Events<'_>) {
        if let Some(rewriter) = &mut self.rewriter {
            rewriter.release(now, &mut putting(&mut self.contents, output, events));
        }
    }

    pub(super) fn finish(&mut self, output: &mut Vec<u8>, events: &mut Events<'_>) {
        if let Some(rewriter) = &mut self.rewriter {
            rewriter.finish_all(&mut putting(&mut self.contents, output, events));
        }
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

/// What happens on the connection, on its way to the tap.
struct Passing<'a, 'e> {
    contents: &'a mut Contents,
    rewriter: Option<&'a mut Rewriter<u32>>,
    now: Duration,
    events: &'a mut Events<'e>,
}

impl Passing<'_, '_> {
    fn event(&mut self, event: Event<'_>, output: &mut Vec<u8>) {
        self.rewrite(event, output);
        match event {
            Event::Opened(stream) => (self.events)(SessionEvent::Opened(describe(stream))),
            Event::Data {
                stream,
                from,
                bytes,
            } => {
                if from == Side::Client || self.rewriter.is_none() {
                    self.contents
                        .data(describe(stream), from, bytes, self.events);
                }
            }
            Event::Finished { stream, from } | Event::Reset { stream, from } => {
                if stream.kind == StreamType::Error && from == Side::Server {
                    self.contents.error_ended(self.events);
                }
                (self.events)(SessionEvent::Finished {
                    stream: describe(stream),
                    from,
                });
            }
            Event::GoAway { from } => {
                if from == Side::Server {
                    self.contents.closed_by_server(self.events);
                }
            }
        }
    }

    /// Lets go of what is held back before whatever must not overtake it.
    fn rewrite(&mut self, event: Event<'_>, output: &mut Vec<u8>) {
        let Some(rewriter) = &mut self.rewriter else {
            return;
        };
        let put = &mut putting(self.contents, output, self.events);
        match event {
            Event::Data {
                stream,
                from: Side::Server,
                bytes,
            } => rewriter.push(stream.id, stream.kind, bytes, self.now, put),
            Event::Finished {
                stream,
                from: Side::Server,
            }
            | Event::Reset {
                stream,
                from: Side::Server,
            } => rewriter.finish(stream.id, put),
            Event::GoAway { from: Side::Server } => rewriter.finish_all(put),
            // The client hears nothing more of it.
            Event::Reset {
                stream,
                from: Side::Client,
            } => rewriter.forget(stream.id),
            Event::Opened(_)
            | Event::Data { .. }
            | Event::Finished { .. }
            | Event::GoAway { .. } => {}
        }
    }
}

/// Shows rewritten payload to the tap and puts it into frames for the client.
fn putting<'a>(
    contents: &'a mut Contents,
    output: &'a mut Vec<u8>,
    events: &'a mut Events<'_>,
) -> impl FnMut(u32, StreamType, &[u8]) {
    move |id, kind, bytes| {
        contents.data(SessionStream::of(kind), Side::Server, bytes, events);
        frame::put_data(output, id, false, bytes);
    }
}

fn describe(stream: StreamInfo) -> SessionStream {
    SessionStream {
        kind: stream.kind,
        port: stream.port,
        connection: stream.request,
    }
}
