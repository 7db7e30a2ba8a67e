//! A file system in memory: one for each container, one budget for all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;

mod file;

pub(crate) use file::{Contents, Reader, Writer};

/// What an entry costs besides its content, so that empty files are not free.
const ENTRY_COST: u64 = 512;
/// The longest path.
const PATH_LIMIT: usize = 4096;

/// The bytes all file systems of a node may still take.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU64);

impl Budget {
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(bytes)))
    }

    pub(crate) fn take(&self, bytes: u64) -> Result<(), Error> {
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            });
        taken.map(|_| ()).map_err(|_| Error::NoSpace)
    }

    pub(crate) fn give(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Why an operation failed, in the words of `strerror`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Error {
    Missing,
    IsDirectory,
    NotDirectory,
    Exists,
    NotEmpty,
    NoSpace,
    Denied,
    TooLong,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "No such file or directory",
            Self::IsDirectory => "Is a directory",
            Self::NotDirectory => "Not a directory",
            Self::Exists => "File exists",
            Self::NotEmpty => "Directory not empty",
            Self::NoSpace => "No space left on device",
            Self::Denied => "Permission denied",
            Self::TooLong => "File name too long",
        })
    }
}

/// What `ls -l` and `tar` know about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) kind: Kind,
    pub(crate) len: u64,
    pub(crate) mode: u32,
    pub(crate) modified: Timestamp,
}

/// Kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Device,
}

/// Endless or empty files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Device {
    Null,
    Zero,
    Random,
}

#[derive(Debug, Clone)]
enum Data {
    Directory,
    Device(Device),
    File(Arc<Contents>),
}

#[derive(Debug, Clone)]
struct Entry {
    data: Data,
    mode: u32,
    modified: Timestamp,
}

/// The files of one container.
#[derive(Debug)]
pub(crate) struct FileSystem {
    /// By absolute, normalized path.
    entries: Mutex<BTreeMap<String, Entry>>,
    budget: Arc<Budget>,
}

impl FileSystem {
    /// Only the root and the devices.
    pub(crate) fn new(budget: Arc<Budget>, now: Timestamp) -> Self {
        let device = |device| Entry {
            data: Data::Device(device),
            mode: 0o666,
            modified: now,
        };
        let directory = || Entry {
            data: Data::Directory,
            mode: 0o755,
            modified: now,
        };
        let entries = [
            ("/", directory()),
            ("/dev", directory()),
            ("/dev/null", device(Device::Null)),
            ("/dev/zero", device(Device::Zero)),
            ("/dev/urandom", device(Device::Random)),
            ("/dev/random", device(Device::Random)),
        ];
        let entries = entries.map(|(path, entry)| (path.to_owned(), entry));
        Self {
            entries: Mutex::new(entries.into()),
            budget,
        }
    }

    pub(crate) fn stat(&self, path: &str) -> Result<Stat, Error> {
        let entries = self.entries.lock();
        entries.get(path).map(Entry::stat).ok_or(Error::Missing)
    }

    pub(crate) fn is_directory(&self, path: &str) -> bool {
        self.stat(path)
            .is_ok_and(|stat| stat.kind == Kind::Directory)
    }

    /// The names in a directory, or the entry itself if it is none.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<(String, Stat)>, Error> {
        let entries = self.entries.lock();
        let entry = entries.get(path).ok_or(Error::Missing)?;
        if !matches!(entry.data, Data::Directory) {
            return Err(Error::NotDirectory);
        }
        let prefix = prefix(path);
        let below = entries
            .range(prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(&prefix));
        Ok(below
            .filter_map(|(name, entry)| Some((name.strip_prefix(&prefix)?, entry)))
            .filter(|(name, _)| !name.is_empty() && !name.contains('/'))
            .map(|(name, entry)| (name.to_owned(), entry.stat()))
            .collect())
    }

    /// A path and everything below it, in order.
    pub(crate) fn walk(&self, path: &str) -> Vec<(String, Stat)> {
        let entries = self.entries.lock();
        let prefix = prefix(path);
        let below = entries
            .range(prefix.clone()..)
            .take_while(|(name, _)| name.starts_with(&prefix));
        let own = entries.get_key_value(path).into_iter();
        own.chain(below.filter(|(name, _)| *name != path))
            .map(|(name, entry)| (name.clone(), entry.stat()))
            .collect()
    }

    pub(crate) fn read(&self, path: &str) -> Result<Reader, Error> {
        let entries = self.entries.lock();
        match &entries.get(path).ok_or(Error::Missing)?.data {
            Data::Directory => Err(Error::IsDirectory),
            Data::Device(device) => Ok(Reader::device(*device)),
            Data::File(contents) => Ok(Reader::file(Arc::clone(contents))),
        }
    }

    /// Opens for writing; the file is made or emptied unless `append`.
    pub(crate) fn write(&self, path: &str, append: bool) -> Result<Writer, Error> {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get_mut(path) {
            entry.modified = Timestamp::now();
            return match &mut entry.data {
                Data::Directory => Err(Error::IsDirectory),
                Data::Device(_) => Ok(Writer::null()),
                Data::File(contents) if append => Ok(Writer::file(Arc::clone(contents))),
                Data::File(contents) => {
                    // Readers that have it open keep the old content.
                    *contents = Contents::new(Arc::clone(&self.budget));
                    Ok(Writer::file(Arc::clone(contents)))
                }
            };
        }
        let contents = Contents::new(Arc::clone(&self.budget));
        self.insert(&mut entries, path, Data::File(Arc::clone(&contents)), 0o644)?;
        Ok(Writer::file(contents))
    }

    fn insert(
        &self,
        entries: &mut BTreeMap<String, Entry>,
        path: &str,
        data: Data,
        mode: u32,
    ) -> Result<(), Error> {
        if path.len() > PATH_LIMIT {
            return Err(Error::TooLong);
        }
        match entries.get(parent(path)).map(|entry| &entry.data) {
            Some(Data::Directory) => {}
            Some(_) => return Err(Error::NotDirectory),
            None => return Err(Error::Missing),
        }
        self.budget.take(ENTRY_COST + path.len() as u64)?;
        entries.insert(
            path.to_owned(),
            Entry {
                data,
                mode,
                modified: Timestamp::now(),
            },
        );
        Ok(())
    }

    pub(crate) fn make_directory(&self, path: &str) -> Result<(), Error> {
        let mut entries = self.entries.lock();
        if entries.contains_key(path) {
            return Err(Error::Exists);
        }
        self.insert(&mut entries, path, Data::Directory, 0o755)
    }

    /// `mkdir -p`.
    pub(crate) fn make_directories(&self, path: &str) -> Result<(), Error> {
        let ends = path
            .char_indices()
            .filter(|(at, c)| *c == '/' && *at > 0)
            .map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let part = path.get(..end).unwrap_or(path);
            match self.make_directory(part) {
                Ok(()) => {}
                Err(Error::Exists) if self.is_directory(part) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(crate) fn remove(&self, path: &str, recursive: bool) -> Result<(), Error> {
        let mut entries = self.entries.lock();
        let entry = entries.get(path).ok_or(Error::Missing)?;
        if path == "/" || matches!(entry.data, Data::Device(_)) {
            return Err(Error::Denied);
        }
        let prefix = prefix(path);
        let below: Vec<String> = entries
            .range(prefix.clone()..)
            .map(|(name, _)| name.clone())
            .take_while(|n| n.starts_with(&prefix))
            .collect();
        if !below.is_empty() && !recursive {
            return Err(Error::NotEmpty);
        }
        for name in below.iter().map(String::as_str).chain([path]) {
            if entries.remove(name).is_some() {
                self.budget.give(ENTRY_COST + name.len() as u64);
            }
        }
        Ok(())
    }

    /// Moves one file; directories are not moved.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let mut entries = self.entries.lock();
        let entry = entries.get(from).cloned().ok_or(Error::Missing)?;
        match &entry.data {
            Data::Directory => return Err(Error::IsDirectory),
            Data::Device(_) => return Err(Error::Denied),
            Data::File(_) if from == to => return Ok(()),
            Data::File(_) => {}
        }
        match entries.get(to).map(|entry| &entry.data) {
            Some(Data::Directory) => return Err(Error::IsDirectory),
            Some(Data::Device(_)) => return Err(Error::Denied),
            Some(Data::File(_)) => {
                entries.remove(to);
                self.budget.give(ENTRY_COST + to.len() as u64);
            }
            None => {}
        }
        self.insert(&mut entries, to, entry.data, entry.mode)?;
        entries.remove(from);
        self.budget.give(ENTRY_COST + from.len() as u64);
        Ok(())
    }

    pub(crate) fn change(
        &self,
        path: &str,
        mode: Option<u32>,
        modified: Option<Timestamp>,
    ) -> Result<(), Error> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(path).ok_or(Error::Missing)?;
        entry.mode = mode.unwrap_or(entry.mode);
        entry.modified = modified.unwrap_or(entry.modified);
        Ok(())
    }

    /// Puts a file and its directories in place.
    pub(crate) fn put(
        &self,
        path: &str,
        content: impl Into<Bytes>,
        mode: u32,
    ) -> Result<(), Error> {
        self.make_directories(parent(path))?;
        self.write(path, false)?.write(&content.into())?;
        self.change(path, Some(mode), None)
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        let entries = self.entries.get_mut();
        // The root and the devices were not paid for.
        let paid = entries
            .iter()
            .filter(|(path, _)| *path != "/" && !path.starts_with("/dev"));
        self.budget
            .give(paid.map(|(path, _)| ENTRY_COST + path.len() as u64).sum());
    }
}

impl Entry {
    fn stat(&self) -> Stat {
        let (kind, len) = match &self.data {
            Data::Directory => (Kind::Directory, 4096),
            Data::Device(_) => (Kind::Device, 0),
            Data::File(contents) => (Kind::File, contents.len()),
        };
        Stat {
            kind,
            len,
            mode: self.mode,
            modified: self.modified,
        }
    }
}

/// An absolute path without `.`, `..` and doubled slashes.
pub(crate) fn absolute(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let start = if path.starts_with('/') { "" } else { directory };
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The directory an absolute path is in.
pub(crate) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((directory, _)) => directory,
    }
}

fn prefix(path: &str) -> String {
    if path == "/" {
        path.to_owned()
    } else {
        format!("{path}/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(bytes: u64) -> (FileSystem, Arc<Budget>) {
        let budget = Budget::new(bytes);
        (
            FileSystem::new(Arc::clone(&budget), Timestamp::UNIX_EPOCH),
            budget,
        )
    }

    fn content(fs: &FileSystem, path: &str) -> Vec<u8> {
        let mut reader = fs.read(path).unwrap();
        std::iter::from_fn(|| reader.next_chunk(7))
            .flatten()
            .collect()
    }

    #[test]
    fn paths_are_normalized() {
        assert_eq!(absolute("/a/b", "../c//./d"), "/a/c/d");
        assert_eq!(absolute("/a", "/x/../../y"), "/y");
        assert_eq!(absolute("/", ".."), "/");
        assert_eq!(parent("/a"), "/");
        assert_eq!(parent("/a/b"), "/a");
    }

    #[test]
    fn files_are_written_read_listed_and_removed() {
        let (fs, budget) = system(1 << 20);
        fs.put("/a/b/file", "hello ", 0o600).unwrap();
        fs.write("/a/b/file", true)
            .unwrap()
            .write(&Bytes::from_static(b"world"))
            .unwrap();
        assert_eq!(content(&fs, "/a/b/file"), b"hello world");
        let names: Vec<String> = fs
            .list("/a")
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["b"]);
        assert_eq!(fs.stat("/a/b/file").unwrap().mode, 0o600);
        assert_eq!(fs.write("/nope/x", false).unwrap_err(), Error::Missing);
        assert_eq!(fs.remove("/a", false), Err(Error::NotEmpty));
        fs.remove("/a", true).unwrap();
        assert_eq!(fs.stat("/a/b/file"), Err(Error::Missing));
        assert_eq!(budget.0.load(Ordering::Relaxed), 1 << 20);
    }

    #[test]
    fn the_budget_holds_for_content_and_entries() {
        let (fs, budget) = system(8192);
        fs.put("/file", vec![0u8; 7000], 0o644).unwrap();
        let mut more = fs.write("/file", true).unwrap();
        assert_eq!(
            more.write(&Bytes::from(vec![0u8; 2000])),
            Err(Error::NoSpace)
        );
        assert_eq!(
            fs.make_directory("/x")
                .and_then(|()| fs.make_directory("/y")),
            Err(Error::NoSpace)
        );
        drop((fs, more));
        assert_eq!(budget.0.load(Ordering::Relaxed), 8192);
    }
}
