//! What the upstream sends, rendered once: objects as the API server writes them, in the sizes that were seen in
//! clusters, with a place for a time stamp and, in all that scenarios mask (Secrets, Pods, lines), values that must never
//! leave a masking gateway.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

/// Stands before every stamp.
pub const STAMP: &[u8] = b"due=";
/// Digits of a stamp: nanoseconds of [`super::super::clock::now`].
pub const STAMP_DIGITS: usize = 20;
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
const NO_STAMP: &str = "due=00000000000000000000";

/// What can be asked for.
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
    /// A line of a log, 185 bytes.
    Line,
}

/// One rendered text and where its stamp is.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Bytes,
    stamp_at: Option<usize>,
}

impl Template {
    fn new(text: String) -> Self {
        let stamp_at = text.find(NO_STAMP).map(|at| at + STAMP.len());
        Self {
            bytes: text.into(),
            stamp_at,
        }
    }

    /// The text with its stamp at zero.
    pub fn plain(&self) -> &Bytes {
        &self.bytes
    }

    /// A copy that says `due`.
    pub fn stamped(&self, due: u64) -> Bytes {
        let mut copy = self.bytes.to_vec();
        let digits = format!("{due:0STAMP_DIGITS$}");
        let place = self
            .stamp_at
            .and_then(|at| copy.get_mut(at..at + STAMP_DIGITS));
        if let Some(place) = place {
            place.copy_from_slice(digits.as_bytes());
        }
        copy.into()
    }
}

/// All texts of a kind.
#[derive(Debug)]
pub struct Templates {
    /// Watch events with their newline, or log lines.
    pub events: Vec<Template>,
    /// Items of a list: objects without `kind` and `apiVersion`.
    pub items: Vec<Template>,
    /// The objects by themselves.
    pub objects: Vec<Template>,
    /// `kind` of a list of them.
    pub list_kind: &'static str,
}

impl Templates {
    /// Renders the texts of a kind.
    pub fn new(kind: Kind) -> Self {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let (name, list_kind) = match kind {
            Kind::Pod | Kind::DistinctPod => ("Pod", "PodList"),
            Kind::Secret => ("Secret", "SecretList"),
            Kind::Event => ("Event", "EventList"),
            Kind::ConfigMap | Kind::Line => ("ConfigMap", "ConfigMapList"),
        };
        let bodies: Vec<Value> = (0..VARIETY)
            .map(|number| match kind {
                Kind::Pod => pod(number, &mut dice),
                Kind::DistinctPod => distinct(&pod(number, &mut dice), &mut dice),
                Kind::Secret => secret(number, &mut dice),
                Kind::Event => event(number, &mut dice),
                Kind::ConfigMap | Kind::Line => config_map(number, &mut dice),
            })
            .collect();
        let object = |body: &Value| {
            let mut whole = json!({"kind": name, "apiVersion": "v1"});
            if let (Some(whole), Some(body)) = (whole.as_object_mut(), body.as_object()) {
                whole.extend(body.clone());
            }
            whole
        };
        let events = if kind == Kind::Line {
            (0..VARIETY)
                .map(|number| Template::new(line(number, &mut dice)))
                .collect()
        } else {
            bodies
                .iter()
                .map(|body| {
                    let event = json!({"type": "MODIFIED", "object": object(body)});
                    Template::new(format!("{event}\n"))
                })
                .collect()
        };
        Self {
            events,
            items: bodies
                .iter()
                .map(|body| Template::new(body.to_string()))
                .collect(),
            objects: bodies
                .iter()
                .map(|body| Template::new(format!("{}\n", object(body))))
                .collect(),
            list_kind,
        }
    }
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
const COMMON_WORDS: [&str; 16] = [
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
    "2026-11-20T08",
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

    fn mean(templates: &[Template]) -> usize {
        templates.iter().map(|one| one.plain().len()).sum::<usize>() / templates.len()
    }

    #[test]
    fn sizes_are_those_of_clusters() {
        let pods = Templates::new(Kind::Pod);
        assert!(
            (9_500..11_000).contains(&mean(&pods.events)),
            "{}",
            mean(&pods.events)
        );
        let others = Templates::new(Kind::DistinctPod);
        assert_eq!(mean(&others.items), mean(&pods.items));
        for word in COMMON_WORDS {
            let has = |it: &Template| memchr::memmem::find(it.plain(), word.as_bytes()).is_some();
            assert!(pods.items.iter().all(has), "{word}");
            assert!(!others.items.iter().any(has), "{word}");
        }
        let secrets = Templates::new(Kind::Secret);
        assert!(
            (4_000..5_000).contains(&mean(&secrets.events)),
            "{}",
            mean(&secrets.events)
        );
        let events = Templates::new(Kind::Event).events;
        let sizes: Vec<usize> = events.iter().map(|one| one.plain().len()).collect();
        assert!(
            sizes.iter().all(|size| (250..=3_400).contains(size)),
            "{sizes:?}"
        );
        assert!(
            Templates::new(Kind::Line)
                .events
                .iter()
                .all(|one| one.plain().len() == LINE_BYTES)
        );
        let maps = Templates::new(Kind::ConfigMap).objects;
        assert!((1_800..2_200).contains(&mean(&maps)), "{}", mean(&maps));
    }

    #[test]
    fn stamps_are_written_where_they_are_found() {
        for kind in [
            Kind::Pod,
            Kind::DistinctPod,
            Kind::Secret,
            Kind::Event,
            Kind::ConfigMap,
            Kind::Line,
        ] {
            let all = Templates::new(kind);
            for template in all.events.iter().chain(&all.items) {
                let text = template.stamped(1_234_567);
                assert_eq!(text.len(), template.plain().len());
                let found = memchr::memmem::find(&text, b"due=00000000000001234567");
                assert!(found.is_some(), "{}", String::from_utf8_lossy(&text));
            }
        }
    }

    #[test]
    fn whatever_is_masked_holds_canaries() {
        let has =
            |template: &Template, canary| memchr::memmem::find(template.plain(), canary).is_some();
        let secrets = Templates::new(Kind::Secret).items;
        assert!(secrets.iter().all(|it| has(it, CANARY_BASE64)));
        for kind in [Kind::Pod, Kind::DistinctPod] {
            let pods = Templates::new(kind).events;
            assert!(pods.iter().all(|it| has(it, CANARY)));
        }
        let lines = Templates::new(Kind::Line).events;
        assert_eq!(lines.iter().filter(|it| has(it, CANARY)).count(), 10);
    }
}
