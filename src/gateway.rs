//! The story of one request, top to bottom.

pub mod body;
