//! Sessions over WebSocket: channels, and SPDY in a tunnel.

mod channels;
mod layout;
mod rewriting;
mod tunnel;

pub(super) use self::channels::ChannelTap;
pub(super) use self::tunnel::TunnelTap;

use super::{EndReason, Ending, Side};
use crate::limits;
use crate::wire::budget::Budget;
use crate::wire::websocket::{CLOSE_NORMAL, CLOSE_PROTOCOL_ERROR};

/// What we mask with towards the API server before the client has sent a key of its own. The mask
/// protects proxies from browsers, not anybody's secrets.
const FIRST_MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// How far one side has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Everything passes.
    Running,
    /// Only the rest of what has begun to pass may.
    Stopping,
    /// Close has passed; nothing may follow.
    Closed,
}

impl Phase {
    fn passes(self, at_boundary: bool) -> bool {
        match self {
            Self::Running => true,
            Self::Stopping => !at_boundary,
            Self::Closed => false,
        }
    }

    fn stop(&mut self) {
        if *self == Self::Running {
            *self = Self::Stopping;
        }
    }
}

/// Pings, pongs and messages without content that one side may send.
fn empty_frames() -> Budget {
    Budget::new(
        limits::SESSION_EMPTY_FRAMES_BURST,
        limits::SESSION_EMPTY_FRAMES_PER_SECOND,
    )
}

/// kubectl takes every code but 1000 as an error that hides the status, so only who broke the
/// protocol gets another.
fn close_code(to: Side, ending: &Ending) -> u16 {
    match (ending.reason, to) {
        (EndReason::ClientProtocol, Side::Client) | (EndReason::UpstreamProtocol, Side::Server) => {
            CLOSE_PROTOCOL_ERROR
        }
        _ => CLOSE_NORMAL,
    }
}
