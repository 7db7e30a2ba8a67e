//! Rewriting what a command prints, before the client and the tap see it.

use super::StreamType;

/// Rewrites one stream of output. It holds back only what may still turn out to be the beginning of
/// something it replaces, and says so.
pub trait Filter: Send {
    /// Takes the next bytes; appends to `output` what may leave now.
    fn push(&mut self, bytes: &[u8], output: &mut Vec<u8>);
    /// Whether bytes are held back, so that [`Filter::release`] is due after a pause of
    /// [`TEXT_HOLD_MAX`](crate::limits::TEXT_HOLD_MAX).
    fn waits(&self) -> bool;
    /// Nobody can wait longer: appends what may leave. What is kept even so waits for the next bytes.
    fn release(&mut self, output: &mut Vec<u8>);
    /// The stream ends: appends what is left. Nothing is asked of the filter afterwards.
    fn finish(&mut self, output: &mut Vec<u8>);
}

/// Makes the filter of one stream that a command writes: stdout, stderr, or error (the final status).
/// The bytes of a forwarded port have none.
pub type Filters = Box<dyn FnMut(StreamType) -> Box<dyn Filter> + Send>;

#[cfg(test)]
pub(crate) mod tests;
