//! What callers start with: a kubeconfig, a login, and the token that kubectl asks for at each start.

mod cache;
mod obtain;
mod provider;

pub mod account;
pub mod exec;
pub mod get_token;
pub mod kubeconfig;
pub mod login;
pub mod logout;
pub mod whoami;

use std::process::ExitCode;

use anyhow::Context as _;

use super::output::{Outcome, finish};

/// Runs a command that talks to a provider or a gateway.
fn run(work: impl Future<Output = anyhow::Result<Outcome>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started");
    finish(runtime.and_then(|runtime| runtime.block_on(work)))
}
