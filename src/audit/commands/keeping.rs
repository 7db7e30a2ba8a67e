//! A command while its requests are gathered, of which it keeps a bounded number.
//!
//! Which requests make up a command is claimed by its client. So none may crowd out another that says more: what is left
//! out are the latest of the lightest kind, and some of each kind always stay.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::{Command, Request, Weight, gravity};
use crate::limits;

/// One command, as far as it has been gathered.
#[derive(Debug)]
pub(super) struct Keeping {
    /// Its requests are those below.
    command: Command,
    /// When the last of it happened.
    ended: Timestamp,
    /// How many are kept at most.
    most: usize,
    kept: usize,
    /// The lightest first, and of each kind the earliest first.
    kinds: BTreeMap<Weight, BTreeMap<(Timestamp, String), Request>>,
}

impl Keeping {
    /// The command of this request, which is not in it yet.
    pub(super) fn of(request: &Request, most: usize) -> Self {
        let command = Command {
            id: request.audit_id.clone(),
            started: request.received,
            user: request.user.clone(),
            agent: request.agent.clone(),
            claimed_command: request.annotations.get("claimed-command").cloned(),
            decision: request.decision.clone(),
            discovery: 0,
            requests: Vec::new(),
            more_requests: 0,
        };
        Self {
            command,
            ended: request.at,
            most,
            kept: 0,
            kinds: BTreeMap::new(),
        }
    }

    /// Whether a request of its run belongs to it: nothing lies between the two but a silence that one run of kubectl may have.
    /// A watch or a shell lasts from when it came to what is told of it last.
    pub(super) fn reaches(&self, request: &Request) -> bool {
        near(self.ended, request.received) && near(request.at, self.command.started)
    }

    /// Whether a request that was over before then can belong to it.
    pub(super) fn may_begin_before(&self, then: Timestamp) -> bool {
        near(then, self.command.started)
    }

    /// Whether a request of its run that came then is one of it.
    pub(super) fn has(&self, came: Timestamp) -> bool {
        (self.command.started..=self.ended).contains(&came)
    }

    /// Takes one of its requests.
    pub(super) fn push(&mut self, request: Request) {
        self.widen(
            &request.decision,
            (request.received, &request.audit_id),
            request.at,
        );
        if request.discovery {
            self.command.discovery += 1;
            return;
        }
        self.keep(request);
    }

    /// Takes what turned out to be the same command.
    pub(super) fn join(&mut self, other: Self) {
        let command = other.command;
        self.widen(
            &command.decision,
            (command.started, &command.id),
            other.ended,
        );
        self.command.discovery += command.discovery;
        self.command.more_requests += command.more_requests;
        for request in other.kinds.into_values().flat_map(BTreeMap::into_values) {
            self.keep(request);
        }
    }

    fn widen(&mut self, decision: &str, first: (Timestamp, &String), ended: Timestamp) {
        let command = &mut self.command;
        if gravity(decision) > gravity(&command.decision) {
            decision.clone_into(&mut command.decision);
        }
        // Ids are in the order of time, too.
        if first < (command.started, &command.id) {
            command.started = first.0;
            command.id.clone_from(first.1);
        }
        self.ended = self.ended.max(ended);
    }

    fn keep(&mut self, request: Request) {
        let kind = self.kinds.entry(request.weight()).or_default();
        let place = (request.received, request.audit_id.clone());
        if kind.insert(place, request).is_none() {
            self.kept += 1;
        }
        if self.kept > self.most {
            self.leave_one_out();
        }
    }

    /// The first request of the heaviest kind, by which a command is told, is never left out.
    fn leave_one_out(&mut self) {
        let mut kinds = self.kinds.values_mut();
        let spare = kinds.find(|kind| kind.len() > limits::AUDIT_COMMAND_KIND_REQUESTS_MIN);
        if spare.and_then(BTreeMap::pop_last).is_some() {
            self.kept -= 1;
            self.command.more_requests += 1;
        }
    }

    /// Whether it asked for something else than what the API has.
    pub(super) fn asks(&self) -> bool {
        self.kept > 0
    }

    /// The command, with its requests in the order in which they came.
    pub(super) fn finish(mut self) -> Command {
        let mut requests: BTreeMap<(Timestamp, String), Request> = BTreeMap::new();
        for mut kind in self.kinds.into_values() {
            requests.append(&mut kind);
        }
        self.command.requests = requests.into_values().collect();
        self.command
    }
}

/// Whether one run of kubectl may be silent from the one to the other.
fn near(early: Timestamp, late: Timestamp) -> bool {
    let silence = Duration::try_from(late.duration_since(early)).unwrap_or_default();
    silence <= limits::AUDIT_COMMAND_SILENCE_MAX
}
