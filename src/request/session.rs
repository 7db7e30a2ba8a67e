//! A request for a session: exec, attach or port-forward, asked for in one of two ways.
//!
//! The API server has them as subresources of a pod. A kubelet serves the same at paths of its own
//! (`pkg/kubelet/server/server.go`), which `nodes/NAME/proxy` leads to: there the pod stands in the path,
//! and the streams have other names in the query.

use super::{Query, RequestInfo, path};

/// The three kinds of session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionKind {
    /// `pods/exec`.
    Exec,
    /// `pods/attach`.
    Attach,
    /// `pods/portforward`.
    PortForward,
}

impl SessionKind {
    /// The subresource as Kubernetes spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "portforward",
        }
    }
}

/// What a request for a session asks for, as the server that opens it reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRequest<'a> {
    /// Which kind.
    pub kind: SessionKind,
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// The container; empty for port-forward, and when the choice is left to the API server.
    pub container: &'a str,
    /// The node whose own server is asked, through `nodes/NAME/proxy`; none for a subresource of the pod.
    pub node: Option<&'a str>,
    query: &'a Query,
}

impl<'a> SessionRequest<'a> {
    /// The session that `info` is about, whatever its method and transport.
    pub(super) fn read(info: &'a RequestInfo) -> Option<Self> {
        if !info.is_resource_request || !info.api_group.is_empty() {
            return None;
        }
        match info.resource.as_str() {
            "pods" => Self::of_pod(info),
            "nodes" => Self::of_node(info),
            _ => None,
        }
    }

    fn of_pod(info: &'a RequestInfo) -> Option<Self> {
        let kind = match info.subresource.as_str() {
            "exec" => SessionKind::Exec,
            "attach" => SessionKind::Attach,
            "portforward" => SessionKind::PortForward,
            _ => return None,
        };
        Some(Self {
            kind,
            namespace: &info.namespace,
            pod: &info.name,
            container: info.query.first("container").unwrap_or_default(),
            node: None,
            query: &info.query,
        })
    }

    /// `/exec/NAMESPACE/POD[/UID]/CONTAINER`, `/attach/...` the same, `/portForward/NAMESPACE/POD[/UID]`, in
    /// exactly this spelling: [`RequestInfo::may_be_kubelet_session`] sees to all others.
    fn of_node(info: &'a RequestInfo) -> Option<Self> {
        let node = info.proxy_target()?.name;
        let [_, _, _, verb, namespace, pod, rest @ ..] = info.parts.as_slice() else {
            return None;
        };
        let (kind, container) = match (verb.as_str(), rest) {
            ("exec", [container] | [_, container]) => (SessionKind::Exec, container.as_str()),
            ("attach", [container] | [_, container]) => (SessionKind::Attach, container.as_str()),
            ("portForward", [] | [_]) => (SessionKind::PortForward, ""),
            _ => return None,
        };
        let plain = info.raw_path.bytes().all(path::is_of_names);
        (plain && info.parts.iter().all(|part| !part.is_empty())).then_some(Self {
            kind,
            namespace,
            pod,
            container,
            node: Some(node),
            query: &info.query,
        })
    }

    /// `NAMESPACE/POD`, or `NAMESPACE/POD/CONTAINER`.
    pub fn target(&self) -> String {
        let parts = [self.namespace, self.pod, self.container];
        let named = parts.into_iter().filter(|part| !part.is_empty());
        named.collect::<Vec<_>>().join("/")
    }

    /// Whether the command's input is asked for.
    pub fn stdin(&self) -> bool {
        self.flag("stdin", "input")
    }

    /// Whether the command's output is asked for.
    pub fn stdout(&self) -> bool {
        self.flag("stdout", "output")
    }

    /// Whether the command's errors are asked for.
    pub fn stderr(&self) -> bool {
        self.flag("stderr", "error")
    }

    /// Whether a terminal is asked for.
    pub fn tty(&self) -> bool {
        self.flag("tty", "tty")
    }

    /// The command and its arguments.
    pub fn command(&self) -> impl Iterator<Item = &'a str> {
        self.query.all("command")
    }

    /// The ports in the query, in order; only the old WebSocket form has any.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        let key = if self.node.is_some() { "port" } else { "ports" };
        let lists = self.query.all(key);
        lists
            .flat_map(|list| list.split(','))
            .filter_map(|port| port.trim().parse().ok())
    }

    /// A parameter by its name at the API server and its name at a kubelet, where nothing but `1` is yes
    /// (`NewOptions` of `pkg/kubelet/server/remotecommand`).
    fn flag(&self, of_pod: &str, of_node: &str) -> bool {
        if self.node.is_some() {
            self.query.first(of_node) == Some("1")
        } else {
            self.query.bool(of_pod)
        }
    }
}

#[cfg(test)]
mod tests;
