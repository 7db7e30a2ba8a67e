//! Known values: secrets that the gateway has seen, found wherever else they turn up.
//!
//! ```text
//! list and watch --.
//! Secrets that pass -+-> admission -> Book -> forms -> Index --.
//!                                                              v
//! log, exec output, JSON strings  ------------>  Scanner  ------> the same bytes, values masked
//! ```
//!
//! [`admission`] leaves out what would mask half of every log, the [`Book`] keeps the rest by namespace
//! until its Secret goes, [`forms`] lists the ways a value is written (raw, base64, hex, ...), the [`Index`] finds where one begins, and a [`Scanner`] walks one
//! stream with it, holding back the last bytes for a moment.

pub mod admission;
mod book;
mod forms;
mod index;
mod library;
mod passing;
mod reader;
mod scan;
mod secret;
mod strings;

pub use admission::LeftOut;
pub use book::{Book, Knowledge, LeftOutCounts, SecretAt, Shelf};
pub(in crate::transform) use index::Quiet;
pub use index::{Index, Value};
pub use library::{KnownValues, Settings};
pub(in crate::transform) use passing::{JsonPassing, Passing};
pub use reader::{Page, ReadError, SecretsWatch, read_page};
pub use scan::Scanner;
pub(in crate::transform) use scan::Wait;
pub(in crate::transform) use strings::Strings;
