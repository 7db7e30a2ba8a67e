//! Answers of an API server for benches: every encoding and every carrier of secrets, in chunks of 16 KiB as they come
//! off a connection, and the whole way that one takes through the masks.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io::Write as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, Response, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use portcullis::config::policy_file;
use portcullis::gateway::body::BodyError;
use portcullis::identity::Identity;
use portcullis::policy::{Decision, Permit, Policy, Seen};
use portcullis::request::RequestInfo;
use portcullis::transform::text::known::{KnownValues, SecretAt, Settings};
use portcullis::transform::{Placeholders, Unreleased, release};
use serde_json::{Value, json};
use zeroize::Zeroizing;

const CHUNK_BYTES: usize = 16 * 1024;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// One kind of answer.
pub(super) struct Case {
    pub(super) name: &'static str,
    target: &'static str,
    masks: &'static str,
    content_type: &'static str,
    gzip: bool,
    /// Makes it as the API server does; inflated, where it comes compressed.
    body: fn() -> Vec<u8>,
}

impl Case {
    fn json(
        name: &'static str,
        target: &'static str,
        masks: &'static str,
        body: fn() -> Vec<u8>,
    ) -> Self {
        Self {
            name,
            target,
            masks,
            content_type: JSON,
            gzip: false,
            body,
        }
    }
}

/// The pieces of a body.
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

fn corpus(file: &str) -> Vec<u8> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/captures/corpus/"
    );
    std::fs::read(format!("{folder}{file}")).unwrap_or_else(|error| unreachable!("{file}: {error}"))
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let _written = encoder.write_all(text);
    encoder.finish().unwrap_or_default()
}

/// A list of the items' contents under other keys: what a list of `Secret`s has in `data`, config maps have as text.
fn config_maps(secrets: &Value) -> Vec<u8> {
    let items = secrets["items"].as_array().into_iter().flatten();
    let items: Vec<Value> = items
        .map(|secret| {
            let data = secret["data"].as_object().into_iter().flatten();
            let data: serde_json::Map<String, Value> = data
                .filter_map(|(key, value)| {
                    let text = STANDARD.decode(value.as_str()?).ok()?;
                    Some((key.clone(), json!(String::from_utf8(text).ok()?)))
                })
                .collect();
            json!({"metadata": secret["metadata"], "data": data})
        })
        .collect();
    json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {}, "items": items})
        .to_string()
        .into_bytes()
}

/// A protobuf field that holds bytes.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = value.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap_or_default());
    out.extend_from_slice(value);
    out
}

/// The same Secrets as protobuf, `times` over.
fn protobuf(secrets: &Value, times: usize) -> Vec<u8> {
    protobuf_of("SecretList", secrets, times)
}

/// What a list of Secrets has, as a list of this kind.
fn protobuf_of(kind: &str, secrets: &Value, times: usize) -> Vec<u8> {
    let text = |value: &Value| value.as_str().unwrap_or_default().as_bytes().to_vec();
    let items = secrets["items"].as_array().into_iter().flatten();
    let items: Vec<Vec<u8>> = items
        .map(|secret| {
            let metadata = &secret["metadata"];
            let mut item = [
                field(1, &text(&metadata["name"])),
                field(3, &text(&metadata["namespace"])),
                field(5, &text(&metadata["uid"])),
                field(6, &text(&metadata["resourceVersion"])),
            ]
            .concat();
            for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
                let entry = [field(1, key.as_bytes()), field(2, &text(value))].concat();
                item.extend(field(12, &entry));
            }
            let mut item = field(1, &item);
            for (key, value) in secret["data"].as_object().into_iter().flatten() {
                let value = STANDARD.decode(text(value)).unwrap_or_default();
                let entry = [field(1, key.as_bytes()), field(2, &value)].concat();
                item.extend(field(2, &entry));
            }
            if kind == "SecretList" {
                item.extend(field(3, &text(&secret["type"])));
            }
            field(2, &item)
        })
        .collect();
    let list = [field(1, &field(2, b"12308")), items.concat().repeat(times)].concat();
    let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &type_meta), field(2, &list)].concat()
}

/// Config maps as protobuf, with the Secrets' annotations and with their data as text: fields 1 and 2 are the same.
fn config_maps_of_protobuf() -> Vec<u8> {
    protobuf_of("ConfigMapList", &secrets_parsed(), 1)
}

/// A config map with a field that no table knows: a text of so many bytes within messages within messages; without, a
/// mebibyte of fields as small as they get.
fn in_unknown_field(way: &[u8], bytes: usize) -> Vec<u8> {
    let text = if bytes == 0 {
        field(1, b"").repeat(1 << 19)
    } else {
        b"words that are no value, "
            .iter()
            .copied()
            .cycle()
            .take(bytes)
            .collect()
    };
    let nested = way
        .iter()
        .fold(text, |inner, number| field(*number, &inner));
    let type_meta = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
    let object = field(15, &nested);
    [b"k8s\0".to_vec(), field(1, &type_meta), field(2, &object)].concat()
}

fn secrets() -> Vec<u8> {
    corpus("secrets.list.json")
}

fn secrets_parsed() -> Value {
    serde_json::from_slice(&secrets()).unwrap_or_default()
}

fn pods() -> Vec<u8> {
    corpus("pods.list.json")
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let (list, watch) = ("/api/v1/secrets", "/api/v1/secrets?watch=1");
    let of_protobuf = |name, body| Case {
        content_type: PROTOBUF,
        ..Case::json(name, list, "secrets", body)
    };
    let of_unknown = |name, body| Case {
        target: "/api/v1/namespaces/ns-1/configmaps/c",
        masks: "known-values",
        ..of_protobuf(name, body)
    };
    let of_pods = |name, masks| Case::json(name, "/api/v1/pods", masks, pods);
    let of_pods_protobuf = |name, masks| Case {
        content_type: PROTOBUF,
        ..Case::json(name, "/api/v1/pods", masks, || corpus("pods.list.pb"))
    };
    vec![
        // -- encodings --
        Case::json("secrets/list json", list, "secrets", secrets),
        Case {
            gzip: true,
            ..Case::json("secrets/list json gzip", list, "secrets", secrets)
        },
        of_protobuf("secrets/list protobuf", || protobuf(&secrets_parsed(), 1)),
        of_protobuf("secrets/list protobuf above 4 MiB", || {
            protobuf(&secrets_parsed(), 24)
        }),
        Case::json("secrets/watch json", watch, "secrets", || {
            corpus("secrets.watch.jsonl")
        }),
        Case::json("secrets/watch table", watch, "secrets", || {
            corpus("secrets.watch.table.jsonl")
        }),
        // -- carriers --
        of_pods("pods/workloads", "workloads"),
        of_pods("pods/known-values", "known-values"),
        of_pods("pods/workloads and known-values", "workloads, known-values"),
        Case::json("configmaps", "/api/v1/configmaps", "configmaps", || {
            config_maps(&secrets_parsed())
        }),
        Case::json("secrets/all", list, "secrets, known-values", secrets),
        Case {
            masks: "secrets, known-values",
            ..of_protobuf("secrets/all protobuf", || protobuf(&secrets_parsed(), 1))
        },
        Case {
            masks: "secrets, known-values",
            ..of_protobuf("secrets/all protobuf above 4 MiB", || {
                protobuf(&secrets_parsed(), 24)
            })
        },
        Case {
            target: "/api/v1/configmaps",
            masks: "known-values",
            ..of_protobuf("configmaps/known-values protobuf", config_maps_of_protobuf)
        },
        of_pods("pods/storage", "storage"),
        of_pods_protobuf("pods/storage protobuf", "storage"),
        of_pods_protobuf("pods/workloads protobuf", "workloads"),
        // -- what no table knows --
        of_unknown("unknown/flat protobuf", || in_unknown_field(&[], 1 << 20)),
        of_unknown("unknown/deep protobuf", || {
            in_unknown_field(&[1; 30], 1 << 20)
        }),
        of_unknown("unknown/deep protobuf 3 MiB", || {
            in_unknown_field(&[1; 30], 3 << 20)
        }),
        of_unknown("unknown/small fields protobuf", || in_unknown_field(&[], 0)),
    ]
}

fn policy(masks: &str) -> Policy {
    let text = format!(
        "{{apiVersion: portcullis.dev/v1alpha1, kind: Policy, metadata: {{name: p}}, rules: [\
         {{name: all, verbs: ['*'], apiGroups: ['*'], resources: ['*'], decision: allow, mask: [{masks}]}}]}}"
    );
    policy_file::compile(&[(PathBuf::from("p.yaml"), text)])
        .unwrap_or_else(|problems| unreachable!("{problems:?}"))
}

fn permit(case: &Case) -> (RequestInfo, Permit) {
    let info = RequestInfo::parse(&Method::GET, case.target)
        .unwrap_or_else(|error| unreachable!("{error}"));
    let identity = Arc::new(Identity::for_tests("bench", &[]));
    match policy(case.masks).decide(&identity, &info, "bench", &Seen::default()) {
        Decision::Allow(permit) => (info, permit),
        other => unreachable!("{other:?}"),
    }
}

/// The masks of a gateway that knows so many values, which turn up nowhere, in a hundred namespaces.
fn known(placeholders: &Arc<Placeholders>, count: usize) -> KnownValues {
    let known = KnownValues::new(["bench"], placeholders, Settings::default());
    for (_, book) in known.books() {
        for number in 0..count {
            let value = STANDARD.encode(format!(
                "{:x}-known-value",
                number.wrapping_mul(0x9e37_79b9)
            ));
            let secret = SecretAt {
                namespace: &format!("ns-{}", number % 100),
                name: &format!("s-{number}"),
                version: 1,
            };
            book.learn(secret, [("password", Zeroizing::new(value.into_bytes()))]);
        }
        black_box(book.renew());
        book.completed();
    }
    known
}

/// What answers are masked with.
pub(super) struct Masks {
    placeholders: Arc<Placeholders>,
    known: KnownValues,
}

impl Masks {
    /// With so many known values.
    pub(super) fn new(known_values: usize) -> Self {
        let placeholders = Arc::new(Placeholders::new(&[7; 32]));
        let known = known(&placeholders, known_values);
        Self {
            placeholders,
            known,
        }
    }
}

/// An answer that is there in pieces, and who asked for it.
pub(super) struct Sent {
    case: Case,
    info: RequestInfo,
    permit: Permit,
    pieces: VecDeque<Bytes>,
    /// Its length, inflated.
    pub(super) bytes: usize,
}

impl Sent {
    /// Cuts it.
    pub(super) fn new(case: Case) -> Self {
        let (info, permit) = permit(&case);
        let body = (case.body)();
        let bytes = body.len();
        let sent = Bytes::from(if case.gzip { gzip(&body) } else { body });
        let pieces = (0..sent.len())
            .step_by(CHUNK_BYTES)
            .map(|from| sent.slice(from..(from + CHUNK_BYTES).min(sent.len())))
            .collect();
        Self {
            case,
            info,
            permit,
            pieces,
            bytes,
        }
    }

    /// Masks it, from the decision to the last byte: how many bytes leave.
    pub(super) fn release(&self, masks: &Masks) -> usize {
        let name = self.case.name;
        let body = Unreleased::new(Pieces(self.pieces.clone()).boxed_unsync());
        let mut answer = Response::new(body);
        let headers = answer.headers_mut();
        let content_type = HeaderValue::from_static(self.case.content_type);
        headers.insert(header::CONTENT_TYPE, content_type);
        if self.case.gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let Masks {
            placeholders,
            known,
        } = masks;
        let released = release(answer, &self.info, &self.permit, placeholders, known);
        let (answer, _report) = released.unwrap_or_else(|error| unreachable!("{error}"));
        let mut body = answer.into_body().into_body();
        let mut bytes = 0;
        // Nothing pends: every piece is there.
        while let Some(Some(frame)) = body.frame().now_or_never() {
            let frame = frame.unwrap_or_else(|error| unreachable!("{name}: {error}"));
            bytes += frame.data_ref().map_or(0, Bytes::len);
        }
        assert!(bytes > 1000, "{name}");
        black_box(bytes)
    }
}
