//! A world of its own for each test: certificates, issuer, API server, gateway, callers and their kubeconfigs.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use loadtest::apiserver::{self, ApiServer};
use loadtest::issuer::{self, Issuer};
use loadtest::pki::Ca;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};

use super::canary::Canaries;
use super::gateway::{Setup, jwt};
use super::process::{Outcome, Process, Running};

/// The credential that only the gateway has.
const GATEWAY_TOKEN: &str = "gateway-credential-0c8a1f";
/// The credential of tests that look behind the gateway.
pub(crate) const ADMIN_TOKEN: &str = "admin-credential-77d0c2";

/// The kubectl versions that every scenario runs with.
pub(crate) const KUBECTLS: [Kubectl; 2] = [Kubectl::Old, Kubectl::Current];

/// A stock kubectl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kubectl {
    /// 1.20: SPDY only, `OpenAPI` v2.
    Old,
    /// The current release: WebSocket, aggregated discovery, `OpenAPI` v3.
    Current,
}

impl Kubectl {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Old => "kubectl-1.20",
            Self::Current => "kubectl-current",
        }
    }
}

/// Something that `tests/tools/install.sh` installed.
#[track_caller]
pub(crate) fn tool(path: &str) -> PathBuf {
    let full = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/tools")
        .join(path);
    assert!(
        full.exists(),
        "{} is missing: run `make tools`",
        full.display()
    );
    full
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// May do everything; secrets are masked.
    Developer,
    /// May do everything; sees everything.
    OnCall,
    /// An agent acting for the developer: reads only, masked.
    Agent,
}

impl Caller {
    fn claims(self) -> Value {
        match self {
            Self::Developer => json!({"sub": "dora", "groups": ["developers"]}),
            Self::OnCall => json!({"sub": "oscar", "groups": ["on-call"]}),
            Self::Agent => {
                json!({"sub": "dora", "groups": ["ai-agents"], "act": {"sub": "coding-assistant"}})
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Developer => "developer",
            Self::OnCall => "on-call",
            Self::Agent => "agent",
        }
    }
}

/// A directory, an authority and a runtime.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(crate) ca: Ca,
    pub(crate) canaries: Canaries,
    directory: TempDir,
    runtime: Runtime,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let workshop = Self {
            ca: Ca::new().unwrap(),
            canaries: Canaries::default(),
            directory: tempfile::tempdir().unwrap(),
            runtime,
        };
        workshop.write("ca.crt", &workshop.ca.pem());
        workshop
    }

    pub(crate) fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file whole, as an editor or a `ConfigMap` mount does: never half of it is there.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let draft = self.path(&format!("{name}.draft"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(&draft, &path).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn kubeconfig(&self, name: &str, server: &str, token: &str) -> PathBuf {
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": {
                "server": server, "certificate-authority": self.path("ca.crt"),
            }}],
            "users": [{"name": "it", "user": {"token": token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it", "namespace": "default"}}],
        });
        self.write(name, &text.to_string())
    }
}

/// What a test may want otherwise than usual.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// The policy's rules; [`POLICY`] when none.
    pub(crate) policy: Option<String>,
    /// Other issuers than the usual one: JSON objects for `authentication.jwt`.
    pub(crate) issuers: Vec<Value>,
    /// Another upstream than the simulated API server.
    pub(crate) upstream: Option<String>,
    /// The section `recording` of the configuration; the defaults when null.
    pub(crate) recording: Value,
    /// The section `knownValues` of the configuration; the defaults when null.
    pub(crate) known_values: Value,
    /// What the section `control` has besides.
    pub(crate) control: Value,
    /// How large any file of the gateway may grow.
    pub(crate) file_bytes_max: Option<u64>,
    /// The gateway will not get ready by itself.
    pub(crate) unready: bool,
    /// The simulated API server refuses every WebSocket.
    pub(crate) spdy_only: bool,
    /// What the simulated cluster does not let somebody do.
    pub(crate) denials: Vec<apiserver::Denial>,
    /// The time between bookmarks of the simulated API server, if not the usual minute.
    pub(crate) bookmark_interval: Option<Duration>,
}

/// Developers do everything behind a mask, on-call without one; agents read.
pub(crate) const POLICY: &str = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Policy
metadata: {name: end-to-end}
rules:
- name: record-sessions
  verbs: [create]
  apiGroups: [""]
  resources: [pods/exec, pods/attach, pods/portforward]
  record: required
- name: mask-secrets
  subjects: {groups: [developers, ai-agents]}
  mask: [secrets]
- name: agents-open-no-sessions
  subjects: {agents: ["*"]}
  verbs: [create]
  apiGroups: [""]
  resources: [pods/exec, pods/attach, pods/portforward]
  decision: deny
  message: agents may not open sessions; ask on-call
- name: agents-read
  subjects: {groups: [ai-agents]}
  verbs: [get, list, watch]
  apiGroups: ["*"]
  resources: ["*"]
  decision: allow
- name: people-do-everything
  subjects: {groups: [developers, on-call]}
  verbs: ["*"]
  apiGroups: ["*"]
  resources: ["*"]
  decision: allow
- name: who-am-i
  verbs: [create]
  apiGroups: [authentication.k8s.io, authorization.k8s.io]
  resources: [selfsubjectreviews, selfsubjectaccessreviews, selfsubjectrulesreviews]
  decision: allow
- name: discovery
  nonResourceURLs: ["/api", "/api/*", "/apis", "/apis/*", "/openapi/*", "/version", "/healthz"]
  verbs: [get]
  decision: allow
"#;

const NOTHING_REVOKED: &str =
    "{apiVersion: portcullis.dev/v1alpha1, kind: RevocationList, revoked: []}\n";

/// A section of the configuration; an empty one when null.
fn or_defaults(section: &Value) -> Value {
    if section.is_null() {
        json!({})
    } else {
        section.clone()
    }
}

/// A gateway between callers and a simulated cluster.
#[derive(Debug)]
pub(crate) struct World {
    setup: Setup,
    gateway: Option<Running>,
    gateway_address: SocketAddr,
    control_address: SocketAddr,
    pub(crate) issuer: issuer::Running,
    pub(crate) api_server: apiserver::Running,
    workshop: Arc<Workshop>,
}

impl Deref for World {
    type Target = Workshop;

    fn deref(&self) -> &Workshop {
        &self.workshop
    }
}

impl World {
    /// The usual world.
    pub(crate) fn start() -> Self {
        Self::start_with(Arc::new(Workshop::new()), &Options::default())
    }

    pub(crate) fn start_with(workshop: Arc<Workshop>, options: &Options) -> Self {
        let tls = |names: &[&str]| {
            workshop
                .ca
                .server_config(names, &["h2", "http/1.1"])
                .unwrap()
        };
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (issuer, api_server) = workshop.runtime.block_on(async {
            let issuer = Issuer::start(local, tls(&["localhost", "127.0.0.1"]))
                .await
                .unwrap();
            let (certificate_pem, private_key_pem) = workshop.ca.server(&["127.0.0.1"]).unwrap();
            let usual = apiserver::Settings::default();
            let settings = apiserver::Settings {
                bookmark_interval: options.bookmark_interval.unwrap_or(usual.bookmark_interval),
                tls: Some(apiserver::Tls {
                    certificate_pem,
                    private_key_pem,
                }),
                tokens: [GATEWAY_TOKEN, ADMIN_TOKEN]
                    .map(|token| apiserver::Token::new(token, "admin", &["system:masters"]))
                    .into(),
                spdy_only: options.spdy_only,
                denials: options.denials.clone(),
                ..usual
            };
            (issuer, ApiServer::start(settings).await.unwrap())
        });
        let server = options.upstream.clone().unwrap_or_else(|| api_server.url());
        workshop.kubeconfig("gateway.kubeconfig", &server, GATEWAY_TOKEN);
        workshop.kubeconfig("admin.kubeconfig", &server, ADMIN_TOKEN);
        workshop.canaries.add("correct-horse-battery");

        let (certificate, key) = workshop.ca.server(&["127.0.0.1", "localhost"]).unwrap();
        workshop.write("tls.crt", &certificate);
        workshop.write("tls.key", &key);
        workshop.write("policy.yaml", options.policy.as_deref().unwrap_or(POLICY));
        workshop.write("revoked.yaml", NOTHING_REVOKED);
        let usual = jwt(issuer.url(), &workshop.path("ca.crt"), &[issuer::AUDIENCE]);
        let setup = Setup {
            issuers: if options.issuers.is_empty() {
                vec![usual]
            } else {
                options.issuers.clone()
            },
            recording: or_defaults(&options.recording),
            known_values: or_defaults(&options.known_values),
            control: or_defaults(&options.control),
            file_bytes_max: options.file_bytes_max,
            unready: options.unready,
        };
        let (gateway, gateway_address, control_address) = setup.start(&workshop);
        let world = Self {
            setup,
            gateway: Some(gateway),
            gateway_address,
            control_address,
            issuer,
            api_server,
            workshop,
        };
        world.log_everybody_in();
        world
    }

    fn log_everybody_in(&self) {
        for caller in [Caller::Developer, Caller::OnCall, Caller::Agent] {
            self.log_in(caller, Duration::from_hours(1));
        }
    }

    /// Ends the gateway without a chance to do anything about it.
    pub(crate) fn kill_gateway(&mut self) {
        let gateway = self.gateway.take().expect("it runs");
        gateway.signal("KILL");
        gateway.wait().expect_code(128 + 9);
    }

    /// Starts the gateway again, on other ports, with the data that is there.
    pub(crate) fn restart_gateway(&mut self) {
        let (gateway, address, control) = self.setup.start(&self.workshop);
        self.gateway = Some(gateway);
        self.gateway_address = address;
        self.control_address = control;
        self.log_everybody_in();
    }

    /// Writes the caller's kubeconfig with a fresh token.
    pub(crate) fn log_in(&self, caller: Caller, lifetime: Duration) -> PathBuf {
        let mut claims = caller.claims();
        let now = Timestamp::now().as_second();
        claims["iat"] = json!(now);
        claims["exp"] = json!(now + i64::try_from(lifetime.as_secs()).unwrap());
        let token = self.issuer.issue(claims).unwrap();
        self.log_in_with(caller.name(), &token)
    }

    /// Writes a kubeconfig with this token.
    pub(crate) fn log_in_with(&self, name: &str, token: &str) -> PathBuf {
        self.workshop
            .kubeconfig(&format!("{name}.kubeconfig"), &self.url(), token)
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.gateway_address)
    }

    /// The token in a caller's kubeconfig.
    pub(crate) fn token(&self, caller: Caller) -> String {
        let config: Value =
            serde_json::from_str(&self.read(&format!("{}.kubeconfig", caller.name()))).unwrap();
        config["users"][0]["user"]["token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// kubectl as `caller` would run it, with a home of its own.
    pub(crate) fn kubectl(&self, version: Kubectl, caller: Caller) -> Process {
        self.kubectl_with(version, &format!("{}.kubeconfig", caller.name()))
    }

    pub(crate) fn kubectl_with(&self, version: Kubectl, kubeconfig: &str) -> Process {
        self.at_home(
            Process::new(self.runtime(), tool(version.name()).join("kubectl")),
            version,
            kubeconfig,
        )
    }

    fn at_home(&self, process: Process, version: Kubectl, kubeconfig: &str) -> Process {
        let home = self.path(&format!("home-{}-{kubeconfig}", version.name()));
        std::fs::create_dir_all(&home).unwrap();
        process
            .env("HOME", &home)
            .env("KUBECONFIG", self.path(kubeconfig))
            .directory(self.directory.path())
    }

    /// A shell line in which `kubectl` may be used as `caller`.
    pub(crate) fn shell(&self, version: Kubectl, caller: Caller, line: &str) -> Process {
        self.at_home(
            Process::new(self.runtime(), "bash"),
            version,
            &format!("{}.kubeconfig", caller.name()),
        )
        .args(["-o", "pipefail", "-c", line])
    }

    /// Runs kubectl and searches what it printed for secrets.
    #[track_caller]
    pub(crate) fn run(&self, version: Kubectl, caller: Caller, args: &[&str]) -> Outcome {
        let outcome = self.kubectl(version, caller).args(args).run();
        self.check(&outcome);
        outcome
    }

    /// Searches a client's output for secrets.
    #[track_caller]
    pub(crate) fn check(&self, outcome: &Outcome) {
        self.canaries.check(
            &format!("the output of `{}`", outcome.command),
            outcome.stdout.as_bytes(),
        );
        self.canaries.check(
            &format!("the errors of `{}`", outcome.command),
            outcome.stderr.as_bytes(),
        );
    }

    /// Runs kubectl straight at the API server: what is really there.
    #[track_caller]
    pub(crate) fn admin(&self, args: &[&str]) -> Outcome {
        let outcome = self
            .kubectl_with(Kubectl::Current, "admin.kubeconfig")
            .args(args)
            .run();
        outcome.expect_code(0);
        outcome
    }

    /// Creates a secret behind the gateway's back and returns its value.
    #[track_caller]
    pub(crate) fn seed_secret(&self, name: &str) -> String {
        let value = self.canaries.fresh();
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": "default"},
            "type": "Opaque",
            "data": {"password": STANDARD.encode(&value)},
        });
        self.api_server.put(secret).expect("a stored secret");
        value
    }

    /// The name of a running pod in `default`.
    #[track_caller]
    pub(crate) fn pod(&self) -> String {
        let pods = self.admin(&[
            "get",
            "pods",
            "--field-selector=status.phase=Running",
            "-o",
            "name",
        ]);
        let first = pods.stdout.lines().next().expect("a running pod");
        first.trim_start_matches("pod/").to_owned()
    }

    pub(crate) fn gateway(&self) -> &Running {
        self.gateway.as_ref().expect("it runs")
    }

    /// The gateway's own program, to look at its sessions.
    pub(crate) fn portcullis(&self, args: &[&str]) -> Process {
        Process::new(self.runtime(), env!("CARGO_BIN_EXE_portcullis"))
            .args(args)
            .directory(self.directory.path())
    }

    /// The control address, as a URL.
    pub(crate) fn control_url(&self) -> String {
        format!("{}://{}", self.setup.control_scheme(), self.control_address)
    }

    /// The audit events so far.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let text = self.read("data/audit.jsonl");
        // What follows the last line break is still being written.
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        whole
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    /// One of the control listener's pages.
    #[track_caller]
    pub(crate) fn control(&self, path: &str) -> String {
        let url = format!("{}{path}", self.control_url());
        let answer = Process::new(self.runtime(), "curl")
            .args(["-sS", &url, "--cacert"])
            .args([self.path("ca.crt")])
            .run();
        answer.expect_code(0);
        self.check(&answer);
        answer.stdout
    }
}

/// When the test is over, the gateway drains, and all that it wrote is searched as well.
impl Drop for World {
    fn drop(&mut self) {
        let Some(gateway) = self.gateway.take() else {
            return;
        };
        if std::thread::panicking() {
            eprintln!(
                "-- the gateway said\n{}{}",
                gateway.stdout(),
                gateway.stderr()
            );
            return;
        }
        let metrics = self.control("/metrics");
        self.canaries.check("the metrics", metrics.as_bytes());
        gateway.signal("TERM");
        let end = gateway.wait_at_most(Duration::from_secs(45));
        assert_eq!(end.code, 0, "the gateway does not stop cleanly: {end}");
        self.canaries.check(
            "the gateway's log",
            format!("{}{}", end.stdout, end.stderr).as_bytes(),
        );
        let mut folders = vec![self.path("data")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let mut bytes = std::fs::read(&path).unwrap();
                if path.extension().is_some_and(|it| it == "zst") {
                    bytes = zstd::decode_all(bytes.as_slice()).unwrap();
                }
                self.canaries.check(&format!("{}", path.display()), &bytes);
            }
        }
    }
}
