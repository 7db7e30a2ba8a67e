//! Recordings as files: for nobody but the gateway's own user, locked as long as they are written.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{OFlags, fcntl_setfl};

use super::block::PAGE;
use super::{Medium, PartFile};

/// Bytes below which it does not pay to go past the page cache.
const DIRECT_BYTES_MIN: usize = 64 * 1024;

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

/// A part on the disk.
#[derive(Debug)]
pub struct OnDisk {
    file: File,
    length: AtomicU64,
    /// Whether the file system takes bytes straight from our memory (`O_DIRECT`), as far as we know.
    direct: AtomicBool,
    /// Something went through the page cache since the last direct write.
    cached: AtomicBool,
}

impl Medium for Disk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn PartFile>> {
        if let Some(folder) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        // So that another start does not take it for one that a crash left behind.
        file.try_lock()?;
        sync_folder(path)?;
        Ok(Arc::new(OnDisk::new(file)))
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let new = path.with_extension("json.new");
        let written = write_new(&new, content).and_then(|()| std::fs::rename(&new, path));
        if written.is_err() {
            drop(std::fs::remove_file(&new)); // what is there says more than its own failure
        }
        written?;
        sync_folder(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

impl OnDisk {
    fn new(file: File) -> Self {
        Self {
            file,
            length: AtomicU64::new(0),
            direct: AtomicBool::new(true),
            cached: AtomicBool::new(false),
        }
    }

    /// Writes whole pages straight from our memory, and what stands before and behind them by way of the
    /// page cache. No page is ever written both ways at once, so readers see one file.
    fn put(&self, bytes: &[u8], place: u64) -> io::Result<()> {
        let before = usize::try_from(place.next_multiple_of(PAGE as u64) - place).unwrap_or(0);
        let (head, rest) = bytes.split_at_checked(before).unwrap_or((bytes, &[]));
        let (pages, tail) = rest
            .split_at_checked(rest.len() - rest.len() % PAGE)
            .unwrap_or((rest, &[]));
        if pages.len() < DIRECT_BYTES_MIN
            || pages.as_ptr().align_offset(PAGE) != 0
            || !self.direct.load(Ordering::Relaxed)
        {
            return self.put_in_cache(bytes, place);
        }
        self.put_in_cache(head, place)?;
        // What is written directly is on the disk at once. A crash of the machine must not leave a hole before it.
        if self.cached.swap(false, Ordering::Relaxed) {
            self.sync()?;
        }
        let place = place + before as u64;
        match self.put_directly(pages, place) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.direct.store(false, Ordering::Relaxed);
                self.put_in_cache(pages, place)?;
            }
            done => done?,
        }
        self.put_in_cache(tail, place + pages.len() as u64)
    }

    fn put_in_cache(&self, bytes: &[u8], place: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.cached.store(true, Ordering::Relaxed);
        self.file.write_all_at(bytes, place)
    }

    fn put_directly(&self, pages: &[u8], place: u64) -> io::Result<()> {
        fcntl_setfl(&self.file, OFlags::DIRECT)?;
        let done = self.file.write_all_at(pages, place);
        fcntl_setfl(&self.file, OFlags::empty())?;
        done
    }
}

impl PartFile for OnDisk {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let place = self.length.load(Ordering::Relaxed);
        self.put(bytes, place)?;
        self.length
            .store(place + bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.length.store(length, Ordering::Relaxed);
        self.file.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RECORDING_BLOCK_BYTES;
    use crate::recording::store::block::Blocks;

    /// Small pieces and full blocks, by turns; a reader sees everything at once.
    fn grows(folder: &Path) {
        let path = folder.join("a.cast");
        let part = Disk.create(&path).unwrap();
        let blocks = Blocks::default();
        let source: Vec<u8> = (0..4 * RECORDING_BLOCK_BYTES)
            .map(|at| u8::try_from(at * 31 % 251).unwrap())
            .collect();
        let mut rest = source.as_slice();
        let mut written = 0;
        for piece in [3, 70_000, 0, 1, 0, 4096, 100_001] {
            if piece == 0 {
                let mut block = blocks.take(written as u64).unwrap();
                rest = block.fill(rest);
                part.append(block.bytes()).unwrap();
                written += block.bytes().len();
            } else {
                let (now, later) = rest.split_at(piece);
                part.append(now).unwrap();
                (rest, written) = (later, written + piece);
            }
            assert_eq!(std::fs::read(&path).unwrap(), source[..written]);
        }
        part.cut(100).unwrap();
        part.append(b"end").unwrap();
        let expected = [&source[..100], b"end"].concat();
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }

    #[test]
    fn what_was_appended_is_there_on_any_file_system() {
        grows(tempfile::tempdir().unwrap().path());
        // The file systems that refuse to write past the page cache are mostly those in memory.
        if let Ok(folder) = tempfile::tempdir_in("/dev/shm") {
            grows(folder.path());
        }
    }

    #[test]
    fn where_bytes_cannot_go_past_the_page_cache_they_go_through_it() {
        let file = tempfile::tempfile().unwrap();
        let part = OnDisk::new(file);
        let blocks = Blocks::default();
        let mut block = blocks.take(0).unwrap();
        block.fill(&vec![7; RECORDING_BLOCK_BYTES]);
        // The memory is aligned for another place than the one it goes to, which is refused.
        part.length.store(1, Ordering::Relaxed);
        part.append(block.bytes()).unwrap();
        part.sync().unwrap();
        let mut back = vec![0; RECORDING_BLOCK_BYTES];
        part.file.read_exact_at(&mut back, 1).unwrap();
        assert!(back.iter().all(|byte| *byte == 7));
    }
}
