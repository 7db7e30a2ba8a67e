//! Where in an object the pods are that it is or makes.

use super::value::Node;
use crate::request::RequestInfo;

/// The path to what has `metadata` and `spec` of a pod, by the resource of the request and never by what the body
/// says it is.
fn path(info: &RequestInfo) -> Option<&'static [&'static str]> {
    const POD: &[&str] = &[];
    const TEMPLATE: &[&str] = &["template"];
    const WORKLOAD: &[&str] = &["spec", "template"];
    const CRON_JOB: &[&str] = &["spec", "jobTemplate", "spec", "template"];
    /// The workload's own spec as a patch: their controllers make pods of it.
    const REVISION: &[&str] = &["data", "spec", "template"];
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

/// The pods that the object is or makes: what has their `metadata` and `spec`; null where there are none.
pub(super) fn pod<'n>(info: &RequestInfo, object: &'n Node) -> &'n Node {
    static NULL: Node = Node::NULL;
    path(info).map_or(&NULL, |path| {
        path.iter().fold(object, |node, key| node.member(key))
    })
}

/// Every container of whatever kind, in one list.
pub(super) fn containers(pod: &Node) -> Node {
    let spec = pod.member("spec");
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let every = lists.iter().flat_map(|list| spec.member(list).elements());
    // API servers before 1.23 take the kind EphemeralContainers, which has them beside its metadata.
    let old = pod.member("ephemeralContainers").elements();
    Node::list(every.chain(old).cloned())
}
