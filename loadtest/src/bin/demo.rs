//! `make demo`: a simulated API server, a local OIDC issuer and the gateway in front, in one process.

use std::process::ExitCode;

use clap::Parser;
use loadtest::demo::{self, Args};

fn main() -> ExitCode {
    match demo::run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            demo::complain(&error);
            ExitCode::FAILURE
        }
    }
}
