//! What operators type to look into a running gateway, or into what it left in its data directory.

pub mod approvals;
pub mod audit;
pub mod callers;
pub mod client;
pub mod grants;
pub mod replay;
pub mod request;
pub mod sessions;
