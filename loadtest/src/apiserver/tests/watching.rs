//! Watches while objects change.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::apiserver::answer;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const TABLE: &str = "accept: application/json;as=Table;v=v1;g=meta.k8s.io";

fn secret(labels: &Value, value: &str) -> Value {
    json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "w", "namespace": "default", "labels": labels}, "stringData": {"k": value}})
}

async fn event(response: &mut hyper::Response<Incoming>) -> Value {
    let line = piece(response.body_mut()).await.expect("another event");
    assert!(
        line.ends_with("}\n") && line.matches('\n').count() == 1,
        "one event a line: {line:?}"
    );
    serde_json::from_str(&line).expect("JSON")
}

#[tokio::test]
async fn events_follow_the_selector_and_the_version() {
    let running = started(Settings {
        seed: false,
        ..Settings::default()
    })
    .await;
    let path = format!("{SECRETS}?watch=1&labelSelector=in%3Dyes&resourceVersion=0");
    let mut response = send(&running, request("GET", &path, &[], "")).await;
    running
        .put(secret(&json!({"in": "yes"}), "1"))
        .expect("stored");
    running
        .put(secret(&json!({"in": "yes"}), "2"))
        .expect("stored");
    running
        .put(secret(&json!({"in": "no"}), "3"))
        .expect("stored");
    running
        .put(secret(&json!({"in": "yes"}), "4"))
        .expect("stored");
    running.delete("secrets", "default", "w").expect("deleted");
    let mut versions = Vec::new();
    for kind in ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"] {
        let event = event(&mut response).await;
        assert_eq!(event["type"], kind);
        assert_eq!(
            event["object"]["metadata"]["labels"]["in"], "yes",
            "the last state that matched"
        );
        let version = event["object"]["metadata"]["resourceVersion"]
            .as_str()
            .expect("versioned");
        versions.push(version.parse::<u64>().expect("a number"));
    }
    assert!(
        versions.is_sorted_by(|left, right| left < right),
        "{versions:?}"
    );
    // Resuming from the second version gives the rest again.
    let path = format!(
        "{SECRETS}?watch=1&labelSelector=in%3Dyes&resourceVersion={}",
        versions[1]
    );
    let mut resumed = send(&running, request("GET", &path, &[], "")).await;
    assert_eq!(event(&mut resumed).await["type"], "DELETED");
}

#[tokio::test]
async fn a_watch_list_ends_with_its_bookmark_also_as_a_table() {
    let running = started(Settings::default()).await;
    let path = format!(
        "{SECRETS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut plain = send(&running, request("GET", &path, &[], "")).await;
    let mut table = send(&running, request("GET", &path, &[TABLE], "")).await;
    for index in 0..3 {
        assert_eq!(event(&mut plain).await["type"], "ADDED");
        let row = event(&mut table).await;
        assert_eq!(
            row["object"]["columnDefinitions"].is_array(),
            index == 0,
            "only in the first event"
        );
    }
    let end = event(&mut plain).await;
    assert_eq!(
        (end["type"].as_str(), end["object"]["kind"].as_str()),
        (Some("BOOKMARK"), Some("Secret"))
    );
    assert_eq!(
        end["object"]["metadata"]["annotations"],
        json!({"k8s.io/initial-events-end": "true"})
    );
    let end = event(&mut table).await;
    assert_eq!(
        end["object"]["rows"][0]["object"]["metadata"]["annotations"],
        json!({"k8s.io/initial-events-end": "true"})
    );
    let forbidden = format!("{SECRETS}?watch=1&sendInitialEvents=true");
    assert_eq!(call(&running, "GET", &forbidden, &[], "").await.status, 422);
}

#[tokio::test]
async fn bookmarks_come_between_and_before_the_end() {
    let interval = Duration::from_millis(50);
    let running = started(Settings {
        seed: false,
        bookmark_interval: interval,
        ..Settings::default()
    })
    .await;
    let path = format!("{SECRETS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=1");
    let answer = call(&running, "GET", &path, &[], "").await;
    let text = String::from_utf8(answer.body.to_vec()).expect("text");
    assert!(
        text.lines().count() >= 2
            && text
                .lines()
                .all(|line| line.starts_with(r#"{"type":"BOOKMARK""#)),
        "{text}"
    );
}

#[tokio::test]
async fn a_watcher_behind_the_history_is_told_to_list_again() {
    let running = started(Settings {
        seed: false,
        history: 3,
        ..Settings::default()
    })
    .await;
    running.put(secret(&json!({}), "0")).expect("stored");
    let listed = call(&running, "GET", SECRETS, &[], "").await.json();
    let version = listed["metadata"]["resourceVersion"]
        .as_str()
        .expect("versioned")
        .to_owned();
    for value in 1..10 {
        running
            .put(secret(&json!({}), &value.to_string()))
            .expect("stored");
    }
    let answer = call(
        &running,
        "GET",
        &format!("{SECRETS}?watch=1&resourceVersion={version}"),
        &[],
        "",
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        (
            answer.json()["type"].as_str(),
            answer.json()["object"]["code"].as_i64()
        ),
        (Some("ERROR"), Some(410))
    );
}

#[tokio::test]
async fn a_compaction_ends_open_watches_and_those_from_before() {
    let running = started(Settings::default()).await;
    let version = call(&running, "GET", SECRETS, &[], "").await.json();
    let version = version["metadata"]["resourceVersion"].as_str();
    let path = format!(
        "{SECRETS}?watch=1&resourceVersion={}",
        version.expect("versioned")
    );
    let mut open = send(&running, request("GET", &path, &[], "")).await;
    running.put(secret(&json!({}), "0")).expect("stored");
    assert_eq!(event(&mut open).await["type"], "ADDED");
    running.compact();
    let late = send(&running, request("GET", &path, &[], "")).await;
    for mut watch in [open, late] {
        let told = event(&mut watch).await;
        assert_eq!(
            (&told["type"], &told["object"]["code"]),
            (&json!("ERROR"), &json!(410))
        );
        assert_eq!(piece(watch.body_mut()).await, None);
    }
    // Whoever lists again goes on from there.
    let version = call(&running, "GET", SECRETS, &[], "").await.json();
    let version = version["metadata"]["resourceVersion"].as_str();
    let path = format!(
        "{SECRETS}?watch=1&resourceVersion={}",
        version.expect("versioned")
    );
    let mut again = send(&running, request("GET", &path, &[], "")).await;
    running.delete("secrets", "default", "w").expect("deleted");
    assert_eq!(event(&mut again).await["type"], "DELETED");
}

#[tokio::test]
async fn the_legacy_path_watches_one_object() {
    let running = started(Settings::default()).await;
    let mut response = send(
        &running,
        request(
            "GET",
            "/api/v1/watch/namespaces/default/secrets/db",
            &[],
            "",
        ),
    )
    .await;
    assert_eq!(
        event(&mut response).await["object"]["metadata"]["name"],
        "db"
    );
}

#[tokio::test]
async fn protobuf_events_carry_their_length() {
    let running = started(Settings::default()).await;
    let path = format!("{SECRETS}?watch=1&fieldSelector=metadata.name%3Ddb");
    let mut response = send(
        &running,
        request(
            "GET",
            &path,
            &["accept: application/vnd.kubernetes.protobuf"],
            "",
        ),
    )
    .await;
    assert_eq!(
        response.headers()["content-type"],
        "application/vnd.kubernetes.protobuf;stream=watch"
    );
    let frame = response
        .body_mut()
        .frame()
        .await
        .expect("an event")
        .expect("arrives");
    let bytes = frame.into_data().expect("data");
    let length = u32::from_be_bytes(bytes[..4].try_into().expect("four"));
    assert_eq!(length as usize, bytes.len() - 4);
    assert!(bytes[4..].starts_with(b"\n\x05ADDED\x12"));
    let (kind, object) = answer::watch_event(&bytes[4..]).expect("readable");
    assert_eq!(
        (kind.as_str(), &object["metadata"]["name"]),
        ("ADDED", &json!("db"))
    );
    assert!(
        bytes
            .windows(21)
            .any(|window| window == b"correct-horse-battery")
    );
}

#[tokio::test]
async fn a_websocket_watch_needs_an_origin_and_one_subprotocol() {
    let running = started(Settings::default()).await;
    let path = format!("{SECRETS}?watch=1&fieldSelector=metadata.name%3Ddb");
    let upgrade = [
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    assert_eq!(call(&running, "GET", &path, &upgrade, "").await.status, 403);
    let two = [
        &upgrade[..],
        &[
            "origin: http://localhost",
            "sec-websocket-protocol: binary.k8s.io, base64.binary.k8s.io",
        ],
    ]
    .concat();
    assert_eq!(call(&running, "GET", &path, &two, "").await.status, 400);
    let good = [&upgrade[..], &["origin: http://localhost"]].concat();
    let mut response = send(&running, request("GET", &path, &good, "")).await;
    assert_eq!(response.status(), 101);
    assert_eq!(
        response.headers()["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    let io = hyper::upgrade::on(&mut response).await.expect("upgraded");
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Client, None).await;
    let message = socket.next().await.expect("a message").expect("arrives");
    let event: Value = serde_json::from_str(message.to_text().expect("text")).expect("JSON");
    assert_eq!(
        (
            event["type"].as_str(),
            event["object"]["metadata"]["name"].as_str()
        ),
        (Some("ADDED"), Some("db"))
    );
}

#[tokio::test]
async fn a_pod_follows_the_end_of_its_main_process() {
    let running = started(Settings {
        seed: false,
        ..Settings::default()
    })
    .await;
    running
        .put(json!({
            "kind": "Pod", "apiVersion": "v1", "metadata": {"name": "once", "namespace": "default"},
            "spec": {"restartPolicy": "Never", "containers": [
                {"name": "main", "image": "busybox", "args": ["sh", "-c", "exit 7"], "stdin": true},
            ]},
        }))
        .expect("stored");
    let pods = "/api/v1/namespaces/default/pods";
    let pod = call(&running, "GET", &format!("{pods}/once"), &[], "").await;
    let version = pod.json()["metadata"]["resourceVersion"].clone();
    let version = version.as_str().expect("versioned");
    let path = format!("{pods}?watch=1&resourceVersion={version}");
    let mut watch = send(&running, request("GET", &path, &[], "")).await;
    let path = format!("{pods}/once/attach?container=main&stdin=true&stdout=true");
    let upgrade = [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-protocol: v5.channel.k8s.io",
    ];
    let attached = send(&running, request("GET", &path, &upgrade, "")).await;
    assert_eq!(attached.status(), StatusCode::SWITCHING_PROTOCOLS);
    let event = tokio::time::timeout(Duration::from_secs(10), event(&mut watch));
    let event = event.await.expect("the pod ends");
    assert_eq!(event["type"], "MODIFIED");
    let status = &event["object"]["status"];
    assert_eq!(status["phase"], "Failed");
    let ended = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(ended["exitCode"], 7);
    drop(attached);
    running.stop().await;
}
