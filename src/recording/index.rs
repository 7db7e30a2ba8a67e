//! The index of recordings: a database that only repeats what the recordings themselves say.
//!
//! A thread of its own keeps it, told by the recorder when a recording begins, is sealed or is
//! removed, and always reads the files: so the index that grew and the one that was built anew are
//! the same. Sessions never wait for it. When it is damaged, it is thrown away and built again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

use super::metadata::Summary;
use super::store::{Disk, Medium, PartFile};
use crate::limits;
use crate::metrics::Metrics;

pub mod files;
pub mod search;
pub mod session;
mod table;

pub use session::{Filter, OPEN, Session, UNSEALED};
pub use table::IndexError;

use table::{Change, Table, change};

/// The name of the index in the data directory.
pub const FILE: &str = "sessions.db";

/// Keeps the index up to date while the gateway runs.
#[derive(Clone, Debug)]
pub struct Indexer {
    notes: SyncSender<Note>,
    /// Something could not be noted: the index has to be compared with the files.
    behind: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Note {
    /// Look at this recording: its day and id.
    Changed(String, String),
    /// Answer when everything before is in the index.
    #[cfg(test)]
    Settle(SyncSender<()>),
}

impl Indexer {
    /// Starts the thread, which first compares the index with the files.
    pub fn start(file: PathBuf, directory: PathBuf, metrics: Metrics) -> io::Result<Self> {
        let (notes, queue) = sync_channel(limits::INDEX_QUEUE_MAX);
        let behind = Arc::new(AtomicBool::new(false));
        let keeper = Keeper {
            file,
            directory,
            queue,
            behind: Arc::clone(&behind),
            metrics,
            table: None,
        };
        std::thread::Builder::new()
            .name("index".to_owned())
            .spawn(move || keeper.run())?;
        Ok(Self { notes, behind })
    }

    /// Notes that a recording changed; never waits. `path` is one of its files.
    pub fn note(&self, path: &Path) {
        let name = path.file_name().and_then(|name| name.to_str());
        let id = name.and_then(|name| name.split('.').next());
        let folders: Option<Vec<&str>> = path
            .ancestors()
            .skip(1)
            .take(3)
            .map(|folder| folder.file_name()?.to_str())
            .collect();
        if let (Some(id), Some([day, month, year])) = (id, folders.as_deref()) {
            let note = Note::Changed(format!("{year}/{month}/{day}"), id.to_owned());
            if self.notes.try_send(note).is_err() {
                self.behind.store(true, Ordering::Release);
            }
        }
    }

    #[cfg(test)]
    fn settle(&self) {
        let (done, wait) = sync_channel(1);
        self.notes.send(Note::Settle(done)).unwrap();
        wait.recv().unwrap();
    }
}

/// The disk, with every sealed or removed recording noted.
pub(super) struct Indexed(pub(super) Indexer);

impl Medium for Indexed {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn PartFile>> {
        Disk.create(path)
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        Disk.write(path, content)?;
        self.0.note(path);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)?;
        self.0.note(path);
        Ok(())
    }
}

/// What the thread knows.
struct Keeper {
    file: PathBuf,
    directory: PathBuf,
    queue: Receiver<Note>,
    behind: Arc<AtomicBool>,
    metrics: Metrics,
    /// Absent while the index cannot be used.
    table: Option<Table>,
}

impl Keeper {
    fn run(mut self) {
        loop {
            if self.table.is_none() || self.behind.swap(false, Ordering::AcqRel) {
                self.mend();
            }
            let patience = if self.table.is_some() {
                limits::INDEX_CHECK_INTERVAL
            } else {
                limits::INDEX_RETRY_INTERVAL
            };
            let first = match self.queue.recv_timeout(patience) {
                Ok(note) => note,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut notes = vec![first];
            notes.extend(self.queue.try_iter().take(limits::INDEX_BATCH));
            self.take(notes);
        }
    }

    /// Opens the index if need be, and compares it with the files.
    fn mend(&mut self) {
        // The second attempt is for an index that the first one had to throw away.
        for _attempt in 0..2 {
            let table = self.table.take();
            let mended = table
                .map_or_else(|| Table::open(&self.file, &self.directory), Ok)
                .and_then(|mut table| {
                    table.reconcile(&self.directory, false)?;
                    Ok(table)
                });
            match mended {
                Ok(table) => {
                    self.table = Some(table);
                    return;
                }
                Err(error) => self.broken(&error),
            }
        }
    }

    fn take(&mut self, notes: Vec<Note>) {
        let mut changes: Vec<(String, String, Change)> = Vec::new();
        let mut failed = None;
        #[cfg(test)]
        let mut waiting = Vec::new();
        for note in notes {
            match note {
                Note::Changed(day, id) => match change(&self.directory, &day, id) {
                    Ok(change) => changes.push(change),
                    Err(error) => failed = Some(error),
                },
                #[cfg(test)]
                Note::Settle(done) => waiting.push(done),
            }
        }
        if let Some(table) = &mut self.table
            && let Err(error) = table.apply(&changes)
        {
            failed = Some(error);
        }
        if let Some(error) = failed {
            self.broken(&error);
            self.mend();
        }
        #[cfg(test)]
        for done in waiting {
            done.send(()).unwrap();
        }
    }

    /// The index is not to be trusted until it was compared with the files again.
    fn broken(&mut self, error: &IndexError) {
        self.table = None;
        self.metrics.index_failed();
        if error.is_damage() {
            tracing::error!(%error, "the index of recordings is damaged; it is built again");
            discard(&self.file);
        } else {
            tracing::warn!(%error, "the index of recordings is behind; it is caught up with as soon as possible");
        }
    }
}

/// Removes the index with the files that `SQLite` keeps beside it.
fn discard(file: &Path) {
    for end in ["", "-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(end);
        if let Err(error) = std::fs::remove_file(&name)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(%error, "the index of recordings cannot be removed");
        }
    }
}

/// Builds the index anew from the recordings; returns how many there are.
pub fn rebuild(file: &Path, directory: &Path) -> Result<usize, IndexError> {
    let built = Table::open(file, directory).and_then(|mut table| table.reconcile(directory, true));
    match built {
        Err(error) if error.is_damage() => {
            discard(file);
            Table::open(file, directory)?.reconcile(directory, true)
        }
        built => built,
    }
}

/// Finds recordings: by the index as far as it goes, by the files themselves for the rest.
#[derive(Clone, Debug)]
pub struct Catalog {
    file: PathBuf,
    directory: PathBuf,
}

impl Catalog {
    /// The recordings in a directory, and their index.
    #[must_use]
    pub fn new(file: PathBuf, directory: PathBuf) -> Self {
        Self { file, directory }
    }

    /// Those of a gateway's data directory. Its index knows where its recordings are.
    #[must_use]
    pub fn of(data_directory: &Path) -> Self {
        let file = data_directory.join(FILE);
        let noted = Table::open_to_read(&file)
            .and_then(|table| table.directory())
            .ok()
            .flatten()
            .map(PathBuf::from)
            .filter(|noted| noted.is_dir());
        let directory = noted.unwrap_or_else(|| data_directory.join("recordings"));
        Self { file, directory }
    }

    /// The index.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Where the recordings are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The recordings that are looked for, the latest first. Without an index this only takes longer.
    pub fn list(&self, filter: &Filter) -> io::Result<Vec<Session>> {
        let mut found = Vec::new();
        if filter.live {
            return Ok(found); // only the gateway knows what goes on
        }
        let mut table = Table::open_to_read(&self.file).ok();
        for day in files::days(&self.directory)? {
            if found.len() >= filter.limit {
                break;
            }
            if !filter.may_be_in(&day) {
                continue;
            }
            let known = table
                .as_ref()
                .and_then(|table| table.at_once(&day, filter).ok());
            if known.is_none() {
                if table.is_some() {
                    tracing::warn!("the index of recordings cannot be read; the files are");
                }
                table = None; // the files have the rest
            }
            let (known, mut sessions) = known.unwrap_or_default();
            let folder = self.directory.join(&day);
            let ids = files::ids(&self.directory, &day)?;
            // What was removed since has no files.
            sessions.retain(|session| ids.binary_search(&session.metadata.id).is_ok());
            for id in ids {
                if known.get(&id) == Some(&true) || !filter.may_be(&id) {
                    continue;
                }
                if let Some(session) = files::read(&folder, &id)?
                    && filter.matches(&session)
                {
                    sessions.push(session.shortened());
                }
            }
            latest_first(&mut sessions);
            found.append(&mut sessions);
        }
        found.truncate(filter.limit);
        Ok(found)
    }

    /// The folder of a recording.
    pub fn folder(&self, id: &str) -> io::Result<Option<PathBuf>> {
        if !files::is_id(id) {
            return Ok(None);
        }
        let noted = Table::open_to_read(&self.file).and_then(|table| table.day(id));
        if let Ok(Some(day)) = noted {
            let folder = self.directory.join(day);
            if !files::parts(&folder, id).is_empty() {
                return Ok(Some(folder));
            }
        }
        files::find(&self.directory, id)
    }

    /// One recording, with its sidecar when it is sealed.
    pub fn get(&self, id: &str) -> io::Result<Option<(Session, Option<Summary>)>> {
        let Some(folder) = self.folder(id)? else {
            return Ok(None);
        };
        let summary = files::summary(&folder, id)?;
        Ok(files::read(&folder, id)?.map(|session| (session, summary)))
    }

    /// The files of a recording, in order; none when it is not there.
    pub fn parts(&self, id: &str) -> io::Result<Vec<PathBuf>> {
        let folder = self.folder(id)?;
        Ok(folder.map_or_else(Vec::new, |folder| files::parts(&folder, id)))
    }
}

/// Puts sessions in the order of lists.
pub fn latest_first(sessions: &mut [Session]) {
    sessions.sort_by(|one, other| {
        let key = |session: &Session| session.metadata.started.as_microsecond();
        (key(other), &other.metadata.id).cmp(&(key(one), &one.metadata.id))
    });
}

#[cfg(test)]
mod tests;
