//! A Kubernetes 1.36 API server in memory: what stands behind the demo, the end-to-end tests and the
//! load tests. Stock clients work against it; where it and a capture of the real server disagree, the
//! capture is right.

mod auth;
mod controller;
mod discovery;
mod handle;
mod patch;
mod request;
mod respond;
mod seed;
mod store;
pub(crate) mod types;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, Method, Request, Uri};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use portcullis::gateway::body;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use auth::User;
use respond::status;
use store::Store;
pub use types::answer;
use types::resources::{Resource, builtin};

/// As the API server's `--http2-max-streams-per-connection` default.
const MAX_STREAMS: u32 = 100;
/// How many requests [`Running::requests`] remembers.
const REMEMBERED: usize = 1024;

/// How the server is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens; port 0 picks a free one.
    pub address: SocketAddr,
    /// HTTPS with this certificate; without it plain HTTP, which kubectl speaks too.
    pub tls: Option<Tls>,
    /// Who may come in. Every token may impersonate.
    pub tokens: Vec<Token>,
    /// Fill it with the demo's namespaces and objects.
    pub seed: bool,
    /// Serve `/api/v1/namespaces/huge/secrets` as a list of about this many bytes, made while it is sent.
    pub huge_list_bytes: Option<u64>,
    /// Events kept per resource; older watches get 410.
    pub history: usize,
    /// Answer 403 to these although everything else is allowed.
    pub denials: Vec<Denial>,
    /// Time between bookmarks on watches that ask for them.
    pub bookmark_interval: Duration,
    /// Refuse every WebSocket, as an API server before 1.29 does with the protocols of today.
    pub spdy_only: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            tokens: Vec::new(),
            seed: true,
            huge_list_bytes: None,
            history: 4096,
            denials: Vec::new(),
            bookmark_interval: Duration::from_mins(1),
            spdy_only: false,
        }
    }
}

/// A server certificate.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate chain, PEM.
    pub certificate_pem: String,
    /// Its private key, PEM.
    pub private_key_pem: String,
}

/// A static bearer token.
#[derive(Clone, Debug)]
pub struct Token {
    /// The token itself.
    pub token: String,
    /// The user it stands for.
    pub user: String,
    /// The user's groups.
    pub groups: Vec<String>,
}

impl Token {
    /// A token for `user` in `groups`.
    pub fn new(token: &str, user: &str, groups: &[&str]) -> Self {
        Self {
            token: token.to_owned(),
            user: user.to_owned(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
        }
    }
}

/// Something a user may not do. Empty strings match everything.
#[derive(Clone, Debug, Default)]
pub struct Denial {
    /// The (impersonated) user name.
    pub user: String,
    /// `get`, `create`, ...
    pub verb: String,
    /// `secrets`, or `pods/exec`.
    pub resource: String,
    /// The namespace.
    pub namespace: String,
}

/// A request as it arrived, for tests of what a gateway sends.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// All header lines.
    pub headers: HeaderMap,
    /// The user it ran as, after impersonation; `None` when it was refused with 401.
    pub user: Option<User>,
}

/// The simulated API server.
#[derive(Debug)]
pub struct ApiServer;

/// A started server; dropping it does not stop it.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    settings: Settings,
    store: Store,
    builtin: Vec<Arc<Resource>>,
    requests: Mutex<VecDeque<Seen>>,
    /// Whose object changes as soon as a dry run of it was answered, and to what.
    meddling: Mutex<Option<(String, serde_json::Value)>>,
    bytes_sent: Arc<AtomicU64>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl ApiServer {
    /// Binds the address and serves until [`Running::stop`].
    pub async fn start(settings: Settings) -> io::Result<Running> {
        let acceptor = settings.tls.as_ref().map(acceptor).transpose()?;
        let listener = TcpListener::bind(settings.address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            store: Store::new(settings.history),
            builtin: builtin().into_iter().map(Arc::new).collect(),
            requests: Mutex::new(VecDeque::new()),
            meddling: Mutex::new(None),
            bytes_sent: Arc::default(),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            settings,
        });
        seed::namespaces(&state);
        if state.settings.seed {
            seed::objects(&state);
        }
        state
            .tasks
            .spawn(accept(listener, acceptor, Arc::clone(&state)));
        Ok(Running { address, state })
    }
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://127.0.0.1:port` (or `http`).
    pub fn url(&self) -> String {
        let scheme = if self.state.settings.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// Bytes of the huge list handed to connections so far.
    pub fn bytes_sent(&self) -> u64 {
        self.state.bytes_sent.load(Ordering::Relaxed)
    }

    /// The latest requests, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.state.requests.lock().iter().cloned().collect()
    }

    /// The latest requests, oldest first, which are forgotten with it.
    pub fn take_requests(&self) -> Vec<Seen> {
        self.state.requests.lock().drain(..).collect()
    }

    /// Forgets all history, as etcd's compaction does: every watch from an earlier version, also an open one, is
    /// told so (410) and ends.
    pub fn compact(&self) {
        self.state.store.compact();
    }

    /// Creates or replaces an object without a request; the namespace is in its metadata.
    pub fn put(&self, object: serde_json::Value) -> Result<(), String> {
        seed::put(&self.state, object)
    }

    /// Replaces the object of that name as soon as the next dry run of a patch of it was answered, as somebody else
    /// may who is faster than the patch.
    pub fn meddle(&self, name: &str, object: serde_json::Value) {
        *self.state.meddling.lock() = Some((name.to_owned(), object));
    }

    /// Deletes an object without a request; `resource` is `secrets` or `deployments.apps`.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) -> Result<(), String> {
        let delete = |_: Option<&Arc<store::Object>>| Ok(store::Decision::Delete);
        self.state
            .store
            .write(resource, namespace, name, delete)
            .map(drop)
            .map_err(|error| error.message)
    }

    /// Ends all connections and waits for them.
    pub async fn stop(self) {
        self.state.shutdown.cancel();
        self.state.tasks.close();
        self.state.tasks.wait().await;
    }
}

impl State {
    /// The served resource of that name.
    fn resource(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        let fits = |resource: &Resource| {
            resource.plural == plural && resource.group == group && resource.version == version
        };
        let known = self.builtin.iter().find(|resource| fits(resource)).cloned();
        known.or_else(|| self.custom().into_iter().find(|resource| fits(resource)))
    }

    /// The resources of created CRDs.
    fn custom(&self) -> Vec<Arc<Resource>> {
        let (_, crds) = self
            .store
            .list("customresourcedefinitions.apiextensions.k8s.io", "");
        let mut out = Vec::new();
        for crd in crds {
            let versions = crd
                .value
                .pointer("/spec/versions")
                .and_then(serde_json::Value::as_array);
            let served = |version: &&serde_json::Value| {
                version.get("served") != Some(&serde_json::Value::Bool(false))
            };
            for version in versions.into_iter().flatten().filter(served) {
                out.extend(Resource::of_crd(&crd.value, version).map(Arc::new));
            }
        }
        out
    }

    /// Everything served, built-in first.
    fn resources(&self) -> Vec<Arc<Resource>> {
        let mut all = self.builtin.clone();
        all.extend(self.custom());
        all
    }

    fn remember(&self, seen: Seen) {
        let mut requests = self.requests.lock();
        requests.push_back(seen);
        while requests.len() > REMEMBERED {
            requests.pop_front();
        }
    }
}

fn acceptor(tls: &Tls) -> io::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(tls.certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(io::Error::other)?;
    let key =
        PrivateKeyDer::from_pem_slice(tls.private_key_pem.as_bytes()).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, state: Arc<State>) {
    loop {
        let accepted = tokio::select! {
            () = state.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                state
                    .tasks
                    .spawn(connection(stream, acceptor.clone(), Arc::clone(&state)));
            }
            // Out of file descriptors, or the peer is already gone: the next accept may work.
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, acceptor: Option<TlsAcceptor>, state: Arc<State>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    match acceptor {
        None => serve(stream, state).await,
        Some(acceptor) => {
            let handshake = tokio::time::timeout(Duration::from_secs(10), acceptor.accept(stream));
            if let Ok(Ok(stream)) = handshake.await {
                serve(stream, state).await;
            }
        }
    }
}

async fn serve<S>(stream: S, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shutdown = state.shutdown.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let state = Arc::clone(&state);
        let is_head = request.method() == Method::HEAD;
        async move {
            Ok::<_, std::convert::Infallible>(match handle::handle(&state, request).await {
                response if is_head => body::head_only(response),
                response => response,
            })
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(256 * 1024)
        .max_frame_size(256 * 1024);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::select! {
        () = shutdown.cancelled() => {}
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            }
        }
    }
}

#[cfg(test)]
mod tests;
