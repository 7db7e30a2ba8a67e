use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::wire::protobuf::tests::field;

/// What is looked for.
const NEEDLE: &[u8] = b"[needle]";

fn is_found(text: &[u8]) -> bool {
    memchr::memmem::find(text, NEEDLE).is_some()
}

fn named(body: &[u8]) -> Option<String> {
    find(body, &mut is_found)
}

fn object(kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    [MAGIC, &field(1, &type_meta), &field(2, raw), &field(3, b"")].concat()
}

fn entry(key: &str, value: &[u8]) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, value)].concat()
}

/// The body of a recorded request, with the object's `old` values made `new`.
fn capture(path: &str, old: &[u8], new: &[u8]) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures");
    let bytes = fs::read(folder.join(path)).unwrap();
    let body = memchr::memmem::find(&bytes, b"\r\n\r\n").unwrap() + 4;
    let unknown = Unknown::parse(&bytes[body..]).unwrap();
    object(unknown.kind, &rewritten(unknown.raw, old, new))
}

fn rewritten(message: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in fields(message) {
        let item = item.unwrap();
        if let FieldValue::Bytes(bytes) = item.value {
            let inner = match bytes {
                bytes if bytes == old => new.to_vec(),
                bytes if is_message(bytes) => rewritten(bytes, old, new),
                bytes => bytes.to_vec(),
            };
            out.extend(field(item.number, &inner));
        }
    }
    out
}

#[test]
fn recorded_writes_name_the_key_of_the_secret() {
    let (value, text) = (b"S3cr3t-Pa55w0rd!", NEEDLE);
    for path in [
        "kubectl-create-secret-1.36/001.client.bin",
        "write-protobuf-raw/001.client.bin",
        "write-protobuf-raw/002.client.bin",
    ] {
        let body = capture(path, value, text);
        assert_eq!(named(&body).as_deref(), Some("data.password"), "{path}");
        let body = capture(path, value, value);
        assert_eq!(named(&body), None, "{path}");
    }
    let path = "kubectl-create-secret-1.36/001.client.bin";
    let body = capture(path, b"shop_rw", text);
    assert_eq!(named(&body).as_deref(), Some("data.user"));
}

#[test]
fn fields_have_the_names_of_json() {
    let text = NEEDLE;
    let within = [b"a: ", text, b"\n"].concat();
    let applied = "kubectl.kubernetes.io/last-applied-configuration";
    let applied_in_full = format!("metadata.annotations[\"{applied}\"]");
    let annotation = field(1, &field(12, &entry(applied, &within)));
    let key = str::from_utf8(text).unwrap();
    let environment = |value: &[u8]| field(7, &entry("PASSWORD", value));
    let container = |value: &[u8]| [environment(b"x"), environment(value)].concat();
    let containers = [
        field(1, b"not this one"),
        field(2, &container(b"x")),
        field(2, &container(text)),
    ];
    for (kind, raw, expected) in [
        (
            "Secret",
            field(2, &entry("tls.key", text)),
            "data[\"tls.key\"]",
        ),
        ("Secret", field(4, &entry("a", &within)), "stringData.a"),
        ("Secret", field(3, text), "type"),
        ("ConfigMap", field(2, &entry("a", &within)), "data.a"),
        ("ConfigMap", field(3, &entry("a", text)), "binaryData.a"),
        ("Secret", field(2, &entry(key, b"x")), "data[\"[needle]\"]"),
        ("Pod", annotation.clone(), &applied_in_full),
        (
            "Pod",
            field(1, &field(11, &entry("a", text))),
            "metadata.labels.a",
        ),
        ("Pod", field(1, &field(1, text)), "metadata.name"),
        (
            "Pod",
            field(2, &containers.concat()),
            "spec.containers[1].env[1].value",
        ),
        (
            "Pod",
            field(2, &field(7, &entry("a", text))),
            "spec.nodeSelector.a",
        ),
        (
            "Pod",
            field(2, &field(3, &field(1, text))),
            "spec.restartPolicy",
        ),
        // A handler's port is a number or a text, which stand in fields of their own.
        (
            "Pod",
            field(
                2,
                &field(
                    2,
                    &field(10, &field(1, &field(2, &field(2, &field(3, text))))),
                ),
            ),
            "spec.containers[0].livenessProbe.httpGet.port",
        ),
        // What the table does not have.
        ("", annotation, "(protobuf field 1.12.2)"),
        ("Pod", field(9, &field(1, text)), "(protobuf field 9.1)"),
        ("Pod", field(2, &field(999, text)), "(protobuf field 2.999)"),
        // Broken, as Go skips groups: what follows is looked at as it is.
        ("Pod", [b"\x2b\x2c", text].concat(), SOMEWHERE),
    ] {
        let named = named(&object(kind, &raw));
        assert_eq!(named.as_deref(), Some(expected), "{kind}");
    }
}

#[test]
fn depth_and_work_are_bounded() {
    let mut raw = NEEDLE.to_vec();
    for _ in 0..200 {
        raw = field(1, &raw);
    }
    let named = named(&object("Unknown", &raw)).unwrap();
    let expected = vec!["1"; PROTOBUF_DEPTH_MAX].join(".");
    assert_eq!(named, format!("(protobuf field {expected})"));

    let mut raw = field(1, &vec![0; PROTOBUF_SEARCH_BYTES_MAX / 8]);
    for _ in 0..6 {
        raw = field(1, &raw);
    }
    assert_eq!(find(&object("Unknown", &raw), &mut |_| false), None);
    for _ in 0..6 {
        raw = field(1, &raw);
    }
    let named = find(&object("Unknown", &raw), &mut |_| false);
    assert_eq!(named.as_deref(), Some("(protobuf field 1.1.1.1.1.1.1.1)"));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, kind in "Secret|ConfigMap|Pod") {
        drop(find(&bytes, &mut |_| true));
        drop(find(&object(&kind, &bytes), &mut |_| true));
    }

    #[test]
    fn no_flipped_byte_panics(at in 0..400_usize, with: u8) {
        let path = "write-protobuf-raw/001.client.bin";
        let mut body = capture(path, b"S3cr3t-Pa55w0rd!", NEEDLE);
        let at = at % body.len();
        body[at] = with;
        drop(named(&body));
    }
}
