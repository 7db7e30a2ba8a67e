//! exec, attach and port-forward: bytes pass in order and with back-pressure, while a tap reads them. They
//! pass unchanged, but for the output of a command that a [`filter`] rewrites.
//!
//! [`relay()`] drives the two sockets. The taps below are pure: `spdy` and `websocket` say what
//! the bytes mean and what may pass, [`tap`] turns that into [`SessionEvent`]s for whoever records.

pub mod filter;
pub mod relay;
mod rewrite;
mod spdy;
pub mod tap;
mod websocket;

use std::time::Duration;

use serde::Serialize;

pub use self::filter::{Filter, Filters};
pub use self::relay::relay;
pub use self::tap::{NoTap, Pace, SessionEvent, SessionStream, Tap, TapError};
use crate::limits;
use crate::wire::channel;
pub use crate::wire::channel::{ExitStatus, TerminalSize};
pub use crate::wire::side::Side;
pub use crate::wire::spdy::StreamType;

/// What was agreed on when the session was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which streams the request asked for.
    pub streams: Streams,
    /// How they travel.
    pub protocol: Protocol,
    /// How long no byte may pass in either direction; pings count.
    pub idle_timeout: Duration,
}

impl Session {
    /// A session with the idle timeout that Kubernetes itself has.
    #[must_use]
    pub fn new(streams: Streams, protocol: Protocol) -> Self {
        Self {
            streams,
            protocol,
            idle_timeout: limits::SESSION_IDLE_TIMEOUT,
        }
    }
}

/// The streams that the request asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Streams {
    /// exec and attach, by their query.
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
    /// port-forward.
    PortForward {
        /// The `ports` of the query, in order. Only the old WebSocket form has any.
        ports: Vec<u16>,
    },
}

/// How the streams travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// SPDY/3.1 right after the upgrade.
    Spdy(channel::Version),
    /// WebSocket messages that begin with a channel.
    Channels(channel::Protocol),
    /// WebSocket messages that carry SPDY/3.1; port-forward only.
    Tunnel,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The command ended, or the server closed the session in order.
    Completed,
    /// The client went away first.
    ClientGone,
    /// The API server went away without an end.
    UpstreamGone,
    /// The caller's credential has expired.
    Expired,
    /// The caller's credential was revoked.
    Revoked,
    /// The policy no longer allows it.
    PolicyChanged,
    /// Somebody's yes to it ended or was taken back.
    ApprovalEnded,
    /// An operator blocked the caller.
    Blocked,
    /// The caller's budget of bytes is used up.
    OverBudget,
    /// The gateway is shutting down.
    Shutdown,
    /// No byte passed for too long.
    Idle,
    /// The client sent what no client may send.
    ClientProtocol,
    /// The API server sent what no server sends.
    UpstreamProtocol,
    /// An operator ended it.
    Killed,
    /// The session could not be recorded any longer.
    RecorderFailed,
    /// The session had to be recorded, and its recording was full.
    RecordingFull,
    /// Something turned up in its output that may not leave and cannot be masked.
    Withheld,
}

impl EndReason {
    /// The word for it in audit events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientGone => "client-gone",
            Self::UpstreamGone => "upstream-gone",
            Self::Expired => "token-expired",
            Self::Revoked => "token-revoked",
            Self::PolicyChanged => "policy-changed",
            Self::ApprovalEnded => "approval-ended",
            Self::Blocked => "caller-blocked",
            Self::OverBudget => "over-budget",
            Self::Shutdown => "gateway-drained",
            Self::Idle => "idle",
            Self::ClientProtocol => "client-protocol-error",
            Self::UpstreamProtocol => "upstream-protocol-error",
            Self::Killed => "killed",
            Self::RecorderFailed => "recorder-failed",
            Self::RecordingFull => "recording-full",
            Self::Withheld => "withheld",
        }
    }

    /// Kubernetes' reason and code for the `Status` that tells the client.
    fn status(self) -> (&'static str, u16) {
        match self {
            Self::Expired | Self::Revoked => ("Unauthorized", 401),
            Self::PolicyChanged
            | Self::ApprovalEnded
            | Self::Blocked
            | Self::OverBudget
            | Self::Killed
            | Self::RecordingFull
            | Self::Withheld => ("Forbidden", 403),
            Self::Shutdown => ("ServiceUnavailable", 503),
            Self::Idle => ("Timeout", 504),
            Self::ClientProtocol => ("BadRequest", 400),
            Self::Completed
            | Self::ClientGone
            | Self::UpstreamGone
            | Self::UpstreamProtocol
            | Self::RecorderFailed => ("InternalError", 500),
        }
    }
}

/// An end that the gateway brings about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Why.
    pub reason: EndReason,
    /// What the person at the terminal reads.
    pub message: String,
}

impl Ending {
    /// The end of a session whose tap lets nothing more pass; mostly because it must be recorded and no longer is.
    #[must_use]
    pub fn refused(why: &TapError) -> Self {
        match why {
            TapError::Ends(ending) => ending.clone(),
            TapError::Failed(_) => Self {
                reason: EndReason::RecorderFailed,
                message: "portcullis: this session must be recorded and no longer can be; tell the platform team".to_owned(),
            },
            TapError::Full(most) => Self {
                reason: EndReason::RecordingFull,
                message: format!(
                    "portcullis: this session must be recorded and its recording has reached its cap of {most} bytes (recording.maxBytes in the gateway's configuration); this session ends, open another one to go on"
                ),
            },
        }
    }

    /// The content of the error channel: a `Status`, or plain text before v4.
    fn error_content(&self, version: channel::Version) -> Vec<u8> {
        if version.has_json_status() {
            self.status()
        } else {
            self.message.clone().into_bytes()
        }
    }

    /// The same, in the form of what it stands for.
    #[must_use]
    pub fn instead_of(&self, status: &[u8]) -> Vec<u8> {
        if status.trim_ascii_start().starts_with(b"{") {
            self.status()
        } else {
            self.message.clone().into_bytes()
        }
    }

    fn status(&self) -> Vec<u8> {
        let (reason, code) = self.reason.status();
        let status = Status {
            metadata: Empty {},
            outcome: "Failure",
            message: &self.message,
            reason,
            code,
        };
        serde_json::to_vec(&status).unwrap_or_default()
    }

    /// The line for the terminal.
    fn terminal_line(&self, tty: bool) -> Vec<u8> {
        let line_break = if tty { "\r\n" } else { "\n" };
        format!("{line_break}{}{line_break}", self.message).into_bytes()
    }
}

#[derive(Serialize)]
struct Status<'a> {
    metadata: Empty,
    #[serde(rename = "status")]
    outcome: &'static str,
    message: &'a str,
    reason: &'static str,
    code: u16,
}

#[derive(Serialize)]
struct Empty {}

/// What is kept of a session when it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionReport {
    /// Why it ended.
    pub reason: EndReason,
    /// What was wrong, when something was; for the audit log.
    pub detail: Option<String>,
    /// How the command ended, if that was seen.
    pub exit: Option<ExitStatus>,
    /// Payload that passed.
    pub bytes: ByteCounts,
    /// Forwarded connections; port-forward only.
    pub connections: u64,
    /// How long it lasted.
    pub duration: Duration,
}

/// Payload bytes that passed, by stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteCounts {
    /// To the command.
    pub stdin: u64,
    /// From the command; with a terminal, everything.
    pub stdout: u64,
    /// From the command.
    pub stderr: u64,
    /// To forwarded ports.
    pub data_sent: u64,
    /// From forwarded ports.
    pub data_received: u64,
}
