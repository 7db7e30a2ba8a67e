//! The built-in masks on everything that carries credentials, through the same door as the gateway's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::limits::EMBEDDED_JSON_BYTES_MAX;
use crate::policy::mask::{KAPP_ORIGINAL, LAST_APPLIED};

const HIDDEN: &str = "hunter2-correct-horse";

fn permit_for(mask: &str) -> Permit {
    let rules = builtin(mask);
    let info_rules: Vec<&MaskRule> = rules.iter().collect();
    Permit::for_tests(Identity::for_tests("alice", &[]), "demo", &info_rules)
}

/// The rules of a mask that apply to a target, as the policy chooses them.
fn permit_at(mask: &str, info: &RequestInfo) -> Permit {
    let rules = builtin(mask);
    let applying: Vec<&MaskRule> = rules
        .iter()
        .filter(|rule| rule.applies_to(&info.api_group, &info.qualified_resource()))
        .collect();
    assert!(!applying.is_empty(), "{mask} {}", info.resource);
    Permit::for_tests(Identity::for_tests("alice", &[]), "demo", &applying)
}

/// What leaves, whatever the size of the pieces it came in.
async fn seen(mask: &str, target: &str, text: &str) -> String {
    let info = info(&Method::GET, target);
    let mut all = Vec::new();
    for size in [1, 7, 64, text.len()] {
        let frames = text
            .as_bytes()
            .chunks(size)
            .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let answer = json(200, pieces(frames));
        let permit = permit_at(mask, &info);
        let (response, report) = release(
            answer,
            &info,
            &permit,
            &placeholders(),
            &KnownValues::default(),
        )
        .unwrap();
        let (text, outcome) = read(response.into_body()).await;
        outcome.unwrap();
        all.push((String::from_utf8(text).unwrap(), report.values_masked()));
    }
    all.dedup();
    assert_eq!(all.len(), 1, "the cut matters");
    all.remove(0).0
}

/// A container with a credential in every field that can hold one, and one without.
fn containers() -> Value {
    json!([
        {
            "name": "web", "image": "web:1",
            "command": ["sh", "-c", format!("run --db-password={HIDDEN} --port 1")],
            "args": ["--token", HIDDEN, "--verbose", "--secret", HIDDEN, "-u", format!("bob:{HIDDEN}")],
            "env": [
                {"value": HIDDEN, "name": "DB_PASSWORD"},
                {"name": "API_TOKEN", "value": HIDDEN},
                {"name": "DB_URL", "value": format!("postgres://u:{HIDDEN}@db/x")},
                {"name": "FROM", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
                {"name": "LOG_LEVEL", "value": "debug"}
            ],
            "livenessProbe": {
                "exec": {"command": ["probe", "--password", HIDDEN]},
                "httpGet": {
                    "path": format!("/healthz?token={HIDDEN}"),
                    "httpHeaders": [
                        {"name": "Authorization", "value": HIDDEN},
                        {"name": "X-Forwarded", "value": format!("Bearer {HIDDEN}")},
                        {"name": "Accept", "value": "text/html"}
                    ]
                }
            },
            "readinessProbe": {"httpGet": {
                "path": format!("/ready?api_key={HIDDEN}"),
                "httpHeaders": [{"value": HIDDEN, "name": "X-Auth-Token"}]
            }},
            "startupProbe": {"exec": {"command": ["mysqladmin", "ping", "-h", "db", format!("-p{HIDDEN}")]}},
            "lifecycle": {
                "postStart": {"exec": {"command": ["curl", "-u", format!("bob:{HIDDEN}"), "http://x"]}},
                "preStop": {"exec": {"command": [format!("x --api-key={HIDDEN}")]}}
            }
        },
        {"name": "plain", "image": "plain:1", "args": ["--port", "1"], "env": [{"name": "A", "value": "b"}]}
    ])
}

fn template() -> Value {
    json!({
        "metadata": {"annotations": {"note": format!("password={HIDDEN}"), "other": "kept"}},
        "spec": {
            "initContainers": containers(), "containers": containers(),
            "ephemeralContainers": containers(), "nodeName": "n"
        }
    })
}

/// Everything but what had to be hidden is as it was.
fn assert_masked(text: &str, original: &Value) {
    assert!(!text.contains(HIDDEN), "{text}");
    let masked: Value = serde_json::from_str(text).unwrap();
    same_shape(&masked, original);
}

fn same_shape(masked: &Value, original: &Value) {
    match (masked, original) {
        (Value::Object(masked), Value::Object(original)) => {
            assert!(masked.keys().eq(original.keys()));
            for (key, value) in masked {
                same_shape(value, &original[key]);
            }
        }
        (Value::Array(masked), Value::Array(original)) => {
            assert_eq!(masked.len(), original.len());
            for (masked, original) in masked.iter().zip(original) {
                same_shape(masked, original);
            }
        }
        (Value::String(masked), Value::String(original)) if original.contains(HIDDEN) => {
            if let Ok(original) = serde_json::from_str(original) {
                same_shape(&serde_json::from_str(masked).unwrap(), &original);
            } else {
                assert!(masked.contains("[masked:v1:"), "{original} became {masked}");
            }
        }
        (masked, original) => assert_eq!(masked, original),
    }
}

#[tokio::test]
async fn c_12_c_45_pod_templates_are_masked_at_their_depth_in_every_kind() {
    for (target, object) in [
        ("/api/v1/namespaces/n/pods/x", template()),
        (
            "/api/v1/namespaces/n/podtemplates/x",
            json!({"template": template()}),
        ),
        (
            "/api/v1/namespaces/n/replicationcontrollers/x",
            json!({"spec": {"template": template()}}),
        ),
        (
            "/apis/apps/v1/namespaces/n/deployments/x",
            json!({"spec": {"template": template()}}),
        ),
        (
            "/apis/apps/v1/namespaces/n/statefulsets/x",
            json!({"spec": {"template": template()}}),
        ),
        (
            "/apis/apps/v1/namespaces/n/daemonsets/x",
            json!({"spec": {"template": template()}}),
        ),
        (
            "/apis/apps/v1/namespaces/n/replicasets/x",
            json!({"spec": {"template": template()}}),
        ),
        (
            "/apis/apps/v1/namespaces/n/controllerrevisions/x",
            json!({"data": {"spec": {"template": template()}}}),
        ),
        (
            "/apis/batch/v1/namespaces/n/jobs/x",
            json!({"spec": {"template": template()}}),
        ),
        (
            "/apis/batch/v1/namespaces/n/cronjobs/x",
            json!({"spec": {"jobTemplate": {"spec": {"template": template()}}}}),
        ),
    ] {
        let text = seen("workloads", target, &object.to_string()).await;
        assert_masked(&text, &object);
        let collection = target.strip_suffix("/x").unwrap();
        let list = json!({"kind": "List", "items": [object, object]});
        assert_masked(
            &seen("workloads", collection, &list.to_string()).await,
            &list,
        );
        let event = json!({"type": "ADDED", "object": object});
        let watch = format!("{collection}?watch=1");
        assert_masked(&seen("workloads", &watch, &event.to_string()).await, &event);
        let table = json!({"rows": [{"cells": ["x", 1, HIDDEN.len()], "object": object}]});
        assert_masked(
            &seen("workloads", collection, &table.to_string()).await,
            &table,
        );
        let applied = object.to_string();
        let annotated = json!({"metadata": {"annotations": {LAST_APPLIED: applied}}});
        let text = seen("workloads", target, &annotated.to_string()).await;
        assert_masked(&text, &annotated);
    }
}

#[tokio::test]
async fn c_45_the_name_beside_a_value_decides_wherever_it_stands() {
    let pod = "/api/v1/namespaces/n/pods/x";
    for (env, hidden) in [
        (
            r#"{"value":"hunter2-correct-horse","name":"PASSWORD"}"#,
            true,
        ),
        (
            r#"{"value":"hunter2-correct-horse","n\u0061me":"PASSWORD"}"#,
            true,
        ),
        (
            r#"{"name":"HOST","name":"PASSWORD","value":"hunter2-correct-horse"}"#,
            true,
        ),
        (
            r#"{"name":"PASSWORD","name":"HOST","value":"hunter2-correct-horse"}"#,
            true,
        ),
        (
            r#"{"value":"a","value":"hunter2-correct-horse","name":"token"}"#,
            true,
        ),
        (r#"{"name":7,"value":"hunter2-correct-horse"}"#, true),
        (r#"{"name":"HOST","value":"hunter2-correct-horse"}"#, false),
        (r#"{"value":"hunter2-correct-horse"}"#, false),
        ("null", false),
    ] {
        let text = format!("{{\"spec\":{{\"containers\":[ {{\"env\":[{env} ,{env}]}}]}}}}");
        let masked = seen("workloads", pod, &text).await;
        assert_eq!(masked == text, !hidden, "{env} became {masked}");
        assert_eq!(masked.contains(HIDDEN), !hidden && env != "null", "{env}");
    }
}

#[tokio::test]
async fn c_43_a_variable_too_large_to_be_held_is_masked_whatever_its_name() {
    let value = "x".repeat(2 * EMBEDDED_JSON_BYTES_MAX);
    let object = json!({"spec": {"containers": [{"env": [
        {"name": "HOST", "value": value}, {"name": "B", "value": "c"}]}]}});
    let info = info(&Method::GET, "/api/v1/namespaces/n/pods/x");
    let permit = permit_at("workloads", &info);
    let text = object.to_string();
    let frames = text
        .as_bytes()
        .chunks(4096)
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    let (response, _) = release(
        json(200, pieces(frames)),
        &info,
        &permit,
        &placeholders(),
        &KnownValues::default(),
    )
    .unwrap();
    let (text, outcome) = read(response.into_body()).await;
    outcome.unwrap();
    let masked: Value = serde_json::from_slice(&text).unwrap();
    let env = &masked["spec"]["containers"][0]["env"];
    assert!(env[0]["value"].as_str().unwrap().starts_with("[masked:v1:"));
    assert_eq!(env[1]["value"], "c");
}

#[tokio::test]
async fn c_44_c_74_config_maps_are_masked_by_key_and_by_what_values_look_like() {
    let target = "/api/v1/namespaces/n/configmaps/x";
    let kubeconfig = format!("users:\n- name: a\n  user:\n    token: {HIDDEN}\n");
    let object = json!({
        "data": {
            "db.password": HIDDEN,
            "tls.key": HIDDEN,
            "app.properties": format!("user=bob\npassword={HIDDEN}\nurl=https://x/\"y\"\n"),
            "kubeconfig": kubeconfig,
            "logging": "level=debug\n\ttab \"quoted\" <html>"
        },
    });
    let masked = seen("configmaps", target, &object.to_string()).await;
    assert_masked(&masked, &object);
    let masked: Value = serde_json::from_str(&masked).unwrap();
    let properties = masked["data"]["app.properties"].as_str().unwrap();
    assert!(properties.starts_with("user=bob\npassword=[masked:v1:"));
    assert!(
        properties.ends_with("]\nurl=https://x/\"y\"\n"),
        "{properties}"
    );

    let release = STANDARD.encode([&[0x1f_u8, 0x8b, 8][..], &[7; 90]].concat());
    let binary = STANDARD.encode(&kubeconfig);
    let object = json!({"data": {"release": release}, "binaryData": {"a": binary, "b": "AAEC"}});
    let masked = seen("configmaps", target, &object.to_string()).await;
    let masked: Value = serde_json::from_str(&masked).unwrap();
    assert!(
        masked["data"]["release"]
            .as_str()
            .unwrap()
            .starts_with("[masked")
    );
    let replaced = masked["binaryData"]["a"].as_str().unwrap();
    assert!(STANDARD.decode(replaced).unwrap().starts_with(b"[masked"));
    assert_eq!(masked["binaryData"]["b"], "AAEC");
}

#[tokio::test]
async fn c_45_c_74_what_looks_like_a_credential_in_a_config_map_is_masked() {
    let target = "/api/v1/namespaces/n/configmaps/x";
    let key = format!("{HIDDEN}{}", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC".repeat(3));
    let object = json!({"data": {
        "cert.pem": format!("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n-----BEGIN RSA PRIVATE KEY-----\n{key}\n-----END RSA PRIVATE KEY-----\n"),
        "database": format!("postgres://app:{HIDDEN}@db:5432/orders?sslmode=require"),
        "session": format!("eyJhbGciOiJIUzI1NiJ9.{}.{HIDDEN}", STANDARD.encode(HIDDEN).trim_end_matches('=')),
        "cluster.yaml": format!("users:\n- user:\n    client-key-data: {}{HIDDEN}\n", "LS0tLS1CRUdJTiBSU0Eg".repeat(2)),
        "registry.json": format!("{{\"auths\":{{\"r\":{{\"auth\":\"{}\"}}}}}}", STANDARD.encode(format!("u:{HIDDEN}"))),
    }});
    let masked = seen("configmaps", target, &object.to_string()).await;
    for hidden in [HIDDEN, &STANDARD.encode(format!("u:{HIDDEN}"))] {
        assert!(!masked.contains(hidden), "{masked}");
    }
    assert!(
        masked.contains("MIIB\\n-----END CERTIFICATE-----"),
        "{masked}"
    );
    assert!(
        masked.contains("@db:5432/orders?sslmode=require"),
        "{masked}"
    );
    for (key, text) in [
        ("a", "AKIAIOSFODNN7EXAMPLE"),
        ("b", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
        (
            "c",
            "xoxb-123456789012-1234567890123-4mt0t4l1yf3ktr4ndomt0k3n",
        ),
        ("d", "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY"),
        (
            "e",
            "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;",
        ),
    ] {
        let object = json!({"data": {key: text}});
        let masked = seen("configmaps", target, &object.to_string()).await;
        assert!(masked.contains("[masked:v1:"), "{masked}");
    }
}

#[tokio::test]
async fn c_46_tokens_events_messages_and_storage_are_masked() {
    let message = format!("cannot reach https://u:{HIDDEN}@registry/");
    let terminated = json!({
        "state": {"terminated": {"message": message, "exitCode": 1}},
        "lastState": {"terminated": {"message": message, "reason": "Error"}}
    });
    let waiting = json!({
        "state": {"waiting": {"message": message, "reason": "ImagePullBackOff"}},
        "lastState": {"waiting": {"message": message}}
    });
    for (mask, target, object) in [
        (
            "events",
            "/api/v1/namespaces/n/events/x",
            json!({"message": message}),
        ),
        (
            "events",
            "/api/v1/namespaces/n/events",
            json!({"rows": [{"cells": ["1m", "Warning", message], "object": null}]}),
        ),
        (
            "events",
            "/apis/events.k8s.io/v1/namespaces/n/events/x",
            json!({"note": message}),
        ),
        (
            "workloads",
            "/api/v1/namespaces/n/pods/x",
            json!({"status": {
                "containerStatuses": [terminated, waiting], "initContainerStatuses": [terminated],
                "ephemeralContainerStatuses": [waiting, terminated], "message": message
            }}),
        ),
        (
            "tokens",
            "/api/v1/namespaces/n/serviceaccounts/x/token",
            json!({"status": {"token": HIDDEN, "expirationTimestamp": "2026"}}),
        ),
        (
            "tokens",
            "/apis/authentication.k8s.io/v1/tokenreviews",
            json!({"spec": {"token": HIDDEN, "audiences": ["x"]}}),
        ),
        (
            "storage",
            "/apis/storage.k8s.io/v1/storageclasses/x",
            json!({"parameters": {"adminSecret": HIDDEN, "pool": "p"}}),
        ),
        (
            "storage",
            "/api/v1/persistentvolumes/x",
            json!({"spec": {"csi": {"volumeAttributes": {"token": HIDDEN, "fs": "ext4"}}}}),
        ),
    ] {
        assert_masked(&seen(mask, target, &object.to_string()).await, &object);
    }
}

#[tokio::test]
async fn c_44_c_46_secrets_of_every_type_are_masked() {
    for (name, object) in [
        (
            "bootstrap-token-x",
            json!({"stringData": {"token-secret": HIDDEN}, "type": "bootstrap.kubernetes.io/token"}),
        ),
        (
            "x-token",
            json!({
                "metadata": {"annotations": {"kubernetes.io/service-account.name": "x"}},
                "stringData": {"token": HIDDEN}, "type": "kubernetes.io/service-account-token"
            }),
        ),
        (
            "sh.helm.release.v1.web.v1",
            json!({"type": "helm.sh/release.v1", "stringData": {"release": HIDDEN}}),
        ),
        (
            "login",
            json!({"stringData": {".dockerconfigjson": HIDDEN}, "type": "kubernetes.io/dockerconfigjson"}),
        ),
    ] {
        let target = format!("/api/v1/namespaces/n/secrets/{name}");
        let text = seen("secrets", &target, &object.to_string()).await;
        assert_masked(&text, &object);
        // As the API server stores it.
        let mut stored = object.clone();
        let data = stored
            .as_object_mut()
            .unwrap()
            .remove("stringData")
            .unwrap();
        stored["data"] = data
            .as_object()
            .unwrap()
            .keys()
            .map(|key| (key.clone(), json!(STANDARD.encode(HIDDEN))))
            .collect();
        let text = seen("secrets", &target, &stored.to_string()).await;
        let masked: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(masked["type"], object["type"]);
        for value in masked["data"].as_object().unwrap().values() {
            let value = STANDARD.decode(value.as_str().unwrap()).unwrap();
            assert!(value.starts_with(b"[masked:v1:"));
        }
    }
}

#[tokio::test]
async fn c_46_what_drivers_of_volumes_are_told_is_masked() {
    let volume = json!({
        "name": "v", "csi": {"driver": "d", "volumeAttributes": {"password": HIDDEN, "fs": "ext4"}},
        "flexVolume": {"options": {"key": "k", "secret": HIDDEN, "url": format!("//u:x,password={HIDDEN}")}}
    });
    let options = json!(["vers=3.0", "username=u", format!("password={HIDDEN}")]);
    let spec = json!({"volumes": [volume, {"name": "w", "emptyDir": {}}], "nodeName": "n"});
    for (target, object) in [
        ("/api/v1/namespaces/n/pods/x", json!({"spec": spec})),
        (
            "/apis/apps/v1/namespaces/n/deployments/x",
            json!({"spec": {"template": {"spec": spec}}}),
        ),
        (
            "/apis/batch/v1/namespaces/n/cronjobs/x",
            json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}}),
        ),
        (
            "/apis/apps/v1/namespaces/n/controllerrevisions/x",
            json!({"data": {"spec": {"template": {"spec": spec}}}}),
        ),
        (
            "/api/v1/persistentvolumes/x",
            json!({"spec": {"csi": volume["csi"], "mountOptions": options}}),
        ),
        (
            "/apis/storage.k8s.io/v1/storageclasses/x",
            json!({"mountOptions": options, "parameters": {"pool": "p"}}),
        ),
        (
            "/apis/storage.k8s.io/v1/volumeattachments/x",
            json!({
                "spec": {"source": {"inlineVolumeSpec": {
                    "csi": volume["csi"], "flexVolume": volume["flexVolume"], "mountOptions": options,
                }}},
                "status": {
                    "attachmentMetadata": {"token": HIDDEN, "path": "/dev/sdb"},
                    "attachError": {"message": format!("mount -o password={HIDDEN}")}
                }
            }),
        ),
        (
            "/apis/storage.k8s.io/v1/volumeattributesclasses/x",
            json!({"parameters": {"password": HIDDEN, "iops": "100"}}),
        ),
    ] {
        assert_masked(&seen("storage", target, &object.to_string()).await, &object);
    }
}

#[tokio::test]
async fn c_44_manifests_that_tools_keep_in_annotations_are_masked_inside() {
    let manifest = json!({"kind": "Secret", "data": {"a": HIDDEN}, "type": "Opaque"}).to_string();
    for annotation in [LAST_APPLIED, KAPP_ORIGINAL] {
        let object = json!({
            "metadata": {"annotations": {annotation: manifest, "other": "x"}},
            "data": {"a": HIDDEN}, "type": "Opaque",
        });
        let target = "/api/v1/namespaces/n/secrets/x";
        let text = seen("secrets", target, &object.to_string()).await;
        let masked: Value = serde_json::from_str(&text).unwrap();
        let inside = masked["metadata"]["annotations"][annotation]
            .as_str()
            .unwrap();
        let inside: Value = serde_json::from_str(inside).unwrap();
        assert!(!text.contains(HIDDEN), "{text}");
        assert_eq!(inside["data"], masked["data"]);
        assert_eq!(
            (&inside["kind"], &inside["type"]),
            (&json!("Secret"), &json!("Opaque"))
        );
    }
}

#[tokio::test]
async fn c_45_annotations_and_conditions_are_looked_into_wherever_they_are() {
    let snippet = format!("proxy_set_header Authorization \"Basic {HIDDEN}\";");
    let metadata =
        json!({"annotations": {"a": snippet, "b": format!("https://u:{HIDDEN}@h"), "c": "d"}});
    let condition = json!([{"type": "Ready", "message": format!("login with password={HIDDEN}")}]);
    for (mask, target, object) in [
        (
            "credentials",
            "/apis/networking.k8s.io/v1/namespaces/n/ingresses/x",
            json!({"metadata": metadata}),
        ),
        (
            "credentials",
            "/api/v1/namespaces/n/services",
            json!({"items": [{"metadata": metadata}]}),
        ),
        (
            "credentials",
            "/api/v1/namespaces/n/events/x",
            json!({"metadata": metadata, "message": "pulled"}),
        ),
        (
            "credentials",
            "/apis/example.com/v1/namespaces/n/widgets/x",
            json!({"metadata": metadata, "spec": {"token": "of no rule"}}),
        ),
        (
            "workloads",
            "/apis/batch/v1/namespaces/n/cronjobs/x",
            json!({"spec": {"jobTemplate": {"metadata": metadata}}}),
        ),
        (
            "workloads",
            "/apis/apps/v1/namespaces/n/statefulsets/x",
            json!({
                "spec": {"volumeClaimTemplates": [{"metadata": metadata}]},
                "status": {"conditions": condition}
            }),
        ),
        (
            "workloads",
            "/api/v1/namespaces/n/pods/x",
            json!({"status": {"conditions": condition}}),
        ),
        (
            "workloads",
            "/apis/apps/v1/namespaces/n/daemonsets/x",
            json!({"spec": {"template": {"spec": {"volumes": [
                {"name": "v", "ephemeral": {"volumeClaimTemplate": {"metadata": metadata}}}
            ]}}}}),
        ),
        (
            "tokens",
            "/apis/authentication.k8s.io/v1/tokenreviews",
            json!({"status": {"error": format!("no such user: bearer {HIDDEN}")}}),
        ),
    ] {
        assert_masked(&seen(mask, target, &object.to_string()).await, &object);
    }
}

#[tokio::test]
async fn only_masks_that_certainly_hide_something_warn() {
    for (mask, target, warns) in [
        ("secrets", "/api/v1/namespaces/n/secrets/x", true),
        ("workloads", "/api/v1/namespaces/n/pods/x", false),
        ("configmaps", "/api/v1/namespaces/n/configmaps/x", false),
    ] {
        let info = info(&Method::GET, target);
        let permit = permit_for(mask);
        let answer = json(200, full("{}"));
        let (response, _) = release(
            answer,
            &info,
            &permit,
            &placeholders(),
            &KnownValues::default(),
        )
        .unwrap();
        assert_eq!(
            response.headers().contains_key(header::WARNING),
            warns,
            "{mask}"
        );
    }
}
