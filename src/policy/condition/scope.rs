//! What conditions look at: the request, its caller, the object it writes and the one that is there.

use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;

use super::budget::Budget;
use super::pods;
use super::value::Node;
use crate::approval::Grant;
use crate::policy::rule::Asked;
use crate::request::RequestInfo;

/// The fields of `request`.
pub(super) const REQUEST: [&str; 15] = [
    "verb",
    "operation",
    "apiGroup",
    "apiVersion",
    "resource",
    "subresource",
    "namespace",
    "name",
    "path",
    "cluster",
    "dryRun",
    "labelSelector",
    "fieldSelector",
    "session",
    "isResourceRequest",
];
/// Of the fields of `request` as bits: whether the request is for a session, which is less than `session` itself.
pub(super) const IS_SESSION: u16 = 1 << REQUEST.len();

/// A field of `request` as a bit; every bit for one that does not exist.
pub(super) fn bit(field: &str) -> u16 {
    REQUEST
        .iter()
        .position(|name| *name == field)
        .map_or(u16::MAX, |at| 1 << at)
}

/// The fields of `caller`.
pub(super) const CALLER: [&str; 6] = ["username", "groups", "uid", "extra", "agent", "agentChain"];
/// The fields of `variables`.
pub(super) const VARIABLES: [&str; 3] = ["podSpec", "podMetadata", "containers"];

/// What a request has shown of itself besides its head. What was not shown is not known; what was shown may
/// be null.
#[derive(Clone, Default)]
pub struct Seen {
    object: Option<Node>,
    old_object: Option<Node>,
    dry_run: Option<bool>,
    /// The roles that were given to the caller.
    pub(in crate::policy) grants: Vec<Arc<Grant>>,
    /// Roles that the caller is taken to have, where nothing is sent.
    pub(in crate::policy) supposed: Vec<String>,
}

/// Without the objects: they may hold what is secret.
impl fmt::Debug for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Seen")
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

impl Seen {
    /// With the object that the request writes; `None` where it writes none.
    #[must_use]
    pub fn object(mut self, object: Option<&serde_json::Value>) -> Self {
        self.object = Some(object.map_or(Node::NULL, Node::of));
        self
    }

    /// With the object that is there before; `None` where there is none.
    #[must_use]
    pub fn old_object(mut self, object: Option<&serde_json::Value>) -> Self {
        self.old_object = Some(object.map_or(Node::NULL, Node::of));
        self
    }

    /// With the roles that were given to the caller, instead of those that were shown before.
    #[must_use]
    pub fn granted(mut self, grants: Vec<Arc<Grant>>) -> Self {
        self.grants = grants;
        self
    }

    /// As if the caller had these roles: for explanations and tests of policies, whose permits nobody uses.
    #[must_use]
    pub fn supposing(mut self, roles: Vec<String>) -> Self {
        self.supposed = roles;
        self
    }

    /// Whether the caller has no role at all.
    pub(in crate::policy) fn has_no_role(&self) -> bool {
        self.grants.is_empty() && self.supposed.is_empty()
    }

    /// Whether the object was shown.
    #[cfg(test)]
    pub(super) fn lacks_nothing(&self) -> bool {
        self.object.is_some()
    }

    /// With whether it is certainly a dry run, which the body of a DELETE may contradict.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = Some(dry_run);
        self
    }
}

/// What a rule wants to see before it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// The body, for whether a DELETE is a dry run.
    DryRun,
    /// The object that the request writes.
    Object,
    /// The object that is there before.
    OldObject,
}

impl Wanted {
    /// How many there are: nothing is asked for twice.
    pub const KINDS: usize = 3;
}

/// The variables of one decision, each made when it is first used.
pub(in crate::policy) struct Scope<'a> {
    pub(in crate::policy) asked: &'a Asked<'a>,
    pub(super) budget: Budget,
    seen: &'a Seen,
    request: OnceCell<Node>,
    caller: OnceCell<Node>,
    variables: OnceCell<Node>,
}

impl<'a> Scope<'a> {
    pub(in crate::policy) fn new(asked: &'a Asked<'a>, seen: &'a Seen) -> Self {
        Self {
            asked,
            budget: Budget::default(),
            seen,
            request: OnceCell::new(),
            caller: OnceCell::new(),
            variables: OnceCell::new(),
        }
    }

    /// Whether something is wanted that a request of this kind has and that was not shown.
    pub(super) fn lacks(&self, wanted: Wanted) -> bool {
        match wanted {
            Wanted::DryRun => self.deletes() && self.seen.dry_run.is_none(),
            Wanted::Object => self.writes() && self.seen.object.is_none(),
            Wanted::OldObject => self.changes() && self.seen.old_object.is_none(),
        }
    }

    pub(super) fn object(&self) -> Node {
        self.seen.object.clone().unwrap_or(Node::NULL)
    }

    pub(super) fn old_object(&self) -> Node {
        self.seen.old_object.clone().unwrap_or(Node::NULL)
    }

    pub(super) fn request(&self) -> Node {
        self.request.get_or_init(|| self.read_request()).clone()
    }

    pub(super) fn caller(&self) -> Node {
        let read = || {
            let identity = self.asked.identity;
            let agent = identity.agent();
            let extra = identity.extra().iter();
            let chain = agent.map_or(&[][..], |agent| &agent.chain);
            Node::map([
                ("username", Node::text(identity.username())),
                (
                    "groups",
                    Node::list(identity.groups().iter().map(Node::text)),
                ),
                ("uid", Node::text(identity.uid().unwrap_or_default())),
                (
                    "extra",
                    Node::map(extra.map(|(key, values)| {
                        (key.as_str(), Node::list(values.iter().map(Node::text)))
                    })),
                ),
                (
                    "agent",
                    Node::text(agent.map_or("", |agent| agent.name.as_str())),
                ),
                ("agentChain", Node::list(chain.iter().map(Node::text))),
            ])
        };
        self.caller.get_or_init(read).clone()
    }

    pub(super) fn variables(&self) -> Node {
        let read = || {
            let object = self.object();
            let pod = pods::pod(self.asked.info, &object);
            Node::map([
                ("podSpec", pod.member("spec").clone()),
                ("podMetadata", pod.member("metadata").clone()),
                ("containers", pods::containers(pod)),
            ])
        };
        self.variables.get_or_init(read).clone()
    }

    fn read_request(&self) -> Node {
        let (asked, info) = (self.asked, self.asked.info);
        let session = info.session().map(|session| {
            Node::map([
                ("kind", Node::text(session.kind.as_str())),
                ("namespace", Node::text(session.namespace)),
                ("pod", Node::text(session.pod)),
                ("container", Node::text(session.container)),
                ("node", Node::text(session.node.unwrap_or_default())),
                ("command", Node::list(session.command().map(Node::text))),
                ("stdin", Node::bool(session.stdin())),
                ("tty", Node::bool(session.tty())),
            ])
        });
        let session = session.or_else(|| unread_session(info));
        let dry_run = self
            .seen
            .dry_run
            .unwrap_or_else(|| !self.deletes() && info.is_dry_run(b""));
        Node::map([
            ("verb", Node::text(asked.verb)),
            ("operation", Node::text(operation(asked))),
            ("apiGroup", Node::text(info.api_group.as_str())),
            ("apiVersion", Node::text(info.api_version.as_str())),
            ("resource", Node::text(info.resource.as_str())),
            ("subresource", Node::text(info.subresource.as_str())),
            ("namespace", Node::text(info.namespace.as_str())),
            ("name", Node::text(info.object_name())),
            ("path", Node::text(info.path.as_str())),
            ("cluster", Node::text(asked.cluster)),
            ("dryRun", Node::bool(dry_run)),
            ("labelSelector", Node::text(info.label_selector.as_str())),
            ("fieldSelector", Node::text(info.field_selector.as_str())),
            ("session", session.unwrap_or(Node::NULL)),
            ("isResourceRequest", Node::bool(info.is_resource_request)),
        ])
    }

    fn deletes(&self) -> bool {
        self.asked.info.is_resource_request && self.asked.info.verb.starts_with("delete")
    }

    /// Whether there is an object in the body, or made of it.
    fn writes(&self) -> bool {
        matches!(operation(self.asked), "CREATE" | "UPDATE")
    }

    /// Whether there may be an object before.
    fn changes(&self) -> bool {
        let info = self.asked.info;
        matches!(operation(self.asked), "UPDATE" | "DELETE")
            && info.verb != "deletecollection"
            && !info.name.is_empty()
    }
}

/// What is asked of a kubelet that runs commands, too, and that is not read here: `/run`, `/cri` and other spellings. Of
/// these nothing is known but the node.
fn unread_session(info: &RequestInfo) -> Option<Node> {
    let node = info
        .proxy_target()
        .map_or(&*info.name, |target| target.name);
    info.may_be_kubelet_session().then(|| {
        Node::map([
            ("kind", Node::text("")),
            ("namespace", Node::text("")),
            ("pod", Node::text("")),
            ("container", Node::text("")),
            ("node", Node::text(node)),
            ("command", Node::list([])),
            ("stdin", Node::bool(false)),
            ("tty", Node::bool(false)),
        ])
    })
}

/// The operation of an `AdmissionReview` for the same request; empty for reads and for what is no resource.
fn operation(asked: &Asked<'_>) -> &'static str {
    let info = asked.info;
    if !info.is_resource_request {
        return "";
    }
    if info.session().is_some() || info.subresource == "proxy" {
        return "CONNECT";
    }
    match info.verb.as_str() {
        "create" => "CREATE",
        "update" | "patch" => "UPDATE",
        "delete" | "deletecollection" => "DELETE",
        _ => "",
    }
}
