//! The words in which a connection is described: streams, and what happens on them.

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
