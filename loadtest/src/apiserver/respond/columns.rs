//! The columns of each kind and how their cells are found in an object.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::table::age;
use crate::apiserver::types::resources::Resource;

/// A column of a table.
#[derive(Debug)]
pub(crate) struct Column {
    name: String,
    kind: String,
    /// 0 is always shown, 1 with `-o wide`.
    priority: i64,
    cell: Cell,
}

/// Where a cell's value comes from.
#[derive(Debug)]
enum Cell {
    Age,
    /// A dotted path into the object.
    Path(String),
    /// Computed by name.
    Computed(&'static str),
}

impl Column {
    pub(crate) fn definition(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": if self.name == "Name" { "name" } else { "" },
            "description": "",
            "priority": self.priority,
        })
    }
}

// plural: Column=source, `!` marks priority 1, `#` an integer; a source with a dot or a known field is a
// path, `*word` is computed.
const TABLE: &[(&str, &str)] = &[
    (
        "secrets",
        "Name=metadata.name Type=type Data=*data Age=*age",
    ),
    ("configmaps", "Name=metadata.name Data=*data Age=*age"),
    (
        "namespaces",
        "Name=metadata.name Status=status.phase Age=*age",
    ),
    (
        "nodes",
        "Name=metadata.name Status=*node-status Roles=*node-roles Age=*age Version=status.nodeInfo.kubeletVersion !Internal-IP=*node-ip !OS-Image=status.nodeInfo.osImage !Kernel-Version=status.nodeInfo.kernelVersion !Container-Runtime=status.nodeInfo.containerRuntimeVersion",
    ),
    (
        "pods",
        "Name=metadata.name Ready=*pod-ready Status=*pod-status Restarts=*pod-restarts Age=*age !IP=status.podIP !Node=spec.nodeName !Nominated_Node=status.nominatedNodeName !Readiness_Gates=*none",
    ),
    (
        "services",
        "Name=metadata.name Type=spec.type Cluster-IP=spec.clusterIP External-IP=*none Port(s)=*service-ports Age=*age !Selector=*selector",
    ),
    (
        "endpoints",
        "Name=metadata.name Endpoints=*endpoints Age=*age",
    ),
    (
        "serviceaccounts",
        "Name=metadata.name #Secrets=*secrets Age=*age",
    ),
    (
        "events",
        "Last_Seen=*last-seen Type=type Reason=reason Object=*event-object Message=*event-message",
    ),
    (
        "deployments.apps",
        "Name=metadata.name Ready=*ready-of #Up-to-date=status.updatedReplicas #Available=status.availableReplicas Age=*age !Containers=*containers !Images=*images !Selector=*match-labels",
    ),
    (
        "replicasets.apps",
        "Name=metadata.name #Desired=spec.replicas #Current=status.replicas #Ready=status.readyReplicas Age=*age !Containers=*containers !Images=*images !Selector=*match-labels",
    ),
    (
        "statefulsets.apps",
        "Name=metadata.name Ready=*ready-of Age=*age !Containers=*containers !Images=*images",
    ),
    (
        "daemonsets.apps",
        "Name=metadata.name #Desired=status.desiredNumberScheduled #Current=status.currentNumberScheduled #Ready=status.numberReady #Up-to-date=status.updatedNumberScheduled #Available=status.numberAvailable Age=*age",
    ),
    (
        "replicationcontrollers",
        "Name=metadata.name #Desired=spec.replicas #Current=status.replicas #Ready=status.readyReplicas Age=*age",
    ),
    (
        "jobs.batch",
        "Name=metadata.name Status=*job-status Completions=*job-completions Duration=*none Age=*age",
    ),
    (
        "cronjobs.batch",
        "Name=metadata.name Schedule=spec.schedule Suspend=spec.suspend #Active=*active Age=*age",
    ),
    (
        "ingresses.networking.k8s.io",
        "Name=metadata.name Class=spec.ingressClassName Hosts=*hosts Age=*age",
    ),
    (
        "persistentvolumeclaims",
        "Name=metadata.name Status=status.phase Volume=spec.volumeName StorageClass=spec.storageClassName Age=*age",
    ),
    (
        "customresourcedefinitions.apiextensions.k8s.io",
        "Name=metadata.name Created_At=metadata.creationTimestamp",
    ),
    (
        "leases.coordination.k8s.io",
        "Name=metadata.name Holder=spec.holderIdentity Age=*age",
    ),
    (
        "roles.rbac.authorization.k8s.io",
        "Name=metadata.name Created_At=metadata.creationTimestamp",
    ),
    (
        "clusterroles.rbac.authorization.k8s.io",
        "Name=metadata.name Created_At=metadata.creationTimestamp",
    ),
];

/// The columns of a resource: its own, those its CRD version names, or name and age.
pub(crate) fn columns(resource: &Resource) -> Vec<Column> {
    if let Some(version) = &resource.custom {
        return custom(version);
    }
    let qualified = resource.qualified();
    let own = TABLE.iter().find(|(plural, _)| *plural == qualified);
    let text = own.map_or("Name=metadata.name Age=*age", |(_, text)| text);
    text.split(' ').filter_map(parse).collect()
}

fn parse(word: &'static str) -> Option<Column> {
    let (word, priority) = word.strip_prefix('!').map_or((word, 0), |word| (word, 1));
    let (word, kind) = word
        .strip_prefix('#')
        .map_or((word, "string"), |word| (word, "integer"));
    let (name, source) = word.split_once('=')?;
    let cell = match source.strip_prefix('*') {
        Some("age") => Cell::Age,
        Some(computed) => Cell::Computed(computed),
        None => Cell::Path(source.to_owned()),
    };
    Some(Column {
        name: name.replace('_', " "),
        kind: kind.to_owned(),
        priority,
        cell,
    })
}

fn custom(version: &Value) -> Vec<Column> {
    let mut columns = vec![Column {
        name: "Name".to_owned(),
        kind: "string".to_owned(),
        priority: 0,
        cell: Cell::Path("metadata.name".to_owned()),
    }];
    let extra = version
        .get("additionalPrinterColumns")
        .and_then(Value::as_array);
    let Some(extra) = extra.filter(|extra| !extra.is_empty()) else {
        columns.push(Column {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            priority: 0,
            cell: Cell::Age,
        });
        return columns;
    };
    for column in extra {
        let text = |key: &str| column.get(key).and_then(Value::as_str).unwrap_or_default();
        let path = text("jsonPath").trim_start_matches('.');
        columns.push(Column {
            name: text("name").to_owned(),
            kind: text("type").to_owned(),
            priority: column.get("priority").and_then(Value::as_i64).unwrap_or(0),
            cell: if path == "metadata.creationTimestamp" {
                Cell::Age
            } else {
                Cell::Path(path.to_owned())
            },
        });
    }
    columns
}

/// The cells of one row.
pub(crate) fn cells(
    resource: &Resource,
    columns: &[Column],
    object: &Value,
    now: Timestamp,
) -> Vec<Value> {
    columns
        .iter()
        .map(|column| match &column.cell {
            Cell::Age => json!(age(
                at(object, "metadata.creationTimestamp").and_then(Value::as_str),
                now
            )),
            Cell::Path(path) => path_cell(resource, column, object, path),
            Cell::Computed(name) => computed(name, object, now),
        })
        .collect()
}

fn path_cell(resource: &Resource, column: &Column, object: &Value, path: &str) -> Value {
    match at(object, path) {
        Some(Value::String(text)) => json!(text),
        Some(Value::Number(number)) => json!(number),
        Some(Value::Bool(flag)) if resource.custom.is_some() => json!(flag),
        Some(other @ (Value::Bool(_) | Value::Array(_) | Value::Object(_))) => {
            json!(other.to_string())
        }
        Some(Value::Null) | None if resource.custom.is_some() => Value::Null,
        Some(Value::Null) | None if column.kind == "integer" => json!(0),
        Some(Value::Null) | None if column.priority == 1 => json!("<none>"),
        Some(Value::Null) | None => json!(""),
    }
}

/// The value behind a dotted path.
pub(crate) fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(object, |value, key| value.get(key))
}

fn list<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    at(object, path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}

fn number(object: &Value, path: &str) -> i64 {
    at(object, path).and_then(Value::as_i64).unwrap_or(0)
}

fn joined(object: &Value, list_path: &str, key: &str) -> String {
    let texts: Vec<&str> = list(object, list_path)
        .iter()
        .map(|item| text(item, key))
        .collect();
    texts.join(",")
}

fn labels(object: &Value, path: &str) -> String {
    let entries = at(object, path).and_then(Value::as_object);
    let pairs: Vec<String> = entries
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() {
        "<none>".to_owned()
    } else {
        pairs.join(",")
    }
}

fn computed(name: &str, object: &Value, now: Timestamp) -> Value {
    let statuses = || list(object, "status.containerStatuses");
    match name {
        "data" => {
            let count = |path: &str| {
                at(object, path)
                    .and_then(Value::as_object)
                    .map_or(0, serde_json::Map::len)
            };
            json!(count("data") + count("binaryData"))
        }
        "secrets" => json!(list(object, "secrets").len()),
        "active" => json!(list(object, "status.active").len()),
        "pod-ready" => {
            let ready = statuses()
                .iter()
                .filter(|status| status.get("ready") == Some(&json!(true)))
                .count();
            json!(format!("{ready}/{}", list(object, "spec.containers").len()))
        }
        "pod-status" if at(object, "metadata.deletionTimestamp").is_some() => json!("Terminating"),
        "pod-status" if text(object, "status.phase") == "Succeeded" => json!("Completed"),
        "pod-status" => json!(text(object, "status.phase")),
        "pod-restarts" => json!(
            statuses()
                .iter()
                .map(|status| number(status, "restartCount"))
                .sum::<i64>()
                .to_string()
        ),
        "node-status" => json!(if node_ready(object) {
            "Ready"
        } else {
            "NotReady"
        }),
        "node-roles" => json!(node_roles(object)),
        "node-ip" => json!(
            list(object, "status.addresses")
                .first()
                .map_or("<none>", |address| text(address, "address"))
        ),
        "service-ports" => json!(service_ports(object)),
        "selector" => json!(labels(object, "spec.selector")),
        "match-labels" => json!(labels(object, "spec.selector.matchLabels")),
        _ => computed_of_workloads(name, object, now),
    }
}

fn computed_of_workloads(name: &str, object: &Value, now: Timestamp) -> Value {
    match name {
        "containers" => json!(joined(object, "spec.template.spec.containers", "name")),
        "images" => json!(joined(object, "spec.template.spec.containers", "image")),
        "ready-of" => json!(format!(
            "{}/{}",
            number(object, "status.readyReplicas"),
            number(object, "spec.replicas")
        )),
        "job-completions" => json!(format!(
            "{}/{}",
            number(object, "status.succeeded"),
            number(object, "spec.completions").max(1)
        )),
        "job-status" => json!(if number(object, "status.succeeded") > 0 {
            "Complete"
        } else {
            "Running"
        }),
        "hosts" => json!(joined(object, "spec.rules", "host")),
        "endpoints" => json!(joined(object, "subsets.addresses", "ip")),
        "last-seen" => {
            let seen = ["lastTimestamp", "eventTime"]
                .map(|key| text(object, key))
                .into_iter()
                .find(|text| !text.is_empty());
            json!(age(
                seen.or_else(|| Some(text(object, "metadata.creationTimestamp"))),
                now
            ))
        }
        "event-object" => json!(format!(
            "{}/{}",
            text(object, "involvedObject.kind").to_lowercase(),
            text(object, "involvedObject.name")
        )),
        "event-message" => json!(text(object, "message").trim()),
        _ => json!("<none>"),
    }
}

fn node_ready(node: &Value) -> bool {
    let conditions = list(node, "status.conditions").iter();
    conditions
        .into_iter()
        .any(|condition| text(condition, "type") == "Ready" && text(condition, "status") == "True")
}

fn node_roles(object: &Value) -> String {
    let labels = at(object, "metadata.labels").and_then(Value::as_object);
    let roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    if roles.is_empty() {
        "<none>".to_owned()
    } else {
        roles.join(",")
    }
}

fn service_ports(object: &Value) -> String {
    let ports: Vec<String> = list(object, "spec.ports")
        .iter()
        .map(|port| {
            let protocol = match text(port, "protocol") {
                "" => "TCP",
                protocol => protocol,
            };
            match number(port, "nodePort") {
                0 => format!("{}/{protocol}", number(port, "port")),
                node => format!("{}:{node}/{protocol}", number(port, "port")),
            }
        })
        .collect();
    ports.join(",")
}
