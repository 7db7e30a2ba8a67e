//! `DELETE`.

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use portcullis::gateway::body::Body;
use serde_json::{Map, Value, json};

use super::{Call, commit};
use crate::apiserver::controller;
use crate::apiserver::handle::admit::{normalise, set};
use crate::apiserver::handle::read::{Filter, list_object};
use crate::apiserver::handle::{body, timestamp};
use crate::apiserver::respond;
use crate::apiserver::status::ApiError;
use crate::apiserver::store::{Decision, Object};

/// `DELETE` of an object.
pub(in crate::apiserver::handle) async fn delete(
    call: &Call,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let bytes = body::read(request).await?;
    let options = if bytes.is_empty() {
        json!({})
    } else {
        body::parse(&call.headers, &bytes, "DeleteOptions")?
    };
    let object = remove(call, &call.info.name, &options)?;
    // These say that they are going; the others only that they are gone.
    if ["pods", "namespaces", "persistentvolumeclaims"]
        .contains(&call.resource.qualified().as_str())
        || has_finalizers(&object)
    {
        return call.answer(StatusCode::OK, &object);
    }
    let mut details = Map::new();
    details.insert("name".to_owned(), json!(call.info.name));
    if !call.resource.group.is_empty() {
        details.insert("group".to_owned(), json!(call.resource.group));
    }
    details.insert("kind".to_owned(), json!(call.resource.plural));
    details.insert(
        "uid".to_owned(),
        object.pointer("/metadata/uid").cloned().unwrap_or_default(),
    );
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    let format = call.format()?;
    Ok(respond::object(
        StatusCode::OK,
        &call.headers,
        &format,
        Some("Status"),
        &status,
    ))
}

/// `DELETE` of a collection: answers with what it deleted.
pub(in crate::apiserver::handle) fn delete_collection(
    call: &Call,
) -> Result<Response<Body>, ApiError> {
    let filter = Filter::from_query(&call.resource, &call.info.query)?;
    let (version, objects) = call
        .state
        .store
        .list(&call.resource.key(), call.namespace());
    let mut deleted = Vec::new();
    for object in objects
        .iter()
        .filter(|object| filter.matches(&object.value))
    {
        let name = object
            .value
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        deleted.push(remove(call, name, &json!({}))?);
    }
    let list = list_object(
        &call.resource,
        &json!({"resourceVersion": version.to_string()}),
        &deleted,
    );
    let format = call.format()?;
    Ok(respond::object(
        StatusCode::OK,
        &call.headers,
        &format,
        call.resource.message,
        &list,
    ))
}

/// Deletes one object, in two steps when something still has to happen; gives its last state.
pub(in crate::apiserver::handle) fn remove(
    call: &Call,
    name: &str,
    options: &Value,
) -> Result<Value, ApiError> {
    let grace = match options.get("gracePeriodSeconds").and_then(Value::as_i64) {
        Some(seconds) => seconds,
        None => call
            .info
            .query
            .text("gracePeriodSeconds")
            .parse()
            .unwrap_or(30),
    };
    let policy = options.get("propagationPolicy").and_then(Value::as_str);
    let policy = policy.unwrap_or_else(|| call.info.query.text("propagationPolicy"));
    let orphan = policy == "Orphan";
    let dry = call.info.dry_run() || options.pointer("/dryRun/0") == Some(&json!("All"));
    let now = timestamp(Timestamp::now());
    let marked = commit(call, name, |current| {
        let current = current.ok_or_else(|| ApiError::not_found(&call.resource, name))?;
        preconditions(call, name, current, options)?;
        if dry {
            return Ok(Decision::DryDelete);
        }
        let graceful = call.resource.qualified() == "pods" && grace > 0;
        if !graceful && !has_finalizers(&current.value) {
            return Ok(Decision::Delete);
        }
        let mut value = current.value.clone();
        if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            metadata
                .entry("deletionTimestamp")
                .or_insert_with(|| json!(now));
            metadata
                .entry("deletionGracePeriodSeconds")
                .or_insert_with(|| json!(if graceful { grace } else { 0 }));
        }
        if call.resource.qualified() == "namespaces" {
            set(&mut value, &["status", "phase"], json!("Terminating"));
        }
        Ok(Decision::Put(normalise(&call.resource, &value)))
    })?;
    let waiting = has_finalizers(&marked.object.value);
    if !dry
        && !waiting
        && call
            .state
            .store
            .get(&call.resource.key(), call.namespace(), name)
            .is_some()
    {
        commit(call, name, |current| {
            current
                .map(|_| Decision::Delete)
                .ok_or_else(|| ApiError::not_found(&call.resource, name))
        })?;
    }
    if !dry && !waiting && !orphan {
        controller::collect_garbage(&call.state, &marked.object.value);
    }
    Ok(marked.object.value.clone())
}

fn preconditions(
    call: &Call,
    name: &str,
    current: &Object,
    options: &Value,
) -> Result<(), ApiError> {
    for (key, what) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let wanted = options.pointer(&format!("/preconditions/{key}"));
        let actual = current.value.pointer(&format!("/metadata/{key}"));
        if let (Some(wanted), Some(actual)) = (wanted, actual)
            && wanted != actual
        {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {actual}"
            );
            return Err(ApiError::conflict(&call.resource, name, &why));
        }
    }
    Ok(())
}

pub(super) fn has_finalizers(object: &Value) -> bool {
    let finalizers = object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array);
    finalizers.is_some_and(|finalizers| !finalizers.is_empty())
}
