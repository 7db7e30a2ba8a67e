//! `kubectl cp` is an exec of `tar`: what is copied is named, counted and hashed instead of kept.
//!
//! The command alone proves nothing: `tar` may be any program in a container. So only bytes that are
//! an archive are left out; from the first byte that is none, everything is given back to be kept.

pub mod tar;

use std::borrow::Cow;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use self::tar::Part;
use crate::limits;
use crate::session::StreamType;

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
    archive: tar::Reader,
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
            archive: tar::Reader::default(),
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
        if self.archive.is_broken() {
            return Cow::Borrowed(bytes);
        }
        let mut other = Vec::new();
        let report = &mut self.report;
        self.archive.push(bytes, &mut |part| match part {
            Part::Header {
                member: Some(name), ..
            } => report.met(name),
            Part::Header { .. } | Part::Content(_) | Part::End(_) => {}
            Part::Other(bytes) => other.extend_from_slice(bytes),
        });
        Cow::Owned(other)
    }

    /// Nothing more is coming: gives back the header that is not complete, which may be none.
    pub fn rest(&mut self) -> Vec<u8> {
        self.archive.rest()
    }

    /// What was copied so far.
    #[must_use]
    pub fn report(&self) -> CopyReport {
        CopyReport {
            sha256: HEXLOWER.encode(self.digest.clone().finish().as_ref()),
            malformed: !self.archive.is_complete() || self.report.bytes == 0,
            ..self.report.clone()
        }
    }
}

impl CopyReport {
    fn met(&mut self, member: &str) {
        self.members = self.members.saturating_add(1);
        if self.names.len() < limits::RECORDING_COPY_NAMES_MAX {
            self.names.push(member.to_owned());
        }
    }
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

#[cfg(test)]
mod tests {
    use self::tar::BLOCK_BYTES as BLOCK;
    use super::*;
    use crate::recording::tests::fixtures::{seal_header, tar_member as member};

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
        seal_header(&mut big);
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
