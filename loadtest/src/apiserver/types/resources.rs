//! The resources the server knows: a fixed table for built-in kinds, and those of created CRDs.

use std::sync::Arc;

use serde_json::{Value, json};

/// A resource of the API.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    /// `(name, kind it exchanges, verbs)`.
    pub(crate) subresources: Vec<(String, String, Vec<String>)>,
    /// Stored and listed, or only a review that answers a POST.
    pub(crate) stored: bool,
    /// Name of the struct in the field table; custom resources have none.
    pub(crate) message: Option<&'static str>,
    /// A served version of a CRD (`spec.versions[]`).
    pub(crate) custom: Option<Arc<Value>>,
}

impl Resource {
    /// `v1`, or `group/version`.
    pub(crate) fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    /// The key of its collection: all versions of a group's resource share the objects.
    pub(crate) fn key(&self) -> String {
        self.qualified()
    }

    /// `secrets`, or `deployments.apps`, as error messages say it.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// `Secret`, or `Deployment.apps`.
    pub(crate) fn qualified_kind(&self) -> String {
        if self.group.is_empty() {
            self.kind.clone()
        } else {
            format!("{}.{}", self.kind, self.group)
        }
    }

    pub(crate) fn verbs(&self) -> Vec<&'static str> {
        if !self.stored {
            return vec!["create"];
        }
        let all = [
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch",
        ];
        // As in Kubernetes: there is no deletecollection of namespaces and services have it.
        all.into_iter()
            .filter(|verb| !(self.plural == "namespaces" && *verb == "deletecollection"))
            .collect()
    }

    /// True when the subresource exists.
    pub(crate) fn has(&self, subresource: &str) -> bool {
        self.subresources
            .iter()
            .any(|(name, ..)| name == subresource)
    }

    /// The resource a CRD version defines.
    pub(crate) fn of_crd(crd: &Value, version: &Value) -> Option<Self> {
        let spec = crd.get("spec")?;
        let names = spec.get("names")?;
        let text = |key: &str| {
            names
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let list = |key: &str| {
            let items = names.get(key).and_then(Value::as_array);
            items
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let kind = text("kind");
        let subresources = version
            .get("subresources")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(serde_json::Map::keys)
            .map(|name| {
                let exchanged = if name == "scale" {
                    "autoscaling/v1/Scale".to_owned()
                } else {
                    kind.clone()
                };
                (name.clone(), exchanged, words("get patch update"))
            })
            .collect();
        Some(Self {
            group: spec.get("group")?.as_str()?.to_owned(),
            version: version.get("name")?.as_str()?.to_owned(),
            plural: text("plural"),
            singular: text("singular"),
            kind,
            namespaced: spec.get("scope").and_then(Value::as_str) != Some("Cluster"),
            short_names: list("shortNames"),
            categories: list("categories"),
            subresources,
            stored: true,
            message: None,
            custom: Some(Arc::new(version.clone())),
        })
    }

    /// The entry of `APIGroupDiscoveryList`.
    pub(crate) fn aggregated(&self) -> Value {
        let mut entry = json!({
            "resource": self.plural,
            "responseKind": {"group": "", "version": "", "kind": self.kind},
            "scope": if self.namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": self.singular,
            "verbs": self.verbs(),
        });
        if self.custom.is_some() {
            put(
                &mut entry,
                "responseKind",
                json!({"group": self.group, "version": self.version, "kind": self.kind}),
            );
        }
        if !self.short_names.is_empty() {
            put(&mut entry, "shortNames", json!(self.short_names));
        }
        if !self.categories.is_empty() {
            put(&mut entry, "categories", json!(self.categories));
        }
        if !self.subresources.is_empty() {
            let subresources: Vec<Value> = self
                .subresources
                .iter()
                .map(|(name, kind, verbs)| {
                    let (group, version, kind) = split_kind(kind);
                    json!({
                        "subresource": name,
                        "responseKind": {"group": group, "version": version, "kind": kind},
                        "verbs": verbs,
                    })
                })
                .collect();
            put(&mut entry, "subresources", Value::Array(subresources));
        }
        entry
    }

    /// The entries of `APIResourceList`: the resource and its subresources.
    pub(crate) fn legacy(&self) -> Vec<Value> {
        let mut entry = json!({
            "name": self.plural,
            "singularName": self.singular,
            "namespaced": self.namespaced,
            "kind": self.kind,
            "verbs": self.verbs(),
        });
        if !self.short_names.is_empty() {
            put(&mut entry, "shortNames", json!(self.short_names));
        }
        if !self.categories.is_empty() {
            put(&mut entry, "categories", json!(self.categories));
        }
        let mut entries = vec![entry];
        for (name, kind, verbs) in &self.subresources {
            let (group, version, kind) = split_kind(kind);
            let mut entry = json!({
                "name": format!("{}/{name}", self.plural), "singularName": "", "namespaced": self.namespaced,
            });
            if !version.is_empty() {
                put(&mut entry, "group", json!(group));
                put(&mut entry, "version", json!(version));
            }
            put(&mut entry, "kind", json!(kind));
            put(&mut entry, "verbs", json!(verbs));
            entries.push(entry);
        }
        entries
    }
}

/// `v1`, or `group/version`.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// The built-in resources.
pub(crate) fn builtin() -> Vec<Resource> {
    TABLE.lines().filter_map(parse).collect()
}

// group/version plural singular Kind ns|cluster|review short categories sub:Kind:verbs ... ; `-` is empty,
// `Table=` names another struct than the kind.
const TABLE: &str = "\
v1 bindings binding Binding review-ns - -
v1 configmaps configmap ConfigMap ns cm -
v1 endpoints endpoints Endpoints ns ep -
v1 events event Event ns ev -
v1 limitranges limitrange LimitRange ns limits -
v1 namespaces namespace Namespace cluster ns - finalize:Namespace:update status:Namespace:get,patch,update
v1 nodes node Node cluster no - proxy:NodeProxyOptions:get status:Node:get,patch,update
v1 persistentvolumeclaims persistentvolumeclaim PersistentVolumeClaim ns pvc - status:PersistentVolumeClaim:get,patch,update
v1 persistentvolumes persistentvolume PersistentVolume cluster pv - status:PersistentVolume:get,patch,update
v1 pods pod Pod ns po all attach:PodAttachOptions:create,get binding:Binding:create ephemeralcontainers:Pod:get,patch,update eviction:policy/v1/Eviction:create exec:PodExecOptions:create,get log:Pod:get portforward:PodPortForwardOptions:create,get resize:Pod:get,patch,update status:Pod:get,patch,update
v1 podtemplates podtemplate PodTemplate ns - -
v1 replicationcontrollers replicationcontroller ReplicationController ns rc all scale:autoscaling/v1/Scale:get,patch,update status:ReplicationController:get,patch,update
v1 resourcequotas resourcequota ResourceQuota ns quota - status:ResourceQuota:get,patch,update
v1 secrets secret Secret ns - -
v1 serviceaccounts serviceaccount ServiceAccount ns sa - token:authentication.k8s.io/v1/TokenRequest:create
v1 services service Service ns svc all status:Service:get,patch,update
apps/v1 controllerrevisions controllerrevision ControllerRevision ns - -
apps/v1 daemonsets daemonset DaemonSet ns ds all status:DaemonSet:get,patch,update
apps/v1 deployments deployment Deployment ns deploy all scale:autoscaling/v1/Scale:get,patch,update status:Deployment:get,patch,update
apps/v1 replicasets replicaset ReplicaSet ns rs all scale:autoscaling/v1/Scale:get,patch,update status:ReplicaSet:get,patch,update
apps/v1 statefulsets statefulset StatefulSet ns sts all scale:autoscaling/v1/Scale:get,patch,update status:StatefulSet:get,patch,update
events.k8s.io/v1 events event Event ns ev - Table=events.Event
authentication.k8s.io/v1 selfsubjectreviews selfsubjectreview SelfSubjectReview review - -
authentication.k8s.io/v1 tokenreviews tokenreview TokenReview review - -
authorization.k8s.io/v1 localsubjectaccessreviews localsubjectaccessreview LocalSubjectAccessReview review-ns - -
authorization.k8s.io/v1 selfsubjectaccessreviews selfsubjectaccessreview SelfSubjectAccessReview review - -
authorization.k8s.io/v1 selfsubjectrulesreviews selfsubjectrulesreview SelfSubjectRulesReview review - -
authorization.k8s.io/v1 subjectaccessreviews subjectaccessreview SubjectAccessReview review - -
batch/v1 cronjobs cronjob CronJob ns cj all status:CronJob:get,patch,update
batch/v1 jobs job Job ns - all status:Job:get,patch,update
networking.k8s.io/v1 ingressclasses ingressclass IngressClass cluster - -
networking.k8s.io/v1 ingresses ingress Ingress ns ing - status:Ingress:get,patch,update
networking.k8s.io/v1 networkpolicies networkpolicy NetworkPolicy ns netpol -
policy/v1 poddisruptionbudgets poddisruptionbudget PodDisruptionBudget ns pdb - status:PodDisruptionBudget:get,patch,update
rbac.authorization.k8s.io/v1 clusterrolebindings clusterrolebinding ClusterRoleBinding cluster - -
rbac.authorization.k8s.io/v1 clusterroles clusterrole ClusterRole cluster - -
rbac.authorization.k8s.io/v1 rolebindings rolebinding RoleBinding ns - -
rbac.authorization.k8s.io/v1 roles role Role ns - -
storage.k8s.io/v1 storageclasses storageclass StorageClass cluster sc -
scheduling.k8s.io/v1 priorityclasses priorityclass PriorityClass cluster pc -
coordination.k8s.io/v1 leases lease Lease ns - -
discovery.k8s.io/v1 endpointslices endpointslice EndpointSlice ns - -
apiextensions.k8s.io/v1 customresourcedefinitions customresourcedefinition CustomResourceDefinition cluster crd,crds api-extensions status:CustomResourceDefinition:get,patch,update";

fn parse(line: &'static str) -> Option<Resource> {
    let mut parts = line.split(' ');
    let (group, version) = match parts.next()?.split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", "v1"),
    };
    let (plural, singular, kind, scope) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (short, categories) = (parts.next()?, parts.next()?);
    let mut message = super::message(kind).map(|message| message.name);
    let mut subresources = Vec::new();
    for part in parts {
        if let Some(name) = part.strip_prefix("Table=") {
            message = Some(name);
        } else {
            let mut fields = part.splitn(3, ':');
            let (name, kind, verbs) = (fields.next()?, fields.next()?, fields.next()?);
            subresources.push((
                name.to_owned(),
                kind.to_owned(),
                words(&verbs.replace(',', " ")),
            ));
        }
    }
    let list = |text: &str| {
        words(
            &text
                .replace(',', " ")
                .replace('-', if text == "-" { "" } else { "-" }),
        )
    };
    Some(Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        singular: singular.to_owned(),
        kind: kind.to_owned(),
        namespaced: scope == "ns" || scope == "review-ns",
        short_names: list(short),
        categories: list(categories),
        subresources,
        stored: !scope.starts_with("review"),
        message,
        custom: None,
    })
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// `group/version/Kind` or `Kind`.
fn split_kind(kind: &str) -> (&str, &str, &str) {
    let mut parts = kind.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(group), Some(version), Some(kind)) => (group, version, kind),
        _ => ("", "", kind),
    }
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(entries) = object {
        entries.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_parses_whole() {
        let resources = builtin();
        assert_eq!(resources.len(), TABLE.lines().count());
        for resource in &resources {
            assert!(
                resource.message.is_some() || resource.kind == "CustomResourceDefinition",
                "{} has no field table",
                resource.kind
            );
        }
        let pods = resources
            .iter()
            .find(|resource| resource.plural == "pods")
            .expect("served");
        assert!(pods.has("exec") && pods.namespaced && pods.short_names == ["po"]);
        let leases = resources
            .iter()
            .find(|resource| resource.plural == "leases")
            .expect("served");
        assert!(leases.short_names.is_empty());
    }
}
