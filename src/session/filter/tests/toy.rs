//! The simplest filter there is.

use super::Filter;

pub(crate) const PLACEHOLDER: &[u8] = b"[masked]";

/// Replaces values. Holds back whatever begins one.
pub(crate) struct Toy {
    values: Vec<Vec<u8>>,
    held: Vec<u8>,
}

impl Toy {
    pub(crate) fn new(values: &[Vec<u8>]) -> Self {
        Self {
            values: values.to_vec(),
            held: Vec::new(),
        }
    }
}

impl Filter for Toy {
    fn push(&mut self, bytes: &[u8], output: &mut Vec<u8>) {
        for byte in bytes {
            self.held.push(*byte);
            if self.values.contains(&self.held) {
                self.held.clear();
                output.extend_from_slice(PLACEHOLDER);
            }
            while !self
                .values
                .iter()
                .any(|value| value.starts_with(&self.held))
            {
                output.push(self.held.remove(0));
            }
        }
    }

    fn waits(&self) -> bool {
        !self.held.is_empty()
    }

    fn release(&mut self, output: &mut Vec<u8>) {
        output.append(&mut self.held);
    }

    fn finish(&mut self, output: &mut Vec<u8>) {
        self.release(output);
    }
}
