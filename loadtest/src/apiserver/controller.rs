//! Enough of the controllers that a cluster looks alive: workloads get pods, pods run, owners cascade.

mod pods;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::State;
use super::handle::{default, defaults, normalise, set, timestamp};
use super::store::{Change, Decision, Outcome};
use super::types::resources::Resource;

pub(super) use pods::exited;

/// The name of the only node.
pub(super) const NODE: &str = "node-1";

/// Reacts to a change, in the same request.
pub(super) fn react(state: &State, resource: &Resource, outcome: &Outcome) {
    let object = &outcome.object.value;
    match (resource.qualified().as_str(), outcome.change) {
        ("namespaces", Some(Change::Added)) => furnish(state, object),
        ("namespaces", Some(Change::Deleted)) => {
            empty_namespace(state, text(object, "/metadata/name"));
        }
        ("deployments.apps", Some(Change::Added | Change::Modified)) => deployment(state, object),
        (
            "replicasets.apps" | "statefulsets.apps" | "jobs.batch",
            Some(Change::Added | Change::Modified),
        ) => {
            workload(state, resource, object);
        }
        ("pods", Some(Change::Added | Change::Modified)) => pods::run(state, object),
        ("pods", Some(Change::Deleted)) => {
            pods::gone(object);
            replace(state, object);
        }
        _ => {}
    }
}

/// Deletes what the deleted object owned.
pub(super) fn collect_garbage(state: &State, owner: &Value) {
    let uid = text(owner, "/metadata/uid");
    for key in state.store.collections() {
        let (_, objects) = state.store.list(&key, "");
        for object in objects {
            let owners = object
                .value
                .pointer("/metadata/ownerReferences")
                .and_then(Value::as_array);
            if owners
                .into_iter()
                .flatten()
                .any(|reference| text(reference, "/uid") == uid)
            {
                delete(state, &key, &object.value);
                collect_garbage(state, &object.value);
            }
        }
    }
}

/// Creates or replaces an object as if a controller had written it.
pub(super) fn ensure(state: &State, mut object: Value) -> Result<(), String> {
    let resource = resource_of(state, &object)?;
    let (namespace, name) = (
        text(&object, "/metadata/namespace").to_owned(),
        text(&object, "/metadata/name").to_owned(),
    );
    default(
        &mut object,
        &["metadata", "uid"],
        json!(uuid::Uuid::new_v4().to_string()),
    );
    default(&mut object, &["metadata", "resourceVersion"], json!("0"));
    default(
        &mut object,
        &["metadata", "creationTimestamp"],
        json!(timestamp(Timestamp::now())),
    );
    if resource.has("status") && !["namespaces", "nodes"].contains(&resource.plural.as_str()) {
        default(&mut object, &["metadata", "generation"], json!(1));
    }
    defaults(&resource, &mut object);
    let object = normalise(&resource, &object);
    let outcome = state
        .store
        .write(&resource.key(), &namespace, &name, |_| {
            Ok(Decision::Put(object))
        })
        .map_err(|error| error.message)?;
    if outcome.change.is_some() {
        react(state, &resource, &outcome);
    }
    Ok(())
}

fn resource_of(state: &State, object: &Value) -> Result<Arc<Resource>, String> {
    let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    state
        .resources()
        .into_iter()
        .find(|resource| resource.kind == kind && resource.api_version() == api_version)
        .ok_or_else(|| format!("no resource for {api_version} {kind}"))
}

/// The `ServiceAccount` and `ConfigMap` every namespace gets.
fn furnish(state: &State, namespace: &Value) {
    let name = text(namespace, "/metadata/name");
    log(ensure(
        state,
        json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default", "namespace": name}}),
    ));
    log(ensure(
        state,
        json!({
            "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "kube-root-ca.crt", "namespace": name},
            "data": {"ca.crt": "-----BEGIN CERTIFICATE-----\nsimulated\n-----END CERTIFICATE-----\n"},
        }),
    ));
}

fn empty_namespace(state: &State, namespace: &str) {
    for key in state.store.collections() {
        let (_, objects) = state.store.list(&key, namespace);
        for object in objects {
            delete(state, &key, &object.value);
        }
    }
}

fn delete(state: &State, key: &str, object: &Value) {
    let (namespace, name) = (
        text(object, "/metadata/namespace"),
        text(object, "/metadata/name"),
    );
    // Gone already is as good.
    if let Err(error) = state
        .store
        .write(key, namespace, name, |_| Ok(Decision::Delete))
    {
        tracing::debug!(%key, %name, error = %error.message, "not deleted");
    }
}

/// A Deployment keeps one `ReplicaSet` per template; only the current one has replicas.
fn deployment(state: &State, object: &Value) {
    let name = text(object, "/metadata/name");
    let template = object
        .pointer("/spec/template")
        .cloned()
        .unwrap_or_default();
    let hash = hash(&template.to_string());
    let current = format!("{name}-{hash}");
    let owned = owned(state, "replicasets.apps", object);
    let newest = owned.iter().map(revision_of).max().unwrap_or(0);
    let known = owned
        .iter()
        .find(|set| text(set, "/metadata/name") == current);
    let revision = match known {
        Some(known) if revision_of(known) == newest => newest,
        _ => newest + 1,
    };
    for old in owned
        .iter()
        .filter(|set| text(set, "/metadata/name") != current)
    {
        rewrite(state, old, &json!({"spec": {"replicas": 0}}));
    }
    log(ensure(state, replica_set(object, &hash, revision, known)));
    let replicas = number(object, "/spec/replicas");
    let time = object
        .pointer("/metadata/creationTimestamp")
        .cloned()
        .unwrap_or_default();
    let progress = format!("ReplicaSet \"{current}\" has successfully progressed.");
    let status = json!({
        "observedGeneration": object.pointer("/metadata/generation"),
        "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
        "conditions": [
            {"type": "Available", "status": "True", "lastUpdateTime": time, "lastTransitionTime": time,
             "reason": "MinimumReplicasAvailable", "message": "Deployment has minimum availability."},
            {"type": "Progressing", "status": "True", "lastUpdateTime": time, "lastTransitionTime": time,
             "reason": "NewReplicaSetAvailable", "message": progress},
        ],
    });
    let annotations = json!({"deployment.kubernetes.io/revision": revision.to_string()});
    rewrite(
        state,
        object,
        &json!({"metadata": {"annotations": annotations}, "status": status}),
    );
}

fn revision_of(set: &Value) -> u64 {
    text(
        set,
        "/metadata/annotations/deployment.kubernetes.io~1revision",
    )
    .parse()
    .unwrap_or(0)
}

/// The `ReplicaSet` of a Deployment's current template; keeps the identity of a known one.
fn replica_set(deployment: &Value, hash: &str, revision: u64, known: Option<&Value>) -> Value {
    let part = |path: &str| deployment.pointer(path).cloned().unwrap_or_default();
    let mut template = part("/spec/template");
    set(
        &mut template,
        &["metadata", "labels", "pod-template-hash"],
        json!(hash),
    );
    let mut selector = part("/spec/selector");
    set(
        &mut selector,
        &["matchLabels", "pod-template-hash"],
        json!(hash),
    );
    let mut out = json!({
        "kind": "ReplicaSet", "apiVersion": "apps/v1",
        "metadata": {
            "name": format!("{}-{hash}", text(deployment, "/metadata/name")),
            "namespace": text(deployment, "/metadata/namespace"),
            "labels": template.pointer("/metadata/labels"),
            "annotations": {"deployment.kubernetes.io/revision": revision.to_string()},
            "ownerReferences": [owner(deployment)],
        },
        "spec": {"replicas": number(deployment, "/spec/replicas"), "selector": selector, "template": template},
    });
    if let Some(known) = known {
        for key in ["uid", "creationTimestamp"] {
            let value = known
                .pointer(&format!("/metadata/{key}"))
                .cloned()
                .unwrap_or_default();
            set(&mut out, &["metadata", key], value);
        }
        set(
            &mut out,
            &["status"],
            known.get("status").cloned().unwrap_or_default(),
        );
    }
    out
}

/// `ReplicaSets`, `StatefulSets` and Jobs: as many pods as they want.
fn workload(state: &State, resource: &Resource, object: &Value) {
    let name = text(object, "/metadata/name");
    let job = resource.plural == "jobs";
    let wanted = if job {
        1
    } else {
        usize::try_from(number(object, "/spec/replicas")).unwrap_or(0)
    };
    let mut pods = owned(state, "pods", object);
    while pods.len() > wanted {
        if let Some(pod) = pods.pop() {
            delete(state, "pods", &pod);
        }
    }
    for index in pods.len()..wanted {
        let name = if resource.plural == "statefulsets" {
            format!("{name}-{index}")
        } else {
            format!("{name}-{}", suffix())
        };
        let template = object
            .pointer("/spec/template")
            .cloned()
            .unwrap_or_default();
        let mut metadata = template
            .get("metadata")
            .cloned()
            .unwrap_or_else(|| json!({}));
        set(&mut metadata, &["name"], json!(name));
        set(
            &mut metadata,
            &["namespace"],
            object
                .pointer("/metadata/namespace")
                .cloned()
                .unwrap_or_default(),
        );
        set(&mut metadata, &["ownerReferences"], json!([owner(object)]));
        if job {
            for label in ["job-name", "batch.kubernetes.io/job-name"] {
                set(
                    &mut metadata,
                    &["labels", label],
                    object
                        .pointer("/metadata/name")
                        .cloned()
                        .unwrap_or_default(),
                );
            }
        }
        let mut pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": template.get("spec")});
        set(&mut pod, &["spec", "nodeName"], json!(NODE));
        log(ensure(state, pod));
    }
    let generation = object.pointer("/metadata/generation");
    let status = if job {
        json!({"succeeded": 1, "startTime": timestamp(Timestamp::now()), "completionTime": timestamp(Timestamp::now()),
            "conditions": [{"type": "Complete", "status": "True"}]})
    } else if wanted == 0 {
        json!({"observedGeneration": generation, "replicas": 0, "readyReplicas": null, "availableReplicas": null, "fullyLabeledReplicas": null})
    } else if resource.plural == "replicasets" {
        json!({"observedGeneration": generation, "replicas": wanted, "fullyLabeledReplicas": wanted, "readyReplicas": wanted, "availableReplicas": wanted})
    } else {
        json!({"observedGeneration": generation, "replicas": wanted, "readyReplicas": wanted, "availableReplicas": wanted, "updatedReplicas": wanted, "currentReplicas": wanted})
    };
    if !job || object.pointer("/status/succeeded").is_none() {
        rewrite(state, object, &json!({"status": status}));
    }
}

/// A deleted pod of a living `ReplicaSet` or `StatefulSet` comes back under another name.
fn replace(state: &State, pod: &Value) {
    let namespace = text(pod, "/metadata/namespace");
    let reference = pod
        .pointer("/metadata/ownerReferences/0")
        .cloned()
        .unwrap_or_default();
    for (kind, plural) in [
        ("ReplicaSet", "replicasets"),
        ("StatefulSet", "statefulsets"),
    ] {
        if text(&reference, "/kind") != kind {
            continue;
        }
        let key = format!("{plural}.apps");
        let found = state.store.get(&key, namespace, text(&reference, "/name"));
        if let (Some(set), Some(resource)) = (found, state.resource("apps", "v1", plural)) {
            workload(state, &resource, &set.value);
        }
    }
}

/// Merges into the current object without another reaction, except to fewer replicas.
fn rewrite(state: &State, object: &Value, patch: &Value) {
    let Ok(resource) = resource_of(state, object) else {
        return;
    };
    let (namespace, name) = (
        text(object, "/metadata/namespace"),
        text(object, "/metadata/name"),
    );
    let outcome = state
        .store
        .write(&resource.key(), namespace, name, |current| {
            let mut value = current.map_or_else(|| object.clone(), |current| current.value.clone());
            super::patch::merge(&mut value, patch);
            Ok(Decision::Put(normalise(&resource, &value)))
        });
    if let (Ok(outcome), true) = (outcome, patch.pointer("/spec/replicas").is_some()) {
        workload(state, &resource, &outcome.object.value);
    }
}

fn owned(state: &State, key: &str, owner: &Value) -> Vec<Value> {
    let uid = text(owner, "/metadata/uid");
    let (_, objects) = state.store.list(key, text(owner, "/metadata/namespace"));
    let mine = objects
        .into_iter()
        .filter(|object| text(&object.value, "/metadata/ownerReferences/0/uid") == uid);
    mine.map(|object| object.value.clone()).collect()
}

fn owner(object: &Value) -> Value {
    let mut reference = Map::new();
    for (key, path) in [
        ("apiVersion", "/apiVersion"),
        ("kind", "/kind"),
        ("name", "/metadata/name"),
        ("uid", "/metadata/uid"),
    ] {
        reference.insert(
            key.to_owned(),
            object.pointer(path).cloned().unwrap_or_default(),
        );
    }
    reference.insert("controller".to_owned(), json!(true));
    reference.insert("blockOwnerDeletion".to_owned(), json!(true));
    Value::Object(reference)
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or(0)
}

fn log(result: Result<(), String>) {
    if let Err(error) = result {
        tracing::warn!(%error, "a controller could not write");
    }
}

/// Five letters as Kubernetes appends them to generated names.
pub(super) fn suffix() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let seed = uuid::Uuid::new_v4().as_u64_pair().0 ^ count;
    letters(seed, 5)
}

/// A template's hash, stable over runs.
fn hash(text: &str) -> String {
    letters(hash_number(text), 9)
}

fn hash_number(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn letters(mut number: u64, count: usize) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut out = String::new();
    for _ in 0..count {
        let index = usize::try_from(number % 27).unwrap_or(0);
        out.push(ALPHABET.get(index).copied().map_or('x', char::from));
        number /= 27;
    }
    out
}
