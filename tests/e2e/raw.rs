//! Requests as curl and hand-written clients send them: encodings, odd paths, forged identities.

use std::sync::Arc;

use serde_json::Value;

use crate::support::process::{Outcome, Process};
use crate::support::world::{Caller, Options, Workshop, World};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

const TABLE: &str = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const METADATA: &str = "Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
const PROTOBUF: &str = "Accept: application/vnd.kubernetes.protobuf";
const EITHER: &str = "Accept: application/vnd.kubernetes.protobuf, application/json";

/// Arguments and paths that get an answer, a masked one.
const ANSWERED: &[(&[&str], &str)] = &[
    (&[], SECRETS),
    (&[], "/api/v1/namespaces/default/secrets?pretty=true"),
    (&["--compressed"], SECRETS),
    (&["--http1.1"], SECRETS),
    (&["--http1.1", "--compressed"], SECRETS),
    (&["-H", TABLE], SECRETS),
    (
        &["-H", TABLE],
        "/api/v1/namespaces/default/secrets?includeObject=Object",
    ),
    (&["-H", METADATA], SECRETS),
    (&["-H", EITHER], SECRETS),
    (&[], "/api/v1/secrets?limit=50"),
    (
        &[],
        "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Ddb",
    ),
    (
        &[],
        "/api/v1/namespaces/default/secrets?watch=1&timeoutSeconds=1",
    ),
    (
        &["--compressed"],
        "/api/v1/namespaces/default/secrets?watch=true&timeoutSeconds=1",
    ),
    (
        &["-X", "DELETE"],
        "/api/v1/namespaces/default/secrets/many-0?dryRun=All",
    ),
    (
        &["-X", "DELETE"],
        "/api/v1/namespaces/default/secrets/many-1",
    ),
    (&["-X", "DELETE"], "/api/v1/namespaces/payments/secrets"),
];

/// curl as `caller`; the status code stands on the last line.
#[track_caller]
fn curl(world: &World, caller: Caller, args: &[&str], path: &str) -> (u16, Outcome) {
    let outcome = Process::new(world.runtime(), "curl")
        .args([
            "-sS",
            "--max-time",
            "20",
            "--path-as-is",
            "-w",
            "\n%{http_code}",
            "--cacert",
        ])
        .args([world.path("ca.crt")])
        .args([
            "-H",
            &format!("Authorization: Bearer {}", world.token(caller)),
        ])
        .args(args)
        .args([format!("{}{path}", world.url())])
        .run();
    world.check(&outcome);
    outcome.expect_code(0);
    let code = outcome
        .stdout
        .lines()
        .last()
        .and_then(|line| line.parse().ok())
        .expect("a status code");
    (code, outcome)
}

/// The body without the status line.
fn body(outcome: &Outcome) -> &str {
    outcome
        .stdout
        .rsplit_once('\n')
        .map_or("", |(body, _)| body)
}

#[test]
fn every_representation_is_masked_or_refused() {
    let world = World::start();
    for number in 0..300 {
        world.seed_secret(&format!("many-{number}"));
    }
    for (args, path) in ANSWERED {
        let (code, outcome) = curl(&world, Caller::Developer, args, path);
        assert_eq!(code, 200, "{outcome}");
        assert!(body(&outcome).len() > 100, "{outcome}");
    }
    for accept in [
        PROTOBUF,
        "Accept: application/yaml",
        "Accept: application/cbor",
        "Accept: text/plain",
    ] {
        let (code, outcome) = curl(
            &world,
            Caller::Developer,
            &["-H", accept, "--output", "-"],
            SECRETS,
        );
        assert!(code == 200 || code == 406, "{accept}: {outcome}");
    }
    // An upgrade where none is due is answered or refused, never tunnelled.
    let upgrade = [
        "--http1.1",
        "-H",
        "Connection: Upgrade",
        "-H",
        "Upgrade: SPDY/3.1",
    ];
    let (code, outcome) = curl(&world, Caller::Developer, &upgrade, SECRETS);
    assert_ne!(code, 101, "{outcome}");
}

/// Over HTTP/2 its bytes would break the protocol.
#[test]
fn a_head_is_refused_without_bytes() {
    let world = World::start();
    let nowhere = "/api/v1/namespaces/default/configmaps/nowhere";
    for version in ["--http2", "--http1.1"] {
        for (path, expected) in [
            ("/api/v1/nodes/x/proxy/", 404),
            ("/%2e%2e", 400),
            (nowhere, 404),
            (SECRETS, 200),
        ] {
            let args = ["--head", version];
            let (code, outcome) = curl(&world, Caller::Developer, &args, path);
            assert_eq!(code, expected, "{version} {path}: {outcome}");
            if code >= 400 {
                outcome.expect("content-length: ");
            }
        }
    }
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let world = World::start();
    for path in [
        "/api/v1/namespaces//secrets",
        "/api/v1/namespaces/default%2Fsecrets",
        "/api/v1/namespaces/default/./secrets",
        "/api/v1/namespaces/payments/../default/secrets",
        "/api%2fv1/namespaces/default/secrets",
        "/api/v1/watch/namespaces/default/secrets",
        "/api/v1/namespaces/default/secrets?watch=false&watch=true",
        "/api/v1/namespaces/default/secrets?watch=true;x=1",
        "/api/v1/namespaces/default/secrets?watch=%zz",
    ] {
        let (code, outcome) = curl(&world, Caller::Developer, &[], path);
        assert_eq!(code, 400, "{outcome}");
        let status: Value = serde_json::from_str(body(&outcome)).unwrap();
        assert_eq!(
            (&status["kind"], &status["code"]),
            (&"Status".into(), &400.into())
        );
    }
    assert!(
        world
            .api_server
            .requests()
            .iter()
            .all(|seen| !seen.uri.path().contains("secrets")),
        "a refused request reached the API server"
    );
}

#[test]
fn nobody_lends_an_identity_to_the_gateway() {
    let world = World::start();
    for header in [
        "Impersonate-User: admin",
        "Impersonate-Group: system:masters",
        "Impersonate-Uid: 1",
        "Impersonate-Extra-Scopes: all",
        "X-Remote-User: admin",
        "X-Remote-Group: system:masters",
    ] {
        for version in ["--http1.1", "--http2"] {
            let (code, outcome) = curl(
                &world,
                Caller::Developer,
                &[version, "-H", header],
                "/api/v1/namespaces/default/pods",
            );
            assert_eq!(code, 403, "{header}: {outcome}");
        }
    }
    assert!(
        world
            .api_server
            .requests()
            .iter()
            .all(|seen| !seen.uri.path().contains("pods"))
    );
}

#[test]
fn the_api_server_hears_of_the_caller_and_nothing_forged() {
    let world = World::start();
    let forged = [
        "-H",
        "X-Forwarded-For: 203.0.113.7",
        "-H",
        "Audit-ID: forged",
        "-H",
        "Connection: Impersonate-User",
    ];
    for version in ["--http1.1", "--http2"] {
        let args = if version == "--http2" {
            &forged[..4]
        } else {
            &forged[..]
        };
        let args = [&[version][..], args].concat();
        let (code, outcome) = curl(
            &world,
            Caller::Agent,
            &args,
            "/api/v1/namespaces/default/pods",
        );
        assert_eq!(code, 200, "{outcome}");
    }
    for seen in world
        .api_server
        .requests()
        .iter()
        .filter(|seen| seen.uri.path().ends_with("/pods"))
    {
        let user = seen.user.as_ref().expect("an authenticated request");
        assert_eq!(user.name, "dora");
        assert!(
            user.groups.contains(&"ai-agents".to_owned())
                && !user.groups.contains(&"system:masters".to_owned())
        );
        let lines = format!("{:?}", seen.headers);
        assert!(
            !lines.contains("203.0.113.7") && !lines.contains("forged"),
            "{lines}"
        );
        assert!(
            !lines.contains(&world.token(Caller::Agent)),
            "the caller's token went on to the API server"
        );
    }
}

#[test]
fn without_a_good_token_nothing_reaches_the_api_server() {
    let world = World::start();
    for authorization in [
        "Authorization: Bearer nonsense",
        "Authorization: Basic YTpi",
        "Authorization:",
    ] {
        let outcome = Process::new(world.runtime(), "curl")
            .args(["-sS", "-w", "\n%{http_code}", "--cacert"])
            .args([world.path("ca.crt")])
            .args(["-H", authorization, &format!("{}{SECRETS}", world.url())])
            .run();
        world.check(&outcome);
        outcome.expect_code(0).expect("\"Status\"");
        assert!(outcome.stdout.ends_with("\n401"), "{outcome}");
    }
    assert!(
        world.api_server.requests().is_empty(),
        "something reached the API server"
    );
}

/// What a kubelet serves as a shell, or may, and what cannot be recorded (`pkg/kubelet/server/server.go`).
/// What can be is in the module `kubelet`.
const UNRECORDABLE: &[&str] = &[
    "EXEC/default/web/app?command=id",
    "run/default/web/app?cmd=id",
    "cri/exec/token-1",
    "exec/default/web?command=id&output=1",
    "exec/default/web/%61pp?command=id&output=1",
    "exec/default//web/app?command=id&output=1",
    "x/exec/default/web/app?command=id&output=1",
    "portforward/default/web?port=80",
];

const WEBSOCKET: [&str; 11] = [
    "--http1.1",
    "-H",
    "Connection: Upgrade",
    "-H",
    "Upgrade: websocket",
    "-H",
    "Sec-WebSocket-Version: 13",
    "-H",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "-H",
    "Sec-WebSocket-Protocol: v4.channel.k8s.io",
];

const SPDY: [&str; 9] = [
    "--http1.1",
    "-X",
    "POST",
    "-H",
    "Connection: Upgrade",
    "-H",
    "Upgrade: SPDY/3.1",
    "-H",
    "X-Stream-Protocol-Version: v4.channel.k8s.io",
];

#[test]
fn c67_recording_is_not_dodged_through_the_kubelet() {
    let world = World::start();
    for path in UNRECORDABLE {
        for name in ["node-1", "https:node-1:10250"] {
            for args in [&WEBSOCKET[..], &SPDY, &[], &["-X", "POST"]] {
                let path = format!("/api/v1/nodes/{name}/proxy/{path}");
                let before = world.audit().len();
                let (code, outcome) = curl(&world, Caller::OnCall, args, &path);
                assert_eq!(code, 403, "{outcome}");
                let status: Value = serde_json::from_str(body(&outcome)).unwrap();
                assert_eq!(status["kind"], "Status");
                let message = status["message"].as_str().unwrap();
                assert!(
                    message.contains(
                        "in this form one through nodes/proxy cannot be; use kubectl exec"
                    ),
                    "{message}"
                );
                let told = world.audit().split_off(before);
                assert_eq!(told.len(), 1, "{told:?}");
                assert_eq!(told[0]["annotations"]["portcullis.dev/decision"], "deny");
            }
        }
    }
    assert!(nothing_was_proxied(&world));
    // What is no session still works: the simulated API server has no kubelet, and says so itself.
    let metrics = "/api/v1/nodes/node-1/proxy/metrics";
    let (_, outcome) = curl(&world, Caller::OnCall, &[], metrics);
    assert!(!nothing_was_proxied(&world), "{outcome}");
}

#[test]
fn c67_no_other_stream_reaches_a_kubelet_where_nothing_is_recorded_either() {
    let policy = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Policy
metadata: {name: unrecorded}
rules:
- name: everything
  subjects: {groups: [on-call]}
  verbs: ["*"]
  apiGroups: ["*"]
  resources: ["*"]
  decision: allow
"#;
    let options = Options {
        policy: Some(policy.to_owned()),
        ..Options::default()
    };
    let world = World::start_with(Arc::new(Workshop::new()), &options);
    for args in [&WEBSOCKET[..], &SPDY] {
        for path in UNRECORDABLE {
            let path = format!("/api/v1/nodes/node-1/proxy/{path}");
            let (code, outcome) = curl(&world, Caller::OnCall, args, &path);
            assert_eq!(code, 400, "{outcome}");
            outcome.expect("only the streams /exec, /attach and /portForward are served");
        }
    }
    assert!(nothing_was_proxied(&world));
}

fn nothing_was_proxied(world: &World) -> bool {
    let seen = world.api_server.requests();
    !seen.iter().any(|seen| seen.uri.path().contains("/proxy"))
}
