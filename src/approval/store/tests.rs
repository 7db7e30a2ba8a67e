//! The thread, its transactions, and the file.

#![expect(clippy::disallowed_methods, reason = "a test waits for its own tasks")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A database that can be looked at as it is after a crash at any moment.
///
/// Every step is made by appending to the write-ahead log; a crash leaves a beginning of it. So each beginning is
/// tried, cut at every half page.
pub(crate) struct Crashes {
    folder: tempfile::TempDir,
    pub(crate) store: Store,
    /// How long the log was when each step was told.
    told: Vec<usize>,
}

impl Crashes {
    /// The tables are in the file itself; all steps from here on stay in the log.
    pub(crate) async fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join(FILE)).unwrap();
        let keep = |work: &Work<'_>| {
            work.query_row("PRAGMA wal_autocheckpoint = 0", [], |_| Ok(()))?;
            Ok(())
        };
        store.run(keep).await.unwrap();
        let mut crashes = Self {
            folder,
            store,
            told: Vec::new(),
        };
        crashes.told();
        crashes
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join(FILE).with_extension("db-wal")
    }

    /// Whoever asked for a step was told that it is done.
    pub(crate) fn told(&mut self) {
        let length = fs::metadata(self.log()).map_or(0, |log| log.len());
        self.told.push(usize::try_from(length).unwrap());
    }

    /// Shows the database after each crash, and how many steps had been told by then.
    pub(crate) async fn each(self, mut look: impl AsyncFnMut(Store, usize)) {
        let database = fs::read(self.folder.path().join(FILE)).unwrap();
        let log = fs::read(self.log()).unwrap();
        let mut tried = 0;
        for cut in (self.told[0]..=log.len()).step_by(HALF_A_PAGE) {
            let crashed = tempfile::tempdir().unwrap();
            let file = crashed.path().join(FILE);
            fs::write(&file, &database).unwrap();
            fs::write(file.with_extension("db-wal"), &log[..cut]).unwrap();
            let told = self.told.iter().filter(|length| **length <= cut).count() - 1;
            look(Store::open(&file).unwrap(), told).await;
            tried += 1;
        }
        let steps = self.told.len() - 1;
        assert!(tried > 2 * steps, "only {tried} crashes in {steps} steps");
    }
}

/// Of a page in the log, with its header.
const HALF_A_PAGE: usize = 2060;

async fn count(store: &Store) -> i64 {
    store
        .run(|work| Ok(work.query_row("SELECT count(*) FROM approvals", [], |row| row.get(0))?))
        .await
        .unwrap()
}

fn insert(work: &Work<'_>, id: &str) -> Result<(), StoreError> {
    work.execute(
        "INSERT INTO approvals VALUES (?1, 'asked', '', '', NULL, 0, 0, '{}')",
        [id],
    )?;
    Ok(())
}

#[tokio::test]
async fn what_fails_is_undone_and_what_was_told_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    let store = Store::open(&file).unwrap();
    store.run(|work| insert(work, "a")).await.unwrap();
    let failed: Result<(), StoreError> = store
        .run(|work| {
            insert(work, "b")?;
            Err(StoreError::Busy)
        })
        .await;
    assert!(matches!(failed, Err(StoreError::Busy)));
    assert_eq!(count(&store).await, 1);
    let again = Store::open(&file).unwrap();
    assert_eq!(count(&again).await, 1);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn whoever_left_before_it_was_done_has_done_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join(FILE)).unwrap();
    let (going, gone) = std::sync::mpsc::channel::<()>();
    let (begun, begins) = oneshot::channel();
    let busy = store.clone();
    let first = tokio::spawn(async move {
        busy.run(move |work| {
            begun.send(()).unwrap();
            gone.recv().unwrap();
            insert(work, "in the middle")
        })
        .await
    });
    begins.await.unwrap();
    // One that waits behind it, and the one that runs: both clients leave.
    let behind = store.clone();
    let second = tokio::spawn(async move { behind.run(|work| insert(work, "behind")).await });
    tokio::task::yield_now().await;
    second.abort();
    first.abort();
    assert!(second.await.is_err() && first.await.is_err());
    going.send(()).unwrap();
    assert_eq!(count(&store).await, 0);
}

#[tokio::test]
async fn the_queue_has_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join(FILE)).unwrap();
    let (going, gone) = std::sync::mpsc::channel::<()>();
    let mut waiting = Vec::new();
    let busy = store.clone();
    waiting.push(tokio::spawn(async move {
        busy.run(move |_| {
            gone.recv().unwrap();
            Ok(())
        })
        .await
    }));
    tokio::task::yield_now().await;
    let mut refused = 0;
    for _ in 0..limits::STATE_QUEUE_MAX + 8 {
        let store = store.clone();
        let mut job = Box::pin(async move { store.run(|_| Ok(())).await });
        let polled = futures_util::poll!(&mut job);
        match polled {
            std::task::Poll::Ready(Err(StoreError::Busy)) => refused += 1,
            std::task::Poll::Ready(other) => panic!("{other:?}"),
            std::task::Poll::Pending => waiting.push(tokio::spawn(job)),
        }
    }
    assert!(refused >= 7, "{refused}");
    going.send(()).unwrap();
    for job in waiting {
        job.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn whoever_is_alone_with_it_is_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    let gateway = Store::open(&file).unwrap();
    assert!(matches!(Store::open_alone(&file), Err(StoreError::InUse)));
    assert_eq!(count(&gateway).await, 0);
    drop(gateway);
    // The thread ends with its last job.
    let alone = loop {
        match Store::open_alone(&file) {
            Err(StoreError::InUse) => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    assert_eq!(count(&alone).await, 0);
    assert!(matches!(Store::open_alone(&file), Err(StoreError::InUse)));
}

#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    make(&file).unwrap();
    let db = Connection::open(&file).unwrap();
    db.execute_batch(MIGRATIONS[0]).unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    db.execute_batch("INSERT INTO approvals VALUES ('a', 'asked', '', '', NULL, 0, 0, '{}')")
        .unwrap();
    drop(db);
    let store = Store::open(&file).unwrap();
    assert_eq!(count(&store).await, 1);
    let blocks: i64 = store
        .run(|work| Ok(work.query_row("SELECT count(*) FROM blocks", [], |row| row.get(0))?))
        .await
        .unwrap();
    assert_eq!(blocks, 0);
}

#[test]
fn a_database_of_a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    drop(Store::open(&file).unwrap());
    let db = Connection::open(&file).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    assert!(matches!(Store::open(&file), Err(StoreError::Version(99))));
    let file = folder.path().join("other.db");
    fs::write(
        &file,
        b"this is no database at all, but long enough to look like one",
    )
    .unwrap();
    assert!(matches!(Store::open(&file), Err(StoreError::Database(_))));
}
