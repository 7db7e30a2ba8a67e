//! What is said about a recording: in its header when it begins, beside it when it is over.
//!
//! Both are part of the file format (`docs/recording.md`): fields are added, never renamed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::copy::CopyReport;
use crate::wire::asciicast::Version;

/// The key `portcullis` of a recording's header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// The id of the recording: the audit id of the request that opened the session.
    pub id: String,
    /// `exec`, `attach` or `portforward`.
    pub kind: String,
    /// The cluster's name in the gateway's configuration.
    pub cluster: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container; empty when the request left the choice to the API server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// The node whose kubelet was asked itself, through `nodes/NAME/proxy`; absent for a session of a pod's
    /// subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The command and its arguments; exec only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Whether there is a terminal.
    pub tty: bool,
    /// Whether input was asked for.
    pub stdin: bool,
    /// Whether input is on the recording.
    pub stdin_recorded: bool,
    /// The user who opened it.
    pub user: String,
    /// The user's groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The agent that acted for the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Where the client connected from.
    pub source_ip: String,
    /// The client's transport: `spdy` or `websocket`.
    pub transport: String,
    /// What the client calls itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// The rule that allowed the session, as `POLICY/RULE`.
    pub rule: String,
    /// The approval behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_id: Option<String>,
    /// When it was opened.
    pub started: Timestamp,
    /// Which part of the recording the file is, from 1.
    pub part: u32,
}

/// The sidecar `<id>.json`: what is known when a recording is over. A recording without one is open,
/// or was left behind by a crash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// The version of this format: 1.
    pub version: u32,
    /// As in the header of the first part.
    pub metadata: Metadata,
    /// The format of the parts.
    pub format: Version,
    /// When the session ended; for a truncated recording, when it was last written.
    pub ended: Timestamp,
    /// How long the session lasted, in milliseconds.
    pub duration_ms: u64,
    /// Why it ended, in the words of the audit log; `unknown` for a truncated recording.
    pub reason: String,
    /// What was wrong, when something was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How the command ended, if that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Payload that passed, recorded or not.
    pub bytes: Bytes,
    /// Forwarded connections.
    pub connections: u64,
    /// Lines on the recording besides the headers.
    pub events: u64,
    /// The files, in order.
    pub parts: Vec<Part>,
    /// The recording reached its size cap: what came later passed and was only counted.
    pub capped: bool,
    /// The gateway ended before the session did: what was not written by then is lost.
    pub truncated: bool,
    /// Bytes of an unfinished line that were cut off when a truncated recording was sealed.
    pub discarded_bytes: u64,
    /// Why the recording is incomplete, when the recorder failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What was copied, when the session was a `kubectl cp` whose content is not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyReport>,
}

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Exit {
    /// Its exit code; absent when it did not run or the protocol does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// What went wrong; empty on success.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Payload by stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bytes {
    /// To the command.
    pub stdin: u64,
    /// From the command; with a terminal, everything.
    pub stdout: u64,
    /// From the command.
    pub stderr: u64,
    /// To forwarded ports.
    pub data_sent: u64,
    /// From forwarded ports.
    pub data_received: u64,
}

/// One file of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Part {
    /// Its name, beside the sidecar.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its BLAKE3 digest, in hexadecimal; `b3sum` computes it, too.
    pub blake3: String,
}

impl Metadata {
    /// The command as one line, for lists and the header; quoted where a shell would need it.
    #[must_use]
    pub fn command_line(&self) -> String {
        let words: Vec<String> = self.command.iter().map(|word| quoted(word)).collect();
        words.join(" ")
    }

    /// `NAMESPACE/POD/CONTAINER`.
    #[must_use]
    pub fn target(&self) -> String {
        let mut target = format!("{}/{}", self.namespace, self.pod);
        if !self.container.is_empty() {
            target.push('/');
            target.push_str(&self.container);
        }
        target
    }
}

fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
