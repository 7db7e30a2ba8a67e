use super::*;

/// What one answer is made of: many times what may wait of it in memory.
const ANSWER_BYTES: usize = 8 * limits::UPSTREAM_LONG_STREAM_WINDOW as usize;

#[tokio::test]
async fn an_idle_connection_ends_after_the_limit_and_one_in_use_does_not() {
    let ca = Ca::new().unwrap();
    let (address, mut connections) = http2_server(&ca, 100).await;
    let (watching, mut watched) = mpsc::channel(2);
    let (ended, mut ends) = mpsc::channel(4);
    TaskTracker::new().spawn(async move {
        let mut number = 0;
        while let Some(mut connection) = connections.recv().await {
            number += 1;
            let (watching, ended) = (watching.clone(), ended.clone());
            TaskTracker::new().spawn(async move {
                while let Some(Ok(mut stream)) = connection.accept().await {
                    if stream.0.uri().path() == "/watch" {
                        let send = stream.1.send_response(Response::new(()), false);
                        watching.try_send((number, send.unwrap())).unwrap();
                    } else {
                        reply(&mut stream, 200, "ok");
                    }
                }
                ended.try_send(number).unwrap();
            });
        }
    });
    let world = World::new(&ca, address, "");
    let watch = world.get("/watch", true).await.unwrap();
    assert_eq!(text(world.get("/short", false).await.unwrap()).await, "ok");

    tokio::time::pause();
    tokio::time::advance(limits::UPSTREAM_IDLE / 2).await;
    tokio::time::resume();
    assert_eq!(text(world.get("/short", false).await.unwrap()).await, "ok");
    assert!(
        ends.try_recv().is_err(),
        "a connection ended before its time"
    );

    tokio::time::pause();
    tokio::time::advance(limits::UPSTREAM_IDLE + limits::UPSTREAM_IDLE_POLL).await;
    tokio::time::resume();
    let end = tokio::time::timeout(Duration::from_secs(20), ends.recv()).await;
    assert_eq!(end.unwrap(), Some(2), "the second connection was idle");
    let _again = world.get("/watch", true).await.unwrap();
    let (first, mut send) = watched.recv().await.unwrap();
    let (second, _send) = watched.recv().await.unwrap();
    assert_eq!((first, second), (1, 1), "the one in use is used further");
    send.send_data(Bytes::from_static(b"still there"), true)
        .unwrap();
    assert_eq!(text(watch).await, "still there");
    assert_eq!(text(world.get("/short", false).await.unwrap()).await, "ok");
}

#[tokio::test]
async fn a_client_that_stops_reading_stops_none_of_its_neighbours() {
    let ca = Ca::new().unwrap();
    let (address, connections) = http2_server(&ca, 100).await;
    let used: Arc<Mutex<Vec<usize>>> = Arc::default();
    let seen = Arc::clone(&used);
    answer_all(connections, move |number, mut stream| {
        seen.lock().push(number);
        let mut send = stream.1.send_response(Response::new(()), false).unwrap();
        send.send_data(Bytes::from(vec![b'x'; ANSWER_BYTES]), true)
            .unwrap();
    });
    let world = World::new(&ca, address, "");
    let stalled = world.get("/watch", true).await.unwrap();
    for _ in 0..8 {
        let neighbour = world.get("/watch", true).await.unwrap();
        let read = body::read_bounded(neighbour.into_body(), ANSWER_BYTES);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        assert_eq!(
            read.expect("it is not held up").unwrap().len(),
            ANSWER_BYTES
        );
    }
    assert_eq!(*used.lock(), [0; 9], "all on one connection");
    let late = body::read_bounded(stalled.into_body(), ANSWER_BYTES).await;
    assert_eq!(
        late.unwrap().len(),
        ANSWER_BYTES,
        "nothing was lost meanwhile"
    );
}

/// Accepts connections and lets them wait for everything else.
async fn silent_server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn what_many_watches_need_is_opened_at_the_same_time() {
    let ca = Ca::new().unwrap();
    let (listener, address) = silent_server().await;
    let world = World::new(&ca, address, "");
    let count = 2 * limits::UPSTREAM_STREAMS_MAX + 1;
    let watches = futures_util::future::join_all((0..count).map(|_| world.get("/watch", true)));
    let accept = async {
        let mut open = Vec::new();
        while open.len() < 3 {
            open.push(listener.accept().await.unwrap());
        }
        let more = tokio::time::timeout(Duration::from_millis(100), listener.accept()).await;
        assert!(more.is_err(), "three are enough");
        // None of them can be opened: everyone is told.
    };
    let accept = tokio::time::timeout(Duration::from_secs(5), accept);
    let (accepted, answers) = tokio::join!(accept, watches);
    accepted.expect("they are opened at the same time");
    let unreachable =
        |answer: &Result<_, _>| matches!(answer, Err(UpstreamError::Unreachable { .. }));
    assert!(answers.iter().all(unreachable));
}

#[tokio::test]
async fn who_goes_away_while_a_connection_is_opened_leaves_that_to_the_next() {
    let ca = Ca::new().unwrap();
    let (listener, address) = silent_server().await;
    let world = World::new(&ca, address, "");
    let mut first = Box::pin(world.get("/watch", true));
    let mut second = Box::pin(world.get("/watch", true));
    let open = tokio::select! {
        biased;
        _ = &mut first => panic!("nobody answers"),
        _ = &mut second => panic!("nobody answers"),
        accepted = listener.accept() => accepted.unwrap(),
    };
    drop(first);
    tokio::select! {
        accepted = tokio::time::timeout(Duration::from_secs(5), listener.accept()) => {
            accepted.expect("the second opens one").unwrap();
        }
        _ = second => panic!("nobody answers"),
    }
    drop(open);
}

#[tokio::test]
async fn one_connection_that_cannot_be_opened_refuses_only_whom_the_others_do_not_serve() {
    let ca = Ca::new().unwrap();
    let tls = ca.server_config(&["localhost"], &["h2"]).unwrap();
    let (listener, address) = silent_server().await;
    let world = World::new(&ca, address, "");
    let count = limits::UPSTREAM_STREAMS_MAX + 20;
    let watches = futures_util::future::join_all((0..count).map(|_| world.get("/watch", true)));
    let serve = async {
        let (first, _) = listener.accept().await.unwrap();
        let (second, _) = listener.accept().await.unwrap();
        drop(first);
        // Until that was noticed nothing else happens.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let stream = TlsAcceptor::from(tls).accept(second).await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok(mut stream)) = connection.accept().await {
            reply(&mut stream, 200, "ok");
        }
    };
    let answers = tokio::select! {
        answers = tokio::time::timeout(Duration::from_secs(5), watches) => answers.unwrap(),
        () = serve => panic!("the connection ended"),
    };
    let served = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(served, limits::UPSTREAM_STREAMS_MAX);
}

#[tokio::test]
async fn where_http1_is_spoken_everyone_who_waits_opens_a_connection() {
    let ca = Ca::new().unwrap();
    let tls = ca.server_config(&["localhost"], &["http/1.1"]).unwrap();
    let (listener, address) = silent_server().await;
    TaskTracker::new().spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let tls = Arc::clone(&tls);
            TaskTracker::new().spawn(async move {
                let mut stream = TlsAcceptor::from(tls).accept(tcp).await.unwrap();
                let mut request = vec![0; 4096];
                assert!(stream.read(&mut request).await.unwrap() > 0);
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                stream.write_all(answer).await.unwrap();
                // Until the other side closes, or asks again.
                let _more = stream.read(&mut request).await;
            });
        }
    });
    let world = World::new(&ca, address, "");
    let gets = futures_util::future::join_all((0..100).map(|_| world.get("/short", false)));
    let answers = tokio::time::timeout(Duration::from_secs(5), gets).await;
    assert!(answers.unwrap().iter().all(Result::is_ok));
}
