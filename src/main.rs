//! The `portcullis` program: everything lives in the library.
fn main() {}
