//! `/openapi/v2` for kubectl up to 1.26: the protobuf form of a Swagger document.
//!
//! Field numbers are those of gnostic's `openapi.v2.Document`.

mod paths;

use std::sync::Arc;

use http::header::ACCEPT;
use http::{HeaderMap, Response, StatusCode};
use portcullis::gateway::body::Body;
use serde_json::{Value, json};

use super::openapi::{list_extensions, scalar, schema_name};
use super::tagged;
use crate::apiserver::respond;
use crate::apiserver::status::ApiError;
use crate::apiserver::types::proto::bytes_field;
use crate::apiserver::types::resources::Resource;
use crate::apiserver::types::{self, Field, Kind, Message, Shape};

const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// What it is answered as: the `@` is no legal media type, and kubectl 1.20 as Debian builds it stops at it.
const ANSWERED_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The document in protobuf; the JSON form holds no definitions, as no client of ours reads it.
pub(super) fn answer(
    headers: &HeaderMap,
    resources: &[Arc<Resource>],
) -> Result<Response<Body>, ApiError> {
    let accept = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if accept.contains(PROTOBUF) || accept.contains(ANSWERED_PROTOBUF) {
        return Ok(tagged(headers, ANSWERED_PROTOBUF, document(resources)));
    }
    if !accept.is_empty() && !accept.contains("json") && !accept.contains('*') {
        return Err(ApiError::new(406, "NotAcceptable", "406: Not Acceptable"));
    }
    let body = json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.36.2"}, "paths": paths::document(stored(resources)), "definitions": {}});
    Ok(respond::answer(
        StatusCode::OK,
        headers,
        "application/json",
        body.to_string().into_bytes(),
    ))
}

fn stored(resources: &[Arc<Resource>]) -> impl Iterator<Item = &Resource> {
    let all = resources.iter().map(AsRef::as_ref);
    all.filter(|resource: &&Resource| resource.stored)
}

fn document(resources: &[Arc<Resource>]) -> Vec<u8> {
    let mut info = Vec::new();
    bytes_field(&mut info, 1, b"Kubernetes");
    bytes_field(&mut info, 2, b"v1.36.2");
    let mut definitions = Vec::new();
    let mut messages: Vec<&'static Message> = types::messages().collect();
    messages.sort_by_key(|message| message.name);
    for message in messages {
        let kinds: Vec<&Arc<Resource>> = resources
            .iter()
            .filter(|resource| resource.message == Some(message.name))
            .collect();
        let schema = definition(message, &kinds);
        bytes_field(
            &mut definitions,
            1,
            &named(&schema_name(message.name), &schema),
        );
    }
    let mut out = Vec::new();
    bytes_field(&mut out, 1, b"2.0");
    bytes_field(&mut out, 2, &info);
    bytes_field(&mut out, 8, &paths::protobuf(stored(resources)));
    bytes_field(&mut out, 9, &definitions);
    out
}

/// `NamedSchema`, `NamedAny`: a name and a value.
fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    bytes_field(&mut out, 1, name.as_bytes());
    bytes_field(&mut out, 2, value);
    out
}

fn definition(message: &'static Message, kinds: &[&Arc<Resource>]) -> Vec<u8> {
    let mut properties = Vec::new();
    if !kinds.is_empty() {
        for key in ["apiVersion", "kind"] {
            bytes_field(&mut properties, 1, &named(key, &typed("string", "")));
        }
    }
    fill(message, &mut properties);
    let mut out = typed("object", "");
    bytes_field(&mut out, 25, &properties);
    if !kinds.is_empty() {
        let list: Vec<Value> = kinds
            .iter()
            .map(|kind| json!({"group": kind.group, "kind": kind.kind, "version": kind.version}))
            .collect();
        extension(
            &mut out,
            SCHEMA_EXTENSION,
            "x-kubernetes-group-version-kind",
            &Value::Array(list),
        );
    }
    out
}

fn fill(message: &'static Message, properties: &mut Vec<u8>) {
    for field in &message.fields {
        match field.message() {
            Some(inner) if field.inline => fill(inner, properties),
            _ => bytes_field(properties, 1, &named(field.name, &property(field))),
        }
    }
}

fn property(field: &'static Field) -> Vec<u8> {
    let inner = match field.kind {
        Kind::Message(name) => {
            let mut schema = Vec::new();
            bytes_field(
                &mut schema,
                1,
                format!("#/definitions/{}", schema_name(name)).as_bytes(),
            );
            schema
        }
        Kind::Strings => list_of(&typed("string", "")),
        kind => {
            let schema = scalar(kind);
            let text = |key: &str| {
                schema
                    .get(key)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            typed(&text("type"), &text("format"))
        }
    };
    match field.shape {
        Shape::One => inner,
        Shape::List => {
            let mut list = list_of(&inner);
            for (name, value) in list_extensions(field)
                .map(|(extensions, _)| extensions)
                .into_iter()
                .flatten()
            {
                extension(&mut list, SCHEMA_EXTENSION, &name, &value);
            }
            list
        }
        Shape::Map => {
            let mut map = Vec::new();
            let mut additional = Vec::new();
            bytes_field(&mut additional, 1, &inner);
            bytes_field(&mut map, 21, &additional);
            map.extend(typed("object", ""));
            map
        }
    }
}

fn list_of(item: &[u8]) -> Vec<u8> {
    let mut list = typed("array", "");
    let mut items = Vec::new();
    bytes_field(&mut items, 1, item);
    bytes_field(&mut list, 23, &items);
    list
}

/// A schema of that type and format.
fn typed(name: &str, format: &str) -> Vec<u8> {
    let mut out = Vec::new();
    if !format.is_empty() {
        bytes_field(&mut out, 2, format.as_bytes());
    }
    let mut item = Vec::new();
    bytes_field(&mut item, 1, name.as_bytes());
    bytes_field(&mut out, 22, &item);
    out
}

/// Where a `Schema` has its vendor extensions.
const SCHEMA_EXTENSION: u32 = 31;

/// A vendor extension; its value is YAML, and JSON is YAML.
fn extension(out: &mut Vec<u8>, field: u32, name: &str, value: &Value) {
    let mut any = Vec::new();
    bytes_field(&mut any, 2, format!("{value}\n").as_bytes());
    bytes_field(out, field, &named(name, &any));
}
