//! What a crash leaves behind, and who seals it.

use super::*;

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
