//! Portcullis as a target: everything on, as it ships. Tokens are verified, policy decides, every request is audited.

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use portcullis::limits::POLICY_RULES_MAX;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::{Process, Stage, free_port};
use crate::harness::scenario::{Scenario, Target};
use crate::issuer::{self, Running as Issuer};

/// The `portcullis` to measure instead of the one that is part of this program.
pub fn other_build() -> Option<PathBuf> {
    std::env::var_os("LOADTEST_GATEWAY").map(PathBuf::from)
}

/// A token for the one caller that the policy knows.
pub(super) fn token(issuer: &Issuer) -> anyhow::Result<String> {
    let expires = Timestamp::now().as_second() + 24 * 3600 - 60;
    Ok(issuer.issue(json!({"sub": "measured", "groups": ["measured"], "exp": expires}))?)
}

/// Starts a gateway with one worker and waits until it is ready.
pub(super) async fn start(
    stage: &Stage,
    target: Target,
    scenario: &Scenario,
    listen: SocketAddr,
) -> anyhow::Result<Process> {
    let folder = stage.folder.join(target.to_string());
    std::fs::create_dir_all(&folder)?;
    let control = free_port()?;
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text);
    write("policy.yaml", &policy(target, scenario))?;
    write("upstream.kubeconfig", &kubeconfig(stage))?;
    write("gateway.yaml", &configuration(stage, listen, control))?;
    let arguments = |command: &mut Command| {
        command
            .args(["serve", "--log", "warn", "--config"])
            .arg(folder.join("gateway.yaml"));
        // As every other target. tokio reads this.
        command.env("TOKIO_WORKER_THREADS", "1");
    };
    let mut process = match other_build() {
        Some(program) => Process::start(program, &folder, "gateway", arguments)?,
        None => Process::this(&folder, "gateway", |command| {
            arguments(command.arg("gateway"));
        })?,
    };
    process
        .until(async || is_ready(control).await.unwrap_or(false))
        .await?;
    Ok(process)
}

fn policy(target: Target, scenario: &Scenario) -> String {
    let head =
        "apiVersion: portcullis.dev/v1alpha1\nkind: Policy\nmetadata: {name: measured}\nrules:";
    let others = match target {
        // With the one that allows.
        Target::PortcullisManyRules => POLICY_RULES_MAX - 1,
        _ => scenario.rules,
    };
    let others = (0..others).map(|number| {
        format!(
            "- {{name: other-{number}, subjects: {{groups: [team-{number}]}}, verbs: [get, list, watch], apiGroups: [\"\"], \
             resources: [pods, secrets], namespaces: [\"team-{number}-*\"], decision: allow}}"
        )
    });
    let mask = format!("- {{name: mask, mask: [{}]}}", scenario.masks.join(", "));
    let record = "- {name: record, verbs: [create], apiGroups: [\"\"], resources: [pods/exec], record: required}";
    let obligations = match target {
        Target::PortcullisMasked => vec![mask],
        Target::PortcullisRecorded => vec![record.to_owned()],
        Target::PortcullisMaskedRecorded => vec![mask, record.to_owned()],
        _ => Vec::new(),
    };
    let all = "- {name: everything, subjects: {groups: [measured]}, verbs: [\"*\"], apiGroups: [\"*\"], \
               resources: [\"*\"], decision: allow}\n";
    let mut lines = vec![head.to_owned()];
    lines.extend(others);
    lines.extend(obligations);
    lines.push(all.to_owned());
    lines.join("\n")
}

fn kubeconfig(stage: &Stage) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "upstream",
        "clusters": [{"name": "upstream", "cluster": {
            "server": format!("https://{}", stage.upstream), "certificate-authority": stage.folder.join("ca.crt"),
        }}],
        "users": [{"name": "gateway", "user": {"token": "credential-of-the-gateway"}}],
        "contexts": [{"name": "upstream", "context": {"cluster": "upstream", "user": "gateway"}}],
    })
    .to_string()
}

/// JSON is YAML.
fn configuration(stage: &Stage, listen: SocketAddr, control: SocketAddr) -> String {
    json!({
        "apiVersion": "portcullis.dev/v1alpha1", "kind": "GatewayConfiguration",
        "dataDirectory": "data",
        "listener": {
            "address": listen.to_string(), "maxConnectionsPerAddress": 20000,
            "tls": {"certificateFile": "../tls.crt", "privateKeyFile": "../tls.key"},
        },
        "control": {"address": control.to_string()},
        "authentication": {"jwt": [{
            "issuer": {
                "url": stage.issuer.url(), "certificateAuthorityFile": "../ca.crt", "audiences": [issuer::AUDIENCE],
            },
            "claimMappings": {
                "username": {"claim": "sub", "prefix": ""}, "groups": {"claim": "groups", "prefix": ""},
            },
        }]},
        "clusters": [{"name": "upstream", "default": true, "kubeconfig": {"file": "upstream.kubeconfig"}}],
        "policy": {"files": ["policy.yaml"]},
        "audit": {"file": "data/audit.jsonl"},
    })
    .to_string()
}

async fn is_ready(control: SocketAddr) -> anyhow::Result<bool> {
    let mut stream = TcpStream::connect(control).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.take(64 << 10).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}
