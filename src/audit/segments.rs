//! The files of an audit log: `audit.jsonl`, which is written, `audit-00000001.jsonl` and so on, which are
//! full, and beside each its seal, `audit-00000001.jsonl.seal`. The seal of the file that is written has
//! the number that the file will have.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::chain::Link;
use super::seal::Statement;
use crate::limits;

/// Where the files of one audit log are.
#[derive(Clone, Debug)]
pub struct Segments {
    active: PathBuf,
}

impl Segments {
    /// Those of the file that is written.
    pub fn of(active: &Path) -> Self {
        Self {
            active: active.to_owned(),
        }
    }

    /// The file that is written.
    pub fn active(&self) -> &Path {
        &self.active
    }

    /// The file of a full segment.
    pub fn full(&self, number: u64) -> PathBuf {
        self.active
            .with_file_name(format!("{}{number:08}{}", self.before(), self.after()))
    }

    /// The file with a segment's seal.
    pub fn seal(&self, number: u64) -> PathBuf {
        let mut name = self.full(number).into_os_string();
        name.push(".seal");
        PathBuf::from(name)
    }

    /// What a segment's seal holds; nothing if there is none.
    pub fn read_seal(&self, number: u64) -> io::Result<Option<Vec<u8>>> {
        let mut seal = Vec::new();
        match File::open(self.seal(number)) {
            Ok(file) => file
                .take(limits::AUDIT_SEAL_BYTES_MAX)
                .read_to_end(&mut seal)
                .map(|_| Some(seal)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The numbers of the full segments that are there, in order.
    pub fn numbers(&self) -> io::Result<Vec<u64>> {
        self.numbered("")
    }

    /// The numbers of the files whose names end with this.
    fn numbered(&self, ending: &str) -> io::Result<Vec<u64>> {
        let (before, after) = (self.before(), self.after() + ending);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(self.folder())? {
            let name = entry?.file_name();
            let digits = name
                .to_str()
                .and_then(|name| name.strip_prefix(&before)?.strip_suffix(&after))
                .filter(|digits| digits.len() >= 8);
            if let Some(number) = digits.and_then(|digits| digits.parse().ok())
                && number > 0
                && name.to_str() == Some(&format!("{before}{number:08}{after}"))
            {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The number that the file that is written has, or will have when it is made. Full segments may have been
    /// moved away, with their seals or without.
    pub fn active_number(&self) -> io::Result<u64> {
        let next = self.numbers()?.pop().map_or(1, |last| last + 1);
        let sealed = self.numbered(".seal")?.pop().unwrap_or(1);
        if sealed <= next {
            return Ok(next);
        }
        // Its seal is the last one, or the last but one: then it was about to become full when the gateway
        // was killed, and does not begin where the next one would.
        let mut lines = match Lines::open(&self.active) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(sealed),
            lines => lines?,
        };
        let is_empty = lines.advance()? != Got::Whole;
        let seal = self.read_seal(sealed)?;
        let seal = seal.and_then(|seal| Statement::unverified(&seal));
        let begins = Link::carried(&lines.line);
        let follows = seal.is_none_or(|seal| seal.lines > 0 || begins == Some(seal.first));
        let before = self.seal(sealed - 1).try_exists()?;
        Ok(if is_empty || follows || !before {
            sealed
        } else {
            sealed - 1
        })
    }

    /// Whether a segment was ever sealed here.
    pub(super) fn has_seals(&self) -> io::Result<bool> {
        Ok(!self.numbered(".seal")?.is_empty())
    }

    /// What to read of the log, in order, to see everything since a time: full segments, and the file that is
    /// written. Seals are believed here: they only tell what need not be read.
    pub fn since(&self, time: Option<Timestamp>) -> io::Result<(Vec<PathBuf>, Option<File>)> {
        let active = match File::open(&self.active) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut full = Vec::new();
        for number in self.numbers()? {
            let ended = self.read_seal(number)?;
            let ended = ended.and_then(|seal| Statement::unverified(&seal));
            let before = ended.is_some_and(|seal| time.is_some_and(|time| seal.at < time));
            let path = self.full(number);
            if !before && !is_same(&path, active.as_ref())? {
                full.push(path);
            }
        }
        Ok((full, active))
    }

    /// The folder that all of them are in.
    pub fn folder(&self) -> &Path {
        match self.active.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        }
    }

    /// Makes the new names of files last.
    pub(super) fn settle(&self) -> io::Result<()> {
        File::open(self.folder())?.sync_all()
    }

    fn before(&self) -> String {
        let stem = self.active.file_stem().unwrap_or_default();
        format!("{}-", stem.to_string_lossy())
    }

    fn after(&self) -> String {
        let extension = self.active.extension();
        extension.map_or_else(String::new, |it| format!(".{}", it.to_string_lossy()))
    }
}

/// Puts a file in the place of another as a whole, on disk when this returns. Only one may do so at a time.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let mut file = private().write(true).truncate(true).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

/// Whether the file was opened under its earlier name: it became full a moment ago.
fn is_same(path: &Path, open: Option<&File>) -> io::Result<bool> {
    let Some(open) = open else {
        return Ok(false);
    };
    let (one, other) = (fs::metadata(path)?, open.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// How a new file of the log is made: for nobody else.
pub(super) fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

/// The lines of a segment, one after the other.
#[derive(Debug)]
pub struct Lines<R> {
    from: R,
    /// The line that was read last, newline included.
    pub line: Vec<u8>,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// A line.
    Whole,
    /// What stands behind the last newline.
    Torn,
    /// Nothing is left.
    Nothing,
}

impl Lines<BufReader<File>> {
    /// Those of a file.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self::file)
    }

    /// Those of an open file.
    pub fn file(file: File) -> Self {
        Self::of(BufReader::with_capacity(256 * 1024, file))
    }
}

impl<R: BufRead> Lines<R> {
    /// Those that come from here.
    pub fn of(from: R) -> Self {
        Self {
            from,
            line: Vec::new(),
        }
    }

    /// Reads the next one. An error if it is longer than any that the gateway writes.
    pub fn advance(&mut self) -> io::Result<Got> {
        self.line.clear();
        let most = limits::AUDIT_LINE_BYTES_MAX;
        (&mut self.from)
            .take(most)
            .read_until(b'\n', &mut self.line)?;
        match self.line.last() {
            None => Ok(Got::Nothing),
            Some(b'\n') => Ok(Got::Whole),
            Some(_) if self.line.len() as u64 >= most => Err(io::Error::new(
                ErrorKind::InvalidData,
                "a line without an end",
            )),
            Some(_) => Ok(Got::Torn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_segments_are_found_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let segments = Segments::of(&folder.path().join("audit.jsonl"));
        for name in [
            "audit.jsonl",
            "audit-00000010.jsonl",
            "audit-00000002.jsonl",
            "audit-00000002.jsonl.seal",
            "audit-00000000.jsonl",
            "audit-2.jsonl",
            "audit-+0000003.jsonl",
            "audit-100000000.jsonl",
            "other-00000004.jsonl",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(segments.numbers().unwrap(), [2, 10, 100_000_000]);
        let plain = Segments::of(Path::new("log"));
        assert_eq!(plain.full(7), Path::new("log-00000007"));
        assert_eq!(plain.seal(7), Path::new("log-00000007.seal"));
        assert_eq!(plain.folder(), Path::new("."));
    }

    #[test]
    fn a_line_without_an_end_is_not_read_into_memory() {
        let mut lines = Lines::of(BufReader::new(io::repeat(b'a')));
        assert!(lines.advance().is_err());
        let mut lines = Lines::of(&b"one\ntwo"[..]);
        assert_eq!(lines.advance().unwrap(), Got::Whole);
        assert_eq!(lines.line, b"one\n");
        assert_eq!(lines.advance().unwrap(), Got::Torn);
        assert_eq!(lines.advance().unwrap(), Got::Nothing);
    }
}
