#![expect(
    clippy::disallowed_methods,
    reason = "a test waits for its own tasks and made the bodies that it reads"
)]

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use super::*;

/// Content, and what came behind it.
type Read = (Vec<u8>, usize);

/// Reads an answer that arrives in pieces of `cut` bytes and then ends.
fn read(answer: &[u8], cut: usize) -> Result<Read, Http1Error> {
    let mut held = Vec::new();
    let mut content = BytesMut::new();
    let mut body: Option<Body> = None;
    let mut behind = 0;
    for mut piece in answer.chunks(cut) {
        if body.is_none() {
            let before = held.len();
            held.extend_from_slice(piece);
            let Some((head, length)) = Head::read(&held)? else {
                continue;
            };
            piece = &piece[length - before..];
            body = Some(head.body);
        }
        if let Some(body) = &mut body {
            behind += piece.len() - body.read(piece, &mut content)?;
        }
    }
    body.ok_or(Http1Error::Truncated)?.end()?;
    Ok((content.to_vec(), behind))
}

/// What hyper makes of the same bytes.
async fn oracle(answer: Vec<u8>) -> Option<Vec<u8>> {
    let (near, mut far) = tokio::io::duplex(answer.len() + 4096);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near))
        .await
        .ok()?;
    let driving = tokio::spawn(connection);
    let request = http::Request::get("/").header("host", "h");
    let response = sender.send_request(request.body(Empty::<Bytes>::new()).ok()?);
    let answering = async {
        // hyper takes no answer for granted that comes before its request.
        let mut request = [0; 256];
        tokio::io::AsyncReadExt::read(&mut far, &mut request)
            .await
            .ok()?;
        far.write_all(&answer).await.ok()?;
        far.shutdown().await.ok()
    };
    let (response, _) = tokio::join!(response, answering);
    let content = response.ok()?.into_body().collect().await;
    driving.abort();
    Some(content.ok()?.to_bytes().to_vec())
}

fn chunked(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

#[tokio::test]
async fn answers_read_the_same_at_every_cut_and_as_hyper_reads_them() {
    let long = "x".repeat(0x1a2);
    for (answer, content) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
            "hello",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "",
        ),
        (
            "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n\r\n".to_owned(),
            "\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\nuntil the end".to_owned(),
            "until the end",
        ),
        ("HTTP/1.0 200 OK\r\n\r\nold".to_owned(), "old"),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), ""),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n".to_owned(),
            "",
        ),
        (chunked("0\r\n\r\n"), ""),
        (
            chunked("5\r\nhello\r\n6\r\n\r\n0\r\n\r\r\n00\r\n\r\n"),
            "hello\r\n0\r\n\r",
        ),
        (
            chunked("1;a=b;c=\"d e\"\r\n1\r\nA \r\n0123456789\r\n000;x\r\n\r\n"),
            "10123456789",
        ),
        (chunked("2\r\nok\r\n0\r\nX-Check: 1\r\nY:\t2\r\n\r\n"), "ok"),
        (chunked(&format!("1A2\r\n{long}\r\n0\r\n\r\n")), &*long),
    ] {
        let expected = Ok((content.as_bytes().to_vec(), 0));
        for cut in 1..=answer.len() {
            assert_eq!(
                read(answer.as_bytes(), cut),
                expected,
                "{answer:?} at {cut}"
            );
        }
        let theirs = oracle(answer.clone().into_bytes()).await;
        assert_eq!(theirs.as_deref(), Some(content.as_bytes()), "{answer:?}");
    }
}

#[test]
fn what_comes_behind_an_answer_is_not_part_of_it() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n".to_owned(),
        chunked("2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
    ] {
        for cut in 1..=answer.len() {
            assert_eq!(read(answer.as_bytes(), cut), Ok((b"ok".to_vec(), 19)));
        }
    }
}

#[test]
fn b09_b12_answers_that_could_be_read_in_two_ways_are_refused_at_every_cut() {
    let extension = "e".repeat(HTTP1_ANSWER_EXTRA_BYTES_MAX + 1);
    let with = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    for answer in [
        with("Content-Length: 12\r\nTransfer-Encoding: chunked"),
        with("Content-Length: 12\r\nContent-Length: 12"),
        with("Content-Length: 12, 12"),
        with("Content-Length: +12"),
        with("Content-Length: -1"),
        with("Content-Length: 0x12"),
        with("Content-Length: 99999999999999999999"),
        with("Content-Length:"),
        with("Content-Length : 12"),
        with("Transfer-Encoding: gzip, chunked"),
        with("Transfer-Encoding: chunked, identity"),
        with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        with("Transfer-Encoding: xchunked"),
        with("X: a\r\n folded"),
        with("no colon"),
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        "HTTP/2.0 200 OK\r\n\r\n".to_owned(),
        "ICY 200 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 2000 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 099 OK\r\n\r\n".to_owned(),
        chunked("\r\nok\r\n0\r\n\r\n"),
        chunked(" 2\r\nok\r\n0\r\n\r\n"),
        chunked("+2\r\nok\r\n0\r\n\r\n"),
        chunked("0x2\r\nok\r\n0\r\n\r\n"),
        chunked("2\nok\r\n0\r\n\r\n"),
        chunked("2 2\r\nok\r\n0\r\n\r\n"),
        chunked("2;a\nb\r\nok\r\n0\r\n\r\n"),
        chunked("2;a\0\r\nok\r\n0\r\n\r\n"),
        chunked("2\r\nokay\r\n0\r\n\r\n"),
        chunked("3\r\nok\r\n0\r\n\r\n"),
        chunked("2\r\nok\n0\r\n\r\n"),
        chunked("2\r\nok\r\n0\r\n\n"),
        chunked("2\r\nok\r\n0\r\nX: 1\n\r\n"),
        chunked("2\r\nok\r\n0\r\nX: 1\r\r\n\r\n"),
        chunked("2\r\nok\r\n0\r\nno colon\r\n\r\n"),
        chunked("2\r\nok\r\n0\r\n: no name\r\n\r\n"),
        chunked("2\r\nok\r\n0\r\nX : 1\r\n\r\n"),
        chunked("10000000000000000\r\nok"),
        chunked(&format!("2;{extension}\r\nok\r\n0\r\n\r\n")),
        chunked(&format!("2\r\nok\r\n0\r\nX: {extension}\r\n\r\n")),
        // Cut short.
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok".to_owned(),
        chunked(""),
        chunked("2\r\nok"),
        chunked("2\r\nok\r\n"),
        chunked("2\r\nok\r\n0\r\n"),
        chunked("2\r\nok\r\n0\r\n\r"),
        "HTTP/1.1 200 OK\r\n".to_owned(),
    ] {
        for cut in (1..=answer.len().min(200)).chain([answer.len()]) {
            let read = read(answer.as_bytes(), cut);
            assert!(read.is_err(), "{answer:?} at {cut}: {read:?}");
        }
    }
}

#[test]
fn b53_a_head_has_its_bounds() {
    let endless = format!(
        "HTTP/1.1 200 OK\r\nX: {}",
        "x".repeat(UPSTREAM_HTTP1_BUFFER_BYTES_MAX)
    );
    assert_eq!(
        Head::read(endless.as_bytes()).err(),
        Some(Http1Error::TooLarge)
    );
    let lines = |count| format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: 1\r\n".repeat(count));
    assert!(Head::read(lines(HEADERS_MAX).as_bytes()).unwrap().is_some());
    let more = Head::read(lines(HEADERS_MAX + 1).as_bytes());
    assert_eq!(more.err(), Some(Http1Error::TooLarge));
}

#[test]
fn a_connection_is_kept_only_where_the_end_of_the_answer_is_known() {
    let keeps = |answer: &str| Head::read(answer.as_bytes()).unwrap().unwrap().0.keeps;
    assert!(keeps("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"));
    assert!(keeps(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n"
    ));
    assert!(!keeps(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, Close\r\n\r\n"
    ));
    assert!(!keeps("HTTP/1.1 200 OK\r\n\r\n"));
    assert!(!keeps("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n"));
}

fn answers() -> impl Strategy<Value = Vec<u8>> {
    let content = proptest::collection::vec(any::<u8>(), 0..40);
    let chunk = (
        proptest::collection::vec(any::<u8>(), 1..40),
        "(;[a-z=]{0,5})?",
    );
    let chunks = proptest::collection::vec(chunk, 0..5);
    prop_oneof![
        content.prop_map(|content| {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                content.len()
            );
            [head.as_bytes(), &content].concat()
        }),
        (chunks, "(X: [a-z]{0,5}\r\n)?").prop_map(|(chunks, trailer)| {
            let mut answer = chunked("").into_bytes();
            for (content, extension) in chunks {
                answer.extend(format!("{:x}{extension}\r\n", content.len()).bytes());
                answer.extend(content);
                answer.extend(b"\r\n");
            }
            answer.extend(format!("0\r\n{trailer}\r\n").bytes());
            answer
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_answer_is_taken_that_hyper_reads_differently(
        mut answer in answers(),
        change in proptest::option::of((any::<proptest::sample::Index>(), "[\r\n0-9a-f; :]")),
        cut in 1..30_usize,
    ) {
        if let Some((at, byte)) = &change {
            let at = at.index(answer.len() - 17) + 17;
            answer[at] = byte.as_bytes()[0];
        }
        let whole = read(&answer, usize::MAX);
        let pieces = read(&answer, cut);
        // Of two faults in the same bytes either may be found first.
        prop_assert!(pieces == whole || pieces.is_err() && whole.is_err(), "{whole:?} {pieces:?}");
        prop_assert!(change.is_some() || whole.is_ok());
        if let Ok((content, _)) = whole {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let theirs = runtime.block_on(oracle(answer));
            prop_assert!(change.is_some() || theirs.is_some());
            prop_assert_eq!(theirs.unwrap_or_else(|| content.clone()), content);
        }
    }
}
