//! Answers of HTTP/1.1 (RFC 9112): the head, and the content of the body without its framing.
//!
//! For the answers that make the gateway's traffic: lists, watches, logs. It reads what is at hand and asks
//! for nothing else, so that many small chunks become one piece of content. It is strict: what servers in a
//! row could read in two ways is an error, never a guess.
//!
//! ```text
//!   Length(n) ───────────────────────────────────────────────► Done
//!   Size ──► Blank ──► Extension ──► SizeEnd ──► Data(n) ──► DataEnd ──► Size ...
//!                             └──(size 0)──► Trailer ─────────► Done
//!   UntilClose: the end of the connection is the end
//! ```

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use thiserror::Error;

use crate::limits::{HEADERS_MAX, HTTP1_ANSWER_EXTRA_BYTES_MAX, UPSTREAM_HTTP1_BUFFER_BYTES_MAX};

/// Why an answer cannot be read.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Http1Error {
    /// The head is not HTTP/1.
    #[error("its head is not HTTP/1.1")]
    Head,
    /// The head is longer, or has more lines, than `limits` allows.
    #[error("its head is too large")]
    TooLarge,
    /// `Content-Length` or `Transfer-Encoding` could be read in two ways.
    #[error("the length of its body is not clear")]
    Length,
    /// The chunks of the body are not as they must be.
    #[error("its chunks are malformed")]
    Chunk,
    /// The connection ended before the answer did.
    #[error("it ends too early")]
    Truncated,
}

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    /// The status; 1xx too.
    pub status: StatusCode,
    /// Every header line.
    pub headers: HeaderMap,
    /// What follows it.
    pub body: Body,
    /// Whether the server keeps the connection for another request.
    pub keeps: bool,
}

impl Head {
    /// Reads the answer to a `GET` from all bytes that have come so far: with how many of them are its head,
    /// or `None` when there must be more.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Http1Error> {
        let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut lines);
        let length = match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() < UPSTREAM_HTTP1_BUFFER_BYTES_MAX => {
                return Ok(None);
            }
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(Http1Error::TooLarge);
            }
            Err(_) => return Err(Http1Error::Head),
        };
        if length > UPSTREAM_HTTP1_BUFFER_BYTES_MAX {
            return Err(Http1Error::TooLarge);
        }
        let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(Http1Error::Head)?;
        let mut headers = HeaderMap::with_capacity(head.headers.len());
        for line in head.headers.iter() {
            let name = HeaderName::from_bytes(line.name.as_bytes());
            let value = HeaderValue::from_bytes(line.value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(Http1Error::Head);
            };
            headers.append(name, value);
        }
        let is_http11 = head.version == Some(1);
        let body = Body::of(status, &headers, is_http11)?;
        let keeps = is_http11 && body != Body(State::UntilClose) && !says_close(&headers);
        let head = Self {
            status,
            headers,
            body,
            keeps,
        };
        Ok(Some((head, length)))
    }
}

/// What of a body is still to come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Body(State);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// So many bytes of content.
    Length(u64),
    /// Content until the connection ends.
    UntilClose,
    /// In the digits of a chunk's size: how many there were, and what they say.
    Size {
        digits: u8,
        size: u64,
    },
    /// In the blanks behind the digits; bytes that were skipped so far.
    Blank {
        size: u64,
        skipped: usize,
    },
    /// Behind a semicolon, up to the line's end; bytes that were skipped so far.
    Extension {
        size: u64,
        skipped: usize,
    },
    /// Before the line feed of the size.
    SizeEnd {
        size: u64,
    },
    /// So many bytes of a chunk.
    Data(u64),
    /// Before the carriage return behind a chunk, and before its line feed.
    DataEnd {
        carriage: bool,
    },
    /// In the lines behind the last chunk, which are dropped.
    Trailer {
        /// Bytes that were skipped so far.
        skipped: usize,
        /// How far the current line has come.
        line: Line,
        /// The last byte was a carriage return.
        carriage: bool,
    },
    Done,
}

/// Where in a trailer line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Line {
    Empty,
    Name,
    Value,
}

const NEXT_CHUNK: State = State::Size { digits: 0, size: 0 };

impl Body {
    fn of(status: StatusCode, headers: &HeaderMap, is_http11: bool) -> Result<Self, Http1Error> {
        let is_empty = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
        let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
        let framing = (encodings.next(), lengths.next());
        if encodings.next().is_some() || lengths.next().is_some() {
            return Err(Http1Error::Length);
        }
        let state = match framing {
            (Some(encoding), None)
                if is_http11 && encoding.as_bytes().eq_ignore_ascii_case(b"chunked") =>
            {
                NEXT_CHUNK
            }
            (None, Some(length)) => match number(length.as_bytes()) {
                Some(0) => State::Done,
                Some(length) => State::Length(length),
                None => return Err(Http1Error::Length),
            },
            (None, None) => State::UntilClose,
            (Some(_), _) => return Err(Http1Error::Length),
        };
        Ok(Self(if is_empty { State::Done } else { state }))
    }

    /// Whether nothing more of it comes.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.0 == State::Done
    }

    /// How many bytes of content are still to come, where the head has said it.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.0 {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Appends to `content` what `bytes` hold of it, and says how many bytes were read: all of them, unless
    /// the body ends within.
    pub fn read(&mut self, bytes: &[u8], content: &mut BytesMut) -> Result<usize, Http1Error> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            let left = match self.0 {
                State::Done => break,
                State::Length(left) | State::Data(left) => left,
                State::UntilClose => u64::MAX,
                state => {
                    self.0 = step(state, byte)?;
                    rest = after;
                    continue;
                }
            };
            let count = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let (here, behind) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            content.extend_from_slice(here);
            rest = behind;
            self.0 = match (self.0, left - here.len() as u64) {
                (State::UntilClose, _) => State::UntilClose,
                (State::Data(_), 0) => State::DataEnd { carriage: false },
                (State::Data(_), left) => State::Data(left),
                (_, 0) => State::Done,
                (_, left) => State::Length(left),
            };
        }
        Ok(bytes.len() - rest.len())
    }

    /// The connection has ended: was that the end of the body too?
    pub fn end(&mut self) -> Result<(), Http1Error> {
        if !matches!(self.0, State::UntilClose | State::Done) {
            return Err(Http1Error::Truncated);
        }
        self.0 = State::Done;
        Ok(())
    }
}

/// One byte of what stands around chunks.
fn step(state: State, byte: u8) -> Result<State, Http1Error> {
    Ok(match (state, byte) {
        (State::Size { digits, size }, _) if byte.is_ascii_hexdigit() => {
            let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
            let size = size.checked_mul(16).ok_or(Http1Error::Chunk)? + digit;
            let digits = digits.checked_add(1).ok_or(Http1Error::Chunk)?;
            State::Size { digits, size }
        }
        (State::Size { digits: 0, .. }, _) => return Err(Http1Error::Chunk),
        (
            State::Size { size, .. } | State::Blank { size, .. } | State::Extension { size, .. },
            b'\r',
        ) => State::SizeEnd { size },
        (State::Size { size, .. } | State::Blank { size, .. }, b';') => {
            State::Extension { size, skipped: 0 }
        }
        (State::Size { size, .. }, b' ' | b'\t') => State::Blank { size, skipped: 0 },
        (State::Blank { size, skipped }, b' ' | b'\t') => State::Blank {
            size,
            skipped: one_more(skipped)?,
        },
        (State::Extension { size, skipped }, _) if is_text(byte) => State::Extension {
            size,
            skipped: one_more(skipped)?,
        },
        (State::SizeEnd { size: 0 }, b'\n') => State::Trailer {
            skipped: 0,
            line: Line::Empty,
            carriage: false,
        },
        (State::SizeEnd { size }, b'\n') => State::Data(size),
        (State::DataEnd { carriage: false }, b'\r') => State::DataEnd { carriage: true },
        (State::DataEnd { carriage: true }, b'\n') => NEXT_CHUNK,
        (
            State::Trailer {
                skipped,
                line,
                carriage,
            },
            _,
        ) => trailer(skipped, line, carriage, byte)?,
        _ => return Err(Http1Error::Chunk),
    })
}

/// One byte of the lines behind the last chunk.
fn trailer(skipped: usize, line: Line, carriage: bool, byte: u8) -> Result<State, Http1Error> {
    let line = match (line, byte) {
        (Line::Empty, b'\n') if carriage => return Ok(State::Done),
        (Line::Value, b'\n') if carriage => {
            return Ok(State::Trailer {
                skipped,
                line: Line::Empty,
                carriage: false,
            });
        }
        _ if carriage => return Err(Http1Error::Chunk),
        (Line::Empty | Line::Value, b'\r') => {
            return Ok(State::Trailer {
                skipped,
                line,
                carriage: true,
            });
        }
        (Line::Empty | Line::Name, _) if is_token(byte) => Line::Name,
        (Line::Name, b':') => Line::Value,
        (Line::Value, _) if is_text(byte) => Line::Value,
        _ => return Err(Http1Error::Chunk),
    };
    Ok(State::Trailer {
        skipped: one_more(skipped)?,
        line,
        carriage: false,
    })
}

/// What a name consists of (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What may stand in an extension or a trailer: no control characters but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn one_more(skipped: usize) -> Result<usize, Http1Error> {
    if skipped >= HTTP1_ANSWER_EXTRA_BYTES_MAX {
        return Err(Http1Error::Chunk);
    }
    Ok(skipped + 1)
}

/// A plain decimal number, as `Content-Length` must be.
fn number(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn says_close(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONNECTION).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("close"))
}

#[cfg(test)]
mod tests;
