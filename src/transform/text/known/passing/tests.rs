use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::glance::{is_release, is_release_told};
use super::*;
use crate::limits::KNOWN_VALUES_PASSED_BYTES_MAX;
use crate::transform::Placeholders;
use crate::wire::protobuf::tests::field;

const SECRETS: &str = "/api/v1/namespaces/shop/secrets";

fn book() -> Arc<Book> {
    let book = Book::new(Arc::new(Placeholders::new(&[7; 32])), 8);
    book.demand();
    Arc::new(book)
}

fn info(method: &Method, target: &str) -> RequestInfo {
    RequestInfo::parse(method, target).unwrap()
}

fn json_passing(method: &Method, target: &str, book: &Arc<Book>) -> Option<JsonPassing> {
    let info = info(method, target);
    Some(JsonPassing::new(Passing::new(&info, book)?, &info))
}

/// How many values are known after this answer, in one piece.
fn learned(method: &Method, target: &str, answer: &Value) -> usize {
    let book = book();
    if let Some(mut passing) = json_passing(method, target, &book) {
        passing.push(answer.to_string().as_bytes());
    }
    book.renew().known
}

fn secret(namespace: &str, name: &str, version: u64, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": name, "namespace": namespace, "resourceVersion": version.to_string(),
            "annotations": {"items": "[{\"data\":{\"password\":\"bm90LW9mLWEtc2VjcmV0\"}}]"},
        },
        "data": {"password": STANDARD.encode(value), "pin": STANDARD.encode("123")},
    })
}

fn list(items: &[Value]) -> Value {
    json!({"kind": "SecretList", "metadata": {"resourceVersion": "9", "items": 7}, "items": items})
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

#[test]
fn secrets_are_found_wherever_the_answer_is_cut() {
    let one = secret("shop", "db", 1, "correct-horse");
    let other = secret("shop", "web", 2, "battery-staple");
    let both = list(&[one.clone(), other.clone()]);
    let watch = [
        event("ADDED", &one),
        event("MODIFIED", &other),
        event(
            "BOOKMARK",
            &json!({"kind": "Secret", "metadata": {"resourceVersion": "9"}}),
        ),
    ];
    let watched = format!("{SECRETS}?watch=1");
    for (target, text, known) in [
        ("/api/v1/namespaces/shop/secrets/db", one.to_string(), 1),
        (SECRETS, both.to_string(), 2),
        (SECRETS, serde_json::to_string_pretty(&both).unwrap(), 2),
        ("/api/v1/secrets", both.to_string(), 2),
        (&watched, watch.concat(), 2),
    ] {
        let text = text.as_bytes();
        for size in 1..text.len() {
            let book = book();
            let mut passing = json_passing(&Method::GET, target, &book).unwrap();
            let (first, second) = text.split_at(size);
            passing.push(first);
            passing.push(second);
            assert_eq!(passing.held().0, 0, "nothing stays behind");
            assert_eq!(book.renew().known, known, "{target} cut at {size}");
        }
        let book = book();
        let mut passing = json_passing(&Method::GET, target, &book).unwrap();
        for byte in text.chunks(1) {
            passing.push(byte);
        }
        assert_eq!(book.renew().known, known, "{target} byte by byte");
        // What came before it broke off is learned; what is not complete is not.
        let book = self::book();
        let mut passing = json_passing(&Method::GET, target, &book).unwrap();
        passing.push(&text[..text.len() / 4]);
        assert_eq!(book.renew().known, 0, "{target}");
    }
}

#[test]
fn only_what_is_stored_as_a_secret_and_was_asked_for_is_believed() {
    let one = secret("shop", "db", 1, "correct-horse");
    let with = |path: &str, value: Value| {
        let mut other = one.clone();
        *other.pointer_mut(path).unwrap() = value;
        other
    };
    let db = "/api/v1/namespaces/shop/secrets/db";
    let get = |target: &str, answer: &Value| learned(&Method::GET, target, answer);
    assert_eq!(get(db, &one), 1);
    for (method, target) in [
        (Method::POST, SECRETS),
        (Method::PUT, db),
        (Method::PATCH, db),
    ] {
        assert_eq!(learned(&method, target, &one), 1, "{method}");
        for dry_run in ["?dryRun=All", "?dryRun=", "?fieldManager=x&dryRun=All"] {
            let target = format!("{target}{dry_run}");
            assert_eq!(learned(&method, &target, &one), 0, "{method} {target}");
        }
    }
    // What is deleted is not learned, nor does it say that it is gone: a finalizer may hold it.
    assert_eq!(learned(&Method::DELETE, db, &one), 0);
    assert_eq!(
        learned(&Method::DELETE, SECRETS, &list(std::slice::from_ref(&one))),
        0
    );
    // Other resources, also those that are called so.
    for target in [
        "/api/v1/namespaces/shop/configmaps/db",
        "/apis/example.com/v1/namespaces/shop/secrets/db",
        "/api/v1/namespaces/shop/secrets/db/status",
    ] {
        assert_eq!(get(target, &one), 0, "{target}");
    }
    // Another Secret than was asked for, or none that is told apart.
    assert_eq!(get("/api/v1/namespaces/bank/secrets/db", &one), 0);
    assert_eq!(get("/api/v1/namespaces/shop/secrets/web", &one), 0);
    for path in [
        "/metadata/name",
        "/metadata/namespace",
        "/metadata/resourceVersion",
    ] {
        assert_eq!(get(db, &with(path, json!(""))), 0, "{path}");
        assert_eq!(get(db, &with(path, Value::Null)), 0, "{path}");
    }
    assert_eq!(get(db, &with("/type", json!("helm.sh/release.v1"))), 0);
    // Values that are no base64 are none.
    assert_eq!(get(db, &with("/data/password", json!("correct-horse"))), 0);
    assert_eq!(get(db, &with("/data/password", json!(["x"]))), 0);
    // A Table, and a list where an object was asked for.
    let row = json!({"cells": ["db"], "object": one});
    assert_eq!(get(SECRETS, &json!({"kind": "Table", "rows": [row]})), 0);
    assert_eq!(get(db, &list(&[one])), 0);
}

#[test]
fn metadata_alone_takes_nothing_away() {
    let book = book();
    let target = "/api/v1/namespaces/shop/secrets/db";
    let mut passing = json_passing(&Method::GET, target, &book).unwrap();
    passing.push(
        secret("shop", "db", 1, "correct-horse")
            .to_string()
            .as_bytes(),
    );
    let mut later = secret("shop", "db", 2, "");
    later["kind"] = json!("PartialObjectMetadata");
    for data in [None, Some(Value::Null)] {
        later.as_object_mut().unwrap().remove("data");
        if let Some(data) = data {
            later["data"] = data;
        }
        let mut passing = json_passing(&Method::GET, target, &book).unwrap();
        passing.push(later.to_string().as_bytes());
        assert_eq!(book.renew().known, 1);
    }
}

#[test]
fn an_end_is_believed_where_the_watch_selects_nothing() {
    for (query, known) in [
        ("watch=1", 0),
        ("watch=1&labelSelector=a%3Db", 1),
        ("watch=1&fieldSelector=metadata.name%3Ddb", 1),
    ] {
        let book = book();
        let target = format!("{SECRETS}?{query}");
        let mut passing = json_passing(&Method::GET, &target, &book).unwrap();
        passing.push(event("ADDED", &secret("shop", "db", 1, "correct-horse")).as_bytes());
        assert_eq!(book.renew().known, 1);
        // Of another namespace.
        passing.push(event("DELETED", &secret("bank", "db", 9, "correct-horse")).as_bytes());
        assert_eq!(book.renew().known, 1);
        passing.push(event("DELETED", &secret("shop", "db", 2, "correct-horse")).as_bytes());
        assert_eq!(book.renew().known, known, "{query}");
    }
}

#[test]
fn what_is_held_is_bounded_and_a_large_secret_harms_no_other() {
    let book = book();
    let large = "x".repeat(KNOWN_VALUES_PASSED_BYTES_MAX);
    let text = list(&[
        secret("shop", "large", 1, &large),
        secret("shop", "db", 2, "correct-horse"),
    ])
    .to_string();
    let mut passing = json_passing(&Method::GET, SECRETS, &book).unwrap();
    for chunk in text.as_bytes().chunks(16 * 1024) {
        passing.push(chunk);
        assert!(passing.held().1 <= KNOWN_VALUES_PASSED_BYTES_MAX);
    }
    assert_eq!(book.renew().known, 1);
    // Whatever is no JSON is left to the mask.
    let mut passing = json_passing(&Method::GET, SECRETS, &book).unwrap();
    passing.push(b"{\"items\":[}");
    passing.push(text.as_bytes());
}

fn protobuf_secret(namespace: &str, name: &str, version: &str, kind: &str) -> Vec<u8> {
    let metadata = [
        field(1, name.as_bytes()),
        field(3, namespace.as_bytes()),
        field(6, version.as_bytes()),
    ];
    let entry = [field(1, b"password"), field(2, b"correct-horse")].concat();
    [
        field(1, &metadata.concat()),
        field(2, &entry),
        field(3, kind.as_bytes()),
    ]
    .concat()
}

#[test]
fn protobuf_teaches_the_same() {
    let db = "/api/v1/namespaces/shop/secrets/db";
    let learned = |target: &str, object: &[u8]| {
        let book = book();
        let passing = Passing::new(&info(&Method::GET, target), &book).unwrap();
        passing.protobuf(object, false);
        book.renew().known
    };
    let one = protobuf_secret("shop", "db", "7", "Opaque");
    assert_eq!(learned(db, &one), 1);
    assert_eq!(learned("/api/v1/secrets", &one), 1);
    assert_eq!(learned("/api/v1/namespaces/bank/secrets", &one), 0);
    for (namespace, name, version, kind) in [
        ("shop", "db", "", "Opaque"),
        ("", "db", "7", "Opaque"),
        ("shop", "", "7", "Opaque"),
        ("shop", "db", "7", "helm.sh/release.v1"),
    ] {
        let other = protobuf_secret(namespace, name, version, kind);
        assert_eq!(learned(SECRETS, &other), 0);
    }
    for cut in 0..one.len() {
        learned(db, &one[..cut]);
    }

    let book = book();
    let passing = Passing::new(&info(&Method::GET, SECRETS), &book).unwrap();
    passing.protobuf(&one, false);
    let metadata_alone = field(
        1,
        &[field(1, b"db"), field(3, b"shop"), field(6, b"8")].concat(),
    );
    passing.protobuf(&metadata_alone, false);
    assert_eq!(book.renew().known, 1);
    passing.protobuf(&metadata_alone, true);
    assert_eq!(book.renew().known, 0);
}

/// A Secret, as the API server writes it.
fn as_written(name: &str, version: u64, kind: &str) -> String {
    format!(
        r#"{{"kind":"Secret","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"shop","uid":"{0}","resourceVersion":"{version}","creationTimestamp":"2026-01-01T00:00:00Z","generation":7}},"immutable":true,"data":{{"password":"{1}"}},"type":"{kind}"}}"#,
        "8e6a1d0c-3c55-4a51-9e0f-5c1d4c7ce3d1",
        STANDARD.encode(format!("correct-horse-{name}")),
    )
}

fn event_as_written(kind: &str, text: &str) -> String {
    format!(r#"{{"type":"{kind}","object":{text}}}"#)
}

#[test]
fn what_comes_behind_an_event_that_is_passed_over_is_learned() {
    let db = event_as_written("ADDED", &as_written("db", 5, "Opaque"));
    let web = event_as_written("ADDED", &as_written("web", 5, "Opaque"));
    for text in [
        format!("{db}\n{web}\n"),
        format!("{db}{web}"),
        // As nobody writes it: the line ends where the event does not.
        db.replace(",\"immutable\"", "\n,\"immutable\"") + &web,
    ] {
        for cut in 0..=text.len() {
            let book = book();
            let of = Passing::new(&info(&Method::GET, SECRETS), &book).unwrap();
            of.secret(as_written("db", 5, "Opaque").as_bytes());
            let mut watch =
                json_passing(&Method::GET, &format!("{SECRETS}?watch=1"), &book).unwrap();
            let (one, other) = text.as_bytes().split_at(cut);
            watch.push(one);
            watch.push(other);
            assert_eq!(book.renew().known, 2, "{text} at {cut}");
        }
    }
}

#[test]
fn what_is_known_is_passed_over_at_a_glance() {
    let book = book();
    let passing = Passing::new(&info(&Method::GET, SECRETS), &book).unwrap();
    let text = as_written;
    let db = text("db", 5, "Opaque");
    assert!(passing.may_want(db.as_bytes()));
    passing.secret(db.as_bytes());
    assert_eq!(book.renew().known, 1);
    let event = event_as_written;
    for (text, wanted) in [
        (&db, false),
        (&text("db", 4, "Opaque"), false),
        (&text("db", 6, "Opaque"), true),
        (&text("web", 5, "Opaque"), true),
        (&text("web", 5, HELM_RELEASE), true),
        (&db.replace("shop", "bank"), false),
        // What is not read at a glance is read in full.
        (&db.replace("\"db\"", "\"d\\u0062\""), true),
        (&db.replace("\"metadata\"", "\"meta\\u0064ata\""), true),
        (&db.replace(":{\"name", ": {\"name"), true),
    ] {
        assert_eq!(passing.may_want(text.as_bytes()), wanted, "{text}");
        for kind in ["ADDED", "MODIFIED"] {
            let event = event(kind, text);
            assert_eq!(passing.may_want_event(event.as_bytes()), wanted, "{event}");
        }
        assert!(passing.may_want_event(event("DELETED", text).as_bytes()));
    }
    assert!(is_release(text("web", 5, HELM_RELEASE).as_bytes()));
    assert!(!is_release(db.as_bytes()));
    let release = text("db", 9, HELM_RELEASE);
    assert!(is_release_told(event("ADDED", &release).as_bytes()));
    assert!(!is_release_told(event("ADDED", &db).as_bytes()));
    // What is gone is, whatever it was.
    let mut watch = json_passing(&Method::GET, &format!("{SECRETS}?watch=1"), &book).unwrap();
    watch.push(event("DELETED", &release).as_bytes());
    assert_eq!(book.renew().known, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn what_is_passed_over_at_a_glance_teaches_nothing(
        metadata in prop::collection::vec(prop::sample::select(vec![
            r#""name":"db""#, r#""name":"web""#, r#""name":"d\u0062""#, r#""name":null"#, r#""namespace":"shop""#,
            r#""namespace":"bank""#, r#""resourceVersion":"5""#, r#""resourceVersion":"6""#,
            r#""resourceVersion":"x""#, r#""annotations":{"name":"web"}"#, r#""generation":7"#,
        ]), 0..6),
        members in prop::collection::vec(prop::sample::select(vec![
            "METADATA", r#""metadata":{}"#, r#""kind":"Secret""#, r#""type":"Opaque""#, r#""type":"helm.sh/release.v1""#,
            r#""data":{"a":"Y29ycmVjdC1ob3JzZQ==","b":"YmF0dGVyeS1zdGFwbGU="}"#, r#""immutable":true"#,
        ]), 0..6),
        rest: prop::sample::Index,
        cut: prop::sample::Index,
        change: Option<(prop::sample::Index, u8)>,
        shuffled in Just(vec![
            r#""metadata":{"name":"db","namespace":"shop","resourceVersion":"6"}"#, "METADATA",
            r#""data":{"a":"Y29ycmVjdC1ob3JzZQ==","b":"YmF0dGVyeS1zdGFwbGU="}"#, r#""type":"helm.sh/release.v1""#,
        ]).prop_shuffle(),
    ) {
        let metadata = format!(r#""metadata":{{{}}}"#, metadata.join(","));
        for members in [&members[..], &shuffled[..rest.index(5)]] {
            let text = format!("{{{}}}", members.join(",")).replace("METADATA", &metadata);
            let mut text = text.into_bytes();
            if let Some((place, byte)) = change {
                let place = place.index(text.len());
                text[place] = byte;
            }
            let event = [br#"{"type":"MODIFIED","object":"#, &text[..], b"}"].concat();
            let book = book();
            let passing = Passing::new(&info(&Method::GET, SECRETS), &book).unwrap();
            passing.secret(secret("shop", "db", 5, "correct-horse").to_string().as_bytes());
            prop_assert_eq!(book.renew().known, 1);
            let cut = cut.index(text.len() + 1);
            if !passing.may_want(&text[..cut]) || is_release(&text) {
                passing.secret(&text);
                prop_assert_eq!(book.renew().known, 1, "{}", String::from_utf8_lossy(&text));
            }
            if !passing.may_want_event(&event[..cut]) {
                passing.event(&event);
                prop_assert_eq!(book.renew().known, 1, "{}", String::from_utf8_lossy(&event));
            }
            if change.is_none() {
                passing.event(&event);
                let read = book.renew().known;
                let book = self::book();
                let mut watch = json_passing(&Method::GET, &format!("{SECRETS}?watch=1"), &book).unwrap();
                Passing::new(&info(&Method::GET, SECRETS), &book).unwrap().secret(secret("shop", "db", 5, "correct-horse").to_string().as_bytes());
                watch.push(&event[..cut]);
                watch.push(&event[cut..]);
                prop_assert_eq!(book.renew().known, read, "{}", String::from_utf8_lossy(&event));
            }
        }
    }

    #[test]
    fn no_input_panics_or_teaches(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        parts in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"items\"", "\"metadata\"", "\"data\"", "\"x", "null", "7",
        ]), 0..60),
        size in 1_usize..20,
    ) {
        let book = book();
        for text in [&bytes, parts.concat().as_bytes()] {
            for target in [SECRETS, "/api/v1/secrets?watch=1", "/api/v1/namespaces/shop/secrets/db"] {
                let mut passing = json_passing(&Method::GET, target, &book).unwrap();
                for chunk in text.chunks(size) {
                    passing.push(chunk);
                }
            }
            let passing = Passing::new(&info(&Method::GET, SECRETS), &book).unwrap();
            passing.protobuf(text, false);
            passing.protobuf(text, true);
        }
        prop_assert_eq!(book.renew().known, 0);
    }
}
