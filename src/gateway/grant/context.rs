//! What a held request is about, as it is now: the pod of a shell, the object of a delete, the objects of a
//! deletecollection.
//!
//! Read as the caller when the question is asked, and shown to approvers as lines of text, masked. What cannot be
//! read is said; it keeps nobody from answering.

use std::time::Duration;

use http::HeaderValue;
use serde_json::Value;

use super::decide::Looking;
use crate::approval::Found;
use crate::gateway::Gateway;
use crate::gateway::refuse::Refusal;
use crate::gateway::story::Act;
use crate::gateway::write::payload::Payload;
use crate::limits;
use crate::request::body::{JSON, JSON_PATCH, media_type};
use crate::request::{RequestInfo, SessionRequest};
use crate::transform::body::inspect::{Inspected, inspect};
use crate::transform::read_to_show;

impl Gateway {
    /// What approvers have to see besides the request; nothing where there is nothing to look at.
    pub(super) async fn look_at(&self, looking: Looking<'_>, payload: &mut Payload) -> Found {
        let act = looking.act;
        if let Some(path) = place(act) {
            let json = HeaderValue::from_static(JSON);
            return self.context((&path, json), describe, looking).await;
        }
        let info = act.info;
        if info.is_resource_request && info.verb == "deletecollection" {
            let names = HeaderValue::from_static(NAMES);
            return self.context((&selected(info), names), count, looking).await;
        }
        let writes = matches!(info.verb.as_str(), "create" | "update" | "patch");
        if info.is_resource_request && writes && info.subresource != "proxy" {
            return self.preview(looking, payload).await;
        }
        Found::default()
    }

    /// Which object is there that the request acts on: a yes is to that one, not to another that has its name since
    /// (threats E-27). A JSON Patch says places by their number, so of one it is also which state of the object.
    ///
    /// Whoever may not read it is held without; what fails otherwise would be another question by chance, and is refused.
    pub(super) async fn object_there(
        &self,
        looking: Looking<'_>,
        content_type: Option<&str>,
    ) -> Result<String, Refusal> {
        let info = looking.act.info;
        let Some(path) = subject(info) else {
            return Ok(String::new());
        };
        let metadata = HeaderValue::from_static(METADATA);
        let response = self.look(&path, metadata, looking).await?;
        let object = match inspect(response).await? {
            Inspected::Object(object) => object,
            Inspected::Refused(status) if status.code == 404 => return Ok("none".to_owned()),
            Inspected::Refused(status) if matches!(status.code, 403 | 405 | 406) => {
                return Ok(String::new());
            }
            Inspected::Refused(status) => {
                let permit = looking.inquiry.permit();
                return Err(Refusal::answered(status, permit).about(info));
            }
        };
        let by_number = info.verb == "patch" && media_type(content_type) == JSON_PATCH;
        Ok(which(&object, by_number))
    }

    async fn context(
        &self,
        (path, accept): (&str, HeaderValue),
        describe: fn(&Value) -> Vec<String>,
        looking: Looking<'_>,
    ) -> Found {
        let read = async {
            let response = self.look(path, accept, looking).await;
            let response = response.map_err(|refusal| refusal.message().to_owned())?;
            read_to_show(response).await
        };
        let read = tokio::time::timeout(PATIENCE, read).await;
        let lines = match read.unwrap_or_else(|_| Err("the API server took too long".to_owned())) {
            Ok(object) => describe(&object),
            Err(why) => vec![format!("what it is about cannot be shown: {why}")],
        };
        let display = self.display(looking.act);
        let masked = lines.iter().map(|line| display.text(line));
        Found {
            context: masked.take(limits::APPROVAL_CONTEXT_LINES_MAX).collect(),
            diff: String::new(),
        }
    }
}

/// Nobody waits long for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Of the object that is there nothing but its metadata is read, where the API server can do that.
const METADATA: &str =
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json";

/// Where the object is that a request acts on: of a subresource its object, of a session its pod. None where no object
/// is named or something else answers for it (`proxy`).
fn subject(info: &RequestInfo) -> Option<String> {
    if let Some(session) = info.session() {
        return Some(pod_of(session));
    }
    let acts = matches!(info.verb.as_str(), "create" | "update" | "patch" | "delete");
    if !info.is_resource_request || !acts || info.name.is_empty() || info.subresource == "proxy" {
        return None;
    }
    let mut path = info.raw_path.as_str();
    for _behind_the_name in info.parts.iter().skip(2) {
        (path, _) = path.rsplit_once('/')?;
    }
    Some(path.to_owned())
}

/// What tells an object from others of its name, and its states from each other if need be: the generation counts what
/// people change, where a kind has one.
fn which(object: &Value, and_state: bool) -> String {
    let metadata = |key: &str| object.pointer("/metadata")?.get(key);
    let text = |key: &str| metadata(key).map(ToString::to_string);
    let uid = text("uid").unwrap_or_default();
    if !and_state {
        return uid;
    }
    let state = text("generation").or_else(|| text("resourceVersion"));
    format!("{uid} {}", state.unwrap_or_default())
}

/// Of the objects of a collection nothing but their metadata is read.
const NAMES: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
/// So many are counted.
const COUNTED_MAX: usize = 500;
/// So many are named.
const NAMED_MAX: usize = 20;

/// The list of what a deletecollection would delete.
fn selected(info: &RequestInfo) -> String {
    let mut path = format!("{}?limit={COUNTED_MAX}", info.raw_path);
    for (key, selector) in [
        ("labelSelector", &info.label_selector),
        ("fieldSelector", &info.field_selector),
    ] {
        if !selector.is_empty() {
            path.push('&');
            path.push_str(key);
            path.push('=');
            path.extend(selector.bytes().map(|byte| format!("%{byte:02X}")));
        }
    }
    path
}

/// How many objects a list has, and which those are.
fn count(list: &Value) -> Vec<String> {
    let names: Vec<&str> = self::list(list, "/items")
        .filter_map(|item| item.pointer("/metadata/name")?.as_str())
        .collect();
    let more = list
        .pointer("/metadata/continue")
        .and_then(Value::as_str)
        .is_some_and(|more| !more.is_empty());
    let than = if more { "more than " } else { "" };
    let mut lines = vec![format!(
        "it would delete {than}{} objects, as it was when it was asked",
        names.len()
    )];
    lines.extend(
        names
            .iter()
            .take(NAMED_MAX)
            .map(|name| format!("deletes {name}")),
    );
    if let Some(others) = names
        .len()
        .checked_sub(NAMED_MAX)
        .filter(|others| *others > 0)
    {
        lines.push(format!("deletes {others} others that are not named here"));
    }
    lines
}

/// Where the object is that the request is about.
fn place(act: Act<'_>) -> Option<String> {
    let info = act.info;
    if let Some(session) = info.session() {
        return Some(pod_of(session));
    }
    // Of Secrets nothing is read that is not needed.
    let single = info.verb == "delete" && info.subresource.is_empty() && info.resource != "secrets";
    let evicts = info.verb == "create" && info.resource == "pods" && info.subresource == "eviction";
    (single || evicts).then(|| subject(info)).flatten()
}

/// Where a session's pod is.
fn pod_of(session: SessionRequest<'_>) -> String {
    format!(
        "/api/v1/namespaces/{}/pods/{}",
        session.namespace, session.pod
    )
}

/// An object in a few lines: what it is, who keeps it, and of a pod what runs in it and as whom.
fn describe(object: &Value) -> Vec<String> {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let mut lines = vec![format!(
        "{} {}, made {}",
        text("/kind"),
        text("/metadata/name"),
        text("/metadata/creationTimestamp")
    )];
    let owners = list(object, "/metadata/ownerReferences");
    lines.extend(owners.map(|owner| {
        format!(
            "kept by {} {}, which may make it again",
            word(owner, "kind"),
            word(owner, "name")
        )
    }));
    if text("/kind") != "Pod" {
        return lines;
    }
    if list(object, "/metadata/ownerReferences").next().is_none() {
        lines.push("kept by nobody: when it is gone, it stays gone".to_owned());
    }
    let account = text("/spec/serviceAccountName");
    lines.push(format!(
        "on node {:?}, as service account {account:?}",
        text("/spec/nodeName")
    ));
    for containers in ["initContainers", "containers", "ephemeralContainers"] {
        lines.extend(
            list(object, &format!("/spec/{containers}")).map(|container| {
                let privileged =
                    container.pointer("/securityContext/privileged") == Some(&Value::Bool(true));
                let how = if privileged { ", privileged" } else { "" };
                format!(
                    "container {} of image {}{how}",
                    word(container, "name"),
                    word(container, "image")
                )
            }),
        );
    }
    lines.extend(list(object, "/spec/volumes").filter_map(|volume| {
        let secret = volume.pointer("/secret/secretName").and_then(Value::as_str);
        let host = volume.pointer("/hostPath/path").and_then(Value::as_str);
        match (secret, host) {
            (Some(secret), _) => Some(format!("mounts Secret {secret}")),
            (None, Some(path)) => Some(format!("mounts {path} of the node")),
            (None, None) => None,
        }
    }));
    lines
}

fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn word<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_collection_is_how_many_it_selects_and_which() {
        let list = |names: usize, more: &str| {
            let items: Vec<Value> = (0..names)
                .map(|name| json!({"metadata": {"name": format!("web-{name}")}}))
                .collect();
            count(&json!({"metadata": {"continue": more}, "items": items}))
        };
        assert_eq!(
            list(2, ""),
            [
                "it would delete 2 objects, as it was when it was asked",
                "deletes web-0",
                "deletes web-1"
            ]
        );
        let many = list(500, "x");
        assert!(many[0].contains("more than 500 objects"), "{many:?}");
        assert_eq!(many.len(), 22);
        assert!(many[21].contains("480 others"), "{many:?}");
        assert_eq!(count(&json!({"items": 7})).len(), 1);
        let target = "/api/v1/namespaces/shop/pods?labelSelector=a+in+(b%2Cc)&limit=1";
        let info = RequestInfo::parse(&http::Method::DELETE, target).unwrap();
        assert_eq!(
            selected(&info),
            "/api/v1/namespaces/shop/pods?limit=500&labelSelector=%61%20%69%6E%20%28%62%2C%63%29"
        );
    }

    #[test]
    fn what_a_request_acts_on_is_an_object_and_not_its_subresource() {
        let of = |method: &str, target: &str| {
            let method = http::Method::from_bytes(method.as_bytes()).unwrap();
            subject(&RequestInfo::parse(&method, target).unwrap())
        };
        let pod = Some("/api/v1/namespaces/shop/pods/web".to_owned());
        for (method, behind) in [
            ("DELETE", "?gracePeriodSeconds=0"),
            ("PATCH", ""),
            ("PUT", "/status"),
            ("POST", "/eviction"),
            ("PATCH", "/ephemeralcontainers"),
            ("GET", "/exec?command=id"),
        ] {
            let target = format!("/api/v1/namespaces/shop/pods/web{behind}");
            assert_eq!(of(method, &target), pod, "{method} {behind}");
        }
        let kubelet = "/api/v1/nodes/n1/proxy/exec/shop/web/app?command=id";
        assert_eq!(of("POST", kubelet), pod);
        let namespace = Some("/api/v1/namespaces/shop".to_owned());
        assert_eq!(of("PUT", "/api/v1/namespaces/shop/finalize"), namespace);
        for (method, target) in [
            ("POST", "/api/v1/namespaces/shop/pods"),
            ("DELETE", "/api/v1/namespaces/shop/pods"),
            ("GET", "/api/v1/namespaces/shop/pods/web"),
            ("POST", "/api/v1/namespaces/shop/pods/web/proxy/a/b"),
            ("POST", "/login"),
        ] {
            assert_eq!(of(method, target), None, "{method} {target}");
        }
    }

    #[test]
    fn another_object_is_told_by_its_uid_and_another_state_where_that_matters() {
        let pod = |uid: &str, generation: Value, version: &str| {
            let metadata =
                json!({"uid": uid, "generation": generation, "resourceVersion": version});
            json!({"metadata": metadata})
        };
        let first = pod("a", json!(1), "7");
        assert_eq!(which(&first, false), which(&pod("a", json!(2), "8"), false));
        assert_ne!(which(&first, false), which(&pod("b", json!(1), "7"), false));
        assert_eq!(which(&first, true), which(&pod("a", json!(1), "8"), true));
        assert_ne!(which(&first, true), which(&pod("a", json!(2), "8"), true));
        let plain = |version: &str| json!({"metadata": {"uid": "a", "resourceVersion": version}});
        assert_ne!(which(&plain("7"), true), which(&plain("8"), true));
    }

    #[test]
    fn a_pod_is_what_runs_in_it_and_who_keeps_it() {
        let pod = json!({
            "kind": "Pod",
            "metadata": {"name": "web", "creationTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5"}]},
            "spec": {"nodeName": "n1", "serviceAccountName": "builder",
                "initContainers": [{"name": "init", "image": "a"}],
                "containers": [{"name": "app", "image": "b:1", "securityContext": {"privileged": true}}],
                "volumes": [{"secret": {"secretName": "db"}}, {"hostPath": {"path": "/"}}, {"emptyDir": {}}]},
        });
        assert_eq!(
            describe(&pod),
            [
                "Pod web, made 2026-01-01T00:00:00Z",
                "kept by ReplicaSet web-5, which may make it again",
                "on node \"n1\", as service account \"builder\"",
                "container init of image a",
                "container app of image b:1, privileged",
                "mounts Secret db",
                "mounts / of the node",
            ]
        );
        // Whatever is missing or of another type is left out.
        for odd in [
            json!(null),
            json!({"kind": "Pod", "spec": {"containers": "x", "volumes": [7]}}),
        ] {
            assert!(describe(&odd).len() <= 3);
        }
    }
}
