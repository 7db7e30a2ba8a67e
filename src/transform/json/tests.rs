use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::limits::{JSON_DEPTH_MAX, JSON_KEY_BYTES_MAX};
use crate::policy::mask::Root;
use crate::policy::mask::{BUILTIN, FieldPath, LAST_APPLIED, MaskRule, builtin};
use crate::transform::output::Output;
use crate::transform::text::known::{Index, Value as Known};

const PASSWORD: &str = "S3cr3t-Pa55w0rd!";

fn placeholders() -> Arc<Placeholders> {
    Arc::new(Placeholders::new(&[7; 32]))
}

pub(super) fn mask_by(rule: &MaskRule) -> Mask {
    let plan = Arc::new(MaskPlan::compile(&[rule]));
    Mask {
        root: plan.root(Root::Object),
        plan,
        placeholders: placeholders(),
        linkable: Linkable::Yes,
        data_is_base64: true,
        known: None,
    }
}

fn secrets() -> Mask {
    mask_by(&builtin("secrets")[0])
}

fn fields(fields: &[&str]) -> Mask {
    mask_by(&MaskRule {
        fields: fields
            .iter()
            .map(|field| FieldPath::parse(field).unwrap())
            .collect(),
        ..MaskRule::default()
    })
}

/// Everything released, also when it ends in an error.
pub(super) fn run_pieces(mask: &Mask, pieces: &[&[u8]]) -> (Vec<u8>, Result<(), JsonError>) {
    let mut masker = JsonMasker::new(mask.clone(), Documents::Sequence);
    let (mut output, mut released) = (Output::default(), Vec::new());
    let mut drain = |output: &mut Output| {
        while let Some(bytes) = output.pop() {
            released.extend_from_slice(&bytes);
        }
    };
    let mut outcome = Ok(());
    for piece in pieces {
        let chunk = Bytes::copy_from_slice(piece);
        outcome = masker.push(&chunk, &mut output.of(&chunk));
        masker.rest();
        drain(&mut output);
        if outcome.is_err() {
            break;
        }
        assert!(masker.held() <= EMBEDDED_JSON_BYTES_MAX + 4 * JSON_KEY_BYTES_MAX);
    }
    if outcome.is_ok() {
        outcome = masker.finish(&mut output.of(&Bytes::new()));
        drain(&mut output);
    }
    (released, outcome)
}

/// The masked text, after checking that no cut changes it.
pub(super) fn run(mask: &Mask, text: &str) -> String {
    let (whole, outcome) = run_pieces(mask, &[text.as_bytes()]);
    outcome.unwrap();
    for at in 0..text.len() {
        let (head, tail) = text.as_bytes().split_at(at);
        let (cut, outcome) = run_pieces(mask, &[head, tail]);
        assert_eq!(outcome, Ok(()), "cut at {at}");
        assert_eq!(cut, whole, "cut at {at}");
    }
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(run_pieces(mask, &bytes).0, whole);
    String::from_utf8(whole).unwrap()
}

fn text_of(value: &str) -> String {
    placeholders().of(value).text().to_owned()
}

fn base64_of(value: &str) -> String {
    placeholders().of(value).base64()
}

/// The value as text, as base64 and JSON-escaped is not in `text`.
fn assert_absent(text: &[u8], value: &str) {
    let escaped = serde_json::to_string(value).unwrap();
    let encoded = STANDARD.encode(value);
    for form in [value, escaped.trim_matches('"'), &encoded] {
        assert!(
            memchr::memmem::find(text, form.as_bytes()).is_none(),
            "{form} in {}",
            String::from_utf8_lossy(text)
        );
    }
}

fn secret(password: &str) -> String {
    let encoded = STANDARD.encode(password);
    let applied = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "note": "<&>\n\"\\"},
        "data": {"password": encoded}, "stringData": {"plain": password},
    });
    let applied = serde_json::to_string(&applied.to_string()).unwrap();
    format!(
        r#"{{"kind":"Secret","metadata":{{"name":"db","annotations":{{"{LAST_APPLIED}":{applied},"x":"y"}}}},"data":{{"password":"{encoded}"}},"type":"Opaque"}}"#
    )
}

#[test]
fn c_01_objects_lists_and_pretty_text() {
    let object = secret(PASSWORD);
    let masked = run(&secrets(), &object);
    let value: Value = serde_json::from_str(&masked).unwrap();
    assert_eq!(value["data"]["password"], base64_of(PASSWORD));
    assert_eq!(value["metadata"]["annotations"]["x"], "y");
    assert_absent(masked.as_bytes(), PASSWORD);
    let applied = value["metadata"]["annotations"][LAST_APPLIED].as_str();
    let applied: Value = serde_json::from_str(applied.unwrap()).unwrap();
    assert_eq!(applied["data"]["password"], base64_of(PASSWORD));
    assert_eq!(applied["stringData"]["plain"], text_of(PASSWORD));
    assert_eq!(applied["metadata"]["note"], "<&>\n\"\\");

    let list = format!(r#"{{"kind":"SecretList","items":[{object},{object}]}}"#);
    let expected = format!(r#"{{"kind":"SecretList","items":[{masked},{masked}]}}"#);
    assert_eq!(run(&secrets(), &list), expected);

    let pretty = "{\n  \"data\": {\n    \"a\": \"cA==\"\n  },\n  \"type\": \"Opaque\"\n}";
    assert_eq!(
        run(&secrets(), pretty),
        pretty.replace("cA==", &base64_of("p"))
    );
}

#[test]
fn c_05_tables_and_c_06_metadata_and_c_07_watch_events() {
    let object = secret(PASSWORD);
    let masked = run(&secrets(), &object);
    for frame in [
        r#"{"kind":"Table","columnDefinitions":null,"rows":[{"cells":["db",1],"object":@},{"object":@}]}"#,
        "{\"type\":\"ADDED\",\"object\":@}\n{\"type\":\"DELETED\",\"object\":@}\n",
        "{\"type\":\"ADDED\",\"object\":{\"rows\":[{\"cells\":[],\"object\":@}]}}\n",
        "{\"object\":{\"items\":[@]},\"type\":\"ADDED\"}\n",
        r#"{"apiVersion":"v1","items":[@],"kind":"List","metadata":{}}"#,
    ] {
        assert_eq!(
            run(&secrets(), &frame.replace('@', &object)),
            frame.replace('@', &masked)
        );
    }
}

#[test]
fn c_07_an_event_is_never_held_for_the_next_one() {
    let mask = secrets();
    let mut masker = JsonMasker::new(mask, Documents::Sequence);
    let mut output = Output::default();
    for _ in 0..3 {
        let chunk = Bytes::from(format!("{{\"object\":{}}}\n", secret(PASSWORD)));
        masker.push(&chunk, &mut output.of(&chunk)).unwrap();
        let mut last = Bytes::new();
        while let Some(bytes) = output.pop() {
            last = bytes;
        }
        assert!(last.ends_with(b"}\n"));
    }
}

#[test]
fn between_two_events_nothing_is_kept_that_the_next_one_makes_anew() {
    let event = format!(r#"{{"type":"ADDED","object":{}}}"#, secret(PASSWORD));
    let (begin, end) = event.split_at(event.len() - 1);
    let mut masker = JsonMasker::new(secrets(), Documents::Sequence);
    let mut output = Output::default();
    let mut push = |text: &str| {
        let chunk = Bytes::copy_from_slice(text.as_bytes());
        masker.push(&chunk, &mut output.of(&chunk)).unwrap();
        masker.rest();
        masker.spare.is_some()
    };
    assert!(push(begin), "what masks an embedded document is used again");
    assert!(!push(end));
    assert!(push(begin) && !push(end));
}

#[test]
fn c_40_escaped_and_duplicate_keys_and_wrong_types() {
    let mask = secrets();
    let word = |value: &str| format!("\"{}\"", base64_of(value));
    for (text, expected) in [
        (
            r#"{"d\u0061ta":{"a":"cA=="},"data":{"a":"cA=="}}"#,
            format!(
                r#"{{"d\u0061ta":{{"a":{0}}},"data":{{"a":{0}}}}}"#,
                word("p")
            ),
        ),
        (
            r#"{"\u0064\u0061\u0074\u0061":{"a":"cA=\u003d","\ud83d\ude00":""}}"#,
            format!(
                r#"{{"\u0064\u0061\u0074\u0061":{{"a":{},"\ud83d\ude00":{}}}}}"#,
                word("p"),
                word("")
            ),
        ),
        (r#"{"data":null}"#, r#"{"data":null}"#.to_owned()),
        (
            r#"{"data":"p"}"#,
            format!(r#"{{"data":"{}"}}"#, text_of("p")),
        ),
    ] {
        assert_eq!(run(&mask, text), expected, "{text}");
    }
    for text in [
        r#"{"data":[1,{"a":"s3cr3t-value"}]}"#,
        r#"{"data":{"a":{"b":["s3cr3t-value"]},"c":[["s3cr3t-value"]]}}"#,
        r#"["s3cr3t-value"]"#,
        r#""s3cr3t-value""#,
        r#"{"items":["s3cr3t-value"]}"#,
        r#"{"metadata":{"annotations":"s3cr3t-value"}}"#,
    ] {
        let masked = run(&mask, text);
        assert!(!masked.contains("s3cr3t-value"), "{masked}");
        serde_json::from_str::<Value>(&masked).unwrap();
    }
    for number in ["12345", "-0", "true", "1e400", "null"] {
        let masked = run(
            &mask,
            &format!("{{\"data\":{{\"a\":{number}}},\"b\":{number}}}"),
        );
        assert!(masked.starts_with("{\"data\":{\"a\":\""), "{masked}");
        assert!(masked.ends_with(&format!(",\"b\":{number}}}")), "{masked}");
    }
}

#[test]
fn c_42_bytes_outside_of_masked_values_are_not_touched() {
    let text = "{ \"a\" : 12345678901234567890123 , \"b\":[1e400,-0,1.0,\"\\u00e9\\/\\ud800\"],\
                \"a\":0,\t\"data\" :\r\n{ \"k\" : \"cA==\" } , \"z\":\"\\u003c\"}\n";
    assert_eq!(run(&secrets(), text), text.replace("cA==", &base64_of("p")));
}

#[test]
fn an_empty_plan_is_the_identity() {
    let mask = Mask {
        plan: Arc::new(MaskPlan::compile(&[])),
        ..secrets()
    };
    let text = secret(PASSWORD);
    assert_eq!(run(&mask, &text), text);
}

#[test]
fn c_43_deep_documents_are_refused() {
    for depth in [JSON_DEPTH_MAX, 10_000] {
        let text = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let (_, outcome) = run_pieces(&secrets(), &[text.as_bytes()]);
        assert_eq!(outcome, Err(JsonError::TooDeep));
    }
    let text = format!(
        "{{\"data\":{{\"a\":{}1{}}}}}",
        "[".repeat(500),
        "]".repeat(500)
    );
    let (masked, outcome) = run_pieces(&secrets(), &[text.as_bytes()]);
    assert_eq!(outcome, Ok(()));
    assert!(masked.len() < 200);
}

#[test]
fn c_43_a_string_of_100_megabytes_is_never_held() {
    let chunk = Bytes::from("QUJD".repeat(256 * 1024));
    let mut masker = JsonMasker::new(secrets(), Documents::One);
    let mut output = Output::default();
    let head = Bytes::from_static(b"{\"data\":{\"a\":\"");
    masker.push(&head, &mut output.of(&head)).unwrap();
    assert_eq!(output.pop().unwrap(), "{\"data\":{\"a\":");
    for _ in 0..100 {
        masker.push(&chunk, &mut output.of(&chunk)).unwrap();
        assert!(output.is_empty());
        assert!(masker.held() < 1024);
    }
    let tail = Bytes::from_static(b"\"},\"b\":1}");
    masker.push(&tail, &mut output.of(&tail)).unwrap();
    masker.finish(&mut output.of(&Bytes::new())).unwrap();
    assert!(output.pop().unwrap().ends_with(b"\"},\"b\":1}"));

    // The same where nothing is masked: every chunk passes as the slice it is.
    let mut masker = JsonMasker::new(secrets(), Documents::One);
    let head = Bytes::from_static(b"{\"type\":\"");
    masker.push(&head, &mut output.of(&head)).unwrap();
    while output.pop().is_some() {}
    masker.push(&chunk, &mut output.of(&chunk)).unwrap();
    assert_eq!(output.pop().unwrap().as_ptr(), chunk.as_ptr());
}

#[test]
fn c_43_a_truncated_document_stays_truncated_and_leaks_nothing() {
    let text = secret(PASSWORD);
    for at in 1..text.len() {
        let (released, outcome) = run_pieces(&secrets(), &[&text.as_bytes()[..at]]);
        assert_eq!(outcome, Err(JsonError::Unfinished), "cut at {at}");
        assert_absent(&released, PASSWORD);
        assert_absent(&released, "UzNjcjN0");
        let whole = run_pieces(&secrets(), &[text.as_bytes()]).0;
        assert!(
            whole.starts_with(&released),
            "nothing is closed, cut at {at}"
        );
    }
}

#[test]
fn c_43_invalid_text_is_an_error_and_leaks_nothing() {
    for text in [
        r#"{"data":{"a":"s3cr3t-value\q"}}"#,
        r#"{"data":{"a":"s3cr3t-value"]}"#,
        r#"{"data":{"a":nuLLs3cr3t-value}}"#,
        "\u{feff}{\"data\":{\"a\":\"s3cr3t-value\"}}",
    ] {
        let (released, outcome) = run_pieces(&secrets(), &[text.as_bytes()]);
        assert!(outcome.is_err(), "{text}");
        assert_absent(&released, "s3cr3t-value");
    }
}

#[test]
fn c_44_embedded_documents_keep_their_form_or_are_masked_whole() {
    let annotated =
        |applied: &str| json!({"metadata": {"annotations": {LAST_APPLIED: applied}}}).to_string();
    let inner = |masked: &str| {
        let value: Value = serde_json::from_str(masked).unwrap();
        value["metadata"]["annotations"][LAST_APPLIED]
            .as_str()
            .unwrap()
            .to_owned()
    };
    // Twice and three times nested: masked inside; deeper: whole.
    let mut text = format!("{{\"stringData\":{{\"a\":\"{PASSWORD}\"}}}}");
    for level in 1..=5 {
        text = annotated(&text);
        let masked = run(&secrets(), &text);
        assert_absent(masked.as_bytes(), PASSWORD);
        let mut inside = masked;
        for _ in 0..level.min(3) {
            inside = inner(&inside);
        }
        if level <= 3 {
            assert!(inside.starts_with("{\"stringData\""), "level {level}");
        } else {
            assert!(inside.contains("\"[masked:v1:"), "level {level}: {inside}");
        }
    }
    for broken in [
        format!("{{\"data\":{{\"a\":\"{PASSWORD}\"}}"),
        format!("{{\"metadata\":{{oops {PASSWORD}}}}}"),
        format!("stringData:\n  a: {PASSWORD}"),
        format!("{{}} {PASSWORD}"),
        format!(
            "{{\"a\":{}\"{PASSWORD}\"{}}}",
            "[".repeat(600),
            "]".repeat(600)
        ),
    ] {
        let masked = inner(&run(&secrets(), &annotated(&broken)));
        assert_eq!(masked, text_of(&broken));
    }
    assert_eq!(inner(&run(&secrets(), &annotated(""))), "");
    let harmless = "{\"a\":\"\\u003c\",\"b\":[1, 2]}";
    assert_eq!(run(&secrets(), &annotated(harmless)), annotated(harmless));
}

#[test]
fn c_44_an_embedded_scalar_leaves_nothing_behind() {
    let applied =
        |text: &str| json!({"kind": "Secret", "metadata": {"annotations": {LAST_APPLIED: text}}});
    let manifest = json!({"stringData": {"password": PASSWORD}}).to_string();
    let pod = |text: &str, value: &str| {
        let env = json!([{"name": "DB_PASSWORD", "value": value, "zzz": 1}]);
        json!({
            "metadata": {"annotations": {LAST_APPLIED: text}},
            "spec": {"containers": [{"name": "c", "env": env}]}
        })
    };
    let workloads = mask_by(&builtin("workloads")[0]);
    for scalar in ["1", "-2.5e3", "null", "true", "false", "\"a\"", "[]", "{}"] {
        let items = [
            applied(scalar),
            applied("{}"),
            applied(&manifest),
            applied(scalar),
        ];
        let list = json!({"kind": "SecretList", "items": items}).to_string();
        assert_absent(run(&secrets(), &list).as_bytes(), PASSWORD);
        let watch: Vec<String> = items
            .iter()
            .map(|item| json!({"type": "ADDED", "object": item}).to_string())
            .collect();
        assert_absent(run(&secrets(), &watch.concat()).as_bytes(), PASSWORD);
        let pods = json!({"items": [pod(scalar, ""), pod("{}", PASSWORD), pod(scalar, PASSWORD)]});
        assert_absent(run(&workloads, &pods.to_string()).as_bytes(), PASSWORD);
    }
}

#[test]
fn a_text_that_is_masked_whole_may_end_in_a_quote() {
    for text in [r#"{"metadata":{"a":"b""#, r#"a""#, "\"", "\\", r#"\""#] {
        let object = |value: &str| json!({"metadata": {"annotations": {LAST_APPLIED: value}}});
        let masked = run(&secrets(), &object(text).to_string());
        assert_eq!(masked, object(&text_of(text)).to_string());
    }
    let mask = mask_by(&builtin("workloads")[0]);
    for password in [r#""correct horse""#, r#""$(TOKEN)""#, r#""a"#, "a\"\""] {
        let pod = json!({"spec": {"containers": [{"args": ["--password", password, "-v"]}]}});
        let masked = run(&mask, &pod.to_string());
        let masked: Value = serde_json::from_str(&masked).unwrap();
        let arguments = &masked["spec"]["containers"][0]["args"];
        assert_eq!(
            *arguments,
            json!(["--password", text_of(password), "-v"]),
            "{password}"
        );
    }
}

#[test]
fn an_embedded_document_above_the_limit_is_masked_whole() {
    let text = format!(
        "{{\"metadata\":{{\"annotations\":{{\"{LAST_APPLIED}\":\"{{\\\"a\\\":\\\"{}\\\"}}\"}}}}}}",
        "x".repeat(EMBEDDED_JSON_BYTES_MAX)
    );
    for size in [1000, 4096, text.len()] {
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        let (masked, outcome) = run_pieces(&secrets(), &pieces);
        assert_eq!(outcome, Ok(()));
        let whole = format!("{{\"a\":\"{}\"}}", "x".repeat(EMBEDDED_JSON_BYTES_MAX));
        let masked = String::from_utf8(masked).unwrap();
        assert!(
            masked.contains(&format!(":\"{}\"}}", text_of(&whole))),
            "{size}"
        );
    }
}

#[test]
fn masked_values_are_counted_and_named() {
    let mut masker = JsonMasker::new(secrets(), Documents::One);
    let mut output = Output::default();
    let chunk = Bytes::from(format!("{{\"items\":[{0},{0}]}}", secret(PASSWORD)));
    masker.push(&chunk, &mut output.of(&chunk)).unwrap();
    let report = super::super::report::MaskReport::default();
    report.add(masker.tally());
    assert_eq!(report.values_masked(), 6);
    let annotation = format!("items[*].metadata.annotations[\"{LAST_APPLIED}\"]");
    assert_eq!(
        report.masked_paths(),
        [
            "items[*].data.password".to_owned(),
            format!("{annotation}.data.password"),
            format!("{annotation}.stringData.plain"),
        ]
    );
}

#[test]
fn other_resources_are_masked_with_text() {
    let mask = fields(&["spec.containers[*].env[*].value", "binaryData.*"]);
    let text = r#"{"spec":{"containers":[{"name":"a","env":[{"name":"X","value":"v"},{"name":"Y"}]}]},"binaryData":{"b":"cA=="}}"#;
    assert_eq!(
        run(&mask, text),
        text.replace("\"v\"", &format!("\"{}\"", text_of("v")))
            .replace("cA==", &base64_of("p"))
    );
}

// -- the oracle: parse, walk, print --

/// Masks `data.*`, `stringData.*` and the last-applied annotation of one object.
fn naive_object(object: &mut Value, level: u8) {
    for (key, base64) in [("data", true), ("stringData", false)] {
        match object.get_mut(key) {
            Some(Value::Object(members)) => {
                for value in members.values_mut() {
                    *value = naive_value(value, base64);
                }
            }
            Some(Value::Null) | None => {}
            Some(wrong) => *wrong = naive_value(wrong, false),
        }
    }
    let Some(metadata) = object.get_mut("metadata") else {
        return;
    };
    let Value::Object(metadata) = metadata else {
        if !metadata.is_null() {
            *metadata = naive_value(metadata, false);
        }
        return;
    };
    match metadata.get_mut("annotations") {
        Some(Value::Object(annotations)) => {
            if let Some(applied) = annotations.get_mut(LAST_APPLIED) {
                naive_embedded(applied, level);
            }
        }
        Some(Value::Null) | None => {}
        Some(wrong) => *wrong = naive_value(wrong, false),
    }
}

fn naive_embedded(applied: &mut Value, level: u8) {
    match applied {
        Value::Null => {}
        Value::String(text) if text.trim().is_empty() => {}
        Value::String(text) => {
            let parsed: Option<Value> = serde_json::from_str(text).ok();
            *applied = match parsed {
                Some(mut document) if level < 3 => {
                    naive_roots(&mut document, level + 1);
                    Value::String(document.to_string())
                }
                _ => naive_value(applied, false),
            };
        }
        wrong => *wrong = naive_value(wrong, false),
    }
}

pub(in crate::transform) fn naive_roots(document: &mut Value, level: u8) {
    for event in [false, true] {
        let root = if event {
            document.get_mut("object")
        } else {
            Some(&mut *document)
        };
        let Some(root) = root.filter(|root| !root.is_null()) else {
            continue;
        };
        if !root.is_object() {
            *root = naive_value(root, false);
            continue;
        }
        naive_object(root, level);
        for (list, inner) in [("items", None), ("rows", Some("object"))] {
            let Some(Value::Array(elements)) = root.get_mut(list) else {
                continue;
            };
            for element in elements {
                let object = match inner {
                    Some(key) => element.get_mut(key),
                    None => Some(element),
                };
                match object {
                    Some(Value::Null) | None => {}
                    Some(object @ Value::Object(_)) => naive_object(object, level),
                    Some(wrong) => *wrong = naive_value(wrong, false),
                }
            }
        }
    }
}

/// A string by its text; for other values only the form is compared.
fn naive_value(value: &Value, base64: bool) -> Value {
    match value {
        Value::String(text) if base64 => {
            let Ok(decoded) = STANDARD.decode(text) else {
                return json!("[masked]");
            };
            match String::from_utf8(decoded) {
                Ok(decoded) => json!(base64_of(&decoded)),
                Err(_) => json!("[masked]"),
            }
        }
        Value::String(text) => json!(text_of(text)),
        _ => json!("[masked]"),
    }
}

/// Equal, where the oracle says `[masked]` for any placeholder.
pub(in crate::transform) fn assert_agrees(masked: &Value, naive: &Value) {
    match (masked, naive) {
        (Value::String(masked), Value::String(naive)) if naive == "[masked]" => {
            assert!(is_placeholder(masked), "{masked}");
        }
        // Answers to writes have a new placeholder each time.
        (Value::String(masked), Value::String(naive)) if is_placeholder(naive) => {
            assert!(is_placeholder(masked), "{masked}");
        }
        (Value::Object(masked), Value::Object(naive)) => {
            assert!(masked.keys().eq(naive.keys()), "{masked:?} {naive:?}");
            for (key, value) in masked {
                assert_agrees(value, &naive[key]);
            }
        }
        (Value::Array(masked), Value::Array(naive)) => {
            assert_eq!(masked.len(), naive.len());
            for (masked, naive) in masked.iter().zip(naive) {
                assert_agrees(masked, naive);
            }
        }
        (Value::String(masked), Value::String(naive)) if masked != naive => {
            let masked = serde_json::from_str(masked)
                .unwrap_or_else(|_| panic!("neither equal nor embedded: {masked} {naive}"));
            assert_agrees(&masked, &serde_json::from_str(naive).unwrap());
        }
        _ => assert_eq!(masked, naive),
    }
}

fn is_placeholder(text: &str) -> bool {
    let decoded = String::from_utf8(STANDARD.decode(text).unwrap_or_default());
    text.starts_with("[masked:v1:") || decoded.is_ok_and(|text| text.starts_with("[masked:v1:"))
}

fn documents() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "data",
        "stringData",
        "metadata",
        "annotations",
        LAST_APPLIED,
        "items",
        "rows",
        "object",
        "a\"\\\u{e9}",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        any::<String>().prop_map(|text| Value::from(STANDARD.encode(text))),
        Just(Value::from(secret(PASSWORD))),
    ];
    leaf.prop_recursive(7, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner.clone(), 0..5)
                .prop_map(Value::from_iter),
            inner.prop_map(|document| Value::from(document.to_string())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn agrees_with_the_naive_masker(document in documents(), pretty: bool, size in 1_usize..200) {
        let text = if pretty {
            serde_json::to_string_pretty(&document).unwrap()
        } else {
            document.to_string()
        };
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        let (masked, outcome) = run_pieces(&secrets(), &pieces);
        prop_assert_eq!(outcome, Ok(()));
        prop_assert_eq!(&masked, &run_pieces(&secrets(), &[text.as_bytes()]).0);
        let mut naive = document;
        if naive.is_object() {
            naive_roots(&mut naive, 0);
        } else if !naive.is_null() {
            naive = naive_value(&naive, false);
        }
        assert_agrees(&serde_json::from_slice(&masked).unwrap(), &naive);
    }

    #[test]
    fn no_input_panics(text in prop::collection::vec(any::<u8>(), 0..200), size in 1_usize..50) {
        let pieces: Vec<&[u8]> = text.chunks(size).collect();
        let (_, outcome) = run_pieces(&secrets(), &pieces);
        prop_assert_eq!(outcome.is_ok(), run_pieces(&secrets(), &[&text]).1.is_ok());
    }
}

/// A value that is written with escapes, and one that continues them.
const ESCAPED: &str = "a\"b\\c/d%e\n f\u{e9}g";
const HEX: &str = "deadbeefcafebabe";

/// All masks, and these values are known.
fn knowing(values: &[&str]) -> Mask {
    knowing_behind(BUILTIN, values)
}

fn knowing_behind<'a>(masks: impl IntoIterator<Item = &'a str>, values: &[&str]) -> Mask {
    let known = values.iter().map(|value| {
        Arc::new(Known {
            bytes: value.as_bytes().to_vec().into(),
            source: "secrets/db".to_owned(),
        })
    });
    let known: Vec<Arc<Known>> = known.collect();
    let rules: Vec<MaskRule> = masks.into_iter().flat_map(builtin).collect();
    let plan = Arc::new(MaskPlan::compile(&rules.iter().collect::<Vec<_>>()));
    Mask {
        root: plan.root(Root::Object),
        plan,
        known: Some(Arc::new(Shelf::from_pointee(Index::new(
            &known,
            &placeholders(),
        )))),
        ..secrets()
    }
}

/// A text in which there may be a known value, written in one way or another.
fn written() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![PASSWORD, ESCAPED, HEX, "12345678"]);
    let value = value.prop_flat_map(|value| {
        let inner = json!({"a": value}).to_string();
        let twice = json!([inner]).to_string();
        let percent: Vec<String> = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let units = value.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
        let code: Vec<String> = units.collect();
        let forms = [
            value,
            &STANDARD.encode(value),
            &inner,
            &twice,
            &percent.concat(),
            &code.concat(),
        ];
        prop::sample::select(forms.map(str::to_owned).to_vec())
    });
    let other = prop_oneof![
        any::<String>(),
        r#"([\\%u0-9a-fn\n",: \[-]|\\\\ud83d|2026-11-21T07:09:00Z ){0,30}"#,
        "[a-z0-9 -]{0,80}",
        (1_usize..6).prop_map(|count| format!("{}ud83d", "\\".repeat(count))),
    ];
    let cut = (value, other, 0_usize..40, any::<bool>());
    cut.prop_map(|(value, other, at, whole)| {
        let at = (0..=at.min(value.len()))
            .rev()
            .find(|at| value.is_char_boundary(*at));
        let end = if whole {
            value.len()
        } else {
            at.unwrap_or_default()
        };
        let middle = (0..=other.len() / 2)
            .rev()
            .find(|at| other.is_char_boundary(*at));
        let (before, behind) = other.split_at(middle.unwrap_or_default());
        format!("{before}{}{behind}", value.get(..end).unwrap())
    })
}

fn objects() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        2 => prop::sample::select(vec![
            "metadata", "name", "labels", "annotations", LAST_APPLIED, "spec", "containers", "env", "value", "args",
            "status", "managedFields", "object", "items", "data",
        ]).prop_map(str::to_owned),
        1 => written(),
    ];
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<i32>().prop_map(Value::from),
        6 => written().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::btree_map(key.clone(), inner.clone(), 0..6).prop_map(Value::from_iter),
            1 => inner.prop_map(|document| Value::from(document.to_string())),
        ]
    })
}

#[test]
fn c_47_a_string_does_not_continue_the_one_before() {
    let mask = knowing(&[HEX]);
    for slashes in 1..31 {
        let lead = format!("{}ud83d", "\\".repeat(slashes));
        for object in [
            json!([lead, HEX]),
            json!({"a": lead, "b": HEX}),
            json!({"name": lead, "value": HEX}),
        ] {
            let text = object.to_string();
            let masked = run_pieces(&mask, &[text.as_bytes()]).0;
            let masked = String::from_utf8(masked).unwrap();
            assert!(!masked.contains("beefcafe"), "{masked}");
        }
    }
}

#[test]
fn c_47_an_escape_is_read_as_one_wherever_it_is_cut() {
    let mask = knowing(&[HEX, "<S3cr3t-Pa55w0rd!"]);
    for slashes in 1..9 {
        let slashes = "\\".repeat(slashes);
        for value in [
            "uddeadbeefcafebabe",
            "u003cS3cr3t-Pa55w0rd!",
            "ud83d",
            "n%25",
        ] {
            let text = format!(r#"{{"a":"b{slashes}{value}","c":"{slashes}{value}"}}"#);
            let (whole, _) = run_pieces(&mask, &[text.as_bytes()]);
            let whole = String::from_utf8(whole).unwrap();
            let is_json = |text: &str| serde_json::from_str::<Value>(text).is_ok();
            assert_eq!(is_json(&whole), is_json(&text), "{whole}");
            for cut in 1..text.len() {
                let (one, other) = text.as_bytes().split_at(cut);
                let (masked, _) = run_pieces(&mask, &[one, other]);
                assert_eq!(String::from_utf8(masked).unwrap(), whole, "cut at {cut}");
            }
        }
    }
}

#[test]
fn values_that_become_known_while_a_stream_goes_on_lose_and_repeat_nothing() {
    let text = format!(
        r#"{{"spec":{{"a":"{}"}},"status":{{"b":"{}{PASSWORD}","c":{{"d":["{PASSWORD}"]}}}}}}"#,
        "x".repeat(200),
        "y".repeat(200)
    );
    let (before, after) = (knowing(&[]), knowing(&[PASSWORD]));
    for cut in 1..text.len() {
        let index = before.known.as_ref().unwrap().load_full();
        let shelf = Arc::new(Shelf::new(index));
        let mut mask = before.clone();
        mask.known = Some(Arc::clone(&shelf));
        let mut masker = JsonMasker::new(mask, Documents::Sequence);
        let mut released = Vec::new();
        let (head, tail) = text.as_bytes().split_at(cut);
        for chunk in [head, tail] {
            let mut sink = crate::transform::output::Collected::new(chunk, &mut released);
            masker.push(chunk, &mut sink).unwrap();
            shelf.store(after.known.as_ref().unwrap().load_full());
        }
        let released = String::from_utf8(released).unwrap();
        let object: Value = serde_json::from_str(&released).unwrap();
        let masked = object.to_string().replace(&text_of(PASSWORD), PASSWORD);
        assert_eq!(masked, text, "cut at {cut}");
        // What begins when it is known is masked, also in a string that began before.
        let known = text.find(PASSWORD).unwrap();
        assert!(cut > known || !released.contains(PASSWORD), "{released}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn c_47_a_text_is_searched_whole_as_it_is_string_by_string(
        objects in prop::collection::vec(objects(), 1..4), pretty: bool, size in 2_usize..300,
        alone: bool,
    ) {
        let values = [PASSWORD, ESCAPED, HEX];
        let mask = if alone { knowing_behind(["known-values"], &values) } else { knowing(&values) };
        let write = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
        let texts: Vec<String> = objects.iter().map(|object| write(object).unwrap()).collect();
        let text = texts.join("\n");
        // What comes byte by byte is never all there: each string is searched by itself.
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        let (expected, outcome) = run_pieces(&mask, &bytes);
        prop_assert_eq!(outcome, Ok(()));
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        for pieces in [&[text.as_bytes()][..], &pieces] {
            let (masked, outcome) = run_pieces(&mask, pieces);
            prop_assert_eq!(outcome, Ok(()));
            prop_assert_eq!(String::from_utf8_lossy(&masked), String::from_utf8_lossy(&expected));
        }
    }
}
