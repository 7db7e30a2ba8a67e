//! The words in which a connection is described: streams, what happens on them, and what is wrong.

use super::frame::FrameError;
use super::headers::HeaderError;
use crate::wire::side::Side;

/// What a stream carries, by its `streamtype` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamType {
    /// The final `Status`, or the reason why a port-forward failed.
    Error,
    /// Input of the command.
    Stdin,
    /// Output of the command; with a terminal, all of it.
    Stdout,
    /// Error output of the command.
    Stderr,
    /// Sizes of the terminal, as JSON.
    Resize,
    /// Bytes of a forwarded connection.
    Data,
}

impl StreamType {
    /// Whether payload from `side` may travel on such a stream.
    #[must_use]
    pub fn carries_from(self, side: Side) -> bool {
        match self {
            Self::Stdin | Self::Resize => side == Side::Client,
            Self::Stdout | Self::Stderr | Self::Error => side == Side::Server,
            Self::Data => true,
        }
    }
}

/// One stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its number on the wire.
    pub id: u32,
    /// What it carries.
    pub kind: StreamType,
    /// The port in the pod; port-forward only.
    pub port: Option<u16>,
    /// What pairs an error stream with its data stream; port-forward only.
    pub request: Option<u64>,
}

/// Which streams the request asked for; others are not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// exec and attach: by the request's query.
    RemoteCommand {
        /// `stdin` was asked for.
        stdin: bool,
        /// `stdout` was asked for.
        stdout: bool,
        /// `stderr` was asked for.
        stderr: bool,
        /// `tty` was asked for.
        tty: bool,
    },
    /// port-forward: pairs of error and data streams.
    PortForward,
}

/// What happened, in the order of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The client opened a stream.
    Opened(StreamInfo),
    /// A slice of payload.
    Data {
        /// On which stream.
        stream: StreamInfo,
        /// Who sent it.
        from: Side,
        /// Never empty.
        bytes: &'a [u8],
    },
    /// `from` will send nothing more on the stream.
    Finished {
        /// Which stream.
        stream: StreamInfo,
        /// Whose end it is.
        from: Side,
    },
    /// `from` ended the stream in both directions.
    Reset {
        /// Which stream.
        stream: StreamInfo,
        /// Who gave up.
        from: Side,
    },
    /// `from` reads nothing more.
    GoAway {
        /// Who leaves.
        from: Side,
    },
}

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
