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
control: {address: 127.0.0.1:9090, operators: {users: [olga], groups: [operators]}}
authentication:
  streamGracePeriod: 5m
  jwt:
  - issuer:
      url: https://issuer.example
      discoveryURL: https://issuer.example/discovery
      certificateAuthorityFile: tls.crt
      audiences: [portcullis]
      authorizedParties: [kubectl]
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
clusters:
- name: east
  default: true
  kubeconfig: {file: east.kubeconfig, context: admin}
policy: {files: [policy.yaml]}
audit: {file: /var/log/audit.jsonl}
recording: {format: asciicast-v3, maxBytes: 1048576, partBytes: 1048576, directory: tapes}
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
    fs::write(folder.path().join("east.kubeconfig"), KUBECONFIG).unwrap();
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
    assert_eq!(issuer.authorized_parties, ["kubectl"]);
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
    assert_eq!(config.default_cluster.as_deref(), Some("east"));
    assert_eq!(config.upstream.clusters[0].name, "east");
    assert!(matches!(
        &config.upstream.clusters[0].source,
        Source::Kubeconfig { file, context: Some(context) }
            if *file == folder.path().join("east.kubeconfig") && context == "admin"
    ));
    assert_eq!(config.audit_file, Path::new("/var/log/audit.jsonl"));
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
    assert_eq!(config.audit_file, folder.path().join("data/audit.jsonl"));
    assert_eq!(config.default_cluster, None);
    assert_eq!(config.listener.connections_max, 20_000);
    assert_eq!(config.listener.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.authentication.stream_grace, Duration::ZERO);
    assert!(!config.warnings.is_empty(), "no username prefix");
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
            "needs a loopback address",
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
        assert!(keys.len() > 8, "{keys:?}");
        for key in keys {
            let last = key.trim_end_matches("[]").rsplit('.').next().unwrap();
            assert!(page.contains(last), "{key}");
        }
    };
    let file = folder.path().join("gateway.yaml");
    let document = Document::new(&file, FULL);
    check("docs/config.md", raw::keys(document));
    let document = Document::new(
        &file,
        "apiVersion: portcullis.dev/v1alpha1\nkind: Policy\nmetadata: {name: p}\nmasks: [{}]\nrules: [{subjects: {}, record: {}}]",
    );
    check("docs/policy.md", policy_file::keys(&document));
    let document = Document::new(
        &file,
        "apiVersion: portcullis.dev/v1alpha1\nkind: PolicyTest\ncases: [{as: {}}]",
    );
    check("docs/policy.md", case_file::keys(&document));
}
