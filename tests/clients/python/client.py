"""Drives the stock Python client through the gateway and prints one JSON line a step.

Environment: KUBECONFIG, POD (a running pod in `default`), SECRET (a secret of `default` with the key
`password`), NEW_VALUE (the value this program stores; it never prints it).
tests/e2e/clients.rs asserts on the lines.
"""

import base64
import json
import os
import threading

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

POD = os.environ["POD"]
SECRET = os.environ["SECRET"]
NEW_VALUE = os.environ["NEW_VALUE"]
MADE = "made-by-python"
NAMESPACE = "default"


def decoded(secret):
    return base64.b64decode((secret.data or {})["password"], validate=True).decode()


def list_secrets(api):
    return {"names": [item.metadata.name for item in api.list_namespaced_secret(NAMESPACE).items]}


def get_secret(api):
    return {"value": decoded(api.read_namespaced_secret(SECRET, NAMESPACE))}


def watch_secrets(api):
    """Watches from the list's version and creates a secret meanwhile: the event must arrive without a second one."""
    version = api.list_namespaced_secret(NAMESPACE).metadata.resource_version
    created = {}

    def create():
        body = client.V1Secret(
            metadata=client.V1ObjectMeta(name=MADE),
            data={"password": base64.b64encode(NEW_VALUE.encode()).decode()},
        )
        created["value"] = decoded(client.CoreV1Api().create_namespaced_secret(NAMESPACE, body))

    creator = threading.Thread(target=create)
    events = watch.Watch().stream(
        api.list_namespaced_secret, NAMESPACE, resource_version=version, timeout_seconds=15
    )
    creator.start()
    for event in events:
        if event["type"] == "ADDED" and event["object"].metadata.name == MADE:
            creator.join(10)
            return {"name": MADE, "value": decoded(event["object"]), "created": created.get("value")}
    raise RuntimeError("the watch ended before the event")


def patch_secret(api):
    patched = api.patch_namespaced_secret(MADE, NAMESPACE, {"metadata": {"labels": {"patched": "yes"}}})
    return {"value": decoded(patched), "label": patched.metadata.labels.get("patched")}


def replace_with_placeholder(api):
    masked = api.read_namespaced_secret(MADE, NAMESPACE)
    try:
        api.replace_namespaced_secret(MADE, NAMESPACE, masked)
    except ApiException as refusal:
        return {"code": refusal.status, "message": json.loads(refusal.body)["message"]}
    return {"code": 200}


def delete_secret(api):
    api.delete_namespaced_secret(MADE, NAMESPACE)
    try:
        api.read_namespaced_secret(MADE, NAMESPACE)
    except ApiException as absent:
        return {"gone": absent.status == 404}
    return {"gone": False}


def list_pods(api):
    return {"names": [item.metadata.name for item in api.list_namespaced_pod(NAMESPACE).items]}


def exec_command(_):
    command = ["sh", "-c", "echo out; echo err >&2; exit 7"]
    session = stream(
        client.CoreV1Api().connect_get_namespaced_pod_exec, POD, NAMESPACE, command=command,
        stdin=False, stdout=True, stderr=True, tty=False, _preload_content=False,
    )
    session.run_forever(timeout=15)
    return {"stdout": session.read_stdout(), "stderr": session.read_stderr(), "exit": session.returncode}


def exec_with_stdin(_):
    session = stream(
        client.CoreV1Api().connect_get_namespaced_pod_exec, POD, NAMESPACE, command=["head", "-n", "1"],
        stdin=True, stdout=True, stderr=False, tty=False, _preload_content=False,
    )
    session.write_stdin("typed\n")
    session.run_forever(timeout=15)
    return {"stdout": session.read_stdout()}


def follow_logs(api):
    response = api.read_namespaced_pod_log(POD, NAMESPACE, follow=True, _preload_content=False, _request_timeout=15)
    lines, buffered = 0, b""
    for chunk in response.stream(64, decode_content=True):
        buffered += chunk
        lines = buffered.count(b"\n")
        if lines >= 3:
            break
    response.close()
    return {"lines": min(lines, 3)}


def forward_port(_):
    forward = portforward(client.CoreV1Api().connect_get_namespaced_pod_portforward, POD, NAMESPACE, ports="8080")
    socket = forward.socket(8080)
    socket.settimeout(15)
    socket.sendall(b"GET / HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")
    answer = b""
    while b"\r\n" not in answer:
        received = socket.recv(4096)
        if not received:
            break
        answer += received
    socket.close()
    return {"status": answer.split(b"\r\n")[0].decode()}


def main():
    config.load_kube_config()
    steps = {
        "list secrets": list_secrets,
        "get secret": get_secret,
        "watch secrets": watch_secrets,
        "patch secret": patch_secret,
        "replace with placeholder": replace_with_placeholder,
        "delete secret": delete_secret,
        "list pods": list_pods,
        "exec": exec_command,
        "exec with stdin": exec_with_stdin,
        "follow logs": follow_logs,
        "forward port": forward_port,
    }
    for name, step in steps.items():
        try:
            facts = step(client.CoreV1Api())
        except Exception as error:  # every step gets its line
            facts = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"step": name, **facts}), flush=True)
    os._exit(0)  # the port-forward thread of the client may linger


main()
