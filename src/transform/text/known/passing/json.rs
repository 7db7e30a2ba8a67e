//! Finds the Secrets in JSON that arrives in chunks.

use memchr::memchr;
use zeroize::{Zeroize as _, Zeroizing};

use super::Passing;
use super::glance::{is_release, is_release_told, is_told};
use crate::limits::KNOWN_VALUES_PASSED_BYTES_MAX;
use crate::request::RequestInfo;
use crate::wire::json::{Documents, Kind, Scanner, Step};

/// Memory that is kept for the next Secret, in bytes; few Secrets are larger.
const KEPT_BYTES: usize = 16 * 1024;

/// Learns from one stream of JSON.
pub(in crate::transform) struct JsonPassing {
    passing: Passing,
    form: Form,
    scanner: Scanner,
    /// How many containers around the Secrets are open.
    depth: u8,
    /// The last key at the top was `items`.
    items: bool,
    current: Current,
    /// What came of a Secret in earlier chunks.
    text: Zeroizing<Vec<u8>>,
    /// It is no JSON: there is nothing more to learn.
    broken: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Form {
    Object,
    List,
    Watch,
}

/// The value the scanner is in.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Current {
    /// What stands around Secrets.
    Around,
    Secret,
    /// Anything else, or a Secret that is too large.
    Other,
}

impl JsonPassing {
    /// Learns from the answer to this request.
    pub(in crate::transform) fn new(passing: Passing, info: &RequestInfo) -> Self {
        let (form, documents) = match info.verb.as_str() {
            "watch" => (Form::Watch, Documents::Sequence),
            "list" => (Form::List, Documents::One),
            _ => (Form::Object, Documents::One),
        };
        Self {
            passing,
            form,
            scanner: Scanner::new(documents),
            depth: 0,
            items: false,
            current: Current::Around,
            text: Zeroizing::default(),
            broken: false,
        }
    }

    /// Takes the next chunk. Nothing is copied of a Secret that is in it as a whole.
    pub(in crate::transform) fn push(&mut self, chunk: &[u8]) {
        let (mut cursor, mut start) = (0, 0);
        while !self.broken {
            match self.scanner.step(chunk, &mut cursor) {
                Ok(Step::Begin(kind)) => {
                    start = cursor.saturating_sub(1);
                    let text = chunk.get(start..).unwrap_or_default();
                    self.current = self.begun(kind, text);
                    match self.current {
                        Current::Around => self.depth += 1,
                        Current::Secret => self.scanner.skip_value(),
                        Current::Other => cursor = start + self.pass_over(text),
                    }
                }
                Ok(Step::Key) => self.items = self.scanner.key(chunk) == Some(b"items"),
                Ok(Step::End) => {
                    self.end(chunk.get(start..cursor).unwrap_or_default());
                    start = cursor;
                }
                Ok(Step::More) => {
                    self.keep(chunk.get(start..).unwrap_or_default());
                    return;
                }
                Err(_) => self.broken = true,
            }
        }
    }

    /// What it is that begins as `text` does.
    fn begun(&self, kind: Kind, text: &[u8]) -> Current {
        match (self.form, self.depth, kind) {
            (Form::Object | Form::Watch, 0, Kind::Object) | (Form::List, 2, Kind::Object)
                if self.may_want(text) =>
            {
                Current::Secret
            }
            (Form::List, 0, Kind::Object) => Current::Around,
            (Form::List, 1, Kind::Array) if self.items => Current::Around,
            _ => Current::Other,
        }
    }

    /// Passes over a value that is of no interest; how many of its bytes are behind us then: the first, or all.
    ///
    /// The API server writes each event as one line, and no other line end into it. Where the text is so far what it writes,
    /// the line's end is the event's, and found in a third of the time. From a server that writes otherwise less is learned
    /// here; the watch has the last word.
    fn pass_over(&mut self, text: &[u8]) -> usize {
        let is_line = self.form == Form::Watch && is_told(text);
        let end = memchr(b'\n', text).filter(|_| is_line);
        if let Some(end) = end
            && text.get(..end).is_some_and(|line| line.ends_with(b"}}"))
        {
            self.scanner.leave_value();
            self.current = Current::Around;
            return end;
        }
        self.scanner.skip_value();
        1
    }

    fn end(&mut self, rest: &[u8]) {
        match self.current {
            Current::Around => self.depth = self.depth.saturating_sub(1),
            Current::Secret if self.text.is_empty() => self.learn(rest),
            Current::Secret => {
                self.keep(rest);
                // Its metadata may have come since it began.
                if self.current == Current::Secret && self.may_want(&self.text) {
                    self.learn(&self.text);
                }
            }
            Current::Other => {}
        }
        self.current = Current::Around;
        self.wipe();
    }

    fn learn(&self, text: &[u8]) {
        if text.len() > KNOWN_VALUES_PASSED_BYTES_MAX {
            return;
        }
        match self.form {
            Form::Watch if !is_release_told(text) => self.passing.event(text),
            Form::Object | Form::List if !is_release(text) => self.passing.secret(text),
            _ => {}
        }
    }

    /// May something be learned of the Secret, or by the event, that `text` begins with?
    fn may_want(&self, text: &[u8]) -> bool {
        match self.form {
            Form::Watch => self.passing.may_want_event(text),
            Form::Object | Form::List => self.passing.may_want(text),
        }
    }

    /// Keeps what came of a Secret, if it is not too large.
    fn keep(&mut self, part: &[u8]) {
        if self.current != Current::Secret {
            return;
        }
        let length = self.text.len() + part.len();
        if length > KNOWN_VALUES_PASSED_BYTES_MAX {
            self.current = Current::Other;
            self.wipe();
            return;
        }
        // A vector that grows by itself leaves its old memory as it was.
        if length > self.text.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(length.next_power_of_two()));
            larger.extend_from_slice(&self.text);
            self.text = larger;
        }
        self.text.extend_from_slice(part);
    }

    fn wipe(&mut self) {
        if self.text.is_empty() {
            return;
        }
        if self.text.capacity() > KEPT_BYTES {
            self.text = Zeroizing::default();
        } else {
            self.text.zeroize();
        }
    }

    /// Bytes held between chunks, and the room there is for them.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.text.len(), self.text.capacity())
    }
}
