//! The bypass matrix with stock clients: one row for each way around the mask that needs a client, a gateway
//! and an API server to be tried. `src/transform/tests/matrix.rs` has the rows that do not.
//!
//! Whatever a row does, nothing it prints holds a secret value, and what is stored stays as it was.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::process::Outcome;
use crate::support::world::{Caller, Kubectl, Options, POLICY, Workshop, World, tool};

/// One way around the mask.
struct Row {
    threat: &'static str,
    /// A line for bash, with `kubectl`, `api` (curl with the caller's token) and what [`World::try_row`] sets.
    does: &'static str,
    ends: Ends,
    /// What of it must be on standard output, and on standard error.
    shows: &'static [&'static str],
    says: &'static [&'static str],
    /// Where the stored Secret has another value afterwards, besides `password` and `token`.
    stores: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Well,
    Refused,
    /// `diff` found a difference.
    Different,
}

/// How a placeholder begins, and how it begins in base64.
const MASKED: &str = "[masked:v1:";
const MASKED_BASE64: &str = "W21hc2tlZDp2MT";

const PRELUDE: &str = r#"
set -u
api() {
    curl -sS --max-time 20 --path-as-is -w '\n%{http_code}' --cacert ca.crt -H "Authorization: Bearer $TOKEN" "$@"
}
websocket=(--http1.1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13'
    -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==')
"#;

const READ: Row = Row {
    threat: "",
    does: "",
    ends: Ends::Well,
    shows: &[],
    says: &[],
    stores: &[],
};

const REFUSED: Row = Row {
    ends: Ends::Refused,
    ..READ
};

const ROWS: &[Row] = &[
    // -- how it is shown --
    Row {
        threat: "C-01",
        does: r#"api "$SECRETS/$NAME?pretty=true""#,
        shows: &["\n  \"data\": {\n", MASKED_BASE64, "\n200"],
        ..READ
    },
    Row {
        threat: "C-01",
        does: r#"kubectl get secret "$NAME" -o jsonpath='{.data.password}' | base64 -d"#,
        shows: &[MASKED],
        ..READ
    },
    Row {
        threat: "C-01",
        does: "kubectl get secrets -o custom-columns=NAME:.metadata.name,P:.data.password",
        shows: &[MASKED_BASE64],
        ..READ
    },
    Row {
        threat: "C-01",
        does: r#"kubectl get secret "$NAME" -o go-template='{{.data.token | base64decode}}'"#,
        shows: &[MASKED],
        ..READ
    },
    Row {
        threat: "C-02",
        does: r#"kubectl get secret "$NAME" -o yaml"#,
        shows: &["\n  password: W21hc2tlZDp2MT", "\nkind: Secret\n"],
        ..READ
    },
    Row {
        threat: "C-02",
        does: r#"api -H 'Accept: application/yaml' "$SECRETS/$NAME""#,
        shows: &["\"NotAcceptable\"", "add application/json", "\n406"],
        ..READ
    },
    Row {
        threat: "C-03",
        does: r#"api -H 'Accept: application/vnd.kubernetes.protobuf' "$SECRETS/$NAME" | tr '\0' ' '"#,
        shows: &["k8s ", MASKED, "\n200"],
        ..READ
    },
    Row {
        threat: "C-04",
        does: r#"api -H 'Accept: application/cbor' "$SECRETS/$NAME""#,
        shows: &["\"NotAcceptable\"", "\n406"],
        ..READ
    },
    Row {
        threat: "C-05 C-06",
        does: "kubectl get secrets --sort-by=.metadata.name -v9 2>&1 | grep -v Bearer",
        shows: &["includeObject=Object"],
        ..READ
    },
    // Typed clients read it: kubectl 1.36 asks for protobuf here.
    Row {
        threat: "C-87",
        does: r#"kubectl describe secret "$NAME""#,
        shows: &["password:  54 bytes", "Type:  Opaque"],
        ..READ
    },
    // -- WebSocket where a stream is not a session --
    Row {
        threat: "C-08",
        does: r#"api "${websocket[@]}" "$SECRETS?watch=1&timeoutSeconds=1""#,
        shows: &["\"type\":\"ADDED\"", MASKED_BASE64, "\n200"],
        ..READ
    },
    Row {
        threat: "C-08",
        does: r#"api "${websocket[@]}" -H 'Sec-WebSocket-Protocol: base64.binary.k8s.io' \
            -H 'Accept: application/vnd.kubernetes.protobuf' "$SECRETS?watch=1&timeoutSeconds=1" | tr '\0' ' '"#,
        shows: &[MASKED, "\n200"],
        ..READ
    },
    Row {
        threat: "C-08",
        does: r#"bearer=$(printf %s "$TOKEN" | base64 -w0 | tr '+/' '-_' | tr -d '=')
            curl -sS --max-time 20 --cacert ca.crt "${websocket[@]}" \
                -H "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.$bearer, binary.k8s.io" \
                "$SECRETS?watch=1&timeoutSeconds=1""#,
        shows: &["\"type\":\"ADDED\"", MASKED_BASE64],
        ..READ
    },
    Row {
        threat: "C-08 C-09",
        does: r#"api "${websocket[@]}" -H 'Sec-WebSocket-Protocol: base64.binary.k8s.io' \
            "$URL/api/v1/namespaces/default/pods/$POD/log?tailLines=1""#,
        shows: &["\n200"],
        ..READ
    },
    // -- selecting by what is masked --
    Row {
        threat: "C-30",
        does: "kubectl get databases --field-selector=spec.password=guess",
        says: &[
            "names a masked field",
            "spec.password",
            "Select by other fields",
        ],
        ..REFUSED
    },
    Row {
        threat: "C-30",
        does: "kubectl get databases --watch --field-selector=metadata.name=x,spec.password!=guess",
        says: &["names a masked field"],
        ..REFUSED
    },
    Row {
        threat: "C-30",
        does: "kubectl delete databases --field-selector=spec.password=guess",
        says: &["names a masked field"],
        ..REFUSED
    },
    Row {
        threat: "C-30",
        does: r#"api -X DELETE "$URL/apis/example.com/v1/namespaces/default/databases?fieldSelector=spec.password%3Dguess""#,
        shows: &["\"BadRequest\"", "names a masked field", "\n400"],
        ..READ
    },
    Row {
        threat: "C-30",
        does: "kubectl get secrets --field-selector=data.password=guess",
        says: &["names a masked field"],
        ..REFUSED
    },
    Row {
        threat: "C-30",
        does: r#"kubectl get secrets --field-selector="type=Opaque,metadata.name=$NAME" -l stage=one -o name"#,
        shows: &["secret/"],
        ..READ
    },
    // -- values that managedFields repeat --
    Row {
        threat: "C-32",
        does: r#"kubectl get --raw "/apis/example.com/v1/namespaces/default/databases/$NAME""#,
        shows: &["\"managedFields\":[", "\"f:engine\":{}", MASKED],
        ..READ
    },
    Row {
        threat: "C-32",
        does: r#"api -H 'Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io' \
            "$URL/apis/example.com/v1/namespaces/default/databases/$NAME""#,
        shows: &["\"PartialObjectMetadata\"", "\"f:engine\": {}", MASKED],
        ..READ
    },
    // -- changing what is not masked, or one key of three --
    Row {
        threat: "C-83",
        does: r#"KUBE_EDITOR="sed -i 's/stage: one/stage: two/'" kubectl edit secret "$NAME""#,
        shows: &["edited"],
        stores: &[("/metadata/labels/stage", "two")],
        ..READ
    },
    Row {
        threat: "C-83",
        does: r#"KUBE_EDITOR="sed -i 's/^  note: .*/  note: bmV3/'" kubectl edit secret "$NAME""#,
        shows: &["edited"],
        stores: &[("/data/note", "bmV3")],
        ..READ
    },
    Row {
        threat: "C-83",
        does: r#"kubectl label secret "$NAME" stage=two --overwrite && kubectl annotate secret "$NAME" note=kept"#,
        shows: &["labeled", "annotated"],
        stores: &[
            ("/metadata/labels/stage", "two"),
            ("/metadata/annotations/note", "kept"),
        ],
        ..READ
    },
    Row {
        threat: "C-83",
        does: r#"kubectl patch secret "$NAME" -p '{"data":{"note":"bmV3"},"metadata":{"labels":{"stage":"two"}}}'"#,
        shows: &["patched"],
        stores: &[("/metadata/labels/stage", "two"), ("/data/note", "bmV3")],
        ..READ
    },
    // -- an export that comes back --
    Row {
        threat: "C-85",
        does: r#"kubectl get secret "$NAME" -o yaml > export.yaml && kubectl apply -f export.yaml"#,
        says: &["holds a placeholder of a masked value"],
        ..REFUSED
    },
    Row {
        threat: "C-85",
        does: r#"kubectl get secret "$NAME" -o yaml | sed 's/stage: one/stage: two/' | kubectl replace -f -"#,
        says: &["holds a placeholder of a masked value", "data."],
        ..REFUSED
    },
    Row {
        threat: "C-85",
        does: r#"kubectl get secret "$NAME" -o yaml |
            sed 's/namespace: default/namespace: payments/; /resourceVersion:/d; /uid:/d' | kubectl create -f -"#,
        says: &["holds a placeholder of a masked value", "data."],
        ..REFUSED
    },
    Row {
        threat: "C-85",
        does: r#"kubectl get secret "$NAME" -o yaml | sed 's/name: c-85/name: copied-c-85/' |
            kubectl diff -f -"#,
        says: &["holds a placeholder of a masked value"],
        ..REFUSED
    },
    Row {
        threat: "C-85",
        does: r#"printf -- '---\n{apiVersion: v1, kind: Secret, metadata: {name: %s}, stringData: {note: new}}' "$NAME" > new.yaml
            kubectl diff -f new.yaml"#,
        ends: Ends::Different,
        shows: &["note: "],
        ..READ
    },
    Row {
        threat: "C-85",
        does: r#"manifest() {
                printf -- '---\n{apiVersion: v1, kind: Secret, metadata: {name: %s, labels: {set: %s}}, stringData: {note: new}}\n' "$1" "$NAME"
            }
            { manifest "$NAME-kept"; manifest "$NAME-gone"; } > set.yaml
            kubectl apply -f set.yaml && manifest "$NAME-kept" > set.yaml &&
            kubectl apply -f set.yaml -l "set=$NAME" --prune "$PRUNE""#,
        shows: &["-kept configured", "-gone pruned"],
        ..READ
    },
    // -- more than is searched, which is what the API server takes --
    Row {
        threat: "C-81",
        does: r#"head -c 3145729 /dev/zero | tr '\0' ' ' | api --http1.1 -H 'Transfer-Encoding: chunked' \
            -H 'Content-Type: application/json' --data-binary @- "$SECRETS""#,
        shows: &["\"RequestEntityTooLarge\"", "\n413"],
        ..READ
    },
    // -- a write that comes too late --
    Row {
        threat: "C-88",
        does: r#"kubectl patch secret "$NAME" --type=merge -p '{"metadata":{"resourceVersion":"1","labels":{"stage":"two"}}}'"#,
        says: &["(Conflict)", "the object has been modified"],
        ..REFUSED
    },
    Row {
        threat: "C-88",
        does: r#"api -X PUT -H 'Content-Type: application/json' "$SECRETS/$NAME" -d '{"apiVersion":"v1","kind":"Secret",
            "metadata":{"name":"'"$NAME"'","resourceVersion":"1"},"data":{"password":"bmV3"}}'"#,
        shows: &["\"Conflict\"", "the object has been modified", "\n409"],
        ..READ
    },
];

#[test]
fn kubectl_1_20_does_not_get_around_the_mask() {
    matrix(Kubectl::Old);
}

#[test]
fn the_current_kubectl_does_not_get_around_the_mask() {
    matrix(Kubectl::Current);
}

fn matrix(version: Kubectl) {
    let policy = POLICY
        .replace("mask: [secrets]", "mask: [secrets, databases]")
        .replace(
            "\nrules:\n",
            "\nmasks:\n- {name: databases, apiGroups: [example.com], resources: [databases], fields: [spec.password, 'spec.tokens[*]']}\nrules:\n",
        );
    let options = Options {
        policy: Some(policy),
        ..Options::default()
    };
    let world = World::start_with(Arc::new(Workshop::new()), &options);
    world.api_server.put(definition()).unwrap();
    let pod = world.pod();
    let mut failed = Vec::new();
    for (number, row) in ROWS.iter().enumerate() {
        let name = format!("{}-{number}", row.threat.to_lowercase().replace(' ', "-"));
        let tried = || try_row(&world, version, row, &name, &pod);
        if catch_unwind(AssertUnwindSafe(tried)).is_err() {
            failed.push(name);
        }
    }
    assert!(
        failed.is_empty(),
        "{failed:?} got around the mask or failed"
    );
    let seen = world.api_server.requests();
    for seen in &seen {
        let target = seen.uri.to_string();
        assert!(!seen.headers.contains_key("upgrade"), "{target}");
        assert!(!target.contains("guess"), "{target} asked for a guess");
    }
    // No placeholder has become a value.
    let all = world.admin(&["get", "secrets,databases", "-A", "-o", "json"]);
    for placeholder in [MASKED, MASKED_BASE64] {
        assert!(!all.stdout.contains(placeholder), "{all}");
    }
}

/// A custom resource with a field that is masked, and a masked list that is a set.
pub(crate) fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "databases.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "databases", "singular": "database", "kind": "Database", "listKind": "DatabaseList"},
            "versions": [{"name": "v1", "served": true, "storage": true}],
        },
    })
}

/// A Secret with three keys and a Database of the same name; the Secret's values.
fn seed(world: &World, name: &str) -> Value {
    let value = || STANDARD.encode(world.canaries.fresh());
    let data = json!({"password": value(), "token": value(), "note": value()});
    let metadata = json!({"name": name, "namespace": "default", "labels": {"stage": "one"}});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data,
    });
    world.api_server.put(secret).unwrap();
    let (password, token) = (world.canaries.fresh(), world.canaries.fresh());
    let mut noted = json!({"f:spec": {"f:engine": {}, "f:password": {}, "f:tokens": {}}});
    noted["f:spec"]["f:tokens"][format!("v:{token:?}")] = json!({});
    let mut metadata = metadata;
    metadata["managedFields"] = json!([{
        "manager": "kubectl", "operation": "Apply", "apiVersion": "example.com/v1",
        "fieldsType": "FieldsV1", "fieldsV1": noted,
    }]);
    let database = json!({
        "apiVersion": "example.com/v1", "kind": "Database", "metadata": metadata,
        "spec": {"engine": "pg", "password": password, "tokens": [token]},
    });
    world.api_server.put(database).unwrap();
    data
}

#[track_caller]
fn try_row(world: &World, version: Kubectl, row: &Row, name: &str, pod: &str) {
    let data = seed(world, name);
    let path = format!(
        "{}:/usr/local/bin:/usr/bin:/bin",
        tool(version.name()).display()
    );
    let prune = match version {
        Kubectl::Old => "--prune-whitelist=core/v1/Secret",
        Kubectl::Current => "--prune-allowlist=core/v1/Secret",
    };
    let url = world.url();
    let outcome = world
        .shell(
            version,
            Caller::Developer,
            &format!("{PRELUDE}{}", row.does),
        )
        .env("PATH", path)
        .env("TOKEN", world.token(Caller::Developer))
        .env(
            "SECRETS",
            format!("{url}/api/v1/namespaces/default/secrets"),
        )
        .env("URL", url)
        .env("NAME", name)
        .env("POD", pod)
        .env("PRUNE", prune)
        .run();
    world.check(&outcome);
    check_end(row, &outcome);
    for text in row.shows {
        outcome.expect(text);
    }
    for text in row.says {
        outcome.expect_error(text);
    }
    let stored = world.admin(&["get", "secret", name, "-o", "json"]).stdout;
    let stored: Value = serde_json::from_str(&stored).unwrap();
    let mut expected = vec![("/metadata/labels/stage", "one")];
    for key in ["/data/password", "/data/token", "/data/note"] {
        let value = data[key.trim_start_matches("/data/")].as_str().unwrap();
        expected.push((key, value));
    }
    for (place, value) in row.stores {
        expected.retain(|(other, _)| other != place);
        expected.push((place, value));
    }
    for (place, value) in expected {
        let found = stored.pointer(place).and_then(Value::as_str);
        assert!(found == Some(value), "{place} is another now: {outcome}");
    }
}

#[track_caller]
fn check_end(row: &Row, outcome: &Outcome) {
    let good = match row.ends {
        Ends::Well => outcome.code == 0,
        Ends::Different => outcome.code == 1,
        Ends::Refused => outcome.code != 0,
    };
    assert!(good, "{}: {outcome}", row.threat);
}

#[test]
fn c_86_a_rotated_key_makes_other_placeholders_and_old_ones_stay_out() {
    let mut world = World::start();
    world.seed_secret("kept");
    let shown = |world: &World| {
        let path = ["get", "secret", "kept", "-o", "jsonpath={.data.password}"];
        let outcome = world.run(Kubectl::Current, Caller::Developer, &path);
        outcome.expect_code(0).expect(MASKED_BASE64);
        outcome.stdout
    };
    let before = shown(&world);
    let rotated = world
        .portcullis(&["rotate-key", "--data-dir", "data"])
        .run();
    rotated.expect_code(0).expect("Next: restart the gateway.");
    assert_eq!(before, shown(&world), "a running gateway keeps its key");

    world.kill_gateway();
    world.restart_gateway();
    let after = shown(&world);
    assert_ne!(before, after, "an equal value has another placeholder");
    for placeholder in [before, after] {
        let patch = format!(r#"{{"data":{{"password":"{placeholder}"}}}}"#);
        world
            .run(
                Kubectl::Current,
                Caller::Developer,
                &["patch", "secret", "kept", "-p", &patch],
            )
            .expect_code(1)
            .expect_error("data.password: holds a placeholder");
    }
}
