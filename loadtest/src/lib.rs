//! The simulated world around Portcullis, for its demo, its tests and its load tests.

pub mod node;
pub mod issuer;
pub mod pki;
pub mod recorder;
