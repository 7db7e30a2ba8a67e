//! Tokens that are revoked before their time: what is open ends, what comes later is refused.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::process::Running;
use crate::support::world::{Caller, KUBECTLS, Kubectl, World};

/// Writes the revocation list and has it read; returns when the gateway has said something about it.
fn revoke(world: &World, entries: &Value, said: &str) -> Timestamp {
    let heard = |world: &World| world.gateway().stderr().matches(said).count();
    let before = heard(world);
    let list = json!({
        "apiVersion": "portcullis.dev/v1alpha1",
        "kind": "RevocationList",
        "revoked": entries,
    });
    world.write("revoked.yaml", &list.to_string());
    let asked = Timestamp::now();
    world.gateway().signal("HUP");
    let deadline = asked + Duration::from_secs(20);
    while heard(world) == before {
        assert!(Timestamp::now() < deadline, "the gateway never said {said}");
        world.gateway().pause();
    }
    asked
}

const APPLIED: &str = "a new revocation list is in force";
const REFUSED: &str = "the new revocation list cannot be used; the old one stays in force";

/// Logs dora in with a token of this id.
fn log_in(world: &World, id: &str) {
    let now = Timestamp::now().as_second();
    let claims = json!({
        "sub": "dora", "groups": ["developers"], "jti": id, "iat": now, "exp": now + 3600,
    });
    let token = world.issuer.issue(claims).unwrap();
    world.log_in_with(id, &token);
}

fn cat(world: &World, version: Kubectl, id: &str, pod: &str) -> Running {
    let mut cat = world
        .kubectl_with(version, &format!("{id}.kubeconfig"))
        .args(["exec", "-i", pod, "--", "cat"])
        .interactive()
        .start();
    echoes(&mut cat, "open\n");
    cat
}

fn echoes(cat: &mut Running, line: &str) {
    cat.type_in(line);
    cat.wait_for("the echo", |text| text.contains(line));
}

/// What a revoked token had opened ended within a second, and the audit log says why.
#[track_caller]
fn expect_ends_at_once(world: &World, asked: Timestamp, expected: &[&str]) {
    let deadline = asked + Duration::from_secs(20);
    loop {
        let mut ended = Vec::new();
        for event in world.audit() {
            let at: Timestamp = event["stageTimestamp"].as_str().unwrap().parse().unwrap();
            if at < asked || event["annotations"]["portcullis.dev/ended"] != "token-revoked" {
                continue;
            }
            let took = at.duration_since(asked).as_secs_f64();
            assert!(took < 1.0, "after {took} s: {event}");
            assert_eq!(event["annotations"]["portcullis.dev/token-id"], "stolen");
            let object = &event["objectRef"];
            let part = object["subresource"].as_str();
            let resource = object["resource"].as_str().unwrap();
            ended.push(
                part.map_or_else(|| resource.to_owned(), |part| format!("{resource}/{part}")),
            );
        }
        ended.sort_unstable();
        if ended == expected {
            return;
        }
        assert!(Timestamp::now() < deadline, "ended: {ended:?}");
        world.gateway().pause();
    }
}

#[test]
fn a_revoked_token_ends_what_it_opened_and_opens_nothing() {
    let world = World::start();
    let pod = world.pod();
    log_in(&world, "stolen");
    log_in(&world, "kept");
    for version in KUBECTLS {
        revoke(
            &world,
            &json!([{"user": "nobody", "issuedBefore": Timestamp::now()}]),
            APPLIED,
        );
        let mut kept = cat(&world, version, "kept", &pod);
        let stolen = cat(&world, version, "stolen", &pod);
        let watches = ["kept", "stolen"].map(|id| {
            let mut watch = world
                .kubectl_with(version, &format!("{id}.kubeconfig"))
                .args(["get", "pods", "-w"])
                .start();
            watch.wait_for("the list", |text| text.lines().count() > 1);
            watch
        });

        let entry = json!({"issuer": world.issuer.url(), "jti": "stolen"});
        let asked = revoke(&world, &json!([entry]), APPLIED);
        let outcome = stolen.wait();
        world.check(&outcome);
        assert_ne!(outcome.code, 0, "{outcome}");
        outcome.expect_error("portcullis: your token was revoked and this session with it");
        let [mut kept_watch, stolen_watch] = watches;
        let outcome = stolen_watch.wait();
        world.check(&outcome);
        // kubectl prints the Status as one more row.
        let why = "portcullis: your token was revoked and this watch with it";
        assert!(outcome.stdout.contains(why), "{outcome}");

        expect_ends_at_once(&world, asked, &["pods", "pods/exec"]);

        // It opens nothing any more, and its user reads what to do.
        let refused = world
            .kubectl_with(version, "stolen.kubeconfig")
            .args(["get", "--raw", "/api/v1/namespaces/default/pods"])
            .run();
        world.check(&refused);
        assert_ne!(refused.code, 0, "{refused}");
        refused.expect_error("the bearer token was revoked; log in again");
        let events = world.audit();
        let refusal = events.last().unwrap();
        assert_eq!(refusal["responseStatus"]["code"], 401, "{refusal}");
        assert_eq!(refusal["user"]["username"], "dora", "{refusal}");

        // Another token of the same user is another matter.
        echoes(&mut kept, "still open\n");
        assert!(!kept_watch.has_ended());
        world.check(&kept_watch.interrupt());
        world.check(&kept.interrupt());
    }
    let mut seen = Vec::new();
    let ends: Vec<Value> = (0..4)
        .map(|_| world.next_tape(&mut seen).summary["reason"].clone())
        .collect();
    assert_eq!(
        ends.iter()
            .filter(|reason| *reason == "token-revoked")
            .count(),
        2,
        "{ends:?}"
    );
    let metrics = world.control("/metrics");
    let counted = "portcullis_streams_ended_total{reason=\"revoked\"} 4";
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn logging_out_everywhere_ends_old_tokens_and_lets_new_ones_in() {
    let world = World::start();
    let pod = world.pod();
    log_in(&world, "old");
    let session = cat(&world, Kubectl::Current, "old", &pod);
    // Tokens count whole seconds: a moment after the old token's, and not after the new one's.
    let moment = Timestamp::now().as_second() + 1;
    let entry = json!({
        "issuer": world.issuer.url(), "sub": "dora",
        "issuedBefore": Timestamp::from_second(moment).unwrap(),
    });
    revoke(&world, &json!([entry]), APPLIED);
    session
        .wait()
        .expect_error("your token was revoked and this session with it");
    while Timestamp::now().as_second() < moment {
        world.gateway().pause();
    }
    log_in(&world, "new");
    let mut session = cat(&world, Kubectl::Current, "new", &pod);

    // A list that cannot be read changes nothing, and says where it is wrong.
    for broken in [
        json!([entry, {}]),
        json!([{"issuer": "https://nobody.test", "jti": "x"}]),
    ] {
        revoke(&world, &broken, REFUSED);
    }
    let said = world.gateway().stderr();
    for problem in [
        "revoked[1] needs exactly one of",
        "revoked[0].issuer is no issuer",
    ] {
        assert!(said.contains(problem), "{said}");
    }
    echoes(&mut session, "still open\n");
    let refused = world
        .kubectl_with(Kubectl::Current, "old.kubeconfig")
        .args(["get", "pods"])
        .run();
    assert_ne!(refused.code, 0, "{refused}");
    refused.expect_error("the bearer token was revoked");
    let metrics = world.control("/metrics");
    let counted = "portcullis_revocation_reloads_total{result=\"refused\"} 2";
    assert!(metrics.contains(counted), "{metrics}");

    // Whoever is named without a moment stays out, operators of the sessions API included.
    let operator = || {
        let url = world.control_url();
        world.write("token", &world.token(Caller::OnCall));
        let args = ["sessions", "ls", "--server", &url, "--token-file", "token"];
        world.portcullis(&args).run()
    };
    operator().expect_code(0);
    revoke(
        &world,
        &json!([{"user": "dora"}, {"user": "oscar"}]),
        APPLIED,
    );
    session.wait().expect_error("your token was revoked");
    let refused = operator();
    assert_ne!(refused.code, 0, "{refused}");
    refused.expect_error("the bearer token was revoked");
}
