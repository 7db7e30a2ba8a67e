//! Decides how an answer leaves: unchanged, masked, rebuilt, or not at all.

pub(super) mod status;
mod warning;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use serde_json::Value;

use self::status::Scrubber;
use super::body::gzip::Inflate;
use super::body::{Last, Pipeline};
use super::json::{JsonMasker, Mask};
use super::output::Collected;
use super::placeholder::Linkable;
use super::protobuf::{self, Form, Kind, ProtobufMasker, kind_for};
use super::text::known::{JsonPassing, KnownValues, Passing, Shelf, Strings};
use super::text::{TextMasker, TextMasks};
use super::{MaskError, MaskReport, Placeholders, Released, Unreleased, cells_are_safe};
use crate::gateway::body::Body;
use crate::policy::Permit;
use crate::policy::mask::{MaskPlan, Root};
use crate::request::RequestInfo;
use crate::wire::json::Documents;

/// Headers that describe the bytes of a body, and are wrong once it is rewritten; or say more about
/// the value than the mask does.
const DESCRIBING: [HeaderName; 11] = [
    header::ACCEPT_RANGES,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::TRAILER,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

/// The parameter with which the reader of a log says where it ends, in bytes; kubelets have it too.
const LIMIT: &str = "limitBytes";

/// Headers of which clients and this room read what they say; a Secret that holds `application/json` must not hide it.
const READ: [HeaderName; 16] = [
    header::ALLOW,
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::DATE,
    header::RETRY_AFTER,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VARY,
    HeaderName::from_static("audit-id"),
    HeaderName::from_static("x-kubernetes-pf-flowschema-uid"),
    HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid"),
];

/// Lets an answer of the API server leave, masked where the permit demands it. The report is
/// complete when the body has ended.
pub fn release(
    response: Response<Unreleased>,
    info: &RequestInfo,
    permit: &Permit,
    placeholders: &Arc<Placeholders>,
    known: &KnownValues,
) -> Result<(Response<Released>, Arc<MaskReport>), MaskError> {
    let report = Arc::new(MaskReport::default());
    let (mut head, body) = response.into_parts();
    let body = body.open();
    let Some(plan) = permit.mask() else {
        let response = Response::from_parts(head, Released::unchanged(body));
        return Ok((response, report));
    };
    let texts = TextMasks::of(permit, &info.namespace, placeholders, known)?;
    mask_headers(&mut head.headers, permit, texts.as_ref(), &report);
    if is_text(info, plan) {
        let cut = info.query.first(LIMIT).is_some();
        let texts = texts.map(|texts| if cut { texts.cut_off() } else { texts });
        return release_text(head, body, texts, report);
    }
    let status = head.status;
    let empty = body.is_end_stream();
    let error = status.is_client_error() || status.is_server_error();
    if !error && !status.is_success() && status != StatusCode::NOT_MODIFIED {
        return Err(MaskError::Upstream {
            problem: "it is neither a result nor an error",
        });
    }
    let shelf = texts.and_then(|texts| texts.known);
    let native = is_protobuf(&head.headers)
        .then(|| kind_for(info, plan))
        .flatten();
    if !error && !empty && native.is_none() {
        require_json(&head.headers)?;
    }
    let inflate = content_encoding(&head.headers);
    let last = if error {
        head.headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        Last::Status {
            scrubber: Box::new(Scrubber::new(
                status,
                info,
                (!permit.withholds_errors()).then(|| Arc::clone(plan)),
            )),
            text: BytesMut::new(),
            strings: shelf.map(|shelf| Box::new(Strings::new(shelf))),
        }
    } else {
        let passing = known.passing(info, permit);
        masker(info, plan, (placeholders, shelf), native, passing)
    };
    for name in DESCRIBING {
        head.headers.remove(name);
    }
    if empty {
        return Ok((
            Response::from_parts(head, Released::unchanged(body)),
            report,
        ));
    }
    let inflate = match inflate {
        Ok(inflate) => inflate,
        // An error that cannot be read is still an error.
        Err(_) if error => None,
        Err(problem) => return Err(problem),
    };
    if !error {
        head.headers
            .extend(warning::own(permit).map(|text| (header::WARNING, text)));
    }
    let body = Released::rewritten(body, Pipeline { inflate, last }, Arc::clone(&report));
    Ok((Response::from_parts(head, body), report))
}

/// An object with everything hidden that a plan hides in it, for a reader who did not ask for it. `None` where it
/// cannot be masked.
pub fn masked_object(
    object: &Value,
    info: &RequestInfo,
    plan: &Arc<MaskPlan>,
    (texts, placeholders): (&TextMasks, &Arc<Placeholders>),
) -> Option<Value> {
    let mask = Mask {
        plan: Arc::clone(plan),
        placeholders: Arc::clone(placeholders),
        linkable: Linkable::Yes,
        root: plan.root(Root::Object),
        data_is_base64: info.api_group.is_empty() && info.resource == "secrets",
        known: texts.known.clone(),
    };
    let text = object.to_string();
    let mut masked = Vec::with_capacity(text.len());
    let mut masker = JsonMasker::new(mask, Documents::One);
    let mut sink = Collected::new(text.as_bytes(), &mut masked);
    masker.push(text.as_bytes(), &mut sink).ok()?;
    masker.finish(&mut sink).ok()?;
    serde_json::from_slice(&masked).ok()
}

/// Lets a log, or what a pod, service or node answers through the proxy, leave: of whatever type and status,
/// as the text is searched as it is.
fn release_text(
    mut head: Parts,
    body: Body,
    texts: Option<TextMasks>,
    report: Arc<MaskReport>,
) -> Result<(Response<Released>, Arc<MaskReport>), MaskError> {
    let Some(texts) = texts else {
        return Err(MaskError::Upstream {
            problem: "nothing is known of how to mask it",
        });
    };
    let inflate = content_encoding(&head.headers)?;
    for name in DESCRIBING {
        head.headers.remove(name);
    }
    let last = Last::Text(Box::new(TextMasker::new(&texts)));
    let body = Released::rewritten(body, Pipeline { inflate, last }, Arc::clone(&report));
    Ok((Response::from_parts(head, body), report))
}

/// Warnings of admission plugins, and whatever else stands in headers, can quote values too (threats C-27, C-53).
fn mask_headers(
    headers: &mut HeaderMap,
    permit: &Permit,
    texts: Option<&TextMasks>,
    report: &MaskReport,
) {
    if permit.withholds_errors() {
        warning::withhold(headers);
    }
    let Some(texts) = texts else {
        return;
    };
    let said = headers.iter_mut().filter(|(name, _)| !READ.contains(name));
    for (_, value) in said {
        let mut masked = Vec::with_capacity(value.len());
        let mut masker = TextMasker::new(texts);
        masker.push_to(value.as_bytes(), Duration::ZERO, &mut masked);
        masker.finish_to(&mut masked);
        if masked != value.as_bytes() {
            masker.report_to(report);
            *value = HeaderValue::from_bytes(&masked)
                .unwrap_or_else(|_error| HeaderValue::from_static("masked"));
        }
    }
}

/// Masks what the answer to this request holds, and learns from the Secrets in it.
fn masker(
    info: &RequestInfo,
    plan: &Arc<MaskPlan>,
    (placeholders, known): (&Arc<Placeholders>, Option<Arc<Shelf>>),
    native: Option<Kind>,
    passing: Option<Passing>,
) -> Last {
    let mask = Mask {
        plan: Arc::clone(plan),
        placeholders: Arc::clone(placeholders),
        linkable: match info.verb.as_str() {
            "get" | "list" | "watch" => Linkable::Yes,
            _ => Linkable::No,
        },
        root: plan.root(if cells_are_safe(info, plan) {
            Root::Object
        } else {
            Root::ObjectAndCells
        }),
        data_is_base64: info.api_group.is_empty() && info.resource == "secrets",
        known,
    };
    if let Some(kind) = native {
        let form = match info.verb.as_str() {
            _ if info.is_watch() => Form::Watch,
            "list" => Form::List,
            _ => Form::Object,
        };
        return Last::Protobuf(Box::new(ProtobufMasker::new(mask, kind, form, passing)));
    }
    let documents = if info.is_watch() {
        Documents::Sequence
    } else {
        Documents::One
    };
    Last::Json {
        masker: Box::new(JsonMasker::new(mask, documents)),
        passing: passing.map(|passing| Box::new(JsonPassing::new(passing, info))),
    }
}

/// Is the answer not an object but what a container or a node says, in whatever form? Masks that name fields
/// of it still ask for JSON.
pub(super) fn is_text(info: &RequestInfo, plan: &MaskPlan) -> bool {
    let stream = matches!(info.subresource.as_str(), "log" | "proxy");
    stream && plan.is_empty() && plan.texts().any()
}

/// Protobuf, as the API server calls it.
fn is_protobuf(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(content_type), None) = (types.next(), types.next()) else {
        return false;
    };
    let media_type = content_type.to_str().unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case(protobuf::MEDIA_TYPE)
}

/// The only other form we read; everything else is withheld (threats C-02 to C-04, C-13).
fn require_json(headers: &HeaderMap) -> Result<(), MaskError> {
    let problem = MaskError::Upstream {
        problem: "it is not JSON",
    };
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(content_type), None) = (types.next(), types.next()) else {
        return Err(problem);
    };
    let content_type = content_type.to_str().map_err(|_error| problem.clone())?;
    let mut parts = content_type.split(';').map(str::trim);
    if !parts
        .next()
        .is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"))
    {
        return Err(problem);
    }
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.trim().eq_ignore_ascii_case("charset")
            && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        {
            return Err(problem);
        }
    }
    Ok(())
}

/// We ask for no encoding and understand one (threats C-11).
fn content_encoding(headers: &HeaderMap) -> Result<Option<Inflate>, MaskError> {
    let problem = MaskError::Upstream {
        problem: "it is compressed in a way that is not understood",
    };
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(encoding) = encodings.next() else {
        return Ok(None);
    };
    if encodings.next().is_some() {
        return Err(problem);
    }
    let encoding = encoding.as_bytes().trim_ascii();
    if encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity") {
        Ok(None)
    } else if encoding.eq_ignore_ascii_case(b"gzip") {
        Ok(Some(Inflate::new()))
    } else {
        Err(problem)
    }
}
