//! What the audit log has seen, as far as rules can speak of it.

use std::collections::BTreeMap;
use std::io::{BufRead, Read as _};

use jiff::Timestamp;
use serde::Deserialize;

use crate::limits;

/// Whom a part of a draft is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whom {
    /// An agent, whoever it acts for. First, since rules about agents have to come first.
    Agent(String),
    /// A user, without an agent.
    User(String),
    /// Users of a group.
    Group(String),
}

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    /// To a resource.
    Resource {
        /// Its API group.
        group: String,
        /// With its subresource, as rules name it.
        resource: String,
        /// Kubernetes' verb, as rules name it.
        verb: String,
        /// Where; `None` is the cluster scope, or every namespace at once.
        namespace: Option<String>,
    },
    /// To a path that is no resource.
    Path {
        /// The method, as rules name it.
        verb: String,
        /// Without its query.
        path: String,
    },
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What was done how often.
    pub(super) acts: BTreeMap<Whom, BTreeMap<Act, u64>>,
    /// Requests among them.
    pub(super) counted: u64,
    /// Requests that somebody refused, the gateway or the API server.
    pub(super) refused: u64,
    /// Requests of others than was asked for.
    pub(super) others: u64,
    /// Lines that are none of an audit log.
    pub(super) unreadable: u64,
    /// When the first was answered.
    pub(super) first: Option<Timestamp>,
    /// When the last was.
    pub(super) last: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    user: User,
    object_ref: Option<Object>,
    response_status: Option<Status>,
    stage_timestamp: Timestamp,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    groups: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    resource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    api_group: String,
    #[serde(default)]
    subresource: String,
}

#[derive(Deserialize)]
struct Status {
    code: u16,
}

impl Seen {
    /// Reads an audit log, of which `whom` is wanted, or everybody.
    pub(super) fn read(
        &mut self,
        mut log: impl BufRead,
        whom: Option<&Whom>,
    ) -> anyhow::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let most = limits::AUDIT_LINE_BYTES_READ_MAX;
            if log.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            match serde_json::from_slice(&line) {
                Ok(line) => self.take(&line, whom),
                Err(_) => self.unreadable += 1,
            }
        }
    }

    fn take(&mut self, line: &Line, wanted: Option<&Whom>) {
        // The calls of the control plane have no cluster; of a request the last line says how it was answered.
        let note = |key: &str| line.annotations.get(&format!("portcullis.dev/{key}"));
        if line.stage != "ResponseComplete" || note("cluster").is_none() {
            return;
        }
        let agent = note("agent");
        let Some(whom) = whom(line, agent, wanted) else {
            self.others += 1;
            return;
        };
        let carried_out = note("decision").is_some_and(|decision| decision == "allow")
            && line
                .response_status
                .as_ref()
                .is_some_and(|status| status.code < 400);
        if !carried_out {
            self.refused += 1;
            return;
        }
        self.counted += 1;
        let at = line.stage_timestamp;
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        let acts = self.acts.entry(whom).or_default();
        for act in acts_of(line, note("session").is_some()) {
            *acts.entry(act).or_default() += 1;
        }
    }
}

fn whom(line: &Line, agent: Option<&String>, wanted: Option<&Whom>) -> Option<Whom> {
    let own = match agent {
        Some(agent) => Whom::Agent(agent.clone()),
        None => Whom::User(line.user.username.clone()),
    };
    match wanted {
        None => Some(own),
        Some(Whom::Group(group)) => (agent.is_none() && line.user.groups.contains(group))
            .then(|| Whom::Group(group.clone())),
        Some(wanted) => (own == *wanted).then_some(own),
    }
}

/// What rules would have to allow. A session at a kubelet takes two verbs (docs/policy.md).
fn acts_of(line: &Line, at_kubelet: bool) -> Vec<Act> {
    let Some(object) = &line.object_ref else {
        let path = line.request_uri.split('?').next().unwrap_or_default();
        // A cluster's prefix is no part of what rules see.
        let path = match path.strip_prefix("/clusters/") {
            Some(rest) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
            None => path,
        };
        let verb = if line.verb == "head" {
            "get"
        } else {
            &line.verb
        };
        return vec![Act::Path {
            verb: verb.to_owned(),
            path: path.to_owned(),
        }];
    };
    let session = object.resource == "pods"
        && matches!(
            object.subresource.as_str(),
            "exec" | "attach" | "portforward"
        );
    let mut verbs = vec![if session {
        "create"
    } else {
        line.verb.as_str()
    }];
    if at_kubelet && verbs != ["create"] {
        verbs.push("create");
    }
    let resource = match object.subresource.as_str() {
        "" => object.resource.clone(),
        sub => format!("{}/{sub}", object.resource),
    };
    let namespace = Some(&object.namespace).filter(|namespace| !namespace.is_empty());
    verbs
        .into_iter()
        .map(|verb| Act::Resource {
            group: object.api_group.clone(),
            resource: resource.clone(),
            verb: verb.to_owned(),
            namespace: namespace.cloned(),
        })
        .collect()
}
