//! The content of files: chunks that only grow, so that readers need no lock between two chunks.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::{Budget, Device, Error};

/// Small writes are gathered into chunks of this size.
const CHUNK: usize = 64 << 10;

/// What a file holds.
#[derive(Debug)]
pub(crate) struct Contents {
    state: Mutex<State>,
    budget: Arc<Budget>,
}

#[derive(Debug, Default)]
struct State {
    full: Vec<Bytes>,
    tail: BytesMut,
    len: u64,
}

impl Contents {
    pub(super) fn new(budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            budget,
        })
    }

    pub(super) fn len(&self) -> u64 {
        self.state.lock().len
    }

    fn append(&self, bytes: &[u8]) -> Result<(), Error> {
        self.budget.take(bytes.len() as u64)?;
        let mut state = self.state.lock();
        state.len += bytes.len() as u64;
        // Copied always: a small slice must not keep a large network buffer alive.
        for part in bytes.chunks(CHUNK) {
            if state.tail.len() + part.len() > CHUNK {
                let whole = std::mem::take(&mut state.tail).freeze();
                state.full.push(whole);
            }
            state.tail.extend_from_slice(part);
        }
        Ok(())
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        self.budget.give(self.state.get_mut().len);
    }
}

/// Reads a file or a device from its beginning.
#[derive(Debug)]
pub(crate) struct Reader {
    source: Source,
    chunk: usize,
    /// Bytes of that chunk that were read already.
    offset: usize,
}

#[derive(Debug)]
enum Source {
    Device(Device, u64),
    File(Arc<Contents>),
}

impl Reader {
    pub(super) fn device(device: Device) -> Self {
        Self {
            source: Source::Device(device, 0x9e37_79b9_7f4a_7c15),
            chunk: 0,
            offset: 0,
        }
    }

    pub(super) fn file(contents: Arc<Contents>) -> Self {
        Self {
            source: Source::File(contents),
            chunk: 0,
            offset: 0,
        }
    }

    /// Up to `most` bytes; `None` at the end.
    pub(crate) fn next_chunk(&mut self, most: usize) -> Option<Bytes> {
        match &mut self.source {
            Source::Device(Device::Null, _) => None,
            Source::Device(Device::Zero, _) => Some(Bytes::from(vec![0; most])),
            Source::Device(Device::Random, state) => Some(noise(state, most)),
            Source::File(contents) => {
                let state = contents.state.lock();
                loop {
                    let (current, is_tail) = match state.full.get(self.chunk) {
                        Some(chunk) => (chunk.as_ref(), false),
                        None => (state.tail.as_ref(), true),
                    };
                    let rest = current.get(self.offset..).unwrap_or_default();
                    let part = rest.get(..most).unwrap_or(rest);
                    if !part.is_empty() {
                        let part = match state.full.get(self.chunk) {
                            Some(chunk) => chunk.slice_ref(part),
                            None => Bytes::copy_from_slice(part),
                        };
                        self.offset += part.len();
                        return Some(part);
                    }
                    if is_tail {
                        return None;
                    }
                    self.chunk += 1;
                    self.offset = 0;
                }
            }
        }
    }
}

/// Bytes that do not compress; `xorshift` is random enough for a simulation.
fn noise(state: &mut u64, most: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(most + 8);
    while bytes.len() < most {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(most);
    Bytes::from(bytes)
}

/// Writes to a file or into the void.
#[derive(Debug, Clone)]
pub(crate) struct Writer(Option<Arc<Contents>>);

impl Writer {
    pub(super) fn null() -> Self {
        Self(None)
    }

    pub(super) fn file(contents: Arc<Contents>) -> Self {
        Self(Some(contents))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.0
            .as_ref()
            .map_or(Ok(()), |contents| contents.append(bytes))
    }
}
