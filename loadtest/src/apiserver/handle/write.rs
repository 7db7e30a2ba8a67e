//! `create` and `update`, and what all writes share.

mod deleting;
mod patching;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use portcullis::gateway::body::Body;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::admit::{defaults, normalise};
use super::body::{self, Decoded};
use super::{Call, timestamp};
use crate::apiserver::controller;
use crate::apiserver::patch::fields::{self, Writer};
use crate::apiserver::status::ApiError;
use crate::apiserver::store::{Decision, Object, Outcome};
use crate::apiserver::types;

use deleting::has_finalizers;
pub(super) use deleting::{delete, delete_collection, remove};
pub(super) use patching::patch;

/// `POST` to a collection.
pub(super) async fn create(
    call: &Call,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let bytes = body::read(request).await?;
    let decoded = decode(call, &bytes)?;
    let mut value = decoded.value;
    place(call, &mut value)?;
    let name = named(&mut value);
    if name.is_empty() {
        return Err(ApiError::invalid(
            &call.resource,
            "",
            &[(
                "FieldValueRequired",
                "Required value: name or generateName is required".to_owned(),
                "metadata.name".to_owned(),
            )],
        ));
    }
    let outcome = commit(call, &name, |current| match current {
        Some(_) => Err(ApiError::already_exists(&call.resource, &name)),
        None => finished(call, None, value),
    })?;
    let mut response = call.answer(StatusCode::CREATED, &outcome.object.value)?;
    warn(&mut response, &decoded.warnings);
    Ok(response)
}

/// `PUT` of an object.
pub(super) async fn update(
    call: &Call,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let bytes = body::read(request).await?;
    let decoded = decode(call, &bytes)?;
    let mut value = decoded.value;
    place(call, &mut value)?;
    let name = &call.info.name;
    match value
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
    {
        "" => return Err(ApiError::bad_request("name must be provided")),
        given if given != name => {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            )));
        }
        _ => {}
    }
    let outcome = commit(call, name, |current| {
        let current = current.ok_or_else(|| ApiError::not_found(&call.resource, name))?;
        finished(call, Some(current), value)
    })?;
    let mut response = call.answer(StatusCode::OK, &outcome.object.value)?;
    warn(&mut response, &decoded.warnings);
    Ok(response)
}

/// Writes in one step and lets the controllers react.
pub(super) fn commit(
    call: &Call,
    name: &str,
    decide: impl FnOnce(Option<&Arc<Object>>) -> Result<Decision, ApiError>,
) -> Result<Outcome, ApiError> {
    let outcome = call
        .state
        .store
        .write(&call.resource.key(), call.namespace(), name, decide)?;
    if outcome.change.is_some() {
        controller::react(&call.state, &call.resource, &outcome);
    }
    Ok(outcome)
}

/// Decodes the body as an object of this resource.
fn decode(call: &Call, bytes: &Bytes) -> Result<Decoded, ApiError> {
    let resource = &call.resource;
    let value = body::parse(&call.headers, bytes, &resource.kind)?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, api_version) = (text("kind"), text("apiVersion"));
    if !kind.is_empty() && kind != resource.kind {
        return Err(ApiError::bad_request(format!(
            "{kind} in version \"{api_version}\" cannot be handled as a {}: no kind \"{kind}\" is registered for this resource",
            resource.kind
        )));
    }
    if !api_version.is_empty() && api_version != resource.api_version() {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            resource.api_version()
        )));
    }
    let mut value = value;
    if let Value::Object(entries) = &mut value {
        entries.insert("kind".to_owned(), json!(resource.kind));
        entries.insert("apiVersion".to_owned(), json!(resource.api_version()));
        entries.entry("metadata").or_insert_with(|| json!({}));
    }
    let validation = call.info.query.text("fieldValidation");
    body::checked(
        &resource.kind,
        &resource.version,
        resource.message,
        value,
        validation,
    )
}

/// Puts the object into the namespace of the request, which must exist.
fn place(call: &Call, value: &mut Value) -> Result<(), ApiError> {
    let Some(Value::Object(metadata)) = value.get_mut("metadata") else {
        return Err(ApiError::bad_request("metadata must be an object"));
    };
    if !call.resource.namespaced {
        metadata.shift_remove("namespace");
        return Ok(());
    }
    let namespace = call.namespace();
    let given = metadata
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !given.is_empty() && given != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if namespace.is_empty() {
        return Err(ApiError::bad_request(
            "an empty namespace may not be set during creation",
        ));
    }
    if call.state.store.get("namespaces", "", namespace).is_none()
        && let Some(namespaces) = call.state.resource("", "v1", "namespaces")
    {
        return Err(ApiError::not_found(&namespaces, namespace));
    }
    metadata.insert("namespace".to_owned(), json!(namespace));
    Ok(())
}

/// The object's name, made from `generateName` when it has none.
fn named(value: &mut Value) -> String {
    let Some(Value::Object(metadata)) = value.get_mut("metadata") else {
        return String::new();
    };
    let text = |metadata: &Map<String, Value>, key: &str| {
        metadata
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (name, generate) = (text(metadata, "name"), text(metadata, "generateName"));
    if name.is_empty() && !generate.is_empty() {
        let name = format!("{generate}{}", controller::suffix());
        metadata.insert("name".to_owned(), json!(name));
        return name;
    }
    name
}

/// The object as it is stored: server-set metadata, defaults, owners of fields, order.
pub(super) fn finished(
    call: &Call,
    current: Option<&Arc<Object>>,
    value: Value,
) -> Result<Decision, ApiError> {
    let value = completed(call, current, value)?;
    let value = with_managers(call, current, value);
    Ok(sealed(call, current, value))
}

/// The last step: version placeholder, order, and what the write comes to.
pub(super) fn sealed(call: &Call, current: Option<&Arc<Object>>, mut value: Value) -> Decision {
    let dry = call.info.dry_run();
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        match (current, dry) {
            (Some(current), _) => {
                metadata.insert(
                    "resourceVersion".to_owned(),
                    json!(current.version.to_string()),
                );
            }
            (None, false) => {
                metadata.insert("resourceVersion".to_owned(), json!("0"));
            }
            (None, true) => {
                metadata.shift_remove("resourceVersion");
            }
        }
    }
    let going = value.pointer("/metadata/deletionTimestamp").is_some() && !has_finalizers(&value);
    let value = normalise(&call.resource, &value);
    match (dry, going && current.is_some()) {
        (true, _) => Decision::Dry(value),
        (false, true) => Decision::Delete,
        (false, false) => Decision::Put(value),
    }
}

/// Server-set metadata and defaults; refuses what may not change.
pub(super) fn completed(
    call: &Call,
    current: Option<&Arc<Object>>,
    mut value: Value,
) -> Result<Value, ApiError> {
    if let Some(current) = current {
        unchanged_identity(call, current, &value)?;
        keep_other_half(call, &current.value, &mut value);
    }
    let spec_changed = current.is_none_or(|current| current.value.get("spec") != value.get("spec"));
    let counts = call.resource.has("status")
        && call.resource.plural != "namespaces"
        && call.resource.plural != "nodes"
        || call.resource.custom.is_some();
    let Some(Value::Object(metadata)) = value.get_mut("metadata") else {
        return Err(ApiError::bad_request("metadata must be an object"));
    };
    let old = |key: &str| {
        current
            .and_then(|current| current.value.pointer(&format!("/metadata/{key}")))
            .cloned()
    };
    metadata.insert(
        "uid".to_owned(),
        old("uid").unwrap_or_else(|| json!(Uuid::new_v4().to_string())),
    );
    let created = old("creationTimestamp").unwrap_or_else(|| json!(timestamp(Timestamp::now())));
    metadata.insert("creationTimestamp".to_owned(), created);
    metadata.shift_remove("managedFields");
    metadata.shift_remove("selfLink");
    if counts {
        let generation = old("generation")
            .and_then(|value| value.as_i64())
            .unwrap_or(0);
        let generation = if spec_changed {
            generation + 1
        } else {
            generation.max(1)
        };
        metadata.insert("generation".to_owned(), json!(generation));
    }
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        match old(key) {
            Some(value) => metadata.insert(key.to_owned(), value),
            None => metadata.shift_remove(key),
        };
    }
    defaults(&call.resource, &mut value);
    Ok(value)
}

fn unchanged_identity(call: &Call, current: &Object, value: &Value) -> Result<(), ApiError> {
    let name = &call.info.name;
    let given = |key: &str| {
        value
            .pointer(&format!("/metadata/{key}"))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let version = given("resourceVersion");
    if !version.is_empty() && version != "0" && version != current.version.to_string() {
        return Err(ApiError::modified(&call.resource, name));
    }
    if version.is_empty() && call.resource.custom.is_some() && call.info.verb == "update" {
        let cause = (
            "FieldValueInvalid",
            "Invalid value: 0: must be specified for an update".to_owned(),
            "metadata.resourceVersion".to_owned(),
        );
        return Err(ApiError::invalid(&call.resource, name, &[cause]));
    }
    let uid = current
        .value
        .pointer("/metadata/uid")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !given("uid").is_empty() && given("uid") != uid {
        let why = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {uid}",
            given("uid")
        );
        return Err(ApiError::conflict(&call.resource, name, &why));
    }
    let immutable = current.value.get("immutable") == Some(&json!(true));
    if immutable
        && (current.value.get("data") != value.get("data")
            || value.get("immutable") != Some(&json!(true)))
    {
        let cause = (
            "FieldValueForbidden",
            "Forbidden: field is immutable when `immutable` is set".to_owned(),
            "data".to_owned(),
        );
        return Err(ApiError::invalid(&call.resource, name, &[cause]));
    }
    Ok(())
}

/// A write to the object does not touch its status, one to `status` nothing else.
fn keep_other_half(call: &Call, old: &Value, new: &mut Value) {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return;
    };
    let keep = |new: &mut Map<String, Value>, key: &str| match old.get(key) {
        Some(value) => {
            new.insert(key.to_owned(), value.clone());
        }
        None => {
            new.shift_remove(key);
        }
    };
    if call.info.subresource == "status" {
        keep(new, "spec");
    } else if call.resource.has("status") {
        keep(new, "status");
    }
}

fn with_managers(call: &Call, current: Option<&Arc<Object>>, mut value: Value) -> Value {
    let manager = call.manager();
    let time = timestamp(Timestamp::now());
    let api_version = call.resource.api_version();
    let writer = Writer {
        manager: &manager,
        api_version: &api_version,
        subresource: &call.info.subresource,
        time: &time,
    };
    let message = call.resource.message.and_then(types::message);
    fields::record(
        message,
        current.map(|current| &current.value),
        &mut value,
        writer,
    );
    value
}

/// `Warning: 299 - "text"` lines.
fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let text = format!(
            "299 - \"{}\"",
            warning.replace('\\', "\\\\").replace('"', "\\\"")
        );
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append("warning", value);
        }
    }
}
