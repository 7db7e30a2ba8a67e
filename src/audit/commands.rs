//! What people did: the events of the log as requests, and requests as commands.
//!
//! A command is what one run of kubectl asked for: requests of one caller with the same `Kubectl-Session`
//! and `Kubectl-Command`, without a long silence between them. Both are claimed, so nobody's requests are folded into
//! somebody else's command, and what is told of a command is what was really asked for. Without a session each request
//! stands for itself.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::limits;

mod keeping;
pub mod recent;

use keeping::Keeping;

/// An event, as it is read again.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: String,
    #[serde(rename = "requestURI", default)]
    request_uri: String,
    #[serde(default)]
    verb: String,
    #[serde(default)]
    user: SeenUser,
    object_ref: Option<SeenObject>,
    response_status: Option<SeenStatus>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct SeenUser {
    #[serde(default)]
    username: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SeenObject {
    resource: String,
    namespace: String,
    name: String,
    api_group: String,
    subresource: String,
}

#[derive(Clone, Debug, Deserialize)]
struct SeenStatus {
    code: u16,
    message: Option<String>,
}

/// One request, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Its id, in the API server's audit log too.
    #[serde(rename = "auditID")]
    pub audit_id: String,
    /// When it came.
    pub received: Timestamp,
    /// When what is told here happened.
    pub at: Timestamp,
    /// It is over; otherwise it goes on, or the gateway ended before it.
    pub over: bool,
    /// The verified user; empty while nobody was.
    pub user: String,
    /// The agent that acted for the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// `allow`, `hold`, `deny` or `refuse`.
    pub decision: String,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Which cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Kubernetes' verb.
    pub verb: String,
    /// The namespace; empty where there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// What it was about: `deployments.apps/scale web`, or the path.
    pub object: String,
    /// The code of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// What the answer said, if the gateway refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// All that only the gateway knows, without `portcullis.dev/`.
    pub annotations: BTreeMap<String, String>,
    /// It asked what the API has, or looked at this log or a page of the console, and was let.
    #[serde(skip)]
    pub discovery: bool,
}

/// What one run of kubectl asked for, or one request of another client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// The id of its first request.
    pub id: String,
    /// When that came.
    pub started: Timestamp,
    /// The verified user.
    pub user: String,
    /// The agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What the client says it is, such as `kubectl get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_command: Option<String>,
    /// The gravest decision on its requests.
    pub decision: String,
    /// Requests that only asked what the API has.
    pub discovery: u64,
    /// The others, in order; of many the lightest are left out.
    pub requests: Vec<Request>,
    /// How many were left out.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_requests: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What the requests of one run of kubectl share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    user: String,
    agent: Option<String>,
    claimed_session: String,
    claimed_command: Option<String>,
}

/// How much a request says of its command.
type Weight = (u8, bool);

impl Request {
    /// The run of kubectl that it belongs to, as far as its client says so.
    pub fn run(&self) -> Option<Run> {
        Some(Run {
            user: self.user.clone(),
            agent: self.agent.clone(),
            claimed_session: self.session()?.to_owned(),
            claimed_command: self.annotations.get("claimed-command").cloned(),
        })
    }

    fn session(&self) -> Option<&str> {
        self.annotations.get("claimed-session").map(String::as_str)
    }

    /// How much it says of its command: the gravest decision, then what changes something or opens a session.
    fn weight(&self) -> Weight {
        let reads = matches!(self.verb.as_str(), "get" | "list" | "watch");
        let session = self.annotations.contains_key("session")
            || ["exec", "attach", "portforward"]
                .iter()
                .any(|kind| self.object.contains(&format!("/{kind}")));
        (gravity(&self.decision), !reads || session)
    }

    /// `delete pods web-0 in shop`.
    pub fn asked(&self) -> String {
        let mut text = format!("{} {}", self.verb, self.object);
        if !self.namespace.is_empty() {
            text = format!("{text} in {}", self.namespace);
        }
        text
    }
}

/// How a request can come out.
pub const DECISIONS: [&str; 4] = ["allow", "hold", "deny", "refuse"];

/// Which requests are looked for; what is not given counts for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The beginning of the id.
    pub id: Option<String>,
    /// The run of kubectl that it belongs to.
    pub run: Option<Run>,
    /// The session that its client claims.
    pub session: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The agent.
    pub agent: Option<String>,
    /// The namespace.
    pub namespace: Option<String>,
    /// Kubernetes' verb.
    pub verb: Option<String>,
    /// `allow`, `hold`, `deny` or `refuse`.
    pub decision: Option<String>,
    /// The earliest that it was over, or came if it is not.
    pub since: Option<Timestamp>,
    /// Before when it came.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Whether a request is looked for.
    pub fn matches(&self, request: &Request) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        is(&self.user, &request.user)
            && is(&self.agent, request.agent.as_deref().unwrap_or_default())
            && is(&self.namespace, &request.namespace)
            && is(&self.verb, &request.verb)
            && is(&self.decision, &request.decision)
            && self
                .id
                .as_ref()
                .is_none_or(|id| request.audit_id.starts_with(id))
            && (self.run.is_none() || self.run == request.run())
            && is(&self.session, request.session().unwrap_or_default())
            && self.since.is_none_or(|since| request.at >= since)
            && self.until.is_none_or(|until| request.received < until)
    }
}

impl Seen {
    /// Reads a line of the log; nothing if it is not an event, such as one that a crash tore.
    pub fn read(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// When what it tells happened, and it was written.
    pub fn written(&self) -> Timestamp {
        self.stage_timestamp
    }
}

impl Command {
    /// What it asked for that matters most, and how much besides: `delete pods web-0 in shop (+2)`.
    pub fn asked(&self) -> String {
        let asked = self.chief().map(Request::asked).unwrap_or_default();
        match (self.requests.len() as u64).saturating_sub(1) + self.more_requests {
            0 => asked,
            others => format!("{asked} (+{others})"),
        }
    }

    /// The request that says most of it; of equals the first one.
    pub fn chief(&self) -> Option<&Request> {
        self.requests.iter().rev().max_by_key(|it| it.weight())
    }
}

impl Run {
    /// The session that its client claims.
    pub fn session(&self) -> &str {
        &self.claimed_session
    }

    /// Whose it is.
    pub fn user(&self) -> &str {
        &self.user
    }
}

impl From<Seen> for Request {
    fn from(seen: Seen) -> Self {
        let mut annotations: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in seen.annotations {
            if let Some(key) = key.strip_prefix("portcullis.dev/")
                && key != "chain"
            {
                annotations.insert(key.to_owned(), value);
            }
        }
        let decision = annotations.remove("decision").unwrap_or_default();
        let path = seen.request_uri.split('?').next().unwrap_or_default();
        let cluster = annotations.remove("cluster");
        let discovery = seen.object_ref.is_none()
            && decision == "allow"
            && seen.verb == "get"
            && (is_discovery(path) || (cluster.is_none() && is_look(path)));
        let (namespace, object) = match seen.object_ref {
            Some(object) => (object.namespace.clone(), object.to_string()),
            None => (String::new(), path.to_owned()),
        };
        let (code, message) = match seen.response_status {
            Some(status) => (Some(status.code), status.message),
            None => (None, None),
        };
        Self {
            audit_id: seen.audit_id,
            received: seen.request_received_timestamp,
            at: seen.stage_timestamp,
            over: seen.stage == "ResponseComplete",
            user: seen.user.username,
            agent: annotations.remove("agent"),
            decision,
            rule: annotations.remove("rule"),
            cluster,
            verb: seen.verb,
            namespace,
            object,
            code,
            message,
            annotations,
            discovery,
        }
    }
}

impl std::fmt::Display for SeenObject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.resource)?;
        for (before, part) in [
            (".", &self.api_group),
            ("/", &self.subresource),
            (" ", &self.name),
        ] {
            if !part.is_empty() {
                write!(formatter, "{before}{part}")?;
            }
        }
        Ok(())
    }
}

fn is_discovery(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next();
    matches!(first, Some("api" | "apis" | "openapi" | "version"))
}

/// What people look at who look into this log, which no cluster serves: lists of it would begin with themselves.
fn is_look(path: &str) -> bool {
    let console = path.strip_prefix("/console");
    console.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        || path.starts_with("/v1/audit/")
}

/// How grave a decision is.
fn gravity(decision: &str) -> u8 {
    match decision {
        "allow" => 0,
        "refuse" => 1,
        "hold" => 2,
        _ => 3,
    }
}

/// Gathers one command, from the requests of its run in the order of the log.
#[derive(Debug)]
pub struct Gathering {
    /// When one of its requests came.
    came: Timestamp,
    /// What has begun and is not over.
    open: HashMap<String, Request>,
    /// It, and others before and after a silence. What ends late can tell that two were one.
    commands: Vec<Keeping>,
}

impl Gathering {
    /// The command of a request that came then.
    pub fn new(came: Timestamp) -> Self {
        Self {
            came,
            open: HashMap::new(),
            commands: Vec::new(),
        }
    }

    /// Takes the next request of the run.
    pub fn push(&mut self, request: Request) {
        if request.over {
            self.open.remove(&request.audit_id);
            self.take(request);
        } else if self.open.len() < limits::AUDIT_OPEN_REQUESTS_MAX {
            self.open.insert(request.audit_id.clone(), request);
        }
    }

    fn take(&mut self, request: Request) {
        let mut others = std::mem::take(&mut self.commands);
        let mut near = others.extract_if(.., |command| command.reaches(&request));
        let mut command = near
            .next()
            .unwrap_or_else(|| Keeping::of(&request, limits::AUDIT_COMMAND_REQUESTS_MAX));
        near.for_each(|other| command.join(other));
        command.push(request);
        others.push(command);
        self.commands = others;
    }

    /// The command, if it asked for something else than what the API has.
    pub fn finish(mut self) -> Option<Command> {
        for request in std::mem::take(&mut self.open).into_values() {
            self.take(request);
        }
        let mut commands = self.commands.into_iter();
        let command = commands.find(|command| command.has(self.came));
        command.filter(Keeping::asks).map(Keeping::finish)
    }
}

#[cfg(test)]
mod tests;
