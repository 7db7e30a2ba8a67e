//! The story of one request, top to bottom.

pub mod body;
pub mod refuse;
pub mod route;
pub mod upgrade;
