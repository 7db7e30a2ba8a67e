//! Who carries the load: processes that are started for a measurement, with configurations written here.

mod gateway;
mod process;
mod proxies;
pub mod relay;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use super::load::http::Endpoint;
use super::network::tls;
use super::scenario::{Scenario, Target};
use crate::issuer::{Issuer, Running as RunningIssuer};
use crate::pki::Ca;
pub use gateway::other_build;
pub use process::{Process, Usage};

const PORTS: Range<u16> = 10_000..32_000;
const PORT_TRIES: usize = 100;

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
    /// Starts what every target needs, with its files in `folder/run`, which is emptied first.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.join("run");
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
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
        let mut process = Process::this(&folder, "upstream", |command| {
            command
                .args(["upstream", "--listen", &upstream.to_string(), "--dir"])
                .arg(&folder);
        })?;
        process.until(async || answers(upstream).await).await?;
        Ok(Self {
            folder,
            upstream,
            issuer,
            _upstream: process,
        })
    }

    /// Starts a target; `None` when it is not installed.
    pub async fn start_target(
        &self,
        target: Target,
        scenario: &Scenario,
    ) -> anyhow::Result<Option<Candidate>> {
        let listen = free_port()?;
        let mut token = "nobody-looks-at-this".to_owned();
        let mut process = match target {
            Target::Direct => None,
            Target::Relay => Some(relay::start(self, listen)?),
            Target::Nginx | Target::NginxLua | Target::Haproxy | Target::Envoy => {
                match proxies::start(self, target, listen)? {
                    Some(process) => Some(process),
                    None => return Ok(None),
                }
            }
            Target::Portcullis
            | Target::PortcullisMasked
            | Target::PortcullisRecorded
            | Target::PortcullisManyRules
            | Target::PortcullisMaskedRecorded => {
                token = gateway::token(&self.issuer)?;
                Some(gateway::start(self, target, scenario, listen).await?)
            }
        };
        let address = match &mut process {
            Some(process) => {
                process.until(async || answers(listen).await).await?;
                process.rest().await?;
                listen
            }
            None => self.upstream,
        };
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

/// Whether someone listens there.
async fn answers(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_ok()
}

/// A port that was free a moment ago, and which no connection takes by chance meanwhile: those get ports above 32768
/// (`ip_local_port_range`, ip-sysctl).
fn free_port() -> anyhow::Result<SocketAddr> {
    for _ in 0..PORT_TRIES {
        let mut number = [0; 2];
        aws_lc_rs::rand::fill(&mut number).map_err(|_| anyhow!("no randomness"))?;
        let port = PORTS.start + u16::from_ne_bytes(number) % (PORTS.end - PORTS.start);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no port is free between {} and {}", PORTS.start, PORTS.end)
}
