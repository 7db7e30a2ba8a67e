//! The fields of built-in kinds that masks can name, with their numbers.
//!
//! Source: the `generated.proto` files of k8s.io/api and k8s.io/apimachinery, 1.20 to 1.36; numbers
//! never change. A plan that names a field which is not in here is not applied to protobuf: the
//! resource is then served as JSON ([`covers`]). So a missing row costs speed, never a value.

use crate::policy::mask::{Action, Condition, MaskPlan, Shape, StateId};
use crate::request::RequestInfo;

/// A message: what a mask can name in it.
#[derive(Debug)]
pub(in crate::transform) struct Message(&'static [Row]);

/// A field.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) number: u32,
    /// Its key in JSON.
    pub(super) key: &'static str,
    pub(super) holds: Holds,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holds {
    /// A `string` or `bytes`.
    Text,
    /// `repeated string`.
    Texts,
    /// `map<string, string>` or `map<string, bytes>`.
    Map,
    One(&'static Message),
    Many(&'static Message),
    /// A message whose fields stand in its parent's object in JSON.
    Inline(&'static Message),
    /// `RawExtension` or `FieldsV1`: JSON.
    Json,
}

/// A kind that can be masked as protobuf.
#[derive(Clone, Copy, Debug)]
pub(in crate::transform) struct Kind {
    pub(super) name: &'static str,
    pub(super) object: &'static Message,
}

impl Message {
    pub(super) fn row(&self, number: u32) -> Option<&'static Row> {
        self.0.iter().find(|row| row.number == number)
    }

    pub(super) fn number(&self, key: &str) -> Option<u32> {
        let row = self.0.iter().find(|row| row.key == key)?;
        matches!(row.holds, Text).then_some(row.number)
    }
}

const fn row(number: u32, key: &'static str, holds: Holds) -> Row {
    Row { number, key, holds }
}

use Holds::{Inline, Json, Many, Map, One, Text, Texts};

static METADATA: Message = Message(&[
    row(11, "labels", Map),
    row(12, "annotations", Map),
    row(17, "managedFields", Many(&MANAGED_FIELDS_ENTRY)),
]);
static MANAGED_FIELDS_ENTRY: Message = Message(&[row(7, "fieldsV1", Json)]);

static SECRET: Message = Message(&[
    row(1, "metadata", One(&METADATA)),
    row(2, "data", Map),
    row(4, "stringData", Map),
]);

static CONFIG_MAP: Message = Message(&[
    row(1, "metadata", One(&METADATA)),
    row(2, "data", Map),
    row(3, "binaryData", Map),
]);

static NAMED: Message = Message(&[row(1, "name", Text), row(2, "value", Text)]);
static EXEC: Message = Message(&[row(1, "command", Texts)]);
static HTTP_GET: Message = Message(&[row(1, "path", Text), row(5, "httpHeaders", Many(&NAMED))]);
static HANDLER: Message = Message(&[
    row(1, "exec", One(&EXEC)),
    row(2, "httpGet", One(&HTTP_GET)),
]);
static PROBE: Message = Message(&[row(1, "handler", Inline(&HANDLER))]);
static LIFECYCLE: Message = Message(&[
    row(1, "postStart", One(&HANDLER)),
    row(2, "preStop", One(&HANDLER)),
]);

static CONTAINER: Message = Message(&[
    row(1, "name", Text),
    row(3, "command", Texts),
    row(4, "args", Texts),
    row(7, "env", Many(&NAMED)),
    row(10, "livenessProbe", One(&PROBE)),
    row(11, "readinessProbe", One(&PROBE)),
    row(12, "lifecycle", One(&LIFECYCLE)),
    row(22, "startupProbe", One(&PROBE)),
]);
static EPHEMERAL_CONTAINER: Message =
    Message(&[row(1, "ephemeralContainerCommon", Inline(&CONTAINER))]);

static CSI: Message = Message(&[row(4, "volumeAttributes", Map)]);
static FLEX_VOLUME: Message = Message(&[row(5, "options", Map)]);
static VOLUME_SOURCE: Message = Message(&[
    row(12, "flexVolume", One(&FLEX_VOLUME)),
    row(28, "csi", One(&CSI)),
    row(29, "ephemeral", One(&EPHEMERAL)),
]);
static EPHEMERAL: Message = Message(&[row(1, "volumeClaimTemplate", One(&CLAIM))]);
static VOLUME: Message = Message(&[row(2, "volumeSource", Inline(&VOLUME_SOURCE))]);

static POD_SPEC: Message = Message(&[
    row(1, "volumes", Many(&VOLUME)),
    row(2, "containers", Many(&CONTAINER)),
    row(20, "initContainers", Many(&CONTAINER)),
    row(34, "ephemeralContainers", Many(&EPHEMERAL_CONTAINER)),
]);

static MESSAGE_2: Message = Message(&[row(2, "message", Text)]);
static MESSAGE_4: Message = Message(&[row(4, "message", Text)]);
static MESSAGE_5: Message = Message(&[row(5, "message", Text)]);
static MESSAGE_6: Message = Message(&[row(6, "message", Text)]);
static CONTAINER_STATE: Message = Message(&[
    row(1, "waiting", One(&MESSAGE_2)),
    row(3, "terminated", One(&MESSAGE_4)),
]);
static CONTAINER_STATUS: Message = Message(&[
    row(2, "state", One(&CONTAINER_STATE)),
    row(3, "lastState", One(&CONTAINER_STATE)),
]);
static POD_STATUS: Message = Message(&[
    row(2, "conditions", Many(&MESSAGE_6)),
    row(3, "message", Text),
    row(8, "containerStatuses", Many(&CONTAINER_STATUS)),
    row(10, "initContainerStatuses", Many(&CONTAINER_STATUS)),
    row(13, "ephemeralContainerStatuses", Many(&CONTAINER_STATUS)),
]);

static POD: Message = Message(&[
    row(1, "metadata", One(&METADATA)),
    row(2, "spec", One(&POD_SPEC)),
    row(3, "status", One(&POD_STATUS)),
]);
static TEMPLATE: Message = Message(&[
    row(1, "metadata", One(&METADATA)),
    row(2, "spec", One(&POD_SPEC)),
]);

/// A spec with its template in field 2, 3 or 6.
static SPEC_2: Message = Message(&[row(2, "template", One(&TEMPLATE))]);
static SPEC_3: Message = Message(&[row(3, "template", One(&TEMPLATE))]);
static SPEC_6: Message = Message(&[row(6, "template", One(&TEMPLATE))]);

/// A status with its conditions in field 1, 6 or 10.
static STATUS_1: Message = Message(&[row(1, "conditions", Many(&MESSAGE_6))]);
static STATUS_6: Message = Message(&[row(6, "conditions", Many(&MESSAGE_5))]);
static STATUS_10: Message = Message(&[row(10, "conditions", Many(&MESSAGE_5))]);

static POD_TEMPLATE: Message = Message(&[
    row(1, "metadata", One(&METADATA)),
    row(2, "template", One(&TEMPLATE)),
]);
static DAEMON_SET: Message = Message(&[
    row(1, "metadata", One(&METADATA)),
    row(2, "spec", One(&SPEC_2)),
    row(3, "status", One(&STATUS_10)),
]);
/// `Deployment`, `ReplicaSet`, `ReplicationController`.
static WORKLOAD: Message = Message(&[
    row(1, "metadata", One(&METADATA)),
    row(2, "spec", One(&SPEC_3)),
    row(3, "status", One(&STATUS_6)),
]);
static CLAIM: Message = Message(&[row(1, "metadata", One(&METADATA))]);
static STATEFUL_SET_SPEC: Message = Message(&[
    row(3, "template", One(&TEMPLATE)),
    row(4, "volumeClaimTemplates", Many(&CLAIM)),
]);
static STATEFUL_SET: Message = Message(&[
    row(1, "metadata", One(&METADATA)),
    row(2, "spec", One(&STATEFUL_SET_SPEC)),
    row(3, "status", One(&STATUS_10)),
]);
static JOB: Message = Message(&[
    row(1, "metadata", One(&METADATA)),
    row(2, "spec", One(&SPEC_6)),
    row(3, "status", One(&STATUS_1)),
]);
static CRON_JOB_SPEC: Message = Message(&[row(5, "jobTemplate", One(&JOB))]);
static CRON_JOB: Message = Message(&[
    row(1, "metadata", One(&METADATA)),
    row(2, "spec", One(&CRON_JOB_SPEC)),
]);
static CONTROLLER_REVISION: Message =
    Message(&[row(1, "metadata", One(&METADATA)), row(2, "data", Json)]);

static CORE_EVENT: Message =
    Message(&[row(1, "metadata", One(&METADATA)), row(4, "message", Text)]);
static EVENT: Message = Message(&[row(1, "metadata", One(&METADATA)), row(10, "note", Text)]);

/// The kind that answers to a read of this resource, if it can be masked as protobuf by this plan.
pub(in crate::transform) fn kind_for(info: &RequestInfo, plan: &MaskPlan) -> Option<Kind> {
    let reads = matches!(info.verb.as_str(), "get" | "list" | "watch");
    if !reads || !matches!(info.subresource.as_str(), "" | "status") {
        return None;
    }
    let kind = |name, object| Kind { name, object };
    let kind = match (info.api_group.as_str(), info.resource.as_str()) {
        ("", "secrets") => kind("Secret", &SECRET),
        ("", "configmaps") => kind("ConfigMap", &CONFIG_MAP),
        ("", "pods") => kind("Pod", &POD),
        ("", "podtemplates") => kind("PodTemplate", &POD_TEMPLATE),
        ("", "replicationcontrollers") => kind("ReplicationController", &WORKLOAD),
        ("", "events") => kind("Event", &CORE_EVENT),
        ("apps", "deployments") => kind("Deployment", &WORKLOAD),
        ("apps", "statefulsets") => kind("StatefulSet", &STATEFUL_SET),
        ("apps", "replicasets") => kind("ReplicaSet", &WORKLOAD),
        ("apps", "daemonsets") => kind("DaemonSet", &DAEMON_SET),
        ("apps", "controllerrevisions") => kind("ControllerRevision", &CONTROLLER_REVISION),
        ("batch", "jobs") => kind("Job", &JOB),
        ("batch", "cronjobs") => kind("CronJob", &CRON_JOB),
        ("events.k8s.io", "events") => kind("Event", &EVENT),
        _ => return None,
    };
    // Other versions of these groups are gone, or have other numbers.
    let v1 = info.api_version == "v1";
    let root = plan.root(crate::policy::mask::Root::Object);
    let named = !plan.texts().known_values; // they are looked for in JSON
    (v1 && named && covers(plan, root, One(kind.object), true)).then_some(kind)
}

/// Can everything that the plan masks in `state` be found in such a field?
fn covers(plan: &MaskPlan, state: StateId, holds: Holds, root: bool) -> bool {
    let walked = |shape| match plan.action(state, shape) {
        Action::Walk | Action::Pass | Action::Scan(_) => true,
        Action::Mask(_) | Action::Embedded | Action::Search => false,
    };
    match holds {
        Text => true,
        Texts => walked(Shape::Array),
        // `Json` holds an object, and what a plan does with that is the JSON masker's business.
        Map | Json => walked(Shape::Object),
        Many(message) => {
            let element = plan.element(state);
            let named = |condition: Condition<'_>| message.number(condition.key).is_some();
            walked(Shape::Array)
                && plan.conditions(state).all(named)
                && (element.is_dead() || covers(plan, element, One(message), false))
        }
        One(message) | Inline(message) => {
            let known = |key: &[u8], next: StateId| {
                // Lists, Tables and events are taken apart by their own rules.
                let way = root && matches!(key, b"items" | b"rows" | b"object");
                next.is_dead() || way || covered_by(plan, next, message, key)
            };
            walked(Shape::Object)
                && plan.member(state, None).is_dead()
                && plan.members(state).all(|(key, next)| known(key, next))
        }
    }
}

fn covered_by(plan: &MaskPlan, next: StateId, message: &Message, key: &[u8]) -> bool {
    message.0.iter().any(|row| match row.holds {
        Inline(inner) => covered_by(plan, next, inner, key),
        holds => row.key.as_bytes() == key && covers(plan, next, holds, false),
    })
}
