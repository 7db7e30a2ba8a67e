//! What may they see? Masks every response body while it streams.

mod json;
mod output;
mod placeholder;
mod report;

pub use self::placeholder::{Origin, Placeholder, Placeholders};
pub use self::report::MaskReport;
