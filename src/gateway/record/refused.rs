//! The end of a record whose request is refused: before it went on, or when its answer could not be sent.

use super::Record;
use crate::gateway::refuse::{Fault, Refusal};
use crate::metrics::Outcome;

impl Record {
    /// Keeps a refusal; the record is then complete.
    pub async fn refused(mut self: Box<Self>, refusal: &Refusal) {
        self.outcome = match refusal.fault {
            Fault::Client => Outcome::Refused,
            Fault::Policy => Outcome::Denied,
            Fault::Held => Outcome::Held,
            Fault::Upstream | Fault::Gateway => Outcome::Failed,
        };
        let decision = match refusal.fault {
            Fault::Policy => "deny",
            Fault::Held => "hold",
            _ => "refuse",
        };
        self.answered_with(refusal, decision);
        self.close();
        let audit = self.keeper.audit.clone();
        tokio::select! {
            biased;
            () = self.keep(true) => return,
            () = audit.unwritable() => {}
        }
        // The answer does not wait for a disk that takes nothing. Were the queue to grow with every
        // refusal, whoever can connect could fill the memory.
        if !std::mem::replace(&mut self.closed, true) && self.hand_over().is_err() {
            self.keeper.metrics.audit_event_lost();
        }
    }

    fn answered_with(&mut self, refusal: &Refusal, decision: &'static str) {
        self.event.annotate("portcullis.dev/decision", decision);
        if let Some(detail) = refusal.hidden_detail() {
            self.event.annotate("portcullis.dev/detail", detail);
        }
        let message = Some(refusal.message().to_owned());
        self.event
            .answered(refusal.code(), Some(refusal.reason()), message);
    }

    /// The client gets this in the place of the answer, of which nothing has left. Never a denial: it may have been
    /// carried out.
    pub(super) fn takes_back(&mut self, refusal: &Refusal) {
        self.outcome = Outcome::Failed;
        self.bytes = 0;
        self.masks = None;
        self.kept = None;
        self.answered_with(refusal, "refuse");
    }
}
