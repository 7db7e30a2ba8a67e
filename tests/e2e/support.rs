//! What the topics share.

pub(crate) mod canary;
pub(crate) mod gateway;
pub(crate) mod oidc;
pub(crate) mod process;
pub(crate) mod tape;
pub(crate) mod world;
