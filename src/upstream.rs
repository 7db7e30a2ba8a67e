//! As whom, and to where? The way to the API servers.
//!
//! Invariant: nothing is sent for a caller without a decision (a `Permit`), and nothing bears an identity
//! that was not rebuilt here. On its own account the gateway reads Secrets and nothing else (an [`Errand`]). Redirects are never followed, credentials never shown, and a caller's own
//! credential never goes upstream.

mod cluster;
mod connect;
mod credential;
mod errand;
mod error;
mod exchange;
mod headers;
mod identity;
mod pool;
mod upgrade;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use credential::{InCluster, Problem, Source, check};
pub use errand::Errand;
pub use error::{StartError, UpstreamError};
pub use headers::{HeadersRefused, refuse_client_identity};
pub use identity::IdentityRefused;

use self::cluster::Cluster;
use self::identity::UpstreamIdentity;
use crate::gateway::body::Body;
use crate::metrics::{ClusterState, Load, Metrics};
use crate::policy::{Inquiry, Permit};
use crate::request::RequestInfo;
use crate::transform::Unreleased;

/// The clusters behind the gateway.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Each with a name of its own. Which one is the default is the gateway's concern.
    pub clusters: Vec<ClusterSettings>,
}

impl Settings {
    /// The names of the clusters.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.clusters.iter().map(|cluster| cluster.name.as_str())
    }
}

/// One cluster.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The name in policies, paths and audit events.
    pub name: String,
    /// Where its address and the gateway's credential come from.
    pub source: Source,
}

/// What the gateway knows about a request besides the request.
#[derive(Clone, Debug)]
pub struct Call {
    /// The gateway's audit id; it goes upstream as `Audit-ID`.
    pub audit_id: String,
    /// The client's address; it goes upstream as `X-Forwarded-For`.
    pub peer: IpAddr,
    /// `RequestInfo::is_long_running`: no deadline, and connections shared with its like only.
    pub long_running: bool,
    /// The answer may be long, as those of lists, watches and logs are: it has a connection of its own while
    /// there are few of them.
    pub streams: bool,
}

/// A request extension: the body's bytes, where the gateway holds them anyway. Only a request without
/// body or with this extension is sent again when the API server did not process it.
#[derive(Clone, Debug)]
pub struct ReplayableBody(pub Bytes);

/// Every cluster, with its credential and connections.
#[derive(Debug)]
pub struct Upstream {
    clusters: BTreeMap<String, Arc<Cluster>>,
}

/// An answer to an upgrade request.
#[derive(Debug)]
pub enum UpgradeAnswer<B = Unreleased> {
    /// 101. Whether it is the right one (protocol, accept key) is still to be checked.
    Switched {
        /// The head of the answer, as the API server sent it.
        response: Response<()>,
        /// The connection behind it, with whatever came in the same segment as the head.
        io: TokioIo<Upgraded>,
    },
    /// Any other answer: an ordinary response, after which the connection closes.
    Refused(Response<B>),
}

impl Upstream {
    /// Reads every credential and begins to follow its changes. No connection is opened yet.
    pub fn start(
        settings: Settings,
        tasks: &TaskTracker,
        metrics: &Metrics,
        shutdown: &CancellationToken,
    ) -> Result<Arc<Self>, StartError> {
        let mut clusters = BTreeMap::new();
        for ClusterSettings { name, source } in settings.clusters {
            let cluster = Arc::new(Cluster::open(&name, source, tasks, metrics)?);
            if clusters.insert(name.clone(), cluster).is_some() {
                return Err(StartError::Duplicate(name));
            }
        }
        for cluster in clusters.values() {
            tasks.spawn(Arc::clone(cluster).maintain(shutdown.clone()));
        }
        Ok(Arc::new(Self { clusters }))
    }

    /// Begins to look now and then whether the API servers can be reached; without it only requests
    /// find out.
    pub fn look(&self, tasks: &TaskTracker, shutdown: &CancellationToken) {
        for cluster in self.clusters.values() {
            tasks.spawn(cluster::look(Arc::clone(cluster), shutdown.clone()));
        }
    }

    /// Whether any cluster can be used, as far as is known; for `/readyz`. One of several that is down
    /// must not take the others away.
    pub fn is_usable(&self) -> bool {
        let mut clusters = self.clusters.values();
        clusters.any(|cluster| cluster.reach.state() == ClusterState::Usable)
    }

    /// Adds what is open to all of them.
    pub fn count(&self, load: &mut Load) {
        for cluster in self.clusters.values() {
            cluster.count(load);
        }
    }

    /// What is wrong with those that cannot be used, one line for each.
    pub fn unusable(&self) -> Vec<String> {
        let wrong = |cluster: &Arc<Cluster>| {
            let name = &cluster.name;
            match cluster.reach.state() {
                ClusterState::Usable => None,
                ClusterState::Unreachable => Some(format!(
                    "the API server of cluster `{name}` cannot be reached"
                )),
                ClusterState::Rejected => Some(format!(
                    "cluster `{name}` does not accept the gateway's credential"
                )),
            }
        };
        self.clusters.values().filter_map(wrong).collect()
    }

    /// Sends a permitted request to the permit's cluster, as the permit's identity, and returns the
    /// head of the answer with its body still under way.
    ///
    /// Of the request only method, path, query, body and the headers of the allow list are used.
    /// Dropping the answer's body ends the exchange upstream.
    pub async fn send(
        &self,
        request: Request<Body>,
        permit: &Permit,
        call: &Call,
    ) -> Result<Response<Unreleased>, UpstreamError> {
        let identity = UpstreamIdentity::of(permit, &call.audit_id)?;
        let cluster = self.cluster(permit)?;
        let response = cluster.send(request, &identity, call).await?;
        Ok(response.map(Unreleased::new))
    }

    /// Asks for what the policy wants to see before it decides, as the caller. Only what certainly changes nothing
    /// is sent: a GET, or a dry run.
    pub async fn ask(
        &self,
        request: Request<Body>,
        inquiry: &Inquiry,
        call: &Call,
    ) -> Result<Response<Unreleased>, UpstreamError> {
        let target = request
            .uri()
            .path_and_query()
            .map_or("", PathAndQuery::as_str);
        let harmless = RequestInfo::parse(request.method(), target).is_ok_and(|info| {
            info.is_resource_request
                && (matches!(info.verb.as_str(), "get" | "list")
                    || !info.verb.starts_with("delete") && info.is_dry_run(b""))
        });
        if !harmless {
            return Err(UpstreamError::Unbuildable);
        }
        self.send(request, inquiry.permit(), call).await
    }

    /// Sends a permitted upgrade request over a connection of its own.
    pub async fn upgrade(
        &self,
        request: Request<()>,
        permit: &Permit,
        call: &Call,
    ) -> Result<UpgradeAnswer, UpstreamError> {
        let identity = UpstreamIdentity::of(permit, &call.audit_id)?;
        let cluster = self.cluster(permit)?;
        Ok(
            match upgrade::upgrade(cluster, &request, &identity, call).await? {
                UpgradeAnswer::Switched { response, io } => {
                    UpgradeAnswer::Switched { response, io }
                }
                UpgradeAnswer::Refused(response) => {
                    UpgradeAnswer::Refused(response.map(Unreleased::new))
                }
            },
        )
    }

    fn cluster(&self, permit: &Permit) -> Result<&Cluster, UpstreamError> {
        self.named(permit.cluster())
    }

    fn named(&self, name: &str) -> Result<&Cluster, UpstreamError> {
        self.clusters
            .get(name)
            .map(Arc::as_ref)
            .ok_or_else(|| UpstreamError::UnknownCluster(name.to_owned()))
    }
}

#[cfg(test)]
mod tests;
