use http_body_util::BodyExt;
use serde_json::json;

use super::*;

const START: &str = "2024-11-20T16:00:00Z";

fn pod() -> PodRef {
    let object = json!({
        "metadata": {"name": "ticker", "uid": "u1", "creationTimestamp": START},
        "spec": {"containers": [{"name": "main", "env": [{"name": "DB_PASSWORD", "value": "p4ss"}]}]},
    });
    PodRef::new("shop", "ticker", object)
}

fn log() -> Log {
    let pod = pod();
    Log::of(
        &Node::new(super::super::Settings::default()),
        &pod,
        &pod.container(None).unwrap(),
    )
}

fn at(seconds: i64) -> Timestamp {
    START.parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(seconds)
}

async fn text(query: &str, now: Timestamp) -> String {
    let options = Options::parse(&Query::parse(query), "ticker").unwrap();
    let parts: Vec<Bytes> = chunks(log(), options, now).collect().await;
    String::from_utf8(parts.concat()).unwrap()
}

async fn refusal(query: &str) -> (StatusCode, String) {
    let uri = format!("/api/v1/namespaces/shop/pods/ticker/log?{query}");
    let request = Request::get(uri).body(()).unwrap();
    let response = Node::new(super::super::Settings::default()).handle(request, pod());
    let code = response.status();
    #[expect(
        clippy::disallowed_methods,
        reason = "a short answer of our own in a test"
    )]
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn lines_are_deterministic_and_counted_from_the_start() {
    let all = text("", at(4)).await;
    assert_eq!(all.lines().count(), 20);
    assert!(all.starts_with("tick 0 harmless\n"));
    assert!(all.contains("tick 2 connecting with password=p4ss token="));
    assert_eq!(all, text("", at(4)).await);
    assert_eq!(text("tailLines=2", at(4)).await.lines().count(), 2);
    assert!(all.ends_with(&text("tailLines=2", at(4)).await));
    assert_eq!(text("tailLines=0", at(4)).await, "");
    assert_eq!(text("sinceSeconds=1", at(4)).await.lines().count(), 5);
    assert_eq!(
        text("sinceTime=2024-11-20T16:00:03Z", at(4))
            .await
            .lines()
            .count(),
        5
    );
}

#[tokio::test]
async fn only_the_last_lines_are_kept() {
    let all = text("", at(3600)).await;
    assert_eq!(all.lines().count(), 500);
    assert!(all.starts_with("tick 17500 "));
}

#[tokio::test]
async fn a_byte_limit_cuts_in_the_middle_of_a_line() {
    let whole = text("tailLines=7", at(60)).await;
    let cut = text("tailLines=7&limitBytes=150", at(60)).await;
    assert_eq!(cut.len(), 150);
    assert!(whole.starts_with(&cut));
}

#[tokio::test]
async fn timestamps_have_nine_digits() {
    let line = text("tailLines=1&timestamps=true", at(4)).await;
    assert!(
        line.starts_with("2024-11-20T16:00:03.800000000Z tick 19 "),
        "{line}"
    );
}

#[tokio::test]
async fn following_adds_a_line_at_a_time() {
    let options = Options::parse(&Query::parse("follow=true&tailLines=1"), "ticker").unwrap();
    let mut lines = Box::pin(chunks(log(), options, at(4)));
    assert!(lines.next().await.unwrap().starts_with(b"tick 19 "));
    assert!(lines.next().await.unwrap().starts_with(b"tick 20 "));
}

#[tokio::test]
async fn refusals_are_those_of_the_captures() {
    let captured = [
        (
            "container=nope",
            400,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"container nope is not valid for pod ticker","reason":"BadRequest","code":400}"#,
        ),
        (
            "tailLines=-1",
            422,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"PodLogOptions \"ticker\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0","reason":"Invalid","details":{"name":"ticker","kind":"PodLogOptions","causes":[{"reason":"FieldValueInvalid","message":"Invalid value: -1: must be greater than or equal to 0","field":"tailLines"}]},"code":422}"#,
        ),
        (
            "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z",
            422,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"PodLogOptions \"ticker\" is invalid: []: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified","reason":"Invalid","details":{"name":"ticker","kind":"PodLogOptions","causes":[{"reason":"FieldValueForbidden","message":"Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified","field":"[]"}]},"code":422}"#,
        ),
        (
            "previous=true",
            400,
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"previous terminated container \"main\" in pod \"ticker\" not found","reason":"BadRequest","code":400}"#,
        ),
    ];
    for (query, code, body) in captured {
        assert_eq!(
            refusal(query).await,
            (StatusCode::from_u16(code).unwrap(), format!("{body}\n"))
        );
    }
}
