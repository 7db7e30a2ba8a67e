//! Reads answers back, and says whether they are what was kept.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use super::{CUT, draft, place};
use crate::limits;

/// The answers in a folder.
#[derive(Clone, Debug)]
pub struct Shelf {
    directory: PathBuf,
}

/// An answer that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saw {
    /// What is kept of it, without the mark where it was cut.
    pub bytes: Vec<u8>,
    /// It was longer.
    pub cut: bool,
    /// Whether the bytes are those that the digest is of; a crash left no digest of one that was not over.
    pub state: State,
}

/// How far what was read can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has the digest that the audit log names.
    Verified,
    /// It has another one.
    Altered,
    /// The answer goes on, or the gateway ended before it: what there is of it has no digest.
    Unfinished,
}

impl Shelf {
    /// The answers below a directory of recordings.
    #[must_use]
    pub fn of(recordings: &Path) -> Self {
        Self {
            directory: recordings.join(super::FOLDER),
        }
    }

    /// The answer with this digest, of which so many bytes were kept; nothing if it is not there.
    pub fn find(&self, name: &str, kept: u64) -> io::Result<Option<Saw>> {
        if name.len() != 64 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None); // nothing else ever becomes part of a path
        }
        let Some(mut bytes) = unpacked(&place(&self.directory, name))? else {
            return Ok(None);
        };
        let found = HEXLOWER.encode(digest::digest(&digest::SHA256, &bytes).as_ref());
        let kept = usize::try_from(kept).unwrap_or(usize::MAX);
        let cut = bytes.get(kept..) == Some(CUT.as_bytes());
        if cut {
            bytes.truncate(kept);
        }
        let state = if found == name {
            State::Verified
        } else {
            State::Altered
        };
        Ok(Some(Saw { bytes, cut, state }))
    }

    /// What there is of the answer to a request that is not over, or was not when the gateway ended.
    pub fn unfinished(&self, id: &str) -> io::Result<Option<Saw>> {
        if id.is_empty()
            || !id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return Ok(None);
        }
        let Some(bytes) = unpacked(&draft(&self.directory, id))? else {
            return Ok(None);
        };
        Ok((!bytes.is_empty()).then_some(Saw {
            bytes,
            cut: false,
            state: State::Unfinished,
        }))
    }
}

/// What a file holds. What is not whole or not what was written ends it; the digest tells.
fn unpacked(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    let _torn = zstd::stream::read::Decoder::new(file)?
        .take(limits::RESPONSE_READ_BYTES_MAX)
        .read_to_end(&mut bytes)
        .is_err();
    Ok(Some(bytes))
}
