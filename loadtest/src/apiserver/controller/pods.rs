//! The kubelet's part: every pod runs at once.

use serde_json::{Value, json};

use super::{NODE, hash_number, rewrite, text};
use crate::apiserver::State;
use crate::apiserver::handle::set;

/// Every pod runs at once; pods of jobs have already succeeded.
pub(super) fn run(state: &State, pod: &Value) {
    if pod.pointer("/metadata/deletionTimestamp").is_some() {
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
