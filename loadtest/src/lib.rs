//! The simulated world around Portcullis, for its demo, its tests and its load tests.

pub mod apiserver;
pub mod demo;
pub mod harness;
pub mod issuer;
pub mod node;
pub mod pki;
pub mod recorder;
