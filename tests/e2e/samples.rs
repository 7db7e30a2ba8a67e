//! Samples for every ready condition, in every encoding and every kind of patch that can carry them.
//!
//! Each condition has a caller of its own, whom one rule denies what it holds for. The samples come twice: risky, which
//! has to be refused in the condition's words, and ordinary, which has to pass. Protobuf is written by the field table
//! of the simulated API server, which is another than the gateway's.

#![expect(clippy::too_many_lines, reason = "tables are as long as their rows")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use loadtest::apiserver::answer;
use portcullis::policy::condition::library::READY;
use serde_json::{Value, json};

use crate::support::process::Process;
use crate::support::world::{Options, Workshop, World};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

const PODS: &str = "/api/v1/namespaces/default/pods";
const RBAC: &str = "rbac.authorization.k8s.io";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// One request of one condition's caller.
struct Sample {
    condition: &'static str,
    /// Whether the condition holds for it.
    risky: bool,
    method: &'static str,
    target: String,
    content_type: &'static str,
    body: Vec<u8>,
}

/// An object that is ordinary until it is changed: where it lives, and what it is.
#[derive(Clone)]
struct Ordinary {
    collection: &'static str,
    object: Value,
}

impl Ordinary {
    fn new(collection: &'static str, api_version: &str, kind: &str, fields: &Value) -> Self {
        let mut object =
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "there"}});
        if collection.contains("/namespaces/default/") {
            object["metadata"]["namespace"] = json!("default");
        }
        merge(&mut object, fields);
        Self { collection, object }
    }

    fn there(&self) -> String {
        format!("{}/there", self.collection)
    }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(entries) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in entries {
        merge(&mut target[key], value);
    }
}

/// Collects samples.
#[derive(Default)]
struct Samples(Vec<Sample>);

impl Samples {
    fn add(
        &mut self,
        (condition, risky): (&'static str, bool),
        (method, target): (&'static str, String),
        (content_type, body): (&'static str, Vec<u8>),
    ) {
        self.0.push(Sample {
            condition,
            risky,
            method,
            target,
            content_type,
            body,
        });
    }

    /// The object with the change: made, written over, patched and applied, in whatever that can be said.
    fn written(&mut self, condition: &'static str, of: &Ordinary, change: &Value) {
        let harmless = json!({"metadata": {"labels": {"stage": "one"}}});
        for (risky, change) in [(true, change), (false, &harmless)] {
            let asks = (condition, risky);
            let mut object = of.object.clone();
            merge(&mut object, change);
            let mut new = object.clone();
            new["metadata"]["name"] = json!("new");
            for (method, target, object) in [
                ("POST", of.collection.to_owned(), &new),
                ("PUT", of.there(), &object),
            ] {
                for body in whole(object) {
                    self.add(asks, (method, target.clone()), body);
                }
            }
            self.patched(asks, &of.there(), (&object, change));
            for (target, object) in [
                (of.there(), &object),
                (format!("{}/new", of.collection), &new),
            ] {
                let target = format!("{target}?fieldManager=samples&force=true");
                self.add(asks, ("PATCH", target), (APPLY, bytes(object)));
            }
        }
    }

    /// What makes `object` of what is there.
    fn patched(
        &mut self,
        asks: (&'static str, bool),
        target: &str,
        (object, change): (&Value, &Value),
    ) {
        let keys = change.as_object().unwrap().keys();
        let operations: Vec<Value> = keys
            .map(|key| json!({"op": "add", "path": format!("/{key}"), "value": object[key]}))
            .collect();
        for (content_type, body) in [
            (MERGE, change.clone()),
            (STRATEGIC, change.clone()),
            (JSON_PATCH, Value::Array(operations)),
        ] {
            self.add(
                asks,
                ("PATCH", target.to_owned()),
                (content_type, bytes(&body)),
            );
        }
    }

    /// Whatever is written there and in whatever form.
    fn any_write(&mut self, condition: &'static str, collection: &str, one: &str) {
        let asks = (condition, true);
        for content_type in [JSON, YAML, PROTOBUF] {
            self.add(
                asks,
                ("POST", collection.to_owned()),
                (content_type, b"{}".to_vec()),
            );
            self.add(
                asks,
                ("PUT", one.to_owned()),
                (content_type, b"{}".to_vec()),
            );
        }
        for content_type in [MERGE, STRATEGIC, JSON_PATCH, APPLY] {
            self.add(
                asks,
                ("PATCH", one.to_owned()),
                (content_type, b"{}".to_vec()),
            );
        }
        self.add(asks, ("DELETE", one.to_owned()), (JSON, Vec::new()));
        self.add(
            (condition, false),
            ("GET", collection.to_owned()),
            (JSON, Vec::new()),
        );
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// A whole object in every encoding; in YAML with the words that only YAML 1.1 takes for true.
fn whole(object: &Value) -> [(&'static str, Vec<u8>); 3] {
    let yaml = serde_saphyr::to_string(object).unwrap();
    [
        (JSON, bytes(object)),
        (YAML, yaml.replace(": true", ": yes").into_bytes()),
        (PROTOBUF, answer::written(object).unwrap()),
    ]
}

/// Changes of a pod's spec, and of one container of it.
fn of_pods() -> Vec<(&'static str, Value)> {
    let container = |list: &str, rest: Value| {
        let mut containers = json!([{"name": "app", "image": "registry.example/app"}]);
        if list == "containers" {
            merge(&mut containers[0], &rest);
            return json!({"containers": containers});
        }
        let mut more = json!({"name": "more", "image": "registry.example/more"});
        merge(&mut more, &rest);
        json!({"containers": containers, list: [more]})
    };
    let context = |rest: Value| json!({"securityContext": rest});
    let volume = |rest: Value| {
        let mut volume = json!({"name": "more"});
        merge(&mut volume, &rest);
        json!({"volumes": [volume]})
    };
    vec![
        (
            "privileged",
            container("containers", context(json!({"privileged": true}))),
        ),
        (
            "privileged",
            container("initContainers", context(json!({"privileged": true}))),
        ),
        (
            "privileged",
            context(json!({"windowsOptions": {"hostProcess": true}})),
        ),
        ("host-namespaces", json!({"hostNetwork": true})),
        ("host-namespaces", json!({"hostPID": true})),
        ("host-namespaces", json!({"hostIPC": true})),
        ("host-path", volume(json!({"hostPath": {"path": "/"}}))),
        (
            "host-ports",
            container(
                "containers",
                json!({"ports": [{"containerPort": 80, "hostPort": 80}]}),
            ),
        ),
        (
            "host-ports",
            container(
                "initContainers",
                json!({"ports": [{"containerPort": 80, "hostPort": 80}]}),
            ),
        ),
        (
            "capabilities",
            container(
                "containers",
                context(json!({"capabilities": {"add": ["CHOWN", "SYS_ADMIN"]}})),
            ),
        ),
        (
            "capabilities",
            container(
                "initContainers",
                context(json!({"capabilities": {"add": ["ALL"]}})),
            ),
        ),
        (
            "unconfined",
            container("containers", context(json!({"procMount": "Unmasked"}))),
        ),
        (
            "unconfined",
            container(
                "initContainers",
                context(json!({"seccompProfile": {"type": "Unconfined"}})),
            ),
        ),
        (
            "unconfined",
            container(
                "containers",
                context(json!({"appArmorProfile": {"type": "Unconfined"}})),
            ),
        ),
        (
            "unconfined",
            context(json!({"seLinuxOptions": {"type": "spc_t"}})),
        ),
        (
            "unconfined",
            context(json!({"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "0"}]})),
        ),
        (
            "image-registry",
            container("containers", json!({"image": "evil.example/app"})),
        ),
        (
            "image-registry",
            container("initContainers", json!({"image": "nginx"})),
        ),
        (
            "image-registry",
            volume(json!({"image": {"reference": "evil.example/data"}})),
        ),
        ("secrets", volume(json!({"secret": {"secretName": "db"}}))),
        (
            "secrets",
            volume(json!({"projected": {"sources": [{"secret": {"name": "db"}}]}})),
        ),
        (
            "secrets",
            volume(json!({"csi": {"driver": "secrets-store.csi.k8s.io"}})),
        ),
        (
            "secrets",
            container(
                "containers",
                json!({"envFrom": [{"secretRef": {"name": "db"}}]}),
            ),
        ),
        (
            "secrets",
            container(
                "initContainers",
                json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]}),
            ),
        ),
        ("service-account", json!({"serviceAccountName": "deployer"})),
        ("service-account", json!({"serviceAccount": "deployer"})),
        (
            "service-account",
            volume(json!({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}})),
        ),
    ]
}

fn ordinary_spec() -> Value {
    json!({"containers": [{"name": "app", "image": "registry.example/app"}]})
}

fn pods(samples: &mut Samples, seeds: &mut Vec<Ordinary>) {
    let template = |spec: &Value| json!({"spec": {"template": {"spec": spec}}});
    let mut deployment = template(&ordinary_spec());
    merge(
        &mut deployment,
        &json!({"spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "there"}},
            "template": {"metadata": {"labels": {"app": "there"}}},
        }}),
    );
    let deployment = Ordinary::new(DEPLOYMENTS, "apps/v1", "Deployment", &deployment);
    let pod = Ordinary::new(PODS, "v1", "Pod", &json!({"spec": ordinary_spec()}));
    for (condition, spec) in of_pods() {
        samples.written(condition, &deployment, &template(&spec));
        let mut new = pod.object.clone();
        merge(
            &mut new,
            &json!({"metadata": {"name": "new"}, "spec": spec}),
        );
        for body in whole(&new) {
            samples.add((condition, true), ("POST", PODS.to_owned()), body);
        }
    }
    let annotated = json!({"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/app": "unconfined"}}});
    samples.written(
        "unconfined",
        &deployment,
        &json!({"spec": {"template": annotated}}),
    );
    // A strategic patch may say how it is to be merged.
    let strategic = json!({"spec": {"template": {"spec": {"containers": [
        {"$patch": "replace"}, {"name": "app", "image": "registry.example/app", "securityContext": {"privileged": true}},
    ]}}}});
    let ordered = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "app"}],
        "containers": [{"name": "app", "securityContext": {"privileged": true}}],
    }}}});
    for body in [strategic, ordered] {
        let target = ("PATCH", deployment.there());
        samples.add(("privileged", true), target, (STRATEGIC, bytes(&body)));
    }
    into_running_pods(samples, &pod);
    seeds.extend([deployment, pod]);
}

/// Containers that are added to a pod that runs.
fn into_running_pods(samples: &mut Samples, pod: &Ordinary) {
    let target = format!("{}/ephemeralcontainers", pod.there());
    let with = |rest: Value| {
        let mut container = json!({"name": "debug", "image": "registry.example/debug"});
        merge(&mut container, &rest);
        json!({"spec": {"ephemeralContainers": [container]}})
    };
    for (condition, rest) in [
        (
            "privileged",
            json!({"securityContext": {"privileged": true}}),
        ),
        (
            "capabilities",
            json!({"securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}}),
        ),
        (
            "unconfined",
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
        ),
        ("image-registry", json!({"image": "busybox"})),
        (
            "secrets",
            json!({"envFrom": [{"secretRef": {"name": "db"}}]}),
        ),
        (
            "host-ports",
            json!({"ports": [{"containerPort": 80, "hostPort": 80}]}),
        ),
    ] {
        for (risky, change) in [(true, with(rest)), (false, with(json!({})))] {
            let mut object = pod.object.clone();
            merge(&mut object, &change);
            for body in whole(&object) {
                samples.add((condition, risky), ("PUT", target.clone()), body);
            }
            samples.patched((condition, risky), &target, (&object, &change));
            let applied = format!("{target}?fieldManager=samples&force=true");
            samples.add(
                (condition, risky),
                ("PATCH", applied),
                (APPLY, bytes(&object)),
            );
        }
    }
    samples.any_write("ephemeral-containers", &target, &target);
}

fn the_rest(samples: &mut Samples, seeds: &mut Vec<Ordinary>) {
    let rules = |key: &str, value: &str| {
        let mut rule = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
        rule[key] = json!([value]);
        json!({"rules": [rule]})
    };
    let group = format!("{RBAC}/v1");
    let role = Ordinary::new(
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        &group,
        "ClusterRole",
        &rules("verbs", "list"),
    );
    for change in [
        rules("verbs", "escalate"),
        rules("verbs", "*"),
        rules("resources", "pods/exec"),
        rules("apiGroups", "*"),
        json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}),
    ] {
        samples.written("rbac-grants", &role, &change);
    }
    let binding = Ordinary::new(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
        &group,
        "RoleBinding",
        &json!({
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"},
            "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "bob"}],
        }),
    );
    for change in [
        json!({"roleRef": {"name": "cluster-admin"}}),
        json!({"subjects": [{"apiGroup": RBAC, "kind": "Group", "name": "system:authenticated"}]}),
    ] {
        samples.written("rbac-grants", &binding, &change);
    }
    let volume = Ordinary::new(
        "/api/v1/persistentvolumes",
        "v1",
        "PersistentVolume",
        &json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}}),
    );
    samples.written(
        "host-path",
        &volume,
        &json!({"spec": {"hostPath": {"path": "/"}}}),
    );
    samples.written(
        "host-path",
        &volume,
        &json!({"spec": {"local": {"path": "/mnt"}}}),
    );
    seeds.extend([role, binding, volume]);

    let webhooks = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for (condition, collection) in [
        ("crds", crds),
        ("namespaces", "/api/v1/namespaces"),
        ("persistent-volumes", "/api/v1/persistentvolumes"),
        (
            "persistent-volumes",
            "/api/v1/namespaces/default/persistentvolumeclaims",
        ),
        ("webhooks", webhooks),
    ] {
        samples.any_write(condition, collection, &format!("{collection}/some"));
    }
    let selected = format!("{PODS}?labelSelector=app%3Dnowhere");
    for (condition, risky, method, target) in [
        ("delete-collection", true, "DELETE", selected.as_str()),
        ("delete-collection", true, "DELETE", PODS),
        ("delete-collection", false, "GET", PODS),
        ("delete-everything", true, "DELETE", PODS),
        ("delete-everything", false, "DELETE", selected.as_str()),
        (
            "system-session",
            true,
            "POST",
            "/api/v1/namespaces/kube-system/pods/x/exec?command=sh",
        ),
        (
            "system-session",
            true,
            "GET",
            "/api/v1/namespaces/kube-public/pods/x/attach",
        ),
        (
            "system-session",
            true,
            "POST",
            "/api/v1/nodes/n/proxy/run/default/web/app?cmd=sh",
        ),
        (
            "system-session",
            false,
            "GET",
            "/api/v1/namespaces/kube-system/pods",
        ),
    ] {
        samples.add(
            (condition, risky),
            (method, target.to_owned()),
            (JSON, Vec::new()),
        );
    }
}

fn world() -> World {
    let mut policy =
        "apiVersion: portcullis.dev/v1alpha1\nkind: Policy\nmetadata: {name: samples}\nrules:\n"
            .to_owned();
    for ready in READY {
        let parameters = match ready.name {
            "image-registry" => ", params: {registries: [registry.example/]}",
            _ => "",
        };
        writeln!(
            policy,
            "- {{name: no-{0}, subjects: {{groups: [{0}]}}, when: [{{name: {0}{parameters}}}], decision: deny}}",
            ready.name
        )
        .unwrap();
    }
    policy.push_str(
        "- {name: all, verbs: ['*'], apiGroups: ['*'], resources: ['*'], decision: allow}\n",
    );
    let options = Options {
        policy: Some(policy),
        ..Options::default()
    };
    World::start_with(Arc::new(Workshop::new()), &options)
}

/// Sends all of them, ordinary ones as dry runs; code and body of each answer. Over HTTP/1.1: curl takes an HTTP/2 answer
/// that comes before all of the body has left for an error.
fn send(world: &World, samples: &[Sample]) -> Vec<(u16, String)> {
    let tokens: HashMap<&str, String> = READY
        .iter()
        .map(|ready| {
            let claims = json!({"sub": ready.name, "groups": [ready.name]});
            (ready.name, world.issuer.issue(claims).unwrap())
        })
        .collect();
    let mut config = String::new();
    for (number, sample) in samples.iter().enumerate() {
        let body = world.path(&format!("samples/{number}"));
        std::fs::create_dir_all(body.parent().unwrap()).unwrap();
        std::fs::write(&body, &sample.body).unwrap();
        // curl makes none for an answer without a body.
        world.write(&format!("samples/{number}.answer"), "");
        let dry = match (
            sample.risky || sample.method == "GET",
            sample.target.contains('?'),
        ) {
            (true, _) => "",
            (false, false) => "?dryRun=All",
            (false, true) => "&dryRun=All",
        };
        let body = if sample.body.is_empty() {
            String::new()
        } else {
            format!(
                "data-binary = \"@{}\"\nheader = \"Content-Type: {}\"\n",
                body.display(),
                sample.content_type
            )
        };
        write!(
            config,
            "{}url = \"{}{}{dry}\"\nrequest = \"{}\"\nheader = \"Authorization: Bearer {}\"\n{body}\
             cacert = \"{}\"\nmax-time = 20\noutput = \"{}\"\nwrite-out = \"%{{http_code}}\\n\"\nsilent\nshow-error\nhttp1.1\n",
            if number == 0 { "" } else { "next\n" },
            world.url(),
            sample.target,
            sample.method,
            tokens[sample.condition],
            world.path("ca.crt").display(),
            world.path(&format!("samples/{number}.answer")).display(),
        )
        .unwrap();
    }
    let config = world.write("samples/curl", &config);
    let outcome = Process::new(world.runtime(), "curl")
        .args(["-sS".as_ref(), "--config".as_ref(), config.as_os_str()])
        .run();
    outcome.expect_code(0);
    assert!(outcome.stderr.is_empty(), "{outcome}");
    let codes = outcome.stdout.lines().map(|code| code.parse().unwrap());
    codes
        .enumerate()
        .map(|(number, code)| (code, world.read(&format!("samples/{number}.answer"))))
        .collect()
}

#[test]
fn every_ready_condition_sees_whatever_it_is_written_in() {
    let world = world();
    let (mut samples, mut seeds) = (Samples::default(), Vec::new());
    pods(&mut samples, &mut seeds);
    the_rest(&mut samples, &mut seeds);
    for seed in seeds {
        world.api_server.put(seed.object).unwrap();
    }
    let Samples(samples) = samples;
    for ready in READY {
        for risky in [true, false] {
            let mut of = samples
                .iter()
                .filter(|sample| sample.condition == ready.name);
            assert!(
                of.any(|sample| sample.risky == risky),
                "{} has no sample",
                ready.name
            );
        }
    }
    world.api_server.take_requests();
    let answers = send(&world, &samples);
    assert_eq!(answers.len(), samples.len());
    let mut wrong = Vec::new();
    for (sample, (code, body)) in samples.iter().zip(answers) {
        let denied = format!("policy rule samples/no-{}", sample.condition);
        let right = if sample.risky {
            code == 403 && body.contains(&denied)
        } else {
            // The simulated cluster has no webhooks.
            code < 300 || code == 404 && sample.condition == "webhooks"
        };
        if !right {
            let said = String::from_utf8_lossy(&sample.body).into_owned();
            wrong.push(format!(
                "{}{} {} {} {said}\n  {code} {body}",
                if sample.risky { "risky " } else { "ordinary " },
                sample.condition,
                sample.method,
                sample.target
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        samples.len(),
        wrong.join("\n")
    );
    // Of what is risky, the API server was asked what would become of it, and nothing else.
    for seen in world.api_server.requests() {
        let dry = seen.uri.query().unwrap_or_default().contains("dryRun=All");
        assert!(seen.method == "GET" || dry, "{} {}", seen.method, seen.uri);
    }
}
