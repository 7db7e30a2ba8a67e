use super::*;

/// A recorder that speaks HTTP/1.1 only.
async fn recorder(ca: &Ca, script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Recorder {
    let tls = ca.server_config(&["localhost"], &["http/1.1"]).unwrap();
    Recorder::start(tls, move |_, head| script(head))
        .await
        .unwrap()
}

fn keep(bytes: &str) -> Reply {
    Reply {
        bytes: bytes.as_bytes().to_vec(),
        close: false,
    }
}

fn ok(_: &str) -> Reply {
    keep("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
}

fn heads(recorder: &Recorder) -> Vec<String> {
    recorder
        .recorded()
        .into_iter()
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .collect()
}

#[tokio::test]
async fn falls_back_to_http1_and_uses_a_clean_connection_again() {
    let ca = Ca::new().unwrap();
    let server = recorder(&ca, ok).await;
    let world = World::new(&ca, server.address(), "");
    for _ in 0..3 {
        assert_eq!(
            text(world.get("/api?a=b", false).await.unwrap()).await,
            "ok"
        );
        // Taking a connection back is a task of its own.
        let idle = async {
            while world.upstream.clusters["demo"].idle_http1() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), idle)
            .await
            .expect("it returns to the pool");
    }
    let heads = heads(&server);
    assert_eq!(heads.len(), 1, "one connection");
    assert_eq!(heads[0].matches("GET /api?a=b HTTP/1.1\r\n").count(), 3);
    let host = format!("host: localhost:{}\r\n", server.address().port());
    assert_eq!(heads[0].matches(&host).count(), 3);
    assert_eq!(heads[0].matches("impersonate-user: alice\r\n").count(), 3);
}

#[tokio::test]
async fn b43_a_connection_with_anything_left_on_it_is_never_used_again() {
    let ca = Ca::new().unwrap();
    let server = recorder(&ca, |head| {
        if head.starts_with("GET /half") {
            keep("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok")
        } else if head.starts_with("GET /long") {
            keep("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n")
        } else {
            ok(head)
        }
    })
    .await;
    let world = World::new(&ca, server.address(), "");
    drop(world.get("/half", false).await.unwrap());
    assert_eq!(text(world.get("/a", false).await.unwrap()).await, "ok");
    assert_eq!(text(world.get("/long", false).await.unwrap()).await, "ok");
    assert_eq!(text(world.get("/b", false).await.unwrap()).await, "ok");
    for connection in heads(&server) {
        let after = connection
            .split("GET /half")
            .nth(1)
            .or_else(|| connection.split("GET /long").nth(1));
        assert!(
            !after.is_some_and(|rest| rest.contains("GET /")),
            "{connection}"
        );
    }
}

#[tokio::test]
async fn b43_an_answer_before_the_whole_request_closes_the_connection() {
    let ca = Ca::new().unwrap();
    let server = recorder(&ca, |_| {
        keep("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let world = World::new(&ca, server.address(), "");
    // No Content-Length: chunked, and the body never ends.
    let endless = http_body_util::StreamBody::new(futures_util::stream::pending());
    let request = Request::post("/api").body(Body::new(endless)).unwrap();
    let response = world.send(request, false).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    drop(response);
    assert_eq!(world.upstream.clusters["demo"].idle_http1(), 0);
    let second = world.get("/b", false).await.unwrap();
    assert_eq!(second.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(heads(&server).len(), 2);
}

#[tokio::test]
async fn b19_redirects_are_not_followed_and_lead_nowhere_else() {
    let ca = Ca::new().unwrap();
    let server = recorder(&ca, |head| {
        let place = head
            .split(' ')
            .nth(1)
            .unwrap()
            .trim_start_matches("/k/to?")
            .to_owned();
        keep(&format!(
            "HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n"
        ))
    })
    .await;
    let world = World::new(&ca, server.address(), "/k");
    let own = format!("https://localhost:{}/k/x", server.address().port());
    for (place, expected) in [
        ("/x/", Some("/x/")),
        ("/k/x/", Some("/x/")),
        ("/kx/", Some("/kx/")),
        ("x/", Some("x/")),
        (own.as_str(), Some("/x")),
        ("https://evil.example/x", None),
        ("HTTPS://localhost/x", None),
        ("//evil.example/x", None),
        ("/k//evil.example/x", None),
        ("/\\evil.example", None),
        ("javascript:x", None),
    ] {
        let answer = world.get(&format!("/to?{place}"), false).await;
        match (answer, expected) {
            (Ok(response), Some(expected)) => assert_eq!(response.headers()["location"], expected),
            (Err(UpstreamError::Unacceptable { .. }), None) => {}
            (answer, _) => panic!("{place}: {answer:?}"),
        }
    }
    assert_eq!(heads(&server).concat().matches("GET ").count(), 11);
}

#[tokio::test]
async fn an_unasked_101_is_refused() {
    let ca = Ca::new().unwrap();
    let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let server = recorder(&ca, move |_| keep(answer)).await;
    let world = World::new(&ca, server.address(), "");
    let answer = world.get("/", false).await;
    assert!(
        matches!(
            answer,
            Err(UpstreamError::Unacceptable { .. } | UpstreamError::Broken { .. })
        ),
        "{answer:?}"
    );
}

fn exec() -> Request<()> {
    Request::post("/api/v1/namespaces/x/pods/y/exec?command=sh&command=-c")
        .header("connection", "Upgrade, Impersonate-User")
        .header("upgrade", "SPDY/3.1")
        .header("x-stream-protocol-version", "v4.channel.k8s.io")
        .header("x-stream-protocol-version", "v3.channel.k8s.io")
        .body(())
        .unwrap()
}

#[tokio::test]
async fn an_upgrade_has_a_connection_of_its_own_and_loses_no_byte() {
    let ca = Ca::new().unwrap();
    // Also a server that would rather speak HTTP/2: it is not offered.
    let tls = ca
        .server_config(&["localhost"], &["h2", "http/1.1"])
        .unwrap();
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nearly";
    let server = Recorder::start(tls, move |_, _| keep(answer))
        .await
        .unwrap();
    let world = World::new(&ca, server.address(), "");
    let switched = world.upgrade(exec()).await.unwrap();
    let UpgradeAnswer::Switched { response, mut io } = switched else {
        panic!("{switched:?}");
    };
    assert_eq!(response.headers()["upgrade"], "SPDY/3.1");
    let mut early = [0; 5];
    io.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early", "what came with the head is kept");
    let head = heads(&server).concat();
    assert!(
        head.ends_with("\r\n\r\n"),
        "nothing follows the request before the 101"
    );
    assert!(
        head.starts_with(
            "POST /api/v1/namespaces/x/pods/y/exec?command=sh&command=-c HTTP/1.1\r\n"
        )
    );
    assert_eq!(head.matches("x-stream-protocol-version: ").count(), 2);
    assert!(head.contains("connection: Upgrade\r\n"), "{head}");
    assert!(head.contains("impersonate-user: alice\r\n"));
    io.write_all(b"late").await.unwrap();
    io.flush().await.unwrap();
    let arrived = async {
        while !heads(&server).concat().ends_with("late") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), arrived)
        .await
        .unwrap();
}

#[tokio::test]
async fn b15_a_refused_upgrade_is_an_ordinary_answer_and_its_connection_closes() {
    let ca = Ca::new().unwrap();
    for (answer, status, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, "ok"),
        (
            "HTTP/1.1 403 Forbidden\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nno",
            403,
            "no",
        ),
        (
            "HTTP/1.1 400 Bad Request\r\n\r\nraw, until the end",
            400,
            "raw, until the end",
        ),
    ] {
        let close = !answer.contains("content-length");
        let server = recorder(&ca, move |_| Reply {
            bytes: answer.into(),
            close,
        })
        .await;
        let world = World::new(&ca, server.address(), "");
        for count in 1..3 {
            let refused = world.upgrade(exec()).await.unwrap();
            let UpgradeAnswer::Refused(response) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(response.status(), status);
            assert_eq!(text(response).await, expected);
            assert_eq!(heads(&server).len(), count, "never used again");
        }
        // The maintenance task aside, nothing is left.
        world.shutdown.cancel();
        world.tasks.close();
        tokio::time::timeout(Duration::from_secs(5), world.tasks.wait())
            .await
            .unwrap();
        assert_eq!(heads(&server).concat().matches("POST ").count(), 2);
    }
}

#[tokio::test]
async fn a_refused_upgrade_with_401_or_a_redirect_is_ours() {
    let ca = Ca::new().unwrap();
    let server = recorder(&ca, |_| {
        keep("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let world = World::new(&ca, server.address(), "");
    let refused = world.upgrade(exec()).await;
    assert!(
        matches!(refused, Err(UpstreamError::Unauthorized { .. })),
        "{refused:?}"
    );
    let moved =
        "HTTP/1.1 307 Moved\r\nlocation: https://evil.example/\r\ncontent-length: 0\r\n\r\n";
    let server = recorder(&ca, move |_| keep(moved)).await;
    let world = World::new(&ca, server.address(), "");
    let refused = world.upgrade(exec()).await;
    assert!(
        matches!(refused, Err(UpstreamError::Unacceptable { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_unreachable_or_untrusted_server_is_unreachable() {
    let ca = Ca::new().unwrap();
    let server = recorder(&Ca::new().unwrap(), ok).await;
    let world = World::new(&ca, server.address(), "");
    let refused = world.get("/", false).await;
    assert!(
        matches!(refused, Err(UpstreamError::Unreachable { .. })),
        "{refused:?}"
    );
    assert!(heads(&server).concat().is_empty(), "the token was not sent");

    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let world = World::new(&ca, port, "");
    let refused = world.get("/", false).await;
    let Err(error @ UpstreamError::Unreachable { .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        !error.to_string().contains("localhost"),
        "addresses are for the log: {error}"
    );
}
