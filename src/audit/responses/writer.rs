//! The thread that compresses and writes answers.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::{draft, place};
use crate::metrics::Metrics;

/// What the thread is asked for.
pub(super) enum Job {
    /// Make a file for the answer to the request with this id.
    Open(String, Reply<Draft>),
    /// Write a block to it.
    Append(Draft, Vec<u8>, Reply<Draft>),
    /// Write the last block, and put the file where its name says.
    Commit(Draft, Vec<u8>, String, Reply<()>),
}

type Reply<T> = oneshot::Sender<Result<T, String>>;

/// The file of an answer that is not over. It is removed with this.
pub(super) struct Draft {
    file: File,
    path: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // One that was put in its place is not there any more.
        let _gone = fs::remove_file(&self.path).is_err();
    }
}

/// What the thread has.
pub(super) struct Writer {
    directory: PathBuf,
    unsynced: Arc<AtomicBool>,
    metrics: Metrics,
}

/// How hard it is compressed: zstd's own default.
const LEVEL: i32 = 3;

impl Writer {
    pub(super) fn new(directory: PathBuf, unsynced: Arc<AtomicBool>, metrics: Metrics) -> Self {
        Self {
            directory,
            unsynced,
            metrics,
        }
    }

    /// The life of the thread.
    pub(super) fn run(self, mut queue: mpsc::Receiver<Job>) {
        if let Err(error) = remove_empty(&self.directory) {
            tracing::error!(%error, "what a crash left of responses cannot be looked at");
        }
        while let Some(job) = queue.blocking_recv() {
            // Whoever asked may be gone; then the draft goes too.
            match job {
                Job::Open(id, reply) => drop(reply.send(self.open(&id).map_err(as_text))),
                Job::Append(mut draft, block, reply) => {
                    let written = self.append(&mut draft, &block);
                    drop(reply.send(written.map(|()| draft).map_err(as_text)));
                }
                Job::Commit(draft, block, name, reply) => {
                    let done = self.commit(draft, &block, &name);
                    drop(reply.send(done.map_err(as_text)));
                }
            }
        }
        if self.unsynced.load(Ordering::Acquire)
            && let Err(error) = sync(&self.directory)
        {
            tracing::error!(%error, "responses cannot be synced to disk");
        }
    }

    fn open(&self, id: &str) -> io::Result<Draft> {
        let path = draft(&self.directory, id);
        make_folder(&path)?;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Draft { file, path })
    }

    /// Each block is a frame of its own (RFC 8878 §3): nothing is kept of an answer between two of them but its file.
    fn append(&self, draft: &mut Draft, block: &[u8]) -> io::Result<()> {
        if block.is_empty() {
            return Ok(());
        }
        let frame = zstd::bulk::compress(block, LEVEL)?;
        draft.file.write_all(&frame)?;
        self.metrics.response_stored(frame.len() as u64);
        Ok(())
    }

    fn commit(&self, mut draft: Draft, block: &[u8], name: &str) -> io::Result<()> {
        let place = place(&self.directory, name);
        // What is there already is as good as new: whoever removes old files looks at their times.
        match OpenOptions::new().write(true).open(&place) {
            Ok(there) => return there.set_modified(Timestamp::now().into()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.append(&mut draft, block)?;
        make_folder(&place)?;
        fs::rename(&draft.path, &place)?;
        self.unsynced.store(true, Ordering::Release);
        Ok(())
    }
}

fn as_text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Makes the folder of a file, for nobody else.
fn make_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => DirBuilder::new().recursive(true).mode(0o700).create(folder),
        None => Ok(()),
    }
}

/// What a crash left of an answer stays where it is, for whoever wants to know; but for files without content.
fn remove_empty(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory.join("open")) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(());
        }
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.metadata()?.len() == 0 {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Everything in the file system of the folder that was written so far, on disk when this returns: one call however
/// many answers there were.
fn sync(directory: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(directory)?)?)
}

/// Syncs in a thread of its own, so that no answer waits for the disk's cache; ends with the writer.
pub(super) fn sync_every_second(directory: PathBuf, unsynced: &Arc<AtomicBool>) -> io::Result<()> {
    const EVERY: Duration = Duration::from_secs(1);
    let unsynced: Weak<AtomicBool> = Arc::downgrade(unsynced);
    let life = move || {
        let mut failing = false;
        while let Some(unsynced) = unsynced.upgrade() {
            if unsynced.swap(false, Ordering::AcqRel) {
                match sync(&directory) {
                    Ok(()) => failing = false,
                    Err(error) => {
                        unsynced.store(true, Ordering::Release);
                        if !std::mem::replace(&mut failing, true) {
                            tracing::error!(%error, "responses cannot be synced to disk");
                        }
                    }
                }
            }
            drop(unsynced);
            std::thread::sleep(EVERY);
        }
    };
    std::thread::Builder::new()
        .name("responses-sync".to_owned())
        .spawn(life)
        .map(drop)
}
