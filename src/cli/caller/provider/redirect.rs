//! The loopback port that a browser comes back to (RFC 8252 §7.3).
//!
//! Every page that the browser shows, and every program on this machine, can send requests to it. So
//! only one thing counts: a GET of the right path, for the right host, with the `state` that nobody but
//! the provider and the person's browser have seen. Whatever else comes is answered and forgotten; it
//! does not end the login.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use crate::identity::client::login::{Awaited, Came};

/// How many connections are looked at a time.
const CONNECTIONS_MAX: usize = 16;
/// How long one may take.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a request's head; a code has some hundred.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A port that waits for the browser.
pub(super) struct Listening {
    listener: TcpListener,
    uri: String,
    path: String,
    host: String,
    port: u16,
}

impl Listening {
    /// Listens where `redirect_uri` says.
    pub(super) async fn at(redirect_uri: &str) -> anyhow::Result<Self> {
        let uri: Uri = redirect_uri.parse()?;
        let name = uri
            .host()
            .context("the redirect URI names no host")?
            .to_owned();
        let address = match name.trim_matches(['[', ']']) {
            "::1" => SocketAddr::from((Ipv6Addr::LOCALHOST, uri.port_u16().unwrap_or(0))),
            _ => SocketAddr::from((Ipv4Addr::LOCALHOST, uri.port_u16().unwrap_or(0))),
        };
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!(
                "cannot listen on {address} for the browser; name another port with --redirect-uri"
            )
        })?;
        let port = listener.local_addr()?.port();
        let path = uri.path().to_owned();
        // As it was given: some providers compare even the last slash.
        let tail = redirect_uri
            .strip_prefix("http://")
            .and_then(|rest| rest.find('/').and_then(|at| rest.get(at..)))
            .unwrap_or_default();
        Ok(Self {
            listener,
            uri: format!("http://{name}:{port}{tail}"),
            path,
            host: format!("{name}:{port}"),
            port,
        })
    }

    /// The address for the provider.
    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Waits until the browser brings the code, or the provider's no.
    pub(super) async fn code(self, awaited: Awaited<'_>) -> anyhow::Result<String> {
        let (found, mut came) = mpsc::channel(1);
        let tasks = TaskTracker::new();
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let door = Arc::new(Door {
            path: self.path.clone(),
            host: self.host.clone(),
            state: awaited.state.to_owned(),
            issuer: awaited.issuer.to_owned(),
            issuer_is_told: awaited.issuer_is_told,
        });
        let came = loop {
            let slot = Arc::clone(&slots).acquire_owned();
            tokio::select! {
                biased;
                came = came.recv() => break came.context("the port was closed")?,
                accepted = async { (slot.await, self.listener.accept().await) } => {
                    let (Ok(slot), Ok((stream, _))) = accepted else {
                        // Too many files are open, or the client is gone already.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    };
                    let connection = serve(stream, Arc::clone(&door), found.clone());
                    tasks.spawn(async move {
                        drop(tokio::time::timeout(CONNECTION_PATIENCE, connection).await);
                        drop(slot);
                    });
                }
            }
        };
        // The browser shall see its page before this process goes on, and maybe ends.
        tasks.close();
        drop(tokio::time::timeout(Duration::from_secs(1), tasks.wait()).await);
        match came {
            Came::Code(code) => Ok(code),
            Came::Refused(why) => bail!("the provider refused the login: {why}"),
            Came::Stray(_) => bail!("the port was closed"),
        }
    }
}

/// Who may come in.
struct Door {
    path: String,
    host: String,
    state: String,
    issuer: String,
    issuer_is_told: bool,
}

async fn serve(stream: TcpStream, door: Arc<Door>, found: mpsc::Sender<Came>) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let came = door.look(&request);
        let answer = page(&came);
        if !matches!(came, Came::Stray(_)) {
            // One is enough: whatever comes after the first is not needed.
            drop(found.try_send(came));
        }
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_PATIENCE)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // Who breaks off is no loss: the login goes on waiting.
    drop(served);
}

impl Door {
    fn look<B>(&self, request: &Request<B>) -> Came {
        if request.method() != Method::GET {
            return Came::Stray("Only a login comes back here.");
        }
        // A page whose name was made to point here has another name (DNS rebinding).
        let host = request.headers().get(HOST).map(HeaderValue::as_bytes);
        if host != Some(self.host.as_bytes()) || request.uri().path() != self.path {
            return Came::Stray("There is nothing at this address.");
        }
        let awaited = Awaited {
            state: &self.state,
            issuer: &self.issuer,
            issuer_is_told: self.issuer_is_told,
        };
        awaited.read(request.uri().query().unwrap_or_default())
    }
}

/// A page without anything that was sent here, so there is nothing to escape.
fn page(came: &Came) -> Response<Full<Bytes>> {
    let (status, title, text) = match came {
        Came::Code(_) => (
            StatusCode::OK,
            "Back to the terminal",
            "The login goes on there. You can close this page.",
        ),
        Came::Refused(_) => (
            StatusCode::BAD_REQUEST,
            "Not logged in",
            "The terminal says why. You can close this page.",
        ),
        Came::Stray(text) => (StatusCode::BAD_REQUEST, "Not logged in", *text),
    };
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Portcullis: {title}</title>\
         <h1>{title}</h1><p>{text}</p></html>\n"
    );
    let mut response = Response::new(Full::new(Bytes::from(html)));
    *response.status_mut() = status;
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONNECTION, "close"),
        (REFERRER_POLICY, "no-referrer"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests;
