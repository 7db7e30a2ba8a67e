//! A session in a list, and which sessions somebody looks for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::recording::live::LiveSession;
use crate::recording::metadata::{Metadata, Summary};

/// The verdict of a session that goes on.
pub const OPEN: &str = "open";
/// The verdict of a recording that is neither sealed nor known to go on: of a crash, or from outside
/// the gateway.
pub const UNSEALED: &str = "unsealed";

/// A session, as lists show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Session {
    /// As in the header of its recording.
    #[serde(flatten)]
    pub metadata: Metadata,
    /// How it ended, in the words of the audit log; [`OPEN`] or [`UNSEALED`] when it has not.
    pub verdict: String,
    /// Whether it is on tape.
    pub recorded: bool,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// How long it lasted, or has lasted so far, in milliseconds.
    pub duration_ms: u64,
    /// The exit code of its command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// Bytes of its recording.
    pub recorded_bytes: u64,
    /// Whether the recording stops before the session did.
    pub incomplete: bool,
}

/// Which sessions are looked for; what is not given counts for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The beginning of the id.
    pub id: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The agent.
    pub agent: Option<String>,
    /// The namespace.
    pub namespace: Option<String>,
    /// The pod.
    pub pod: Option<String>,
    /// A part of the command line.
    pub command: Option<String>,
    /// The earliest beginning.
    pub since: Option<Timestamp>,
    /// Before when it began.
    pub until: Option<Timestamp>,
    /// The exit code.
    pub exit_code: Option<u8>,
    /// How it ended, or `open`.
    pub verdict: Option<String>,
    /// Only those that go on.
    pub live: bool,
    /// How many at most, the latest first.
    pub limit: usize,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            id: None,
            user: None,
            agent: None,
            namespace: None,
            pod: None,
            command: None,
            since: None,
            until: None,
            exit_code: None,
            verdict: None,
            live: false,
            limit: limits::SESSIONS_LISTED_DEFAULT,
        }
    }
}

impl Filter {
    /// Whether a session is one of those looked for.
    #[must_use]
    pub fn matches(&self, session: &Session) -> bool {
        let is = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        };
        let metadata = &session.metadata;
        let started = metadata.started.as_microsecond();
        self.may_be(&metadata.id)
            && is(&self.user, &metadata.user)
            && is(&self.agent, metadata.agent.as_deref().unwrap_or_default())
            && is(&self.namespace, &metadata.namespace)
            && is(&self.pod, &metadata.pod)
            && is(&self.verdict, &session.verdict)
            && self
                .command
                .as_ref()
                .is_none_or(|part| metadata.command_line().contains(part))
            && self.since.is_none_or(|at| at.as_microsecond() <= started)
            && self.until.is_none_or(|at| started < at.as_microsecond())
            && (self.exit_code.is_none() || self.exit_code == session.exit_code)
            && (!self.live || session.verdict == OPEN)
    }

    /// Whether the session with this id may be one of those looked for.
    #[must_use]
    pub fn may_be(&self, id: &str) -> bool {
        self.id
            .as_ref()
            .is_none_or(|beginning| id.starts_with(beginning))
    }

    /// Whether sessions that began on this day (`2026/11/20`, UTC) may be among those looked for.
    #[must_use]
    pub fn may_be_in(&self, day: &str) -> bool {
        let day_of = |at: Timestamp| at.strftime("%Y/%m/%d").to_string();
        self.since.is_none_or(|at| day_of(at).as_str() <= day)
            && self.until.is_none_or(|at| day <= day_of(at).as_str())
    }
}

impl Session {
    /// For a list: of the command, which its caller may have made long, only the beginning.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        let mut room = limits::SESSIONS_LISTED_COMMAND_BYTES_MAX;
        let words = std::mem::take(&mut self.metadata.command);
        for mut word in words {
            let cut = word.len() >= room;
            if cut {
                word.truncate(word.floor_char_boundary(room));
                word.push('…');
            }
            room = room.saturating_sub(word.len() + 1);
            self.metadata.command.push(word);
            if cut {
                break;
            }
        }
        self
    }
}

impl From<Summary> for Session {
    fn from(summary: Summary) -> Self {
        Self {
            metadata: Metadata {
                part: 1,
                ..summary.metadata
            },
            verdict: summary.reason,
            recorded: true,
            ended: Some(summary.ended),
            duration_ms: summary.duration_ms,
            exit_code: summary.exit.and_then(|exit| exit.code),
            recorded_bytes: summary.parts.iter().map(|part| part.bytes).sum(),
            incomplete: summary.truncated || summary.capped || summary.failure.is_some(),
        }
    }
}

impl From<LiveSession> for Session {
    fn from(live: LiveSession) -> Self {
        Self {
            metadata: Metadata {
                part: 1,
                ..live.metadata
            },
            verdict: OPEN.to_owned(),
            recorded: live.recorded,
            duration_ms: live.open_ms,
            recorded_bytes: live.recorded_bytes,
            ..Self::default()
        }
    }
}
