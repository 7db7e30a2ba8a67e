//! Conditions that are ready to be named in rules.
//!
//! Each holds where something risky is asked for. They look at every place that a pod's spec can be
//! (`variables.podSpec`) and at every kind of container (`variables.containers`).

/// A ready condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What rules call it.
    pub name: &'static str,
    /// What holds when it holds, in words: `the pod ...`.
    pub risk: &'static str,
    /// Its CEL.
    pub expression: &'static str,
    /// The parameter it takes, if any.
    pub parameter: Option<Parameter>,
}

/// A list of texts that a ready condition is given in the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name under `params`.
    pub name: &'static str,
    /// What it is when the rule does not say; empty where the rule has to.
    pub default: &'static [&'static str],
}

const fn ready(name: &'static str, risk: &'static str, expression: &'static str) -> Ready {
    Ready {
        name,
        risk,
        expression,
        parameter: None,
    }
}

const fn with(condition: Ready, name: &'static str, default: &'static [&'static str]) -> Ready {
    Ready {
        parameter: Some(Parameter { name, default }),
        ..condition
    }
}

/// All of them. Those about pods follow the Pod Security Standard `baseline`.
pub const READY: &[Ready] = &[
    ready(
        "privileged",
        "a container runs privileged, which is root on the node",
        "variables.containers.exists(c,
  c.?securityContext.?privileged.orValue(false) ||
  c.?securityContext.?windowsOptions.?hostProcess.orValue(false)) ||
variables.podSpec.?securityContext.?windowsOptions.?hostProcess.orValue(false)",
    ),
    ready(
        "host-namespaces",
        "the pod shares the node's network, processes or IPC",
        "variables.podSpec.?hostNetwork.orValue(false) ||
variables.podSpec.?hostPID.orValue(false) ||
variables.podSpec.?hostIPC.orValue(false)",
    ),
    ready(
        "host-path",
        "it reaches files of the node",
        "variables.podSpec.?volumes.orValue([]).exists(v, has(v.hostPath)) ||
(request.resource == 'persistentvolumes' && object != null &&
  (has(object.spec.hostPath) || has(object.spec.local)))",
    ),
    ready(
        "host-ports",
        "a container listens on a port of the node",
        "variables.containers.exists(c, c.?ports.orValue([]).exists(p, p.?hostPort.orValue(0) != 0))",
    ),
    with(
        ready(
            "capabilities",
            "a container gets capabilities beyond the ordinary",
            "variables.containers.exists(c,
  c.?securityContext.?capabilities.?add.orValue([]).exists(name, !(name in params.allowed)))",
        ),
        "allowed",
        &[
            "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
            "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
        ],
    ),
    ready(
        "unconfined",
        "a container runs without the kernel's usual confinement",
        "variables.containers.exists(c,
  c.?securityContext.?procMount.orValue('Default') != 'Default' ||
  c.?securityContext.?seccompProfile.?type.orValue('') == 'Unconfined' ||
  c.?securityContext.?appArmorProfile.?type.orValue('') == 'Unconfined' ||
  !(c.?securityContext.?seLinuxOptions.?type.orValue('') in
    ['', 'container_t', 'container_init_t', 'container_kvm_t', 'container_engine_t']) ||
  c.?securityContext.?seLinuxOptions.?user.orValue('') != '' ||
  c.?securityContext.?seLinuxOptions.?role.orValue('') != '') ||
variables.podSpec.?securityContext.?seccompProfile.?type.orValue('') == 'Unconfined' ||
variables.podSpec.?securityContext.?appArmorProfile.?type.orValue('') == 'Unconfined' ||
!(variables.podSpec.?securityContext.?seLinuxOptions.?type.orValue('') in
  ['', 'container_t', 'container_init_t', 'container_kvm_t', 'container_engine_t']) ||
variables.podSpec.?securityContext.?seLinuxOptions.?user.orValue('') != '' ||
variables.podSpec.?securityContext.?seLinuxOptions.?role.orValue('') != '' ||
variables.podSpec.?securityContext.?sysctls.orValue([]).size() > 0 ||
variables.podMetadata.?annotations.orValue({}).exists(key,
  variables.podMetadata.annotations[key] == 'unconfined' &&
  (key.startsWith('container.apparmor.security.beta.kubernetes.io/') ||
    key.startsWith('container.seccomp.security.alpha.kubernetes.io/') ||
    key == 'seccomp.security.alpha.kubernetes.io/pod'))",
    ),
    with(
        ready(
            "image-registry",
            "an image comes from outside the registries that are listed",
            "variables.containers.exists(c,
  !params.registries.exists(r, c.?image.orValue('').startsWith(r))) ||
variables.podSpec.?volumes.orValue([]).exists(v,
  has(v.image) && !params.registries.exists(r, v.image.?reference.orValue('').startsWith(r)))",
        ),
        "registries",
        &[],
    ),
    ready(
        "secrets",
        "the pod reads Secrets, as files or as variables",
        "variables.podSpec.?volumes.orValue([]).exists(v, has(v.secret) ||
  v.?projected.?sources.orValue([]).exists(s, has(s.secret)) ||
  v.?csi.?driver.orValue('') == 'secrets-store.csi.k8s.io') ||
variables.containers.exists(c,
  c.?envFrom.orValue([]).exists(e, has(e.secretRef)) ||
  c.?env.orValue([]).exists(e, has(e.valueFrom) && has(e.valueFrom.secretKeyRef)))",
    ),
    ready(
        "service-account",
        "the pod acts as a service account that is not the default one",
        "!(variables.podSpec.?serviceAccountName.orValue('') in ['', 'default']) ||
!(variables.podSpec.?serviceAccount.orValue('') in ['', 'default']) ||
variables.podSpec.?volumes.orValue([]).exists(v,
  v.?projected.?sources.orValue([]).exists(s, has(s.serviceAccountToken)))",
    ),
    ready(
        "ephemeral-containers",
        "a container is added to a running pod",
        "request.resource == 'pods' && request.subresource == 'ephemeralcontainers' && request.operation != ''",
    ),
    ready(
        "rbac-grants",
        "it grants rights that lead to all others",
        "request.apiGroup == 'rbac.authorization.k8s.io' && object != null && (
  (request.resource in ['roles', 'clusterroles'] && (
    has(object.aggregationRule) ||
    object.?metadata.?labels.orValue({}).exists(key, key.startsWith('rbac.authorization.k8s.io/aggregate-to-')) ||
    object.?rules.orValue([]).exists(r,
      r.?verbs.orValue([]).exists(v, v in ['*', 'bind', 'escalate', 'impersonate']) ||
      r.?resources.orValue([]).exists(s, s == '*' || s.startsWith('*/') ||
        s in ['secrets', 'serviceaccounts/token', 'nodes/proxy', 'pods/exec', 'pods/attach',
          'pods/ephemeralcontainers', 'certificatesigningrequests/approval', 'signers']) ||
      r.?apiGroups.orValue([]).exists(g, g in ['*', 'rbac.authorization.k8s.io', 'admissionregistration.k8s.io']) ||
      r.?nonResourceURLs.orValue([]).exists(u, u.endsWith('*'))))) ||
  (request.resource in ['rolebindings', 'clusterrolebindings'] && (
    object.?roleRef.?name.orValue('') in ['cluster-admin', 'admin', 'edit'] ||
    object.?roleRef.?name.orValue('').startsWith('system:') ||
    object.?subjects.orValue([]).exists(s, s.?name.orValue('') in
      ['system:masters', 'system:anonymous', 'system:authenticated', 'system:unauthenticated',
        'system:serviceaccounts']))))",
    ),
    ready(
        "webhooks",
        "it changes what sees or rewrites every object of the cluster",
        "request.apiGroup == 'admissionregistration.k8s.io' && request.operation != ''",
    ),
    ready(
        "crds",
        "it changes which resources the cluster has; deleting one deletes all its objects",
        "request.apiGroup == 'apiextensions.k8s.io' && request.operation != ''",
    ),
    ready(
        "namespaces",
        "it changes a namespace; deleting one deletes everything in it",
        "request.apiGroup == '' && request.resource == 'namespaces' && request.operation != ''",
    ),
    ready(
        "persistent-volumes",
        "it changes a volume or a claim on one; deleting may delete the data",
        "request.apiGroup == '' && request.resource in ['persistentvolumes', 'persistentvolumeclaims'] &&
request.operation != ''",
    ),
    ready(
        "delete-collection",
        "it deletes many objects at once",
        "request.verb == 'deletecollection'",
    ),
    ready(
        "delete-everything",
        "it deletes every object of a kind: no selector says which, or they only say which not",
        "request.verb == 'deletecollection' &&
request.labelSelector.matches('^([[:space:]]*(![^,()]*|[^,()!=<>]*!=[^,()]*|' +
  '[^,()!=<>]+[[:space:]]notin[[:space:]]*[(][^()]*[)])?[[:space:]]*(,|$))*$') &&
request.fieldSelector.matches('^((metadata[.]namespace==?|[^,=!]*!=)([^,]|[\\\\\\\\],)*(,|$)|,)*$')",
    ),
    with(
        ready(
            "system-session",
            "it opens a session in a namespace of the cluster itself",
            "request.session != null && (request.session.node != '' || request.session.namespace in params.namespaces)",
        ),
        "namespaces",
        &["kube-system", "kube-public", "kube-node-lease"],
    ),
];

/// The ready condition of that name.
pub fn find(name: &str) -> Option<&'static Ready> {
    READY.iter().find(|ready| ready.name == name)
}
