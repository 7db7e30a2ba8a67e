//! The segments on disk: where the chain goes on after a start, and how a segment becomes full.
//!
//! The order of steps is what makes every crash harmless. A seal is written only for lines that are synced;
//! the seal of the next segment, with no line yet, before the full file gets its name; that name before the
//! next file. So a file without a seal is never ours. Only where somebody took the file away do lines come first:
//! they must not wait for a seal that a full disk does not take.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::chain::Link;
use super::seal::{SigningKey, Statement};
use super::segments::{self, Got, Lines, Segments, private};

/// The audit log of one gateway on disk.
#[derive(Debug)]
pub(super) struct Journal {
    segments: Segments,
    key: SigningKey,
    /// Nobody else writes as long as it is locked.
    _lock: File,
    /// How far the active file has come.
    standing: Mutex<Statement>,
    /// Which file that is, whatever has its name by now.
    written: Mutex<FileId>,
    /// Held while seals and names change.
    changing: Mutex<()>,
    /// New names of files may not last yet.
    unsettled: AtomicBool,
}

/// Device and inode.
type FileId = (u64, u64);

impl Journal {
    /// Finds where the log goes on, and opens the file that is written.
    pub(super) fn open(active: &Path, key_file: &Path) -> io::Result<(Self, File)> {
        let segments = Segments::of(active);
        fs::create_dir_all(segments.folder())?;
        let (key, key_is_new) = open_key(key_file, &segments)?;
        let lock = lock(key_file)?;
        let mut journal = Self {
            standing: Mutex::new(Statement::begin(1, Link::GENESIS, Timestamp::now())),
            written: Mutex::default(),
            segments,
            key,
            _lock: lock,
            changing: Mutex::new(()),
            unsettled: AtomicBool::new(false),
        };
        let file = journal.resume(key_is_new)?;
        Ok((journal, file))
    }

    /// How far the file that is written has come.
    pub(super) fn standing(&self) -> Statement {
        self.standing.lock().clone()
    }

    /// What was written is in the file.
    pub(super) fn advance(&self, to: &Statement) {
        self.standing.lock().clone_from(to);
    }

    /// Syncs the file that is written, then seals it as far as it is synced.
    pub(super) fn seal(&self) -> io::Result<()> {
        let _one_at_a_time = self.changing.lock();
        self.seal_alone()
    }

    fn seal_alone(&self) -> io::Result<()> {
        let mut statement = self.standing(); // as it is before the sync
        let file = File::open(self.segments.active())?;
        file.sync_data()?;
        self.settle()?;
        if !self.is_written(&file.metadata()?, &statement) {
            return Err(io::Error::other(
                "it is not what was written: somebody cut it off or put another in its place",
            ));
        }
        statement.at = Timestamp::now();
        self.put(&statement)
    }

    /// Ends the segment and begins the next; with the file for it.
    pub(super) fn rotate(&self) -> io::Result<(File, Statement)> {
        let _one_at_a_time = self.changing.lock();
        self.seal_alone()?;
        let ended = self.standing();
        let begun = Statement::begin(ended.segment + 1, ended.last, Timestamp::now());
        self.put(&begun)?;
        let full = self.segments.full(ended.segment);
        if full.try_exists()? {
            return Err(is_there_already(&full));
        }
        let active = self.segments.active();
        let mut draft = active.as_os_str().to_owned();
        draft.push(".new");
        let file = private().append(true).open(&draft)?;
        file.set_len(0)?;
        let begins = id(&file.metadata()?);
        fs::rename(active, &full)?;
        if let Err(error) = fs::rename(&draft, active) {
            fs::rename(&full, active)?;
            return Err(error);
        }
        *self.written.lock() = begins;
        self.advance(&begun);
        self.settle_by_and_by();
        Ok((file, begun))
    }

    /// Whether somebody moved, removed, cut or exchanged the file that is written: what is written to it then, nobody finds.
    pub(super) fn has_lost(&self) -> bool {
        match fs::metadata(self.segments.active()) {
            Ok(found) => !self.is_written(&found, &self.standing()),
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }

    /// Whether what was found is the file that is written, with all that was.
    fn is_written(&self, found: &Metadata, so_far: &Statement) -> bool {
        id(found) == *self.written.lock() && found.len() >= so_far.bytes
    }

    /// Ends the segment whose file is lost, and begins the next; with the file for it. What is left of the lost one stays
    /// as a full segment, and its seal says how much there was, so that it is missed when the log is verified. May be
    /// tried again after an error.
    pub(super) fn replace_lost(&self) -> io::Result<(File, Statement)> {
        let _one_at_a_time = self.changing.lock();
        let mut lost = self.standing();
        lost.at = Timestamp::now();
        let begun = Statement::begin(lost.segment + 1, lost.last, lost.at);
        self.put_if_possible(&lost);
        self.put_if_possible(&begun);
        let (active, full) = (self.segments.active(), self.segments.full(lost.segment));
        if !full.try_exists()? {
            self.set_aside(lost.segment)?;
        } else if active.try_exists()? {
            return Err(is_there_already(&full));
        }
        let file = private().append(true).open(active)?;
        *self.written.lock() = id(&file.metadata()?);
        self.advance(&begun);
        self.settle_by_and_by();
        Ok((file, begun))
    }

    /// Files have new names, which is not undone if they cannot be made to last yet: nothing is sealed before they do.
    fn settle_by_and_by(&self) {
        self.unsettled.store(true, Ordering::Relaxed);
        if let Err(error) = self.settle() {
            tracing::error!(%error, "the new names of the audit log's files may not last");
        }
    }

    fn settle(&self) -> io::Result<()> {
        if self.unsettled.load(Ordering::Relaxed) {
            self.segments.settle()?;
            self.unsettled.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Where the seal must not hold up the lines. It is tried again with the next one.
    fn put_if_possible(&self, statement: &Statement) {
        let put = self.put(statement).and_then(|()| self.segments.settle());
        if let Err(error) = put {
            tracing::error!(%error, segment = statement.segment, "a segment of the audit log has no new seal");
        }
    }

    fn put(&self, statement: &Statement) -> io::Result<()> {
        let seal = self.segments.seal(statement.segment);
        segments::replace(&seal, &statement.sealed(&self.key))
    }

    /// Goes on where the log ended. What does not agree with its seal stays as evidence, and the next segment
    /// follows from what was sealed.
    fn resume(&mut self, key_is_new: bool) -> io::Result<File> {
        let number = self.segments.active_number()?;
        let before = self.sealed(number - 1)?;
        let first = before.map_or(Link::GENESIS, |seal| seal.last);
        let sealed = self.sealed(number)?;
        let there = self.segments.active().try_exists()?;
        let begun = Statement::begin(number, first, Timestamp::now());
        let statement = match &sealed {
            Some(sealed) => self.followed(sealed)?,
            // Before this version lines had no link. They are the first ones of the chain, as they are.
            None if key_is_new && number == 1 && there => {
                let (lines, _) = self.read(begun.clone(), u64::MAX)?;
                Some(lines)
            }
            None if number == 1 && !there => Some(begun.clone()),
            None => None,
        };
        let statement = if let Some(statement) = statement {
            statement
        } else {
            self.set_aside(number)?;
            let first = sealed.map_or(first, |sealed| sealed.last);
            Statement::begin(number + 1, first, Timestamp::now())
        };
        *self.standing.get_mut() = statement;
        if self.standing().lines == 0 {
            self.put(&self.standing())?;
        }
        let file = self.open_whole()?;
        self.seal()?;
        self.segments.settle()?;
        Ok(file)
    }

    /// Opens the file for appending. A line torn by a crash is ended, and is a line of the chain as it is.
    fn open_whole(&mut self) -> io::Result<File> {
        let active = self.segments.active();
        let mut file = private().append(true).open(active)?;
        *self.written.get_mut() = id(&file.metadata()?);
        let mut torn = self.torn_tail()?;
        if !torn.is_empty() {
            file.write_all(b"\n")?;
            torn.push(b'\n');
            self.standing.get_mut().push(&torn);
            tracing::warn!(
                file = %active.display(),
                "the last line of the audit log was torn by a crash; it stays in it as it is"
            );
        }
        Ok(file)
    }

    /// What stands behind the last line that was counted.
    fn torn_tail(&self) -> io::Result<Vec<u8>> {
        use std::os::unix::fs::FileExt as _;

        let file = File::open(self.segments.active())?;
        let counted = self.standing().bytes;
        let rest = file.metadata()?.len().saturating_sub(counted);
        let mut tail = vec![0; usize::try_from(rest).unwrap_or_default()];
        file.read_exact_at(&mut tail, counted)?;
        Ok(tail)
    }

    /// What a segment's seal states, if we signed it.
    fn sealed(&self, number: u64) -> io::Result<Option<Statement>> {
        let Some(seal) = self.segments.read_seal(number)? else {
            return Ok(None);
        };
        let statement = Statement::verified(&seal, &self.key.public());
        Ok(statement
            .ok()
            .filter(|statement| statement.segment == number))
    }

    /// How far the active file has come, if it agrees with its seal.
    fn followed(&self, sealed: &Statement) -> io::Result<Option<Statement>> {
        let begun = Statement::begin(sealed.segment, sealed.first, sealed.began);
        let (to_seal, unread) = match self.read(begun, sealed.lines) {
            Err(error) if error.kind() == ErrorKind::NotFound && sealed.lines == 0 => {
                return Ok(Some(sealed.clone()));
            }
            Err(error) if is_no_log(&error) => return Ok(None),
            read => read?,
        };
        if (to_seal.bytes, to_seal.last) != (sealed.bytes, sealed.last) {
            return Ok(None);
        }
        let mut lines = unread;
        let mut all = to_seal;
        loop {
            match lines.advance() {
                Ok(Got::Whole) => all.push(&lines.line),
                Ok(Got::Torn | Got::Nothing) => break,
                Err(error) if is_no_log(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let unsealed = all.lines - sealed.lines;
        if unsealed > 0 {
            tracing::warn!(
                lines = unsealed,
                "the audit log goes on behind lines that were not sealed yet when the gateway ended"
            );
        }
        Ok(Some(all))
    }

    /// Reads at most so many lines of the active file.
    fn read(
        &self,
        mut statement: Statement,
        most: u64,
    ) -> io::Result<(Statement, Lines<io::BufReader<File>>)> {
        let mut lines = Lines::open(self.segments.active())?;
        while statement.lines < most && lines.advance()? == Got::Whole {
            statement.push(&lines.line);
        }
        Ok((statement, lines))
    }

    /// Leaves what is there as a full segment that nothing vouches for, so that it is found when the log is
    /// verified. A file that is gone leaves an empty one.
    fn set_aside(&self, number: u64) -> io::Result<()> {
        let full = self.segments.full(number);
        tracing::error!(
            file = %full.display(),
            "the audit log does not agree with its seal: lines were changed or removed, or the seal was, or the file was \
             moved; what is left is set aside, see `portcullis audit verify`"
        );
        match fs::rename(self.segments.active(), &full) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                private().write(true).open(&full).map(drop)
            }
            renamed => renamed,
        }
    }
}

fn id(file: &Metadata) -> FileId {
    (file.dev(), file.ino())
}

fn is_there_already(file: &Path) -> io::Error {
    io::Error::other(format!("{} is there already", file.display()))
}

/// The file is gone, or has a line that no gateway wrote.
fn is_no_log(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData)
}

/// The key of this data directory, and whether it was made just now.
fn open_key(path: &Path, segments: &Segments) -> io::Result<(SigningKey, bool)> {
    let unusable = |why: &str| {
        io::Error::other(format!(
            "the key of the audit log, {}, {why}",
            path.display()
        ))
    };
    match fs::read(path) {
        Ok(text) => {
            let key = SigningKey::read(&text)
                .ok_or_else(|| unusable("is damaged; restore it from a backup"))?;
            return Ok((key, false));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if segments.has_seals()? || !segments.numbers()?.is_empty() {
        return Err(unusable(
            "is gone, but there are segments that were sealed with it; restore it from a backup, or move all files of the audit log elsewhere",
        ));
    }
    let (text, key) = SigningKey::generate().ok_or_else(|| unusable("cannot be made"))?;
    let place = Segments::of(path);
    fs::create_dir_all(place.folder())?;
    let mut draft = tempfile::Builder::new()
        .prefix(".audit.key.")
        .tempfile_in(place.folder())?; // mode 0600
    draft.write_all(text.as_bytes())?;
    draft.as_file().sync_all()?;
    draft
        .persist_noclobber(path)
        .map_err(|refused| refused.error)?;
    place.settle()?;
    tracing::info!(
        file = %path.display(), key = %key.public().fingerprint(),
        "made the key that the audit log is sealed with; keep what `portcullis audit key` prints elsewhere"
    );
    Ok((key, true))
}

/// Waits a moment for a gateway that is about to end.
fn lock(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::other(
        "another gateway writes it; two cannot share a data directory",
    ))
}

/// How often, and after which pause, the lock of a gateway that is about to end is tried: 5 seconds.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
pub(super) mod tests;
