use std::fs;
use std::time::Duration;

use super::*;
use crate::upstream::Source;

const POLICY: &str = "\
apiVersion: portcullis.dev/v1alpha1
kind: Policy
metadata: {name: p}
rules: [{name: version, nonResourceURLs: [/version], verbs: [get], decision: allow}]
";

const REVOKED: &str = "\
apiVersion: portcullis.dev/v1alpha1
kind: RevocationList
revoked: [{issuer: https://issuer.example, jti: stolen}]
";

/// Every key there is.
const FULL: &str = r#"apiVersion: portcullis.dev/v1alpha1
kind: GatewayConfiguration
dataDirectory: state
listener:
  address: 127.0.0.1:8443
  tls: {certificateFile: tls.crt, privateKeyFile: tls.key}
  hosts: [localhost, 127.0.0.1, "::1"]
  maxConnections: 10
  maxConnectionsPerAddress: 5
  maxConcurrentStreams: 100
  maxHeaderBytes: 16384
  handshakeTimeout: 5s
  headerTimeout: 1m30s
  drainTimeout: 500ms
control: {address: 127.0.0.1:9090, url: https://portcullis.example/, operators: {users: [olga], groups: [operators]}, tls: {certificateFile: tls.crt, privateKeyFile: tls.key}, console: {clientID: console, clientSecretFile: tls.key, issuer: https://issuer.example, scopes: [profile]}, webhooks: [{urlFile: hook.url, format: slack, secretFile: tls.key}]}
authentication:
  streamGracePeriod: 5m
  jwt:
  - issuer:
      url: https://issuer.example
      discoveryURL: https://issuer.example/discovery
      certificateAuthorityFile: tls.crt
      audiences: [portcullis, console]
      authorizedParties: [kubectl, console]
      audienceMatchPolicy: MatchAny
    claimValidationRules: [{claim: hd, requiredValue: example.com}]
    claimMappings:
      username: {claim: email, prefix: "oidc:"}
      groups: {claim: roles, prefix: "oidc:"}
      uid: {claim: sub}
      extra: [{key: example.com/team, claim: team}]
      agent: {claim: act.client_id, prefix: "agent:"}
    signingAlgorithms: [ES256]
    tokenTypes: [at+jwt]
    maxTokenLifetime: 12h
    clockSkew: 10s
  revocationFile: revoked.yaml
clusters:
- name: east
  default: true
  kubeconfig: {file: east.kubeconfig, context: admin}
policy: {files: [policy.yaml]}
audit: {file: logs/audit.jsonl, segmentBytes: 1048576, segmentAge: 12h, webhook: {urlFile: hook.url, secretFile: tls.key}, otlp: {urlFile: hook.url, headersFile: headers}}
recording: {format: asciicast-v3, maxBytes: 1048576, partBytes: 1048576, directory: tapes, responseBytes: 65536}
"#;

const MINIMAL: &str = r"apiVersion: portcullis.dev/v1alpha1
kind: GatewayConfiguration
listener:
  address: 127.0.0.1:8443
  tls: {certificateFile: tls.crt, privateKeyFile: tls.key}
control: {address: 127.0.0.1:9090}
authentication:
  jwt: [{issuer: {url: https://issuer.example, audiences: [portcullis]}}]
clusters: [{name: east, kubeconfig: {file: east.kubeconfig}}]
policy: {files: [policy.yaml]}
";

const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: admin
contexts: [{name: admin, context: {cluster: east, user: gateway}}]
clusters: [{name: east, cluster: {server: 'https://127.0.0.1:6443', insecure-skip-tls-verify: true}}]
users: [{name: gateway, user: {token: abc}}]
";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(folder.path().join("tls.crt"), pair.cert.pem()).unwrap();
    fs::write(
        folder.path().join("tls.key"),
        pair.signing_key.serialize_pem(),
    )
    .unwrap();
    fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
    fs::write(folder.path().join("revoked.yaml"), REVOKED).unwrap();
    fs::write(folder.path().join("east.kubeconfig"), KUBECONFIG).unwrap();
    fs::write(folder.path().join("hook.url"), "https://chat.test/hook\n").unwrap();
    fs::write(folder.path().join("headers"), "Api-Key: abc\n").unwrap();
    folder
}

fn load(folder: &Path, text: &str) -> Result<Config, String> {
    let file = folder.join("gateway.yaml");
    fs::write(&file, text).unwrap();
    Config::load(&file).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        lines
            .join("\n")
            .replace(&format!("{}/", folder.display()), "")
    })
}

#[test]
#[expect(clippy::cognitive_complexity, reason = "one assertion a key")]
fn every_key_is_read() {
    let folder = folder();
    let config = load(folder.path(), FULL).unwrap();
    let listener = &config.listener;
    assert_eq!(config.data_directory, folder.path().join("state"));
    assert_eq!(listener.hosts, ["localhost", "127.0.0.1", "::1"]);
    assert_eq!(listener.certificate_file, folder.path().join("tls.crt"));
    assert_eq!(
        (
            listener.connections_max,
            listener.connections_per_address_max,
            listener.concurrent_streams_max,
            listener.header_bytes_max,
        ),
        (10, 5, 100, 16384)
    );
    assert_eq!(listener.handshake_timeout, Duration::from_secs(5));
    assert_eq!(listener.header_timeout, Duration::from_secs(90));
    assert_eq!(listener.drain_timeout, Duration::from_millis(500));
    assert_eq!(config.authentication.stream_grace, Duration::from_mins(5));
    let issuer = &config.authentication.issuers[0];
    assert_eq!(issuer.url, "https://issuer.example");
    assert!(
        issuer
            .certificate_authority
            .as_ref()
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    assert_eq!(issuer.authorized_parties, ["kubectl", "console"]);
    assert_eq!(issuer.token_types, ["at+jwt"]);
    assert_eq!(issuer.claim_mappings.username.prefix, "oidc:");
    assert_eq!(
        issuer.claim_mappings.groups.as_ref().unwrap().claim,
        "roles"
    );
    assert_eq!(issuer.claim_mappings.agent.claim, "client_id");
    assert_eq!(issuer.claim_mappings.agent.prefix, "agent:");
    assert_eq!(issuer.claim_mappings.extra[0].key, "example.com/team");
    assert_eq!(issuer.token_lifetime_max, Duration::from_hours(12));
    assert_eq!(issuer.clock_skew, Duration::from_secs(10));
    assert_eq!(issuer.signing_algorithms.len(), 1);
    assert_eq!(
        config.revocation_file.as_deref(),
        Some(folder.path().join("revoked.yaml").as_path())
    );
    assert_ne!(*config.revocations, identity::Revocations::default());
    assert_eq!(config.default_cluster.as_deref(), Some("east"));
    assert_eq!(config.upstream.clusters[0].name, "east");
    assert!(matches!(
        &config.upstream.clusters[0].source,
        Source::Kubeconfig { file, context: Some(context) }
            if *file == folder.path().join("east.kubeconfig") && context == "admin"
    ));
    assert_eq!(config.audit.file, folder.path().join("logs/audit.jsonl"));
    assert_eq!(config.control.url(), "https://portcullis.example");
    let [webhook] = config.control.webhooks.as_slice() else {
        panic!("{:?}", config.control.webhooks);
    };
    assert_eq!(webhook.format, control::webhook::Format::Slack);
    assert!(webhook.url_file.ends_with("hook.url") && webhook.secret_file.is_some());
    let operators = config.control.operators.as_ref().unwrap();
    assert_eq!(
        (&operators.users[0], &operators.groups[0]),
        (&"olga".to_owned(), &"operators".to_owned())
    );
    assert_eq!(config.policy.rules(), 1);
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let folder = folder();
    let config = load(folder.path(), MINIMAL).unwrap();
    assert_eq!(config.data_directory, folder.path().join("data"));
    assert_eq!(config.audit.file, folder.path().join("data/audit.jsonl"));
    assert_eq!(config.default_cluster, None);
    assert_eq!(config.listener.connections_max, 20_000);
    assert_eq!(config.listener.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.authentication.stream_grace, Duration::ZERO);
    assert!(!config.warnings.is_empty(), "no username prefix");
}

#[test]
fn known_values_without_a_watch_are_a_warning_where_a_rule_masks_them() {
    let folder = folder();
    let said = |text: &str, policy: &str| {
        fs::write(folder.path().join("policy.yaml"), policy).unwrap();
        let warnings = load(folder.path(), text).unwrap().warnings;
        warnings
            .iter()
            .any(|warning| warning.contains("knownValues.watch"))
    };
    let masked = POLICY.replace("rules: [", "rules: [{name: masks, mask: [known-values]}, ");
    assert_ne!(masked, POLICY);
    let off = format!("{MINIMAL}\nknownValues: {{watch: false}}\n");
    assert!(said(&off, &masked));
    assert!(!said(&off, POLICY) && !said(MINIMAL, &masked));
}

#[test]
fn operators_are_named_in_full_and_their_tokens_stay_on_this_machine() {
    let folder = folder();
    assert_eq!(
        load(folder.path(), MINIMAL).unwrap().control.operators,
        None
    );
    for (control, problem) in [
        (
            "{address: 0.0.0.0:9090, operators: {users: [a]}}",
            "needs TLS or a loopback address",
        ),
        (
            "{address: 127.0.0.1:9090, operators: {groups: ['ops-*']}}",
            "patterns are not read",
        ),
        ("{address: 127.0.0.1:9090, operators: {}}", "names nobody"),
        (
            "{address: 127.0.0.1:9090, operators: {agents: [a]}}",
            "agents",
        ),
    ] {
        let text = MINIMAL.replace("{address: 127.0.0.1:9090}", control);
        let problems = load(folder.path(), &text).unwrap_err();
        assert!(problems.contains(problem), "{problems}");
    }
}

#[test]
fn a_console_needs_an_issuer_that_lets_people_in_and_a_safe_place() {
    let folder = folder();
    let said = |control: &str| {
        let text = MINIMAL.replace("{address: 127.0.0.1:9090}", control);
        load(folder.path(), &text)
    };
    let tls = "tls: {certificateFile: tls.crt, privateKeyFile: tls.key}";
    for good in [
        "{address: 127.0.0.1:9090, console: {clientID: portcullis}}".to_owned(),
        format!("{{address: 0.0.0.0:9090, {tls}, console: {{clientID: portcullis}}}}"),
        "{address: 127.0.0.1:9090, url: https://c.example, console: {clientID: portcullis}}"
            .to_owned(),
    ] {
        assert!(said(&good).is_ok(), "{good}");
    }
    for (control, problem) in [
        (
            "{address: 0.0.0.0:9090, console: {clientID: portcullis}}",
            "needs TLS or a loopback address",
        ),
        (
            "{address: 127.0.0.1:9090, url: http://c.example, console: {clientID: portcullis}}",
            "needs a URL that browsers send cookies to safely",
        ),
        (
            "{address: 127.0.0.1:9090, console: {clientID: console}}",
            "is not among issuer.audiences",
        ),
        (
            "{address: 127.0.0.1:9090, console: {clientID: portcullis, issuer: https://x}}",
            "is none of the issuers",
        ),
        ("{address: 127.0.0.1:9090, console: {}}", "clientID"),
        (
            "{address: 127.0.0.1:9090, console: {clientID: portcullis, clientSecretFile: gone}}",
            "gone",
        ),
        (
            "{address: 127.0.0.1:9090, console: {clientID: portcullis, scopes: [a b]}}",
            "must be the name of a scope",
        ),
        (
            "{address: 127.0.0.1:9090, tls: {certificateFile: tls.key, privateKeyFile: tls.key}}",
            "no PEM certificate",
        ),
    ] {
        let problems = said(control).unwrap_err();
        assert!(problems.contains(problem), "{control}: {problems}");
    }
}

/// What is told of a URL never has it in it: it may be a credential.
#[test]
fn what_is_told_elsewhere_has_a_url_a_key_and_headers_that_serve() {
    let folder = folder();
    let said = |file: &str, text: &str| {
        fs::write(folder.path().join(file), text).unwrap();
        let problems = load(folder.path(), FULL).unwrap_err();
        assert!(!problems.contains("canary"), "{problems}");
        problems
    };
    for url in [
        "",
        "canary",
        "/canary",
        "http://canary.test/hook",
        "ftp://canary.test/",
        "https:///canary",
        "https://canary.test:0x1/",
        "https://canary.test:99999/",
        "https://dana:canary@chat.test/",
        "http://canary@127.0.0.1/",
    ] {
        let problems = said("hook.url", url);
        for key in ["control.webhooks[0]", "audit.webhook", "audit.otlp"] {
            let problem = format!("{key}.urlFile hook.url: ");
            assert!(problems.contains(&problem), "{url:?}: {problems}");
        }
    }
    let problems = said("hook.url", "https://dana:canary@chat.test/");
    assert!(problems.contains("headersFile"), "{problems}");
    fs::write(folder.path().join("hook.url"), "http://[::1]:4318/hook").unwrap();

    let problems = said("headers", "Api-Key: abc\ncanary\n");
    assert!(problems.contains("headers:2: "), "{problems}");
    fs::write(folder.path().join("headers"), "Api-Key: abc\n").unwrap();

    let text = FULL.replace("secretFile: tls.key", "secretFile: hook.key");
    fs::write(folder.path().join("hook.key"), "canary\n").unwrap();
    let problems = load(folder.path(), &text).unwrap_err();
    assert!(!problems.contains("canary"), "{problems}");
    for key in ["control.webhooks[0]", "audit.webhook"] {
        let problem = format!("{key}.secretFile hook.key: ");
        assert!(problems.contains(&problem), "{problems}");
    }
    assert!(load(folder.path(), FULL).is_ok());

    let text = FULL.replace("logs/audit.jsonl", "/dev/null");
    let problems = load(folder.path(), &text).unwrap_err();
    assert!(problems.contains("audit.file cannot be used"), "{problems}");
}

#[test]
fn every_problem_is_listed_with_line_and_field() {
    let folder = folder();
    fs::write(
        folder.path().join("policy.yaml"),
        POLICY.replace("[get]", "[read]"),
    )
    .unwrap();
    let text = r#"apiVersion: portcullis.dev/v1alpha1
kind: GatewayConfiguration
datadirectory: state
listener:
  address: localhost:8443
  tls: {certificateFile: tls.key, privateKeyFile: missing.key}
  hosts: ["https://x", ""]
  maxConnections: 0
  maxConnectionsPerAddress: "5"
  handshakeTimeout: 10
  headerTimeout: ten
  drainTimeout: 5h
control: 9090
authentication:
  jwt:
  - issuer: {url: http://issuer.example, audiences: portcullis, audienceMatchPolicy: MatchAll}
    claimMappings: {username: {prefix: x}}
    signingAlgorithms: [HS256, none]
    clockSkew: 2m
clusters:
- name: East
  default: yes
  kubeconfig: {file: none.kubeconfig}
- name: West/1
- name: both
  default: true
  inCluster: {}
  kubeconfig: {file: x}
- {name: both, default: true, kubeconfig: {file: east.kubeconfig, token: x}}
policy: {files: [policy.yaml, missing.yaml]}
audit: {path: x}
"#;
    insta::assert_snapshot!(load(folder.path(), text).unwrap_err());
}

#[test]
fn an_incomplete_file_names_what_is_missing() {
    let folder = folder();
    let text = "apiVersion: portcullis.dev/v1alpha1\nkind: Policy\n";
    insta::assert_snapshot!(load(folder.path(), text).unwrap_err());
    assert!(load(folder.path(), "").unwrap_err().contains("is empty"));
    assert!(
        load(folder.path(), "[]")
            .unwrap_err()
            .contains("must be a mapping")
    );
    let missing = Config::load(&folder.path().join("none.yaml")).unwrap_err();
    assert!(missing[0].message.starts_with("cannot be read"));
}

/// The pages name every key that a reader asks for.
#[test]
fn the_documentation_names_every_key() {
    let folder = folder();
    let check = |page: &str, keys: std::collections::BTreeSet<String>| {
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        assert!(keys.len() > 7, "{keys:?}");
        for key in keys {
            let last = key.trim_end_matches("[]").rsplit('.').next().unwrap();
            assert!(page.contains(last), "{key}");
        }
    };
    let file = folder.path().join("gateway.yaml");
    let document = Document::new(&file, FULL);
    check("docs/config.md", raw::keys(document));
    let document = Document::new(&file, &REVOKED.replace("https://issuer.example", "x"));
    check("docs/config.md", revocation_file::keys(&document));
    let document = Document::new(
        &file,
        "apiVersion: portcullis.dev/v1alpha1\nkind: Policy\nmetadata: {name: p}\nmasks: [{}]\nbudgets: [{}]\nroles: [{approvers: {}}]\nrules: [{subjects: {actingFor: {}}, record: {}, hold: {approvers: {}}, when: [{anyOf: [{}]}]}]",
    );
    check("docs/policy.md", policy_file::keys(&document));
    let document = Document::new(
        &file,
        "apiVersion: portcullis.dev/v1alpha1\nkind: PolicyTest\ncases: [{as: {}}]",
    );
    check("docs/policy.md", case_file::keys(&document));
}

/// Every file and directory below a folder, by name.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

/// What stands in [`FULL`], what is wrong in its place, and how that is told.
const UNUSABLE: &[(&str, &str, &str)] = &[
    (
        "revocationFile: revoked.yaml",
        "revocationFile: none.yaml",
        "gateway.yaml:37:19: authentication.revocationFile names none.yaml: cannot be read: No such file",
    ),
    (
        "revocationFile: revoked.yaml",
        "revocationFile: policy.yaml",
        "policy.yaml:2:7: kind must be RevocationList",
    ),
    (
        "url: https://issuer.example\n",
        "url: https://other.example\n",
        "revoked.yaml:3:20: revoked[0].issuer is no issuer of authentication.jwt; there: https://other.example",
    ),
    (
        "tls.key",
        "other.key",
        "gateway.yaml:6:51: listener.tls.privateKeyFile names other.key: does not fit the certificate: ",
    ),
    (
        "privateKeyFile: tls.key",
        "privateKeyFile: torn",
        "gateway.yaml:6:51: listener.tls.privateKeyFile names torn: cannot be read: Is a directory",
    ),
    (
        "certificateAuthorityFile: tls.crt",
        "certificateAuthorityFile: empty.crt",
        "gateway.yaml:22:33: authentication.jwt[0].issuer.certificateAuthorityFile names empty.crt: holds no PEM certificate",
    ),
    (
        "dataDirectory: state",
        "dataDirectory: policy.yaml/state",
        "gateway.yaml:3:1: dataDirectory cannot be used: policy.yaml/state cannot be reached: Not a directory",
    ),
    (
        "dataDirectory: state",
        "dataDirectory: policy.yaml",
        "gateway.yaml:3:1: dataDirectory cannot be used: policy.yaml is not a directory",
    ),
    (
        "dataDirectory: state",
        "dataDirectory: link/state",
        "gateway.yaml:3:1: dataDirectory cannot be used: link is a symbolic link to what does not exist",
    ),
    (
        "dataDirectory: state",
        "dataDirectory: torn",
        "gateway.yaml:3:1: dataDirectory cannot be used: torn/placeholder.key holds 5 bytes instead of 32; restore",
    ),
    (
        "logs/audit.jsonl",
        "torn",
        "gateway.yaml:43:9: audit.file cannot be used: torn is a directory; name a file in it",
    ),
    // It does not exist yet.
    (
        "logs/audit.jsonl",
        "state",
        "gateway.yaml:43:9: audit.file cannot be used: state is a directory; name a file in it",
    ),
    (
        "directory: tapes",
        "directory: tls.crt",
        "gateway.yaml:44:74: recording.directory cannot be used: tls.crt is not a directory",
    ),
    (
        "file: east.kubeconfig",
        "file: torn",
        "gateway.yaml:41:16: clusters[0].kubeconfig.file names torn: cannot be read: Is a directory",
    ),
    (
        "file: east.kubeconfig",
        "file: plugin.kubeconfig",
        "gateway.yaml:41:16: clusters[0].kubeconfig.file names plugin.kubeconfig: user.exec credential plugins are not run",
    ),
    (
        "file: east.kubeconfig",
        "file: plugin.kubeconfig",
        "gateway.yaml:41:16: clusters[0].kubeconfig.file names plugin.kubeconfig: user.username basic authentication was removed",
    ),
    (
        "file: east.kubeconfig",
        "file: gone.kubeconfig",
        "gateway.yaml:41:16: clusters[0].kubeconfig.file names gone.token: cannot be read: No such file",
    ),
    (
        "address: 127.0.0.1:9090",
        "address: 0.0.0.0:8443",
        "gateway.yaml:15:11: control.address is taken by listener.address (127.0.0.1:8443); choose another port",
    ),
    (
        // TEST-NET-1 (RFC 5737): nobody's address.
        "address: 127.0.0.1:8443",
        "address: 192.0.2.1:8443",
        "gateway.yaml:5:12: listener.address cannot be used: Cannot assign requested address",
    ),
];

/// What `serve` would refuse, `check` says; and it leaves nothing behind.
#[test]
fn what_the_gateway_could_not_start_with_is_found() {
    let folder = folder();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let place = |name: &str| folder.path().join(name);
    fs::write(place("other.key"), other.signing_key.serialize_pem()).unwrap();
    fs::write(place("empty.crt"), "no certificate\n").unwrap();
    for (name, user) in [
        ("plugin", "exec: {command: x}, username: x"),
        ("gone", "tokenFile: gone.token"),
    ] {
        let text = KUBECONFIG.replace("token: abc", user);
        fs::write(place(&format!("{name}.kubeconfig")), text).unwrap();
    }
    fs::create_dir(place("torn")).unwrap();
    fs::write(place("torn/placeholder.key"), "short").unwrap();
    std::os::unix::fs::symlink(place("nowhere"), place("link")).unwrap();
    let problem = |from: &str, to: &str| {
        assert!(FULL.contains(from), "{from}");
        load(folder.path(), &FULL.replace(from, to)).unwrap_err()
    };
    load(folder.path(), FULL).unwrap();
    let before = tree(folder.path());
    for (from, to, expected) in UNUSABLE {
        let found = problem(from, to);
        assert!(found.contains(expected), "{to}: {found}");
    }
    assert_eq!(tree(folder.path()), before, "check leaves nothing behind");
    // Nor is the default place of a file free of problems because no key names it.
    fs::create_dir_all(place("data/audit.jsonl")).unwrap();
    fs::write(place("data/recordings"), "").unwrap();
    let found = load(folder.path(), MINIMAL).unwrap_err();
    for expected in [
        "audit.file cannot be used: data/audit.jsonl is a directory",
        "recording.directory cannot be used: data/recordings is not a directory",
    ] {
        assert!(found.contains(expected), "{found}");
    }
}

/// The gateway whose configuration is checked may be running.
#[test]
fn an_address_that_is_in_use_is_no_problem() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    load(folder.path(), &MINIMAL.replace("127.0.0.1:8443", &address)).unwrap();
}

#[test]
fn problems_stand_where_they_are_made_once_and_in_our_words() {
    let folder = folder();
    let problem = |from: &str, to: &str| {
        assert!(FULL.contains(from), "{from}");
        load(folder.path(), &FULL.replace(from, to)).unwrap_err()
    };
    for (from, to, expected) in [
        (
            "context: admin",
            "context: other",
            "gateway.yaml:41:39: clusters[0].kubeconfig.context names east.kubeconfig: contexts has no context `other`",
        ),
        (
            "discoveryURL: https",
            "discoveryURL: http",
            "gateway.yaml:21:7: authentication.jwt[0].issuer.discoveryURL \"http://issuer.example/discovery\" cannot be used: it must begin with https://",
        ),
        (
            "dataDirectory: state",
            "dataDirectory: state\ndataDirectory: state",
            "gateway.yaml:4:1: the key \"dataDirectory\" stands here a second time; keep one of the two",
        ),
    ] {
        assert_eq!(problem(from, to), expected);
    }
    let found = problem("[ES256]", "[HS256]");
    assert!(
        !found.contains("is empty") && !found.contains('\n'),
        "{found}"
    );
}
