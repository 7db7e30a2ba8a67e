//! Measurements on one machine: the simulated cluster and the load in this process, the gateway in one of
//! its own, so that its CPU time can be read.

pub mod bulk;
mod client;
pub mod echo;
mod numbers;
mod stage;

use clap::Subcommand;

/// What can be measured.
#[derive(Clone, Debug, Subcommand)]
pub enum Scenario {
    /// The time from a keystroke to its echo: direct, through the gateway, and recorded.
    ExecEcho(echo::Args),
    /// The CPU time of the gateway for a megabyte of output, recorded and not.
    ExecBulk(bulk::Args),
}

/// What was measured.
#[derive(Debug)]
pub struct Report {
    /// For people, in Markdown.
    pub text: String,
    /// Whether the bar holds that the design sets.
    pub holds: bool,
}

/// Measures.
pub fn run(scenario: &Scenario) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match scenario {
            Scenario::ExecEcho(args) => echo::run(args).await,
            Scenario::ExecBulk(args) => bulk::run(args).await,
        }
    })
}
