//! What one request may still use of its caller's budgets.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::time::Instant;

use super::spending::{Cost, Deletes, Exceeded, Touches};
use super::table::{Caller, Open};
use crate::policy::matcher::is_cluster_scoped;
use crate::policy::{Allowance, Measure};
use crate::request::RequestInfo;

/// A caller with the allowance under which their request came. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Meter {
    caller: Arc<Caller>,
    allowance: Arc<Allowance>,
    began: Instant,
}

impl Meter {
    pub(super) fn new(caller: Arc<Caller>, allowance: Arc<Allowance>, began: Instant) -> Self {
        Self {
            caller,
            allowance,
            began,
        }
    }

    /// Counts the request as one.
    pub fn request(&self) -> Result<(), Exceeded> {
        self.caller.spends(self.now(), |spending, now| {
            spending.request(&self.allowance, now)
        })
    }

    /// Whether there is room for what the request takes, before anybody is asked for a yes to it.
    pub fn has_room(&self, info: &RequestInfo, cluster: &str) -> Result<(), Exceeded> {
        if !self.allowance.counts_what_is_done() {
            return Ok(());
        }
        let cost = Cost::of(info, cluster);
        self.caller.spends(self.now(), |spending, now| {
            spending.has_room(cost, &self.allowance, now)
        })
    }

    /// Counts what the request takes: it goes on.
    pub fn take(&self, info: &RequestInfo, cluster: &str) -> Result<(), Exceeded> {
        if !self.allowance.counts_what_is_done() {
            return Ok(());
        }
        let cost = Cost::of(info, cluster);
        self.caller.spends(self.now(), |spending, now| {
            spending.take(cost, &self.allowance, now)
        })
    }

    /// Counts bytes that are about to reach the caller.
    pub fn bytes(&self, amount: usize) -> Result<(), Exceeded> {
        if !self.counts_bytes() {
            return Ok(());
        }
        let amount = u64::try_from(amount).unwrap_or(u64::MAX);
        self.caller.spends(self.now(), |spending, now| {
            spending.bytes(amount, &self.allowance, now)
        })
    }

    /// Whether bytes are counted at all.
    #[must_use]
    pub fn counts_bytes(&self) -> bool {
        self.allowance.limit(Measure::Bytes).is_some()
    }

    /// Counts a stream or a session as open until what is returned is dropped.
    #[must_use]
    pub fn opens(&self, session: bool) -> Open {
        self.caller.opens(session)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Keyed anew in every process: nobody can choose names that look the same.
static DIGESTS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Cost {
    /// What a request takes, as far as that can be told from it.
    #[must_use]
    pub fn of(info: &RequestInfo, cluster: &str) -> Self {
        if !info.is_resource_request {
            return Self::default();
        }
        let deletes = match info.verb.as_str() {
            "delete" => Deletes::One,
            "deletecollection" => Deletes::Any,
            // An eviction is a delete that asks whether it may.
            "create" if info.subresource == "eviction" => Deletes::One,
            _ => Deletes::None,
        };
        let spans = matches!(info.verb.as_str(), "list" | "watch" | "deletecollection")
            && !is_cluster_scoped(&info.api_group, &info.resource);
        let namespaces = if !info.namespace.is_empty() {
            Touches::One(DIGESTS.hash_one((cluster, info.namespace.as_str())))
        } else if spans || info.resource == "nodes" && info.subresource == "proxy" {
            Touches::All // a kubelet has pods of any namespace
        } else {
            Touches::None
        };
        Self {
            deletes,
            namespaces,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn cost(method: &Method, target: &str) -> Cost {
        Cost::of(&RequestInfo::parse(method, target).unwrap(), "demo")
    }

    #[test]
    fn what_a_request_takes_is_read_from_it() {
        let (get, post, delete) = (&Method::GET, &Method::POST, &Method::DELETE);
        for (method, target, deletes) in [
            (get, "/api/v1/namespaces/a/pods/x", Deletes::None),
            (delete, "/api/v1/namespaces/a/pods/x", Deletes::One),
            (delete, "/api/v1/namespaces/a/pods", Deletes::Any),
            (delete, "/api/v1/namespaces/a", Deletes::One),
            (post, "/api/v1/namespaces/a/pods/x/eviction", Deletes::One),
            (post, "/api/v1/namespaces/a/pods", Deletes::None),
        ] {
            assert_eq!(cost(method, target).deletes, deletes, "{method} {target}");
        }
        let one = cost(get, "/api/v1/namespaces/a/pods").namespaces;
        assert!(matches!(one, Touches::One(_)));
        assert_eq!(cost(get, "/api/v1/namespaces/a").namespaces, one);
        assert_eq!(
            cost(get, "/apis/apps/v1/namespaces/a/deployments/x").namespaces,
            one
        );
        assert_ne!(cost(get, "/api/v1/namespaces/b/pods").namespaces, one);
        let elsewhere = RequestInfo::parse(get, "/api/v1/namespaces/a/pods").unwrap();
        assert_ne!(Cost::of(&elsewhere, "other").namespaces, one);
        for (target, touches) in [
            ("/api/v1/pods", Touches::All),
            ("/api/v1/pods?watch=1", Touches::All),
            ("/apis/example.com/v1/things", Touches::All),
            ("/api/v1/nodes/n/proxy/exec/a/x/c?command=sh", Touches::All),
            ("/api/v1/nodes/n/proxy/containerLogs/a/x/c", Touches::All),
            ("/api/v1/nodes", Touches::None),
            ("/api/v1/namespaces", Touches::None),
            ("/api/v1", Touches::None),
            ("/version", Touches::None),
        ] {
            assert_eq!(cost(get, target).namespaces, touches, "{target}");
        }
    }
}
