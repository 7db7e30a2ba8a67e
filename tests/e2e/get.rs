//! Reading: every way in which kubectl shows a Secret shows a placeholder, and everything else is untouched.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::world::{Caller, KUBECTLS, Kubectl, World};

/// What is typed, and what its output shows among other things.
const MASKED: &[(&[&str], &[&str])] = &[
    (
        &["get", "secrets"],
        &[
            "NAME", "TYPE", "DATA", "AGE", "db", "first", "second", "Opaque",
        ],
    ),
    (&["get", "secrets", "-o", "wide"], &["first", "Opaque"]),
    (
        &["get", "secrets", "-A"],
        &["NAMESPACE", "payments", "first"],
    ),
    (&["get", "secret", "first"], &["first"]),
    (
        &["get", "secret", "first", "-o", "yaml"],
        &["kind: Secret", "password: "],
    ),
    (
        &["get", "secret", "first", "-o", "json"],
        &["\"kind\": \"Secret\"", "\"password\": \""],
    ),
    (
        &["get", "secrets", "-o", "json"],
        &["\"kind\": \"List\"", "\"password\": \""],
    ),
    (
        &["get", "secrets", "--sort-by=.metadata.name"],
        &["db", "first", "second"],
    ),
    (
        &["get", "secrets", "-o", "name"],
        &["secret/first\nsecret/second"],
    ),
    (
        &[
            "get",
            "secrets",
            "-o",
            "custom-columns=N:.metadata.name,P:.data.password",
        ],
        &["first"],
    ),
    (
        &[
            "get",
            "secret",
            "first",
            "-o",
            "go-template={{.data.password | base64decode}}",
        ],
        &[""],
    ),
    (
        &["get", "secret/first", "secret/second", "-o", "yaml"],
        &["name: second"],
    ),
    (
        &["describe", "secret", "first"],
        &["Name:         first", "password:  ", " bytes"],
    ),
    (&["describe", "secrets"], &["second"]),
    (
        &["get", "--raw", "/api/v1/namespaces/default/secrets"],
        &["\"items\":[", "\"password\":\""],
    ),
    (
        &["get", "--raw", "/api/v1/secrets?limit=1"],
        &["\"continue\":"],
    ),
];

#[test]
fn every_output_of_kubectl_get_is_masked() {
    let world = World::start();
    world.seed_secret("first");
    world.seed_secret("second");
    for version in KUBECTLS {
        for (args, expected) in MASKED {
            let outcome = world.run(version, Caller::Developer, args);
            outcome.expect_code(0);
            for text in *expected {
                outcome.expect(text);
            }
        }
    }
}

/// A table's ages grow between two looks, and its columns with them.
fn ageless(text: &str) -> Vec<String> {
    let is_age = |word: &str| {
        word.ends_with(['s', 'm', 'h']) && word.starts_with(|c: char| c.is_ascii_digit())
    };
    text.lines()
        .map(|line| {
            line.split_whitespace()
                .map(|word| if is_age(word) { "AGE" } else { word })
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

#[test]
fn a_placeholder_is_base64_and_tells_same_from_changed() {
    let world = World::start();
    world.seed_secret("first");
    let read = |version, name: &str| {
        let path = ["get", "secret", name, "-o", "jsonpath={.data.password}"];
        let outcome = world.run(version, Caller::Developer, &path);
        outcome.expect_code(0);
        String::from_utf8(
            STANDARD
                .decode(outcome.stdout.trim())
                .expect("padded base64"),
        )
        .expect("text")
    };
    let first = read(Kubectl::Current, "first");
    assert_eq!(
        first,
        read(Kubectl::Old, "first"),
        "the same value has the same placeholder"
    );
    assert_ne!(
        first,
        read(Kubectl::Current, "db"),
        "another value has another"
    );
    world.admin(&[
        "patch",
        "secret",
        "first",
        "-p",
        r#"{"stringData":{"password":"changed-since"}}"#,
    ]);
    assert_ne!(
        first,
        read(Kubectl::Current, "first"),
        "a changed value has another"
    );
}

#[test]
fn who_is_not_masked_sees_exactly_what_is_there() {
    let world = World::start();
    for version in KUBECTLS {
        for args in [
            &["get", "secret", "db", "-o", "json"][..],
            &["get", "secrets", "-A", "-o", "yaml"],
            &["get", "pods", "-A", "-o", "json"],
            &["get", "--raw", "/api/v1/namespaces/default/secrets"],
            &["get", "--raw", "/api/v1/namespaces/default/pods"],
            &["get", "deployments", "-o", "wide"],
            &["describe", "secret", "db"],
        ] {
            let through = world.kubectl(version, Caller::OnCall).args(args).run();
            let direct = world
                .kubectl_with(version, "admin.kubeconfig")
                .args(args)
                .run();
            through.expect_code(0);
            let (mut through, mut direct) = (ageless(&through.stdout), ageless(&direct.stdout));
            if args[0] == "describe" {
                // kubectl prints the keys of a Secret as its map has them: in any order.
                through.sort_unstable();
                direct.sort_unstable();
            }
            assert_eq!(through, direct, "{args:?} differs behind the gateway");
        }
    }
}

#[test]
fn unmasked_resources_and_discovery_are_untouched() {
    let world = World::start();
    let pod = world.pod();
    for version in KUBECTLS {
        for args in [
            &["get", "pods"][..],
            &["get", "pods", "-o", "wide", "-A"],
            &["get", "pod", &pod, "-o", "yaml"],
            &["get", "deployments", "-o", "json"],
            &["get", "pods", "--sort-by=.metadata.name"],
            &["get", "nodes"],
            &["get", "namespaces", "-o", "name"],
            &["describe", "pod", &pod],
            &["describe", "deployment"],
            &["api-resources"],
            &["api-versions"],
            &["version"],
            &["explain", "pods"],
            &["explain", "secret.data"],
            &["auth", "can-i", "get", "secrets"],
        ] {
            let through = world.run(version, Caller::Developer, args);
            let direct = world
                .kubectl_with(version, "admin.kubeconfig")
                .args(args)
                .run();
            assert_eq!(through.code, direct.code, "{through}{direct}");
            assert_eq!(
                ageless(&through.stdout),
                ageless(&direct.stdout),
                "{args:?} differs behind the gateway: {}",
                through.stderr
            );
            direct.expect_code(0);
        }
    }
}

#[test]
fn masking_says_so() {
    let world = World::start();
    let outcome = world.run(
        Kubectl::Current,
        Caller::Developer,
        &["get", "secret", "db", "-o", "yaml"],
    );
    outcome
        .expect_code(0)
        .expect_error("Warning: ")
        .expect_error("masked");
}

/// etcd stores up to 1.5 MiB an object, unless it was told otherwise.
#[test]
fn c_03_what_is_too_large_for_protobuf_is_refused_in_words() {
    let world = World::start();
    let put = |name: &str, filler: usize| {
        let value = STANDARD.encode(world.canaries.fresh());
        let filler = STANDARD.encode(vec![b'x'; filler << 20]);
        let metadata = json!({"name": name, "namespace": "default"});
        let data = json!({"password": value, "filler": filler});
        world
            .api_server
            .put(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}))
            .unwrap();
    };
    // Before the other in lists, whose beginning leaves before it is complete.
    put("just-right", 3);
    put("large", 5);
    let withheld =
        "an object above 4 MiB, which is not masked in protobuf; ask for application/json instead";
    world
        .run(
            Kubectl::Current,
            Caller::Developer,
            &["describe", "secret", "large"],
        )
        .expect_code(1)
        .expect_error("Error from server (InternalError)")
        .expect_error(withheld);
    let api = |accept: &str, path: &str| {
        let line = r#"curl -sS --max-time 60 -w '\n%{http_code}' --cacert ca.crt -H "Authorization: Bearer $TOKEN" \
            -H "Accept: $ACCEPT" "$URL/api/v1/namespaces/default/secrets$WHAT" | tr '\0' ' '"#;
        let outcome = world
            .shell(Kubectl::Current, Caller::Developer, line)
            .env("TOKEN", world.token(Caller::Developer))
            .env("URL", world.url())
            .env("ACCEPT", accept)
            .env("WHAT", path)
            .run();
        world.check(&outcome);
        outcome
    };
    let protobuf = "application/vnd.kubernetes.protobuf";
    let got = api(protobuf, "/large");
    got.expect_code(0).expect("\n502").expect(withheld);
    let watched = api(protobuf, "?watch=1");
    watched
        .expect_code(0)
        .expect("\n200")
        .expect("ERROR")
        .expect(withheld);
    let listed = api(protobuf, "");
    assert_ne!(listed.code, 0, "it breaks off");
    for path in ["/large", "", "?watch=1&timeoutSeconds=1"] {
        let json = api("application/json", path);
        json.expect_code(0).expect("W21hc2tlZDp2MT").expect("\n200");
    }
    let ended = |event: &&Value| event["annotations"]["portcullis.dev/ended"] == "withheld";
    let audit = world.audit();
    assert_eq!(
        audit.iter().filter(ended).count(),
        4,
        "the object twice, the watch and the list"
    );
}
