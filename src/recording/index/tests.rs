use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;
use crate::metrics::Metrics;
use crate::policy::{RecordMode, RecordObligation};
use crate::recording::tests::fixtures;
use crate::recording::{Metadata, Recorder, Recording, Settings};
use crate::session::{EndReason, ExitStatus, SessionReport, Tap as _};
use crate::wire::asciicast::Version;

struct World {
    recorder: Recorder,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Self::recorder(folder.path());
        Self { recorder, folder }
    }

    fn recorder(folder: &Path) -> Recorder {
        let settings = Settings {
            directory: folder.join("recordings"),
            format: Version::V2,
            max_bytes: 1 << 20,
            part_bytes: 1 << 20,
        };
        Recorder::start(settings, Some(folder.join(FILE)), Metrics::new().0).unwrap()
    }

    async fn open(&self, metadata: Metadata) -> Recording {
        let obligation = RecordObligation::new(RecordMode::Required);
        let (mut recording, _) = self.recorder.open(metadata, obligation).await.unwrap();
        recording.begin();
        recording.event(&fixtures::output(b"hello"), Duration::from_secs(1));
        recording
    }

    fn settle(&self) {
        self.recorder.indexer.as_ref().unwrap().settle();
    }

    fn catalog(&self) -> Catalog {
        Catalog::of(self.folder.path())
    }

    /// Every row of an index, whole.
    fn rows(file: &Path) -> Vec<(String, bool, String)> {
        let db = rusqlite::Connection::open(file).unwrap();
        let mut rows = db
            .prepare("SELECT day || '/' || id, sealed, quote(started) || quote(user) || quote(agent) || quote(namespace) || quote(pod) || quote(command) || quote(verdict) || quote(exit_code) || session FROM sessions ORDER BY 1")
            .unwrap();
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }
}

fn metadata(number: u8) -> Metadata {
    let pick = |names: [&str; 3]| names[usize::from(number % 3)].to_owned();
    Metadata {
        id: format!("0193-{number:02}"),
        kind: "exec".to_owned(),
        namespace: pick(["shop", "bank", "shop"]),
        pod: pick(["web-0", "db", "web-1"]),
        command: vec![
            "sh".to_owned(),
            "-c".to_owned(),
            pick(["ls", "rm it's", "top"]),
        ],
        user: pick(["alice", "bob", "alice"]),
        agent: number.is_multiple_of(2).then(|| "coder".to_owned()),
        started: format!(
            "2026-11-{:02}T23:59:{number:02}.123456789Z",
            18 + number % 3
        )
        .parse()
        .unwrap(),
        ..Metadata::default()
    }
}

fn report(number: u8) -> SessionReport {
    SessionReport {
        reason: if number % 4 == 3 {
            EndReason::Killed
        } else {
            EndReason::Completed
        },
        exit: (number % 4 != 3).then(|| ExitStatus {
            code: Some(number % 4),
            message: String::new(),
        }),
        ..fixtures::report()
    }
}

async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} does not happen");
}

#[tokio::test]
async fn an_index_that_grew_is_the_one_that_is_built_anew() {
    let world = World::new();
    let mut open = Vec::new();
    for number in 0..12 {
        let recording = world.open(metadata(number)).await;
        match number {
            10 => open.push(recording),
            11 => drop(recording), // sealed as truncated
            _ => assert_eq!(recording.seal(&report(number)).await.failure, None),
        }
    }
    // One that never begins leaves nothing behind.
    let obligation = RecordObligation::new(RecordMode::Required);
    drop(world.recorder.open(metadata(12), obligation).await.unwrap());
    let folder = world.recorder.directory();
    eventually("the removal", || {
        files::find(folder, "0193-12").unwrap().is_none()
            && files::find(folder, "0193-11")
                .unwrap()
                .is_some_and(|day| files::summary(&day, "0193-11").unwrap().is_some())
    })
    .await;
    world.settle();
    let grown = world.folder.path().join(FILE);
    let rows = World::rows(&grown);
    assert_eq!(rows.len(), 12, "{rows:#?}");
    assert_eq!(rows.iter().filter(|(_, sealed, _)| *sealed).count(), 11);
    let mode = std::fs::metadata(&grown).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let anew = world.folder.path().join("anew.db");
    assert_eq!(rebuild(&anew, folder).unwrap(), 12);
    // What an open recording has grown to since is not in the index.
    let without_open = |rows: Vec<(String, bool, String)>| -> Vec<_> {
        rows.into_iter().filter(|(_, sealed, _)| *sealed).collect()
    };
    assert_eq!(without_open(World::rows(&anew)), without_open(rows.clone()));
    // In place, beside the gateway that goes on.
    assert_eq!(rebuild(&grown, folder).unwrap(), 12);
    assert_eq!(without_open(World::rows(&grown)), without_open(rows));
    for recording in open {
        recording.seal(&report(10)).await;
    }
    world.settle();
    assert!(World::rows(&grown).iter().all(|(_, sealed, _)| *sealed));
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of filters")]
async fn every_filter_finds_what_it_says_with_and_without_an_index() {
    let world = World::new();
    for number in 0..12 {
        world
            .open(metadata(number))
            .await
            .seal(&report(number))
            .await;
    }
    world.settle();
    let text = |text: &str| Some(text.to_owned());
    let filters = [
        (12, Filter::default()),
        (
            2,
            Filter {
                id: text("0193-1"),
                ..Filter::default()
            },
        ),
        (
            0,
            Filter {
                id: text("193-1"),
                ..Filter::default()
            },
        ),
        (
            8,
            Filter {
                user: text("alice"),
                ..Filter::default()
            },
        ),
        (
            0,
            Filter {
                user: text("alic"),
                ..Filter::default()
            },
        ),
        (
            6,
            Filter {
                agent: text("coder"),
                ..Filter::default()
            },
        ),
        (
            6,
            Filter {
                agent: text(""),
                ..Filter::default()
            },
        ),
        (
            4,
            Filter {
                namespace: text("bank"),
                pod: text("db"),
                ..Filter::default()
            },
        ),
        (
            0,
            Filter {
                namespace: text("bank"),
                pod: text("web-0"),
                ..Filter::default()
            },
        ),
        (
            4,
            Filter {
                command: text(r"'rm it'\''s'"),
                ..Filter::default()
            },
        ),
        (
            0,
            Filter {
                command: text("%"),
                ..Filter::default()
            },
        ),
        (
            3,
            Filter {
                verdict: text("killed"),
                ..Filter::default()
            },
        ),
        (
            0,
            Filter {
                verdict: text("' OR 1=1 --"),
                ..Filter::default()
            },
        ),
        (
            3,
            Filter {
                exit_code: Some(2),
                ..Filter::default()
            },
        ),
        (
            8,
            Filter {
                since: Some("2026-11-19T00:00:00Z".parse().unwrap()),
                ..Filter::default()
            },
        ),
        (
            4,
            Filter {
                until: Some("2026-11-19T00:00:00Z".parse().unwrap()),
                ..Filter::default()
            },
        ),
        (
            3,
            Filter {
                since: Some("2026-11-18T23:59:03.123456Z".parse().unwrap()),
                until: Some("2026-11-19T00:00:00Z".parse().unwrap()),
                ..Filter::default()
            },
        ),
        (
            0,
            Filter {
                live: true,
                ..Filter::default()
            },
        ),
        (
            5,
            Filter {
                limit: 5,
                ..Filter::default()
            },
        ),
    ];
    let indexed = world.catalog();
    let bare = Catalog::new(
        world.folder.path().join("none.db"),
        world.recorder.directory().to_owned(),
    );
    let all = bare.list(&Filter::default()).unwrap();
    assert!(all.is_sorted_by_key(|session| std::cmp::Reverse(session.metadata.started)));
    for (count, filter) in filters {
        let found = indexed.list(&filter).unwrap();
        assert_eq!(found.len(), count, "{filter:?}");
        assert_eq!(found, bare.list(&filter).unwrap(), "{filter:?}");
        assert!(found.iter().all(|session| filter.matches(session)));
        let slow: Vec<&Session> = all
            .iter()
            .filter(|session| filter.matches(session))
            .take(filter.limit)
            .collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), slow, "{filter:?}");
    }
}

#[tokio::test]
async fn a_damaged_index_breaks_no_session_and_is_built_again() {
    let world = World::new();
    world.open(metadata(1)).await.seal(&report(1)).await;
    world.settle();
    let World { recorder, folder } = world;
    drop(recorder);
    let file = folder.path().join(FILE);
    let reopened = || Table::open_to_read(&file).map(|table| table.known("2026/11/19"));
    eventually("the end of the thread", || {
        !folder.path().join("sessions.db-wal").exists()
    })
    .await;
    std::fs::write(
        &file,
        "this is no database, and long enough to be looked at as one".repeat(99),
    )
    .unwrap();
    assert!(reopened().is_err());
    // Without an index, the files are looked at.
    let catalog = Catalog::of(folder.path());
    assert_eq!(catalog.list(&Filter::default()).unwrap().len(), 1);

    let world = World {
        recorder: World::recorder(folder.path()),
        folder,
    };
    assert_eq!(
        world.open(metadata(2)).await.seal(&report(2)).await.failure,
        None
    );
    world.settle();
    let file = world.folder.path().join(FILE);
    eventually("the new index", || {
        Table::open_to_read(&file).is_ok() && World::rows(&file).len() == 2
    })
    .await;
    assert_eq!(rebuild(&file, world.recorder.directory()).unwrap(), 2);
}

#[tokio::test]
async fn what_happened_while_nobody_indexed_is_caught_up_with() {
    let world = World::new();
    world.open(metadata(1)).await.seal(&report(1)).await;
    world.settle();
    let day = world.recorder.directory().join("2026/11/19");
    let World { recorder, folder } = world;
    drop(recorder);
    std::fs::remove_file(day.join("0193-01.cast")).unwrap();
    let header = r#"{"version":2,"width":80,"height":24,"portcullis":{"id":"other","user":"eve","started":"2026-11-19T00:00:00Z"}}"#;
    std::fs::write(day.join("0193-77.cast"), format!("{header}\n")).unwrap();
    let indexer = Indexer::start(
        folder.path().join(FILE),
        folder.path().join("recordings"),
        Metrics::new().0,
    )
    .unwrap();
    indexer.settle();
    let rows = World::rows(&folder.path().join(FILE));
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(
        (rows[0].0.as_str(), rows[0].1),
        ("2026/11/19/0193-77", false)
    );
    let found = Catalog::of(folder.path())
        .get("0193-77")
        .unwrap()
        .unwrap()
        .0;
    assert_eq!(
        (found.metadata.user.as_str(), found.metadata.id.as_str()),
        ("eve", "0193-77")
    );
    assert_eq!(found.verdict, UNSEALED);
}

#[test]
fn a_fullqueue_makes_nobody_wait_and_is_remembered() {
    let (notes, queue) = sync_channel(1);
    let indexer = Indexer {
        notes,
        behind: Arc::default(),
    };
    let path = Path::new("/tapes/2026/11/20/0193-id.2.cast");
    indexer.note(path);
    assert!(!indexer.behind.load(Ordering::Acquire));
    indexer.note(path);
    assert!(indexer.behind.load(Ordering::Acquire));
    assert!(
        matches!(queue.recv(), Ok(Note::Changed(day, id)) if day == "2026/11/20" && id == "0193-id")
    );
}

#[test]
fn only_an_id_becomes_part_of_a_path() {
    for (text, good) in [
        ("0193-aF", true),
        ("", false),
        ("..", false),
        ("a/b", false),
        ("a.2", false),
        ("a\0", false),
    ] {
        assert_eq!(files::is_id(text), good, "{text:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("recordings/2026/11/20")).unwrap();
    std::fs::write(folder.path().join("x.cast"), "").unwrap();
    let catalog = Catalog::of(folder.path());
    assert!(catalog.parts("../../../../x").unwrap().is_empty());
}

#[tokio::test]
async fn of_a_long_command_lists_have_the_beginning_and_are_filtered_by_all_of_it() {
    let world = World::new();
    let mut long = metadata(1);
    long.command = vec!["sh".to_owned(), "é".repeat(20_000), "--the-end".to_owned()];
    let most = limits::SESSIONS_LISTED_COMMAND_BYTES_MAX;
    let filter = Filter {
        command: Some("--the-end".to_owned()),
        ..Filter::default()
    };
    let listed = || {
        let found = world.catalog().list(&filter).unwrap();
        let command = &found[0].metadata.command;
        assert!(command.concat().len() <= most + "…".len());
        assert!(command[1].ends_with("é…") && command.len() == 2);
    };
    let recording = world.open(long.clone()).await;
    listed();
    recording.seal(&report(1)).await;
    world.settle();
    listed();
    let (_, summary) = world.catalog().get("0193-01").unwrap().unwrap();
    assert_eq!(summary.unwrap().metadata.command, long.command);
    // Many short words are not many either.
    let many = Session {
        metadata: Metadata {
            command: vec![String::new(); 5000],
            ..metadata(2)
        },
        ..Session::default()
    };
    assert!(many.shortened().metadata.command.len() <= most + 1);
}
