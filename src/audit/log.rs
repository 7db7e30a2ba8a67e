//! Appends events to a file: in order, never silently losing one.
//!
//! One thread owns the file. Requests hand it their lines through a bounded queue and wait until the
//! line is written, so a slow disk slows requests and does not grow memory. While the file cannot be
//! written the log is unhealthy and the gateway refuses to start anything new (threats D-18, F-07).
//! Data is synced to disk at most once a second; a crash of the machine may lose that second.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use super::Event;
use crate::limits;

/// The audit log of this gateway.
#[derive(Clone, Debug)]
pub struct AuditLog {
    lines: mpsc::Sender<Entry>,
    healthy: watch::Receiver<bool>,
}

/// The audit log could not take an event.
#[derive(Debug, Error)]
#[error("the audit log cannot be written")]
pub struct AuditError;

#[derive(Debug)]
struct Entry {
    line: Vec<u8>,
    written: Option<oneshot::Sender<()>>,
}

impl AuditLog {
    /// Opens (or creates, with mode 0600) the file and starts its thread.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = open_for_append(path)?;
        let (lines, queue) = mpsc::channel(limits::AUDIT_QUEUE_LINES_MAX);
        let (health, healthy) = watch::channel(true);
        let unsynced = Arc::new(AtomicBool::new(false));
        sync_every_second(path.to_owned(), Arc::downgrade(&unsynced))?;
        let writer = Writer {
            path: path.to_owned(),
            file,
            queue,
            health,
            unsynced,
        };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self { lines, healthy })
    }

    /// Whether events can be kept at the moment; when not, nothing new may start.
    pub fn healthy(&self) -> bool {
        *self.healthy.borrow()
    }

    /// Events waiting to be written.
    pub fn queued(&self) -> usize {
        self.lines.max_capacity() - self.lines.capacity()
    }

    /// Keeps an event; returns when it is in the file.
    pub async fn write(&self, event: &Event) -> Result<(), AuditError> {
        let place = self.place().await?;
        place.write(event).await.map_err(|_| AuditError)
    }

    /// Keeps an event that something else waits for, and gives up as soon as the log cannot be
    /// written; the event is then written later.
    pub async fn write_or_fail(&self, event: &Event) -> Result<(), AuditError> {
        let mut healthy = self.healthy.clone();
        tokio::select! {
            biased;
            written = self.write(event) => written,
            _ = healthy.wait_for(|healthy| !healthy) => Err(AuditError),
        }
    }

    /// Waits for a place in the queue. A caller that is cancelled while it waits has written nothing.
    pub async fn place(&self) -> Result<Place<'_>, AuditError> {
        self.lines
            .reserve()
            .await
            .map(Place)
            .map_err(|_| AuditError)
    }

    /// Hands over an event without waiting, where nobody can wait: for a stream dropped by its
    /// client, and for a refusal while the log cannot be written. Gives the event back when the queue is full.
    pub fn write_detached(&self, event: Box<Event>) -> Result<(), Box<Event>> {
        match self.lines.try_reserve() {
            Ok(place) => {
                place.send(Entry {
                    line: event.line(),
                    written: None,
                });
                Ok(())
            }
            Err(_) => Err(event),
        }
    }
}

/// A place in the queue of the audit log.
pub struct Place<'a>(mpsc::Permit<'a, Entry>);

impl Place<'_> {
    /// Hands the event over; what is returned resolves when the event is in the file.
    pub fn write(self, event: &Event) -> oneshot::Receiver<()> {
        let (written, done) = oneshot::channel();
        self.0.send(Entry {
            line: event.line(),
            written: Some(written),
        });
        done
    }
}

struct Writer {
    path: PathBuf,
    file: File,
    queue: mpsc::Receiver<Entry>,
    health: watch::Sender<bool>,
    unsynced: Arc<AtomicBool>,
}

impl Writer {
    /// Writes what has gathered as one batch, then waits for more; ends with the last sender.
    fn run(mut self) {
        let mut batch = Vec::new();
        let mut waiting = Vec::new();
        while let Some(first) = self.queue.blocking_recv() {
            let mut next = Some(first);
            while let Some(entry) = next {
                batch.extend_from_slice(&entry.line);
                waiting.extend(entry.written);
                next = if batch.len() < limits::AUDIT_BATCH_BYTES_MAX {
                    self.queue.try_recv().ok()
                } else {
                    None
                };
            }
            self.write_until_kept(&batch);
            self.unsynced.store(true, Ordering::Relaxed);
            batch.clear();
            for written in waiting.drain(..) {
                written.send(()).ok(); // whoever waited may be gone
            }
        }
        self.file.sync_data().ok();
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
                    // The file may have been taken away under us: a new handle may work where the old does not.
                    if let Ok(file) = open_for_append(&self.path) {
                        self.file = file;
                    }
                }
            }
        }
        if self.is_news(true) {
            tracing::info!(file = %self.path.display(), "the audit log is written again");
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
                file = %self.path.display(), why,
                "the audit log cannot be written; new requests are refused until it can"
            );
        }
        std::thread::sleep(RETRY_EVERY);
    }
}

/// How long to wait before trying a failing disk again.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// Syncs in a thread of its own, so that no request waits for the disk's cache; ends with the writer.
fn sync_every_second(path: PathBuf, unsynced: Weak<AtomicBool>) -> std::io::Result<()> {
    let sync = move || {
        while let Some(unsynced) = unsynced.upgrade() {
            if unsynced.swap(false, Ordering::Relaxed)
                && let Err(error) = File::open(&path).and_then(|file| file.sync_data())
            {
                tracing::warn!(file = %path.display(), %error, "the audit log could not be synced");
            }
            drop(unsynced);
            std::thread::sleep(SYNC_EVERY);
        }
    };
    std::thread::Builder::new()
        .name("audit-sync".to_owned())
        .spawn(sync)
        .map(drop)
}

/// How much time a crash of the machine may cost.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Opens for appending; a line torn by a crash is ended, so that it spoils no other.
fn open_for_append(path: &Path) -> std::io::Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o600)
        .open(path)?;
    if file.metadata()?.len() > 0 {
        let mut last = [0_u8];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use jiff::Timestamp;
    use std::net::Ipv4Addr;

    fn event(id: &str) -> Event {
        let peer = Ipv4Addr::LOCALHOST.into();
        Event::received(
            id,
            "GET",
            "/version",
            &HeaderMap::new(),
            peer,
            Timestamp::UNIX_EPOCH,
        )
    }

    #[tokio::test]
    async fn an_event_is_in_the_file_when_write_returns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit/audit.jsonl");
        let log = AuditLog::open(&path).unwrap();
        log.write(&event("one")).await.unwrap();
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .contains("\"auditID\":\"one\"")
        );
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_torn_line_is_ended_before_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        std::fs::write(&path, "{\"half\":").unwrap();
        let log = AuditLog::open(&path).unwrap();
        log.write(&event("two")).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(serde_json::from_str::<serde_json::Value>(text.lines().nth(1).unwrap()).is_ok());
    }

    #[tokio::test]
    async fn f_07_a_disk_that_takes_nothing_makes_the_log_unhealthy_and_keeps_the_event() {
        let log = AuditLog::open(Path::new("/dev/full")).unwrap();
        let event = event("three");
        let waiting = tokio::time::timeout(Duration::from_millis(300), log.write(&event));
        assert!(
            waiting.await.is_err(),
            "an event is not called written when it is not"
        );
        assert!(!log.healthy());
        let outcome = log.write_or_fail(&event).await;
        assert!(outcome.is_err(), "who must not go on without it is told");
    }
}
