use std::fmt::Write as _;

use http_body_util::BodyExt as _;
use serde_json::json;

use super::*;
use crate::gateway::body;
use crate::identity::Identity;

fn get(target: &str) -> Result<Call, u16> {
    parse(&Method::GET, &target.parse().unwrap()).map_err(|refusal| refusal.code().as_u16())
}

#[test]
fn calls_are_what_the_documentation_says() {
    let Ok(Call::Events(filter)) = get(
        "/v1/audit/events?user=a%20b&agent=bot&namespace=shop&verb=delete&decision=deny&session=s&id=0199&since=2026-11-20T00:00:00Z&until=2026-11-21T00:00:00Z",
    ) else {
        panic!("no events");
    };
    assert_eq!(filter.user.as_deref(), Some("a b"));
    assert_eq!(filter.decision.as_deref(), Some("deny"));
    assert_eq!(filter.session.as_deref(), Some("s"));
    assert!(filter.since.is_some() && filter.until.is_some() && filter.run.is_none());
    let followed = get("/v1/audit/events?follow=true&verb=get");
    assert!(matches!(followed, Ok(Call::Follow(_))), "{followed:?}");
    assert_eq!(
        get("/v1/audit/events"),
        Ok(Call::Events(Box::default())),
        "everything"
    );
    assert_eq!(
        get("/v1/audit/responses/ab"),
        Ok(Call::Answer("ab".to_owned()))
    );
    assert_eq!(
        get("/v1/audit/responses/open/0199"),
        Ok(Call::Begun("0199".to_owned()))
    );
}

#[test]
fn what_is_not_known_is_refused() {
    for (target, code) in [
        ("/v1/audit/", 404),
        ("/v1/audit/event", 404),
        ("/v1/audit/events/a", 404),
        ("/v1/audit/responses", 404),
        ("/v1/audit/responses/open/a/b", 404),
        ("/v1/audit/responses/open/", 400),
        ("/v1/audit/responses/open/a_b", 400),
        (&format!("/v1/audit/responses/open/{}", "a".repeat(65)), 400),
        ("/v1/audit/events?usr=a", 400),
        ("/v1/audit/events?user=a&user=b", 400),
        ("/v1/audit/events?decision=no", 400),
        ("/v1/audit/events?since=yesterday", 400),
        ("/v1/audit/events?follow=yes", 400),
        (
            "/v1/audit/events?follow=true&since=2026-11-20T00:00:00Z",
            400,
        ),
        ("/v1/audit/responses/ab?user=a", 400),
    ] {
        assert_eq!(get(target), Err(code), "{target}");
    }
    let posted = parse(&Method::POST, &"/v1/audit/events".parse().unwrap());
    assert_eq!(posted.unwrap_err().code().as_u16(), 405);
}

/// An event of this user.
fn event(number: usize, user: &str) -> String {
    let at = Timestamp::from_second(1_790_000_000).unwrap();
    let event = json!({
        "auditID": format!("id-{number}"), "stage": "ResponseComplete", "verb": "list",
        "requestURI": "/api/v1/pods", "user": {"username": user},
        "objectRef": {"resource": "pods"}, "responseStatus": {"code": 200},
        "requestReceivedTimestamp": at, "stageTimestamp": at,
        "annotations": {"portcullis.dev/decision": "allow"},
    });
    format!("{event}\n")
}

/// A log with as many events, of two people in turns.
fn log(events: usize) -> (tempfile::TempDir, Trail) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let mut text = String::new();
    for number in 0..events {
        let user = if number % 2 == 0 { "dora" } else { "oscar" };
        write!(text, "{}", event(number, user)).unwrap();
    }
    std::fs::write(&file, text).unwrap();
    let trail = Trail::of(&file);
    (folder, trail)
}

fn of(user: &str) -> Filter {
    Filter {
        user: Some(user.to_owned()),
        ..Filter::default()
    }
}

async fn text(answer: Response<Body>) -> String {
    let bytes = body::read_bounded(answer.into_body(), 1 << 20).await;
    String::from_utf8(bytes.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn events_are_the_lines_of_the_log_the_latest_first() {
    // More than wait at once.
    let (_folder, trail) = log(limits::AUDIT_STREAM_WAITING_MAX * 10);
    let sent = text(trail.events(of("dora")).unwrap()).await;
    let last = limits::AUDIT_STREAM_WAITING_MAX * 10 - 2;
    let expected: String = (0..=last)
        .rev()
        .step_by(2)
        .map(|number| event(number, "dora"))
        .collect();
    assert_eq!(sent, expected);
    assert_eq!(text(trail.events(of("nobody")).unwrap()).await, "");
}

#[tokio::test]
async fn what_is_followed_begins_now_and_has_every_stage() {
    use std::io::Write as _;

    let (folder, trail) = log(4);
    let mut followed = trail.follow(of("dora"), None).await.unwrap().into_body();
    let file = folder.path().join("audit.jsonl");
    let mut file = std::fs::File::options().append(true).open(file).unwrap();
    file.write_all((event(5, "oscar") + &event(6, "dora") + &event(6, "dora")).as_bytes())
        .unwrap();
    let mut got = String::new();
    while got.len() < event(6, "dora").len() * 2 {
        let frame = followed.frame().await.unwrap().unwrap();
        got.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    assert_eq!(got, event(6, "dora").repeat(2));
}

/// What is damaged must not look like what was kept.
#[tokio::test]
async fn an_answer_that_cannot_be_read_to_its_end_breaks_off() {
    struct Damaged;
    impl io::Read for Damaged {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    let (_folder, trail) = log(0);
    let whole = io::Read::chain(&b"half"[..], &b" and half"[..]);
    assert_eq!(text(trail.answer(whole).unwrap()).await, "half and half");
    let damaged = io::Read::chain(&b"half"[..], Damaged);
    let mut body = trail.answer(damaged).unwrap().into_body();
    let sent = body.frame().await.unwrap().unwrap();
    assert_eq!(sent.into_data().unwrap(), "half");
    assert!(body.frame().await.unwrap().is_err());
}

/// Whoever does not read, or reads for ever, takes no place from the pages of the console; and places come back.
#[tokio::test]
async fn places_are_bounded_and_come_back() {
    let (_folder, trail) = log(limits::AUDIT_STREAM_WAITING_MAX * 10);
    let mut taken = Vec::new();
    for _ in 0..limits::AUDIT_STREAMS_MAX {
        taken.push(trail.events(Filter::default()).unwrap());
    }
    let refused = trail.events(Filter::default()).unwrap_err();
    assert_eq!(refused.code().as_u16(), 429);
    assert!(trail.follow(of("dora"), None).await.is_ok());
    assert!(trail.read(|_| Ok(())).await.is_ok());
    drop(taken);
    while trail.events(Filter::default()).is_err() {
        tokio::task::yield_now().await;
    }
}

/// However many tails are left open, they keep nobody from looking, and nobody else from following.
#[tokio::test]
async fn who_follows_takes_no_place_from_others() {
    let (_folder, trail) = log(4);
    let [oscar, dora] = ["oscar", "dora"].map(|name| Identity::for_tests(name, &[]));
    let mut taken = Vec::new();
    for _ in 0..limits::AUDIT_FOLLOWERS_PER_OPERATOR_MAX {
        taken.push(trail.follow(of("dora"), Some(&oscar)).await.unwrap());
    }
    let refused = trail.follow(of("dora"), Some(&oscar)).await.unwrap_err();
    assert_eq!(refused.code().as_u16(), 429);
    assert!(refused.message().contains("end one of them"), "{refused:?}");
    for _ in 0..limits::AUDIT_STREAMS_MAX {
        trail.events(Filter::default()).unwrap();
    }
    assert!(trail.follow(of("dora"), Some(&dora)).await.is_ok());
    drop(taken.pop());
    assert!(trail.follow(of("dora"), Some(&oscar)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_follows_is_sent_an_empty_line_when_there_is_none_for_long() {
    let (_folder, trail) = log(4);
    let mut followed = trail.follow(of("dora"), None).await.unwrap().into_body();
    let begun = tokio::time::Instant::now();
    for number in 1..=2 {
        let frame = followed.frame().await.unwrap().unwrap();
        assert_eq!(frame.data_ref().unwrap(), "\n");
        assert!(begun.elapsed() >= limits::AUDIT_FOLLOWED_SILENCE_MAX * number);
    }
}

#[tokio::test]
async fn a_log_that_cannot_be_read_again_is_not_shown() {
    let trail = Trail::of(std::path::Path::new("/dev/null"));
    for refused in [
        trail.events(Filter::default()),
        trail.follow(Filter::default(), None).await,
    ] {
        assert_eq!(refused.unwrap_err().code().as_u16(), 404);
    }
}
