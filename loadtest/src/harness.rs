//! `cargo loadtest`: runs scenarios against targets side by side and judges what they cost.
//!
//! A scenario (`loadtest/scenarios/*.yaml`) is a load, the targets that carry it in turn, and bars. This process is the
//! client; the upstream and every target are processes of their own, so that their CPU time can be read. See
//! docs/performance.md for the method.

pub mod clock;
pub mod judge;
pub mod load;
pub mod network;
pub mod report;
pub mod run;
pub mod sample;
pub mod scenario;
pub mod target;
pub mod upstream;
