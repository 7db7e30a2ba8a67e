//! The channel protocol of exec and attach (and of the old port-forward) over WebSocket, and what
//! travels on its channels whatever the transport: terminal sizes and the final status.
//!
//! The first byte of a message names the channel. In the base64 forms it is an ASCII digit and the
//! rest is base64.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::limits;

/// Input of the command.
pub const STDIN: u8 = 0;
/// Output of the command; with a terminal, all of it.
pub const STDOUT: u8 = 1;
/// Error output of the command.
pub const STDERR: u8 = 2;
/// The final status.
pub const ERROR: u8 = 3;
/// Terminal sizes.
pub const RESIZE: u8 = 4;
/// v5: the sender will send nothing more on the channel in the second byte.
pub const CLOSE: u8 = 255;

/// As Go's `base64.StdEncoding` reads: padded, but stray bits in the last digit are ignored.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Version of the remote command protocol. There is no WebSocket v2 or v3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// The error channel holds plain text.
    V1,
    /// As v1, over SPDY.
    V2,
    /// Adds terminal sizes.
    V3,
    /// The error channel holds a JSON `Status`.
    V4,
    /// Adds the close message.
    V5,
}

impl Version {
    /// The version behind `X-Stream-Protocol-Version` or `Sec-WebSocket-Protocol`; empty is v1.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "" | "channel.k8s.io" => Some(Self::V1),
            "v2.channel.k8s.io" => Some(Self::V2),
            "v3.channel.k8s.io" => Some(Self::V3),
            "v4.channel.k8s.io" => Some(Self::V4),
            "v5.channel.k8s.io" => Some(Self::V5),
            _ => None,
        }
    }

    /// Whether the error channel holds a JSON `Status`.
    #[must_use]
    pub fn has_json_status(self) -> bool {
        self >= Self::V4
    }
}

/// A WebSocket subprotocol of the channel family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// What the channels mean.
    pub version: Version,
    /// Messages are text: a digit and base64.
    pub base64: bool,
}

impl Protocol {
    /// The protocol behind an agreed `Sec-WebSocket-Protocol`; empty when none was agreed.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "base64.channel.k8s.io" => Some(Self {
                version: Version::V1,
                base64: true,
            }),
            "v4.base64.channel.k8s.io" => Some(Self {
                version: Version::V4,
                base64: true,
            }),
            "v2.channel.k8s.io" | "v3.channel.k8s.io" => None,
            _ => Version::parse(name).map(|version| Self {
                version,
                base64: false,
            }),
        }
    }

    /// The payload of a message of our own.
    #[must_use]
    pub fn message(self, channel: u8, bytes: &[u8]) -> Vec<u8> {
        if self.base64 {
            let mut text = String::from(char::from(b'0'.saturating_add(channel)));
            BASE64.encode_string(bytes, &mut text);
            text.into_bytes()
        } else {
            [&[channel], bytes].concat()
        }
    }
}

/// A message that breaks the channel protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The base64 of a message cannot be decoded.
    #[error("message on channel {0} is not base64")]
    Base64(u8),
    /// The channel is not part of this session, or the sender may not write to it.
    #[error("message on channel {0}, which this session does not have in that direction")]
    Channel(u8),
    /// A close message that does not name a channel of this session.
    #[error("malformed close message")]
    Close,
    /// A fragmented message that is too large to be joined.
    #[error("fragmented message is too large")]
    Fragmented,
    /// Messages without content faster than any client sends them.
    #[error("too many messages without content")]
    TooManyEmpty,
}

/// Takes messages of one direction apart as their payload arrives.
#[derive(Debug)]
pub struct Decoder {
    base64: bool,
    channel: Option<u8>,
    /// Base64 digits of an incomplete group of four.
    digits: Vec<u8>,
    decoded: Vec<u8>,
    padded: bool,
}

impl Decoder {
    /// A decoder between messages.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        Self {
            base64: protocol.base64,
            channel: None,
            digits: Vec::new(),
            decoded: Vec::new(),
            padded: false,
        }
    }

    /// A new message begins.
    pub fn begin(&mut self) {
        self.channel = None;
        self.digits.clear();
        self.padded = false;
    }

    /// Takes payload; gives the channel and the decoded bytes, which may be empty. `None`: the
    /// channel is not known yet.
    pub fn push<'a>(
        &'a mut self,
        payload: &'a [u8],
    ) -> Result<Option<(u8, &'a [u8])>, ChannelError> {
        let (channel, bytes) = match (self.channel, payload.split_first()) {
            (Some(channel), _) => (channel, payload),
            (None, None) => return Ok(None),
            (None, Some((first, bytes))) => {
                // As the API server: no check that it is a digit; the caller refuses odd channels.
                (
                    if self.base64 {
                        first.wrapping_sub(b'0')
                    } else {
                        *first
                    },
                    bytes,
                )
            }
        };
        self.channel = Some(channel);
        if !self.base64 {
            return Ok(Some((channel, bytes)));
        }
        // Go skips line breaks.
        let digits = bytes.iter().filter(|byte| !matches!(byte, b'\r' | b'\n'));
        self.digits.extend(digits);
        let whole = self.digits.len() & !3;
        self.decoded.clear();
        if whole > 0 {
            let groups = self.digits.get(..whole).unwrap_or_default();
            let decoded = BASE64.decode_vec(groups, &mut self.decoded);
            if decoded.is_err() || self.padded {
                return Err(ChannelError::Base64(channel));
            }
            self.padded = groups.last() == Some(&b'=');
            self.digits.drain(..whole);
        }
        Ok(Some((channel, &self.decoded)))
    }

    /// The message is complete; its channel, or `None` if it was empty.
    pub fn end(&mut self) -> Result<Option<u8>, ChannelError> {
        match self.channel {
            Some(channel) if !self.digits.is_empty() => Err(ChannelError::Base64(channel)),
            channel => Ok(channel),
        }
    }
}

/// A size of the terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// Reads the JSON stream of terminal sizes.
///
/// What cannot be read ends the reading, not the session: the API server does the same, and a size
/// carries nothing that could be hidden in it.
#[derive(Debug, Default)]
pub struct ResizeReader {
    held: Vec<u8>,
    stopped: bool,
}

impl ResizeReader {
    /// Takes bytes of the stream; the sizes that are now complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<TerminalSize> {
        let mut sizes = Vec::new();
        // Pieces keep what is held bounded however long the input is.
        for piece in bytes.chunks(limits::SESSION_RESIZE_BYTES_MAX) {
            if self.stopped {
                break;
            }
            self.held.extend_from_slice(piece);
            if piece.contains(&b'}') {
                self.read(&mut sizes);
            }
            self.stopped |= self.held.len() > limits::SESSION_RESIZE_BYTES_MAX;
        }
        if self.stopped {
            self.held = Vec::new();
        }
        sizes
    }

    fn read(&mut self, sizes: &mut Vec<TerminalSize>) {
        let mut objects =
            serde_json::Deserializer::from_slice(&self.held).into_iter::<Map<String, Value>>();
        for object in objects.by_ref() {
            match object {
                Ok(object) => match (dimension(&object, "width"), dimension(&object, "height")) {
                    (Some(width), Some(height)) => sizes.push(TerminalSize { width, height }),
                    _ => self.stopped = true,
                },
                Err(error) if error.is_eof() => break,
                Err(_) => self.stopped = true,
            }
            if self.stopped {
                return;
            }
        }
        let used = objects.byte_offset();
        self.held.drain(..used.min(self.held.len()));
    }
}

/// Go matches field names whatever their case, the last one wins, and an absent one is zero.
fn dimension(object: &Map<String, Value>, name: &str) -> Option<u16> {
    match object
        .iter()
        .rfind(|(key, _)| key.eq_ignore_ascii_case(name))
    {
        None | Some((_, Value::Null)) => Some(0),
        Some((_, value)) => value.as_u64().and_then(|value| u16::try_from(value).ok()),
    }
}

/// How the command ended, by the error channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// The command's exit code; `None` when it did not run or the protocol does not tell.
    pub code: Option<u8>,
    /// What went wrong; empty on success.
    pub message: String,
}

impl ExitStatus {
    /// Reads the whole content of the error channel.
    #[must_use]
    pub fn parse(content: &[u8], version: Version) -> Self {
        let text = || Self {
            code: None,
            message: String::from_utf8_lossy(content).into_owned(),
        };
        if content.is_empty() {
            return Self {
                code: Some(0),
                message: String::new(),
            };
        }
        if !version.has_json_status() {
            return text();
        }
        let Ok(status) = serde_json::from_slice::<Status>(content) else {
            return text();
        };
        let code = match (status.outcome.as_str(), status.reason.as_str()) {
            ("Success", _) => Some(0),
            ("Failure", "NonZeroExitCode") => status
                .details
                .causes
                .iter()
                .find(|cause| cause.reason == "ExitCode")
                .and_then(|cause| cause.message.parse().ok()),
            _ => None,
        };
        Self {
            code,
            message: status.message,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    #[serde(rename = "status")]
    outcome: String,
    message: String,
    reason: String,
    details: Details,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cause {
    reason: String,
    message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(
        protocol: &str,
        message: &[u8],
        cut: usize,
    ) -> Result<(Option<u8>, Vec<u8>), ChannelError> {
        let mut decoder = Decoder::new(Protocol::parse(protocol).unwrap());
        let mut content = Vec::new();
        decoder.begin();
        for piece in message.chunks(cut) {
            if let Some((_, bytes)) = decoder.push(piece)? {
                content.extend_from_slice(bytes);
            }
        }
        Ok((decoder.end()?, content))
    }

    #[test]
    fn c10_every_protocol_of_the_allow_list_is_decoded() {
        for name in [
            "",
            "channel.k8s.io",
            "base64.channel.k8s.io",
            "v4.channel.k8s.io",
            "v4.base64.channel.k8s.io",
            "v5.channel.k8s.io",
        ] {
            let protocol = Protocol::parse(name).unwrap();
            for text in [&b""[..], b"a", b"ab", b"abc", b"secret\n\xff"] {
                let message = protocol.message(STDOUT, text);
                for cut in 1..=message.len() {
                    assert_eq!(
                        decode(name, &message, cut).unwrap(),
                        (Some(STDOUT), text.to_vec()),
                        "{name}"
                    );
                }
            }
        }
        for name in [
            "v2.channel.k8s.io",
            "v9.channel.k8s.io",
            "binary.k8s.io",
            "V4.channel.k8s.io",
            "v4.channel.k8s.io ",
        ] {
            assert_eq!(Protocol::parse(name), None, "{name}");
        }
    }

    #[test]
    fn c10_base64_is_read_as_go_reads_it() {
        let read = |message: &[u8]| decode("base64.channel.k8s.io", message, 1);
        assert_eq!(read(b"1aG\r\nk=\n").unwrap(), (Some(1), b"hi".to_vec()));
        assert_eq!(read(b"").unwrap(), (None, Vec::new()));
        for wrong in [&b"1aGk"[..3], b"1aGk=aGk=", b"1a-k=", b"1===="] {
            assert_eq!(read(wrong), Err(ChannelError::Base64(1)), "{wrong:?}");
        }
        assert_eq!(read(b"x").unwrap().0, Some(72));
    }

    #[test]
    fn sizes_are_read_wherever_they_are_cut() {
        let text = b"{\"Width\":80,\"Height\":24}\n{\"width\":120,\"HEIGHT\":40}{}";
        for cut in 1..=text.len() {
            let mut reader = ResizeReader::default();
            let sizes: Vec<_> = text
                .chunks(cut)
                .flat_map(|piece| reader.push(piece))
                .collect();
            let sizes: Vec<_> = sizes.iter().map(|size| (size.width, size.height)).collect();
            assert_eq!(sizes, [(80, 24), (120, 40), (0, 0)], "cut at {cut}");
        }
    }

    #[test]
    fn sizes_that_cannot_be_read_stop_the_reader_and_hold_nothing() {
        for text in ["{\"Width\":65536}", "[1]", "{\"Width\":\"x\"} ", "}"] {
            let mut reader = ResizeReader::default();
            assert_eq!(reader.push(text.as_bytes()), [], "{text}");
            assert_eq!(reader.push(b"{\"Width\":1,\"Height\":1}"), [], "{text}");
        }
        let mut reader = ResizeReader::default();
        assert_eq!(reader.push(&vec![b' '; 1 << 20]), []);
        assert_eq!(reader.held.capacity(), 0);
    }

    #[test]
    fn exit_codes_are_found() {
        let failure = br#"{"metadata":{},"status":"Failure","message":"m","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        let parse = |content: &[u8], version| ExitStatus::parse(content, version);
        assert_eq!(
            parse(failure, Version::V4),
            ExitStatus {
                code: Some(7),
                message: "m".to_owned()
            }
        );
        assert_eq!(parse(br#"{"status":"Success"}"#, Version::V5).code, Some(0));
        assert_eq!(parse(b"", Version::V1).code, Some(0));
        let internal = parse(
            br#"{"status":"Failure","message":"no","reason":"InternalError","code":500}"#,
            Version::V4,
        );
        assert_eq!(
            internal,
            ExitStatus {
                code: None,
                message: "no".to_owned()
            }
        );
        assert_eq!(
            parse(b"exit 5", Version::V1),
            ExitStatus {
                code: None,
                message: "exit 5".to_owned()
            }
        );
        assert_eq!(parse(b"\xff", Version::V4).code, None);
    }
}
