//! asciicast v2 and v3, a line at a time: what `asciinema` writes and plays.
//!
//! A recording is one header line and one line an event. v2 has the time since the beginning, v3 the
//! time since the event before it; both in seconds, here with microseconds. Players skip codes they do
//! not know as long as code and data are strings.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Output, shown by players.
pub const OUTPUT: &str = "o";
/// Input, not shown by players.
pub const INPUT: &str = "i";
/// A new terminal size, `COLUMNSxROWS`.
pub const RESIZE: &str = "r";
/// A marker, on which players can stop.
pub const MARKER: &str = "m";
/// The exit status, a decimal number. A code of v3; players of v2 skip it.
pub const EXIT: &str = "x";

/// Which version of the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// Version 2: what every player reads.
    #[default]
    #[serde(rename = "asciicast-v2")]
    V2,
    /// Version 3, of asciinema 3.
    #[serde(rename = "asciicast-v3")]
    V3,
}

/// What the header line says that players use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The format.
    pub version: Version,
    /// Columns of the terminal at the beginning.
    pub columns: u16,
    /// Rows of the terminal at the beginning.
    pub rows: u16,
    /// When it began, in seconds since 1970.
    pub timestamp: i64,
    /// What ran, as one line.
    pub command: Option<&'a str>,
    /// A title for lists.
    pub title: Option<&'a str>,
}

#[derive(Serialize)]
struct HeaderLine<'a, T> {
    version: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<Term>,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    portcullis: &'a T,
}

#[derive(Serialize)]
struct Term {
    cols: u16,
    rows: u16,
}

/// Appends the header line; `metadata` stands in it under the key `portcullis`, which players ignore.
pub fn put_header<T: Serialize>(out: &mut Vec<u8>, header: &Header<'_>, metadata: &T) {
    let v2 = header.version == Version::V2;
    let line = HeaderLine {
        version: if v2 { 2 } else { 3 },
        width: v2.then_some(header.columns),
        height: v2.then_some(header.rows),
        term: (!v2).then_some(Term {
            cols: header.columns,
            rows: header.rows,
        }),
        timestamp: header.timestamp.max(0),
        command: header.command,
        title: header.title,
        portcullis: metadata,
    };
    put_json(out, &line);
    out.push(b'\n');
}

/// Writes event lines with the times of one recording.
#[derive(Clone, Debug)]
pub struct Events {
    version: Version,
    /// The time of the last event, in microseconds since the beginning.
    last: u64,
}

impl Events {
    /// The events of a recording that begins.
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self { version, last: 0 }
    }

    /// Appends the line of an event at `at` since the beginning. Time does not run backwards: an
    /// earlier `at` counts as that of the last event.
    pub fn put(&mut self, out: &mut Vec<u8>, at: Duration, code: &str, data: &str) {
        let at = u64::try_from(at.as_micros())
            .unwrap_or(u64::MAX)
            .max(self.last);
        let time = match self.version {
            Version::V2 => at,
            Version::V3 => at.saturating_sub(self.last),
        };
        self.last = at;
        out.push(b'[');
        put_time(out, time);
        out.extend_from_slice(b",\"");
        out.extend_from_slice(code.as_bytes());
        out.extend_from_slice(b"\",");
        put_string(out, data);
        out.extend_from_slice(b"]\n");
    }
}

/// Seconds with six decimals.
fn put_time(out: &mut Vec<u8>, micros: u64) {
    let mut digits = [b'0'; 27];
    let mut rest = micros;
    let mut start = digits.len();
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        // The point has six digits behind it and at least one in front.
        if place == 20 {
            *digit = b'.';
            continue;
        }
        *digit = u8::try_from(rest % 10).map_or(b'0', |digit| b'0' + digit);
        rest /= 10;
        start = place;
        if rest == 0 && place < 20 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// A JSON string, as `serde_json` writes it.
fn put_string(out: &mut Vec<u8>, text: &str) {
    escape_simd::json::escape_into(text, out);
}

fn put_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Strings and maps with string keys always serialize, and a Vec takes every byte.
    let _infallible = serde_json::to_writer(out, value).is_ok();
}

/// A header line that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedHeader {
    /// The format.
    pub version: Version,
    /// Columns of the terminal at the beginning.
    pub columns: u16,
    /// Rows of the terminal at the beginning.
    pub rows: u16,
    /// When it began, in seconds since 1970.
    pub timestamp: Option<i64>,
    /// What ran.
    pub command: Option<String>,
    /// The value of the key `portcullis`, as JSON text.
    pub metadata: Option<String>,
}

/// An event line that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Since the beginning (v2) or since the event before (v3): [`Clock::at`] makes one of both.
    pub time: Duration,
    /// What it is; [`OUTPUT`] and its siblings, or a code of somebody else.
    pub code: String,
    /// What it carries.
    pub data: String,
}

/// A line that is not asciicast.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a line of asciicast: {0}")]
pub struct ParseError(String);

#[derive(Deserialize)]
struct AnyHeader<'a> {
    version: u8,
    width: Option<u16>,
    height: Option<u16>,
    term: Option<AnyTerm>,
    timestamp: Option<i64>,
    command: Option<String>,
    #[serde(borrow)]
    portcullis: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct AnyTerm {
    cols: u16,
    rows: u16,
}

impl ParsedHeader {
    /// Reads the first line of a recording, with or without its line break.
    pub fn parse(line: &[u8]) -> Result<Self, ParseError> {
        let read: AnyHeader<'_> = serde_json::from_slice(line).map_err(broken)?;
        let (version, size) = match read.version {
            2 => (Version::V2, read.width.zip(read.height)),
            3 => (Version::V3, read.term.map(|term| (term.cols, term.rows))),
            other => return Err(ParseError(format!("version {other}"))),
        };
        let (columns, rows) = size.ok_or_else(|| ParseError("no terminal size".to_owned()))?;
        Ok(Self {
            version,
            columns,
            rows,
            timestamp: read.timestamp,
            command: read.command,
            metadata: read.portcullis.map(|raw| raw.get().to_owned()),
        })
    }
}

impl Event {
    /// Reads an event line, with or without its line break.
    pub fn parse(line: &[u8]) -> Result<Self, ParseError> {
        let (time, code, data): (f64, String, String) =
            serde_json::from_slice(line).map_err(broken)?;
        let time =
            Duration::try_from_secs_f64(time).map_err(|error| ParseError(error.to_string()))?;
        // Doubles carry more digits than were written.
        let micros = time.as_nanos().saturating_add(500) / 1000;
        Ok(Self {
            time: Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)),
            code,
            data,
        })
    }
}

/// Turns the times of either version into times since the beginning.
#[derive(Clone, Debug)]
pub struct Clock {
    version: Version,
    now: Duration,
}

impl Clock {
    /// The clock of a recording that is read from its beginning. One clock goes through all parts.
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self {
            version,
            now: Duration::ZERO,
        }
    }

    /// When the event happened, since the beginning. To be called for every event, in order.
    pub fn at(&mut self, event: &Event) -> Duration {
        self.now = match self.version {
            Version::V2 => event.time,
            Version::V3 => self.now.saturating_add(event.time),
        };
        self.now
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn broken(error: serde_json::Error) -> ParseError {
    ParseError(error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(version: Version) -> Header<'static> {
        Header {
            version,
            columns: 80,
            rows: 24,
            timestamp: 1_700_000_000,
            command: Some("sh -c \"ls\""),
            title: None,
        }
    }

    #[test]
    fn every_byte_is_escaped_as_serde_json_does() {
        let all: String = (0..=0x7f_u8)
            .map(char::from)
            .chain("äö日🦀".chars())
            .collect();
        for padding in 0..70 {
            let text = "x".repeat(padding) + &all;
            let mut out = Vec::new();
            put_string(&mut out, &text);
            assert_eq!(out, serde_json::to_vec(&text).unwrap());
        }
    }

    proptest! {
        #[test]
        fn strings_are_escaped_as_serde_json_does(text in "(?s)([a-z ]{0,40}|.){0,40}") {
            let mut out = Vec::new();
            put_string(&mut out, &text);
            prop_assert_eq!(out, serde_json::to_vec(&text).unwrap());
        }
    }

    #[test]
    fn headers_are_those_of_asciinema_and_read_back() {
        for (version, expected) in [
            (
                Version::V2,
                r#"{"version":2,"width":80,"height":24,"timestamp":1700000000,"command":"sh -c \"ls\"","portcullis":{"id":"x"}}"#,
            ),
            (
                Version::V3,
                r#"{"version":3,"term":{"cols":80,"rows":24},"timestamp":1700000000,"command":"sh -c \"ls\"","portcullis":{"id":"x"}}"#,
            ),
        ] {
            let mut line = Vec::new();
            put_header(&mut line, &header(version), &serde_json::json!({"id": "x"}));
            assert_eq!(std::str::from_utf8(&line).unwrap(), format!("{expected}\n"));
            let read = ParsedHeader::parse(&line).unwrap();
            assert_eq!((read.version, read.columns, read.rows), (version, 80, 24));
            assert_eq!(read.metadata.as_deref(), Some(r#"{"id":"x"}"#));
        }
        assert!(ParsedHeader::parse(br#"{"version":1,"width":1,"height":1}"#).is_err());
        assert!(ParsedHeader::parse(br#"{"version":2}"#).is_err());
        assert!(Event::parse(br#"[-1.0,"o","x"]"#).is_err());
    }

    #[test]
    fn times_are_absolute_in_v2_and_relative_in_v3() {
        let lines = |version| {
            let mut events = Events::new(version);
            let mut out = Vec::new();
            events.put(&mut out, Duration::from_micros(7), OUTPUT, "a\u{1b}\n\"");
            events.put(&mut out, Duration::from_millis(61_500), OUTPUT, "b");
            events.put(&mut out, Duration::from_millis(3), MARKER, "late");
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            lines(Version::V2),
            "[0.000007,\"o\",\"a\\u001b\\n\\\"\"]\n[61.500000,\"o\",\"b\"]\n[61.500000,\"m\",\"late\"]\n"
        );
        assert_eq!(
            lines(Version::V3),
            "[0.000007,\"o\",\"a\\u001b\\n\\\"\"]\n[61.499993,\"o\",\"b\"]\n[0.000000,\"m\",\"late\"]\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            times in proptest::collection::vec(0_u64..100_000_000_000, 1..20),
            text in ".*",
            v3: bool,
        ) {
            let version = if v3 { Version::V3 } else { Version::V2 };
            let mut times = times;
            times.sort_unstable();
            let (mut events, mut clock) = (Events::new(version), Clock::new(version));
            for micros in times {
                let mut line = Vec::new();
                events.put(&mut line, Duration::from_micros(micros), OUTPUT, &text);
                let read = Event::parse(&line).unwrap();
                prop_assert_eq!(clock.at(&read), Duration::from_micros(micros));
                prop_assert_eq!(&read.data, &text);
                prop_assert_eq!(memchr::memchr_iter(b'\n', &line).count(), 1);
            }
        }
    }
}
