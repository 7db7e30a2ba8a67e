//! `kubectl cp` is an exec of `tar`: what is copied is named, counted and hashed instead of kept.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::hex;
use crate::limits;

const BLOCK: usize = 512;

/// Which way files are copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Into the container.
    Upload,
    /// Out of the container.
    #[default]
    Download,
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CopyReport {
    /// Which way.
    pub direction: Direction,
    /// The path in the container, as the command has it.
    pub path: String,
    /// Bytes of the archive.
    pub bytes: u64,
    /// SHA-256 over the archive, in hexadecimal.
    pub sha256: String,
    /// How many members the archive has.
    pub members: u64,
    /// The first of their names.
    pub names: Vec<String>,
    /// The stream was not an archive up to its end; it is hashed all the same.
    pub malformed: bool,
}

/// A copy in the making.
#[derive(Clone)]
pub struct Copy {
    report: CopyReport,
    digest: digest::Context,
    archive: Archive,
}

/// Where in an archive the reader is.
#[derive(Clone)]
struct Archive {
    block: Vec<u8>,
    /// Bytes of content and padding until the next header.
    skip: u64,
    /// The name that a long-name member gave to the next one.
    long_name: Option<Vec<u8>>,
    /// Bytes of a long name that are still to come, and of its padding.
    long: Option<(u64, u64)>,
    ended: bool,
    malformed: bool,
}

impl Copy {
    /// The copy that a command is. Only the exact commands of kubectl count: with any other option of
    /// `tar` the stream could be something else (`--to-command`), and is recorded in full.
    #[must_use]
    pub fn of(command: &[String], tty: bool, stdin: bool) -> Option<Self> {
        if tty {
            return None;
        }
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let is_path = |path: &str| !path.is_empty() && !path.starts_with('-');
        let (direction, path) = match words.as_slice() {
            ["tar", "cf", "-", path] if is_path(path) && !stdin => (Direction::Download, *path),
            ["tar", rest @ ..] if stdin => {
                let rest = rest
                    .strip_prefix(&["--no-same-permissions", "--no-same-owner"])
                    .unwrap_or(rest);
                match rest {
                    ["-xmf" | "-xf", "-"] => (Direction::Upload, "."),
                    ["-xmf" | "-xf", "-", "-C", path] if is_path(path) => {
                        (Direction::Upload, *path)
                    }
                    _ => return None,
                }
            }
            _ => return None,
        };
        Some(Self {
            report: CopyReport {
                direction,
                path: path.to_owned(),
                ..CopyReport::default()
            },
            digest: digest::Context::new(&digest::SHA256),
            archive: Archive {
                block: Vec::with_capacity(BLOCK),
                skip: 0,
                long_name: None,
                long: None,
                ended: false,
                malformed: false,
            },
        })
    }

    /// Which stream is the archive.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.report.direction
    }

    /// Takes the next bytes of the archive.
    pub fn push(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.report.bytes = self
            .report
            .bytes
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.archive.push(bytes, &mut self.report);
    }

    /// What was copied so far.
    #[must_use]
    pub fn report(&self) -> CopyReport {
        let complete = self.archive.ended
            || self.archive.block.is_empty() && self.archive.skip == 0 && self.report.bytes > 0;
        CopyReport {
            sha256: hex(self.digest.clone().finish().as_ref()),
            malformed: self.archive.malformed || !complete,
            ..self.report.clone()
        }
    }
}

impl Archive {
    fn push(&mut self, mut bytes: &[u8], report: &mut CopyReport) {
        while !bytes.is_empty() && !self.ended && !self.malformed {
            if self.long.is_some() {
                bytes = self.read_long(bytes);
                continue;
            }
            if self.skip > 0 {
                let length = u64::try_from(bytes.len())
                    .unwrap_or(u64::MAX)
                    .min(self.skip);
                self.skip -= length;
                bytes = bytes
                    .get(usize::try_from(length).unwrap_or(usize::MAX)..)
                    .unwrap_or_default();
                continue;
            }
            let wanted = BLOCK.saturating_sub(self.block.len()).min(bytes.len());
            let (head, rest) = bytes.split_at(wanted);
            self.block.extend_from_slice(head);
            bytes = rest;
            if self.block.len() == BLOCK {
                self.header(report);
                self.block.clear();
            }
        }
    }

    fn read_long<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let Some((left, padding)) = self.long.take() else {
            return bytes;
        };
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let (head, rest) = bytes.split_at(length);
        self.long_name
            .get_or_insert_default()
            .extend_from_slice(head);
        let left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
        if left == 0 {
            self.skip = padding;
        } else {
            self.long = Some((left, padding));
        }
        rest
    }

    fn header(&mut self, report: &mut CopyReport) {
        let block = self.block.as_slice();
        if block.iter().all(|byte| *byte == 0) {
            self.ended = true; // two of them end an archive, and nothing but padding follows one
            return;
        }
        let field = |from: usize, to: usize| block.get(from..to).unwrap_or_default();
        let (Some(size), Some(b"ustar")) = (number(field(124, 136)), block.get(257..262)) else {
            self.malformed = true;
            return;
        };
        let padding = size.next_multiple_of(BLOCK as u64).saturating_sub(size);
        match block.get(156) {
            Some(b'L') if size <= limits::RECORDING_COPY_NAME_BYTES_MAX => {
                self.long_name = Some(Vec::new());
                self.long = Some((size, padding));
            }
            // Extended headers and long link names describe the member that follows.
            Some(b'x' | b'g' | b'K' | b'L') => self.skip = size.saturating_add(padding),
            Some(kind) => {
                // Links and folders have no content whatever their size says.
                let has_content = !(b'1'..=b'6').contains(kind);
                self.skip = if has_content {
                    size.saturating_add(padding)
                } else {
                    0
                };
                let name = match self.long_name.take() {
                    Some(name) => text(&name),
                    None => match text(field(345, 500)).as_str() {
                        "" => text(field(0, 100)),
                        prefix => format!("{prefix}/{}", text(field(0, 100))),
                    },
                };
                report.members = report.members.saturating_add(1);
                if report.names.len() < limits::RECORDING_COPY_NAMES_MAX {
                    report.names.push(name);
                }
            }
            None => self.malformed = true,
        }
    }
}

/// The text of a field, up to its first NUL.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(field.get(..end.unwrap_or(field.len())).unwrap_or_default())
        .into_owned()
}

/// A size: octal digits, or big-endian binary for large ones.
fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if *first & 0x80 != 0 {
        return rest
            .iter()
            .try_fold(u64::from(first & 0x7f), |value, byte| {
                value.checked_mul(256)?.checked_add(u64::from(*byte))
            });
    }
    let digits = text(field);
    let digits = digits.trim_matches([' ', '\0']);
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn member(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar ");
        block.extend_from_slice(content);
        block.resize(block.len().next_multiple_of(BLOCK), 0);
        block
    }

    #[test]
    fn f11_only_the_exact_commands_of_kubectl_are_copies() {
        let direction = |line: &str, stdin| {
            Copy::of(&words(line), false, stdin).map(|copy| copy.report().direction)
        };
        assert_eq!(
            direction("tar cf - /etc/x", false),
            Some(Direction::Download)
        );
        assert_eq!(direction("tar -xmf - -C /", true), Some(Direction::Upload));
        assert_eq!(
            direction(
                "tar --no-same-permissions --no-same-owner -xmf - -C /tmp",
                true
            ),
            Some(Direction::Upload)
        );
        for (line, stdin) in [
            ("tar", false),
            ("tar cf - /etc/x", true),
            ("tar cf - --checkpoint-action=exec=sh", false),
            ("tar cf - /x --to-command=sh", false),
            ("tar -xmf - --to-command=sh", true),
            ("tar -xmf - -C --to-command=sh", true),
            ("/tmp/tar cf - /etc/x", false),
            ("sh -c tar", true),
        ] {
            assert_eq!(direction(line, stdin), None, "{line}");
        }
        assert!(Copy::of(&words("tar cf - /etc/x"), true, false).is_none());
    }

    #[test]
    fn an_archive_is_named_counted_and_hashed_wherever_it_is_cut() {
        let long = "deep/".repeat(60);
        let archive = [
            member("etc/x", b'0', b"hunter2"),
            member("etc/", b'5', b""),
            member("././@LongLink", b'L', format!("{long}\0").as_bytes()),
            member("deep/deep", b'0', &[7; 1500]),
            vec![0; 2 * BLOCK],
        ]
        .concat();
        let mut expected = None;
        for cut in [1, 3, 511, 512, 513, archive.len()] {
            let mut copy = Copy::of(&words("tar cf - etc"), false, false).unwrap();
            archive.chunks(cut).for_each(|chunk| copy.push(chunk));
            let report = copy.report();
            assert_eq!(report.names, ["etc/x", "etc/", &long]);
            assert_eq!((report.members, report.malformed), (3, false));
            assert_eq!(report.bytes, archive.len() as u64);
            assert_eq!(*expected.get_or_insert_with(|| report.clone()), report);
        }
    }

    #[test]
    fn what_is_no_archive_is_hashed_and_said_to_be_none() {
        let mut copy = Copy::of(&words("tar cf - etc"), false, false).unwrap();
        copy.push(&[b'x'; 2000]);
        let report = copy.report();
        assert!(report.malformed);
        assert_eq!(report.bytes, 2000);
        assert_eq!(report.sha256.len(), 64);
    }
}
