//! Finds a text in a recording, line by line as the terminal showed it, in bounded memory.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::source::Tape;
use crate::limits::RECORDING_TRANSCRIPT_LINE_MAX as LINE_MAX;
use crate::recording::index::Session;
use crate::recording::replay::transcript::{Line, Needle, Transcript};
use crate::recording::replay::{Moment, ReadError, Reader};
use crate::wire::asciicast::{INPUT, OUTPUT};

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

/// Adds the first `room` places of a recording where the text stands.
pub(super) fn places(
    session: &Session,
    tape: &Tape,
    needle: &Needle,
    room: usize,
    found: &mut Vec<Place>,
) -> Result<(), ReadError> {
    let mut reader = Reader::new(tape.parts())?;
    let first = found.len();
    let full = first.saturating_add(room);
    let (mut output, mut input) = (Stream::new("output"), Stream::new("input"));
    let mut take = |place: (&'static str, Line, usize)| {
        let (stream, line, at) = place;
        if found.len() < full {
            found.push(Place {
                id: session.metadata.id.clone(),
                user: session.metadata.user.clone(),
                namespace: session.metadata.namespace.clone(),
                pod: session.metadata.pod.clone(),
                started: session.metadata.started,
                at_ms: u64::try_from(line.at.as_millis()).unwrap_or(u64::MAX),
                stream,
                text: excerpt(&line.text, at),
            });
        }
    };
    while let Some(moment) = reader.next_moment()? {
        if moment.code == INPUT {
            input.push(&as_shown(moment), needle, &mut take);
        } else {
            output.push(&moment, needle, &mut take);
        }
    }
    output.finish(needle, &mut take);
    input.finish(needle, &mut take);
    found
        .get_mut(first..)
        .unwrap_or_default()
        .sort_by_key(|place| place.at_ms);
    Ok(())
}

type Take<'a> = &'a mut dyn FnMut((&'static str, Line, usize));

/// One direction of a session.
struct Stream {
    name: &'static str,
    transcript: Transcript,
    /// The end of a line that was too long to be whole: the text may begin in it.
    before: String,
}

impl Stream {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            transcript: Transcript::default(),
            before: String::new(),
        }
    }

    fn push(&mut self, moment: &Moment, needle: &Needle, take: Take<'_>) {
        let Self {
            name,
            transcript,
            before,
        } = self;
        transcript.push(moment, &mut |line| check(name, before, line, needle, take));
    }

    fn finish(&mut self, needle: &Needle, take: Take<'_>) {
        let Self {
            name,
            transcript,
            before,
        } = self;
        transcript.finish(Duration::ZERO, &mut |line| {
            check(name, before, line, needle, take);
        });
    }
}

fn check(name: &'static str, before: &mut String, mut line: Line, needle: &Needle, take: Take<'_>) {
    let goes_on = line.text.chars().nth(LINE_MAX - 1).is_some();
    line.text.insert_str(0, before);
    before.clear();
    if goes_on {
        let overlap = line.text.len().saturating_sub(needle.overlap());
        let end = line.text.get(line.text.floor_char_boundary(overlap)..);
        before.push_str(end.unwrap_or_default());
    }
    if let Some(at) = needle.find(&line.text) {
        take((name, line, at));
    }
}

/// What was typed, the way a terminal would show it.
fn as_shown(moment: Moment) -> Moment {
    let data = moment
        .data
        .replace('\r', "\n")
        .replace('\u{7f}', "\u{8} \u{8}");
    Moment {
        code: OUTPUT.to_owned(),
        data,
        ..moment
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
    use std::io::Write as _;
    use std::sync::Arc;

    use super::*;

    fn search(lines: &[&str], text: &str, ignore_case: bool) -> Vec<(u64, &'static str, String)> {
        let mut file = tempfile::tempfile().unwrap();
        writeln!(file, r#"{{"version":2,"width":80,"height":24}}"#).unwrap();
        for line in lines {
            writeln!(file, "{line}").unwrap();
        }
        let mut found = Vec::new();
        let needle = Needle::new(text, ignore_case);
        let tape = Tape::Fetched(Arc::new(file));
        places(&Session::default(), &tape, &needle, 10, &mut found).unwrap();
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
            r#"[5.0,"i","rm\u007fm -rf"]"#,
            r#"[6.0,"i","\rls\r"]"#,
        ];
        assert_eq!(
            search(&typed, "rm -rf", false),
            [
                (1000, "output", "$ rm -rf /".to_owned()),
                (5000, "input", "rm -rf".to_owned()),
            ]
        );
        assert!(search(&typed, "RM", false).is_empty());
        assert_eq!(search(&typed, "RM", true).len(), 2);
        assert!(search(&typed, "31m", false).is_empty());
        assert_eq!(search(&typed, "ls", false).len(), 1);
        let two = [r#"[1.0,"o","one\r\ntwo one\r\n"]"#, r#"[2.0,"o","three"]"#];
        assert_eq!(search(&two, "one", false).len(), 2);
        assert!(search(&two, "one two", false).is_empty());
    }

    #[test]
    fn a_text_across_the_pieces_of_an_endless_line_is_found_once() {
        let hay = format!(
            r#"[0.1,"o","{}needle{}"]"#,
            "x".repeat(LINE_MAX - 3),
            "y".repeat(9)
        );
        assert_eq!(search(&[&hay], "needle", false).len(), 1);
        assert_eq!(search(&[&hay], "needley", false).len(), 1);
    }

    #[test]
    fn no_more_than_was_asked_for_is_found() {
        let lines = [r#"[0.1,"o","a\na\na\na\na\na\n"]"#; 3];
        assert_eq!(search(&lines, "a", false).len(), 10);
    }
}
