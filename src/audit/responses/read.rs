//! Reads answers back, and says whether they are what was kept.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
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
        let found = self.kept(name)?.map(whole);
        Ok(found.map(|bytes| Saw::of(bytes, name, kept)))
    }

    /// What there is of the answer to a request that is not over, or was not when the gateway ended.
    pub fn unfinished(&self, id: &str) -> io::Result<Option<Saw>> {
        Ok(self.begun(id)?.map(whole).and_then(Saw::unfinished))
    }

    /// Reads what is kept under this digest. The end is an error if that is something else.
    pub fn kept(&self, name: &str) -> io::Result<Option<impl Read + Send + use<>>> {
        if name.len() != 64 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None); // nothing else ever becomes part of a path
        }
        let unpacked = unpack(&place(&self.directory, name))?;
        Ok(unpacked.map(|packed| Compared {
            packed,
            so_far: digest::Context::new(&digest::SHA256),
            name: name.to_owned(),
        }))
    }

    /// Whether this can be the id of a request, and may become part of a path.
    #[must_use]
    pub fn is_id(id: &str) -> bool {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=limits::AUDIT_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_plain)
    }

    /// Reads what there is of an answer that is not over, by the id of its request. That its file has no end yet is no error.
    pub fn begun(&self, id: &str) -> io::Result<Option<impl Read + Send + use<>>> {
        if !Self::is_id(id) {
            return Ok(None);
        }
        Ok(unpack(&draft(&self.directory, id))?.map(SoFar))
    }
}

/// Reads what must have this digest.
struct Compared<R> {
    packed: R,
    so_far: digest::Context,
    name: String,
}

impl<R: Read> Read for Compared<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.packed.read(into)?;
        self.so_far.update(into.get(..read).unwrap_or_default());
        let over = read == 0 && !into.is_empty();
        if over && HEXLOWER.encode(self.so_far.clone().finish().as_ref()) != self.name {
            let why = "the answer on record is not what was kept";
            return Err(io::Error::new(ErrorKind::InvalidData, why));
        }
        Ok(read)
    }
}

/// Reads what has been written until now.
struct SoFar<R>(R);

impl<R: Read> Read for SoFar<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }
}

impl Saw {
    /// What was read under a digest, judged by it.
    #[must_use]
    pub fn of(mut bytes: Vec<u8>, name: &str, kept: u64) -> Self {
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
        Self { bytes, cut, state }
    }

    /// What was read of an answer that is not over; nothing if that is nothing.
    #[must_use]
    pub fn unfinished(bytes: Vec<u8>) -> Option<Self> {
        (!bytes.is_empty()).then_some(Self {
            bytes,
            cut: false,
            state: State::Unfinished,
        })
    }
}

/// What a file holds.
fn unpack(path: &Path) -> io::Result<Option<impl Read + Send + use<>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let unpacked = zstd::stream::read::Decoder::new(file)?;
    Ok(Some(unpacked.take(limits::RESPONSE_READ_BYTES_MAX)))
}

/// All of it. What is not whole or not what was written ends it; the digest tells.
fn whole(mut packed: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _torn = packed.read_to_end(&mut bytes).is_err();
    bytes
}
