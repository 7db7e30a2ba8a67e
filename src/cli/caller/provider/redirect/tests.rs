use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const STATE: &str = "the-state";
const ISSUER: &str = "https://issuer.test";

#[tokio::test]
async fn the_answer_to_this_login_gives_its_code() {
    let (port, waiting) = start(true).await;
    let good = format!("/callback?{}", query("a code"));
    let answer = get(port, &good).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for header in ["no-store", "no-referrer", "default-src 'none'"] {
        assert!(answer.contains(header), "{answer}");
    }
    assert!(
        !answer.contains("a code") && !answer.contains(STATE),
        "{answer}"
    );
    assert_eq!(waiting.await.unwrap().unwrap(), "a code");
}

#[tokio::test]
async fn what_a_malicious_page_sends_does_not_end_the_login() {
    let (port, waiting) = start(true).await;
    let good = query("code");
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    let strays = [
        format!("POST /callback?{good} HTTP/1.1\r\n{host}Content-Length: 0\r\n\r\n"),
        format!("GET /callback?{good} HTTP/1.1\r\nHost: evil.test:{port}\r\n\r\n"),
        format!("GET /callback?{good} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
        format!("GET /callback?{good} HTTP/1.0\r\n\r\n"),
        format!("GET /favicon.ico HTTP/1.1\r\n{host}\r\n"),
        format!("GET /?{good} HTTP/1.1\r\n{host}\r\n"),
        format!(
            "GET /callback?{} HTTP/1.1\r\n{host}\r\n",
            good.replace(STATE, "wrong")
        ),
        format!("GET /callback?code=x HTTP/1.1\r\n{host}\r\n"),
        format!("GET /callback?error=access_denied HTTP/1.1\r\n{host}\r\n"),
        format!("GET /callback?{good}&code=other HTTP/1.1\r\n{host}\r\n"),
        format!("GET /callback?{good}&state=other HTTP/1.1\r\n{host}\r\n"),
        format!("GET /callback?{good}&error=x HTTP/1.1\r\n{host}\r\n"),
        format!("GET /callback?{good}&x=%ff HTTP/1.1\r\n{host}\r\n"),
        format!("GET /callback?{good}&x=%2 HTTP/1.1\r\n{host}\r\n"),
        format!("GET /callback?state={STATE}&iss={ISSUER}&code= HTTP/1.1\r\n{host}\r\n"),
    ];
    for stray in strays {
        let answer = exchange(port, stray.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.0 400"),
            "{stray}: {answer}"
        );
        assert!(!waiting.is_finished(), "{stray}");
    }
    exchange(port, b"\x16\x03\x01 nonsense\r\n\r\n").await;
    let idle = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    get(port, &format!("/callback?{good}")).await;
    assert_eq!(waiting.await.unwrap().unwrap(), "code");
    drop(idle);
}

#[tokio::test]
async fn an_answer_of_another_provider_ends_the_login() {
    for (told, query) in [
        (true, query("code").replace("issuer.test", "evil.test")),
        (false, query("code").replace("issuer.test", "evil.test")),
        (true, format!("state={STATE}&code=code")),
    ] {
        let (port, waiting) = start(told).await;
        get(port, &format!("/callback?{query}")).await;
        assert!(waiting.await.unwrap().is_err(), "{told} {query}");
    }
    let (port, waiting) = start(false).await;
    get(port, &format!("/callback?state={STATE}&code=code")).await;
    assert!(
        waiting.await.unwrap().is_ok(),
        "a provider that never names itself"
    );
}

#[tokio::test]
async fn a_refusal_is_told_without_anything_that_acts_on_a_terminal() {
    let (port, waiting) = start(false).await;
    let query =
        format!("state={STATE}&error=access_denied&error_description=no%1b%5d0;title%07+%c2%9b31m");
    get(port, &format!("/callback?{query}")).await;
    let error = waiting.await.unwrap().err().unwrap().to_string();
    assert!(
        error.contains("access_denied") && error.contains("title"),
        "{error}"
    );
    assert!(!error.contains(char::is_control), "{error:?}");
}

#[tokio::test]
async fn the_port_and_the_path_are_those_that_were_given() {
    for (given, expected) in [
        (
            "http://127.0.0.1/callback",
            "http://127.0.0.1:PORT/callback",
        ),
        ("http://127.0.0.1", "http://127.0.0.1:PORT"),
        ("http://localhost/", "http://localhost:PORT/"),
        ("http://[::1]/x/y", "http://[::1]:PORT/x/y"),
    ] {
        let listening = Listening::at(given).await.unwrap();
        let port = listening.port().to_string();
        assert_eq!(listening.uri(), expected.replace("PORT", &port));
    }
    let taken = Listening::at("http://127.0.0.1").await.unwrap();
    let error = Listening::at(taken.uri()).await.err().unwrap().to_string();
    assert!(error.contains("--redirect-uri"), "{error}");
}

type Waiting = tokio::task::JoinHandle<anyhow::Result<String>>;

#[expect(clippy::disallowed_methods, reason = "a test has no tracker")]
async fn start(issuer_is_told: bool) -> (u16, Waiting) {
    let listening = Listening::at("http://127.0.0.1/callback").await.unwrap();
    let port = listening.port();
    let awaited = Awaited {
        state: STATE,
        issuer: ISSUER,
        issuer_is_told,
    };
    (port, tokio::spawn(listening.code(awaited)))
}

fn query(code: &str) -> String {
    let code = code.replace(' ', "%20");
    format!("code={code}&state={STATE}&iss=https%3A%2F%2Fissuer.test")
}

async fn get(port: u16, target: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    exchange(port, request.as_bytes()).await
}

async fn exchange(port: u16, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}
