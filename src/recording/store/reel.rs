//! The files of one recording, as the writer knows them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Medium, PartFile, part_name};
use crate::recording::metadata::{Part, Summary};

pub(super) struct Reel {
    folder: PathBuf,
    id: String,
    open: Option<OpenPart>,
    parts: Vec<Part>,
}

struct OpenPart {
    file: Arc<dyn PartFile>,
    name: String,
    written: Written,
    /// Up to the last line break, when something stands behind it.
    whole: Option<Box<Written>>,
}

#[derive(Clone, Default)]
struct Written {
    bytes: u64,
    digest: blake3::Hasher,
}

impl Written {
    fn add(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl Reel {
    pub(super) fn new(folder: PathBuf, id: &str) -> Self {
        Self {
            folder,
            id: id.to_owned(),
            open: None,
            parts: Vec::new(),
        }
    }

    /// The file that is being written.
    pub(super) fn file(&self) -> Option<Arc<dyn PartFile>> {
        self.open.as_ref().map(|part| Arc::clone(&part.file))
    }

    /// Appends to the part that is open, if one is.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open.as_mut().map_or(Ok(()), |part| part.append(bytes))
    }

    pub(super) fn next_part(&mut self, medium: &dyn Medium, header: &[u8]) -> io::Result<()> {
        let _locked = self.finish_part()?;
        let name = part_name(&self.id, self.parts.len() + 1);
        let mut part = OpenPart {
            file: medium.create(&self.folder.join(&name))?,
            name,
            written: Written::default(),
            whole: None,
        };
        let result = part.append(header);
        self.open = Some(part);
        result
    }

    /// Returns the file when it is on the disk. It is locked as long as somebody has it: so that nobody takes the
    /// recording for one that a crash left behind before there is a next part or a sidecar.
    pub(super) fn finish_part(&mut self) -> io::Result<Option<Arc<dyn PartFile>>> {
        let Some(part) = self.open.take() else {
            return Ok(None);
        };
        self.parts.push(Part {
            file: part.name,
            bytes: part.written.bytes,
            blake3: part.written.digest.finalize().to_hex().to_string(),
        });
        part.file.sync()?;
        Ok(Some(part.file))
    }

    /// Writes the sidecar, once the last part is finished.
    pub(super) fn sum_up(&self, medium: &dyn Medium, summary: &mut Summary) -> io::Result<()> {
        summary.parts.clone_from(&self.parts);
        let sidecar = self.folder.join(format!("{}.json", self.id));
        let content = serde_json::to_vec(summary).unwrap_or_default();
        medium.write(&sidecar, &content)
    }

    pub(super) fn remove(&mut self, medium: &dyn Medium) -> io::Result<()> {
        let names = self.parts.drain(..).map(|part| part.file);
        let open = self.open.take().map(|part| part.name);
        names
            .chain(open)
            .try_for_each(|name| medium.remove(&self.folder.join(name)))
    }
}

impl OpenPart {
    /// A line may be split between two calls.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.append(bytes) {
            if let Some(whole) = self.whole.take() {
                self.written = *whole;
            }
            // What is left ends with a whole line; if even that fails, readers ignore half a line.
            drop(self.file.cut(self.written.bytes));
            return Err(error);
        }
        let lines = memchr::memrchr(b'\n', bytes).map_or(0, |last| last + 1);
        let (lines, rest) = bytes.split_at_checked(lines).unwrap_or((bytes, &[]));
        if !lines.is_empty() {
            self.whole = None;
            self.written.add(lines);
        }
        if !rest.is_empty() {
            let whole = &self.written;
            self.whole.get_or_insert_with(|| Box::new(whole.clone()));
            self.written.add(rest);
        }
        Ok(())
    }
}
