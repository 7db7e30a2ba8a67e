//! What a rule with conditions sees of a write: by create, apply and patch, from stock clients.

use std::sync::Arc;

use serde_json::Value;

use crate::support::process::{Outcome, Process};
use crate::support::world::{Caller, KUBECTLS, Kubectl, Options, POLICY, Workshop, World};

/// The usual rules, and before them what developers may not make.
fn world() -> World {
    let rules = r"rules:
- name: no-risky-pods
  subjects: {groups: [developers]}
  verbs: [create, update, patch]
  apiGroups: ['', apps, batch]
  resources: [pods, pods/ephemeralcontainers, deployments, cronjobs]
  when:
  - anyOf: [{name: privileged}, {name: host-namespaces}, {name: host-path}]
  decision: deny
  message: ask on-call
- name: few-replicas
  subjects: {groups: [developers]}
  verbs: [update, patch]
  apiGroups: [apps]
  resources: [deployments]
  when:
  - {name: doubled, expression: 'oldObject != null && object.spec.replicas > oldObject.spec.replicas * 2'}
  decision: deny
- name: nobody-deletes-everything
  verbs: [deletecollection]
  when: [{name: delete-everything}]
  decision: deny
";
    let policy = POLICY.replacen("rules:\n", rules, 1);
    let options = Options {
        policy: Some(policy),
        ..Options::default()
    };
    World::start_with(Arc::new(Workshop::new()), &options)
}

fn deployment(name: &str, pod: &str) -> String {
    format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}, namespace: default}}, spec: {{replicas: 1, \
         selector: {{matchLabels: {{app: {name}}}}}, template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{{pod}}}}}}}}}\n"
    )
}

fn pod(name: &str, pod: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: default}}, spec: {{{pod}}}}}\n"
    )
}

const ORDINARY: &str = "containers: [{name: app, image: nginx}]";
const PRIVILEGED: &str =
    "containers: [{name: app, image: nginx, securityContext: {privileged: true}}]";
const HOST_PATH: &str =
    "containers: [{name: app, image: nginx}], volumes: [{name: root, hostPath: {path: /}}]";

/// Whether the API server has the pod.
fn exists(world: &World, pod: &str) -> bool {
    let get = ["get", "pod", pod, "--ignore-not-found", "-o", "name"];
    !world.admin(&get).stdout.trim().is_empty()
}

struct Shell<'w> {
    world: &'w World,
    version: Kubectl,
}

impl Shell<'_> {
    fn run(&self, args: &[&str]) -> Outcome {
        self.world.run(self.version, Caller::Developer, args)
    }

    fn file(&self, text: &str) -> String {
        self.world
            // Flow style as YAML: what begins with a brace, kubectl takes for JSON.
            .write("manifest.yaml", &format!("---\n{text}"))
            .display()
            .to_string()
    }

    #[track_caller]
    fn refused(&self, risk: &str, args: &[&str]) {
        let outcome = self.run(args);
        assert_ne!(outcome.code, 0, "{args:?} passes: {outcome}");
        outcome.expect_error("denied by policy rule end-to-end/no-risky-pods: ask on-call");
        outcome.expect_error(risk);
    }
}

#[test]
fn a_privileged_pod_is_refused_however_it_is_made() {
    let world = world();
    for version in KUBECTLS {
        let shell = Shell {
            world: &world,
            version,
        };
        let name = format!("made-by-{}", version.name().replace('.', "-"));
        let file = shell.file(&pod(&name, PRIVILEGED));
        shell.refused("privileged", &["create", "-f", &file]);
        shell.refused("privileged", &["apply", "-f", &file]);
        shell.refused("privileged", &["apply", "--server-side", "-f", &file]);
        shell.refused("privileged", &["create", "--dry-run=server", "-f", &file]);
        let overrides = r#"{"spec":{"hostPID":true}}"#;
        let overriding = ["run", &name, "--image=nginx", "--overrides", overrides];
        shell.refused("host-namespaces", &overriding);
        shell.refused(
            "privileged",
            &["run", &name, "--image=nginx", "--privileged"],
        );

        // In protobuf, which `create -f` never sends; the 1.20 writes JSON.
        let node = world.admin(&["get", "nodes", "-o", "name"]).stdout;
        let on_node = ["debug", node.trim(), "--image=nginx"];
        shell.refused("host-namespaces", &on_node);
        if version == Kubectl::Current {
            let sysadmin = ["--profile=sysadmin", "--image=nginx"];
            shell.refused(
                "privileged",
                &[&["debug", node.trim()], &sysadmin[..]].concat(),
            );
            // A patch of the pod's ephemeral containers.
            let pod = world.pod();
            let into_pod = [&["debug", &pod], &sysadmin[..]].concat();
            shell.refused("privileged", &into_pod);
        }

        let file = shell.file(&deployment(&name, HOST_PATH));
        shell.refused("host-path", &["apply", "-f", &file]);
        let file = shell.file(&deployment(&name, ORDINARY));
        shell.run(&["apply", "-f", &file]).expect_code(0);
        let strategic = r#"{"spec":{"template":{"spec":{"containers":[{"name":"app","securityContext":{"privileged":true}}]}}}}"#;
        let merge = r#"{"spec":{"template":{"spec":{"hostNetwork":true}}}}"#;
        let json = r#"[{"op":"add","path":"/spec/template/spec/containers/0/securityContext","value":{"privileged":true}}]"#;
        let target = format!("deployment/{name}");
        shell.refused(
            "privileged",
            &["patch", &target, "--type=strategic", "-p", strategic],
        );
        shell.refused(
            "host-namespaces",
            &["patch", &target, "--type=merge", "-p", merge],
        );
        shell.refused("privileged", &["patch", &target, "--type=json", "-p", json]);
        let file = shell.file(&deployment(&name, PRIVILEGED));
        shell.refused("privileged", &["apply", "-f", &file]);
        shell.refused(
            "privileged",
            &["apply", "--server-side", "--force-conflicts", "-f", &file],
        );
        shell.refused("privileged", &["replace", "-f", &file]);

        // Nothing of all that has happened.
        let stored = world.admin(&["get", &target, "-o", "json"]).stdout;
        let stored: Value = serde_json::from_str(&stored).unwrap();
        let spec = &stored["spec"]["template"]["spec"];
        assert_eq!(
            spec["containers"][0]["securityContext"],
            Value::Null,
            "{spec}"
        );
        assert_eq!(spec["hostNetwork"], Value::Null, "{spec}");
        assert!(!exists(&world, &name));
    }
}

#[test]
fn what_is_ordinary_passes_as_ever() {
    let world = world();
    for version in KUBECTLS {
        let shell = Shell {
            world: &world,
            version,
        };
        let name = format!("kept-by-{}", version.name().replace('.', "-"));
        let target = format!("deployment/{name}");
        let file = shell.file(&deployment(&name, ORDINARY));
        shell.run(&["apply", "-f", &file]).expect_code(0);
        shell
            .run(&["set", "image", &target, "app=nginx:2"])
            .expect_code(0);
        shell.run(&["label", &target, "stage=one"]).expect_code(0);
        shell
            .run(&["annotate", &target, "note=kept"])
            .expect_code(0);
        let file = shell.file(&deployment(
            &name,
            "containers: [{name: app, image: 'nginx:3'}]",
        ));
        shell.run(&["apply", "-f", &file]).expect_code(0);
        shell
            .run(&["scale", &target, "--replicas=2"])
            .expect_code(0);
        // A rule about what is there before: doubling passes, more does not.
        let four = r#"{"spec":{"replicas":4}}"#;
        shell
            .run(&["patch", &target, "--type=merge", "-p", four])
            .expect_code(0);
        let many = r#"{"spec":{"replicas":40}}"#;
        shell
            .run(&["patch", &target, "--type=merge", "-p", many])
            .expect_error("policy rule end-to-end/few-replicas denies");
        let stored = world.admin(&["get", &target, "-o", "json"]).stdout;
        let stored: Value = serde_json::from_str(&stored).unwrap();
        assert_eq!(stored["spec"]["replicas"], 4);
        assert_eq!(
            stored["spec"]["template"]["spec"]["containers"][0]["image"],
            "nginx:3"
        );
        // What the API server refuses anyway, it refuses in its own words.
        shell
            .run(&["patch", "deployment/nowhere", "--type=merge", "-p", four])
            .expect_error("not found");
        let file = shell.file(&pod(&name, ORDINARY));
        shell.run(&["create", "-f", &file]).expect_code(0);
        shell
            .run(&["delete", "pod", &name, "--wait=false"])
            .expect_code(0);
        shell.run(&["delete", &target]).expect_code(0);
    }
}

#[test]
fn bodies_that_could_be_read_in_two_ways_are_refused() {
    let world = world();
    let post = |content_type: &str, body: &str| {
        let authorization = format!("Authorization: Bearer {}", world.token(Caller::Developer));
        let url = format!("{}/api/v1/namespaces/default/pods", world.url());
        Process::new(world.runtime(), "curl")
            .args(["-sS", "-k", "--max-time", "20", "-H", &authorization, "-H"])
            .args([
                &format!("Content-Type: {content_type}"),
                "--data-binary",
                body,
                &url,
            ])
            .run()
    };
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"containers":[{"name":"a","image":"b"}]},"spec":{"hostPID":true}}"#;
    post("application/json", pod).expect("has the same key twice");
    // `yes` is true to the API server; only it can tell.
    let yaml = "{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {hostPID: yes, containers: [{name: a, image: b}]}}";
    post("application/yaml", yaml).expect("host-namespaces");
    let hidden = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"h\u006fstPID":true,"containers":[{"name":"a","image":"b"}]}}"#;
    post("application/json; charset=utf-8", hidden).expect("host-namespaces");
    post("", hidden).expect("host-namespaces");
    post("text/plain", hidden).expect("UnsupportedMediaType");
    assert!(!exists(&world, "x"));
}
