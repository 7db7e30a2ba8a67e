//! Writing: what kubectl stores arrives as it was meant, and a placeholder never comes back.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::matrix::definition;
use crate::support::process::Outcome;
use crate::support::world::{Caller, KUBECTLS, Kubectl, Options, POLICY, Workshop, World};

/// What the API server really holds.
#[track_caller]
fn stored(world: &World, name: &str) -> Value {
    serde_json::from_str(&world.admin(&["get", "secret", name, "-o", "json"]).stdout).unwrap()
}

#[track_caller]
fn assert_stored(world: &World, name: &str, key: &str, value: &str) {
    let secret = stored(world, name);
    let data = secret["data"][key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in secret {name}"));
    assert!(
        STANDARD.decode(data).unwrap() == value.as_bytes(),
        "secret {name} holds another {key}"
    );
}

/// A manifest as a person writes it.
fn manifest(world: &World, name: &str, value: &str, label: &str) -> String {
    let text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  labels: {{stage: {label}}}\nstringData:\n  password: {value}\n"
    );
    world.write("manifest.yaml", &text).display().to_string()
}

#[track_caller]
fn kubectl(world: &World, version: Kubectl, args: &[&str]) -> Outcome {
    let outcome = world.run(version, Caller::Developer, args);
    outcome.expect_code(0);
    outcome
}

#[test]
fn create_apply_patch_and_delete() {
    let world = World::start();
    for version in KUBECTLS {
        let name = format!("written-by-{}", version.name());
        let value = world.canaries.fresh();
        let literal = format!("--from-literal=password={value}");
        let shown = kubectl(
            &world,
            version,
            &["create", "secret", "generic", &name, &literal, "-o", "yaml"],
        );
        shown.expect("password: ");
        assert_stored(&world, &name, "password", &value);

        let shown = kubectl(
            &world,
            version,
            &["label", "secret", &name, "stage=one", "-o", "json"],
        );
        shown.expect("\"stage\": \"one\"");
        let new = world.canaries.fresh();
        let patch = format!(r#"{{"data":{{"password":"{}"}}}}"#, STANDARD.encode(&new));
        for kind in ["merge", "strategic"] {
            let shown = kubectl(
                &world,
                version,
                &[
                    "patch", "secret", &name, "--type", kind, "-p", &patch, "-o", "json",
                ],
            );
            shown.expect("\"password\": ");
        }
        assert_stored(&world, &name, "password", &new);
        kubectl(&world, version, &["annotate", "secret", &name, "note=kept"]).expect("annotated");
        assert_stored(&world, &name, "password", &new);
        kubectl(&world, version, &["delete", "secret", &name]).expect("deleted");
        world
            .run(version, Caller::Developer, &["get", "secret", &name])
            .expect_code(1)
            .expect_error("NotFound");
    }
}

#[test]
fn apply_again_and_again() {
    let world = World::start();
    for version in KUBECTLS {
        let name = format!("applied-by-{}", version.name());
        let first = world.canaries.fresh();
        let file = manifest(&world, &name, &first, "one");
        kubectl(&world, version, &["apply", "-f", &file, "-o", "yaml"])
            .expect("last-applied-configuration");
        assert_stored(&world, &name, "password", &first);
        let shown = kubectl(&world, version, &["get", "secret", &name, "-o", "json"]);
        shown.expect("last-applied-configuration");

        let second = world.canaries.fresh();
        let file = manifest(&world, &name, &second, "two");
        kubectl(&world, version, &["apply", "-f", &file]).expect("configured");
        assert_stored(&world, &name, "password", &second);
        assert_eq!(stored(&world, &name)["metadata"]["labels"]["stage"], "two");
        kubectl(&world, version, &["delete", "-f", &file]).expect("deleted");

        let file = manifest(&world, &name, &first, "three");
        kubectl(&world, version, &["apply", "--server-side", "-f", &file])
            .expect("serverside-applied");
        assert_stored(&world, &name, "password", &first);
        kubectl(&world, version, &["delete", "-f", &file]).expect("deleted");
    }
}

#[test]
fn edit_changes_what_was_edited_and_keeps_the_secret() {
    let world = World::start();
    let editor = world.write(
        "editor.sh",
        "#!/bin/sh\nsed -i 's/stage: one/stage: edited/' \"$1\"\n",
    );
    for version in KUBECTLS {
        let name = format!("edited-by-{}", version.name());
        let value = world.seed_secret(&name);
        world.admin(&["label", "secret", &name, "stage=one"]);
        let edit = world
            .kubectl(version, Caller::Developer)
            .env("EDITOR", format!("sh {}", editor.display()))
            .args(["edit", "secret", &name])
            .run();
        world.check(&edit);
        edit.expect_code(0).expect("edited");
        assert_stored(&world, &name, "password", &value);
        assert_eq!(
            stored(&world, &name)["metadata"]["labels"]["stage"],
            "edited"
        );
    }
}

#[test]
fn a_placeholder_never_comes_back() {
    let world = World::start();
    for version in KUBECTLS {
        let name = format!("kept-from-{}", version.name());
        let value = world.seed_secret(&name);
        let masked = kubectl(&world, version, &["get", "secret", &name, "-o", "yaml"]).stdout;
        let placeholder = kubectl(
            &world,
            version,
            &["get", "secret", &name, "-o", "jsonpath={.data.password}"],
        )
        .stdout;
        let file = world.write("masked.yaml", &masked).display().to_string();
        let data = format!(r#"{{"data":{{"password":"{placeholder}"}}}}"#);
        let text = String::from_utf8(STANDARD.decode(placeholder.trim()).unwrap()).unwrap();
        let string_data = format!(r#"{{"stringData":{{"other":"{text}"}}}}"#);
        let add = format!(r#"[{{"op":"add","path":"/data/other","value":"{placeholder}"}}]"#);
        let refused: &[&[&str]] = &[
            &["replace", "-f", &file],
            &["patch", "secret", &name, "--type=merge", "-p", &data],
            &[
                "patch",
                "secret",
                &name,
                "--type=strategic",
                "-p",
                &string_data,
            ],
            &["patch", "secret", &name, "--type=json", "-p", &add],
            &["apply", "--server-side", "--force-conflicts", "-f", &file],
            &[
                "create",
                "configmap",
                "copied",
                &format!("--from-literal=password={text}"),
            ],
        ];
        for args in refused {
            let outcome = world.run(version, Caller::Developer, args);
            assert_ne!(outcome.code, 0, "a placeholder was accepted: {outcome}");
            assert!(
                outcome.stderr.contains("placeholder"),
                "the message does not say why: {outcome}"
            );
        }
        let first = world.run(version, Caller::Developer, refused[1]);
        assert!(
            first.stderr.contains("data.password"),
            "the message does not name the field: {first}"
        );
        // The name of what is created is in the body: no `The configmaps "" is invalid`.
        let copied = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: copied}}\ndata: {{password: '{text}'}}\n"
        );
        let copied = world.write("copied.yaml", &copied).display().to_string();
        world
            .run(version, Caller::Developer, &["create", "-f", &copied])
            .expect_error("The request is invalid: data.password: holds a placeholder");
        assert_stored(&world, &name, "password", &value);
    }
}

/// What typed calls of kubectl create, which the current one sends as protobuf.
#[test]
fn c_81_a_placeholder_in_protobuf_is_refused_by_the_name_of_its_field() {
    let world = World::start();
    let path = ["get", "secret", "db", "-o", "jsonpath={.data.password}"];
    let base64 = kubectl(&world, Kubectl::Current, &path).stdout;
    let text = String::from_utf8(STANDARD.decode(base64.trim()).unwrap()).unwrap();
    let plain = format!("--from-literal=a={text}");
    let dotted = format!("--from-literal=a.b=url: {base64}");
    let login = format!("--docker-password={text}");
    let echo = format!("echo {text}");
    let key = world.write("key", &text).display().to_string();
    let file = format!("--from-file=b={key}");
    let login = ["--docker-username=u", &login];
    let command = ["--image=web", "--", "sh", "-c", &echo];
    let rows: &[(&[&str], &[&str], &str)] = &[
        (&["secret", "generic", "x"], &[&plain], "data.a"),
        (
            &["secret", "generic", "x"],
            &["--from-literal=a=b", &file],
            "data.b",
        ),
        (
            &["secret", "docker-registry", "x"],
            &login,
            "data[\".dockerconfigjson\"]",
        ),
        (&["configmap", "x"], &[&dotted], "data[\"a.b\"]"),
        (
            &["job", "x"],
            &command,
            "spec.template.spec.containers[0].command[2]",
        ),
        (
            &["deployment", "x"],
            &command,
            "spec.template.spec.containers[0].command[2]",
        ),
    ];
    for (before, version) in KUBECTLS.into_iter().enumerate() {
        // The old one ends with its stacks when it says what it sends.
        let (create, sent) = match version {
            Kubectl::Old => (&["create"][..], "nothing was written"),
            Kubectl::Current => (
                &["create", "-v=8"][..],
                "Content-Type: application/vnd.kubernetes.protobuf",
            ),
        };
        for (what, with, field) in rows {
            let args = [create, *what, *with].concat();
            world
                .run(version, Caller::Developer, &args)
                .expect_code(1)
                .expect_error(sent)
                .expect_error(&format!("{field}: holds a placeholder"));
        }
        let refused = |event: &&Value| event["responseStatus"]["code"] == 422;
        let count = world.audit().iter().filter(refused).count();
        assert_eq!(count, (before + 1) * rows.len());
        for resource in ["secret", "configmap", "job", "deployment.apps"] {
            world
                .run(version, Caller::OnCall, &["get", resource, "x"])
                .expect_code(1)
                .expect_error("NotFound");
        }
    }
}

/// A kind that is masked in part: its version, its name, where a value of it stands, and its fields.
type Masked = (&'static str, &'static str, &'static str, fn(&str) -> Value);

const MASKED: [Masked; 4] = [
    (
        "v1",
        "ConfigMap",
        "/data/db.password",
        |value| json!({"data": {"db.password": value, "plain": "kept"}}),
    ),
    (
        "apps/v1",
        "Deployment",
        "/spec/template/spec/containers/0/env/0/value",
        |value| json!({"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template(value)}}),
    ),
    (
        "batch/v1",
        "CronJob",
        "/spec/jobTemplate/spec/template/spec/containers/0/args/1",
        |value| json!({"spec": {"schedule": "1 1 1 1 1", "jobTemplate": {"spec": {"template": template(value)}}}}),
    ),
    (
        "example.com/v1",
        "Database",
        "/spec/password",
        |value| json!({"spec": {"password": value, "engine": "kept"}}),
    ),
];

fn template(value: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "a"}},
        "spec": {"restartPolicy": "Never", "containers": [{
            "name": "c", "image": "i", "args": ["--password", value, "--port=1"],
            "env": [{"name": "DB_PASSWORD", "value": value}, {"name": "PLAIN", "value": "kept"}]
        }]}
    })
}

/// Between the applies kubectl reads what is masked, in the live object and in its last-applied annotation.
#[test]
fn c_44_apply_works_on_every_kind_that_is_masked_in_part() {
    let policy = POLICY
        .replace("mask: [secrets]", "mask: [workloads, configmaps, credentials, databases]")
        .replace(
            "\nrules:\n",
            "\nmasks:\n- {name: databases, apiGroups: [example.com], resources: [databases], fields: [spec.password]}\nrules:\n",
        );
    let options = Options {
        policy: Some(policy),
        ..Options::default()
    };
    let world = World::start_with(Arc::new(Workshop::new()), &options);
    world.api_server.put(definition()).unwrap();
    let kinds = KUBECTLS.map(|version| MASKED.map(|kind| (version, kind)));
    for (version, (api_version, kind, place, fields)) in kinds.into_iter().flatten() {
        let name = format!("applied-by-{}", version.name());
        let apply = |value: &str, stage: &str| {
            let mut object = fields(value);
            object["apiVersion"] = json!(api_version);
            object["kind"] = json!(kind);
            object["metadata"] = json!({"name": name, "labels": {"stage": stage}});
            let file = world.write("applied.json", &object.to_string());
            let file = file.display().to_string();
            kubectl(&world, version, &["apply", "-f", &file])
        };
        let stored = || -> Value {
            let object = world.admin(&["get", kind, &name, "-o", "json"]).stdout;
            serde_json::from_str(&object).unwrap()
        };
        let (first, second) = (world.canaries.fresh(), world.canaries.fresh());
        apply(&first, "one").expect("created");
        let shown = kubectl(&world, version, &["get", kind, &name, "-o", "json"]);
        shown.expect("last-applied-configuration");
        shown.expect("[masked:v1:").expect("kept");
        apply(&first, "two").expect("configured");
        assert_eq!(stored().pointer(place), Some(&json!(first)), "{kind}");
        apply(&second, "two").expect("configured");
        let stored = stored();
        assert_eq!(stored.pointer(place), Some(&json!(second)), "{kind}");
        assert_eq!(stored["metadata"]["labels"]["stage"], "two");
        assert!(!stored.to_string().contains("[masked"), "{kind}");
    }
}

#[test]
fn json_patches_cannot_move_a_value_into_sight() {
    let world = World::start();
    for version in KUBECTLS {
        let name = format!("unmoved-{}", version.name());
        let value = world.seed_secret(&name);
        for patch in [
            r#"[{"op":"copy","from":"/data/password","path":"/metadata/annotations/leak"}]"#,
            r#"[{"op":"move","from":"/data/password","path":"/metadata/labels/leak"}]"#,
            r#"[{"op":"copy","from":"/data","path":"/metadata/annotations"}]"#,
            r#"[{"op":"test","path":"/data/password","value":"Z3Vlc3M="}]"#,
        ] {
            let outcome = world.run(
                version,
                Caller::Developer,
                &["patch", "secret", &name, "--type=json", "-p", patch],
            );
            assert_ne!(outcome.code, 0, "the patch was accepted: {outcome}");
        }
        assert_stored(&world, &name, "password", &value);
    }
}

#[test]
fn what_is_not_a_secret_is_written_as_ever() {
    let world = World::start();
    for version in KUBECTLS {
        let name = format!("settings-{}", version.name());
        kubectl(
            &world,
            version,
            &["create", "configmap", &name, "--from-literal=colour=blue"],
        )
        .expect("created");
        kubectl(
            &world,
            version,
            &["get", "configmap", &name, "-o", "jsonpath={.data.colour}"],
        )
        .expect("blue");
        kubectl(
            &world,
            version,
            &["delete", "configmap", &name, "--wait=false"],
        )
        .expect("deleted");
        // kubectl 1.20 asks the OpenAPI v2 document whether dry runs are known; the simulated one does not say.
        if version == Kubectl::Current {
            let dry = [
                "create",
                "secret",
                "generic",
                "dry",
                "--from-literal=a=b",
                "--dry-run=server",
                "-o",
                "name",
            ];
            kubectl(&world, version, &dry).expect("secret/dry");
            world
                .run(version, Caller::Developer, &["get", "secret", "dry"])
                .expect_code(1)
                .expect_error("NotFound");
        }
    }
}

/// kubectl 1.20 asks `OpenAPI` v2 whether a kind can be dry-run before it tries; the current one just tries.
#[test]
fn a_dry_run_on_the_server_changes_nothing() {
    let world = World::start();
    let manifest = world.write(
        "dry.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: dry}\ndata: {answer: forty-two}\n",
    );
    let manifest = manifest.display().to_string();
    for version in KUBECTLS {
        let apply = ["apply", "--dry-run=server", "-f", &manifest];
        kubectl(&world, version, &apply).expect("configmap/dry created (server dry run)");
        let created = ["create", "--dry-run=server", "-f", &manifest];
        kubectl(&world, version, &created).expect("configmap/dry created (server dry run)");
        let diff = world.run(version, Caller::Developer, &["diff", "-f", &manifest]);
        diff.expect_code(1).expect("+  answer: forty-two");
        let delete = ["delete", "deployment", "web", "--dry-run=server"];
        kubectl(&world, version, &delete).expect("(server dry run)");

        let there = world.admin(&["get", "configmap,deployment", "-o", "name"]);
        there.expect("deployment.apps/web");
        assert!(!there.stdout.contains("configmap/dry"), "{there}");
    }
}
