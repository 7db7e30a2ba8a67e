//! Names the field of a placeholder that a search of the whole protobuf body has found.
//!
//! Nothing here decides whether a body passes: names may be wrong when a body lies about its kind.

use crate::limits::{PROTOBUF_DEPTH_MAX, PROTOBUF_SEARCH_BYTES_MAX};
use crate::transform::report::ValuePath;
use crate::wire::protobuf::{FieldValue, Unknown, fields, is_message, last_bytes};

/// The metadata of every kind.
const METADATA: u32 = 1;

/// The maps of `ObjectMeta`.
const METADATA_MAPS: &[(u32, &str)] = &[(11, "labels"), (12, "annotations")];

/// The field that holds the placeholder, if the body can be read so far.
pub(super) fn name(body: &[u8], matches: fn(&[u8]) -> bool) -> Option<String> {
    let object = Unknown::parse(body).ok()?;
    let maps: &[_] = match object.kind {
        "Secret" => &[(2, "data"), (4, "stringData")],
        "ConfigMap" => &[(2, "data"), (3, "binaryData")],
        _ => &[],
    };
    let mut search = Search {
        matches,
        bytes_left: PROTOBUF_SEARCH_BYTES_MAX,
    };
    let (number, value) = search.find(object.raw)?;
    let mut path = ValuePath::default();
    if let Some((_, map)) = maps.iter().find(|(known, _)| *known == number) {
        path.key(Some(map.as_bytes()));
        path.key(Some(last_bytes(value, 1)));
        return Some(path.text().to_owned());
    }
    let mut numbers = vec![number];
    let mut message = value;
    while numbers.len() < PROTOBUF_DEPTH_MAX && is_message(message) {
        let Some((number, value)) = search.find(message) else {
            break;
        };
        let map = METADATA_MAPS.iter().find(|(known, _)| *known == number);
        if let (Some((_, map)), [METADATA]) = (map, numbers.as_slice()) {
            path.key(Some(b"metadata"));
            path.key(Some(map.as_bytes()));
            path.key(Some(last_bytes(value, 1)));
            return Some(path.text().to_owned());
        }
        numbers.push(number);
        message = value;
    }
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    Some(format!("(protobuf field {})", numbers.join(".")))
}

struct Search {
    matches: fn(&[u8]) -> bool,
    bytes_left: usize,
}

impl Search {
    /// The first field that holds the placeholder.
    fn find<'a>(&mut self, message: &'a [u8]) -> Option<(u32, &'a [u8])> {
        for field in fields(message).map_while(Result::ok) {
            let FieldValue::Bytes(value) = field.value else {
                continue;
            };
            self.bytes_left = self.bytes_left.checked_sub(value.len())?;
            if (self.matches)(value) {
                return Some((field.number, value));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::super::find::holds_placeholder;
    use super::*;
    use crate::transform::Placeholders;
    use crate::wire::protobuf::MAGIC;
    use crate::wire::protobuf::tests::field;

    fn placeholder() -> Vec<u8> {
        Placeholders::new(&[7; 32])
            .of("x")
            .text()
            .as_bytes()
            .to_vec()
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
        let (value, text) = (b"S3cr3t-Pa55w0rd!", placeholder());
        for path in [
            "kubectl-create-secret-1.36/001.client.bin",
            "write-protobuf-raw/001.client.bin",
            "write-protobuf-raw/002.client.bin",
        ] {
            let body = capture(path, value, &text);
            let named = name(&body, holds_placeholder);
            assert_eq!(named.as_deref(), Some("data.password"), "{path}");
            let body = capture(path, value, value);
            assert_eq!(name(&body, holds_placeholder), None, "{path}");
        }
        let path = "kubectl-create-secret-1.36/001.client.bin";
        let body = capture(path, b"shop_rw", &text);
        let named = name(&body, holds_placeholder);
        assert_eq!(named.as_deref(), Some("data.user"));
    }

    #[test]
    fn maps_are_named_by_their_keys_and_all_else_by_numbers() {
        let text = placeholder();
        let within = [b"a: ", text.as_slice(), b"\n"].concat();
        let applied = "kubectl.kubernetes.io/last-applied-configuration";
        let annotation = field(1, &field(12, &entry(applied, &within)));
        let deep = field(2, &field(3, &field(1, &within)));
        let key = String::from_utf8(text.clone()).unwrap();
        for (kind, raw, expected) in [
            (
                "Secret",
                field(2, &entry("tls.key", &text)),
                "data[\"tls.key\"]",
            ),
            ("Secret", field(4, &entry("a", &within)), "stringData.a"),
            ("Secret", field(3, &text), "(protobuf field 3)"),
            ("ConfigMap", field(2, &entry("a", &within)), "data.a"),
            ("ConfigMap", field(3, &entry("a", &text)), "binaryData.a"),
            (
                "Secret",
                field(2, &entry(&key, b"x")),
                &format!("data[\"{key}\"]"),
            ),
            (
                "Pod",
                annotation.clone(),
                &format!("metadata.annotations[\"{applied}\"]"),
            ),
            (
                "",
                annotation,
                &format!("metadata.annotations[\"{applied}\"]"),
            ),
            (
                "Pod",
                field(1, &field(11, &entry("a", &text))),
                "metadata.labels.a",
            ),
            ("Pod", field(1, &field(1, &text)), "(protobuf field 1.1)"),
            (
                "Pod",
                [field(2, &field(1, b"x")), deep].concat(),
                "(protobuf field 2.3.1)",
            ),
            (
                "Pod",
                field(2, &field(12, &entry("a", &text))),
                "(protobuf field 2.12.2)",
            ),
        ] {
            let named = name(&object(kind, &raw), holds_placeholder);
            assert_eq!(named.as_deref(), Some(expected), "{kind}");
        }
    }

    #[test]
    fn depth_and_work_are_bounded() {
        let mut raw = placeholder();
        for _ in 0..200 {
            raw = field(1, &raw);
        }
        let named = name(&object("Pod", &raw), holds_placeholder).unwrap();
        let expected = vec!["1"; PROTOBUF_DEPTH_MAX].join(".");
        assert_eq!(named, format!("(protobuf field {expected})"));

        let mut raw = vec![0; PROTOBUF_SEARCH_BYTES_MAX / 3];
        raw.extend(placeholder());
        for _ in 0..10 {
            raw = field(1, &raw);
        }
        let named = name(&object("Pod", &raw), |bytes| bytes.ends_with(b"]"));
        assert_eq!(named.as_deref(), Some("(protobuf field 1.1)"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, kind in "Secret|ConfigMap|Pod") {
            drop(name(&bytes, |_| true));
            drop(name(&object(&kind, &bytes), |_| true));
        }

        #[test]
        fn no_flipped_byte_panics(at in 0..400_usize, with: u8) {
            let path = "write-protobuf-raw/001.client.bin";
            let mut body = capture(path, b"S3cr3t-Pa55w0rd!", &placeholder());
            let at = at % body.len();
            body[at] = with;
            drop(name(&body, holds_placeholder));
        }
    }
}
