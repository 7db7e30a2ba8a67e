//! Who carries the load: processes that are started for a measurement, with configurations written here.

mod gateway;
mod process;
mod proxies;
pub mod relay;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use super::load::http::Endpoint;
use super::network::tls;
use super::scenario::{Scenario, Target};
use crate::issuer::{Issuer, Running as RunningIssuer};
use crate::pki::Ca;
pub use process::{Process, Usage};

const READY_WITHIN: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(20);

/// The folder of a measurement, the upstream and the issuer: what all targets share.
pub struct Stage {
    folder: PathBuf,
    upstream: SocketAddr,
    issuer: RunningIssuer,
    _upstream: Process,
}

/// A target that is ready.
pub struct Candidate {
    /// Which.
    pub target: Target,
    /// How to reach it.
    pub endpoint: Endpoint,
    /// What runs for it; nothing for `direct`.
    pub process: Option<Process>,
}

impl Stage {
    /// Empties `folder` and starts what every target needs.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        drop(std::fs::remove_dir_all(folder));
        std::fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let ca = Ca::new()?;
        let (certificate, key) = ca.server(&["localhost", "127.0.0.1"])?;
        for (name, text) in [
            ("ca.crt", &ca.pem()),
            ("tls.crt", &certificate),
            ("tls.key", &key),
        ] {
            std::fs::write(folder.join(name), text)?;
        }
        let issuer = Issuer::start(
            SocketAddr::from(([127, 0, 0, 1], 0)),
            ca.server_config(&["localhost", "127.0.0.1"], &["http/1.1"])?,
        )
        .await?;
        let upstream = free_port()?;
        let process = Process::this(&folder, "upstream", |command| {
            command
                .args(["upstream", "--listen", &upstream.to_string(), "--dir"])
                .arg(&folder);
        })?;
        let stage = Self {
            folder,
            upstream,
            issuer,
            _upstream: process,
        };
        answers(upstream)
            .await
            .context("the upstream does not start")?;
        Ok(stage)
    }

    /// Starts a target; `None` when it is not installed.
    pub async fn start_target(
        &self,
        target: Target,
        scenario: &Scenario,
    ) -> anyhow::Result<Option<Candidate>> {
        let listen = free_port()?;
        let mut token = "nobody-looks-at-this".to_owned();
        let process = match target {
            Target::Direct => None,
            Target::Relay => Some(relay::start(self, listen)?),
            Target::Nginx | Target::Haproxy | Target::Envoy => {
                match proxies::start(self, target, listen)? {
                    Some(process) => Some(process),
                    None => return Ok(None),
                }
            }
            Target::Portcullis
            | Target::PortcullisMasked
            | Target::PortcullisRecorded
            | Target::PortcullisMaskedRecorded => {
                token = gateway::token(&self.issuer)?;
                Some(gateway::start(self, target, scenario, listen).await?)
            }
        };
        let address = if process.is_some() {
            listen
        } else {
            self.upstream
        };
        answers(address)
            .await
            .with_context(|| format!("{target} does not start; see {}", self.folder.display()))?;
        let endpoint = Endpoint {
            address,
            name: ServerName::from(address.ip()),
            prefix: String::new(),
            token,
            tls_http1: tls::client(&self.folder, &["http/1.1"])?,
            tls_http2: tls::client(&self.folder, &["h2"])?,
        };
        Ok(Some(Candidate {
            target,
            endpoint,
            process,
        }))
    }
}

/// Waits until someone listens there.
async fn answers(address: SocketAddr) -> anyhow::Result<()> {
    let listening = async {
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(POLL_EVERY).await;
        }
    };
    if tokio::time::timeout(READY_WITHIN, listening).await.is_err() {
        bail!("nobody listens on {address}");
    }
    Ok(())
}

fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
