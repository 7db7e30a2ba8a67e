//! `portcullis audit tail`: requests as they happen.

use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;

use super::{FilterArgs, LogArgs, print};
use crate::audit::commands::{Request, Seen};
use crate::audit::follow::Follower;
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
    let segments = args.log.segments();
    let cannot = format!(
        "{} cannot be read; --data-dir names the dataDirectory of a gateway, --file its audit.file",
        segments.active().display()
    );
    let filter = args.filter.read();
    let mut follower = Follower::from_end(segments).context(cannot.clone())?;
    loop {
        let Some(line) = follower.advance().context(cannot.clone())? else {
            out.flush()?;
            std::thread::sleep(LOOK_AGAIN_AFTER);
            continue;
        };
        let Some(request) = Seen::read(&line).map(Request::from) else {
            continue;
        };
        // What is about to be carried out is told when it is, or goes on.
        let told = request.over || request.code.is_some();
        if !told || !filter.matches(&request) || request.discovery && !args.requests {
            continue;
        }
        match args.output {
            Output::Json => print::json_line(&request, out)?,
            Output::Text => print::line(&request, out)?,
        }
    }
}

/// How long to wait for the next line.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);
