//! What a server sends, in messages of our own, because its content is rewritten.

use std::time::Duration;

use super::super::rewrite::{Put, Rewriter};
use super::super::tap::{Contents, Events};
use super::super::{Filters, SessionStream, Side, StreamType};
use crate::limits;
use crate::wire::channel::Protocol;
use crate::wire::websocket::{MessageType, put_message};

/// The filters behind the channels.
#[derive(Debug)]
pub(super) struct Rewriting {
    pub(super) rewriter: Rewriter<u8>,
    /// The final status, until its message is complete: clients take the first message for all of it.
    status: Vec<u8>,
    /// The current message had content.
    content: bool,
}

impl Rewriting {
    pub(super) fn new(filters: Filters) -> Self {
        Self {
            rewriter: Rewriter::new(filters),
            status: Vec::new(),
            content: false,
        }
    }

    /// A slice of a message on `channel`, without its encoding.
    pub(super) fn content(
        &mut self,
        channel: u8,
        kind: StreamType,
        bytes: &[u8],
        now: Duration,
        put: &mut Put<'_, u8>,
    ) {
        if bytes.is_empty() {
            return;
        }
        self.content = true;
        if kind != StreamType::Error {
            self.rewriter.push(channel, kind, bytes, now, put);
            return;
        }
        self.status.extend_from_slice(bytes);
        // No server's is that long; one that is passes in pieces.
        if self.status.len() > limits::SESSION_STATUS_BYTES_MAX {
            let status = std::mem::take(&mut self.status);
            self.rewriter.push(channel, kind, &status, now, put);
        }
    }

    /// A message on `channel` is complete. One without content passes: clients wait for the first.
    pub(super) fn message_ended(
        &mut self,
        channel: u8,
        kind: StreamType,
        now: Duration,
        put: &mut Put<'_, u8>,
    ) {
        if !std::mem::take(&mut self.content) {
            put(channel, kind, &[]);
        } else if !self.status.is_empty() {
            let status = std::mem::take(&mut self.status);
            self.rewriter.push_status(channel, &status, now, put);
        }
    }

    /// Bytes of a status that is not complete.
    pub(super) fn held(&self) -> usize {
        self.status.len()
    }
}

/// Messages of a server are text only where they are base64.
pub(super) fn message_type(protocol: Protocol) -> MessageType {
    if protocol.base64 {
        MessageType::Text
    } else {
        MessageType::Binary
    }
}

/// Shows rewritten payload to the tap and puts it into messages for the client.
pub(super) fn putting<'a>(
    protocol: Protocol,
    contents: &'a mut Contents,
    output: &'a mut Vec<u8>,
    events: &'a mut Events<'_>,
) -> impl FnMut(u8, StreamType, &[u8]) {
    move |channel, kind, bytes| {
        contents.data(SessionStream::of(kind), Side::Server, bytes, events);
        let message = protocol.message(channel, bytes);
        put_message(output, message_type(protocol), &message, None);
    }
}
