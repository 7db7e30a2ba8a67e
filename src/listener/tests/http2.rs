use bytes::Bytes;
use h2::client::SendRequest;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A client at frame level, with its connection driven in the background.
async fn client(world: &World) -> SendRequest<Bytes> {
    let stream = world.connect(&["h2"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    TaskTracker::new().spawn(connection);
    sender.ready().await.unwrap()
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("https://localhost{path}"))
        .body(())
        .unwrap()
}

async fn status(
    client: &mut SendRequest<Bytes>,
    request: Request<()>,
) -> Result<StatusCode, h2::Error> {
    let (response, _) = client.send_request(request, true)?;
    let answered = timeout(SOON, response).await.expect("an answer");
    answered.map(|response| response.status())
}

/// Writes `frames` again and again; true if the connection is closed before `most` times.
async fn is_closed_by(world: &World, frames: &[u8], most: usize) -> bool {
    let stream = world.connect(&["h2"]).await;
    let (mut read, mut write) = tokio::io::split(stream);
    let mut reader = TaskTracker::new().spawn(async move {
        let mut bytes = [0; 4096];
        while let Ok(1..) = read.read(&mut bytes).await {}
    });
    let written = async {
        write.write_all(PREFACE).await?;
        write.write_all(&frame(4, 0, 0, &[])).await?;
        for _ in 0..most {
            write.write_all(frames).await?;
        }
        write.flush().await
    };
    let closed = timeout(SOON, written)
        .await
        .expect("writing does not hang")
        .is_err();
    // What was written may still be in a buffer when the end comes.
    closed || timeout(SOON, &mut reader).await.is_ok()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

#[tokio::test]
async fn requests_are_served_and_their_target_is_checked() {
    let world = World::new().await;
    let mut client = client(&world).await;
    assert_eq!(status(&mut client, get("/a")).await.unwrap(), 200);
    for uri in [
        "https://evil.example/a",
        "http://localhost/a",
        "https://root@localhost/a",
    ] {
        let request = Request::get(uri).body(()).unwrap();
        assert_eq!(status(&mut client, request).await.unwrap(), 400, "{uri}");
    }
    let mut mismatch = get("/a");
    mismatch
        .headers_mut()
        .insert("host", "other.example".parse().unwrap());
    assert_eq!(status(&mut client, mismatch).await.unwrap(), 400);
    let connect = Request::connect("localhost:443").body(()).unwrap();
    assert_ne!(
        status(&mut client, connect).await.ok(),
        Some(StatusCode::OK)
    );
    assert_eq!(world.seen(), ["GET /a"]);
    assert!(!client.is_extended_connect_protocol_enabled());
}

#[tokio::test]
async fn d03_a_stuck_stream_does_not_hold_up_its_neighbours() {
    let world = World::new().await;
    let mut client = client(&world).await;
    let (stuck, _) = client.send_request(get("/watch"), true).unwrap();
    let stuck = timeout(SOON, stuck).await.unwrap().unwrap();
    let sender = world.watches.lock()[0].clone();
    let big: &'static str = Box::leak("x".repeat(64 * 1024).into_boxed_str());
    let mut sent = 0;
    while timeout(Duration::from_millis(200), sender.send(big))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 100, "back-pressure reaches the handler");
    }
    assert_eq!(status(&mut client, get("/a")).await.unwrap(), 200);
    drop(stuck);
}

#[tokio::test]
async fn d04_rapid_reset_is_bounded_and_ends_the_work() {
    let world = World::new().await;
    let mut bystander = client(&world).await;
    // HEADERS for GET https://localhost/never, then RST_STREAM, on ever new streams.
    let mut block = vec![0x82, 0x87, 0x04, 0x06];
    block.extend_from_slice(b"/never");
    block.extend_from_slice(&[0x01, 0x09]);
    block.extend_from_slice(b"localhost");
    let mut flood = Vec::new();
    for stream in (1..20_000).step_by(2) {
        flood.extend(frame(1, 5, stream, &block));
        flood.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    assert!(is_closed_by(&world, &flood, 1).await);
    world.wait_open(0).await;
    let asked = world.seen().len();
    assert!(
        asked <= limits::CONTROL_FRAMES_BURST as usize + 1,
        "{asked} reached the handler"
    );
    assert_eq!(status(&mut bystander, get("/a")).await.unwrap(), 200);
}

#[tokio::test]
async fn d04_made_you_reset_is_bounded() {
    let world = World::new().await;
    let mut bystander = client(&world).await;
    let mut block = vec![0x82, 0x87, 0x04, 0x06];
    block.extend_from_slice(b"/never");
    block.extend_from_slice(&[0x01, 0x09]);
    block.extend_from_slice(b"localhost");
    let mut flood = Vec::new();
    for stream in (1..4_000).step_by(2) {
        flood.extend(frame(1, 5, stream, &block));
        flood.extend(frame(8, 0, stream, &[0; 4])); // WINDOW_UPDATE of zero: we must reset
    }
    assert!(is_closed_by(&world, &flood, 1).await);
    world.wait_open(0).await;
    assert!(
        world.seen().len() < 1000,
        "{} reached the handler",
        world.seen().len()
    );
    assert_eq!(status(&mut bystander, get("/a")).await.unwrap(), 200);
}

#[tokio::test]
async fn d05_a_header_block_that_never_ends_closes_the_connection() {
    let world = World::new().await;
    let mut bystander = client(&world).await;
    let mut start = frame(1, 1, 1, &[0x82]);
    let mut line = vec![0x00, 0x01, b'a', 0x7f, 0x81, 0x1e]; // a literal of 4096 bytes
    line.resize(line.len() + 4096, b'x');
    for _ in 0..2_000 {
        start.extend(frame(9, 0, 1, &line));
    }
    assert!(
        is_closed_by(&world, &start, 1).await,
        "CONTINUATION frames with content"
    );
    let mut start = frame(1, 1, 1, &[0x82]);
    for _ in 0..20_000 {
        start.extend(frame(9, 0, 1, &[]));
    }
    assert!(
        is_closed_by(&world, &start, 1).await,
        "empty CONTINUATION frames"
    );
    assert_eq!(status(&mut bystander, get("/a")).await.unwrap(), 200);
    assert_eq!(world.seen(), ["GET /a"]);
}

#[tokio::test]
async fn d06_floods_of_control_frames_close_the_connection() {
    let world = World::new().await;
    let mut bystander = client(&world).await;
    for (name, flood) in [
        ("PING", frame(6, 0, 0, &[0; 8])),
        ("SETTINGS", frame(4, 0, 0, &[])),
        ("PRIORITY", frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        ("unknown", frame(0x0d, 0, 0, b"x")),
    ] {
        assert!(is_closed_by(&world, &flood, 5_000).await, "{name}");
        assert_eq!(
            status(&mut bystander, get("/a")).await.unwrap(),
            200,
            "{name}"
        );
    }
}

#[tokio::test]
async fn b53_header_lists_are_bounded() {
    let world = World::new().await;
    let mut client = client(&world).await;
    let mut request = get("/a");
    let value = "a".repeat(20_000).parse().unwrap();
    request.headers_mut().insert("x-large", value);
    match status(&mut client, request).await {
        Ok(status) => assert_eq!(status, 431),
        Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
    }
    assert_eq!(world.seen(), [""; 0]);
}

#[tokio::test]
async fn a_client_that_resets_ends_its_request() {
    let world = World::new().await;
    let mut client = client(&world).await;
    let (response, _) = client.send_request(get("/watch"), true).unwrap();
    let response = timeout(SOON, response).await.unwrap().unwrap();
    world.wait_open(1).await;
    drop(response);
    world.wait_open(0).await;
}

#[tokio::test]
async fn e11_drain_says_goaway_and_lets_streams_end() {
    let world = World::new().await;
    let mut client = client(&world).await;
    let (response, _) = client.send_request(get("/watch"), true).unwrap();
    let mut body = timeout(SOON, response).await.unwrap().unwrap().into_body();
    let watches: Vec<_> = std::mem::take(&mut *world.watches.lock());
    world.shutdown.cancel();
    let refused = async {
        loop {
            if status(&mut client, get("/late")).await.is_err() {
                return;
            }
        }
    };
    timeout(SOON, refused).await.expect("no new streams");
    watches[0].send("last\n").await.unwrap();
    drop(watches);
    let mut text = Vec::new();
    while let Some(data) = timeout(SOON, body.data()).await.expect("it ends") {
        text.extend_from_slice(&data.expect("a clean end"));
    }
    assert_eq!(text, b"last\n");
    drop(client);
    world.all_ended().await;
}

#[tokio::test]
async fn d02_bodies_that_nobody_reads_wait_within_the_windows() {
    let world = World::new().await;
    let mut client = client(&world).await;
    let mut open = Vec::new();
    let mut all = 0;
    for number in 0..6_usize {
        let request = Request::post("https://localhost/never").body(()).unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        let mut sent = 0;
        loop {
            body.reserve_capacity(1 << 20);
            let room = std::future::poll_fn(|cx| body.poll_capacity(cx));
            let Ok(Some(Ok(room))) = timeout(Duration::from_millis(300), room).await else {
                break;
            };
            body.send_data(vec![0; room].into(), false).unwrap();
            sent += room;
            assert!(sent <= limits::LISTENER_STREAM_WINDOW as usize, "{sent}");
        }
        if number == 0 {
            assert_eq!(sent, limits::LISTENER_STREAM_WINDOW as usize);
        }
        all += sent;
        open.push((response, body));
    }
    assert_eq!(all, limits::LISTENER_CONNECTION_WINDOW as usize);
    // Who sends no body is not held up by those who do.
    assert_eq!(status(&mut client, get("/a")).await.unwrap(), 200);
    drop(open);
    world.wait_open(0).await;
}
