//! `kubectl auth can-i` behind the gateway: the policy's answer and the cluster's, both.

use std::sync::Arc;

use loadtest::apiserver::Denial;
use serde_json::{Value, json};

use crate::support::process::Outcome;
use crate::support::world::{Caller, KUBECTLS, Kubectl, Options, POLICY, Workshop, World};

const ACCESS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

fn world() -> World {
    let rules = r#"
- name: deleting
  subjects: {groups: [developers]}
  verbs: [delete]
  apiGroups: [""]
  resources: [pods]
  decision: hold
  hold: {approvers: {groups: [on-call]}}
- name: baseline
  subjects: {groups: [developers]}
  verbs: [create, update, patch]
  when: [{name: privileged}]
  decision: deny
- name: metrics
  subjects: {groups: [developers]}
  verbs: [get]
  nonResourceURLs: [/metrics]
  decision: allow
- name: agents-open-no-sessions"#;
    let options = Options {
        // Masks on everything withhold the API server's warnings, and not the gateway's.
        policy: Some(
            POLICY
                .replacen("\n- name: agents-open-no-sessions", rules, 1)
                .replacen(
                    "mask: [secrets]",
                    "mask: [secrets, known-values, credentials]",
                    1,
                ),
        ),
        denials: vec![Denial {
            user: "dora".to_owned(),
            verb: "delete".to_owned(),
            resource: "services".to_owned(),
            ..Denial::default()
        }],
        ..Options::default()
    };
    World::start_with(Arc::new(Workshop::new()), &options)
}

fn can_i(world: &World, version: Kubectl, caller: Caller, args: &[&str]) -> Outcome {
    world.run(version, caller, &[&["auth", "can-i"], args].concat())
}

#[test]
fn can_i_says_what_policy_and_cluster_would() {
    let world = world();
    for version in KUBECTLS {
        let yes = |caller, args: &[&str]| {
            let outcome = can_i(&world, version, caller, args);
            outcome.expect_code(0).expect("yes");
            outcome
        };
        let no = |caller, args: &[&str], why: &str| {
            can_i(&world, version, caller, args)
                .expect_code(1)
                .expect("no - ")
                .expect(why);
        };
        let (dora, agent) = (Caller::Developer, Caller::Agent);
        for plain in [
            &["get", "pods"][..],
            &["list", "secrets", "--all-namespaces"],
            &["get", "nodes"],
            &["create", "pods", "--subresource=exec"],
            &["delete", "deployments.apps/web"],
            &["get", "/version"],
            &["get", "/metrics"],
        ] {
            let outcome = yes(dora, plain);
            assert!(!outcome.stderr.contains("policy rule"), "{outcome}");
        }
        yes(dora, &["delete", "pods"])
            .expect_error("after approval by somebody of group")
            .expect_error("end-to-end/deleting");
        yes(dora, &["create", "pods"]).expect_error("end-to-end/baseline if privileged");
        yes(dora, &["*", "*"]).expect_error("after approval");
        no(
            dora,
            &["delete", "services"],
            "the cluster's own authorization",
        );
        no(
            dora,
            &["get", "/logs/kubelet.log"],
            "no policy rule allows \"dora\"",
        );
        no(dora, &["impersonate", "users"], "no impersonation headers");
        yes(agent, &["watch", "pods", "-A"]);
        no(
            agent,
            &["delete", "pods"],
            "no policy rule allows agent \"coding-assistant\"",
        );
        no(
            agent,
            &["create", "pods", "--subresource=exec"],
            "end-to-end/agents-open-no-sessions: agents may not open sessions; ask on-call",
        );
        no(agent, &["*", "*"], "denied by policy rule");
        // And so it is.
        let refused = world.run(version, agent, &["delete", "pod", "web"]);
        refused.expect_code(1).expect_error("no policy rule allows");
    }
}

#[test]
fn the_list_is_what_is_left_of_the_clusters() {
    let world = world();
    for version in KUBECTLS {
        let list = |caller| {
            let outcome = can_i(&world, version, caller, &["--list"]);
            outcome.expect_code(0);
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            (
                outcome.stdout.lines().map(words).collect::<Vec<_>>(),
                outcome.stderr.clone(),
            )
        };
        let (lines, said) = list(Caller::Agent);
        assert!(
            lines.contains(&"*.* [] [] [get list watch]".to_owned()),
            "{lines:?}"
        );
        let review = "selfsubjectreviews.authentication.k8s.io [] [] [create]".to_owned();
        assert!(lines.contains(&review), "{lines:?}");
        let made_up = "selfsubjectreviews.authorization.k8s.io";
        assert!(!lines.iter().any(|line| line.starts_with(made_up)));
        assert!(lines.contains(&"[/api/*] [] [get]".to_owned()), "{lines:?}");
        assert!(
            !lines
                .iter()
                .any(|line| line.contains("delete") || line.ends_with("[*]"))
        );
        assert_eq!(said, "");
        let (lines, said) = list(Caller::Developer);
        assert!(lines.contains(&"*.* [] [] [*]".to_owned()), "{lines:?}");
        assert!(
            said.contains("may be incomplete") && said.contains("depends on an approval"),
            "{said}"
        );
        let (lines, said) = list(Caller::OnCall);
        assert!(lines.contains(&"*.* [] [] [*]".to_owned()), "{lines:?}");
        assert_eq!(said, "");
    }
}

fn send(world: &World, caller: Caller, path: &str, body: &Value) -> Outcome {
    let file = world.write("review.json", &body.to_string());
    let file = file.to_str().unwrap();
    world.run(
        Kubectl::Current,
        caller,
        &["create", "--raw", path, "-f", file],
    )
}

#[test]
fn the_reason_is_in_the_answer_and_reviews_of_others_are_the_clusters() {
    let world = world();
    let of = |attributes: Value| {
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        })
    };
    let review = |attributes: Value| {
        let outcome = send(&world, Caller::Developer, ACCESS, &of(attributes));
        outcome.expect_code(0);
        let answer: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(answer["kind"], "SelfSubjectAccessReview");
        assert!(answer["spec"]["resourceAttributes"].is_object());
        answer["status"].clone()
    };
    let held = review(json!({"verb": "delete", "resource": "pods", "namespace": "default"}));
    assert_eq!(held["allowed"], true);
    let reason = held["reason"].as_str().unwrap();
    assert!(reason.starts_with("after approval by"), "{reason}");
    let denied = review(json!({"verb": "impersonate", "resource": "users"}));
    assert_eq!(
        (&denied["allowed"], &denied["denied"]),
        (&json!(false), &json!(true))
    );
    // What cannot be read is not answered by half.
    let twice = r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview",
        "spec":{"resourceAttributes":{"verb":"get","verb":"delete","resource":"pods"}}}"#;
    world.write("twice.json", twice);
    let twice = world.path("twice.json");
    world
        .run(
            Kubectl::Current,
            Caller::OnCall,
            &["create", "--raw", ACCESS, "-f", twice.to_str().unwrap()],
        )
        .expect_code(1)
        .expect_error("each key once");
    let nothing = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {}});
    send(&world, Caller::Developer, ACCESS, &nothing)
        .expect_code(1)
        .expect_error("asks for nothing");
    let other = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "dora", "resourceAttributes": {"verb": "delete", "resource": "services"}},
    });
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let outcome = send(&world, Caller::OnCall, path, &other);
    let answer: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(answer["status"], json!({"allowed": false}));
    send(&world, Caller::Agent, path, &other).expect_code(1);
}
