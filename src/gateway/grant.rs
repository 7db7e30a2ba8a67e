//! A grant lasts only while it holds (invariant 5): token expiry, a policy that changed its mind and
//! the gateway's own end are told to every answer that is still streaming.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::config::reload::LivePolicy;
use crate::metrics::StreamEnd;
use crate::policy::{Decision, Permit, record};
use crate::request::RequestInfo;

/// Resolves when the grant no longer holds, with the reason.
pub type Ended = Pin<Box<dyn Future<Output = StreamEnd> + Send>>;

/// What decides how long a grant holds.
#[derive(Clone)]
pub struct Holder {
    /// The policy in force, and news of its successors.
    pub policy: Arc<LivePolicy>,
    /// How long a stream may outlive its token.
    pub stream_grace: Duration,
    /// Cancelled when the gateway starts to go down.
    pub draining: CancellationToken,
    /// Cancelled when the time for draining is over.
    pub ending: CancellationToken,
}

impl Holder {
    /// Watches over one granted request. When the gateway drains, watches and logs end at once, so that
    /// clients reconnect elsewhere; short answers and sessions have the time for draining.
    pub fn watch_over(&self, permit: &Permit, info: &Arc<RequestInfo>) -> Ended {
        let holder = self.clone();
        let permit = permit.clone();
        let info = Arc::clone(info);
        Box::pin(async move { holder.ended(&permit, &info).await })
    }

    async fn ended(&self, permit: &Permit, info: &RequestInfo) -> StreamEnd {
        let reconnects = info.is_long_running() && info.session().is_none();
        let drained = if reconnects {
            &self.draining
        } else {
            &self.ending
        };
        let left = permit
            .identity()
            .expires_at()
            .duration_since(Timestamp::now());
        let left = Duration::try_from(left).unwrap_or(Duration::ZERO) + self.stream_grace;
        let mut expired = std::pin::pin!(tokio::time::sleep(left));
        let mut changes = self.policy.changes();
        // A policy may have come between the decision and this line.
        if !self.still_permits(permit, info) {
            return StreamEnd::Policy;
        }
        loop {
            tokio::select! {
                biased;
                () = &mut expired => return StreamEnd::Expired,
                () = drained.cancelled() => return StreamEnd::Drain,
                changed = changes.changed() => {
                    if changed.is_err() {
                        return StreamEnd::Drain; // nobody is left to change the policy: the gateway is gone
                    }
                    if !self.still_permits(permit, info) {
                        return StreamEnd::Policy;
                    }
                }
            }
        }
    }

    /// Whether the policy in force would open the same stream with the same masks, and ask for no
    /// more of it to be recorded.
    fn still_permits(&self, permit: &Permit, info: &RequestInfo) -> bool {
        match self
            .policy
            .current()
            .decide(permit.identity(), info, permit.cluster())
        {
            Decision::Allow(now) => {
                now.mask() == permit.mask() && record::satisfies(permit.record(), now.record())
            }
            Decision::Deny(_) => false,
        }
    }
}
