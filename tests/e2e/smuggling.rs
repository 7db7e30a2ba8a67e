//! HTTP/1.1 that two servers in a row could read in two ways (threats B-09 to B-13, B-53, D-01): each
//! form gets a `Status`, one audit event and a closed connection, and the API server sees none of it.

use std::time::Duration;

use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::world::{Caller, World};

/// What follows every refused request, and must never be carried out.
const SMUGGLED: &str = "/api/v1/namespaces/default/pods/smuggled";

/// The threat, the head behind the request line's method and path, and what the refusal says of it.
const FORMS: &[(&str, &str, &str)] = &[
    (
        "b09",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "exclude each other",
    ),
    (
        "b09",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "exclude each other",
    ),
    (
        "b10",
        "Content-Length: 4\r\nContent-Length: 4",
        "more than one Content-Length",
    ),
    (
        "b10",
        "Content-Length: 4\r\nContent-Length: 5",
        "more than one Content-Length",
    ),
    ("b10", "Content-Length: 4, 4", "not one plain number"),
    ("b10", "Content-Length: +4", "not one plain number"),
    ("b10", "Content-Length: -4", "not one plain number"),
    ("b10", "Content-Length: 0x4", "not one plain number"),
    (
        "b10",
        "Content-Length: 99999999999999999999",
        "not one plain number",
    ),
    (
        "b11",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked",
    ),
    (
        "b11",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked",
    ),
    (
        "b11",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked",
    ),
    (
        "b11",
        "Transfer-Encoding: \x0bchunked",
        "control characters",
    ),
    ("b13", "A: b\r\n folded", "a header"),
    (
        "b13",
        "A: b\nImpersonate-User: root",
        "does not end in CRLF",
    ),
    ("b13", "A: b\rImpersonate-User: root", "control characters"),
    ("b13", "A: b\0c", "control characters"),
    (
        "b13",
        "Impersonate-User : root",
        "a header name is not plain",
    ),
    (
        "b13",
        "Impersonate\u{2010}User: root",
        "a header name is not plain",
    ),
    ("b13", "no colon", "no colon"),
    ("b13", "Host: 127.0.0.1", "exactly one Host"),
];

/// The same for whole requests.
const REQUESTS: &[(&str, &str, &str)] = &[
    (
        "b13",
        "GET /version HTTP/1.1\nHost: 127.0.0.1\n\n",
        "does not end in CRLF",
    ),
    (
        "b13",
        " GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "three parts",
    ),
    (
        "b13",
        "GET  /version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "three parts",
    ),
    (
        "b13",
        "get /version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "method",
    ),
    ("b13", "GET /version\r\n\r\n", "three parts"),
    (
        "b13",
        "GET /version HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n",
        "only HTTP/1.1",
    ),
    ("b13", "GET /version HTTP/1.1\r\n\r\n", "exactly one Host"),
    (
        "b13",
        "CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: 127.0.0.1:443\r\n\r\n",
        "method",
    ),
    ("b13", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "only HTTP/1.1"),
    (
        "b13",
        "\u{16}\u{3}\u{1}\0\n\r\n\r\n",
        "does not end in CRLF",
    ),
];

/// Writes bytes on a connection of their own and reads until the gateway closes it.
fn raw(world: &World, bytes: &[u8]) -> String {
    world.runtime().block_on(async {
        let address = world.url().replace("https://", "");
        let tcp = TcpStream::connect(address).await.unwrap();
        let tls = TlsConnector::from(world.ca.client_config(&["http/1.1"]).unwrap());
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = tls.connect(name, tcp).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let closed = tokio::time::timeout(Duration::from_secs(20), read).await;
        closed.expect("the gateway closes the connection").unwrap();
        String::from_utf8(answer).unwrap()
    })
}

/// The one refusal in `answer`, as a `Status`.
#[track_caller]
fn status(answer: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status: Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    assert_eq!(status["kind"], "Status", "{answer}");
    assert!(
        head.starts_with(&format!("HTTP/1.1 {}", status["code"])),
        "{answer}"
    );
    status
}

/// The events that were written since there were `before`.
fn told(world: &World, before: usize) -> Vec<Value> {
    world.audit().split_off(before)
}

#[test]
fn b09_to_b13_each_form_is_answered_audited_and_closed() {
    let world = World::start();
    let token = world.token(Caller::OnCall);
    let behind = format!(
        "GET {SMUGGLED} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let mut forms: Vec<(&str, String, &str)> = FORMS
        .iter()
        .map(|(threat, headers, why)| {
            let head = format!("POST {SMUGGLED} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n{headers}\r\n\r\n");
            (*threat, head, *why)
        })
        .collect();
    forms.extend(
        REQUESTS
            .iter()
            .map(|(threat, request, why)| (*threat, (*request).to_owned(), *why)),
    );
    for (threat, form, why) in &forms {
        let before = world.audit().len();
        let answer = raw(&world, format!("{form}{behind}").as_bytes());
        let status = status(&answer);
        assert_eq!(
            (&status["code"], &status["reason"]),
            (&400.into(), &"BadRequest".into()),
            "{threat} {form:?}"
        );
        let message = status["message"].as_str().unwrap();
        assert!(
            message.contains("not canonical HTTP/1.1") && message.contains(why),
            "{threat} {form:?}: {message}"
        );
        let told = told(&world, before);
        assert_eq!(told.len(), 1, "{threat} {form:?}: {told:?}");
        let event = &told[0];
        assert_eq!(
            event["responseStatus"],
            serde_json::json!({"code": 400, "reason": "BadRequest", "message": message})
        );
        assert_eq!(event["annotations"]["portcullis.dev/decision"], "refuse");
        assert_eq!(event["sourceIPs"], serde_json::json!(["127.0.0.1"]));
        assert_eq!(
            (&event["user"], &event["requestURI"]),
            (&serde_json::json!({}), &"".into()),
            "nothing of it is believed"
        );
    }
    let counted = format!(
        "portcullis_unreadable_requests_total{{reason=\"not-canonical\"}} {}",
        forms.len()
    );
    assert!(world.control("/metrics").contains(&counted), "{counted}");
    let reached: Vec<_> = world.api_server.requests();
    let reached: Vec<_> = reached
        .iter()
        .map(|seen| seen.uri.path().to_owned())
        .collect();
    assert!(!reached.iter().any(|path| path == SMUGGLED), "{reached:?}");
}

#[test]
fn b12_a_body_whose_chunks_are_not_plain_is_refused_as_what_it_was() {
    let world = World::start();
    let token = world.token(Caller::Developer);
    for (chunks, why) in [
        ("2;a=b\r\n{}\r\n0\r\n\r\n", "size is not plain"),
        ("2\n{}\n0\n\n", "size is not plain"),
        (
            "2\r\n{}\r\n0\r\nImpersonate-User: root\r\n\r\n",
            "trailers are not accepted",
        ),
        ("1\r\n{}\r\n0\r\n\r\n", "does not end where its size says"),
    ] {
        let before = world.audit().len();
        let request = format!(
            "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}GET {SMUGGLED} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        );
        let status = status(&raw(&world, request.as_bytes()));
        assert_eq!(status["code"], 400);
        assert!(
            status["message"].as_str().unwrap().contains(why),
            "{chunks:?}: {status}"
        );
        let told = told(&world, before);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(
            (&told[0]["user"]["username"], &told[0]["verb"]),
            (&"dora".into(), &"create".into())
        );
    }
    let reached = world.api_server.requests();
    assert!(
        reached
            .iter()
            .all(|seen| !seen.uri.path().contains("configmaps") && seen.uri.path() != SMUGGLED)
    );
}

#[test]
fn b53_d01_heads_that_are_too_large_or_too_slow_are_told_so_and_audited() {
    let world = World::start();
    let large = format!(
        "GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\nA: {}\r\n\r\n",
        "a".repeat(100_000)
    );
    let many = format!(
        "GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\n{}\r\n",
        "A: b\r\n".repeat(200)
    );
    for (form, code) in [
        (large.as_str(), 431),
        (&many, 431),
        ("GET /version HTTP/1.1\r\nHost: 127.0", 408),
    ] {
        let before = world.audit().len();
        let status = status(&raw(&world, form.as_bytes()));
        assert_eq!(status["code"], code);
        let told = told(&world, before);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["responseStatus"]["message"], status["message"]);
    }
    let metrics = world.control("/metrics");
    for counted in ["too-large\"} 2", "too-slow\"} 1"] {
        assert!(
            metrics.contains(&format!(
                "portcullis_unreadable_requests_total{{reason=\"{counted}"
            )),
            "{metrics}"
        );
    }
}
