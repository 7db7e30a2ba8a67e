//! What the demo says, and how it asks the gateway whether it is ready.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the demo talks to whoever started it"
)]

use std::net::SocketAddr;
use std::path::Path;

use anyhow::bail;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::shown;

/// What to type next; ends with the one line `ready`.
pub(super) fn what_next(
    dir: &Path,
    (gateway, control): (SocketAddr, SocketAddr),
    issuer: &str,
    real_cluster: bool,
) -> String {
    let cwd = std::env::current_dir().unwrap_or_default();
    let dir = shown(dir.strip_prefix(&cwd).unwrap_or(dir));
    let cluster = if real_cluster {
        "the cluster you named"
    } else {
        "a simulated cluster"
    };
    format!(
        "Portcullis is in front of {cluster}: https://{gateway}

Three callers have a kubeconfig with a token of the local OIDC issuer:
  {dir}/developer.kubeconfig   dana, a developer
  {dir}/on-call.kubeconfig     omar, on call
  {dir}/agent.kubeconfig       helper-bot, an AI agent acting for dana
  {dir}/admin.kubeconfig       straight to the API server, to compare

Type next, in another terminal:
  export KUBECONFIG={dir}/developer.kubeconfig
  kubectl auth whoami                          # kubectl 1.28 or later
  kubectl get secret db -o yaml                # masked; compare with --kubeconfig {dir}/admin.kubeconfig
  kubectl get pods -n payments -w
  kubectl exec -it deploy/web -- sh
  cargo run --quiet -- sessions ls --data-dir {dir}/data    # that shell is on tape; `replay ID --data-dir {dir}/data` shows it
  kubectl delete pod -n payments -l app=ledger # waits for a yes: open the console and be omar
  kubectl --kubeconfig {dir}/agent.kubeconfig delete deployment web    # refused, and says why
  tail -f {dir}/data/audit.jsonl
  curl http://{control}/metrics

The console: http://{control}/console
  It logs you in at {issuer}, which asks who you are. Your browser does not know
  its certificate, which is the demo's own ({dir}/ca.crt), and says so.

With a login instead of a token in the file (portcullis is `cargo run --quiet --`):
  portcullis kubeconfig --server https://{gateway} --certificate-authority {dir}/ca.crt --issuer {issuer} \\
    --issuer-ca-file {dir}/ca.crt --client-id {cli} --scope groups --kubeconfig {dir}/login.kubeconfig
  portcullis login --kubeconfig {dir}/login.kubeconfig

Edit {dir}/policies/*.yaml and the gateway reloads them. Ctrl-C stops everything.
ready",
        cli = super::files::CLI,
    )
}

/// Says something to whoever started the demo.
pub(super) fn say(text: &str) {
    println!("{text}");
}

/// Says what went wrong.
pub(super) fn complain(text: &str) {
    eprintln!("{text}");
}

/// Asks the control listener.
pub(super) async fn ready(control: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(control).await?;
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer).await?;
    if answer.starts_with("HTTP/1.1 200") {
        return Ok(());
    }
    let why = answer
        .split_once("\r\n\r\n")
        .map_or("", |(_, body)| body.trim());
    bail!("{why}")
}
