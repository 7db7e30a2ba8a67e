//! Finds what looks like a credential in a text: keys, tokens, URLs with passwords, `password=` pairs.
//!
//! ```text
//! patterns: lead-ins, as one automaton, and what follows each
//!    |                                       .--> Finder: a stream of text, masked as it passes
//! search: which bytes belong to a value -----+
//!    |                                       '--> look: the parts of a text that is held as a whole
//! token, url, assigned, element, key: where values begin and end
//! ```
//!
//! Pure and linear in the text. Patterns err on the side of masking where a name says what the value is,
//! and ask for a form where only the value does. What leads to a credential (`ghp_`, `password=`,
//! `-----BEGIN PRIVATE KEY-----`) stays visible.

mod assigned;
mod cruise;
mod element;
mod finder;
mod key;
mod patterns;
mod search;
mod token;
mod url;
mod value;

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(in crate::transform) use self::finder::Finder;
pub(super) use self::search::is_program;
use self::search::{Decided, Ending, Search, Secret};
use crate::policy::mask::Look;

/// Shortest text that is decoded to be looked into.
const BASE64_BYTES_MIN: usize = 24;

/// Bytes of base64 that stand for three: a text is some of these.
const BASE64_GROUP: usize = 4;

/// How something compressed begins: gzip, zip, zstd, xz.
const COMPRESSED: [&[u8]; 4] = [
    &[0x1f, 0x8b],
    b"PK\x03\x04",
    &[0x28, 0xb5, 0x2f, 0xfd],
    &[0xfd, b'7', b'z', b'X', b'Z', 0],
];

/// What stands behind the password of a data source.
const DATA_SOURCES: [&[u8]; 2] = [b"@tcp(", b"@unix("];

/// Checks the automaton of the patterns.
pub(super) fn prepare() {
    std::sync::LazyLock::force(&patterns::AUTOMATON);
}

/// What of a text is to be hidden.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::transform) enum Found {
    Nothing,
    /// These parts, in order, apart from each other.
    Parts(Vec<Range<usize>>),
    /// All of it.
    Whole,
}

/// Looks at a whole value; arguments are looked at by [`Arguments`](super::arguments::Arguments).
pub(in crate::transform) fn look(text: &[u8], look: Look) -> Found {
    if hides(text) {
        return Found::Whole;
    }
    let mut parts = parts(text);
    let sources = data_sources(text);
    if !sources.is_empty() {
        parts = merged([parts, sources].concat());
    }
    match parts {
        parts if parts.is_empty() => Found::Nothing,
        _ if look == Look::Binary => Found::Whole,
        parts => Found::Parts(parts),
    }
}

/// Is it base64 of a text with a credential in it, or of something compressed, such as a Helm release?
fn hides(text: &[u8]) -> bool {
    if text.len() < BASE64_BYTES_MIN {
        return false;
    }
    let mut blanks = 0;
    for byte in text {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=' => {}
            byte if byte.is_ascii_whitespace() => blanks += 1,
            _ => return false, // most texts end here, at their first full stop or colon
        }
    }
    let length = text.len() - blanks;
    if length < BASE64_BYTES_MIN || !length.is_multiple_of(BASE64_GROUP) {
        return false;
    }
    let decoded = if blanks == 0 {
        STANDARD.decode(text)
    } else {
        let solid = text.iter().filter(|byte| !byte.is_ascii_whitespace());
        STANDARD.decode(solid.copied().collect::<Vec<u8>>())
    };
    let Ok(decoded) = decoded else {
        return false;
    };
    let compressed = COMPRESSED.iter().any(|magic| decoded.starts_with(magic));
    compressed || !parts(&decoded).is_empty() || hides(&decoded)
}

/// The parts of a text that look like credentials, in order.
pub(super) fn parts(text: &[u8]) -> Vec<Range<usize>> {
    let mut search = Search::new();
    // Most texts have no lead-in, and nothing else is to be read of them.
    let plain = search.skip(text);
    if plain == text.len() {
        return Vec::new();
    }
    let mut parts = Parts {
        at: plain,
        ..Parts::default()
    };
    search.push(text.get(plain..).unwrap_or_default(), &mut parts);
    search.finish(Ending::Complete, &mut parts);
    parts.found
}

/// Parts in order, apart from each other.
pub(in crate::transform) fn merged(mut parts: Vec<Range<usize>>) -> Vec<Range<usize>> {
    parts.sort_by_key(|part| part.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(parts.len());
    for part in parts {
        match merged.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => merged.push(part),
        }
    }
    merged
}

/// The passwords of `user:password@tcp(host)/db`, as Go's drivers write a data source. Only what stands behind a
/// password leads to it, so they are found where a text is held as a whole, and in no stream.
fn data_sources(text: &[u8]) -> Vec<Range<usize>> {
    DataSources::of(text).found
}

/// A walk through a text, once, from the end of one password to the end of the next: one may end at many places, as
/// an `@` may stand within it.
#[derive(Default)]
struct DataSources {
    at: usize,
    /// Where the password begins: behind the first colon of its word.
    password: Option<usize>,
    found: Vec<Range<usize>>,
    /// Work done, to prove that it is linear.
    #[cfg(test)]
    steps: usize,
}

impl DataSources {
    fn of(text: &[u8]) -> Self {
        let protocol = |at: &usize| {
            let behind = text.get(*at..).unwrap_or_default();
            DATA_SOURCES.iter().any(|mark| behind.starts_with(mark))
        };
        let mut sources = Self::default();
        for at in memchr::memchr_iter(b'@', text).filter(protocol) {
            sources.end(text, at);
        }
        sources
    }

    /// At `end` stands what follows a password.
    fn end(&mut self, text: &[u8], end: usize) {
        self.walk(text.get(self.at..end).unwrap_or_default());
        let Some(password) = self.password.filter(|from| *from < end) else {
            return;
        };
        if let Some(last) = self.found.last_mut()
            && last.start == password
        {
            last.end = end;
            return;
        }
        let bytes = text.get(password..end).unwrap_or_default();
        let like_reference = reference_bytes(bytes);
        #[cfg(test)]
        {
            self.steps += like_reference;
        }
        if like_reference < bytes.len() {
            self.found.push(password..end);
        }
    }

    fn walk(&mut self, text: &[u8]) {
        for byte in text {
            self.at += 1;
            if byte.is_ascii_whitespace() || b"\0\"'`".contains(byte) {
                self.password = None;
            } else if *byte == b':' {
                self.password.get_or_insert(self.at);
            }
        }
        #[cfg(test)]
        {
            self.steps += text.len();
        }
    }
}

/// How many of the first bytes may be those of a reference. None has an `@`, so of a text with several this reads up
/// to the second one, and no byte more than twice.
fn reference_bytes(password: &[u8]) -> usize {
    let inside = |byte: &&u8| byte.is_ascii_alphanumeric() || b"${}()_. ".contains(byte);
    let begins = [&b"$("[..], b"${", b"{{"];
    if begins.iter().any(|mark| password.starts_with(mark)) {
        password.iter().take_while(inside).count()
    } else {
        0
    }
}

/// Where the hidden parts of a text are.
#[derive(Default)]
struct Parts {
    at: usize,
    found: Vec<Range<usize>>,
}

impl Decided for Parts {
    fn show_span(&mut self, span: Range<usize>) {
        self.at += span.len();
    }

    fn show(&mut self, text: &[u8]) {
        self.at += text.len();
    }

    fn hide(&mut self, text: &[u8], _: Secret) {
        let from = self.at;
        self.at += text.len();
        match self.found.last_mut() {
            Some(last) if last.end == from => last.end = self.at,
            _ => self.found.push(from..self.at),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
