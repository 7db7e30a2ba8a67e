//! Finds the files of a recording. `docs/recording.md` says where they are.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::{PartReader, Parts};
use crate::recording::metadata::Summary;
use crate::recording::store::part_name;

/// The parts of the recording with this id, below the directory of recordings.
pub fn find(directory: &Path, id: &str) -> io::Result<Option<Vec<PathBuf>>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if id.is_empty() || !id.bytes().all(plain) {
        return Ok(None); // no id, and maybe a path out of the directory
    }
    for year in newest_first(directory)? {
        for month in newest_first(&year)? {
            for day in newest_first(&month)? {
                let first = day.join(part_name(id, 1));
                if first.is_file() {
                    return Ok(Some(with_later_parts(&first)));
                }
            }
        }
    }
    Ok(None)
}

/// A recording's first part and those that follow it. A later part, or a file that is named
/// differently, stands alone.
#[must_use]
pub fn with_later_parts(first: &Path) -> Vec<PathBuf> {
    let name = first.file_name().and_then(|name| name.to_str());
    let id = name.and_then(|name| name.strip_suffix(".cast"));
    let id = id.filter(|id| !id.contains('.')).map(str::to_owned);
    let mut parts = vec![first.to_owned()];
    if let Some(id) = id {
        while let path = first.with_file_name(part_name(&id, parts.len() + 1))
            && path.is_file()
        {
            parts.push(path);
        }
    }
    parts
}

/// Opens the parts, each when it is its turn.
#[must_use]
pub fn open(parts: Vec<PathBuf>) -> Parts {
    let open = |path: PathBuf| {
        let file = File::open(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        Ok(Box::new(BufReader::new(file)) as PartReader)
    };
    Box::new(parts.into_iter().map(open))
}

/// What stands in the sidecar of a recording that is over.
#[must_use]
pub fn summary(first: &Path) -> Option<Summary> {
    let content = std::fs::read(first.with_extension("json")).ok()?;
    serde_json::from_slice(&content).ok()
}

fn newest_first(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    found.reverse();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_are_found_with_their_parts_and_ids_are_no_paths() {
        let folder = tempfile::tempdir().unwrap();
        let day = folder.path().join("2026/11/20");
        std::fs::create_dir_all(&day).unwrap();
        for name in ["a-1.cast", "a-1.2.cast", "a-1.3.cast", "a-10.cast"] {
            std::fs::write(day.join(name), "").unwrap();
        }
        let expected = ["a-1.cast", "a-1.2.cast", "a-1.3.cast"].map(|name| day.join(name));
        assert_eq!(find(folder.path(), "a-1").unwrap().unwrap(), expected);
        for id in ["a-1.2", "none", "", "../../x", "11/../a-1"] {
            assert_eq!(find(folder.path(), id).unwrap(), None, "{id}");
        }
        let second = day.join("a-1.2.cast");
        assert_eq!(with_later_parts(&second), [second]);
        assert_eq!(find(&folder.path().join("none"), "a-1").unwrap(), None);
    }
}
