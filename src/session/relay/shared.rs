//! What the two pumps of a relay share: the wire they follow, and the book that is kept of it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::super::tap::{Ledger, Pace, Tap, Wire};
use super::super::{EndReason, Ending, Filters, Session, SessionEvent, SessionReport, Side};
use super::{Outcome, PumpEnd};

/// What both pumps use. Locked for a parse at a time, never while waiting.
pub(super) struct Shared<'t> {
    started: Instant,
    pub(super) pace: Option<Arc<dyn Pace>>,
    state: Mutex<State<'t>>,
}

struct State<'t> {
    wire: Wire,
    ledger: Ledger<'t>,
    active: Instant,
}

impl<'t> Shared<'t> {
    pub(super) fn new(session: &Session, filters: Option<Filters>, tap: &'t mut dyn Tap) -> Self {
        let started = Instant::now();
        let wire = Wire::new(session, filters);
        let pace = tap.pace();
        let mut ledger = Ledger::new(tap);
        wire.start(&mut |event| ledger.event(&event, Duration::ZERO));
        Self {
            started,
            pace,
            state: Mutex::new(State {
                wire,
                ledger,
                active: started,
            }),
        }
    }

    pub(super) fn receive(
        &self,
        side: Side,
        bytes: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), PumpEnd> {
        let mut state = self.state.lock();
        let State {
            wire,
            ledger,
            active,
        } = &mut *state;
        if let Err(error) = ledger.ready() {
            return Err(PumpEnd::Unrecorded(error.to_string()));
        }
        *active = Instant::now();
        let now = active.duration_since(self.started);
        wire.receive(side, bytes, now, output, &mut |event| {
            ledger.event(&event, now);
        })
        .map_err(PumpEnd::Broken)
    }

    /// Asks the direction to stop; true when it may at once.
    pub(super) fn stop(&self, side: Side) -> bool {
        let wire = &mut self.state.lock().wire;
        wire.stop(side);
        wire.at_boundary(side)
    }

    pub(super) fn at_boundary(&self, side: Side) -> bool {
        self.state.lock().wire.at_boundary(side)
    }

    pub(super) fn ending(&self, to: Side, ending: &Ending) -> Vec<u8> {
        let wire = &mut self.state.lock().wire;
        let mut bytes = Vec::new();
        if !wire.at_boundary(to.other()) {
            // A command must not get input that nobody sent, so only clients are told within a frame.
            let filled = (to == Side::Client).then(|| wire.fill()).flatten();
            let Some(filled) = filled else {
                return bytes;
            };
            bytes = filled;
        }
        bytes.extend(wire.ending(to, ending));
        bytes
    }

    pub(super) fn note_ending(&self, ending: &Ending) {
        let now = self.started.elapsed();
        self.state
            .lock()
            .ledger
            .event(&SessionEvent::Ending(ending), now);
    }

    pub(super) fn active(&self) -> Instant {
        self.state.lock().active
    }

    pub(super) fn report(self, outcome: Outcome) -> SessionReport {
        let duration = self.started.elapsed();
        let State {
            mut wire, ledger, ..
        } = self.state.into_inner();
        // The order in which two ends close says little once everything has been said.
        let complete = ledger.exit.is_some() || wire.closed(Side::Server);
        let gone = matches!(
            outcome.reason,
            EndReason::ClientGone | EndReason::UpstreamGone
        );
        SessionReport {
            reason: if complete && gone {
                EndReason::Completed
            } else {
                outcome.reason
            },
            detail: outcome.detail,
            exit: ledger.exit,
            bytes: ledger.bytes,
            connections: ledger.connections,
            duration,
        }
    }
}
