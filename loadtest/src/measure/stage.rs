//! Issuer, API server and gateway for a measurement.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;
use tokio::process::{Child, Command};

use super::client::Endpoint;
use crate::apiserver::{self, ApiServer};
use crate::issuer::{self, Issuer};
use crate::pki::Ca;

const ADMIN_TOKEN: &str = "admin-credential-of-a-measurement";
const READY_WITHIN: Duration = Duration::from_secs(20);
/// The pod that sessions are opened in.
const POD: &str = "bench";

/// Sessions of the group `recorded` are on tape, those of the group `plain` are not.
const POLICY: &str = r#"
apiVersion: portcullis.dev/v1alpha1
kind: Policy
metadata: {name: measured}
rules:
- name: record
  subjects: {groups: [recorded]}
  verbs: [create]
  apiGroups: [""]
  resources: [pods/exec]
  record: required
- name: everything
  subjects: {groups: [recorded, plain]}
  verbs: ["*"]
  apiGroups: ["*"]
  resources: ["*"]
  decision: allow
"#;

/// What the shipped profiles hide of a command's output.
const MASKED: &str = "\
- name: mask
  mask: [known-values, credentials]
";

/// Everything that runs for a measurement. The gateway is killed when this is dropped.
pub(super) struct Stage {
    folder: std::path::PathBuf,
    gateway: Child,
    /// Straight to the API server.
    pub(super) direct: Endpoint,
    /// Through the gateway, not recorded.
    pub(super) plain: Endpoint,
    /// Through the gateway, recorded.
    pub(super) recorded: Endpoint,
    _issuer: issuer::Running,
    _api_server: apiserver::Running,
}

impl Stage {
    /// Starts all three below `folder`, which is emptied. Output of sessions is `masked` as the profiles do, or not
    /// looked into.
    pub(super) async fn start(folder: &std::path::Path, masked: bool) -> anyhow::Result<Self> {
        drop(std::fs::remove_dir_all(folder));
        std::fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text);
        let ca = Ca::new()?;
        write("ca.crt", &ca.pem())?;
        let (certificate, key) = ca.server(&["127.0.0.1"])?;
        write("tls.crt", &certificate)?;
        write("tls.key", &key)?;
        let masks = if masked { MASKED } else { "" };
        write("policy.yaml", &[POLICY, masks].concat())?;

        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let tls = ca.server_config(&["localhost", "127.0.0.1"], &["h2", "http/1.1"])?;
        let issuer = Issuer::start(local, tls).await?;
        let api_server = cluster(certificate, key).await?;
        let authority = folder.join("ca.crt");
        write(
            "admin.kubeconfig",
            &kubeconfig(&api_server.url(), &authority),
        )?;

        let [listener, control] = [free_port()?, free_port()?];
        write(
            "gateway.yaml",
            &configuration(listener, control, issuer.url()),
        )?;
        let gateway = Command::new(std::env::current_exe()?)
            .args(["gateway", "serve", "--log", "warn", "--config"])
            .arg(folder.join("gateway.yaml"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("the gateway does not start")?;
        ready(control).await?;

        let tls = ca.client_config(&["http/1.1"])?;
        let endpoint = |address: SocketAddr, token: String| Endpoint {
            address,
            token,
            tls: Arc::clone(&tls),
            pod: POD,
        };
        let token = |group: &str| {
            let expires = Timestamp::now().as_second() + 24 * 3600;
            issuer.issue(json!({"sub": group, "groups": [group], "exp": expires}))
        };
        Ok(Self {
            direct: endpoint(api_server.address(), ADMIN_TOKEN.to_owned()),
            plain: endpoint(listener, token("plain")?),
            recorded: endpoint(listener, token("recorded")?),
            folder,
            gateway,
            _issuer: issuer,
            _api_server: api_server,
        })
    }

    /// The CPU time that all threads of the gateway have used so far.
    pub(super) fn gateway_cpu(&self) -> anyhow::Result<Duration> {
        let process = self.gateway.id().context("the gateway has ended")?;
        let mut total = 0;
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            // Its first number: nanoseconds on a CPU. A thread may end in between.
            let text =
                std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
            total += text
                .split(' ')
                .next()
                .map_or(Ok(0), str::parse::<u64>)
                .unwrap_or(0);
        }
        Ok(Duration::from_nanos(total))
    }

    /// The most memory the gateway ever had in use, in KiB.
    pub(super) fn gateway_peak_kib(&self) -> anyhow::Result<u64> {
        let process = self.gateway.id().context("the gateway has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.unwrap_or_default().trim().trim_end_matches(" kB");
        Ok(number.parse()?)
    }

    /// Removes the recordings so far, so that a disk need not hold a whole measurement.
    pub(super) fn forget_recordings(&self) -> anyhow::Result<u64> {
        let mut folders = vec![self.folder.join("data/recordings")];
        let mut bytes = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else {
                    bytes += entry.metadata()?.len();
                    std::fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(bytes)
    }
}

/// A simulated API server with the one pod that sessions are opened in.
async fn cluster(
    certificate_pem: String,
    private_key_pem: String,
) -> anyhow::Result<apiserver::Running> {
    let api_server = ApiServer::start(apiserver::Settings {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        tls: Some(apiserver::Tls {
            certificate_pem,
            private_key_pem,
        }),
        tokens: vec![apiserver::Token::new(
            ADMIN_TOKEN,
            "admin",
            &["system:masters"],
        )],
        ..apiserver::Settings::default()
    })
    .await?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": POD, "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": "busybox"}]},
        "status": {"phase": "Running"},
    });
    api_server.put(pod).map_err(anyhow::Error::msg)?;
    Ok(api_server)
}

fn kubeconfig(server: &str, authority: &std::path::Path) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {
            "server": server, "certificate-authority": authority,
        }}],
        "users": [{"name": "it", "user": {"token": ADMIN_TOKEN}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    })
    .to_string()
}

/// JSON is YAML.
fn configuration(listener: SocketAddr, control: SocketAddr, issuer: &str) -> String {
    json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "GatewayConfiguration",
        "dataDirectory": "data",
        "listener": {
            "address": listener.to_string(),
            "tls": {"certificateFile": "tls.crt", "privateKeyFile": "tls.key"},
        },
        "control": {"address": control.to_string()},
        "authentication": {"jwt": [{
            "issuer": {
                "url": issuer, "certificateAuthorityFile": "ca.crt",
                "audiences": [issuer::AUDIENCE],
            },
            "claimMappings": {
                "username": {"claim": "sub", "prefix": ""},
                "groups": {"claim": "groups", "prefix": ""},
            },
        }]},
        "clusters": [{"name": "it", "default": true, "kubeconfig": {"file": "admin.kubeconfig"}}],
        "policy": {"files": ["policy.yaml"]},
        "audit": {"file": "data/audit.jsonl"},
    })
    .to_string()
}

fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

async fn ready(control: SocketAddr) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + READY_WITHIN;
    loop {
        match super::client::is_ready(control).await {
            Ok(true) => return Ok(()),
            _ if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(false) => anyhow::bail!("the gateway does not get ready"),
            Err(error) => return Err(error).context("the gateway does not answer"),
        }
    }
}
