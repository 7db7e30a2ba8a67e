//! Known values, wherever they turn up: in objects, in logs, in errors.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::*;
use crate::policy::mask::BUILTIN;
use crate::transform::text::known::Shelf;

const PASSWORD: &str = "correct-horse-battery-7";
const NAME: &str = "orders-db-primary-7";
const QUOTED: &str = "ab\"cd\\ef\n  <gh>&ij";

fn known(namespace: &str) -> KnownValues {
    let values = [
        ("password", PASSWORD),
        ("database_password", NAME),
        ("quoted", QUOTED),
    ];
    knowing("prod", namespace, values)
}

fn permit() -> Permit {
    let masks = [builtin("known-values"), builtin("credentials")].concat();
    // The other one of `credentials` is for objects.
    let masks: Vec<&MaskRule> = masks
        .iter()
        .filter(|rule| rule.texts.known_values || rule.texts.credentials)
        .collect();
    Permit::for_tests(Identity::for_tests("bot", &[]), "prod", &masks)
}

fn get(path: &str) -> RequestInfo {
    RequestInfo::parse(&Method::GET, path).unwrap()
}

fn answer(status: u16, content_type: &str, body: Body) -> Response<Unreleased> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .body(Unreleased::new(body))
        .unwrap()
}

async fn seen(path: &str, status: u16, content_type: &str, body: Body) -> (String, u64) {
    let answer = answer(status, content_type, body);
    let (response, report) = release(
        answer,
        &get(path),
        &permit(),
        &placeholders(),
        &known("shop"),
    )
    .unwrap();
    let (text, outcome) = read(response.into_body()).await;
    outcome.unwrap();
    let text = String::from_utf8(text).unwrap();
    (text, report.values_masked())
}

#[tokio::test]
async fn strings_of_objects_are_searched_but_not_what_identifies_them() {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": NAME, "namespace": "shop", "resourceVersion": "7",
            "labels": {"app": "web"},
            "annotations": {
                "note": format!("Basic {}", STANDARD.encode(format!("admin:{PASSWORD}"))),
                "kubectl.kubernetes.io/last-applied-configuration":
                    json!({"data": {"url": format!("x://u:{PASSWORD}@h")}, "metadata": {"name": NAME}}).to_string(),
            },
        },
        "data": {"app.conf": format!("host = h\npassword = {PASSWORD}\n"), "n": "1"},
        "count": 12, "list": [PASSWORD, [null, {PASSWORD: true}]],
    });
    for text in [
        object.to_string(),
        serde_json::to_string_pretty(&object).unwrap(),
    ] {
        let path = "/api/v1/namespaces/shop/configmaps/x";
        let (whole, count) = seen(path, 200, "application/json", full(text.clone())).await;
        let parsed: Value = serde_json::from_str(&whole).unwrap();
        assert!(
            !whole.contains(PASSWORD)
                && !whole.contains(&STANDARD.encode(format!("admin:{PASSWORD}")))
        );
        assert_eq!(parsed["metadata"]["name"], NAME);
        assert_eq!(parsed["count"], 12);
        assert_eq!(count, 5);
        let applied =
            &parsed["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
        let applied: Value = serde_json::from_str(applied.as_str().unwrap()).unwrap();
        assert_eq!(applied["metadata"]["name"], NAME);
        for size in [1, 7] {
            let chunks = text
                .as_bytes()
                .chunks(size)
                .map(|chunk| Ok::<_, BodyError>(Frame::data(Bytes::copy_from_slice(chunk))));
            let chunks: Vec<_> = chunks.collect();
            let body = StreamBody::new(futures_util::stream::iter(chunks)).boxed_unsync();
            assert_eq!(seen(path, 200, "application/json", body).await.0, whole);
        }
    }
}

#[tokio::test]
async fn c_45_of_a_value_with_a_credential_in_it_nothing_is_shown() {
    const PAIRED: &str = "AKIAIOSFODNN7EXAMPLE:rest-\"of-the-value";
    let masks: Vec<MaskRule> = BUILTIN.into_iter().flat_map(builtin).collect();
    let applies = |rule: &&MaskRule| rule.applies_to("", "pods") || rule.texts.known_values;
    let masks: Vec<&MaskRule> = masks.iter().filter(applies).collect();
    let permit = Permit::for_tests(Identity::for_tests("bot", &[]), "prod", &masks);
    let known = knowing("prod", "shop", [("password", PAIRED)]);
    let text = format!("ünïcöde {PAIRED} password=hunter2-hunter2 {PAIRED}");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": json!({"spec": {"containers": [{"command": [text]}]}}).to_string(),
            "note": text,
        }},
        "spec": {"containers": [{"name": "web", "env": [{"name": "HOST", "value": text}], "args": ["-x", text]}]},
    });
    let answer = answer(200, "application/json", full(pod.to_string()));
    let request = get("/api/v1/namespaces/shop/pods/web");
    let (response, _) = release(answer, &request, &permit, &placeholders(), &known).unwrap();
    let (seen, outcome) = read(response.into_body()).await;
    outcome.unwrap();
    let seen: Value = serde_json::from_slice(&seen).unwrap();
    let shown = seen.to_string();
    assert!(
        !shown.contains("of-the-value") && !shown.contains("AKIA") && !shown.contains("hunter2"),
        "{shown}"
    );
    assert_eq!(shown.matches("ünïcöde [masked:").count(), 4, "{shown}");
}

#[tokio::test]
async fn c_41_values_are_found_in_documents_within_documents() {
    let inner = json!({"v": QUOTED}).to_string();
    let middle = json!({"j": inner, "v": QUOTED}).to_string();
    let applied = json!({"data": {"m": middle}}).to_string();
    let object = json!({
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": applied}},
        "data": {"raw": QUOTED, "inner": inner, "middle": middle},
    });
    // As the API server escapes.
    let text = object
        .to_string()
        .replace('<', "\\u003c")
        .replace('&', "\\u0026");
    let path = "/api/v1/namespaces/shop/configmaps/x";
    let (seen, count) = seen(path, 200, "application/json", full(text)).await;
    assert!(!seen.contains("ef") && !seen.contains("gh"), "{seen}");
    assert_eq!(count, 6);
    let parsed: Value = serde_json::from_str(&seen).unwrap();
    let middle = parsed["data"]["middle"].as_str().unwrap();
    let middle: Value = serde_json::from_str(middle).unwrap();
    let inner: Value = serde_json::from_str(middle["j"].as_str().unwrap()).unwrap();
    assert_eq!(inner["v"], parsed["data"]["raw"]);
}

#[tokio::test]
async fn values_are_known_in_their_namespace_only() {
    let text = json!({"metadata": {}, "data": {"a": PASSWORD}}).to_string();
    for (path, masked) in [
        ("/api/v1/namespaces/shop/configmaps/x", true),
        ("/api/v1/namespaces/bank/configmaps/x", false),
        ("/api/v1/configmaps", true),
    ] {
        let (seen, _) = seen(path, 200, "application/json", full(text.clone())).await;
        assert_eq!(!seen.contains(PASSWORD), masked, "{path}");
    }
}

#[tokio::test]
async fn a_log_with_a_limit_shows_no_part_of_a_value() {
    let log = "/api/v1/namespaces/shop/pods/web/log?limitBytes=";
    let line = format!("{}{PASSWORD}\n", "x".repeat(100));
    for limit in 0..=line.len() {
        let (text, _) = seen(
            &format!("{log}{limit}"),
            200,
            "text/plain",
            full(line.get(..limit).unwrap().to_owned()),
        )
        .await;
        let (rest, masked) = (text.trim_start_matches('x'), limit == line.len());
        assert_eq!(rest.starts_with("[masked:v1:"), masked, "{text}");
        assert!(masked || rest.is_empty(), "{text}");
    }
}

#[tokio::test]
async fn c_50_logs_are_masked_and_so_are_errors() {
    let log = "/api/v1/namespaces/shop/pods/web/log?follow=true";
    let line = format!("2026-11-21 connecting as admin:{PASSWORD}@db\nready\n");
    let (text, count) = seen(log, 200, "text/plain", full(line.clone())).await;
    assert!(
        !text.contains(PASSWORD) && text.ends_with("@db\nready\n"),
        "{text}"
    );
    assert_eq!(count, 1);
    for cut in 0..line.len() {
        let (one, other) = line.split_at(cut);
        let chunks = [one, other]
            .map(|text| Ok::<_, BodyError>(Frame::data(Bytes::copy_from_slice(text.as_bytes()))));
        let body = StreamBody::new(futures_util::stream::iter(chunks)).boxed_unsync();
        assert_eq!(
            seen(log, 200, "text/plain", body).await.0,
            text,
            "cut at {cut}"
        );
    }
    let status = json!({
        "kind": "Status", "status": "Failure", "reason": "BadRequest", "code": 400,
        "message": format!("container \"{PASSWORD}\" is not valid for pod web"),
    });
    let (text, _) = seen(log, 400, "application/json", full(status.to_string())).await;
    assert!(
        text.contains("[masked:v1:") && !text.contains(PASSWORD),
        "{text}"
    );
    serde_json::from_str::<Value>(&text).unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_may_be_part_of_a_value_is_held_for_a_moment_only() {
    let (sender, receiver) = tokio::sync::mpsc::channel::<&'static str>(2);
    let chunks = futures_util::stream::unfold(receiver, async |mut receiver| {
        let text = receiver.recv().await?;
        let frame = Frame::data(Bytes::from_static(text.as_bytes()));
        Some((Ok::<_, BodyError>(frame), receiver))
    });
    let path = "/api/v1/namespaces/shop/pods/web/log?follow=true";
    let body = StreamBody::new(chunks).boxed_unsync();
    let (response, _) = release(
        answer(200, "text/plain", body),
        &get(path),
        &permit(),
        &placeholders(),
        &known("shop"),
    )
    .unwrap();
    let mut body = response.into_body().into_body();
    let begun = tokio::time::Instant::now();
    let mut next = async || {
        let frame = body.frame().await.unwrap().unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    };
    sender.send("corr prompts leave at once: ").await.unwrap();
    assert_eq!(next().await, "corr prompts leave at once: ");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    for (typed, late) in [("corr", 20), ("xxxx", 40)] {
        sender.send(typed).await.unwrap();
        assert_eq!(next().await, typed);
        assert_eq!(begun.elapsed(), Duration::from_millis(late));
    }
}

/// A log that comes in pieces, so many milliseconds apart, and what its reader sees of it.
async fn played(path: &str, pieces: Vec<(u64, String)>) -> String {
    let chunks = futures_util::stream::iter(pieces).then(async |(late, text)| {
        tokio::time::sleep(Duration::from_millis(late)).await;
        Ok::<_, BodyError>(Frame::data(Bytes::from(text)))
    });
    let body = StreamBody::new(Box::pin(chunks)).boxed_unsync();
    seen(path, 200, "text/plain", body).await.0
}

#[tokio::test(start_paused = true)]
async fn c_45_a_busy_log_shows_no_part_of_a_value() {
    let path = "/api/v1/namespaces/shop/pods/web/log?follow=true";
    for length in [1100, 60] {
        let mut pieces = Vec::new();
        for cut in (1..PASSWORD.len()).cycle().take(100) {
            let (begin, end) = PASSWORD.split_at(cut);
            pieces.push((3, format!("{} {begin}", "x".repeat(length))));
            pieces.push((3, end.to_owned()));
        }
        let text = played(path, pieces).await;
        let shown = text.split_whitespace().find(|word| {
            let word = word.trim_end_matches('x');
            !(word.is_empty() || word.starts_with("[masked:v1:") && word.ends_with(']'))
        });
        assert_eq!((shown, text.matches("[masked:v1:").count()), (None, 100));
    }
}

#[tokio::test(start_paused = true)]
async fn c_45_a_log_with_a_limit_shows_no_part_of_a_value_after_a_pause() {
    let path = "/api/v1/namespaces/shop/pods/web/log?limitBytes=122";
    let (line, end) = ("x".repeat(100), PASSWORD.split_at(PASSWORD.len() - 1).0);
    for late in [0, 2, 8, 20, 100] {
        let pieces = [(0, format!("{line}{end}")), (late, String::new())];
        assert_eq!(played(path, pieces.into()).await, "");
    }
    // Lines that are complete do not wait for what is not.
    let pieces = [
        (0, format!("{}\n{end}", "x".repeat(2000))),
        (25, String::new()),
    ];
    let text = played(path, pieces.into()).await;
    assert_eq!(text, "x".repeat(2000) + "\n");
}

#[tokio::test]
async fn nothing_passes_before_the_secrets_were_read() {
    let unread = KnownValues::new(["prod"], &placeholders(), Settings::default());
    assert_eq!(unread.ready(&permit()), Err(MaskError::NotLearned));
    assert!(unread.unread().next().unwrap().contains("cluster `prod`"));
    assert_eq!(known("shop").unread().count(), 0);
    let refused = release(
        answer(200, "text/plain", full("x")),
        &get("/api/v1/namespaces/shop/pods/web/log"),
        &permit(),
        &placeholders(),
        &unread,
    );
    assert_eq!(refused.unwrap_err(), MaskError::NotLearned);
    // Who is not to be masked has nothing to wait for.
    assert_eq!(
        unread.ready(&Permit::for_tests(
            Identity::for_tests("bot", &[]),
            "prod",
            &[]
        )),
        Ok(())
    );
}

/// A gateway that reads no Secrets.
fn without_watch() -> KnownValues {
    let settings = Settings {
        watch: false,
        ..Settings::default()
    };
    let known = KnownValues::new(["prod", "test"], &placeholders(), settings);
    for (_, book) in known.books() {
        book.demand();
    }
    known
}

/// Lets an answer pass, and makes indexes of what was learned of it.
async fn pass(known: &KnownValues, masks: &[MaskRule], request: (Method, &str), answer: Answer) {
    let masks: Vec<&MaskRule> = masks.iter().collect();
    let permit = Permit::for_tests(Identity::for_tests("bot", &[]), "prod", &masks);
    let (status, content_type, body) = answer;
    let info = RequestInfo::parse(&request.0, request.1).unwrap();
    let answer = self::answer(status, content_type, full(body));
    let (response, _) = release(answer, &info, &permit, &placeholders(), known).unwrap();
    let (text, outcome) = read(response.into_body()).await;
    outcome.unwrap();
    let text = String::from_utf8_lossy(&text);
    let forms = [PASSWORD.to_owned(), STANDARD.encode(PASSWORD)];
    let plain = forms.iter().any(|form| text.contains(form));
    assert_eq!(plain, masks.is_empty());
    for (_, book) in known.books() {
        book.renew();
    }
}

type Answer = (u16, &'static str, Vec<u8>);

/// Whether the password is masked in a log.
async fn is_masked(known: &KnownValues, namespace: &str) -> bool {
    let path = format!("/api/v1/namespaces/{namespace}/pods/web/log");
    let log = answer(200, "text/plain", full(format!("with {PASSWORD}\n")));
    let (response, _) = release(log, &get(&path), &permit(), &placeholders(), known).unwrap();
    let (text, _) = read(response.into_body()).await;
    !String::from_utf8(text).unwrap().contains(PASSWORD)
}

#[tokio::test]
async fn without_a_watch_what_passed_under_a_mask_is_known() {
    let secret = json!({
        "kind": "Secret", "apiVersion": "v1",
        "metadata": {"name": "db", "namespace": "shop", "resourceVersion": "7"},
        "data": {"password": STANDARD.encode(PASSWORD)},
    });
    let list = json!({"kind": "SecretList", "items": [secret]});
    let event = json!({"type": "ADDED", "object": secret});
    let db = "/api/v1/namespaces/shop/secrets/db";
    let all = "/api/v1/secrets";
    for (method, path, status, text) in [
        (Method::GET, db, 200, &secret),
        (Method::GET, all, 200, &list),
        (Method::GET, "/api/v1/secrets?watch=1", 200, &event),
        (
            Method::POST,
            "/api/v1/namespaces/shop/secrets",
            201,
            &secret,
        ),
        (Method::PATCH, db, 200, &secret),
    ] {
        let known = without_watch();
        assert_eq!(known.ready(&permit()), Ok(()), "nobody waits for a watch");
        assert_eq!(known.unread().count(), 0);
        assert!(!is_masked(&known, "shop").await);
        let json = (status, "application/json", text.to_string().into_bytes());
        // Where nothing is masked nothing is looked at.
        pass(&known, &[], (method.clone(), path), json.clone()).await;
        assert!(!is_masked(&known, "shop").await);
        pass(&known, &builtin("secrets"), (method.clone(), path), json).await;
        assert!(is_masked(&known, "shop").await, "{method} {path}");
        assert!(is_masked(&known, "shop").await && !is_masked(&known, "bank").await);
        let (_, other) = known.books().nth(1).unwrap();
        assert_eq!(other.renew().known, 0, "of another cluster");
    }
}

#[tokio::test]
async fn errors_and_answers_without_demand_teach_nothing() {
    let text = json!({
        "kind": "Secret", "apiVersion": "v1",
        "metadata": {"name": "db", "namespace": "shop", "resourceVersion": "7"},
        "data": {"password": STANDARD.encode(PASSWORD)},
    });
    let request = (Method::GET, "/api/v1/namespaces/shop/secrets/db");
    let error = (409, "application/json", text.to_string().into_bytes());
    let known = without_watch();
    pass(&known, &builtin("secrets"), request.clone(), error).await;
    assert!(!is_masked(&known, "shop").await);

    let undemanded = KnownValues::new(["prod"], &placeholders(), Settings::default());
    let json = (200, "application/json", text.to_string().into_bytes());
    pass(&undemanded, &builtin("secrets"), request, json).await;
    let (_, book) = undemanded.books().next().unwrap();
    assert_eq!(book.renew().known, 0);
}

#[tokio::test]
async fn secrets_that_pass_as_protobuf_are_known() {
    let metadata = [field(1, b"db"), field(3, b"shop"), field(6, b"7")].concat();
    let entry = [field(1, b"password"), field(2, PASSWORD.as_bytes())].concat();
    let secret = [field(1, &metadata), field(2, &entry)].concat();
    let envelope = |kind: &str, raw: &[u8]| {
        let kind = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        [MAGIC, &field(1, &kind), &field(2, raw)].concat()
    };
    let one = envelope("Secret", &secret);
    let list = envelope("SecretList", &[field(1, b""), field(2, &secret)].concat());
    // Longer than what is held as a whole.
    let filler = [field(1, &field(1, b"x")), field(3, &vec![b'x'; 1 << 20])].concat();
    let items = [field(2, &filler).repeat(5), field(2, &secret)].concat();
    let long = envelope("SecretList", &[field(1, b""), items].concat());
    let event = |kind: &[u8]| {
        let event = [field(1, kind), field(2, &field(1, &one))].concat();
        [&u32::try_from(event.len()).unwrap().to_be_bytes(), &*event].concat()
    };
    let watch = "/api/v1/namespaces/shop/secrets?watch=1";
    for (path, body, masked) in [
        ("/api/v1/namespaces/shop/secrets/db", one.clone(), true),
        ("/api/v1/namespaces/shop/secrets", list, true),
        ("/api/v1/secrets", long, true),
        (watch, event(b"MODIFIED"), true),
        (watch, [event(b"ADDED"), event(b"DELETED")].concat(), false),
    ] {
        let known = without_watch();
        let protobuf = (200, "application/vnd.kubernetes.protobuf", body);
        pass(&known, &builtin("secrets"), (Method::GET, path), protobuf).await;
        assert_eq!(is_masked(&known, "shop").await, masked, "{path}");
    }
}

#[test]
fn a_shelf_is_never_printed() {
    let shelf: Arc<Shelf> = known("shop").shelf(&permit(), "shop").unwrap().unwrap();
    assert!(!format!("{shelf:?}").contains("horse"));
}

#[tokio::test]
async fn c_27_c_53_headers_are_searched_too() {
    let mut response = answer(200, "application/json", full("{}"));
    let warning = format!("299 - \"webhook: {PASSWORD} is weak\"");
    response
        .headers_mut()
        .insert("warning", warning.parse().unwrap());
    let path = "/api/v1/namespaces/shop/configmaps/x";
    let (response, report) = release(
        response,
        &get(path),
        &permit(),
        &placeholders(),
        &known("shop"),
    )
    .unwrap();
    let said = format!("{:?}", response.headers());
    assert!(
        !said.contains(PASSWORD) && said.contains("webhook: [masked:v1:"),
        "{said}"
    );
    assert_eq!(report.values_masked(), 1);
}

#[tokio::test]
async fn c_45_what_looks_like_a_credential_is_masked_in_logs_beside_known_values() {
    let log = "/api/v1/namespaces/shop/pods/web/log";
    let line = format!("user=bob password=hunter2-hunter2 known={PASSWORD} end\n");
    let (text, count) = seen(log, 200, "text/plain", full(line)).await;
    assert!(
        !text.contains("hunter2") && !text.contains(PASSWORD),
        "{text}"
    );
    assert!(text.starts_with("user=bob password=[masked:v1:") && text.ends_with(" end\n"));
    assert_eq!(count, 2);
}
