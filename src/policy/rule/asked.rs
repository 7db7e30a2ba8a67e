//! A request as rules look at it.

use super::role::Roles;
use crate::identity::Identity;
use crate::request::RequestInfo;

/// A request as rules look at it.
#[derive(Clone, Copy, Debug)]
pub(in crate::policy) struct Asked<'a> {
    pub(in crate::policy) identity: &'a Identity,
    pub(in crate::policy) info: &'a RequestInfo,
    pub(in crate::policy) cluster: &'a str,
    pub(in crate::policy) verb: &'a str,
    /// What is done besides `verb`: a WebSocket to a kubelet is a `get` of `nodes/proxy` to the API server,
    /// and opens what it takes `create` to open elsewhere.
    pub(in crate::policy) also: Option<&'static str>,
    /// Nobody sends it: a review asks about everything that it says `*` for, or nothing.
    pub(in crate::policy) review: bool,
    /// The roles that the caller has.
    pub(in crate::policy) roles: Roles,
}

impl<'a> Asked<'a> {
    /// The same for a review, whose `info` was made of what it asks about.
    pub(in crate::policy) fn reviewed(
        identity: &'a Identity,
        info: &'a RequestInfo,
        cluster: &'a str,
    ) -> Self {
        Self {
            review: true,
            ..Self::new(identity, info, cluster)
        }
    }

    pub(in crate::policy) fn new(
        identity: &'a Identity,
        info: &'a RequestInfo,
        cluster: &'a str,
    ) -> Self {
        let session = info.session();
        let at_node = session.is_some_and(|session| session.node.is_some());
        let verb = if session.is_some() && !at_node {
            // WebSocket says GET, SPDY says POST, and both open the same shell.
            "create"
        } else if !info.is_resource_request && info.verb == "head" {
            "get"
        } else {
            info.verb.as_str()
        };
        Self {
            identity,
            info,
            cluster,
            verb,
            also: (at_node && verb != "create").then_some("create"),
            review: false,
            roles: 0,
        }
    }

    /// The same by somebody with these roles.
    pub(in crate::policy) fn holding(self, roles: Roles) -> Self {
        Self { roles, ..self }
    }

    /// Every verb that the request is, for people.
    pub(in crate::policy) fn verbs(&self) -> String {
        match self.also {
            None => format!("{:?}", self.verb),
            Some(also) => format!("{:?} and, as it opens a session, {also:?}", self.verb),
        }
    }
}
