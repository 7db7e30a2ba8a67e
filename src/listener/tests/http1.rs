use super::*;

#[tokio::test]
async fn b09_to_b13_what_is_not_canonical_gets_400_and_the_connection_closes() {
    let world = World::new().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for head in [
        "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked",
        "POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 4",
        "POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked",
        "POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity, chunked",
        "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nContent-Length: 4",
        "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4, 4",
        "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: +4",
        "GET /a HTTP/1.1\nHost: localhost\n\nGET /a HTTP/1.1\r\nHost: localhost",
        "GET /a HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c",
        "GET /a HTTP/1.1\r\nHost: localhost\r\nImpersonate-User : root",
        "GET /a HTTP/1.1\r\nHost: localhost\r\nHost: localhost",
        "GET /a HTTP/1.1",
        "GET /a HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive",
        "GET  /a HTTP/1.1\r\nHost: localhost",
        "get /a HTTP/1.1\r\nHost: localhost",
        "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443",
        "PRI * HTTP/2.0\r\n\r\nSM",
        " GET /a HTTP/1.1\r\nHost: localhost",
        "\r\nGET /a HTTP/1.1\r\nHost: localhost",
    ] {
        let answer = world
            .raw(format!("{head}\r\n\r\n{smuggled}").as_bytes())
            .await;
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n") && answer.contains("\"Status\""),
            "{head:?}: {answer}"
        );
        assert_eq!(
            answer.matches("HTTP/1.1 4").count(),
            1,
            "{head:?}: {answer}"
        );
        let why = world.unreadable.lock().pop();
        assert!(
            matches!(why, Some(Unreadable::NotCanonical(_))),
            "{head:?}: {why:?}"
        );
        assert!(world.unreadable.lock().is_empty(), "{head:?}");
    }
    assert_eq!(world.seen(), [""; 0], "nothing reached the handler");
}

#[tokio::test]
async fn b13_a_refusal_waits_for_the_answer_before_it() {
    let world = World::new().await;
    let mut stream = world.connect(&[]).await;
    let watch = "GET /watch HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let bad = "GET /a HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n";
    let more = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream
        .write_all(format!("{watch}{bad}{more}").as_bytes())
        .await
        .unwrap();
    world.wait_open(1).await;
    let watches: Vec<_> = std::mem::take(&mut *world.watches.lock());
    watches[0].send("event\n").await.unwrap();
    drop(watches);
    let answer = read_to_end(stream).await;
    let (first, second) = answer.split_once("0\r\n\r\n").unwrap();
    assert!(
        first.starts_with("HTTP/1.1 200") && first.contains("event\n"),
        "{answer}"
    );
    assert!(
        second.starts_with("HTTP/1.1 400") && second.contains("Host header"),
        "{answer}"
    );
    assert_eq!(world.seen(), ["GET /watch"]);
}

#[tokio::test]
async fn b13_whoever_goes_on_sending_still_reads_why_it_was_refused() {
    let world = World::new().await;
    let mut stream = world.connect(&[]).await;
    let mut request = b"GET /a HTTP/1.1\r\nHost: localhost\r\nA: ".to_vec();
    request.resize(limits::LISTENER_FAREWELL_BYTES / 2, b'a');
    stream.write_all(&request).await.unwrap();
    let answer = read_to_end(stream).await;
    assert!(answer.contains("headers are larger"), "{answer}");
    assert_eq!(world.seen(), [""; 0]);
}

#[tokio::test]
async fn b12_a_bad_chunk_ends_the_body_in_an_error() {
    let world = World::new().await;
    let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunks in [
        "2\r\nok\r\n2;ext=1\r\nno\r\n0\r\n\r\n",
        "2\r\nok\r\n0\r\nImpersonate-User: root\r\n\r\n",
        "3\r\nok\r\n0\r\n\r\n",
    ] {
        let answer = world.raw(format!("{head}{chunks}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{chunks:?}: {answer}");
        assert!(answer.contains("not canonical HTTP/1.1"), "{answer}");
    }
    let good = format!(
        "{head}2\r\nok\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    );
    let answer = world.raw(good.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(answer.contains("\r\n\r\nok"), "{answer}");
}

#[tokio::test]
async fn b25_only_this_gateways_hosts_and_paths_reach_the_handler() {
    let world = World::new().await;
    for (target, host, why) in [
        ("https://localhost/a", "localhost", "must be a path"),
        ("https://evil.example/a", "localhost", "must be a path"),
        ("*", "localhost", "must be a path"),
        ("/a", "evil.example", "does not answer for the host"),
        ("/a", "root@localhost", "must name one host"),
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = world.raw(bytes.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 400"),
            "{target} {host}: {answer}"
        );
        assert!(
            answer.contains(why) && answer.contains("\"kind\":\"Status\""),
            "{answer}"
        );
    }
    assert_eq!(world.seen(), [""; 0]);
    let good = b"GET /a HTTP/1.1\r\nHost: LOCALHOST:8443\r\nConnection: close\r\n\r\n";
    assert!(world.raw(good).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn b53_heads_are_bounded() {
    let world = World::new().await;
    for head in [
        format!("A: {}\r\n", "a".repeat(20_000)),
        "A: b\r\n".repeat(limits::HEADERS_MAX + 1),
        "A: 0123456789\r\n".repeat(2000),
    ] {
        let answer = world
            .raw(format!("GET /a HTTP/1.1\r\nHost: localhost\r\n{head}\r\n").as_bytes())
            .await;
        assert!(answer.contains("headers are larger"), "{answer}");
    }
    assert_eq!(world.seen(), [""; 0]);
    assert_eq!(*world.unreadable.lock(), [Unreadable::TooLarge; 3]);
}

#[tokio::test]
async fn no_alpn_is_http1_and_pipelined_requests_are_answered_in_order() {
    let world = World::new().await;
    for alpn in [&[][..], &["http/1.1"], &["http/1.1", "h2"]] {
        let mut stream = world.connect(alpn).await;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            continue; // the server's preference
        }
        let one = "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let last = "GET /b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream
            .write_all(format!("{one}{last}").as_bytes())
            .await
            .unwrap();
        let answer = read_to_end(stream).await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    }
}

#[tokio::test]
async fn b15_bytes_behind_a_refused_upgrade_are_never_a_request() {
    let world = World::new().await;
    let upgrade =
        "GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n";
    let second = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = world.raw(format!("{upgrade}{second}").as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(world.seen(), ["GET /a"]);
}

#[tokio::test]
async fn an_upgrade_takes_over_the_connection_with_its_early_bytes() {
    let world = World::new().await;
    let mut stream = world.connect(&[]).await;
    let head = b"POST /switch HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n\x80\x03\n\0early";
    stream.write_all(head).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"early") {
        let mut bytes = [0; 256];
        let count = timeout(SOON, stream.read(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&bytes[..count]);
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    stream.write_all(b"late\n\n").await.unwrap();
    let mut late = [0; 6];
    timeout(SOON, stream.read_exact(&mut late))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&late, b"late\n\n");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    let world = World::new().await;
    let mut stream = world.connect(&[]).await;
    stream
        .write_all(b"GET /watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    world.wait_open(1).await;
    drop(stream);
    world.wait_open(0).await;
}

#[tokio::test]
async fn e11_drain_ends_watches_cleanly_and_refuses_the_new() {
    let world = World::new().await;
    let mut watch = world.connect(&[]).await;
    watch
        .write_all(b"GET /watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let idle = {
        let mut stream = world.connect(&[]).await;
        stream
            .write_all(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        stream.read_exact(&mut [0; 17]).await.unwrap();
        stream
    };
    world.wait_open(1).await;
    let watches: Vec<_> = std::mem::take(&mut *world.watches.lock());
    watches[0].send("event\n").await.unwrap();
    world.shutdown.cancel();
    read_to_end(idle).await;
    assert!(
        world.try_connect(&[]).await.is_err(),
        "new connections are refused"
    );
    watches[0].send("last\n").await.unwrap();
    drop(watches);
    let answer = read_to_end(watch).await;
    assert!(
        answer.contains("event\n") && answer.contains("last\n"),
        "{answer}"
    );
    assert!(answer.ends_with("0\r\n\r\n"), "a clean end: {answer}");
    world.all_ended().await;
}

#[tokio::test]
async fn e11_drain_is_bounded() {
    let world = World::with(|settings| settings.drain_timeout = Duration::from_millis(200)).await;
    let mut never = world.connect(&[]).await;
    never
        .write_all(b"GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    world.wait_open(1).await;
    world.shutdown.cancel();
    assert_eq!(read_to_end(never).await, "");
    world.all_ended().await;
}
