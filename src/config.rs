//! What the gateway is told: `gateway.yaml` and the policy files it names, read, checked and compiled.
//!
//! Everything that is wrong is listed at once, with file, line and field. A configuration with a
//! problem is no configuration: the gateway does not start, and a reload keeps what it had.

pub mod case_file;
pub mod document;
pub mod policy_file;
mod raw;
pub mod reload;
mod section;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use document::{Position, Problem};

use crate::policy::Policy;
use crate::{control, identity, upstream};
use section::Document;

/// The version of every file this program reads.
pub const API_VERSION: &str = "portcullis.dev/v1alpha1";

/// A checked configuration; immutable.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the gateway keeps its files.
    pub data_directory: PathBuf,
    /// Where callers connect.
    pub listener: ListenerConfig,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    pub control: control::Settings,
    /// Who is believed.
    pub authentication: identity::Settings,
    /// The API servers behind the gateway.
    pub upstream: upstream::Settings,
    /// The cluster that is also served without a prefix.
    pub default_cluster: Option<String>,
    /// The policy files, to be read again on reload.
    pub policy_files: Vec<PathBuf>,
    /// The policy they hold.
    pub policy: Arc<Policy>,
    /// The audit log.
    pub audit_file: PathBuf,
    /// What works but deserves a second look.
    pub warnings: Vec<String>,
}

/// The section `listener`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Address and port.
    pub address: SocketAddr,
    /// PEM certificates, the server's own first.
    pub certificate_file: PathBuf,
    /// The PEM private key.
    pub private_key_file: PathBuf,
    /// Host names that requests may be for; empty is any.
    pub hosts: Vec<String>,
    /// Connections at one time.
    pub connections_max: usize,
    /// Connections of one client address at one time.
    pub connections_per_address_max: usize,
    /// HTTP/2 streams of one connection at one time.
    pub concurrent_streams_max: u32,
    /// Bytes of a request's headers.
    pub header_bytes_max: u32,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a request's headers may take.
    pub header_timeout: Duration,
    /// How long open requests may go on after SIGTERM.
    pub drain_timeout: Duration,
}

impl Config {
    /// Reads a configuration file and everything it names, or says everything that is wrong.
    pub fn load(file: &Path) -> Result<Self, Vec<Problem>> {
        let text = policy_file::read(file).map_err(|problem| vec![problem])?;
        let document = Document::new(file, &text);
        let (config, mut problems) = raw::read(document);
        if let Some(config) = config
            && problems.is_empty()
        {
            return Ok(config);
        }
        if problems.is_empty() {
            // Cannot happen: an absent value is always reported. Closed by default all the same.
            problems.push(Problem {
                file: file.to_owned(),
                at: Position::default(),
                field: String::new(),
                message: "is incomplete".to_owned(),
            });
        }
        Err(problems)
    }

    /// Only the policy files that a configuration names, for tools that decide but do not serve.
    pub fn policy_files(file: &Path) -> Result<Vec<PathBuf>, Vec<Problem>> {
        let text = policy_file::read(file).map_err(|problem| vec![problem])?;
        raw::read_policy_files(Document::new(file, &text))
    }
}

#[cfg(test)]
mod tests;
