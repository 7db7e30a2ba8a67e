use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;
use crate::limits;
use crate::policy::RecordMode;
use crate::session::{
    self, EndReason, Ending, Protocol, Session, SessionEvent, Side, StreamType, Streams, Tap,
};
use crate::wire::asciicast::Event;
use crate::wire::channel;
use crate::wire::websocket::{MessageType, put_message};
use fixtures::{data, output, report};
use store::PartFile;

mod bulk;
mod bytes;
mod crash;
pub(crate) mod fixtures;
mod relayed;

/// A disk with faults to order.
#[derive(Default)]
struct Shelf {
    files: Mutex<BTreeMap<PathBuf, Arc<Book>>>,
    room: Mutex<Option<usize>>,
    stuck: Mutex<bool>,
    unstuck: Condvar,
    /// Only pieces of so many bytes get stuck.
    sticks_from: AtomicUsize,
    /// Syncs get stuck too.
    syncs_stick: AtomicBool,
    syncs_fail: AtomicBool,
    refuses: AtomicBool,
}

struct Book {
    shelf: Arc<Shelf>,
    content: Mutex<Vec<u8>>,
}

struct OnShelf(Arc<Shelf>);

impl Medium for OnShelf {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn PartFile>> {
        if self.0.refuses.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let book = Arc::new(Book {
            shelf: Arc::clone(&self.0),
            content: Mutex::default(),
        });
        self.0
            .files
            .lock()
            .insert(path.to_owned(), Arc::clone(&book));
        Ok(book)
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.create(path)?.append(content)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.files.lock().remove(path);
        Ok(())
    }
}

impl PartFile for Book {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut stuck = self.shelf.stuck.lock();
        if bytes.len() >= self.shelf.sticks_from.load(Ordering::Relaxed) {
            self.shelf.unstuck.wait_while(&mut stuck, |stuck| *stuck);
        }
        let mut room = self.shelf.room.lock();
        let fits = room.unwrap_or(usize::MAX).min(bytes.len());
        if let Some(room) = &mut *room {
            *room -= fits;
        }
        self.content.lock().extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.content
            .lock()
            .truncate(usize::try_from(length).unwrap());
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.shelf.syncs_stick.load(Ordering::Relaxed) {
            let mut stuck = self.shelf.stuck.lock();
            self.shelf.unstuck.wait_while(&mut stuck, |stuck| *stuck);
        }
        if self.shelf.syncs_fail.load(Ordering::Relaxed) {
            return Err(io::Error::other("lost"));
        }
        Ok(())
    }
}

impl Shelf {
    fn read(&self, end: &str) -> Option<String> {
        let files = self.files.lock();
        let (_, book) = files.iter().find(|(path, _)| path.ends_with(end))?;
        let content = book.content.lock().clone();
        Some(String::from_utf8(content).unwrap())
    }

    fn stick(&self, stuck: bool) {
        *self.stuck.lock() = stuck;
        self.unstuck.notify_all();
    }
}

const ID: &str = "0193-id";

fn settings(directory: &Path) -> Settings {
    Settings {
        directory: directory.to_owned(),
        format: Version::V2,
        max_bytes: 1 << 30,
        part_bytes: 1 << 30,
    }
}

fn metadata() -> Metadata {
    Metadata {
        id: ID.to_owned(),
        kind: "exec".to_owned(),
        namespace: "shop".to_owned(),
        pod: "web-0".to_owned(),
        command: vec!["sh".to_owned(), "-c".to_owned(), "echo hi".to_owned()],
        started: "2026-11-20T23:59:59Z".parse().unwrap(),
        ..Metadata::default()
    }
}

/// A session with input, all of which has to be recorded.
fn with_input() -> (Metadata, RecordObligation) {
    let asked = Metadata {
        stdin: true,
        ..metadata()
    };
    let obligation = RecordObligation {
        stdin: true,
        ..RecordObligation::new(RecordMode::Required)
    };
    (asked, obligation)
}

fn on_shelf(change: impl FnOnce(&mut Settings)) -> (Arc<Shelf>, Recorder) {
    let shelf = Arc::new(Shelf::default());
    let mut settings = settings(Path::new("/tapes"));
    change(&mut settings);
    let medium = Arc::new(OnShelf(Arc::clone(&shelf)));
    let recorder = Recorder::on(medium, settings, Metrics::new().0).unwrap();
    (shelf, recorder)
}

async fn begin(recorder: &Recorder, mode: RecordMode) -> Recording {
    let obligation = RecordObligation::new(mode);
    let (mut recording, _) = recorder.open(metadata(), obligation).await.unwrap();
    recording.begin();
    recording
}

/// Everything a cast shows, and its markers.
fn shown(cast: &str) -> (String, Vec<String>) {
    let (mut text, mut markers) = (String::new(), Vec::new());
    for line in cast.lines().skip(1) {
        let event = Event::parse(line.as_bytes()).unwrap();
        match event.code.as_str() {
            "o" => text.push_str(&event.data),
            "m" => markers.push(event.data),
            _ => {}
        }
    }
    (text, markers)
}

/// The sidecar says what the file has, and that ends with a line.
fn assert_sound(cast: &str, summary: &Summary) {
    let part = summary.parts.last().unwrap();
    assert!(cast.ends_with('\n'));
    assert_eq!(part.bytes, cast.len() as u64);
    assert_eq!(part.blake3, blake3::hash(cast.as_bytes()).to_hex().as_str());
}

/// Waits for the recorder's own threads; what is proven is that it happens, and within the time.
fn within(limit: Duration, mut done: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + limit;
    while !done() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not within {limit:?}"
        );
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn f10_the_header_is_written_before_the_session_begins_and_the_sidecar_after() {
    let (shelf, recorder) = on_shelf(|_| {});
    let mut recording = begin(&recorder, RecordMode::Required).await;
    let header = shelf.read("2026/11/20/0193-id.cast").unwrap();
    assert!(header.starts_with(r#"{"version":2,"width":80,"height":24,"timestamp":1795219199,"command":"sh -c 'echo hi'","title":"exec shop/web-0","portcullis":{"id":"0193-id","#), "{header}");
    assert!(header.ends_with('\n'));
    recording.event(&output(b"hi\n"), Duration::ZERO);
    assert_eq!(recorder.live().list().len(), 1);
    let sealed = recording.seal(&report()).await;
    assert_eq!(sealed.path, Path::new("2026/11/20/0193-id.cast"));
    assert_eq!(sealed.failure, None);
    assert!(recorder.live().list().is_empty());
    let cast = shelf.read("0193-id.cast").unwrap();
    assert_eq!(shown(&cast).0, "hi\n");
    let summary: Summary = serde_json::from_str(&shelf.read("0193-id.json").unwrap()).unwrap();
    assert_eq!(
        (summary.reason.as_str(), summary.truncated),
        ("completed", false)
    );
    assert_eq!(summary.parts[0].bytes, cast.len() as u64);
    let digest = blake3::hash(cast.as_bytes()).to_hex().to_string();
    assert_eq!(summary.parts[0].blake3, digest);
    assert_eq!(summary.metadata.command_line(), "sh -c 'echo hi'");
}

#[tokio::test]
async fn a_session_that_never_began_leaves_nothing() {
    let (shelf, recorder) = on_shelf(|_| {});
    let obligation = RecordObligation::new(RecordMode::Required);
    let (recording, _killed) = recorder.open(metadata(), obligation).await.unwrap();
    assert_eq!(shelf.files.lock().len(), 1);
    drop(recording);
    within(Duration::from_secs(5), || shelf.files.lock().is_empty());
}

#[tokio::test]
async fn f12_a_recording_that_is_dropped_is_sealed_as_truncated() {
    let (shelf, recorder) = on_shelf(|_| {});
    let mut recording = begin(&recorder, RecordMode::Required).await;
    recording.event(&output(b"hi\n"), Duration::ZERO);
    drop(recording);
    within(Duration::from_secs(5), || {
        shelf
            .read("0193-id.json")
            .is_some_and(|text| !text.is_empty())
    });
    let summary: Summary = serde_json::from_str(&shelf.read("0193-id.json").unwrap()).unwrap();
    assert!(summary.truncated);
}

#[tokio::test]
async fn output_is_on_disk_within_a_second() {
    let (shelf, recorder) = on_shelf(|_| {});
    let mut recording = begin(&recorder, RecordMode::Required).await;
    recording.event(&output(b"risk"), Duration::ZERO);
    within(Duration::from_secs(1), || {
        shelf
            .read("0193-id.cast")
            .is_some_and(|cast| cast.contains("risk"))
    });
}

#[tokio::test]
async fn e15_no_recording_where_nothing_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let not_a_folder = folder.path().join("file");
    std::fs::write(&not_a_folder, "").unwrap();
    let recorder = Recorder::start(settings(&not_a_folder), None, Metrics::new().0).unwrap();
    for mode in [RecordMode::Required, RecordMode::BestEffort] {
        let error = recorder.open(metadata(), RecordObligation::new(mode)).await;
        assert!(error.is_err_and(|error| error.to_string().contains(ID)));
    }
    assert!(recorder.live().list().is_empty());
}

#[tokio::test]
async fn e15_a_full_disk_ends_what_must_be_recorded_and_nothing_else() {
    for mode in [RecordMode::Required, RecordMode::BestEffort] {
        let (shelf, recorder) = on_shelf(|_| {});
        let mut recording = begin(&recorder, mode).await;
        *shelf.room.lock() = Some(100);
        recording.event(&output(&[b'a'; 200]), Duration::ZERO);
        within(Duration::from_secs(5), || *shelf.room.lock() == Some(0));
        // The writer says so right after the disk has.
        within(Duration::from_secs(5), || {
            recording.event(&output(b"b"), Duration::ZERO);
            recording.ready().is_err() || mode == RecordMode::BestEffort
        });
        match mode {
            RecordMode::Required => assert!(recording.failed().await.contains("storage")),
            RecordMode::BestEffort => assert!(recording.ready().is_ok()),
        }
        *shelf.room.lock() = None;
        let failure = recording.seal(&report()).await.failure.unwrap();
        assert!(failure.contains("storage"), "{failure}");
        // Half a line is never left behind, and the sidecar says what happened.
        assert_eq!(shown(&shelf.read("0193-id.cast").unwrap()).0, "");
        assert!(shelf.read("0193-id.json").unwrap().contains("\"failure\":"));
    }
}

#[tokio::test]
async fn e15_permission_lost_in_the_middle_shows_at_the_next_part() {
    let (shelf, recorder) = on_shelf(|settings| settings.part_bytes = 2000);
    let mut recording = begin(&recorder, RecordMode::Required).await;
    recording.event(&output(&[b'a'; 500]), Duration::ZERO);
    shelf.refuses.store(true, Ordering::Relaxed);
    recording.event(&output(&[b'b'; 1500]), Duration::ZERO);
    assert!(recording.failed().await.contains("permission"));
    assert!(recording.ready().is_err());
    let sealed = recording.seal(&report()).await;
    assert!(sealed.failure.is_some());
}

#[tokio::test]
async fn d18_a_slow_disk_slows_the_session_and_memory_stays_bounded() {
    let (shelf, recorder) = on_shelf(|_| {});
    let mut recording = begin(&recorder, RecordMode::Required).await;
    let pace = recording.pace().unwrap();
    shelf.stick(true);
    let piece = [b'x'; 16 * 1024];
    let mut pieces = 0;
    while pace.has_room() {
        recording.event(&output(&piece), Duration::ZERO);
        pieces += 1;
        assert!(pieces < 1000, "nothing stops the session");
    }
    assert!(pieces * piece.len() <= limits::RECORDING_BULK_BYTES_MAX + piece.len());
    let release = async { shelf.stick(false) };
    tokio::join!(pace.room(), release);
    recording.seal(&report()).await;
    let (text, _) = shown(&shelf.read("0193-id.cast").unwrap());
    assert_eq!(text.len(), pieces * piece.len(), "not a byte is missing");
}

/// Output of the session `other`, which is on the disk within a second.
fn type_in(shelf: &Shelf, other: &mut Recording, key: &str) {
    other.event(&output(key.as_bytes()), Duration::ZERO);
    within(Duration::from_secs(1), || {
        let cast = shelf.read("other.cast");
        cast.is_some_and(|cast| cast.contains(key))
    });
}

#[tokio::test]
async fn d18_sessions_that_end_hold_up_none_that_begins_or_goes_on() {
    let (shelf, recorder) = on_shelf(|_| {});
    let other = |id: &str| Metadata {
        id: id.to_owned(),
        ..metadata()
    };
    let obligation = || RecordObligation::new(RecordMode::Required);
    let opened = recorder.open(other("other"), obligation()).await;
    let (mut goes_on, _killed) = opened.unwrap();
    let mut ends = begin(&recorder, RecordMode::Required).await;
    ends.event(&output(b"last words"), Duration::ZERO);
    shelf.syncs_stick.store(true, Ordering::Relaxed);
    shelf.stick(true);
    shelf.sticks_from.store(usize::MAX, Ordering::Relaxed);
    let others = async {
        for key in ["a key", "another", "a third"] {
            type_in(&shelf, &mut goes_on, key);
        }
        assert!(recorder.open(other("third"), obligation()).await.is_ok());
        shelf.stick(false);
    };
    let report = report();
    let (sealed, ()) = tokio::join!(ends.seal(&report), others);
    assert_eq!(sealed.failure, None);
}

#[tokio::test]
async fn e13_a_sync_that_fails_ends_what_must_be_recorded() {
    let (shelf, recorder) = on_shelf(|_| {});
    let mut recording = begin(&recorder, RecordMode::Required).await;
    shelf.syncs_fail.store(true, Ordering::Relaxed);
    recording.event(&output(b"a"), Duration::ZERO);
    assert!(recording.failed().await.contains("synced to disk: lost"));
    assert!(recording.ready().is_err());
}

#[tokio::test]
async fn a_best_effort_recording_is_given_up_rather_than_hold_up_its_session() {
    let (shelf, recorder) = on_shelf(|_| {});
    let mut recording = begin(&recorder, RecordMode::BestEffort).await;
    let pace = recording.pace().unwrap();
    tokio::time::pause();
    shelf.stick(true);
    while pace.has_room() {
        recording.event(&output(&[b'x'; 16 * 1024]), Duration::ZERO);
    }
    pace.room().await;
    assert!(pace.has_room());
    recording.event(&output(b"more"), Duration::ZERO);
    shelf.stick(false);
    let failure = recording.seal(&report()).await.failure.unwrap();
    assert!(failure.contains("too slow"), "{failure}");
}

#[tokio::test]
async fn a_recording_stops_at_its_cap_and_says_so() {
    let (shelf, recorder) = on_shelf(|settings| settings.max_bytes = 5000);
    let mut recording = begin(&recorder, RecordMode::Required).await;
    for _ in 0..100 {
        recording.event(&output(&[b'x'; 500]), Duration::ZERO);
    }
    assert_eq!(recording.seal(&report()).await.failure, None);
    let cast = shelf.read("0193-id.cast").unwrap();
    assert!(cast.len() < 5000 + 500, "{}", cast.len());
    let (text, markers) = shown(&cast);
    assert!(
        text.ends_with("the session went on unrecorded]\r\n"),
        "{text}"
    );
    assert_eq!(markers.len(), 1);
    assert!(
        shelf
            .read("0193-id.json")
            .unwrap()
            .contains(r#""capped":true"#)
    );
}

#[tokio::test]
async fn nobody_gets_rid_of_a_required_recording_by_filling_it() {
    for (mode, stdin, ends) in [
        (RecordMode::Required, true, true),
        (RecordMode::Required, false, false),
        (RecordMode::BestEffort, true, false),
    ] {
        let (shelf, recorder) = on_shelf(|settings| settings.max_bytes = 5000);
        let asked = Metadata {
            stdin,
            ..metadata()
        };
        let obligation = RecordObligation::new(mode);
        let (mut recording, _killed) = recorder.open(asked, obligation).await.unwrap();
        recording.begin();
        for _ in 0..100 {
            recording.event(&output(&[b'x'; 500]), Duration::ZERO);
        }
        match recording.ready() {
            Ok(()) => assert!(!ends, "{mode:?} {stdin}"),
            Err(error) => assert!(ends && error.to_string().contains("cap of 5000 bytes")),
        }
        assert_eq!(recording.seal(&report()).await.failure, None);
        let (text, _) = shown(&shelf.read("0193-id.cast").unwrap());
        let then = if ends {
            "the session ends]"
        } else {
            "the session went on unrecorded]"
        };
        assert!(text.trim_end().ends_with(then), "{text}");
    }
}

#[tokio::test]
async fn parts_together_are_the_recording() {
    let (shelf, recorder) = on_shelf(|settings| settings.part_bytes = 3000);
    let mut recording = begin(&recorder, RecordMode::Required).await;
    for number in 0..20 {
        let text = format!("{number:0>400}");
        recording.event(&output(text.as_bytes()), Duration::from_secs(number));
    }
    recording.seal(&report()).await;
    let summary: Summary = serde_json::from_str(&shelf.read("0193-id.json").unwrap()).unwrap();
    assert!(summary.parts.len() > 2, "{summary:?}");
    let mut text = String::new();
    for (index, part) in summary.parts.iter().enumerate() {
        let cast = shelf.read(&part.file).unwrap();
        assert!(cast.len() <= 3000 && cast.len() as u64 == part.bytes);
        assert!(cast.contains(&format!(r#""part":{}"#, index + 1)));
        text.push_str(&shown(&cast).0);
    }
    let expected = (0..20).fold(String::new(), |text, number| {
        format!("{text}{number:0>400}")
    });
    assert_eq!(text, expected);
}

#[tokio::test]
async fn c52_recorded_input_is_masked_wherever_it_is_cut() {
    let (shelf, recorder) = on_shelf(|_| {});
    let (asked, obligation) = with_input();
    let (mut recording, _killed) = recorder.open(asked, obligation).await.unwrap();
    let mut toys = session::filter::tests::toys();
    recording.mask_input(toys(StreamType::Stdin));
    recording.begin();
    for byte in b"echo hunter2hunter2 | sudo -S id; hunter2" {
        recording.event(&data(StreamType::Stdin, &[*byte]), Duration::ZERO);
    }
    recording.seal(&report()).await;
    let cast = shelf.read("0193-id.cast").unwrap();
    let events = cast.lines().skip(1);
    let input: String = events
        .map(|line| Event::parse(line.as_bytes()).unwrap().data)
        .collect();
    assert_eq!(input, "echo [masked] | sudo -S id; hunter2");
}

#[tokio::test]
async fn input_that_is_still_carried_out_is_on_a_full_recording() {
    let (shelf, recorder) = on_shelf(|settings| settings.max_bytes = 5000);
    let (asked, obligation) = with_input();
    let (mut recording, _killed) = recorder.open(asked, obligation).await.unwrap();
    recording.begin();
    // Both in what was read at once: the session ends before anything more is.
    for input in [&b"#".repeat(5000)[..], b"rm -rf /\n"] {
        recording.event(&data(StreamType::Stdin, input), Duration::ZERO);
    }
    assert!(recording.ready().is_err());
    recording.event(&output(b"gone"), Duration::ZERO);
    recording.seal(&report()).await;
    let cast = shelf.read("0193-id.cast").unwrap();
    assert!(cast.contains("####") && cast.contains("rm -rf /"), "{cast}");
    assert!(!cast.contains("gone"), "{cast}");
}
