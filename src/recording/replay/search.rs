//! Finds a text in a recording, line by line as the terminal showed it, in bounded memory.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::transcript::{Line, Needle, Transcript};
use super::{Moment, Parts, ReadError, Reader};
use crate::limits::RECORDING_TRANSCRIPT_LINE_MAX as LINE_MAX;
use crate::recording::metadata::Metadata;
use crate::wire::asciicast::{INPUT, OUTPUT};

/// Characters that are shown of a line.
const SHOWN_CHARS: usize = 200;

/// A place where a text was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hit {
    /// The recording.
    pub id: String,
    /// Whose session it was.
    pub user: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// When the session began.
    pub started: Timestamp,
    /// When the line began, in milliseconds from the beginning.
    pub at_ms: u64,
    /// `output` or `input`.
    pub stream: Stream,
    /// The line, or what stands around the text in a long one.
    pub text: String,
}

/// Which way a line went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// To the person.
    Output,
    /// From the person.
    Input,
}

impl Stream {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Input => "input",
        }
    }
}

/// The first `room` places of a recording where the text stands, in the order of time. It is no longer looked for
/// once nobody `wants` it.
pub fn hits(
    metadata: &Metadata,
    parts: Parts,
    needle: &Needle,
    room: usize,
    wants: &dyn Fn() -> bool,
) -> Result<Vec<Hit>, ReadError> {
    let mut reader = Reader::new(parts)?;
    let mut found = Vec::new();
    let (mut output, mut input) = (Lines::new(Stream::Output), Lines::new(Stream::Input));
    let mut take = |(stream, line, at): (Stream, Line, usize)| {
        if found.len() < room {
            found.push(Hit {
                id: metadata.id.clone(),
                user: metadata.user.clone(),
                namespace: metadata.namespace.clone(),
                pod: metadata.pod.clone(),
                started: metadata.started,
                at_ms: u64::try_from(line.at.as_millis()).unwrap_or(u64::MAX),
                stream,
                text: excerpt(&line.text, at),
            });
        }
    };
    while wants()
        && let Some(moment) = reader.next_moment()?
    {
        if moment.code == INPUT {
            input.push(&as_shown(moment), needle, &mut take);
        } else {
            output.push(&moment, needle, &mut take);
        }
    }
    output.finish(needle, &mut take);
    input.finish(needle, &mut take);
    found.sort_by_key(|hit| hit.at_ms);
    Ok(found)
}

type Take<'a> = &'a mut dyn FnMut((Stream, Line, usize));

/// One direction of a session.
struct Lines {
    stream: Stream,
    transcript: Transcript,
    /// The end of a line that was too long to be whole: the text may begin in it.
    before: String,
}

impl Lines {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            transcript: Transcript::default(),
            before: String::new(),
        }
    }

    fn push(&mut self, moment: &Moment, needle: &Needle, take: Take<'_>) {
        let Self {
            stream,
            transcript,
            before,
        } = self;
        transcript.push(moment, &mut |line| {
            check(*stream, before, line, needle, take);
        });
    }

    fn finish(&mut self, needle: &Needle, take: Take<'_>) {
        let Self {
            stream,
            transcript,
            before,
        } = self;
        transcript.finish(Duration::ZERO, &mut |line| {
            check(*stream, before, line, needle, take);
        });
    }
}

fn check(stream: Stream, before: &mut String, mut line: Line, needle: &Needle, take: Take<'_>) {
    let goes_on = line.text.chars().nth(LINE_MAX - 1).is_some();
    line.text.insert_str(0, before);
    before.clear();
    if goes_on {
        let overlap = line.text.len().saturating_sub(needle.overlap());
        let end = line.text.get(line.text.floor_char_boundary(overlap)..);
        before.push_str(end.unwrap_or_default());
    }
    if let Some(at) = needle.find(&line.text) {
        take((stream, line, at));
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
    use super::*;
    use crate::recording::replay::one_part;

    fn search(lines: &[&str], text: &str, ignore_case: bool) -> Vec<(u64, &'static str, String)> {
        let header = r#"{"version":2,"width":80,"height":24}"#;
        let cast = format!("{header}\n{}\n", lines.join("\n"));
        let parts = one_part(std::io::Cursor::new(cast));
        let needle = Needle::new(text, ignore_case);
        let found = hits(&Metadata::default(), parts, &needle, 10, &|| true).unwrap();
        found
            .into_iter()
            .map(|hit| (hit.at_ms, hit.stream.as_str(), hit.text))
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
