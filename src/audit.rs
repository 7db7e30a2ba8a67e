//! What is kept of a request? One event, in the shape of Kubernetes' `audit.k8s.io/v1` `Event`.
//!
//! Existing audit pipelines read it; what only the gateway knows stands in `annotations` under
//! `portcullis.dev/`. No event ever holds a body, a token or a masked value (invariant 8).
//! `docs/audit.md` lists every field.

use std::collections::BTreeMap;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Serialize;

use crate::approval::{Answer, Grant};
use crate::identity::{Block, Identity, IdentityError};
use crate::limits;
use crate::policy::Permit;
use crate::request::{RequestInfo, with_words};
use crate::transform::scrubbed_words;

pub mod chain;
pub mod commands;
pub mod follow;
pub mod history;
mod journal;
pub mod log;
pub mod responses;
pub mod seal;
pub mod segments;
pub mod verify;

pub use log::{AuditError, AuditLog, Place, Settings, Until};

/// One event of the audit log. Built step by step while a request goes through the gateway.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    kind: &'static str,
    api_version: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    audit_id: String,
    stage: Stage,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    #[serde(rename = "sourceIPs")]
    source_ips: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<ResponseStatus>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
    annotations: BTreeMap<&'static str, String>,
}

/// Which moment of the request an event describes (the names of `audit.k8s.io`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Stage {
    /// A request that changes something, opens a session or reads Secrets was allowed, and is about
    /// to be carried out.
    RequestReceived,
    /// A long-running request (watch, log, session) was answered and goes on.
    ResponseStarted,
    /// The request is over.
    ResponseComplete,
}

#[derive(Clone, Debug, Default, Serialize)]
struct User {
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_group: String,
    api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subresource: String,
}

#[derive(Clone, Debug, Serialize)]
struct ResponseStatus {
    code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Event {
    /// An event for a request that has just arrived; nothing about it is verified yet.
    pub fn received(
        audit_id: &str,
        method: &str,
        target: &str,
        headers: &HeaderMap,
        peer: std::net::IpAddr,
        now: Timestamp,
    ) -> Self {
        let mut event = Self {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: "Metadata",
            audit_id: audit_id.to_owned(),
            stage: Stage::ResponseComplete,
            request_uri: scrubbed_target(target),
            verb: method.to_ascii_lowercase(),
            user: User::default(),
            source_ips: vec![peer.to_string()],
            user_agent: claimed(headers, "user-agent").unwrap_or_default(),
            object_ref: None,
            response_status: None,
            request_received_timestamp: now,
            stage_timestamp: now,
            annotations: BTreeMap::new(),
        };
        // What kubectl says of itself is kept as claimed: a client may write anything here.
        for (header, key) in [
            ("kubectl-command", "portcullis.dev/claimed-command"),
            ("kubectl-session", "portcullis.dev/claimed-session"),
        ] {
            if let Some(value) = claimed(headers, header) {
                event.annotations.insert(key, value);
            }
        }
        event
    }

    /// Its id, also upstream.
    pub fn id(&self) -> &str {
        &self.audit_id
    }

    /// Who the verified caller is.
    pub fn caller(&mut self, identity: &Identity) {
        self.user = User {
            username: identity.username().to_owned(),
            uid: identity.uid().map(str::to_owned),
            groups: identity.groups().to_vec(),
            extra: identity.extra().clone(),
        };
        if let Some(agent) = identity.agent() {
            self.annotate("portcullis.dev/agent", agent.name.clone());
            if !agent.chain.is_empty() {
                self.annotate("portcullis.dev/agent-chain", agent.chain.join(" < "));
            }
        }
        self.annotate("portcullis.dev/issuer", identity.issuer().to_owned());
        self.annotate("portcullis.dev/subject", identity.subject().to_owned());
        if let Some(token_id) = identity.token_id() {
            self.annotate("portcullis.dev/token-id", token_id.to_owned());
        }
    }

    /// Who it was whose token is genuine and not accepted any more.
    pub fn refused_caller(&mut self, error: &IdentityError) {
        if let Some(identity) = error.genuine() {
            self.caller(identity);
        }
        if let Some(block) = error.block() {
            self.blocked(block);
        }
    }

    /// Who keeps the caller out, and why.
    pub fn blocked(&mut self, block: &Block) {
        self.annotate("portcullis.dev/blocked-by", block.by.clone());
        self.annotate("portcullis.dev/blocked-at", block.at.to_string());
        self.annotate("portcullis.dev/block-reason", block.reason.clone());
    }

    /// What is asked for, as the API server will read it.
    pub fn call(&mut self, info: &RequestInfo, cluster: &str) {
        self.verb.clone_from(&info.verb);
        self.annotate("portcullis.dev/cluster", cluster.to_owned());
        if info.is_resource_request {
            self.object_ref = Some(ObjectRef {
                resource: info.resource.clone(),
                namespace: info.namespace.clone(),
                name: info.name.clone(),
                api_group: info.api_group.clone(),
                api_version: info.api_version.clone(),
                subresource: info.subresource.clone(),
            });
        }
        if let Some(reveal) = info.reveal() {
            self.annotate("portcullis.dev/reason", reveal.reason);
        }
        // The object of such a session is the node: that it is one, and of which pod, is said here.
        if let Some(session) = info.session()
            && let Some(node) = session.node
        {
            self.annotate("portcullis.dev/node", node);
            self.annotate("portcullis.dev/session", session.kind.as_str());
            self.annotate("portcullis.dev/pod", session.target());
        }
    }

    /// The words of a session's command, masked. That of a pod is in the request URI, one through a node's kubelet
    /// has an annotation as well.
    pub fn command(&mut self, masked: &[String]) {
        if masked.is_empty() {
            return;
        }
        self.request_uri = with_words(&self.request_uri, |_words| masked.to_vec());
        if self.annotations.contains_key("portcullis.dev/node") {
            self.annotate("portcullis.dev/command", masked.join(" "));
        }
    }

    /// By which rule it may go on, and what is shown although it is masked.
    pub fn allowed(&mut self, permit: &Permit) {
        self.annotate("portcullis.dev/decision", "allow");
        self.annotate("portcullis.dev/rule", permit.rule());
        if let Some(would) = permit.would() {
            self.annotate("portcullis.dev/would", would.as_str());
        }
        if let Some(field) = permit.revealed() {
            self.annotate("portcullis.dev/revealed", field.to_string());
        }
        let grants = permit.grants();
        if !grants.is_empty() {
            let each = |what: fn(&Grant) -> String| {
                let all: Vec<String> = grants.iter().map(|grant| what(grant)).collect();
                all.join("; ")
            };
            self.annotate("portcullis.dev/grant", each(|grant| grant.id().to_owned()));
            self.annotate("portcullis.dev/role", each(|grant| grant.role().to_owned()));
            self.annotate("portcullis.dev/granted-by", each(granted_by));
            self.annotate(
                "portcullis.dev/grant-reason",
                each(|grant| grant.reason().to_owned()),
            );
        }
        if let Some(admission) = permit.admission() {
            self.annotate("portcullis.dev/approval", admission.id());
            let answers = admission.answers();
            let said = |what: fn(&Answer) -> String| {
                let all: Vec<String> = answers.iter().map(what).collect();
                all.join("; ")
            };
            self.annotate(
                "portcullis.dev/approved-by",
                said(|answer| answer.by.user.clone()),
            );
            self.annotate(
                "portcullis.dev/approved-at",
                said(|answer| answer.at.to_string()),
            );
            self.annotate(
                "portcullis.dev/approval-reason",
                said(|answer| answer.reason.clone()),
            );
        }
    }

    /// Adds what only the gateway knows. Keys are fixed; values are cut at a bound.
    pub fn annotate(&mut self, key: &'static str, value: impl Into<String>) {
        let mut value = value.into();
        if value.len() > limits::AUDIT_ANNOTATION_BYTES_MAX {
            value.truncate(value.floor_char_boundary(limits::AUDIT_ANNOTATION_BYTES_MAX));
            value.push('…');
        }
        self.annotations.insert(key, value);
    }

    /// How it was answered.
    pub fn answered(
        &mut self,
        code: StatusCode,
        reason: Option<&'static str>,
        message: Option<String>,
    ) {
        self.response_status = Some(ResponseStatus {
            code: code.as_u16(),
            reason,
            message,
        });
    }

    /// Whether it was answered with a switch of protocols: a session began.
    pub fn is_switched(&self) -> bool {
        self.response_status
            .as_ref()
            .is_some_and(|status| status.code == StatusCode::SWITCHING_PROTOCOLS.as_u16())
    }

    /// Marks the moment that the event describes.
    pub fn at(&mut self, stage: Stage, now: Timestamp) {
        self.stage = stage;
        self.stage_timestamp = now;
        let took = now.duration_since(self.request_received_timestamp);
        self.annotate(
            "portcullis.dev/duration-ms",
            format!("{:.3}", took.as_secs_f64() * 1e3),
        );
    }

    /// The event as one line, newline included.
    pub fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// A header the client controls, if it is text, cut at a bound.
fn claimed(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.chars().take(limits::AUDIT_CLAIM_CHARS_MAX).collect())
}

/// The request target without the values of parameters that carry credentials (threats A-23), and without the
/// credentials in a command.
fn scrubbed_target(target: &str) -> String {
    let target = target
        .get(..target.floor_char_boundary(limits::AUDIT_TARGET_BYTES_MAX))
        .unwrap_or_default();
    let words = |words: &[String]| scrubbed_words(words.iter().map(String::as_str));
    let target = &with_words(target, words);
    let Some((path, query)) = target.split_once('?') else {
        return target.to_owned();
    };
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if is_credential(key) => format!("{key}=scrubbed"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

fn is_credential(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    // A key spelled with escapes is scrubbed too: nobody writes an honest one that way.
    key.contains('%')
        || [
            "token",
            "password",
            "secret",
            "authorization",
            "api_key",
            "apikey",
        ]
        .iter()
        .any(|word| key.contains(word))
}

fn granted_by(grant: &Grant) -> String {
    let answers = grant.answers().iter();
    let names: Vec<&str> = answers.map(|answer| answer.by.user.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn event(target: &str) -> Event {
        let mut headers = HeaderMap::new();
        headers.insert("user-agent", HeaderValue::from_static("kubectl/v1.36.2"));
        headers.insert("kubectl-command", HeaderValue::from_static("kubectl get"));
        headers.insert("authorization", HeaderValue::from_static("Bearer hunter2"));
        Event::received(
            "id-1",
            "GET",
            target,
            &headers,
            std::net::IpAddr::from([10, 0, 0, 1]),
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn an_event_is_one_line_of_audit_k8s_io() {
        let mut event = event("/api/v1/namespaces/default/secrets/db");
        event.caller(&Identity::for_tests("alice", &["developers"]));
        event.answered(StatusCode::OK, None, None);
        let line = String::from_utf8(event.line()).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["kind"], "Event");
        assert_eq!(value["apiVersion"], "audit.k8s.io/v1");
        assert_eq!(value["user"]["username"], "alice");
        assert_eq!(value["responseStatus"]["code"], 200);
        assert_eq!(
            value["annotations"]["portcullis.dev/claimed-command"],
            "kubectl get"
        );
        assert!(!line.contains("hunter2"));
    }

    #[test]
    fn a_23_credentials_in_the_query_are_scrubbed() {
        let line = String::from_utf8(
            event("/api?watch=1&access_token=hunter2&Token=hunter2&to%6ben=hunter2").line(),
        )
        .unwrap();
        assert!(!line.contains("hunter2"), "{line}");
        assert!(line.contains("watch=1"));
    }

    #[test]
    fn c_54_a_password_typed_as_an_argument_is_scrubbed() {
        let target =
            |query: &str| format!("/api/v1/namespaces/shop/pods/db-0/exec?{query}&stdout=1");
        for (query, kept) in [
            (
                "command=mysql&command=-uroot&command=-phunter2&command=a+b",
                "command=mysql&command=-uroot&command=-pscrubbed&command=a+b",
            ),
            (
                "command=run&command=--password&command=hunter2",
                "command=run&command=--password&command=scrubbed",
            ),
            (
                "container=x&command=sh&command=-c&command=curl+-u+bob%3Ahunter2+x",
                "container=x&command=sh&command=-c&command=curl+-u+bob:scrubbed+x",
            ),
            (
                "command=--password%3Dhunter%202",
                "command=--password%3Dscrubbed",
            ),
            (
                "command=--password=hunter2%",
                "command=--password%3Dscrubbed",
            ),
            ("cmd=mysql+-phunter2", "cmd=mysql+-pscrubbed"),
            ("command=ls&command=%2Ftmp", "command=ls&command=%2Ftmp"),
        ] {
            assert_eq!(scrubbed_target(&target(query)), target(kept));
        }
    }

    #[test]
    fn long_claims_are_cut() {
        let mut event = event("/");
        event.annotate(
            "portcullis.dev/rule",
            "é".repeat(limits::AUDIT_ANNOTATION_BYTES_MAX),
        );
        assert!(event.line().len() < limits::AUDIT_ANNOTATION_BYTES_MAX + 1024);
    }
}
