//! Ready conditions, about every kind that they look at.

use super::*;

fn workloads(spec: &Value) -> Vec<(&'static str, Value)> {
    let template = json!({"template": {"spec": spec}});
    let apps = |resource| match resource {
        "deployments" => "POST /apis/apps/v1/namespaces/shop/deployments",
        "statefulsets" => "PUT /apis/apps/v1/namespaces/shop/statefulsets/web",
        "daemonsets" => "POST /apis/apps/v1/namespaces/shop/daemonsets",
        _ => "PATCH /apis/apps/v1/namespaces/shop/replicasets/web",
    };
    vec![
        (CREATE, json!({"spec": spec})),
        (
            "PATCH /api/v1/namespaces/shop/pods/web/ephemeralcontainers",
            json!({"spec": spec}),
        ),
        (
            "POST /api/v1/namespaces/shop/podtemplates",
            template.clone(),
        ),
        (
            "POST /api/v1/namespaces/shop/replicationcontrollers",
            json!({"spec": template}),
        ),
        (apps("deployments"), json!({"spec": template})),
        (apps("statefulsets"), json!({"spec": template})),
        (apps("daemonsets"), json!({"spec": template})),
        (apps("replicasets"), json!({"spec": template})),
        (
            "POST /apis/batch/v1/namespaces/shop/jobs",
            json!({"spec": template}),
        ),
        (
            "POST /apis/batch/v1/namespaces/shop/cronjobs",
            json!({"spec": {"jobTemplate": {"spec": template}}}),
        ),
        (
            "POST /apis/apps/v1/namespaces/shop/controllerrevisions",
            json!({"data": {"spec": template}}),
        ),
    ]
}

#[test]
fn ready_conditions_about_pods_look_everywhere() {
    let container = |container: Value| {
        ["containers", "initContainers", "ephemeralContainers"]
            .map(|list| json!({list: [{"name": "ok", "image": "registry.example/a"}, container]}))
    };
    let of = |context: Value| {
        container(json!({"image": "registry.example/b", "securityContext": context}))
    };
    let ok = "registry.example/b";
    let mut samples: Vec<(&str, Value, bool)> = Vec::new();
    let mut add = |name, specs: &[Value], expected| {
        samples.extend(specs.iter().map(|spec| (name, spec.clone(), expected)));
    };
    add("privileged", &of(json!({"privileged": true})), true);
    add("privileged", &of(json!({"privileged": false})), false);
    add(
        "privileged",
        &of(json!({"windowsOptions": {"hostProcess": true}})),
        true,
    );
    add(
        "privileged",
        &[json!({"securityContext": {"windowsOptions": {"hostProcess": true}}})],
        true,
    );
    add("privileged", &[json!({}), json!({"containers": []})], false);
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        add("host-namespaces", &[json!({key: true})], true);
        add("host-namespaces", &[json!({key: false})], false);
    }
    add(
        "host-path",
        &[
            json!({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/"}}]}),
        ],
        true,
    );
    add(
        "host-path",
        &[json!({"volumes": [{"name": "a", "emptyDir": {}}]})],
        false,
    );
    add(
        "host-ports",
        &container(json!({"ports": [{"containerPort": 80}, {"containerPort": 1, "hostPort": 1}]})),
        true,
    );
    add(
        "host-ports",
        &container(json!({"ports": [{"containerPort": 80}]})),
        false,
    );
    add(
        "capabilities",
        &of(json!({"capabilities": {"add": ["CHOWN", "SYS_ADMIN"]}})),
        true,
    );
    add(
        "capabilities",
        &of(json!({"capabilities": {"add": ["ALL"]}})),
        true,
    );
    add(
        "capabilities",
        &of(json!({"capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}})),
        false,
    );
    add(
        "unconfined",
        &of(json!({"seccompProfile": {"type": "Unconfined"}})),
        true,
    );
    add("unconfined", &of(json!({"procMount": "Unmasked"})), true);
    add(
        "unconfined",
        &[json!({"securityContext": {"sysctls": [{"name": "a"}]}})],
        true,
    );
    add(
        "unconfined",
        &of(json!({"seccompProfile": {"type": "RuntimeDefault"}})),
        false,
    );
    for options in [
        json!({"type": "spc_t"}),
        json!({"user": "system_u"}),
        json!({"role": "sysadm_r"}),
    ] {
        add("unconfined", &of(json!({"seLinuxOptions": options})), true);
        let pod = json!({"securityContext": {"seLinuxOptions": options}});
        add("unconfined", &[pod], true);
    }
    let usual = json!({"type": "container_t", "level": "s0:c1,c2"});
    add("unconfined", &of(json!({"seLinuxOptions": usual})), false);
    for image in [
        "nginx",
        "registry.example.evil.net/x",
        "evil.net/registry.example/x",
        "registry.example",
    ] {
        add("image-registry", &container(json!({"image": image})), true);
    }
    add("image-registry", &container(json!({})), true);
    add("image-registry", &container(json!({"image": ok})), false);
    add(
        "image-registry",
        &[json!({"volumes": [{"image": {"reference": "evil.net/x"}}]})],
        true,
    );
    add(
        "secrets",
        &[json!({"volumes": [{"secret": {"secretName": "db"}}]})],
        true,
    );
    add(
        "secrets",
        &[json!({"volumes": [{"projected": {"sources": [{"configMap": {}}, {"secret": {}}]}}]})],
        true,
    );
    add(
        "secrets",
        &container(json!({"envFrom": [{"secretRef": {"name": "db"}}]})),
        true,
    );
    add(
        "secrets",
        &container(
            json!({"env": [{"name": "A", "value": "x"}, {"name": "B", "valueFrom": {"secretKeyRef": {}}}]}),
        ),
        true,
    );
    add(
        "secrets",
        &container(
            json!({"env": [{"name": "A", "value": "x"}], "envFrom": [{"configMapRef": {}}]}),
        ),
        false,
    );
    add(
        "service-account",
        &[
            json!({"serviceAccountName": "admin"}),
            json!({"serviceAccount": "admin"}),
        ],
        true,
    );
    add(
        "service-account",
        &[json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {}}]}}]})],
        true,
    );
    add(
        "service-account",
        &[json!({"serviceAccountName": "default"}), json!({})],
        false,
    );
    for (name, spec, expected) in samples {
        for (request, object) in workloads(&spec) {
            assert_eq!(
                held(&ready(name), request, object),
                expected,
                "{name} {request} {spec}"
            );
        }
        // Nothing is said by what is only called a pod.
        let other = "POST /api/v1/namespaces/shop/configmaps";
        assert!(
            !held(&ready(name), other, json!({"kind": "Pod", "spec": spec})),
            "{name}"
        );
    }
}

/// What was said in annotations before there were fields for it is heard, wherever the pod stands.
#[test]
fn ready_conditions_hear_old_words() {
    let annotated =
        |key: &str, value: &str| json!({"annotations": {"note": "unconfined", key: value}});
    for (key, value, expected) in [
        (
            "container.apparmor.security.beta.kubernetes.io/app",
            "unconfined",
            true,
        ),
        (
            "container.seccomp.security.alpha.kubernetes.io/app",
            "unconfined",
            true,
        ),
        (
            "seccomp.security.alpha.kubernetes.io/pod",
            "unconfined",
            true,
        ),
        (
            "container.apparmor.security.beta.kubernetes.io/app",
            "runtime/default",
            false,
        ),
        ("team", "unconfined", false),
    ] {
        let metadata = annotated(key, value);
        let template = json!({"template": {"metadata": metadata, "spec": {}}});
        for (request, object) in [
            (CREATE, json!({"metadata": metadata, "spec": {}})),
            (
                "POST /apis/apps/v1/namespaces/shop/deployments",
                json!({"spec": template}),
            ),
            (
                "PUT /apis/batch/v1/namespaces/shop/cronjobs/web",
                json!({"spec": {"jobTemplate": {"spec": template}}}),
            ),
        ] {
            assert_eq!(
                held(&ready("unconfined"), request, object),
                expected,
                "{request} {key}"
            );
        }
        // The Deployment's own annotations are no pod's.
        let other = json!({"metadata": metadata, "spec": {"template": {"spec": {}}}});
        let request = "POST /apis/apps/v1/namespaces/shop/deployments";
        assert!(!held(&ready("unconfined"), request, other), "{key}");
    }
    // kubectl 1.20 `debug` writes the kind EphemeralContainers, which has no spec.
    let old = json!({"kind": "EphemeralContainers", "ephemeralContainers": [{"securityContext": {"privileged": true}}]});
    let put = "PUT /api/v1/namespaces/shop/pods/web/ephemeralcontainers";
    assert!(held(&ready("privileged"), put, old));
}

/// The body of the request of that target, as a client has sent it.
fn recorded(scenario: &str, target: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures");
    let bytes = std::fs::read(folder.join(scenario).join("001.client.bin")).unwrap();
    let at = memchr::memmem::find(&bytes, target.as_bytes()).unwrap();
    let head = memchr::memmem::find(&bytes[at..], b"\r\n\r\n").unwrap() + at + 4;
    bytes[head..].to_vec()
}

#[test]
fn ready_conditions_see_what_clients_have_sent_in_protobuf() {
    for (scenario, target) in [
        (
            "privileged-protobuf-raw",
            "POST /api/v1/namespaces/shop/pods?dryRun=All",
        ),
        (
            "privileged-debug-node-1.36",
            "POST /api/v1/namespaces/shop/pods",
        ),
    ] {
        let body = recorded(scenario, target);
        let content_type = Some("application/vnd.kubernetes.protobuf");
        let object = crate::request::body::object(&info(target), content_type, &body);
        let object = object.unwrap().unwrap();
        for (condition, expected) in [
            ("privileged", true),
            ("host-namespaces", true),
            ("host-path", true),
            ("capabilities", false),
            ("host-ports", false),
            ("secrets", false),
        ] {
            assert_eq!(
                held(&ready(condition), target, object.clone()),
                expected,
                "{scenario}: {condition} in {object}"
            );
        }
    }
}

#[test]
fn ready_conditions_about_the_rest() {
    let roles = "POST /apis/rbac.authorization.k8s.io/v1/clusterroles";
    let bindings = "PUT /apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings/x";
    let rule = |key: &str, value: &str| json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], key: [value]}]});
    let binding = |role: &str, subject: &str| json!({"roleRef": {"name": role}, "subjects": [{"name": subject}]});
    for (name, request, object, expected) in [
        ("rbac-grants", roles, rule("verbs", "*"), true),
        ("rbac-grants", roles, rule("verbs", "escalate"), true),
        ("rbac-grants", roles, rule("verbs", "bind"), true),
        ("rbac-grants", roles, rule("verbs", "impersonate"), true),
        ("rbac-grants", roles, rule("resources", "*"), true),
        ("rbac-grants", roles, rule("resources", "secrets"), true),
        ("rbac-grants", roles, rule("resources", "*/exec"), true),
        ("rbac-grants", roles, rule("apiGroups", "*"), true),
        ("rbac-grants", roles, json!({"aggregationRule": {}}), true),
        (
            "rbac-grants",
            roles,
            rule("resources", "pods/ephemeralcontainers"),
            true,
        ),
        // Whoever has the role that it is added to has these rights, too.
        (
            "rbac-grants",
            roles,
            json!({"metadata": {"labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}}),
            true,
        ),
        ("rbac-grants", roles, rule("verbs", "list"), false),
        (
            "rbac-grants",
            bindings,
            binding("cluster-admin", "bob"),
            true,
        ),
        ("rbac-grants", bindings, binding("system:node", "bob"), true),
        (
            "rbac-grants",
            bindings,
            binding("view", "system:authenticated"),
            true,
        ),
        ("rbac-grants", bindings, binding("view", "bob"), false),
        (
            "rbac-grants",
            "DELETE /apis/rbac.authorization.k8s.io/v1/clusterroles/x",
            Value::Null,
            false,
        ),
        (
            "rbac-grants",
            "POST /api/v1/namespaces/shop/pods",
            rule("verbs", "*"),
            false,
        ),
        (
            "webhooks",
            "POST /apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
            json!({}),
            true,
        ),
        (
            "webhooks",
            "GET /apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
            Value::Null,
            false,
        ),
        (
            "crds",
            "DELETE /apis/apiextensions.k8s.io/v1/customresourcedefinitions/x",
            Value::Null,
            true,
        ),
        (
            "crds",
            "GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions/x",
            Value::Null,
            false,
        ),
        (
            "namespaces",
            "DELETE /api/v1/namespaces/shop",
            Value::Null,
            true,
        ),
        (
            "namespaces",
            "GET /api/v1/namespaces/shop",
            Value::Null,
            false,
        ),
        (
            "persistent-volumes",
            "DELETE /api/v1/namespaces/shop/persistentvolumeclaims/x",
            Value::Null,
            true,
        ),
        (
            "persistent-volumes",
            "GET /api/v1/persistentvolumes",
            Value::Null,
            false,
        ),
        (
            "host-path",
            "POST /api/v1/persistentvolumes",
            json!({"spec": {"hostPath": {"path": "/"}}}),
            true,
        ),
        (
            "host-path",
            "POST /api/v1/persistentvolumes",
            json!({"spec": {"nfs": {}}}),
            false,
        ),
        (
            "delete-collection",
            "DELETE /api/v1/namespaces/shop/pods?labelSelector=a%3Db",
            Value::Null,
            true,
        ),
        (
            "delete-collection",
            "DELETE /api/v1/namespaces/shop/pods/web",
            Value::Null,
            false,
        ),
        (
            "delete-everything",
            "DELETE /api/v1/namespaces/shop/pods",
            Value::Null,
            true,
        ),
        (
            "delete-everything",
            "DELETE /api/v1/namespaces/shop/pods?labelSelector=a%3Db",
            Value::Null,
            false,
        ),
        (
            "ephemeral-containers",
            "PATCH /api/v1/namespaces/shop/pods/web/ephemeralcontainers",
            json!({}),
            true,
        ),
        (
            "ephemeral-containers",
            "GET /api/v1/namespaces/shop/pods/web/ephemeralcontainers",
            Value::Null,
            false,
        ),
        (
            "system-session",
            "POST /api/v1/namespaces/kube-system/pods/x/exec?command=sh",
            Value::Null,
            true,
        ),
        (
            "system-session",
            "POST /api/v1/nodes/n/proxy/exec/shop/web/app?command=sh",
            Value::Null,
            true,
        ),
        (
            "system-session",
            "POST /api/v1/nodes/n/proxy/run/shop/web/app?cmd=sh",
            Value::Null,
            true,
        ),
        (
            "system-session",
            "GET /api/v1/nodes/n/proxy/Exec/shop/web/app?command=sh",
            Value::Null,
            true,
        ),
        (
            "system-session",
            "GET /api/v1/nodes/n/proxy/metrics",
            Value::Null,
            false,
        ),
        (
            "system-session",
            "POST /api/v1/namespaces/shop/pods/x/exec?command=sh",
            Value::Null,
            false,
        ),
        (
            "system-session",
            "GET /api/v1/namespaces/kube-system/pods/x",
            Value::Null,
            false,
        ),
    ] {
        assert_eq!(
            held(&ready(name), request, object.clone()),
            expected,
            "{name} {request} {object}"
        );
    }
}

/// What says only which objects not to delete deletes all others.
#[test]
fn a_selector_has_to_say_which() {
    let everything = ready("delete-everything");
    for (parameter, selector, expected) in [
        ("labelSelector", "", true),
        ("labelSelector", "app!=nothing", true),
        ("labelSelector", "app != nothing , ,", true),
        ("labelSelector", "!nothing", true),
        ("labelSelector", "! nothing,a!=b", true),
        ("labelSelector", "app notin (a,b,c)", true),
        ("labelSelector", "app\tnotin(a), !x", true),
        ("labelSelector", "app=web", false),
        ("labelSelector", "app==web,tier!=db", false),
        ("labelSelector", "tier notin (db,cache),app", false),
        ("labelSelector", "app in (a,b)", false),
        ("labelSelector", "size>1", false),
        ("fieldSelector", "metadata.name!=web", true),
        ("fieldSelector", "metadata.name!=web,", true),
        // Every object of the namespace is in the namespace.
        ("fieldSelector", "metadata.namespace=shop", true),
        (
            "fieldSelector",
            "metadata.namespace==shop,metadata.name!=x",
            true,
        ),
        (
            "fieldSelector",
            "metadata.namespace=shop,metadata.name=x",
            false,
        ),
        (
            "fieldSelector",
            "metadata.name!=a\\,b,spec.nodeName!=n",
            true,
        ),
        ("fieldSelector", "spec.nodeName=n", false),
        (
            "fieldSelector",
            "metadata.name!=web,spec.nodeName==n",
            false,
        ),
    ] {
        let encoded: Vec<String> = selector
            .bytes()
            .map(|byte| format!("%{byte:02x}"))
            .collect();
        let selector = encoded.concat();
        let request = format!("DELETE /api/v1/namespaces/shop/pods?{parameter}={selector}");
        assert_eq!(
            held(&everything, &request, Value::Null),
            expected,
            "{request}"
        );
    }
}

#[test]
fn every_ready_condition_can_be_asked_about_any_request() {
    for condition in library::READY {
        for request in [
            "GET /version",
            "GET /api/v1/pods",
            "GET /api/v1/pods?watch=1",
            "DELETE /api/v1/namespaces/shop/pods/web",
            "DELETE /api/v1/namespaces/shop/pods",
            "POST /api/v1/namespaces/shop/pods/web/exec?command=sh",
            "POST /apis/example.com/v1/widgets",
            "PATCH /api/v1/namespaces/shop/pods/web/status",
        ] {
            let object = if request.starts_with("POST /apis") || request.starts_with("PATCH") {
                json!({"spec": {}})
            } else {
                Value::Null
            };
            held(&ready(condition.name), request, object);
        }
    }
}
