//! End to end: stock clients, the real `portcullis` program, a simulated API server.
//!
//! Every test starts its own world ([`support::world::World`]) on loopback, runs kubectl or another stock
//! client in it and asserts on what the person would have seen. Whatever a client printed and whatever the
//! gateway wrote is searched for every secret value in every encoding ([`support::canary`]).
//!
//! The clients come from `tests/tools/install.sh`; without them these tests fail and say so.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test stops at what it did not expect"
)]

mod support;

mod alone;
mod approvals;
mod audit;
mod bulk;
mod callers;
mod clients;
mod conditions;
mod console;
mod crash;
mod forward;
mod get;
mod grants;
mod holds;
mod identity;
mod informers;
mod known;
mod kubelet;
mod login;
mod matrix;
mod memory;
mod observe;
mod operators;
mod players;
mod preview;
mod raw;
mod readiness;
mod recorder;
mod reveal;
mod review;
mod revocation;
mod run;
mod samples;
mod session;
mod smuggling;
mod terminal;
mod watch;
mod write;
