//! The `portcullis` program: everything lives in the library.

use std::process::ExitCode;

use clap::Parser;
use tikv_jemallocator::Jemalloc;

/// Ten thousand watches that begin at once need four times what they need while they are open. This one gives the
/// rest back after a second (`.cargo/config.toml`), by a thread of its own.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    portcullis::cli::Cli::parse().run()
}
