//! `kubectl cp` is an exec of `tar`: what is copied is named, counted and hashed instead of kept.
//!
//! The command alone proves nothing: `tar` may be any program in a container. So only bytes that are
//! an archive are left out; from the first byte that is none, everything is given back to be kept.

use std::borrow::Cow;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::hex;
use crate::limits;
use crate::session::StreamType;

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
#[derive(Clone, Default)]
struct Archive {
    /// The header that is being read.
    block: Vec<u8>,
    /// Bytes of content and padding until the next header.
    skip: u64,
    /// The extended header that is being read.
    extended: Option<Extended>,
    /// What extended headers said about the next member.
    next: Next,
    ended: bool,
    malformed: bool,
}

/// An extended header: a long name of GNU tar, or records of POSIX pax.
#[derive(Clone)]
struct Extended {
    is_pax: bool,
    content: Vec<u8>,
    left: u64,
    padding: u64,
}

/// What holds for the next member instead of what its header says.
#[derive(Clone, Default)]
struct Next {
    name: Option<Vec<u8>>,
    size: Option<u64>,
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
            ["sh", "-c", line] if !stdin => (Direction::Download, with_retries(line)?),
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
            archive: Archive::default(),
        })
    }

    /// Which stream is the archive.
    #[must_use]
    pub fn stream(&self) -> StreamType {
        match self.report.direction {
            Direction::Upload => StreamType::Stdin,
            Direction::Download => StreamType::Stdout,
        }
    }

    /// Takes the next bytes; gives back what is no archive and so has to be kept.
    pub fn push<'b>(&mut self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        self.digest.update(bytes);
        self.report.bytes = self
            .report
            .bytes
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.archive.push(bytes, &mut self.report)
    }

    /// Nothing more is coming: gives back the header that is not complete, which may be none.
    pub fn rest(&mut self) -> Vec<u8> {
        if self.archive.block.is_empty() {
            return Vec::new();
        }
        self.archive.malformed = true;
        std::mem::take(&mut self.archive.block)
    }

    /// What was copied so far.
    #[must_use]
    pub fn report(&self) -> CopyReport {
        let complete = self.archive.ended
            || self.archive.block.is_empty()
                && self.archive.skip == 0
                && self.archive.extended.is_none()
                && self.report.bytes > 0;
        CopyReport {
            sha256: hex(self.digest.clone().finish().as_ref()),
            malformed: self.archive.malformed || !complete,
            ..self.report.clone()
        }
    }
}

impl Archive {
    fn push<'b>(&mut self, mut bytes: &'b [u8], report: &mut CopyReport) -> Cow<'b, [u8]> {
        while !bytes.is_empty() && !self.malformed {
            if self.ended {
                // Archives are filled up with zeros, and nothing else follows one.
                let Some(other) = bytes.iter().position(|byte| *byte != 0) else {
                    return Cow::default();
                };
                self.malformed = true;
                return Cow::Borrowed(bytes.get(other..).unwrap_or_default());
            }
            if let Some(extended) = self.extended.take() {
                bytes = self.read_extended(extended, bytes);
                continue;
            }
            if self.skip > 0 {
                bytes = take(&mut self.skip, bytes).1;
                continue;
            }
            let wanted = BLOCK.saturating_sub(self.block.len()).min(bytes.len());
            let (head, rest) = bytes.split_at(wanted);
            self.block.extend_from_slice(head);
            bytes = rest;
            if self.block.len() == BLOCK {
                self.header(report);
                if self.malformed {
                    let mut other = std::mem::take(&mut self.block);
                    other.extend_from_slice(bytes);
                    return Cow::Owned(other);
                }
                self.block.clear();
            }
        }
        Cow::Borrowed(bytes)
    }

    fn read_extended<'b>(&mut self, mut extended: Extended, bytes: &'b [u8]) -> &'b [u8] {
        let (head, rest) = take(&mut extended.left, bytes);
        extended.content.extend_from_slice(head);
        if extended.left > 0 {
            self.extended = Some(extended);
            return rest;
        }
        self.skip = extended.padding;
        if extended.is_pax {
            self.next.pax(&extended.content);
        } else {
            self.next.name = Some(extended.content);
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
        let (Some(size), Some(b"ustar"), Some(kind)) = (
            number(field(124, 136)),
            block.get(257..262),
            block.get(156).copied(),
        ) else {
            self.malformed = true;
            return;
        };
        if matches!(kind, b'L' | b'x') && size <= limits::RECORDING_COPY_NAME_BYTES_MAX {
            self.extended = Some(Extended {
                is_pax: kind == b'x',
                content: Vec::new(),
                left: size,
                padding: padding(size),
            });
            return;
        }
        // What is left of them describes all members, or a link.
        if matches!(kind, b'x' | b'g' | b'K' | b'L') {
            self.skip = size.saturating_add(padding(size));
            return;
        }
        let next = std::mem::take(&mut self.next);
        let size = next.size.unwrap_or(size);
        // Links and folders have no content whatever their size says.
        let has_content = !(b'1'..=b'6').contains(&kind);
        self.skip = if has_content {
            size.saturating_add(padding(size))
        } else {
            0
        };
        let name = match next.name {
            Some(name) => text(&name),
            None => match text(field(345, 500)).as_str() {
                // GNU tar keeps times where POSIX has the beginning of a long name.
                prefix if !prefix.is_empty() && block.get(262) == Some(&0) => {
                    format!("{prefix}/{}", text(field(0, 100)))
                }
                _ => text(field(0, 100)),
            },
        };
        report.members = report.members.saturating_add(1);
        if report.names.len() < limits::RECORDING_COPY_NAMES_MAX {
            report.names.push(name);
        }
    }
}

impl Next {
    /// Reads records `LENGTH KEY=VALUE\n`, LENGTH being that of the whole record (POSIX pax).
    fn pax(&mut self, mut records: &[u8]) {
        while let Some(space) = records.iter().position(|byte| *byte == b' ') {
            let (digits, _) = records.split_at(space);
            let length = std::str::from_utf8(digits)
                .ok()
                .and_then(|it| it.parse().ok());
            // A record is longer than what says so: each turn takes something off.
            let length = length.filter(|length| *length > space);
            let Some((record, rest)) = length.and_then(|it| records.split_at_checked(it)) else {
                return;
            };
            let record = record.get(space.saturating_add(1)..).unwrap_or_default();
            let record = record.strip_suffix(b"\n").unwrap_or(record);
            if let Some(path) = record.strip_prefix(b"path=") {
                self.name = Some(path.to_vec());
            } else if let Some(size) = record.strip_prefix(b"size=") {
                self.size = std::str::from_utf8(size)
                    .ok()
                    .and_then(|it| it.parse().ok());
            }
            records = rest;
        }
    }
}

/// Takes at most `left` bytes off, and counts them.
fn take<'b>(left: &mut u64, bytes: &'b [u8]) -> (&'b [u8], &'b [u8]) {
    let length = usize::try_from(*left)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    *left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
    bytes.split_at(length)
}

/// Bytes that fill the last block of a content.
fn padding(size: u64) -> u64 {
    size.checked_next_multiple_of(BLOCK as u64)
        .map_or(0, |whole| whole.saturating_sub(size))
}

/// The path in the one shell line that kubectl sends, for `cp --retries`. Only characters that no
/// shell gives a meaning to: so the line runs these two programs and nothing else. A later attempt
/// begins in the middle of the archive, and is kept as any other output.
fn with_retries(line: &str) -> Option<&str> {
    let path = line.strip_prefix("tar cf - ")?;
    let path = ["0", "1"]
        .iter()
        .find_map(|from| path.strip_suffix(&format!(" | tail -c+{from}")))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@%,:=".contains(&byte);
    let is_plain = !path.is_empty() && !path.starts_with('-') && path.bytes().all(plain);
    is_plain.then_some(path)
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
    use crate::recording::tests::fixtures::tar_member as member;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
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
            assert!(archive.chunks(cut).all(|chunk| copy.push(chunk).is_empty()));
            assert!(copy.rest().is_empty());
            let report = copy.report();
            assert_eq!(report.names, ["etc/x", "etc/", &long]);
            assert_eq!((report.members, report.malformed), (3, false));
            assert_eq!(report.bytes, archive.len() as u64);
            assert_eq!(*expected.get_or_insert_with(|| report.clone()), report);
        }
    }

    #[test]
    fn pax_headers_name_and_measure_the_next_member() {
        let long = "ä".repeat(200);
        let record = |text: &str| {
            let length = text.len() + 5; // three digits, a blank, a line break
            format!("{length} {text}\n")
        };
        let mut big = member("short", b'0', &[7; 1500]);
        big[124..135].copy_from_slice(b"00000000000"); // as Go writes what does not fit
        let pax = record(&format!("path={long}")) + "13 size=1500\n" + "9 mtime=1\n";
        let archive = [
            member("PaxHeaders/x", b'x', pax.as_bytes()),
            big,
            member("etc/y", b'0', b"y"),
            vec![0; 20 * BLOCK],
        ]
        .concat();
        for cut in [1, 511, archive.len()] {
            let mut copy = Copy::of(&words("tar -xmf - -C /"), false, true).unwrap();
            assert!(archive.chunks(cut).all(|chunk| copy.push(chunk).is_empty()));
            let report = copy.report();
            assert_eq!(report.names, [long.as_str(), "etc/y"]);
            assert!(!report.malformed);
        }
        let mut next = Next::default();
        for broken in [
            "",
            "x",
            "5",
            "99 path=x\n",
            "0 path=x\n",
            "3 path=x\n",
            "-1 path=x\n",
        ] {
            next.pax(broken.as_bytes());
        }
        assert!(next.name.is_none() && next.size.is_none());
    }

    #[test]
    fn retries_are_copies_and_other_lines_of_shell_are_not() {
        let copy = |line: &str| {
            let words = ["sh", "-c", line].map(str::to_owned);
            Copy::of(&words, false, false).map(|copy| copy.report().path)
        };
        assert_eq!(
            copy("tar cf - /etc/x | tail -c+0").as_deref(),
            Some("/etc/x")
        );
        for line in [
            "tar cf -",
            "tar cf - /etc/x",
            "tar cf - /etc/x | tail -c+0; sh",
            "tar cf - /etc/x | tail -c+512",
            "tar cf - x;id | tail -c+0",
            "tar cf - x$(id) | tail -c+0",
            "tar cf - x`id` | tail -c+0",
            "tar cf - x\nid | tail -c+0",
            "tar cf - * | tail -c+0",
            "tar cf - {a,--to-command=sh} | tail -c+0",
            "tar cf - x --to-command=sh | tail -c+0",
            "tar cf - --checkpoint-action=exec=sh | tail -c+0",
            "tar cf -  | tail -c+0",
            "tar xf - ; sh",
            "sh",
        ] {
            assert_eq!(copy(line), None, "{line}");
        }
        let words = ["sh", "-c", "tar cf - /x | tail -c+0"].map(str::to_owned);
        assert!(
            Copy::of(&words, false, true).is_none(),
            "kubectl sends no input"
        );
    }

    /// What is given back of a stream, wherever it is cut.
    fn given_back(stream: &[u8]) -> Vec<u8> {
        let back = |cut: usize| {
            let mut copy = Copy::of(&words("tar cf - etc"), false, false).unwrap();
            let mut back: Vec<u8> = Vec::new();
            for chunk in stream.chunks(cut) {
                back.extend_from_slice(&copy.push(chunk));
            }
            back.extend(copy.rest());
            let report = copy.report();
            assert_eq!(report.bytes, stream.len() as u64);
            assert_eq!(report.sha256.len(), 64);
            assert_eq!(report.malformed, !back.is_empty());
            back
        };
        let whole = back(stream.len().max(1));
        for cut in [1, 7, 511, 512, 513] {
            assert_eq!(back(cut), whole);
        }
        whole
    }

    #[test]
    fn f11_what_is_no_archive_is_given_back_to_be_kept() {
        let shell = b"# id\nuid=0(root)\n".repeat(100);
        assert_eq!(given_back(&shell), shell);
        assert_eq!(given_back(b"short"), b"short");
        // A shell that waits until the archive is over.
        let disguised = [&member("a", b'0', b"a")[..], &[0; 1024], b"$ id\n\0uid=0\n"].concat();
        assert_eq!(given_back(&disguised), b"$ id\n\0uid=0\n");
        let between = [&member("a", b'0', b"a")[..], &shell].concat();
        assert_eq!(given_back(&between), shell);
        assert_eq!(given_back(&vec![0; 20 * BLOCK]), b"");
    }
}
