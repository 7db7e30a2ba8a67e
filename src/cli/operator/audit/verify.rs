//! `portcullis audit verify`: proves the log, or names the first record that is wrong.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::read_key;
use crate::audit::log::{FILE, KEY_FILE};
use crate::audit::seal::PublicKey;
use crate::audit::segments::Segments;
use crate::audit::verify::{self, Flaw, Proof, VerifyError};
use crate::cli::output::{Outcome, Output, clean, note, print_json};

/// The arguments of `portcullis audit verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// The file that the gateway writes (audit.file), or full segments that follow each other, each with its
    /// seal beside it; audit.jsonl in the data directory when absent
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The gateway's data directory
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// The public key, as `portcullis audit key` printed it. Without it the key in the data directory is
    /// believed, which proves nothing against whoever can write there
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// How to print what was found
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// What is printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    verified: bool,
    /// The name of the key.
    key: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    proof: Option<Proof>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flaw: Option<Flaw>,
}

pub(super) fn run(args: &VerifyArgs, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let inside = args.data_dir.join(KEY_FILE);
    let key = read_key(args.key.as_deref().unwrap_or(&inside))?;
    if args.key.is_none() {
        note(&format!(
            "the key is believed as {} has it; --key takes one that was kept elsewhere",
            inside.display()
        ));
    }
    let mut shown = Progress::default();
    let proven = prove(args, &key, &mut |read| shown.show(read));
    shown.clear();
    let mut verdict = Verdict {
        verified: false,
        key: key.fingerprint().to_string(),
        proof: None,
        flaw: None,
    };
    match proven {
        Ok(proof) => {
            verdict.verified = true;
            verdict.proof = Some(proof);
        }
        Err(VerifyError::Flawed(flaw)) => verdict.flaw = Some(flaw),
        Err(error) => return Err(error.into()),
    }
    match args.output {
        Output::Json => print_json(&verdict, out)?,
        Output::Text => print(&verdict, out)?,
    }
    Ok(if verdict.verified {
        Outcome::Good
    } else {
        Outcome::Problems
    })
}

fn prove(
    args: &VerifyArgs,
    key: &PublicKey,
    told: verify::Progress<'_>,
) -> Result<Proof, VerifyError> {
    let whole = |file: &Path, told| verify::whole(&Segments::of(file), key, told);
    match args.files.as_slice() {
        [] => whole(&args.data_dir.join(FILE), told),
        // A full segment has its seal beside it; the file that is written has not.
        [file] if !has_seal(file) => whole(file, told),
        files => verify::these(files, key, told),
    }
}

fn has_seal(file: &Path) -> bool {
    let mut seal = file.as_os_str().to_owned();
    seal.push(".seal");
    Path::new(&seal).exists()
}

fn print(verdict: &Verdict, out: &mut dyn Write) -> io::Result<()> {
    if let Some(flaw) = &verdict.flaw {
        let place = match flaw.line {
            Some(line) => format!("{}:{line}", flaw.file.display()),
            None => flaw.file.display().to_string(),
        };
        return writeln!(out, "{}", clean(&format!("{place}: {}", flaw.why)));
    }
    let Some(proof) = &verdict.proof else {
        return Ok(());
    };
    let Proof {
        first_segment,
        last_segment,
        lines,
        ..
    } = proof;
    let sealed = proof.sealed_at.map_or_else(String::new, |at| {
        format!(", sealed until {}", at.strftime("%Y-%m-%d %H:%M:%SZ"))
    });
    writeln!(
        out,
        "verified: {lines} lines in segments {first_segment} to {last_segment}{sealed}, key {}",
        verdict.key
    )?;
    for (count, what) in [
        (
            first_segment.saturating_sub(1),
            "segments before these are not here; what they held is not proven",
        ),
        (
            proof.unsealed_lines,
            "lines behind the last seal: chained, and not signed yet",
        ),
        (proof.torn_lines, "lines that a crash tore, as it left them"),
        (
            proof.unchained_lines,
            "lines from before there was a chain, sealed since",
        ),
    ] {
        if count > 0 {
            writeln!(out, "{count:>9} {what}")?;
        }
    }
    Ok(())
}

/// How much was read, for whoever waits before a terminal.
#[derive(Default)]
struct Progress {
    shown: u64,
}

impl Progress {
    fn show(&mut self, read: u64) {
        if read >= self.shown + STEP && io::stderr().is_terminal() {
            self.shown = read;
            write!(io::stderr(), "\r{} MiB", read >> 20).ok();
        }
    }

    fn clear(&self) {
        if self.shown > 0 {
            write!(io::stderr(), "\r\x1b[K").ok();
        }
    }
}

/// Bytes from one report of progress to the next.
const STEP: u64 = 64 << 20;
