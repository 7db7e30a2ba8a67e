//! Who connected? TLS, HTTP/2 and HTTP/1.1, limits, drain.
//!
//! Invariants: only requests of which there is one reading reach the handler; what one connection can
//! cost is bounded before anybody is known; a certificate changes without a connection being dropped.

mod admission;
mod connection;
mod flood;
mod framing;
mod gather;
mod guard;
mod patience;
mod target;
mod tls;
mod unreadable;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use patience::Patient;
pub use target::{TargetRefused, check as check_target};
pub use tls::{CertificateProblem, check_certificate};
pub use unreadable::Unreadable;

use self::admission::Admission;
use self::connection::Shared;
use self::tls::Certificates;
use crate::gateway::body::Body;
use crate::limits;
use crate::metrics::{Listener, Metrics};

/// Where and how the gateway listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// PEM: the certificate and its chain.
    pub certificate_file: PathBuf,
    /// PEM: its private key, without password.
    pub private_key_file: PathBuf,
    /// Host names and addresses, without port, that requests may name. Empty: any.
    pub hosts: Vec<String>,
    /// Open connections in all; further ones are closed at once.
    pub connections_max: usize,
    /// Open connections from one IPv4 address or IPv6 /64.
    pub connections_per_address_max: usize,
    /// Concurrent streams of one HTTP/2 connection.
    pub concurrent_streams_max: u32,
    /// Bytes of a request's head.
    pub header_bytes_max: u32,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a connection may go without a first request, and a head may take to arrive.
    pub header_timeout: Duration,
    /// How long open requests may take to finish after shutdown began.
    pub drain_timeout: Duration,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
}

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1: upgrades are possible.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What the handler is asked to answer.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are requests, and a box would cost each of them an allocation"
)]
pub enum Arrival {
    /// A request of which there is one reading.
    Request(Request<Incoming>),
    /// A request that is not read; its connection closes after the answer.
    Unreadable(Unreadable),
}

/// Why the gateway cannot listen.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The address is in use, or not ours.
    #[error("listener.address: cannot listen on {address}")]
    Address {
        /// The configured address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Certificate or key; the text names the file.
    #[error("{0}")]
    Certificate(String),
    /// rustls refuses the configuration.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Listens, and gives every request to `handler`, also those that are refused before they are read. Returns the bound address once connections are
/// accepted.
///
/// Cancelling `shutdown` refuses new connections, lets open requests finish within the drain timeout
/// and then closes; `tasks` is done when all have ended. Sessions that took over their connection are
/// the handler's to end.
pub async fn serve<H, F>(
    settings: Settings,
    handler: H,
    tasks: &TaskTracker,
    shutdown: CancellationToken,
    metrics: Metrics,
) -> Result<SocketAddr, ListenError>
where
    H: Fn(Arrival, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (certificate, key) = (
        settings.certificate_file.clone(),
        settings.private_key_file.clone(),
    );
    let certificates = tasks
        .spawn_blocking(move || Certificates::load(&certificate, &key))
        .await
        .map_err(|error| ListenError::Certificate(error.to_string()))?
        .map_err(ListenError::Certificate)?;
    let tls = TlsAcceptor::from(certificates.server_config(&[b"h2", b"http/1.1"])?);
    let (listener, address) = bind(settings.address).map_err(|source| ListenError::Address {
        address: settings.address,
        source,
    })?;
    let counted = move |until| metrics.certificate(Listener::Clients, until);
    certificates.until().into_iter().for_each(&counted);
    tasks.spawn(follow(
        certificates,
        tasks.clone(),
        shutdown.clone(),
        counted,
    ));
    let admission = Admission::new(
        settings.connections_max,
        settings.connections_per_address_max,
    );
    let shared = Shared {
        settings,
        handler,
        tls,
        tasks: tasks.clone(),
        shutdown,
    };
    tasks.spawn(accept(listener, Arc::new(shared), admission));
    Ok(address)
}

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM certificates, the server's own first.
    pub certificate: PathBuf,
    /// The PEM private key.
    pub private_key: PathBuf,
}

/// TLS as the listener does it, for another address of the gateway. It speaks HTTP/1.1.
pub struct Tls {
    certificates: Arc<Certificates>,
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Reads the files; the error names the one that is wrong. Blocks on them.
    pub fn load(files: &TlsFiles) -> Result<Self, String> {
        let certificates = Certificates::load(&files.certificate, &files.private_key)?;
        let config = certificates.server_config(&[b"http/1.1"]);
        let acceptor = TlsAcceptor::from(config.map_err(|error| error.to_string())?);
        Ok(Self {
            certificates,
            acceptor,
        })
    }

    /// Does the handshakes, always with the newest certificate.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Follows changes of the files until `shutdown`. `tell` is told when the certificate in use ends, in seconds since
    /// 1970: now, and again when there is another.
    pub async fn follow(
        self,
        tell: impl Fn(i64) + Send,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) {
        self.certificates.until().into_iter().for_each(&tell);
        follow(self.certificates, tasks, shutdown, tell).await;
    }
}

/// Whether this machine lets this user listen on an address. That another program holds it now is
/// no problem here: it may be the very gateway whose configuration is being looked at.
pub fn check_address(address: SocketAddr) -> io::Result<()> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    )?;
    socket.set_reuse_address(true)?; // as `bind`
    match socket.bind(&address.into()) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => Err(error),
        _ => Ok(()),
    }
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(limits::LISTENER_BACKLOG)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn accept<H, F>(listener: TcpListener, shared: Arc<Shared<H>>, admission: Arc<Admission>)
where
    H: Fn(Arrival, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return, // and the socket closes
            accepted = listener.accept() => accepted,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or a connection that was gone already: not a busy loop.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(limits::LISTENER_ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = admission.admit(address.ip()) else {
            tracing::debug!(%address, "refused a connection: there are too many");
            continue;
        };
        if prepare(&tcp).is_ok() {
            let run = connection::run(Arc::clone(&shared), tcp, address, place);
            shared.tasks.spawn(run);
        }
    }
}

fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(limits::TCP_KEEPALIVE)
        .with_interval(limits::TCP_KEEPALIVE_INTERVAL);
    socket2::SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

/// Follows changes of the certificate's files.
async fn follow(
    certificates: Arc<Certificates>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    tell: impl Fn(i64) + Send,
) {
    let mut last_problem = None;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(limits::CREDENTIAL_POLL) => {}
        }
        let reading = Arc::clone(&certificates);
        let problem = match tasks.spawn_blocking(move || reading.reload()).await {
            Ok(Ok(changed)) => {
                if changed {
                    tracing::info!("a certificate changed and is in use");
                    certificates.until().into_iter().for_each(&tell);
                }
                None
            }
            Ok(Err(problem)) => Some(problem),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = &problem
            && last_problem.as_ref() != Some(problem)
        {
            tracing::error!(
                problem,
                "a certificate cannot be read again; the former one stays in use"
            );
        }
        last_problem = problem;
    }
}

#[cfg(test)]
mod tests;
