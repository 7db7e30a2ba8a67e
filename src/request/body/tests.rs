use http::Method;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::limits;

fn info(request: &str) -> RequestInfo {
    let (method, target) = request.split_once(' ').unwrap();
    RequestInfo::parse(&method.parse::<Method>().unwrap(), target).unwrap()
}

const CREATE: &str = "POST /api/v1/namespaces/shop/pods";
const PATCH: &str = "PATCH /api/v1/namespaces/shop/pods/web";

fn create(content_type: Option<&str>, body: &[u8]) -> Result<Option<Value>, Undecoded> {
    object(&info(CREATE), content_type, body)
}

/// A field of protobuf with bytes in it.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    let mut out = vec![number << 3 | 2];
    if length >= 128 {
        out.extend([length, 1]);
    } else {
        out.push(length);
    }
    out.extend(bytes);
    out
}

fn long(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = varint(u64::from(number) << 3 | 2);
    out.extend(varint(bytes.len() as u64));
    out.extend(bytes);
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

fn number(field: u32, value: u64) -> Vec<u8> {
    [varint(u64::from(field) << 3), varint(value)].concat()
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), long(1, &type_meta), long(2, raw)].concat()
}

#[test]
fn whole_objects_are_read_in_json() {
    let expected = Ok(Some(json!({"spec": {"a": [1, null], "privileged": true}})));
    let body = br#" {"spec":{"a":[1,null],"gone":null,"privil\u0065ged":true}} "#;
    for content_type in [
        None,
        Some(""),
        Some("application/json"),
        Some("APPLICATION/JSON; charset=utf-8"),
        Some(" application/json ;x=y"),
    ] {
        assert_eq!(create(content_type, body), expected, "{content_type:?}");
    }
    // Reads and deletes have no object, sessions and proxied requests neither.
    for request in [
        "GET /api/v1/namespaces/shop/pods/web",
        "DELETE /api/v1/namespaces/shop/pods/web",
        "DELETE /api/v1/namespaces/shop/pods",
        "POST /api/v1/namespaces/shop/pods/web/exec?command=sh",
        "POST /api/v1/namespaces/shop/services/web/proxy/login",
        "POST /version",
    ] {
        assert_eq!(object(&info(request), None, b"{}"), Ok(None), "{request}");
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for body in [
        &br#"{"a":1,"a":2}"#[..],
        br#"{"a":1,"\u0061":2}"#,
        br#"{"a":null,"a":2}"#,
        br#"{"spec":{"containers":[]},"spec":{"hostPID":true}}"#,
        br#"{"a":{"b":[{"c":1,"c":1}]}}"#,
        b"{} {}",
        b"[]",
        b"null",
        b"",
        b"{",
        b"{\"a\":\"\xff\"}",
        br#"{"a":"\ud800"}"#,
        b"\xef\xbb\xbf{}",
        br#"{"a":1,}"#,
        b"{'a':1}",
    ] {
        let read = create(Some(JSON), body);
        assert!(
            matches!(read, Err(Undecoded::Malformed(_))),
            "{body:?}: {read:?}"
        );
    }
    let deep = [b"[".repeat(1000), b"]".repeat(1000)].concat();
    let deep = [b"{\"a\":".to_vec(), deep, b"}".to_vec()].concat();
    assert!(matches!(create(None, &deep), Err(Undecoded::Malformed(_))));
    let values = limits::REQUEST_OBJECT_VALUES_MAX;
    let many = format!("{{\"a\":[{}0]}}", "0,".repeat(values));
    assert_eq!(create(None, many.as_bytes()), Err(Undecoded::TooLarge));
    for media_type in [
        "application/cbor",
        "text/plain",
        "application/json-patch+json",
        "application/jsonx",
    ] {
        assert_eq!(
            create(Some(media_type), b"{}"),
            Err(Undecoded::MediaType),
            "{media_type}"
        );
    }
}

#[test]
fn what_only_the_api_server_knows_is_left_to_it() {
    assert_eq!(
        create(Some("application/yaml"), b"a: yes"),
        Err(Undecoded::Opaque)
    );
    for patch in [
        JSON_PATCH,
        "application/merge-patch+json",
        "application/apply-patch+yaml",
    ] {
        assert_eq!(
            object(&info(PATCH), Some(patch), b"{}"),
            Err(Undecoded::Opaque)
        );
    }
}

#[test]
fn protobuf_is_the_object_that_json_would_be() {
    let security = [number(2, 1), number(7, 0)].concat(); // privileged, allowPrivilegeEscalation: false
    let container = [
        field(1, b"app"),
        field(2, b"nginx"),
        long(8, &[]),
        long(15, &security),
        number(16, 0), // stdin: false, which JSON leaves out
    ]
    .concat();
    let volume = [field(1, b"root"), long(2, &long(1, &field(1, b"/")))].concat();
    let ephemeral = long(1, &[field(1, b"debug"), long(15, &number(2, 1))].concat());
    let probe = long(
        1,
        &long(
            2,
            &long(2, &[number(1, 1), number(2, 0), field(3, b"http")].concat()),
        ),
    );
    let spec = [
        long(1, &volume),
        long(2, &container),
        long(2, &long(10, &probe)),
        number(11, 1), // hostNetwork
        number(12, 0),
        long(34, &ephemeral),
    ]
    .concat();
    let labels = [field(1, b"app"), field(2, b"web")].concat();
    let metadata = [
        field(1, b"web"),
        long(8, &number(1, 1_700_000_000)),
        long(11, &labels),
    ]
    .concat();
    let pod = [long(1, &metadata), long(2, &spec), long(3, &[])].concat();
    let body = envelope("v1", "Pod", &pod);
    let expected = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "creationTimestamp": "2023-11-14T22:13:20Z", "labels": {"app": "web"}},
        "spec": {
            "volumes": [{"name": "root", "hostPath": {"path": "/"}}],
            "containers": [
                {
                    "name": "app", "image": "nginx", "resources": {},
                    "securityContext": {"privileged": true, "allowPrivilegeEscalation": false},
                },
                {"livenessProbe": {"httpGet": {"port": "http"}}},
            ],
            "hostNetwork": true,
            "ephemeralContainers": [{"name": "debug", "securityContext": {"privileged": true}}],
        },
        "status": {},
    });
    assert_eq!(create(Some(PROTOBUF), &body), Ok(Some(expected)));
}

#[test]
fn protobuf_that_hides_something_is_left_to_the_api_server() {
    let spec = number(11, 1);
    for (kind, raw) in [
        ("Podd", long(2, &spec)),
        ("Pod", [long(2, &spec), long(2, &[])].concat()),
        ("Pod", [long(2, &spec), long(99, b"x")].concat()),
        ("Pod", long(2, &number(2, 1))),
        ("Pod", long(2, &long(11, b"x"))),
        ("Pod", long(2, &[number(11, 1), number(11, 0)].concat())),
        ("Pod", vec![0x12, 0x05, 0x08]),
    ] {
        let read = create(Some(PROTOBUF), &envelope("v1", kind, &raw));
        assert_eq!(read, Err(Undecoded::Opaque), "{kind} {raw:?}");
    }
    let twice = [envelope("v1", "Pod", &long(2, &spec)), long(2, &[])].concat();
    assert_eq!(create(Some(PROTOBUF), &twice), Err(Undecoded::Opaque));
    assert!(matches!(
        create(Some(PROTOBUF), b"{}"),
        Err(Undecoded::Malformed(_))
    ));
    let mut nested = Vec::new();
    for _ in 0..40 {
        nested = long(1, &nested);
    }
    drop(create(Some(PROTOBUF), &envelope("v1", "Pod", &nested)));
}

#[test]
fn patches_are_bound_to_a_version() {
    let bound = |content_type: &str, body: &str| {
        Pin::parse(Some(content_type), body.as_bytes())
            .map(|pin| serde_json::from_slice::<Value>(&pin.to("7")).unwrap())
    };
    let merge = "application/merge-patch+json; charset=utf-8";
    assert_eq!(
        bound(merge, r#"{"spec":{"gone":null}}"#),
        Ok(json!({"spec": {"gone": null}, "metadata": {"resourceVersion": "7"}}))
    );
    assert_eq!(
        bound(
            "application/apply-patch+yaml",
            r#"{"metadata":{"name":"a","resourceVersion":"1"}}"#
        ),
        Ok(json!({"metadata": {"name": "a", "resourceVersion": "7"}}))
    );
    assert_eq!(
        bound(JSON_PATCH, r#"[{"op":"remove","path":"/a"}]"#),
        Ok(json!([
            {"op": "remove", "path": "/a"},
            {"op": "add", "path": "/metadata/resourceVersion", "value": "7"},
        ]))
    );
    for (content_type, body) in [
        (merge, r#"{"metadata":null}"#),
        (merge, r#"{"a":1,"a":2}"#),
        (merge, "[]"),
        (JSON_PATCH, "{}"),
        ("application/apply-patch+yaml", "a: 1"),
        ("application/json", "{}"),
    ] {
        assert!(bound(content_type, body).is_err(), "{content_type} {body}");
    }
}

#[test]
fn only_what_certainly_changes_nothing_can_be_asked_about() {
    for (request, expected) in [
        (PATCH, Some("/api/v1/namespaces/shop/pods/web?dryRun=All")),
        (
            "PATCH /api/v1/namespaces/shop/pods/web?fieldManager=x&force=true",
            Some("/api/v1/namespaces/shop/pods/web?fieldManager=x&force=true&dryRun=All"),
        ),
        (
            "PATCH /api/v1/namespaces/shop/pods/web?dryRun=All",
            Some("/api/v1/namespaces/shop/pods/web?dryRun=All"),
        ),
        ("PATCH /api/v1/namespaces/shop/pods/web?dryRun=", None),
        ("PATCH /api/v1/namespaces/shop/pods/web?dryRun=%41ll", None),
        (
            "PATCH /api/v1/namespaces/shop/pods/web/ephemeralcontainers",
            Some("/api/v1/namespaces/shop/pods/web/ephemeralcontainers?dryRun=All"),
        ),
        ("POST /api/v1/namespaces/shop/serviceaccounts/a/token", None),
        ("POST /api/v1/namespaces/shop/pods/web/eviction", None),
        ("PATCH /apis/example.com/v1/widgets/a", None),
        (
            "PATCH /apis/certificates.k8s.io/v1/certificatesigningrequests/a/approval",
            None,
        ),
        ("DELETE /api/v1/namespaces/shop/pods/web", None),
        ("GET /api/v1/namespaces/shop/pods/web", None),
    ] {
        assert_eq!(
            info(request).dry_run_target().as_deref(),
            expected,
            "{request}"
        );
    }
    for (request, path) in [
        (PATCH, "/api/v1/namespaces/shop/pods/web"),
        (
            "PATCH /api/v1/namespaces/shop/pods/web/ephemeralcontainers?x=y",
            "/api/v1/namespaces/shop/pods/web",
        ),
        (
            "PUT /apis/apps/v1/namespaces/shop/deployments/web/scale",
            "/apis/apps/v1/namespaces/shop/deployments/web/scale",
        ),
    ] {
        assert_eq!(info(request).object_path(), path);
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, kind in "Secret|Pod|Deployment|Event|Job") {
        drop(create(None, &bytes));
        drop(create(Some(PROTOBUF), &bytes));
        drop(create(Some(PROTOBUF), &envelope("v1", &kind, &bytes[..bytes.len().min(200)])));
        drop(create(Some(PROTOBUF), &envelope("batch/v1", &kind, &bytes[..bytes.len().min(200)])));
    }
}

#[test]
fn what_is_written_is_searched_text_by_text() {
    let found = |content_type: Option<&str>, body: &[u8]| {
        search::find(content_type, body, Keys::Unique, &mut |text| {
            text == b"needle"
        })
    };
    for (content_type, body, expected) in [
        (
            None,
            &br#"{"a":["x",{"b.c":"n\u0065edle"}]}"#[..],
            "a[1][\"b.c\"]",
        ),
        (None, br#"{"a":{},"b":[[],{"needle":1}]}"#, "b[1].needle"),
        (Some(JSON), br#""needle""#, search::SOMEWHERE),
        (Some(YAML), br#"{"a":{"b":null,"c":"needle"}}"#, "a.c"),
        (Some(YAML), b"a: 1\n---\nb:\n- x\n- >-\n  needle\n", "b[1]"),
        (Some(YAML), b"{a: &x needle, b: *x}", "a"),
        (
            Some("text/plain"),
            br#"[{"op":"add","value":"needle"}]"#,
            "[0].value",
        ),
    ] {
        let text = String::from_utf8_lossy(body);
        assert_eq!(
            found(content_type, body),
            Ok(Some(expected.to_owned())),
            "{text}"
        );
    }
    for (content_type, body) in [
        (
            None,
            &b"[1, -2.5e3, true, null, {}, [], \"\", \"need\"]"[..],
        ),
        (Some(YAML), b""),
        (Some("text/plain"), b"needle"),
    ] {
        assert_eq!(found(content_type, body), Ok(None));
    }
    for (content_type, body, problem) in [
        (
            None,
            &br#"{"a":[{"b":1,"b":"needle"}]}"#[..],
            "has the same key twice in one object; send it once",
        ),
        (Some(JSON), b"{", "is not valid JSON"),
        (Some(JSON), b"{\"a\":\"\xff\"}", "is not valid JSON"),
        (
            Some(YAML),
            b"a: 1\na: needle\n",
            "is not YAML with unique keys",
        ),
    ] {
        assert_eq!(
            found(content_type, body),
            Err(Undecoded::Malformed(problem))
        );
    }
    // Nothing is kept of what is searched, so there may be more values than in a tree.
    let many = format!(
        "[{}\"needle\"]",
        "0,".repeat(limits::REQUEST_OBJECT_VALUES_MAX)
    );
    let path = format!("[{}]", limits::REQUEST_OBJECT_VALUES_MAX);
    assert_eq!(found(None, many.as_bytes()), Ok(Some(path)));
    let twice = br#"{"a":1,"a":"needle"}"#;
    let any = search::find(None, twice, Keys::Any, &mut |text| text == b"needle");
    assert_eq!(any, Ok(Some("a".to_owned())));
}

#[test]
fn c_43_what_is_nested_too_deep_is_refused_and_says_how_deep_that_is() {
    let found = |content_type: Option<&str>, body: &[u8]| {
        search::find(content_type, body, Keys::Unique, &mut |_| false)
    };
    let levels = |levels| [&b"[".repeat(levels)[..], &b"]".repeat(levels)].concat();
    assert_eq!(found(None, &levels(127)), Ok(None));
    assert_eq!(found(Some(YAML), &levels(127)), Ok(None));
    for (content_type, levels) in [
        (None, levels(128)),
        (None, levels(1_000_000)),
        (Some(YAML), levels(100_000)),
        (Some(YAML), [&b"- ".repeat(100_000)[..], b"x"].concat()),
    ] {
        let Err(Undecoded::Malformed(problem)) = found(content_type, &levels) else {
            panic!("{} levels of {content_type:?}", levels.len() / 2);
        };
        assert!(problem.starts_with("is nested too deep: "), "{problem}");
    }
}

/// The same Secrets as a real API server writes them in both encodings: text, bytes, nothing, times and what managers keep.
#[test]
fn recorded_protobuf_is_the_object_of_recorded_json() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures");
    let body = |form: &str, number: usize| {
        let file = folder.join(format!("raw-get-{form}/{number:03}.server.bin"));
        let bytes = std::fs::read(file).unwrap();
        let head = memchr::memmem::find(&bytes, b"\r\n\r\n").unwrap() + 4;
        bytes[head..].to_vec()
    };
    for number in 1..=3 {
        let json = from_json(&body("json", number)).unwrap();
        assert!(json["metadata"]["managedFields"].is_array());
        let decoded = protobuf::decode(&body("protobuf", number)).unwrap();
        assert_eq!(decoded, json, "{number}");
    }
}
