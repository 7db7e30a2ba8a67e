//! What the server adds to objects before it stores them: defaults and metadata.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::apiserver::respond::sorted;
use crate::apiserver::types::resources::Resource;
use crate::apiserver::types::{self, check};

/// Puts the fields into the order in which they are printed; custom resources are sorted.
pub(in crate::apiserver) fn normalise(resource: &Resource, value: &Value) -> Value {
    if resource.custom.is_some() {
        return sorted(value);
    }
    let message = resource.message.and_then(types::message);
    let ordered = message
        .and_then(|message| check::decode(message, value, &mut check::Findings::default()).ok());
    ordered.unwrap_or_else(|| crd_order(value))
}

/// CRDs have no field table; only their metadata is put in order.
fn crd_order(value: &Value) -> Value {
    let mut out = Map::new();
    let meta = types::message("ObjectMeta");
    for key in ["kind", "apiVersion", "metadata", "spec", "status"] {
        let Some(part) = value.get(key) else { continue };
        let part = match (key, meta) {
            ("metadata", Some(meta)) => check::decode(meta, part, &mut check::Findings::default())
                .unwrap_or_else(|_| part.clone()),
            _ => part.clone(),
        };
        out.insert(key.to_owned(), part);
    }
    Value::Object(out)
}

/// Defaults of the kinds whose defaults clients look at.
pub(in crate::apiserver) fn defaults(resource: &Resource, object: &mut Value) {
    match resource.qualified().as_str() {
        "secrets" => secret(object),
        "namespaces" => {
            let name = object
                .pointer("/metadata/name")
                .cloned()
                .unwrap_or_default();
            default(
                object,
                &["metadata", "labels", "kubernetes.io/metadata.name"],
                name,
            );
            default(object, &["spec", "finalizers"], json!(["kubernetes"]));
            default(object, &["status", "phase"], json!("Active"));
        }
        "services" => service(object),
        "deployments.apps" => {
            default(object, &["spec", "replicas"], json!(1));
            default(
                object,
                &["spec", "strategy"],
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}),
            );
            default(object, &["spec", "revisionHistoryLimit"], json!(10));
            default(object, &["spec", "progressDeadlineSeconds"], json!(600));
            pod_spec(object, &["spec", "template", "spec"]);
        }
        "replicasets.apps" | "statefulsets.apps" | "replicationcontrollers" => {
            default(object, &["spec", "replicas"], json!(1));
            pod_spec(object, &["spec", "template", "spec"]);
        }
        "daemonsets.apps" | "jobs.batch" => pod_spec(object, &["spec", "template", "spec"]),
        "pods" => {
            pod_spec(object, &["spec"]);
            default(object, &["spec", "serviceAccountName"], json!("default"));
            default(object, &["spec", "serviceAccount"], json!("default"));
            default(object, &["status", "phase"], json!("Pending"));
            default(object, &["status", "qosClass"], json!("BestEffort"));
        }
        "persistentvolumeclaims" | "persistentvolumes" => {
            default(object, &["status", "phase"], json!("Pending"));
        }
        "customresourcedefinitions.apiextensions.k8s.io" => crd(object),
        _ => {}
    }
}

/// `stringData` is merged into `data` and never stored.
fn secret(object: &mut Value) {
    let Value::Object(entries) = object else {
        return;
    };
    if let Some(Value::Object(plain)) = entries.shift_remove("stringData") {
        let data = entries.entry("data").or_insert_with(|| json!({}));
        for (key, value) in plain {
            if let (Value::Object(data), Some(text)) = (&mut *data, value.as_str()) {
                data.insert(key, json!(STANDARD.encode(text)));
            }
        }
    }
    if entries
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .is_empty()
    {
        entries.insert("type".to_owned(), json!("Opaque"));
    }
}

fn service(object: &mut Value) {
    let octet = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .bytes()
        .fold(7u8, u8::wrapping_add);
    default(object, &["spec", "type"], json!("ClusterIP"));
    default(object, &["spec", "sessionAffinity"], json!("None"));
    if object.pointer("/spec/type") != Some(&json!("ExternalName")) {
        default(
            object,
            &["spec", "clusterIP"],
            json!(format!("10.96.0.{}", octet.max(2))),
        );
        let ip = object
            .pointer("/spec/clusterIP")
            .cloned()
            .unwrap_or_default();
        default(object, &["spec", "clusterIPs"], json!([ip]));
    }
    default(object, &["status", "loadBalancer"], json!({}));
    if let Some(Value::Array(ports)) = object.pointer_mut("/spec/ports") {
        for port in ports {
            default(port, &["protocol"], json!("TCP"));
            let target = port.get("port").cloned().unwrap_or_default();
            default(port, &["targetPort"], target);
        }
    }
}

fn pod_spec(object: &mut Value, path: &[&str]) {
    let spec = path
        .iter()
        .try_fold(&mut *object, |value, key| value.get_mut(*key));
    let Some(spec) = spec.filter(|spec| spec.is_object()) else {
        return;
    };
    for (key, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("securityContext", json!({})),
        ("schedulerName", json!("default-scheduler")),
    ] {
        default(spec, &[key], value);
    }
    if let Some(Value::Array(containers)) = spec.get_mut("containers") {
        for container in containers {
            default(container, &["resources"], json!({}));
            default(
                container,
                &["terminationMessagePath"],
                json!("/dev/termination-log"),
            );
            default(container, &["terminationMessagePolicy"], json!("File"));
            default(container, &["imagePullPolicy"], json!("IfNotPresent"));
            if let Some(Value::Array(ports)) = container.get_mut("ports") {
                for port in ports {
                    default(port, &["protocol"], json!("TCP"));
                }
            }
        }
    }
}

fn crd(object: &mut Value) {
    let names = object
        .pointer("/spec/names")
        .cloned()
        .unwrap_or_else(|| json!({}));
    let plural = names
        .get("plural")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let kind = names
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    default(
        object,
        &["spec", "names", "singular"],
        json!(kind.to_lowercase()),
    );
    default(
        object,
        &["spec", "names", "listKind"],
        json!(format!("{kind}List")),
    );
    default(object, &["spec", "conversion"], json!({"strategy": "None"}));
    let names = object
        .pointer("/spec/names")
        .cloned()
        .unwrap_or_else(|| json!({"plural": plural}));
    let time = object
        .pointer("/metadata/creationTimestamp")
        .cloned()
        .unwrap_or_default();
    let versions: Vec<Value> = object
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|version| version.get("storage") == Some(&json!(true)))
        .filter_map(|version| version.get("name").cloned())
        .collect();
    let status = json!({
        "conditions": [
            {"type": "NamesAccepted", "status": "True", "lastTransitionTime": time, "reason": "NoConflicts", "message": "no conflicts found"},
            {"type": "Established", "status": "True", "lastTransitionTime": time, "reason": "InitialNamesAccepted", "message": "the initial names have been accepted"},
        ],
        "acceptedNames": names,
        "storedVersions": versions,
    });
    if let Value::Object(entries) = object {
        entries.insert("status".to_owned(), status);
    }
}

/// Sets a field that is absent; makes the objects on the way.
pub(in crate::apiserver) fn default(object: &mut Value, path: &[&str], value: Value) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let Value::Object(entries) = object else {
        return;
    };
    if rest.is_empty() {
        let place = entries.entry((*key).to_owned()).or_insert(Value::Null);
        if place.is_null() {
            *place = value;
        }
    } else {
        default(
            entries
                .entry((*key).to_owned())
                .or_insert_with(|| json!({})),
            rest,
            value,
        );
    }
}

/// Sets a field; makes the objects on the way.
pub(in crate::apiserver) fn set(object: &mut Value, path: &[&str], value: Value) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    let Value::Object(entries) = object else {
        return;
    };
    if rest.is_empty() {
        entries.insert((*key).to_owned(), value);
    } else {
        set(
            entries.entry((*key).to_owned()).or_insert(Value::Null),
            rest,
            value,
        );
    }
}
