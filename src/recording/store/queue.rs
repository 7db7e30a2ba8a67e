//! The threads that write, and what waits for them.

use std::sync::Arc;
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
    queue: Mutex<Queue>,
    /// For the thread that writes what has gathered.
    gathered: Condvar,
    /// For the one that writes in bulk: however long that takes, it holds up no keystroke.
    bulk: Condvar,
    closing: Condvar,
    unsynced: Mutex<Vec<Unsynced>>,
}

/// A file to sync, and the recording that has failed if that fails.
type Unsynced = (Arc<Tape>, Arc<dyn PartFile>);

#[derive(Default)]
struct Queue {
    /// Written when they have waited for [`limits::RECORDING_FLUSH_INTERVAL`].
    waiting: Vec<Arc<Tape>>,
    /// When they will have.
    due: Option<Instant>,
    /// Somebody waits for these.
    urgent: Vec<Arc<Tape>>,
    /// So much has gathered that it is worth writing.
    full: Vec<Arc<Tape>>,
    closed: bool,
}

/// When a tape is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Gathered,
    Urgent,
    Full,
}

impl Shared {
    pub(super) fn new(medium: Arc<dyn Medium>) -> Self {
        Self {
            medium,
            blocks: Blocks::default(),
            queue: Mutex::default(),
            gathered: Condvar::new(),
            bulk: Condvar::new(),
            closing: Condvar::new(),
            unsynced: Mutex::default(),
        }
    }

    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        for thread in [&self.gathered, &self.bulk, &self.closing] {
            thread.notify_all();
        }
    }

    pub(super) fn enqueue(&self, tape: &Arc<Tape>, when: When) {
        let mut queue = self.queue.lock();
        let (list, thread) = match when {
            When::Gathered => (&mut queue.waiting, &self.gathered),
            When::Urgent => (&mut queue.urgent, &self.gathered),
            When::Full => (&mut queue.full, &self.bulk),
        };
        let first = list.is_empty();
        list.push(Arc::clone(tape));
        drop(queue);
        if first {
            thread.notify_one();
        }
    }

    pub(super) fn sync_soon(&self, tape: &Arc<Tape>, file: Arc<dyn PartFile>) {
        self.unsynced.lock().push((Arc::clone(tape), file));
    }

    /// Lets small pieces gather: a keystroke needs no write of its own.
    pub(super) fn write_gathered(&self) {
        loop {
            let (urgent, waiting) = {
                let mut queue = self.queue.lock();
                while queue.urgent.is_empty() && !queue.closed && !is_due(&queue) {
                    if queue.waiting.is_empty() {
                        self.gathered.wait(&mut queue);
                        continue;
                    }
                    let now = Instant::now();
                    let in_time = || now.checked_add(limits::RECORDING_FLUSH_INTERVAL);
                    let due = queue.due.or_else(in_time).unwrap_or(now);
                    queue.due = Some(due);
                    self.gathered.wait_until(&mut queue, due.into_std());
                }
                let waiting = if queue.closed || is_due(&queue) {
                    queue.due = None;
                    std::mem::take(&mut queue.waiting)
                } else {
                    Vec::new()
                };
                let urgent = std::mem::take(&mut queue.urgent);
                if queue.closed && urgent.is_empty() && waiting.is_empty() {
                    drop(queue);
                    // Tapes in here would keep this, and the medium, for ever.
                    drop(std::mem::take(&mut *self.unsynced.lock()));
                    return;
                }
                (urgent, waiting)
            };
            for tape in urgent {
                tape.write();
            }
            for tape in waiting {
                tape.write_gathered();
            }
        }
    }

    pub(super) fn write_bulk(&self) {
        loop {
            let tapes = {
                let mut queue = self.queue.lock();
                while queue.full.is_empty() && !queue.closed {
                    self.bulk.wait(&mut queue);
                }
                std::mem::take(&mut queue.full)
            };
            if tapes.is_empty() {
                return;
            }
            for tape in tapes {
                tape.write();
            }
        }
    }

    pub(super) fn sync_all(&self) {
        const EVERY: Duration = Duration::from_secs(1);
        loop {
            {
                let mut queue = self.queue.lock();
                let closed = self
                    .closing
                    .wait_while_for(&mut queue, |queue| !queue.closed, EVERY);
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

fn is_due(queue: &Queue) -> bool {
    queue.due.is_some_and(|due| due <= Instant::now())
}
