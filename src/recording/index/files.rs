//! Recordings as they are on disk: what the index is made of, and what counts when both disagree.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::session::{Session, UNSEALED};
use crate::limits;
use crate::recording::metadata::{Metadata, Summary};
use crate::recording::store::part_name;
use crate::wire::asciicast::ParsedHeader;

/// Whether a text can be the id of a session: nothing else ever becomes part of a path.
#[must_use]
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The days that have recordings, as `2026/11/20`, the latest first.
pub fn days(directory: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for year in names(directory, 4)? {
        for month in names(&directory.join(&year), 2)? {
            for day in names(&directory.join(&year).join(&month), 2)? {
                found.push(format!("{year}/{month}/{day}"));
            }
        }
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    Ok(found)
}

/// The names in a folder that are numbers of so many digits.
fn names(folder: &Path, digits: usize) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().into_string()
            && name.len() == digits
            && name.bytes().all(|byte| byte.is_ascii_digit())
        {
            found.push(name);
        }
    }
    Ok(found)
}

/// The ids of the recordings of a day, in order.
pub fn ids(directory: &Path, day: &str) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory.join(day)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".cast"));
        if let Some(id) = id.filter(|id| is_id(id)) {
            found.push(id.to_owned());
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// What the files of a recording say; `None` when there are none. The name of the file counts, not
/// the id inside it.
pub fn read(folder: &Path, id: &str) -> io::Result<Option<Session>> {
    let path = folder.join(part_name(id, 1));
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    if let Some(summary) = summary(folder, id)? {
        let mut session = Session::from(summary);
        id.clone_into(&mut session.metadata.id);
        return Ok(Some(session));
    }
    let recorded_bytes = file.metadata()?.len();
    let mut line = Vec::new();
    BufReader::new(file.take(limits::RECORDING_HEADER_BYTES_MAX)).read_until(b'\n', &mut line)?;
    let metadata = ParsedHeader::parse(&line)
        .ok()
        .and_then(|header| serde_json::from_str::<Metadata>(&header.metadata?).ok())
        .unwrap_or_default();
    Ok(Some(Session {
        metadata: Metadata {
            id: id.to_owned(),
            ..metadata
        },
        verdict: UNSEALED.to_owned(),
        recorded: true,
        recorded_bytes,
        ..Session::default()
    }))
}

/// The sidecar of a recording; `None` when it is not sealed.
pub fn summary(folder: &Path, id: &str) -> io::Result<Option<Summary>> {
    let file = match File::open(folder.join(format!("{id}.json"))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = Vec::new();
    file.take(limits::RECORDING_HEADER_BYTES_MAX)
        .read_to_end(&mut text)?;
    // A sidecar that cannot be read is as good as none: the recording itself is still there.
    Ok(serde_json::from_slice(&text).ok())
}

/// The folder of a recording, wherever it is below the directory.
pub fn find(directory: &Path, id: &str) -> io::Result<Option<PathBuf>> {
    if !is_id(id) {
        return Ok(None);
    }
    for day in days(directory)? {
        let folder = directory.join(day);
        if folder.join(part_name(id, 1)).exists() {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// The parts of a recording, in order.
#[must_use]
pub fn parts(folder: &Path, id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    while let path = folder.join(part_name(id, found.len() + 1))
        && path.exists()
    {
        found.push(path);
    }
    found
}
