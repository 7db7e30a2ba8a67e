//! Masks the credentials of one stream.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::search::{Decided, Ending, Search, Secret};
use crate::policy::mask::MaskName;
use crate::transform::output::Sink;
use crate::transform::placeholder::{Content, Digest, FAMILY, Linkable, Placeholder, Placeholders};
use crate::transform::report::Tally;

/// Masks what looks like a credential in a stream, without waiting longer than its reader can.
///
/// Only bytes behind a lead-in are held back, while they may be part of a credential, and never more
/// than [`CREDENTIAL_HELD_BYTES_MAX`](crate::limits::CREDENTIAL_HELD_BYTES_MAX). The placeholder stands
/// where the credential ends. After a pause ([`Self::release`]) what may be one is masked, and so is
/// what follows of it, but
///
/// * up to five digits after `scheme://user:` leave as they are: it may be a port;
/// * so does what stands between two `@` of such a URL: it may be the host;
/// * so do fewer than eight bytes after the words `bearer` and `basic`, and up to 31 that may be a word;
/// * so do the digits of a number in JSON.
///
/// The placeholder of a credential that was cut by a pause or the end of the stream can be compared with
/// no other: it would tell the beginning of the value by itself. A credential whose lead-in is not in the
/// stream (`tailLines` within a private key) is not found, nor is the rest of a token behind a line break.
pub(in crate::transform) struct Finder {
    search: Search,
    writer: Writer,
}

struct Writer {
    placeholders: Arc<Placeholders>,
    linkable: Linkable,
    /// Placeholders have the length of what they stand for.
    fits: bool,
    run: Run,
    /// What stands in the place of the known values whose first byte is held.
    instead: VecDeque<String>,
    tally: Tally,
}

/// Hidden bytes in a row: a placeholder stands for all of them.
enum Run {
    /// There are none.
    Ended,
    /// The placeholder is still to come.
    Open {
        digest: Box<Digest>,
        name: &'static str,
        /// So many bytes were hidden.
        length: usize,
    },
    /// It stands already.
    Masked,
    /// So does that of a known value, which another known value may follow.
    Known,
    /// The placeholder grows with what it stands for, of which so many bytes came.
    Fitted {
        placeholder: Placeholder,
        length: usize,
    },
}

impl Finder {
    /// A finder at the beginning of a stream.
    pub(in crate::transform) fn new(placeholders: Arc<Placeholders>, linkable: Linkable) -> Self {
        Self {
            search: Search::new(),
            writer: Writer {
                placeholders,
                linkable,
                fits: false,
                run: Run::Ended,
                instead: VecDeque::new(),
                tally: Tally::default(),
            },
        }
    }

    /// A finder for what must keep its length. Its placeholders can be compared with no other.
    pub(in crate::transform) fn fitting(placeholders: Arc<Placeholders>) -> Self {
        let mut finder = Self::new(placeholders, Linkable::No);
        finder.writer.fits = true;
        finder
    }

    /// Takes the next bytes of the stream; they are the chunk that `sink` copies from.
    pub(in crate::transform) fn push(&mut self, chunk: &[u8], sink: &mut impl Sink) {
        let writer = &mut self.writer;
        self.search.push(chunk, &mut Writing { writer, sink });
    }

    /// Takes a known value, or a part of one, and what stands in its place if no credential begins before it.
    pub(in crate::transform) fn push_known(
        &mut self,
        value: &[u8],
        instead: &str,
        sink: &mut impl Sink,
    ) {
        let writer = &mut self.writer;
        let first = !instead.is_empty();
        match writer.instead.back_mut() {
            Some(before) if value.is_empty() => before.push_str(instead),
            None if value.is_empty() => writer.stand(instead, sink),
            _ if first => writer.instead.push_back(instead.to_owned()),
            _ => {}
        }
        let out = &mut Writing { writer, sink };
        self.search.push_known(value, first, out);
    }

    /// How many bytes are held back, or hidden without a placeholder, so that [`Self::release`] is due when they
    /// are too old.
    pub(in crate::transform) fn waiting(&self) -> usize {
        let hidden = match self.writer.run {
            Run::Open { length, .. } | Run::Fitted { length, .. } => length,
            Run::Ended | Run::Masked | Run::Known => 0,
        };
        self.search.held() + hidden
    }

    /// The reader cannot wait: lets go what is held, masked if it may be a credential.
    pub(in crate::transform) fn release(&mut self, sink: &mut impl Sink) {
        let writer = &mut self.writer;
        self.search.release(&mut Writing { writer, sink });
        self.writer.cut(sink);
    }

    /// The stream ends.
    pub(in crate::transform) fn finish(&mut self, sink: &mut impl Sink) {
        let writer = &mut self.writer;
        self.search
            .finish(Ending::Cut, &mut Writing { writer, sink });
        self.writer.cut(sink);
        self.writer.run = Run::Ended;
    }

    /// What was masked since the last call: the names of the patterns.
    pub(in crate::transform) fn tally(&mut self) -> &mut Tally {
        &mut self.writer.tally
    }
}

impl Writer {
    fn hide(&mut self, text: &[u8], secret: Secret, sink: &mut impl Sink) {
        let (name, cut) = match secret {
            Secret::Credential { name, cut } => (name, cut),
            Secret::Known { first } => return self.hide_known(text, first, sink),
        };
        if let Run::Ended = self.run {
            self.run = if self.fits {
                self.tally.count(MaskName::CREDENTIALS, name);
                let digest = self.placeholders.start(Content::Text, self.linkable);
                Run::Fitted {
                    placeholder: self.placeholders.finish(digest).placeholder(),
                    length: 0,
                }
            } else if cut {
                Run::Masked
            } else {
                let digest = self.placeholders.start(Content::Text, self.linkable);
                Run::Open {
                    digest: Box::new(digest),
                    name,
                    length: 0,
                }
            };
        }
        match &mut self.run {
            Run::Open { digest, length, .. } => {
                digest.update(text);
                *length += text.len();
            }
            Run::Fitted {
                placeholder,
                length,
            } => {
                // Whether it is long enough for a placeholder is said by the first bytes.
                let from = if *length < FAMILY.len() { 0 } else { *length };
                *length += text.len();
                if *length >= FAMILY.len() {
                    sink.write(&placeholder.fitted_part(from, *length));
                }
            }
            Run::Ended | Run::Masked | Run::Known => {}
        }
    }

    /// Hides bytes of known values, each of them the first of one or none.
    fn hide_known(&mut self, text: &[u8], first: bool, sink: &mut impl Sink) {
        if let Run::Open { digest, length, .. } = &mut self.run {
            digest.update(text);
            *length += text.len();
        }
        if let Run::Ended = self.run {
            self.run = Run::Known;
        }
        let begun = if first { text.len() } else { 0 };
        for _ in 0..begun {
            let instead = self.instead.pop_front().unwrap_or_default();
            self.stand(&instead, sink);
        }
    }

    /// Puts what stands in the place of a known value.
    fn stand(&self, instead: &str, sink: &mut impl Sink) {
        if let Run::Known = self.run {
            sink.write(instead.as_bytes());
        }
    }

    /// Something is shown: what was hidden before it is over.
    fn end(&mut self, sink: &mut impl Sink) {
        match std::mem::replace(&mut self.run, Run::Ended) {
            Run::Open { digest, name, .. } => self.put(*digest, name, sink),
            Run::Fitted {
                placeholder,
                length,
            } if length < FAMILY.len() => sink.write(&placeholder.fitted(length)),
            Run::Fitted { .. } | Run::Ended | Run::Masked | Run::Known => {}
        }
    }

    /// What is hidden may go on, but its placeholder is due.
    fn cut(&mut self, sink: &mut impl Sink) {
        if self.fits {
            return self.end(sink);
        }
        if let Run::Open { name, .. } = self.run {
            let digest = self.placeholders.start(Content::Text, Linkable::No);
            self.put(digest, name, sink);
            self.run = Run::Masked;
        }
    }

    fn put(&mut self, digest: Digest, name: &str, sink: &mut impl Sink) {
        let placeholder = self.placeholders.finish(digest).placeholder();
        sink.write(placeholder.bytes());
        self.tally.count(MaskName::CREDENTIALS, name);
    }
}

struct Writing<'a, S> {
    writer: &'a mut Writer,
    sink: &'a mut S,
}

impl<S: Sink> Decided for Writing<'_, S> {
    fn show_span(&mut self, span: Range<usize>) {
        if !span.is_empty() {
            self.writer.end(self.sink);
            self.sink.copy(span);
        }
    }

    fn show(&mut self, text: &[u8]) {
        self.writer.end(self.sink);
        self.sink.write(text);
    }

    fn hide(&mut self, text: &[u8], secret: Secret) {
        self.writer.hide(text, secret, self.sink);
    }
}

#[cfg(test)]
mod tests;
