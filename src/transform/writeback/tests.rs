use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::identity::Identity;
use crate::limits::PLACEHOLDER_SEARCH_BYTES_MAX;
use crate::policy::mask::{LAST_APPLIED, builtin};
use crate::transform::Placeholders;
use crate::wire::protobuf::tests as wire;

const SECRET: &str = "/api/v1/namespaces/shop/secrets/db";
const CONFIG_MAP: &str = "/api/v1/namespaces/shop/configmaps/db";

fn permit(masked: bool) -> Permit {
    let secrets = builtin("secrets").remove(0);
    let masks: &[_] = if masked { &[&secrets] } else { &[] };
    Permit::for_tests(Identity::for_tests("alice", &[]), "demo", masks)
}

fn guard(target: &str, content_type: Option<&str>, body: &[u8]) -> Result<(), MaskError> {
    let info = RequestInfo::parse(&Method::PATCH, target).unwrap();
    let body = Bytes::copy_from_slice(body);
    let permit = permit(target == SECRET);
    guard_write(&info, &permit, content_type, &body)
}

fn field(target: &str, content_type: &str, body: &[u8]) -> String {
    match guard(target, Some(content_type), body) {
        Err(MaskError::Placeholder { field }) => field,
        other => panic!("{other:?} for {}", String::from_utf8_lossy(body)),
    }
}

fn hex_of(text: &str) -> String {
    HEXLOWER.encode(text.as_bytes())
}

fn placeholder() -> String {
    Placeholders::new(&[7; 32]).of("x").text().to_owned()
}

#[test]
fn c_81_a_placeholder_is_refused_in_every_kind_of_write() {
    let (text, base64) = (placeholder(), STANDARD.encode(placeholder()));
    let foreign = Placeholders::new(&[8; 32]).of("x").base64();
    for target in [SECRET, CONFIG_MAP] {
        for media_type in [
            "application/json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json; charset=utf-8",
            "application/apply-patch+yaml",
            "application/yaml",
            "",
        ] {
            let body = json!({"metadata": {"name": "db"}, "data": {"password": base64}});
            assert_eq!(
                field(target, media_type, body.to_string().as_bytes()),
                "data.password"
            );
        }
        let body = json!({"items": [{"data": {"a.b": foreign}}]});
        assert_eq!(
            field(target, "application/json", body.to_string().as_bytes()),
            "items[0].data[\"a.b\"]"
        );
        let body = json!([{"op": "add", "path": "/stringData", "value": {"a": text}}]);
        assert_eq!(
            field(target, JSON_PATCH, body.to_string().as_bytes()),
            "[0].value.a"
        );
        let body = format!("stringData:\n  a: |\n    user: x\n    password: {text}\n");
        assert_eq!(
            field(target, "application/yaml", body.as_bytes()),
            "stringData.a"
        );
        let body = format!("{{data: {{a: \"\\x5b{}\"}}}}", text.trim_start_matches('['));
        assert_eq!(
            field(target, "application/apply-patch+yaml", body.as_bytes()),
            "data.a"
        );
        let protobuf = "application/vnd.kubernetes.protobuf";
        for hidden in [&text, &base64] {
            let body = [b"k8s\0\x0a\x02v1\x12\x40\x0a", hidden.as_bytes(), b"\x1a\0"].concat();
            assert_eq!(field(target, protobuf, &body), "(request body)");
            let type_meta = b"k8s\0\x0a\x0c\x0a\x02v1\x12\x06Secret";
            let entry = [
                wire::field(1, b"password"),
                wire::field(2, hidden.as_bytes()),
            ]
            .concat();
            let body = [&type_meta[..], &wire::field(2, &wire::field(2, &entry))].concat();
            assert_eq!(field(target, protobuf, &body), "data.password");
            assert_eq!(field(target, "", &body), "data.password");
        }
        assert!(guard(target, Some(protobuf), b"k8s\0\x0a\x02v1").is_ok());
    }
}

#[test]
fn c_82_hidden_placeholders_are_found_and_named() {
    let text = placeholder();
    let applied = json!({"data": {"a": STANDARD.encode(&text)}}).to_string();
    let escaped = text.bytes().map(|byte| format!("\\u{byte:04x}"));
    let escaped = escaped.collect::<Vec<_>>().concat();
    for (body, expected) in [
        (
            json!({"metadata": {"annotations": {LAST_APPLIED: applied}}}).to_string(),
            format!("metadata.annotations[\"{LAST_APPLIED}\"]"),
        ),
        (
            format!("{{\"data\":{{\"a\":\"{escaped}\"}}}}"),
            "data.a".to_owned(),
        ),
        (
            json!({"data": {&text: "x"}}).to_string(),
            format!("data[\"{text}\"]"),
        ),
        (
            json!({"data": {"a": STANDARD.encode(STANDARD.encode(format!("{text}\n")))}})
                .to_string(),
            "data.a".to_owned(),
        ),
        (
            json!({"data": {"a": STANDARD.encode(hex_of(&STANDARD.encode(&text)))}}).to_string(),
            "data.a".to_owned(),
        ),
        (
            json!({"spec": {"env": [{"value": "x"}, {"value": hex_of(&text)}]}}).to_string(),
            "spec.env[1].value".to_owned(),
        ),
        (
            json!({"url": format!("http://u:{text}@host")}).to_string(),
            "url".to_owned(),
        ),
        (json!(text).to_string(), "(request body)".to_owned()),
    ] {
        assert_eq!(
            field(CONFIG_MAP, "application/json", body.as_bytes()),
            expected,
            "{body}"
        );
    }
}

#[test]
fn c_82_values_in_protobuf_are_unwrapped_on_every_level() {
    let text = placeholder();
    let four = (0..4).fold(text.clone(), |text, _| STANDARD.encode(text));
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let hex = HEXLOWER.encode(&wide);
    let object = |kind: &[u8], raw: &[u8]| {
        let type_meta = [wire::field(1, b"v1"), wire::field(2, kind)].concat();
        [
            b"k8s\0",
            &wire::field(1, &type_meta)[..],
            &wire::field(2, raw),
        ]
        .concat()
    };
    for hidden in [
        four.as_bytes(),
        &wide,
        hex.as_bytes(),
        STANDARD.encode(&four).as_bytes(),
    ] {
        let entry = [wire::field(1, b"password"), wire::field(2, hidden)].concat();
        let secret = object(b"Secret", &wire::field(2, &entry));
        let named = |body: &[u8]| field(CONFIG_MAP, PROTOBUF, body);
        assert_eq!(named(&secret), "data.password", "{hidden:?}");
        let deep = wire::field(2, &wire::field(3, &wire::field(1, hidden)));
        assert_eq!(named(&object(b"Unknown", &deep)), "(protobuf field 2.3.1)");
        let list = wire::field(2, &wire::field(1, &secret));
        assert_eq!(named(&object(b"List", &list)), "(protobuf field 2.1.2.2.2)");
    }
}

#[test]
fn c_83_ordinary_writes_pass() {
    for target in [SECRET, CONFIG_MAP] {
        for (media_type, body) in [
            (
                Some("application/json"),
                r#"{"data":{"a":"cA=="},"n":[1,-2.5e3,true,null,{}]}"#,
            ),
            (None, r#"{"spec":{"replicas":3}}"#),
            (
                Some("application/merge-patch+json"),
                r#"{"metadata":{"labels":{"a":null}}}"#,
            ),
            (
                Some("application/apply-patch+yaml"),
                "kind: Secret\ndata:\n  a: cA==\n",
            ),
            (Some("application/yaml"), "---\na: 1\n---\nb: [x, 'y']\n"),
            (
                Some(JSON_PATCH),
                r#"[{"op":"replace","path":"/data/a","value":"cA=="}]"#,
            ),
            (Some("application/json"), ""),
        ] {
            assert_eq!(guard(target, media_type, body.as_bytes()), Ok(()), "{body}");
        }
    }
}

#[test]
fn c_86_placeholders_of_an_earlier_key_are_refused_too() {
    let of = |key| Placeholders::new(&[key; 32]).of("x").base64();
    let (before, after) = (of(7), of(8));
    assert_ne!(before, after);
    for placeholder in [before, after] {
        let body = json!({"data": {"password": placeholder}}).to_string();
        let media_type = "application/merge-patch+json";
        assert_eq!(field(SECRET, media_type, body.as_bytes()), "data.password");
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    for (target, media_type, body, code) in [
        (SECRET, "application/cbor", "\u{d9}", 415),
        (SECRET, "text/plain", "{}", 415),
        (SECRET, "application/json", r#"{"a":1,"\u0061":2}"#, 400),
        (SECRET, "application/json", r#"{"a":"#, 400),
        (SECRET, "application/yaml", "a: 1\na: 2\n", 400),
        (SECRET, "application/yaml", "a: [", 400),
        (CONFIG_MAP, "application/json", "{} {}", 400),
        (SECRET, JSON_PATCH, r#"{"op":"test"}"#, 400),
        (SECRET, JSON_PATCH, r#"[{"op":"TEST","path":"/x"}]"#, 400),
        (SECRET, JSON_PATCH, r#"[{"op":"copy","path":"/x"}]"#, 400),
    ] {
        let error = guard(target, Some(media_type), body.as_bytes()).unwrap_err();
        assert_eq!(error.code().as_u16(), code, "{media_type} {body}");
    }
    assert_eq!(
        guard(CONFIG_MAP, Some("application/json"), br#"{"a":1,"a":2}"#),
        Ok(())
    );
    assert_eq!(guard(CONFIG_MAP, Some("text/plain"), b"anything"), Ok(()));
    let proxy = "/api/v1/namespaces/shop/services/web/proxy/login";
    assert_eq!(guard(proxy, Some("application/json"), b"{not json"), Ok(()));
}

#[test]
fn c_22_c_23_patches_that_read_masked_fields_are_refused() {
    let applied = LAST_APPLIED.replace('/', "~1");
    for from in [
        String::new(),
        "/data".to_owned(),
        "/data/password".to_owned(),
        "x/data/password".to_owned(),
        "/stringData/a".to_owned(),
        "/metadata".to_owned(),
        "/metadata/annotations".to_owned(),
        format!("/metadata/annotations/{applied}"),
        "/d\\u0061ta/password".to_owned(),
    ] {
        for patch in [
            format!(r#"[{{"op":"copy","from":"{from}","path":"/metadata/labels/x"}}]"#),
            format!(r#"[{{"op":"m\u006fve","from":"{from}","path":"/type"}}]"#),
            format!(
                r#"[{{"op":"add","path":"/a","value":1}},{{"op":"test","path":"{from}","value":"cA=="}}]"#
            ),
        ] {
            let error = guard(SECRET, Some(JSON_PATCH), patch.as_bytes()).unwrap_err();
            assert!(
                matches!(error, MaskError::PatchReads { .. }),
                "{patch}: {error}"
            );
            assert_eq!(
                guard(CONFIG_MAP, Some(JSON_PATCH), patch.as_bytes()),
                Ok(())
            );
        }
    }
    for patch in [
        r#"[{"op":"test","path":"/metadata/resourceVersion","value":"1"}]"#,
        r#"[{"op":"copy","from":"/metadata/labels/a","path":"/metadata/labels/b"}]"#,
        r#"[{"op":"move","from":"/metadata/annotations/other","path":"/metadata/labels/b"}]"#,
        r#"[{"op":"remove","path":"/data/password"}]"#,
    ] {
        assert_eq!(
            guard(SECRET, Some(JSON_PATCH), patch.as_bytes()),
            Ok(()),
            "{patch}"
        );
    }
}

#[test]
fn c_22_no_patch_carries_a_known_value_to_where_none_is_looked_for() {
    let info = RequestInfo::parse(&Method::PATCH, "/api/v1/namespaces/shop/services/web").unwrap();
    let identity = || Identity::for_tests("alice", &[]);
    let known = Permit::for_tests(identity(), "demo", &[&builtin("known-values")[0]]);
    let guard = |op: &str, path: &str, permit: &Permit| {
        let body =
            json!([{"op": op, "from": "/metadata/annotations/note", "path": path, "value": 1}]);
        let body = Bytes::from(body.to_string());
        guard_write(&info, permit, Some(JSON_PATCH), &body)
    };
    for op in ["copy", "move"] {
        for path in [
            "/metadata/generateName",
            "/metadata/GenerateName",
            "/metadata/ownerReferences/0/name",
            "/metadata/ownerReferences/0/name/x",
            "/metadata/ownerReferences/0",
            "/metadata/ownerReferences/-",
            "x/metadata/ownerReferences",
            "/metadata",
            "/type",
            "",
        ] {
            let refused = guard(op, path, &known);
            assert!(
                matches!(refused, Err(MaskError::PatchNames { .. })),
                "{op} {path}"
            );
        }
        for path in [
            "/metadata/annotations/other",
            "/spec/type",
            "/data/x",
            "/spec",
        ] {
            guard(op, path, &known).unwrap();
        }
    }
    guard("add", "/metadata/generateName", &known).unwrap();
    guard("test", "/metadata/generateName", &known).unwrap();
    let none = Permit::for_tests(identity(), "demo", &[]);
    guard("copy", "/metadata/generateName", &none).unwrap();
}

#[test]
fn the_work_for_one_body_is_bounded() {
    let inflates = PLACEHOLDER_SEARCH_BYTES_MAX / 8;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&vec![b' '; inflates]).unwrap();
    let value = STANDARD.encode(gzip.finish().unwrap());
    let body = |values: usize| {
        let keys = (0..values).map(|key| (key.to_string(), json!(value)));
        let data: serde_json::Map<String, Value> = keys.collect();
        json!({"data": data}).to_string()
    };
    // As a value and with the whole body.
    guard(CONFIG_MAP, Some("application/json"), body(2).as_bytes()).unwrap();
    let refused = guard(CONFIG_MAP, Some("application/json"), body(20).as_bytes());
    assert!(
        matches!(refused, Err(MaskError::Placeholder { .. })),
        "{refused:?}"
    );
}
