//! Seals what a crash left open: the unfinished line at the end is cut off, and a sidecar says that the
//! recording is truncated. Nothing else of it is touched.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::metadata::{Exit, Metadata, Part, Summary};
use super::store::{Medium, part_name};
use crate::limits;
use crate::wire::asciicast::{Clock, EXIT, Event, ParsedHeader};

/// Seals in a thread of its own, so that a large folder does not hold up the start.
pub fn start(directory: PathBuf, medium: Arc<dyn Medium>) -> io::Result<()> {
    std::thread::Builder::new()
        .name("recording-seal".to_owned())
        .spawn(move || match seal_all(&directory, &*medium) {
            Ok(0) => {}
            Ok(sealed) => tracing::warn!(sealed, "sealed recordings that a crash had left open"),
            Err(error) => {
                tracing::error!(%error, "recordings that a crash left open cannot be sealed");
            }
        })?;
    Ok(())
}

/// Seals every recording that has no sidecar and that nobody is writing; returns how many.
pub fn seal_all(directory: &Path, medium: &dyn Medium) -> io::Result<usize> {
    let mut sealed = 0;
    for year in folders(directory)? {
        for month in folders(&year)? {
            for day in folders(&month)? {
                for id in open_recordings(&day)? {
                    match seal_one(&day, &id, medium) {
                        Ok(true) => sealed += 1,
                        Ok(false) => {}
                        // The others are worth sealing all the same.
                        Err(error) => tracing::error!(%error, id, "a recording cannot be sealed"),
                    }
                }
            }
        }
    }
    Ok(sealed)
}

fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The ids of recordings in a folder that have a first part and no sidecar.
fn open_recordings(folder: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".cast"));
        if let Some(id) = id
            && !id.contains('.')
            && !folder.join(format!("{id}.json")).exists()
        {
            found.push(id.to_owned());
        }
    }
    Ok(found)
}

fn seal_one(folder: &Path, id: &str, medium: &dyn Medium) -> io::Result<bool> {
    let mut paths = Vec::new();
    while let path = folder.join(part_name(id, paths.len() + 1))
        && path.exists()
    {
        paths.push(path);
    }
    // The last part is locked as long as somebody writes it.
    let Some(last) = paths.last() else {
        return Ok(false);
    };
    let writing = OpenOptions::new().append(true).open(last)?;
    match writing.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(false),
        locked => locked?,
    }
    if folder.join(format!("{id}.json")).exists() {
        return Ok(false); // sealed a moment ago
    }
    let mut summary = Summary {
        version: 1,
        reason: "unknown".to_owned(),
        truncated: true,
        metadata: Metadata {
            id: id.to_owned(),
            ..Metadata::default()
        },
        ..Summary::default()
    };
    let modified = writing.metadata()?.modified()?; // before what is cut off changes it
    let mut reading = Reading::default();
    for path in &paths {
        let (part, unfinished) = reading.part(path, &mut summary)?;
        summary.parts.push(part);
        if unfinished > 0 {
            let length = std::fs::metadata(path)?.len().saturating_sub(unfinished);
            OpenOptions::new()
                .append(true)
                .open(path)?
                .set_len(length)?;
            summary.discarded_bytes += unfinished;
        }
    }
    writing.sync_all()?;
    summary.ended = Timestamp::try_from(modified).unwrap_or_default();
    summary.duration_ms = u64::try_from(reading.at.as_millis()).unwrap_or(u64::MAX);
    let content = serde_json::to_vec(&summary)?;
    medium.write(&folder.join(format!("{id}.json")), &content)?;
    Ok(true)
}

/// What was read of the parts so far.
#[derive(Default)]
struct Reading {
    clock: Option<Clock>,
    at: Duration,
}

impl Reading {
    /// Reads a part; with the number of bytes after its last line break. A crash of the machine can leave any
    /// number of zeroes, so no more is read at once than a line may have.
    fn part(&mut self, path: &Path, summary: &mut Summary) -> io::Result<(Part, u64)> {
        let mut file = BufReader::new(File::open(path)?);
        let (mut digest, mut ahead) = (blake3::Hasher::new(), None);
        let (mut line, mut bytes, mut unfinished, mut first) = (Vec::new(), 0, 0, true);
        loop {
            line.clear();
            let most = limits::RECORDING_LINE_BYTES_MAX;
            let length = file.by_ref().take(most).read_until(b'\n', &mut line)? as u64;
            unfinished += length;
            if length == 0 || !line.ends_with(b"\n") && length < most {
                let part = Part {
                    file: path
                        .file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned(),
                    bytes,
                    blake3: digest.finalize().to_hex().to_string(),
                };
                return Ok((part, unfinished));
            }
            if !line.ends_with(b"\n") {
                ahead.get_or_insert_with(|| digest.clone()).update(&line);
                continue;
            }
            digest = ahead.take().unwrap_or(digest);
            digest.update(&line);
            bytes += std::mem::take(&mut unfinished);
            if std::mem::take(&mut first) {
                self.header(&line, summary);
            } else {
                self.event(&line, summary);
            }
        }
    }

    fn header(&mut self, line: &[u8], summary: &mut Summary) {
        let Ok(header) = ParsedHeader::parse(line) else {
            return;
        };
        if self.clock.is_none() {
            summary.format = header.version;
            let metadata = header.metadata.as_deref().map(serde_json::from_str);
            if let Some(Ok(metadata)) = metadata {
                summary.metadata = metadata;
            }
        }
        self.clock.get_or_insert_with(|| Clock::new(header.version));
    }

    fn event(&mut self, line: &[u8], summary: &mut Summary) {
        summary.events += 1;
        let (Ok(event), Some(clock)) = (Event::parse(line), &mut self.clock) else {
            return;
        };
        self.at = clock.at(&event);
        if event.code == EXIT {
            summary.exit = Some(Exit {
                code: event.data.parse().ok(),
                ..Exit::default()
            });
        }
    }
}
