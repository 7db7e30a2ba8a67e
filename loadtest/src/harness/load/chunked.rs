//! Bodies of HTTP/1.1 (RFC 9112 §6 and §7.1), decoded in place. Not by the codec of the gateway: what measures it must not share its bugs.

use anyhow::{Context as _, ensure};
use memchr::memchr;

use super::super::network::header;

/// Where in a body its reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunked {
    state: State,
    /// Of the chunk, or of a body with a length.
    left: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A body with a `Content-Length`.
    Plain,
    /// The digits of a chunk's size.
    Size,
    /// What follows them, up to the newline.
    SizeEnd,
    Data,
    /// The line end after a chunk.
    DataEnd,
    /// Trailers: `true` at the begin of a line.
    Trailer(bool),
    Complete,
}

impl Chunked {
    /// A body that is over.
    pub(super) fn ended() -> Self {
        Self {
            state: State::Complete,
            left: 0,
        }
    }

    /// The body that a response head announces.
    pub(super) fn from_head(head: &[u8]) -> anyhow::Result<Self> {
        let head = String::from_utf8_lossy(head);
        let coding = header(&head, "transfer-encoding");
        if coding.is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Ok(Self {
                state: State::Size,
                left: 0,
            });
        }
        let length = header(&head, "content-length")
            .context("a body without length")?
            .parse()?;
        let state = if length == 0 {
            State::Complete
        } else {
            State::Plain
        };
        Ok(Self {
            state,
            left: length,
        })
    }

    /// Whether all of the body was taken.
    pub(super) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Hands over the payload in `input`, which may end anywhere.
    pub(super) fn take(
        &mut self,
        mut input: &[u8],
        payload: &mut impl FnMut(&[u8]),
    ) -> anyhow::Result<()> {
        while let Some((&first, rest)) = input.split_first() {
            match self.state {
                State::Plain | State::Data => {
                    let (data, rest) = input.split_at(self.left.min(input.len()));
                    payload(data);
                    input = rest;
                    self.left -= data.len();
                    if self.left == 0 {
                        let plain = self.state == State::Plain;
                        self.state = if plain {
                            State::Complete
                        } else {
                            State::DataEnd
                        };
                    }
                    continue;
                }
                State::Size => {
                    if let Some(digit) = char::from(first).to_digit(16) {
                        ensure!(self.left >> 56 == 0, "a chunk without end");
                        self.left = self.left * 16 + usize::try_from(digit)?;
                    } else {
                        self.state = State::SizeEnd;
                        continue;
                    }
                }
                State::SizeEnd => {
                    let end = memchr(b'\n', input).map(|at| at + 1);
                    if end.is_some() {
                        self.state = if self.left == 0 {
                            State::Trailer(true)
                        } else {
                            State::Data
                        };
                    }
                    input = input.get(end.unwrap_or(input.len())..).unwrap_or_default();
                    continue;
                }
                State::DataEnd if first == b'\n' => self.state = State::Size,
                State::DataEnd => ensure!(first == b'\r', "a chunk is longer than its size"),
                State::Trailer(empty) if first == b'\n' => {
                    self.state = if empty {
                        State::Complete
                    } else {
                        State::Trailer(true)
                    };
                }
                State::Trailer(empty) => self.state = State::Trailer(empty && first == b'\r'),
                State::Complete => anyhow::bail!("bytes after the end of the body"),
            }
            input = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_wherever_the_input_is_cut() {
        let body = b"4\r\nwiki\r\n00A;name=value\r\npedia in\n\n\r\n0\r\nX: y\r\n\r\n";
        for cut in 0..body.len() {
            let mut reader =
                Chunked::from_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .unwrap();
            let mut text = Vec::new();
            for part in [&body[..cut], &body[cut..]] {
                assert!(!reader.is_complete());
                reader
                    .take(part, &mut |bytes: &[u8]| text.extend_from_slice(bytes))
                    .unwrap();
            }
            assert_eq!(text, b"wikipedia in\n\n", "cut at {cut}");
            assert!(reader.is_complete());
        }
    }

    #[test]
    fn a_body_with_a_length_ends_there() {
        let mut reader =
            Chunked::from_head(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n").unwrap();
        let mut text = Vec::new();
        reader
            .take(b"abc", &mut |bytes: &[u8]| text.extend_from_slice(bytes))
            .unwrap();
        assert!(reader.is_complete() && text == b"abc");
        assert!(reader.take(b"d", &mut |_: &[u8]| {}).is_err());
    }
}
