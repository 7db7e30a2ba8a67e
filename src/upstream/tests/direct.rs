//! Long answers on connections of their own.

use super::*;
use crate::limits::{
    UPSTREAM_DIRECT_DIAL_BYTES, UPSTREAM_DIRECT_DIALS_BURST, UPSTREAM_DIRECT_DIALS_PER_SECOND,
    UPSTREAM_DIRECT_MAX, UPSTREAM_LONG_STREAM_WINDOW,
};

/// A server of both protocols, of which only HTTP/1.1 is wanted here.
async fn recorder(ca: &Ca, script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Recorder {
    let tls = ca
        .server_config(&["localhost"], &["h2", "http/1.1"])
        .unwrap();
    Recorder::start(tls, move |_, head| script(head))
        .await
        .unwrap()
}

fn reply(bytes: &str, close: bool) -> Reply {
    let bytes = bytes.as_bytes().to_vec();
    Reply { bytes, close }
}

const LIST: &str =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n4;x=y\r\n two\r\n0\r\n\r\n";

impl World {
    async fn stream(&self, path: &str) -> Result<Response<Body>, UpstreamError> {
        let call = Call {
            streams: true,
            ..call(true)
        };
        let permit = permit();
        let identity = UpstreamIdentity::of(&permit, &call.audit_id)?;
        let request = Request::get(path).body(body::empty()).unwrap();
        self.upstream
            .cluster(&permit)?
            .send(request, &identity, &call)
            .await
    }

    fn direct(&self) -> (usize, usize) {
        self.upstream.clusters["demo"].direct()
    }
}

#[tokio::test]
async fn says_what_is_ours_and_uses_a_clean_connection_again() {
    let ca = Ca::new().unwrap();
    let server = recorder(&ca, |_| reply(LIST, false)).await;
    let world = World::new(&ca, server.address(), "/behind");
    for _ in 0..3 {
        let answer = world.stream("/api/v1/pods?a=b").await.unwrap();
        assert_eq!(text(answer).await, "one two");
        assert_eq!(world.direct(), (0, 1));
    }
    let [connection] = &server.recorded()[..] else {
        panic!("one connection");
    };
    let heads = String::from_utf8(connection.clone()).unwrap();
    let host = format!("host: localhost:{}\r\n", server.address().port());
    for line in [
        "GET /behind/api/v1/pods?a=b HTTP/1.1\r\n",
        &host,
        "authorization: Bearer gateway-token\r\n",
        "impersonate-user: alice\r\n",
        "audit-id: audit-1\r\n",
        "accept-encoding: identity\r\n",
    ] {
        assert_eq!(heads.matches(line).count(), 3, "{line} in {heads}");
    }
}

#[tokio::test]
async fn chunks_that_are_there_become_one_frame() {
    let ca = Ca::new().unwrap();
    let server = recorder(&ca, |_| reply(LIST, false)).await;
    let world = World::new(&ca, server.address(), "");
    let mut answer = world.stream("/watch").await.unwrap().into_body();
    let frame = answer.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "one two");
    assert!(answer.is_end_stream() && answer.frame().await.is_none());
}

#[tokio::test]
async fn b43_a_connection_with_anything_left_on_it_is_never_used_again() {
    let ca = Ca::new().unwrap();
    let server = recorder(&ca, |head| {
        if head.starts_with("GET /half") {
            reply("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok", false)
        } else if head.starts_with("GET /long") {
            let smuggled = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
            reply(&format!("{LIST}{smuggled}"), false)
        } else if head.starts_with("GET /close") {
            reply(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                false,
            )
        } else {
            reply(LIST, false)
        }
    })
    .await;
    let world = World::new(&ca, server.address(), "");
    drop(world.stream("/half").await.unwrap());
    assert_eq!(world.direct(), (0, 0));
    for path in ["/a", "/long", "/b"] {
        assert_eq!(text(world.stream(path).await.unwrap()).await, "one two");
    }
    assert_eq!(text(world.stream("/close").await.unwrap()).await, "");
    assert_eq!(text(world.stream("/c").await.unwrap()).await, "one two");
    for connection in server.recorded() {
        let heads = String::from_utf8(connection).unwrap();
        for last in ["/half", "/long", "/close"] {
            let after = heads.split_once(&format!("GET {last}"));
            assert!(
                !after.is_some_and(|(_, rest)| rest.contains("GET ")),
                "{heads}"
            );
        }
    }
}

#[tokio::test]
async fn a_connection_the_server_closed_meanwhile_costs_no_answer() {
    let ca = Ca::new().unwrap();
    let server = recorder(&ca, |_| reply(LIST, true)).await;
    let world = World::new(&ca, server.address(), "");
    for _ in 0..3 {
        assert_eq!(text(world.stream("/a").await.unwrap()).await, "one two");
    }
    assert_eq!(server.recorded().len(), 3);
}

#[tokio::test]
async fn answers_that_cannot_be_passed_on_are_refused() {
    let ca = Ca::new().unwrap();
    let server = recorder(&ca, |head| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        reply(
            match path {
                "/upgrade" => {
                    "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
                }
                "/elsewhere" => {
                    "HTTP/1.1 302 Found\r\nlocation: https://evil/\r\ncontent-length: 0\r\n\r\n"
                }
                "/both" => {
                    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok"
                }
                "/endless" => "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
                "/cut" => "HTTP/1.1 200 OK\r\nx",
                _ => "no HTTP\r\n\r\n",
            }
            .repeat(if path == "/endless" { 10 } else { 1 })
            .as_str(),
            true,
        )
    })
    .await;
    let world = World::new(&ca, server.address(), "");
    for path in ["/upgrade", "/elsewhere", "/both", "/endless", "/none"] {
        let refused = world.stream(path).await.unwrap_err();
        assert!(
            matches!(refused, UpstreamError::Unacceptable { .. }),
            "{path}: {refused}"
        );
    }
    let broken = world.stream("/cut").await.unwrap_err();
    assert!(matches!(broken, UpstreamError::Broken { .. }), "{broken}");
    assert_eq!(world.direct(), (0, 0));
}

#[tokio::test]
async fn interim_answers_are_passed_over_and_empty_ones_end_at_once() {
    let ca = Ca::new().unwrap();
    let server = recorder(&ca, |head| {
        if head.starts_with("GET /early") {
            let hints = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
            reply(&format!("{hints}{LIST}"), false)
        } else {
            reply(
                "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
                false,
            )
        }
    })
    .await;
    let world = World::new(&ca, server.address(), "");
    assert_eq!(text(world.stream("/early").await.unwrap()).await, "one two");
    let empty = world.stream("/empty").await.unwrap();
    assert_eq!(empty.status(), StatusCode::NOT_MODIFIED);
    assert!(empty.body().is_end_stream());
    assert_eq!(world.direct(), (0, 1), "and the connection is free");
    assert_eq!(server.recorded().len(), 1);
}

#[tokio::test]
async fn e01_what_came_before_a_break_is_told_and_the_break_too() {
    let ca = Ca::new().unwrap();
    let server = recorder(&ca, |head| {
        let rest = if head.starts_with("GET /cut") {
            "5\r\ntw"
        } else {
            "x\r\n"
        };
        let begun = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
        reply(&format!("{begun}{rest}"), true)
    })
    .await;
    let world = World::new(&ca, server.address(), "");
    for (path, told) in [("/cut", "onetw"), ("/malformed", "one")] {
        let mut answer = world.stream(path).await.unwrap().into_body();
        let mut content = Vec::new();
        let broke = loop {
            match answer.frame().await {
                Some(Ok(frame)) => content.extend_from_slice(&frame.into_data().unwrap()),
                other => break other,
            }
        };
        assert_eq!(content, told.as_bytes());
        assert!(matches!(broke, Some(Err(_))), "{path} looks whole");
    }
    assert_eq!(world.direct(), (0, 0));
}

#[tokio::test]
async fn a41_a_401_is_ours() {
    let ca = Ca::new().unwrap();
    let server = recorder(&ca, |_| {
        reply(
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
            false,
        )
    })
    .await;
    let world = World::new(&ca, server.address(), "");
    let refused = world.stream("/a").await.unwrap_err();
    assert!(
        matches!(refused, UpstreamError::Unauthorized { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn further_streams_share_connections_and_so_do_all_where_http1_is_not_spoken() {
    let ca = Ca::new().unwrap();
    let (address, connections) = http2_server(&ca, 100).await;
    answer_all(connections, |_, mut stream| {
        super::reply(&mut stream, 200, "shared");
    });
    let world = World::new(&ca, address, "");
    let mut seats = Vec::new();
    while let Some(seat) = world.upstream.clusters["demo"].direct_seat() {
        seats.push(seat);
    }
    assert_eq!(seats.len(), UPSTREAM_DIRECT_MAX);
    assert_eq!(text(world.stream("/a").await.unwrap()).await, "shared");
    drop(seats);

    let tls = ca.server_config(&["localhost"], &["h2"]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let only_http2 = World::new(&ca, listener.local_addr().unwrap(), "");
    TaskTracker::new().spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(stream) = TlsAcceptor::from(Arc::clone(&tls)).accept(tcp).await else {
                continue;
            };
            let mut connection = h2::server::handshake(stream).await.unwrap();
            TaskTracker::new().spawn(async move {
                while let Some(Ok(mut stream)) = connection.accept().await {
                    super::reply(&mut stream, 200, "http2");
                }
            });
        }
    });
    assert_eq!(text(only_http2.stream("/a").await.unwrap()).await, "http2");
}

/// Bytes that a server gets rid of while nobody reads them: what the system buffers, and a little of ours.
#[tokio::test]
async fn d12_nothing_is_read_for_a_client_that_takes_nothing_and_a_client_that_leaves_ends_it() {
    const FAR_MORE: usize = 64 * 1024 * 1024;
    let ca = Ca::new().unwrap();
    let tls = ca.server_config(&["localhost"], &["http/1.1"]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::new(&ca, listener.local_addr().unwrap(), "");
    let server = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(tls).accept(tcp).await.unwrap();
        let mut request = [0; 4096];
        assert_ne!(stream.read(&mut request).await.unwrap(), 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut sent = 0;
        let quiet = Duration::from_millis(300);
        while let Ok(written) = tokio::time::timeout(quiet, stream.write(&[b'x'; 16_384])).await {
            sent += written.unwrap();
            assert!(sent < FAR_MORE, "somebody buffers without bound");
        }
        stream
    };
    let (mut stream, answer) = tokio::join!(server, world.stream("/watch"));
    assert_eq!(world.direct(), (1, 0));
    drop(answer.unwrap());
    assert_eq!(world.direct(), (0, 0));
    let ends = async { while stream.write_all(&[b'x'; 16_384]).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(10), ends)
        .await
        .expect("the connection is closed");
}

#[tokio::test]
async fn d12_one_stalled_stream_never_slows_the_others_of_its_connection() {
    const STREAMS: usize = 80;
    const EVENTS: usize = 400;
    let ca = Ca::new().unwrap();
    let (address, connections) = http2_server(&ca, 100).await;
    let event: &'static [u8] = &[b'x'; 1024];
    let (sent, mut stalled_sent) = mpsc::channel(1);
    answer_all(connections, move |connection, (request, mut respond)| {
        assert_eq!(connection, 0, "all are on one");
        let sent = sent.clone();
        TaskTracker::new().spawn(async move {
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            for number in 0..EVENTS {
                send.reserve_capacity(event.len());
                let capacity = std::future::poll_fn(|cx| send.poll_capacity(cx));
                let wait = tokio::time::timeout(Duration::from_secs(2), capacity).await;
                if wait.is_err() {
                    assert_eq!(request.uri().path(), "/stalled");
                    sent.send(number * event.len()).await.unwrap();
                    return std::future::pending::<()>().await;
                }
                send.send_data(Bytes::from_static(event), number + 1 == EVENTS)
                    .unwrap();
            }
        });
    });
    let world = World::new(&ca, address, "");
    let stalled = world.get("/stalled", true).await.unwrap();
    let others = (1..STREAMS).map(|_| async {
        let watch = world.get("/watch", true).await.unwrap();
        assert_eq!(text(watch).await.len(), EVENTS * event.len());
    });
    futures_util::future::join_all(others).await;
    let held = stalled_sent.recv().await.unwrap();
    assert!(
        held <= UPSTREAM_LONG_STREAM_WINDOW as usize + event.len(),
        "{held} bytes"
    );
    drop(stalled);
}

#[tokio::test]
async fn watches_that_come_and_go_have_no_connections_of_their_own_for_long() {
    let ca = Ca::new().unwrap();
    let tls = ca.server_config(&["localhost"], &["http/1.1"]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::new(&ca, listener.local_addr().unwrap(), "");
    TaskTracker::new().spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            drop(TlsAcceptor::from(Arc::clone(&tls)).accept(tcp).await);
        }
    });
    let cluster = &world.upstream.clusters["demo"];
    let burst = usize::try_from(UPSTREAM_DIRECT_DIALS_BURST).unwrap();
    let began = tokio::time::Instant::now();
    let mut own = 0;
    for _ in 0..burst + 1000 {
        let seat = cluster.direct_seat().unwrap();
        let opened = seat.connection(&cluster.access()).await.unwrap();
        own += usize::from(opened.is_some());
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    let more = seconds * usize::try_from(UPSTREAM_DIRECT_DIALS_PER_SECOND).unwrap();
    assert!((burst..=burst + more).contains(&own), "{own}");
}

#[tokio::test]
async fn watches_that_carry_much_keep_having_connections_of_their_own() {
    let ca = Ca::new().unwrap();
    let half = "x".repeat(UPSTREAM_DIRECT_DIAL_BYTES);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n{half}");
    let server = recorder(&ca, move |_| reply(&answer, false)).await;
    let world = World::new(&ca, server.address(), "");
    let more = usize::try_from(UPSTREAM_DIRECT_DIALS_BURST).unwrap() + 100;
    for _ in 0..more {
        let mut body = world
            .stream("/api/v1/pods?watch=1")
            .await
            .unwrap()
            .into_body();
        let mut came = 0;
        while came < UPSTREAM_DIRECT_DIAL_BYTES {
            let frame = body.frame().await.unwrap().unwrap();
            came += frame.into_data().unwrap().len();
        }
    }
    let connections = server.recorded();
    assert_eq!(connections.len(), more);
    assert!(
        connections
            .iter()
            .all(|sent| sent.starts_with(b"GET /api/v1/pods?watch=1 HTTP/1.1\r\n"))
    );
}
