//! `PATCH`.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use portcullis::gateway::body::Body;
use serde_json::{Value, json};

use super::{Call, commit, completed, finished, sealed};
use crate::apiserver::handle::admit::{normalise, set};
use crate::apiserver::handle::body;
use crate::apiserver::handle::timestamp;
use crate::apiserver::patch::fields::{self, Conflicts, Writer};
use crate::apiserver::patch::strategic::{self, Keys};
use crate::apiserver::patch::{self, json_patch};
use crate::apiserver::respond::{json_text, sorted};
use crate::apiserver::seed;
use crate::apiserver::status::ApiError;
use crate::apiserver::store::{Change, Decision, Object};
use crate::apiserver::types::{self, check};

enum Kind {
    Apply,
    Json,
    Merge,
    Strategic,
}

/// Applies a patch of any kind.
pub(in crate::apiserver::handle) async fn patch(
    call: &Call,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let kind = match body::media_type(&call.headers) {
        "application/json-patch+json" => Kind::Json,
        "application/merge-patch+json" => Kind::Merge,
        "application/strategic-merge-patch+json" if call.resource.message.is_some() => {
            Kind::Strategic
        }
        "application/apply-patch+yaml" => Kind::Apply,
        _ => {
            let mut error = ApiError::unsupported_media("415: Unsupported Media Type");
            error.details = Some(Box::new(json!({})));
            return Err(error);
        }
    };
    let bytes = body::read(request).await?;
    let patch = parse(&kind, &bytes)?;
    let name = &call.info.name;
    let outcome = commit(call, name, |current| match (&kind, current) {
        (Kind::Apply, current) => applied(call, current, &patch),
        (_, None) => Err(ApiError::not_found(&call.resource, name)),
        (_, Some(current)) => {
            let value = patched(call, &kind, current, &patch)?;
            finished(call, Some(current), value)
        }
    })?;
    if call.info.query.text("dryRun") == "All" {
        let meddling = call
            .state
            .meddling
            .lock()
            .take_if(|(whose, _)| whose == name);
        if let Some((_, object)) = meddling {
            seed::put(&call.state, object).map_err(ApiError::bad_request)?;
        }
    }
    let status = if outcome.change == Some(Change::Added) {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    call.answer(status, &outcome.object.value)
}

fn parse(kind: &Kind, bytes: &Bytes) -> Result<Value, ApiError> {
    let parsed = serde_json::from_slice(bytes);
    match (kind, parsed) {
        (_, Ok(value)) => Ok(value),
        (Kind::Apply, Err(_)) => serde_saphyr::from_slice(bytes)
            .map_err(|error| ApiError::bad_request(format!("error decoding YAML: {error}"))),
        (_, Err(error)) => Err(ApiError::bad_request(format!(
            "error decoding patch: {error}"
        ))),
    }
}

/// The patched object, checked against its type.
fn patched(call: &Call, kind: &Kind, current: &Object, patch: &Value) -> Result<Value, ApiError> {
    let mut value = current.value.clone();
    let message = call.resource.message.and_then(types::message);
    let quoted_patch = || format!("\"{}\"", patch::go_map(patch));
    match kind {
        Kind::Json => json_patch::apply(&mut value, patch).map_err(|why| {
            ApiError::new(
                422,
                "Invalid",
                format!("the server rejected our request due to an error in our request: {why}"),
            )
        })?,
        Kind::Merge => patch::merge(&mut value, patch),
        Kind::Strategic | Kind::Apply => strategic::merge(message, &mut value, patch, Keys::First)
            .map_err(|why| ApiError::patch_result(&quoted_patch(), &why))?,
    }
    let checked = match message {
        Some(message) => check::decode(message, &value, &mut check::Findings::default()),
        None => custom_metadata(&value).map(|()| value.clone()),
    };
    checked.map_err(|why| {
        let quoted = match kind {
            Kind::Strategic => quoted_patch(),
            // The whole object, data of Secrets included: this is the leak.
            _ => json!(json_text(&as_go_prints(&value))).to_string(),
        };
        ApiError::patch_result(&quoted, &why)
    })
}

/// Of a custom resource only the metadata has a type.
fn custom_metadata(value: &Value) -> Result<(), String> {
    let metadata = value.get("metadata").unwrap_or(&Value::Null);
    match types::message("ObjectMeta") {
        Some(message) => {
            check::decode(message, metadata, &mut check::Findings::default()).map(drop)
        }
        None => Ok(()),
    }
}

/// Sorted, apart from the managers, which stay in their order.
fn as_go_prints(value: &Value) -> Value {
    let mut out = sorted(value);
    if let (Some(entries), Some(place)) = (
        value.pointer("/metadata/managedFields"),
        out.pointer_mut("/metadata/managedFields"),
    ) {
        *place = entries.clone();
    }
    out
}

/// Server-side apply: creates what is not there.
fn applied(
    call: &Call,
    current: Option<&Arc<Object>>,
    patch: &Value,
) -> Result<Decision, ApiError> {
    let resource = &call.resource;
    let query = &call.info.query;
    let manager = query.text("fieldManager");
    if manager.is_empty() {
        let cause = (
            "FieldValueRequired",
            "Required value: is required for apply patch".to_owned(),
            "fieldManager".to_owned(),
        );
        let mut error = ApiError::invalid(resource, "", &[cause]);
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch".clone_into(&mut error.message);
        return Err(error);
    }
    let message = resource.message.and_then(types::message);
    let mut config = patch.clone();
    if let Value::Object(entries) = &mut config {
        entries.insert("kind".to_owned(), json!(resource.kind));
        entries.insert("apiVersion".to_owned(), json!(resource.api_version()));
    }
    if let Some(message) = message {
        let group_kind = format!("(/; {}, Kind={})", resource.api_version(), resource.kind);
        let group_kind = if resource.group.is_empty() {
            group_kind
                .replacen("(/;", "(/; /", 1)
                .replacen("/ v1", "/v1", 1)
        } else {
            group_kind
        };
        config =
            check::decode(message, &config, &mut check::Findings::default()).map_err(|why| {
                ApiError::new(
                    500,
                    "",
                    format!("failed to create typed patch object {group_kind}: {why}"),
                )
            })?;
    }
    let time = timestamp(Timestamp::now());
    let api_version = resource.api_version();
    let writer = Writer {
        manager,
        api_version: &api_version,
        subresource: &call.info.subresource,
        time: &time,
    };
    let live = if let Some(current) = current {
        current.value.clone()
    } else {
        let mut metadata = json!({"name": call.info.name});
        if resource.namespaced {
            set(&mut metadata, &["namespace"], json!(call.namespace()));
        }
        json!({"kind": resource.kind, "apiVersion": api_version, "metadata": metadata})
    };
    let value = fields::apply(message, &live, &config, writer, query.flag("force"))
        .map_err(|conflicts| refused(&conflicts))?;
    let managers = value.pointer("/metadata/managedFields").cloned();
    let mut value = completed(call, current, normalise(resource, &value))?;
    if let (Some(managers), Some(Value::Object(metadata))) = (managers, value.get_mut("metadata")) {
        metadata.insert("managedFields".to_owned(), managers);
    }
    Ok(sealed(call, current, value))
}

fn refused(conflicts: &Conflicts) -> ApiError {
    let list = &conflicts.0;
    let texts: Vec<String> = list
        .iter()
        .map(|(manager, version, field)| {
            format!("conflict with \"{manager}\" using {version}: {field}")
        })
        .collect();
    let (noun, count) = (
        if list.len() == 1 {
            "conflict"
        } else {
            "conflicts"
        },
        list.len(),
    );
    let text = if count == 1 {
        texts.concat()
    } else {
        format!("conflicts: {}", texts.join(", "))
    };
    let mut error = ApiError::new(
        409,
        "Conflict",
        format!("Apply failed with {count} {noun}: {text}"),
    );
    let causes: Vec<Value> = list
        .iter()
        .map(|(manager, version, field)| {
            json!({"reason": "FieldManagerConflict", "message": format!("conflict with \"{manager}\" using {version}"), "field": field})
        })
        .collect();
    error.details = Some(Box::new(json!({"causes": causes})));
    error
}
