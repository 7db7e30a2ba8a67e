use super::*;
use crate::limits;

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
