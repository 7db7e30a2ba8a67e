//! Who is it: tokens of a certified provider, agents, refusals, reloads.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::support::gateway::jwt;
use crate::support::oidc::Provider;
use crate::support::process::PATIENCE;
use crate::support::world::{Caller, KUBECTLS, Kubectl, Options, POLICY, Workshop, World};

#[test]
fn tokens_of_a_certified_provider_are_accepted() {
    let workshop = Arc::new(Workshop::new());
    let accounts = json!({
        "dana": {"groups": ["developers"]},
        "mallory": {"groups": ["system:masters"]},
        "dave": {"groups": ["ai-agents"], "act": {"sub": "coding-assistant"}},
    });
    let mut provider = Provider::start(&workshop, &accounts);
    let audiences = ["portcullis-rs256", "portcullis-es256"];
    let options = Options {
        issuers: vec![jwt(&provider.issuer, &workshop.path("ca.crt"), &audiences)],
        ..Options::default()
    };
    let world = World::start_with(Arc::clone(&workshop), &options);
    world.seed_secret("first");
    for algorithm in ["RS256", "ES256"] {
        for version in KUBECTLS {
            let token = provider.token("dana", algorithm, 300);
            world.log_in_with("dana", &token);
            let outcome = world
                .kubectl_with(version, "dana.kubeconfig")
                .args(["get", "secret", "first", "-o", "yaml"])
                .run();
            world.check(&outcome);
            outcome.expect_code(0).expect("password: ");
        }
    }
    let who = world
        .kubectl_with(Kubectl::Current, "dana.kubeconfig")
        .args(["auth", "whoami"])
        .run();
    who.expect_code(0).expect("dana").expect("developers");

    world.log_in_with("dave", &provider.token("dave", "ES256", 300));
    let agent = world.kubectl_with(Kubectl::Current, "dave.kubeconfig");
    agent.args(["get", "pods"]).run().expect_code(0);
    let agent = world.kubectl_with(Kubectl::Current, "dave.kubeconfig");
    agent
        .args(["delete", "pod", "--all"])
        .run()
        .expect_code(1)
        .expect_error("forbidden");

    world.log_in_with("mallory", &provider.token("mallory", "RS256", 300));
    let master = world
        .kubectl_with(Kubectl::Current, "mallory.kubeconfig")
        .args(["get", "pods"])
        .run();
    assert_ne!(
        master.code, 0,
        "a token may not name system groups: {master}"
    );
}

#[test]
fn whoami_tells_the_human_behind_an_agent() {
    let world = World::start();
    for caller in [Caller::Developer, Caller::Agent] {
        let who = world.run(Kubectl::Current, caller, &["auth", "whoami", "-o", "json"]);
        who.expect_code(0).expect("\"dora\"");
        assert!(
            !who.stdout.contains("system:masters"),
            "the gateway's own groups show: {who}"
        );
        assert_eq!(
            who.stdout.contains("coding-assistant"),
            caller == Caller::Agent,
            "{who}"
        );
    }
}

#[test]
fn nobody_gets_in_without_a_token_or_under_another_name() {
    let world = World::start();
    for version in KUBECTLS {
        for bad in ["not-a-token", "e30.e30.e30"] {
            world.log_in_with("stranger", bad);
            let outcome = world
                .kubectl_with(version, "stranger.kubeconfig")
                .args(["get", "pods"])
                .run();
            world.check(&outcome);
            assert_ne!(outcome.code, 0, "{outcome}");
            outcome.expect_error("Warning: the bearer token was not accepted");
        }
        for flags in [
            &["--as=admin"][..],
            &["--as=admin", "--as-group=system:masters"],
        ] {
            let args = [
                &["get", "--raw", "/api/v1/namespaces/default/pods"][..],
                flags,
            ]
            .concat();
            let outcome = world.run(version, Caller::Developer, &args);
            outcome.expect_code(1).expect_error("mpersonat");
        }
        // Nothing is cached yet: kubectl asks for discovery, and what refuses that is a warning.
        world.log_in_with("newcomer", &world.token(Caller::Developer));
        let outcome = world
            .kubectl_with(version, "newcomer.kubeconfig")
            .args(["get", "pods", "--as=admin"])
            .run();
        world.check(&outcome);
        outcome
            .expect_code(1)
            .expect_error("Warning: the header `impersonate-user` is not accepted");
    }
}

#[test]
fn a_new_policy_is_taken_and_a_bad_one_is_not() {
    let world = World::start();
    let see = || world.run(Kubectl::Current, Caller::Agent, &["get", "pods"]);
    see().expect_code(0);
    let stricter = POLICY.replace("verbs: [get, list, watch]", "verbs: [watch]");
    assert_ne!(stricter, POLICY);
    world.write("policy.yaml", &stricter);
    until("the new policy decides", || see().code == 1);

    world.write("policy.yaml", "rules: [nonsense");
    until("the bad file is reported", || {
        world.gateway().stderr().contains("policy") || world.gateway().stdout().contains("policy")
    });
    see().expect_code(1).expect_error("forbidden");

    world.write("policy.yaml", POLICY);
    until("the old policy is back", || see().code == 0);
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn every_request_is_audited_under_its_caller() {
    let world = World::start();
    world
        .run(Kubectl::Current, Caller::Agent, &["get", "secret", "db"])
        .expect_code(0);
    world
        .run(Kubectl::Current, Caller::Agent, &["delete", "secret", "db"])
        .expect_code(1);
    let events: Vec<String> = world.audit().iter().map(ToString::to_string).collect();
    let about = |verb: &str| {
        events
            .iter()
            .find(|event| event.contains(&format!("\"{verb}\"")) && event.contains("\"db\""))
            .cloned()
    };
    for verb in ["get", "delete"] {
        let event = about(verb).unwrap_or_else(|| panic!("no audit event for {verb}"));
        assert!(
            event.contains("dora") && event.contains("coding-assistant"),
            "{event}"
        );
    }
    assert!(
        about("delete").unwrap().to_lowercase().contains("deny")
            || about("delete").unwrap().contains("403")
    );
    assert!(
        about("get").unwrap().contains("kubectl get"),
        "kubectl's claimed command is kept"
    );
}
