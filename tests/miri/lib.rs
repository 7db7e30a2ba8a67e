//! `wire::json` by itself, for Miri: see `make miri`.
#![allow(
    dead_code,
    unused_imports,
    reason = "what is not of this room is not here"
)]

#[path = "../../src"]
mod src {
    pub mod limits;
}
#[path = "../../src/wire"]
mod wire {
    pub mod json;
}
use src::limits;
