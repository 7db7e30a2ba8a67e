//! What may pass as an HTTP/1.1 request, byte by byte, before hyper reads it.
//!
//! hyper is lenient where a server may be: it lets chunked win over `Content-Length`, merges equal
//! lengths, accepts bare LF and skips chunk extensions. Wherever two servers in a row may be lenient
//! in different ways, a request can be smuggled, so only the canonical form gets through, of which
//! there is one reading (threats B-09 to B-13, B-18).
//!
//! ```text
//!   Head ──► Body(n) ──► Head ...            Content-Length
//!     │ └──► Chunk ──► ChunkData ──► Chunk ──(size 0)──► Head ...
//!     └────► Tunnel                          after a request with `Upgrade`: not HTTP any more, and
//!                                            the listener closes if the answer is not 101
//! ```

use http::Uri;

use super::Unreadable;
use crate::limits;

/// Follows the framing of one connection's requests.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    head_bytes_max: usize,
    /// Bytes of a held head that were searched before.
    searched: usize,
    /// The current request asks to switch protocols.
    upgrade: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A request's head, held back until it is complete and found good.
    Head,
    /// So many bytes of a body with a length.
    Body(u64),
    /// A line with a chunk's size.
    Chunk,
    /// So many bytes of a chunk and its line end.
    ChunkData(u64),
    /// Anything goes.
    Tunnel,
}

/// What to do with the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// So many bytes from the front may go on; never zero.
    Release(usize),
    /// More bytes are needed.
    Hold,
    /// Not a request that can be read in one way only; nothing behind it is read either.
    Refuse(Unreadable),
}

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    None,
    Bytes(u64),
    Chunked,
}

impl Framing {
    pub(super) fn new(head_bytes_max: usize) -> Self {
        Self {
            state: State::Head,
            head_bytes_max,
            searched: 0,
            upgrade: false,
        }
    }

    /// Whether a head has begun to arrive when there are bytes at hand.
    pub(super) fn is_in_head(&self) -> bool {
        self.state == State::Head
    }

    /// Bytes that may be read without being looked at; zero where they must be.
    pub(super) fn passes(&self) -> u64 {
        match self.state {
            State::Body(left) => left,
            State::Tunnel => u64::MAX,
            State::Head | State::Chunk | State::ChunkData(_) => 0,
        }
    }

    /// Counts bytes read under [`Self::passes`].
    pub(super) fn passed(&mut self, count: u64) {
        if let State::Body(left) = self.state {
            self.state = self.after(left.saturating_sub(count));
        }
    }

    /// Judges the bytes at hand, which follow those released before.
    pub(super) fn judge(&mut self, bytes: &[u8]) -> Verdict {
        if bytes.is_empty() {
            return Verdict::Hold;
        }
        match self.state {
            State::Head => self.judge_head(bytes),
            State::Body(left) => {
                let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.passed(count as u64);
                Verdict::Release(count)
            }
            State::Chunk => self.judge_chunk(bytes),
            State::ChunkData(left) => self.judge_chunk_data(bytes, left),
            State::Tunnel => Verdict::Release(bytes.len()),
        }
    }

    fn after(&self, left: u64) -> State {
        match left {
            0 if self.upgrade => State::Tunnel,
            0 => State::Head,
            left => State::Body(left),
        }
    }

    fn judge_head(&mut self, bytes: &[u8]) -> Verdict {
        let length = match end_of_head(bytes, self.searched) {
            Ok(Some(length)) => length,
            // A bare LF can end a head for a lenient reader; it is refused as soon as it is seen.
            Err(why) => return refuse(why),
            Ok(None) => {
                self.searched = bytes.len();
                if bytes.len() >= self.head_bytes_max {
                    return Verdict::Refuse(Unreadable::TooLarge);
                }
                return Verdict::Hold;
            }
        };
        self.searched = 0;
        if length > self.head_bytes_max {
            return Verdict::Refuse(Unreadable::TooLarge);
        }
        let head = bytes.get(..length - EMPTY_LINE.len()).unwrap_or_default();
        if lines(head).count() > 1 + limits::HEADERS_MAX {
            return Verdict::Refuse(Unreadable::TooLarge);
        }
        match read_head(head) {
            Ok((body, upgrade)) => {
                self.upgrade = upgrade;
                self.state = match body {
                    Length::None => self.after(0),
                    Length::Bytes(bytes) => self.after(bytes),
                    Length::Chunked => State::Chunk,
                };
                Verdict::Release(length)
            }
            Err(why) => refuse(why),
        }
    }

    /// `1*HEXDIG CRLF`, without extensions; after the last chunk `CRLF`, without trailers.
    fn judge_chunk(&mut self, bytes: &[u8]) -> Verdict {
        let digits = bytes
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        if digits > limits::CHUNK_SIZE_DIGITS_MAX {
            return refuse("a chunk is too large");
        }
        let rest = bytes.get(digits..).unwrap_or_default();
        if !b"\r\n".starts_with(rest.get(..2).unwrap_or(rest)) {
            return refuse("a chunk's size is not plain");
        }
        if rest.len() < 2 {
            return Verdict::Hold;
        }
        let digits_text = bytes
            .get(..digits)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(size) = digits_text.and_then(|digits| u64::from_str_radix(digits, 16).ok()) else {
            return refuse("a chunk has no size");
        };
        if size > 0 {
            self.state = State::ChunkData(size + 2);
            return Verdict::Release(digits + 2);
        }
        let end = rest.get(2..).unwrap_or_default();
        if !b"\r\n".starts_with(end.get(..2).unwrap_or(end)) {
            return refuse("trailers are not accepted");
        }
        if end.len() < 2 {
            return Verdict::Hold;
        }
        self.state = self.after(0);
        Verdict::Release(digits + 4)
    }

    fn judge_chunk_data(&mut self, bytes: &[u8], left: u64) -> Verdict {
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        for (index, &byte) in bytes.iter().take(count).enumerate() {
            let expected = match left - index as u64 {
                2 => b'\r',
                1 => b'\n',
                _ => continue,
            };
            if byte != expected {
                return refuse("a chunk does not end where its size says");
            }
        }
        self.state = match left - count as u64 {
            0 => State::Chunk,
            left => State::ChunkData(left),
        };
        Verdict::Release(count)
    }
}

fn refuse(why: &'static str) -> Verdict {
    Verdict::Refuse(Unreadable::NotCanonical(why))
}

const EMPTY_LINE: &[u8] = b"\r\n";

/// The length of the head, if the empty line at its end is there. What is before `from` was searched before.
fn end_of_head(bytes: &[u8], from: usize) -> Result<Option<usize>, &'static str> {
    let fresh = bytes.get(from..).unwrap_or_default();
    for at in memchr::memchr_iter(b'\n', fresh) {
        let before = bytes.get(..from + at).unwrap_or_default();
        if !before.ends_with(b"\r") {
            return Err("a line does not end in CRLF");
        }
        if before.ends_with(b"\r\n\r") {
            return Ok(Some(before.len() + 1));
        }
    }
    Ok(None)
}

/// A whole head without the empty line at its end.
fn read_head(head: &[u8]) -> Result<(Length, bool), &'static str> {
    let mut lines = lines(head);
    read_request_line(lines.next().unwrap_or_default())?;
    let (mut hosts, mut upgrade) = (0, false);
    let (mut length, mut chunked) = (None, false);
    for line in lines {
        let colon = memchr::memchr(b':', line).ok_or("a header line has no colon")?;
        let (name, value) = line.split_at_checked(colon).unwrap_or_default();
        let value = value.get(1..).unwrap_or_default();
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
            return Err("a header name is not plain");
        }
        if !is_value(value) {
            return Err("a header value holds control characters");
        }
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            if length.replace(read_length(value)?).is_some() {
                return Err("there is more than one Content-Length");
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err("only a single `Transfer-Encoding: chunked` is accepted");
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            upgrade = true;
        } else if name.eq_ignore_ascii_case(b"expect")
            && !value.eq_ignore_ascii_case(b"100-continue")
        {
            return Err("only `Expect: 100-continue` is known");
        }
    }
    if hosts != 1 {
        return Err("there must be exactly one Host header");
    }
    match (length, chunked) {
        (Some(_), true) => Err("Content-Length and Transfer-Encoding exclude each other"),
        (Some(length), false) => Ok((Length::Bytes(length), upgrade)),
        (None, true) => Ok((Length::Chunked, upgrade)),
        (None, false) => Ok((Length::None, upgrade)),
    }
}

/// The lines of a head in which every LF stands behind a CR. Whatever else looks like a line end stays in a line and is
/// refused there.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', head).map(move |at| {
        let line = head.get(start..at.saturating_sub(1));
        start = at + 1;
        line.unwrap_or_default()
    })
}

fn read_request_line(line: &[u8]) -> Result<(), &'static str> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let (Some(method), Some(target), Some(version), None) = (method, target, version, parts.next())
    else {
        return Err("the request line does not have three parts");
    };
    if method.is_empty() || !method.iter().all(u8::is_ascii_uppercase) || method == b"CONNECT" {
        return Err("the method is not known");
    }
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err("the target holds characters that must be escaped");
    }
    // `http::Uri` drops a fragment; the API server does not (Go's `url.ParseRequestURI`).
    if target.contains(&b'#') {
        return Err("the target holds a `#`, which must be escaped as %23");
    }
    // The form is judged later (`super::target`); what is not even a target would be hyper's to refuse.
    if Uri::try_from(target).is_err() {
        return Err("the target is not a path");
    }
    if version != b"HTTP/1.1" {
        return Err("only HTTP/1.1 and HTTP/2 are spoken");
    }
    Ok(())
}

fn read_length(value: &[u8]) -> Result<u64, &'static str> {
    const WHY: &str = "Content-Length is not one plain number";
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(WHY);
    }
    std::str::from_utf8(value)
        .ok()
        .and_then(|value| value.parse().ok())
        .ok_or(WHY)
}

/// Whether there are no control characters in it. Every byte is looked at, because many are then looked at together.
fn is_value(bytes: &[u8]) -> bool {
    let plain = |byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    bytes.iter().fold(true, |all, &byte| all & plain(byte))
}

/// Characters of header names and methods (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the bytes in pieces of `cut` bytes, as a connection would, and returns what got through.
    fn run(bytes: &[u8], cut: usize) -> (Vec<u8>, Result<(), Unreadable>) {
        let mut framing = Framing::new(1024);
        let (mut pending, mut out) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(cut) {
            pending.extend_from_slice(piece);
            loop {
                match framing.judge(&pending) {
                    Verdict::Release(count) => {
                        assert!(count > 0);
                        out.extend(pending.drain(..count));
                    }
                    Verdict::Hold => break,
                    Verdict::Refuse(why) => return (out, Err(why)),
                }
            }
        }
        (out, Ok(()))
    }

    fn refused(request: &[u8]) {
        for cut in [1, 2, 3, 7, request.len()] {
            let (out, verdict) = run(request, cut);
            assert!(
                verdict.is_err(),
                "{:?} passed",
                String::from_utf8_lossy(request)
            );
            assert!(
                !out.windows(4).any(|window| window == b"evil"),
                "{:?}",
                String::from_utf8_lossy(request)
            );
        }
    }

    fn passes(request: &[u8]) {
        for cut in 1..=request.len() {
            let (out, verdict) = run(request, cut);
            assert_eq!(
                verdict,
                Ok(()),
                "{:?} at {cut}",
                String::from_utf8_lossy(request)
            );
            assert_eq!(
                String::from_utf8_lossy(&out),
                String::from_utf8_lossy(request)
            );
        }
    }

    #[test]
    fn canonical_requests_pass_at_every_cut() {
        passes(b"GET /api?a=b HTTP/1.1\r\nHost: h\r\nAccept: a, b;q=0.5\r\nX:\r\n\r\nGET / HTTP/1.1\r\nhost:h\r\n\r\n");
        passes(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n\n\n\r\n\nDELETE / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        let head =
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue";
        let long = ".".repeat(0xaf);
        let rest = "0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
        passes(format!("{head}\r\n\r\n5\r\n\r\n0\r\n\r\n0aF\r\n{long}\r\n{rest}").as_bytes());
        passes(b"POST / HTTP/1.1\r\nHost: h\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n\x80\x03\n\n\0 anything");
        passes(b"POST / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\n{}\x80\x03\n\n\0 anything");
    }

    #[test]
    fn b09_b10_b11_lengths_that_could_be_read_in_two_ways_are_refused() {
        for headers in [
            "Content-Length: 4\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 4",
            "Content-Length: 4\r\nContent-Length: 4",
            "Content-Length: 4\r\nContent-Length: 5",
            "Content-Length: 4, 4",
            "Content-Length: +4",
            "Content-Length: -4",
            "Content-Length: 0x4",
            "Content-Length: 4 4",
            "Content-Length: ",
            "Content-Length: 99999999999999999999",
            "Content-Length : 4",
            " Content-Length: 4",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: identity, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Transfer-Encoding: \x0bchunked",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding:",
            "Transfer\u{2010}Encoding: chunked",
        ] {
            refused(format!("POST / HTTP/1.1\r\nHost: h\r\n{headers}\r\n\r\nevil").as_bytes());
        }
    }

    #[test]
    fn b12_chunks_are_plain_and_without_trailers() {
        for body in [
            "4\nevil\r\n0\r\n\r\n",
            "4;a=b\r\nevil\r\n0\r\n\r\n",
            "4 \r\nevil\r\n0\r\n\r\n",
            " 4\r\nevil\r\n0\r\n\r\n",
            "0x4\r\nevil\r\n0\r\n\r\n",
            "-4\r\nevil\r\n0\r\n\r\n",
            "\r\nevil\r\n0\r\n\r\n",
            "11111111111111111\r\nevil",
            "1\r\n.evil\r\n0\r\n\r\n",
            "1\r\n.\revil",
            "0\r\nImpersonate-User: evil\r\n\r\n",
            "0\r\n\nevil",
        ] {
            refused(
                format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
                    .as_bytes(),
            );
        }
    }

    #[test]
    fn b13_heads_that_are_not_canonical_are_refused() {
        for request in [
            "GET /evil HTTP/1.1\nHost: h\n\n",
            "GET /evil HTTP/1.1\r\nHost: h\n\r\n\r\n",
            "GET /evil HTTP/1.1\r\nHost: h\r\nA: b\rc: d\r\n\r\n",
            "GET /evil HTTP/1.1\r\nHost: h\r\nA: b\r\r\n\r\n",
            "GET /evil HTTP/1.1\r\nA: b\r\r\nHost: h\r\n\r\n",
            "GET /evil HTTP/1.1\r\r\nHost: h\r\n\r\n",
            "\r\nGET /evil HTTP/1.1\r\nHost: h\r\n\r\n",
            " GET /evil HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET  /evil HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /evil  HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /evil HTTP/1.1 \r\nHost: h\r\n\r\n",
            "GET\t/evil HTTP/1.1\r\nHost: h\r\n\r\n",
            "get /evil HTTP/1.1\r\nHost: h\r\n\r\n",
            "CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n",
            "GET /evil\r\n\r\n",
            "GET /evil HTTP/1.0\r\nHost: h\r\n\r\n",
            "GET /evil HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
            "GET /evil HTTP/2.0\r\nHost: h\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nevil",
            "GET /e\u{e9}vil HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /evil HTTP/1.1\r\n\r\n",
            "GET /evil HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
            "GET /evil HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n",
            "GET /evil HTTP/1.1\r\nHost: h\r\nImpersonate-User : x\r\n\r\n",
            "GET /evil HTTP/1.1\r\nHost: h\r\nImpersonate User: x\r\n\r\n",
            "GET /evil HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n",
            "GET /evil HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n",
            "GET /evil HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n",
            "GET /evil HTTP/1.1\r\nHost: h\r\nA: b\x7fc\r\n\r\n",
            "GET /evil HTTP/1.1\r\nHost: h\r\nExpect: 200-maybe\r\n\r\n",
            "GET /evil\"<> HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET evil/nowhere HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /evil#x HTTP/1.1\r\nHost: h\r\n\r\n",
        ] {
            refused(request.as_bytes());
        }
    }

    #[test]
    fn b53_a_head_that_never_ends_is_too_large() {
        let endless = format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}", "a".repeat(2000));
        let too_large = Err(Unreadable::TooLarge);
        assert_eq!(run(endless.as_bytes(), 100).1, too_large);
        let ended = format!("{endless}\r\n\r\n");
        assert_eq!(run(ended.as_bytes(), ended.len()).1, too_large);
        let lines = |count: usize| {
            let head = format!(
                "GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
                "A:\r\n".repeat(count)
            );
            run(head.as_bytes(), head.len()).1
        };
        assert_eq!(lines(limits::HEADERS_MAX - 1), Ok(()));
        assert_eq!(lines(limits::HEADERS_MAX), too_large);
    }
}
