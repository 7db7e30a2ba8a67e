//! Objects and log lines as clusters have them, in the sizes that were seen there: the same in every run, with a place for a
//! time stamp and, in all that scenarios mask (Secrets, Pods, lines), values that must never leave a masking gateway.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Stands before every stamp.
pub const STAMP: &[u8] = b"due=";
/// Digits of a stamp: nanoseconds of [`super::super::clock::now`].
pub const STAMP_DIGITS: usize = 20;
/// A stamp that was not set.
pub const NO_STAMP: &str = "due=00000000000000000000";
/// Secret values begin with this.
pub const CANARY: &[u8] = b"canary";
/// The same in base64, since values begin where an alignment does.
pub const CANARY_BASE64: &[u8] = b"Y2FuYXJ5";

/// Where all objects are.
pub const NAMESPACE: &str = "default";

/// As many of a kind as there are before they repeat: about a megabyte of Pods.
const VARIETY: usize = 100;
/// A log line with its newline.
const LINE_BYTES: usize = 185;
/// Where the numbers begin.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// What can be asked for, besides log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// About 10 KB each, managed fields and all, as of one workload: most of what they say is the same.
    Pod,
    /// The same, each with names and values of its own.
    DistinctPod,
    /// 4.5 KB on average, half of them under 1.5 KB, one in a hundred 60 KB.
    Secret,
    /// 300 to 3,400 bytes.
    Event,
    /// 2 KB.
    ConfigMap,
}

impl Kind {
    /// As objects say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pod | Self::DistinctPod => "Pod",
            Self::Secret => "Secret",
            Self::Event => "Event",
            Self::ConfigMap => "ConfigMap",
        }
    }

    /// All objects of this kind, without `kind` and `apiVersion`, as they stand in lists.
    pub fn objects(self) -> Vec<Value> {
        let mut dice = Dice(SEED);
        let one = |number| match self {
            Self::Pod => pod(number, &mut dice),
            Self::DistinctPod => distinct(&pod(number, &mut dice), &mut dice),
            Self::Secret => secret(number, &mut dice),
            Self::Event => event(number, &mut dice),
            Self::ConfigMap => config_map(number, &mut dice),
        };
        (0..VARIETY).map(one).collect()
    }
}

/// Lines of a log, 185 bytes each with their newline.
pub fn lines() -> Vec<String> {
    let mut dice = Dice(SEED);
    (0..VARIETY).map(|number| line(number, &mut dice)).collect()
}

/// Numbers that are the same in every run (xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(limit.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    fn letters(&mut self, count: usize) -> String {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789 /.-";
        let one = |_| {
            LETTERS
                .get(self.below(LETTERS.len()))
                .map_or('x', |&letter| char::from(letter))
        };
        (0..count).map(one).collect()
    }

    /// Small letters and digits.
    fn word(&mut self, count: usize) -> String {
        let letters = self.letters(4 * count);
        let plain = letters.chars().filter(char::is_ascii_alphanumeric);
        plain.take(count).collect()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.roll().to_le_bytes()[2]).collect()
    }
}

fn metadata(name: &str, number: usize) -> Value {
    json!({
        "name": format!("{name}-{number}"),
        "namespace": NAMESPACE,
        "uid": format!("0d9c1a42-7d2f-4c0b-9a51-{number:012}"),
        "resourceVersion": (1_000_000 + number).to_string(),
        "creationTimestamp": "2026-11-20T08:00:00Z",
        "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": format!("{name}-{}", number % 7)},
        "annotations": {"loadtest/sent": NO_STAMP},
    })
}

fn with(mut metadata: Value, key: &str, value: Value) -> Value {
    if let Some(fields) = metadata.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
    metadata
}

/// Says that kubectl applied `manifest`.
fn applied(metadata: &mut Value, manifest: &Value) {
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.insert(annotation.to_owned(), manifest.to_string().into());
    }
}

/// The names of a container's variables.
fn variables(container: &str) -> impl Iterator<Item = String> {
    let container = container.to_uppercase();
    let kinds = [
        "OPTION_0", "OPTION_1", "OPTION_2", "OPTION_3", "OPTION_4", "PASSWORD",
    ];
    kinds.map(|kind| format!("{container}_{kind}")).into_iter()
}

/// A value that is secret by the name it bears.
fn password(number: usize) -> String {
    format!("{}-{number:010}", String::from_utf8_lossy(CANARY))
}

/// A Deployment's Pod: three containers, each with a password among its variables, volumes, conditions, and the managed
/// fields that are half of its size. One in four was applied by kubectl and has the passwords in an annotation too.
fn pod(number: usize, dice: &mut Dice) -> Value {
    let names = ["main", "proxy", "metrics"];
    let environment = |name: &str| -> Vec<Value> {
        let container = name.to_uppercase();
        let all = variables(name).enumerate().map(|(at, variable)| {
            let value = if variable.ends_with("_PASSWORD") {
                password(number)
            } else {
                format!("value {at} of {container} \"quoted\"")
            };
            json!({"name": variable, "value": value})
        });
        all.collect()
    };
    let containers: Vec<Value> = names
        .iter()
        .map(|name| {
            json!({
                "name": name,
                "image": format!("registry.example.com/team/{name}:v1.{}.{}", number % 9, number % 31),
                "args": ["--config=/etc/app/config.yaml", "--log-format=json", format!("--id={number}")],
                "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
                "env": environment(name),
                "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}, "requests": {"cpu": "50m", "memory": "64Mi"}},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/app", "readOnly": true}, {"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}],
                "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
            })
        })
        .collect();
    let states: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "state": {"running": {"startedAt": "2026-11-20T08:00:05Z"}}, "lastState": {}, "ready": true, "restartCount": number % 3, "image": format!("registry.example.com/team/{name}"), "imageID": format!("sha256:{}", dice.letters(60)), "containerID": format!("containerd://{}", dice.letters(60)), "started": true}))
        .collect();
    let conditions: Vec<Value> = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .iter()
        .map(|kind| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-11-20T08:00:05Z"}))
        .collect();
    let mut metadata = with(
        metadata("web", number),
        "managedFields",
        managed_fields(&names),
    );
    if number.is_multiple_of(4) {
        let environment = environment("main");
        applied(
            &mut metadata,
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("web-{number}")},
                "spec": {"containers": [{"name": "main", "env": environment}]}}),
        );
    }
    json!({
        "metadata": metadata,
        "spec": {
            "volumes": [{"name": "config", "configMap": {"name": "web", "defaultMode": 420}}, {"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}], "defaultMode": 420}}],
            "containers": containers, "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "web", "nodeName": format!("node-{}", number % 50), "schedulerName": "default-scheduler",
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        },
        "status": {"phase": "Running", "conditions": conditions, "hostIP": "10.0.0.1", "podIP": format!("10.1.{}.{}", number % 250, number % 31), "startTime": "2026-11-20T08:00:00Z", "containerStatuses": states, "qosClass": "Burstable"},
    })
}

/// What Pods of one workload have in common, besides their form.
const COMMON_WORDS: [&str; 15] = [
    "main",
    "proxy",
    "metrics",
    "MAIN",
    "PROXY",
    "METRICS",
    "OPTION",
    "value ",
    "etc/app",
    "healthz",
    "registry",
    "team",
    "kube-api-access",
    "500m",
    "256Mi",
];

/// The Pod of another workload.
fn distinct(pod: &Value, dice: &mut Dice) -> Value {
    let other = COMMON_WORDS.iter().fold(pod.to_string(), |text, word| {
        text.replace(word, &dice.word(word.len()))
    });
    other.parse().unwrap_or_default()
}

fn managed_fields(containers: &[&str]) -> Value {
    let leaf = || json!({});
    let mut fields = serde_json::Map::new();
    for name in containers {
        let environment: serde_json::Map<String, Value> = variables(name)
            .map(|variable| {
                (
                    format!("k:{{\"name\":\"{variable}\"}}"),
                    json!({".": {}, "f:name": {}, "f:value": {}}),
                )
            })
            .collect();
        fields.insert(
            format!("k:{{\"name\":\"{name}\"}}"),
            json!({".": {}, "f:args": leaf(), "f:env": environment, "f:image": leaf(), "f:imagePullPolicy": leaf(), "f:name": leaf(),
                "f:livenessProbe": {".": {}, "f:failureThreshold": {}, "f:httpGet": {".": {}, "f:path": {}, "f:port": {}, "f:scheme": {}}, "f:periodSeconds": {}, "f:successThreshold": {}, "f:timeoutSeconds": {}},
                "f:ports": {".": {}, "k:{\"containerPort\":8080,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:name": {}, "f:protocol": {}}},
                "f:resources": {".": {}, "f:limits": {".": {}, "f:cpu": {}, "f:memory": {}}, "f:requests": {".": {}, "f:cpu": {}, "f:memory": {}}},
                "f:terminationMessagePath": leaf(), "f:terminationMessagePolicy": leaf(),
                "f:volumeMounts": {".": {}, "k:{\"mountPath\":\"/etc/app\"}": {".": {}, "f:mountPath": {}, "f:name": {}, "f:readOnly": {}}}}),
        );
    }
    let conditions: serde_json::Map<String, Value> = ["Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .iter()
        .map(|kind| (format!("k:{{\"type\":\"{kind}\"}}"), json!({".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}})))
        .collect();
    json!([
        {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": "2026-11-20T08:00:00Z", "fieldsType": "FieldsV1",
         "fieldsV1": {"f:metadata": {"f:annotations": {".": {}, "f:loadtest/sent": {}}, "f:labels": {".": {}, "f:app.kubernetes.io/name": {}, "f:app.kubernetes.io/instance": {}}}, "f:spec": {"f:containers": fields, "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:serviceAccountName": {}, "f:terminationGracePeriodSeconds": {}}}},
        {"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": "2026-11-20T08:00:05Z", "fieldsType": "FieldsV1", "subresource": "status",
         "fieldsV1": {"f:status": {"f:conditions": conditions, "f:containerStatuses": {}, "f:hostIP": {}, "f:phase": {}, "f:podIP": {}, "f:startTime": {}}}},
    ])
}

/// One in four was applied by kubectl and has all its values in an annotation too.
fn secret(number: usize, dice: &mut Dice) -> Value {
    let bytes = match number {
        99 => 42_000,
        90..99 => 9_000 + dice.below(6_000),
        60..90 => 2_000 + dice.below(2_500),
        _ => 250 + dice.below(600),
    };
    let keys = ["username", "password", "tls.key", "config.yaml"];
    let mut data = serde_json::Map::new();
    for (key, share) in keys.iter().zip([20, 20, bytes / 3, bytes * 2 / 3]) {
        let value = [CANARY, &dice.bytes(share)].concat();
        data.insert((*key).to_owned(), STANDARD.encode(value).into());
    }
    let mut metadata = metadata("credentials", number);
    if number.is_multiple_of(4) && bytes < 1000 {
        let manifest = json!({"apiVersion": "v1", "data": data, "kind": "Secret", "metadata": {"name": format!("credentials-{number}")}});
        applied(&mut metadata, &manifest);
    }
    json!({"metadata": metadata, "data": data, "type": "Opaque"})
}

fn event(number: usize, dice: &mut Dice) -> Value {
    let message = dice.letters(20 + number * 28);
    json!({
        "metadata": {"name": format!("e-{number}"), "namespace": "default", "uid": format!("{number}"), "annotations": {"loadtest/sent": NO_STAMP}},
        "reason": "Pulled", "message": message, "count": 1, "type": "Normal",
    })
}

fn config_map(number: usize, dice: &mut Dice) -> Value {
    let settings: Vec<String> = (0..22)
        .map(|at| format!("option.{at} = {}", dice.letters(54)))
        .collect();
    json!({"metadata": metadata("settings", number), "data": {"app.properties": settings.join("\n")}})
}

/// One in ten tells a password.
fn line(number: usize, dice: &mut Dice) -> String {
    let told = match number % 10 {
        0 => format!("password={} ", password(number)),
        _ => String::new(),
    };
    let head = format!(
        "2026-11-20T08:00:{:02}Z INFO {NO_STAMP} request served path=/api/items/{number} {told}",
        number % 60
    );
    let rest = dice.letters(LINE_BYTES - 1 - head.len());
    format!("{head}{rest}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_other_workloads_have_no_words_in_common() {
        let texts = |kind: Kind| {
            kind.objects()
                .iter()
                .map(Value::to_string)
                .collect::<Vec<_>>()
        };
        let (pods, others) = (texts(Kind::Pod), texts(Kind::DistinctPod));
        for word in COMMON_WORDS {
            assert!(pods.iter().all(|it| it.contains(word)), "{word}");
            assert!(!others.iter().any(|it| it.contains(word)), "{word}");
        }
        let bytes = |all: &[String]| all.iter().map(String::len).sum::<usize>();
        assert_eq!(bytes(&pods), bytes(&others));
    }

    #[test]
    fn lines_have_one_length_and_one_in_ten_a_canary() {
        let lines = lines();
        assert!(lines.iter().all(|line| line.len() == LINE_BYTES));
        let canary = std::str::from_utf8(CANARY).unwrap();
        assert_eq!(
            lines.iter().filter(|line| line.contains(canary)).count(),
            10
        );
    }
}
