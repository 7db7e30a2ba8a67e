//! The database behind approvals: `state.db` in the data directory.
//!
//! One thread owns it and runs jobs one after the other, each within one transaction that is on the disk
//! before its result is told (`synchronous=FULL`): what somebody was told has happened, whenever the gateway
//! dies. Rooms that keep state add their tables to [`MIGRATIONS`] and their jobs run here, too.
//!
//! Nothing but requests that are held waits for it, and nobody waits in an endless queue.
//!
//! A gateway keeps `state.lock` while it has the database open: who changes it without a gateway has to be sure that
//! none runs, which would not hear of it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use crate::limits;

/// The name of the database in the data directory.
pub const FILE: &str = "state.db";

/// The tables, version by version. What was released is never changed: a new version is added at the end.
const MIGRATIONS: &[&str] = &[
    "
CREATE TABLE approvals (
  id TEXT NOT NULL PRIMARY KEY,
  state TEXT NOT NULL,
  caller TEXT NOT NULL,
  class TEXT NOT NULL,
  command TEXT,
  asked INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  approval TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX approvals_state ON approvals (state, expires);
CREATE INDEX approvals_class ON approvals (class, state);
CREATE INDEX approvals_asked ON approvals (asked);
CREATE TABLE approval_requests (
  digest TEXT NOT NULL,
  approval TEXT NOT NULL REFERENCES approvals (id) ON DELETE CASCADE,
  PRIMARY KEY (digest, approval)
) STRICT, WITHOUT ROWID;
CREATE INDEX approval_requests_approval ON approval_requests (approval);
",
    "
CREATE TABLE blocks (
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  at INTEGER NOT NULL,
  block TEXT NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
",
];

/// Why the state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error("the database of approvals cannot be used: {0}")]
    Database(#[from] rusqlite::Error),
    /// Its file or folder.
    #[error("the database of approvals cannot be opened: {0}")]
    File(#[from] io::Error),
    /// A row is not what was written.
    #[error("the database of approvals has a row that cannot be read: {0}")]
    Row(#[from] serde_json::Error),
    /// It was written by a later version of the program.
    #[error("the database of approvals has version {0}, which this program does not know")]
    Version(u32),
    /// A gateway has it open.
    #[error("a gateway has the database of this data directory open")]
    InUse,
    /// More jobs wait than the disk can take.
    #[error("too much waits for the database of approvals")]
    Busy,
    /// Whoever asked is gone, so nothing was done.
    #[error("nobody waits for the answer any more")]
    Abandoned,
    /// The thread is gone.
    #[error("the database of approvals is closed")]
    Closed,
}

/// A transaction that is under way.
pub type Work<'a> = Transaction<'a>;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The database. Cheap to clone; the thread ends with the last of them.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: SyncSender<Job>,
}

impl Store {
    /// Opens the database, makes it if need be, and starts its thread.
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        let lock = lock_file(file)?;
        // Waits for somebody who is alone with it, which takes them milliseconds.
        if let Err(error) = lock.lock_shared() {
            tracing::warn!(%error, "the database cannot be locked; do not change it with other programs");
        }
        Self::start(file, lock)
    }

    /// Opens the database for as long as no gateway has it open.
    pub fn open_alone(file: &Path) -> Result<Self, StoreError> {
        let lock = lock_file(file)?;
        match lock.try_lock() {
            Ok(()) => Self::start(file, lock),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    fn start(file: &Path, lock: File) -> Result<Self, StoreError> {
        let mut db = connect(file)?;
        migrate(&mut db)?;
        let (jobs, queue) = sync_channel(limits::STATE_QUEUE_MAX);
        std::thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || {
                run(db, &queue);
                drop(lock);
            })?;
        Ok(Self { jobs })
    }

    /// Runs a job in a transaction of its own. When this returns, what it did is on the disk; when the caller
    /// stops waiting before that, it was not done.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Work<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run_and_tell(job, |_| {}).await
    }

    /// As [`Store::run`]; `tell` is shown what came of it once that is on the disk: in the order of the
    /// transactions, and also when the caller stops waiting in that very moment.
    pub async fn run_and_tell<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Work<'_>) -> Result<T, StoreError> + Send + 'static,
        tell: impl FnOnce(&T) + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let boxed: Job = Box::new(move |db| {
            if reply.is_closed() {
                return; // the client left while this waited
            }
            let result = transact(db, job, || reply.is_closed());
            if let Ok(done) = &result {
                tell(done);
            }
            // Who leaves in this very moment has been told nothing, and what was done stays done.
            let _left = reply.send(result);
        });
        self.jobs.try_send(boxed).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Closed,
        })?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

fn run(mut db: Connection, queue: &Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        job(&mut db);
    }
}

fn transact<T>(
    db: &mut Connection,
    job: impl FnOnce(&Work<'_>) -> Result<T, StoreError>,
    abandoned: impl Fn() -> bool,
) -> Result<T, StoreError> {
    let work = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let result = job(&work)?;
    if abandoned() {
        return Err(StoreError::Abandoned); // dropping the transaction undoes it
    }
    work.commit()?;
    Ok(result)
}

fn connect(file: &Path) -> Result<Connection, StoreError> {
    make(file)?;
    let db = Connection::open(file)?;
    db.busy_timeout(limits::STATE_BUSY_TIMEOUT)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    Ok(db)
}

/// A file of its own: to close the database's own would drop the locks of `SQLite` (fcntl(2)).
fn lock_file(file: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(file.with_extension("lock"))
}

/// Makes the file before `SQLite` does, which would make it readable for others.
fn make(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

fn migrate(db: &mut Connection) -> Result<(), StoreError> {
    let work = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: u32 = work.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let newest = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if version > newest {
        return Err(StoreError::Version(version));
    }
    for migration in MIGRATIONS.iter().skip(version as usize) {
        work.execute_batch(migration)?;
    }
    work.pragma_update(None, "user_version", newest)?;
    work.commit()?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
