//! Sessions on tape: what passes through a session is written down as asciicast while it passes.
//!
//! [`encode`] says what the lines are (pure), [`store`] gets them onto the disk, [`tap`] stands
//! between the relay and both, [`seal`] closes a recording, also one that a crash left open, and
//! [`live`] knows the sessions that are open. `docs/recording.md` describes the files.

pub mod copy;
pub mod live;
pub mod metadata;

use std::path::PathBuf;

use crate::wire::asciicast::Version;

pub use live::Live;
pub use metadata::{Metadata, Summary};

/// Where recordings go and how large they may grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder; recordings are in `<yyyy>/<mm>/<dd>/` below it.
    pub directory: PathBuf,
    /// The format.
    pub format: Version,
    /// Bytes of one recording, all parts together; what comes later is only counted.
    pub max_bytes: u64,
    /// Bytes of one part.
    pub part_bytes: u64,
}

/// Bytes as lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}
