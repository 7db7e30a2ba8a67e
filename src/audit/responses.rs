//! What callers saw: the masked answers to requests, kept where a rule says `record: responses`.
//!
//! An answer is kept while it streams. What has gathered of it is handed to one thread, which compresses and writes
//! it, a block at a time; the client gets no more until the thread has taken the block before. So memory is two blocks
//! an answer, and a slow disk slows answers instead of losing them. When the answer is over, its file gets the SHA-256
//! of what was kept as its name, so equal answers are one file. `docs/audit.md` describes the files.

mod keeping;
pub mod read;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{mpsc, oneshot};

use crate::limits;
use crate::metrics::Metrics;
use crate::policy::RecordMode;

pub use keeping::{Keeping, Kept};
use writer::{Job, Writer};

/// The folder below the directory of recordings.
pub const FOLDER: &str = "responses";

/// The last line of what is kept of an answer that was longer.
pub const CUT: &str = "\n[portcullis: cut here, the answer was longer than what is kept]\n";

/// Where answers go, and how much of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder.
    pub directory: PathBuf,
    /// Masked bytes that are kept of one answer; what comes later passes and is only counted.
    pub max_bytes: u64,
}

/// Keeps answers. The thread behind it ends when this and every answer is dropped.
pub struct Responses {
    jobs: mpsc::Sender<Job>,
    max_bytes: u64,
    metrics: Metrics,
}

impl Settings {
    /// Those of a directory of recordings.
    #[must_use]
    pub fn new(recordings: &Path) -> Self {
        Self {
            directory: recordings.join(FOLDER),
            max_bytes: limits::RESPONSE_BYTES_DEFAULT,
        }
    }
}

impl Responses {
    /// Starts the thread. An unusable folder is no error yet: policy says which answers depend on it.
    pub fn start(settings: Settings, metrics: Metrics) -> io::Result<Arc<Self>> {
        let (jobs, queue) = mpsc::channel(limits::RESPONSE_QUEUE_MAX);
        let unsynced = Arc::new(AtomicBool::new(false));
        writer::sync_every_second(settings.directory.clone(), &unsynced)?;
        let writer = Writer::new(settings.directory, unsynced, metrics.clone());
        std::thread::Builder::new()
            .name("responses".to_owned())
            .spawn(move || writer.run(queue))?;
        Ok(Arc::new(Self {
            jobs,
            max_bytes: settings.max_bytes,
            metrics,
        }))
    }

    /// Begins to keep the answer to the request with this id: when this returns, it has a file.
    pub async fn open(self: &Arc<Self>, id: &str, mode: RecordMode) -> Result<Keeping, String> {
        let (reply, opened) = oneshot::channel();
        let open = Job::Open(id.to_owned(), reply);
        let asked = async {
            self.jobs.send(open).await.ok()?;
            opened.await.ok()
        };
        let asked = tokio::time::timeout(limits::RECORDING_OPEN_TIMEOUT, asked).await;
        let opened = asked
            .map_err(|_| "the disk does not answer".to_owned())
            .and_then(|opened| opened.ok_or_else(stopped)?);
        match opened {
            Ok(draft) => Ok(Keeping::new(Arc::clone(self), draft, mode)),
            Err(why) => {
                self.metrics.response_failed(mode);
                Err(why)
            }
        }
    }
}

fn stopped() -> String {
    "the writer of responses has stopped".to_owned()
}

/// Where below the folder an answer is, by the name it got.
fn place(directory: &Path, name: &str) -> PathBuf {
    let shelf: String = name.chars().take(2).collect();
    directory.join(shelf).join(format!("{name}.zst"))
}

/// Where an answer is that is not over.
fn draft(directory: &Path, id: &str) -> PathBuf {
    directory.join("open").join(format!("{id}.zst"))
}

#[cfg(test)]
mod tests;
