//! What was masked does not come back: every carrier of a long list, sent as an object of its own, is refused.

use bytes::Bytes;
use http::Method;

use super::*;
use crate::identity::Identity;
use crate::policy::Permit;
use crate::request::body::{JSON, PROTOBUF, whole};
use crate::transform::guard_write;

/// What may hold a value, with a name that says which.
fn carriers() -> Vec<(String, Vec<u8>)> {
    let applied = |text: &str| field(1, &field(12, &entry(LAST_APPLIED, text.as_bytes())));
    let values = [1, 2, 7, 8, 10, 11, 12, 30, 52, 53, 4000].map(|length| {
        let value: Vec<u8> = b"S3cr3t".iter().copied().cycle().take(length).collect();
        (
            format!("data of {length} bytes"),
            field(2, &entry("password", &value)),
        )
    });
    let documents = [
        r#"{"data":{"a":""}}"#,
        r#"{"data":{"a":"eA=="}}"#,
        r#"{"stringData":{"password":"x"}}"#,
        r#"{"metadata":{"name":"db"},"stringData":{"password":"hunter2-horse-battery-staple"}}"#,
        r#"{"data":{"a":"x"}"#,
        "S3cr3t-Pa55w0rd!",
    ];
    let documents = documents.map(|text| (format!("last-applied {text}"), applied(text)));
    let many = format!(
        r#"{{"stringData":{{"password":"x"}},"metadata":{{"name":"{}"}}}}"#,
        "n".repeat(200)
    );
    values
        .into_iter()
        .chain(documents)
        .chain([("last-applied with room".to_owned(), applied(&many))])
        .collect()
}

fn is_refused(content_type: &str, body: Vec<u8>) -> bool {
    let info = RequestInfo::parse(&Method::PUT, SECRET).unwrap();
    let secrets = secrets();
    let permit = Permit::for_tests(Identity::for_tests("alice", &[]), "demo", &[&secrets]);
    guard_write(&info, &permit, Some(content_type), &Bytes::from(body)).is_err()
}

#[test]
fn c_81_nothing_of_a_long_list_comes_back() {
    let carriers = carriers();
    // Its value is in it twice.
    let filler = secret("filler", "big", &vec![b'f'; PROTOBUF_OBJECT_BYTES_MAX / 4]);
    let items: Vec<u8> = [&filler, &filler]
        .into_iter()
        .chain(carriers.iter().map(|(_, item)| item))
        .flat_map(|item| field(2, item))
        .collect();
    let list = envelope("SecretList", &[field(1, b""), items].concat());
    let (text, outcome) = run(masker(SECRETS, Form::List, &secrets()), &[&list]);
    assert!(outcome.is_ok_and(|count| count >= carriers.len() as u64));
    assert_eq!(text.len(), list.len());
    let items = fields(at(&text[MAGIC.len()..], &[2])).filter_map(|field| match field.ok()? {
        Field {
            number: 2,
            value: FieldValue::Bytes(item),
        } => Some(item),
        _ => None,
    });
    let mut sent = 0;
    for (item, (name, original)) in items.skip(2).zip(&carriers) {
        let body = |item| envelope("Secret", item);
        assert!(!is_refused(PROTOBUF, body(original)), "{name}");
        assert!(is_refused(PROTOBUF, body(item)), "{name}");
        let json = whole(Some(PROTOBUF), &body(item)).unwrap().to_string();
        assert!(is_refused(JSON, json.into_bytes()), "{name} as JSON");
        sent += 1;
    }
    assert_eq!(sent, carriers.len());
}
