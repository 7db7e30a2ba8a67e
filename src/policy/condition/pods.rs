//! Where in an object a pod's spec is.

use super::value::Node;
use crate::request::RequestInfo;

/// The path to the spec, by the resource of the request and never by what the body says it is.
fn path(info: &RequestInfo) -> Option<&'static [&'static str]> {
    const POD: &[&str] = &["spec"];
    const TEMPLATE: &[&str] = &["template", "spec"];
    const WORKLOAD: &[&str] = &["spec", "template", "spec"];
    const CRON_JOB: &[&str] = &["spec", "jobTemplate", "spec", "template", "spec"];
    /// The workload's own spec as a patch: their controllers make pods of it.
    const REVISION: &[&str] = &["data", "spec", "template", "spec"];
    match (
        info.api_group.as_str(),
        info.resource.as_str(),
        info.subresource.as_str(),
    ) {
        ("", "pods", "" | "ephemeralcontainers" | "resize") => Some(POD),
        ("", "podtemplates", "") => Some(TEMPLATE),
        ("", "replicationcontrollers", "")
        | (
            "apps" | "extensions",
            "deployments" | "statefulsets" | "daemonsets" | "replicasets",
            "",
        )
        | ("batch", "jobs", "") => Some(WORKLOAD),
        ("batch", "cronjobs", "") => Some(CRON_JOB),
        ("apps", "controllerrevisions", "") => Some(REVISION),
        _ => None,
    }
}

/// The spec of the pods that the object is or makes; null where it has none.
pub(super) fn spec<'n>(info: &RequestInfo, object: &'n Node) -> &'n Node {
    static NULL: Node = Node::NULL;
    path(info).map_or(&NULL, |path| {
        path.iter().fold(object, |node, key| node.member(key))
    })
}

/// Every container of whatever kind, in one list.
pub(super) fn containers(spec: &Node) -> Node {
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let every = lists.iter().flat_map(|list| spec.member(list).elements());
    Node::list(every.cloned())
}
