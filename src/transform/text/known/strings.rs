//! Masks known values in the strings of JSON text, keys as well as values; everything else passes. How often
//! a value was escaped in a document within a string does not matter.
//!
//! Only strings are searched: a placeholder in the place of a number would not be JSON.

use std::ops::Range;
use std::sync::Arc;

use super::{Quiet, Scanner, Shelf, Wait};
use crate::transform::output::{Joined, Shifted, Sink};
use crate::transform::report::Tally;
use crate::wire::json::{Marks, open_string};

/// The strings of one stream of JSON.
pub(in crate::transform) struct Strings {
    shelf: Arc<Shelf>,
    scanner: Scanner,
    place: Place,
    /// A part of the string came before.
    partial: bool,
}

#[derive(Clone, Copy)]
enum Place {
    Outside,
    Inside,
    /// Behind a backslash.
    Escaped,
}

impl Strings {
    pub(in crate::transform) fn new(shelf: Arc<Shelf>) -> Self {
        let scanner = Scanner::new(Arc::clone(&shelf), Wait::Live);
        Self {
            shelf,
            scanner,
            place: Place::Outside,
            partial: false,
        }
    }

    /// Up to where in `part` of a text no string that is all there has a value in it, and whether one may begin there.
    ///
    /// It is read as if it were one text. No unit of it ([`super::forms::plain`]) reaches from one string into another, so
    /// whatever stands in a string is found; what is found across several is none.
    pub(in crate::transform) fn absent_until(
        &self,
        text: &[u8],
        part: Range<usize>,
    ) -> (usize, bool) {
        self.shelf.load().absent_until(text, part)
    }

    /// Takes the next bytes; they are the chunk that `sink` copies from.
    pub(in crate::transform) fn push(&mut self, text: &[u8], sink: &mut impl Sink) {
        let index = &self.shelf.load();
        let mut sink = Joined::new(sink);
        let mut marks = Marks::of(text, *b"\"\\", 0);
        let mut quiet = Quiet::default();
        let mut at = 0;
        while at < text.len() {
            if let Place::Outside = self.place {
                // Strings in which nothing is heard pass together.
                let until = quiet.reach(at..text.len(), |part| index.absent_until(text, part));
                let passed = at + open_string(text.get(at..until).unwrap_or_default());
                let quote = opening(text, passed, &mut marks);
                let end = quote.map_or(text.len(), |quote| quote + 1);
                sink.copy(at..end);
                at = end;
                if quote.is_none() {
                    break;
                }
                self.place = Place::Inside;
                self.partial = false;
                continue;
            }
            let (end, place) = content(text, at, self.place, &mut marks);
            let inside = text.get(at..end).unwrap_or_default();
            let mut content = Shifted {
                by: at,
                sink: &mut sink,
            };
            let ended = matches!(place, Place::Outside);
            let whole = ended && !self.partial;
            if whole && quiet.is_in(at..end, |part| index.absent_until(text, part)) {
                content.copy(0..inside.len());
            } else if whole {
                self.scanner.push_whole_by(index, inside, &mut content);
            } else {
                self.scanner.push(inside, &mut content);
                self.partial = true;
            }
            at = end;
            self.place = place;
            if ended {
                if self.partial {
                    self.scanner.finish(&mut sink);
                }
                sink.copy(at..at + 1);
                at += 1;
            }
        }
        sink.flush();
    }

    /// Takes the whole inside of one string.
    pub(in crate::transform) fn push_content(&mut self, text: &[u8], sink: &mut impl Sink) {
        self.scanner.push_whole(text, sink);
    }

    /// Where known values stand in the text of a string.
    pub(in crate::transform) fn find(&mut self, text: &[u8]) -> Vec<Range<usize>> {
        self.scanner.find(text)
    }

    /// The text ends, wherever it is.
    pub(in crate::transform) fn finish(&mut self, sink: &mut impl Sink) {
        self.scanner.finish(sink);
        self.place = Place::Outside;
    }

    /// What was masked since the last call.
    pub(in crate::transform) fn tally(&mut self) -> &mut Tally {
        self.scanner.tally()
    }
}

/// Where a string begins, from `at` on.
fn opening(text: &[u8], at: usize, marks: &mut Marks<'_, 2>) -> Option<usize> {
    let mut at = at;
    loop {
        at = marks.next_from(at);
        if *text.get(at)? == b'"' {
            return Some(at);
        }
        at += 1;
    }
}

/// How far the content of a string reaches from `at` on, and where it leads: before its closing quote (`Outside`) or to
/// the end of `text`.
fn content(text: &[u8], at: usize, place: Place, marks: &mut Marks<'_, 2>) -> (usize, Place) {
    let mut at = match place {
        Place::Escaped => at + 1,
        Place::Outside | Place::Inside => at,
    };
    loop {
        at = marks.next_from(at);
        match text.get(at) {
            Some(b'"') => return (at, Place::Outside),
            Some(_) if at + 1 == text.len() => return (text.len(), Place::Escaped),
            Some(_) => at += 2,
            None => return (text.len(), Place::Inside),
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::super::{Index, Value};
    use super::*;
    use crate::transform::Placeholders;
    use crate::transform::output::Collected;

    const SECRET: &str = "corr\"ect-horse";
    const NUMBER: &str = "4929031875530021";

    fn strings() -> Strings {
        let values = [SECRET, NUMBER].map(|text| {
            Arc::new(Value {
                bytes: Zeroizing::new(text.as_bytes().to_vec()),
                source: "secrets/db".to_owned(),
            })
        });
        let index = Index::new(&values, &Placeholders::new(&[7; 32]));
        Strings::new(Arc::new(Shelf::from_pointee(index)))
    }

    fn masked(chunks: &[&[u8]]) -> String {
        let mut strings = strings();
        let mut collected = Vec::new();
        for chunk in chunks {
            strings.push(chunk, &mut Collected::new(chunk, &mut collected));
        }
        strings.finish(&mut Collected::new(b"", &mut collected));
        String::from_utf8(collected).unwrap()
    }

    #[test]
    fn values_are_masked_in_strings_and_the_text_stays_json() {
        let text = format!(
            r#"{{"a":"x corr\"ect-horse\\","n":{NUMBER},"corr\"ect-horse":["{NUMBER}", "\\", null, "4929031", "531"]}}"#
        );
        let whole = masked(&[text.as_bytes()]);
        let json: serde_json::Value = serde_json::from_str(&whole).unwrap();
        assert!(!whole.contains("ect-horse") && whole.matches("[masked:v1:").count() == 3);
        assert_eq!(json["n"].to_string(), NUMBER);
        assert!(json["a"].as_str().unwrap().starts_with("x [masked"));
        assert!(json["a"].as_str().unwrap().ends_with(r"]\"));
        for cut in 0..text.len() {
            let (one, other) = text.as_bytes().split_at(cut);
            assert_eq!(masked(&[one, other]), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(masked(&bytes), whole);
    }

    #[test]
    fn values_in_documents_within_strings_are_masked_and_all_stays_json() {
        let mut text = SECRET.to_owned();
        for _ in 0..4 {
            text = serde_json::json!({"a": text, "b": "\\"}).to_string();
            let out = masked(&[text.as_bytes()]);
            assert!(!out.contains("ect-horse"), "{out}");
            for cut in 0..text.len() {
                let (one, other) = text.as_bytes().split_at(cut);
                assert_eq!(masked(&[one, other]), out, "cut at {cut}");
            }
            let mut inner = out;
            while let Ok(document) = serde_json::from_str::<serde_json::Value>(&inner) {
                assert_eq!(document["b"], "\\");
                inner = document["a"].as_str().unwrap().to_owned();
            }
            assert!(inner.starts_with("[masked:v1:"), "{inner}");
        }
    }

    #[test]
    fn a_part_of_a_value_is_other_text() {
        for text in [r#"["corr\"ect-hors"]"#, r#"["corr\"ect"#, r#"["x\"#] {
            assert_eq!(masked(&[text.as_bytes()]), text);
        }
    }
}
