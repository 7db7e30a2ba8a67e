//! Proves an audit log, or names the first record that is wrong.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::chain::Link;
use super::seal::{PublicKey, Statement};
use super::segments::{Got, Lines, Segments};

/// What is proven of a log in which nothing is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// The number of the first segment that is there. Before 1 there is none; those before any other were
    /// removed, and what they held is not proven.
    pub first_segment: u64,
    /// The number of the last one.
    pub last_segment: u64,
    /// Lines that are as they were signed.
    pub lines: u64,
    /// Lines behind the last seal: chained, and not signed yet.
    pub unsealed_lines: u64,
    /// Of all, lines that a crash tore.
    pub torn_lines: u64,
    /// Of all, lines from before there was a chain.
    pub unchained_lines: u64,
    /// When the last seal was made.
    pub sealed_at: Option<Timestamp>,
}

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flaw {
    /// In which file.
    pub file: PathBuf,
    /// In which line of it, from 1; absent when it is not about a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// What is wrong with it.
    pub why: String,
}

/// Why a log was not proven.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Something is wrong with it.
    #[error("{}: {}", .0.file.display(), .0.why)]
    Flawed(Flaw),
    /// It could not be read.
    #[error("{}: {error}", .path.display())]
    Unreadable {
        /// What of it.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// Told how many bytes were read so far.
pub type Progress<'a> = &'a mut dyn FnMut(u64);

/// Proves the whole log of a file that is written, which may grow meanwhile.
pub fn whole(
    segments: &Segments,
    key: &PublicKey,
    told: Progress<'_>,
) -> Result<Proof, VerifyError> {
    let unreadable = |error| unreadable(segments.folder(), error);
    let numbers = segments.numbers().map_err(unreadable)?;
    let active = segments.active_number().map_err(unreadable)?;
    let first = numbers.first().copied().unwrap_or(active);
    let mut verifier = Verifier::new(segments, key, told);
    verifier.proof.first_segment = first;
    let mut number = first;
    loop {
        if segments.full(number).try_exists().map_err(unreadable)? {
            verifier.full(number)?;
        } else if number < active {
            return Err(flaw(
                &segments.full(number),
                None,
                "this segment is not there any more",
            ));
        } else {
            // The seal is read first: the file may grow meanwhile, and never shrinks.
            let seal = verifier.seal(number);
            let active = Lines::open(segments.active());
            if segments.full(number).try_exists().map_err(unreadable)? {
                continue; // it became full a moment ago
            }
            verifier.active(number, seal, active)?;
            return Ok(verifier.proof);
        }
        number += 1;
    }
}

/// Proves full segments that follow each other, wherever they were brought.
pub fn these(files: &[PathBuf], key: &PublicKey, told: Progress<'_>) -> Result<Proof, VerifyError> {
    let segments = Segments::of(Path::new(""));
    let mut verifier = Verifier::new(&segments, key, told);
    for (before, file) in files.iter().enumerate() {
        let mut seal = file.as_os_str().to_owned();
        seal.push(".seal");
        let statement = verifier.statement(Path::new(&seal), None)?;
        if before == 0 {
            verifier.proof.first_segment = statement.segment;
        }
        let lines = Lines::open(file).map_err(|error| unreadable(file, error))?;
        verifier.lines(file, &statement, lines, true)?;
    }
    Ok(verifier.proof)
}

struct Verifier<'a> {
    segments: &'a Segments,
    key: &'a PublicKey,
    told: Progress<'a>,
    read: u64,
    /// Where the chain stands; nothing before the first segment that is there.
    link: Option<Link>,
    /// A line with a link was seen: none without may follow.
    chained: bool,
    proof: Proof,
}

impl<'a> Verifier<'a> {
    fn new(segments: &'a Segments, key: &'a PublicKey, told: Progress<'a>) -> Self {
        Self {
            segments,
            key,
            told,
            read: 0,
            link: None,
            chained: false,
            proof: Proof::default(),
        }
    }

    fn full(&mut self, number: u64) -> Result<(), VerifyError> {
        let statement = self.seal(number)?;
        let file = self.segments.full(number);
        let lines = Lines::open(&file).map_err(|error| unreadable(&file, error))?;
        self.lines(&file, &statement, lines, true)
    }

    fn active(
        &mut self,
        number: u64,
        seal: Result<Statement, VerifyError>,
        lines: io::Result<Lines<io::BufReader<std::fs::File>>>,
    ) -> Result<(), VerifyError> {
        let file = self.segments.active();
        let statement = seal?;
        match lines {
            Ok(lines) => self.lines(file, &statement, lines, false),
            // The gateway ended, or was killed, just before it made the file.
            Err(error) if error.kind() == ErrorKind::NotFound && statement.lines == 0 => {
                self.proof.last_segment = number;
                self.proof.sealed_at = Some(statement.at);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let why = format!("it is gone; its seal speaks of {} lines", statement.lines);
                Err(flaw(file, None, &why))
            }
            Err(error) => Err(unreadable(file, error)),
        }
    }

    fn seal(&self, number: u64) -> Result<Statement, VerifyError> {
        self.statement(&self.segments.seal(number), Some(number))
    }

    /// What a seal states, if it is a seal of this log and of this segment.
    fn statement(&self, path: &Path, number: Option<u64>) -> Result<Statement, VerifyError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(flaw(path, None, "the seal is missing"));
            }
            Err(error) => return Err(unreadable(path, error)),
        };
        let statement = Statement::verified(&text, self.key)
            .map_err(|error| flaw(path, None, &error.to_string()))?;
        if number.is_some_and(|number| number != statement.segment) {
            let why = format!("it is the seal of segment {}", statement.segment);
            return Err(flaw(path, None, &why));
        }
        let first = (statement.segment == 1).then_some(Link::GENESIS);
        if self
            .link
            .or(first)
            .is_some_and(|link| link != statement.first)
        {
            let why = "the segment does not follow from the one before: one of them is missing, or not of this log";
            return Err(flaw(path, None, why));
        }
        Ok(statement)
    }

    /// Follows the chain through a file and compares with its seal.
    fn lines<R: io::BufRead>(
        &mut self,
        file: &Path,
        sealed: &Statement,
        mut lines: Lines<R>,
        full: bool,
    ) -> Result<(), VerifyError> {
        let mut here = Statement::begin(sealed.segment, sealed.first, sealed.began);
        compare(file, sealed, &here)?;
        loop {
            let number = here.lines + 1;
            let got = lines.advance().map_err(|error| match error.kind() {
                ErrorKind::InvalidData => flaw(file, Some(number), &error.to_string()),
                _ => unreadable(file, error),
            })?;
            match got {
                Got::Nothing => break,
                Got::Torn if full || here.lines < sealed.lines => {
                    return Err(flaw(file, Some(number), "the line is cut off"));
                }
                Got::Torn => {
                    self.proof.torn_lines += 1; // being written, or torn by a crash a moment ago
                    break;
                }
                Got::Whole if full && here.lines == sealed.lines => {
                    return Err(flaw(
                        file,
                        Some(number),
                        "it was added after the segment was sealed",
                    ));
                }
                Got::Whole => {}
            }
            self.follow(&lines.line, &here.last)
                .map_err(|why| flaw(file, Some(number), &why))?;
            here.push(&lines.line);
            compare(file, sealed, &here)?;
            self.read += lines.line.len() as u64;
            (self.told)(self.read);
        }
        if here.lines < sealed.lines {
            let why = format!(
                "lines are missing at the end: {} of {} are there",
                here.lines, sealed.lines
            );
            return Err(flaw(file, Some(here.lines + 1), &why));
        }
        self.link = Some(here.last);
        self.proof.lines += sealed.lines;
        self.proof.unsealed_lines += here.lines - sealed.lines;
        self.proof.last_segment = sealed.segment;
        self.proof.sealed_at = Some(sealed.at);
        Ok(())
    }

    /// Whether a line is the next one of the chain.
    fn follow(&mut self, line: &[u8], link: &Link) -> Result<(), String> {
        match Link::carried(line) {
            Some(carried) if carried == *link => {
                self.chained = true;
                Ok(())
            }
            Some(_) => Err(
                "it does not follow from the line before: that one was changed, or lines between them were removed, added or moved"
                    .to_owned(),
            ),
            None if serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err() => {
                self.proof.torn_lines += 1;
                Ok(())
            }
            None if !self.chained && self.proof.first_segment == 1 => {
                self.proof.unchained_lines += 1;
                Ok(())
            }
            None => Err("it is not a line of the gateway: it has no link of the chain".to_owned()),
        }
    }
}

/// What was sealed must be what is there.
fn compare(file: &Path, sealed: &Statement, here: &Statement) -> Result<(), VerifyError> {
    if here.lines != sealed.lines || (here.bytes, here.last) == (sealed.bytes, sealed.last) {
        return Ok(());
    }
    let why = "the lines up to here are not those that were sealed: this one was changed, or the chain was made anew";
    Err(flaw(file, Some(here.lines), why))
}

fn flaw(file: &Path, line: Option<u64>, why: &str) -> VerifyError {
    VerifyError::Flawed(Flaw {
        file: file.to_owned(),
        line,
        why: why.to_owned(),
    })
}

fn unreadable(path: &Path, error: io::Error) -> VerifyError {
    VerifyError::Unreadable {
        path: path.to_owned(),
        error,
    }
}

#[cfg(test)]
mod tests;
