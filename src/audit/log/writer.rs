//! The thread that owns the file of the audit log: it chains lines, writes them, and ends segments that are full.
//! Another one syncs and seals once a second.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::gather::Batch;
use super::{Settings, Unsealed};
use crate::audit::journal::Journal;
use crate::audit::seal::Statement;
use crate::audit::segments::private;

pub(super) struct Writer {
    pub(super) settings: Settings,
    pub(super) file: File,
    /// None where nothing can be sealed.
    pub(super) journal: Option<Arc<Journal>>,
    /// How far the file has come, with what is about to be written.
    pub(super) standing: Statement,
    /// A segment that could not be ended is tried again then.
    pub(super) rotate_after: Timestamp,
    pub(super) health: watch::Sender<bool>,
    pub(super) unsealed: Arc<Unsealed>,
    /// The file could not be sealed: it may not be where it was.
    pub(super) astray: Arc<AtomicBool>,
}

impl Writer {
    /// Writes batch after batch; ends with who sends them.
    pub(super) fn run(mut self, mut batches: mpsc::Receiver<Batch>) {
        let mut text = Vec::new();
        while let Some(batch) = batches.blocking_recv() {
            if self.astray.swap(false, Ordering::Relaxed) {
                self.replace_if_lost(&[]);
            }
            self.rotate_if_full();
            for line in &batch.lines {
                self.chain(line, &mut text);
            }
            self.write_until_kept(&text);
            text.clear();
            if let Some(journal) = &self.journal {
                journal.advance(&self.standing);
                self.unsealed.begin();
            }
            // Whoever only waits for the file does not wait for the disk.
            batch.written.send(()).ok();
            if let Some(sealed) = batch.sealed
                && self.seal()
            {
                sealed.send(()).ok();
            }
        }
        if let Some(journal) = &self.journal
            && let Err(error) = journal.seal()
        {
            tracing::error!(%error, "the audit log could not be sealed");
        }
    }

    fn chain(&mut self, line: &[u8], batch: &mut Vec<u8>) {
        if line.is_empty() {
            return;
        }
        let start = batch.len();
        self.standing.last.bind(line, batch);
        self.standing.push(batch.get(start..).unwrap_or_default());
    }

    fn rotate_if_full(&mut self) {
        let Some(journal) = &self.journal else {
            return;
        };
        let (standing, now) = (&self.standing, Timestamp::now());
        let age = now.duration_since(standing.began).unsigned_abs();
        let full =
            standing.bytes >= self.settings.segment_bytes || age >= self.settings.segment_age;
        if !full || standing.lines == 0 || now < self.rotate_after {
            return;
        }
        match journal.rotate() {
            Ok((file, begun)) => {
                self.file = file;
                self.standing = begun;
            }
            Err(error) => {
                tracing::error!(%error, "the segment of the audit log is full and cannot be ended; it grows on");
                self.rotate_after = now + ROTATE_AGAIN_AFTER;
            }
        }
    }

    /// Tries until the batch is in the file: events are delayed by a full disk, not lost.
    fn write_until_kept(&mut self, batch: &[u8]) {
        let mut rest = batch;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => self.unhealthy("the disk took no byte"),
                Ok(taken) => rest = rest.get(taken..).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.unhealthy(&error.to_string());
                    // The file may have been taken away under us: another one gets the batch from its beginning.
                    if self.replace_if_lost(batch) {
                        rest = batch;
                    }
                }
            }
        }
        self.recovered();
    }

    /// Goes on in another file if somebody took away the one that is written; whether that is so. The lines that are
    /// chained already come into it: their links are the same, because a segment begins where the one before ended.
    fn replace_if_lost(&mut self, chained: &[u8]) -> bool {
        let Some(journal) = &self.journal else {
            let another = self.another_stream();
            return another.map(|file| self.file = file).is_some();
        };
        if !journal.has_lost() {
            return false;
        }
        match journal.replace_lost() {
            Ok((file, begun)) => {
                tracing::error!(
                    file = %self.settings.file.display(),
                    "somebody moved, removed, cut or exchanged the audit file; the log goes on where it was, in the next segment"
                );
                self.file = file;
                self.standing = begun;
                for line in chained.split_inclusive(|byte| *byte == b'\n') {
                    self.standing.push(line);
                }
                true
            }
            Err(error) => {
                tracing::error!(%error, "the audit file was moved, removed, cut or exchanged, and cannot be made anew");
                false
            }
        }
    }

    /// What is where the pipe or device was, if it is not the one that is written.
    fn another_stream(&self) -> Option<File> {
        let file = private().append(true).open(&self.settings.file).ok()?;
        let (one, other) = (self.file.metadata().ok()?, file.metadata().ok()?);
        ((one.dev(), one.ino()) != (other.dev(), other.ino())).then_some(file)
    }

    /// Whether everything is on the disk and sealed, as far as that can be.
    fn seal(&self) -> bool {
        let Some(journal) = &self.journal else {
            return true;
        };
        let sealed = journal.seal();
        if let Err(error) = &sealed {
            self.astray.store(true, Ordering::Relaxed);
            tracing::error!(%error, "the audit log could not be synced and sealed; what depends on it is refused");
        }
        sealed.is_ok()
    }

    fn recovered(&self) {
        if self.is_news(true) {
            tracing::info!(file = %self.settings.file.display(), "the audit log is written again");
        }
    }

    /// Says how the log is; true if it was otherwise before.
    fn is_news(&self, healthy: bool) -> bool {
        self.health
            .send_if_modified(|known| std::mem::replace(known, healthy) != healthy)
    }

    fn unhealthy(&self, why: &str) {
        if self.is_news(false) {
            tracing::error!(
                file = %self.settings.file.display(), why,
                "the audit log cannot be written; new requests are refused until it can"
            );
        }
        std::thread::sleep(RETRY_EVERY);
    }
}

/// How long to wait before trying a failing disk again.
const RETRY_EVERY: Duration = Duration::from_millis(200);
/// How long to wait before a full segment is tried to be ended again.
const ROTATE_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Syncs and seals in a thread of its own, so that no request waits for the disk's cache; ends with the
/// writer.
pub(super) fn seal_every_second(
    journal: Weak<Journal>,
    (unsealed, astray): (Arc<Unsealed>, Arc<AtomicBool>),
) -> std::io::Result<()> {
    let seal = move || {
        let mut failing = false;
        loop {
            std::thread::sleep(SEAL_EVERY);
            let Some(journal) = journal.upgrade() else {
                return;
            };
            if let Some(since) = unsealed.take() {
                match journal.seal() {
                    Ok(()) => failing = false,
                    Err(error) => {
                        unsealed.put_back(since);
                        astray.store(true, Ordering::Relaxed);
                        if !std::mem::replace(&mut failing, true) {
                            tracing::error!(%error, "the audit log could not be synced and sealed");
                        }
                    }
                }
            }
        }
    };
    std::thread::Builder::new()
        .name("audit-seal".to_owned())
        .spawn(seal)
        .map(drop)
}

/// How much time a crash of the machine may cost.
pub(super) const SEAL_EVERY: Duration = Duration::from_secs(1);
