//! What becomes of questions, and of what nobody asks about.

use std::time::Duration;

use super::Metrics;
use crate::approval::Answered;
use crate::policy::Would;

impl Metrics {
    /// A question was answered, or is over, after so long.
    pub fn question_over(&self, outcome: Answered, waited: Duration) {
        if let Some(answers) = self.answers.get(outcome as usize) {
            answers.record(waited);
        }
    }

    /// What waits for an answer (how many, and how long the oldest), and how many roles are given.
    pub fn approvals(&self, open: (usize, Duration), grants: usize) {
        self.scraped.approvals(open, grants);
    }

    /// A request went on that the policy would have stopped.
    pub fn observed(&self, would: &Would) {
        let [deny, hold] = &self.observed;
        match would {
            Would::Deny(_) => deny.increment(1),
            Would::Hold(..) => hold.increment(1),
        }
    }
}
