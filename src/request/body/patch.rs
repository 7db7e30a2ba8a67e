//! JSON Patch (RFC 6902), as far as its operations say what they read and write.

use std::fmt;

use serde::Deserialize;

use super::Undecoded;

/// One operation.
#[derive(Debug, Deserialize)]
pub struct Operation {
    /// What it does.
    pub op: Verb,
    /// The JSON Pointer it is about.
    pub path: String,
    from: Option<String>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Writes a value of its own.
    Add,
    /// Writes a value of its own where one is.
    Replace,
    /// Takes a value away.
    Remove,
    /// Asks whether a value is there.
    Test,
    /// Writes a value that stands elsewhere.
    Copy,
    /// Writes a value that stood elsewhere.
    Move,
}

impl fmt::Display for Verb {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Add => "add",
            Self::Replace => "replace",
            Self::Remove => "remove",
            Self::Test => "test",
            Self::Copy => "copy",
            Self::Move => "move",
        })
    }
}

impl Operation {
    /// The JSON Pointer of the value it reads, if it reads one.
    pub fn reads(&self) -> Option<&str> {
        match self.op {
            Verb::Add | Verb::Replace | Verb::Remove => None,
            Verb::Test => Some(&self.path),
            Verb::Copy | Verb::Move => self.from.as_deref(),
        }
    }

    /// The JSON Pointer that it carries a value to from elsewhere.
    pub fn carries_to(&self) -> Option<&str> {
        matches!(self.op, Verb::Copy | Verb::Move).then_some(self.path.as_str())
    }
}

/// The operations of a patch. Keys that stand twice in one are refused.
pub fn operations(body: &[u8]) -> Result<Vec<Operation>, Undecoded> {
    let operations: Vec<Operation> = serde_json::from_slice(body).map_err(|_error| {
        Undecoded::Malformed("is not a list of JSON Patch operations as in RFC 6902")
    })?;
    let complete =
        |operation: &Operation| operation.carries_to().is_none() || operation.from.is_some();
    if !operations.iter().all(complete) {
        return Err(Undecoded::Malformed(
            "has a JSON Patch operation without from",
        ));
    }
    Ok(operations)
}

/// The tokens of a JSON Pointer (RFC 6901); `None` is the whole document. The API server's JSON Patch library drops
/// whatever stands before the first slash.
pub fn tokens(pointer: &str) -> Option<Vec<String>> {
    let (_, tokens) = pointer.split_once('/')?;
    let plain = |token: &str| token.replace("~1", "/").replace("~0", "~");
    Some(tokens.split('/').map(plain).collect())
}
