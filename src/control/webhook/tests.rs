//! Messages, their signature, and who does not take them.

#![expect(clippy::disallowed_methods, reason = "a test waits for its own tasks")]

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::approval::ledger::Held;
use crate::approval::state::tests::{person, terms};
use crate::approval::{Asked, Digest, Shown, State, Store, Verdict};
use crate::metrics::Metrics;

fn approval(name: &str) -> Approval {
    let at = Timestamp::UNIX_EPOCH;
    let shown = Shown {
        verb: "delete".to_owned(),
        resource: "pods".to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        target: "/api/v1/namespaces/shop/pods/web?note=SECRET".to_owned(),
        claimed_command: "kubectl delete SECRET".to_owned(),
        session_command: vec!["SECRET".to_owned()],
        body: "SECRET".to_owned(),
        ..Shown::default()
    };
    Approval {
        id: "k3mzp4qa7x".to_owned(),
        caller: person("alice", &[]),
        cluster: "demo".to_owned(),
        rule: "p/r".to_owned(),
        message: Some("why".to_owned()),
        terms: terms(1, None),
        class: Digest::of(&[]),
        command: None,
        grant: None,
        requests: vec![Asked {
            digest: Digest::of(&[]),
            at,
            shown,
            used_by: None,
        }],
        asked: at,
        expires: Timestamp::MAX,
        state: State::Asked,
        answers: Vec::new(),
    }
}

fn places(console: bool) -> Places {
    Places {
        server: "https://p.test".to_owned(),
        console,
    }
}

/// Where a message leads: what is pressed or followed in it.
fn link(format: Format, message: &Value) -> Value {
    match format {
        Format::Json => message["console"].clone(),
        Format::Slack => message["blocks"][1]["text"]["text"].clone(),
        Format::Teams => message["attachments"][0]["content"]["actions"][0]["url"].clone(),
    }
}

#[test]
fn messages_lead_to_the_console_where_there_is_one() {
    let page = "https://p.test/console/approvals/k3mzp4qa7x";
    for (format, expected) in [
        (Format::Json, page.to_owned()),
        (
            Format::Slack,
            format!("<{page}|Approval k3mzp4qa7x in the console>"),
        ),
        (Format::Teams, page.to_owned()),
    ] {
        for console in [true, false] {
            let message = message::body(format, &approval("web"), &places(console));
            let message: Value = serde_json::from_str(&message).unwrap();
            let expected = if console {
                expected.clone().into()
            } else {
                Value::Null
            };
            assert_eq!(link(format, &message), expected, "{format:?}");
        }
    }
}

#[test]
fn h_08_messages_name_the_request_and_hold_nothing_of_its_content() {
    for format in [Format::Json, Format::Slack, Format::Teams] {
        let text = message::body(format, &approval("web"), &places(true));
        let _json: Value = serde_json::from_str(&text).unwrap();
        for part in [
            "k3mzp4qa7x",
            "alice",
            "delete",
            "pods",
            "shop",
            "https://p.test",
        ] {
            assert!(text.contains(part), "{format:?} {part}: {text}");
        }
        assert!(!text.contains("SECRET"), "{text}");
    }
}

#[test]
fn h_08_names_ping_nobody_mark_nothing_up_and_hide_nothing() {
    let name = "<!channel> *x* [a](https://evil.test) \u{202e}\u{1b}[2J\n& end";
    let slack = message::body(Format::Slack, &approval(name), &places(true));
    let slack: Value = serde_json::from_str(&slack).unwrap();
    let text = slack["text"].as_str().unwrap();
    assert!(
        text.contains("&lt;!channel&gt;") && text.contains("&amp; end"),
        "{text}"
    );
    assert_eq!(slack["blocks"][0]["text"]["type"], "plain_text");
    let teams = message::body(Format::Teams, &approval(name), &places(true));
    let teams: Value = serde_json::from_str(&teams).unwrap();
    let run = &teams["attachments"][0]["content"]["body"][0]["inlines"][0];
    assert_eq!(run["type"], "TextRun");
    for text in [text, run["text"].as_str().unwrap()] {
        let hidden = |c: char| c != '\n' && c.is_control() || c == '\u{202e}';
        assert!(!text.contains(hidden), "{text:?}");
    }
}

#[test]
fn a_signature_is_over_time_and_body() {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef");
    let first = message::signature(&key, 7, "{}");
    assert!(
        first.starts_with("t=7,v1=") && first.len() == 7 + 64,
        "{first}"
    );
    assert_ne!(first, message::signature(&key, 8, "{}"));
    assert_ne!(first, message::signature(&key, 7, "{} "));
    // printf '7.{}' | openssl dgst -sha256 -hmac 0123456789abcdef
    assert_eq!(first, format!("t=7,v1={EXPECTED}"));
}

/// What openssl says.
const EXPECTED: &str = "3cd0ad802237a2c96b7ee3b06705b7350cc8cf0ba4123033d13eda91ad9c4ec2";

#[test]
fn only_https_is_spoken_to_other_machines() {
    assert!(Poster::new("hook", "http://chat.test/hook", None).is_err());
    assert!(Poster::new("hook", "file:///etc/passwd", None).is_err());
    assert!(Poster::new("hook", "nonsense", None).is_err());
    assert!(Poster::new("hook", "http://127.0.0.1:1/hook", None).is_ok());
    // Its user would go out as part of a host.
    assert!(Poster::new("hook", "http://me:pass@127.0.0.1:1/hook", None).is_err());
}

#[tokio::test]
async fn what_is_refused_is_not_repeated_and_a_redirect_is_not_followed() {
    for (answer, expected) in [
        ("204 No Content", Ok(())),
        ("302 Found", Err(false)),
        ("404 Not Found", Err(false)),
        ("429 Too Many Requests", Err(true)),
        ("503 Service Unavailable", Err(true)),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?key=x", listener.local_addr().unwrap());
        let poster = Poster::new("hook", &url, None).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(SIGNATURE, HeaderValue::from_static("t=1,v1=2"));
        let message = Message {
            body: Bytes::from_static(b"{\"a\":1}"),
            headers,
            answer_bytes_max: 0,
        };
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"{\"a\":1}") {
                let mut chunk = [0; 1024];
                let length = stream.read(&mut chunk).await.unwrap();
                seen.extend_from_slice(&chunk[..length]);
            }
            let head = format!(
                "HTTP/1.1 {answer}\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            String::from_utf8(seen).unwrap()
        };
        let (posted, seen) = tokio::join!(poster.post(message), server);
        assert!(seen.starts_with("POST /hook?key=x HTTP/1.1\r\n"), "{seen}");
        assert!(
            seen.contains("portcullis-signature: t=1,v1=2\r\n"),
            "{seen}"
        );
        let outcome = posted
            .map(drop)
            .map_err(|failure| matches!(failure, Failure::Again(_)));
        assert_eq!(outcome, expected, "{answer}");
    }
}

#[test]
fn nothing_is_told_twice_and_what_is_remembered_is_bounded() {
    let mut told = HashMap::new();
    let mut one = Change {
        id: Arc::from("a"),
        state: State::Asked,
        requests: 1,
        answers: 0,
    };
    assert!(is_new(&mut told, &one));
    assert!(!is_new(&mut told, &one));
    one.state = State::Used;
    assert!(is_new(&mut told, &one));
    for number in 0..2 * limits::WEBHOOK_TOLD_MAX {
        one.id = Arc::from(number.to_string());
        assert!(is_new(&mut told, &one));
        assert!(told.len() <= limits::WEBHOOK_TOLD_MAX);
    }
}

/// The next message, head and body, which is taken.
async fn taken(listener: &TcpListener) -> (String, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut seen = String::new();
    while !seen.ends_with('}') {
        let mut chunk = [0; 1024];
        let length = stream.read(&mut chunk).await.unwrap();
        seen.push_str(std::str::from_utf8(&chunk[..length]).unwrap());
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn every_change_is_told_and_signed_and_none_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let settings = Settings {
        url_file: file(
            "url",
            &format!("http://{}/hook\n", listener.local_addr().unwrap()),
        ),
        secret_file: Some(file("secret", "0123456789abcdef\n")),
        certificate_authority: None,
        format: Format::Json,
    };
    let weak = Settings {
        secret_file: Some(file("weak", "0123456789")),
        ..settings.clone()
    };
    let desk = Desk::open(
        Store::open(&folder.path().join("state.db")).unwrap(),
        Metrics::new().0,
    )
    .await
    .unwrap();
    assert!(Webhooks::open(&[weak], desk.clone(), places(false)).is_err());
    let hooks = Webhooks::open(&[settings], desk.clone(), places(false)).unwrap();
    let one = approval("web");
    let held = Held {
        digest: Digest::of(&["one"]),
        class: Digest::of(&["class"]),
        command: None,
        caller: one.caller.clone(),
        cluster: one.cluster.clone(),
        rule: one.rule.clone(),
        message: None,
        terms: one.terms.clone(),
        shown: Shown::default(),
        audit_id: "a".to_owned(),
    };
    let id = one.id.clone();
    let asked = desk.store().run(move |work| {
        crate::approval::ledger::consult(work, &held, "k3mzp4qa7x".to_owned(), Timestamp::now())
    });
    asked.await.unwrap();
    let answer = (Verdict::Yes, String::new(), 1);
    let carol = person("carol", &["sre"]);
    let _approved = desk.answer(id.clone(), carol, answer).await.unwrap();
    let _withdrawn = desk.withdraw(id, one.caller).await.unwrap();
    // Both happened before anything was told, and both are told.
    let end = CancellationToken::new();
    let running = tokio::spawn(hooks.run(end.clone()));
    let (head, body) = taken(&listener).await;
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&told["event"], &told["answers"][0]),
        (&"approval.approved".into(), &"carol".into())
    );
    let (_, second) = taken(&listener).await;
    let second: Value = serde_json::from_str(&second).unwrap();
    assert_eq!(second["event"], "approval.withdrawn");
    let signed = head
        .lines()
        .find_map(|line| line.strip_prefix("portcullis-signature: "))
        .unwrap();
    let at: i64 = signed.split(['=', ',']).nth(1).unwrap().parse().unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef");
    assert_eq!(signed, message::signature(&key, at, &body));
    end.cancel();
    running.await.unwrap();
}
