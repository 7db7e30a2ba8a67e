//! Frames: cutting them out of a byte stream however it is split, and building them.
//!
//! A control frame is handed out whole, once its length has passed the limit; the payload of a DATA
//! frame is handed out in slices as it arrives, so a 16 MiB frame needs no 16 MiB.

use crate::limits;

/// Flag: the sender's last frame on this stream.
pub const FLAG_FIN: u8 = 0x01;
/// Flag of `SYN_STREAM`: the receiver may not send on this stream.
pub const FLAG_UNIDIRECTIONAL: u8 = 0x02;
/// Status of `RST_STREAM`: a protocol error on the stream.
pub const RST_PROTOCOL_ERROR: u32 = 1;
/// Status of `RST_STREAM`: the stream was refused before anything was done.
pub const RST_REFUSED_STREAM: u32 = 3;
/// Status of `RST_STREAM`: the sender wants no more of it. What Kubernetes sends at the end.
pub const RST_CANCEL: u32 = 5;
/// Status of GOAWAY: nothing was wrong.
pub const GOAWAY_OK: u32 = 0;
/// Status of GOAWAY: the peer broke the protocol.
pub const GOAWAY_PROTOCOL_ERROR: u32 = 1;

const HEADER_BYTES: usize = 8;
/// Room kept between frames; a rare large header block gives its memory back.
const HELD_BYTES_KEPT: usize = 256;
const ID_MASK: u32 = 0x7fff_ffff;
const LENGTH_MASK: u32 = 0x00ff_ffff;
const CONTROL_BIT: u32 = 0x8000_0000;
const VERSION: u16 = 3;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// A frame that no SPDY peer of Kubernetes sends; the connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Version word other than 3.
    #[error("SPDY version {0} instead of 3")]
    Version(u16),
    /// A control frame type that is not in the table of SPDY/3.1.
    #[error("unknown SPDY control frame type {0}")]
    UnknownType(u16),
    /// A control frame longer than the limit.
    #[error("SPDY control frame of {0} bytes is too large")]
    TooLarge(usize),
    /// A length that does not fit the frame type.
    #[error("SPDY control frame type {0} has the wrong length")]
    WrongLength(u16),
    /// Flags that the frame type does not have.
    #[error("SPDY frame has unknown flags {0:#04x}")]
    Flags(u8),
    /// Stream or ping number zero.
    #[error("SPDY frame with stream or ping number zero")]
    ZeroId,
}

/// A control frame; header blocks are still compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control<'a> {
    /// Opens a stream.
    SynStream {
        /// The new stream.
        stream: u32,
        /// The stream this one belongs to, or zero.
        associated: u32,
        /// 0 (highest) to 7.
        priority: u8,
        /// The sender will send nothing more.
        fin: bool,
        /// The receiver may send nothing.
        unidirectional: bool,
        /// The compressed header block.
        block: &'a [u8],
    },
    /// Accepts a stream.
    SynReply {
        /// The accepted stream.
        stream: u32,
        /// The sender will send nothing more.
        fin: bool,
        /// The compressed header block.
        block: &'a [u8],
    },
    /// Ends a stream in both directions.
    RstStream {
        /// The ended stream.
        stream: u32,
        /// Why.
        status: u32,
    },
    /// Settings; ignored by every peer.
    Settings,
    /// A ping, or the echo of one.
    Ping {
        /// Odd from the client, even from the server.
        id: u32,
    },
    /// The sender reads nothing more.
    GoAway {
        /// The last stream the sender accepted.
        last_stream: u32,
        /// Why.
        status: u32,
    },
    /// More headers for a stream; unused by Kubernetes.
    Headers {
        /// The stream.
        stream: u32,
        /// The sender will send nothing more.
        fin: bool,
        /// The compressed header block.
        block: &'a [u8],
    },
    /// Flow control, which no peer obeys.
    WindowUpdate {
        /// The stream, or zero for the connection.
        stream: u32,
        /// How many bytes more.
        delta: u32,
    },
}

/// What [`Decoder::next`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole control frame, and its bytes.
    Control(Control<'a>, &'a [u8]),
    /// The head of a DATA frame; `length` bytes of [`Frame::Payload`] follow unless it is zero.
    Data {
        /// The stream.
        stream: u32,
        /// The sender will send nothing more after this frame.
        fin: bool,
        /// Payload bytes of this frame.
        length: u32,
        /// The head's own bytes.
        raw: [u8; 8],
    },
    /// A slice of the payload of the DATA frame whose head came last.
    Payload {
        /// The bytes, never empty.
        bytes: &'a [u8],
        /// Payload bytes of this frame that are still to come.
        rest: u32,
    },
}

/// Cuts one direction into frames. Holds at most one control frame.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The beginning of a frame whose end has not arrived.
    held: Vec<u8>,
    /// `held` was handed out whole and is forgotten at the next call.
    handed_out: bool,
    /// Payload bytes of the current DATA frame that are still to come.
    data_rest: u32,
}

impl Decoder {
    /// A decoder at the first byte of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next frame, or slice of one, off the front of `input`. `None`: `input` is used up.
    pub fn next<'a, 'input: 'a>(
        &'a mut self,
        input: &mut &'input [u8],
    ) -> Result<Option<Frame<'a>>, FrameError> {
        if self.handed_out {
            self.held.clear();
            self.held.shrink_to(HELD_BYTES_KEPT);
            self.handed_out = false;
        }
        if self.data_rest > 0 {
            return Ok(self.payload(input));
        }
        let Some(head) = self.head(input) else {
            return Ok(None);
        };
        let word = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) & LENGTH_MASK;
        if word & CONTROL_BIT == 0 {
            if head[4] & !FLAG_FIN != 0 {
                return Err(FrameError::Flags(head[4]));
            }
            if word == 0 {
                return Err(FrameError::ZeroId);
            }
            self.handed_out = true;
            self.data_rest = length;
            let fin = head[4] & FLAG_FIN != 0;
            return Ok(Some(Frame::Data {
                stream: word,
                fin,
                length,
                raw: head,
            }));
        }
        // Both limits come before a byte of the payload is stored (D-09).
        let total = check_control_head(head, length)?;
        if !fill(&mut self.held, input, total) {
            return Ok(None);
        }
        self.handed_out = true;
        let control = parse_control(head, self.held.get(HEADER_BYTES..).unwrap_or_default())?;
        Ok(Some(Frame::Control(control, &self.held)))
    }

    /// True between frames: here, and only here, a frame of our own may be put in.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        self.data_rest == 0 && (self.handed_out || self.held.is_empty())
    }

    /// True while a DATA frame's payload is incomplete.
    #[must_use]
    pub fn in_data(&self) -> bool {
        self.data_rest > 0
    }

    /// Gives up the payload of the current DATA frame; how many bytes of it were still to come.
    pub fn abandon(&mut self) -> usize {
        usize::try_from(std::mem::take(&mut self.data_rest)).unwrap_or(usize::MAX)
    }

    /// Bytes held back now.
    #[must_use]
    pub fn held(&self) -> usize {
        if self.handed_out { 0 } else { self.held.len() }
    }

    fn payload<'a>(&mut self, input: &mut &'a [u8]) -> Option<Frame<'a>> {
        let rest = usize::try_from(self.data_rest).unwrap_or(usize::MAX);
        let (bytes, after) = input.split_at_checked(rest).unwrap_or((input, &[]));
        if bytes.is_empty() {
            return None;
        }
        *input = after;
        let taken = u32::try_from(bytes.len()).unwrap_or(self.data_rest);
        self.data_rest = self.data_rest.saturating_sub(taken);
        Some(Frame::Payload {
            bytes,
            rest: self.data_rest,
        })
    }

    fn head(&mut self, input: &mut &[u8]) -> Option<[u8; 8]> {
        if !fill(&mut self.held, input, HEADER_BYTES) {
            return None;
        }
        self.held.first_chunk::<HEADER_BYTES>().copied()
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

fn check_control_head(head: [u8; 8], length: u32) -> Result<usize, FrameError> {
    let version = u16::from_be_bytes([head[0] & 0x7f, head[1]]);
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let kind = u16::from_be_bytes([head[2], head[3]]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > limits::SPDY_CONTROL_PAYLOAD_BYTES_MAX {
        return Err(FrameError::TooLarge(length));
    }
    let (length_fits, flags) = match kind {
        SYN_STREAM => (length >= 10, FLAG_FIN | FLAG_UNIDIRECTIONAL),
        SYN_REPLY | HEADERS => (length >= 4, FLAG_FIN),
        RST_STREAM | WINDOW_UPDATE | GOAWAY => (length == 8, 0),
        SETTINGS => (length >= 4 && length.is_multiple_of(4), FLAG_FIN),
        PING => (length == 4, 0),
        _ => return Err(FrameError::UnknownType(kind)),
    };
    if !length_fits {
        return Err(FrameError::WrongLength(kind));
    }
    if head[4] & !flags != 0 {
        return Err(FrameError::Flags(head[4]));
    }
    Ok(HEADER_BYTES.saturating_add(length))
}

fn parse_control(head: [u8; 8], payload: &[u8]) -> Result<Control<'_>, FrameError> {
    let kind = u16::from_be_bytes([head[2], head[3]]);
    let wrong = FrameError::WrongLength(kind);
    let fin = head[4] & FLAG_FIN != 0;
    let (first, after) = word(payload).ok_or(wrong)?;
    let stream = first & ID_MASK;
    if stream == 0 && !matches!(kind, SETTINGS | GOAWAY | WINDOW_UPDATE) {
        return Err(FrameError::ZeroId);
    }
    Ok(match kind {
        SYN_STREAM => {
            let (associated, after) = word(after).ok_or(wrong)?;
            let (priority_and_slot, block) = after.split_first_chunk::<2>().ok_or(wrong)?;
            Control::SynStream {
                stream,
                associated: associated & ID_MASK,
                priority: priority_and_slot[0] >> 5,
                fin,
                unidirectional: head[4] & FLAG_UNIDIRECTIONAL != 0,
                block,
            }
        }
        SYN_REPLY => Control::SynReply {
            stream,
            fin,
            block: after,
        },
        HEADERS => Control::Headers {
            stream,
            fin,
            block: after,
        },
        RST_STREAM => Control::RstStream {
            stream,
            status: word(after).ok_or(wrong)?.0,
        },
        GOAWAY => Control::GoAway {
            last_stream: stream,
            status: word(after).ok_or(wrong)?.0,
        },
        WINDOW_UPDATE => Control::WindowUpdate {
            stream,
            delta: word(after).ok_or(wrong)?.0 & ID_MASK,
        },
        PING => Control::Ping { id: first },
        // The count is compared, never used as a size (CVE-2026-35469).
        SETTINGS if u64::from(first).checked_mul(8) == u64::try_from(after.len()).ok() => {
            Control::Settings
        }
        _ => return Err(wrong),
    })
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*word), rest))
}

/// Appends a `SYN_STREAM` with a compressed header block (see [`super::Deflater`]).
pub fn put_syn_stream(output: &mut Vec<u8>, stream: u32, fin: bool, block: &[u8]) {
    put_control(
        output,
        SYN_STREAM,
        u8::from(fin),
        block.len().saturating_add(10),
    );
    output.extend_from_slice(&(stream & ID_MASK).to_be_bytes());
    output.extend_from_slice(&[0; 6]);
    output.extend_from_slice(block);
}

/// Appends a `SYN_REPLY` with a compressed header block (see [`super::Deflater`]).
pub fn put_syn_reply(output: &mut Vec<u8>, stream: u32, fin: bool, block: &[u8]) {
    put_control(
        output,
        SYN_REPLY,
        u8::from(fin),
        block.len().saturating_add(4),
    );
    output.extend_from_slice(&(stream & ID_MASK).to_be_bytes());
    output.extend_from_slice(block);
}

/// Appends a `RST_STREAM`.
pub fn put_rst_stream(output: &mut Vec<u8>, stream: u32, status: u32) {
    put_control(output, RST_STREAM, 0, 8);
    output.extend_from_slice(&(stream & ID_MASK).to_be_bytes());
    output.extend_from_slice(&status.to_be_bytes());
}

/// Appends a PING.
pub fn put_ping(output: &mut Vec<u8>, id: u32) {
    put_control(output, PING, 0, 4);
    output.extend_from_slice(&id.to_be_bytes());
}

/// Appends a GOAWAY. The receiver reads nothing after it.
pub fn put_goaway(output: &mut Vec<u8>, last_stream: u32, status: u32) {
    put_control(output, GOAWAY, 0, 8);
    output.extend_from_slice(&(last_stream & ID_MASK).to_be_bytes());
    output.extend_from_slice(&status.to_be_bytes());
}

/// Appends DATA frames with all of `payload`, `fin` on the last; one empty frame if it is empty.
pub fn put_data(output: &mut Vec<u8>, stream: u32, fin: bool, payload: &[u8]) {
    let mut rest = payload;
    loop {
        let at = rest.len().min(limits::SPDY_DATA_FRAME_BYTES);
        let (piece, after) = rest.split_at(at);
        let last = after.is_empty();
        output.extend_from_slice(&(stream & ID_MASK).to_be_bytes());
        put_flags_and_length(output, u8::from(fin && last), piece.len());
        output.extend_from_slice(piece);
        if last {
            return;
        }
        rest = after;
    }
}

fn put_control(output: &mut Vec<u8>, kind: u16, flags: u8, length: usize) {
    output.extend_from_slice(&(VERSION | 0x8000).to_be_bytes());
    output.extend_from_slice(&kind.to_be_bytes());
    put_flags_and_length(output, flags, length);
}

fn put_flags_and_length(output: &mut Vec<u8>, flags: u8, length: usize) {
    let length = u32::try_from(length).unwrap_or(LENGTH_MASK) & LENGTH_MASK;
    output.extend_from_slice(&(u32::from(flags) << 24 | length).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Vec<String>, FrameError> {
        let mut decoder = Decoder::new();
        let mut input = bytes;
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next(&mut input)? {
            frames.push(format!("{frame:?}"));
        }
        Ok(frames)
    }

    #[test]
    fn builds_the_documented_bytes() {
        let mut bytes = Vec::new();
        put_ping(&mut bytes, 1);
        assert_eq!(bytes, [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]);
        bytes.clear();
        put_rst_stream(&mut bytes, 3, RST_CANCEL);
        assert_eq!(bytes, [0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 5]);
        bytes.clear();
        put_goaway(&mut bytes, 0, GOAWAY_OK);
        assert_eq!(bytes, [0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.clear();
        put_data(&mut bytes, 5, false, b"hi\n");
        assert_eq!(bytes, *b"\0\0\0\x05\0\0\0\x03hi\n");
        bytes.clear();
        put_data(&mut bytes, 3, true, b"");
        assert_eq!(bytes, [0, 0, 0, 3, 1, 0, 0, 0]);
    }

    #[test]
    fn long_data_is_split_and_only_the_last_frame_ends_the_stream() {
        let mut bytes = Vec::new();
        put_data(
            &mut bytes,
            1,
            true,
            &vec![7; limits::SPDY_DATA_FRAME_BYTES + 1],
        );
        let mut decoder = Decoder::new();
        let mut input = bytes.as_slice();
        let mut fins = Vec::new();
        while let Some(frame) = decoder.next(&mut input).unwrap() {
            if let Frame::Data { fin, .. } = frame {
                fins.push(fin);
            }
        }
        assert_eq!(fins, [false, true]);
    }

    #[test]
    fn what_is_built_is_read_back() {
        let mut bytes = Vec::new();
        put_syn_stream(&mut bytes, 1, false, b"block");
        put_syn_reply(&mut bytes, 1, true, b"");
        put_data(&mut bytes, 1, true, b"x");
        let frames = decode(&bytes).unwrap();
        assert!(
            frames[0].contains("SynStream { stream: 1, associated: 0, priority: 0, fin: false"),
            "{frames:?}"
        );
        assert!(
            frames[1].contains("SynReply { stream: 1, fin: true"),
            "{frames:?}"
        );
        assert!(frames[2].contains("length: 1"), "{frames:?}");
        assert!(frames[3].contains("rest: 0"), "{frames:?}");
    }

    #[test]
    fn d09_sizes_are_refused_before_they_are_stored() {
        let mut decoder = Decoder::new();
        let mut input: &[u8] = &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff];
        assert_eq!(
            decoder.next(&mut input),
            Err(FrameError::TooLarge(0x00ff_ffff))
        );
        // SETTINGS that claims 2^32-1 entries in four bytes.
        assert_eq!(
            decode(&[0x80, 3, 0, 4, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]),
            Err(FrameError::WrongLength(SETTINGS))
        );
    }

    #[test]
    fn d11_a_16_mib_data_frame_is_never_held() {
        let mut decoder = Decoder::new();
        let head = [0, 0, 0, 1, 0, 0xff, 0xff, 0xff];
        let mut input = &head[..];
        assert!(matches!(
            decoder.next(&mut input),
            Ok(Some(Frame::Data {
                length: 0x00ff_ffff,
                ..
            }))
        ));
        let piece = vec![0; 1 << 16];
        for _ in 0..200 {
            let mut input = piece.as_slice();
            while decoder.next(&mut input).unwrap().is_some() {}
            assert_eq!(decoder.held(), 0);
        }
        assert!(decoder.in_data());
    }

    #[test]
    fn b48_unknown_control_frames_are_errors() {
        for kind in [0, 5, 10, 11, 255] {
            assert_eq!(
                decode(&[0x80, 3, 0, kind, 0, 0, 0, 4, 0, 0, 0, 1]),
                Err(FrameError::UnknownType(u16::from(kind)))
            );
        }
        assert_eq!(
            decode(&[0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]),
            Err(FrameError::Version(2))
        );
        assert_eq!(
            decode(&[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 0]),
            Err(FrameError::ZeroId)
        );
        assert_eq!(decode(&[0, 0, 0, 0, 0, 0, 0, 0]), Err(FrameError::ZeroId));
        assert_eq!(decode(&[0, 0, 0, 1, 2, 0, 0, 0]), Err(FrameError::Flags(2)));
    }
}
