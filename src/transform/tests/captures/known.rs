//! Known values in the protobuf of a real API server: what leaves is what leaves of the same objects in JSON.

use super::*;
use crate::request::body::{PROTOBUF, whole};
use crate::wire::protobuf::{FieldValue, Unknown, fields, last_bytes};

/// The objects of an answer, decoded; `None` for those that are in no table.
fn objects(body: &[u8], info: &RequestInfo) -> Vec<Option<Value>> {
    let decode = |body: &[u8]| whole(Some(PROTOBUF), body).ok();
    if info.is_watch() {
        let frames = protobuf::frames(body).into_iter();
        return frames
            .map(|frame| decode(last_bytes(last_bytes(frame, 2), 1)))
            .collect();
    }
    let unknown = Unknown::parse(body).unwrap();
    let Some(kind) = unknown.kind.strip_suffix("List") else {
        return vec![decode(body)];
    };
    let type_meta = [
        field(1, unknown.api_version.as_bytes()),
        field(2, kind.as_bytes()),
    ];
    let items = fields(unknown.raw).filter_map(|item| match item.unwrap().value {
        FieldValue::Bytes(item) => Some(item),
        _ => None,
    });
    items
        .skip(1)
        .map(|item| decode(&[MAGIC, &field(1, &type_meta.concat()), &field(2, item)].concat()))
        .collect()
}

/// Texts that may be planted: every one that is no name.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() >= 10 => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.values().for_each(|member| texts(member, found)),
        _ => {}
    }
}

async fn released(
    body: &[u8],
    content_type: &str,
    info: &RequestInfo,
    known: &KnownValues,
) -> (Vec<u8>, u64) {
    let masks: Vec<MaskRule> = ["secrets", "known-values"]
        .into_iter()
        .flat_map(builtin)
        .filter(|rule| rule.applies_to(&info.api_group, &info.qualified_resource()))
        .collect();
    let masks: Vec<&MaskRule> = masks.iter().collect();
    let permit = Permit::for_tests(Identity::for_tests("alice", &[]), "demo", &masks);
    let answer = Response::builder()
        .header(header::CONTENT_TYPE, content_type)
        .body(Unreleased::new(full(body.to_vec())))
        .unwrap();
    let (response, report) = release(answer, info, &permit, &placeholders(), known).unwrap();
    let (text, outcome) = read(response.into_body()).await;
    outcome.unwrap();
    (text, report.values_masked())
}

#[tokio::test]
async fn c_03_planted_values_leave_protobuf_as_they_leave_json() {
    let (mut checked, mut hidden) = (0, 0);
    for (scenario, info, answer) in answers() {
        let protobuf = answer.headers.iter().any(|(name, value)| {
            name == "content-type" && value.starts_with("application/vnd.kubernetes.protobuf")
        });
        let reads = matches!(info.verb.as_str(), "get" | "list" | "watch");
        if !protobuf || !reads || answer.status != 200 || answer.body.is_empty() {
            continue;
        }
        // Across namespaces, so that what was learned counts.
        let info = RequestInfo {
            namespace: String::new(),
            ..info
        };
        let originals = objects(&answer.body, &info);
        let mut planted = Vec::new();
        originals
            .iter()
            .flatten()
            .for_each(|object| texts(object, &mut planted));
        planted.sort();
        planted.dedup();
        planted.truncate(200);
        let keys: Vec<String> = (0..planted.len()).map(|n| format!("password{n}")).collect();
        let planted = planted.iter().map(String::as_str);
        let known = knowing(
            "demo",
            "elsewhere",
            keys.iter().map(String::as_str).zip(planted),
        );
        let (text, count) = released(&answer.body, PROTOBUF, &info, &known).await;
        let masked = objects(&text, &info);
        assert_eq!(masked.len(), originals.len(), "{scenario}");
        let single = RequestInfo {
            verb: "get".to_owned(),
            ..info.clone()
        };
        for (masked, original) in masked.iter().zip(&originals) {
            let (Some(masked), Some(original)) = (masked, original) else {
                assert_eq!(masked.is_some(), original.is_some(), "{scenario}");
                continue;
            };
            let text = original.to_string();
            let (json, _) = released(text.as_bytes(), "application/json", &single, &known).await;
            let json: Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(*masked, json, "{scenario}");
            checked += 1;
        }
        hidden += count;
    }
    assert!(checked > 15 && hidden > 40, "{checked} {hidden}");
}
