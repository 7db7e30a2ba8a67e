//! Searches every field of a protobuf body, on every level, and names the one that matches.
//!
//! No schema is needed: what may be a message is searched as one and as text. Names may be wrong when a
//! body lies about its kind; they decide nothing.

use crate::limits::{PROTOBUF_DEPTH_MAX, PROTOBUF_SEARCH_BYTES_MAX};
use crate::request::body::ValuePath;
use crate::wire::protobuf::{FieldValue, MAGIC, Unknown, fields, is_message, last_bytes};

/// The metadata of every kind.
const METADATA: u32 = 1;

/// The maps of `ObjectMeta`.
const METADATA_MAPS: &[(u32, &str)] = &[(11, "labels"), (12, "annotations")];

/// The field of the object that matches, or that would cost too much to search.
pub(super) fn find(body: &[u8], matches: impl FnMut(&[u8]) -> bool) -> Option<String> {
    let object = Unknown::parse(body).ok()?;
    let mut search = Search {
        matches,
        bytes_left: PROTOBUF_SEARCH_BYTES_MAX,
        way: Vec::new(),
    };
    search
        .message(object.raw)
        .then(|| name(object.kind, &search.way))
}

struct Search<'a, M> {
    matches: M,
    bytes_left: usize,
    /// The fields that lead to the one that is searched, with what they hold.
    way: Vec<(u32, &'a [u8])>,
}

impl<'a, M: FnMut(&[u8]) -> bool> Search<'a, M> {
    /// Does a field match? Then `way` leads to it.
    fn message(&mut self, message: &'a [u8]) -> bool {
        fields(message)
            .map_while(Result::ok)
            .any(|field| match field.value {
                FieldValue::Bytes(value) => self.field(field.number, value),
                _ => false,
            })
    }

    fn field(&mut self, number: u32, value: &'a [u8]) -> bool {
        self.way.push((number, value));
        let Some(left) = self.bytes_left.checked_sub(value.len()) else {
            return true;
        };
        self.bytes_left = left;
        // Items of a `v1.List` travel in envelopes of their own.
        let message = value.strip_prefix(MAGIC).unwrap_or(value);
        let nested = self.way.len() < PROTOBUF_DEPTH_MAX && is_message(message);
        if nested && self.message(message) || (self.matches)(value) {
            return true;
        }
        self.way.pop();
        false
    }
}

fn name(kind: &str, way: &[(u32, &[u8])]) -> String {
    let maps: &[_] = match kind {
        "Secret" => &[(2, "data"), (4, "stringData")],
        "ConfigMap" => &[(2, "data"), (3, "binaryData")],
        _ => &[],
    };
    let mut path = ValuePath::default();
    let (maps, entry) = match way {
        [(METADATA, _), entry, ..]
            if METADATA_MAPS.iter().any(|(number, _)| *number == entry.0) =>
        {
            path.key(Some(b"metadata"));
            (METADATA_MAPS, entry)
        }
        [entry, ..] => (maps, entry),
        [] => (maps, &(0, &[][..])),
    };
    let (number, entry) = entry;
    if let Some((_, map)) = maps.iter().find(|(known, _)| known == number) {
        path.key(Some(map.as_bytes()));
        path.key(Some(last_bytes(entry, 1)));
        return path.text().to_owned();
    }
    let numbers: Vec<String> = way.iter().map(|(number, _)| number.to_string()).collect();
    format!("(protobuf field {})", numbers.join("."))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::super::find::Search as Finder;
    use super::*;

    fn holds_placeholder(text: &[u8]) -> bool {
        Finder::of(text).holds_placeholder(text)
    }
    use crate::transform::Placeholders;
    use crate::transform::placeholder::hexadecimal;
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
            let named = find(&body, holds_placeholder);
            assert_eq!(named.as_deref(), Some("data.password"), "{path}");
            let body = capture(path, value, value);
            assert_eq!(find(&body, holds_placeholder), None, "{path}");
        }
        let path = "kubectl-create-secret-1.36/001.client.bin";
        let body = capture(path, b"shop_rw", &text);
        let named = find(&body, holds_placeholder);
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
            let named = find(&object(kind, &raw), holds_placeholder);
            assert_eq!(named.as_deref(), Some(expected), "{kind}");
        }
    }

    #[test]
    fn c_82_values_are_unwrapped_on_every_level() {
        let text = String::from_utf8(placeholder()).unwrap();
        let four = (0..4).fold(text.clone(), |text, _| STANDARD.encode(text));
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let hex = hexadecimal(&wide, wide.len());
        for hidden in [
            four.as_bytes(),
            &wide,
            hex.as_bytes(),
            STANDARD.encode(&four).as_bytes(),
        ] {
            let object = object("Secret", &field(2, &entry("password", hidden)));
            let named = find(&object, holds_placeholder);
            assert_eq!(named.as_deref(), Some("data.password"), "{hidden:?}");
            let deep = field(2, &field(3, &field(1, hidden)));
            let named = find(&self::object("Pod", &deep), holds_placeholder);
            assert_eq!(named.as_deref(), Some("(protobuf field 2.3.1)"));
            let list = field(2, &field(1, &object));
            let named = find(&self::object("List", &list), holds_placeholder);
            assert_eq!(named.as_deref(), Some("(protobuf field 2.1.2.2.2)"));
        }
    }

    #[test]
    fn depth_and_work_are_bounded() {
        let mut raw = placeholder();
        for _ in 0..200 {
            raw = field(1, &raw);
        }
        let named = find(&object("Pod", &raw), holds_placeholder).unwrap();
        let expected = vec!["1"; PROTOBUF_DEPTH_MAX].join(".");
        assert_eq!(named, format!("(protobuf field {expected})"));

        let mut raw = field(1, &vec![0; PROTOBUF_SEARCH_BYTES_MAX / 8]);
        for _ in 0..6 {
            raw = field(1, &raw);
        }
        assert_eq!(find(&object("Pod", &raw), |_| false), None);
        for _ in 0..6 {
            raw = field(1, &raw);
        }
        let named = find(&object("Pod", &raw), |_| false);
        assert_eq!(named.as_deref(), Some("(protobuf field 1.1.1.1.1.1.1.1)"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, kind in "Secret|ConfigMap|Pod") {
            drop(find(&bytes, |_| true));
            drop(find(&object(&kind, &bytes), |_| true));
        }

        #[test]
        fn no_flipped_byte_panics(at in 0..400_usize, with: u8) {
            let path = "write-protobuf-raw/001.client.bin";
            let mut body = capture(path, b"S3cr3t-Pa55w0rd!", &placeholder());
            let at = at % body.len();
            body[at] = with;
            drop(find(&body, holds_placeholder));
        }
    }
}
