//! The files of a demo: CA, kubeconfigs, policies and the gateway's configuration.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::Args;
use crate::issuer::{AUDIENCE, Client, Door, Person};
use crate::pki::Ca;

/// The folder a demo lives in, and its CA. Everything in it that grants something has mode 0600.
pub(super) struct Folder {
    pub(super) dir: PathBuf,
    pub(super) ca: Ca,
}

/// Someone who may use the gateway.
pub(super) struct Caller {
    /// The user (and kubeconfig user) name.
    pub(super) name: &'static str,
    /// The kubeconfig's file name.
    pub(super) file: &'static str,
    group: &'static str,
    /// What they are, in words.
    title: &'static str,
    /// The agent that acts for `name`, if the token is an agent's.
    agent: Option<&'static str>,
}

/// The three callers the profiles know.
pub(super) const CALLERS: &[Caller] = &[
    Caller {
        name: "dana",
        file: "developer.kubeconfig",
        group: "developers",
        title: "a developer",
        agent: None,
    },
    Caller {
        name: "omar",
        file: "on-call.kubeconfig",
        group: "on-call",
        title: "on call; says yes or no, and sees everything",
        agent: None,
    },
    Caller {
        name: "dana",
        file: "agent.kubeconfig",
        group: "ai-agents",
        title: "an AI agent",
        agent: Some("helper-bot"),
    },
];

/// The ready-made policies in the order profiles/README.md asks for, as the demo's own copies, and a rule of its own:
/// edit them and watch the gateway reload.
const POLICIES: &[(&str, &str)] = &[
    (
        "ai-agent.yaml",
        include_str!("../../../profiles/ai-agent.yaml"),
    ),
    ("payments.yaml", include_str!("payments.yaml")),
    (
        "on-call.yaml",
        include_str!("../../../profiles/on-call.yaml"),
    ),
    (
        "developer.yaml",
        include_str!("../../../profiles/developer.yaml"),
    ),
];

/// The client that the console is at the issuer.
const CONSOLE: &str = "portcullis-console";
/// The client that `portcullis login` is there.
pub(super) const CLI: &str = "portcullis-cli";

/// Where the demo's people log in: to the console, and for kubectl.
pub(super) fn door(args: &Args) -> Door {
    let people = CALLERS.iter().filter(|caller| caller.agent.is_none());
    Door {
        clients: vec![
            Client {
                id: CONSOLE.to_owned(),
                redirect_uri: format!("http://{}/console/callback", args.control_address),
            },
            Client {
                id: CLI.to_owned(),
                redirect_uri: "http://127.0.0.1/callback".to_owned(),
            },
        ],
        people: people
            .map(|caller| Person {
                name: caller.name.to_owned(),
                title: caller.title.to_owned(),
                claims: caller.claims(args.token_hours),
            })
            .collect(),
    }
}

impl Caller {
    /// The claims of an ID token; an agent's names the human it acts for (RFC 8693 `act`).
    pub(super) fn claims(&self, hours: u32) -> Value {
        let now = Timestamp::now();
        let expires = now
            .checked_add(i64::from(hours).hours())
            .unwrap_or(now)
            .as_second();
        let mut claims = json!({"sub": self.name, "groups": [self.group], "exp": expires});
        if let (Some(agent), Some(fields)) = (self.agent, claims.as_object_mut()) {
            fields.insert("act".to_owned(), json!({"sub": agent}));
        }
        claims
    }
}

impl Folder {
    /// Makes the folder and a fresh CA; what an earlier demo left there is overwritten, except for the
    /// gateway's data.
    pub(super) fn make(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir.join("policies"))
            .with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let folder = Self {
            dir,
            ca: Ca::new()?,
        };
        folder.write("ca.crt", &folder.ca.pem())?;
        let (certificate, key) = folder.ca.server(&["localhost", "127.0.0.1"])?;
        folder.write("tls.crt", &certificate)?;
        folder.write("tls.key", &key)?;
        for (name, text) in POLICIES {
            folder.write(&format!("policies/{name}"), text)?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The kubeconfig straight to the simulated API server; the gateway uses the same.
    pub(super) fn write_admin(&self, apiserver: SocketAddr, token: &str) -> anyhow::Result<()> {
        self.write_kubeconfig("admin.kubeconfig", "admin", token, apiserver)
    }

    /// A real cluster: its kubeconfig is copied, so that the demo does not depend on the original.
    pub(super) fn use_cluster(&self, kubeconfig: &Path) -> anyhow::Result<()> {
        let text = fs::read_to_string(kubeconfig).with_context(|| {
            format!(
                "cannot read the cluster's kubeconfig {}",
                kubeconfig.display()
            )
        })?;
        self.write("admin.kubeconfig", &text)
    }

    pub(super) fn write_kubeconfig(
        &self,
        file: &str,
        user: &str,
        token: &str,
        server: SocketAddr,
    ) -> anyhow::Result<()> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "demo", "cluster": {
                "server": format!("https://{server}"),
                "certificate-authority-data": STANDARD.encode(self.ca.pem()),
            }}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "demo", "context": {"cluster": "demo", "user": user, "namespace": "default"}}],
            "current-context": "demo",
        });
        self.write(file, &serde_json::to_string_pretty(&config)?)
    }

    pub(super) fn write_gateway(&self, args: &Args, issuer: &str) -> anyhow::Result<()> {
        let files: Vec<String> = POLICIES
            .iter()
            .map(|(name, _)| format!("policies/{name}"))
            .collect();
        let text = format!(
            "# Written by the demo. `portcullis serve --config` takes it as it is.
apiVersion: portcullis.dev/v1alpha1
kind: GatewayConfiguration
dataDirectory: data
listener:
  address: {gateway}
  tls: {{certificateFile: tls.crt, privateKeyFile: tls.key}}
  hosts: [localhost, {host}]
  drainTimeout: 5s
control:
  address: \"{control}\"
  operators: {{groups: [on-call]}}
  console: {{clientID: {CONSOLE}, scopes: [groups]}}
authentication:
  jwt:
  - issuer:
      url: {issuer}
      certificateAuthorityFile: ca.crt
      audiences: [{AUDIENCE}, {CONSOLE}, {CLI}]
      audienceMatchPolicy: MatchAny
    claimMappings:
      username: {{claim: sub, prefix: \"\"}}
      groups: {{claim: groups, prefix: \"\"}}
      agent: {{claim: act.sub, prefix: \"\"}}
clusters:
- name: demo
  default: true
  kubeconfig: {{file: admin.kubeconfig}}
policy: {{files: [{files}]}}
audit: {{file: data/audit.jsonl}}
",
            gateway = args.gateway_address,
            host = args.gateway_address.ip(),
            control = args.control_address,
            files = files.join(", "),
        );
        self.write("gateway.yaml", &text)
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        // Removed first: an existing file would keep its mode.
        drop(fs::remove_file(&path));
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A bearer token nobody can guess.
pub(super) fn random_token() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 24];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("no randomness"))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}
