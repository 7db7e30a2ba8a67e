//! Commands that need no running gateway: they look at files and calculate.

pub mod check;
pub mod mask;
pub mod policy;
pub mod rotate_key;
pub mod size;
