//! A policy of hundreds of rules, and requests of every kind that it decides, for benches.

use std::net::Ipv4Addr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use portcullis::audit::Event;
use portcullis::identity::Identity;
use portcullis::policy::condition::ConditionSource;
use portcullis::policy::rule::{Effect, RuleSource, SubjectsSource};
use portcullis::policy::{Decision, Policy, PolicySource, Seen};
use portcullis::request::RequestInfo;

/// As many as a policy may be expected to have.
pub(super) const RULES: usize = 200;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// A rule that decides nothing here, in one of the ways in which rules do not match.
fn about_others(number: usize) -> RuleSource {
    let subjects = SubjectsSource::default;
    let rule = RuleSource {
        id: format!("bench/others-{number}"),
        verbs: texts(&[
            "get", "list", "watch", "create", "update", "patch", "delete",
        ]),
        api_groups: texts(&["", "apps"]),
        resources: texts(&["pods", "pods/log", "deployments", "configmaps"]),
        decision: Some(Effect::Allow),
        ..RuleSource::default()
    };
    match number % 4 {
        // Another team.
        0 => RuleSource {
            subjects: Some(SubjectsSource {
                groups: vec![format!("team-{number}-*")],
                ..subjects()
            }),
            ..rule
        },
        // Everybody, elsewhere.
        1 => RuleSource {
            namespaces: vec![format!("stage-{number}"), format!("test-{number}-*")],
            ..rule
        },
        // Other agents.
        2 => RuleSource {
            subjects: Some(SubjectsSource {
                agents: vec![format!("bot-{number}*")],
                ..subjects()
            }),
            decision: Some(Effect::Deny),
            ..rule
        },
        // Our team, other things.
        _ => RuleSource {
            subjects: Some(SubjectsSource {
                users: texts(&["alice@example.com"]),
                groups: texts(&["developers"]),
                ..subjects()
            }),
            api_groups: vec![format!("group-{number}.example.com")],
            resources: texts(&["*"]),
            ..rule
        },
    }
}

/// Rules about others, and behind them what decides.
pub(super) fn policy(rules: usize, conditions: Vec<ConditionSource>) -> Policy {
    let mut last = vec![
        RuleSource {
            id: "bench/work".to_owned(),
            verbs: texts(&["*"]),
            api_groups: texts(&["*"]),
            resources: texts(&["*"]),
            decision: Some(Effect::Allow),
            ..RuleSource::default()
        },
        RuleSource {
            id: "bench/discovery".to_owned(),
            verbs: texts(&["get"]),
            non_resource_urls: texts(&["/version", "/openapi/*"]),
            decision: Some(Effect::Allow),
            ..RuleSource::default()
        },
    ];
    if !conditions.is_empty() {
        let risky = RuleSource {
            id: "bench/risky".to_owned(),
            when: conditions,
            decision: Some(Effect::Deny),
            ..RuleSource::default()
        };
        last.insert(0, risky);
    }
    let others = (0..rules - last.len()).map(about_others);
    Policy::compile(PolicySource {
        rules: others.chain(last).collect(),
        ..PolicySource::default()
    })
    .unwrap_or_else(|problems| unreachable!("{problems:?}"))
}

/// By what they are.
pub(super) const REQUESTS: [(&str, &str); 12] = [
    ("get a pod", "GET /api/v1/namespaces/shop/pods/web-0"),
    ("list pods", "GET /api/v1/namespaces/shop/pods?limit=500"),
    ("list everywhere", "GET /api/v1/pods?limit=500"),
    (
        "watch",
        "GET /apis/apps/v1/namespaces/shop/deployments?watch=true&resourceVersion=7",
    ),
    (
        "log",
        "GET /api/v1/namespaces/shop/pods/web-0/log?follow=true&container=app",
    ),
    (
        "exec",
        "POST /api/v1/namespaces/shop/pods/web-0/exec?command=sh&stdin=true&tty=true",
    ),
    ("create", "POST /apis/apps/v1/namespaces/shop/deployments"),
    (
        "patch",
        "PATCH /api/v1/namespaces/shop/configmaps/web?fieldManager=kubectl",
    ),
    ("delete", "DELETE /api/v1/namespaces/shop/pods/web-0"),
    (
        "delete many",
        "DELETE /api/v1/namespaces/shop/pods?labelSelector=app%3Dweb",
    ),
    (
        "custom resource",
        "GET /apis/example.com/v1/namespaces/shop/widgets/one",
    ),
    ("version", "GET /version"),
];

pub(super) fn info(request: &str) -> RequestInfo {
    let (method, target) = request.split_once(' ').unwrap_or_default();
    let method = method.parse().unwrap_or(Method::GET);
    RequestInfo::parse(&method, target).unwrap_or_else(|error| unreachable!("{error}"))
}

/// Who asks, and who decides.
pub(super) struct Requests {
    policy: Policy,
    caller: Arc<Identity>,
    headers: HeaderMap,
}

impl Requests {
    pub(super) fn new() -> Self {
        let agent = HeaderValue::from_static("kubectl/v1.36.2 (linux/amd64) kubernetes/abc");
        let mut headers = HeaderMap::new();
        headers.insert("user-agent", agent);
        Self {
            policy: policy(RULES, Vec::new()),
            caller: Arc::new(Identity::for_tests("alice@example.com", &["developers"])),
            headers,
        }
    }

    /// Decides about each of [`REQUESTS`]; the bytes of their audit events.
    pub(super) fn decide(&self) -> usize {
        let lines = REQUESTS
            .iter()
            .map(|(_, request)| self.event(request).line().len());
        lines.sum()
    }

    fn event(&self, request: &str) -> Event {
        let (method, target) = request.split_once(' ').unwrap_or_default();
        let id = "0199c7a1-52f0-7c31-9d0e-5b7f0c5d9a11";
        let (peer, now) = (Ipv4Addr::LOCALHOST.into(), Timestamp::UNIX_EPOCH);
        let mut event = Event::received(id, method, target, &self.headers, peer, now);
        event.caller(&self.caller);
        let info = Arc::new(info(request));
        event.call(&info, "bench");
        match self
            .policy
            .decide(&self.caller, &info, "bench", &Seen::default())
        {
            Decision::Allow(permit) => event.allowed(&permit),
            decision => unreachable!("{decision:?}"),
        }
        event.answered(StatusCode::OK, None, None);
        event
    }
}
