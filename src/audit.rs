//! What is kept of a request? One event, in the shape of Kubernetes' `audit.k8s.io/v1` `Event`.
//!
//! Existing audit pipelines read it; what only the gateway knows stands in `annotations` under
//! `portcullis.dev/`. No event ever holds a body, a token or a masked value (invariant 8).
//! `docs/audit.md` lists every field.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::mem::take;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use crate::approval::{Answer, Grant};
use crate::identity::{Block, Identity, IdentityError};
use crate::limits;
use crate::policy::Permit;
use crate::request::{RequestInfo, named_in, with_words};
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

/// What most lines need.
const LINE_BYTES: usize = 1024;

const KUBECTL_COMMAND: HeaderName = HeaderName::from_static("kubectl-command");
const KUBECTL_SESSION: HeaderName = HeaderName::from_static("kubectl-session");

/// One event of the audit log. Built step by step while a request goes through the gateway, and kept as long as that
/// lasts: what others have anyway is shared with them.
#[derive(Clone, Debug)]
pub struct Event {
    audit_id: String,
    stage: Stage,
    request_uri: String,
    /// Until it is known what is asked for.
    method: String,
    caller: Option<Arc<Identity>>,
    peer: IpAddr,
    user_agent: String,
    call: Option<Arc<RequestInfo>>,
    answer: Option<Answered>,
    received: Timestamp,
    at: Timestamp,
    /// In the order of their keys.
    annotations: Vec<(&'static str, Box<str>)>,
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

/// How a request was answered.
#[derive(Clone, Debug, Serialize)]
struct Answered {
    code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Box<str>>,
}

/// An event as it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    kind: &'static str,
    api_version: &'static str,
    level: &'static str,
    #[serde(rename = "auditID")]
    audit_id: &'a str,
    stage: Stage,
    #[serde(rename = "requestURI")]
    request_uri: &'a str,
    verb: &'a str,
    user: User<'a>,
    #[serde(rename = "sourceIPs")]
    source_ips: [IpAddr; 1],
    #[serde(skip_serializing_if = "str::is_empty")]
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<ObjectRef<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<&'a Answered>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
    #[serde(serialize_with = "as_map")]
    annotations: Vec<(&'static str, Cow<'a, str>)>,
}

/// Nobody, where no caller is verified.
#[derive(Default, Serialize)]
struct User<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    username: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<&'a BTreeMap<String, Vec<String>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef<'a> {
    resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_group: &'a str,
    api_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subresource: &'a str,
}

impl<'a> User<'a> {
    fn of(identity: &'a Identity) -> Self {
        let extra = identity.extra();
        Self {
            username: identity.username(),
            uid: identity.uid(),
            groups: identity.groups(),
            extra: (!extra.is_empty()).then_some(extra),
        }
    }
}

impl<'a> ObjectRef<'a> {
    /// The object of a request for one.
    fn of(call: &'a RequestInfo) -> Option<Self> {
        call.is_resource_request.then(|| Self {
            resource: &call.resource,
            namespace: &call.namespace,
            name: &call.name,
            api_group: &call.api_group,
            api_version: &call.api_version,
            subresource: &call.subresource,
        })
    }
}

impl Event {
    /// An event for a request that has just arrived; nothing about it is verified yet.
    pub fn received(
        audit_id: &str,
        method: &str,
        target: &str,
        headers: &HeaderMap,
        peer: IpAddr,
        now: Timestamp,
    ) -> Self {
        let mut event = Self {
            audit_id: audit_id.to_owned(),
            stage: Stage::ResponseComplete,
            request_uri: scrubbed_target(target),
            method: method.to_ascii_lowercase(),
            caller: None,
            peer,
            user_agent: claimed(headers, &USER_AGENT).unwrap_or_default(),
            call: None,
            answer: None,
            received: now,
            at: now,
            annotations: Vec::new(),
        };
        // What kubectl says of itself is kept as claimed: a client may write anything here.
        for (header, key) in [
            (KUBECTL_COMMAND, "portcullis.dev/claimed-command"),
            (KUBECTL_SESSION, "portcullis.dev/claimed-session"),
        ] {
            if let Some(value) = claimed(headers, &header) {
                event.annotate(key, value);
            }
        }
        event
    }

    /// Its id, also upstream.
    pub fn id(&self) -> &str {
        &self.audit_id
    }

    /// Who the verified caller is.
    pub fn caller(&mut self, identity: &Arc<Identity>) {
        self.caller = Some(Arc::clone(identity));
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
    pub fn call(&mut self, info: &Arc<RequestInfo>, cluster: &str) {
        self.call = Some(Arc::clone(info));
        self.annotate("portcullis.dev/cluster", cluster);
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
        let mut annotations = self.annotations.iter();
        if annotations.any(|(key, _)| *key == "portcullis.dev/node") {
            self.annotate("portcullis.dev/command", masked.join(" "));
        }
    }

    /// Replaces what the client said in words of its own by what `masked` makes of it: the query, the path behind
    /// `proxy`, its claims and reasons. What names the object stays, for an event has to say what was touched: whoever may
    /// write Secrets could hide it from the log by storing a name as a value.
    pub fn mask_claims(&mut self, masked: impl Fn(String) -> String) {
        let named = named_in(&self.request_uri, self.call.as_deref());
        let said = self.request_uri.split_off(named);
        self.request_uri += &masked(said);
        self.user_agent = masked(take(&mut self.user_agent));
        for (key, text) in &mut self.annotations {
            if key.contains("/claimed-") || key.ends_with("/reason") || key.ends_with("-reason") {
                *text = masked(take(text).into()).into();
            }
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
    pub fn annotate<'a>(&mut self, key: &'static str, value: impl Into<Cow<'a, str>>) {
        let value = bounded(value.into()).into();
        match self.annotations.binary_search_by_key(&key, |(key, _)| key) {
            Ok(at) => {
                if let Some((_, before)) = self.annotations.get_mut(at) {
                    *before = value;
                }
            }
            Err(at) => self.annotations.insert(at, (key, value)),
        }
    }

    /// How it was answered.
    pub fn answered(
        &mut self,
        code: StatusCode,
        reason: Option<&'static str>,
        message: Option<String>,
    ) {
        self.answer = Some(Answered {
            code: code.as_u16(),
            reason,
            message: message.map(Into::into),
        });
    }

    /// Whether it was answered with a switch of protocols: a session began.
    pub fn is_switched(&self) -> bool {
        self.answer
            .as_ref()
            .is_some_and(|answer| answer.code == StatusCode::SWITCHING_PROTOCOLS.as_u16())
    }

    /// Marks the moment that the event describes.
    pub fn at(&mut self, stage: Stage, now: Timestamp) {
        self.stage = stage;
        self.at = now;
        let took = now.duration_since(self.received);
        self.annotate("portcullis.dev/duration-ms", milliseconds(took));
    }

    /// The event as one line, newline included.
    pub fn line(&self) -> Vec<u8> {
        let call = self.call.as_deref();
        let line = Line {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: "Metadata",
            audit_id: &self.audit_id,
            stage: self.stage,
            request_uri: &self.request_uri,
            verb: call.map_or(&self.method, |call| &call.verb),
            user: self.caller.as_deref().map(User::of).unwrap_or_default(),
            source_ips: [self.peer],
            user_agent: &self.user_agent,
            object_ref: call.and_then(ObjectRef::of),
            response_status: self.answer.as_ref(),
            request_received_timestamp: self.received,
            stage_timestamp: self.at,
            annotations: self.annotations(),
        };
        let mut text = Vec::with_capacity(LINE_BYTES);
        if serde_json::to_writer(&mut text, &line).is_err() {
            text.clear();
        }
        text.push(b'\n');
        text
    }

    /// What only the gateway knows, about the request and about its caller, in the order of the keys.
    fn annotations(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        let own = self.annotations.iter();
        let own = own.map(|(key, value)| (*key, Cow::from(&**value)));
        let mut all: Vec<_> = own.collect();
        if let Some(caller) = &self.caller {
            let mut add = |key, value| all.push((key, bounded(value)));
            if let Some(agent) = caller.agent() {
                add("portcullis.dev/agent", Cow::from(&agent.name));
                if !agent.chain.is_empty() {
                    let chain = agent.chain.join(" < ");
                    add("portcullis.dev/agent-chain", Cow::from(chain));
                }
            }
            add("portcullis.dev/issuer", Cow::from(caller.issuer()));
            add("portcullis.dev/subject", Cow::from(caller.subject()));
            if let Some(token_id) = caller.token_id() {
                add("portcullis.dev/token-id", Cow::from(token_id));
            }
        }
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }
}

fn as_map<S: Serializer>(
    annotations: &[(&'static str, Cow<'_, str>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(annotations.iter().map(|(key, value)| (key, value)))
}

/// A time in milliseconds, to the microsecond.
pub fn milliseconds(time: SignedDuration) -> String {
    let sign = if time.is_negative() { "-" } else { "" };
    let time = time.unsigned_abs();
    let micros = time.subsec_micros();
    let millis = time.as_secs() * 1000 + u64::from(micros / 1000);
    format!("{sign}{millis}.{:03}", micros % 1000)
}

/// The value of an annotation, cut at a bound.
fn bounded(value: Cow<'_, str>) -> Cow<'_, str> {
    if value.len() <= limits::AUDIT_ANNOTATION_BYTES_MAX {
        return value;
    }
    let end = value.floor_char_boundary(limits::AUDIT_ANNOTATION_BYTES_MAX);
    Cow::from(format!("{}…", value.get(..end).unwrap_or_default()))
}

/// A header the client controls, if it is text, cut at a bound.
fn claimed(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    // What `to_str` takes is ASCII.
    let start = value.get(..limits::AUDIT_CLAIM_CHARS_MAX);
    Some(start.unwrap_or(value).to_owned())
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
            IpAddr::from([10, 0, 0, 1]),
            Timestamp::UNIX_EPOCH,
        )
    }

    #[test]
    fn an_event_is_one_line_of_audit_k8s_io() {
        let mut event = event("/api/v1/namespaces/default/secrets/db");
        event.caller(&Arc::new(Identity::for_tests("alice", &["developers"])));
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
    fn c_54_what_a_client_says_is_masked_and_what_was_touched_is_not() {
        let mut headers = HeaderMap::new();
        for name in ["user-agent", "kubectl-command", "kubectl-session"] {
            headers.insert(name, HeaderValue::from_static("x known-value-1"));
        }
        for (target, kept) in [
            (
                "/api/v1/namespaces/shop/pods?labelSelector=app%3Dknown-value-1&limit=5",
                "/api/v1/namespaces/shop/pods?labelSelector=app%3D*&limit=5",
            ),
            (
                "/api/v1/namespaces/shop/pods/known-value-1",
                "/api/v1/namespaces/shop/pods/known-value-1",
            ),
            (
                "/api/v1/namespaces/proxy/services/known-value-1/proxy/a/known-value-1?known-value-1",
                "/api/v1/namespaces/proxy/services/known-value-1/proxy/a/*?*",
            ),
            // As the Python client writes it.
            (
                "/api/v1/namespaces/shop/services/https%3Aweb%3A80/proxy/a%2Fknown-value-1",
                "/api/v1/namespaces/shop/services/https%3Aweb%3A80/proxy/a%2F*",
            ),
            (
                "/api/v1/nodes/known-value-1%3A10250/proxy/known-value-1",
                "/api/v1/nodes/known-value-1%3A10250/proxy/*",
            ),
            (
                "/api/v1/nodes/a%3A1/proxy?known-value-1",
                "/api/v1/nodes/a%3A1/proxy?*",
            ),
        ] {
            let peer = IpAddr::from([10, 0, 0, 1]);
            let now = Timestamp::UNIX_EPOCH;
            let mut event = Event::received("id-1", "GET", target, &headers, peer, now);
            let info = RequestInfo::parse(&http::Method::GET, target).unwrap();
            event.call(&Arc::new(info), "prod");
            event.mask_claims(|text| text.replace("known-value-1", "*"));
            let line: serde_json::Value = serde_json::from_slice(&event.line()).unwrap();
            assert_eq!(line["requestURI"], kept);
            assert_eq!(line["userAgent"], "x *");
            for claim in ["claimed-command", "claimed-session"] {
                assert_eq!(
                    line["annotations"][format!("portcullis.dev/{claim}")],
                    "x *"
                );
            }
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
