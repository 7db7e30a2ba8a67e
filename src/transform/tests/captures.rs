//! Answers of a real API server (see `tests/fixtures/captures`): no value leaves, nothing else changes.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::json::tests::{assert_agrees, naive_roots};
use super::*;

mod known;
mod protobuf;

/// In a plain annotation, where no rule looks.
const NOT_MASKED: &str = "ann0tation-secret-4711";

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures")
}

/// Cuts the first answer off a recording, undoing chunked framing; `None` when it is incomplete.
fn next_answer(bytes: &mut &[u8], head_only: bool) -> Option<Answer> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap().to_owned();
    *bytes = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap_or((line, "")))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    if status == 100 {
        return next_answer(bytes, head_only);
    }
    let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted);
    let mut body = Vec::new();
    if header("transfer-encoding").is_some() {
        while let Some(line) = memchr::memmem::find(bytes, b"\r\n") {
            let size = std::str::from_utf8(&bytes[..line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let from = line + 2;
            let to = (from + size).min(bytes.len());
            body.extend_from_slice(&bytes[from..to]);
            *bytes = &bytes[(to + 2).min(bytes.len())..];
            if size == 0 {
                break;
            }
        }
    } else if let (Some((_, length)), false) = (header("content-length"), head_only) {
        let length: usize = length.parse().unwrap();
        body.extend_from_slice(bytes.get(..length)?);
        *bytes = &bytes[length..];
    }
    Some(Answer {
        status,
        headers,
        body,
    })
}

fn response(answer: &Answer, size: usize) -> Response<Unreleased> {
    let frames = answer
        .body
        .chunks(size)
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(Unreleased::new(pieces(frames))).unwrap()
}

fn documents(text: &[u8]) -> Vec<Value> {
    serde_json::Deserializer::from_slice(text)
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

fn assert_absent(text: &[u8], secrets: &[String], context: &str) {
    for secret in secrets {
        let json = serde_json::to_string(secret).unwrap();
        let html = json
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026");
        let base64 = STANDARD.encode(secret);
        for form in [
            secret,
            json.trim_matches('"'),
            html.trim_matches('"'),
            &base64,
        ] {
            assert!(
                memchr::memmem::find(text, form.as_bytes()).is_none(),
                "{context}: {form} in {}",
                String::from_utf8_lossy(text)
            );
        }
    }
}

fn secrets_of(meta: &Value) -> Vec<String> {
    let secrets = meta["secrets"].as_array().unwrap().iter();
    let values = secrets.filter_map(|secret| secret["value"].as_str());
    values
        .filter(|value| value.len() >= 6 && *value != NOT_MASKED)
        .map(str::to_owned)
        .collect()
}

fn inflated(answer: &Answer) -> Vec<u8> {
    use std::io::Write as _;
    if !answer
        .headers
        .iter()
        .any(|(name, _)| name == "content-encoding")
    {
        return answer.body.clone();
    }
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    decoder.write_all(&answer.body).unwrap();
    decoder.finish().unwrap()
}

/// Placeholders in answers to writes are new each time; what is around them is not.
fn without_digests(mut text: Vec<u8>, info: &RequestInfo) -> Vec<u8> {
    if matches!(info.verb.as_str(), "get" | "list" | "watch") {
        return text;
    }
    let constant = placeholders().of("any");
    // The family as text, and as much of it as whole groups of base64 hold.
    for (whole, family) in [(constant.text().to_owned(), 11), (constant.base64(), 12)] {
        let whole = whole.as_bytes();
        let starts: Vec<usize> = memchr::memmem::find_iter(&text, &whole[..family]).collect();
        for start in starts {
            text[start..start + whole.len()].copy_from_slice(whole);
        }
    }
    text
}

async fn check(answer: &Answer, info: &RequestInfo, secrets: &[String], context: &str) -> bool {
    let is_json = answer
        .headers
        .contains(&("content-type".to_owned(), "application/json".to_owned()));
    let is_protobuf = answer.headers.iter().any(|(name, value)| {
        let reads = matches!(info.verb.as_str(), "get" | "list" | "watch");
        let protobuf = value.starts_with("application/vnd.kubernetes.protobuf");
        name == "content-type" && protobuf && reads
    });
    let sizes = if answer.body.len() < 20_000 {
        vec![1, 7, answer.body.len().max(1)]
    } else {
        vec![1009, answer.body.len()]
    };
    let mut texts = Vec::new();
    for size in sizes {
        let released = release(
            response(answer, size),
            info,
            &permit(),
            &placeholders(),
            &KnownValues::default(),
        );
        if !is_json && !is_protobuf && answer.status < 300 {
            assert!(released.is_err(), "{context}");
            return false;
        }
        let (response, report) = released.unwrap();
        let (text, outcome) = read(response.into_body()).await;
        outcome.unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_absent(&text, secrets, context);
        let text = without_digests(text, info);
        texts.push((text, report.values_masked(), report.masked_paths()));
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{context}: the cut matters");
    let (text, masked, _) = &texts[0];
    if answer.status >= 400 {
        assert_eq!(documents(text)[0]["code"], answer.status, "{context}");
        return false;
    }
    if is_protobuf {
        let changed = protobuf::assert_only_values_changed(text, &answer.body, info.is_watch());
        assert_eq!(changed > 0, *masked > 0, "{context}");
        return changed > 0;
    }
    let (masked_documents, originals) = (documents(text), documents(&inflated(answer)));
    assert_eq!(masked_documents.len(), originals.len(), "{context}");
    for (masked, mut original) in masked_documents.iter().zip(originals) {
        naive_roots(&mut original, 0);
        assert_agrees(masked, &original);
    }
    *masked > 0
}

/// Every answer of every scenario to a request that is understood, with the name of the scenario.
fn answers() -> Vec<(String, RequestInfo, Answer)> {
    let mut answers = Vec::new();
    for scenario in fs::read_dir(folder()).unwrap() {
        let scenario = scenario.unwrap().path();
        let name = scenario.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "corpus" {
            continue;
        }
        // Scenarios of sessions, kept without their description, are other rooms'.
        let Some(meta) = meta(&name) else {
            continue;
        };
        for connection in meta["connections"].as_array().unwrap() {
            let number = connection["n"].as_str().unwrap();
            let Ok(recording) = fs::read(scenario.join(format!("{number}.server.bin"))) else {
                continue;
            };
            let mut rest = recording.as_slice();
            for request in connection["requests"].as_array().unwrap() {
                let method = request["method"].as_str().unwrap();
                let target = request["target"].as_str().unwrap();
                let Some(answer) = next_answer(&mut rest, method == "HEAD") else {
                    break;
                };
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                if let Ok(info) = RequestInfo::parse(&method, target) {
                    answers.push((name.clone(), info, answer));
                }
            }
        }
    }
    answers
}

fn meta(scenario: &str) -> Option<Value> {
    let meta = fs::read(folder().join(scenario).join("meta.json")).ok()?;
    Some(serde_json::from_slice(&meta).unwrap())
}

#[tokio::test]
async fn c_01_to_c_07_c_20_c_21_c_24_no_value_of_a_real_answer_leaves() {
    let (mut checked, mut with_values) = (0, 0);
    for (scenario, info, answer) in answers() {
        if info.resource != "secrets" {
            continue;
        }
        checked += 1;
        let secrets = secrets_of(&meta(&scenario).unwrap());
        let context = format!("{scenario} {} {}", info.verb, info.path);
        with_values += usize::from(check(&answer, &info, &secrets, &context).await);
    }
    assert!(checked > 75 && with_values > 45, "{checked} {with_values}");
}

#[tokio::test]
async fn the_corpus_is_masked_like_the_naive_masker_does() {
    let folder = folder().join("corpus");
    let meta: Value = serde_json::from_slice(&fs::read(folder.join("meta.json")).unwrap()).unwrap();
    for (file, target) in [
        ("secrets.list.json", LIST),
        (
            "secrets.watch.jsonl",
            "/api/v1/namespaces/shop/secrets?watch=1",
        ),
        (
            "secrets.watch.table.jsonl",
            "/api/v1/namespaces/shop/secrets?watch=1",
        ),
    ] {
        let secrets: Vec<String> = meta["secrets"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|secret| secret["files"].as_array().unwrap().contains(&file.into()))
            .filter_map(|secret| Some(secret["value"].as_str()?.to_owned()))
            .collect();
        let answer = Answer {
            status: 200,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: fs::read(folder.join(file)).unwrap(),
        };
        let info = info(&Method::GET, target);
        check(&answer, &info, &secrets, file).await;
    }
    // Pods under a plan without a match: the same bytes.
    let pods = fs::read(folder.join("pods.list.json")).unwrap();
    let answer = response(
        &Answer {
            status: 200,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: pods.clone(),
        },
        4096,
    );
    let (text, outcome) = read(release_list(answer).unwrap().into_body()).await;
    outcome.unwrap();
    assert!(text == pods, "the bytes differ");
}
