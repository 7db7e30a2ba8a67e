//! Real sockets on loopback: raw HTTP/1.1 bytes, raw HTTP/2 frames, and stock hyper clients.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use http_body_util::BodyExt as _;
use loadtest::pki::Ca;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::gateway::body::{self, BodyError};

mod http1;
mod http2;
mod time;

const SOON: Duration = Duration::from_secs(10);

/// A listener whose handler notes what it is asked and answers by path.
struct World {
    ca: Ca,
    address: SocketAddr,
    /// `GET /path` of every request that reached the handler.
    seen: Arc<Mutex<Vec<String>>>,
    /// Why requests were refused before they were read.
    unreadable: Arc<Mutex<Vec<Unreadable>>>,
    /// Requests whose answer is not complete.
    open: Arc<AtomicUsize>,
    /// Ends every `/watch` cleanly when its sender goes.
    watches: Arc<Mutex<Vec<mpsc::Sender<&'static str>>>>,
    directory: tempfile::TempDir,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

fn settings(directory: &std::path::Path) -> Settings {
    Settings {
        address: ([127, 0, 0, 1], 0).into(),
        certificate_file: directory.join("tls.crt"),
        private_key_file: directory.join("tls.key"),
        hosts: vec!["localhost".to_owned()],
        connections_max: 100,
        connections_per_address_max: 100,
        concurrent_streams_max: 20,
        header_bytes_max: 16 * 1024,
        handshake_timeout: Duration::from_millis(500),
        header_timeout: Duration::from_millis(500),
        drain_timeout: Duration::from_secs(5),
    }
}

fn write_certificate(ca: &Ca, directory: &std::path::Path) {
    let (certificate, key) = ca.server(&["localhost"]).unwrap();
    std::fs::write(directory.join("tls.crt"), certificate).unwrap();
    std::fs::write(directory.join("tls.key"), key).unwrap();
}

impl World {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let ca = Ca::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        write_certificate(&ca, directory.path());
        let mut settings = settings(directory.path());
        change(&mut settings);
        let (seen, open) = (
            Arc::<Mutex<Vec<String>>>::default(),
            Arc::<AtomicUsize>::default(),
        );
        let watches = Arc::<Mutex<Vec<mpsc::Sender<&'static str>>>>::default();
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let state = (Arc::clone(&seen), Arc::clone(&open), Arc::clone(&watches));
        let unreadable = Arc::<Mutex<Vec<Unreadable>>>::default();
        let refusals = Arc::clone(&unreadable);
        let handler = move |arrival: Arrival, _: Peer| {
            let (seen, open, watches) = state.clone();
            let refusals = Arc::clone(&refusals);
            async move {
                match arrival {
                    Arrival::Request(request) => answer(request, &seen, &open, &watches).await,
                    Arrival::Unreadable(why) => {
                        refusals.lock().push(why);
                        status(400, &why.to_string())
                    }
                }
            }
        };
        let address = serve(
            settings,
            handler,
            &tasks,
            shutdown.clone(),
            Metrics::new().0,
        )
        .await
        .unwrap();
        Self {
            ca,
            address,
            seen,
            unreadable,
            open,
            watches,
            directory,
            tasks,
            shutdown,
        }
    }

    async fn connect(&self, alpn: &[&str]) -> TlsStream<TcpStream> {
        self.try_connect(alpn).await.unwrap()
    }

    async fn try_connect(&self, alpn: &[&str]) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        let config = self.ca.client_config(alpn).unwrap();
        TlsConnector::from(config)
            .connect("localhost".try_into().unwrap(), tcp)
            .await
    }

    /// Writes bytes on a new HTTP/1.1 connection and reads until the other end closes it.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect(&[]).await;
        stream.write_all(bytes).await.unwrap();
        read_to_end(stream).await
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().clone()
    }

    /// Waits until `open` requests are open.
    async fn wait_open(&self, open: usize) {
        let reached = async {
            while self.open.load(Ordering::SeqCst) != open {
                tokio::task::yield_now().await;
            }
        };
        let last = || self.open.load(Ordering::SeqCst);
        timeout(SOON, reached)
            .await
            .unwrap_or_else(|_| panic!("{} are open, not {open}", last()));
    }

    async fn all_ended(&self) {
        self.tasks.close();
        let ended = timeout(SOON, self.tasks.wait()).await;
        assert!(ended.is_ok(), "{} tasks are left", self.tasks.len());
    }
}

async fn read_to_end(mut stream: TlsStream<TcpStream>) -> String {
    let mut answer = Vec::new();
    // A peer that was refused may not take its TLS leave; what it read before counts.
    let read = timeout(SOON, stream.read_to_end(&mut answer)).await;
    drop(read.expect("the connection is closed"));
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads one `200` with the body `ok`.
async fn read_answer(stream: &mut TlsStream<TcpStream>) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok") {
        let mut bytes = [0; 256];
        let count = timeout(SOON, stream.read(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&bytes[..count]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

struct Opened(Arc<AtomicUsize>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn status(code: u16, message: &str) -> Response<Body> {
    let status = format!(r#"{{"kind":"Status","message":"{message}"}}"#);
    let mut response = Response::new(body::full(status));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

async fn answer(
    request: Request<Incoming>,
    seen: &Mutex<Vec<String>>,
    open: &Arc<AtomicUsize>,
    watches: &Mutex<Vec<mpsc::Sender<&'static str>>>,
) -> Response<Body> {
    let (parts, incoming) = request.into_parts();
    if let Err(refused) = check_target(&parts, &["localhost".to_owned()]) {
        return status(400, &refused.to_string());
    }
    let request = Request::from_parts(parts, incoming);
    let path = request.uri().path().to_owned();
    seen.lock().push(format!("{} {path}", request.method()));
    open.fetch_add(1, Ordering::SeqCst);
    let opened = Opened(Arc::clone(open));
    match path.as_str() {
        "/watch" => {
            let (sender, receiver) = mpsc::channel(16);
            watches.lock().push(sender);
            let events =
                futures_util::stream::unfold((receiver, opened), |(mut receiver, opened)| async {
                    let event = receiver.recv().await?;
                    let frame = http_body::Frame::data(bytes::Bytes::from_static(event.as_bytes()));
                    Some((Ok::<_, BodyError>(frame), (receiver, opened)))
                });
            Response::new(http_body_util::StreamBody::new(events).boxed_unsync())
        }
        "/never" => std::future::pending().await,
        "/echo" => {
            let sent = body::read_bounded(request.into_body(), 1 << 20).await;
            match sent {
                Ok(bytes) => Response::new(body::full(bytes)),
                Err(body::ReadError::Broken(error)) => {
                    let why = Unreadable::behind(error.as_ref());
                    status(400, &why.map_or(String::new(), |why| why.to_string()))
                }
                Err(error) => status(413, &error.to_string()),
            }
        }
        "/switch" => {
            let mut request = request;
            let upgrade = hyper::upgrade::on(&mut request);
            let echo = async move {
                let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
                let mut bytes = [0; 64];
                while let Ok(count @ 1..) = io.read(&mut bytes).await {
                    io.write_all(&bytes[..count]).await.unwrap();
                    io.flush().await.unwrap();
                }
            };
            TaskTracker::new().spawn(echo);
            let response = Response::builder()
                .status(101)
                .header("upgrade", "SPDY/3.1");
            response
                .header("connection", "Upgrade")
                .body(body::empty())
                .unwrap()
        }
        _ => Response::new(body::full("ok")),
    }
}

#[tokio::test]
async fn d01_silent_slow_and_idle_connections_are_closed() {
    let world = World::new().await;
    // No handshake at all; a handshake and no byte (HTTP/1.1 and HTTP/2); half a head.
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    let mute1 = world.connect(&["http/1.1"]).await;
    let mute2 = world.connect(&["h2"]).await;
    let mut half = world.connect(&[]).await;
    half.write_all(b"GET /half HTTP/1.1\r\nHost: localhost\r\nA: ")
        .await
        .unwrap();
    let mut later = world.connect(&[]).await;
    later
        .write_all(b"GET /first HTTP/1.1\r\nHost: localhost\r\n\r\nGET /second HTTP/1.1\r\n")
        .await
        .unwrap();

    let mut byte = [0];
    assert_eq!(
        timeout(SOON, silent.read(&mut byte))
            .await
            .expect("closed")
            .unwrap_or(0),
        0
    );
    assert_eq!(read_to_end(mute1).await, "");
    read_to_end(mute2).await;
    // Whoever began to ask is told.
    let answer = read_to_end(half).await;
    assert!(answer.contains("did not arrive in time"), "{answer}");
    let answer = read_to_end(later).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1, "{answer}");
    assert!(answer.contains("did not arrive in time"), "{answer}");
    assert_eq!(*world.unreadable.lock(), [Unreadable::TooSlow; 2]);
    assert_eq!(world.seen(), ["GET /first"]);
}

#[tokio::test]
async fn d07_connections_are_capped_and_places_come_back() {
    let world = World::with(|settings| {
        settings.connections_max = 2;
        settings.handshake_timeout = Duration::from_secs(5);
        settings.header_timeout = Duration::from_secs(5);
    })
    .await;
    let first = world.connect(&[]).await;
    let _second = world.connect(&[]).await;
    assert!(world.try_connect(&[]).await.is_err(), "closed at once");
    drop(first);
    let back = async {
        while world.try_connect(&[]).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, back).await.expect("the place is free again");
}

#[tokio::test]
async fn e08_the_certificate_changes_without_dropping_a_connection() {
    let ca = Ca::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    write_certificate(&ca, directory.path());
    let certificates = Certificates::load(&path("tls.crt"), &path("tls.key")).unwrap();
    let serial = |certificates: &Certificates| certificates.end_entity();
    let before = serial(&certificates);
    assert_eq!(certificates.reload(), Ok(false));

    let old_key = std::fs::read(path("tls.key")).unwrap();
    write_certificate(&ca, directory.path());
    let new_key = std::fs::read(path("tls.key")).unwrap();
    for bad in [old_key.as_slice(), b"", b"garbage", &new_key[..40]] {
        std::fs::write(path("tls.key"), bad).unwrap();
        let problem = certificates.reload().unwrap_err();
        assert!(problem.contains("tls.key"), "{problem}");
        assert_eq!(serial(&certificates), before, "the former pair stays");
    }
    std::fs::write(path("tls.key"), new_key).unwrap();
    assert_eq!(certificates.reload(), Ok(true));
    assert_ne!(serial(&certificates), before);
}

#[tokio::test]
async fn e08_new_handshakes_get_the_new_certificate_and_open_connections_stay() {
    let world = World::new().await;
    let mut open = world.connect(&[]).await;
    let before = open.get_ref().1.peer_certificates().unwrap()[0].clone();
    let ask = b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    open.write_all(ask).await.unwrap();
    read_answer(&mut open).await;
    write_certificate(&world.ca, world.directory.path());
    let changed = async {
        loop {
            let stream = world.connect(&[]).await;
            if stream.get_ref().1.peer_certificates().unwrap()[0] != before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(limits::CREDENTIAL_POLL * 2, changed)
        .await
        .expect("the new certificate is used");
    open.write_all(ask).await.unwrap();
    read_answer(&mut open).await; // the open connection still serves
    assert_eq!(world.seen().len(), 2);
}

#[tokio::test]
async fn a_listener_that_cannot_start_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let handler = |_: Arrival, _: Peer| async { Response::new(body::empty()) };
    let tasks = TaskTracker::new();
    let missing = serve(
        settings(directory.path()),
        handler,
        &tasks,
        CancellationToken::new(),
        Metrics::new().0,
    )
    .await;
    assert!(missing.unwrap_err().to_string().contains("tls.crt"));
    write_certificate(&Ca::new().unwrap(), directory.path());
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(directory.path());
    settings.address = taken.local_addr().unwrap();
    let refused = serve(
        settings,
        handler,
        &tasks,
        CancellationToken::new(),
        Metrics::new().0,
    )
    .await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .starts_with("listener.address: cannot listen on 127.0.0.1:")
    );
}

#[tokio::test]
async fn a36_nothing_is_resumed_and_no_early_data_is_taken() {
    let world = World::new().await;
    let config = world.ca.client_config(&["http/1.1"]).unwrap();
    for _ in 0..2 {
        let tcp = TcpStream::connect(world.address).await.unwrap();
        let connector = TlsConnector::from(Arc::clone(&config));
        let mut stream = connector
            .connect("localhost".try_into().unwrap(), tcp)
            .await
            .unwrap();
        stream
            .write_all(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        stream.read_exact(&mut [0; 15]).await.unwrap();
        let kind = stream.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
    }
}
