//! What only time ends, on a paused clock and without sockets.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::time::{Instant, sleep};

use super::*;
use crate::listener::guard::Guard;

const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_BYTES: usize = 1024;

#[tokio::test(start_paused = true)]
async fn d03_a_peer_that_takes_nothing_is_let_go_after_its_time() {
    let (ours, theirs) = duplex(64);
    let (mut guard, _) = Guard::http1(ours, (), HEAD_BYTES, HEAD_TIMEOUT);
    let begun = Instant::now();
    let error = guard.write_all(&[0; 65]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let waited = begun.elapsed();
    assert!(waited >= limits::LISTENER_WRITE_TIMEOUT, "{waited:?}");
    assert!(
        waited < limits::LISTENER_WRITE_TIMEOUT + HEAD_TIMEOUT,
        "{waited:?}"
    );
    drop(theirs);
}

#[tokio::test(start_paused = true)]
async fn d03_a_peer_that_takes_little_is_kept() {
    let (ours, mut theirs) = duplex(64);
    let (mut guard, _) = Guard::http1(ours, (), HEAD_BYTES, HEAD_TIMEOUT);
    let begun = Instant::now();
    let read = async {
        for _ in 0..10 {
            sleep(limits::LISTENER_WRITE_TIMEOUT.mul_f64(0.9)).await;
            theirs.read_u8().await.unwrap();
        }
    };
    let write = guard.write_all(&[0; 74]);
    let ((), written) = tokio::join!(read, write);
    written.unwrap();
    assert!(begun.elapsed() > limits::LISTENER_WRITE_TIMEOUT * 5);
}

#[tokio::test(start_paused = true)]
async fn d01_every_head_has_its_time_and_silence_between_them_is_free() {
    let (ours, mut theirs) = duplex(4096);
    let (mut guard, refused) = Guard::http1(ours, (), HEAD_BYTES, HEAD_TIMEOUT);
    let head = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut got = vec![0; head.len()];
    for _ in 0..3 {
        let ask = async {
            theirs.write_all(&head[..5]).await.unwrap();
            sleep(HEAD_TIMEOUT.mul_f64(0.9)).await;
            theirs.write_all(&head[5..]).await.unwrap();
        };
        let ((), read) = tokio::join!(ask, guard.read_exact(&mut got));
        read.unwrap();
        assert_eq!(got, head);
        let silence = timeout(HEAD_TIMEOUT * 5, guard.read_u8()).await;
        assert!(silence.is_err(), "the guard ends no idle connection");
    }
    theirs.write_all(&head[..5]).await.unwrap();
    let begun = Instant::now();
    let mut stand_in = String::new();
    let read = guard.read_to_string(&mut stand_in);
    assert!(
        timeout(HEAD_TIMEOUT * 2, read).await.is_err(),
        "nothing follows"
    );
    assert_eq!(refused.why(), Some(Unreadable::TooSlow));
    assert!(begun.elapsed() >= HEAD_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn d01_a_connection_without_a_byte_ends_without_an_answer() {
    let (ours, theirs) = duplex(4096);
    let (mut guard, refused) = Guard::http1(ours, (), HEAD_BYTES, HEAD_TIMEOUT);
    let error = guard.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(refused.why(), None);
    drop(theirs);
}

#[tokio::test(start_paused = true)]
async fn b13_what_follows_a_refusal_is_dropped_for_a_moment_and_within_a_bound() {
    for (bytes_each, pause) in [
        (1, limits::LISTENER_FAREWELL / 10),
        (64 * 1024, Duration::from_millis(1)),
    ] {
        let (ours, mut theirs) = duplex(64 * 1024);
        let (mut guard, refused) = Guard::http1(ours, (), HEAD_BYTES, HEAD_TIMEOUT);
        theirs.write_all(b"nonsense\r\n\r\n").await.unwrap();
        guard.read_u8().await.unwrap();
        assert!(refused.why().is_some());
        let begun = Instant::now();
        let mut sent = 0;
        let flood = async {
            let bytes = vec![b'x'; bytes_each];
            while theirs.write_all(&bytes).await.is_ok() {
                sent += bytes_each;
                sleep(pause).await;
            }
        };
        tokio::select! {
            shut = guard.shutdown() => shut.unwrap(),
            () = flood => {}
        }
        assert!(begun.elapsed() <= limits::LISTENER_FAREWELL * 2);
        assert!(
            sent <= limits::LISTENER_FAREWELL_BYTES + 128 * 1024,
            "{sent}"
        );
    }
}
