//! Appends events to the log: in order, never silently losing one.
//!
//! One thread owns the file. Requests hand over their lines through a bounded queue and wait until the
//! line is written, so a slow disk slows requests and does not grow memory; a task gathers what is there
//! at a time. While the file cannot be written the log is unhealthy and the gateway refuses to start anything
//! new (threats D-18, F-07). Another thread syncs and seals once a second; a crash of the machine may lose that
//! second.

mod gather;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::Event;
use super::chain::Link;
use super::journal::Journal;
use super::seal::Statement;
use super::segments::private;
use crate::limits;
use writer::Writer;

/// Where the log is, and when a segment of it is full.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file that is written.
    pub file: PathBuf,
    /// The file of the key that segments are sealed with.
    pub key: PathBuf,
    /// Bytes after which a segment is full; it may hold one batch more.
    pub segment_bytes: u64,
    /// Time after which a segment is full.
    pub segment_age: Duration,
}

impl Settings {
    /// The log of this file, with the key in this folder and the usual bounds.
    pub fn new(file: &Path, data_directory: &Path) -> Self {
        Self {
            file: file.to_owned(),
            key: data_directory.join(KEY_FILE),
            segment_bytes: limits::AUDIT_SEGMENT_BYTES_DEFAULT,
            segment_age: limits::AUDIT_SEGMENT_AGE_DEFAULT,
        }
    }
}

/// The name of the log in the data directory, if the configuration says nothing.
pub const FILE: &str = "audit.jsonl";
/// The name of the key's file in the data directory.
pub const KEY_FILE: &str = "audit.key";

/// The audit log of this gateway.
#[derive(Clone, Debug)]
pub struct AuditLog {
    lines: mpsc::Sender<Entry>,
    healthy: watch::Receiver<bool>,
    unsealed: Arc<Unsealed>,
}

/// Since when something is in the file that is not on the disk and sealed yet.
#[derive(Debug, Default)]
struct Unsealed(Mutex<Option<Instant>>);

impl Unsealed {
    fn begin(&self) {
        self.0.lock().get_or_insert_with(Instant::now);
    }

    /// Since when; from now on nothing, until more comes.
    fn take(&self) -> Option<Instant> {
        self.0.lock().take()
    }

    /// It could not be sealed.
    fn put_back(&self, since: Instant) {
        *self.0.lock() = Some(since);
    }
}

/// The audit log could not take an event.
#[derive(Debug, Error)]
#[error("the audit log cannot be written")]
pub struct AuditError;

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The event is in the file: it survives the gateway.
    Written,
    /// It is on the disk and sealed: it survives the machine.
    Sealed,
}

#[derive(Debug)]
struct Entry {
    /// Empty for who only waits for the seal.
    line: Vec<u8>,
    /// Told when that has come; dropped when it cannot.
    waits: Option<(oneshot::Sender<()>, Until)>,
}

impl AuditLog {
    /// Opens (or creates, with mode 0600) the file and starts what writes it. Within a tokio runtime.
    pub fn open(settings: &Settings) -> std::io::Result<Self> {
        let (journal, file, standing) = if is_stream(&settings.file) {
            // What cannot be read again cannot be sealed: its lines are chained, from this start on.
            let file = private().append(true).open(&settings.file)?;
            (
                None,
                file,
                Statement::begin(1, Link::GENESIS, Timestamp::now()),
            )
        } else {
            let (journal, file) = Journal::open(&settings.file, &settings.key)?;
            let standing = journal.standing();
            (Some(Arc::new(journal)), file, standing)
        };
        let (unsealed, astray) = (Arc::<Unsealed>::default(), Arc::default());
        if let Some(journal) = &journal {
            let flags = (Arc::clone(&unsealed), Arc::clone(&astray));
            writer::seal_every_second(Arc::downgrade(journal), flags)?;
        }
        let (health, healthy) = watch::channel(true);
        let writer = Writer {
            settings: settings.clone(),
            file,
            journal,
            standing,
            rotate_after: Timestamp::MIN,
            health,
            unsealed: Arc::clone(&unsealed),
            astray,
        };
        let (batches, queue) = mpsc::channel(1);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(queue))?;
        let (lines, handed_over) = mpsc::channel(limits::AUDIT_QUEUE_LINES_MAX);
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends after the last request, so drain waits for `seal` instead"
        )]
        tokio::spawn(gather::gather(handed_over, batches));
        Ok(Self {
            lines,
            healthy,
            unsealed,
        })
    }

    /// Whether events can be kept at the moment; when not, nothing new may start.
    pub fn healthy(&self) -> bool {
        *self.healthy.borrow()
    }

    /// Events waiting to be written.
    pub fn queued(&self) -> usize {
        self.lines.max_capacity() - self.lines.capacity()
    }

    /// For how long the oldest event has been in the file that is not on the disk and sealed; nothing where none is.
    pub fn unsealed_for(&self) -> Duration {
        let since = *self.unsealed.0.lock();
        since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// Keeps an event; returns when it is in the file.
    pub async fn write(&self, event: &Event) -> Result<(), AuditError> {
        self.keep(event.line(), Until::Written).await
    }

    async fn keep(&self, line: Vec<u8>, until: Until) -> Result<(), AuditError> {
        let place = self.place().await?;
        let kept = place.hand_over(line, until);
        kept.await.map_err(|_| AuditError)
    }

    /// Keeps an event that something else waits for, and gives up as soon as the log cannot be
    /// written; the event is then written later.
    pub async fn write_or_fail(&self, event: &Event, until: Until) -> Result<(), AuditError> {
        tokio::select! {
            biased;
            kept = self.keep(event.line(), until) => kept,
            () = self.unwritable() => Err(AuditError),
        }
    }

    /// Resolves as soon as the log cannot be written.
    pub async fn unwritable(&self) {
        let mut healthy = self.healthy.clone();
        healthy.wait_for(|healthy| !healthy).await.ok(); // it cannot either when the thread is gone
    }

    /// Waits until everything that was handed over is on the disk and sealed.
    pub async fn seal(&self) -> Result<(), AuditError> {
        self.keep(Vec::new(), Until::Sealed).await
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
                    waits: None,
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
        self.hand_over(event.line(), Until::Written)
    }

    fn hand_over(self, line: Vec<u8>, until: Until) -> oneshot::Receiver<()> {
        let (kept, done) = oneshot::channel();
        self.0.send(Entry {
            line,
            waits: Some((kept, until)),
        });
        done
    }
}

/// A device or a pipe, such as `/dev/stdout`.
fn is_stream(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
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

    fn settings(file: &Path) -> Settings {
        Settings::new(file, file.parent().unwrap())
    }

    #[tokio::test]
    async fn an_event_is_in_the_file_when_write_returns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit/audit.jsonl");
        let log = AuditLog::open(&settings(&path)).unwrap();
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
        let log = AuditLog::open(&settings(&path)).unwrap();
        log.write(&event("two")).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(serde_json::from_str::<serde_json::Value>(text.lines().nth(1).unwrap()).is_ok());
    }

    #[tokio::test]
    async fn f_07_a_disk_that_takes_nothing_makes_the_log_unhealthy_and_keeps_the_event() {
        let log = AuditLog::open(&settings(Path::new("/dev/full"))).unwrap();
        let event = event("three");
        let waiting = tokio::time::timeout(Duration::from_millis(300), log.write(&event));
        assert!(
            waiting.await.is_err(),
            "an event is not called written when it is not"
        );
        assert!(!log.healthy());
        let outcome = log.write_or_fail(&event, Until::Written).await;
        assert!(outcome.is_err(), "who must not go on without it is told");
    }

    fn sealed_lines(folder: &Path) -> u64 {
        let segments = super::super::segments::Segments::of(&folder.join(FILE));
        let seal = segments.read_seal(1).unwrap().unwrap();
        Statement::unverified(&seal).unwrap().lines
    }

    #[tokio::test]
    async fn what_is_asked_for_strictly_is_sealed_first() {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::open(&settings(&folder.path().join(FILE))).unwrap();
        for lines in 1..=5 {
            let kept = log.write_or_fail(&event("strict"), Until::Sealed).await;
            kept.unwrap();
            assert_eq!(sealed_lines(folder.path()), lines);
        }
    }

    #[tokio::test]
    async fn f_07_where_nothing_can_be_sealed_only_what_depends_on_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let log = AuditLog::open(&settings(&folder.path().join(FILE))).unwrap();
        std::fs::create_dir(folder.path().join("audit-00000001.jsonl.seal.new")).unwrap();
        let refused = log.write_or_fail(&event("strict"), Until::Sealed).await;
        assert!(refused.is_err());
        let kept = log.write_or_fail(&event("other"), Until::Written).await;
        kept.unwrap();
        assert!(log.healthy() && sealed_lines(folder.path()) == 0);
        std::fs::remove_dir(folder.path().join("audit-00000001.jsonl.seal.new")).unwrap();
        log.seal().await.unwrap();
        assert_eq!(
            sealed_lines(folder.path()),
            2,
            "what was refused stays on record"
        );
    }

    /// Whether the thread that seals may have noticed before anybody asked, so long after the log was opened.
    fn seals_by_itself(began: Instant) -> bool {
        began.elapsed() >= writer::SEAL_EVERY
    }

    #[tokio::test]
    async fn f_07_a_file_taken_away_under_the_gateway_is_made_anew_and_missed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let began = Instant::now();
        let log = AuditLog::open(&settings(&path)).unwrap();
        log.write(&event("one")).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let refused = log.write_or_fail(&event("two"), Until::Sealed).await;
        assert!(refused.is_err() || seals_by_itself(began));
        log.write(&event("three")).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("three"), "{text}");
        super::super::journal::tests::prove(folder.path()).unwrap_err();
    }

    #[tokio::test]
    async fn f_07_what_is_asked_for_strictly_works_again_once_a_lost_file_is_made_anew() {
        let acts: [fn(&Path); 3] = [
            |file| std::fs::rename(file, file.with_extension("away")).unwrap(),
            |file| std::fs::write(file, "").unwrap(),
            |file| {
                let edited = file.with_extension("edited");
                let text = std::fs::read_to_string(file).unwrap();
                std::fs::write(&edited, text.replace("/version", &"/long".repeat(99))).unwrap();
                std::fs::rename(edited, file).unwrap();
            },
        ];
        for act in acts {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(FILE);
            let began = Instant::now();
            let log = AuditLog::open(&settings(&path)).unwrap();
            for id in ["one", "two", "three"] {
                log.write(&event(id)).await.unwrap();
            }
            let segments = super::super::segments::Segments::of(&path);
            let mut follower = super::super::follow::Follower::from_end(segments).unwrap();
            assert!(follower.advance().unwrap().is_none());
            act(&path);
            let refused = log.write_or_fail(&event("four"), Until::Sealed).await;
            assert!(refused.is_err() || seals_by_itself(began));
            for id in ["five", "six"] {
                let kept = log.write_or_fail(&event(id), Until::Sealed).await;
                kept.unwrap();
            }
            assert!(log.healthy());
            let read = std::iter::from_fn(|| follower.advance().unwrap());
            let ids = ["four", "five", "six"].map(|id| format!("\"auditID\":\"{id}\""));
            let read: Vec<String> = read.map(|line| String::from_utf8(line).unwrap()).collect();
            assert_eq!(read.len(), ids.len(), "{read:?}");
            for (line, id) in read.iter().zip(&ids) {
                assert!(line.contains(id), "{line}");
            }
            assert_eq!((follower.place().segment, follower.behind()), (2, 0));
            let flaw = super::super::journal::tests::prove(folder.path()).unwrap_err();
            assert_eq!(flaw.file, folder.path().join("audit-00000001.jsonl"));
        }
    }

    /// The disk takes nothing, and somebody moves the file to another one: what waits comes into the next segment.
    #[tokio::test]
    async fn f_07_a_batch_goes_on_in_the_file_that_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let (journal, _) = Journal::open(&path, &folder.path().join(KEY_FILE)).unwrap();
        std::fs::remove_file(&path).unwrap();
        let writer = Writer {
            settings: settings(&path),
            file: private().append(true).open("/dev/full").unwrap(),
            standing: journal.standing(),
            journal: Some(Arc::new(journal)),
            rotate_after: Timestamp::MIN,
            health: watch::channel(true).0,
            unsealed: Arc::default(),
            astray: Arc::default(),
        };
        let (batches, queue) = mpsc::channel(1);
        let thread = std::thread::spawn(move || writer.run(queue));
        for id in ["one", "two"] {
            let (written, in_file) = oneshot::channel();
            let lines = vec![event(id).line(), event("more").line()];
            let (sealed, on_disk) = oneshot::channel();
            let batch = gather::Batch {
                lines,
                written,
                sealed: Some(sealed),
            };
            batches.send(batch).await.unwrap();
            in_file.await.unwrap();
            on_disk.await.unwrap();
        }
        drop(batches);
        thread.join().unwrap();
        let proof = super::super::journal::tests::prove(folder.path()).unwrap();
        assert_eq!((proof.last_segment, proof.lines), (2, 4));
    }

    #[tokio::test]
    async fn a_full_segment_is_followed_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let small = Settings {
            segment_bytes: 1,
            ..settings(&folder.path().join(FILE))
        };
        let log = AuditLog::open(&small).unwrap();
        for id in ["one", "two", "three"] {
            log.write(&event(id)).await.unwrap();
        }
        let proof = super::super::journal::tests::prove(folder.path()).unwrap();
        let lines = proof.lines + proof.unsealed_lines;
        assert_eq!((proof.last_segment, lines), (3, 3));
    }
}
