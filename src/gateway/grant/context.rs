//! What a held request is about, as it is now: the pod of a shell, the object of a delete.
//!
//! Read as the caller when the question is asked, and shown to approvers as lines of text, masked. What cannot be
//! read is said; it keeps nobody from answering.

use std::time::Duration;

use serde_json::Value;

use super::decide::Looking;
use crate::approval::Found;
use crate::gateway::Gateway;
use crate::gateway::story::Act;
use crate::gateway::write::payload::Payload;
use crate::limits;
use crate::transform::read_to_show;

impl Gateway {
    /// What approvers have to see besides the request; nothing where there is nothing to look at.
    pub(super) async fn look_at(&self, looking: Looking<'_>, payload: &mut Payload) -> Found {
        let act = looking.act;
        if let Some(path) = place(act) {
            return self.context(&path, looking).await;
        }
        let info = act.info;
        let writes = matches!(info.verb.as_str(), "create" | "update" | "patch");
        if info.is_resource_request && writes && info.subresource != "proxy" {
            return self.preview(looking, payload).await;
        }
        Found::default()
    }

    async fn context(&self, path: &str, looking: Looking<'_>) -> Found {
        let read = async {
            let response = self.look(path, looking).await;
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

/// Where the object is that the request is about.
fn place(act: Act<'_>) -> Option<String> {
    let info = act.info;
    if let Some(session) = info.session() {
        return Some(format!(
            "/api/v1/namespaces/{}/pods/{}",
            session.namespace, session.pod
        ));
    }
    let single = info.verb == "delete" && info.subresource.is_empty() && !info.name.is_empty();
    // Of Secrets nothing is read that is not needed.
    (single && info.resource != "secrets").then(|| info.raw_path.clone())
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
