//! The control listener: health, readiness, metrics, the APIs for people and their [`console`], on an own thread with
//! an own runtime, so that no scrape slows a stream (principle 10 of the style guide).
//!
//! It serves no API request of Kubernetes. Where tokens and cookies could be read on the way, without TLS beyond this
//! machine, it serves nothing that needs them; and sessions and callers not at all unless the configuration names
//! operators.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gateway::body::{self, Body};
use crate::limits;
use crate::listener::{Patient, Tls, TlsFiles};

pub mod approvals;
pub mod audit;
mod call;
pub mod callers;
pub mod console;
mod places;
pub mod sessions;
pub mod shipping;
pub mod socket;
pub mod webhook;

pub use approvals::Approvals;
pub use audit::{Audits, Trail};
pub use callers::Callers;
pub use console::Console;
pub(crate) use console::visible;
pub use sessions::{Operators, Searches, Sessions};
pub use socket::Socket;

pub use call::Records;
use call::{Api as _, Door};
pub use shipping::Shipping;
use webhook::Webhooks;

/// Where the control listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Address and port; port 0 picks a free one.
    pub address: SocketAddr,
    /// Where people reach it; `http://` and the address when absent.
    pub url: Option<String>,
    /// Who may look at sessions and end them here; nobody when absent.
    pub operators: Option<Operators>,
    /// Who is told of approvals.
    pub webhooks: Vec<webhook::Settings>,
    /// Its certificate; plain HTTP when absent.
    pub tls: Option<TlsFiles>,
    /// The console; not served when absent.
    pub console: Option<console::Settings>,
}

/// What the control listener reports on.
pub struct Reports {
    /// Takes the measurements that are not counted as they happen; called before the metrics are rendered.
    pub measure: Box<dyn Fn() + Send + Sync>,
    /// Told when the certificate that the control listener uses ends, in seconds since 1970.
    pub certificate: Box<dyn Fn(i64) + Send + Sync>,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// Every reason why the gateway is not ready; empty when it is.
    pub not_ready: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// What does not work although the gateway is ready, such as one cluster of several.
    pub degraded: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// The sessions, open and past; what they are asked is answered by nobody when absent.
    pub sessions: Option<Arc<Sessions>>,
    /// Who calls; what they are asked is answered by nobody when absent.
    pub callers: Option<Arc<Callers>>,
    /// What was asked for; what it is asked is answered by nobody when absent.
    pub audits: Option<Arc<Audits>>,
    /// What waits for a yes; what it is asked is answered by nobody when absent.
    pub approvals: Option<Arc<Approvals>>,
    /// Sends the audit log elsewhere, if it is to be sent.
    pub shipping: Vec<Shipping>,
    /// The console.
    pub console: Option<Arc<Console>>,
    /// Whether nobody can read on the way what is sent to the control address: it is this machine's own, or has TLS.
    pub private: bool,
}

impl Settings {
    /// Where people reach it.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone().unwrap_or_else(|| match self.tls {
            None => format!("http://{}", self.address),
            Some(_) => format!("https://{}", self.address),
        })
    }

    /// Whether nobody can read on the way what is sent to it.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.tls.is_some() || self.address.ip().is_loopback()
    }
}

/// Starts the control plane's thread; returns the address it listens on, and the socket in the data
/// directory if that can be served.
pub fn start(
    settings: &Settings,
    data_directory: &Path,
    mut reports: Reports,
    shutdown: CancellationToken,
) -> std::io::Result<(SocketAddr, Option<Socket>)> {
    let listener = std::net::TcpListener::bind(settings.address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Nobody's request depends on the socket, so the gateway starts without it, too.
    let (local, socket) = match socket::bind(data_directory) {
        Ok((local, socket)) => (Some(local), Some(socket)),
        Err(error) => {
            tracing::error!(%error, "the control socket is not served; `portcullis sessions --data-dir` cannot see open sessions");
            (None, None)
        }
    };
    let webhooks = match &reports.approvals {
        Some(approvals) => Some(
            Webhooks::open(
                &settings.webhooks,
                approvals.desk.clone(),
                webhook::Places {
                    server: settings.url(),
                    console: settings.console.is_some(),
                },
            )
            .map_err(std::io::Error::other)?,
        ),
        None => None,
    };
    let shipping = std::mem::take(&mut reports.shipping);
    let tls = settings.tls.as_ref().map(Tls::load).transpose();
    let tls = tls.map_err(std::io::Error::other)?;
    let reports = Arc::new(reports);
    std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                let socket = async {
                    if let Some(local) = local {
                        socket::serve(local, Arc::clone(&reports), shutdown.clone()).await;
                    }
                };
                let told = async {
                    if let Some(webhooks) = webhooks {
                        webhooks.run(shutdown.clone()).await;
                    }
                };
                let shipped = async {
                    let runs = shipping.into_iter();
                    join_all(runs.map(|sink| sink.run(shutdown.clone()))).await;
                };
                match TcpListener::from_std(listener) {
                    Ok(listener) => {
                        tokio::join!(
                            serve(listener, tls, Arc::clone(&reports), shutdown.clone()),
                            socket,
                            told,
                            shipped
                        );
                    }
                    Err(error) => tracing::error!(%error, "the control listener did not start"),
                }
            });
        })?;
    Ok((address, socket))
}

async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    reports: Arc<Reports>,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    let places = Arc::new(tokio::sync::Semaphore::new(limits::CONTROL_CONNECTIONS_MAX));
    let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
    let acceptor = tls.as_ref().map(Tls::acceptor);
    if let Some(tls) = tls {
        let told = Arc::clone(&reports);
        let tell = move |until| (told.certificate)(until);
        connections.spawn(tls.follow(tell, connections.clone(), shutdown.clone()));
    }
    loop {
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            _ = upkeep.tick() => {
                reports.metrics.run_upkeep(); // without it histograms only grow
                if let Some(console) = &reports.console {
                    console.sweep();
                }
                continue;
            }
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "the control listener could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let (reports, acceptor) = (Arc::clone(&reports), acceptor.clone());
        connections.spawn(async move {
            match acceptor {
                None => connection(stream, peer, reports).await,
                Some(acceptor) => {
                    let handshake = acceptor.accept(stream);
                    match tokio::time::timeout(limits::CONTROL_HEADER_TIMEOUT, handshake).await {
                        Ok(Ok(stream)) => connection(stream, peer, reports).await,
                        Ok(Err(error)) => tracing::debug!(%error, "no TLS on a control connection"),
                        Err(_) => tracing::debug!("a TLS handshake took too long"),
                    }
                }
            }
            drop(place);
        });
    }
    connections.close();
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: SocketAddr,
    reports: Arc<Reports>,
) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let reports = Arc::clone(&reports);
        async move { Ok::<_, Infallible>(route(request, peer, &reports).await) }
    });
    let stream = Patient::new(stream, limits::CONTROL_WRITE_TIMEOUT);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::CONTROL_HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a control connection ended early");
    }
}

const UPKEEP_EVERY: Duration = Duration::from_secs(5);

async fn route(request: Request<Incoming>, peer: SocketAddr, reports: &Reports) -> Response<Body> {
    let path = request.uri().path();
    if let Some(console) = &reports.console {
        if path == "/" {
            return console::at_the_root();
        }
        if path == console::PREFIX || path.starts_with("/console/") {
            return console.serve(request, peer).await;
        }
    }
    // Tokens are sent to it: in plain text only within this machine.
    if let Some(approvals) = &reports.approvals
        && reports.private
        && approvals::serves(request.uri().path())
    {
        return approvals.serve(request, Door::Address(peer)).await;
    }
    if let Some(callers) = &reports.callers
        && callers.has_operators()
        && request.uri().path().starts_with(callers::PREFIX)
    {
        return callers.serve(request, Door::Address(peer)).await;
    }
    if let Some(audits) = &reports.audits
        && audits.has_operators()
        && request.uri().path().starts_with(audit::PREFIX)
    {
        return audits.serve(request, Door::Address(peer)).await;
    }
    let for_operators = request.uri().path().starts_with(sessions::api::PREFIX);
    if for_operators
        && let Some(sessions) = &reports.sessions
        && sessions.has_operators()
    {
        return sessions.serve(request, Door::Address(peer)).await;
    }
    answer(request.method(), request.uri().path(), reports)
}

/// What comes through the socket: the same APIs, and nothing else.
async fn route_local(
    request: Request<Incoming>,
    uid: Option<u32>,
    reports: &Reports,
) -> Response<Body> {
    if let Some(callers) = &reports.callers
        && request.uri().path().starts_with(callers::PREFIX)
    {
        return callers.serve(request, Door::Socket(uid)).await;
    }
    if let Some(audits) = &reports.audits
        && request.uri().path().starts_with(audit::PREFIX)
    {
        return audits.serve(request, Door::Socket(uid)).await;
    }
    let approvals = approvals::serves(request.uri().path());
    match (&reports.approvals, &reports.sessions) {
        (Some(api), _) if approvals => api.serve(request, Door::Socket(uid)).await,
        (_, Some(api)) => api.serve(request, Door::Socket(uid)).await,
        _ => answer(request.method(), request.uri().path(), reports),
    }
}

fn answer(method: &Method, path: &str, reports: &Reports) -> Response<Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is served here\n".to_owned(),
        );
    }
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => {
            let reasons = (reports.not_ready)();
            if reasons.is_empty() {
                let mut lines = vec!["ok".to_owned()];
                lines.extend((reports.degraded)());
                text(StatusCode::OK, format!("{}\n", lines.join("\n")))
            } else {
                text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("{}\n", reasons.join("\n")),
                )
            }
        }
        "/metrics" => {
            (reports.measure)();
            text(StatusCode::OK, reports.metrics.render())
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "served here: /healthz /readyz /metrics\n".to_owned(),
        ),
    }
}

fn text(code: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(body::full(text));
    *response.status_mut() = code;
    // The Prometheus text format's own content type; plain text to everyone else.
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn reports(reasons: &'static [&'static str]) -> Reports {
        Reports {
            measure: Box::new(|| {}),
            certificate: Box::new(|_| {}),
            metrics: Metrics::new().1,
            not_ready: Box::new(move || reasons.iter().map(|&reason| reason.to_owned()).collect()),
            degraded: Box::new(|| vec!["cluster `b` is away".to_owned()]),
            sessions: None,
            callers: None,
            audits: None,
            approvals: None,
            shipping: Vec::new(),
            console: None,
            private: true,
        }
    }

    #[tokio::test]
    async fn with_a_certificate_it_speaks_https_and_nothing_else() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let ca = loadtest::pki::Ca::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = ca.server(&["127.0.0.1"]).unwrap();
        let files = TlsFiles {
            certificate: folder.path().join("tls.crt"),
            private_key: folder.path().join("tls.key"),
        };
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.private_key, key).unwrap();
        let settings = Settings {
            address: "127.0.0.1:0".parse().unwrap(),
            url: None,
            operators: None,
            webhooks: Vec::new(),
            tls: Some(files),
            console: None,
        };
        assert!(settings.is_private() && settings.url().starts_with("https://"));
        let shutdown = CancellationToken::new();
        let _end = shutdown.clone().drop_guard();
        let (tell, told) = std::sync::mpsc::channel();
        let mut reports = reports(&[]);
        reports.certificate = Box::new(move |until| tell.send(until).unwrap());
        let (address, _socket) =
            start(&settings, folder.path(), reports, shutdown.clone()).unwrap();

        let config = crate::identity::tls_config(Some(&ca.pem())).unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut stream = connector.connect(name, socket).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"),
            "{answer}"
        );
        let until = told.try_recv().unwrap();
        assert!(until > jiff::Timestamp::now().as_second(), "{until}");
        let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
        plain.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        let _broken = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }

    /// Nobody who has no login may keep a place for long: neither by saying nothing nor by taking nothing.
    #[tokio::test(start_paused = true)]
    async fn d01_who_takes_nothing_or_says_nothing_loses_the_place() {
        use tokio::io::AsyncWriteExt as _;

        let peer = "127.0.0.1:1".parse().unwrap();
        for said in [
            "",
            "GET /metrics HTT",
            "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            let (mut client, server) = tokio::io::duplex(64);
            client.write_all(said.as_bytes()).await.unwrap();
            let begun = tokio::time::Instant::now();
            connection(server, peer, Arc::new(reports(&[]))).await;
            let most = limits::CONTROL_WRITE_TIMEOUT + limits::CONTROL_HEADER_TIMEOUT;
            assert!(begun.elapsed() <= most, "{said:?}: {:?}", begun.elapsed());
            drop(client);
        }
    }

    #[test]
    fn readiness_lists_every_reason() {
        let ready = answer(&Method::GET, "/readyz", &reports(&[]));
        assert_eq!(ready.status(), StatusCode::OK);
        let not = answer(
            &Method::GET,
            "/readyz",
            &reports(&["no keys", "no cluster"]),
        );
        assert_eq!(not.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            answer(&Method::POST, "/metrics", &reports(&[])).status(),
            StatusCode::METHOD_NOT_ALLOWED
        );
        assert_eq!(
            answer(&Method::GET, "/api/v1/secrets", &reports(&[])).status(),
            StatusCode::NOT_FOUND
        );
    }
}
