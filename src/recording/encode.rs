//! What happens in a session becomes lines of asciicast. `docs/recording.md` lists the codes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use super::copy::{Copy, CopyReport};
use super::typed::Typed;
use crate::limits;
use crate::session::{Filter, SessionEvent, SessionStream, Side, StreamType};
use crate::wire::asciicast::{EXIT, Events, INPUT, MARKER, OUTPUT, RESIZE, Version};

/// Says that the output line before was stderr.
pub const STDERR: &str = "portcullis.stderr";
/// Has the exact bytes of the line before, which were not UTF-8.
pub const RAW: &str = "portcullis.raw";
/// Has what a `kubectl cp` copied.
pub const COPY: &str = "portcullis.copy";
/// Has one forwarded connection.
pub const CONNECTION: &str = "portcullis.connection";

/// What is recorded, and how.
#[derive(Clone, Default)]
pub struct Options {
    /// The format.
    pub version: Version,
    /// Input is recorded.
    pub stdin: bool,
    /// There is a terminal, which echoes input.
    pub tty: bool,
    /// The session is a copy whose content is not kept.
    pub copy: Option<Copy>,
}

/// Turns the events of one session into lines.
pub struct Encoder {
    options: Options,
    events: Events,
    stdin: Joiner,
    stdout: Joiner,
    stderr: Joiner,
    typed: Typed,
    /// Masks input that comes without a terminal.
    mask: Option<Box<dyn Filter>>,
    /// What became of input; kept for its memory.
    kept: Vec<u8>,
    connections: BTreeMap<(Option<u64>, Option<u16>), Connection>,
    lines: u64,
    muted: bool,
}

/// A forwarded connection that is open.
#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    opened: Duration,
    sent: u64,
    received: u64,
    client_finished: bool,
    server_finished: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    bytes_sent: u64,
    bytes_received: u64,
    opened_ms: u128,
    duration_ms: u128,
}

impl Encoder {
    /// The encoder of a session that begins.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            events: Events::new(options.version),
            options,
            stdin: Joiner::default(),
            stdout: Joiner::default(),
            stderr: Joiner::default(),
            typed: Typed::default(),
            mask: None,
            kept: Vec::new(),
            connections: BTreeMap::new(),
            lines: 0,
            muted: false,
        }
    }

    /// Keeps what looks like an archive too.
    pub fn keep_contents(&mut self) {
        self.options.copy = None;
    }

    /// Lets of input only that onto the recording what this filter lets out. With a terminal it is not asked: what
    /// is kept there was in the output before, which is masked.
    pub fn mask_input(&mut self, mask: Box<dyn Filter>) {
        self.mask = Some(mask);
    }

    /// Appends the lines of an event at `now` since the beginning; often there is one, or none.
    pub fn event(&mut self, event: &SessionEvent<'_>, now: Duration, out: &mut Vec<u8>) {
        match *event {
            SessionEvent::Data {
                stream,
                from,
                bytes,
            } => self.data(stream, from, bytes, now, out),
            SessionEvent::Resize(size) => {
                // A terminal that does not know its size says zero, and players cannot draw in that.
                if !self.muted && size.width > 0 && size.height > 0 {
                    let size = format!("{}x{}", size.width, size.height);
                    self.put(out, now, RESIZE, &size);
                }
            }
            SessionEvent::Opened(stream) => {
                if stream.kind == StreamType::Data
                    && self.connections.len() < limits::RECORDING_CONNECTIONS_MAX
                {
                    let connection = Connection {
                        opened: now,
                        ..Connection::default()
                    };
                    self.connections
                        .insert((stream.connection, stream.port), connection);
                }
            }
            SessionEvent::Finished { stream, from } => self.finished(stream, from, now, out),
            SessionEvent::Exit(exit) => {
                self.flush(now, out);
                if let Some(code) = exit.code {
                    self.put(out, now, EXIT, &code.to_string());
                } else {
                    let text = format!("portcullis: no exit code: {}", exit.message);
                    self.put(out, now, MARKER, &text);
                }
            }
            SessionEvent::Ending(ending) => {
                self.flush(now, out);
                let text = format!(
                    "portcullis: ended ({}): {}",
                    ending.reason.as_str(),
                    ending.message
                );
                self.put(out, now, MARKER, &text);
            }
        }
    }

    /// Says that the recording is full. From now on only what ends the session has lines; and input, if the session
    /// ends for it: what was read already is still carried out.
    pub fn full(&mut self, max_bytes: u64, session_ends: bool, now: Duration, out: &mut Vec<u8>) {
        let what_then = if session_ends {
            "the session ends"
        } else {
            "the session went on unrecorded"
        };
        let text = format!(
            "portcullis: the recording has reached its cap of {max_bytes} bytes (recording.maxBytes); {what_then}"
        );
        self.put(out, now, MARKER, &text);
        self.put(out, now, OUTPUT, &format!("\r\n[{text}]\r\n"));
        self.muted = true;
        self.options.stdin &= session_ends;
    }

    /// The session is over: appends what was held back.
    pub fn finish(&mut self, now: Duration, out: &mut Vec<u8>) {
        if let Some(copy) = &mut self.options.copy {
            let (kind, rest) = (copy.stream(), copy.rest());
            match kind {
                _ if rest.is_empty() || !self.keeps(kind) => {}
                StreamType::Stdin => self.input(&rest, now, out),
                _ => self.put_bytes(kind, &rest, now, out),
            }
        }
        let recorded = self.keeps(StreamType::Stdin);
        if let Some(mut mask) = self.mask.take().filter(|_| recorded) {
            mask.finish(&mut self.kept);
            self.put_input(now, out);
        }
        self.flush(now, out);
        for ((_, port), connection) in std::mem::take(&mut self.connections) {
            self.connection(port, connection, now, out);
        }
        if let Some(copy) = self.copied() {
            let json = serde_json::to_string(&copy).unwrap_or_default();
            self.put(out, now, COPY, &json);
        }
    }

    /// How many lines there were.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// What was copied, when that is not on the recording.
    #[must_use]
    pub fn copied(&self) -> Option<CopyReport> {
        self.options.copy.as_ref().map(Copy::report)
    }

    fn data(
        &mut self,
        stream: SessionStream,
        from: Side,
        bytes: &[u8],
        now: Duration,
        out: &mut Vec<u8>,
    ) {
        let bytes = match &mut self.options.copy {
            Some(copy) if stream.kind == copy.stream() => copy.push(bytes),
            _ => Cow::Borrowed(bytes),
        };
        let bytes = bytes.as_ref();
        match stream.kind {
            _ if bytes.is_empty() => {} // an archive, which is not kept
            StreamType::Data => {
                let key = (stream.connection, stream.port);
                if let Some(connection) = self.connections.get_mut(&key) {
                    let count = match from {
                        Side::Client => &mut connection.sent,
                        Side::Server => &mut connection.received,
                    };
                    *count = count.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                }
            }
            kind if !self.keeps(kind) => {}
            StreamType::Stdin => self.input(bytes, now, out),
            StreamType::Stdout => {
                if self.options.stdin && self.options.tty {
                    self.typed.output(bytes, now, &mut self.kept);
                    self.put_input(now, out);
                }
                self.put_bytes(StreamType::Stdout, bytes, now, out);
            }
            StreamType::Stderr => self.put_bytes(StreamType::Stderr, bytes, now, out),
            StreamType::Error | StreamType::Resize => {}
        }
    }

    fn input(&mut self, bytes: &[u8], now: Duration, out: &mut Vec<u8>) {
        if self.options.tty {
            self.typed.typed(bytes, now, &mut self.kept);
        } else if let Some(mask) = &mut self.mask {
            mask.push(bytes, now, &mut self.kept);
        } else {
            return self.put_bytes(StreamType::Stdin, bytes, now, out);
        }
        self.put_input(now, out);
    }

    fn finished(&mut self, stream: SessionStream, from: Side, now: Duration, out: &mut Vec<u8>) {
        match stream.kind {
            StreamType::Data => {
                let key = (stream.connection, stream.port);
                let Some(connection) = self.connections.get_mut(&key) else {
                    return;
                };
                match from {
                    Side::Client => connection.client_finished = true,
                    Side::Server => connection.server_finished = true,
                }
                if connection.client_finished
                    && connection.server_finished
                    && let Some(connection) = self.connections.remove(&key)
                {
                    self.connection(stream.port, connection, now, out);
                }
            }
            StreamType::Stdin | StreamType::Stdout | StreamType::Stderr => {
                self.flush_stream(stream.kind, now, out);
            }
            StreamType::Error | StreamType::Resize => {}
        }
    }

    fn connection(
        &mut self,
        port: Option<u16>,
        connection: Connection,
        now: Duration,
        out: &mut Vec<u8>,
    ) {
        if self.muted {
            return;
        }
        let line = ConnectionLine {
            port,
            bytes_sent: connection.sent,
            bytes_received: connection.received,
            opened_ms: connection.opened.as_millis(),
            duration_ms: now.saturating_sub(connection.opened).as_millis(),
        };
        let json = serde_json::to_string(&line).unwrap_or_default();
        self.put(out, now, CONNECTION, &json);
    }

    fn put_input(&mut self, now: Duration, out: &mut Vec<u8>) {
        if self.kept.is_empty() {
            return;
        }
        let kept = std::mem::take(&mut self.kept);
        self.put_bytes(StreamType::Stdin, &kept, now, out);
        self.kept = kept;
        self.kept.clear();
    }

    fn joiner(&mut self, kind: StreamType) -> &mut Joiner {
        match kind {
            StreamType::Stdin => &mut self.stdin,
            StreamType::Stderr => &mut self.stderr,
            _ => &mut self.stdout,
        }
    }

    fn put_bytes(&mut self, kind: StreamType, bytes: &[u8], now: Duration, out: &mut Vec<u8>) {
        let joiner = self.joiner(kind);
        if !joiner.held().is_empty() {
            let joined = [joiner.held(), bytes].concat();
            joiner.length = 0;
            return self.put_bytes(kind, &joined, now, out);
        }
        if let Ok(text) = simdutf8::basic::from_utf8(bytes) {
            self.put_text(kind, text, None, now, out);
        } else {
            let (body, tail) = bytes.split_at(bytes.len() - incomplete_tail(bytes));
            joiner.hold(tail);
            self.put_whole(kind, body, now, out);
        }
    }

    /// Puts bytes of which nothing is to be held back.
    fn put_whole(&mut self, kind: StreamType, bytes: &[u8], now: Duration, out: &mut Vec<u8>) {
        match simdutf8::basic::from_utf8(bytes) {
            Ok("") => {}
            Ok(text) => self.put_text(kind, text, None, now, out),
            Err(_) => {
                let text = String::from_utf8_lossy(bytes);
                self.put_text(kind, &text, Some(bytes), now, out);
            }
        }
    }

    fn put_text(
        &mut self,
        kind: StreamType,
        text: &str,
        raw: Option<&[u8]>,
        now: Duration,
        out: &mut Vec<u8>,
    ) {
        let code = if kind == StreamType::Stdin {
            INPUT
        } else {
            OUTPUT
        };
        self.put(out, now, code, text);
        if kind == StreamType::Stderr {
            let length = raw.map_or(text.len(), <[u8]>::len);
            self.put(out, now, STDERR, &length.to_string());
        }
        if let Some(raw) = raw {
            self.put(out, now, RAW, &BASE64.encode(raw));
        }
    }

    /// Whether a stream of a remote command is recorded now.
    fn keeps(&self, kind: StreamType) -> bool {
        match kind {
            StreamType::Stdin => self.options.stdin,
            _ => !self.muted,
        }
    }

    fn flush(&mut self, now: Duration, out: &mut Vec<u8>) {
        self.typed.finish(&mut self.kept);
        if !self.keeps(StreamType::Stdin) {
            self.kept.clear();
        }
        self.put_input(now, out);
        for kind in [StreamType::Stdin, StreamType::Stdout, StreamType::Stderr] {
            self.flush_stream(kind, now, out);
        }
    }

    fn flush_stream(&mut self, kind: StreamType, now: Duration, out: &mut Vec<u8>) {
        let joiner = self.joiner(kind);
        let held = joiner.bytes;
        let length = std::mem::take(&mut joiner.length);
        if self.keeps(kind) {
            self.put_whole(kind, held.get(..length).unwrap_or_default(), now, out);
        }
    }

    fn put(&mut self, out: &mut Vec<u8>, now: Duration, code: &str, data: &str) {
        self.lines = self.lines.saturating_add(1);
        self.events.put(out, now, code, data);
    }
}

/// Keeps the beginning of a character until the rest of it arrives.
#[derive(Clone, Copy, Debug, Default)]
struct Joiner {
    bytes: [u8; 3],
    length: usize,
}

impl Joiner {
    fn held(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn hold(&mut self, tail: &[u8]) {
        self.length = 0;
        for (to, from) in self.bytes.iter_mut().zip(tail) {
            *to = *from;
            self.length += 1;
        }
    }
}

/// How many bytes at the end begin a character that is not complete: at most three.
fn incomplete_tail(bytes: &[u8]) -> usize {
    (1..=bytes.len().min(3))
        .find(|length| {
            let tail = bytes.get(bytes.len() - length..).unwrap_or_default();
            std::str::from_utf8(tail)
                .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
