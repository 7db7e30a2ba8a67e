//! What cannot be put on record does not happen (threats D-19, F-07).

use std::sync::Arc;
use std::time::Duration;

use crate::support::process::{Outcome, Process};
use crate::support::world::{Caller, KUBECTLS, Options, POLICY, Workshop, World};

/// Whoever only looks at Pods is on the disk first.
const STRICT: &str = r#"
- name: pods-strictly
  apiGroups: [""]
  resources: [pods]
  audit: strict
"#;

/// The answer to a read, with its code on the last line.
fn version(world: &World, authorization: &str) -> Outcome {
    let url = format!("{}/version", world.url());
    Process::new(world.runtime(), "curl")
        .args(["-sS", "-k", "--max-time", "10", "-w", "\n%{http_code}"])
        .args(["-H", authorization, &url])
        .run()
}

#[test]
fn f07_when_the_audit_log_takes_no_more_requests_are_refused_at_once() {
    let options = Options {
        file_bytes_max: Some(48 * 1024),
        ..Options::default()
    };
    let world = World::start_with(Arc::new(Workshop::new()), &options);
    let good = format!("Authorization: Bearer {}", world.token(Caller::OnCall));
    let full = (0..200).any(|_| {
        // The request that finds the disk full waits for it; it is the last one that does.
        let outcome = version(&world, &good);
        outcome.code != 0 || outcome.stdout.ends_with("503")
    });
    assert!(full, "the audit log never was full");

    for authorization in [good.as_str(), "Authorization: Bearer nobody", "A: b"] {
        let outcome = version(&world, authorization);
        outcome.expect_code(0);
        assert!(
            outcome.stdout.contains("audit log cannot be written")
                && outcome.stdout.ends_with("503"),
            "{outcome}"
        );
    }
    for kubectl in KUBECTLS {
        let created = ["create", "configmap", "never", "--from-literal=a=b"];
        let outcome = world
            .kubectl(kubectl, Caller::Developer)
            .args(created)
            .start()
            .wait_at_most(Duration::from_secs(30));
        assert_ne!(outcome.code, 0, "{outcome}");
    }
    let listed = world.admin(&["get", "configmaps", "-A", "-o", "name"]);
    assert!(!listed.stdout.contains("never"), "{listed}");
    assert!(
        world
            .control("/metrics")
            .contains("portcullis_audit_events_lost_total 0")
    );
}

#[test]
fn f07_a_write_and_what_a_rule_names_are_on_record_before_they_are_carried_out() {
    let options = Options {
        policy: Some(POLICY.to_owned() + STRICT),
        ..Options::default()
    };
    let world = World::start_with(Arc::new(Workshop::new()), &options);
    let stages = |resource: &str| {
        let get = [
            "get",
            "--raw",
            &format!("/api/v1/namespaces/default/{resource}"),
        ];
        let got = world.run(KUBECTLS[0], Caller::Developer, &get);
        got.expect_code(0);
        let events = world.audit();
        let about = |event: &&serde_json::Value| event["objectRef"]["resource"] == resource;
        let events = events.iter().filter(about);
        events
            .map(|event| event["stage"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(stages("pods"), ["RequestReceived", "ResponseComplete"]);
    assert_eq!(stages("events"), ["ResponseComplete"]);
    for (kubectl, name) in KUBECTLS.into_iter().zip(["first", "second"]) {
        world
            .run(kubectl, Caller::Developer, &["create", "configmap", name])
            .expect_code(0);
        let events = world.audit();
        let of_write = |event: &&serde_json::Value| {
            event["verb"] == "create" && event["objectRef"]["resource"] == "configmaps"
        };
        let last: Vec<_> = events.iter().filter(of_write).rev().take(2).collect();
        assert_eq!(last[1]["stage"], "RequestReceived", "{last:?}");
        assert_eq!(last[0]["stage"], "ResponseComplete", "{last:?}");
        assert_eq!(last[0]["auditID"], last[1]["auditID"]);
        assert_eq!(last[1]["annotations"]["portcullis.dev/decision"], "allow");
        assert!(last[1]["responseStatus"].is_null());
    }
}
