#!/usr/bin/env python3
"""Prints types.txt, the field table of the kinds that the API server of the load test serves.

Usage: types-from-k8s-pb.py FOLDER > types.txt

FOLDER holds the sources of the crate `k8s-pb` (Apache-2.0, crates.io), for example
~/.cargo/registry/src/*/k8s-pb-0.9.0. Its Rust is generated from Kubernetes' .proto files, so it has the
order, the numbers and the types of the fields, and the `+patchStrategy` marks in the comments. It does not
have the capitals of the names (`host_ip`), nor which structs JSON inlines: the tables below say those.
"""

import re
import sys
from pathlib import Path

# The served kinds, and the structs that the server needs besides them.
ROOTS = {
    "api/core/v1": """Namespace Node Pod Service Endpoints ConfigMap Secret ServiceAccount Event PersistentVolume
        PersistentVolumeClaim ReplicationController PodTemplate LimitRange ResourceQuota Binding""",
    "api/apps/v1": "Deployment ReplicaSet StatefulSet DaemonSet ControllerRevision",
    "api/batch/v1": "Job CronJob",
    "api/networking/v1": "Ingress NetworkPolicy IngressClass",
    "api/rbac/v1": "Role RoleBinding ClusterRole ClusterRoleBinding",
    "api/coordination/v1": "Lease",
    "api/discovery/v1": "EndpointSlice",
    "api/policy/v1": "PodDisruptionBudget Eviction",
    "api/authentication/v1": "TokenRequest TokenReview SelfSubjectReview",
    "api/authorization/v1": """SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview
        LocalSubjectAccessReview""",
    "api/autoscaling/v1": "Scale",
    "api/events/v1": "Event",
    "api/scheduling/v1": "PriorityClass",
    "api/storage/v1": "StorageClass",
    "apimachinery/pkg/apis/meta/v1": "Status ListMeta DeleteOptions",
}

# Structs that the codec knows by name, and what the table calls them.
SPECIAL = {
    "Duration": "Duration",
    "ExtraValue": "Strings",
    "FieldsV1": "FieldsV1",
    "IntOrString": "IntOrString",
    "MicroTime": "MicroTime",
    "Quantity": "Quantity",
    "RawExtension": "RawExtension",
    "Time": "Time",
}

# Words that the API writes in capitals, wherever in a name they stand (but small as a field's first word).
CAPITALS = """api aws cidr csi dns fqdn gce grpc http id ip ipc iscsi nfs os pid rbd tcp tls uri url uuid""".split()
SPELLED = {word: word.upper() for word in CAPITALS} | {"ips": "IPs"}
# Names that follow no rule.
FIELDS = {
    "a_pi_group": "apiGroup",
    "non_resource_ur_ls": "nonResourceURLs",
    "pod_cid_rs": "podCIDRs",
    "scale_io": "scaleIO",
    "target_ww_ns": "targetWWNs",
    "u_id": "uid",
}
FIELD_OF = {("DaemonEndpoint", "port"): "Port"}
STRUCTS = {
    "CephFsPersistentVolumeSource": "CephFSPersistentVolumeSource",
    "CephFsVolumeSource": "CephFSVolumeSource",
    "FcVolumeSource": "FCVolumeSource",
    "ScaleIoPersistentVolumeSource": "ScaleIOPersistentVolumeSource",
    "ScaleIoVolumeSource": "ScaleIOVolumeSource",
    "SeLinuxOptions": "SELinuxOptions",
}

# Embedded Go structs, `json:",inline"`: (type, field).
INLINE = {
    ("EphemeralContainerCommon", "ephemeral_container_common"),
    ("IngressRuleValue", "ingress_rule_value"),
    ("LocalObjectReference", "local_object_reference"),
    ("PersistentVolumeSource", "persistent_volume_source"),
    ("ProbeHandler", "handler"),
    ("VolumeSource", "volume_source"),
}

STRUCT = re.compile(r"^pub struct (\w+) \{\n(.*?)^\}", re.M | re.S)
FIELD = re.compile(r"((?: +///[^\n]*\n)*) +#\[prost\(([^]]*)\)\]\s+pub (?:r#)?(\w+):(.*?),\n(?= +(?:///|#)|$)", re.S)


def words(name):
    return re.findall(r"[A-Z][a-z0-9]*", name)


def struct_name(rust):
    """`HttpGetAction` -> `HTTPGetAction`."""
    return STRUCTS.get(rust) or "".join(SPELLED.get(word.lower(), word) for word in words(rust))


def field_name(struct, rust):
    """`cluster_ips` -> `clusterIPs`."""
    first, *rest = rust.split("_")
    camel = first + "".join(SPELLED.get(word, word.capitalize()) for word in rest)
    return FIELD_OF.get((struct, rust)) or FIELDS.get(rust, camel)


def merge_keys(comment):
    """The keys by which a strategic merge patch merges the list; the patch's own key first."""
    if not re.search(r"\+patchStrategy=(\w+,)*merge\b", comment):
        return ""
    keys = re.findall(r"\+patchMergeKey=(\w+)", comment) + re.findall(r"\+listMapKey=(\w+)", comment)
    return "~" + "+".join(dict.fromkeys(keys))


class Table:
    def __init__(self, source):
        self.source = source
        self.modules = {}
        self.names = {}

    def structs(self, module):
        if module not in self.modules:
            text = (self.source / "src" / module / "mod.rs").read_text()
            self.modules[module] = dict(STRUCT.findall(text))
        return self.modules[module]

    def name(self, module, rust):
        """The name in the table; a name that is taken gets its API group in front: `events.Event`."""
        if (module, rust) not in self.names:
            name = struct_name(rust)
            if name in self.names.values():
                name = f"{module.split('/')[-2]}.{name}"
            self.names[module, rust] = name
        return self.names[module, rust]

    def lines(self, module, rust):
        """The lines of a struct and of all that it needs and that no line has yet."""
        if (module, rust) in self.names:
            return
        name, fields, needed = self.name(module, rust), [], []
        body = self.structs(module)[rust]
        found = FIELD.findall(body)
        assert len(found) == body.count("#[prost("), f"{rust}: a field is not understood"
        for comment, attribute, field, rust_type in found:
            number = re.search(r'tag = "(\d+)"', attribute)[1]
            kind = re.match(r'btree_map = "string, (\w+)"|(\w+)', attribute)
            kind = kind[1] or kind[2]
            inline = ""
            if kind == "message":
                *path, inner = re.findall(r"[\w:]+", rust_type)[-1].split("::")
                target = self.module(module, path)
                kind = SPECIAL.get(inner, (target, inner))
                if inner not in SPECIAL:
                    needed.append(kind)
                inline = "^" if (inner, field) in INLINE else ""
            shape = inline + "%s"
            if "repeated" in attribute:
                shape = "[%s]"
            elif "btree_map" in attribute:
                shape = "{%s}"
            fields.append((field_name(rust, field), number, shape, kind, merge_keys(comment)))
        below = [line for target in needed for line in self.lines(*target)]
        text = " ".join(
            f"{field}={number}:{shape % (kind if isinstance(kind, str) else self.name(*kind))}{keys}"
            for field, number, shape, kind, keys in fields
        )
        yield f"{name} {text}".rstrip()
        yield from below

    @staticmethod
    def module(module, path):
        """The module behind a path like `super::super::core::v1`."""
        parts = module.split("/")
        for part in path:
            parts = parts[:-1] if part == "super" else [*parts, part]
        return "/".join(parts)


def main():
    source = Path(sys.argv[1])
    version = re.search(r'^version = "(.*)"', (source / "Cargo.toml").read_text(), re.M)[1]
    print(
        f"# Generated by types-from-k8s-pb.py from crate k8s-pb {version} (Apache-2.0). Columns: struct, then its fields,\n"
        "# name=number:type in the order in which the API server prints them.\n"
        "# string bool int32 int64 bytes double: scalars. [T]: list. {T}: map from string. ^T: inlined in JSON.\n"
        "# [T]~a+b: list merged by keys a and b; [T]~ a list merged as a set. Quantity, Time, Strings, ...: see types/proto.rs."
    )
    table = Table(source)
    for module, names in ROOTS.items():
        for name in names.split():
            for line in table.lines(module, name):
                print(line)


if __name__ == "__main__":
    main()
