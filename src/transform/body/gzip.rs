//! Inflates gzip bodies a bounded piece at a time.

use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;

use crate::limits::INFLATE_BYTES_MAX;

const WINDOW_BITS: u8 = 15;

/// The body is not gzip, or broke off.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("invalid gzip")]
pub(in crate::transform) struct GzipError;

/// One gzip body of any number of members.
pub(in crate::transform) struct Inflate {
    member: Decompress,
    /// The current member ended; more input begins another.
    ended: bool,
    /// There may be more to come from input that was taken already.
    pending: bool,
}

impl Inflate {
    pub(in crate::transform) fn new() -> Self {
        Self {
            member: Decompress::new_gzip(WINDOW_BITS),
            ended: false,
            pending: false,
        }
    }

    /// Must `next` be called although there is no input?
    pub(in crate::transform) fn is_pending(&self) -> bool {
        self.pending
    }

    /// Inflates the beginning of `input` to at most [`INFLATE_BYTES_MAX`]. An empty result means that
    /// `input` is used up.
    pub(in crate::transform) fn next(&mut self, input: &mut Bytes) -> Result<Bytes, GzipError> {
        let mut inflated = Vec::with_capacity(INFLATE_BYTES_MAX);
        loop {
            if self.ended && input.has_remaining() {
                self.member = Decompress::new_gzip(WINDOW_BITS);
                self.ended = false;
            }
            let (read, written) = (self.member.total_in(), inflated.len());
            let status = if self.ended {
                Status::StreamEnd
            } else {
                self.member
                    .decompress_vec(input, &mut inflated, FlushDecompress::Sync)
                    .map_err(|_error| GzipError)?
            };
            let read = self.member.total_in().saturating_sub(read);
            input.advance(usize::try_from(read).unwrap_or(usize::MAX).min(input.len()));
            self.ended = status == Status::StreamEnd;
            let full = inflated.len() == inflated.capacity();
            let stuck = read == 0 && inflated.len() == written && !self.ended;
            self.pending = full && !self.ended;
            if full || stuck || (input.is_empty() && self.ended) {
                return Ok(inflated.into());
            }
        }
    }

    /// The body ended.
    pub(in crate::transform) fn finish(&self) -> Result<(), GzipError> {
        if self.ended || self.member.total_in() == 0 {
            Ok(())
        } else {
            Err(GzipError)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(pieces: &[&[u8]]) -> Result<Vec<u8>, GzipError> {
        let (mut inflate, mut text) = (Inflate::new(), Vec::new());
        for piece in pieces {
            let mut input = Bytes::copy_from_slice(piece);
            loop {
                let bytes = inflate.next(&mut input)?;
                assert!(bytes.len() <= INFLATE_BYTES_MAX);
                text.extend_from_slice(&bytes);
                if input.is_empty() && !inflate.is_pending() {
                    break;
                }
            }
        }
        inflate.finish().map(|()| text)
    }

    #[test]
    fn c_11_members_are_joined_wherever_the_body_is_cut() {
        let body = [gzip(b"hello "), gzip(b""), gzip(b"world")].concat();
        for at in 0..=body.len() {
            let (head, tail) = body.split_at(at);
            assert_eq!(
                inflate(&[head, tail]).unwrap(),
                b"hello world",
                "cut at {at}"
            );
        }
    }

    #[test]
    fn c_11_a_bomb_is_inflated_in_bounded_pieces() {
        let body = gzip(&vec![b'x'; 32 * 1024 * 1024]);
        assert_eq!(inflate(&[&body]).unwrap().len(), 32 * 1024 * 1024);
    }

    #[test]
    fn c_11_damaged_bodies_are_errors() {
        let body = gzip(b"hello");
        let last = body.len() - 1;
        assert_eq!(inflate(&[&body[..last]]), Err(GzipError));
        assert_eq!(inflate(&[b"hello"]), Err(GzipError));
        assert_eq!(inflate(&[&body, b"x"]), Err(GzipError));
        let mut damaged = body;
        damaged[last - 5] ^= 1;
        assert_eq!(inflate(&[&damaged]), Err(GzipError));
    }
}
