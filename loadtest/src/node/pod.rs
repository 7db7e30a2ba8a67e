//! What the node reads from a pod object.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::reply::Fault;

/// Called when the main process of a container ended: container name and exit code.
pub type ExitHook = Arc<dyn Fn(&str, u8) + Send + Sync>;

/// A pod that exists, as the API server hands it to the node.
#[derive(Clone)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The whole object.
    pub object: Value,
    /// Environment that is not spelled out in the object (values from Secrets and ConfigMaps):
    /// container, variable, value.
    pub environment: Vec<(String, String, String)>,
    /// Told when a container's main process ended, so that the pod's status can follow.
    pub on_exit: Option<ExitHook>,
}

impl fmt::Debug for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PodRef({}/{})", self.namespace, self.name)
    }
}

/// One container of a pod.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(super) name: String,
    /// `command` followed by `args`; empty when the image decides.
    pub(super) argv: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) stdin: bool,
    pub(super) stdin_once: bool,
    pub(super) tty: bool,
    pub(super) restarts: u64,
    pub(super) started: Timestamp,
    /// Its user, as `id` shows it.
    pub(super) uid: u64,
}

impl PodRef {
    /// A pod with nothing but its object.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, object: Value) -> Self {
        let (namespace, name) = (namespace.into(), name.into());
        Self {
            namespace,
            name,
            object,
            environment: Vec::new(),
            on_exit: None,
        }
    }

    /// Names this pod among all that ever had its name.
    pub(super) fn key(&self) -> String {
        let uid = text(&self.object, "/metadata/uid").unwrap_or_default();
        format!("{}/{}/{uid}", self.namespace, self.name)
    }

    pub(super) fn phase(&self) -> &str {
        text(&self.object, "/status/phase").unwrap_or("Running")
    }

    pub(super) fn is_finished(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.object
            .get("metadata")?
            .get("annotations")?
            .get(key)?
            .as_str()
    }

    /// The container a request means; without a name only if the pod has just one.
    pub(super) fn container(&self, wanted: Option<&str>) -> Result<Container, Fault> {
        let names =
            |field: &str| -> Vec<&str> { list(&self.object, field).filter_map(name).collect() };
        let wanted = match (wanted, names("containers").as_slice()) {
            (Some(wanted), _) => wanted,
            (None, [only]) => only,
            (None, several) => {
                let early = match names("initContainers").join(" ") {
                    none if none.is_empty() => none,
                    some => format!(" or one of the init containers: [{some}]"),
                };
                let (pod, several) = (&self.name, several.join(" "));
                return Err(Fault::bad_request(&format!(
                    "a container name must be specified for pod {pod}, choose one of: [{several}]{early}"
                )));
            }
        };
        ["containers", "initContainers", "ephemeralContainers"]
            .iter()
            .flat_map(|field| list(&self.object, field))
            .find(|container| name(container) == Some(wanted))
            .map(|container| self.read(wanted, container))
            .ok_or_else(|| {
                Fault::bad_request(&format!(
                    "container {wanted} is not valid for pod {}",
                    self.name
                ))
            })
    }

    fn read(&self, name: &str, spec: &Value) -> Container {
        let words = |field: &str| -> Vec<String> {
            let array = spec.get(field).and_then(Value::as_array);
            array
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        let flag = |field: &str| spec.get(field).and_then(Value::as_bool).unwrap_or(false);
        let status = self.status(name);
        let uid = spec.pointer("/securityContext/runAsUser");
        let uid = uid.or_else(|| self.object.pointer("/spec/securityContext/runAsUser"));
        Container {
            name: name.to_owned(),
            argv: [words("command"), words("args")].concat(),
            environment: self.variables(name, spec),
            stdin: flag("stdin"),
            stdin_once: flag("stdinOnce"),
            tty: flag("tty"),
            restarts: status
                .and_then(|s| s.get("restartCount"))
                .and_then(Value::as_u64)
                .unwrap_or(0),
            started: status
                .and_then(|status| text(status, "/state/running/startedAt"))
                .or_else(|| text(&self.object, "/metadata/creationTimestamp"))
                .and_then(|time| time.parse().ok())
                .unwrap_or_default(),
            uid: uid.and_then(Value::as_u64).unwrap_or(0),
        }
    }

    fn status(&self, wanted: &str) -> Option<&Value> {
        let status = self.object.get("status")?;
        [
            "containerStatuses",
            "initContainerStatuses",
            "ephemeralContainerStatuses",
        ]
        .iter()
        .filter_map(|field| status.get(field)?.as_array())
        .flatten()
        .find(|entry| name(entry) == Some(wanted))
    }

    fn variables(&self, container: &str, spec: &Value) -> BTreeMap<String, String> {
        let mut variables: BTreeMap<String, String> = [
            ("HOME", "/root"),
            ("HOSTNAME", self.name.as_str()),
            ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
            ("KUBERNETES_SERVICE_PORT", "443"),
            ("PATH", "/bin:/usr/bin:/sbin:/usr/sbin"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let entries = spec.get("env").and_then(Value::as_array);
        for entry in entries.into_iter().flatten() {
            if let (Some(key), Some(value)) =
                (name(entry), entry.get("value").and_then(Value::as_str))
            {
                variables.insert(key.to_owned(), value.to_owned());
            }
        }
        let passed = self
            .environment
            .iter()
            .filter(|(owner, ..)| owner == container);
        variables.extend(passed.map(|(_, key, value)| (key.clone(), value.clone())));
        variables
    }
}

fn list<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    let array = object
        .get("spec")
        .and_then(|spec| spec.get(field))
        .and_then(Value::as_array);
    array.into_iter().flatten()
}

fn name(entry: &Value) -> Option<&str> {
    entry.get("name")?.as_str()
}

fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer)?.as_str()
}
