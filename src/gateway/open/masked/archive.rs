//! Masks a tar archive that `kubectl cp` copies out of a container, so that it stays one.
//!
//! An archive is made of blocks of 512 bytes, and headers among them have a checksum. So every placeholder has the
//! length of what it stands for, and a header passes as it is: with a masked name in it, it would be none.
//! Names of files are not secret; their content is looked into.

use super::Masked;
use crate::session::Filter;

/// Bytes of a block (POSIX.1-1988, pax interchange format).
const BLOCK_BYTES: usize = 512;

/// Where a header has its checksum: six octal digits, NUL and a blank.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Masks an archive block by block.
pub(super) struct Archive {
    content: Masked,
    /// The block that is not complete.
    block: Vec<u8>,
}

impl Archive {
    /// From a filter of content that keeps its length.
    pub(super) fn new(content: Masked) -> Self {
        Self {
            content,
            block: Vec::new(),
        }
    }

    fn complete(&mut self, output: &mut Vec<u8>) {
        let block = std::mem::take(&mut self.block);
        if is_header(&block) {
            // What a file ends with does not go on in the next one.
            self.content.finish(output);
            if !self.content.masker.withholds() {
                output.extend_from_slice(&block);
            }
        } else {
            self.content.push(&block, output);
        }
    }
}

impl Filter for Archive {
    fn push(&mut self, mut bytes: &[u8], output: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let missing = BLOCK_BYTES.saturating_sub(self.block.len());
            let (part, rest) = bytes.split_at(missing.min(bytes.len()));
            self.block.extend_from_slice(part);
            bytes = rest;
            if self.block.len() == BLOCK_BYTES {
                self.complete(output);
            }
        }
    }

    /// Nobody looks on, and what was cut by a pause would be masked in two.
    fn waits(&self) -> bool {
        false
    }

    fn release(&mut self, _: &mut Vec<u8>) {}

    fn finish(&mut self, output: &mut Vec<u8>) {
        let block = std::mem::take(&mut self.block);
        self.content.push(&block, output);
        self.content.finish(output);
    }
}

/// Does the checksum hold? Zeros are no header.
fn is_header(block: &[u8]) -> bool {
    let Some(field) = block.get(CHECKSUM) else {
        return false;
    };
    let digits = field.iter().skip_while(|byte| **byte == b' ');
    let noted = digits
        .take_while(|byte| (b'0'..=b'7').contains(byte))
        .fold(0_u32, |sum, byte| sum * 8 + u32::from(byte - b'0'));
    let all: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = field.iter().map(|byte| u32::from(*byte)).sum();
    // The field itself counts as blanks.
    let blanks = u32::from(b' ') * 8;
    noted == all - own + blanks
}

#[cfg(test)]
mod tests;
