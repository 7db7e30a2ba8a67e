//! A session whose bytes are counted against a budget.

use std::sync::Arc;
use std::time::Duration;

use crate::callers::meter::Meter;
use crate::callers::spending::Exceeded;
use crate::session::{EndReason, Ending, Pace, SessionEvent, Side, Tap, TapError};

/// Counts what the client gets, beside another tap.
pub(super) struct Metered<'a> {
    inner: &'a mut dyn Tap,
    /// Without one nothing is counted.
    meter: Option<Meter>,
    /// The budget that is used up: nothing more passes.
    pub(super) over: Option<Exceeded>,
}

impl<'a> Metered<'a> {
    /// Beside `inner`.
    pub(super) fn beside(inner: &'a mut dyn Tap, meter: Option<Meter>) -> Self {
        Self {
            inner,
            meter,
            over: None,
        }
    }
}

impl Tap for Metered<'_> {
    fn ready(&mut self) -> Result<(), TapError> {
        match &self.over {
            Some(over) => Err(TapError::Ends(farewell(over))),
            None => self.inner.ready(),
        }
    }

    fn event(&mut self, event: &SessionEvent<'_>, now: Duration) {
        if let SessionEvent::Data {
            from: Side::Server,
            bytes,
            ..
        } = event
            && let Some(meter) = &self.meter
            && let Err(over) = meter.bytes(bytes.len())
        {
            self.over = Some(over);
        }
        self.inner.event(event, now);
    }

    fn pace(&self) -> Option<Arc<dyn Pace>> {
        self.inner.pace()
    }
}

/// What the person at the terminal is told.
fn farewell(over: &Exceeded) -> Ending {
    Ending {
        reason: EndReason::OverBudget,
        message: format!(
            "portcullis: this session ends: {over}; {}",
            over.room_again()
        ),
    }
}
