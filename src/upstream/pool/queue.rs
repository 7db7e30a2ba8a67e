//! Who waits for a connection, and how many are being opened for them.
//!
//! A thousand watches that begin at the same moment need 13 connections, and those one after the other would
//! take 13 times as long as one. So one is opened for each [`UPSTREAM_STREAMS_MAX`] that wait, all at once, by
//! the first of them; the others look again when one is open, or could not be opened.

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::limits::{UPSTREAM_CONNECTIONS_MAX, UPSTREAM_STREAMS_MAX};

/// Those who wait for a connection of one kind.
#[derive(Debug, Default)]
pub(super) struct Queue {
    count: Mutex<Count>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Count {
    /// Those who open a connection among them.
    waiting: usize,
    dialing: usize,
}

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiting<'a>(&'a Queue);

/// One who opens a connection, for others too.
#[derive(Debug)]
pub(super) struct Dialing<'a> {
    queue: &'a Queue,
    opened: bool,
}

impl Queue {
    pub(super) fn join(&self) -> Waiting<'_> {
        self.count.lock().waiting += 1;
        Waiting(self)
    }
}

impl<'a> Waiting<'a> {
    /// The right to open a connection beside the `open` ones, unless enough are being opened.
    pub(super) fn dial(&self, open: usize) -> Option<Dialing<'a>> {
        let mut count = self.0.count.lock();
        let wanted = count.dialing * UPSTREAM_STREAMS_MAX < count.waiting;
        (wanted && open + count.dialing < UPSTREAM_CONNECTIONS_MAX).then(|| {
            count.dialing += 1;
            Dialing {
                queue: self.0,
                opened: false,
            }
        })
    }

    /// Ready when there is something to look at again, counted from when it is first polled or enabled.
    pub(super) fn changed(&self) -> Notified<'a> {
        self.0.changed.notified()
    }

    /// Everyone looks again.
    pub(super) fn tell_all(&self) {
        self.0.changed.notify_waiters();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.count.lock().waiting -= 1;
    }
}

impl Dialing<'_> {
    /// There is a connection: as many look again as find room on it.
    pub(super) fn opened(mut self) {
        self.opened = true;
    }
}

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        self.queue.count.lock().dialing -= 1;
        if self.opened {
            for _ in 1..UPSTREAM_STREAMS_MAX {
                self.queue.changed.notify_one();
            }
        } else {
            self.queue.changed.notify_waiters();
        }
    }
}
