use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use zeroize::Zeroizing;

use super::*;
use crate::gateway::body::{Body, BodyError, full};
use crate::identity::Identity;
use crate::limits::PROTOBUF_OBJECT_BYTES_MAX;
use crate::policy::Permit;
use crate::policy::mask::{FieldPath, MaskName, MaskRule, builtin};
use crate::request::RequestInfo;
use crate::transform::text::known::{KnownValues, SecretAt, Settings};
use crate::wire::protobuf::MAGIC;
use crate::wire::protobuf::tests::field;

mod captures;
mod carriers;
mod known;
mod matrix;

const LIST: &str = "/api/v1/namespaces/shop/secrets";

fn placeholders() -> Arc<Placeholders> {
    Arc::new(Placeholders::new(&[7; 32]))
}

fn permit() -> Permit {
    let secrets = builtin("secrets").remove(0);
    Permit::for_tests(Identity::for_tests("alice", &[]), "demo", &[&secrets])
}

fn info(method: &Method, target: &str) -> RequestInfo {
    RequestInfo::parse(method, target).unwrap()
}

fn pieces(pieces: Vec<Result<Frame<Bytes>, BodyError>>) -> Body {
    let stream = StreamBody::new(futures_util::stream::iter(pieces));
    http_body_util::BodyExt::boxed_unsync(stream)
}

fn json(status: u16, body: Body) -> Response<Unreleased> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Unreleased::new(body))
        .unwrap()
}

/// A cluster of which one Secret is known, with these values.
fn knowing<'a>(
    cluster: &str,
    namespace: &str,
    values: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> KnownValues {
    let known = KnownValues::new([cluster], &placeholders(), Settings::default());
    let (_, book) = known.books().next().unwrap();
    let secret = SecretAt {
        namespace,
        name: "db",
        version: 1,
    };
    let bytes = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
    book.learn(
        secret,
        values.into_iter().map(|(key, text)| (key, bytes(text))),
    );
    book.renew();
    book.completed();
    known
}

/// Everything that leaves, and whether the body ended well.
async fn read(body: Released) -> (Vec<u8>, Result<(), BodyError>) {
    let (mut body, mut text) = (body.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => text.extend_from_slice(&frame.into_data().expect("trailers are dropped")),
            Err(error) => return (text, Err(error)),
        }
    }
    (text, Ok(()))
}

fn release_list(response: Response<Unreleased>) -> Result<Response<Released>, MaskError> {
    let info = info(&Method::GET, LIST);
    release(
        response,
        &info,
        &permit(),
        &placeholders(),
        &KnownValues::default(),
    )
    .map(|(response, _)| response)
}

#[tokio::test]
async fn headers_say_what_happened_and_nothing_about_the_old_body() {
    let mut response = json(200, full("{\"data\":{\"a\":\"cA==\"}}"));
    for (name, value) in [
        ("content-length", "22"),
        ("etag", "\"x\""),
        ("content-md5", "x"),
        ("warning", "299 - \"v1 Secret is deprecated in v1.99+\""),
        ("audit-id", "1"),
    ] {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    let info = info(&Method::GET, LIST);
    let (response, report) = release(
        response,
        &info,
        &permit(),
        &placeholders(),
        &KnownValues::default(),
    )
    .unwrap();
    let headers = response.headers().clone();
    for name in ["content-length", "etag", "content-md5", "content-encoding"] {
        assert!(!headers.contains_key(name), "{name}");
    }
    assert_eq!(headers["audit-id"], "1");
    let warnings: Vec<_> = headers.get_all("warning").iter().collect();
    assert_eq!(
        warnings,
        [
            "299 - \"v1 Secret is deprecated in v1.99+\"",
            "299 - \"values are masked by policy (secrets)\""
        ]
    );
    assert_eq!(report.values_masked(), 0);
    let (text, outcome) = read(response.into_body()).await;
    outcome.unwrap();
    let expected = format!(
        "{{\"data\":{{\"a\":\"{}\"}}}}",
        placeholders().of("p").base64()
    );
    assert_eq!(text, expected.as_bytes());
    assert_eq!(report.values_masked(), 1);
    assert_eq!(report.masked_paths(), ["data.a"]);
    assert_eq!(report.by_mask(), [(MaskName::of("secrets"), 1)]);
}

#[tokio::test]
async fn without_a_mask_nothing_changes() {
    let permit = Permit::for_tests(Identity::for_tests("alice", &[]), "demo", &[]);
    let mut response = json(200, full("\u{0}anything"));
    response
        .headers_mut()
        .insert("content-length", "9".parse().unwrap());
    let info = info(&Method::GET, LIST);
    let (response, _) = release(
        response,
        &info,
        &permit,
        &placeholders(),
        &KnownValues::default(),
    )
    .unwrap();
    assert_eq!(response.headers()["content-length"], "9");
    assert_eq!(read(response.into_body()).await.0, b"\0anything");
}

#[test]
fn c_02_c_03_c_04_c_11_c_13_what_is_not_understood_is_withheld() {
    for (name, value) in [
        ("content-type", "application/yaml"),
        ("content-type", "application/cbor"),
        ("content-type", "text/plain"),
        ("content-type", "application/json; charset=utf-16"),
        ("content-encoding", "br"),
        ("content-encoding", "gzip, gzip"),
        ("content-encoding", "deflate"),
    ] {
        let mut response = json(200, full("{}"));
        response.headers_mut().insert(name, value.parse().unwrap());
        let error = release_list(response).unwrap_err();
        assert_eq!(error.code(), StatusCode::BAD_GATEWAY, "{value}");
    }
    // Protobuf of a kind whose fields have no table.
    let plain = full("k8s\0");
    let mut response = json(200, plain);
    let protobuf = "application/vnd.kubernetes.protobuf".parse().unwrap();
    response.headers_mut().insert("content-type", protobuf);
    let info = info(&Method::GET, "/api/v1/nodes/n");
    let error = release(
        response,
        &info,
        &permit(),
        &placeholders(),
        &KnownValues::default(),
    )
    .unwrap_err();
    assert_eq!(error.code(), StatusCode::BAD_GATEWAY);
    let mut twice = json(200, full("{}"));
    twice
        .headers_mut()
        .append("content-type", "text/plain".parse().unwrap());
    assert!(release_list(twice).is_err());
    let mut none = json(200, full("{}"));
    none.headers_mut().remove("content-type");
    assert!(release_list(none).is_err());
    assert!(release_list(json(101, full("{}"))).is_err());
    assert!(release_list(json(302, full("{}"))).is_err());
}

#[tokio::test]
async fn c_11_gzip_is_inflated_and_a_bomb_costs_no_memory() {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"{\"data\":{\"a\":\"").unwrap();
    for _ in 0..64 {
        encoder.write_all(&vec![b'A'; 1 << 20]).unwrap();
    }
    encoder.write_all(b"\"},\"b\":\"").unwrap();
    encoder.write_all(&vec![b'B'; 1 << 20]).unwrap();
    encoder.write_all(b"\"}").unwrap();
    let bomb = encoder.finish().unwrap();
    for size in [1000, bomb.len()] {
        let frames = bomb
            .chunks(size)
            .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let mut response = json(200, pieces(frames));
        response
            .headers_mut()
            .insert("content-encoding", "gzip".parse().unwrap());
        let response = release_list(response).unwrap();
        let mut body = response.into_body().into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() <= 2 * crate::limits::INFLATE_BYTES_MAX);
            length += data.len();
        }
        assert_eq!(length, (1 << 20) + 22 + 74);
    }
    let mut cut = json(200, full(bomb[..bomb.len() - 1].to_vec()));
    cut.headers_mut()
        .insert("content-encoding", "gzip".parse().unwrap());
    let (_, outcome) = read(release_list(cut).unwrap().into_body()).await;
    outcome.unwrap_err();
}

#[tokio::test]
async fn c_43_a_broken_body_breaks_off_after_what_was_safe() {
    let text = b"{\"kind\":\"Secret\",\"data\":{\"a\":\"s3cr3t-value";
    for last in [None, Some(Err("connection reset".into()))] {
        let mut frames = vec![Ok(Frame::data(Bytes::from_static(text)))];
        frames.extend(last);
        let (text, outcome) =
            read(release_list(json(200, pieces(frames))).unwrap().into_body()).await;
        assert_eq!(text, b"{\"kind\":\"Secret\",\"data\":{\"a\":");
        outcome.unwrap_err();
    }
    let (text, outcome) = read(release_list(json(200, full("<html>"))).unwrap().into_body()).await;
    assert_eq!(text, b"");
    outcome.unwrap_err();
}

fn protobuf(body: Body) -> Response<Unreleased> {
    Response::builder()
        .header(header::CONTENT_TYPE, "application/vnd.kubernetes.protobuf")
        .body(Unreleased::new(body))
        .unwrap()
}

/// An object above the bound, in an envelope.
fn too_large(kind: &str, raw: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    let object = field(2, &vec![0; PROTOBUF_OBJECT_BYTES_MAX]);
    [MAGIC, &field(1, &type_meta), &field(2, &raw(&object))].concat()
}

#[tokio::test]
async fn c_03_what_cannot_be_masked_breaks_off_with_a_reason() {
    let (one, list) = (format!("{LIST}/db"), LIST.to_owned());
    let large = too_large("Secret", <[u8]>::to_vec);
    let other = too_large("Pod", |_| Vec::new());
    let items = too_large("SecretList", |item| field(2, item));
    for (target, body, says, whole) in [
        (&one, large, "above 4 MiB", true),
        (&one, other.clone(), "not protobuf that can be masked", true),
        (&list, other, "not protobuf that can be masked", true),
        // What stands before its first item has left when that is seen.
        (&list, items, "application/json", false),
    ] {
        let info = info(&Method::GET, target);
        let placeholders = placeholders();
        let known = KnownValues::default();
        let answer = protobuf(full(body));
        let (answer, _) = release(answer, &info, &permit(), &placeholders, &known).unwrap();
        let (text, outcome) = read(answer.into_body()).await;
        assert_eq!(text.is_empty(), whole, "{target}");
        let why = body::withheld(&outcome.unwrap_err()).unwrap().to_string();
        assert!(why.contains(says), "{why}");
    }
}

#[tokio::test]
async fn c_53_trailers_are_dropped() {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-value", "s3cr3t-value".parse().unwrap());
    let frames = vec![
        Ok(Frame::data(Bytes::from_static(b"{}"))),
        Ok(Frame::trailers(trailers)),
    ];
    let (text, outcome) = read(release_list(json(200, pieces(frames))).unwrap().into_body()).await;
    outcome.unwrap();
    assert_eq!(text, b"{}");
}

#[tokio::test]
async fn c_07_each_event_leaves_before_the_next_one_is_asked_for() {
    let event = "{\"type\":\"ADDED\",\"object\":{\"data\":{\"a\":\"cA==\"}}}\n";
    let frames: Vec<_> = (0..3)
        .map(|_| Ok(Frame::data(Bytes::from_static(event.as_bytes()))))
        .collect();
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let stream = futures_util::stream::iter(frames.into_iter().inspect(move |_| {
        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }));
    let body = http_body_util::BodyExt::boxed_unsync(StreamBody::new(stream));
    let info = info(&Method::GET, &format!("{LIST}?watch=1"));
    let (response, _) = release(
        json(200, body),
        &info,
        &permit(),
        &placeholders(),
        &KnownValues::default(),
    )
    .unwrap();
    let mut body = response.into_body().into_body();
    for number in 1..=3 {
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(data.starts_with(b"{\"type\":\"ADDED\"") && data.ends_with(b"}}}\n"));
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), number);
    }
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn an_empty_answer_stays_empty() {
    for status in [200, 204, 304] {
        let mut response = json(status, crate::gateway::body::empty());
        response.headers_mut().remove("content-type");
        let (text, outcome) = read(release_list(response).unwrap().into_body()).await;
        outcome.unwrap();
        assert_eq!(text, b"");
    }
}

#[tokio::test]
async fn c_24_an_error_of_any_form_and_size_is_rebuilt() {
    let quoted = format!(
        "{{\"kind\":\"Status\",\"reason\":\"Invalid\",\"message\":\"{} s3cr3t-value\"}}",
        "x".repeat(crate::limits::ERROR_STATUS_BYTES_MAX)
    );
    for (content_type, body) in [
        ("application/json", quoted.as_str()),
        ("text/plain", "s3cr3t-value"),
        ("application/vnd.kubernetes.protobuf", "k8s\0 s3cr3t-value"),
        (
            "application/json",
            "{\"kind\":\"Secret\",\"data\":{\"a\":\"s3cr3t-value\"}}",
        ),
        (
            "application/json",
            "{\"kind\":\"Status\",\"message\":\"s3cr3t-value",
        ),
    ] {
        let mut response = json(422, full(body.to_owned()));
        let value = content_type.parse().unwrap();
        response.headers_mut().insert(header::CONTENT_TYPE, value);
        let response = release_list(response).unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let (text, outcome) = read(response.into_body()).await;
        outcome.unwrap();
        let status: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(status["reason"], "Invalid", "{content_type}");
        assert_eq!(status["code"], 422);
        assert!(!status.to_string().contains("s3cr3t-value"));
    }
}

#[tokio::test]
async fn c_05_cells_of_custom_resources_are_masked_if_they_come_anyway() {
    let rule = MaskRule {
        name: "databases".to_owned(),
        api_groups: vec!["example.com".to_owned()],
        resources: vec!["databases".to_owned()],
        fields: vec![FieldPath::parse("spec.password").unwrap()],
        ..MaskRule::default()
    };
    let permit = Permit::for_tests(Identity::for_tests("alice", &[]), "demo", &[&rule]);
    let info = info(
        &Method::GET,
        "/apis/example.com/v1/namespaces/shop/databases",
    );
    let table = r#"{"kind":"Table","rows":[{"cells":["db","s3cr3t-value",1],"object":{"spec":{"password":"s3cr3t-value"}}}]}"#;
    let (response, report) = release(
        json(200, full(table)),
        &info,
        &permit,
        &placeholders(),
        &KnownValues::default(),
    )
    .unwrap();
    let (text, outcome) = read(response.into_body()).await;
    outcome.unwrap();
    assert!(!String::from_utf8(text).unwrap().contains("s3cr3t-value"));
    assert_eq!(report.values_masked(), 4);

    let mut headers = http::HeaderMap::new();
    headers.insert(
        header::ACCEPT,
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
            .parse()
            .unwrap(),
    );
    headers.insert(header::ACCEPT_ENCODING, "gzip".parse().unwrap());
    negotiate(&mut headers, &info, &permit).unwrap();
    assert_eq!(headers[header::ACCEPT], "application/json");
    assert_eq!(headers[header::ACCEPT_ENCODING], "identity");
    headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    let error = negotiate(&mut headers, &info, &permit).unwrap_err();
    assert_eq!(error.code(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}
