//! The sessions that are open now: who may want to list them, look over their shoulder, or end one.
//!
//! Every session is here, recorded or not; only a recorded one can be followed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{broadcast, oneshot};
use tokio::time::Instant;

use super::metadata::Metadata;
use crate::limits;
use crate::wire::asciicast::{Events, MARKER, Version};

/// The open sessions of this gateway.
#[derive(Debug, Default)]
pub struct Live {
    sessions: Mutex<BTreeMap<String, Arc<Entry>>>,
}

/// An open session, for lists.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveSession {
    /// As in the header of its recording.
    #[serde(flatten)]
    pub metadata: Metadata,
    /// Whether it is recorded, and so can be followed.
    pub recorded: bool,
    /// How long it has been open, in milliseconds.
    pub open_ms: u64,
    /// Bytes on its recording so far.
    pub recorded_bytes: u64,
    /// Who follows it now.
    pub followers: usize,
}

/// An end that an operator ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Who.
    pub by: String,
    /// Why; the user reads it.
    pub reason: String,
}

#[derive(Debug)]
struct Entry {
    metadata: Metadata,
    /// The header line and the format; absent when the session is not recorded.
    tape: Option<(Bytes, Version)>,
    opened: Instant,
    recorded_bytes: AtomicU64,
    /// Whole lines. Dropped with the session's `Broadcast`, so that followers see the end.
    lines: Mutex<Option<broadcast::Sender<Bytes>>>,
    kill: Mutex<Option<oneshot::Sender<Kill>>>,
}

impl Live {
    /// Every open session, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<LiveSession> {
        let entries: Vec<Arc<Entry>> = self.sessions.lock().values().cloned().collect();
        entries.iter().map(|entry| entry.describe()).collect()
    }

    /// One open session.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<LiveSession> {
        let entry = self.sessions.lock().get(id).cloned()?;
        Some(entry.describe())
    }

    /// Follows a recorded session: first its header line, then its lines from now on.
    #[must_use]
    pub fn follow(&self, id: &str) -> Option<Follower> {
        let entry = self.sessions.lock().get(id).cloned()?;
        let (header, version) = entry.tape.clone()?;
        let lines = entry.lines.lock().as_ref()?.subscribe();
        Some(Follower {
            first: Some(header),
            lines,
            version,
            opened: entry.opened,
        })
    }

    /// Ends a session; false when it is not open, or is ending already.
    pub fn kill(&self, id: &str, kill: Kill) -> bool {
        let Some(entry) = self.sessions.lock().get(id).cloned() else {
            return false;
        };
        let Some(ended) = entry.kill.lock().take() else {
            return false;
        };
        ended.send(kill).is_ok()
    }

    /// Enters a session that opens. It leaves the list when the [`Place`] is dropped; the receiver
    /// tells of an end that was ordered.
    pub fn enter(
        self: &Arc<Self>,
        metadata: Metadata,
        tape: Option<(Bytes, Version)>,
    ) -> (Place, oneshot::Receiver<Kill>) {
        let (kill, killed) = oneshot::channel();
        let (lines, _) = broadcast::channel(limits::RECORDING_FOLLOW_CHUNKS_MAX);
        let id = metadata.id.clone();
        let entry = Arc::new(Entry {
            metadata,
            tape,
            opened: Instant::now(),
            recorded_bytes: AtomicU64::new(0),
            lines: Mutex::new(Some(lines.clone())),
            kill: Mutex::new(Some(kill)),
        });
        self.sessions.lock().insert(id.clone(), Arc::clone(&entry));
        let place = Place {
            live: Arc::clone(self),
            id,
            entry,
            lines,
        };
        (place, killed)
    }
}

impl Entry {
    fn describe(&self) -> LiveSession {
        let open_ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        LiveSession {
            metadata: self.metadata.clone(),
            recorded: self.tape.is_some(),
            open_ms,
            recorded_bytes: self.recorded_bytes.load(Ordering::Relaxed),
            followers: self
                .lines
                .lock()
                .as_ref()
                .map_or(0, broadcast::Sender::receiver_count),
        }
    }
}

/// A session's place on the list.
#[derive(Debug)]
pub struct Place {
    live: Arc<Live>,
    id: String,
    entry: Arc<Entry>,
    lines: broadcast::Sender<Bytes>,
}

impl Place {
    /// Shows lines that were just recorded to whoever follows; costs nothing when nobody does.
    pub fn show(&self, lines: &[u8]) {
        let length = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        self.entry
            .recorded_bytes
            .fetch_add(length, Ordering::Relaxed);
        if self.lines.receiver_count() > 0 {
            // Fails only when the last follower has just left.
            drop(self.lines.send(Bytes::copy_from_slice(lines)));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.live.sessions.lock().remove(&self.id);
        // A sender in the entry would keep followers waiting for a session that is over.
        self.entry.lines.lock().take();
    }
}

/// Looks over the shoulder of a session.
#[derive(Debug)]
pub struct Follower {
    first: Option<Bytes>,
    lines: broadcast::Receiver<Bytes>,
    version: Version,
    opened: Instant,
}

impl Follower {
    /// The next whole lines; `None` when the session is over. A follower that is too slow misses lines
    /// and gets a marker in their place: it never slows the session.
    pub async fn next(&mut self) -> Option<Bytes> {
        if let Some(header) = self.first.take() {
            return Some(header);
        }
        match self.lines.recv().await {
            Ok(lines) => Some(lines),
            Err(broadcast::error::RecvError::Closed) => None,
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                let at = match self.version {
                    Version::V2 => self.opened.elapsed(),
                    Version::V3 => Duration::ZERO,
                };
                let mut line = Vec::new();
                let text = format!("portcullis: {missed} pieces were skipped; follow faster");
                Events::new(self.version).put(&mut line, at, MARKER, &text);
                Some(Bytes::from(line))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(id: &str) -> Metadata {
        Metadata {
            id: id.to_owned(),
            ..Metadata::default()
        }
    }

    fn tape() -> (Bytes, Version) {
        (Bytes::from_static(b"header\n"), Version::V2)
    }

    #[tokio::test(start_paused = true)]
    async fn a_follower_sees_the_header_the_lines_and_the_end() {
        let live = Arc::new(Live::default());
        let (place, _killed) = live.enter(metadata("a"), Some(tape()));
        place.show(b"before\n");
        let mut follower = live.follow("a").unwrap();
        assert_eq!(live.list()[0].followers, 1);
        place.show(b"after\n");
        assert_eq!(follower.next().await.unwrap(), "header\n");
        assert_eq!(follower.next().await.unwrap(), "after\n");
        drop(place);
        assert_eq!(follower.next().await, None);
        assert!(live.list().is_empty() && live.follow("a").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_follower_gets_a_marker_and_slows_nobody() {
        let live = Arc::new(Live::default());
        let (place, _killed) = live.enter(metadata("a"), Some(tape()));
        let mut follower = live.follow("a").unwrap();
        for _ in 0..limits::RECORDING_FOLLOW_CHUNKS_MAX + 3 {
            place.show(b"line\n");
        }
        assert_eq!(follower.next().await.unwrap(), "header\n");
        let marker = follower.next().await.unwrap();
        assert!(
            marker.starts_with(b"[0.000000,\"m\",\"portcullis: 3 pieces"),
            "{marker:?}"
        );
        assert_eq!(follower.next().await.unwrap(), "line\n");
    }

    #[tokio::test]
    async fn a_session_is_killed_once_and_with_a_reason() {
        let live = Arc::new(Live::default());
        let (_place, killed) = live.enter(metadata("a"), None);
        let kill = Kill {
            by: "root".to_owned(),
            reason: "lunch".to_owned(),
        };
        assert!(!live.kill("b", kill.clone()));
        assert!(live.kill("a", kill.clone()));
        assert!(!live.kill("a", kill.clone()));
        assert_eq!(killed.await.unwrap(), kill);
        assert!(live.follow("a").is_none(), "it is not recorded");
    }
}
