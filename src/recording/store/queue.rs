//! The threads that write, and what waits for them.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;

use super::block::Blocks;
use super::{Medium, PartFile, Tape};
use crate::limits;

/// What the threads and the tapes share.
pub(super) struct Shared {
    pub(super) medium: Arc<dyn Medium>,
    pub(super) blocks: Blocks,
    /// Bytes that wait for the disk, of all tapes.
    pub(super) waiting: AtomicUsize,
    gathered: Mutex<Gathered>,
    due: Condvar,
    /// Output in bulk, and the parts that it needs.
    pub(super) bulk: Lane,
    /// Recordings that begin: somebody waits to get into a session.
    pub(super) opening: Lane,
    /// Recordings that end, which takes several syncs each.
    pub(super) ending: Lane,
    closing: Condvar,
    unsynced: Mutex<Vec<Unsynced>>,
}

/// A file to sync, and the recording that has failed if that fails.
type Unsynced = (Arc<Tape>, Arc<dyn PartFile>);

#[derive(Default)]
struct Gathered {
    /// Written when they have waited for [`limits::RECORDING_FLUSH_INTERVAL`].
    waiting: Vec<Arc<Tape>>,
    /// When they will have.
    due: Option<Instant>,
    closed: bool,
}

/// What one thread writes as soon as it can: however long that takes, it holds up no keystroke.
#[derive(Default)]
pub(super) struct Lane {
    queue: Mutex<Queue>,
    news: Condvar,
}

#[derive(Default)]
struct Queue {
    tapes: Vec<Arc<Tape>>,
    closed: bool,
}

impl Lane {
    fn push(&self, tape: &Arc<Tape>) {
        self.queue.lock().tapes.push(Arc::clone(tape));
        self.news.notify_one();
    }

    fn close(&self) {
        self.queue.lock().closed = true;
        self.news.notify_one();
    }

    /// The life of the thread.
    pub(super) fn work(&self) {
        loop {
            let mut queue = self.queue.lock();
            let is_idle = |queue: &mut Queue| queue.tapes.is_empty() && !queue.closed;
            self.news.wait_while(&mut queue, is_idle);
            let tapes = std::mem::take(&mut queue.tapes);
            drop(queue);
            if tapes.is_empty() {
                return;
            }
            for tape in tapes {
                tape.write();
            }
        }
    }
}

/// When a tape is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Once more has gathered: a keystroke needs no write of its own.
    Gathered,
    /// So much has gathered that it is worth writing.
    Full,
    Opening,
    Ending,
}

impl Shared {
    pub(super) fn new(medium: Arc<dyn Medium>) -> Self {
        Self {
            medium,
            blocks: Blocks::default(),
            waiting: AtomicUsize::new(0),
            gathered: Mutex::default(),
            due: Condvar::new(),
            bulk: Lane::default(),
            opening: Lane::default(),
            ending: Lane::default(),
            closing: Condvar::new(),
            unsynced: Mutex::default(),
        }
    }

    pub(super) fn close(&self) {
        self.gathered.lock().closed = true;
        self.due.notify_one();
        self.closing.notify_one();
        for lane in [&self.bulk, &self.opening, &self.ending] {
            lane.close();
        }
    }

    pub(super) fn enqueue(&self, tape: &Arc<Tape>, when: When) {
        match when {
            When::Full => self.bulk.push(tape),
            When::Opening => self.opening.push(tape),
            When::Ending => self.ending.push(tape),
            When::Gathered => {
                let mut gathered = self.gathered.lock();
                gathered.waiting.push(Arc::clone(tape));
                let first = gathered.waiting.len() == 1;
                drop(gathered);
                if first {
                    self.due.notify_one();
                }
            }
        }
    }

    pub(super) fn sync_soon(&self, tape: &Arc<Tape>, file: Arc<dyn PartFile>) {
        self.unsynced.lock().push((Arc::clone(tape), file));
    }

    pub(super) fn write_gathered(&self) {
        loop {
            let (tapes, closed) = {
                let mut gathered = self.gathered.lock();
                while !gathered.closed && !is_due(&gathered) {
                    if gathered.waiting.is_empty() {
                        self.due.wait(&mut gathered);
                        continue;
                    }
                    let now = Instant::now();
                    let in_time = || now.checked_add(limits::RECORDING_FLUSH_INTERVAL);
                    let due = gathered.due.or_else(in_time).unwrap_or(now);
                    gathered.due = Some(due);
                    self.due.wait_until(&mut gathered, due.into_std());
                }
                gathered.due = None;
                (std::mem::take(&mut gathered.waiting), gathered.closed)
            };
            if closed && tapes.is_empty() {
                // Tapes in here would keep this, and the medium, for ever.
                drop(std::mem::take(&mut *self.unsynced.lock()));
                return;
            }
            for tape in tapes {
                if closed {
                    tape.write_last();
                } else {
                    tape.write_gathered();
                }
            }
        }
    }

    pub(super) fn sync_all(&self) {
        const EVERY: Duration = Duration::from_secs(1);
        loop {
            {
                let mut gathered = self.gathered.lock();
                let is_open = |gathered: &mut Gathered| !gathered.closed;
                let closed = self.closing.wait_while_for(&mut gathered, is_open, EVERY);
                if !closed.timed_out() {
                    return; // what is sealed from now on is synced by the writer itself
                }
            }
            let files = std::mem::take(&mut *self.unsynced.lock());
            for (tape, file) in files {
                tape.synced();
                if let Err(error) = file.sync() {
                    tape.fail(format!("cannot be synced to disk: {error}"));
                }
            }
        }
    }
}

fn is_due(gathered: &Gathered) -> bool {
    gathered.due.is_some_and(|due| due <= Instant::now())
}
