//! What the topics share.

pub(crate) mod canary;
pub(crate) mod oidc;
pub(crate) mod process;
pub(crate) mod world;
