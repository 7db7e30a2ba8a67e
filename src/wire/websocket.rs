//! WebSocket frames (RFC 6455): cutting them out of a byte stream however it is split, and
//! building them. No extensions, ever.
//!
//! Control frames are handed out whole (they have at most 125 bytes); the payload of data frames is
//! handed out in slices, unmasked, beside the bytes as they came.

pub mod messages;

use crate::limits;
use crate::wire::side::Side;

/// Close code: nothing was wrong.
pub const CLOSE_NORMAL: u16 = 1000;
/// Close code: the peer broke the protocol.
pub const CLOSE_PROTOCOL_ERROR: u16 = 1002;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

const FIN_BIT: u8 = 0x80;
const MASK_BIT: u8 = 0x80;
const CONTROL_PAYLOAD_MAX: u64 = 125;

/// Bytes that are not WebSocket frames; the connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebSocketError {
    /// Bits that only extensions use, and none was agreed.
    #[error("WebSocket frame uses an extension that was not agreed")]
    ReservedBits,
    /// An opcode without a meaning.
    #[error("WebSocket frame with reserved opcode {0:#x}")]
    ReservedOpcode(u8),
    /// A client must mask its frames.
    #[error("WebSocket frame from the client is not masked")]
    Unmasked,
    /// A server must not.
    #[error("WebSocket frame from the server is masked")]
    Masked,
    /// A control frame that is fragmented or longer than 125 bytes.
    #[error("WebSocket control frame is fragmented or too long")]
    ControlFrame,
    /// A close frame with one byte, or a code that must not be sent.
    #[error("WebSocket close frame is malformed")]
    CloseFrame,
    /// A continuation without a beginning, or a beginning within a message.
    #[error("WebSocket fragments out of order")]
    Fragmentation,
    /// A length that is not written in its shortest form, or has the top bit.
    #[error("WebSocket frame length is malformed")]
    Length,
    /// A message longer than the API server takes.
    #[error("WebSocket message is too large")]
    TooLarge,
    /// More fragments in a message than allowed.
    #[error("WebSocket message has too many fragments")]
    TooManyFragments,
}

/// The kind of a data message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageType {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// The kind of a control frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlType {
    /// The sender sends nothing more.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping, or says that the sender lives.
    Pong,
}

/// The head of a data frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataHead {
    /// Kind of the message, also on continuations.
    pub message: MessageType,
    /// The first frame of its message.
    pub first: bool,
    /// The last frame of its message.
    pub last: bool,
    /// Payload bytes of this frame.
    pub length: u64,
    /// The masking key of a client's frame.
    pub mask: Option<[u8; 4]>,
}

/// What [`Decoder::next`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole control frame: kind, unmasked payload, the bytes as they came.
    Control(ControlType, &'a [u8], &'a [u8]),
    /// The head of a data frame and its bytes; `length` bytes of [`Frame::Payload`] follow.
    Data(DataHead, &'a [u8]),
    /// A slice of the payload of the data frame whose head came last.
    Payload {
        /// Without the mask; never empty.
        bytes: &'a [u8],
        /// As it came.
        raw: &'a [u8],
        /// Payload bytes of this frame that are still to come.
        rest: u64,
    },
}

/// Cuts one direction into frames. Holds at most one head or control frame.
#[derive(Debug)]
pub struct Decoder {
    side: Side,
    /// A head or control frame, as it came.
    held: Vec<u8>,
    /// Its payload, or a slice of a data payload, without the mask.
    clear: Vec<u8>,
    handed_out: bool,
    /// Payload bytes of the current data frame that are still to come.
    rest: u64,
    mask: Option<[u8; 4]>,
    /// Where in the masking key the next payload byte stands.
    mask_at: usize,
    /// The message whose last frame has not come: its kind, its bytes and fragments so far.
    message: Option<(MessageType, u64, u32)>,
}

impl Decoder {
    /// A decoder at the first byte that `side` sends after the upgrade.
    #[must_use]
    pub fn new(side: Side) -> Self {
        Self {
            side,
            held: Vec::new(),
            clear: Vec::new(),
            handed_out: false,
            rest: 0,
            mask: None,
            mask_at: 0,
            message: None,
        }
    }

    /// Takes the next frame, or slice of one, off the front of `input`. `None`: `input` is used up.
    pub fn next<'a, 'input: 'a>(
        &'a mut self,
        input: &mut &'input [u8],
    ) -> Result<Option<Frame<'a>>, WebSocketError> {
        if self.handed_out {
            self.held.clear();
            self.handed_out = false;
        }
        if self.rest > 0 {
            return Ok(self.payload(input));
        }
        if !fill(&mut self.held, input, 2) {
            return Ok(None);
        }
        let [first, second] = *self.held.first_chunk::<2>().unwrap_or(&[0, 0]);
        self.check_start(first, second)?;
        let head_bytes = head_bytes(second);
        if !fill(&mut self.held, input, head_bytes) {
            return Ok(None);
        }
        let (length, mask) = parse_head(&self.held, second)?;
        if first & 0x08 != 0 {
            // At most 125 bytes, as checked at the start.
            let total = head_bytes.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
            if !fill(&mut self.held, input, total) {
                return Ok(None);
            }
            self.handed_out = true;
            self.clear.clear();
            self.clear
                .extend_from_slice(self.held.get(head_bytes..).unwrap_or_default());
            apply_mask(&mut self.clear, mask, 0);
            let kind = control_type(first, &self.clear)?;
            return Ok(Some(Frame::Control(kind, &self.clear, &self.held)));
        }
        let head = self.data_head(first, length, mask)?;
        self.handed_out = true;
        self.rest = length;
        self.mask = mask;
        self.mask_at = 0;
        Ok(Some(Frame::Data(head, &self.held)))
    }

    /// True between frames: control frames of our own may be put in here.
    #[must_use]
    pub fn at_frame_boundary(&self) -> bool {
        self.rest == 0
    }

    /// True between messages: messages of our own may be put in here.
    #[must_use]
    pub fn at_message_boundary(&self) -> bool {
        self.rest == 0 && self.message.is_none()
    }

    /// Gives up the payload of the current frame; how many bytes of it were still to come.
    pub fn abandon(&mut self) -> usize {
        usize::try_from(std::mem::take(&mut self.rest)).unwrap_or(usize::MAX)
    }

    /// Bytes held back now.
    #[must_use]
    pub fn held(&self) -> usize {
        if self.handed_out { 0 } else { self.held.len() }
    }

    fn payload<'a, 'input: 'a>(&'a mut self, input: &mut &'input [u8]) -> Option<Frame<'a>> {
        let rest = usize::try_from(self.rest).unwrap_or(usize::MAX);
        let (raw, after) = input.split_at_checked(rest).unwrap_or((input, &[]));
        if raw.is_empty() {
            return None;
        }
        *input = after;
        self.rest = self
            .rest
            .saturating_sub(u64::try_from(raw.len()).unwrap_or(u64::MAX));
        let bytes = if self.mask.is_some() {
            self.clear.clear();
            self.clear.extend_from_slice(raw);
            apply_mask(&mut self.clear, self.mask, self.mask_at);
            self.mask_at = self.mask_at.wrapping_add(raw.len()) & 3;
            &self.clear
        } else {
            raw
        };
        Some(Frame::Payload {
            bytes,
            raw,
            rest: self.rest,
        })
    }

    /// What the first two bytes alone tell; nothing is stored for a frame that fails here.
    fn check_start(&self, first: u8, second: u8) -> Result<(), WebSocketError> {
        if first & 0x70 != 0 {
            return Err(WebSocketError::ReservedBits);
        }
        let opcode = first & 0x0f;
        if !matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
            return Err(WebSocketError::ReservedOpcode(opcode));
        }
        match (self.side, second & MASK_BIT != 0) {
            (Side::Client, false) => return Err(WebSocketError::Unmasked),
            (Side::Server, true) => return Err(WebSocketError::Masked),
            _ => {}
        }
        let fin = first & FIN_BIT != 0;
        if opcode & 0x08 != 0 && (!fin || u64::from(second & 0x7f) > CONTROL_PAYLOAD_MAX) {
            return Err(WebSocketError::ControlFrame);
        }
        Ok(())
    }

    fn data_head(
        &mut self,
        first: u8,
        length: u64,
        mask: Option<[u8; 4]>,
    ) -> Result<DataHead, WebSocketError> {
        let last = first & FIN_BIT != 0;
        let (message, so_far, fragments, is_first) = match (first & 0x0f, self.message) {
            (CONTINUATION, Some((message, so_far, fragments))) => {
                (message, so_far, fragments, false)
            }
            (TEXT, None) => (MessageType::Text, 0, 0, true),
            (BINARY, None) => (MessageType::Binary, 0, 0, true),
            _ => return Err(WebSocketError::Fragmentation),
        };
        let total = so_far
            .checked_add(length)
            .filter(|total| *total <= limits::WEBSOCKET_MESSAGE_BYTES_MAX);
        let total = total.ok_or(WebSocketError::TooLarge)?;
        let fragments = fragments.saturating_add(1);
        if fragments > limits::WEBSOCKET_FRAGMENTS_MAX {
            return Err(WebSocketError::TooManyFragments);
        }
        self.message = (!last).then_some((message, total, fragments));
        Ok(DataHead {
            message,
            first: is_first,
            last,
            length,
            mask,
        })
    }
}

/// Moves bytes from `input` until `held` has `total`; true when it has.
fn fill(held: &mut Vec<u8>, input: &mut &[u8], total: usize) -> bool {
    let missing = total.saturating_sub(held.len());
    let (taken, rest) = input.split_at_checked(missing).unwrap_or((input, &[]));
    held.extend_from_slice(taken);
    *input = rest;
    held.len() >= total
}

fn head_bytes(second: u8) -> usize {
    let length = match second & 0x7f {
        126 => 2_usize,
        127 => 8,
        _ => 0,
    };
    let mask = if second & MASK_BIT == 0 { 0 } else { 4 };
    length.saturating_add(mask).saturating_add(2)
}

fn parse_head(head: &[u8], second: u8) -> Result<(u64, Option<[u8; 4]>), WebSocketError> {
    let rest = head.get(2..).ok_or(WebSocketError::Length)?;
    let (length, rest) = match second & 0x7f {
        126 => {
            let (bytes, rest) = rest
                .split_first_chunk::<2>()
                .ok_or(WebSocketError::Length)?;
            let length = u64::from(u16::from_be_bytes(*bytes));
            if length < 126 {
                return Err(WebSocketError::Length);
            }
            (length, rest)
        }
        127 => {
            let (bytes, rest) = rest
                .split_first_chunk::<8>()
                .ok_or(WebSocketError::Length)?;
            let length = u64::from_be_bytes(*bytes);
            if u16::try_from(length).is_ok() || length > u64::MAX >> 1 {
                return Err(WebSocketError::Length);
            }
            (length, rest)
        }
        short => (u64::from(short), rest),
    };
    // What follows the length of an unmasked frame is payload already.
    let mask = rest.first_chunk::<4>().filter(|_| second & MASK_BIT != 0);
    Ok((length, mask.copied()))
}

fn control_type(first: u8, payload: &[u8]) -> Result<ControlType, WebSocketError> {
    match first & 0x0f {
        PING => Ok(ControlType::Ping),
        PONG => Ok(ControlType::Pong),
        _ => match close_code(payload) {
            None if payload.is_empty() => Ok(ControlType::Close),
            Some(1000..=1003 | 1007..=1014 | 3000..=4999) => Ok(ControlType::Close),
            _ => Err(WebSocketError::CloseFrame),
        },
    }
}

/// The code in the payload of a close frame.
#[must_use]
pub fn close_code(payload: &[u8]) -> Option<u16> {
    payload
        .first_chunk::<2>()
        .map(|code| u16::from_be_bytes(*code))
}

/// XORs with the masking key, `at` bytes into it. Masking and unmasking are the same.
pub fn apply_mask(bytes: &mut [u8], mask: Option<[u8; 4]>, at: usize) {
    let Some(mut mask) = mask else { return };
    mask.rotate_left(at & 3);
    let word = u32::from_ne_bytes(mask);
    let mut words = bytes.chunks_exact_mut(4);
    for chunk in &mut words {
        if let Some(chunk) = chunk.first_chunk_mut::<4>() {
            *chunk = (u32::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= key;
    }
}

/// Appends a whole data message in one frame. A client's frame needs a masking key.
pub fn put_message(
    output: &mut Vec<u8>,
    message: MessageType,
    payload: &[u8],
    mask: Option<[u8; 4]>,
) {
    let opcode = match message {
        MessageType::Text => TEXT,
        MessageType::Binary => BINARY,
    };
    put_frame(output, FIN_BIT | opcode, payload, mask);
}

/// Appends a close frame.
pub fn put_close(output: &mut Vec<u8>, code: u16, reason: &str, mask: Option<[u8; 4]>) {
    let mut payload = code.to_be_bytes().to_vec();
    // A reason longer than fits is left out; it is for people who read traces.
    if reason.len() <= 123 {
        payload.extend_from_slice(reason.as_bytes());
    }
    put_frame(output, FIN_BIT | CLOSE, &payload, mask);
}

/// Appends a pong with the payload of the ping it answers, at most 125 bytes.
pub fn put_pong(output: &mut Vec<u8>, payload: &[u8], mask: Option<[u8; 4]>) {
    put_frame(
        output,
        FIN_BIT | PONG,
        payload.get(..125).unwrap_or(payload),
        mask,
    );
}

fn put_frame(output: &mut Vec<u8>, first: u8, payload: &[u8], mask: Option<[u8; 4]>) {
    let mask_bit = if mask.is_some() { MASK_BIT } else { 0 };
    output.push(first);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => output.push(mask_bit | length),
        (_, Ok(length)) => {
            output.push(mask_bit | 0x7e);
            output.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            output.push(mask_bit | 0x7f);
            output.extend_from_slice(
                &u64::try_from(payload.len())
                    .unwrap_or(u64::MAX)
                    .to_be_bytes(),
            );
        }
    }
    output.extend_from_slice(mask.as_ref().map(<[u8; 4]>::as_slice).unwrap_or_default());
    let start = output.len();
    output.extend_from_slice(payload);
    apply_mask(output.get_mut(start..).unwrap_or_default(), mask, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(
        side: Side,
        bytes: &[u8],
        cut: usize,
    ) -> Result<(Vec<String>, Vec<u8>), WebSocketError> {
        let mut decoder = Decoder::new(side);
        let (mut seen, mut payload, mut raw) = (Vec::new(), Vec::new(), Vec::new());
        for mut input in bytes.chunks(cut) {
            while let Some(frame) = decoder.next(&mut input)? {
                match frame {
                    Frame::Control(kind, clear, bytes) => {
                        seen.push(format!("{kind:?} {clear:?}"));
                        raw.extend_from_slice(bytes);
                    }
                    Frame::Data(head, bytes) => {
                        seen.push(format!("{head:?}"));
                        raw.extend_from_slice(bytes);
                    }
                    Frame::Payload {
                        bytes,
                        raw: as_it_came,
                        ..
                    } => {
                        payload.extend_from_slice(bytes);
                        raw.extend_from_slice(as_it_came);
                    }
                }
            }
        }
        assert_eq!(raw, bytes, "every byte is handed out, once");
        Ok((seen, payload))
    }

    #[test]
    fn what_is_built_is_read_back_wherever_it_is_cut() {
        let mask = Some([1, 2, 3, 250]);
        for length in [0_usize, 1, 125, 126, 127, 65_535, 65_536] {
            let text: Vec<u8> = (0..length)
                .map(|at| u8::try_from(at % 251).unwrap())
                .collect();
            let mut bytes = Vec::new();
            put_message(&mut bytes, MessageType::Binary, &text, mask);
            put_pong(&mut bytes, b"p", mask);
            put_close(&mut bytes, CLOSE_NORMAL, "", mask);
            let whole = decode(Side::Client, &bytes, bytes.len()).unwrap();
            assert_eq!(whole.1, text);
            for cut in [1, 2, 3, 5, 7, 4096] {
                assert_eq!(decode(Side::Client, &bytes, cut).unwrap(), whole);
            }
        }
    }

    #[test]
    fn a_servers_control_frame_that_is_cut_has_no_mask() {
        let bytes = [0x8a, 6, 1, 2, 3, 4, 5, 6];
        let whole = decode(Side::Server, &bytes, 8).unwrap();
        assert_eq!(whole.0, ["Pong [1, 2, 3, 4, 5, 6]"]);
        for cut in 1..8 {
            assert_eq!(decode(Side::Server, &bytes, cut).unwrap(), whole);
        }
    }

    #[test]
    fn control_frames_may_stand_between_fragments() {
        let bytes = [0x02, 1, b'a', 0x89, 0, 0x80, 1, b'b'];
        let (seen, payload) = decode(Side::Server, &bytes, 1).unwrap();
        assert_eq!(payload, b"ab");
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn b47_what_no_client_may_send_is_an_error() {
        let cases: [(&[u8], WebSocketError); 9] = [
            (&[0xc2, 0x80, 0, 0, 0, 0], WebSocketError::ReservedBits),
            (&[0x83, 0x80, 0, 0, 0, 0], WebSocketError::ReservedOpcode(3)),
            (
                &[0x8b, 0x80, 0, 0, 0, 0],
                WebSocketError::ReservedOpcode(11),
            ),
            (&[0x82, 0x00], WebSocketError::Unmasked),
            (&[0x09, 0x80, 0, 0, 0, 0], WebSocketError::ControlFrame),
            (&[0x89, 0xfe, 0, 126], WebSocketError::ControlFrame),
            (&[0x80, 0x80, 0, 0, 0, 0], WebSocketError::Fragmentation),
            (
                &[0x02, 0x80, 0, 0, 0, 0, 0x82, 0x80, 0, 0, 0, 0],
                WebSocketError::Fragmentation,
            ),
            (&[0x88, 0x81, 0, 0, 0, 0, 1], WebSocketError::CloseFrame),
        ];
        for (bytes, error) in cases {
            assert_eq!(
                decode(Side::Client, bytes, 1).unwrap_err(),
                error,
                "{bytes:x?}"
            );
        }
        assert_eq!(
            decode(Side::Server, &[0x82, 0x80, 0, 0, 0, 0], 1).unwrap_err(),
            WebSocketError::Masked
        );
    }

    #[test]
    fn d12_lengths_are_checked_before_anything_is_stored() {
        let huge = [0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(
            decode(Side::Server, &huge, 10).unwrap_err(),
            WebSocketError::Length
        );
        let large = [0x82, 127, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff];
        assert_eq!(
            decode(Side::Server, &large, 10).unwrap_err(),
            WebSocketError::TooLarge
        );
        assert_eq!(
            decode(Side::Server, &[0x82, 126, 0, 1, 9], 5).unwrap_err(),
            WebSocketError::Length
        );
        let mut empty_fragments = vec![0x02, 0];
        for _ in 0..limits::WEBSOCKET_FRAGMENTS_MAX {
            empty_fragments.extend_from_slice(&[0x00, 0]);
        }
        assert_eq!(
            decode(Side::Server, &empty_fragments, 4096).unwrap_err(),
            WebSocketError::TooManyFragments
        );
    }
}
