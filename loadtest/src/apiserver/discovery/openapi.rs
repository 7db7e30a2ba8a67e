//! `/openapi/v3`, made from the field table: what `kubectl explain` and `kubectl apply` read.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use portcullis::gateway::body::Body;
use serde_json::{Map, Value, json};

use super::{groups, hash, tagged};
use crate::apiserver::respond::{self, json_text};
use crate::apiserver::status::ApiError;
use crate::apiserver::types::resources::{Resource, group_version};
use crate::apiserver::types::{self, Field, Kind, Message, Shape};

/// The name of a struct's schema.
pub(super) fn schema_name(message: &str) -> String {
    format!("io.k8s.api.{message}")
}

/// The index: one URL with a content hash for each group version. It is JSON labelled `text/plain`.
pub(super) fn index(headers: &HeaderMap, resources: &[Arc<Resource>]) -> Response<Body> {
    let mut paths = Map::new();
    let mut add = |path: String, group: &str, version: &str| {
        let text = json_text(&document_of(resources, group, version));
        let url = format!("/openapi/v3/{path}?hash={}", hash(text.as_bytes()));
        paths.insert(path, json!({"serverRelativeURL": url}));
    };
    add("api/v1".to_owned(), "", "v1");
    for (group, versions) in groups(resources) {
        for version in versions {
            add(format!("apis/{group}/{version}"), &group, &version);
        }
    }
    let body = json_text(&json!({"paths": paths}));
    respond::answer(
        StatusCode::OK,
        headers,
        "text/plain; charset=utf-8",
        body.into_bytes(),
    )
}

/// The document of one group version.
pub(super) fn document(
    headers: &HeaderMap,
    resources: &[Arc<Resource>],
    group: &str,
    version: &str,
) -> Result<Response<Body>, ApiError> {
    if !resources
        .iter()
        .any(|resource| resource.group == group && resource.version == version)
    {
        return Err(ApiError::no_path());
    }
    let body = json_text(&document_of(resources, group, version));
    Ok(tagged(headers, "application/json", body.into_bytes()))
}

fn document_of(resources: &[Arc<Resource>], group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    let mut needed = BTreeSet::new();
    for resource in resources
        .iter()
        .filter(|resource| resource.group == group && resource.version == version)
    {
        let name = add_schema(resource, &mut schemas, &mut needed);
        add_paths(resource, &name, &mut paths);
    }
    while let Some(name) = needed.pop_first() {
        let key = schema_name(name);
        if let (false, Some(message)) = (schemas.contains_key(&key), types::message(name)) {
            schemas.insert(key, schema(message, &mut needed));
        }
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.2"},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

/// The schema of a kind; gives its name.
fn add_schema(
    resource: &Resource,
    schemas: &mut Map<String, Value>,
    needed: &mut BTreeSet<&'static str>,
) -> String {
    let message = resource.message.and_then(types::message);
    let name = match message {
        Some(message) => schema_name(message.name),
        None => schema_name(&resource.kind),
    };
    let mut schema = match (message, &resource.custom) {
        (Some(message), _) => schema(message, needed),
        (None, Some(version)) => {
            let own = version.pointer("/schema/openAPIV3Schema").cloned();
            own.unwrap_or_else(
                || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
            )
        }
        (None, None) => {
            json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
        }
    };
    needed.insert("ObjectMeta");
    type_meta(&mut schema);
    if let Value::Object(entries) = &mut schema {
        entries.insert(
            "x-kubernetes-group-version-kind".to_owned(),
            json!([{"group": resource.group, "version": resource.version, "kind": resource.kind}]),
        );
    }
    schemas.insert(name.clone(), schema);
    name
}

fn type_meta(schema: &mut Value) {
    let Some(properties) = schema
        .as_object_mut()
        .map(|entries| entries.entry("properties").or_insert_with(|| json!({})))
    else {
        return;
    };
    if let Value::Object(properties) = properties {
        for key in ["apiVersion", "kind"] {
            properties.insert(key.to_owned(), json!({"type": "string"}));
        }
        properties.insert(
            "metadata".to_owned(),
            json!({"allOf": [{"$ref": reference("ObjectMeta")}], "default": {}}),
        );
    }
}

fn reference(message: &str) -> String {
    format!("#/components/schemas/{}", schema_name(message))
}

fn schema(message: &'static Message, needed: &mut BTreeSet<&'static str>) -> Value {
    let mut properties = Map::new();
    fill(message, &mut properties, needed);
    json!({"type": "object", "properties": properties})
}

fn fill(
    message: &'static Message,
    properties: &mut Map<String, Value>,
    needed: &mut BTreeSet<&'static str>,
) {
    for field in &message.fields {
        match field.message() {
            Some(inner) if field.inline => fill(inner, properties, needed),
            _ => {
                properties.insert(field.name.to_owned(), property(field, needed));
            }
        }
    }
}

fn property(field: &'static Field, needed: &mut BTreeSet<&'static str>) -> Value {
    let inner = match field.kind {
        Kind::Message(name) => {
            needed.insert(name);
            json!({"allOf": [{"$ref": reference(name)}], "default": {}})
        }
        kind => scalar(kind),
    };
    match field.shape {
        Shape::One => match field.kind {
            Kind::Message(name) => json!({"$ref": reference(name)}),
            _ => inner,
        },
        Shape::Map => json!({"type": "object", "additionalProperties": inner}),
        Shape::List => {
            let mut list = json!({"type": "array", "items": inner});
            if let (Value::Object(entries), Some((extensions, _))) =
                (&mut list, list_extensions(field))
            {
                entries.extend(extensions);
            }
            list
        }
    }
}

/// The `x-kubernetes-*` words of a merged list, and its patch merge key.
pub(super) fn list_extensions(field: &Field) -> Option<(Map<String, Value>, Option<&'static str>)> {
    let keys = field.merge_keys.as_ref()?;
    let mut out = Map::new();
    out.insert("x-kubernetes-patch-strategy".to_owned(), json!("merge"));
    let first = keys.first().copied();
    if let Some(first) = first {
        out.insert("x-kubernetes-list-type".to_owned(), json!("map"));
        out.insert("x-kubernetes-list-map-keys".to_owned(), json!(keys));
        out.insert("x-kubernetes-patch-merge-key".to_owned(), json!(first));
    } else {
        out.insert("x-kubernetes-list-type".to_owned(), json!("set"));
    }
    Some((out, first))
}

/// The schema of a field that is no struct.
pub(super) fn scalar(kind: Kind) -> Value {
    match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Bytes => json!({"type": "string", "format": "byte"}),
        Kind::Double => json!({"type": "number", "format": "double"}),
        Kind::Int => json!({"type": "integer", "format": "int64"}),
        Kind::IntOrString => json!({"type": "string", "format": "int-or-string"}),
        Kind::Message(_) | Kind::Raw => json!({"type": "object"}),
        Kind::Duration | Kind::Quantity | Kind::String => json!({"type": "string"}),
        Kind::Strings => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Time | Kind::MicroTime => json!({"type": "string", "format": "date-time"}),
    }
}

fn add_paths(resource: &Resource, schema: &str, paths: &mut Map<String, Value>) {
    let prefix = if resource.group.is_empty() {
        "/api/"
    } else {
        "/apis/"
    };
    let place = if resource.namespaced {
        "/namespaces/{namespace}"
    } else {
        ""
    };
    let collection = format!(
        "{prefix}{}{place}/{}",
        group_version(&resource.group, &resource.version),
        resource.plural
    );
    let gvk = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let operation = |action: &str, body: &[&str]| {
        let names = ["dryRun", "fieldManager", "fieldValidation", "force"];
        let parameters: Vec<Value> = names
            .iter()
            .filter(|_| !body.is_empty())
            .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}}))
            .collect();
        let content = |media: &[&str]| -> Value {
            let entries = media.iter().map(|media| {
                let schema = json!({"schema": {"$ref": format!("#/components/schemas/{schema}")}});
                ((*media).to_owned(), schema)
            });
            Value::Object(entries.collect())
        };
        let mut operation = json!({
            "operationId": format!("{action}{}{}", resource.group, resource.kind),
            "parameters": parameters,
            "responses": {"200": {"description": "OK", "content": content(&["application/json"])}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk,
        });
        if let (false, Value::Object(entries)) = (body.is_empty(), &mut operation) {
            entries.insert(
                "requestBody".to_owned(),
                json!({"content": content(body), "required": true}),
            );
        }
        operation
    };
    let write = ["application/json"];
    let mut patches = vec![
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
    ];
    if resource.custom.is_none() {
        patches.push("application/strategic-merge-patch+json");
    }
    let mut on_collection = Map::new();
    on_collection.insert("post".to_owned(), operation("post", &write));
    if resource.stored {
        on_collection.insert("get".to_owned(), operation("list", &[]));
        let item = json!({
            "get": operation("get", &[]),
            "put": operation("put", &write),
            "patch": operation("patch", &patches),
            "delete": operation("delete", &[]),
        });
        paths.insert(format!("{collection}/{{name}}"), item);
    }
    paths.insert(collection, Value::Object(on_collection));
}
