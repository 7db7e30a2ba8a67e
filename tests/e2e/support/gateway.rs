//! The gateway as a process of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::process::{Process, Running};
use super::world::Workshop;

/// An entry of `authentication.jwt`.
pub(crate) fn jwt(url: &str, authority: &Path, audiences: &[&str]) -> Value {
    let mut issuer =
        json!({"url": url, "certificateAuthorityFile": authority, "audiences": audiences});
    if audiences.len() > 1 {
        issuer["audienceMatchPolicy"] = json!("MatchAny");
    }
    json!({
        "issuer": issuer,
        "clockSkew": "0s", // a test that waits for an expiry waits no longer
        "claimMappings": {
            "username": {"claim": "sub", "prefix": ""},
            "groups": {"claim": "groups", "prefix": ""},
            "agent": {"claim": "act.sub", "prefix": ""},
        },
    })
}

/// How the gateway is set up, apart from what is the same in every world.
#[derive(Debug)]
pub(crate) struct Setup {
    /// `authentication.jwt`
    pub(crate) issuers: Vec<Value>,
    /// The section `recording`.
    pub(crate) recording: Value,
    /// The section `knownValues`.
    pub(crate) known_values: Value,
    /// What the section `control` has besides.
    pub(crate) control: Value,
    /// No file may grow beyond this: what a full disk does to whoever writes.
    pub(crate) file_bytes_max: Option<u64>,
    /// Starting does not wait until it is ready.
    pub(crate) unready: bool,
}

impl Setup {
    /// Starts the program on ports that were just free; another process may have taken one, so it tries again.
    pub(crate) fn start(&self, workshop: &Workshop) -> (Running, SocketAddr, SocketAddr) {
        for attempt in 1.. {
            let [listener, control] =
                [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
            let mut reached =
                json!({"address": control.to_string(), "operators": {"groups": ["on-call"]}});
            for (key, value) in self.control.as_object().into_iter().flatten() {
                reached[key] = value.clone();
            }
            // JSON is YAML.
            let configuration = json!({
                "apiVersion": "portcullis.dev/v1alpha1",
                "kind": "GatewayConfiguration",
                "dataDirectory": "data",
                "listener": {
                    "address": listener.to_string(),
                    "tls": {"certificateFile": "tls.crt", "privateKeyFile": "tls.key"},
                    "drainTimeout": "10s",
                },
                "control": reached,
                "authentication": {"jwt": self.issuers, "revocationFile": "revoked.yaml"},
                "clusters": [{"name": "demo", "default": true, "kubeconfig": {"file": "gateway.kubeconfig"}}],
                "policy": {"files": ["policy.yaml"]},
                "recording": self.recording,
                "knownValues": self.known_values,
                "audit": {"file": "data/audit.jsonl"},
            });
            let path = workshop.write("gateway.yaml", &configuration.to_string());
            let mut gateway = self
                .program(workshop)
                .args(["serve".as_ref(), "--config".as_ref(), path.as_os_str()])
                .start();
            let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
            let page = if self.unready { "healthz" } else { "readyz" };
            let url = format!("{}://{control}/{page}", self.control_scheme());
            let authority = workshop.path("ca.crt");
            while tokio::time::Instant::now() < deadline && !gateway.has_ended() {
                let probe = Process::new(workshop.runtime(), "curl")
                    .args(["-sf", "-o", "/dev/null", &url, "--cacert"])
                    .args([&authority])
                    .run();
                if probe.code == 0 {
                    return (gateway, listener, control);
                }
                gateway.pause();
            }
            gateway.signal_if_running("KILL");
            let end = gateway.wait();
            assert!(attempt < 3, "the gateway does not get ready: {end}");
        }
        unreachable!("the loop returns or fails")
    }

    /// What the control address speaks.
    pub(crate) fn control_scheme(&self) -> &'static str {
        if self.control["tls"].is_null() {
            "http"
        } else {
            "https"
        }
    }

    fn program(&self, workshop: &Workshop) -> Process {
        let program = env!("CARGO_BIN_EXE_portcullis");
        let Some(bytes) = self.file_bytes_max else {
            return Process::new(workshop.runtime(), program);
        };
        // Who ignores the signal gets an error from `write` instead; both limits are inherited.
        let line = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", bytes / 1024);
        Process::new(workshop.runtime(), "bash").args(["-c", &line, "bash", program])
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
