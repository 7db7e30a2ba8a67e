//! Finds the files of a recording. `docs/recording.md` says where they are.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::{PartReader, Parts};
use crate::recording::metadata::Summary;
use crate::recording::store::part_name;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_part_brings_the_later_ones_along() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a-1.cast", "a-1.2.cast", "a-1.3.cast", "a-10.cast"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let expected = ["a-1.cast", "a-1.2.cast", "a-1.3.cast"].map(|it| folder.path().join(it));
        assert_eq!(with_later_parts(&expected[0]), expected);
        assert_eq!(with_later_parts(&expected[1]), [expected[1].clone()]);
    }
}
