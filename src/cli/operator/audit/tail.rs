//! `portcullis audit tail`: requests as they happen.

use std::cell::RefCell;
use std::io::Write;

use anyhow::bail;

use super::source::Log;
use super::{FilterArgs, LogArgs, print};
use crate::audit::commands::Request;
use crate::cli::output::Output;

/// The arguments of `portcullis audit tail`.
#[derive(Clone, Debug, clap::Args)]
pub struct TailArgs {
    /// Where
    #[command(flatten)]
    pub log: LogArgs,
    /// Which
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Requests that only ask what the API has too
    #[arg(long)]
    pub requests: bool,
    /// How to print: a line of text, or of JSON, for each
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Runs until it is ended, or nobody reads any more.
pub(super) fn tail(args: &TailArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let log = Log::open(&args.log)?;
    // Both write: what is told, and the flush when nothing more comes.
    let out = RefCell::new(out);
    let mut told = |request: Request| {
        // What is about to be carried out is told when it is, or goes on.
        let is_told = request.over || request.code.is_some();
        if is_told && (args.requests || !request.discovery) {
            let mut out = out.borrow_mut();
            match args.output {
                Output::Json => print::json_line(&request, &mut **out)?,
                Output::Text => print::line(&request, &mut **out)?,
            }
        }
        Ok(true)
    };
    let mut idle = || Ok(out.borrow_mut().flush()?);
    log.follow(&args.filter.read(), &mut told, &mut idle)?;
    bail!("the gateway has ended, or your token is over")
}
