//! The kubelet's part: every pod runs at once.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{NODE, hash_number, resource_of, rewrite, text};
use crate::apiserver::State;
use crate::apiserver::handle::{normalise, set, timestamp};
use crate::apiserver::status::ApiError;
use crate::apiserver::store::Decision;

/// Every pod runs at once; pods of jobs have already succeeded.
pub(super) fn run(state: &State, pod: &Value) {
    if pod.pointer("/metadata/deletionTimestamp").is_some() || is_finished(pod) {
        return;
    }
    let time = pod
        .pointer("/metadata/creationTimestamp")
        .cloned()
        .unwrap_or_default();
    let job = pod.pointer("/metadata/ownerReferences/0/kind") == Some(&json!("Job"));
    let status = |list: &str| -> Vec<Value> {
        let containers = pod
            .pointer(&format!("/spec/{list}"))
            .and_then(Value::as_array);
        containers
            .into_iter()
            .flatten()
            .map(|container| container_status(container, &time, job))
            .collect()
    };
    let address = format!(
        "10.244.0.{}",
        2 + hash_number(text(pod, "/metadata/uid")) % 250
    );
    let condition = |kind: &str| json!({"type": kind, "status": if job && kind != "PodScheduled" { "False" } else { "True" }, "lastTransitionTime": time});
    let conditions = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ]
    .map(condition);
    let mut wanted = json!({
        "phase": if job { "Succeeded" } else { "Running" },
        "conditions": conditions,
        "hostIP": "192.168.49.2", "hostIPs": [{"ip": "192.168.49.2"}],
        "podIP": address, "podIPs": [{"ip": address}],
        "startTime": time,
        "containerStatuses": status("containers"),
    });
    let ephemeral = status("ephemeralContainers");
    if !ephemeral.is_empty() {
        set(
            &mut wanted,
            &["ephemeralContainerStatuses"],
            json!(ephemeral),
        );
    }
    rewrite(
        state,
        pod,
        &json!({"spec": {"nodeName": NODE}, "status": wanted}),
    );
}

/// The main process of a container of `pod` has ended. What the pod is to run again goes on running,
/// since the node keeps its shell; otherwise the pod is over with its last container.
pub(in crate::apiserver) fn exited(state: &State, pod: &Value, container: &str, code: u8) {
    let Ok(resource) = resource_of(state, pod) else {
        return;
    };
    let (namespace, name) = (
        text(pod, "/metadata/namespace"),
        text(pod, "/metadata/name"),
    );
    let uid = text(pod, "/metadata/uid");
    let outcome = state
        .store
        .write(&resource.key(), namespace, name, |current| {
            let same = |value: &&Value| text(value, "/metadata/uid") == uid;
            let current = current.map(|object| &object.value).filter(same);
            let current = current.ok_or_else(|| ApiError::not_found(&resource, name))?;
            let ended = terminated(current, container, code);
            Ok(Decision::Put(normalise(&resource, &ended)))
        });
    if let Err(error) = outcome {
        tracing::debug!(%name, error = %error.message, "the pod has gone before its container");
    }
}

/// The node keeps nothing of a deleted pod.
pub(super) fn gone(pod: &Value) {
    let name = |path: &str| text(pod, path).to_owned();
    crate::node::forget(&crate::node::PodRef::new(
        name("/metadata/namespace"),
        name("/metadata/name"),
        pod.clone(),
    ));
}

/// The pod after the end of a container, if it is not restarted.
fn terminated(pod: &Value, container: &str, code: u8) -> Value {
    let mut pod = pod.clone();
    let again = match text(&pod, "/spec/restartPolicy") {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    };
    if again || is_finished(&pod) {
        return pod;
    }
    let time = timestamp(Timestamp::now());
    let statuses = pod
        .pointer_mut("/status/containerStatuses")
        .and_then(Value::as_array_mut);
    let (mut over, mut failed) = (true, false);
    for status in statuses.into_iter().flatten() {
        if text(status, "/name") == container && status.pointer("/state/running").is_some() {
            let state = json!({"terminated": {
                "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" },
                "startedAt": status.pointer("/state/running/startedAt"), "finishedAt": time,
                "containerID": status.get("containerID"),
            }});
            for (key, value) in [
                ("state", state),
                ("ready", json!(false)),
                ("started", json!(false)),
            ] {
                set(status, &[key], value);
            }
        }
        match status.pointer("/state/terminated/exitCode") {
            Some(code) => failed |= code != &json!(0),
            None => over = false,
        }
    }
    if over {
        let phase = if failed { "Failed" } else { "Succeeded" };
        set(&mut pod, &["status", "phase"], json!(phase));
    }
    let conditions = pod
        .pointer_mut("/status/conditions")
        .and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        if ["Ready", "ContainersReady"].contains(&text(condition, "/type")) {
            let reason = if over {
                "PodCompleted"
            } else {
                "ContainersNotReady"
            };
            for (key, value) in [
                ("status", "False"),
                ("reason", reason),
                ("lastTransitionTime", &time),
            ] {
                set(condition, &[key], json!(value));
            }
        }
    }
    pod
}

fn is_finished(pod: &Value) -> bool {
    ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"))
}

fn container_status(container: &Value, time: &Value, done: bool) -> Value {
    let name = text(container, "/name");
    let image = text(container, "/image");
    let id = format!(
        "containerd://{:016x}{:016x}",
        hash_number(name),
        hash_number(image)
    );
    let running = json!({"running": {"startedAt": time}});
    let finished = json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": time, "finishedAt": time, "containerID": id}});
    json!({
        "name": name, "state": if done { finished } else { running }, "lastState": {}, "ready": !done, "restartCount": 0,
        "image": image, "imageID": format!("{image}@sha256:simulated"), "containerID": id, "started": !done,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(policy: &str, containers: &[&str]) -> Value {
        let status = |name: &&str| {
            let container = json!({"name": name, "image": "busybox"});
            container_status(&container, &json!("2026-01-01T00:00:00Z"), false)
        };
        let statuses: Vec<Value> = containers.iter().map(status).collect();
        json!({"spec": {"restartPolicy": policy}, "status": {
            "phase": "Running", "containerStatuses": statuses,
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}],
        }})
    }

    #[test]
    fn the_pod_is_over_with_its_last_container() {
        let first = terminated(&pod("Never", &["a", "b"]), "a", 0);
        assert_eq!(text(&first, "/status/phase"), "Running");
        assert_eq!(text(&first, "/status/conditions/0/status"), "False");
        assert_eq!(text(&first, "/status/conditions/1/status"), "True");
        let ended = first.pointer("/status/containerStatuses/0/state/terminated");
        assert_eq!(text(ended.unwrap(), "/reason"), "Completed");
        let last = terminated(&first, "b", 7);
        assert_eq!(text(&last, "/status/phase"), "Failed");
        let code = last.pointer("/status/containerStatuses/1/state/terminated/exitCode");
        assert_eq!(code, Some(&json!(7)));
        assert_eq!(terminated(&last, "b", 0), last);
    }

    #[test]
    fn what_is_restarted_goes_on() {
        for (policy, code, phase) in [
            ("Always", 0, "Running"),
            ("OnFailure", 1, "Running"),
            ("OnFailure", 0, "Succeeded"),
            ("Never", 0, "Succeeded"),
        ] {
            let pod = terminated(&pod(policy, &["a"]), "a", code);
            assert_eq!(text(&pod, "/status/phase"), phase, "{policy} {code}");
        }
    }
}
