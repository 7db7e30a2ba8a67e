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

mod bytes;
pub(crate) mod fixtures;

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

/// Lines of many lengths, so that they end anywhere in a page.
fn lines_of(bytes: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut left, mut number) = (bytes, 0_usize);
    while left > 0 {
        let line = format!("{number} {}\n", "x".repeat(number * 7919 % 9000));
        left = left.saturating_sub(line.len());
        lines.push(line);
        number += 1;
    }
    lines
}

/// Hands the lines over as fast as there is room.
async fn print(recording: &mut Recording, lines: &[String]) {
    let pace = recording.pace().unwrap();
    for line in lines {
        pace.room().await;
        recording.event(&output(line.as_bytes()), Duration::ZERO);
    }
}

/// The sidecar says what the file has, and that ends with a line.
fn assert_sound(cast: &str, summary: &Summary) {
    let part = summary.parts.last().unwrap();
    assert!(cast.ends_with('\n'));
    assert_eq!(part.bytes, cast.len() as u64);
    assert_eq!(part.blake3, blake3::hash(cast.as_bytes()).to_hex().as_str());
}

#[tokio::test]
async fn output_in_bulk_is_on_disk_as_a_whole_and_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(settings(folder.path()), None, Metrics::new().0).unwrap();
    let mut recording = begin(&recorder, RecordMode::Required).await;
    let path = folder.path().join(recording.path());
    let lines = lines_of(3 * limits::RECORDING_BLOCK_BYTES + 5000);
    print(&mut recording, &lines).await;
    // It is there before the session is over, and whoever reads the file sees all of it.
    let text = lines.concat();
    within(Duration::from_secs(1), || {
        let cast = std::fs::read_to_string(&path).unwrap();
        cast.ends_with('\n') && shown(&cast).0 == text
    });
    print(&mut recording, &["and on\n".to_owned()]).await;
    assert_eq!(recording.seal(&report()).await.failure, None);
    let cast = std::fs::read_to_string(&path).unwrap();
    assert_eq!(shown(&cast).0, text + "and on\n");
    let sidecar = std::fs::read(path.with_extension("json")).unwrap();
    assert_sound(&cast, &serde_json::from_slice(&sidecar).unwrap());
}

#[tokio::test]
async fn e12_a_kill_in_the_middle_of_bulk_output_costs_an_unfinished_line_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(settings(folder.path()), None, Metrics::new().0).unwrap();
    let mut recording = begin(&recorder, RecordMode::Required).await;
    let path = folder.path().join(recording.path());
    let copies = tempfile::tempdir().unwrap();
    let day = copies.path().join("2026/11/20");
    std::fs::create_dir_all(&day).unwrap();
    let lines = lines_of(6 * limits::RECORDING_BLOCK_BYTES);
    let mut longest = 0;
    for some in lines.chunks(100) {
        print(&mut recording, some).await;
        // What a process that dies now leaves behind.
        let left = std::fs::read(&path).unwrap();
        let copy = day.join("0193-id.cast");
        std::fs::write(&copy, &left).unwrap();
        assert_eq!(seal::seal_all(copies.path(), &Disk).unwrap(), 1);
        let cast = std::fs::read_to_string(&copy).unwrap();
        let sidecar = copy.with_extension("json");
        let summary: Summary = serde_json::from_slice(&std::fs::read(&sidecar).unwrap()).unwrap();
        assert_sound(&cast, &summary);
        assert_eq!(summary.discarded_bytes, (left.len() - cast.len()) as u64);
        let (text, _) = shown(&cast);
        assert!(lines.concat().starts_with(&text));
        assert!(text.len() >= longest, "something was lost again");
        longest = text.len();
        std::fs::remove_file(sidecar).unwrap();
    }
    assert!(longest > 4 * limits::RECORDING_BLOCK_BYTES, "{longest}");
}

#[tokio::test]
async fn e15_a_disk_that_gets_full_in_the_middle_of_a_block_leaves_whole_lines() {
    let block = limits::RECORDING_BLOCK_BYTES;
    for room in [block / 2, block, block + 4097, 2 * block + 1] {
        let (shelf, recorder) = on_shelf(|_| {});
        let mut recording = begin(&recorder, RecordMode::Required).await;
        *shelf.room.lock() = Some(room);
        print(&mut recording, &lines_of(4 * block)).await;
        assert!(recording.failed().await.contains("storage"));
        *shelf.room.lock() = None;
        assert!(recording.seal(&report()).await.failure.is_some());
        let cast = shelf.read("0193-id.cast").unwrap();
        let summary = shelf.read("0193-id.json").unwrap();
        assert_sound(&cast, &serde_json::from_str(&summary).unwrap());
        assert!(lines_of(4 * block).concat().starts_with(&shown(&cast).0));
    }
}

#[tokio::test]
async fn d18_two_hundred_sessions_that_print_at_once_are_all_on_tape() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(settings(folder.path()), None, Metrics::new().0).unwrap();
    let mut recordings = Vec::new();
    for number in 0..200 {
        let metadata = Metadata {
            id: format!("id-{number}"),
            ..metadata()
        };
        let obligation = RecordObligation::new(RecordMode::Required);
        let (mut recording, _) = recorder.open(metadata, obligation).await.unwrap();
        recording.begin();
        recordings.push(recording);
    }
    let lines = lines_of(400 * 1024);
    for some in lines.chunks(10) {
        for recording in &mut recordings {
            print(recording, some).await;
        }
    }
    let text = lines.concat();
    for recording in recordings {
        let path = folder.path().join(recording.path());
        assert_eq!(recording.seal(&report()).await.failure, None);
        assert_eq!(shown(&std::fs::read_to_string(&path).unwrap()).0, text);
    }
}

#[tokio::test]
async fn d18_bulk_that_the_disk_is_slow_with_holds_up_no_other_session() {
    let (shelf, recorder) = on_shelf(|_| {});
    let mut recording = begin(&recorder, RecordMode::Required).await;
    shelf.sticks_from.store(64 * 1024, Ordering::Relaxed);
    shelf.stick(true);
    let pace = recording.pace().unwrap();
    while pace.has_room() {
        recording.event(&output(&[b'x'; 16 * 1024]), Duration::ZERO);
    }
    let other = Metadata {
        id: "other".to_owned(),
        ..metadata()
    };
    let obligation = RecordObligation::new(RecordMode::Required);
    let (mut second, _killed) = recorder.open(other, obligation).await.unwrap();
    // The writer comes by what is stuck again and again.
    for key in ["a key", "another", "a third", "a fourth"] {
        type_in(&shelf, &mut second, key);
    }
    shelf.stick(false);
    assert_eq!(recording.seal(&report()).await.failure, None);
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

fn message(channel: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_message(
        &mut bytes,
        MessageType::Binary,
        &[&[channel], payload].concat(),
        mask,
    );
    bytes
}

fn websocket() -> Session {
    let streams = Streams::RemoteCommand {
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    };
    let protocol = channel::Protocol::parse("v5.channel.k8s.io").unwrap();
    Session::new(streams, Protocol::Channels(protocol))
}

#[tokio::test]
async fn d19_a_session_that_loses_its_recorder_is_told_and_ends() {
    let (shelf, recorder) = on_shelf(|_| {});
    let mut recording = begin(&recorder, RecordMode::Required).await;
    *shelf.room.lock() = Some(0);
    let (mut client, gateway_client) = duplex(4096);
    let (mut server, gateway_server) = duplex(4096);
    let failed = recording.failed();
    let until = async {
        Ending {
            reason: EndReason::RecorderFailed,
            message: failed.await,
        }
    };
    let peers = async {
        server.write_all(&message(1, b"one", None)).await.unwrap();
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.unwrap();
        drop(client);
        String::from_utf8_lossy(&told).into_owned()
    };
    let relay = session::relay(
        gateway_client,
        gateway_server,
        websocket(),
        None,
        until,
        &mut recording,
    );
    let (report, told) = tokio::join!(relay, peers);
    assert_eq!(report.reason, EndReason::RecorderFailed);
    assert!(
        told.contains("storage") && told.contains(r#""code":500"#),
        "{told}"
    );
}

/// What is on tape is compared with what arrived at the client, not with what was sent: a mask works on the
/// bytes before the recorder sees them.
#[tokio::test]
async fn what_is_on_tape_is_what_arrived() {
    let masks = || Some(session::filter::tests::toys());
    for (filters, said, bytes) in [
        (None, "secret: hunter2hunter2 hünter2\n", 32),
        (masks(), "secret: [masked] hünter2\n", 26),
    ] {
        let (shelf, recorder) = on_shelf(|_| {});
        let mut recording = begin(&recorder, RecordMode::Required).await;
        let (mut client, gateway_client) = duplex(4096);
        let (mut server, gateway_server) = duplex(4096);
        let never = std::future::pending::<Ending>();
        let peers = async {
            let frames = [
                message(1, b"secret: hunter2", None),
                message(1, "hunter2 hünter2\n".as_bytes(), None),
            ]
            .concat();
            for byte in frames {
                server.write_all(&[byte]).await.unwrap();
            }
            server.shutdown().await.unwrap();
            let mut arrived = Vec::new();
            client.read_to_end(&mut arrived).await.unwrap();
            drop(client);
            arrived
        };
        let relay = session::relay(
            gateway_client,
            gateway_server,
            websocket(),
            filters,
            never,
            &mut recording,
        );
        let (report, arrived) = tokio::join!(relay, peers);
        recording.seal(&report).await;
        assert_eq!(report.bytes.stdout, bytes);
        let mut wire = session::tap::Wire::new(&websocket(), None);
        let mut expected = Vec::new();
        wire.receive(
            Side::Server,
            &arrived,
            Duration::ZERO,
            &mut Vec::new(),
            &mut |event| {
                if let SessionEvent::Data { bytes, .. } = event {
                    expected.extend_from_slice(bytes);
                }
            },
        )
        .unwrap();
        let (text, _) = shown(&shelf.read("0193-id.cast").unwrap());
        assert_eq!(text.as_bytes(), expected);
        assert_eq!(text, said);
    }
}

#[tokio::test]
async fn e12_what_a_crash_left_behind_is_sealed_wherever_it_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    let (shelf, recorder) = on_shelf(|_| {});
    let mut recording = begin(&recorder, RecordMode::Required).await;
    recording.event(&output(b"one"), Duration::from_secs(1));
    recording.event(&output("zwölf".as_bytes()), Duration::from_secs(2));
    recording.seal(&report()).await;
    let cast = shelf.read("0193-id.cast").unwrap();
    let day = folder.path().join("2026/11/20");
    std::fs::create_dir_all(&day).unwrap();
    let path = day.join("0193-id.cast");
    for cut in 0..=cast.len() {
        std::fs::write(&path, &cast.as_bytes()[..cut]).unwrap();
        assert_eq!(seal::seal_all(folder.path(), &Disk).unwrap(), 1);
        let whole = cast.as_bytes()[..cut]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        assert_eq!(std::fs::read(&path).unwrap(), &cast.as_bytes()[..whole]);
        let sidecar = std::fs::read(day.join("0193-id.json")).unwrap();
        let summary: Summary = serde_json::from_slice(&sidecar).unwrap();
        assert!(summary.truncated && summary.metadata.id == ID);
        assert_eq!(summary.discarded_bytes, (cut - whole) as u64);
        assert_eq!(summary.parts[0].bytes, whole as u64);
        assert_eq!(
            summary.events,
            cast.get(..whole).unwrap().lines().count().saturating_sub(1) as u64
        );
        std::fs::remove_file(day.join("0193-id.json")).unwrap();
    }
}

#[tokio::test]
async fn a_recording_that_is_being_written_is_not_sealed() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(settings(folder.path()), None, Metrics::new().0).unwrap();
    let mut recording = begin(&recorder, RecordMode::Required).await;
    recording.event(&output(b"hi"), Duration::ZERO);
    assert_eq!(seal::seal_all(folder.path(), &Disk).unwrap(), 0);
    let path = folder.path().join(recording.path());
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(recording.seal(&report()).await.failure, None);
    assert_eq!(shown(&std::fs::read_to_string(&path).unwrap()).0, "hi");
    assert_eq!(
        seal::seal_all(folder.path(), &Disk).unwrap(),
        0,
        "it has its sidecar"
    );
}

/// The disk, on which another gateway starts whenever something is made.
struct Crowded {
    directory: PathBuf,
    sealed: Arc<AtomicUsize>,
}

impl Crowded {
    fn start_another(&self) {
        let sealed = seal::seal_all(&self.directory, &Disk).unwrap();
        self.sealed.fetch_add(sealed, Ordering::Relaxed);
    }
}

impl Medium for Crowded {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn PartFile>> {
        self.start_another();
        Disk.create(path)
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.start_another();
        Disk.write(path, content)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
}

#[tokio::test]
async fn nobody_seals_a_recording_between_two_parts_or_before_its_sidecar() {
    let folder = tempfile::tempdir().unwrap();
    let sealed = Arc::new(AtomicUsize::new(0));
    let medium = Arc::new(Crowded {
        directory: folder.path().to_owned(),
        sealed: Arc::clone(&sealed),
    });
    let settings = Settings {
        part_bytes: 1,
        ..settings(folder.path())
    };
    let recorder = Recorder::on(medium, settings, Metrics::new().0).unwrap();
    let mut recording = begin(&recorder, RecordMode::Required).await;
    for text in [b"a", b"b"] {
        recording.event(&output(text), Duration::ZERO);
    }
    assert_eq!(recording.seal(&report()).await.failure, None);
    assert_eq!(sealed.load(Ordering::Relaxed), 0);
}

/// Seals a file as a crash left it; the sidecar, and what is left of the file.
fn sealed(left: &[u8], written: std::time::SystemTime) -> (Summary, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let day = folder.path().join("2026/11/20");
    std::fs::create_dir_all(&day).unwrap();
    let path = day.join("0193-id.cast");
    std::fs::write(&path, left).unwrap();
    let file = std::fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(written).unwrap();
    assert_eq!(seal::seal_all(folder.path(), &Disk).unwrap(), 1);
    let sidecar = std::fs::read(path.with_extension("json")).unwrap();
    let summary = serde_json::from_slice(&sidecar).unwrap();
    (summary, std::fs::read(path).unwrap())
}

#[test]
fn e13_zeroes_that_a_crash_of_the_machine_left_are_cut_off_or_left_out() {
    let line = usize::try_from(limits::RECORDING_LINE_BYTES_MAX).unwrap();
    let mut begun = tap::header(&metadata(), &settings(Path::new("/tapes")));
    begun.extend_from_slice(b"[1.0,\"o\",\"a\"]\n");
    let written = std::time::SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
    for zeroes in [1, line, line + 1, 2 * line + 5] {
        let torn = [&begun[..], &vec![0; zeroes]].concat();
        let (summary, left) = sealed(&torn, written);
        assert!(left == begun, "{zeroes}");
        assert_sound(std::str::from_utf8(&left).unwrap(), &summary);
        assert_eq!(
            (summary.discarded_bytes, summary.events),
            (zeroes as u64, 1)
        );
        // It ended when it was last written, not when it was sealed.
        assert_eq!(summary.ended.as_second(), 1_800_000_000);

        let hole = [&torn[..], b"\n[2.0,\"x\",\"7\"]\n"].concat();
        let (summary, left) = sealed(&hole, written);
        assert!(left == hole, "{zeroes}");
        assert_sound(std::str::from_utf8(&left).unwrap(), &summary);
        assert_eq!((summary.discarded_bytes, summary.duration_ms), (0, 2000));
        assert_eq!(summary.exit.unwrap().code, Some(7));
    }
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
