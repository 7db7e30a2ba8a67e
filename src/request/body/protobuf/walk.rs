//! Every field of a protobuf body, on every level, by the name it has in JSON.
//!
//! No table is needed to find them: what may be a message is looked at as one and as text. The table names
//! them; where a body lies about its kind names are wrong, and decide nothing.

use super::super::ValuePath;
use super::super::kinds::{self, Field, Holds, Shape};
use super::super::search::SOMEWHERE;
use crate::limits::{PROTOBUF_DEPTH_MAX, PROTOBUF_SEARCH_BYTES_MAX};
use crate::wire::protobuf::{FieldValue, MAGIC, Unknown, fields, is_message, last_bytes};

/// The field of the object that matches, or that would cost too much to search.
pub(in super::super) fn find(
    body: &[u8],
    matches: &mut dyn FnMut(&[u8]) -> bool,
) -> Option<String> {
    let object = Unknown::parse(body).ok()?;
    let mut search = Search {
        matches,
        bytes_left: PROTOBUF_SEARCH_BYTES_MAX,
        way: Vec::new(),
    };
    if !search.message(object.raw) {
        return None;
    }
    let name = name(&object, &search.way);
    Some(name.unwrap_or_else(|| numbers(&search.way)))
}

struct Search<'a, 'm> {
    matches: &'m mut dyn FnMut(&[u8]) -> bool,
    bytes_left: usize,
    /// The fields that lead to the one that is searched.
    way: Vec<Way<'a>>,
}

/// A field on the way.
struct Way<'a> {
    number: u32,
    /// How many fields of this number stand before it.
    index: usize,
    value: &'a [u8],
}

impl<'a> Search<'a, '_> {
    /// Does a field match? Then `way` leads to it.
    fn message(&mut self, message: &'a [u8]) -> bool {
        let mut all = fields(message);
        // Fields of one number mostly stand together.
        let mut index = (0, 0);
        loop {
            let left = all.remaining();
            match all.next() {
                None => return false,
                Some(Err(_)) => {
                    // Groups, which Go skips, or no message from here on.
                    let rest = message.len() - left;
                    return (self.matches)(message.get(rest..).unwrap_or_default());
                }
                Some(Ok(field)) => {
                    index = if field.number == index.0 {
                        (index.0, index.1 + 1)
                    } else {
                        (field.number, 0)
                    };
                    if let FieldValue::Bytes(value) = field.value
                        && self.field(field.number, index.1, value)
                    {
                        return true;
                    }
                }
            }
        }
    }

    fn field(&mut self, number: u32, index: usize, value: &'a [u8]) -> bool {
        self.way.push(Way {
            number,
            index,
            value,
        });
        let Some(left) = self.bytes_left.checked_sub(value.len()) else {
            return true;
        };
        self.bytes_left = left;
        // Items of a `v1.List` travel in envelopes of their own.
        let message = value.strip_prefix(MAGIC).unwrap_or(value);
        let nested = self.way.len() < PROTOBUF_DEPTH_MAX && is_message(message);
        if nested && self.message(message) || (self.matches)(value) {
            return true;
        }
        self.way.pop();
        false
    }
}

fn numbers(way: &[Way<'_>]) -> String {
    if way.is_empty() {
        return SOMEWHERE.to_owned();
    }
    let numbers: Vec<String> = way.iter().map(|step| step.number.to_string()).collect();
    format!("(protobuf field {})", numbers.join("."))
}

/// The path of a field in JSON; `None` if the table does not know it.
fn name(object: &Unknown<'_>, way: &[Way<'_>]) -> Option<String> {
    let mut path = ValuePath::default();
    let mut message = kinds::kind(object.api_version, object.kind)?;
    let mut steps = way.iter();
    while let Some(step) = steps.next() {
        let field = message.field(step.number)?;
        enter(&mut path, field, step);
        // The value of an entry is a field of its own.
        if field.shape == Shape::Map && steps.next().is_none() {
            break;
        }
        let Holds::Message(place) = field.holds else {
            break;
        };
        message = kinds::message(place)?;
    }
    (!path.is_empty()).then(|| path.text().to_owned())
}

fn enter(path: &mut ValuePath, field: &Field, step: &Way<'_>) {
    if field.key.is_empty() {
        return; // its fields stand in the object around it
    }
    path.key(Some(field.key.as_bytes()));
    match field.shape {
        Shape::One => {}
        Shape::List => path.index(step.index),
        Shape::Map => path.key(Some(last_bytes(step.value, 1))),
    }
}

#[cfg(test)]
mod tests;
