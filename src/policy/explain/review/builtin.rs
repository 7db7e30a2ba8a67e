//! The resources that Kubernetes has by itself, to which `*` in a rule of the cluster is cut down where the policy
//! does not allow everything (`kubectl api-resources`, 1.36).

/// API group, then its resources with their subresources.
pub(super) const RESOURCES: &[(&str, &str)] = &[
    (
        "",
        "bindings configmaps endpoints events limitranges namespaces namespaces/finalize namespaces/status nodes \
         nodes/proxy nodes/status persistentvolumeclaims persistentvolumeclaims/status persistentvolumes \
         persistentvolumes/status pods pods/attach pods/binding pods/ephemeralcontainers pods/eviction pods/exec \
         pods/log pods/portforward pods/proxy pods/resize pods/status podtemplates replicationcontrollers \
         replicationcontrollers/scale replicationcontrollers/status resourcequotas resourcequotas/status secrets \
         serviceaccounts serviceaccounts/token services services/proxy services/status",
    ),
    (
        "admissionregistration.k8s.io",
        "mutatingadmissionpolicies mutatingadmissionpolicybindings mutatingwebhookconfigurations \
         validatingadmissionpolicies validatingadmissionpolicies/status validatingadmissionpolicybindings \
         validatingwebhookconfigurations",
    ),
    (
        "apiextensions.k8s.io",
        "customresourcedefinitions customresourcedefinitions/status",
    ),
    ("apiregistration.k8s.io", "apiservices apiservices/status"),
    (
        "apps",
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status \
         replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
    ),
    ("authentication.k8s.io", "selfsubjectreviews tokenreviews"),
    (
        "authorization.k8s.io",
        "localsubjectaccessreviews selfsubjectaccessreviews selfsubjectrulesreviews subjectaccessreviews",
    ),
    (
        "autoscaling",
        "horizontalpodautoscalers horizontalpodautoscalers/status",
    ),
    ("batch", "cronjobs cronjobs/status jobs jobs/status"),
    (
        "certificates.k8s.io",
        "certificatesigningrequests certificatesigningrequests/approval certificatesigningrequests/status",
    ),
    ("coordination.k8s.io", "leases"),
    ("discovery.k8s.io", "endpointslices"),
    ("events.k8s.io", "events"),
    (
        "flowcontrol.apiserver.k8s.io",
        "flowschemas flowschemas/status prioritylevelconfigurations prioritylevelconfigurations/status",
    ),
    ("metrics.k8s.io", "nodes pods"),
    (
        "networking.k8s.io",
        "ingressclasses ingresses ingresses/status ipaddresses networkpolicies servicecidrs servicecidrs/status",
    ),
    ("node.k8s.io", "runtimeclasses"),
    ("policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    (
        "rbac.authorization.k8s.io",
        "clusterrolebindings clusterroles rolebindings roles",
    ),
    (
        "resource.k8s.io",
        "deviceclasses resourceclaims resourceclaims/status resourceclaimtemplates resourceslices",
    ),
    ("scheduling.k8s.io", "priorityclasses"),
    (
        "storage.k8s.io",
        "csidrivers csinodes csistoragecapacities storageclasses volumeattachments volumeattachments/status \
         volumeattributesclasses",
    ),
];

/// Every one, as group and resource.
pub(super) fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    RESOURCES
        .iter()
        .flat_map(|(group, resources)| resources.split_whitespace().map(|it| (*group, it)))
}

/// Whether a group has a resource.
pub(super) fn has(group: &str, resource: &str) -> bool {
    pairs().any(|pair| pair == (group, resource))
}

/// Whether a group is one of Kubernetes itself.
pub(super) fn serves(group: &str) -> bool {
    RESOURCES.iter().any(|(builtin, _)| *builtin == group)
}
