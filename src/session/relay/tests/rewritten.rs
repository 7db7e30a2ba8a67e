//! What a relay adds to filters: the time that passes, and the ends of sessions.

use super::*;
use crate::session::filter::tests::toys;

/// Plays a session whose output is masked.
async fn play_masked<T>(
    session: Session,
    tap: &mut dyn Tap,
    peers: impl AsyncFnOnce(DuplexStream, DuplexStream, oneshot::Sender<Ending>) -> T,
) -> (SessionReport, T) {
    play_with(session, Some(toys()), tap, peers).await
}

fn v5() -> Session {
    websocket("v5.channel.k8s.io", false)
}

fn out(bytes: &str) -> Vec<u8> {
    message(&[b"\x01", bytes.as_bytes()].concat(), None)
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_begins_like_a_value_leaves_after_20_ms() {
    play_masked(v5(), &mut NoTap, async |mut client, mut server, _end| {
        let started = Instant::now();
        server.write_all(&out("$ hunter2")).await.unwrap();
        expect(&mut client, &out("$ ")).await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        // A busy stderr neither waits nor makes others wait.
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(4)).await;
            let busy = message(b"\x02busy", None);
            server.write_all(&busy).await.unwrap();
            expect(&mut client, &busy).await;
        }
        expect(&mut client, &out("hunter2")).await;
        assert_eq!(started.elapsed(), Duration::from_millis(20));
        // It costs nothing while nothing is held back, and the next one waits as long.
        tokio::time::sleep(Duration::from_mins(1)).await;
        let again = Instant::now();
        server.write_all(&out("hunter2hunter")).await.unwrap();
        expect(&mut client, &out("hunter2hunter")).await;
        assert_eq!(again.elapsed(), Duration::from_millis(20));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_value_that_comes_within_20_ms_is_masked() {
    let (report, ()) = play_masked(v5(), &mut NoTap, async |mut client, mut server, _end| {
        server.write_all(&out("hunter2")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(19)).await;
        server.write_all(&out("hunter2")).await.unwrap();
        expect(&mut client, &out("[masked]")).await;
        drop(server);
        assert_eq!(rest(&mut client).await, b"");
    })
    .await;
    assert_eq!(report.bytes.stdout, 8, "what passed is counted");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_does_not_cut_values_apart() {
    let (report, ()) = play_masked(v5(), &mut NoTap, async |mut client, mut server, _end| {
        let writing = async {
            // The pipe to the client is full when half a value is held back, and stays so for long.
            for text in [
                "x".repeat(4000),
                "x".repeat(2000) + "hunter2",
                "hunter2\n".to_owned(),
            ] {
                server.write_all(&out(&text)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            drop(server);
        };
        let reading = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            rest(&mut client).await
        };
        let ((), read) = tokio::join!(writing, reading);
        let read = String::from_utf8_lossy(&read).into_owned();
        assert!(read.contains("[masked]\n") && !read.contains("hunter2"));
    })
    .await;
    assert_eq!(report.bytes.stdout, 6000 + 8 + 1);
}

#[tokio::test(start_paused = true)]
async fn a26_what_is_held_back_goes_before_the_farewell() {
    play_masked(v5(), &mut NoTap, async |mut client, mut server, end| {
        // Within a message of the server: the client has got whole ones all the same.
        let sent = out("$ hunter2h and more");
        server.write_all(&sent[..2 + 1 + 10]).await.unwrap();
        expect(&mut client, &out("$ ")).await;
        end.send(expired()).unwrap();
        let expected = [
            out("hunter2h"),
            message(b"\x02\nyour token has expired\n", None),
            message(&[b"\x03", EXPIRED_STATUS.as_bytes()].concat(), None),
            close(CLOSE_NORMAL, "", None),
        ];
        assert_eq!(rest(&mut client).await, expected.concat());
        rest(&mut server).await;
    })
    .await;
    let session = Session::new(streams(true), Protocol::Spdy(Version::V4));
    play_masked(session, &mut NoTap, async |mut client, mut server, end| {
        open_spdy(&mut client, &mut server, &["error", "stdin", "stdout"]).await;
        let (mut sent, mut prompt) = (Vec::new(), Vec::new());
        put_data(&mut sent, 5, false, b"$ hunter2h and more");
        put_data(&mut prompt, 5, false, b"$ ");
        server.write_all(&sent[..8 + 10]).await.unwrap();
        expect(&mut client, &prompt).await;
        end.send(expired()).unwrap();
        let mut expected = Vec::new();
        put_data(&mut expected, 5, false, b"hunter2h");
        put_data(&mut expected, 5, false, b"\r\nyour token has expired\r\n");
        put_data(&mut expected, 1, true, EXPIRED_STATUS.as_bytes());
        put_data(&mut expected, 5, true, b"");
        put_goaway(&mut expected, 5, frame::GOAWAY_OK);
        assert_eq!(rest(&mut client).await, expected);
        rest(&mut server).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_status_that_has_passed_is_the_only_one() {
    play_masked(v5(), &mut NoTap, async |mut client, mut server, end| {
        let status = message(br#"{"status":"Success"}"#, None);
        let status = [&[0x82, 21, 3], &status[2..]].concat();
        // Half of it is no status yet; the gateway's own takes its place.
        server.write_all(&status[..12]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        end.send(expired()).unwrap();
        let told = String::from_utf8_lossy(&rest(&mut client).await).into_owned();
        assert!(
            told.contains(EXPIRED_STATUS) && !told.contains("Success"),
            "{told}"
        );
        rest(&mut server).await;
    })
    .await;
    play_masked(v5(), &mut NoTap, async |mut client, mut server, end| {
        let status = message(b"\x03{\"status\":\"Success\"}", None);
        server.write_all(&status).await.unwrap();
        expect(&mut client, &status).await;
        end.send(expired()).unwrap();
        assert_eq!(rest(&mut client).await, close(CLOSE_NORMAL, "", None));
        rest(&mut server).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_leaves_when_the_server_is_gone() {
    let (report, ()) = play_masked(v5(), &mut NoTap, async |mut client, mut server, _end| {
        let input = message(b"\x00hunter2hunter2", MASK);
        client.write_all(&input).await.unwrap();
        expect(&mut server, &input).await;
        server.write_all(&out("hunter2")).await.unwrap();
        drop(server);
        assert_eq!(rest(&mut client).await, out("hunter2"));
    })
    .await;
    assert_eq!((report.bytes.stdin, report.bytes.stdout), (14, 7));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_does_not_pass_unrecorded() {
    // One read is recorded; then the time to release comes and nothing can be.
    let mut tap = FailingTap(1);
    let (report, ()) = play_masked(v5(), &mut tap, async |mut client, mut server, _end| {
        server.write_all(&out("hunter2")).await.unwrap();
        let told = String::from_utf8_lossy(&rest(&mut client).await).into_owned();
        assert!(
            told.contains("no longer can be") && !told.contains("hunter2"),
            "{told}"
        );
        rest(&mut server).await;
    })
    .await;
    assert_eq!(report.reason, EndReason::RecorderFailed);
    assert_eq!(report.bytes.stdout, 0);
}
