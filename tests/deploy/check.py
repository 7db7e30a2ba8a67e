"""Checks everything in deploy/ and every configuration in docs/install.md. Prints each problem, then `N passed, N failed`.

Run by `tests/tools/check.sh deploy`, which installs the tools. There is no Docker and no cluster here: images are not built and
nothing is installed; docs/install.md says so.
"""

import copy
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm/portcullis"
TOOLS = ROOT / "target/tools"
HELM = TOOLS / "deploy/bin/helm"
HADOLINT = TOOLS / "deploy/bin/hadolint"
PROMTOOL = TOOLS / "prometheus/promtool"
PORTCULLIS = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/portcullis"
CASES = ["minimal", "full", "constrained"]
# The oldest that Chart.yaml takes, the one of captures/, and the newest there are schemas of.
KUBERNETES = ["1.27", "1.36", "1.37"]
# Kinds of other projects, whose schemas are in no package; their fields are looked at below.
FOREIGN = {"Certificate", "ServiceMonitor", "PrometheusRule"}
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)


def succeeds(*command, **options):
    done = run(*command, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def load(path):
    return yaml.safe_load(path.read_text())


def helm_template(*arguments):
    return run(HELM, "template", "gate", CHART, "--namespace", "access", *arguments)


def rendered(values_file, *arguments):
    done = helm_template("--values", values_file, *arguments)
    assert done.returncode == 0, f"{values_file}: {done.stderr}"
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def case(name):
    return rendered(CHART / f"ci/{name}-values.yaml")


def of_kind(objects, kind):
    return [it for it in objects if it["kind"] == kind]


def one(objects, kind, ends_with=""):
    (found,) = [it for it in of_kind(objects, kind) if it["metadata"]["name"].endswith(ends_with)]
    return found


def pod_of(objects):
    return one(objects, "StatefulSet")["spec"]["template"]


def covers(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


# -- the chart --


@check
def chart_is_linted():
    for name in CASES:
        succeeds(HELM, "lint", "--strict", CHART, "--values", CHART / f"ci/{name}-values.yaml")


@check
def objects_fit_the_schemas_of_kubernetes():
    for name in CASES:
        for it in case(name):
            if it["kind"] in FOREIGN:
                continue
            for version in KUBERNETES:
                try:
                    kubernetes_validate.validate(it, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    raise AssertionError(f"{name}: {it['kind']} {it['metadata']['name']} in {version}: {error}") from error


@check
def schema_checker_finds_what_is_wrong():
    broken = one(case("minimal"), "StatefulSet")
    broken["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    try:
        kubernetes_validate.validate(broken, KUBERNETES[-1], strict=True)
    except kubernetes_validate.ValidationError:
        return
    raise AssertionError("a misspelt field was not found")


@check
def every_branch_is_rendered():
    kinds = {it["kind"] for name in CASES for it in case(name)}
    wanted = {
        "StatefulSet", "Service", "ServiceAccount", "ConfigMap", "ClusterRole", "ClusterRoleBinding", "Certificate",
        "NetworkPolicy", "PodDisruptionBudget", "ServiceMonitor", "PrometheusRule",
    }  # fmt: skip
    assert kinds == wanted, kinds ^ wanted
    # By default nothing needs the CRDs of others.
    assert not FOREIGN & {it["kind"] for it in case("minimal")}


@check
def pod_is_restricted():
    """Kubernetes' Pod Security Standard `restricted`, and what goes beyond."""
    for name in CASES:
        spec = pod_of(case(name))["spec"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] > 0 and security["fsGroup"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        writable = {mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert writable == {"data", "tmp"}, writable


@check
def objects_point_at_each_other():
    for name in CASES:
        objects = case(name)
        pod = pod_of(objects)
        labels, spec = pod["metadata"]["labels"], pod["spec"]
        (container,) = spec["containers"]
        ports = {port["name"] for port in container["ports"]}
        stateful = one(objects, "StatefulSet")["spec"]
        assert covers(stateful["selector"]["matchLabels"], labels)
        services = of_kind(objects, "Service")
        assert stateful["serviceName"] in {it["metadata"]["name"] for it in services}
        assert stateful["replicas"] == 1, "the data directory has one writer"
        for service in services:
            assert covers(service["spec"]["selector"], labels)
            targets = {port["targetPort"] for port in service["spec"]["ports"]}
            is_control = service["metadata"]["name"].endswith("-control")
            assert targets == ({"control"} if is_control else {"https"}), "the control port is never with the other one"
        for policy in of_kind(objects, "NetworkPolicy"):
            assert covers(policy["spec"]["podSelector"]["matchLabels"], labels)
            for rule in policy["spec"]["ingress"]:
                named = {port["port"] for port in rule["ports"]}
                assert named <= ports
                assert "control" not in named or rule["from"], "nobody has to log in at the control port"
        for budget in of_kind(objects, "PodDisruptionBudget"):
            assert covers(budget["spec"]["selector"]["matchLabels"], labels)
        for monitor in of_kind(objects, "ServiceMonitor"):
            selected = [it for it in services if covers(monitor["spec"]["selector"]["matchLabels"], it["metadata"]["labels"])]
            assert [it["spec"]["clusterIP"] for it in selected] == ["None"], "exactly the control service is scraped"
            (endpoint,) = monitor["spec"]["endpoints"]
            assert endpoint["port"] in {port["name"] for port in selected[0]["spec"]["ports"]}
            assert {"targetLabel": "job", "replacement": "portcullis"} in endpoint["relabelings"]
        for probe in ("livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] == "control"
            # Who configures people to log in at the control port gets TLS there, and whoever asks for health knows it.
            control = yaml.safe_load(one(objects, "ConfigMap", gateway_map(objects))["data"]["gateway.yaml"])["control"]
            has_tls = "tls" in control
            assert has_tls == ("console" in control)
            assert (container[probe]["httpGet"].get("scheme") == "HTTPS") == has_tls
        for monitor in of_kind(objects, "ServiceMonitor"):
            assert (monitor["spec"]["endpoints"][0].get("scheme") == "https") == has_tls
        volumes = {volume["name"] for volume in spec["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in stateful.get("volumeClaimTemplates", [])}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        maps = {it["metadata"]["name"]: it["data"] for it in of_kind(objects, "ConfigMap")}
        (projected,) = [volume["projected"] for volume in spec["volumes"] if volume["name"] == "config"]
        for source in projected["sources"]:
            if "configMap" in source:
                data = maps[source["configMap"]["name"]]
                assert {item["key"] for item in source["configMap"].get("items", [])} <= set(data)
        for certificate in of_kind(objects, "Certificate"):
            secrets = [source["secret"]["name"] for source in projected["sources"] if "secret" in source]
            assert secrets[0] == certificate["spec"]["secretName"]
            assert certificate["spec"]["issuerRef"]["name"] and certificate["spec"]["dnsNames"]
        accounts = {it["metadata"]["name"] for it in of_kind(objects, "ServiceAccount")} or {spec["serviceAccountName"]}
        assert accounts == {spec["serviceAccountName"]}
        for binding in of_kind(objects, "ClusterRoleBinding"):
            assert binding["roleRef"]["name"] == one(objects, "ClusterRole")["metadata"]["name"]
            (subject,) = binding["subjects"]
            assert (subject["name"], subject["namespace"]) == (spec["serviceAccountName"], "access")


@check
def a_drain_has_the_time_it_needs():
    for name in CASES:
        objects = case(name)
        drain = yaml.safe_load(one(objects, "ConfigMap", gateway_map(objects))["data"]["gateway.yaml"])["listener"]["drainTimeout"]
        # src/app.rs: two farewells of two seconds follow the drain.
        assert pod_of(objects)["spec"]["terminationGracePeriodSeconds"] >= int(drain.removesuffix("s")) + 5


def gateway_map(objects):
    (found,) = [it["metadata"]["name"] for it in of_kind(objects, "ConfigMap") if "gateway.yaml" in it["data"]]
    return found


def granted(name):
    """What the ClusterRole grants, as a set of (group or path, resource, names, verb)."""
    grants = set()
    for rule in one(case(name), "ClusterRole")["rules"]:
        names = tuple(rule.get("resourceNames", ()))
        for verb in rule["verbs"]:
            grants |= {(path, "", names, verb) for path in rule.get("nonResourceURLs", [])}
            grants |= {(group, it, names, verb) for group in rule.get("apiGroups", []) for it in rule.get("resources", [])}
    return grants


AUTHENTICATION = "authentication.k8s.io"


def own_extras():
    """The extras that the gateway itself sends, from the code that sends them."""
    code = (ROOT / "src/upstream/identity.rs").read_text().split("#[cfg(test)]")[0]
    keys = set(re.findall(r'"(?:impersonate-extra-)?(portcullis\.dev(?:/|%2f)[a-z-]+)"', code))
    keys = {key.replace("%2f", "/") for key in keys}
    assert len(keys) >= 3, keys
    return [f"userextras/{key}" for key in keys]


@check
def rights_are_the_least_that_work():
    """What src/upstream/identity.rs sends, and Secrets where known values are read. Nothing else, in each case."""
    secrets = {("", "secrets", (), "list"), ("", "secrets", (), "watch")}
    extras = {(AUTHENTICATION, it, (), "impersonate") for it in own_extras()}
    users = {("", it, (), "impersonate") for it in ("users", "groups")}
    assert granted("minimal") == users | extras | secrets, granted("minimal")

    mapped = ["uids", "userextras/example.com/team", "userextras/example.com/run"]
    extras |= {(AUTHENTICATION, it, (), "impersonate") for it in mapped}
    named = {
        ("", "users", ("oidc:ann@example.com",), "impersonate"),
        ("", "groups", ("oidc:readers", "developers"), "impersonate"),
    }
    assert granted("full") == named | extras | secrets, granted("full")

    verb = "impersonate:user-info"
    identity = {(AUTHENTICATION, it, (), verb) for it in ["users", *own_extras()]}
    identity |= {(AUTHENTICATION, "groups", ("developers",), verb)}
    on = {
        (group, it, (), f"impersonate-on:user-info:{may}")
        for group in ("", "apps")
        for it in ("pods", "pods/log", "deployments")
        for may in ("get", "list", "watch")
    }
    on |= {("/version", "", (), "impersonate-on:user-info:get")}
    # The verb `impersonate` beside it would cancel every restriction.
    assert granted("constrained") == identity | on, granted("constrained")


@check
def without_a_cluster_of_its_own_it_has_no_rights():
    with tempfile.TemporaryDirectory() as folder:
        values = load(CHART / "ci/minimal-values.yaml")
        values["config"]["clusters"] = [{"name": "east", "kubeconfig": {"file": "/elsewhere/kubeconfig"}}]
        file = Path(folder) / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        objects = rendered(file)
    assert not of_kind(objects, "ClusterRole") and not of_kind(objects, "ClusterRoleBinding")
    assert pod_of(objects)["spec"]["automountServiceAccountToken"] is False
    assert pod_of(case("minimal"))["spec"]["automountServiceAccountToken"] is True


@check
def what_cannot_work_is_refused_with_a_word():
    minimal = load(CHART / "ci/minimal-values.yaml")
    refused = [
        ({"image": {"repository": ""}}, "image.repository"),
        ({"tls": {"secretName": ""}}, "certManager.enabled"),
        ({"secretFiles": {"secretName": "a"}}, "secretFiles.keys"),
        ({"tls": {"certManager": {"enabled": True, "dnsNames": ["a"], "issuerRef": {"name": "b"}}}}, "either secretName or"),
        ({"tls": {"secretName": "", "certManager": {"enabled": True, "issuerRef": {"name": "b"}}}}, "dnsNames"),
        ({"config": {"authentication": {"jwt": []}}}, "config.authentication.jwt"),
        ({"config": {"dataDirectory": "/elsewhere"}}, "dataDirectory"),
        ({"config": {"audit": {"file": "/tmp/audit.jsonl"}}}, "config.audit.file"),
        ({"config": {"audit": {"file": "audit.jsonl"}}}, "config.audit.file"),
        ({"config": {"audit": {"file": "/var/lib/portcullis/../audit.jsonl"}}}, "config.audit.file"),
        ({"config": {"recording": {"directory": "/tmp/tapes"}}}, "config.recording.directory"),
        ({"config": {"control": {"address": "0.0.0.0:1"}}}, "control"),
        ({"config": {"listener": {"address": "0.0.0.0:1"}}}, "address"),
        ({"policies": {"profiles": ["nobody"]}}, "profiles"),
        ({"policies": {"files": {"../x.yaml": "x"}}}, "files"),
        ({"policies": {"files": {"revoked.yaml": "x"}}}, "files"),
        ({"impersonation": {"groups": ["dev*"]}}, "groups"),
        ({"impersonation": {"mode": "both"}}, "mode"),
        ({"replicas": 2}, "replicas"),
        ({"image": {"digest": "sha256:short"}}, "digest"),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "values.yaml"
        for values, word in refused:
            file.write_text(yaml.safe_dump(merged(minimal, values)))
            done = helm_template("--values", file)
            assert done.returncode != 0, f"{values} was taken"
            assert word in done.stderr, f"{values}: {word!r} is not in\n{done.stderr}"
        mounted = {"extraVolumes": [{"name": "tapes"}], "extraVolumeMounts": [{"name": "tapes", "mountPath": "/tapes"}]}
        for path, directory in [("/dev/stdout", "/tapes/2026"), ("/var/lib/portcullis/logs/audit.jsonl", "/var/lib/portcullis/tapes")]:
            kept = {"config": {"audit": {"file": path}, "recording": {"directory": directory}}}
            file.write_text(yaml.safe_dump(merged(minimal, merged(kept, mounted))))
            rendered(file)
        # A section of which every line is a comment.
        for section in ["audit", "recording", "knownValues", "control", "listener"]:
            file.write_text(yaml.safe_dump(merged(minimal, {"config": {section: None}})))
            rendered(file)


def merged(one, other):
    result = copy.deepcopy(one)
    for key, value in other.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


@check
def every_value_has_a_schema_and_a_default():
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    values = load(CHART / "values.yaml")
    jsonschema.validate(values, schema)
    missing = set(schema["properties"]) ^ set(values) ^ {"global"}
    assert not missing, f"in only one of values.yaml and values.schema.json: {missing}"


# -- what the chart and the docs configure --


def certificate(folder):
    folder.mkdir()
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    succeeds("openssl", "req", *options, "-keyout", folder / "tls.key", "-out", folder / "tls.crt")


def portcullis_accepts(folder, config, what):
    """Lays out what a configuration names and asks `portcullis check`. Only machine and cluster are made up."""
    config = copy.deepcopy(config)
    config["dataDirectory"] = str(folder / "data")
    for name in ("audit", "recording"):
        for key, value in config.get(name, {}).items():
            if key in ("file", "directory"):
                config[name][key] = str(folder / Path(value).name)
    if not (folder / "tls").exists():
        certificate(folder / "tls")
    listener = config["listener"]
    listener["address"] = listener["address"].replace(":8443", ":0")
    listener["tls"] = {"certificateFile": "tls/tls.crt", "privateKeyFile": "tls/tls.key"}
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443", "certificate-authority": "tls/tls.crt"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    for cluster in config["clusters"]:
        assert ("inCluster" in cluster) != ("kubeconfig" in cluster)
        cluster.pop("inCluster", None)
        cluster["kubeconfig"] = {"file": "kubeconfig"}
    for issuer in config["authentication"]["jwt"]:
        if "certificateAuthorityFile" in issuer["issuer"]:
            issuer["issuer"]["certificateAuthorityFile"] = "tls/tls.crt"
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(config))
    done = run(PORTCULLIS, "check", file)
    assert done.returncode == 0, f"{what}:\n{done.stdout}{done.stderr}"


def chart_configuration_is_accepted(folder, objects, what):
    """The files as the pod sees them below /etc/portcullis."""
    pod = pod_of(objects)["spec"]
    maps = {it["metadata"]["name"]: it["data"] for it in of_kind(objects, "ConfigMap")}
    (projected,) = [volume["projected"] for volume in pod["volumes"] if volume["name"] == "config"]
    paths = set()
    for source in projected["sources"]:
        kind = "configMap" if "configMap" in source else "secret"
        data = maps[source[kind]["name"]] if kind == "configMap" else None
        items = source[kind].get("items") or [{"key": key, "path": key} for key in data]
        for item in items:
            paths.add(item["path"])
            path = folder / item["path"]
            if data is not None or path.parent.name == "secrets":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(data[item["key"]] if data is not None else "a secret of sixteen bytes and more")
    config = yaml.safe_load((folder / "gateway.yaml").read_text())
    tls = config["listener"]["tls"]
    named = {tls["certificateFile"], tls["privateKeyFile"], config["authentication"]["revocationFile"], *config["policy"]["files"]}
    console = config.get("control", {}).get("console", {})
    named |= {console["clientSecretFile"]} if "clientSecretFile" in console else set()
    assert named <= paths, f"{what}: not in the volume: {named - paths}"
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert config["dataDirectory"] == mounts["data"]
    assert f"{mounts['config']}/gateway.yaml" in container["args"]
    portcullis_accepts(folder, config, what)


@check
def portcullis_accepts_what_the_chart_writes():
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            chart_configuration_is_accepted(Path(folder), case(name), name)


@check
def portcullis_refuses_what_is_wrong():
    """That the two above and below can fail."""
    with tempfile.TemporaryDirectory() as folder:
        values = merged(load(CHART / "ci/minimal-values.yaml"), {"config": {"knownValues": {"wach": True}}})
        file = Path(folder) / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        try:
            chart_configuration_is_accepted(Path(folder) / "pod", rendered(file), "misspelt")
        except AssertionError as error:
            assert "wach" in str(error), error
            return
    raise AssertionError("a misspelt key was accepted")


def blocks(page, language):
    """(line, text) of every fenced block in this language."""
    text = page.read_text()
    pattern = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(text[: found.start()].count("\n") + 1, found.group(1)) for found in pattern.finditer(text)]


@check
def portcullis_accepts_what_install_md_shows():
    page = ROOT / "docs/install.md"
    minimal = load(CHART / "ci/minimal-values.yaml")
    seen = {"configuration": 0, "issuer": 0, "values": 0, "kubeconfig": 0}
    for line, text in blocks(page, "yaml"):
        what = f"docs/install.md:{line}"
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            document = yaml.safe_load(text)
            if isinstance(document, dict) and document.get("kind") == "GatewayConfiguration":
                seen["configuration"] += 1
                shutil.copytree(ROOT / "profiles", folder / "profiles")
                portcullis_accepts(folder, document, what)
            elif isinstance(document, dict) and document.get("kind") == "Config":
                seen["kubeconfig"] += 1
                file = folder / "kubeconfig"
                file.write_text(text)
                kubectl = TOOLS / "kubectl-current/kubectl"
                succeeds(kubectl if kubectl.exists() else "kubectl", "--kubeconfig", file, "config", "view", "--minify")
            elif isinstance(document, dict) and set(document) == {"authentication"}:
                seen["issuer"] += 1
                values = merged(minimal, {"config": document})
                (folder / "values.yaml").write_text(yaml.safe_dump(values))
                chart_configuration_is_accepted(folder / "pod", rendered(folder / "values.yaml"), what)
            else:
                seen["values"] += 1
                (folder / "values.yaml").write_text(yaml.safe_dump(merged(minimal, document)))
                chart_configuration_is_accepted(folder / "pod", rendered(folder / "values.yaml"), what)
    assert all(seen.values()), f"docs/install.md lacks an example: {seen}"


@check
def install_md_names_files_and_headings_that_exist():
    page = ROOT / "docs/install.md"
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"docs/install.md links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"docs/install.md links to {target}; there is no such heading"


# -- alerts, dashboard, image --


@check
def chart_has_the_same_alerts_profiles_and_dashboard():
    objects = case("full")
    assert one(objects, "PrometheusRule")["spec"] == load(DEPLOY / "prometheus/alerts.yaml")
    dashboard = json.loads(one(objects, "ConfigMap", "-dashboard")["data"]["portcullis.json"])
    assert dashboard == json.loads((DEPLOY / "grafana/portcullis.json").read_text())
    policies = one(case("minimal"), "ConfigMap", "-policies")["data"]
    for name in ("ai-agent", "on-call", "developer"):
        assert load(ROOT / f"profiles/{name}.yaml") == yaml.safe_load(policies[f"{name}.yaml"]), name


@check
def every_alert_is_tested_and_says_what_to_do():
    tested = (DEPLOY / "prometheus/alerts_test.yaml").read_text()
    for group in load(DEPLOY / "prometheus/alerts.yaml")["groups"]:
        for rule in group["rules"]:
            name = rule["alert"]
            assert f'alertname="{name}"' in tested, f"{name} has no test that it fires"
            assert rule["labels"]["severity"] in ("critical", "warning"), name
            assert rule["annotations"]["summary"], name
            assert "Next:" in rule["annotations"]["description"], f"{name} does not say what to do next"


@check
def dashboard_is_sound():
    dashboard = json.loads((DEPLOY / "grafana/portcullis.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    rules = []
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["targets"], panel["title"]
        for target in [panel, *panel["targets"]]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "5m").replace("$__range", "1h").replace("$instance", ".*")
            assert "$" not in expression, expression
            rules.append({"record": f"panel:{panel['id']}:{target['refId']}", "expr": expression})
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"datasource", "instance"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "panels.yaml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
        succeeds(PROMTOOL, "check", "rules", file)


@check
def dockerfile_is_linted():
    succeeds(HADOLINT, DEPLOY / "docker/Dockerfile")


@check
def dockerfile_copies_what_the_build_needs():
    text = (DEPLOY / "docker/Dockerfile").read_text().replace("\\\n", " ")
    toolchain = re.search(r'channel = "([^"]+)"', (ROOT / "rust-toolchain.toml").read_text()).group(1)
    assert f"ARG BUILDER=rust:{toolchain}-" in text, f"the builder is not Rust {toolchain}"
    users = re.findall(r"^USER (\S+)", text, re.MULTILINE)
    assert users and re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]), "the user must be a number other than 0"
    assert users[-1].split(":")[0] == str(pod_of(case("minimal"))["spec"]["securityContext"]["runAsUser"])
    allowed = [line[1:] for line in (DEPLOY / "docker/Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        *names, into = line.split()
        sources |= {(source, into) for source in names}
    assert sources, "nothing is copied"
    with tempfile.TemporaryDirectory() as folder:
        for source, into in sources:
            path, copied = ROOT / source, Path(folder) / into
            assert path.exists(), f"COPY {source}: there is no such file"
            assert any(fnmatch.fnmatch(source, pattern) for pattern in allowed), f"COPY {source}: not let through by .dockerignore"
            if path.is_dir():
                shutil.copytree(path, copied)
            else:
                copied.mkdir(exist_ok=True)
                shutil.copy(path, copied)
        # The build's own command, up to the first compiler: Cargo finds every member, bench and dependency among what is copied,
        # and the lock file fits.
        assert "deploy/build.sh /out/portcullis" in text, "the gateway is not built as a release is"
        script = Path(folder) / "deploy/build.sh"
        assert os.access(script, os.X_OK), "deploy/build.sh cannot be run"
        for file in re.findall(r"deploy/[\w.]+", script.read_text()):
            assert (Path(folder) / file).exists(), f"deploy/build.sh needs {file}, which is not copied"
        (build,) = re.findall(r"cargo build .+?(?= --target )", script.read_text())
        plan = [*build.split(), "--offline", "--unit-graph", "-Z", "unstable-options"]
        succeeds(*plan, cwd=folder, env={**os.environ, "RUSTC_BOOTSTRAP": "1"})
        # Nothing that is compiled in lies outside of it.
        for path in Path(folder, "src").rglob("*.rs"):
            code = path.read_text().split("#[cfg(test)]")[0]
            for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', code):
                assert (path.parent / name).resolve().exists(), f"{path.relative_to(folder)} includes {name}, which is not copied"


def main():
    missing = [tool for tool in (HELM, HADOLINT, PROMTOOL, PORTCULLIS) if not tool.exists()]
    missing += [name for name in ("openssl", "cargo") if not shutil.which(name)]
    if missing:
        sys.exit(f"check.py: missing: {', '.join(map(str, missing))}; run tests/tools/check.sh deploy")
    failed = 0
    for function in CHECKS:
        try:
            function()
        except Exception as error:  # each check is told apart, and the rest goes on
            failed += 1
            print(f"FAILED: {function.__name__}")
            if isinstance(error, AssertionError) and str(error):
                print(f"  {error}")
            else:
                traceback.print_exc(file=sys.stdout)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
