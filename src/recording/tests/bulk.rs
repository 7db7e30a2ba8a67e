//! Output that comes faster than it can be written line by line.

use super::*;

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
