//! The masking bypasses of the threat catalogue, id by id: what an API server may answer and a client
//! may send. C-08 to C-10, C-47 to C-49 and C-51 to C-52 are about streams; C-60 to C-75 about policy.

#![expect(
    clippy::string_slice,
    clippy::too_many_lines,
    clippy::type_complexity,
    reason = "a table is as long and as wide as its rows"
)]

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::policy::mask::LAST_APPLIED;
use crate::transform::{guard_write, negotiate};

const CANARY: &str = "c4nary-hunter2-horse";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const SECRET: &str = "/api/v1/namespaces/n/secrets/db";
const POD: &str = "/api/v1/namespaces/n/pods/web";
const DATABASE: &str = "/apis/example.com/v1/namespaces/n/databases/db";

/// The built-in masks, and one for a custom resource.
fn permit(info: &RequestInfo) -> Permit {
    let path = |path: &str| FieldPath::parse(path).unwrap();
    let mut rules: Vec<MaskRule> = ["secrets", "workloads", "configmaps", "events", "tokens"]
        .into_iter()
        .flat_map(builtin)
        .collect();
    rules.push(MaskRule {
        api_groups: vec!["example.com".to_owned()],
        resources: vec!["databases".to_owned()],
        fields: vec![path("spec.password"), path("status.**[~='(?i)token']")],
        ..MaskRule::default()
    });
    rules.retain(|rule| rule.applies_to(&info.api_group, &info.qualified_resource()));
    assert!(!rules.is_empty(), "{}", info.resource);
    let rules: Vec<&MaskRule> = rules.iter().collect();
    Permit::for_tests(Identity::for_tests("alice", &[]), "demo", &rules)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// What of an answer leaves; `None` when it is withheld as a whole.
async fn leaves(
    request: (&Method, &str),
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
    size: usize,
) -> Option<(Vec<u8>, bool)> {
    let info = info(request.0, request.1);
    let frames = body
        .chunks(size.max(1))
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, *value);
    }
    let answer = answer.body(Unreleased::new(pieces(frames))).unwrap();
    let (response, _) = release(
        answer,
        &info,
        &permit(&info),
        &placeholders(),
        &KnownValues::default(),
    )
    .ok()?;
    let (text, outcome) = read(response.into_body()).await;
    Some((text, outcome.is_ok()))
}

fn assert_no_canary(id: &str, text: &[u8]) {
    for form in [CANARY.to_owned(), STANDARD.encode(CANARY)] {
        let found = memchr::memmem::find(text, form.as_bytes());
        assert!(found.is_none(), "{id}: {}", String::from_utf8_lossy(text));
    }
}

fn secret() -> String {
    format!(
        "{{\"metadata\":{{}},\"data\":{{\"p\":\"{}\"}}}}",
        STANDARD.encode(CANARY)
    )
}

fn wrapped(before: &str, object: &str, after: &str) -> Vec<u8> {
    format!("{before}{object}{after}").into_bytes()
}

/// Answers that must leave masked, complete and without the canary.
#[tokio::test]
async fn answers_leave_masked() {
    let (get, list) = (&Method::GET, "/api/v1/namespaces/n/secrets");
    let secret = secret();
    let pretty = serde_json::from_str::<serde_json::Value>(&secret).unwrap();
    let pretty = serde_json::to_string_pretty(&pretty).unwrap();
    let applied = serde_json::json!({"metadata": {"annotations": {LAST_APPLIED: secret}}});
    let applied = applied.to_string();
    let escaped = secret.replace("data", "d\\u0061t\\u0061");
    let double = wrapped("{\"data\":null,", &secret[1..], "");
    let env = format!(
        "{{\"spec\":{{\"containers\":[{{\"env\":[{{\"value\":\"{CANARY}\",\"name\":\"PASSWORD\"}}],\"args\":[\"--token\",\"{CANARY}\"]}}]}}}}"
    );
    let database = format!(
        "{{\"spec\":{{\"password\":\"{CANARY}\"}},\"status\":{{\"a\":[{{\"apiToken\":\"{CANARY}\"}}]}}}}"
    );
    let noted = serde_json::json!({"f:engine": {}, "f:password": {format!("v:\"{CANARY}\""): {}}});
    let noted =
        serde_json::json!({"metadata": {"managedFields": [{"fieldsV1": {"f:spec": noted}}]}});
    let noted = noted.to_string();
    let cells = format!("{{\"rows\":[{{\"cells\":[\"db\",\"{CANARY}\"],\"object\":{database}}}]}}");
    let event = format!("{{\"message\":\"GET https://u:{CANARY}@x failed\"}}");
    let helm = STANDARD.encode(STANDARD.encode(gzip(CANARY.as_bytes())));
    let entry = [field(1, b"p"), field(2, CANARY.as_bytes())].concat();
    let type_meta = |kind: &str| field(1, &[field(1, b"v1"), field(2, kind.as_bytes())].concat());
    let protobuf = [
        b"k8s\0".to_vec(),
        type_meta("Secret"),
        field(2, &[field(2, &entry), field(2, &entry)].concat()),
    ]
    .concat();
    let plain = [("content-type", JSON)];
    let zipped = [("content-type", JSON), ("content-encoding", "gzip")];
    let binary = [("content-type", PROTOBUF)];
    let rows: Vec<(&str, (&Method, &str), &[(&str, &str)], Vec<u8>)> = vec![
        ("C-01 object", (get, SECRET), &plain, secret.clone().into()),
        ("C-01 pretty", (get, SECRET), &plain, pretty.into()),
        (
            "C-01 list",
            (get, list),
            &plain,
            wrapped("{\"items\":[", &secret, "]}"),
        ),
        ("C-03 protobuf", (get, SECRET), &binary, protobuf),
        (
            "C-05 table",
            (get, list),
            &plain,
            wrapped(
                "{\"rows\":[{\"cells\":[\"db\",1],\"object\":",
                &secret,
                "}]}",
            ),
        ),
        ("C-05 C-31 columns", (get, DATABASE), &plain, cells.into()),
        (
            "C-06 metadata",
            (get, SECRET),
            &plain,
            applied.clone().into(),
        ),
        (
            "C-07 watch",
            (get, "/api/v1/namespaces/n/secrets?watch=1"),
            &plain,
            wrapped("{\"type\":\"DELETED\",\"object\":", &secret, "}\n"),
        ),
        ("C-11 gzip", (get, SECRET), &zipped, gzip(secret.as_bytes())),
        (
            "C-11 members",
            (get, SECRET),
            &zipped,
            [
                gzip(&secret.as_bytes()[..30]),
                gzip(&secret.as_bytes()[30..]),
            ]
            .concat(),
        ),
        (
            "C-12 items first",
            (get, "/apis/example.com/v1/namespaces/n/databases"),
            &plain,
            wrapped(
                "{\"apiVersion\":\"x\",\"items\":[",
                &database,
                "],\"kind\":\"Pod\"}",
            ),
        ),
        (
            "C-20 create",
            (&Method::POST, list),
            &plain,
            secret.clone().into(),
        ),
        (
            "C-20 patch",
            (&Method::PATCH, SECRET),
            &plain,
            secret.clone().into(),
        ),
        (
            "C-28 apply",
            (
                &Method::PATCH,
                "/api/v1/namespaces/n/secrets/db?fieldManager=me&force=true&dryRun=All",
            ),
            &plain,
            applied.clone().into(),
        ),
        (
            "C-21 delete",
            (&Method::DELETE, SECRET),
            &plain,
            secret.clone().into(),
        ),
        (
            "C-21 all",
            (&Method::DELETE, list),
            &plain,
            wrapped("{\"items\":[", &secret, "]}"),
        ),
        ("C-32", (get, DATABASE), &plain, noted.into()),
        ("C-40 escaped", (get, SECRET), &plain, escaped.into()),
        ("C-40 twice", (get, SECRET), &plain, double),
        (
            "C-40 type",
            (get, SECRET),
            &plain,
            wrapped("{\"data\":[\"", CANARY, "\"]}"),
        ),
        ("C-44 applied", (get, SECRET), &plain, applied.into()),
        (
            "C-44 helm",
            (get, "/api/v1/namespaces/n/configmaps/r"),
            &plain,
            wrapped("{\"data\":{\"release\":\"", &helm, "\"}}"),
        ),
        ("C-45 env", (get, POD), &plain, env.into()),
        ("C-45 any depth", (get, DATABASE), &plain, database.into()),
        (
            "C-46 event",
            (get, "/api/v1/namespaces/n/events/e"),
            &plain,
            event.into(),
        ),
        (
            "C-46 token",
            (
                &Method::POST,
                "/api/v1/namespaces/n/serviceaccounts/a/token",
            ),
            &plain,
            wrapped("{\"status\":{\"token\":\"", CANARY, "\"}}"),
        ),
    ];
    for (id, request, headers, body) in rows {
        for size in [1, 5, body.len()] {
            let left = leaves(request, 200, headers, &body, size).await;
            let (text, complete) = left.unwrap_or_else(|| panic!("{id} is withheld"));
            assert!(complete, "{id}");
            assert!(!text.is_empty(), "{id}");
            assert_no_canary(id, &text);
            assert!(
                memchr::memmem::find(&text, helm.as_bytes()).is_none(),
                "{id}"
            );
        }
    }
}

/// Answers that must not leave, or break off before the canary.
#[tokio::test]
async fn answers_that_cannot_be_masked_are_withheld() {
    let secret = secret();
    let deep = format!("{{\"a\":{}", "[".repeat(600));
    for (id, headers, body) in [
        (
            "C-02 yaml",
            &[("content-type", "application/yaml")][..],
            secret.as_str(),
        ),
        (
            "C-03 envelope",
            &[("content-type", PROTOBUF)],
            secret.as_str(),
        ),
        (
            "C-04 cbor",
            &[("content-type", "application/cbor")],
            secret.as_str(),
        ),
        (
            "C-11 br",
            &[("content-type", JSON), ("content-encoding", "br")],
            secret.as_str(),
        ),
        (
            "C-11 stacked",
            &[("content-type", JSON), ("content-encoding", "gzip, gzip")],
            secret.as_str(),
        ),
        (
            "C-13 text",
            &[("content-type", "text/plain")],
            secret.as_str(),
        ),
        ("C-13 none", &[], secret.as_str()),
        (
            "C-13 charset",
            &[("content-type", "application/json; charset=utf-16")],
            secret.as_str(),
        ),
        ("C-43 deep", &[("content-type", JSON)], deep.as_str()),
        (
            "C-43 cut",
            &[("content-type", JSON)],
            &secret[..secret.len() - 3],
        ),
        (
            "C-43 trailing",
            &[("content-type", JSON)],
            &format!("{{}}{secret}"),
        ),
    ] {
        for size in [1, body.len()] {
            let request = (&Method::GET, SECRET);
            if let Some((text, complete)) =
                leaves(request, 200, headers, body.as_bytes(), size).await
            {
                assert!(!complete, "{id}");
                assert_no_canary(id, &text);
            }
        }
    }
    for (id, method, target, status) in [
        ("C-24", Method::PATCH, SECRET, 422),
        ("C-24", Method::PATCH, POD, 422),
        ("C-25", Method::PUT, SECRET, 400),
        ("C-26", Method::PATCH, DATABASE, 422),
        ("C-27", Method::POST, "/api/v1/namespaces/n/configmaps", 403),
    ] {
        let message = format!("cannot use v1.Env{{Name:\"X\", Value:\"{CANARY}\"}}");
        let causes = serde_json::json!([{"message": message, "field": "x"}]);
        let error = serde_json::json!({"kind": "Status", "reason": "Invalid", "message": message,
            "details": {"name": CANARY, "causes": causes}});
        let plain = [("content-type", JSON)];
        let body = error.to_string();
        let left = leaves((&method, target), status, &plain, body.as_bytes(), 9).await;
        assert_no_canary(id, &left.unwrap().0);
    }
}

/// What a client asks for or writes, and the code it must get.
#[test]
fn requests_around_the_mask_are_refused() {
    for (id, target, accept) in [
        ("C-02", SECRET, "application/yaml"),
        ("C-04", SECRET, "application/cbor"),
        (
            "C-05",
            DATABASE,
            "application/json;as=Table;v=v1;g=meta.k8s.io",
        ),
    ] {
        let info = info(&Method::GET, target);
        let mut headers = http::HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        let error = negotiate(&mut headers, &info, &permit(&info)).unwrap_err();
        assert_eq!(error.code().as_u16(), 406, "{id}");
    }
    let guess =
        format!("/apis/example.com/v1/databases?watch=1&fieldSelector=spec.password%3D{CANARY}");
    let asked = info(&Method::GET, &guess);
    let error = negotiate(&mut http::HeaderMap::new(), &asked, &permit(&asked)).unwrap_err();
    assert_eq!(error.code().as_u16(), 400, "C-30");
    assert_no_canary("C-30", error.to_string().as_bytes());
    let placeholder = placeholders().of(CANARY).text().to_owned();
    let base64 = STANDARD.encode(&placeholder);
    let patch = "application/json-patch+json";
    let merge = "application/merge-patch+json";
    for (id, target, media_type, body) in [
        (
            "C-22",
            SECRET,
            patch,
            r#"[{"op":"copy","from":"/data/p","path":"/metadata/labels/x"}]"#,
        ),
        (
            "C-22",
            SECRET,
            patch,
            r#"[{"op":"move","from":"","path":"/metadata/annotations/x"}]"#,
        ),
        (
            "C-22",
            POD,
            patch,
            r#"[{"op":"copy","from":"/spec/containers/0/env/0","path":"/x"}]"#,
        ),
        (
            "C-23",
            SECRET,
            patch,
            r#"[{"op":"test","path":"/data/p","value":"eA=="}]"#,
        ),
        (
            "C-23",
            POD,
            patch,
            r#"[{"op":"test","path":"/spec/containers/0/args/1","value":"x"}]"#,
        ),
        (
            "C-81",
            SECRET,
            merge,
            &format!("{{\"data\":{{\"p\":\"{base64}\"}}}}"),
        ),
        (
            "C-81",
            POD,
            JSON,
            &format!("{{\"spec\":{{\"args\":[\"--a={placeholder}\"]}}}}"),
        ),
        (
            "C-82",
            SECRET,
            "application/yaml",
            &format!("data:\n  p: >-\n    {base64}\n"),
        ),
        (
            "C-82",
            DATABASE,
            merge,
            &format!(
                "{{\"a\":\"{}\"}}",
                STANDARD.encode(gzip(placeholder.as_bytes()))
            ),
        ),
    ] {
        let info = info(&Method::PATCH, target);
        let body = Bytes::copy_from_slice(body.as_bytes());
        let error = guard_write(&info, &permit(&info), Some(media_type), &body).unwrap_err();
        assert_eq!(error.code().as_u16(), 422, "{id} {error}");
        assert!(error.field().is_some(), "{id}");
    }
}
