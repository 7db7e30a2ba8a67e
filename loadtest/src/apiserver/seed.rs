//! What the demo finds: a shop's namespaces, workloads and secrets.

use serde_json::{Value, json};

use super::State;
use super::controller::{self, NODE};
use super::handle::set;

/// Creates or replaces an object.
pub(super) fn put(state: &State, object: Value) -> Result<(), String> {
    controller::ensure(state, object)
}

/// What every cluster has.
pub(super) fn namespaces(state: &State) {
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        add(
            state,
            json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}),
        );
    }
    add(state, node());
}

/// The demo's objects.
pub(super) fn objects(state: &State) {
    add(
        state,
        json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "payments", "labels": {"team": "payments"}}}),
    );
    secrets(state);
    for (namespace, name, image, replicas) in [
        ("default", "web", "nginx:1.29", 2),
        ("default", "api", "registry.example.com/shop/api:2.4.1", 2),
        (
            "payments",
            "checkout",
            "registry.example.com/payments/checkout:1.8.0",
            2,
        ),
        (
            "payments",
            "ledger",
            "registry.example.com/payments/ledger:3.1.2",
            1,
        ),
        (
            "kube-system",
            "coredns",
            "registry.k8s.io/coredns/coredns:v1.12.0",
            2,
        ),
    ] {
        application(state, namespace, name, image, replicas);
    }
    add(state, toolbox());
    for (namespace, name, data) in [
        (
            "default",
            "web-config",
            json!({"nginx.conf": "server { listen 8080; }\n", "LOG_LEVEL": "info"}),
        ),
        (
            "payments",
            "checkout-config",
            json!({"currency": "EUR", "retries": "3"}),
        ),
    ] {
        add(
            state,
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "namespace": namespace}, "data": data}),
        );
    }
    add(
        state,
        json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "deployer", "namespace": "payments"}}),
    );
}

fn secrets(state: &State) {
    add(
        state,
        secret(
            "default",
            "db",
            &json!({"username": "shop", "password": "correct-horse-battery"}),
        ),
    );
    add(
        state,
        secret(
            "default",
            "api-keys",
            &json!({"stripe": "sk-demo-4242-not-a-real-key", "maps": "maps-demo-key-7"}),
        ),
    );
    add(
        state,
        secret(
            "payments",
            "ledger-db",
            &json!({"username": "ledger", "password": "tr0ub4dor-and-3", "dsn": "postgres://ledger:tr0ub4dor-and-3@db.payments:5432/ledger"}),
        ),
    );
    let mut tls = secret(
        "payments",
        "checkout-tls",
        &json!({"tls.crt": "-----BEGIN CERTIFICATE-----\nZGVtbw==\n-----END CERTIFICATE-----\n", "tls.key": "-----BEGIN PRIVATE KEY-----\nZGVtbw==\n-----END PRIVATE KEY-----\n"}),
    );
    set(&mut tls, &["type"], json!("kubernetes.io/tls"));
    add(state, tls);
    // A Secret made with `kubectl apply`: its value stands in an annotation, too.
    let plain = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"annotations": {}, "name": "applied", "namespace": "default"}, "stringData": {"token": "applied-token-from-stringdata"}, "type": "Opaque"});
    let mut applied = secret(
        "default",
        "applied",
        &json!({"token": "applied-token-from-stringdata"}),
    );
    set(
        &mut applied,
        &["metadata", "annotations"],
        json!({"kubectl.kubernetes.io/last-applied-configuration": format!("{plain}\n")}),
    );
    add(state, applied);
}

fn secret(namespace: &str, name: &str, values: &Value) -> Value {
    json!({
        "kind": "Secret", "apiVersion": "v1", "metadata": {"name": name, "namespace": namespace},
        "stringData": values, "type": "Opaque",
    })
}

fn application(state: &State, namespace: &str, name: &str, image: &str, replicas: u32) {
    let labels = json!({"app": name});
    add(
        state,
        json!({
            "kind": "Deployment", "apiVersion": "apps/v1",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{
                        "name": name, "image": image,
                        "ports": [{"containerPort": 8080, "name": "http"}],
                        "env": [{"name": "LOG_LEVEL", "value": "info"}],
                    }]},
                },
            },
        }),
    );
    add(
        state,
        json!({
            "kind": "Service", "apiVersion": "v1",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        }),
    );
}

/// A pod with a fixed name to `exec` into, with a password in its environment.
fn toolbox() -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": "toolbox", "namespace": "default", "labels": {"app": "toolbox"}},
        "spec": {
            "nodeName": NODE,
            "containers": [{
                "name": "main", "image": "busybox:1.37", "command": ["sleep", "infinity"],
                "env": [{"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}],
            }],
        },
    })
}

fn node() -> Value {
    json!({
        "kind": "Node", "apiVersion": "v1",
        "metadata": {
            "name": NODE,
            "labels": {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux", "node-role.kubernetes.io/control-plane": ""},
        },
        "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
        "status": {
            "capacity": {"cpu": "8", "memory": "16Gi", "pods": "110"},
            "allocatable": {"cpu": "8", "memory": "16Gi", "pods": "110"},
            "conditions": [
                {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory", "message": "kubelet has sufficient memory available"},
                {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"},
            ],
            "addresses": [{"type": "InternalIP", "address": "192.168.49.2"}, {"type": "Hostname", "address": NODE}],
            "nodeInfo": {
                "machineID": "simulated", "systemUUID": "simulated", "bootID": "simulated", "kernelVersion": "6.12.0",
                "osImage": "Simulated Linux", "containerRuntimeVersion": "containerd://2.1.0", "kubeletVersion": "v1.36.2",
                "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64",
            },
        },
    })
}

fn add(state: &State, object: Value) {
    if let Err(error) = put(state, object) {
        tracing::error!(%error, "the seed is wrong");
    }
}
