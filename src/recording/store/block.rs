//! Memory for output in bulk: its addresses are aligned like the places in the file that it is for, so
//! that the disk can take it without the kernel making a copy.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{RECORDING_BLOCK_BYTES as SIZE, RECORDING_BLOCKS_MAX};

/// What addresses and places in the file are multiples of: a page, and no disk wants more.
pub(super) const PAGE: usize = 4096;

/// All blocks there may be.
pub(super) struct Blocks(Arc<Semaphore>);

/// Bytes of a recording that stand one after the other, up to where a page ends.
pub(super) struct Block {
    /// Never grows, so that it stays where it is.
    memory: Vec<u8>,
    /// Where the bytes begin.
    begin: usize,
    /// Where they may end.
    end: usize,
    _permit: OwnedSemaphorePermit,
}

impl Default for Blocks {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(RECORDING_BLOCKS_MAX)))
    }
}

impl Blocks {
    /// An empty block for what is to stand at `place` in a file; `None` when all are in use.
    pub(super) fn take(&self, place: u64) -> Option<Block> {
        let permit = Arc::clone(&self.0).try_acquire_owned().ok()?;
        let mut block = Block {
            memory: Vec::with_capacity(SIZE + PAGE),
            begin: 0,
            end: 0,
            _permit: permit,
        };
        block.reset(place);
        Some(block)
    }
}

impl Block {
    /// Empties it for what is to stand at `place`.
    pub(super) fn reset(&mut self, place: u64) {
        let aligned = self.memory.as_ptr().align_offset(PAGE).min(PAGE);
        let into_page = usize::try_from(place % PAGE as u64).unwrap_or(0);
        self.begin = aligned + into_page;
        self.end = aligned + SIZE;
        self.memory.clear();
        self.memory.resize(self.begin, 0);
    }

    /// Takes as much as fits; what does not is returned.
    pub(super) fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let room = self.end.saturating_sub(self.memory.len());
        let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        self.memory.extend_from_slice(now);
        later
    }

    pub(super) fn is_full(&self) -> bool {
        self.memory.len() >= self.end
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.memory.get(self.begin..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_aligned_as_its_place_in_the_file_and_ends_with_a_page() {
        let blocks = Blocks::default();
        let mut block = blocks.take(0).unwrap();
        let bytes = vec![7; 2 * SIZE];
        for place in [0, 1, 4095, 4096, 70_000] {
            block.reset(place);
            let before = block.memory.as_ptr();
            assert!(block.bytes().is_empty());
            let rest = block.fill(&bytes);
            assert!(block.is_full());
            assert_eq!(block.bytes().len() + rest.len(), 2 * SIZE);
            assert_eq!(block.memory.as_ptr(), before, "it was moved");
            let address = block.bytes().as_ptr().addr() as u64;
            assert_eq!(address % PAGE as u64, place % PAGE as u64);
            assert_eq!((place + block.bytes().len() as u64) % PAGE as u64, 0);
        }
    }

    #[test]
    fn there_are_only_so_many_blocks() {
        let blocks = Blocks::default();
        let mut taken: Vec<Block> = std::iter::from_fn(|| blocks.take(0)).collect();
        assert_eq!(taken.len(), RECORDING_BLOCKS_MAX);
        taken.pop();
        assert!(blocks.take(0).is_some());
    }
}
