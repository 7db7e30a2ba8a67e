//! May they? `Allow(Permit)` or `Deny(Reason)`; `Hold` comes with approvals.

pub mod mask;
