//! `tar`, as `kubectl cp` uses it: `tar cf - path`, `tar xmf - -C directory`, `tar tf -`.
//! Contents stream through; only headers are held.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use tar::{Builder, EntryType, Header};

use super::{Call, PIECE};
use crate::node::shell::fs::{self, Kind, Stat, Writer};
use crate::node::shell::io::{Broken, Input, Output};

/// The unit of the format.
const BLOCK: usize = 512;
/// The longest extended header (long names, PAX records).
const EXTENSION_LIMIT: u64 = 1 << 20;

/// What the command line asks for.
#[derive(Default)]
struct Request {
    mode: Option<char>,
    file: Option<String>,
    directory: String,
    verbose: bool,
    paths: Vec<String>,
}

pub(super) async fn run(call: &mut Call<'_>) -> Result<u8, Broken> {
    let request = match parse(&call.arguments, &call.shell.directory) {
        Ok(request) => request,
        Err(message) => return call.complain(&message).await,
    };
    match request.mode {
        Some('c') => create(call, &request).await,
        Some(mode) => read(call, &request, mode == 't').await,
        None => call.complain("must specify one of -c, -x, -t").await,
    }
}

fn parse(arguments: &[String], directory: &str) -> Result<Request, String> {
    let mut request = Request {
        directory: directory.to_owned(),
        ..Request::default()
    };
    let mut words = arguments.iter();
    let mut first = true;
    while let Some(word) = words.next() {
        // The first argument may be a bundle of options without a dash.
        let bundle = word
            .strip_prefix('-')
            .filter(|rest| !rest.is_empty() && !rest.starts_with('-'));
        let bundle =
            bundle.or_else(|| Some(word.as_str()).filter(|word| first && !word.starts_with('-')));
        first = false;
        let Some(bundle) = bundle else {
            match word.strip_prefix("--") {
                // Ownership, times and the like are not simulated.
                Some(_) => {}
                None => request.paths.push(word.clone()),
            }
            continue;
        };
        for letter in bundle.chars() {
            match letter {
                'c' | 'x' | 't' => request.mode = Some(letter),
                'f' => request.file = words.next().cloned(),
                'C' => {
                    let to = words.next().map(String::as_str).unwrap_or_default();
                    request.directory = fs::absolute(&request.directory, to);
                }
                'v' => request.verbose = true,
                'm' | 'p' | 'o' | 'h' | 'k' => {}
                other => return Err(format!("invalid option -- '{other}'")),
            }
        }
    }
    Ok(request)
}

async fn create(call: &mut Call<'_>, request: &Request) -> Result<u8, Broken> {
    let mut output = match request.file.as_deref() {
        None | Some("-") => call.streams.output.clone(),
        Some(path) => match call.shell.machine.fs.write(&call.shell.path(path), false) {
            Ok(writer) => Output::File(writer),
            Err(error) => {
                return call
                    .complain(&format!("can't open '{path}': {error}"))
                    .await;
            }
        },
    };
    let machine = Arc::clone(&call.shell.machine);
    let (mut status, mut told) = (0, false);
    for path in &request.paths {
        let absolute = fs::absolute(&request.directory, path);
        let entries = machine.fs.walk(&absolute);
        if entries.is_empty() {
            status = call
                .complain(&format!("{path}: No such file or directory"))
                .await?;
        }
        if path.starts_with('/') && !told && !entries.is_empty() {
            told = true;
            call.complain("removing leading '/' from member names")
                .await?;
        }
        for (entry, stat) in entries {
            let below = entry
                .strip_prefix(&absolute)
                .unwrap_or_default()
                .trim_start_matches('/');
            let shown = path.trim_start_matches('/').trim_end_matches('/');
            let parts = [shown, below];
            let name = parts
                .iter()
                .filter(|part| !part.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join("/");
            let Some(header) = header(if name.is_empty() { "." } else { &name }, &stat) else {
                continue;
            };
            if request.verbose {
                call.streams.error.write(format!("{name}\n")).await?;
            }
            output.write(header).await?;
            if stat.kind == Kind::File {
                content(&machine.fs, &entry, stat.len, &mut output).await?;
            }
        }
    }
    // The end: two empty blocks, filled up to a record as every tar does.
    output.write(vec![0; 20 * BLOCK]).await?;
    Ok(status)
}

/// Exactly `len` bytes of a file, whatever happens to it meanwhile, filled up to whole blocks.
async fn content(
    fs: &fs::FileSystem,
    path: &str,
    len: u64,
    output: &mut Output,
) -> Result<(), Broken> {
    let mut reader = fs.read(path).map_err(Broken::File)?;
    let mut left = usize::try_from(len).unwrap_or(usize::MAX);
    while left > 0 {
        let chunk = reader
            .next_chunk(left.min(PIECE))
            .unwrap_or_else(|| Bytes::from(vec![0; left.min(PIECE)]));
        left -= chunk.len();
        output.write(chunk).await?;
    }
    let rest = usize::try_from(len).unwrap_or(0) % BLOCK;
    if rest > 0 {
        output.write(vec![0; BLOCK - rest]).await?;
    }
    Ok(())
}

/// The header of an entry, with a long name before it if needed.
fn header(name: &str, stat: &Stat) -> Option<Vec<u8>> {
    let mut header = Header::new_gnu();
    let (kind, len) = match stat.kind {
        Kind::File => (EntryType::Regular, stat.len),
        Kind::Directory => (EntryType::Directory, 0),
        Kind::Device => return None,
    };
    header.set_entry_type(kind);
    header.set_size(len);
    header.set_mode(stat.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(stat.modified.as_second()).unwrap_or(0));
    header.set_username("root").ok()?;
    header.set_groupname("root").ok()?;
    let name = if stat.kind == Kind::Directory {
        format!("{name}/")
    } else {
        name.to_owned()
    };
    // The builder writes the header as it is and copies no content: that streams later.
    let mut builder = Builder::new(Vec::new());
    builder
        .append_data(&mut header, &name, std::io::empty())
        .ok()?;
    Some(builder.get_ref().clone())
}

async fn read(call: &mut Call<'_>, request: &Request, lists: bool) -> Result<u8, Broken> {
    let input = match request.file.as_deref() {
        None => call.streams.input.clone(),
        Some(path) => match call.open(path) {
            Ok(input) => input,
            Err(message) => return call.complain(&format!("can't open {message}")).await,
        },
    };
    let mut archive = Archive {
        input,
        held: BytesMut::new(),
    };
    let machine = Arc::clone(&call.shell.machine);
    let mut long_name: Option<String> = None;
    loop {
        let Some(block) = archive.take(BLOCK).await else {
            return call.complain("short read").await;
        };
        if block.iter().all(|byte| *byte == 0) {
            // What follows is padding; it is read so that the sender can finish.
            while archive.take(BLOCK).await.is_some() {}
            return Ok(0);
        }
        let parsed = parse_header(&block);
        let Some((header, mut size, kind)) = parsed else {
            return call.complain("invalid tar header").await;
        };
        if matches!(
            kind,
            EntryType::GNULongName
                | EntryType::GNULongLink
                | EntryType::XHeader
                | EntryType::XGlobalHeader
        ) {
            if size > EXTENSION_LIMIT {
                return call.complain("invalid tar header").await;
            }
            let Some(data) = archive.padded(size).await else {
                return call.complain("short read").await;
            };
            long_name = extended_name(kind, &data).or(long_name);
            continue;
        }
        let name = long_name
            .take()
            .unwrap_or_else(|| String::from_utf8_lossy(&header.path_bytes()).into_owned());
        if kind != EntryType::Regular {
            size = 0;
        }
        if lists || request.verbose {
            call.print(format!("{name}\n")).await?;
        }
        let path = fs::absolute(&request.directory, name.trim_start_matches('/'));
        let wanted = !lists && !name.split('/').any(|part| part == "..");
        let mut writer = None;
        if wanted {
            match place(&machine.fs, &path, kind, &header) {
                Ok(opened) => writer = opened,
                Err(error) => {
                    return call
                        .complain(&format!("can't create '{name}': {error}"))
                        .await;
                }
            }
        }
        if !archive.copy(size, writer.as_mut()).await? {
            return call.complain("short read").await;
        }
    }
}

fn parse_header(block: &[u8]) -> Option<(Header, u64, EntryType)> {
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(block);
    let sum = header.cksum().ok()?;
    // The checksum counts its own field as spaces.
    let counted = block.iter().enumerate().map(|(at, byte)| {
        if (148..156).contains(&at) {
            32
        } else {
            u32::from(*byte)
        }
    });
    if counted.sum::<u32>() != sum {
        return None;
    }
    let size = header.entry_size().ok()?;
    let kind = match header.entry_type() {
        EntryType::Continuous | EntryType::GNUSparse => EntryType::Regular,
        other => other,
    };
    Some((header, size, kind))
}

fn extended_name(kind: EntryType, data: &[u8]) -> Option<String> {
    match kind {
        EntryType::GNULongName => {
            let name = data.split(|byte| *byte == 0).next().unwrap_or_default();
            Some(String::from_utf8_lossy(name).into_owned())
        }
        EntryType::XHeader => {
            let mut records = tar::PaxExtensions::new(data).flatten();
            let path = records.find(|record| record.key_bytes() == b"path");
            path.map(|record| String::from_utf8_lossy(record.value_bytes()).into_owned())
        }
        _ => None,
    }
}

/// Makes a directory or opens a file; links and devices are left out.
fn place(
    fs: &fs::FileSystem,
    path: &str,
    kind: EntryType,
    header: &Header,
) -> Result<Option<Writer>, fs::Error> {
    match kind {
        EntryType::Directory => fs.make_directories(path).map(|()| None),
        EntryType::Regular => {
            fs.make_directories(fs::parent(path))?;
            let writer = fs.write(path, false)?;
            fs.change(
                path,
                Some(header.mode().unwrap_or(0o644) & 0o777),
                Some(Timestamp::now()),
            )?;
            Ok(Some(writer))
        }
        _ => Ok(None),
    }
}

/// Reads an archive block by block.
struct Archive {
    input: Input,
    held: BytesMut,
}

impl Archive {
    async fn take(&mut self, bytes: usize) -> Option<BytesMut> {
        while self.held.len() < bytes {
            self.held.extend_from_slice(&self.input.chunk(PIECE).await?);
        }
        Some(self.held.split_to(bytes))
    }

    /// A small content with its padding.
    async fn padded(&mut self, size: u64) -> Option<BytesMut> {
        let size = usize::try_from(size).ok()?;
        let mut data = self.take(size.next_multiple_of(BLOCK)).await?;
        data.truncate(size);
        Some(data)
    }

    /// Passes a content on; false if the input ended before it.
    async fn copy(&mut self, size: u64, mut writer: Option<&mut Writer>) -> Result<bool, Broken> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        let mut left = size;
        while left > 0 {
            let piece = if self.held.is_empty() {
                let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                let Some(piece) = self.input.chunk(most).await else {
                    return Ok(false);
                };
                piece
            } else {
                let most = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(self.held.len());
                self.held.split_to(most).freeze()
            };
            left -= piece.len() as u64;
            if let Some(writer) = writer.as_deref_mut() {
                writer.write(&piece).map_err(Broken::File)?;
            }
        }
        Ok(self
            .take(usize::try_from(padding).unwrap_or(0))
            .await
            .is_some())
    }
}
