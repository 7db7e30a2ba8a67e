//! How a session travels: the upgrade, then SPDY or WebSocket.

pub(super) mod spdy;
pub(super) mod upgrade;
pub(super) mod websocket;
