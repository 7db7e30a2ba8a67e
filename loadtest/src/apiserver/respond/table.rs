//! `Table` answers: what `kubectl get` prints.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::columns::{Column, cells, columns};
use crate::apiserver::request::Query;
use crate::apiserver::types::resources::Resource;

/// What stands in `rows[].object`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    Metadata,
    Nothing,
    Object,
}

impl Include {
    pub(crate) fn from_query(query: &Query) -> Self {
        match query.text("includeObject") {
            "Object" => Self::Object,
            "None" => Self::Nothing,
            _ => Self::Metadata,
        }
    }
}

/// A `Table` of these objects; `with_columns` is false for all but the first event of a watch.
pub(crate) fn table<'a>(
    resource: &Resource,
    version: &str,
    metadata: &Value,
    objects: impl Iterator<Item = &'a Value>,
    style: (Include, bool),
    now: Timestamp,
) -> Value {
    let (include, with_columns) = style;
    let columns = columns(resource);
    let rows: Vec<Value> = objects
        .map(|object| {
            json!({
                "cells": cells(resource, &columns, object, now),
                "object": match include {
                    Include::Object => object.clone(),
                    Include::Nothing => Value::Null,
                    Include::Metadata => partial(object, version),
                },
            })
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": metadata,
        "columnDefinitions": if with_columns { json!(columns.iter().map(Column::definition).collect::<Vec<_>>()) } else { Value::Null },
        "rows": rows,
    })
}

/// The `PartialObjectMetadata` of an object.
pub(crate) fn partial(object: &Value, version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

/// How long ago, as kubectl prints ages.
pub(crate) fn age(since: Option<&str>, now: Timestamp) -> String {
    let Some(since) = since.and_then(|text| text.parse::<Timestamp>().ok()) else {
        return "<unknown>".to_owned();
    };
    let seconds = now.as_second() - since.as_second();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..=0 => "0s".to_owned(),
        1..120 => format!("{seconds}s"),
        120..600 if seconds % 60 != 0 => format!("{minutes}m{}s", seconds % 60),
        120..10_800 => format!("{minutes}m"),
        10_800..28_800 if minutes % 60 != 0 => format!("{hours}h{}m", minutes % 60),
        10_800..172_800 => format!("{hours}h"),
        172_800..691_200 if hours % 24 != 0 => format!("{days}d{}h", hours % 24),
        172_800..63_072_000 => format!("{days}d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::types::resources::builtin;

    #[test]
    fn ages_read_as_in_kubectl() {
        let now: Timestamp = "2026-11-20T17:10:00Z".parse().expect("a time");
        for (since, expected) in [
            ("2026-11-20T17:09:58Z", "2s"),
            ("2026-11-20T16:03:44Z", "66m"),
            ("2026-11-20T17:06:30Z", "3m30s"),
            ("2026-11-17T12:10:00Z", "3d5h"),
            ("2026-11-20T12:05:00Z", "5h5m"),
        ] {
            assert_eq!(age(Some(since), now), expected, "{since}");
        }
        assert_eq!(age(None, now), "<unknown>");
    }

    // Row and columns of capture raw-get-table.
    #[test]
    fn a_secret_row_counts_its_data() {
        let now: Timestamp = "2026-11-20T17:10:00Z".parse().expect("a time");
        let resources = builtin();
        let secrets = resources
            .iter()
            .find(|resource| resource.plural == "secrets")
            .expect("served");
        let object = json!({
            "metadata": {"name": "basic-login", "creationTimestamp": "2026-11-20T16:03:44Z"},
            "data": {"a": "YQ==", "b": "Yg=="}, "type": "kubernetes.io/basic-auth",
        });
        let table = table(
            secrets,
            "v1",
            &json!({}),
            std::iter::once(&object),
            (Include::Metadata, true),
            now,
        );
        assert_eq!(
            table["rows"][0]["cells"],
            json!(["basic-login", "kubernetes.io/basic-auth", 2, "66m"])
        );
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        let names: Vec<_> = table["columnDefinitions"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|c| c["name"].clone())
            .collect();
        assert_eq!(names, ["Name", "Type", "Data", "Age"]);
    }
}
