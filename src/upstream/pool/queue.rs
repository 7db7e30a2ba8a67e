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
    has_room: bool,
}

impl Count {
    /// Whether more wait than those connections are for that are being opened.
    fn has_surplus(&self) -> bool {
        self.dialing * UPSTREAM_STREAMS_MAX < self.waiting
    }
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
        (count.has_surplus() && open + count.dialing < UPSTREAM_CONNECTIONS_MAX).then(|| {
            count.dialing += 1;
            Dialing {
                queue: self.0,
                has_room: false,
            }
        })
    }

    /// Whether there is no use in waiting for the connections that are being opened: they are for others.
    pub(super) fn is_surplus(&self) -> bool {
        self.0.count.lock().has_surplus()
    }

    /// Ready when there is something to look at again, counted from when it is first polled or enabled.
    pub(super) fn changed(&self) -> Notified<'a> {
        self.0.changed.notified()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.count.lock().waiting -= 1;
    }
}

impl Dialing<'_> {
    /// There is a connection with room for others: as many look again.
    pub(super) fn opened(mut self) {
        self.has_room = true;
    }
}

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        let mut count = self.queue.count.lock();
        count.dialing -= 1;
        // For all but those for whom there is room now others are being opened.
        let rest = count.waiting.saturating_sub(UPSTREAM_STREAMS_MAX);
        let enough = rest <= count.dialing * UPSTREAM_STREAMS_MAX;
        drop(count);
        if self.has_room && enough {
            (1..UPSTREAM_STREAMS_MAX).for_each(|_| self.queue.changed.notify_one());
        } else {
            self.queue.changed.notify_waiters();
        }
    }
}
