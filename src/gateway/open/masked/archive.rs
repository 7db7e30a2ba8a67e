//! Masks a tar archive that `kubectl cp` copies out of a container, so that it stays one.
//!
//! Every placeholder has the length of what it stands for, and headers pass as they are: with a masked name in it
//! a header would be none. Names of files are not secret; their content is looked into, and so is
//! everything from where the stream stops to be an archive. Only for known values headers are searched too, as in their
//! place nothing fits: where one turns up, nothing leaves any more.

use std::time::Duration;

use super::Masked;
use super::withheld::{Place, Withheld};
use crate::recording::copy::tar::{Part, Reader};
use crate::session::Filter;
use crate::transform::{TextMasker, TextMasks};

/// The time of all that comes: nothing leaves because it waited.
const UNTIMED: Duration = Duration::ZERO;

/// Masks an archive, of which at most the header is held that is not complete.
pub(super) struct Archive {
    reader: Reader,
    files: Files,
}

/// What is in it.
struct Files {
    content: Masked,
    /// Looks for known values in headers.
    probe: TextMasker,
    /// The file that is read.
    name: Option<String>,
    withheld: Withheld,
}

impl Archive {
    /// From a filter of content that keeps its length, which `texts` do.
    pub(super) fn new(content: Masked, texts: &TextMasks, withheld: Withheld) -> Self {
        Self {
            reader: Reader::default(),
            files: Files {
                content,
                probe: TextMasker::new(texts),
                name: None,
                withheld,
            },
        }
    }
}

impl Files {
    fn part(&mut self, part: Part<'_>, output: &mut Vec<u8>) {
        match part {
            Part::Header { block, member } => {
                self.leave(output);
                self.name = member.map(ToOwned::to_owned);
                self.header(block, output);
            }
            Part::Content(bytes) => self.content(bytes, output),
            Part::End(bytes) | Part::Other(bytes) => {
                if self.name.is_some() {
                    self.leave(output);
                }
                self.content(bytes, output);
            }
        }
    }

    /// What a file ends with does not go on in the next one.
    fn leave(&mut self, output: &mut Vec<u8>) {
        self.content.finish(output);
        self.look();
        self.name = None;
    }

    fn content(&mut self, bytes: &[u8], output: &mut Vec<u8>) {
        self.content.push(bytes, UNTIMED, output);
        self.look();
    }

    fn header(&mut self, block: &[u8], output: &mut Vec<u8>) {
        let mut unseen = Vec::new();
        self.probe.push_to(block, UNTIMED, &mut unseen);
        self.probe.finish_to(&mut unseen);
        if self.probe.withholds() {
            self.withheld.set(Place::Header);
        } else if !self.content.masker.withholds() {
            output.extend_from_slice(block);
        }
    }

    /// Has a known value turned up in the content?
    fn look(&self) {
        if self.content.masker.withholds() {
            self.withheld
                .set(self.name.as_deref().map_or(Place::Elsewhere, Place::File));
        }
    }
}

impl Filter for Archive {
    fn push(&mut self, bytes: &[u8], _now: Duration, output: &mut Vec<u8>) {
        let Self { reader, files } = self;
        reader.push(bytes, &mut |part| {
            if !files.withheld.is_set() {
                files.part(part, output);
            }
        });
    }

    /// Nobody looks on, and what was cut by a pause would be masked in two.
    fn due(&self) -> Option<Duration> {
        None
    }

    fn release(&mut self, _now: Duration, _: &mut Vec<u8>) {}

    fn finish(&mut self, output: &mut Vec<u8>) {
        let rest = self.reader.rest();
        if self.files.withheld.is_set() {
            return;
        }
        if !rest.is_empty() {
            self.files.part(Part::Other(&rest), output);
        }
        self.files.content.finish(output);
        self.files.look();
    }
}

#[cfg(test)]
mod tests;
