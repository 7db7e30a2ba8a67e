//! The key that placeholders are made with: one per data directory, made at the first start, replaced on
//! demand.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use tempfile::NamedTempFile;

/// The key of this data directory, 32 random bytes in a file only its owner can read.
///
/// A missing file is made. A file of another size stops the start: whoever damaged it should know that
/// every placeholder will look other than before.
pub fn open(data_directory: &Path) -> anyhow::Result<[u8; 32]> {
    let path = data_directory.join(FILE);
    let describe = || format!("placeholder key {}", path.display());
    let known = || read(&path).map_err(|problem| anyhow::anyhow!("placeholder key {problem}"));
    if path.symlink_metadata().is_ok() {
        return known();
    }
    let (draft, key) = draft(data_directory).with_context(describe)?;
    match draft.persist_noclobber(&path) {
        Ok(_file) => settle(data_directory).with_context(describe)?,
        // Another gateway was started on the directory at the same moment.
        Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => return known(),
        Err(refused) => return Err(refused.error).with_context(describe),
    }
    Ok(key)
}

/// Puts a new key in the place of the one that is there, which may be damaged, and names its file.
/// Whatever happens, one whole key is there, and its owner is who it was.
pub fn rotate(data_directory: &Path) -> anyhow::Result<PathBuf> {
    let path = data_directory.join(FILE);
    let describe = || format!("placeholder key {}", path.display());
    let old = path.symlink_metadata().with_context(|| {
        format!(
            "there is no key to replace in {}; name the dataDirectory of a gateway, which makes the first key when it starts",
            data_directory.display()
        )
    })?;
    ensure!(
        old.is_file(),
        "{} is no plain file; replace the key where it is kept",
        path.display()
    );
    let (draft, _key) = draft(data_directory).with_context(describe)?;
    let new = draft.as_file().metadata().with_context(describe)?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        // Root rotates, and the gateway has to read it.
        fchown(draft.as_file(), Some(old.uid()), Some(old.gid())).with_context(|| {
            format!(
                "{} belongs to another user; call this as the user that the gateway runs as",
                path.display()
            )
        })?;
    }
    draft
        .persist(&path)
        .map_err(|refused| refused.error)
        .and_then(|_file| settle(data_directory))
        .with_context(describe)?;
    Ok(path)
}

/// A new key, on disk under a name that nobody reads (mode 0600).
fn draft(folder: &Path) -> std::io::Result<(NamedTempFile, [u8; 32])> {
    let mut key = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| std::io::Error::other("no randomness"))?;
    let mut file = tempfile::Builder::new()
        .prefix(".placeholder.key.")
        .tempfile_in(folder)?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    Ok((file, key))
}

/// Makes a file's new name last.
fn settle(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Whether [`open`] could use the key that is there, if one is. Makes nothing.
pub(super) fn check(data_directory: &Path) -> Result<(), String> {
    let path = data_directory.join(FILE);
    match path.symlink_metadata() {
        Ok(_) => read(&path).map(drop),
        Err(_) => Ok(()), // to be made; whether that is possible is the directory's matter
    }
}

fn read(path: &Path) -> Result<[u8; 32], String> {
    let mut found = Vec::new();
    File::open(path)
        .and_then(|file| file.take(33).read_to_end(&mut found))
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    found.try_into().map_err(|found: Vec<u8>| {
        format!(
            "{} holds {} bytes instead of 32; restore it from a backup, or make a new one with `portcullis rotate-key` (every placeholder then looks other than before)",
            path.display(),
            found.len()
        )
    })
}

const FILE: &str = "placeholder.key";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let made = open(folder.path()).unwrap();
        assert_ne!(made, [0; 32]);
        assert_eq!(open(folder.path()).unwrap(), made);
        std::fs::write(folder.path().join("placeholder.key"), "short").unwrap();
        assert!(
            open(folder.path())
                .unwrap_err()
                .to_string()
                .contains("5 bytes")
        );
        assert!(check(folder.path()).unwrap_err().contains("5 bytes"));
    }

    #[test]
    fn c_86_a_key_is_replaced_as_a_whole_and_stays_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path()).unwrap();
        let file = rotate(folder.path()).unwrap();
        let second = open(folder.path()).unwrap();
        assert_ne!(first, second);
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A damaged key can be replaced too.
        std::fs::write(&file, "short").unwrap();
        rotate(folder.path()).unwrap();
        assert_ne!(open(folder.path()).unwrap(), second);
        let files = folder.path().read_dir().unwrap().count();
        assert_eq!(files, 1, "a draft was left behind");
    }

    #[test]
    fn c_86_what_is_no_key_of_a_gateway_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let error = rotate(folder.path()).unwrap_err().to_string();
        assert!(error.contains("there is no key to replace"), "{error}");
        // A mounted key is replaced where it comes from.
        let elsewhere = tempfile::tempdir().unwrap();
        let key = open(elsewhere.path()).unwrap();
        symlink(elsewhere.path().join(FILE), folder.path().join(FILE)).unwrap();
        let error = rotate(folder.path()).unwrap_err().to_string();
        assert!(error.contains("where it is kept"), "{error}");
        assert_eq!(open(folder.path()).unwrap(), key);
    }
}
