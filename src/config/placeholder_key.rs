//! The key that placeholders are made with: one per data directory, made at the first start.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

/// The key of this data directory, 32 random bytes in a file only its owner can read.
///
/// A missing file is made; a file of another size stops the start, because a new key would let old
/// placeholders be written back unrecognised.
pub fn open(data_directory: &Path) -> anyhow::Result<[u8; 32]> {
    let path = data_directory.join(FILE);
    let describe = || format!("placeholder key {}", path.display());
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
    {
        Ok(mut file) => {
            let mut key = [0_u8; 32];
            aws_lc_rs::rand::fill(&mut key)
                .map_err(|_| anyhow::anyhow!("no randomness"))
                .with_context(describe)?;
            file.write_all(&key)
                .and_then(|()| file.sync_all())
                .with_context(describe)?;
            Ok(key)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            read(&path).map_err(|problem| anyhow::anyhow!("placeholder key {problem}"))
        }
        Err(error) => Err(error).with_context(describe),
    }
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
            "{} holds {} bytes instead of 32; restore it from a backup, or delete it to have a new one made (old placeholders are then no longer recognised as this gateway's own)",
            path.display(),
            found.len()
        )
    })
}

const FILE: &str = "placeholder.key";

#[cfg(test)]
mod tests {
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
}
