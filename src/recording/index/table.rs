//! The table in `SQLite`: one row a recording, with a column for everything that is looked for.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rusqlite::types::ToSql;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, TransactionBehavior};

use super::files;
use super::session::{Filter, OPEN, Session, UNSEALED};
use crate::limits;

/// Another version of the table is thrown away and made again.
const VERSION: i64 = 1;

const SCHEMA: &str = "
DROP TABLE IF EXISTS sessions;
DROP TABLE IF EXISTS place;
CREATE TABLE sessions (
  day TEXT NOT NULL,
  id TEXT NOT NULL,
  sealed INTEGER NOT NULL,
  started INTEGER NOT NULL,
  user TEXT NOT NULL,
  agent TEXT NOT NULL,
  namespace TEXT NOT NULL,
  pod TEXT NOT NULL,
  command TEXT NOT NULL,
  verdict TEXT NOT NULL,
  exit_code INTEGER,
  session TEXT NOT NULL,
  PRIMARY KEY (day, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_id ON sessions (id);
CREATE TABLE place (directory TEXT NOT NULL) STRICT;
";

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The database.
    #[error("the index cannot be used: {0}")]
    Database(#[from] rusqlite::Error),
    /// A file or folder.
    #[error("the recordings cannot be read: {0}")]
    Files(#[from] io::Error),
    /// A row is not what was written.
    #[error("the index has a row that cannot be read: {0}")]
    Row(#[from] serde_json::Error),
    /// It was written by another version of the program.
    #[error("the index has another version")]
    Version,
}

impl IndexError {
    /// Whether the file itself is damaged, so that only a new one helps.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Database(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
            ),
            Self::Row(_) | Self::Version => true,
            Self::Files(_) => false,
        }
    }
}

/// The index, open.
pub(super) struct Table {
    db: Connection,
}

/// What became of a recording.
pub(super) enum Change {
    Is(Box<Session>),
    Gone,
}

impl Table {
    /// Opens the index for writing; makes it when it is not there or of another version.
    pub(super) fn open(file: &Path, directory: &Path) -> Result<Self, IndexError> {
        make(file)?;
        let mut db = Connection::open(file)?;
        db.busy_timeout(limits::INDEX_BUSY_TIMEOUT)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?; // it can be made again
        let making = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if version(&making)? != VERSION {
            making.execute_batch(SCHEMA)?;
            making.pragma_update(None, "user_version", VERSION)?;
        }
        let directory = std::path::absolute(directory)?;
        making.execute("DELETE FROM place", [])?;
        making.execute(
            "INSERT INTO place VALUES (?1)",
            [directory.display().to_string()],
        )?;
        making.commit()?;
        Ok(Self { db })
    }

    /// Opens the index to look things up.
    pub(super) fn open_to_read(file: &Path) -> Result<Self, IndexError> {
        let db = Connection::open_with_flags(
            file,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        db.busy_timeout(limits::INDEX_BUSY_TIMEOUT)?;
        if version(&db)? != VERSION {
            return Err(IndexError::Version);
        }
        Ok(Self { db })
    }

    /// Where the recordings are that it is about.
    pub(super) fn directory(&self) -> Result<Option<String>, IndexError> {
        let mut found = self.db.prepare("SELECT directory FROM place")?;
        Ok(found.query_row([], |row| row.get(0)).optional()?)
    }

    /// On which day a session began.
    pub(super) fn day(&self, id: &str) -> Result<Option<String>, IndexError> {
        let mut found = self.db.prepare("SELECT day FROM sessions WHERE id = ?1")?;
        Ok(found.query_row([id], |row| row.get(0)).optional()?)
    }

    /// Takes over what changed, all of it or nothing. A sealed recording never becomes unsealed:
    /// whoever says so read its files before they were complete.
    pub(super) fn apply(&mut self, changes: &[(String, String, Change)]) -> Result<(), IndexError> {
        let writing = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (day, id, change) in changes {
            match change {
                Change::Is(session) => put(&writing, day, id, session)?,
                Change::Gone => {
                    writing
                        .prepare_cached("DELETE FROM sessions WHERE day = ?1 AND id = ?2")?
                        .execute([day, id])?;
                }
            }
        }
        writing.commit()?;
        Ok(())
    }

    /// The days that have rows.
    fn days(&self) -> Result<Vec<String>, IndexError> {
        let mut found = self.db.prepare("SELECT DISTINCT day FROM sessions")?;
        let rows = found.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The rows of a day, and whether each is sealed.
    pub(super) fn known(&self, day: &str) -> Result<HashMap<String, bool>, IndexError> {
        let mut found = self
            .db
            .prepare_cached("SELECT id, sealed FROM sessions WHERE day = ?1")?;
        let rows = found.query_map([day], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Both of these at one moment: a session that is sealed in between would be found here and among the files.
    pub(super) fn at_once(
        &self,
        day: &str,
        filter: &Filter,
    ) -> Result<(HashMap<String, bool>, Vec<Session>), IndexError> {
        let _moment = self.db.unchecked_transaction()?;
        Ok((self.known(day)?, self.sealed(day, filter)?))
    }

    /// The sealed sessions of a day that are looked for, the latest first.
    pub(super) fn sealed(&self, day: &str, filter: &Filter) -> Result<Vec<Session>, IndexError> {
        let exit_code = filter.exit_code.map(i64::from);
        let since = filter.since.map(jiff::Timestamp::as_microsecond);
        let until = filter.until.map(jiff::Timestamp::as_microsecond);
        let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
        let conditions: [(&str, Option<&dyn ToSql>); 10] = [
            ("user =", filter.user.as_ref().map(|value| value as _)),
            ("agent =", filter.agent.as_ref().map(|value| value as _)),
            (
                "namespace =",
                filter.namespace.as_ref().map(|value| value as _),
            ),
            ("1 = instr(id,", filter.id.as_ref().map(|value| value as _)),
            ("pod =", filter.pod.as_ref().map(|value| value as _)),
            ("verdict =", filter.verdict.as_ref().map(|value| value as _)),
            (
                "0 < instr(command,",
                filter.command.as_ref().map(|value| value as _),
            ),
            ("started >=", since.as_ref().map(|value| value as _)),
            ("started <", until.as_ref().map(|value| value as _)),
            ("exit_code =", exit_code.as_ref().map(|value| value as _)),
        ];
        let mut sql = "SELECT session FROM sessions WHERE day = ? AND sealed".to_owned();
        let mut values: Vec<&dyn ToSql> = vec![&day];
        for (condition, value) in conditions {
            if let Some(value) = value {
                sql.push_str(" AND ");
                sql.push_str(condition);
                sql.push_str(if condition.contains('(') { " ?)" } else { " ?" });
                values.push(value);
            }
        }
        sql.push_str(" ORDER BY started DESC, id DESC LIMIT ?");
        values.push(&limit);
        let mut found = self.db.prepare_cached(&sql)?;
        let mut rows = found.query(values.as_slice())?;
        let mut sessions = Vec::new();
        while let Some(row) = rows.next()? {
            let text = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            sessions.push(serde_json::from_str::<Session>(text)?.shortened());
        }
        Ok(sessions)
    }

    /// Makes the rows say what the files say; with `everything`, also of those that are sealed and so
    /// do not change any more. Returns how many recordings there are.
    pub(super) fn reconcile(
        &mut self,
        directory: &Path,
        everything: bool,
    ) -> Result<usize, IndexError> {
        let days = files::days(directory)?;
        let mut count = 0;
        let mut changes = Vec::new();
        for day in &days {
            let mut known = self.known(day)?;
            for id in files::ids(directory, day)? {
                count += 1;
                let sealed = known.remove(&id).unwrap_or(false);
                if !sealed || everything {
                    changes.push(change(directory, day, id)?);
                }
                if changes.len() >= limits::INDEX_BATCH {
                    self.apply(&changes)?;
                    changes.clear();
                }
            }
            for id in known.into_keys() {
                // Looked at again: it may have begun since the folder was read.
                changes.push(change(directory, day, id)?);
            }
        }
        self.apply(&changes)?;
        for day in self.days()? {
            if !directory.join(&day).is_dir() {
                self.db
                    .execute("DELETE FROM sessions WHERE day = ?1", [&day])?;
            }
        }
        Ok(count)
    }
}

/// What the files of a recording say now.
pub(super) fn change(
    directory: &Path,
    day: &str,
    id: String,
) -> Result<(String, String, Change), IndexError> {
    let change = match files::read(&directory.join(day), &id)? {
        Some(session) => Change::Is(Box::new(session)),
        None => Change::Gone,
    };
    Ok((day.to_owned(), id, change))
}

/// Makes the file: `SQLite` would make it readable for others. It belongs to whoever the folder belongs
/// to, so that the gateway can go on with what root has made. `SQLite`'s own files follow it in both.
fn make(file: &Path) -> io::Result<()> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => drop(made?),
    }
    if let Some(folder) = file.parent().filter(|folder| folder.is_dir()) {
        let owner = std::fs::metadata(folder)?;
        let given = std::os::unix::fs::chown(file, Some(owner.uid()), Some(owner.gid()));
        if let Err(error) = given {
            tracing::debug!(%error, "the index belongs to another user than its folder");
        }
    }
    Ok(())
}

fn version(db: &Connection) -> Result<i64, rusqlite::Error> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn put(db: &Connection, day: &str, id: &str, session: &Session) -> Result<(), IndexError> {
    let metadata = &session.metadata;
    let sealed = session.verdict != UNSEALED && session.verdict != OPEN;
    let values: [&dyn ToSql; 12] = [
        &day,
        &id,
        &sealed,
        &metadata.started.as_microsecond(),
        &metadata.user,
        &metadata.agent.as_deref().unwrap_or_default(),
        &metadata.namespace,
        &metadata.pod,
        &metadata.command_line(),
        &session.verdict,
        &session.exit_code.map(i64::from),
        &serde_json::to_string(session)?,
    ];
    db.prepare_cached(
        "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET sealed = excluded.sealed, started = excluded.started,
           user = excluded.user, agent = excluded.agent, namespace = excluded.namespace,
           pod = excluded.pod, command = excluded.command, verdict = excluded.verdict,
           exit_code = excluded.exit_code, session = excluded.session
         WHERE excluded.sealed >= sessions.sealed",
    )?
    .execute(values.as_slice())?;
    Ok(())
}
