//! Which kubeconfig files there are, and how one is changed: by kubectl's rules, so that both can do it
//! at the same time.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::document::Node;

/// How long another program's lock is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The files that are read together, the first one first.
pub(super) fn chain(explicit: Option<&Path>) -> anyhow::Result<Vec<PathBuf>> {
    if let Some(file) = explicit {
        return Ok(vec![file.to_owned()]);
    }
    let mut files: Vec<PathBuf> = Vec::new();
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    for file in std::env::split_paths(&listed) {
        if !file.as_os_str().is_empty() && !files.contains(&file) {
            files.push(file);
        }
    }
    if files.is_empty() {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
        let home = home.context("HOME is not set; name a file with --kubeconfig")?;
        files.push(Path::new(&home).join(".kube/config"));
    }
    Ok(files)
}

/// Where new entries go: into the first file that is there, or else the last one of the list.
pub(super) fn default_file(files: &[PathBuf]) -> anyhow::Result<usize> {
    let last = files
        .len()
        .checked_sub(1)
        .context("no kubeconfig is named")?;
    Ok(files.iter().position(|file| file.exists()).unwrap_or(last))
}

/// Reads a file; one that is not there has no entries.
pub(super) fn read(file: &Path) -> anyhow::Result<Node> {
    let shown = || file.display().to_string();
    match std::fs::read_to_string(file) {
        Ok(text) => Node::parse(&text).with_context(shown),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Node::empty_config()),
        Err(error) => Err(error).with_context(shown),
    }
}

/// Whether a file has comments, which do not survive a change.
pub(super) fn has_comments(file: &Path) -> bool {
    std::fs::read_to_string(file)
        .is_ok_and(|text| text.lines().any(|line| line.trim_start().starts_with('#')))
}

/// The right to change a file: `FILE.lock`, as client-go has it.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
}

impl Lock {
    /// Waits until nobody else has it.
    pub(super) fn take(file: &Path) -> anyhow::Result<Self> {
        if let Some(folder) = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        let mut path = file.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let mut waited = Duration::ZERO;
        loop {
            let made = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            match made {
                Ok(_) => return Ok(Self { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error).with_context(|| path.display().to_string());
                }
            }
            ensure!(
                waited < LOCK_PATIENCE,
                "{} is there: another program changes the file. If none does any more, `rm {}`",
                path.display(),
                path.display()
            );
            std::thread::sleep(LOCK_PAUSE);
            waited += LOCK_PAUSE;
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

/// Replaces a file's content as a whole, mode 0600. A symbolic link stays one: what it leads to is replaced.
pub(super) fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let target = match file.canonicalize() {
        Ok(target) => target,
        Err(_) if file.is_symlink() => {
            bail!("{} is a symbolic link that leads nowhere", file.display())
        }
        Err(_) => file.to_owned(),
    };
    if let Ok(there) = std::fs::metadata(&target) {
        ensure!(there.is_file(), "{} is not a file", target.display());
        ensure!(
            there.uid() == rustix::process::geteuid().as_raw(),
            "{} belongs to another user; write it as that one",
            target.display()
        );
    }
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let written = || -> anyhow::Result<()> {
        let mut draft = tempfile::Builder::new()
            .prefix(".kubeconfig-")
            .tempfile_in(folder)?; // mode 0600
        draft.write_all(text.as_bytes())?;
        draft.as_file().sync_all()?;
        draft.persist(&target)?;
        File::open(folder)?.sync_all()?;
        Ok(())
    };
    written().with_context(|| format!("{} cannot be written", target.display()))
}
