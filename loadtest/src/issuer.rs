//! A local OIDC issuer: discovery, key set, tokens on demand, and failures on demand.
//!
//! It authenticates nobody. The demo and the tests ask it for the token they want; whoever may
//! call [`Running::issue`] is whoever they say they are, and so is whoever comes through its [`Door`].

mod door;
mod keys;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use door::{AUTHORIZE_PATH, Open, TOKEN_PATH};
pub use door::{Client, Door, Person};
pub use jsonwebtoken::Algorithm;
pub use keys::{KeyError, SigningKey, SigningKeys};

/// Where the discovery document is found below an issuer's URL.
pub const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
/// Where the key set is found.
pub const KEYS_PATH: &str = "/keys";
/// The audience of tokens whose claims name none.
pub const AUDIENCE: &str = "portcullis";

/// Starts issuers.
#[derive(Debug)]
pub struct Issuer;

/// Why an issuer did not start.
#[derive(Debug)]
pub enum StartError {
    /// No signing key could be made.
    Keys(KeyError),
    /// The address could not be bound.
    Bind(std::io::Error),
}

/// An issuer that answers on its address until it is stopped or dropped.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    address: SocketAddr,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// What one of the issuer's documents answers.
#[derive(Clone, Debug, Default)]
pub enum Answer {
    /// The document, as a good issuer serves it.
    #[default]
    Good,
    /// An error status with a short text.
    Status(u16),
    /// The good document, this much later.
    Slow(Duration),
    /// Status 200 and a web page.
    Html,
    /// A redirect to this URL.
    Redirect(String),
    /// Status 200 and this JSON document.
    Json(Value),
    /// Status 200 and these bytes.
    Bytes(Bytes),
    /// One byte a second, without end.
    Drip,
}

/// The two documents of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// `/.well-known/openid-configuration`.
    Discovery,
    /// The JSON Web Key Set.
    Keys,
}

impl Issuer {
    /// Listens on `address`; the URL is `https://localhost:<port>`, so `tls` needs a certificate
    /// for `localhost`.
    pub async fn start(
        address: SocketAddr,
        tls: Arc<rustls::ServerConfig>,
    ) -> Result<Running, StartError> {
        let listener = TcpListener::bind(address).await.map_err(StartError::Bind)?;
        let address = listener.local_addr().map_err(StartError::Bind)?;
        let shared = Arc::new(Shared {
            url: format!("https://localhost:{}", address.port()),
            keys: Mutex::new(SigningKeys::generate("1").map_err(StartError::Keys)?),
            discovery: Route::default(),
            key_set: Route::default(),
            rotations: AtomicU64::new(1),
            door: OnceLock::new(),
        });
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let acceptor = TlsAcceptor::from(tls);
        tasks.spawn(accept(
            listener,
            acceptor,
            Arc::clone(&shared),
            tasks.clone(),
            shutdown.clone(),
        ));
        Ok(Running {
            shared,
            address,
            tasks,
            shutdown,
        })
    }
}

impl Running {
    /// The issuer's URL: the value of `iss` and of `issuer.url` in the gateway's configuration.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on people can log in with a browser. Only the first door counts.
    pub fn open(&self, door: Door) {
        drop(self.shared.door.set(Open::new(door)));
    }

    /// An RS256 token with `claims`; `iss`, `aud`, `iat` and `exp` (in an hour) are filled in
    /// where they are missing.
    pub fn issue(&self, claims: Value) -> Result<String, KeyError> {
        self.issue_with(Algorithm::RS256, claims)
    }

    /// As [`Running::issue`], signed with `algorithm` (RS256, ES256 or `EdDSA`).
    pub fn issue_with(&self, algorithm: Algorithm, claims: Value) -> Result<String, KeyError> {
        self.shared.issue(algorithm, claims)
    }

    /// The current keys, for tokens that need a hand-made header or payload.
    pub fn keys(&self) -> SigningKeys {
        self.shared.keys.lock().clone()
    }

    /// Replaces every key by a new one with a new `kid`; the old keys leave the key set.
    pub fn rotate(&self) -> Result<(), KeyError> {
        let number = self.shared.rotations.fetch_add(1, Ordering::Relaxed) + 1;
        *self.shared.keys.lock() = SigningKeys::generate(&number.to_string())?;
        Ok(())
    }

    /// Replaces every key by a new one that carries the old one's `kid`.
    pub fn replace_under_same_key_ids(&self) -> Result<(), KeyError> {
        let number = self.shared.rotations.load(Ordering::Relaxed);
        *self.shared.keys.lock() = SigningKeys::generate(&number.to_string())?;
        Ok(())
    }

    /// From now on `document` answers so.
    pub fn script(&self, document: Document, answer: Answer) {
        *self.shared.route(document).answer.lock() = answer;
    }

    /// How often `document` was asked for.
    pub fn fetches(&self, document: Document) -> u64 {
        self.shared.route(document).fetches.load(Ordering::SeqCst)
    }

    /// Closes the listener and every connection.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Keys(error) => write!(formatter, "cannot make the issuer's keys: {error}"),
            Self::Bind(error) => write!(formatter, "cannot listen for the issuer: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

#[derive(Debug)]
struct Shared {
    url: String,
    keys: Mutex<SigningKeys>,
    discovery: Route,
    key_set: Route,
    rotations: AtomicU64,
    /// Where people log in, if they can.
    door: OnceLock<Open>,
}

#[derive(Debug, Default)]
struct Route {
    fetches: AtomicU64,
    answer: Mutex<Answer>,
}

impl Shared {
    fn route(&self, document: Document) -> &Route {
        match document {
            Document::Discovery => &self.discovery,
            Document::Keys => &self.key_set,
        }
    }

    fn good(&self, document: Document) -> Value {
        match document {
            Document::Discovery => {
                let mut document = json!({
                    "issuer": self.url,
                    "jwks_uri": format!("{}{KEYS_PATH}", self.url),
                    "authorization_endpoint": format!("{}{AUTHORIZE_PATH}", self.url),
                    "response_types_supported": ["id_token"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256", "ES256", "EdDSA"],
                });
                let door = self.door.get().map(|_| Open::discovery(&self.url));
                if let (Some(document), Some(Value::Object(door))) =
                    (document.as_object_mut(), door)
                {
                    document.extend(door);
                }
                document
            }
            Document::Keys => self.keys.lock().key_set(),
        }
    }

    fn issue(&self, algorithm: Algorithm, claims: Value) -> Result<String, KeyError> {
        let claims = with_defaults(claims, &self.url, Timestamp::now());
        self.keys.lock().get(algorithm)?.token(&claims)
    }
}

fn with_defaults(claims: Value, issuer: &str, now: Timestamp) -> Value {
    let mut all = json!({
        "iss": issuer,
        "aud": AUDIENCE,
        "iat": now.as_second(),
        "exp": now.as_second() + 3600,
    });
    if let (Some(all), Value::Object(claims)) = (all.as_object_mut(), claims) {
        all.extend(claims);
    }
    all
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) {
    loop {
        let socket = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => socket,
                Err(error) => {
                    tracing::warn!(%error, "the issuer cannot accept a connection");
                    return;
                }
            },
        };
        let connection = serve(socket, acceptor.clone(), Arc::clone(&shared));
        let shutdown = shutdown.clone();
        tasks.spawn(async move { shutdown.run_until_cancelled(connection).await });
    }
}

async fn serve(socket: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let Ok(stream) = acceptor.accept(socket).await else {
        return;
    };
    let service = hyper::service::service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the issuer ended early");
    }
}

type Reply = Response<http_body_util::Either<Full<Bytes>, Drip>>;

async fn answer(request: Request<Incoming>, shared: &Shared) -> Reply {
    let document = match (request.uri().path(), shared.door.get()) {
        (DISCOVERY_PATH, _) => Document::Discovery,
        (KEYS_PATH, _) => Document::Keys,
        (AUTHORIZE_PATH | TOKEN_PATH, Some(door)) => return door.answer(request, shared).await,
        _ => return text(StatusCode::NOT_FOUND, "text/plain", "no such document"),
    };
    let route = shared.route(document);
    route.fetches.fetch_add(1, Ordering::SeqCst);
    let scripted = route.answer.lock().clone();
    match scripted {
        Answer::Good => json_reply(&shared.good(document)),
        Answer::Slow(delay) => {
            tokio::time::sleep(delay).await;
            json_reply(&shared.good(document))
        }
        Answer::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            text(status, "text/plain", "scripted failure")
        }
        Answer::Html => text(
            StatusCode::OK,
            "text/html",
            "<html>Please log in to the hotel's network</html>",
        ),
        Answer::Redirect(location) => {
            let mut reply = text(StatusCode::FOUND, "text/plain", "elsewhere");
            if let Ok(location) = HeaderValue::from_str(&location) {
                reply.headers_mut().insert(LOCATION, location);
            }
            reply
        }
        Answer::Json(value) => json_reply(&value),
        Answer::Bytes(bytes) => {
            let mut reply = Response::new(http_body_util::Either::Left(Full::new(bytes)));
            reply
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            reply
        }
        Answer::Drip => {
            let period = tokio::time::interval(Duration::from_secs(1));
            Response::new(http_body_util::Either::Right(Drip { period }))
        }
    }
}

fn json_reply(value: &Value) -> Reply {
    text(StatusCode::OK, "application/json", value.to_string())
}

fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(http_body_util::Either::Left(Full::new(body.into())));
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// A body of one blank a second.
struct Drip {
    period: tokio::time::Interval,
}

impl http_body::Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        self.period
            .poll_tick(context)
            .map(|_| Some(Ok(http_body::Frame::data(Bytes::from_static(b" ")))))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::pki::Ca;

    #[tokio::test]
    async fn the_documents_are_served_over_tls_and_counted() {
        let ca = Ca::new().unwrap();
        let issuer = start(&ca).await;
        let discovery = get(&ca, &issuer, DISCOVERY_PATH).await;
        assert_eq!(discovery["issuer"], issuer.url());
        assert_eq!(discovery["jwks_uri"], format!("{}/keys", issuer.url()));
        let keys = get(&ca, &issuer, KEYS_PATH).await;
        let kinds: Vec<_> = keys["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| &key["kty"])
            .collect();
        assert_eq!(kinds, ["RSA", "EC", "OKP"]);
        assert_eq!(
            (
                issuer.fetches(Document::Discovery),
                issuer.fetches(Document::Keys)
            ),
            (1, 1)
        );
        issuer.stop().await;
    }

    #[tokio::test]
    async fn rotation_changes_every_key_id_and_replacement_only_the_keys() {
        let ca = Ca::new().unwrap();
        let issuer = start(&ca).await;
        let first = issuer.keys().key_set();
        issuer.replace_under_same_key_ids().unwrap();
        let second = issuer.keys().key_set();
        issuer.rotate().unwrap();
        let third = issuer.keys().key_set();
        for index in 0..3 {
            assert_eq!(first["keys"][index]["kid"], second["keys"][index]["kid"]);
            assert_ne!(first["keys"][index], second["keys"][index]);
            assert_ne!(second["keys"][index]["kid"], third["keys"][index]["kid"]);
        }
    }

    async fn start(ca: &Ca) -> Running {
        let tls = ca.server_config(&["localhost"], &["http/1.1"]).unwrap();
        Issuer::start("127.0.0.1:0".parse().unwrap(), tls)
            .await
            .unwrap()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the issuer's documents are small"
    )]
    async fn get(ca: &Ca, issuer: &Running, path: &str) -> Value {
        let connector = tokio_rustls::TlsConnector::from(ca.client_config(&["http/1.1"]).unwrap());
        let socket = TcpStream::connect(issuer.address()).await.unwrap();
        let stream = connector
            .connect("localhost".try_into().unwrap(), socket)
            .await
            .unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let request = Request::get(path)
            .header("host", "localhost")
            .body(String::new())
            .unwrap();
        let (response, _) = tokio::join!(
            async {
                let response = sender.send_request(request).await.unwrap();
                drop(sender);
                response.into_body().collect().await.unwrap().to_bytes()
            },
            connection
        );
        serde_json::from_slice(&response).unwrap()
    }
}
