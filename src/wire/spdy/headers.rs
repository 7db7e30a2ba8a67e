//! Header blocks: one zlib stream per direction for the life of the connection, with a preset
//! dictionary, flushed after every block and never finished.
//!
//! Because the stream is shared, an error here can never be stepped over: every later block would
//! be read as something it is not (D-10). The caller must end the connection.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::limits;

/// The dictionary of SPDY/3, 1423 bytes.
pub static DICTIONARY: &[u8] = include_bytes!("dictionary.bin");
const DICTIONARY_ADLER32: u32 = 0xe3c6_a7c2;
/// zlib header and the number of the dictionary: what stands before the first block.
const PREFIX_BYTES: usize = 6;

/// A header block that must not be believed. The connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The compressed bytes are not a flushed block of the stream.
    #[error("SPDY header block does not decompress")]
    Compression,
    /// More text than allowed, or more than the compressed bytes can honestly hold.
    #[error("SPDY header block is too large")]
    TooLarge,
    /// More headers than allowed.
    #[error("SPDY header block has too many headers")]
    TooMany,
    /// The counts and lengths inside do not add up.
    #[error("SPDY header block is malformed")]
    Malformed,
    /// A name that is empty or not lower case.
    #[error("SPDY header name is not valid")]
    Name,
    /// Control characters in a value.
    #[error("SPDY header value has control characters")]
    Value,
    /// The same name twice.
    #[error("SPDY header is repeated")]
    Repeated,
}

/// The headers of one block, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderBlock {
    headers: Vec<(String, String)>,
}

impl HeaderBlock {
    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Name and value of every header.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn parse(text: &[u8]) -> Result<Self, HeaderError> {
        let (count, mut rest) = length(text)?;
        if count > limits::SPDY_HEADERS_MAX {
            return Err(HeaderError::TooMany);
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        for _ in 0..count {
            let name = text_of(&mut rest)?;
            let value = text_of(&mut rest)?;
            if name.is_empty() || !name.bytes().all(is_name_byte) {
                return Err(HeaderError::Name);
            }
            // Also NUL, which joins several values: Kubernetes never sends two.
            if value.bytes().any(|byte| byte.is_ascii_control()) {
                return Err(HeaderError::Value);
            }
            if headers.iter().any(|(other, _)| other == name) {
                return Err(HeaderError::Repeated);
            }
            headers.push((name.to_owned(), value.to_owned()));
        }
        if rest.is_empty() {
            Ok(Self { headers })
        } else {
            Err(HeaderError::Malformed)
        }
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !byte.is_ascii_uppercase()
}

fn length(bytes: &[u8]) -> Result<(usize, &[u8]), HeaderError> {
    let (word, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or(HeaderError::Malformed)?;
    let length = usize::try_from(u32::from_be_bytes(*word)).map_err(|_| HeaderError::Malformed)?;
    Ok((length, rest))
}

fn text_of<'a>(rest: &mut &'a [u8]) -> Result<&'a str, HeaderError> {
    let (length, after) = length(rest)?;
    if length > limits::SPDY_HEADER_BYTES_MAX {
        return Err(HeaderError::TooLarge);
    }
    let (text, after) = after
        .split_at_checked(length)
        .ok_or(HeaderError::Malformed)?;
    *rest = after;
    std::str::from_utf8(text).map_err(|_| HeaderError::Value)
}

/// Reads the header blocks of one direction, all of them, in order.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    started: bool,
    failed: bool,
}

impl Default for Inflater {
    fn default() -> Self {
        Self {
            stream: Decompress::new(true),
            started: false,
            failed: false,
        }
    }
}

impl Inflater {
    /// An inflater at the first block of a direction.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the next block. After an error every further call fails.
    pub fn block(&mut self, compressed: &[u8]) -> Result<HeaderBlock, HeaderError> {
        if self.failed {
            return Err(HeaderError::Compression);
        }
        let block = self
            .inflate(compressed)
            .and_then(|text| HeaderBlock::parse(&text));
        self.failed = block.is_err();
        block
    }

    fn inflate(&mut self, compressed: &[u8]) -> Result<Vec<u8>, HeaderError> {
        let mut rest = compressed;
        if !self.started {
            let (prefix, after) = rest
                .split_at_checked(PREFIX_BYTES)
                .ok_or(HeaderError::Compression)?;
            self.start(prefix)?;
            rest = after;
        }
        let mut text = Vec::with_capacity(256);
        loop {
            let (read_before, length_before) = (self.stream.total_in(), text.len());
            let status = self
                .stream
                .decompress_vec(rest, &mut text, FlushDecompress::Sync);
            let read = usize::try_from(self.stream.total_in().saturating_sub(read_before))
                .unwrap_or(usize::MAX);
            rest = rest.get(read..).ok_or(HeaderError::Compression)?;
            // A finished stream could start no further block.
            match status {
                Ok(Status::Ok | Status::BufError) => {}
                Ok(Status::StreamEnd) | Err(_) => return Err(HeaderError::Compression),
            }
            let full = text.len() == text.capacity();
            if !full && rest.is_empty() {
                return Ok(text);
            }
            if !full && read == 0 && text.len() == length_before {
                return Err(HeaderError::Compression);
            }
            if text.len() >= limits::SPDY_HEADER_BLOCK_BYTES_MAX {
                return Err(HeaderError::TooLarge);
            }
            if full {
                text.reserve(text.len().min(limits::SPDY_HEADER_BLOCK_BYTES_MAX));
            }
        }
    }

    fn start(&mut self, prefix: &[u8]) -> Result<(), HeaderError> {
        let asked = self
            .stream
            .decompress(prefix, &mut [], FlushDecompress::Sync);
        match asked {
            Err(error) if error.needs_dictionary() == Some(DICTIONARY_ADLER32) => {}
            _ => return Err(HeaderError::Compression),
        }
        self.stream
            .set_dictionary(DICTIONARY)
            .map_err(|_| HeaderError::Compression)?;
        self.started = true;
        Ok(())
    }
}

/// Writes the header blocks of one direction, all of them, in order.
#[derive(Debug)]
pub struct Deflater {
    stream: Compress,
}

impl Deflater {
    /// A deflater at the first block of a direction.
    pub fn new() -> Result<Self, HeaderError> {
        let mut stream = Compress::new(Compression::best(), true);
        stream
            .set_dictionary(DICTIONARY)
            .map_err(|_| HeaderError::Compression)?;
        Ok(Self { stream })
    }

    /// The compressed block of `headers`, for exactly one frame.
    pub fn block(&mut self, headers: &[(&str, &str)]) -> Result<Vec<u8>, HeaderError> {
        let mut text = Vec::new();
        put_length(&mut text, headers.len())?;
        for part in headers.iter().flat_map(|(name, value)| [name, value]) {
            put_length(&mut text, part.len())?;
            text.extend_from_slice(part.as_bytes());
        }
        let mut block = Vec::with_capacity(text.len().saturating_add(64));
        let mut rest = text.as_slice();
        loop {
            let read_before = self.stream.total_in();
            self.stream
                .compress_vec(rest, &mut block, FlushCompress::Sync)
                .map_err(|_| HeaderError::Compression)?;
            let read = usize::try_from(self.stream.total_in().saturating_sub(read_before))
                .unwrap_or(usize::MAX);
            rest = rest.get(read..).ok_or(HeaderError::Compression)?;
            // Room left means that the flush is complete.
            if rest.is_empty() && block.len() < block.capacity() {
                return Ok(block);
            }
            block.reserve(block.len().max(64));
        }
    }
}

fn put_length(text: &mut Vec<u8>, length: usize) -> Result<(), HeaderError> {
    let length = u32::try_from(length).map_err(|_| HeaderError::TooLarge)?;
    text.extend_from_slice(&length.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::digest;

    const FIRST_BLOCK: &[u8] = &[
        0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2, 0x02, 0xa6, 0x23, 0x46, 0x70, 0x3a, 0x2b, 0x29, 0x4a,
        0x4d, 0xcc, 0x85, 0x16, 0x25, 0xac, 0xa9, 0xa0, 0x80, 0x06, 0x00, 0x00, 0x00, 0xff, 0xff,
    ];

    #[test]
    fn the_dictionary_is_that_of_the_specification() {
        assert_eq!(DICTIONARY.len(), 1423);
        let sum = digest::digest(&digest::SHA256, DICTIONARY);
        assert_eq!(
            format!("{sum:?}"),
            "SHA256:51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02"
        );
        let mut compressor = Compress::new(Compression::best(), true);
        assert_eq!(
            compressor.set_dictionary(DICTIONARY).unwrap(),
            DICTIONARY_ADLER32
        );
    }

    #[test]
    fn blocks_have_the_documented_bytes() {
        let mut deflater = Deflater::new().unwrap();
        assert_eq!(
            deflater.block(&[("streamtype", "error")]).unwrap(),
            FIRST_BLOCK
        );
        let mut deflater = Deflater::new().unwrap();
        assert_eq!(
            deflater.block(&[]).unwrap(),
            [
                0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2, 0x02, 0xa6, 0x23, 0x06, 0, 0, 0, 0, 0xff, 0xff
            ]
        );
    }

    #[test]
    fn blocks_are_read_back_in_order() {
        let (mut deflater, mut inflater) = (Deflater::new().unwrap(), Inflater::new());
        for turn in 0..300 {
            let request = turn.to_string();
            let headers = [
                ("streamtype", "data"),
                ("port", "8080"),
                ("requestid", request.as_str()),
            ];
            let block = inflater.block(&deflater.block(&headers).unwrap()).unwrap();
            assert_eq!(block.iter().collect::<Vec<_>>(), headers);
        }
    }

    #[test]
    fn d09_counts_and_lengths_are_compared_with_what_is_there() {
        let text_with = |count: u32, name: u32| {
            let mut text = count.to_be_bytes().to_vec();
            text.extend_from_slice(&name.to_be_bytes());
            text
        };
        assert_eq!(
            HeaderBlock::parse(&text_with(u32::MAX, 1)),
            Err(HeaderError::TooMany)
        );
        assert_eq!(
            HeaderBlock::parse(&text_with(1, u32::MAX)),
            Err(HeaderError::TooLarge)
        );
        assert_eq!(
            HeaderBlock::parse(&text_with(1, 16)),
            Err(HeaderError::Malformed)
        );
        assert_eq!(HeaderBlock::parse(&[]), Err(HeaderError::Malformed));
    }

    #[test]
    fn d10_a_bomb_stops_at_the_limit() {
        let zeros = "a".repeat(8 << 20);
        let block = Deflater::new().unwrap().block(&[("a", &zeros)]).unwrap();
        assert!(block.len() < limits::SPDY_CONTROL_PAYLOAD_BYTES_MAX);
        assert_eq!(Inflater::new().block(&block), Err(HeaderError::TooLarge));
    }

    #[test]
    fn d10_nothing_is_read_after_an_error() {
        let mut inflater = Inflater::new();
        assert_eq!(
            inflater.block(b"\x78\x9c no dictionary"),
            Err(HeaderError::Compression)
        );
        assert_eq!(inflater.block(FIRST_BLOCK), Err(HeaderError::Compression));
        // A block cut short is an error at the latest when its text does not add up.
        let mut inflater = Inflater::new();
        assert!(inflater.block(&FIRST_BLOCK[..20]).is_err());
        assert!(inflater.block(&FIRST_BLOCK[20..]).is_err());
    }

    #[test]
    fn b48_line_breaks_and_repeated_headers_are_errors() {
        let read = |headers: &[(&str, &str)]| {
            let block = Deflater::new().unwrap().block(headers).unwrap();
            Inflater::new().block(&block).map(|_| ())
        };
        assert_eq!(
            read(&[("streamtype", "stdin\r\nx: y")]),
            Err(HeaderError::Value)
        );
        assert_eq!(
            read(&[("streamtype", "stdin\0stdout")]),
            Err(HeaderError::Value)
        );
        assert_eq!(
            read(&[("streamtype", "stdin"), ("streamtype", "stdout")]),
            Err(HeaderError::Repeated)
        );
        assert_eq!(read(&[("StreamType", "stdin")]), Err(HeaderError::Name));
        assert_eq!(read(&[("", "stdin")]), Err(HeaderError::Name));
    }
}
