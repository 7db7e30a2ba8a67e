//! Whether an API server can be used, as far as is known: from what requests meet, and from a look now
//! and then where there are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::super::connect::{self, Offer};
use super::Cluster;
use crate::limits;
use crate::metrics::{ClusterState, Metrics};

/// What is known of one cluster's API server.
#[derive(Debug)]
pub(in crate::upstream) struct Reach {
    state: AtomicU8,
    /// It has answered a request since the last look.
    answered: AtomicBool,
    metrics: Metrics,
}

impl Reach {
    /// Nothing is known: it counts as unreachable until it was reached.
    pub(in crate::upstream) fn new(metrics: &Metrics) -> Self {
        metrics.cluster(None, ClusterState::Unreachable);
        Self {
            state: AtomicU8::new(ClusterState::Unreachable as u8),
            answered: AtomicBool::new(false),
            metrics: metrics.clone(),
        }
    }

    pub(in crate::upstream) fn state(&self) -> ClusterState {
        const USABLE: u8 = ClusterState::Usable as u8;
        const REJECTED: u8 = ClusterState::Rejected as u8;
        match self.state.load(Ordering::Relaxed) {
            USABLE => ClusterState::Usable,
            REJECTED => ClusterState::Rejected,
            _ => ClusterState::Unreachable,
        }
    }

    /// It answered a request, and not with 401.
    pub(in crate::upstream) fn answered(&self) {
        // Read first: every answer comes by here, and nearly all of them change nothing.
        if !self.answered.load(Ordering::Relaxed) {
            self.answered.store(true, Ordering::Relaxed);
        }
        self.is_now(ClusterState::Usable);
    }

    /// It does not accept the gateway's credential.
    pub(in crate::upstream) fn rejected(&self) {
        self.is_now(ClusterState::Rejected);
    }

    /// There is another credential, of which nothing bad is known.
    pub(in crate::upstream) fn renewed(&self) {
        if self.state() == ClusterState::Rejected {
            self.is_now(ClusterState::Usable);
        }
    }

    /// There is no connection to be had.
    pub(in crate::upstream) fn unreachable(&self) {
        self.is_now(ClusterState::Unreachable);
    }

    /// There is one, whatever is said on it of the credential.
    fn reached(&self) {
        if self.state() == ClusterState::Unreachable {
            self.is_now(ClusterState::Usable);
        }
    }

    fn is_now(&self, state: ClusterState) {
        let before = self.state();
        if before == state {
            return;
        }
        let (from, to) = (before as u8, state as u8);
        // Whoever loses the race saw something no newer.
        let won = self
            .state
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if won {
            self.metrics.cluster(Some(before), state);
        }
    }
}

/// Connects now and then, until shutdown, so that an API server that is gone or back is noticed without
/// traffic. Nothing is asked; an API server that answers requests meanwhile is left alone.
pub(in crate::upstream) async fn look(cluster: Arc<Cluster>, shutdown: CancellationToken) {
    let mut before = None;
    let mut looks = interval(limits::UPSTREAM_REACH_POLL);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            _ = looks.tick() => {}
        }
        if cluster.reach.answered.swap(false, Ordering::Relaxed) {
            continue;
        }
        let access = cluster.access();
        let connected = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            connected = connect::connect(&access, Offer::Any) => connected,
        };
        let is_news = before.replace(connected.is_ok()) != Some(connected.is_ok());
        match connected {
            Ok(_closed) => {
                cluster.reach.reached();
                if is_news {
                    tracing::info!(cluster = cluster.name, "the API server can be reached");
                }
            }
            Err(error) => {
                cluster.reach.unreachable();
                if is_news {
                    tracing::warn!(cluster = cluster.name, %error, "the API server cannot be reached");
                }
            }
        }
    }
}
