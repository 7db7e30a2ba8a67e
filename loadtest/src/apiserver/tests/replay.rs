//! The requests of the captures, sent again: the answers must be those of the real server.

#![expect(
    clippy::string_slice,
    reason = "a test stops at what it did not expect"
)]

use std::path::{Path, PathBuf};

use http_body_util::Full;
use serde_json::{Value, json};

use super::*;
use crate::apiserver::types::{self, proto};

/// A message of a recorded connection.
struct Recorded {
    first_line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Recorded {
    fn header(&self, name: &str) -> &str {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.as_str())
    }
}

/// `(request, answer)` pairs of a scenario.
fn scenario(name: &str) -> Vec<(Recorded, Recorded)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/captures")
        .join(name);
    let mut clients: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("recorded")
        .map(|entry| entry.expect("listed").path())
        .filter(|path| path.to_string_lossy().ends_with(".client.bin"))
        .collect();
    clients.sort();
    let mut pairs = Vec::new();
    for client in clients {
        let server = client.to_string_lossy().replace(".client.", ".server.");
        let read = |path: &Path| std::fs::read(path).expect("recorded");
        pairs.extend(
            messages(&read(&client))
                .into_iter()
                .zip(messages(&read(Path::new(&server)))),
        );
    }
    assert!(!pairs.is_empty(), "{name} is missing");
    pairs
}

fn messages(mut bytes: &[u8]) -> Vec<Recorded> {
    let mut out = Vec::new();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes = &bytes[end + 4..];
        let mut lines = head.split("\r\n").map(str::to_owned);
        let first_line = lines.next().expect("a line");
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| {
                line.split_once(':')
                    .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            })
            .collect();
        let mut message = Recorded {
            first_line,
            headers,
            body: Vec::new(),
        };
        if message.header("transfer-encoding") == "chunked" {
            loop {
                let line = bytes
                    .windows(2)
                    .position(|window| window == b"\r\n")
                    .expect("a chunk");
                let size =
                    usize::from_str_radix(std::str::from_utf8(&bytes[..line]).expect("digits"), 16)
                        .expect("a size");
                message
                    .body
                    .extend_from_slice(&bytes[line + 2..line + 2 + size]);
                bytes = &bytes[line + 2 + size + 2..];
                if size == 0 {
                    break;
                }
            }
        } else {
            let length = message.header("content-length").parse().unwrap_or(0);
            message.body = bytes[..length].to_vec();
            bytes = &bytes[length..];
        }
        out.push(message);
    }
    out
}

/// Without what differs from run to run: versions, ages, descriptions of columns.
fn stable(value: &Value) -> Value {
    match value {
        Value::Object(entries) => Value::Object(
            entries
                .iter()
                .filter(|(key, _)| {
                    !["resourceVersion", "continue", "description"].contains(&key.as_str())
                })
                .map(|(key, value)| (key.clone(), stable(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(stable).collect()),
        Value::String(text) => Value::String(stable_text(text)),
        other => other.clone(),
    }
}

fn stable_text(text: &str) -> String {
    let age = text.len() < 8
        && text.starts_with(|first: char| first.is_ascii_digit())
        && text.ends_with(['s', 'm', 'h', 'd', 'y']);
    if age {
        return "AGE".to_owned();
    }
    let mut out = text.to_owned();
    for marker in [r#"resourceVersion\":\""#, "too old resource version: 1 ("] {
        if let Some(at) = out.find(marker) {
            let digits = out[at + marker.len()..]
                .chars()
                .take_while(char::is_ascii_digit)
                .count();
            out.replace_range(at + marker.len()..at + marker.len() + digits, "N");
        }
    }
    out
}

/// A body in a form that can be compared, whatever its media type.
fn comparable(content_type: &str, body: &[u8]) -> String {
    let text = || String::from_utf8_lossy(body).into_owned();
    if content_type.starts_with("application/vnd.kubernetes.protobuf") {
        let (version, kind, raw) = proto::open(body).expect("protobuf");
        let message = types::message(&kind).expect("a known kind");
        let object = Value::Object(proto::decode(message, raw).expect("decodes"));
        return format!("{version} {kind} {}", stable(&object));
    }
    if content_type.starts_with("application/yaml") {
        let value: Value = serde_saphyr::from_str(&text()).expect("YAML");
        return stable(&value).to_string();
    }
    let lines: Vec<String> = match serde_json::from_slice::<Value>(body) {
        Ok(value) => vec![
            stable(&value).to_string(),
            format!("indented: {}", body.starts_with(b"{\n")),
        ],
        Err(_) if content_type.starts_with("application/json") => text()
            .lines()
            .map(|line| stable(&serde_json::from_str(line).expect("a line of JSON")).to_string())
            .collect(),
        Err(_) => vec![text()],
    };
    lines.join("\n")
}

async fn replay(running: &Running, name: &str, skip: &[usize]) {
    for (index, (asked, answered)) in scenario(name).into_iter().enumerate() {
        if skip.contains(&index) {
            continue;
        }
        let mut words = asked.first_line.split(' ');
        let (method, path) = (
            words.next().expect("a method"),
            words.next().expect("a path"),
        );
        let mut builder = Request::builder().method(method).uri(path);
        for (key, value) in &asked.headers {
            if !["content-length", "accept-encoding"].contains(&key.to_ascii_lowercase().as_str()) {
                builder = builder.header(key, value);
            }
        }
        if asked.header("authorization").is_empty() {
            builder = builder.header("authorization", format!("Bearer {TOKEN}"));
        }
        let request = builder
            .body(Full::new(Bytes::from(asked.body.clone())))
            .expect("a request");
        let answer = whole(send(running, request).await).await;
        let place = format!("{name} #{index}: {}", asked.first_line);
        let status = answered.first_line.split(' ').nth(1).expect("a status");
        assert_eq!(answer.status.as_str(), status, "{place}: {:?}", answer.body);
        let wanted = answered.header("content-type");
        assert_eq!(answer.content_type(), wanted, "{place}");
        assert_eq!(
            comparable(wanted, &answer.body),
            comparable(wanted, &answered.body),
            "{place}"
        );
    }
}

/// A server with the Secrets of the recorded namespace.
async fn shop() -> Running {
    let running = started(Settings {
        seed: false,
        ..Settings::default()
    })
    .await;
    running
        .put(json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop"}}))
        .expect("stored");
    let (_, listed) = scenario("raw-list-json").remove(0);
    let list: Value = serde_json::from_slice(&listed.body).expect("JSON");
    for item in list["items"].as_array().expect("a list") {
        let mut secret = json!({"kind": "Secret", "apiVersion": "v1"});
        secret
            .as_object_mut()
            .expect("an object")
            .extend(item.as_object().expect("an object").clone());
        running.put(secret).expect("stored");
    }
    running
}

#[tokio::test]
async fn reads_answer_as_recorded() {
    let running = shop().await;
    for name in [
        "raw-get-json",
        "raw-get-yaml",
        "raw-get-table",
        "raw-get-protobuf",
        "raw-list-json",
        "raw-list-table",
        "raw-list-pom-json",
        "raw-list-pom-yaml",
        "raw-accept-order",
        "raw-pretty-curl-ua",
        "raw-pretty-false-curl-ua",
        "raw-path-forms",
        "watch-item-ignored",
    ] {
        replay(&running, name, &[]).await;
    }
}

#[tokio::test]
async fn watches_answer_as_recorded() {
    let running = shop().await;
    for name in ["watch-expired-json", "watch-flag-forms", "watch-yaml"] {
        replay(&running, name, &[]).await;
    }
}

#[tokio::test]
async fn errors_answer_as_recorded() {
    let running = shop().await;
    running
        .put(json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "w-409", "namespace": "shop"}}))
        .expect("stored");
    // A custom resource, for its 404.
    running.put(json!({
        "kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1",
        "metadata": {"name": "databases.cap.example.com"},
        "spec": {
            "group": "cap.example.com", "scope": "Namespaced", "names": {"plural": "databases", "kind": "Database"},
            "versions": [{"name": "v1", "served": true, "storage": true}],
        },
    })).expect("stored");
    replay(&running, "err-404", &[]).await;
    // #4 is a created object with the recorder's uid; #6 words a YAML error as Go's parser does.
    replay(&running, "err-400-decode", &[4, 6]).await;
    replay(&running, "err-406-415-405", &[]).await;
    replay(&running, "err-409-conflict", &[]).await;
    replay(&running, "err-410-continue", &[]).await;
    replay(&running, "err-401-badtoken", &[]).await;
}

/// The leak: a patch of the wrong type quotes the whole stored Secret.
#[tokio::test]
async fn a_patch_of_the_wrong_type_quotes_the_secret_as_recorded() {
    let running = shop().await;
    let (_, answered) = scenario("err-422-patch-echo").remove(0);
    let status: Value = serde_json::from_slice(&answered.body).expect("JSON");
    let message = status["message"].as_str().expect("a text");
    let quoted = &message[message.find('"').expect("a quote")..];
    let quoted = &message[message.len() - quoted.len() + quoted.find("\"{").expect("the object")..];
    let quoted: String = serde_json::Deserializer::from_str(quoted)
        .into_iter()
        .next()
        .expect("one")
        .expect("a string");
    let mut stored: Value = serde_json::from_str(&quoted).expect("the object");
    stored["metadata"]
        .as_object_mut()
        .expect("an object")
        .remove("annotations");
    running.put(stored).expect("stored");
    // #4 is worded by a typed converter; #5 and #6 patch objects that are not stored here.
    replay(&running, "err-422-patch-echo", &[4, 5, 6]).await;
}

#[tokio::test]
async fn discovery_speaks_the_recorded_forms() {
    let running = started(Settings::default()).await;
    for (asked, answered) in scenario("discovery-raw") {
        let path = asked.first_line.split(' ').nth(1).expect("a path");
        if path.contains("cap.example.com") {
            continue;
        }
        let accept = format!("accept: {}", asked.header("accept"));
        let answer = call(&running, "GET", path, &[&accept], "").await;
        assert_eq!(
            answer.status.as_str(),
            answered.first_line.split(' ').nth(1).expect("a status"),
            "{path}"
        );
        assert_eq!(
            answer.content_type(),
            answered.header("content-type"),
            "{path}"
        );
        let (Ok(real), Ok(ours)) = (
            serde_json::from_slice::<Value>(&answered.body),
            serde_json::from_slice::<Value>(&answer.body),
        ) else {
            continue;
        };
        let keys = |value: &Value| {
            value
                .as_object()
                .map(|entries| entries.keys().cloned().collect::<Vec<_>>())
        };
        assert_eq!(keys(&ours), keys(&real), "{path}");
        if path == "/version" {
            assert_eq!(ours, real);
        }
        // What we serve of the aggregated form is what the real server serves.
        let resource = |list: &Value, name: &str| {
            let items = list
                .pointer("/items/0/versions/0/resources")
                .and_then(Value::as_array)
                .cloned();
            items
                .into_iter()
                .flatten()
                .find(|entry| entry["resource"] == name)
        };
        for name in [
            "secrets",
            "configmaps",
            "namespaces",
            "persistentvolumeclaims",
        ] {
            if let Some(entry) = resource(&real, name) {
                assert_eq!(Some(entry), resource(&ours, name), "{path}");
            }
        }
    }
}
