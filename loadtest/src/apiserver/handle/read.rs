//! `get` and `list`.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use jiff::Timestamp;
use portcullis::gateway::body::Body;
use serde_json::{Map, Value, json};

use super::Call;
use crate::apiserver::request::{Query, Selector};
use crate::apiserver::respond;
use crate::apiserver::respond::columns::at;
use crate::apiserver::respond::negotiate::{Format, Media, View};
use crate::apiserver::respond::table::{Include, partial, table};
use crate::apiserver::status::ApiError;
use crate::apiserver::store::Object;
use crate::apiserver::types::resources::Resource;

/// One object.
pub(super) fn get(call: &Call) -> Result<Response<Body>, ApiError> {
    let object = stored(call)?;
    call.answer(StatusCode::OK, &object.value)
}

/// The object the request names.
pub(super) fn stored(call: &Call) -> Result<Arc<Object>, ApiError> {
    let (key, name) = (call.resource.key(), &call.info.name);
    let found = call.state.store.get(&key, call.namespace(), name);
    found.ok_or_else(|| ApiError::not_found(&call.resource, name))
}

/// Which objects of a collection a request selects.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    labels: Selector,
    fields: Selector,
}

impl Filter {
    pub(super) fn from_query(resource: &Resource, query: &Query) -> Result<Self, ApiError> {
        let labels = Selector::parse(query.text("labelSelector")).map_err(ApiError::bad_request)?;
        let fields = Selector::parse(query.text("fieldSelector")).map_err(ApiError::bad_request)?;
        for key in fields.keys() {
            let everywhere = matches!(key, "metadata.name" | "metadata.namespace");
            let known = [
                "spec.",
                "status.",
                "involvedObject.",
                "type",
                "reason",
                "source",
                "reportingComponent",
            ];
            if !everywhere
                && (resource.custom.is_some() || !known.iter().any(|start| key.starts_with(start)))
            {
                return Err(ApiError::bad_request(format!(
                    "field label not supported: {key}"
                )));
            }
        }
        Ok(Self { labels, fields })
    }

    /// The same, for the object of that name alone.
    pub(super) fn only(mut self, name: &str) -> Self {
        self.fields.require("metadata.name", name);
        self
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        self.labels.matches(|key| {
            labels
                .and_then(|labels| labels.get(key))
                .and_then(Value::as_str)
        }) && self
            .fields
            .matches(|path| Some(at(object, path).and_then(Value::as_str).unwrap_or_default()))
    }
}

/// A collection, or a page of it.
pub(super) fn list(call: &Call) -> Result<Response<Body>, ApiError> {
    let format = call.format()?;
    let query = &call.info.query;
    let filter = Filter::from_query(&call.resource, query)?;
    if query.first("sendInitialEvents").is_some() {
        return Err(ApiError::new(
            422,
            "Invalid",
            "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
        ));
    }
    let limit = match query.text("limit") {
        "" => 0,
        text => text.parse::<usize>().map_err(|_| {
            ApiError::bad_request(format!(
                "strconv.ParseInt: parsing \"{text}\": invalid syntax"
            ))
        })?,
    };
    // From the cache (resourceVersion=0) the server ignores the limit.
    let limit = if query.text("resourceVersion") == "0" {
        0
    } else {
        limit
    };
    let (current, all) = call
        .state
        .store
        .list(&call.resource.key(), call.namespace());
    let (version, start) = match query.text("continue") {
        "" => (current, None),
        token => {
            let (version, start) = resume_point(token)?;
            (
                if version < 0 {
                    current
                } else {
                    version.cast_unsigned()
                },
                Some(start),
            )
        }
    };
    let mut objects: Vec<_> = all
        .into_iter()
        .filter(|object| {
            start
                .as_ref()
                .is_none_or(|start| place(object, call.namespace()) >= *start)
                && filter.matches(&object.value)
        })
        .collect();
    let mut metadata = Map::new();
    metadata.insert("resourceVersion".to_owned(), json!(version.to_string()));
    if limit > 0 && objects.len() > limit {
        let rest = objects.split_off(limit);
        let last = objects
            .last()
            .map(|object| place(object, call.namespace()))
            .unwrap_or_default();
        metadata.insert(
            "continue".to_owned(),
            json!(token(
                i64::try_from(version).unwrap_or(-1),
                &format!("{last}\0")
            )),
        );
        metadata.insert("remainingItemCount".to_owned(), json!(rest.len()));
    }
    Ok(page(call, &format, &Value::Object(metadata), &objects))
}

fn page(call: &Call, format: &Format, metadata: &Value, objects: &[Arc<Object>]) -> Response<Body> {
    let values = || objects.iter().map(|object| &object.value);
    let status = StatusCode::OK;
    match &format.view {
        View::Table(version) => {
            let include = Include::from_query(&call.info.query);
            let view = table(
                &call.resource,
                version,
                metadata,
                values(),
                (include, true),
                Timestamp::now(),
            );
            respond::object(status, &call.headers, format, None, &view)
        }
        View::Partial(version) => {
            let items: Vec<Value> = values().map(|object| partial(object, version)).collect();
            let view = json!({
                "kind": "PartialObjectMetadataList", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata, "items": items,
            });
            respond::object(status, &call.headers, format, Some("ObjectMeta"), &view)
        }
        View::Object if format.media == Media::Json && !format.pretty => {
            let body = json_list(&call.resource, metadata, objects);
            respond::answer(status, &call.headers, "application/json", body)
        }
        View::Object => {
            let bare = call.resource.custom.is_none();
            let items: Vec<Value> = values()
                .map(|object| {
                    let mut item = object.clone();
                    if let (true, Value::Object(entries)) = (bare, &mut item) {
                        entries.shift_remove("kind");
                        entries.shift_remove("apiVersion");
                    }
                    item
                })
                .collect();
            let view = list_object(&call.resource, metadata, &items);
            respond::object(status, &call.headers, format, call.resource.message, &view)
        }
    }
}

/// The list object; custom ones have sorted keys, so `items` comes before `kind`.
pub(super) fn list_object(resource: &Resource, metadata: &Value, items: &[Value]) -> Value {
    let (kind, api_version) = (format!("{}List", resource.kind), resource.api_version());
    if resource.custom.is_some() {
        json!({"apiVersion": api_version, "items": items, "kind": kind, "metadata": metadata})
    } else {
        json!({"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items})
    }
}

/// The same as text, from the texts of the objects.
fn json_list(resource: &Resource, metadata: &Value, objects: &[Arc<Object>]) -> Vec<u8> {
    let kind = format!("{}List", resource.kind);
    let api_version = resource.api_version();
    let own = format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{api_version}\",",
        resource.kind
    );
    let mut out = Vec::with_capacity(
        objects
            .iter()
            .map(|object| object.json().len() + 1)
            .sum::<usize>()
            + 256,
    );
    if resource.custom.is_some() {
        out.extend_from_slice(format!("{{\"apiVersion\":\"{api_version}\",\"items\":[").as_bytes());
    } else {
        out.extend_from_slice(
            format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":[").as_bytes(),
        );
    }
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match object.json().strip_prefix(own.as_bytes()) {
            // Items of built-in lists do not say what they are.
            Some(rest) if resource.custom.is_none() => {
                out.push(b'{');
                out.extend_from_slice(rest);
            }
            _ => out.extend_from_slice(object.json()),
        }
    }
    if resource.custom.is_some() {
        out.extend_from_slice(
            format!(
                "],\"kind\":\"{kind}\",\"metadata\":{}}}",
                respond::sorted(metadata)
            )
            .as_bytes(),
        );
    } else {
        out.extend_from_slice(b"]}");
    }
    out.push(b'\n');
    out
}

/// Where an object stands below the listed prefix: `/name` in one namespace, `namespace/name` in all.
fn place(object: &Object, namespace: &str) -> String {
    let text = |key: &str| {
        let value = object
            .value
            .get("metadata")
            .and_then(|metadata| metadata.get(key));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    if namespace.is_empty() {
        format!("{}/{}", text("namespace"), text("name"))
    } else {
        format!("/{}", text("name"))
    }
}

fn token(version: i64, start: &str) -> String {
    let token = json!({"v": "meta.k8s.io/v1", "rv": version, "start": start});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

fn resume_point(text: &str) -> Result<(i64, String), ApiError> {
    let invalid =
        || ApiError::bad_request("continue key is not valid: encoded continue token is not valid");
    let token: Value = URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(invalid)?;
    let version = token
        .get("rv")
        .and_then(Value::as_i64)
        .ok_or_else(invalid)?;
    let start = token
        .get("start")
        .and_then(Value::as_str)
        .ok_or_else(invalid)?;
    if (0..1000).contains(&version) {
        let mut expired = ApiError::new(
            410,
            "Expired",
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        );
        expired.resume = Some(self::token(-1, start));
        return Err(expired);
    }
    Ok((version, start.to_owned()))
}
