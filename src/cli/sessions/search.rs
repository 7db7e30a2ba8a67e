//! Finds a text in a recording, line by line as the terminal showed it, in bounded memory.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::plain::Plain;
use crate::recording::index::Session;
use crate::wire::asciicast::{Clock, Event, INPUT, OUTPUT, ParsedHeader};

/// Bytes of one line of a terminal; a longer one is searched in pieces that overlap.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Characters that are shown of a line.
const SHOWN_CHARS: usize = 200;

/// A place where a text was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Place {
    pub(super) id: String,
    pub(super) user: String,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) started: Timestamp,
    /// When the line began, in milliseconds from the beginning.
    pub(super) at_ms: u64,
    /// `output` or `input`.
    pub(super) stream: &'static str,
    /// The line.
    pub(super) text: String,
}

/// Searches one recording.
pub(super) struct Searcher<'a> {
    session: &'a Session,
    clock: Option<Clock>,
    streams: [Stream; 2],
    found: Vec<Place>,
    text: String,
    needle: String,
    ignore_case: bool,
}

#[derive(Default)]
struct Stream {
    plain: Plain,
    line: String,
    began: Duration,
}

const STREAMS: [&str; 2] = ["output", "input"];

impl<'a> Searcher<'a> {
    pub(super) fn new(session: &'a Session, text: &str, ignore_case: bool) -> Self {
        let needle = if ignore_case {
            text.to_lowercase()
        } else {
            text.to_owned()
        };
        Self {
            session,
            clock: None,
            streams: Default::default(),
            found: Vec::new(),
            text: String::new(),
            needle,
            ignore_case,
        }
    }

    /// Takes the next line of the recording; keeps at most `room` places.
    pub(super) fn line(&mut self, line: &[u8], room: usize) {
        let Some(clock) = &mut self.clock else {
            self.clock = ParsedHeader::parse(line)
                .ok()
                .map(|header| Clock::new(header.version));
            return;
        };
        let Ok(event) = Event::parse(line) else {
            return;
        };
        let at = clock.at(&event);
        let index = match event.code.as_str() {
            OUTPUT => 0,
            INPUT => 1,
            _ => return,
        };
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        if let Some(stream) = self.streams.get_mut(index) {
            stream.plain.push(&event.data, &mut text);
        }
        for c in text.chars() {
            self.put(index, c, at, room);
        }
        self.text = text;
    }

    /// What was found.
    pub(super) fn finish(mut self, room: usize) -> Vec<Place> {
        for index in 0..STREAMS.len() {
            self.check(index, room);
        }
        self.found
    }

    fn put(&mut self, index: usize, c: char, at: Duration, room: usize) {
        let overlap = self.needle.len();
        let Some(stream) = self.streams.get_mut(index) else {
            return;
        };
        if stream.line.is_empty() {
            stream.began = at;
        }
        match c {
            '\n' | '\r' => {
                self.check(index, room);
                if let Some(stream) = self.streams.get_mut(index) {
                    stream.line.clear();
                }
            }
            // A correction while typing.
            '\u{8}' => {
                stream.line.pop();
            }
            _ => {
                stream.line.push(c);
                if stream.line.len() >= LINE_BYTES_MAX.max(4 * overlap) && self.check(index, room) {
                    if let Some(stream) = self.streams.get_mut(index) {
                        stream.line.clear();
                    }
                } else if let Some(stream) = self.streams.get_mut(index)
                    && stream.line.len() >= LINE_BYTES_MAX.max(4 * overlap)
                {
                    let keep = stream.line.len().saturating_sub(overlap);
                    let keep = stream.line.floor_char_boundary(keep);
                    stream.line.drain(..keep);
                }
            }
        }
    }

    /// Looks at the line as it is; whether the text is in it.
    fn check(&mut self, index: usize, room: usize) -> bool {
        let (Some(stream), Some(name)) = (self.streams.get(index), STREAMS.get(index)) else {
            return false;
        };
        let at = if self.ignore_case {
            stream.line.to_lowercase().find(&self.needle)
        } else {
            stream.line.find(&self.needle)
        };
        let Some(at) = at else {
            return false;
        };
        if self.found.len() < room {
            let metadata = &self.session.metadata;
            self.found.push(Place {
                id: metadata.id.clone(),
                user: metadata.user.clone(),
                namespace: metadata.namespace.clone(),
                pod: metadata.pod.clone(),
                started: metadata.started,
                at_ms: u64::try_from(stream.began.as_millis()).unwrap_or(u64::MAX),
                stream: name,
                text: excerpt(&stream.line, at),
            });
        }
        true
    }
}

/// The part of a line around a position.
fn excerpt(line: &str, at: usize) -> String {
    let before = line.get(..line.floor_char_boundary(at)).unwrap_or_default();
    let skipped = before.chars().count().saturating_sub(SHOWN_CHARS / 4);
    let text: String = line.chars().skip(skipped).take(SHOWN_CHARS).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(lines: &[&str], text: &str, ignore_case: bool) -> Vec<(u64, &'static str, String)> {
        let session = Session::default();
        let mut searcher = Searcher::new(&session, text, ignore_case);
        searcher.line(br#"{"version":2,"width":80,"height":24}"#, 10);
        for line in lines {
            searcher.line(line.as_bytes(), 10);
        }
        let found = searcher.finish(10);
        found
            .into_iter()
            .map(|place| (place.at_ms, place.stream, place.text))
            .collect()
    }

    #[test]
    fn a_text_is_found_however_it_arrived() {
        let typed = [
            r#"[1.0,"o","$ rn"]"#,
            r#"[2.0,"o","\b"]"#,
            r#"[3.0,"o","m \u001b["]"#,
            r#"[4.0,"o","31m-rf /"]"#,
            r#"[5.0,"i","rm -rf"]"#,
        ];
        assert_eq!(
            search(&typed, "rm -rf", false),
            [
                (1000, "output", "$ rm -rf /".to_owned()),
                (5000, "input", "rm -rf".to_owned())
            ]
        );
        assert!(search(&typed, "RM", false).is_empty());
        assert_eq!(search(&typed, "RM", true).len(), 2);
        assert!(search(&typed, "31m", false).is_empty());
        let two = [r#"[1.0,"o","one\r\ntwo one\r\n"]"#, r#"[2.0,"o","three"]"#];
        assert_eq!(search(&two, "one", false).len(), 2);
        assert!(search(&two, "one two", false).is_empty());
    }

    #[test]
    fn a_line_without_end_is_searched_in_bounded_memory() {
        let session = Session::default();
        let mut searcher = Searcher::new(&session, "needle", false);
        searcher.line(br#"{"version":3,"term":{"cols":80,"rows":24}}"#, 9);
        let hay = format!(r#"[0.1,"o","{}"]"#, "x".repeat(1021));
        for round in 0..100 {
            searcher.line(hay.as_bytes(), 9);
            if round == 50 {
                searcher.line(br#"[0.1,"o","nee"]"#, 9);
                searcher.line(br#"[0.1,"o","dle"]"#, 9);
            }
            assert!(searcher.streams[0].line.len() <= LINE_BYTES_MAX);
        }
        assert_eq!(searcher.finish(9).len(), 1);
    }
}
