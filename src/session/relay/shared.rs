//! What the two pumps of a relay share: the wire they follow, and the book that is kept of it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::super::tap::{Events, Ledger, Pace, Tap, Wire};
use super::super::{EndReason, Ending, Filters, Session, SessionEvent, SessionReport, Side};
use super::{Outcome, PumpEnd};

/// What both pumps use. Locked for a parse at a time, never while waiting.
pub(super) struct Shared<'t> {
    started: Instant,
    pub(super) pace: Option<Arc<dyn Pace>>,
    rewrites: bool,
    state: Mutex<State<'t>>,
}

struct State<'t> {
    wire: Wire,
    ledger: Ledger<'t>,
    active: Instant,
    /// What the client still gets of the server before it is told of the session's end.
    last: Vec<u8>,
}

impl<'t> Shared<'t> {
    pub(super) fn new(session: &Session, filters: Option<Filters>, tap: &'t mut dyn Tap) -> Self {
        let started = Instant::now();
        let rewrites = filters.is_some();
        let wire = Wire::new(session, filters);
        let pace = tap.pace();
        let mut ledger = Ledger::new(tap);
        wire.start(&mut |event| ledger.event(&event, Duration::ZERO));
        Self {
            started,
            pace,
            rewrites,
            state: Mutex::new(State {
                wire,
                ledger,
                active: started,
                last: Vec::new(),
            }),
        }
    }

    /// Takes what `side` has sent; appends to `output` what may go on.
    pub(super) fn receive(
        &self,
        side: Side,
        bytes: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<(), PumpEnd> {
        self.work(|wire, active, now, events| {
            *active = Instant::now();
            wire.receive(side, bytes, now, output, events)
                .map_err(PumpEnd::Broken)
        })?
    }

    /// Appends to `output` what has been held back of the server's for too long.
    pub(super) fn release(&self, output: &mut Vec<u8>) -> Result<(), PumpEnd> {
        self.work(|wire, _, now, events| wire.release(now, output, events))
    }

    /// Nothing more of `side` passes; appends to `output` what was held back.
    pub(super) fn finish(&self, side: Side, output: &mut Vec<u8>) -> Result<(), PumpEnd> {
        if side == Side::Client || !self.rewrites {
            return Ok(());
        }
        self.work(|wire, _, _, events| wire.finish(output, events))
    }

    /// When something will have been held back of what `side` sends for too long.
    pub(super) fn due(&self, side: Side) -> Option<Instant> {
        if side == Side::Client || !self.rewrites {
            return None;
        }
        self.started.checked_add(self.state.lock().wire.due()?)
    }

    /// Lets the wire work if note can be taken of it.
    fn work<T>(
        &self,
        work: impl FnOnce(&mut Wire, &mut Instant, Duration, &mut Events<'_>) -> T,
    ) -> Result<T, PumpEnd> {
        let mut state = self.state.lock();
        let State {
            wire,
            ledger,
            active,
            ..
        } = &mut *state;
        if let Err(error) = ledger.ready() {
            return Err(PumpEnd::Refused(error));
        }
        let now = self.started.elapsed();
        Ok(work(wire, active, now, &mut |event| {
            ledger.event(&event, now);
        }))
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
        let State { wire, last, .. } = &mut *self.state.lock();
        let mut bytes = match to {
            Side::Client => std::mem::take(last),
            Side::Server => Vec::new(),
        };
        if !wire.at_boundary(to.other()) {
            // A command must not get input that nobody sent, so only clients are told within a frame.
            let filled = (to == Side::Client).then(|| wire.fill()).flatten();
            let Some(filled) = filled else {
                return bytes;
            };
            bytes.extend(filled);
        }
        bytes.extend(wire.ending(to, ending));
        bytes
    }

    /// The gateway ends the session. What is held back goes before the farewell, unless note can no longer
    /// be taken of it.
    pub(super) fn note_ending(&self, ending: &Ending) {
        let mut last = Vec::new();
        if self.finish(Side::Server, &mut last).is_err() {
            tracing::debug!("what was held back of a session's output is not recorded, nor shown");
        }
        let now = self.started.elapsed();
        let mut state = self.state.lock();
        state.last = last;
        state.ledger.event(&SessionEvent::Ending(ending), now);
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
