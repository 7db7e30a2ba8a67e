//! Rewriting what a command prints, before the client and the tap see it.

use std::time::Duration;

use super::StreamType;

/// Rewrites one stream of output. It holds back only what may still turn out to be the beginning of
/// something it replaces, and says until when. Times are counted from the beginning of the session.
pub trait Filter: Send {
    /// Takes the next bytes, which came `now`; appends to `output` what may leave.
    fn push(&mut self, bytes: &[u8], now: Duration, output: &mut Vec<u8>);
    /// When [`Filter::release`] is due, if bytes are held back: no byte waits longer than
    /// [`TEXT_HOLD_MAX`](crate::limits::TEXT_HOLD_MAX).
    fn due(&self) -> Option<Duration>;
    /// Nobody can wait longer for what is due `now`: appends what may leave. What is kept even so waits for the
    /// next bytes.
    fn release(&mut self, now: Duration, output: &mut Vec<u8>);
    /// The stream ends: appends what is left. Nothing is asked of the filter afterwards.
    fn finish(&mut self, output: &mut Vec<u8>);
}

/// Makes the filter of one stream that a command writes: stdout, stderr, or error (the final status).
/// The bytes of a forwarded port have none.
pub type Filters = Box<dyn FnMut(StreamType) -> Box<dyn Filter> + Send>;

#[cfg(test)]
pub(crate) mod tests;
