//! A stream of bytes as WebSocket messages of a server, the way API servers cut watches and logs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{CONTINUATION, FIN_BIT, MessageType, TEXT, put_frame, put_message};

/// Bytes of a log that become one message of base64, as in API servers.
const BASE64_INPUT_BYTES: usize = 2048;

/// What becomes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A line with its line feed, as text: an event of a watch. What has not come whole leaves in fragments.
    Line,
    /// Whatever comes together, as binary; the first message is empty.
    Binary,
    /// The same in base64, as text.
    Base64,
}

/// Cuts one stream. Holds nothing back.
#[derive(Debug)]
pub struct Messages {
    unit: Unit,
    /// Fragments of a message have left, and not its last one.
    open: bool,
}

impl Messages {
    /// A stream that has not begun.
    #[must_use]
    pub const fn new(unit: Unit) -> Self {
        Self { unit, open: false }
    }

    /// Appends what stands before the first byte.
    pub fn begin(&mut self, output: &mut Vec<u8>) {
        match self.unit {
            Unit::Line => {}
            Unit::Binary => put_message(output, MessageType::Binary, b"", None),
            Unit::Base64 => put_message(output, MessageType::Text, b"", None),
        }
    }

    /// Appends the frames of what comes next.
    pub fn push(&mut self, bytes: &[u8], output: &mut Vec<u8>) {
        match self.unit {
            Unit::Line => {
                for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                    self.fragment(piece, piece.ends_with(b"\n"), output);
                }
            }
            Unit::Binary if bytes.is_empty() => {}
            Unit::Binary => put_message(output, MessageType::Binary, bytes, None),
            Unit::Base64 => {
                for piece in bytes.chunks(BASE64_INPUT_BYTES) {
                    let text = BASE64.encode(piece);
                    put_message(output, MessageType::Text, text.as_bytes(), None);
                }
            }
        }
    }

    /// Ends a line that has no line feed.
    pub fn end(&mut self, output: &mut Vec<u8>) {
        if self.open {
            self.fragment(b"", true, output);
        }
    }

    fn fragment(&mut self, piece: &[u8], last: bool, output: &mut Vec<u8>) {
        let opcode = if self.open { CONTINUATION } else { TEXT };
        let fin = if last { FIN_BIT } else { 0 };
        put_frame(output, fin | opcode, piece, None);
        self.open = !last;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Decoder, Frame};
    use super::*;
    use crate::wire::side::Side;

    /// The messages that a client reads, and how many frames they came in.
    fn read(mut input: &[u8]) -> (Vec<(MessageType, Vec<u8>)>, usize) {
        let mut decoder = Decoder::new(Side::Server);
        let (mut messages, mut frames) = (Vec::new(), 0);
        while let Some(frame) = decoder.next(&mut input).unwrap() {
            match frame {
                Frame::Data(head, _) => {
                    frames += 1;
                    if head.first {
                        messages.push((head.message, Vec::new()));
                    }
                }
                Frame::Payload { bytes, .. } => {
                    messages.last_mut().unwrap().1.extend_from_slice(bytes);
                }
                Frame::Control(..) => panic!("there are none"),
            }
        }
        assert!(decoder.at_message_boundary());
        (messages, frames)
    }

    fn cut(unit: Unit, chunks: &[&[u8]]) -> (Vec<(MessageType, Vec<u8>)>, usize) {
        let mut messages = Messages::new(unit);
        let mut output = Vec::new();
        messages.begin(&mut output);
        for chunk in chunks {
            messages.push(chunk, &mut output);
        }
        messages.end(&mut output);
        read(&output)
    }

    #[test]
    fn an_event_is_one_message_wherever_it_is_cut() {
        let stream = b"{\"type\":\"ADDED\"}\n{\"type\":\"DELETED\"}\nrest";
        let whole = cut(Unit::Line, &[stream]);
        let expected = ["{\"type\":\"ADDED\"}\n", "{\"type\":\"DELETED\"}\n", "rest"]
            .map(|line| (MessageType::Text, line.as_bytes().to_vec()));
        assert_eq!(whole.0, expected);
        // A line that came whole is one frame; the last one needs an end.
        assert_eq!(whole.1, 4);
        for at in 0..=stream.len() {
            let (first, second) = stream.split_at(at);
            assert_eq!(cut(Unit::Line, &[first, second]).0, expected, "{at}");
        }
    }

    #[test]
    fn a_log_begins_with_an_empty_message_and_passes_as_it_comes() {
        let (messages, _) = cut(Unit::Binary, &[b"one\ntw", b"", b"o\n"]);
        let expected =
            [&b""[..], b"one\ntw", b"o\n"].map(|text| (MessageType::Binary, text.to_vec()));
        assert_eq!(messages, expected);
    }

    #[test]
    fn base64_is_encoded_piece_by_piece() {
        let log = vec![b'x'; BASE64_INPUT_BYTES + 1];
        let (messages, _) = cut(Unit::Base64, &[&log]);
        assert_eq!(messages.len(), 3);
        assert_eq!(messages[0], (MessageType::Text, Vec::new()));
        assert_eq!(messages[2], (MessageType::Text, b"eA==".to_vec()));
    }
}
