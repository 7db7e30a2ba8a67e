//! `portcullis serve`: the product.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::app;

/// Run the gateway until SIGTERM or Ctrl-C, then drain.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The gateway's configuration (kind `GatewayConfiguration`; see docs/config.md).
    #[arg(long, short, value_name = "FILE", env = "PORTCULLIS_CONFIG")]
    config: PathBuf,
    /// What to log: error, warn, info, debug or trace, or a filter such as `info,portcullis::upstream=debug`.
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "info",
        env = "PORTCULLIS_LOG"
    )]
    log: String,
    /// Log JSON lines instead of text.
    #[arg(long)]
    log_json: bool,
}

/// Runs the gateway; exit code 1 when it cannot start.
pub fn run(args: &Args) -> ExitCode {
    let filter = match EnvFilter::try_new(&args.log) {
        Ok(filter) => filter,
        Err(error) => {
            super::output::complain(&format!("--log {:?} is no filter: {error}", args.log));
            return ExitCode::FAILURE;
        }
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr);
    if args.log_json {
        log.json().init();
    } else {
        log.init();
    }
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")
        .and_then(|runtime| runtime.block_on(serve(args)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            super::output::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: &Args) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let app = app::start(&args.config, shutdown.clone()).await?;
    tracing::info!(address = %app.address, control = %app.control_address, "ready");
    app::stop_signal().await?;
    tracing::info!("draining; a second signal ends at once");
    tokio::select! {
        () = app.drain() => tracing::info!("drained"),
        second = app::stop_signal() => second?,
    }
    Ok(())
}
