//! Everything that is no resource: discovery, health, version, `OpenAPI`.

mod openapi;
mod openapi2;

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use portcullis::gateway::body::{Body, empty};
use serde_json::{Value, json};

use super::State;
use super::request::Info;
use super::respond::{self, json_text, pretty_text};
use super::status::ApiError;
use super::types::resources::{Resource, group_version};

/// Paths that need no user.
pub(super) fn is_public(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    ["/healthz", "/livez", "/readyz", "/version"].contains(&path)
        || path.starts_with("/livez/")
        || path.starts_with("/readyz/")
}

/// Answers a request that is no resource request.
pub(super) fn answer(
    state: &State,
    info: &Info,
    headers: &HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let path = info.path.trim_end_matches('/');
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    if !["get", "head"].contains(&info.verb.as_str()) {
        return Err(ApiError::method_not_allowed());
    }
    let resources = || state.resources();
    match parts.as_slice() {
        [""] => Ok(plain(
            headers,
            "application/json",
            pretty_text(&root(&resources())),
        )),
        ["version"] => Ok(plain(headers, "application/json", pretty_text(&version()))),
        ["healthz" | "livez" | "readyz", ..] => {
            Ok(plain(headers, "text/plain; charset=utf-8", "ok".to_owned()))
        }
        ["api"] => Ok(grouped(headers, &resources(), true)),
        ["apis"] => Ok(grouped(headers, &resources(), false)),
        ["api", version] => resource_list(headers, &resources(), "", version),
        ["apis", group] => group_of(headers, &resources(), group),
        ["apis", group, version] => resource_list(headers, &resources(), group, version),
        ["openapi", "v2"] => openapi2::answer(headers, &resources()),
        ["openapi", "v3"] => Ok(openapi::index(headers, &resources())),
        ["openapi", "v3", "api", version] => openapi::document(headers, &resources(), "", version),
        ["openapi", "v3", "apis", group, version] => {
            openapi::document(headers, &resources(), group, version)
        }
        _ => Err(ApiError::no_path()),
    }
}

/// What `kubectl version` prints.
fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": "v1.36.2", "gitCommit": "98b35193b2ac7a23a673325f5e9b830ecd5ba406", "gitTreeState": "clean",
        "buildDate": "2026-08-21T00:00:00Z", "goVersion": "go1.26.11", "compiler": "gc", "platform": "linux/amd64",
    })
}

fn root(resources: &[Arc<Resource>]) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in groups(resources) {
        paths.push(format!("/apis/{group}"));
        paths.extend(
            versions
                .iter()
                .map(|version| format!("/apis/{group}/{version}")),
        );
    }
    paths.extend(
        [
            "/healthz",
            "/livez",
            "/openapi/v2",
            "/openapi/v3",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    json!({"paths": paths})
}

/// Named groups with their versions, in the order of the table.
fn groups(resources: &[Arc<Resource>]) -> Vec<(String, Vec<String>)> {
    let mut order: Vec<(String, Vec<String>)> = Vec::new();
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    for resource in resources
        .iter()
        .filter(|resource| !resource.group.is_empty())
    {
        let at = *index.entry(&resource.group).or_insert_with(|| {
            order.push((resource.group.clone(), Vec::new()));
            order.len() - 1
        });
        if let Some((_, versions)) = order.get_mut(at)
            && !versions.contains(&resource.version)
        {
            versions.push(resource.version.clone());
        }
    }
    order
}

/// `/api` or `/apis`, aggregated if the client knows that form.
fn grouped(headers: &HeaderMap, resources: &[Arc<Resource>], core: bool) -> Response<Body> {
    let accept = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let wanted = accept.split(',').find_map(|clause| {
        let parts: Vec<&str> = clause.split(';').map(str::trim).collect();
        if !parts.contains(&"application/json") {
            return None;
        }
        if !parts.contains(&"as=APIGroupDiscoveryList") {
            return Some(None);
        }
        ["v2", "v2beta1"]
            .into_iter()
            .find(|version| parts.contains(&format!("v={version}").as_str()))
            .map(Some)
    });
    match wanted.flatten() {
        Some(version) => aggregated(headers, resources, core, version),
        None if core => {
            let addresses = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}]);
            line(
                headers,
                &json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}),
            )
        }
        None => {
            let groups: Vec<Value> = groups(resources)
                .iter()
                .map(|(group, versions)| api_group(group, versions))
                .collect();
            line(
                headers,
                &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
            )
        }
    }
}

fn aggregated(
    headers: &HeaderMap,
    resources: &[Arc<Resource>],
    core: bool,
    version: &str,
) -> Response<Body> {
    let entries = |group: &str, version: &str| -> Vec<Value> {
        let all = resources
            .iter()
            .filter(|resource| resource.group == group && resource.version == version);
        all.map(|resource| resource.aggregated()).collect()
    };
    let versions = |group: &str, versions: &[String]| -> Vec<Value> {
        let all = versions.iter();
        all.map(|version| json!({"version": version, "resources": entries(group, version), "freshness": "Current"})).collect()
    };
    let items: Vec<Value> = if core {
        vec![json!({"metadata": {}, "versions": versions("", &["v1".to_owned()])})]
    } else {
        let all = groups(resources);
        all.iter().map(|(group, all)| json!({"metadata": {"name": group}, "versions": versions(group, all)})).collect()
    };
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {}, "items": items,
    });
    let content_type =
        format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    let mut body = json_text(&list);
    body.push('\n');
    let etag = etag(body.as_bytes());
    let mut response = if headers.get(IF_NONE_MATCH) == Some(&etag) {
        not_modified()
    } else {
        respond::answer(StatusCode::OK, headers, &content_type, body.into_bytes())
    };
    response.headers_mut().insert(ETAG, etag);
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn api_group(group: &str, versions: &[String]) -> Value {
    let entries: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": group_version(group, version), "version": version}))
        .collect();
    json!({"name": group, "versions": entries, "preferredVersion": entries.first()})
}

fn group_of(
    headers: &HeaderMap,
    resources: &[Arc<Resource>],
    wanted: &str,
) -> Result<Response<Body>, ApiError> {
    let groups = groups(resources);
    let (group, versions) = groups
        .iter()
        .find(|(group, _)| group == wanted)
        .ok_or_else(ApiError::no_path)?;
    let mut object = json!({"kind": "APIGroup", "apiVersion": "v1"});
    if let (Value::Object(entries), Value::Object(more)) = (&mut object, api_group(group, versions))
    {
        entries.extend(more);
    }
    Ok(line(headers, &object))
}

fn resource_list(
    headers: &HeaderMap,
    resources: &[Arc<Resource>],
    group: &str,
    version: &str,
) -> Result<Response<Body>, ApiError> {
    let entries: Vec<Value> = resources
        .iter()
        .filter(|resource| resource.group == group && resource.version == version)
        .flat_map(|resource| resource.legacy())
        .collect();
    if entries.is_empty() {
        return Err(ApiError::no_path());
    }
    let group_version = group_version(group, version);
    // Only the core list leaves out its apiVersion.
    let list = if group.is_empty() {
        json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": entries})
    } else {
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries})
    };
    Ok(line(headers, &list))
}

fn line(headers: &HeaderMap, value: &Value) -> Response<Body> {
    plain(headers, "application/json", json_text(value) + "\n")
}

fn plain(headers: &HeaderMap, content_type: &str, text: String) -> Response<Body> {
    respond::answer(StatusCode::OK, headers, content_type, text.into_bytes())
}

fn not_modified() -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

/// SHA-512 in upper-case hexadecimal.
fn hash(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA512, bytes);
    let digits: Vec<String> = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    digits.concat()
}

fn etag(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", hash(bytes)))
        .unwrap_or(HeaderValue::from_static("\"0\""))
}

/// A body with this content type and an entity tag.
fn tagged(headers: &HeaderMap, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    let etag = etag(&body);
    let mut response = if headers.get(IF_NONE_MATCH) == Some(&etag) {
        not_modified()
    } else {
        respond::answer(StatusCode::OK, headers, content_type, body)
    };
    let fields = response.headers_mut();
    fields.insert(ETAG, etag);
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
