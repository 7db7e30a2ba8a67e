//! Every string of a JSON document, with the field it stands in.

use std::collections::HashSet;

use crate::request::body::ValuePath;
use crate::wire::json::{Documents, JsonError, Kind, Scanner, Step, unescape};

/// Why a document could not be walked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum WalkError {
    Json(JsonError),
    /// Two members of an object have the same key, of which readers see different ones.
    Duplicate,
}

impl From<JsonError> for WalkError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}

struct Level {
    /// The number of the element, in an array.
    element: Option<usize>,
    path_length: usize,
    keys: HashSet<Vec<u8>>,
}

/// The field of the first string or key for which `matches` says yes.
pub(super) fn walk(
    body: &[u8],
    unique_keys: bool,
    mut matches: impl FnMut(&[u8]) -> bool,
) -> Result<Option<String>, WalkError> {
    let mut scanner = Scanner::new(Documents::One);
    let mut levels: Vec<Level> = Vec::new();
    let mut path = ValuePath::default();
    let mut string = None;
    let mut cursor = 0;
    loop {
        match scanner.step(body, &mut cursor)? {
            Step::Begin(kind) => {
                if let Some(level) = levels.last_mut() {
                    enter_element(level, &mut path);
                }
                match kind {
                    Kind::String => string = Some(cursor),
                    Kind::Scalar(_) => string = None,
                    Kind::Object | Kind::Array => levels.push(Level {
                        element: (kind == Kind::Array).then_some(0),
                        path_length: path.len(),
                        keys: HashSet::new(),
                    }),
                }
                if matches!(kind, Kind::Scalar(_)) {
                    scalar(&mut scanner, body, &mut cursor)?;
                }
            }
            Step::Key => {
                let level = levels.last_mut().ok_or(JsonError::Unexpected)?;
                let key = scanner.key(body);
                path.truncate(level.path_length);
                path.key(key);
                let Some(key) = key else {
                    // Longer than any key of Kubernetes; it may hold anything.
                    return Err(JsonError::Unexpected.into());
                };
                if matches(key) {
                    return Ok(Some(name(&path)));
                }
                if unique_keys && !level.keys.insert(key.to_vec()) {
                    return Err(WalkError::Duplicate);
                }
            }
            Step::End => match string.take() {
                Some(start) => {
                    let raw = body
                        .get(start..cursor.saturating_sub(1))
                        .unwrap_or_default();
                    let matched = if raw.contains(&b'\\') {
                        matches(&unescape(raw)?)
                    } else {
                        matches(raw)
                    };
                    if matched {
                        return Ok(Some(name(&path)));
                    }
                }
                None => {
                    if let Some(level) = levels.pop() {
                        path.truncate(level.path_length);
                    }
                }
            },
            Step::More => {
                scanner.finish()?;
                return Ok(None);
            }
        }
    }
}

/// Passes a number or literal, whose end is no end of a level.
fn scalar(scanner: &mut Scanner, body: &[u8], cursor: &mut usize) -> Result<(), JsonError> {
    scanner.step(body, cursor).map(|_end_or_more| ())
}

fn enter_element(level: &mut Level, path: &mut ValuePath) {
    if let Some(element) = &mut level.element {
        path.truncate(level.path_length);
        path.index(*element);
        *element += 1;
    }
}

fn name(path: &ValuePath) -> String {
    match path.text() {
        "" => "(request body)".to_owned(),
        text => text.to_owned(),
    }
}
