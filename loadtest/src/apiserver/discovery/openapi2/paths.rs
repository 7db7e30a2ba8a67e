//! The `paths` of the Swagger document: which operations there are, on which kind, and which of them
//! take `dryRun`. kubectl up to 1.26 asks this before it sends a dry run.

use serde_json::{Map, Value, json};

use super::{extension, named};
use crate::apiserver::types::proto::{bytes_field, varint_field};
use crate::apiserver::types::resources::Resource;

/// An operation on a path: its method, and that method's field in gnostic's `PathItem`.
struct Operation {
    method: &'static str,
    field: u32,
    /// `x-kubernetes-action`.
    action: &'static str,
    /// The verb that discovery lists it under.
    verb: &'static str,
}

const fn operation(
    method: &'static str,
    field: u32,
    action: &'static str,
    verb: &'static str,
) -> Operation {
    Operation {
        method,
        field,
        action,
        verb,
    }
}

const COLLECTION: [Operation; 3] = [
    operation("get", 2, "list", "list"),
    operation("post", 4, "post", "create"),
    operation("delete", 5, "deletecollection", "deletecollection"),
];

const ITEM: [Operation; 4] = [
    operation("get", 2, "get", "get"),
    operation("put", 3, "put", "update"),
    operation("delete", 5, "delete", "delete"),
    operation("patch", 8, "patch", "patch"),
];

const DRY_RUN: &str = "When present, indicates that modifications should not be persisted.";

/// The paths of a resource with the operations it has there.
fn of(resource: &Resource) -> [(String, Vec<&'static Operation>); 2] {
    let root = if resource.group.is_empty() {
        "api"
    } else {
        "apis"
    };
    let scope = if resource.namespaced {
        "/namespaces/{namespace}"
    } else {
        ""
    };
    let collection = format!(
        "/{root}/{}{scope}/{}",
        resource.api_version(),
        resource.plural
    );
    let verbs = resource.verbs();
    let served = |operations: &'static [Operation]| {
        let operations = operations.iter();
        operations
            .filter(|operation| verbs.contains(&operation.verb))
            .collect()
    };
    let item = format!("{collection}/{{name}}");
    [(collection, served(&COLLECTION)), (item, served(&ITEM))]
}

impl Operation {
    fn takes_dry_run(&self) -> bool {
        self.method != "get"
    }

    fn extensions(&self, resource: &Resource) -> [(&'static str, Value); 2] {
        let kind =
            json!({"group": resource.group, "kind": resource.kind, "version": resource.version});
        [
            ("x-kubernetes-action", json!(self.action)),
            ("x-kubernetes-group-version-kind", kind),
        ]
    }
}

/// `Paths`, in protobuf.
pub(super) fn protobuf<'a>(resources: impl Iterator<Item = &'a Resource>) -> Vec<u8> {
    let mut out = Vec::new();
    for resource in resources {
        for (path, operations) in of(resource) {
            let mut item = Vec::new();
            for operation in operations {
                bytes_field(&mut item, operation.field, &encoded(operation, resource));
            }
            bytes_field(&mut out, 2, &named(&path, &item));
        }
    }
    out
}

/// `Operation`, in protobuf.
fn encoded(operation: &Operation, resource: &Resource) -> Vec<u8> {
    let mut out = Vec::new();
    if operation.takes_dry_run() {
        let mut query = Vec::new();
        for (number, text) in [(2, "query"), (3, DRY_RUN), (4, "dryRun"), (6, "string")] {
            bytes_field(&mut query, number, text.as_bytes());
        }
        varint_field(&mut query, 20, 1); // uniqueItems
        // ParametersItem.parameter, Parameter.non_body_parameter, its query_parameter_sub_schema
        let wrapped = [3, 2, 1].into_iter().fold(query, |inner, number| {
            let mut outer = Vec::new();
            bytes_field(&mut outer, number, &inner);
            outer
        });
        bytes_field(&mut out, 8, &wrapped);
    }
    for (name, value) in operation.extensions(resource) {
        extension(&mut out, 13, name, &value);
    }
    out
}

/// `paths`, in JSON.
pub(super) fn document<'a>(resources: impl Iterator<Item = &'a Resource>) -> Value {
    let mut out = Map::new();
    for resource in resources {
        for (path, operations) in of(resource) {
            let methods = operations.into_iter().map(|operation| {
                let mut fields = Map::new();
                if operation.takes_dry_run() {
                    let parameter = json!({
                        "name": "dryRun", "in": "query", "type": "string", "uniqueItems": true, "description": DRY_RUN,
                    });
                    fields.insert("parameters".to_owned(), json!([parameter]));
                }
                for (name, value) in operation.extensions(resource) {
                    fields.insert(name.to_owned(), value);
                }
                fields.insert("responses".to_owned(), json!({}));
                (operation.method.to_owned(), Value::Object(fields))
            });
            out.insert(path, methods.collect());
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::types::resources;

    #[test]
    fn every_write_takes_a_dry_run_and_no_read_does() {
        let known = resources::builtin();
        let paths = document(known.iter().filter(|resource| resource.stored));
        let secret = &paths["/api/v1/namespaces/{namespace}/secrets/{name}"];
        assert_eq!(secret["patch"]["parameters"][0]["name"], "dryRun");
        assert_eq!(secret["get"].get("parameters"), None);
        assert_eq!(
            secret["patch"]["x-kubernetes-group-version-kind"],
            json!({"group": "", "kind": "Secret", "version": "v1"})
        );
        let deployments = &paths["/apis/apps/v1/namespaces/{namespace}/deployments"];
        assert_eq!(
            deployments["delete"]["x-kubernetes-action"],
            "deletecollection"
        );
        assert_eq!(paths["/api/v1/namespaces"].get("delete"), None);
    }
}
