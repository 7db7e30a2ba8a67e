//! Subresources: `status`, `scale`, `token`, `eviction`, and the ones the node answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use jiff::{SignedDuration, Timestamp};
use portcullis::gateway::body::{Body, empty};
use portcullis::gateway::upgrade::is_websocket;
use serde_json::{Map, Value, json};

use super::admit::set;
use super::{Call, body, kubelet, read, review, timestamp, write};
use crate::apiserver::controller;
use crate::apiserver::patch;
use crate::apiserver::respond;
use crate::apiserver::status::ApiError;
use crate::apiserver::store::Object;

/// Routes a request for a subresource.
pub(super) async fn answer(
    call: Call,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let (resource, info) = (&call.resource, &call.info);
    if !resource.has(&info.subresource) {
        return Err(ApiError::no_resource());
    }
    match (
        resource.plural.as_str(),
        info.subresource.as_str(),
        info.verb.as_str(),
    ) {
        ("pods", "log" | "exec" | "attach" | "portforward", "get" | "create") => {
            let pod = read::stored(&call)?;
            Ok(on_node(&call, &pod, request).await)
        }
        ("nodes", "proxy", "get" | "create") => kubelet::answer(call, request).await,
        ("pods", "eviction", "create") => {
            write::remove(&call, &info.name, &json!({}))?;
            Ok(success(&call, StatusCode::CREATED))
        }
        ("pods", "binding", "create") => {
            read::stored(&call)?;
            Ok(success(&call, StatusCode::CREATED))
        }
        ("serviceaccounts", "token", "create") => token(&call, request).await,
        (_, "scale", "get") => {
            let object = read::stored(&call)?;
            call.answer_as(StatusCode::OK, &scale_of(&object.value), Some("Scale"))
        }
        (_, "scale", "update" | "patch") => rescale(&call, request).await,
        (_, "status" | "ephemeralcontainers" | "resize" | "finalize", verb) => match verb {
            "get" => read::get(&call),
            "update" => write::update(&call, request).await,
            "patch" => write::patch(&call, request).await,
            _ => Err(ApiError::method_not_allowed()),
        },
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Has the simulated node answer a request for a stored pod.
pub(super) async fn on_node(
    call: &Call,
    pod: &Object,
    request: Request<Incoming>,
) -> Response<Body> {
    if call.state.settings.spdy_only && is_websocket(request.headers()) {
        // A bare 403, as in the capture exec-ws-badproto.
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::FORBIDDEN;
        return response;
    }
    let pod = crate::node::PodRef {
        namespace: text(&pod.value, "/metadata/namespace").to_owned(),
        name: text(&pod.value, "/metadata/name").to_owned(),
        object: pod.value.clone(),
        environment: environment(call, &pod.value),
        on_exit: Some(on_exit(call, &pod.value)),
    };
    crate::node::handle(request, pod).await
}

/// Has the stored pod follow the end of its containers.
fn on_exit(call: &Call, pod: &Value) -> crate::node::ExitHook {
    let (state, pod) = (Arc::clone(&call.state), pod.clone());
    Arc::new(move |container, code| controller::exited(&state, &pod, container, code))
}

/// The environment that comes from Secrets and `ConfigMaps`: container, variable, value.
fn environment(call: &Call, pod: &Value) -> Vec<(String, String, String)> {
    let mut out = Vec::new();
    let namespace = text(pod, "/metadata/namespace");
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
    for container in containers.into_iter().flatten() {
        let name = text(container, "/name");
        for variable in container
            .get("env")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            for (source, key) in [
                ("secretKeyRef", "secrets"),
                ("configMapKeyRef", "configmaps"),
            ] {
                let reference = variable.pointer(&format!("/valueFrom/{source}"));
                let value = reference.and_then(|reference| {
                    let name = text(reference, "/name");
                    values(call, key, (namespace, name)).remove(text(reference, "/key"))
                });
                out.extend(
                    value.map(|value| (name.to_owned(), text(variable, "/name").to_owned(), value)),
                );
            }
        }
        for source in container
            .get("envFrom")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            for (kind, key) in [("secretRef", "secrets"), ("configMapRef", "configmaps")] {
                let name = text(source, &format!("/{kind}/name"));
                let all = values(call, key, (namespace, name)).into_iter();
                out.extend(all.map(|(variable, value)| (name.to_owned(), variable, value)));
            }
        }
    }
    out
}

/// The plain values of a Secret or `ConfigMap`.
fn values(call: &Call, key: &str, (namespace, name): (&str, &str)) -> BTreeMap<String, String> {
    let found = call.state.store.get(key, namespace, name);
    let data = found
        .as_ref()
        .and_then(|object| object.value.get("data"))
        .and_then(Value::as_object);
    let plain = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        match key {
            "secrets" => {
                String::from_utf8_lossy(&STANDARD.decode(text).unwrap_or_default()).into_owned()
            }
            _ => text.to_owned(),
        }
    };
    data.into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), plain(value)))
        .collect()
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn success(call: &Call, status: StatusCode) -> Response<Body> {
    let object = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": status.as_u16()});
    let format = respond::negotiate::for_errors(&call.headers);
    respond::object(status, &call.headers, &format, Some("Status"), &object)
}

/// The `Scale` of something with replicas.
fn scale_of(object: &Value) -> Value {
    let mut metadata = Map::new();
    for key in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = object.pointer(&format!("/metadata/{key}")) {
            metadata.insert(key.to_owned(), value.clone());
        }
    }
    let number = |path: &str| object.pointer(path).and_then(Value::as_i64).unwrap_or(0);
    let labels = object
        .pointer("/spec/selector/matchLabels")
        .and_then(Value::as_object);
    let selector: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": number("/spec/replicas")},
        "status": {"replicas": number("/status/replicas"), "selector": selector.join(",")},
    })
}

async fn rescale(call: &Call, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let bytes = body::read(request).await?;
    let patching = call.info.verb == "patch";
    let given: Value = if patching {
        serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?
    } else {
        body::parse(&call.headers, &bytes, "Scale")?
    };
    let name = &call.info.name;
    let outcome = write::commit(call, name, |current| {
        let current = current.ok_or_else(|| ApiError::not_found(&call.resource, name))?;
        let mut scale = scale_of(&current.value);
        match body::media_type(&call.headers) {
            "application/json-patch+json" if patching => {
                patch::json_patch::apply(&mut scale, &given)
                    .map_err(|why| ApiError::new(422, "Invalid", why))?;
            }
            _ if patching => patch::merge(&mut scale, &given),
            _ => scale.clone_from(&given),
        }
        let mut value = current.value.clone();
        if let Some(version) = scale.pointer("/metadata/resourceVersion") {
            set(
                &mut value,
                &["metadata", "resourceVersion"],
                version.clone(),
            );
        }
        set(
            &mut value,
            &["spec", "replicas"],
            json!(
                scale
                    .pointer("/spec/replicas")
                    .and_then(Value::as_i64)
                    .unwrap_or(0)
            ),
        );
        write::finished(call, Some(current), value)
    })?;
    call.answer_as(
        StatusCode::OK,
        &scale_of(&outcome.object.value),
        Some("Scale"),
    )
}

/// A token nobody accepts, in the form of a real one.
async fn token(call: &Call, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let account = read::stored(call)?;
    let bytes = body::read(request).await?;
    let asked = if bytes.is_empty() {
        json!({})
    } else {
        body::parse(&call.headers, &bytes, "TokenRequest")?
    };
    let seconds = asked
        .pointer("/spec/expirationSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(3600);
    let audiences = match asked.pointer("/spec/audiences") {
        Some(Value::Array(audiences)) if !audiences.is_empty() => json!(audiences),
        _ => json!(["https://kubernetes.default.svc"]),
    };
    let now = Timestamp::now();
    let expires = now + SignedDuration::from_secs(seconds.clamp(1, 31_536_000));
    let uid = account
        .value
        .pointer("/metadata/uid")
        .cloned()
        .unwrap_or_default();
    let subject = format!(
        "system:serviceaccount:{}:{}",
        call.info.namespace, call.info.name
    );
    let object = json!({
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": call.info.name, "namespace": call.info.namespace, "uid": uid, "creationTimestamp": timestamp(now),
        },
        "spec": {"audiences": audiences, "expirationSeconds": seconds},
        "status": {
            "token": review::unsigned_token(&subject, &audiences, now, expires),
            "expirationTimestamp": timestamp(expires),
        },
    });
    call.answer_as(StatusCode::CREATED, &object, Some("TokenRequest"))
}
