//! Against an HTTP/2 server at frame level and a byte-recording HTTP/1.1 server.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use loadtest::pki::Ca;
use loadtest::recorder::{Recorder, Reply};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;
use crate::gateway::body;
use crate::identity::Identity;
use crate::limits;

type Connection = h2::server::Connection<TlsStream<TcpStream>, Bytes>;
type Stream = (Request<h2::RecvStream>, h2::server::SendResponse<Bytes>);

/// A gateway's upstream with one cluster, `demo`.
struct World {
    upstream: Arc<Upstream>,
    directory: tempfile::TempDir,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl World {
    fn new(ca: &Ca, address: SocketAddr, prefix: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let world = |name: &str| directory.path().join(name);
        std::fs::write(world("token"), "gateway-token").unwrap();
        std::fs::write(world("ca.crt"), ca.pem()).unwrap();
        write_kubeconfig(
            &world("config"),
            &format!("https://localhost:{}{prefix}", address.port()),
        );
        let tasks = TaskTracker::new();
        let shutdown = CancellationToken::new();
        let settings = Settings {
            clusters: vec![ClusterSettings {
                name: "demo".to_owned(),
                source: Source::Kubeconfig {
                    file: world("config"),
                    context: None,
                },
            }],
        };
        let upstream = Upstream::start(settings, &tasks, &Metrics::new().0, &shutdown).unwrap();
        Self {
            upstream,
            directory,
            tasks,
            shutdown,
        }
    }

    async fn get(&self, path: &str, long_running: bool) -> Result<Response<Body>, UpstreamError> {
        let request = Request::get(path).body(body::empty()).unwrap();
        self.send(request, long_running).await
    }

    async fn send(
        &self,
        request: Request<Body>,
        long_running: bool,
    ) -> Result<Response<Body>, UpstreamError> {
        let (permit, call) = (permit(), call(long_running));
        let identity = UpstreamIdentity::of(&permit, &call.audit_id)?;
        let cluster = self.upstream.cluster(&permit)?;
        cluster.send(request, &identity, &call).await
    }
}

impl World {
    async fn upgrade(&self, request: Request<()>) -> Result<UpgradeAnswer<Body>, UpstreamError> {
        let (permit, call) = (permit(), call(true));
        let identity = UpstreamIdentity::of(&permit, &call.audit_id)?;
        upgrade::upgrade(self.upstream.cluster(&permit)?, &request, &identity, &call).await
    }
}

fn write_kubeconfig(path: &PathBuf, server: &str) {
    let mut file = std::fs::File::create(path).unwrap();
    write!(
        file,
        "current-context: x\ncontexts: [{{name: x, context: {{cluster: x, user: x}}}}]\n\
         users: [{{name: x, user: {{tokenFile: token}}}}]\n\
         clusters: [{{name: x, cluster: {{server: '{server}', certificate-authority: ca.crt}}}}]\n"
    )
    .unwrap();
}

fn permit() -> Permit {
    Permit::for_tests(Identity::for_tests("alice", &["devs", "ops"]), "demo", &[])
}

fn call(long_running: bool) -> Call {
    Call {
        audit_id: "audit-1".to_owned(),
        peer: [192, 0, 2, 7].into(),
        long_running,
        streams: false,
    }
}

async fn text(response: Response<Body>) -> String {
    let bytes = body::read_bounded(response.into_body(), 1 << 20)
        .await
        .unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Accepts HTTP/2 connections that allow `max_streams`; each is handed to the test.
async fn http2_server(ca: &Ca, max_streams: u32) -> (SocketAddr, mpsc::Receiver<Connection>) {
    let tls = ca
        .server_config(&["localhost"], &["h2", "http/1.1"])
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel(64);
    TaskTracker::new().spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(stream) = TlsAcceptor::from(Arc::clone(&tls)).accept(tcp).await else {
                continue;
            };
            let mut builder = h2::server::Builder::new();
            builder.max_concurrent_streams(max_streams);
            let connection = builder.handshake(stream).await.unwrap();
            if sender.send(connection).await.is_err() {
                return;
            }
        }
    });
    (address, receiver)
}

/// Answers every stream of every connection; the streams' number of each connection is counted.
fn answer_all(
    mut connections: mpsc::Receiver<Connection>,
    handle: impl Fn(usize, Stream) + Clone + Send + 'static,
) {
    TaskTracker::new().spawn(async move {
        let mut number = 0;
        while let Some(mut connection) = connections.recv().await {
            let handle = handle.clone();
            TaskTracker::new().spawn(async move {
                while let Some(Ok(stream)) = connection.accept().await {
                    handle(number, stream);
                }
            });
            number += 1;
        }
    });
}

fn reply(stream: &mut Stream, status: u16, body: &'static str) {
    let response = Response::builder().status(status).body(()).unwrap();
    let mut send = stream.1.send_response(response, false).unwrap();
    send.send_data(Bytes::from_static(body.as_bytes()), true)
        .unwrap();
}

#[tokio::test]
async fn sends_ours_and_nothing_else_over_http2() {
    let ca = Ca::new().unwrap();
    let (address, mut connections) = http2_server(&ca, 100).await;
    let world = World::new(&ca, address, "/k8s/clusters/x");
    let request = Request::builder()
        .method(Method::POST)
        .uri("/api/v1/namespaces/a%20b/pods?x=%2F&y=1")
        .header("authorization", "Bearer client")
        .header("content-type", "application/json")
        .header("connection", "impersonate-user")
        .header("cookie", "a=b")
        .body(body::full("{}"))
        .unwrap();
    let serve = async {
        let mut connection = connections.recv().await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let response = Response::builder().header("set-cookie", "a=b");
        let mut send = respond
            .send_response(response.body(()).unwrap(), false)
            .unwrap();
        send.send_data(Bytes::from_static(b"ok"), false).unwrap();
        let trailers = [("x-late", "1")].map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        send.send_trailers(trailers.into_iter().collect()).unwrap();
        TaskTracker::new().spawn(async move { connection.accept().await.is_none() });
        request.into_parts().0
    };
    let (sent, response) = tokio::join!(serve, world.send(request, false));

    assert_eq!(
        sent.uri.path(),
        "/k8s/clusters/x/api/v1/namespaces/a%20b/pods"
    );
    assert_eq!(sent.uri.query(), Some("x=%2F&y=1"));
    assert_eq!(
        sent.uri.authority().unwrap().port_u16(),
        Some(address.port())
    );
    let mut lines: Vec<_> = sent
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "accept-encoding: identity",
            "audit-id: audit-1",
            "authorization: Bearer gateway-token",
            "content-length: 2",
            "content-type: application/json",
            "impersonate-extra-portcullis.dev%2frequest-id: audit-1",
            "impersonate-group: devs",
            "impersonate-group: ops",
            "impersonate-user: alice",
            "x-forwarded-for: 192.0.2.7",
        ]
    );
    let response = response.unwrap();
    assert!(response.headers().is_empty(), "{:?}", response.headers());
    let frames = http_body_util::BodyStream::new(response.into_body());
    let frames = futures_util::StreamExt::collect::<Vec<_>>(frames).await;
    assert!(
        frames.iter().all(|frame| frame.as_ref().unwrap().is_data()),
        "trailers are dropped"
    );
    assert_eq!(frames.len(), 1);
}

#[tokio::test]
async fn a13_a_bad_identity_causes_no_connection() {
    let ca = Ca::new().unwrap();
    let (address, mut connections) = http2_server(&ca, 100).await;
    let world = World::new(&ca, address, "");
    for name in ["", " ", "a\nb", "system:masters"] {
        let permit = Permit::for_tests(Identity::for_tests(name, &[]), "demo", &[]);
        let request = Request::get("/api").body(body::empty()).unwrap();
        let refused = world.upstream.send(request, &permit, &call(false)).await;
        assert!(
            matches!(refused, Err(UpstreamError::Identity(_))),
            "{name:?}"
        );
        let request = Request::get("/api")
            .header("upgrade", "websocket")
            .body(())
            .unwrap();
        let refused = world.upstream.upgrade(request, &permit, &call(true)).await;
        assert!(
            matches!(refused, Err(UpstreamError::Identity(_))),
            "{name:?}"
        );
    }
    let elsewhere = Permit::for_tests(Identity::for_tests("alice", &[]), "other", &[]);
    let request = Request::get("/api").body(body::empty()).unwrap();
    let refused = world.upstream.send(request, &elsewhere, &call(false)).await;
    assert!(matches!(refused, Err(UpstreamError::UnknownCluster(_))));
    assert!(connections.try_recv().is_err(), "no connection was opened");
}

#[tokio::test]
async fn opens_further_connections_below_the_stream_limit_and_keeps_the_lanes_apart() {
    let ca = Ca::new().unwrap();
    let (address, connections) = http2_server(&ca, 100).await;
    let open: Arc<Mutex<BTreeMap<usize, Vec<h2::SendStream<Bytes>>>>> = Arc::default();
    let held = Arc::clone(&open);
    answer_all(connections, move |number, mut stream| {
        if stream.0.uri().path() == "/short" {
            reply(&mut stream, 200, "ok");
            held.lock().entry(number).or_default();
            return;
        }
        let send = stream.1.send_response(Response::new(()), false).unwrap();
        held.lock().entry(number).or_default().push(send);
    });
    let world = World::new(&ca, address, "");
    let watches = (0..200).map(|_| world.get("/watch", true));
    let watches: Vec<_> = futures_util::future::try_join_all(watches).await.unwrap();
    let counts = || open.lock().values().map(Vec::len).collect::<Vec<_>>();
    let full = |count: &usize| *count <= limits::UPSTREAM_STREAMS_MAX;
    assert!(counts().len() == 3 && counts().iter().all(full));
    assert_eq!(counts().iter().sum::<usize>(), 200);

    assert_eq!(text(world.get("/short", false).await.unwrap()).await, "ok");
    assert_eq!(
        counts().get(3..),
        Some(&[0][..]),
        "a short request does not share with watches"
    );

    drop(watches);
    let ended = async {
        loop {
            let resets = open.lock().values_mut().flatten().all(|send| {
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                matches!(
                    send.poll_reset(&mut cx),
                    std::task::Poll::Ready(Ok(h2::Reason::CANCEL))
                )
            });
            if resets {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended)
        .await
        .expect("every stream is reset");
    let again = (0..80).map(|_| world.get("/watch", true));
    let again = futures_util::future::try_join_all(again).await.unwrap();
    assert_eq!(counts().len(), 4, "places are free again");
    drop(again);
}

#[tokio::test]
async fn respects_a_servers_lower_limit() {
    let ca = Ca::new().unwrap();
    let (address, connections) = http2_server(&ca, 5).await;
    let seen: Arc<Mutex<Vec<(usize, Stream)>>> = Arc::default();
    let held = Arc::clone(&seen);
    answer_all(connections, move |number, mut stream| {
        drop(stream.1.send_response(Response::new(()), false));
        held.lock().push((number, stream));
    });
    let world = World::new(&ca, address, "");
    let first = world.get("/watch", true).await.unwrap();
    // The limit is learnt a moment after the connection is made.
    let learnt = async {
        while world.upstream.clusters["demo"].pool_allows() != 5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), learnt)
        .await
        .expect("the limit is learnt");
    let more = futures_util::future::try_join_all((0..9).map(|_| world.get("/watch", true)));
    let more = tokio::time::timeout(Duration::from_secs(5), more)
        .await
        .expect("none waits")
        .unwrap();
    drop((first, more));
    let on_first = seen
        .lock()
        .iter()
        .filter(|(number, _)| *number == 0)
        .count();
    assert_eq!(on_first, 5);
}

#[tokio::test]
async fn e02_repeats_once_what_goaway_left_unprocessed() {
    let ca = Ca::new().unwrap();
    let (address, mut connections) = http2_server(&ca, 100).await;
    let world = World::new(&ca, address, "");
    let serve = async {
        let mut first = connections.recv().await.unwrap();
        let mut warm = first.accept().await.unwrap().unwrap();
        reply(&mut warm, 200, "warm");
        let mut slow = first.accept().await.unwrap().unwrap();
        // The next stream is refused; `slow`, accepted before, is finished by the old connection.
        let mut refused = first.accept().await.unwrap().unwrap();
        refused.1.send_reset(h2::Reason::REFUSED_STREAM);
        reply(&mut slow, 200, "slow");
        TaskTracker::new().spawn(async move {
            let mut again = first.accept().await.unwrap().unwrap();
            reply(&mut again, 200, "again");
            first.accept().await.is_none()
        });
    };
    let ask = async {
        assert_eq!(text(world.get("/warm", false).await.unwrap()).await, "warm");
        let slow = world.get("/slow", false);
        let refused = world.get("/refused", false);
        let (slow, refused) = tokio::join!(slow, refused);
        assert_eq!(text(slow.unwrap()).await, "slow");
        assert_eq!(text(refused.unwrap()).await, "again");
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn e02_goaway_loses_nothing_and_repeats_only_what_is_above_its_last_stream() {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let ca = Ca::new().unwrap();
    let tls = ca.server_config(&["localhost"], &["h2"]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::new(&ca, listener.local_addr().unwrap(), "");
    let accept = async || {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::clone(&tls))
            .accept(tcp)
            .await
            .unwrap();
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        stream.write_all(SETTINGS).await.unwrap();
        stream
    };
    let serve = async {
        let mut first = accept().await;
        assert_eq!(
            (
                next_headers(&mut first).await,
                next_headers(&mut first).await
            ),
            (1, 3)
        );
        // GOAWAY, last stream 1, NO_ERROR; then stream 1: 200 with `ok`.
        let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        first.write_all(&goaway).await.unwrap();
        let mut second = accept().await;
        assert_eq!(
            next_headers(&mut second).await,
            1,
            "stream 3 is asked again elsewhere"
        );
        answer_ok(&mut second).await;
        answer_ok(&mut first).await;
        (first, second)
    };
    let ask = async {
        let (one, two) = tokio::join!(world.get("/one", false), world.get("/two", false));
        (text(one.unwrap()).await, text(two.unwrap()).await)
    };
    let (_connections, answers) = tokio::join!(serve, ask);
    assert_eq!(answers, ("ok".to_owned(), "ok".to_owned()));
}

/// Reads frames until HEADERS and returns its stream.
async fn next_headers(stream: &mut TlsStream<TcpStream>) -> u32 {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == 1 {
            return u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        }
    }
}

/// Stream 1: `:status: 200` (index 8 of the static table), then DATA that ends the stream.
async fn answer_ok(stream: &mut TlsStream<TcpStream>) {
    stream
        .write_all(&[0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88])
        .await
        .unwrap();
    stream
        .write_all(&[0, 0, 2, 0, 1, 0, 0, 0, 1, b'o', b'k'])
        .await
        .unwrap();
}

/// h2 0.4.16 to 0.4.18 closed connections over many small DATA frames, which watches are made of.
#[tokio::test]
async fn many_tiny_events_wait_for_a_slow_client() {
    const EVENTS: usize = 1000;
    let ca = Ca::new().unwrap();
    let (address, connections) = http2_server(&ca, 100).await;
    let (sent, mut all_sent) = mpsc::channel(80);
    answer_all(connections, move |_, mut stream| {
        let mut send = stream.1.send_response(Response::new(()), false).unwrap();
        for _ in 0..EVENTS {
            send.send_data(Bytes::from_static(b"{\"type\":\"BOOKMARK\"}\n"), false)
                .unwrap();
        }
        send.send_data(Bytes::new(), true).unwrap();
        sent.try_send(()).unwrap();
    });
    let world = World::new(&ca, address, "");
    let watches = (0..80).map(|_| world.get("/watch", true));
    let watches = futures_util::future::try_join_all(watches).await.unwrap();
    for _ in 0..80 {
        all_sent.recv().await.unwrap();
    }
    for watch in watches {
        assert_eq!(text(watch).await.lines().count(), EVENTS);
    }
}

#[tokio::test]
async fn e02_a_body_that_is_gone_is_not_repeated_and_one_we_hold_is() {
    let ca = Ca::new().unwrap();
    let (address, connections) = http2_server(&ca, 100).await;
    let count = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&count);
    answer_all(connections, move |_, mut stream| {
        *counter.lock() += 1;
        if *counter.lock() % 2 == 1 {
            stream.1.send_reset(h2::Reason::REFUSED_STREAM);
        } else {
            reply(&mut stream, 201, "made");
        }
    });
    let world = World::new(&ca, address, "");
    let post = || Request::post("/api").body(body::full("{}")).unwrap();
    let refused = world.send(post(), false).await;
    assert!(
        matches!(refused, Err(UpstreamError::Unprocessed { .. })),
        "{refused:?}"
    );
    assert_eq!(*count.lock(), 1);
    *count.lock() = 0;
    let mut request = post();
    request
        .extensions_mut()
        .insert(ReplayableBody(Bytes::from_static(b"{}")));
    let made = world.send(request, false).await.unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    assert_eq!(*count.lock(), 2);
}

#[tokio::test]
async fn e01_a_break_is_not_repeated_and_truncation_stays_truncation() {
    let ca = Ca::new().unwrap();
    let (address, connections) = http2_server(&ca, 100).await;
    let count = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&count);
    answer_all(connections, move |_, mut stream| {
        *counter.lock() += 1;
        if stream.0.uri().path() == "/half" {
            let mut send = stream.1.send_response(Response::new(()), false).unwrap();
            send.send_data(Bytes::from_static(b"{\"items\":["), false)
                .unwrap();
            send.send_reset(h2::Reason::INTERNAL_ERROR);
        } else {
            stream.1.send_reset(h2::Reason::INTERNAL_ERROR);
        }
    });
    let world = World::new(&ca, address, "");
    let broken = world.get("/", false).await;
    assert!(
        matches!(broken, Err(UpstreamError::Broken { .. })),
        "{broken:?}"
    );
    assert_eq!(*count.lock(), 1, "nobody knows whether it was carried out");
    match world.get("/half", false).await {
        Ok(half) => assert!(body::read_bounded(half.into_body(), 1024).await.is_err()),
        Err(error) => assert!(matches!(error, UpstreamError::Broken { .. })),
    }
}

#[tokio::test]
async fn a41_a_401_is_ours_and_a_rotated_token_is_tried() {
    let ca = Ca::new().unwrap();
    let (address, connections) = http2_server(&ca, 100).await;
    answer_all(connections, |_, mut stream| {
        let good = stream.0.headers()["authorization"] == "Bearer rotated";
        let (status, body) = if good { (200, "in") } else { (401, "{}") };
        reply(&mut stream, status, body);
    });
    let world = World::new(&ca, address, "");
    let refused = world.get("/", false).await;
    assert!(
        matches!(refused, Err(UpstreamError::Unauthorized { .. })),
        "{refused:?}"
    );
    assert_eq!(
        world.upstream.unusable(),
        ["cluster `demo` does not accept the gateway's credential"]
    );
    assert!(!world.upstream.is_usable());
    std::fs::write(world.directory.path().join("token"), "rotated").unwrap();
    // Files are read at most once a second.
    let admitted = async {
        loop {
            match world.get("/", false).await {
                Ok(response) => return text(response).await,
                Err(UpstreamError::Unauthorized { .. }) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    let admitted = tokio::time::timeout(Duration::from_secs(10), admitted)
        .await
        .unwrap();
    assert_eq!(admitted, "in");
    assert_eq!(world.upstream.unusable(), [""; 0]);
}

#[tokio::test]
async fn shutdown_lets_open_answers_finish_and_ends_every_task() {
    let ca = Ca::new().unwrap();
    let (address, connections) = http2_server(&ca, 100).await;
    let (sender, mut streams) = mpsc::channel(4);
    answer_all(connections, move |_, mut stream| {
        sender
            .try_send(stream.1.send_response(Response::new(()), false).unwrap())
            .unwrap();
    });
    let world = World::new(&ca, address, "");
    let response = world.get("/watch", true).await.unwrap();
    world.shutdown.cancel();
    let late = world.get("/late", false).await.unwrap();
    let mut send = streams.recv().await.unwrap();
    send.send_data(Bytes::from_static(b"last"), true).unwrap();
    assert_eq!(text(response).await, "last");
    drop(late);
    world.tasks.close();
    let ended = tokio::time::timeout(Duration::from_secs(5), world.tasks.wait()).await;
    assert!(ended.is_ok(), "{} tasks are left", world.tasks.len());
}

mod direct;
mod http1;
mod pool;
mod reach;
