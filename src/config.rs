//! What the gateway is told: `gateway.yaml` and the policy files it names, read, checked and compiled.
//!
//! Everything that is wrong is listed at once, with file, line and field. A configuration with a
//! problem is no configuration: the gateway does not start, and a reload keeps what it had.

pub mod case_file;
pub mod document;
pub mod live;
pub mod placeholder_key;
pub mod policy_file;
mod raw;
pub mod reload;
pub mod revocation_file;
mod section;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use document::{Position, Problem};

use crate::audit::responses;
use crate::gateway::route::Clusters;
use crate::policy::Policy;
use crate::transform::text::known;
use crate::{audit, control, identity, listener, recording, upstream};
use section::Document;

/// The version of every file this program reads.
pub const API_VERSION: &str = "portcullis.dev/v1alpha1";

/// A checked configuration; immutable.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the gateway keeps its files.
    pub data_directory: PathBuf,
    /// Where callers connect.
    pub listener: listener::Settings,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    pub control: control::Settings,
    /// Who is believed.
    pub authentication: identity::Settings,
    /// The revocation list, to be read again on reload.
    pub revocation_file: Option<PathBuf>,
    /// What it holds.
    pub revocations: Arc<identity::Revocations>,
    /// The API servers behind the gateway.
    pub upstream: upstream::Settings,
    /// The cluster that is also served without a prefix.
    pub default_cluster: Option<String>,
    /// The policy files, to be read again on reload.
    pub policy_files: Vec<PathBuf>,
    /// The policy they hold.
    pub policy: Arc<Policy>,
    /// The audit log.
    pub audit: audit::Settings,
    /// Where the audit log is sent.
    pub audit_sinks: Vec<control::shipping::Settings>,
    /// Where recordings go.
    pub recording: recording::Settings,
    /// Where answers are kept.
    pub responses: responses::Settings,
    /// What is learned of Secrets, to mask their values elsewhere.
    pub known_values: known::Settings,
    /// What works but deserves a second look.
    pub warnings: Vec<String>,
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

    /// Only the policy and the names of the clusters, for tools that decide but do not serve.
    pub fn load_deciding(file: &Path) -> Result<(Policy, Clusters), Vec<Problem>> {
        let text = policy_file::read(file).map_err(|problem| vec![problem])?;
        raw::read_deciding(Document::new(file, &text))
    }
}

#[cfg(test)]
mod tests;
