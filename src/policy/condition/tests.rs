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

mod ready;
mod rules;

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
