#![expect(
    clippy::too_many_lines,
    clippy::cognitive_complexity,
    reason = "tables are as long as their rows"
)]

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::super::tests::{allow_all, rule, strings};
use super::*;
use crate::identity::Identity;
use crate::policy::rule::{Asked, Effect, RuleSource};
use crate::policy::{Decision, Hold, Policy, PolicySource};
use crate::request::RequestInfo;

fn cel(expression: &str) -> ConditionSource {
    ConditionSource {
        name: "test".to_owned(),
        expression: Some(expression.to_owned()),
        ..ConditionSource::default()
    }
}

fn ready(name: &str) -> ConditionSource {
    let parameters = match name {
        "image-registry" => vec![("registries".to_owned(), strings(&["registry.example/"]))],
        _ => Vec::new(),
    };
    ConditionSource {
        name: name.to_owned(),
        parameters: parameters.into_iter().collect(),
        ..ConditionSource::default()
    }
}

fn info(request: &str) -> RequestInfo {
    let (method, target) = request.split_once(' ').unwrap();
    RequestInfo::parse(&method.parse::<Method>().unwrap(), target).unwrap()
}

fn evaluate(source: &ConditionSource, request: &str, seen: &Seen) -> Held {
    let condition = Condition::compile(source).unwrap();
    let identity = Identity::for_tests("alice", &["devs", "ops"]).with_agent("bot", &["mcp"]);
    let info = info(request);
    let asked = Asked::new(&identity, &info, "east");
    condition.holds(&Scope::new(&asked, seen)).0
}

fn held(source: &ConditionSource, request: &str, object: Value) -> bool {
    let object = (!object.is_null()).then_some(object);
    let seen = Seen::default()
        .object(object.as_ref())
        .old_object(None)
        .dry_run(false);
    match evaluate(source, request, &seen) {
        Held::Yes => true,
        Held::No => false,
        other => panic!("{request}: {other:?}"),
    }
}

const CREATE: &str = "POST /api/v1/namespaces/shop/pods";

#[test]
fn expressions_see_the_request_the_caller_and_the_objects() {
    let pod = json!({
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": 3, "big": u64::MAX, "share": 0.5, "containers": [{"name": "a"}, {"name": "b"}]},
    });
    for (expression, expected) in [
        (
            "request.verb == 'create' && request.operation == 'CREATE'",
            true,
        ),
        (
            "request.namespace == 'shop' && request.cluster == 'east'",
            true,
        ),
        ("request.session == null && !request.dryRun", true),
        ("caller.username == 'alice' && 'ops' in caller.groups", true),
        (
            "caller.agent == 'bot' && caller.agentChain == ['mcp']",
            true,
        ),
        (
            "['mcp'] == caller.agentChain && caller.agentChain != []",
            true,
        ),
        ("object.spec.replicas > 2 && object.spec.share < 1.0", true),
        ("object.spec.big > 5u", true),
        ("object.metadata.labels['app'] == 'web'", true),
        ("object.metadata.labels == {'app': 'web'}", true),
        ("{'app': 'web'} == object.metadata.labels", true),
        ("{'app': 'web'} in [object.metadata.labels]", true),
        ("object.metadata.labels in [{'app': 'web'}]", true),
        ("has(object.spec.hostNetwork)", false),
        ("object.?spec.?hostNetwork.orValue(false)", false),
        ("object.spec.containers.map(c, c.name) == ['a', 'b']", true),
        (
            "object.spec.containers.filter(c, c.name == 'b').size() == 1",
            true,
        ),
        ("object.spec.containers.exists_one(c, c.name == 'b')", true),
        (
            "(object.spec.containers + object.spec.containers).size() == 4",
            true,
        ),
        (
            "(object.spec.containers + [{'name': 'c'}]).exists(c, c.name == 'c')",
            true,
        ),
        (
            "object.metadata.name.startsWith('w') && object.metadata.name.matches('^w.b$')",
            true,
        ),
        (
            "object.metadata.name.upperAscii() == 'WEB' && 'a,b'.split(',').size() == 2",
            true,
        ),
        ("oldObject == null", true),
        (
            "type(object.metadata.name) == string && type(object.spec.replicas) == int",
            true,
        ),
        (
            "variables.containers.size() == 2 && variables.podSpec.replicas == 3",
            true,
        ),
        ("object.metadata.labels.all(key, key == 'app')", true),
        (
            "'app' in object.metadata.labels && !('x' in object.metadata.labels)",
            true,
        ),
        ("object.spec.containers[1].name == 'b'", true),
        ("[1, 2].exists(x, [x, 5].exists(y, y == 5))", true),
    ] {
        assert_eq!(
            held(&cel(expression), CREATE, pod.clone()),
            expected,
            "{expression}"
        );
    }
}

#[test]
fn sessions_are_seen_as_they_are_asked_for() {
    let exec = "GET /api/v1/namespaces/shop/pods/web/exec?container=app&command=sh&command=-c&stdin=true&tty=true";
    for expression in [
        "request.operation == 'CONNECT' && request.verb == 'create'",
        "request.session.kind == 'exec' && request.session.pod == 'web' && request.session.container == 'app'",
        "request.session.command == ['sh', '-c'] && request.session.tty && request.session.stdin",
        "object == null && oldObject == null",
    ] {
        assert_eq!(
            evaluate(&cel(expression), exec, &Seen::default()),
            Held::Yes,
            "{expression}"
        );
    }
}

#[test]
fn what_cannot_be_meant_is_refused_when_a_policy_is_loaded() {
    for (expression, message) in [
        ("object.", "is not CEL"),
        ("1 +", "is not CEL"),
        ("objekt.spec", "has an unknown variable \"objekt\""),
        (
            "request.verbs == 'get'",
            "reads request.verbs, which does not exist",
        ),
        ("caller.name == 'a'", "reads caller.name"),
        ("params.x.size() > 0", "reads params.x"),
        ("variables.pod == null", "reads variables.pod"),
        (
            "object.all(x, x == y)",
            "has an unknown variable \"y\" (known are object, oldObject, request, caller, variables, params) at 1:20",
        ),
        ("[1].all(x, true) && x", "has an unknown variable \"x\""),
        (
            "frobnicate(object)",
            "calls an unknown function \"frobnicate\"",
        ),
        (
            "object.name.replace('a', 'b') == ''",
            "calls an unknown function \"replace\"",
        ),
        (
            "'%s'.format([object]) == ''",
            "calls an unknown function \"format\"",
        ),
        ("Foo{a: 1} == null", "uses what conditions do not support"),
        (
            "[1].all(a, [1].all(b, [1].all(c, [1].all(d, [1].all(e, true)))))",
            "more than 4 comprehensions",
        ),
    ] {
        let error = Condition::compile(&cel(expression)).err();
        let error = error.unwrap_or_else(|| panic!("{expression} compiles"));
        assert!(error.contains(message), "{expression}: {error}");
    }
    let deep = format!("{}1{} == 1", "(".repeat(400), ")".repeat(400));
    assert!(Condition::compile(&cel(&deep)).is_err());
    let long = format!("'{}' == ''", "x".repeat(limits::CONDITION_BYTES_MAX));
    assert!(Condition::compile(&cel(&long)).is_err());
    for (name, parameters, message) in [
        ("no-such", vec![], "is no ready condition"),
        ("image-registry", vec![], "needs the parameter registries"),
        (
            "image-registry",
            vec![("registries", vec!["registry.example"])],
            "does not end with '/'",
        ),
        (
            "privileged",
            vec![("allowed", vec!["x"])],
            "has no parameter \"allowed\"",
        ),
    ] {
        let parameters = parameters
            .into_iter()
            .map(|(name, values)| (name.to_owned(), strings(&values)))
            .collect();
        let source = ConditionSource {
            name: name.to_owned(),
            parameters,
            ..ConditionSource::default()
        };
        let error = Condition::compile(&source).err().unwrap();
        assert!(error.contains(message), "{error}");
    }
    let both = ConditionSource {
        expression: Some("true".to_owned()),
        ..ready("privileged")
    };
    assert!(Condition::compile(&both).is_err());
}

#[test]
fn what_cannot_be_evaluated_says_so_and_quotes_no_value() {
    let secret = json!({"data": {"password": "hunter2"}, "list": ["hunter2"]});
    let seen = Seen::default().object(Some(&secret));
    for expression in [
        "object.data.token == 'x'",
        "object.data.password > 5",
        "object.data.password",
        "object.list[7] == 'x'",
        "object.data.password.size() / 0 == 1",
        "int(object.data.password) == 1",
        "object.data.password && true",
        "object.data + 1 == 1",
        "object.list.all(x, x.y == 1)",
        "-object.data.password == 1",
        "object[object.data.password] == 1",
        "object.list + object.data == []",
        "!object.data.password",
    ] {
        match evaluate(&cel(expression), CREATE, &seen) {
            Held::Failed(name, why) => {
                assert_eq!(name, "test");
                assert!(
                    !why.contains("hunter2") || expression.contains("object[object"),
                    "{expression}: {why}"
                );
            }
            other => panic!("{expression}: {other:?}"),
        }
    }
}

#[test]
fn what_an_object_makes_a_condition_cost_is_bounded() {
    let items: Vec<Value> = (0..5000).map(Value::from).collect();
    let text = "a".repeat(200_000);
    let object = json!({"items": items, "text": text});
    let seen = Seen::default().object(Some(&object));
    for expression in [
        "object.items.all(a, object.items.all(b, a >= 0))",
        "object.items.all(a, object.items.exists(b, b == -1) || true)",
        "object.items.map(a, object.items.map(b, b)).size() > 0",
        "object.items.filter(a, object.items.filter(b, true).size() > 0).size() > 0",
        "object.items.all(a, !object.text.contains('b'))",
        "object.items.map(a, object.text + object.text).size() > 0",
        "object.items.exists(a, -1 in object.items)",
        "object.items.exists_one(a, object.items.exists_one(b, b == a))",
        "object.items.map(a, object.items + object.items).size() > 0",
    ] {
        let held = evaluate(&cel(expression), CREATE, &seen);
        assert!(
            matches!(&held, Held::Failed(_, why) if why.contains("more than 100000 steps")),
            "{expression}: {held:?}"
        );
    }
    assert_eq!(
        evaluate(&cel("object.items.all(a, a >= 0)"), CREATE, &seen),
        Held::Yes
    );
}

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

fn policy(rules: Vec<RuleSource>) -> Policy {
    Policy::compile(PolicySource {
        rules,
        ..PolicySource::default()
    })
    .unwrap()
}

fn decide(policy: &Policy, request: &str, seen: &Seen) -> Decision {
    let identity = Arc::new(Identity::for_tests("alice", &[]));
    policy.decide(&identity, &info(request), "east", seen)
}

fn when(effect: Effect, conditions: &[ConditionSource]) -> RuleSource {
    RuleSource {
        when: conditions.to_vec(),
        ..rule("when", effect, &["create", "patch"], &[""], &["pods"])
    }
}

#[test]
fn a_rule_decides_where_every_condition_holds_and_asks_for_what_it_needs() {
    let denying = policy(vec![
        when(Effect::Deny, &[ready("privileged")]),
        allow_all(),
    ]);
    let asks = decide(&denying, CREATE, &Seen::default());
    assert!(matches!(asks, Decision::Ask(inquiry) if inquiry.wanted() == Wanted::Object));
    let with = |object: Value| Seen::default().object(Some(&object));
    let privileged = json!({"spec": {"containers": [{"securityContext": {"privileged": true}}]}});
    let Decision::Deny(reason) = decide(&denying, CREATE, &with(privileged.clone())) else {
        panic!("allowed");
    };
    assert_eq!(reason.rule.as_deref(), Some("test/when"));
    assert!(
        reason
            .message
            .contains("privileged: a container runs privileged"),
        "{}",
        reason.message
    );
    let ordinary = with(json!({"spec": {"containers": [{"name": "a"}]}}));
    assert!(
        matches!(decide(&denying, CREATE, &ordinary), Decision::Allow(permit) if permit.seen().lacks_nothing())
    );
    // Where the rule does not match otherwise, nothing is asked for.
    let config_maps = "POST /api/v1/namespaces/shop/configmaps";
    assert!(matches!(
        decide(&denying, config_maps, &Seen::default()),
        Decision::Allow(_)
    ));
    // Nor where the answer is no anyway, nor where a cheaper condition says no.
    let hopeless = policy(vec![when(Effect::Deny, &[ready("privileged")])]);
    assert!(matches!(
        decide(&hopeless, CREATE, &Seen::default()),
        Decision::Deny(_)
    ));
    let elsewhere = [ready("privileged"), cel("request.namespace == 'other'")];
    let elsewhere = policy(vec![when(Effect::Deny, &elsewhere), allow_all()]);
    assert!(matches!(
        decide(&elsewhere, CREATE, &Seen::default()),
        Decision::Allow(_)
    ));
    // Each thing is asked for once.
    let old = cel("oldObject != null && object != null");
    let both = policy(vec![when(Effect::Deny, &[old]), allow_all()]);
    let patch = "PATCH /api/v1/namespaces/shop/pods/web";
    let mut seen = Seen::default();
    for wanted in [Wanted::Object, Wanted::OldObject] {
        let asks = decide(&both, patch, &seen);
        assert!(matches!(asks, Decision::Ask(inquiry) if inquiry.wanted() == wanted));
        seen = match wanted {
            Wanted::Object => seen.object(Some(&privileged)),
            _ => seen.old_object(None),
        };
    }
    assert!(matches!(decide(&both, patch, &seen), Decision::Allow(_)));
}

#[test]
fn what_cannot_be_evaluated_denies_whatever_the_rule_decides() {
    let broken = cel("object.spec.nothing == 1");
    let seen = Seen::default().object(Some(&json!({"spec": {}})));
    for effect in [Effect::Allow, Effect::Deny] {
        let policy = policy(vec![
            when(effect, std::slice::from_ref(&broken)),
            allow_all(),
        ]);
        let Decision::Deny(reason) = decide(&policy, CREATE, &seen) else {
            panic!("allowed");
        };
        assert!(
            reason.message.contains("cannot be evaluated"),
            "{}",
            reason.message
        );
        assert_eq!(reason.rule.as_deref(), Some("test/when"));
    }
}

#[test]
fn any_of_holds_when_one_does_and_names_it() {
    let any = ConditionSource {
        any_of: vec![
            ready("privileged"),
            ready("host-namespaces"),
            ready("host-path"),
        ],
        ..ConditionSource::default()
    };
    let denying = policy(vec![when(Effect::Deny, &[any]), allow_all()]);
    let with = |spec: Value| Seen::default().object(Some(&json!({"spec": spec})));
    let Decision::Deny(reason) = decide(&denying, CREATE, &with(json!({"hostPID": true}))) else {
        panic!("allowed");
    };
    assert!(
        reason.message.contains("host-namespaces: the pod shares"),
        "{}",
        reason.message
    );
    assert!(matches!(
        decide(&denying, CREATE, &with(json!({}))),
        Decision::Allow(_)
    ));
}

#[test]
fn a_held_request_says_what_is_risky() {
    let holding = RuleSource {
        hold: Some(Hold::by_one_of(&["on-call"])),
        message: Some("ask".to_owned()),
        ..when(Effect::Hold, &[ready("privileged")])
    };
    let holding = policy(vec![holding, allow_all()]);
    let pod = json!({"spec": {"containers": [{"securityContext": {"privileged": true}}]}});
    let seen = Seen::default().object(Some(&pod));
    let Decision::Hold(question) = decide(&holding, CREATE, &seen) else {
        panic!("not held");
    };
    let message = question.message().unwrap();
    assert!(message.starts_with("ask (privileged: "), "{message}");
    let asks = decide(&holding, CREATE, &Seen::default());
    assert!(matches!(asks, Decision::Ask(_)));
}

#[test]
fn conditions_are_for_decisions() {
    let mask = RuleSource {
        decision: None,
        mask: strings(&["secrets"]),
        ..when(Effect::Allow, &[ready("privileged")])
    };
    let obliging = RuleSource {
        mask: strings(&["secrets"]),
        ..when(Effect::Allow, &[ready("privileged")])
    };
    for source in [mask, obliging] {
        let source = PolicySource {
            rules: vec![source],
            ..PolicySource::default()
        };
        let problems = Policy::compile(source).unwrap_err();
        assert!(problems.iter().any(|(_, problem)| problem.field == "when"));
    }
}

#[test]
fn a_delete_is_a_dry_run_only_when_its_body_agrees() {
    let condition = cel("request.dryRun");
    let delete = "DELETE /api/v1/namespaces/shop/pods/web?dryRun=All";
    assert_eq!(
        evaluate(&condition, delete, &Seen::default()),
        Held::Wants(Wanted::DryRun)
    );
    for dry_run in [true, false] {
        let held = evaluate(&condition, delete, &Seen::default().dry_run(dry_run));
        assert_eq!(held == Held::Yes, dry_run);
    }
    let create = "POST /api/v1/namespaces/shop/pods?dryRun=All";
    assert_eq!(evaluate(&condition, create, &Seen::default()), Held::Yes);
    assert_eq!(evaluate(&condition, CREATE, &Seen::default()), Held::No);
}
